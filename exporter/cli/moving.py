"""`incidents export | import`: a memory as NDJSON."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TextIO, cast

from exporter.cli.asking import rows_of
from exporter.cli.options import load_config
from exporter.model import Context, Documents, PermanentError

if TYPE_CHECKING:
    from exporter.config import Config

STANDARD_INPUT = "-"


def export(options: argparse.Namespace) -> int:
    return asyncio.run(_export(load_config(options)))


async def _export(config: Config) -> int:
    """Print what memory holds, also while the daemon runs."""
    from exporter.memory.moving import exported

    with closing(rows_of(config)) as rows:
        # It is only read from.
        context = Context(documents=cast(Documents, rows), installation=rows.installation(), origin=config.origin)
        store = config.memory.build(context)
        try:
            async for line in exported(store, context.installation, context.origin):
                print(line)
        finally:
            await store.close()
    return 0


def import_file(options: argparse.Namespace) -> int:
    return asyncio.run(_import(load_config(options), options.file, options.dry_run))


async def _import(config: Config, file: str, dry: bool) -> int:
    """Put the incidents of an export into memory, and say what came of it."""
    from exporter.memory.moving import imported
    from exporter.model import NoTelemetry, SystemClock
    from exporter.run.assembly import assemble

    assembly = assemble(config, SystemClock(), NoTelemetry())
    try:
        with _lines(file) as lines:
            moved = await imported(lines, assembly.memory, assembly.memory.store, assembly.redactor.redact, dry)
    finally:
        await assembly.close()
    for why in moved.why:
        print(why, file=sys.stderr)
    verb = "would be taken" if dry else "are taken"
    known = moved.read - moved.new - moved.refused
    print(f"{moved.read} incidents: {moved.new} {verb}, {known} are there already, {moved.refused} cannot be read")
    return 1 if moved.refused else 0


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
