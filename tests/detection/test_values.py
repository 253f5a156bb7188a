"""Shares of values: how unlikely they are, what is learnt of them, and from which parts of lines they come."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from scipy.stats import betabinom

from exporter.detection.observation import Observation, observe
from exporter.detection.scoring.shares import Sums, Usual, tail
from exporter.detection.valued import ALL, CODES, SERVICE, TIMES, WORDS
from exporter.ingest.reduction import reduce
from exporter.ingest.settings import ReductionSettings
from exporter.mining.miner import Miner
from exporter.mining.settings import MiningSettings
from exporter.model import Reduced
from exporter.wording.words import notice
from tests.detection.bench import QUICK, Bench, Row, shop
from tests.memory_source import START, page

FIRST = int(START.timestamp())


def seen(reduced: Reduced) -> Observation:
    mined = Miner("shop", MiningSettings()).mine(FIRST, reduced)
    return observe("shop", FIRST, timedelta(minutes=1), reduced, mined)


def shares(values: pl.DataFrame, kind: int, family: int | None = None) -> dict[str, str]:
    """So many of so many, by value; of words as they are said."""
    own = values.filter((pl.col("kind") == kind) & (pl.col("value") != ALL))
    own = own.filter(pl.col("family") == SERVICE if family == SERVICE else pl.col("family") != SERVICE)
    return {row["said"] or str(row["value"]): f"{row['x']} of {row['n']}" for row in own.iter_rows(named=True)}


@pytest.mark.parametrize("n", [2, 20, 200, 2000])
@pytest.mark.parametrize("rho", [1e-4, 0.005, 0.05, 0.2])
@pytest.mark.parametrize("mean", [0.0003, 0.01, 0.3])
def test_the_tail_is_that_of_a_beta_binomial_within_a_quarter(n: int, rho: float, mean: float) -> None:
    x = np.unique(np.linspace(1, n, 12).astype(int))
    x = x[x > n * mean]
    exact = betabinom(n, mean * (1 / rho - 1), (1 - mean) * (1 / rho - 1)).sf(x - 1)
    found = tail(x.astype(float), np.full(len(x), float(n)), np.full(len(x), mean), np.full(len(x), rho))
    # Below that scipy sums up what it rounds.
    told = exact > 1e-9
    assert np.all(np.abs(found[told] / exact[told] - 1) < 0.25)


def test_a_share_below_what_is_usual_is_no_news() -> None:
    assert tail(np.array([0.0, 3.0]), np.array([10.0, 10.0]), np.array([0.5, 0.5]), np.array([0.01, 0.01])).min() == 1


def test_a_place_whose_windows_differ_is_given_more_room() -> None:
    chance = np.random.default_rng(3)
    n = np.full(500, 50)
    calm, wild = chance.binomial(n, 0.1), chance.binomial(n, chance.beta(2, 18, 500))
    spread = []
    for x in (calm, wild):
        sums = (n.sum(), (n * n).sum(), x.sum(), (x * x).sum(), (x * n).sum(), (x > 0).sum())
        usual = Usual.of(Sums(*(np.array([float(one)]) for one in sums)), np.zeros(1))
        assert usual.mean[0] == pytest.approx(0.1, rel=0.1)
        spread.append(float(usual.spread[0]))
    assert spread[0] < 0.005 < 0.02 < spread[1]


def test_codes_durations_and_words_are_counted_by_kind_of_line_and_for_the_service() -> None:
    bodies = ["paid with status 200 in 3 ms", "paid with status 503 in 900 ms", "left with exit code 137"]
    rows: list[Row] = [
        {"timestamp": FIRST * 10**9 + at, "service": "till", "body": one} for at, one in enumerate(bodies)
    ]
    values = seen(reduce(page(rows), ReductionSettings())).values
    assert shares(values, CODES, SERVICE) == {"1": "1 of 3", "2": "1 of 3", "5": "1 of 3"}
    assert shares(values, TIMES, SERVICE)["1"] == "2 of 2", "two took 2 ms or more"
    assert shares(values, TIMES, SERVICE)["9"] == "1 of 2", "one took 512 ms or more"
    assert "5" in shares(values, CODES), "of its kind of line, too"


def test_words_of_fields_beside_the_message_are_counted_by_their_names() -> None:
    rows: list[Row] = [{"timestamp": FIRST * 10**9 + at, "service": "till", "body": "bill closed"} for at in range(3)]
    words = ['{"outcome":"paid","via":"card"}', '{"outcome":"stranded"}', None]
    given = page(rows).with_columns(fields=pl.Series(words))
    values = seen(reduce(given, ReductionSettings())).values
    assert shares(values, WORDS) == {"outcome: paid": "1 of 2", "outcome: stranded": "1 of 2", "via: card": "1 of 1"}
    assert shares(values, WORDS) == shares(values, WORDS, SERVICE)


def test_words_beside_the_message_of_a_line_of_logfmt_are_counted_and_names_of_things_are_not() -> None:
    bodies = [
        f'level=info msg="bill closed" order=A{number} result={word} took=3ms'
        for number, word in enumerate(("ok", "ok", "stranded"))
    ]
    rows: list[Row] = [
        {"timestamp": FIRST * 10**9 + at, "service": "till", "body": one} for at, one in enumerate(bodies)
    ]
    values = seen(reduce(page(rows), ReductionSettings())).values
    assert shares(values, WORDS) == {"result: ok": "2 of 3", "result: stranded": "1 of 3"}


def test_a_burst_of_refused_requests_is_noticed_once_and_is_no_anomaly() -> None:
    lines = [
        {**row, "body": f"charge answered with status {404 if minute >= 80 else 200}"}
        if row["body"] == "card charged"
        else row
        for minute in range(90)
        for row in shop(range(minute, minute + 1))
    ]
    bench = Bench()
    noticed = bench.run(lines, 0, 90).noticed
    assert [(one.kind, one.service, one.at) for one in noticed] == [
        ("refused", "payments", START + timedelta(minutes=80))
    ]
    assert "status 4xx" in notice(noticed[0])
    assert not [one for anomaly in bench.found for one in anomaly.contributions if one.kind == "status"]


def test_a_failure_that_was_told_is_told_as_much_when_it_comes_again() -> None:
    bad = [minute for start in (70, 90, 110) for minute in range(start, start + 5)]
    lines = [
        {**row, "body": f"charge answered with status {503 if minute in bad else 200}"}
        if row["body"] == "card charged"
        else row
        for minute in range(130)
        for row in shop(range(minute, minute + 1))
    ]
    found = [
        round((anomaly.window.timestamp() - FIRST) / 60)
        for anomaly in Bench().run(lines, 0, 130).about("payments")
        if any(one.kind == "status" for one in anomaly.contributions)
    ]
    assert set(bad) <= set(found)
    assert all(later - one < 20 for one, later in pairwise(found))


@pytest.mark.parametrize(("level", "told"), [("cachewarmer", False), ("failed", True)])
def test_a_word_that_only_new_kinds_of_lines_bring_to_a_service_is_a_release_unless_it_speaks_of_a_failure(
    level: str, told: bool
) -> None:
    def line(minute: int, at: int, name: str, text: str) -> Row:
        body = f'level=info component={name} msg="{text}"'
        return {"timestamp": (FIRST + 60 * minute + at) * 10**9, "service": "search", "body": body}

    lines = [
        line(minute, at, ("pool", "runtime")[at % 2], ("idle connections reaped", "collection done")[at % 2])
        for minute in range(110)
        for at in range(20)
    ]
    lines += [line(minute, 30 + at, level, "warmed the shelves") for minute in range(95, 110) for at in range(3)]
    bench = Bench()
    bench.run(sorted(lines, key=lambda row: row["timestamp"]), 0, 110)
    kinds = {one.kind for anomaly in bench.found for one in anomaly.contributions}
    assert ("value" in kinds) is told


@pytest.mark.parametrize(("slow", "told"), [(4, False), (20, True)])
def test_a_duration_is_told_only_where_the_quantile_that_is_told_of_it_has_moved(slow: int, told: bool) -> None:
    lines: list[Row] = [
        {
            "timestamp": (FIRST + 60 * minute) * 10**9 + at,
            "service": "search",
            "body": f"query answered in {7000 if minute >= 120 and at < slow else 20 + at % 9} ms",
        }
        for minute in range(130)
        for at in range(100)
    ]
    bench = Bench()
    bench.run(lines, 0, 130)
    slower = [one for anomaly in bench.found for one in anomaly.contributions if one.kind == "duration"]
    assert bool(slower) is told
    assert all(one.observed > 10 * one.expected for one in slower)


@pytest.mark.parametrize(("new", "told"), [("basket prepared", False), ("cart opened", True)])
def test_kinds_of_lines_that_a_release_brings_take_their_own_time_and_have_not_slowed_their_service(
    new: str, told: bool
) -> None:
    released = 400

    def line(minute: int, at: int, body: str) -> Row:
        return {"timestamp": (FIRST + 60 * minute + at) * 10**9, "service": "cart", "body": body}

    lines = []
    for minute in range(420):
        first, slower = (new, 500) if minute >= released else ("cart opened", 0)
        own = [f"{first} in {n + slower} ms" for n in (2, 3, 4, 5)] + [f"cart closed in {n} ms" for n in (2, 3, 4, 5)]
        lines += [line(minute, at, body) for at, body in enumerate(own)]
    bench = Bench(QUICK.model_copy(update={"adopt_after": timedelta(hours=1)}))
    bench.run(lines, 0, 420)
    slow = [one for anomaly in bench.found for one in anomaly.contributions if one.kind == "duration"]
    assert bool(slow) is told
