"""Lines of a file or of standard input, in blocks: what is held does not depend on how many or how long they are."""

from __future__ import annotations

import codecs
import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from exporter.reading.paths import odd

BLOCK = 1024 * 1024
"""Bytes that are read at once."""

MAX_LINE_BYTES = 4 * 65_536
"""Bytes of a line that are kept; no command looks at more."""


def blocks(path: Path) -> Iterator[bytes]:
    """The content, unpacked where it is packed; `-` is standard input. Raises ConfigError."""
    from exporter.model import ConfigError

    try:
        if path.name == "-":
            yield from _blocks(sys.stdin.buffer, b"")
            return
        if reason := odd(path):
            raise ConfigError(f"{path}: {reason}")
        with path.open("rb") as file:
            magic = file.read(4)
            file.seek(0)
            yield from _blocks(file, magic)
    except (OSError, EOFError) as error:
        # What was packed is said to be damaged by an OSError without a number.
        said = error.strerror if isinstance(error, OSError) and error.errno else None
        raise ConfigError(f"{path}: {said or f'its end is missing, or it is damaged: {error}'}") from error


def _blocks(file: Any, magic: bytes) -> Iterator[bytes]:
    from exporter.reading.packing import STEP, Packed, unpacked

    content = unpacked(file, magic)
    if not isinstance(content, Packed):
        # Of a pipe what is there, not only when it comes to a whole block.
        yield from iter(lambda: file.read1(BLOCK), b"")
        return
    yield from iter(lambda: content.read(STEP), b"")
    if content.truncated:
        raise EOFError(content.reason)


HEAD = 64 * 1024
"""Bytes by which it is told what text is written in."""


def as_utf8(content: Iterator[bytes]) -> Iterator[bytes]:
    """The content as UTF-8, whatever its first bytes show that it is written in."""
    from exporter.reading.encodings import UTF8, codec_of, encoding_of

    head = b""
    for block in content:
        head += block
        if len(head) >= HEAD:
            break
    if (encoding := encoding_of(head[:HEAD])) == UTF8:
        yield head
        yield from content
        return
    decoder = codecs.getincrementaldecoder(codec_of(encoding))("replace")
    for block in chain((head,), content):
        yield decoder.decode(block).encode("utf-8", "replace")
    yield decoder.decode(b"", True).encode("utf-8", "replace")


def lines(content: Iterator[bytes], longest: int = MAX_LINE_BYTES) -> Iterator[list[bytes]]:
    """Lines, those of a block together; of each, the first `longest` bytes.

    Lines end with a newline, and only with it: other separators of Unicode are part of a line.
    """
    held: bytes | None = None
    for block in content:
        first, *others = block.split(b"\n")
        held = (held or b"") + first[: max(0, longest - len(held or b""))]
        if others:
            yield [held, *(line[:longest] for line in others[:-1])]
            held = others[-1][:longest]
    if held:
        yield [held]
