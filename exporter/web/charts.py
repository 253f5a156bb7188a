"""Charts of an incident as numbers for an SVG: how much failed in each step of time against what is usual.

A chart is one wide for each step and HIGH high, and is stretched to the width that there is: what is written stands
around it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from exporter.model import Incident, Notice
from exporter.model.facts import Facts, Series, SeriesKind
from exporter.wording import words
from exporter.wording.text import brief, clock, duration, hour, number

HIGH = 100

MOST_MARKS = 12
"""Releases, starts and notices that are marked, the first ones."""

TITLES: Mapping[SeriesKind, str] = {
    "lines": "Lines that say what failed",
    "failed": "Requests that failed",
    "requests": "Requests",
    "all": "Log lines",
}


@dataclass(frozen=True)
class Mark:
    """Something that happened at a moment: where it stands (in steps), its number, and what it was."""

    x: float
    number: int
    at: datetime
    text: str


@dataclass(frozen=True)
class Bar:
    """From `x` on, one step wide."""

    x: int
    y: float
    height: float


@dataclass(frozen=True)
class Chart:
    """What is drawn and written. `steps` is its width; `shade` from where to where the incident lasted; `usual` the
    height at which a line says what is usual; `gaps` steps of which nothing was read."""

    title: str
    alternative: str
    steps: int
    bars: tuple[Bar, ...]
    gaps: tuple[int, ...]
    usual: float
    shade: tuple[float, float]
    marks: tuple[Mark, ...]
    top: str
    expected: str
    begins: datetime
    ends: datetime


def charts(incident: Incident, facts: Facts | None, notices: Iterable[Notice] = ()) -> list[Chart]:
    """A chart of each series that is known of an incident; notices of its time are marked."""
    if facts is None:
        return []
    return [_chart(one, incident, _happened(facts, one, notices)) for one in facts.series if any(one.counts)]


def _chart(one: Series, incident: Incident, happened: Sequence[tuple[datetime, str]]) -> Chart:
    highest = max(max((count or 0 for count in one.counts), default=0), one.usual, 1)
    each, steps = timedelta(seconds=one.step), len(one.counts)
    ends = one.start + each * steps

    def place(at: datetime) -> float:
        return round(min(max((at - one.start) / each, 0.0), float(steps)), 2)

    title = f"{TITLES[one.kind]}, {brief(one.service, 60)}"
    return Chart(
        title=title,
        alternative=_alternative(title, one, incident),
        steps=steps,
        bars=tuple(_bar(n, count / highest) for n, count in enumerate(one.counts) if count),
        gaps=tuple(n for n, count in enumerate(one.counts) if count is None),
        usual=round(HIGH * (1 - one.usual / highest), 2),
        shade=(place(incident.starts_at), place(incident.last_seen)),
        marks=tuple(Mark(place(at), n, at, text) for n, (at, text) in enumerate(happened[:MOST_MARKS], 1)),
        top=f"{number(highest)} in {duration(each)}",
        expected=f"usually {number(one.usual)}" if one.usual else "usually none",
        begins=one.start,
        ends=ends,
    )


def _bar(step: int, share: float) -> Bar:
    height = round(max(HIGH * share, 1.5), 2)
    return Bar(step, round(HIGH - height, 2), height)


def _alternative(title: str, one: Series, incident: Incident) -> str:
    """What the chart shows, in words."""
    each = timedelta(seconds=one.step)
    moments = [(one.start + each * n, count) for n, count in enumerate(one.counts) if count is not None]
    before = [count for at, count in moments if at + each <= incident.starts_at]
    during = [(count, at) for at, count in moments if at + each > incident.starts_at]
    most, at = max(during, key=lambda pair: (pair[0], -pair[1].timestamp()), default=(0, one.start))
    least = min((count for count, _ in during), default=0)
    return (
        f"{title}, each {duration(each)}: {sum(before):,} before {clock(incident.starts_at)}, from then on "
        f"{sum(count for count, _ in during):,}, between {least:,} and {most:,}, most at {hour(at)}; "
        f"{f'usually {number(one.usual)}' if one.usual else 'usually none'}."
    )


def _happened(facts: Facts, one: Series, notices: Iterable[Notice]) -> list[tuple[datetime, str]]:
    """Starts, releases and notices within a series, in order."""
    ends = one.start + timedelta(seconds=one.step) * len(one.counts)
    found = [(start.at, f"{brief(start.service, 60)} started {brief(start.version, 40)}") for start in facts.starts]
    found += [(notice.at, words.notice(notice)) for notice in notices]
    return sorted({pair for pair in found if one.start <= pair[0] < ends})
