"""What an incident's lines say: words without a logger's prefix, ranked, since their first line, in one short line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest

from exporter.detection.valued import ALL_LINES
from exporter.facts.observed import Began, Observed, Places, Requests, Saying
from exporter.facts.prefixes import Prefix
from exporter.facts.roots import told as told_of
from exporter.facts.story import Told, told
from exporter.model import Contribution, Evidence
from exporter.model.faults import fault_in
from exporter.wording.headlines import LONGEST, headline, sentences
from tests import samples

START = datetime(2026, 3, 14, 11, tzinfo=UTC)
MINUTE = timedelta(minutes=1)

SPRING = [
    "2026-03-02T15:36:45.010Z ERROR 1 --- [orders] [nio-8080-exec-3] [65f0c1] c.a.orders.basket.BasketCheck : Basket 7 "
    "has 3 lines but 2 were priced",
    "2026-03-02T15:36:45.020Z  INFO 1 --- [orders] [nio-8080-exec-4] [65f0c2] c.a.orders.web.Orders : Order 9 accepted",
    "2026-03-02T15:36:46.020Z  INFO 1 --- [orders] [nio-8080-exec-5] [65f0c3] c.a.orders.web.Orders : Mail is queued",
]


@pytest.mark.parametrize(
    ("line", "lines", "words"),
    [
        (SPRING[0], SPRING, "Basket 7 has 3 lines but 2 were priced"),
        ('{"level":50,"msg":"request failed","err":{"type":"Error","message":"connect ECONNREFUSED 10.4.2.9"}}', (),
         "connect ECONNREFUSED 10.4.2.9"),
        ('level=warn msg="dial failed: connection refused" peer=users:8080', (),
         "dial failed: connection refused peer=users:8080"),
        ("12:00:01 ERROR could not store\ncom.shop.StoreException: no\n\tat a.B(C.java:1)\n"
         "Caused by: java.io.IOException: No space left on device", (), "No space left on device"),
        ('10.0.0.1 - - "GET /api/cart?id=7 HTTP/1.1" 502 17 "curl"', (), "GET /api/cart?… HTTP/1.1 502"),
        ("fail: Billing.Data.Store[0]\n      Could not open the store", (), "Could not open the store"),
    ],
)  # fmt: skip
def test_what_failed_is_said_without_the_prefix_by_the_root_of_the_error(
    line: str, lines: Sequence[str], words: str
) -> None:
    assert told_of(line, Prefix(lines)) == words


NUMBERS = count()


def saying(service: str, words: str, minute: float, lines: int = 10, level: int = 17) -> tuple[int, Saying]:
    """Lines of a service within a minute, the first at that moment; by the minute."""
    at = START + minute * MINUTE
    line = Evidence(f"L{next(NUMBERS)}", "shop", service, at, words, level)
    fault = fault_in(words)
    one = Saying(
        service, 1, level, lines, int(at.timestamp() * 1e9), fault.id if fault else "", (words,), (line,), heard=lines
    )
    return int(minute // 1), one


def placed(one: tuple[int, Saying], *hosts: str, version: str = "") -> tuple[int, Saying]:
    """The same lines, as many of each host."""
    minute, said = one
    of = tuple((host, said.count // len(hosts)) for host in hosts)
    return minute, replace(said, hosts=of, versions=((version, said.count),) if version else ())


def known(
    *sayings: tuple[int, Saying],
    until: int = 10,
    requests: Sequence[tuple[int, int, int]] = (),
    starts: Sequence[Began] = (),
    findings: Sequence[Contribution] = (),
    quiet: Sequence[str] = (),
    lines: Mapping[int, int] | None = None,
    pods: int = 0,
) -> Told:
    """What is known of an incident that began at minute 0; payments is likely the cause. `requests` are minute, all and
    failed; who is `quiet` says nothing from minute 0 on; `lines` are those of payments by minute, where not 20; of who
    fails so many `pods` write."""
    windows, of_pods = [], tuple((f"pod-{number}", 10) for number in range(pods))
    for minute in range(-75, until):
        said = tuple(one for at, one in sayings if at == minute)
        of = {s: 20 for s in ("cart", "orders", "payments") if minute < 0 or s not in quiet}
        of["payments"] = (lines or {}).get(minute, of.get("payments", 0))
        answered = [Requests("gateway", 1, n, n - bad, bad) for at, n, bad in requests if at == minute]
        begun = tuple(one for one in starts if (START + minute * MINUTE).timestamp() * 1e9 == one.at // 1)
        window = int((START + minute * MINUTE).timestamp())
        answered = answered or [Requests("gateway", 1, 9, 9, 0)]
        nodes = tuple((f"node-{number}", 20) for number in (1, 2, 3))
        places = tuple(Places(one.service, nodes, (("2.13.4", 40), ("2.14.0", 20)), of_pods) for one in said)
        windows.append(
            ("shop", window, Observed({s: n for s, n in of.items() if n}, said, tuple(answered), begun, places))
        )
    weights = {"payments": 0.6, "cart": 0.4}
    return told(windows, MINUTE, START, START + until * MINUTE, weights, findings)


POOL = "HikariPool-1 - Connection is not available, request timed out after 30004ms (total=20)"


def test_the_cause_is_told_in_the_words_of_its_line_with_whom_it_hit_and_since_when() -> None:
    found = known(
        *(saying("payments", POOL.replace("30004", str(30_000 + minute)), minute + 0.5) for minute in range(5)),
        *(saying("cart", "request 7f failed with status 500", minute + 0.2, 40) for minute in range(5)),
        requests=[(minute, 20, 4) for minute in range(10)],
    )
    assert headline(found.facts) == (
        "payments: HikariPool-1 - Connection is not available, request timed out after … (total=20); 40 of 200 "
        "requests failed since 11:00 until 11:10 UTC"
    )
    assert found.lines[0].body.startswith("HikariPool-1")


def test_since_is_the_first_line_of_the_run_that_lasts() -> None:
    lasting = [saying("payments", POOL, minute + 0.75) for minute in range(3, 8)]
    rare = known(saying("payments", POOL, -14.5, 1), *lasting)
    assert rare.facts.failing[0].since == START + 3.75 * MINUTE
    assert rare.facts.failing[0].count == 50
    early = known(*(saying("payments", POOL, minute + 0.5) for minute in range(-2, 5)))
    assert early.facts.failing[0].since == START - 1.5 * MINUTE


def test_what_was_ordinary_in_the_hour_before_is_no_headline() -> None:
    usual = [saying("cart", "could not push metrics, attempt 3", minute) for minute in range(-75, 10)]
    found = known(*usual, *(saying("payments", POOL, minute, 3) for minute in range(3)))
    assert [one.service for one in found.facts.failing] == ["payments"]


def test_one_line_that_fails_by_chance_is_not_told_before_what_goes_on() -> None:
    chance = saying("payments", "TypeError: Cannot read properties of undefined", 4, 1)
    found = known(chance, *(saying("cart", "Queue holds 712 messages", minute, 9, 13) for minute in range(8)))
    assert headline(found.facts).startswith("cart: ")


def test_a_complaint_is_about_the_service_that_it_names_which_speaks_for_itself_where_it_says_what_is_wrong() -> None:
    complaints = [saying("cart", "request to payments failed: connection refused", minute, 30) for minute in range(6)]
    assert headline(known(*complaints).facts).startswith("payments: connection refused – cart: request to payments")
    own = saying("payments", "Could not open data directory /var: input/output error, exiting", 0.5, 2, 21)
    assert "data directory" in headline(known(*complaints, own).facts)


def test_a_service_that_fell_silent_is_told_with_how_long_and_how_often_it_spoke() -> None:
    assert headline(known(quiet=["payments"]).facts) == (
        "payments: stopped: none for 10 min, usually 20 a minute; since 11:00 until 11:10 UTC"
    )


def test_a_start_just_before_is_told_with_its_version() -> None:
    begun = Began("payments", "2.14.0", int((START - 3 * MINUTE).timestamp() * 1e9))
    found = known(*(saying("payments", "no such column: total", minute) for minute in range(5)), starts=[begun])
    assert headline(found.facts).endswith("after start of 2.14.0 at 10:57")


def test_what_fixed_it_the_last_time_is_told_and_no_headline_is_longer_than_it_may_be() -> None:
    said = known(*(saying("payments", POOL, minute) for minute in range(5)), requests=[(1, 20, 9)]).facts
    again = headline(said, (samples.similar("raised the pool"),))
    assert "fixed by raised the pool" in again
    for words in (POOL, POOL * 4, "x" * 400):
        long = known(*(saying("payments", words, minute) for minute in range(5)), requests=[(1, 20, 9)]).facts
        for similar in ((), (samples.similar("y" * 300),)):
            assert len(headline(long, similar)) <= LONGEST


def test_a_slow_statement_is_told_with_what_it_takes_and_took() -> None:
    slow = Contribution("duration", "charge <*>", 2.6, 0.02, "seconds", 0.5, START, service="payments")
    said = headline(known(findings=[slow]).facts)
    assert said.startswith("payments: takes 2.6 s instead of 20 ms – “charge …”; since 11:00")


def test_what_began_long_before_is_counted_from_its_first_line_and_what_was_usual_before_that() -> None:
    found = known(*(saying("payments", POOL, minute + 0.5, 2) for minute in range(-22, 5))).facts
    one = found.failing[0]
    assert (one.since, one.count, one.usual) == (START - 21.5 * MINUTE, 54, 0)


def test_usual_is_what_said_the_same_not_what_is_alike() -> None:
    before = [saying("payments", "upstream cart answered 503 after 9 ms", minute, 1) for minute in range(-60, -20, 10)]
    now = [saying("payments", "upstream users answered 503 after 9 ms", minute) for minute in range(5)]
    assert known(*before, *now).facts.failing[0].usual == 0


def test_a_value_is_told_only_where_it_is_that_of_all_lines_or_of_so_many_that_it_is_no_chance() -> None:
    said = "request ended with 502 after 8 ms"
    given = [saying("gateway", said, minute) for minute in range(5)]
    for heard, words in ((10, said), (2, said), (1, "request ended with … after … ms")):
        found = known(*((minute, replace(one, heard=heard)) for minute, one in given)).facts.failing[0]
        assert found.words == words
    few = known(*((minute, replace(one, heard=1, count=1)) for minute, one in given[:3])).facts.failing[0]
    assert few.words == said, "of three lines all three were heard"


def test_lines_of_a_kind_that_say_it_in_more_words_are_counted_too() -> None:
    given = [saying("payments", "payment failed", minute, 5) for minute in range(5)]
    more = ("payment failed", "java.net.SocketTimeoutException: read timed out")
    assert known(*((minute, replace(one, words=more)) for minute, one in given)).facts.failing[0].count == 25


def test_a_template_that_joined_another_is_counted_also_where_no_line_of_it_was_kept() -> None:
    given = [saying("payments", POOL, minute, 2) for minute in range(5)]
    joined = [(minute, replace(one, templates=(7,))) for minute, one in given]
    bare = (3, replace(given[3][1], template=7, words=(), lines=(), count=90))
    assert known(*joined, bare).facts.failing[0].count == 100


def test_what_is_a_case_of_what_is_told_is_counted_with_it() -> None:
    paths = ("/api/items/7", "/api/items/8", "/api/cart")
    given = [saying("gateway", f"GET {path} HTTP/1.1 502", minute, 4) for minute in range(5) for path in paths]
    (one,) = known(*given).facts.failing
    assert (one.words, one.count) == ("GET … HTTP/1.1 502", 60)


def test_lines_are_counted_also_of_a_window_that_kept_none() -> None:
    given = [saying("payments", POOL, minute, 2) for minute in range(5)]
    bare = [(minute, replace(one, words=(), lines=()) if minute == 3 else one) for minute, one in given]
    assert known(*bare).facts.failing[0].count == 10


def test_where_all_lines_come_from_one_of_several_hosts_or_versions_that_is_told() -> None:
    one = known(*(placed(saying("payments", POOL, m, 6), "node-2", version="2.14.0") for m in range(5))).facts
    told = [text for text, _ in sentences(one)]
    assert (
        f"payments: “{POOL}”: all 30 lines since 11:00 until 11:10 UTC are of host node-2; 3 hosts log there." in told
    )
    assert any("are of version 2.14.0; 2 versions log there." in text for text in told)
    hosts, versions = one.places
    assert (hosts.what, hosts.counts[0][:2], [lines for _, lines, _ in hosts.counts]) == (
        "host",
        ("node-2", 30),
        [30, 0, 0],
    )
    assert (versions.what, len(versions.counts)) == ("version", 2)
    every = known(*(placed(saying("payments", POOL, m, 6), "node-1", "node-2", "node-3") for m in range(5))).facts
    assert any("from all 3 hosts that log there." in text for text, _ in sentences(every))
    few = known(*(placed(saying("payments", POOL, m, 1), "node-2") for m in range(2))).facts
    assert few.spread == (), "of two lines both come from one host by chance"


def test_one_of_several_instances_is_told_where_hosts_have_more_than_one() -> None:
    given = [placed(saying("payments", POOL, m, 6), "node-2", version="2.14.0") for m in range(5)]
    of_one = [(minute, replace(one, instances=(("pod-4", one.count),))) for minute, one in given]
    found = known(*of_one, pods=6).facts
    assert any("are of instance pod-4; 6 instances log there." in text for text, _ in sentences(found))
    assert [one.what for one in found.places] == ["host", "version", "instance"]
    alike = known(*of_one, pods=3).facts
    assert "instance" not in [one.what for one in alike.places], "each host has one: they would say the same again"


def test_a_service_that_says_less_is_told_with_what_it_says_now_and_said_before() -> None:
    less = Contribution("volume", "payments says far less than usual", 2, 20, since=START, service="payments")
    found = known(findings=[less], lines=dict.fromkeys(range(10), 4)).facts
    assert headline(found) == ("payments: partly silent: 4 lines a minute instead of 20; since 11:00 until 11:10 UTC")
    (chart,) = found.series
    assert (chart.kind, chart.service, chart.usual) == ("all", "payments", 20.0)


def test_what_stopped_is_told_once_and_no_number_of_all_lines_has_quotation_marks() -> None:
    part = Contribution("template", "charge <*>", 0, 40, since=START, service="payments")
    slow = Contribution("duration", ALL_LINES, 2.6, 0.02, "seconds", 0.5, START, service="payments")
    found = known(findings=[part, slow], quiet=["payments"]).facts
    assert [(one.kind, one.text) for one in found.measured] == [("slow", ""), ("stopped", "")]


def test_facts_do_not_depend_on_the_order_of_windows() -> None:
    given = [saying("payments", POOL, minute) for minute in range(5)] + [saying("cart", POOL, 3)]
    assert known(*given).facts.failing == known(*reversed(given)).facts.failing


def test_what_the_headline_is_of_comes_first_in_what_happened() -> None:
    rare = saying("cart", "client went away", 3, 1, level=13)
    found = known(rare, quiet=["payments"]).facts
    assert headline(found).startswith("payments: stopped")
    assert [text.partition(":")[0] for text, _ in sentences(found)] == ["payments", "cart"]
    failing = known(*(saying("cart", POOL, minute) for minute in range(9)), quiet=["orders"]).facts
    assert headline(failing).startswith("cart: ")
    assert [text.partition(":")[0] for text, _ in sentences(failing)][:1] == ["cart"]


def test_every_number_of_a_sentence_has_its_time() -> None:
    found = known(*(saying("payments", POOL, minute) for minute in range(5)), requests=[(1, 20, 9)])
    for text, _ in sentences(found.facts):
        assert "since" in text
        assert "until 11:10 UTC" in text
