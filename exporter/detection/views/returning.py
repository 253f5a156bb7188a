"""What failed before and comes back: failing lines that a service has hardly ever written, and writes repeatedly now.

Their number alone says little: where lines came in one burst, another like it is within their spread.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from exporter.detection.look import Look
from exporter.detection.past import index as base
from exporter.detection.past.history import RECENT
from exporter.detection.past.index import Bools, Ints
from exporter.detection.views.novelty import AGAIN
from exporter.model import Severity

RARE = 0.01
"""How often any of RECENT windows has it at most, by the windows that had it (one is added to them: Laplace)."""

USUAL = 0.5
"""The same of this hour of earlier days, or of the last hours, from which it is no news."""

LEAST = 2
"""Lines in RECENT windows from which it is a reason, where its level is ERROR or worse; from AGAIN on it is a finding
by itself, as what is new is."""


class Back(NamedTuple):
    """A template: its lines in this window, in RECENT of them, and how many are usual in one."""

    template: int
    lines: int
    together: int
    expected: float


def returning(look: Look) -> Mapping[str, list[Back]]:
    """The templates of each service of a window that come back."""
    index, placed = look.past.history.index, look.placed
    places: Ints = np.unique(placed.places[index.kind[placed.places] == base.TEMPLATE])
    places = places[_seldom(look, places)]
    if not len(places):
        return {}
    now, together = np.zeros(len(index), np.int64), look.together
    np.add.at(now, placed.places, placed.count)
    places = places[together[places] >= LEAST]
    keys = [index.keys[place] for place in places.tolist()]
    levels = look.levels({(service, template) for service, _, template, _ in keys})
    total, found = look.past.history.total(), dict[str, list[Back]]()
    for place, (service, _, template, _) in zip(places.tolist(), keys, strict=True):
        least = LEAST if levels[service, template] >= Severity.ERROR else AGAIN
        if levels[service, template] >= Severity.WARN and together[place] >= least:
            windows = int(total[index.against[place], base.WINDOWS])
            usual = float(total[place, base.SUM]) / windows
            found.setdefault(service, []).append(Back(template, int(now[place]), int(together[place]), usual))
    return found


def _seldom(look: Look, places: Ints) -> Bools:
    """Which of these were in few of the service's windows, and are usual neither at this hour nor lately."""
    total, *others = look.pasts
    against = look.past.history.index.against[places]
    had, of = total[places, base.WINDOWS], total[against, base.WINDOWS]
    seldom = (had > 0) & (RECENT * (had + 1) <= RARE * (of + 1))
    for past in others:
        seldom &= RECENT * past[places, base.WINDOWS] < USUAL * np.maximum(past[against, base.WINDOWS], 1)
    return np.asarray(seldom)


def findings(back: Mapping[str, list[Back]]) -> Iterator[str]:
    """Services of which one is a finding by itself."""
    return (service for service, own in back.items() if any(one.together >= AGAIN for one in own))
