"""Templates: that they are found, stay the same through merges, restarts and years, and that nothing grows for ever."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from exporter.cli.mine import mine_lines
from exporter.ingest.reduction import merge, reduce
from exporter.ingest.settings import ReductionSettings
from exporter.ingest.shapes import shapes_of
from exporter.mining import masks
from exporter.mining import miner as mining
from exporter.mining.masks import ExtraMask, MaskSettings, extract, masked
from exporter.mining.miner import Miner
from exporter.mining.rows import TABLES
from exporter.mining.settings import MiningSettings, fingerprint
from exporter.mining.templates import OVERFLOW, OVERFLOW_TEXT, Mined
from exporter.model import Reduced, Write
from tests.bench.mining import accuracy
from tests.ingest.test_reduction import page

REDUCTION = ReductionSettings(redaction_key=b"0123456789abcdef")
DAY = 86_400


class Rows:
    """Rows as the state file would hold them, in a database in memory."""

    def __init__(self) -> None:
        self.database = sqlite3.connect(":memory:")
        self.database.executescript(TABLES)
        self.written = 0

    def write(self, writes: Iterable[Write]) -> None:
        for write in writes:
            self.written += len(write.rows)
            if write.delete:
                statement = f"DELETE FROM {write.table} WHERE " + " AND ".join(f"{name} = ?" for name in write.columns)
            else:
                marks = ", ".join("?" * len(write.columns))
                statement = f"INSERT OR REPLACE INTO {write.table} ({', '.join(write.columns)}) VALUES ({marks})"
            self.database.executemany(statement, write.rows)

    def read(self) -> dict[str, list[tuple[Any, ...]]]:
        return {table: self.database.execute(f"SELECT * FROM {table}").fetchall() for table in Miner.tables}


def reduced(bodies: Sequence[str], service: str = "shop", start: int = 0) -> Reduced:
    times = [(start * 1_000 + number) * 1_000_000 for number in range(len(bodies))]
    return merge([reduce(page(bodies, service=[service] * len(bodies), timestamp=times), REDUCTION)])


def line_ids(part: Reduced, mined: Mined) -> list[int]:
    """The template of each line, in the order of time."""
    joined = part.lines.join(mined.templates, on=["service", "shape"], how="left", maintain_order="left")
    return joined["template"].to_list()


class Shop:
    """A miner together with its rows."""

    def __init__(self, **options: Any) -> None:
        self.settings = MiningSettings(**options)
        self.rows = Rows()
        self.miner = Miner("source", self.settings)

    def mine(self, window: int, bodies: Sequence[str], service: str = "shop") -> Mined:
        return self.mine_reduced(window, reduced(bodies, service, window))

    def mine_reduced(self, window: int, part: Reduced) -> Mined:
        mined = self.miner.mine(window, part)
        self.rows.write(mined.writes)
        return mined

    def restart(self) -> None:
        self.miner = Miner("source", self.settings)
        self.miner.load(self.rows.read())

    def retire(self, window: int) -> None:
        self.rows.write(self.miner.retire(window))

    def text_of(self, mined: Mined) -> set[str]:
        return set(mined.texts.values())


def state(miner: Miner) -> Any:
    """Everything that decides what a miner does next."""
    services = {}
    for name, service in sorted(miner._services.items()):
        clusters = {
            key: (cluster.kind, cluster.leaf, cluster.position, cluster.log_template_tokens, cluster.variants)
            for key, cluster in sorted(service.tree.clusters.items())
        }
        services[name] = (
            clusters,
            {key: list(cluster.templates) for key, cluster in sorted(service.tree.clusters.items())},
            leaves(service.tree.live.root_node),
            leaves(service.tree.retired.root_node),
            list(service.shapes.items()),
            service.texts,
            service.by_pattern,
        )
    counts = miner._counts
    return services, miner._entries, miner._ids, (counts._recent, counts._hours, counts._closed, counts._latest)


def leaves(node: Any) -> Any:
    return list(node.cluster_ids), {key: leaves(child) for key, child in sorted(node.key_to_child_node.items())}


# --- Templates -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "time",
    [
        "2026-11-22T11:20:04.949036007Z", "2026-11-22T11:20:04Z", "2026-11-22T11:20Z", "2026-11-22T11:20:04+02:00",
        "2026-11-22T11:20:04,949-0500", "[2026-11-22T11:20:04.949]", "2026-11-22 11:20:04.949 UTC",
    ],
)  # fmt: skip
def test_the_time_before_a_message_is_no_part_of_its_template(time: str) -> None:
    shapes = shapes_of(pl.Series("body", [f"{time} ERROR no connection since {time}"]), 1000)
    [text] = masked(shapes.to_list(), MaskSettings())
    assert text in ("ERROR no connection since <TIME>", "ERROR no connection since [<TIME>]")


def test_lines_that_differ_in_their_values_have_one_template() -> None:
    shop = Shop()
    mined = shop.mine(0, [f"order {n} of 10.0.0.{n} took {n}ms" for n in range(20)])
    assert shop.text_of(mined) == {"order <NUM> of <HOST> took <TIME>"}
    assert [template.text for template in mined.new] == ["order <NUM> of <HOST> took <TIME>"]
    assert shop.mine(60, ["order 7 of 10.9.9.9 took 1ms"]).new == ()


def test_few_words_at_one_place_are_templates_of_their_own() -> None:
    shop = Shop()
    mined = shop.mine(0, [f"session {word} for user root" for word in ("opened", "closed")])
    assert shop.text_of(mined) == {"session opened for user root", "session closed for user root"}


def test_many_words_at_one_place_become_one_template_and_ids_are_merged() -> None:
    shop = Shop()
    first = shop.mine(0, [f"user {name} logged in" for name in ("ann", "bob", "cid")])
    assert len(set(line_ids(reduced([f"user {n} logged in" for n in ("ann", "bob", "cid")]), first))) == 3
    second = shop.mine(60, ["user dan logged in"])
    survivor = min(first.texts)
    assert dict(second.merged) == {key: survivor for key in first.texts if key != survivor}
    assert second.texts == {survivor: "user <*> logged in"}
    assert second.new == ()
    assert shop.miner.texts()[max(first.texts)] == "user <*> logged in"


def test_ids_come_from_the_order_of_judging_not_from_the_text() -> None:
    shop = Shop()
    shop.mine(0, ["zebra crossing ahead"])
    shop.mine(60, ["aardvark crossing behind us all"])
    assert shop.miner.texts() == {
        0: OVERFLOW_TEXT,
        1: "zebra crossing ahead",
        2: "aardvark crossing behind us all",
    }


def test_equal_lines_of_two_services_are_two_templates_with_equal_text() -> None:
    shop = Shop()
    part = merge([reduced(["cache is warm"], "cart"), reduced(["cache is warm"], "shop")])
    mined = shop.mine_reduced(0, part)
    assert len(mined.texts) == 2
    assert [template.service for template in mined.new] == ["cart", "shop"]
    assert set(mined.texts.values()) == {"cache is warm"}


def test_a_template_of_the_source_is_taken_as_it_is() -> None:
    bodies = ["user ann came", "user bob came"]
    part = merge([reduce(page(bodies, template=["user {name} came"] * 2), REDUCTION)])
    shop = Shop()
    assert shop.text_of(shop.mine_reduced(0, part)) == {"user {name} came"}
    shop.restart()
    assert shop.mine_reduced(60, part).new == ()


def test_an_error_never_seen_before_has_its_own_template_among_four_hundred_services() -> None:
    random = Random(7)
    words = [f"{a}{b}" for a in ("load", "stor", "sync", "rend", "pars") for b in ("ing", "ed", "er", "es", "able")]
    bodies, services = [], []
    for number in range(400):
        bodies += [f"{' '.join(random.sample(words, 5))} step {n} of {number}" for n in range(30)]
        services += [f"service-{number:03d}"] * 30
    shop = Shop()
    shop.mine_reduced(0, merge([reduce(page(bodies, service=services), REDUCTION)]))
    before = set(shop.miner.texts())
    mined = shop.mine(60, ["ERROR payment gateway certificate expired for tenant 7"], "service-123")
    assert [template.text for template in mined.new] == ["ERROR payment gateway certificate expired for tenant <NUM>"]
    assert set(mined.texts).isdisjoint(before)


def test_secrets_do_not_become_templates() -> None:
    mined = Shop().mine(0, ["login with token: abcdefghijklmnopqrstuvwx refused", "mail to ann@example.org sent"])
    assert set(mined.texts.values()) == {"login with token: <SECRET> refused", "mail to <EMAIL> sent"}


# --- Restarts, pages and windows -------------------------------------------------------------------

WORDS = ("ann", "bob", "cid", "dan", "eve", "10.0.0.1", "7", "/var/log/x", "opened", "closed")


def random_line(random: Random) -> str:
    form = random.randrange(6)
    a, b = random.choice(WORDS), random.choice(WORDS)
    return (
        f"user {a} logged in from {b}",
        f"session {a} for {b}",
        f"{a} {b}",
        f"request {random.randrange(10**6)} done status={a}",
        " ".join(random.choice(WORDS) for _ in range(random.randrange(1, 7))),
        "cache is warm",
    )[form]


def values(mined: Mined) -> dict[str, Any]:
    """All of it that can be compared with ==."""
    own = {name: value for name, value in vars(mined).items() if name != "templates"}
    return own | {"words": mined.words.to_dicts()}


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32))
def test_a_restart_between_any_two_windows_changes_nothing(seed: int) -> None:
    random = Random(seed)
    options = {"max_templates": 25, "novelty_budget": 15, "template_retention": timedelta(hours=random.choice((1, 9)))}
    steady, restarted = Shop(**options), Shop(**options)
    window = 0
    for _ in range(14):
        window += random.choice((60, 600, 7_200))
        bodies = [random_line(random) for _ in range(random.randrange(30))]
        service = random.choice(("shop", "cart"))
        at = max(0, window - random.choice((0, 0, 0, 60)))
        one, other = steady.mine(at, bodies, service), restarted.mine(at, bodies, service)
        assert one.templates.equals(other.templates)
        assert values(one) == values(other)
        steady.retire(window)
        restarted.retire(window)
        if random.random() < 0.5:
            restarted.restart()
            assert state(restarted.miner) == state(steady.miner)
    assert steady.rows.read() == restarted.rows.read()


def test_a_word_of_failure_is_a_template_beside_those_that_were() -> None:
    shop = Shop()
    shop.mine(0, [f"payment {word} for cart 17" for word in ("approved", "deferred", "settled")])
    before = dict(shop.miner.texts())
    mined = shop.mine(60, ["payment refused for cart 17"])
    assert [template.text for template in mined.new] == ["payment refused for cart <NUM>"]
    assert not mined.merged
    assert before.items() <= shop.miner.texts().items()


def test_a_word_beside_few_that_came_again_and_again_is_a_template_of_its_own() -> None:
    shop = Shop()
    usual = [f"payment {word} for cart 17" for word in ("approved", "deferred", "settled")]
    for window in range(0, 600, 60):
        shop.mine(window, usual * 3)
    mined = shop.mine(600, ["payment stranded for cart 17"])
    assert [template.text for template in mined.new] == ["payment stranded for cart <NUM>"]
    assert not mined.merged


def test_words_that_vary_freely_are_one_template_and_what_was_counted_moves_to_it() -> None:
    shop = Shop()
    first = shop.mine(0, [f"user {name} came in from the street" for name in ("ann", "bob", "cyd")])
    mined = shop.mine(60, ["user dan came in from the street"])
    assert set(mined.texts.values()) == {"user <*> came in from the street"}
    assert {new for _, new in mined.merged} == {min(template.id for template in first.new)}


def test_the_words_of_a_window_are_told_by_their_places_whether_they_make_templates_or_not() -> None:
    shop = Shop()
    bodies = [f"payment {word} for cart 17 by={who}" for word in ("approved", "deferred") for who in ("card", "cash")]
    said = [sorted(shop.mine(window, bodies).words["said"].unique()) for window in (0, 60)]
    assert said == [["approved", "by: card", "by: cash", "deferred"]] * 2


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 9))
def test_pages_and_their_order_decide_no_id(seed: int, size: int) -> None:
    random = Random(seed)
    bodies = [random_line(random) for _ in range(60)]
    whole = page(bodies)
    rows = list(range(60))
    random.shuffle(rows)
    pieces = [reduce(whole[rows[start : start + size]], REDUCTION) for start in range(0, 60, size)]
    one, other = Shop(), Shop()
    ours, theirs = one.mine_reduced(0, merge(pieces)), other.mine_reduced(0, merge([reduce(whole, REDUCTION)]))
    assert ours.templates.equals(theirs.templates)
    assert ours.writes == theirs.writes


def test_a_window_that_is_mined_again_uses_the_templates_as_they_then_stand() -> None:
    shop = Shop()
    first = shop.mine(0, ["user ann logged in"])
    shop.mine(60, [f"user {name} logged in" for name in ("bob", "cid", "dan")])
    again = shop.mine(0, ["user ann logged in", "disk is full"])
    assert again.texts[min(first.texts)] == "user <*> logged in"
    assert "disk is full" in {template.text for template in again.new}


def test_looking_changes_nothing() -> None:
    shop = Shop()
    shop.mine(0, ["user ann logged in", "cache is warm"])
    before = repr(state(shop.miner))
    mined = shop.miner.mine(
        60, reduced(["cache is warm", "disk 9 broke", "disk 8 broke", "never seen at all"]), learn=False
    )
    assert not mined.writes
    assert not mined.merged
    assert sorted(key for key in mined.texts if key < 0) == [-2, -1]
    assert {template.text for template in mined.new} == {"disk <NUM> broke", "never seen at all"}
    assert repr(state(shop.miner)) == before


def test_only_what_changed_is_written() -> None:
    shop = Shop()
    bodies = [f"statement number {'x' * n} of all" for n in range(1, 3)] + ["cache is warm", "queue is empty"]
    shop.mine(0, bodies)
    assert {write.table for write in shop.mine(60, bodies).writes} == {"mining_counts", "mining_counters"}


# --- Retirement ------------------------------------------------------------------------------------


def test_a_template_that_nobody_sees_leaves_the_tree_and_comes_back_under_its_id() -> None:
    shop = Shop(template_retention=timedelta(days=2))
    (key,) = shop.mine(0, ["nightly backup of volume 7 done"]).texts
    for window in range(DAY, 5 * DAY, DAY):
        shop.mine(window, ["cache is warm"])
        shop.retire(window)
    assert not any("backup" in cluster.get_template() for cluster in shop.miner._service("shop").tree.in_use())
    assert shop.miner.texts()[key] == "nightly backup of volume <NUM> done"
    shop.restart()
    mined = shop.mine(6 * DAY, ["nightly backup of volume 9 done"])
    assert list(mined.texts) == [key]
    assert mined.new == ()


def test_variants_come_back_together() -> None:
    shop = Shop(template_retention=timedelta(days=2))
    first = shop.mine(0, ["session opened for root", "session closed for root"])
    shop.retire(9 * DAY)
    mined = shop.mine(9 * DAY, ["session closed for root", "session opened for root"])
    assert set(mined.texts.items()) == set(first.texts.items())


# --- Limits ----------------------------------------------------------------------------------------


def test_new_shapes_of_a_service_and_window_are_limited_and_the_others_wait() -> None:
    bodies = [f"{'abcdefghij'[n]}{'klmnopqrst'[m]} alone" for n in range(10) for m in range(10)]
    shop = Shop(novelty_budget=60)
    mined = shop.mine(0, bodies)
    assert mined.dropped == {"novelty_budget": 40}
    assert Counter(line_ids(reduced(bodies), mined))[OVERFLOW] == 40
    assert OVERFLOW not in line_ids(reduced(bodies), shop.mine(60, bodies))


def test_templates_of_a_service_are_limited_and_one_noisy_service_blinds_no_other() -> None:
    shop = Shop(max_templates=10)
    noisy = [" ".join([word] * length) for length in range(1, 8) for word in ("alpha", "beta", "gamma")]
    mined = shop.mine_reduced(0, merge([reduced(noisy, "noisy"), reduced(["all is well"], "quiet")]))
    assert mined.dropped == {"max_templates": 11}
    assert "all is well" in mined.texts.values()
    assert len([template for template in mined.new if template.service == "noisy"]) == 10


def test_what_fits_no_cluster_of_a_full_leaf_shares_one() -> None:
    random = Random(3)
    bodies = [f"start {' '.join(''.join(random.choices('abcdefgh', k=6)) for _ in range(5))}" for _ in range(400)]
    shop = Shop()
    mined = shop.mine(0, bodies)
    assert mined.dropped == {"full_leaf": 200}
    assert "start <*> <*> <*> <*> <*>" in mined.texts.values()
    shop.restart()
    assert shop.mine(60, bodies).templates.equals(mined.templates)


def test_remembered_shapes_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mining, "MAX_SHAPES", 50)
    shop = Shop()
    for window in range(0, 600, 60):
        names = [f"{'abcdefghij'[window // 60]}{letter}{other}" for letter in "klmnopq" for other in "rstuv"]
        shop.mine(window, [f"user {name} logged in" for name in names])
    assert len(shop.rows.read()["mining_shapes"]) == len(shop.miner._service("shop").shapes) == 50


def test_a_line_of_many_tokens_is_cut() -> None:
    mined = Shop(max_tokens=8).mine(0, [" ".join("abcdefghijklmnop")])
    assert set(mined.texts.values()) == {"a b c d e f g h <...>"}


def test_a_list_that_is_cut_is_one_template_however_wide_its_values_are() -> None:
    def sold(width: int) -> str:
        tickets = ", ".join(f"Ticket(seat={7 * 10**width + n}, start=Shanghai, end=Suzhou)" for n in range(900))
        return f"left tickets are [{tickets}] now"

    shop = Shop()
    for width in range(1, 9):
        mined = shop.mine(60 * width, [sold(width)])
        assert set(mined.texts.values()) == {"left tickets are [Ticket(seat=<V>, start=<V>, end=<V>), <...>"}


BAD: dict[str, Callable[[Random], list[str]]] = {
    "one token of 100 KB": lambda random: ["x" * 100_000] * 200,
    "100 KB of words": lambda random: [words(random, 15_000) for _ in range(50)],
    "ten lines of 1 MB": lambda random: [words(random, 150_000) for _ in range(10)],
    "arrays of any length": lambda random: [str(list(range(random.randrange(9_999)))) for _ in range(200)],
    "binary": lambda random: [random.randbytes(200).decode("utf-8", "replace") for _ in range(20_000)],
    "latin-1": lambda random: [random.randbytes(200).decode("latin-1") for _ in range(20_000)],
    "Chinese": lambda random: [
        "".join(chr(random.randrange(0x4E00, 0x9FA5)) for _ in range(30)) for _ in range(20_000)
    ],
    "all different": lambda random: [words(random, 12) for _ in range(20_000)],
    "all different after one word": lambda random: [f"start {words(random, 11)}" for _ in range(20_000)],
    "one free word": lambda random: [f"user {words(random, 1)} logged in" for _ in range(20_000)],
    "Arabic digits": lambda random: [
        f"price {chr(0x660 + n % 10)}{chr(0x660 + n // 10 % 10)} paid" for n in range(20_000)
    ],
    "brackets": lambda random: ["[" * 2_000 + "<" * 2_000] * 100,
    "repeated blocks": lambda random: ["a(b=1), c<d " * 800 + str(n) for n in range(500)],
}


def words(random: Random, count: int) -> str:
    return " ".join("".join(random.choices("abcdefghijklmnopqrstuvwxyz", k=6)) for _ in range(count))


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_survived_within_the_limits(name: str) -> None:
    lines = BAD[name](Random(1))
    ids, texts = mine_lines(pl.Series("body", lines))
    assert len(ids) == len(lines)
    assert ids.null_count() == 0
    assert len(texts) < 5_000
    assert max(len(text) for text in texts.values()) < 5_000


# --- Configuration ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"masks": {"disable": ["PTAH"]}}, "'PTAH' is not one of 'URL'"),
        ({"masks": {"extra": [{"name": "ID", "regex": "(unclosed"}]}}, "not a regular expression"),
        ({"masks": {"extra": [{"name": "ID", "regex": "x*"}]}}, "matches the empty text"),
        ({"masks": {"extra": [{"name": "id", "regex": "x"}]}}, "pattern"),
        ({"keep_keys": ["a b"]}, "is not a key"),
        ({"similarity": 1.5}, "less than or equal to 1"),
        ({"template_retention": "5s"}, "1h or more"),
        ({"depth": 4}, "Extra inputs"),
    ],
)
def test_settings_are_refused_at_the_door(options: Mapping[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        MiningSettings(**options)


def test_masks_can_be_added_and_left_out() -> None:
    extra = MaskSettings(disable=("PATH",), extra=(ExtraMask(name="CUSTOMER", regex=r"cust-0"),))
    mined = Shop(masks=extra).mine(0, ["read /a/b/c of cust-17"])
    assert set(mined.texts.values()) == {"read /a/b/c of <CUSTOMER>"}


def test_other_masks_have_another_fingerprint() -> None:
    settings_of = [MiningSettings(), MiningSettings(variants=2), MiningSettings(masks=MaskSettings(disable=("KV",)))]
    assert len({fingerprint(one) for one in settings_of}) == 3
    assert fingerprint(MiningSettings()) == fingerprint(MiningSettings())


# --- Parameters ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("template", "raw", "values"),
    [
        ("user <*> logged in", "user ann logged in", (("*", "ann"),)),
        ("<NUM> of <HOST>", "7 of 10.0.0.1", (("NUM", "7"), ("HOST", "10.0.0.1"))),
        ("took <TIME>", "10:00:01 INFO [main] took 35 ms", (("TIME", "35 ms"),)),
        ("id=<V> name=<V>", "id=7 name=x", (("V", "7"), ("V", "x"))),
        ("a b c <...>", "a b c d e f", (("...", "d e f"),)),
        ("no values", "no values", ()),
        ("other <NUM> text", "something else", None),
    ],
)
def test_values_of_a_line_are_recovered_from_its_text(template: str, raw: str, values: Any) -> None:
    assert extract(template, raw) == values


def test_values_of_real_lines_are_recovered(shared_data: Path) -> None:
    lines = pl.read_parquet(shared_data / "hdfs" / "events.parquet")["m_message"].head(20_000)
    ids, texts = mine_lines(lines)
    found = [extract(texts[key], line) for key, line in zip(ids[::50], lines[::50], strict=True)]
    assert sum(values is not None for values in found) > 0.99 * len(found)


# --- Accuracy --------------------------------------------------------------------------------------


def test_templates_of_loghub_are_found_with_one_configuration(shared_data: Path) -> None:
    logs = pl.read_parquet(shared_data / "loghub" / "loghub_2k.parquet")
    scores = []
    for _, system in logs.group_by("system", maintain_order=True):
        ids, _ = mine_lines(system["content"].alias("body"))
        scores.append(accuracy(ids, system["event_id"]))
    assert sum(grouping for grouping, _ in scores) / len(scores) >= 0.95
    assert sum(f1 for _, f1 in scores) / len(scores) >= 0.93


def test_templates_of_trainticket_are_found_in_full_lines(shared_data: Path) -> None:
    parts = [shared_data / "trainticket" / f"{part}_2023-01-29.parquet" for part in ("normal", "faults")]
    lines = pl.concat([pl.read_parquet(part)["message"] for part in parts])
    ids, _ = mine_lines(lines.alias("body"))
    grouping, f1 = accuracy(ids, lines.str.extract(r"\b(\S+#\d+)\b"))
    assert grouping >= 0.65
    assert f1 >= 0.70


def test_batches_of_any_size_give_the_same_partition(shared_data: Path) -> None:
    lines = pl.read_parquet(shared_data / "trainticket" / "faults_2023-01-29.parquet")["message"].head(40_000).to_list()
    partitions = []
    for size in (1_000, 10_000, 40_000):
        shop, ids = Shop(novelty_budget=5_000), []
        for start in range(0, len(lines), size):
            part = reduced(lines[start : start + size], start=start)
            ids += line_ids(part, shop.mine_reduced(start, part))
            if size == 1_000:
                shop.restart()
        final = shop.miner.survivors()
        partitions.append([final[key] for key in ids])
    assert partitions[0] == partitions[1] == partitions[2]


# --- Commands --------------------------------------------------------------------------------------


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "exporter.cli.main", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_file_is_mined_and_every_line_is_assigned(tmp_path: Path) -> None:
    source, out = tmp_path / "app.log", tmp_path / "out.parquet"
    source.write_text("order 1 took 5ms\ncache is warm\n    at a.B.c(B.java:1)\norder 2 took 7ms\n")
    done = run("templates", "mine", str(source), "--assign", str(out))
    assert (done.returncode, done.stderr) == (0, "")
    assert "4 lines, 2 templates" in done.stdout
    rows = pl.read_parquet(out)
    assert rows.columns == ["line", "template_id", "template"]
    assert rows["line"].to_list() == [0, 1, 2, 3]
    assert rows["template"].to_list() == ["order <NUM> took <TIME>", *["cache is warm"] * 2, "order <NUM> took <TIME>"]


@pytest.mark.parametrize("name", ["a.csv", "a.parquet", "a.ndjson", "a.log.gz", "a.log.zst"])
def test_files_of_every_form_are_read(tmp_path: Path, name: str) -> None:
    import gzip

    import zstandard

    from exporter.cli.mine import read_lines

    path, frame = tmp_path / name, pl.DataFrame({"content": ["order 1", "order 2"]})
    text = b"order 1\norder 2\n"
    write: dict[str, Any] = {
        "a.csv": lambda: frame.write_csv(path),
        "a.parquet": lambda: frame.write_parquet(path),
        "a.ndjson": lambda: frame.write_ndjson(path),
        "a.log.gz": lambda: path.write_bytes(gzip.compress(text)),
        "a.log.zst": lambda: path.write_bytes(zstandard.compress(text)),
    }
    write[name]()
    column = None if name.startswith("a.log") else "content"
    assert [line for piece in read_lines(path, column) for line in piece] == ["order 1", "order 2"]


def mined_from(path: Path, content: str, encoding: str = "utf-8") -> list[str]:
    from exporter.cli.mine import read_lines

    path.write_bytes(content.encode(encoding))
    return [line for piece in read_lines(path, None) for line in piece]


def test_messages_are_mined_of_columns_that_are_named(tmp_path: Path) -> None:
    table = "time;level;message\n" + 'x;INFO;order 7 stored\nx;ERROR;"no\nstock; at all"\n' * 9
    assert mined_from(tmp_path / "a.log", table) == ["order 7 stored", "no\nstock; at all"] * 9
    w3c = "#Fields: date time s-ip sc-status\n" + "2026-11-17 12:00:01 10.0.0.1 503\n" * 9
    assert mined_from(tmp_path / "w3c.log", w3c) == ["2026-11-17 12:00:01 10.0.0.1 503"] * 9
    with_other = table + "no row at all\n"
    assert mined_from(tmp_path / "b.log", with_other)[-1] == "no row at all"


@pytest.mark.parametrize(("encoding", "text"), [("utf-16", "заказ 7 принят"), ("gb18030", "库存服务已经启动，等待订单"),
                                                ("cp1252", "Größe geändert für Köln und Düren")])  # fmt: skip
def test_text_is_mined_in_whatever_it_is_written(tmp_path: Path, encoding: str, text: str) -> None:
    assert mined_from(tmp_path / "a.log", f"{text}\n" * 9, encoding) == [text] * 9


def test_a_column_that_is_not_there_is_named_with_the_choices(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pl.DataFrame({"content": ["x"], "other": ["y"]}).write_parquet(path)
    done = run("templates", "mine", str(path), "--column", "mesage")
    assert done.returncode == 2
    assert "--column mesage is not one of 'content', 'other'" in done.stderr
    assert run("templates", "mine", str(tmp_path / "absent.log")).returncode == 2


def configured(tmp_path: Path, shop: Shop) -> Path:
    """An exporter.yml whose state file holds the rows of a shop."""
    from exporter.state.file import State

    config = tmp_path / "exporter.yml"
    (tmp_path / "app.log").write_text("")
    config.write_text(
        f"state: {tmp_path}/state.db\nsources:\n  - {{type: file, name: source, path: {tmp_path}/app.log}}\n"
    )
    state = State(tmp_path / "state.db", (TABLES,), "any")
    for table, rows in shop.rows.read().items():
        columns = [row[1] for row in shop.rows.database.execute(f"PRAGMA table_info({table})")]
        state.write_now([Write(table, tuple(columns), tuple(rows))])
    state.close()
    return config


def test_templates_are_listed_and_shown_with_counts_and_examples(tmp_path: Path) -> None:
    shop = Shop()
    shop.mine(DAY, [f"user {name} logged in" for name in ("ann", "bob", "cid")], "login")
    shop.mine(DAY + 3_600, ["user dan logged in", "cache is \x1b[31mwarm"], "login")
    config = str(configured(tmp_path, shop))
    listed = run("templates", "list", "-c", config)
    assert listed.returncode == 0, listed.stderr
    assert "user <*> logged in" in listed.stdout.splitlines()[1]
    assert "\x1b" not in listed.stdout
    found = json.loads(run("templates", "list", "-c", config, "--service", "login", "--format", "json").stdout)
    assert [(item["id"], item["count"], item["merged"]) for item in found] == [(1, 4, [2, 3]), (4, 1, [])]
    assert found[0]["first_seen"] == "1970-01-02T00:00:00Z"
    assert found[0]["trend"][-2:] == [3, 1]
    shown = run("templates", "show", "-c", config, "3")
    assert "<*> ann" in shown.stdout
    assert run("templates", "show", "-c", config, "99").returncode == 1


def test_counts_of_templates_follow_merges_and_replaced_windows() -> None:
    shop = Shop()
    shop.mine(0, ["user ann logged in"] * 3)
    shop.mine(0, ["user ann logged in"] * 5)
    shop.mine(60, [f"user {name} logged in" for name in ("bob", "cid", "dan")])
    for hour in range(1, 8):
        shop.mine(hour * 3_600, ["user eve logged in"])
    counted: dict[int, int] = defaultdict(int)
    final = shop.miner.survivors()
    from exporter.mining.counts import unpack

    for _, _, _, counts in shop.rows.read()["mining_counts"]:
        for key, count in unpack(counts).items():
            counted[final[key]] += count
    assert counted == {min(counted): 5 + 3 + 7}


def test_masked_texts_are_shown_without_what_a_terminal_obeys(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_text("\x1b[31mred\x1b[0m alert\x07 rang\n")
    assert "\x1b" not in run("templates", "mine", str(path)).stdout


def test_the_reading_of_a_template_needs_no_masks() -> None:
    assert masks.masked([], MaskSettings()) == []
