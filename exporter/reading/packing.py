"""What content is packed in: gzip and zstandard are unpacked, wherever they are read."""

from __future__ import annotations

import gzip
import zlib
from typing import Any, BinaryIO, Protocol

STEP = 64 * 1024
"""Bytes that are unpacked at once."""


class Content(Protocol):
    """What can be read from its beginning to its end."""

    def read(self, size: int, /) -> bytes: ...


def unpacked(file: BinaryIO, magic: bytes) -> Content:
    """The content of a file or pipe that begins with these bytes, and stands at its beginning."""
    if magic[:2] == b"\x1f\x8b":
        return Packed(gzip.GzipFile(fileobj=file))
    if magic == b"\x28\xb5\x2f\xfd":
        import zstandard

        return Packed(zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True))
    return file


class Packed:
    """Packed content that may have been cut off: what can be had is read, `truncated` says so, and `reason` why."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.truncated = False
        self.reason = ""

    def read(self, size: int, /) -> bytes:
        import zstandard

        parts, left = [], size
        try:
            # In small steps: a step that meets the end that is missing gives nothing at all.
            while left and (data := self._inner.read1(min(left, STEP))):
                parts.append(data)
                left -= len(data)
        except (EOFError, zlib.error, gzip.BadGzipFile, zstandard.ZstdError) as error:
            self.truncated, self.reason = True, str(error)
        return b"".join(parts)
