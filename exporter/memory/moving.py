"""Move a memory from one installation to another: documents out as NDJSON, and in again."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from exporter.model import IncidentDocument, IncidentStore, from_json, to_json
from exporter.model.memory import key_of

VERSION = 1
"""Of a line of an export."""

MARK = "lae_incident"
"""Names the version in each line; by it a line is known as one of an export."""

MAX_LINE = 1_000_000
"""Characters of a line of an export that is read."""

AT_ONCE = 100
"""Documents that are embedded and written together."""

MOST_NAMED = 20
"""Lines that are named of those that cannot be read."""


@dataclass
class Moved:
    """What came of an import: lines that were read, what is new or newer of them, and lines that were refused."""

    read: int = 0
    new: int = 0
    refused: int = 0
    why: list[str] = field(default_factory=list)
    """Of the first of them, with the number of the line."""

    def refuse(self, number: int, error: ValueError) -> None:
        self.refused += 1
        if len(self.why) < MOST_NAMED:
            self.why.append(f"line {number}: {error}")


async def exported(store: IncidentStore, installation: str, origin: Sequence[str]) -> AsyncIterator[str]:
    """The documents of a store, each a line; what says nothing of its installation is of this one."""
    async for document in store.everything():
        if not document.installation:
            document = replace(document, installation=installation, origin=tuple(origin))
        yield json.dumps({MARK: VERSION, **to_json(replace(document, embedding=()))}, ensure_ascii=False)


class Taker(Protocol):
    """Who puts documents into a memory: a `Memory`, or a daemon that has one."""

    @property
    def installation(self) -> str: ...

    async def remember_all(self, documents: Sequence[IncidentDocument]) -> int:
        """Returns how many are new, or newer than what was there."""


async def imported(
    lines: Iterable[str], memory: Taker, store: IncidentStore, redact: Callable[[str], str], dry: bool = False
) -> Moved:
    """Put the documents of an export into a memory, of which `store` says what is there; `dry` only says what would be
    new."""
    moved = Moved()
    # What an older release wrote names no installation: it is of this one.
    known = {
        key_of(document.installation or memory.installation, document.id): document.revision
        async for document in store.everything()
    }
    waiting: dict[str, IncidentDocument] = {}
    for document in _read(lines, moved):
        before = waiting.get(document.key)
        if max(known.get(document.key, -1), before.revision if before else -1) >= document.revision:
            continue
        waiting[document.key] = redacted(document, redact)
        if len(waiting) >= AT_ONCE:
            await _take(waiting, known, memory, moved, dry)
    await _take(waiting, known, memory, moved, dry)
    return moved


async def _take(
    waiting: dict[str, IncidentDocument], known: dict[str, int], memory: Taker, moved: Moved, dry: bool
) -> None:
    documents = list(waiting.values())
    waiting.clear()
    known |= {document.key: document.revision for document in documents}
    moved.new += len(documents) if dry or not documents else await memory.remember_all(documents)


def _read(lines: Iterable[str], moved: Moved) -> Iterator[IncidentDocument]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        moved.read += 1
        try:
            yield document_in(line)
        except ValueError as error:
            moved.refuse(number, error)


def document_in(line: str) -> IncidentDocument:
    """The document of a line of an export. Raises ValueError, which says what is wrong with it.

    >>> document_in('{"message": "hello"}')
    Traceback (most recent call last):
        ...
    ValueError: no line of `incidents export`
    """
    if len(line) > MAX_LINE:
        raise ValueError(f"longer than {MAX_LINE:,} characters")
    try:
        plain = json.loads(line)
    except (ValueError, RecursionError):
        raise ValueError("no JSON") from None
    if not isinstance(plain, dict) or MARK not in plain:
        raise ValueError("no line of `incidents export`")
    if plain.pop(MARK) != VERSION:
        raise ValueError("of another version than this release reads; import it with the release that wrote it")
    try:
        document: IncidentDocument = from_json(IncidentDocument, plain)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"not as an export says it ({error or type(error).__name__})") from error
    if not document.id or not document.installation:
        raise ValueError("says not which incident of which installation it is")
    return replace(document, embedding=(), embedding_model="")


def redacted(document: IncidentDocument, redact: Callable[[str], str]) -> IncidentDocument:
    """What came from elsewhere was redacted by other rules, if at all."""
    return replace(
        document,
        headline=redact(document.headline),
        text=redact(document.text),
        services=tuple(map(redact, document.services)),
        service=redact(document.service),
        lines=tuple(map(redact, document.lines)),
        fell=tuple(map(redact, document.fell)),
        fix=redact(document.fix) if document.fix else document.fix,
        fixed_by=redact(document.fixed_by),
        origin=tuple(map(redact, document.origin)),
    )
