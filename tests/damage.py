"""A state file that an installed release left, damaged as a seed chooses, and opened by all that opens one."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import sqlite3
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from random import Random
from unittest import mock

import zstandard

from exporter.cli.main import main
from exporter.model import SystemClock

LEFT = Path(__file__).parent / "data" / "82d5d22"
LEFT_AT = datetime.fromisoformat(json.loads((LEFT / "expected.json").read_text())["at"])
NOBODY = "http://127.0.0.1:9"
SERVERS = ("LLM", "ALERTMANAGER", "GRAFANA", "SLACK", "WEBHOOK", "OTLP")

PAGE = 4096

ODD = ("no JSON", "", "null", "[]", '{"version": 99}', "{" * 2_000, "\x00", "318857", "-1", "𝕏" * 50)
"""What stands in a row that somebody, or something, wrote into."""

CODES = (0, 1, 2, 3)
"""Ends of a command that say something; any other one is none."""


@dataclass(frozen=True)
class Opened:
    """What came of one command over one damaged file."""

    damage: str
    seed: int
    command: str
    wrong: str
    """A traceback, or an exit code that means nothing; empty where all is well."""


def page(path: Path, chance: Random) -> None:
    """Junk on some pages."""
    with path.open("r+b") as file:
        for _ in range(chance.randint(1, 4)):
            file.seek(PAGE * chance.randrange(path.stat().st_size // PAGE))
            file.write(chance.randbytes(PAGE))


def bits(path: Path, chance: Random) -> None:
    """Some bytes are others."""
    body = bytearray(path.read_bytes())
    for _ in range(chance.randint(1, 200)):
        body[chance.randrange(len(body))] = chance.randrange(256)
    path.write_bytes(body)


def truncated(path: Path, chance: Random) -> None:
    os.truncate(path, chance.randrange(path.stat().st_size))


def half_written(path: Path, chance: Random) -> None:
    """As long as it was, and nothing at the end."""
    size = path.stat().st_size
    os.truncate(path, chance.randrange(size))
    os.truncate(path, size)


def log(path: Path, chance: Random) -> None:
    """A write-ahead log of another file."""
    path.with_name(f"{path.name}-wal").write_bytes(chance.randbytes(chance.choice((10, 32, 9_000))))


def rows(path: Path, chance: Random) -> None:
    """Something odd in some columns of some tables."""
    with closing(sqlite3.connect(path)) as connection:
        for _ in range(chance.randint(1, 6)):
            table, column = chance.choice(_columns(connection))
            value = chance.choice((*ODD, -1, 2**62, chance.randbytes(8)))
            # A table may be strict, and a key of its own.
            with contextlib.suppress(sqlite3.Error):
                connection.execute(f"UPDATE OR IGNORE {table} SET {column} = ?", (value,))
        connection.commit()


def schema(path: Path, chance: Random) -> None:
    """A table or a column is gone."""
    with closing(sqlite3.connect(path)) as connection:
        table, column = chance.choice(_columns(connection))
        change = chance.choice((f"DROP TABLE {table}", f"ALTER TABLE {table} RENAME COLUMN {column} TO other"))
        with contextlib.suppress(sqlite3.Error):
            connection.execute(change)
        connection.commit()


def version(path: Path, chance: Random) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {chance.choice((-5, 0, 2, 3, 4, 99, 2**31 - 1))}")


def _columns(connection: sqlite3.Connection) -> list[tuple[str, str]]:
    query = "SELECT m.name, c.name FROM sqlite_master m JOIN pragma_table_info(m.name) c WHERE m.type = 'table'"
    return [(table, column) for table, column in connection.execute(query) if not table.startswith("sqlite_")]


DAMAGES: dict[str, Callable[[Path, Random], None]] = {
    each.__name__: each for each in (page, bits, truncated, half_written, log, rows, schema, version)
}

COMMANDS: dict[str, Sequence[str]] = {
    "incidents list": ("incidents", "list"),
    "incidents near": ("incidents", "near"),
    "state check": ("state", "check"),
    "run --once": ("run", "--once"),
    "run --once, again": ("run", "--once"),
    "incidents list, then": ("incidents", "list"),
}


def opened(damage: str, seed: int, commands: Sequence[str] = tuple(COMMANDS)) -> Iterator[Opened]:
    """Damage a copy, and give it to each command in turn."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        place(folder)
        DAMAGES[damage](folder / "state.db", Random(seed))
        environment = {"FOLDER": name, **{f"{server}_URL": NOBODY for server in SERVERS}}
        # As if the release had just been installed: no months to catch up with.
        now = mock.patch.object(SystemClock, "now", return_value=LEFT_AT)
        with mock.patch.dict(os.environ, environment), now:
            for command in commands:
                yield Opened(damage, seed, command, _run([*COMMANDS[command], "-c", str(folder / "exporter.yml")]))


def everything_opened(cell: tuple[str, int]) -> list[Opened]:
    """`opened`, for a pool of processes."""
    return list(opened(*cell))


def place(folder: Path) -> None:
    """What an installed release left."""
    (folder / "state.db").write_bytes(zstandard.ZstdDecompressor().decompress((LEFT / "state.db.zst").read_bytes()))
    for name in ("exporter.yml", "shop.ndjson.zst"):
        shutil.copy(LEFT / name, folder)


def _run(arguments: list[str]) -> str:
    said, errors = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(errors):
            code = main(arguments)
    except BaseException:
        return traceback.format_exc()
    if code not in CODES:
        return f"exit code {code}: {errors.getvalue()[-300:]}"
    if code and not (said.getvalue() + errors.getvalue()).strip():
        return f"exit code {code}, and nothing is said"
    found = errors.getvalue()
    return found[found.index("Traceback") :] if "Traceback" in found else ""
