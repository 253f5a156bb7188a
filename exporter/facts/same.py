"""What did not change: what was compared with the hour before, and is as it was then within its usual spread."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import accumulate, pairwise

from exporter.facts.observed import Observed
from exporter.facts.series import Counts
from exporter.model.facts import Facts, Same
from exporter.model.times import moment, seconds

HOUR = 3600
"""Seconds before it, with which all is compared."""

LEAST_WINDOWS = 20
"""Windows of that hour from which a usual spread is known."""

LEAST, LEAST_EACH = 100, 2.0
"""Requests or lines of that hour, and of a window on average, below which as many as before says nothing."""

STRETCH = 5
"""Windows whose sum is compared: a single one may be anything."""

MARGIN = 1.25
"""How far the rate may be from the hour's, and a stretch beyond its least and most, where the whole is between them."""

MOST_COMPARED = 200
"""Services whose lines are compared, those with the most first."""

NAMED = 3

Windows = Sequence[tuple[str, int, Observed]]


def same(
    facts: Facts,
    windows: Windows,
    answers: Mapping[str, Counts],
    lines: Mapping[str, Counts],
    changed: Collection[str],
    length: int,
) -> Iterator[Same]:
    """Of the service that is told first, of where requests come in, and of services that nothing is told of.

    answers, lines: requests and lines of each service. changed: services of which something is told. length: seconds
    of a window.
    """
    service, began = facts.subject, facts.subject_since
    if began is None:
        return
    first = seconds(began) // length * length
    known = sorted({start for _, start, _ in windows if start >= first - HOUR})
    compared = _Compared([at for at in known if at < first], [at for at in known if at >= first], length)
    if not compared.is_known:
        return
    since = moment(first)
    door = _door(service, answers)
    if rates := compared.rates(answers.get(door, {})):
        yield Same("requests", door, since, *rates)
    elif all(one.service != service for one in facts.failing) and (rates := compared.rates(lines.get(service, {}))):
        # Of who fails, lines that fail would stand for those that are missing.
        yield Same("lines", service, since, *rates)
    if compared.is_whole and compared.is_heard(lines.get(service, {})) and _starts_nowhere(service, windows, known[0]):
        yield Same("starts", service, moment(known[0]))
    ranked = sorted(lines, key=lambda name: (-sum(lines[name].values()), name))
    others = [name for name in ranked if name and name not in {service, door, *changed}][:MOST_COMPARED]
    if steady := [name for name in others if compared.rates(lines[name])]:
        yield Same("others", "", since, names=tuple(steady[:NAMED]), more=max(0, len(steady) - NAMED))


def _door(service: str, answers: Mapping[str, Counts]) -> str:
    """Whose requests are compared: its own, else those of who answers most, where they come in."""
    busiest = sorted(answers, key=lambda name: (-sum(answers[name].values()), name))
    return service if service in answers else next(iter(busiest), "")


class _Compared:
    """Windows from when it began on, and those of the hour before."""

    def __init__(self, before: Sequence[int], now: Sequence[int], length: int) -> None:
        self._before, self._now, self._length = before, now, length
        self._stretch = min(STRETCH, len(now))

    @property
    def is_known(self) -> bool:
        return len(self._before) >= LEAST_WINDOWS and bool(self._now)

    @property
    def is_whole(self) -> bool:
        """Whether all of that hour and all since is known, without a gap."""
        known = [*self._before, *self._now]
        whole = len(self._before) * self._length >= HOUR
        return whole and all(later - one == self._length for one, later in pairwise(known))

    def is_heard(self, counts: Counts) -> bool:
        """Whether there is any in most windows: who is silent does not say that it starts."""
        return 2 * sum(at in counts for at in self._now) > len(self._now)

    def rates(self, counts: Counts) -> tuple[float, float] | None:
        """How many a minute now and in the hour before, where that is as it was: None where it is not, or too few."""
        before, now = ([counts.get(at, 0) for at in each] for each in (self._before, self._now))
        if sum(before) < max(LEAST, LEAST_EACH * len(before)):
            return None
        minute = 60 / self._length
        rate, usual = (sum(each) * minute / len(each) for each in (now, before))
        if not usual / MARGIN <= rate <= usual * MARGIN:
            return None
        stretches, earlier = (_sums(each, self._stretch) for each in (now, before))
        least, most = min(earlier), max(earlier)
        if not least <= rate / minute * self._stretch <= most:
            return None
        return (rate, usual) if all(least / MARGIN <= one <= most * MARGIN for one in stretches) else None


def _sums(counts: Sequence[int], of: int) -> list[int]:
    """Of so many that follow each other.

    >>> _sums([1, 2, 3, 4], 2)
    [3, 5, 7]
    """
    up_to = [0, *accumulate(counts)]
    return [end - start for start, end in zip(up_to, up_to[of:], strict=False)]


def _starts_nowhere(service: str, windows: Windows, first: int) -> bool:
    """Whether no line of a service speaks of a start or a stop; not where a window does not say whether any does."""
    own = [one for _, start, one in windows if start >= first and service in one.lines]
    return all(one.moving is not None and service not in one.moving for one in own)
