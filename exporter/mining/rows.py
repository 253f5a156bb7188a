"""The rows in which mining keeps what it has learnt."""

from __future__ import annotations

from dataclasses import dataclass

from exporter.model import SqlValue

TABLES = """
CREATE TABLE IF NOT EXISTS mining_templates (
    source TEXT NOT NULL, id INTEGER NOT NULL, service TEXT NOT NULL, cluster INTEGER NOT NULL, text TEXT NOT NULL,
    survivor INTEGER NOT NULL, first_seen INTEGER NOT NULL, seen INTEGER NOT NULL, example TEXT NOT NULL,
    PRIMARY KEY (source, id)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS mining_clusters (
    source TEXT NOT NULL, cluster INTEGER NOT NULL, service TEXT NOT NULL, position INTEGER NOT NULL,
    leaf TEXT NOT NULL, kind TEXT NOT NULL, tokens TEXT NOT NULL, variants TEXT NOT NULL, PRIMARY KEY (source, cluster)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS mining_shapes (
    source TEXT NOT NULL, service TEXT NOT NULL, shape INTEGER NOT NULL, position INTEGER NOT NULL,
    masked INTEGER NOT NULL, template INTEGER NOT NULL, PRIMARY KEY (source, service, shape)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS mining_counts (
    source TEXT NOT NULL, kind TEXT NOT NULL, start INTEGER NOT NULL, counts BLOB NOT NULL,
    PRIMARY KEY (source, kind, start)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS mining_counters (
    source TEXT PRIMARY KEY, template INTEGER NOT NULL, cluster INTEGER NOT NULL, position INTEGER NOT NULL,
    retired INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
"""

TEMPLATE_COLUMNS = ("source", "id", "service", "cluster", "text", "survivor", "first_seen", "seen", "example")

CLUSTER_COLUMNS = ("source", "cluster", "service", "position", "leaf", "kind", "tokens", "variants")

SHAPE_COLUMNS = ("source", "service", "shape", "position", "masked", "template")

COUNT_COLUMNS = ("source", "kind", "start", "counts")

COUNTER_COLUMNS = ("source", "template", "cluster", "position", "retired")


@dataclass
class Counters:
    """The last numbers given; `retired` is the step in which templates were last retired."""

    template: int
    cluster: int
    position: int
    retired: int

    def next_template(self) -> int:
        self.template += 1
        return self.template

    def next_cluster(self) -> int:
        self.cluster += 1
        return self.cluster

    def next_position(self) -> int:
        self.position += 1
        return self.position


def position_of(row: tuple[SqlValue, ...]) -> int:
    """The order of insertion, of a cluster or a shape."""
    return int(row[3] or 0)


def signed(key: int) -> int:
    """A 64-bit key as SQLite holds it.

    >>> signed(2**64 - 1), unsigned(-1) == 2**64 - 1
    (-1, True)
    """
    return key - (1 << 64) if key >= 1 << 63 else key


def unsigned(key: int) -> int:
    """The key that `signed` wrote."""
    return key % (1 << 64)
