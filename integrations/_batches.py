"""Documents that hold many records, as a collector or a subscription writes them, parted into these."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from exporter.reading.batches import BATCHES, records_of

MOST_RECORDS = 200_000
"""Of the documents of one page, so that none fills the memory."""

Document = Mapping[str, Any]


def parted(documents: Sequence[Document]) -> tuple[list[Document], list[int]] | None:
    """The records of some documents, and the number of the document of each; None where none is a batch.

    >>> parted([{"a": 1}, {"logEvents": [{"message": "x"}, {"message": "y"}]}])
    ([{'a': 1}, {'message': 'x'}, {'message': 'y'}], [0, 1, 1])
    """
    if all(map(BATCHES.isdisjoint, documents)):
        return None
    records: list[Document] = []
    owners: list[int] = []
    for number, document in enumerate(documents):
        found = None if BATCHES.isdisjoint(document) else records_of(document)
        common = {key: value for key, value in document.items() if key not in BATCHES} if found else {}
        several = [{**common, **record} for record in found[: MOST_RECORDS - len(records)]] if found else [document]
        records += several
        owners += [number] * len(several)
    return records, owners


def ids_of(ids: Sequence[str], owners: Sequence[int]) -> list[str]:
    """What records are called: the first as its document.

    >>> ids_of(["a", "b"], [0, 1, 1])
    ['a', 'b', 'b#1']
    """
    found: list[str] = []
    place = 0
    for at, owner in enumerate(owners):
        place = place + 1 if at and owners[at - 1] == owner else 0
        found.append(f"{ids[owner]}#{place}" if place else ids[owner])
    return found


def batch_in(line: str) -> Document | None:
    """The batch that a line of text is, or None."""
    if not line.startswith("{") or not any(f'"{key}"' in line for key in BATCHES):
        return None
    try:
        found = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return found if isinstance(found, dict) and records_of(found) else None
