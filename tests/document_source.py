"""A source over documents in memory, which finds by looking at them where they keep what."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import polars as pl

from exporter.model import Check, Choice, RecordSourceSettings, TimeRange, floor
from integrations._choosing import Decoders, open_columns

Documents = Sequence[tuple[datetime, dict[str, Any]]]


class DocumentSource:
    """Documents, each with its time, in pages of any size."""

    def __init__(self, settings: RecordSourceSettings, documents: Documents, page_size: int = 1000) -> None:
        self.name = settings.name
        self.documents = documents
        self.sampled: list[TimeRange] = []
        self._settings = settings
        self._page_size = page_size
        self._decoders = Decoders(settings)

    def _between(self, time_range: TimeRange) -> list[tuple[str, datetime, dict[str, Any]]]:
        found = enumerate(self.documents)
        return [(str(number), moment, document) for number, (moment, document) in found if moment in time_range]

    async def query(self, time_range: TimeRange) -> AsyncIterator[pl.DataFrame]:
        found, decoder = self._between(time_range), self._decoders.at(time_range.start)
        for start in range(0, len(found), self._page_size):
            piece = found[start : start + self._page_size]
            times = pl.Series([moment for _, moment, _ in piece]).cast(pl.Datetime("ns", "UTC")).cast(pl.Int64)
            yield decoder.page([document for *_, document in piece], [key for key, *_ in piece], times)

    async def count(self, time_range: TimeRange, window: timedelta) -> Mapping[datetime, int]:
        counts: dict[datetime, int] = {}
        for _, moment, _ in self._between(time_range):
            counts[floor(moment, window)] = counts.get(floor(moment, window), 0) + 1
        return counts

    def open_columns(self) -> Mapping[str, Sequence[str]]:
        return open_columns(self._settings)

    async def sample(self, time_range: TimeRange, most: int) -> Sequence[Mapping[str, Any]]:
        self.sampled.append(time_range)
        return [document for *_, document in self._between(time_range)][:most]

    def read_by(self, choices: Sequence[tuple[datetime, Choice]]) -> None:
        self._decoders.read_by(choices)

    async def unusable(self) -> Mapping[str, int]:
        return {}

    async def check(self) -> Sequence[Check]:
        return []

    async def close(self) -> None:
        pass
