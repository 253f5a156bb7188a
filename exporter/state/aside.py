"""Read the bodies of given rows one by one: a bad one costs itself and nothing else."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from exporter.model.times import moment
from exporter.state.bodies import unpack
from exporter.state.file import Rows

REMEDY = "put it right in the state file or restore a copy of that, or leave it: it goes with what is as old"


def dated(rows: Rows, table: str, key: str, value: int) -> datetime | None:
    """The moment in a column of a row; None, and noted as set aside, where it is no time."""
    try:
        return moment(value)
    except (OverflowError, TypeError) as error:
        rows.aside.note(table, key, error, REMEDY)
        return None


def readable(rows: Rows, table: str, key: str, kind: Any, body: str) -> Any:
    """The value of `kind` that the body of a row holds; None, and noted as set aside, where it cannot be read."""
    try:
        return unpack(kind, body)
    except (OSError, MemoryError):
        # The machine fails, the row need not be wrong: an alert, a cluster that is skipped may be lost.
        raise
    except Exception as error:
        # Whatever is wrong with it: the other rows are read.
        rows.aside.note(table, key, error, REMEDY)
        return None
