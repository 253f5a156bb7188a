"""Read by what was chosen for a moment: one decoder for each choice, and records that are short enough to choose by."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from exporter.model import Choice, RecordSourceSettings
from integrations._documents import Decoder

SHORT = 256
"""Characters of a value by which is chosen what it is."""

MOST_VALUES = 200
"""Of an object."""

DEEPEST = 8


class Decoders:
    """Decoders by the moment from which on they hold."""

    def __init__(self, settings: RecordSourceSettings) -> None:
        self._settings = settings
        self._since: list[datetime] = []
        self._decoders = [Decoder(settings)]

    def read_by(self, choices: Sequence[tuple[datetime, Choice]]) -> None:
        """From each moment on, records are read by what was chosen for it."""
        self._since = [since for since, _ in choices]
        self._decoders = [self._decoders[0], *(Decoder(self._settings, chosen=choice) for _, choice in choices)]

    def at(self, moment: datetime) -> Decoder:
        """The one for what begins at a moment; what is older than all choices is read by the first."""
        return self._decoders[max(bisect_right(self._since, moment), min(1, len(self._since)))]


def open_columns(settings: RecordSourceSettings) -> dict[str, tuple[str, ...]]:
    """The columns of which the configuration does not say where they are, but for the time."""
    given = settings.fields.model_fields_set
    return {name: paths for name, paths in settings.columns().items() if name not in given and name != "timestamp"}


def short(record: Mapping[str, Any], depth: int = 0) -> dict[str, Any]:
    """A record by which can be chosen, whatever its size.

    >>> short({"a": "b" * 1000, "c": [1, 2]})["a"] == "b" * SHORT
    True
    """
    kept: dict[str, Any] = {}
    for key, value in record.items():
        if len(kept) == MOST_VALUES:
            break
        if isinstance(value, dict):
            kept[key] = short(value, depth + 1) if depth < DEEPEST else {}
        else:
            kept[key] = value[:SHORT] if isinstance(value, str) else None if isinstance(value, list) else value
    return kept
