"""What a chart of an incident draws: the same lines and requests that its facts count, in steps of time."""

from __future__ import annotations

from datetime import timedelta

from exporter.facts.observed import Observed, Requests
from exporter.facts.series import MOST_STEPS
from exporter.facts.story import told
from exporter.model import dumps, loads
from exporter.model.facts import Facts
from tests.facts.test_facts import MINUTE, START, saying


def window(minute: int, failing: bool = False) -> tuple[str, int, Observed]:
    """A minute in which payments answers twenty requests, of which half fail while it fails."""
    sayings = (saying("payments", "HikariPool-1 - Connection is not available", minute)[1],) if failing else ()
    requests = (Requests("payments", 1, 20, 10 if failing else 20, 10 if failing else 0),)
    start = int((START + minute * MINUTE).timestamp())
    return "shop", start, Observed({"payments": 30}, sayings, requests)


def of(minutes: int, fails_from: int, gap: int | None = None) -> Facts:
    windows = [window(minute, minute >= fails_from) for minute in range(minutes) if minute != gap]
    return told(windows, MINUTE, START + fails_from * MINUTE, START + minutes * MINUTE, {"payments": 1.0}).facts


def test_the_steps_add_up_to_what_the_facts_count() -> None:
    facts = of(80, 70)
    lines, failed = facts.series
    assert (lines.kind, lines.service, lines.start, lines.step) == ("lines", "payments", START, 60)
    assert sum(count or 0 for count in lines.counts) == facts.failing[0].count == 100
    assert set(lines.counts[:70]) == {0}
    assert facts.impact is not None
    assert sum(count or 0 for count in failed.counts) == facts.impact.failed
    assert (lines.usual, failed.usual) == (0.0, 0.0)


def test_a_window_that_was_not_read_is_none_and_not_nothing() -> None:
    lines, _ = of(80, 70, gap=20).series
    assert [n for n, count in enumerate(lines.counts) if count is None] == [20]


def test_a_long_incident_has_as_many_steps_as_fit() -> None:
    facts = of(700, 70)
    for one in facts.series:
        assert len(one.counts) <= MOST_STEPS
        assert one.step == 6 * 60
        assert one.start + timedelta(seconds=one.step) * len(one.counts) >= START + 700 * MINUTE
    assert sum(count or 0 for count in facts.series[0].counts) == facts.failing[0].count


def test_a_series_is_read_again_as_it_was_written() -> None:
    facts = of(80, 70, gap=20)
    assert loads(Facts, dumps(facts)) == facts
