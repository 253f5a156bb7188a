"""How much of it there was over time: what a chart of an incident draws, from its windows and the hour before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from exporter.facts.groups import Group
from exporter.facts.observed import Observed
from exporter.model.facts import Facts, Series, SeriesKind
from exporter.model.times import moment

MOST_STEPS = 120
"""Of a series: of a longer time several windows are one step."""

Counts = Mapping[int, int]
"""By the start of a window, in seconds."""


def series(
    facts: Facts,
    groups: Sequence[Group],
    windows: Sequence[tuple[str, int, Observed]],
    answers: Mapping[str, Counts],
    lines: Mapping[str, Counts],
    length: int,
) -> tuple[Series, ...]:
    """The lines that failed first, then requests that failed; else what only numbers say.

    groups: those of `facts.failing`, in the same order. windows: all that are known. answers, lines: requests and lines
    of each service. length: seconds of a window.
    """
    known = sorted({start for _, start, _ in windows})
    if not known:
        return ()
    cut = _Steps(known, length)
    measured, top = facts.measured[:1], facts.decisive
    found = []
    if top and facts.fails_first:
        alike = [group for one, group in zip(facts.failing, groups, strict=False) if one in facts.alike]
        usual = sum(one.usual for one in facts.alike) * length / 60
        found.append(cut.series("lines", top.service, _lines(alike, length), usual))
    elif measured and measured[0].kind == "fewer":
        one = measured[0]
        found.append(cut.series("requests", one.service, answers.get(one.service, {}), one.expected * length / 60))
    elif measured and measured[0].kind in ("stopped", "less") and not measured[0].text:
        one = measured[0]
        found.append(cut.series("all", one.service, lines.get(one.service, {}), one.expected * length / 60))
    if facts.impact:
        service, since = facts.impact.service, facts.impact.since
        failed = _failed(windows, service)
        before = [failed.get(start, 0) for start in known if moment(start) < since]
        found.append(cut.series("failed", service, failed, sum(before) / len(before) if before else 0.0))
    return tuple(found)


class _Steps:
    """The windows from the first to the last, several in one step where there are many."""

    def __init__(self, known: Sequence[int], length: int) -> None:
        self._first, self._length, self._known = known[0], length, set(known)
        windows = (known[-1] - known[0]) // length + 1
        self._each = -(-windows // MOST_STEPS)
        self._steps = -(-windows // self._each)

    def series(self, kind: SeriesKind, service: str, counts: Counts, usual: float) -> Series:
        return Series(
            kind=kind,
            service=service,
            start=moment(self._first),
            step=self._each * self._length,
            counts=tuple(self._count(step, counts) for step in range(self._steps)),
            usual=round(usual * self._each, 6),
        )

    def _count(self, step: int, counts: Counts) -> int | None:
        """None where no window of the step was read."""
        first = self._first + step * self._each * self._length
        own = [start for n in range(self._each) if (start := first + n * self._length) in self._known]
        return sum(counts.get(start, 0) for start in own) if own else None


def _lines(groups: Iterable[Group], length: int) -> dict[int, int]:
    found: dict[int, int] = {}
    for group in groups:
        for seen in (*group.before, *group.now):
            start = int(seen.end) - length
            found[start] = found.get(start, 0) + seen.count
    return found


def _failed(windows: Iterable[tuple[str, int, Observed]], service: str) -> dict[int, int]:
    found: dict[int, int] = {}
    for _, start, one in windows:
        for requests in one.requests:
            if requests.service == service:
                found[start] = found.get(start, 0) + requests.failed
    return found
