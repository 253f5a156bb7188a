"""Choose the lines that a model is shown: of each service and template in turn, so that no flood takes all the room."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from exporter.model import Evidence

MAX_SAMPLES = 40
"""Lines in a prompt."""


def samples(evidence: Sequence[Evidence], most: int = MAX_SAMPLES) -> list[Evidence]:
    """At most so many lines, in order of time."""
    turns: Counter[tuple[str, str]] = Counter()
    ranked: list[tuple[int, int, Evidence]] = []
    for position, line in enumerate(evidence):
        key = (line.service, line.template or line.body[:80])
        ranked.append((turns[key], position, line))
        turns[key] += 1
    chosen = sorted(ranked, key=lambda item: item[:2])[:most]
    return [line for _, _, line in sorted(chosen, key=lambda item: (item[2].timestamp, item[1]))]
