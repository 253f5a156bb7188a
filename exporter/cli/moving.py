"""`incidents export | import | forget`: a memory as NDJSON, and what is to go from it."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, cast
from urllib.parse import quote

from exporter.cli.asking import ask, ask_daemon, rows_of
from exporter.cli.options import load_config
from exporter.model import Context, Documents, IncidentStore, PermanentError, to_json

if TYPE_CHECKING:
    from exporter.config import Config
    from exporter.memory.moving import Moved
    from exporter.model import IncidentDocument
    from exporter.run.operations import Operations

TAKEN_WITHIN = timedelta(minutes=10)
"""By the daemon, of one part of an import: a model may have to embed it."""

STANDARD_INPUT = "-"


def export(options: argparse.Namespace) -> int:
    return asyncio.run(_export(load_config(options)))


async def _export(config: Config) -> int:
    """Print what memory holds, also while the daemon runs."""
    from exporter.memory.moving import exported

    async with _to_read(config) as (store, context):
        async for line in exported(store, context.installation, context.origin):
            print(line)
    return 0


@asynccontextmanager
async def _to_read(config: Config) -> AsyncIterator[tuple[IncidentStore, Context]]:
    """The store of a memory that somebody else may hold."""
    with closing(rows_of(config)) as rows:
        # It is only read from.
        context = Context(documents=cast(Documents, rows), installation=rows.installation(), origin=config.origin)
        store = config.memory.build(context)
        try:
            yield store, context
        finally:
            await store.close()


def import_file(options: argparse.Namespace) -> int:
    return asyncio.run(_import(load_config(options), options.file, options.dry_run))


async def _import(config: Config, file: str, dry: bool) -> int:
    """Put the incidents of an export into memory, and say what came of it."""
    from exporter.state.place import StateInUse

    with _lines(file) as lines:
        try:
            moved = await _import_here(config, lines, dry)
        except StateInUse:
            moved = await _import_by_daemon(config, lines, dry)
    for why in moved.why:
        print(why, file=sys.stderr)
    verb = "would be taken" if dry else "are taken"
    known = moved.read - moved.new - moved.refused
    print(f"{moved.read} incidents: {moved.new} {verb}, {known} are there already, {moved.refused} cannot be read")
    return 1 if moved.refused else 0


async def _import_here(config: Config, lines: Iterator[str], dry: bool) -> Moved:
    from exporter.memory.moving import imported
    from exporter.model import NoTelemetry, SystemClock
    from exporter.run.assembly import assemble

    assembly = assemble(config, SystemClock(), NoTelemetry())
    try:
        return await imported(lines, assembly.memory, assembly.memory.store, assembly.redactor.redact, dry)
    finally:
        await assembly.close()


async def _import_by_daemon(config: Config, lines: Iterator[str], dry: bool) -> Moved:
    """It alone writes the state file, and what it recalls from stands in its own memory."""
    from exporter.memory.moving import imported

    async with _to_read(config) as (store, context):
        # It redacts what it is sent.
        return await imported(lines, _Daemon(config, context.installation), store, str, dry)


class _Daemon:
    """Who holds the state file, as one that takes documents."""

    def __init__(self, config: Config, installation: str) -> None:
        self._config = config
        self.installation = installation

    async def remember_all(self, documents: Sequence[IncidentDocument]) -> int:
        taken = 0
        for part in self._parts(documents):
            answer = await ask_daemon(self._config, "api/memory", {"documents": part}, TAKEN_WITHIN)
            taken += int(answer["written"])
        return taken

    def _parts(self, documents: Sequence[IncidentDocument]) -> Iterator[list[Any]]:
        """As many as a request may bring, with room for what stands around them."""
        part: list[Any] = []
        room = most = self._config.web.client_max_size * 3 // 4
        for document in map(to_json, documents):
            size = len(json.dumps(document))
            if part and size > room:
                yield part
                part, room = [], most
            part.append(document)
            room -= size
        yield part


def forget(options: argparse.Namespace) -> int:
    return asyncio.run(_forget(load_config(options), options.id))


async def _forget(config: Config, key: str) -> int:
    """Delete what memory holds of an incident."""

    async def here(operations: Operations) -> None:
        if not await operations.forget(key):
            raise PermanentError(f"nothing is remembered of {key!r}; `incidents export` prints what is")

    await ask(config, here, f"api/memory/{quote(key, safe='')}/forget", {})
    print(f"incident {key} is forgotten: it is recalled no more")
    return 0


@contextmanager
def _lines(file: str) -> Iterator[Iterator[str]]:
    """The lines of a file; of one that is too long the parts, which are none of an export."""
    from exporter.memory.moving import MAX_LINE

    with ExitStack() as stack:
        try:
            opened = sys.stdin if file == STANDARD_INPUT else stack.enter_context(_open(file))
        except OSError as error:
            raise PermanentError(f"{file} cannot be read: {error.strerror or error}") from error
        yield iter(lambda: opened.readline(MAX_LINE + 1), "")


def _open(file: str) -> TextIO:
    return Path(file).open(encoding="utf-8", errors="replace")
