"""The rows in which detection keeps what it has learnt: tables as values, so that a view brings its own along."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from exporter.model import SqlValue, Write

Rows = Mapping[str, Sequence[tuple[SqlValue, ...]]]
"""All rows of one source, by table; columns as `Table` has them."""

_TYPES = {int: "INTEGER", str: "TEXT", float: "REAL", bytes: "BLOB"}


@dataclass(frozen=True)
class Table:
    """Derived rows of sources. The columns are `source`, then those of the key, then the others."""

    name: str
    key: Mapping[str, type]
    """What tells the rows of one source apart; nothing where each source has one row."""
    values: Mapping[str, type]

    def put(self, source: str, rows: Iterable[tuple[SqlValue, ...]]) -> tuple[Write, ...]:
        """Write these rows, given without their source; nothing where there are none."""
        return self._write(source, (*self.key, *self.values), rows, delete=False)

    def delete(self, source: str, keys: Iterable[tuple[SqlValue, ...]]) -> tuple[Write, ...]:
        """Delete the rows with these keys; nothing where there are none."""
        return self._write(source, tuple(self.key), keys, delete=True)

    def _write(
        self, source: str, columns: Sequence[str], rows: Iterable[tuple[SqlValue, ...]], delete: bool
    ) -> tuple[Write, ...]:
        found = tuple((source, *row) for row in rows)
        return (Write(self.name, ("source", *columns), found, delete),) if found else ()

    def definition(self) -> str:
        """The statement that makes the table."""
        columns = {"source": str, **self.key, **self.values}
        kept = "".join(f"{name} {_TYPES[kind]} NOT NULL, " for name, kind in columns.items())
        key = ", ".join(("source", *self.key))
        return f"CREATE TABLE IF NOT EXISTS {self.name} ({kept}PRIMARY KEY ({key})) STRICT, WITHOUT ROWID;\n"


PROGRESS = Table("detection_progress", {}, {"settled": int, "learnt": int, "body": str})
OBSERVATIONS = Table("detection_observations", {"window": int}, {"body": bytes})
BLOCKS = Table("detection_blocks", {"hour": int}, {"windows": int, "body": bytes})
SERVICES = Table(
    "detection_services",
    {"service": str},
    dict.fromkeys(("first", "last", "windows", "lines", "silent", "longest", "low", "alive"), int),
)
RENAMES = Table("detection_renames", {"old": int}, {"new": int})
MODELS = Table("detection_models", {"kind": str}, {"fitted_through": int, "body": bytes})
POOL = Table("detection_pool", {"window": int, "service": str}, {"body": bytes})
SCORES = Table("detection_scores", {"window": int}, {"body": bytes})
EPISODES = Table("detection_episodes", {"service": str, "part": int}, {"body": str})
SILENCES = Table("detection_silences", {"whole": int, "service": str}, {"body": str})
SHARED = (PROGRESS, OBSERVATIONS, BLOCKS, SERVICES, RENAMES, MODELS, POOL, SCORES, EPISODES)
"""What the views of a source have together."""


def integer(value: SqlValue) -> int:
    """A value of a column of integers."""
    return int(value or 0)


def binary(value: SqlValue) -> bytes:
    """A value of a column of bytes."""
    return value if isinstance(value, bytes) else b""
