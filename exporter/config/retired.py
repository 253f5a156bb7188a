"""Settings that have lost their meaning: for one release they are accepted with a warning, then they go from here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from exporter.config.problems import Place, Problem

RETIRED: dict[str, str] = {
    "sources.*.fields.span": "remove it, nothing was made of spans",
    "memory.min_similarity": "remove it, what is told as the same failure, or as related, is decided by evidence",
}
"""What to do instead, by path, where `*` is any item of a list: `"sources.*.batch": "set page_size"`."""


def without_retired(value: Any, warnings: list[Problem], place: Place = ()) -> Any:
    """The values that still mean something; of each other one there is a warning."""
    if isinstance(value, list):
        return [without_retired(item, warnings, (*place, index)) for index, item in enumerate(value)]
    if not isinstance(value, Mapping):
        return value
    kept = {}
    for key, item in value.items():
        below = (*place, str(key))
        instead = RETIRED.get(".".join("*" if isinstance(part, int) else part for part in below))
        if instead is None:
            kept[key] = without_retired(item, warnings, below)
        else:
            warnings.append(Problem(below, f"has no effect any more, and the next release refuses it: {instead}"))
    return kept
