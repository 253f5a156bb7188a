"""Find who a silent service goes on as: one that is younger than the silence and writes what it wrote was renamed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import numpy as np

from exporter.detection.past import index as base
from exporter.detection.past.source import Past
from exporter.mining.masks import WILDCARD

SAME = 0.5
"""Share of its lines of which another must write the texts, to be the same under another name."""


def successor(past: Past, service: str, since: int) -> str | None:
    """The service that writes the texts of one that is silent since a window, and came about then; None: nobody does.

    It came about then where it is known for no longer, before the silence, than any service is before it is judged:
    of two that ran side by side for long, one is missed.
    """
    youngest = since - past.settings.known_for // timedelta(seconds=1)
    own = _written(past, service)
    needed = SAME * sum(lines for _, lines in own)
    for name, known in sorted(past.services.known.items()):
        if name != service and known.first > youngest and known.last >= since:
            others = [text.split() for text, _ in _written(past, name)]
            same = sum(lines for text, lines in own if _is_among(text.replace(service, name).split(), others))
            if same and same >= needed:
                return name
    return None


def _written(past: Past, service: str) -> list[tuple[str, int]]:
    """The texts of a service and how many lines of each are remembered."""
    index, sums = past.history.index, past.history.total()
    own = np.flatnonzero((index.kind == base.TEMPLATE) & (index.service == index.number(service)))
    found = zip(index.first[own].tolist(), sums[own, base.SUM].tolist(), strict=True)
    return [(past.texts[template], lines) for template, lines in found if lines and template in past.texts]


def _is_among(text: Sequence[str], others: Sequence[Sequence[str]]) -> bool:
    """Whether one of these is the same but for what varies: of a young service less is known to vary."""
    return any(
        len(text) == len(other) and all(a == b or WILDCARD in (a, b) for a, b in zip(text, other, strict=True))
        for other in others
    )
