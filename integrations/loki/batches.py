"""Entries of Loki as pages: a line is one record, or a batch of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from integrations._batches import batch_in, ids_of, parted
from integrations._documents import Decoder
from integrations.loki.entries import LINE, STREAM, Entry


def decoded(entries: Sequence[Entry], decoder: Decoder, of_batches: Decoder) -> pl.DataFrame:
    """A page; the records of a batch have the time of its line, and say where they are from as documents do."""
    batches = {number: batch for number, entry in enumerate(entries) if (batch := batch_in(entry.document[LINE]))}
    if not batches:
        return _page(entries, decoder)
    plain = _page([entry for number, entry in enumerate(entries) if number not in batches], decoder)
    return pl.concat([plain, _records([(entries[number], batch) for number, batch in batches.items()], of_batches)])


def _page(entries: Sequence[Entry], decoder: Decoder) -> pl.DataFrame:
    times = pl.Series([entry.timestamp for entry in entries], dtype=pl.Int64)
    # No sequence: Loki sorts by time, and in no lasting order what shares a nanosecond.
    order = [0] * len(entries)
    return decoder.page([entry.document for entry in entries], [entry.id for entry in entries], times, order)


def _records(batches: Sequence[tuple[Entry, Mapping[str, Any]]], decoder: Decoder) -> pl.DataFrame:
    documents = [{**_labels(entry), **batch} for entry, batch in batches]
    records, owners = parted(documents) or ([], [])
    times = pl.Series([batches[owner][0].timestamp for owner in owners], dtype=pl.Int64)
    ids = ids_of([entry.id for entry, _ in batches], owners)
    page = decoder.page(records, ids, times, list(range(len(records))))
    streams = pl.Series([batches[owner][0].document[STREAM] for owner in owners], dtype=pl.String)
    return page.with_columns(stream=streams) if len(page) == len(streams) else page


def _labels(entry: Entry) -> dict[str, str]:
    """Without what Loki guessed of the batch as a whole."""
    return {key: value for key, value in entry.document.items() if key not in (LINE, STREAM, "detected_level")}
