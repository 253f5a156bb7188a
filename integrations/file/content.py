"""What is in a file: which log it is, what it is packed in, how it is written, and its whole lines, piece by piece."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal, cast

import orjson
import polars as pl

from exporter.model import NO_MORE_FILES, PermanentError, TransientError, is_at_limit
from exporter.reading.encodings import UTF8, codec_of, encoding_of
from exporter.reading.packing import Content, Packed, unpacked
from exporter.wording.text import storable
from integrations._documents import MAX_BODY_CHARS

BLOCK = 2 * 1024 * 1024
"""Bytes that are parsed at once."""

MANY_LINES = 50_000
"""Lines that are parsed at once: of the shortest a block has millions."""

HEAD = 64 * 1024
"""Bytes by which a file and its form are recognised."""

LONGEST_LINE = 8 * 1024 * 1024
"""Bytes of a line that are held while its end is looked for; of a longer one only the beginning is kept."""

LONGEST_RECORD = 1024 * 1024
"""Bytes of a record that is held while its end is looked for; a longer one is cut between its lines."""

LOOKED_THROUGH = 16 * 1024 * 1024
"""Bytes among which the first is looked for that is not ASCII."""

Kind = Literal["text", "ndjson", "parquet", "binary"]

# --- Names ------------------------------------------------------------------------------------------------

_COMPRESSED = re.compile(r"\.(?:gz|zst|zstd)$")
_ROTATED = re.compile(
    r"(?:\.\d{1,4})$|[-_.]1\d{9}(?=\.|$)|"
    r"[-_.](?:19|20)\d{2}[-_.]?\d{2}[-_.]?\d{2}(?:[-_.T]?\d{2,6})?(?:\.\d{1,4})?(?=\.|$)"
)
_CONTAINER = re.compile(r"^(?P<pod>.+?)_(?P<namespace>[^_]+)_(?P<container>.+)-[0-9a-f]{64}$")
_SAYS_NOTHING = re.compile(
    r"(?:\W|\d)*|access|app|application|console|current|daemon|debug|err|errors?|events|info|json-file|logs?|main|"
    r"messages|out|output|server|service|stderr|stdout|syslog|system|var|tmp|volumes",
    re.IGNORECASE,
)


def stream_of(path: Path) -> str:
    """The name of a log, the same before and after its rotation.

    >>> stream_of(Path("/var/log/shop/orders.log.2.gz")), stream_of(Path("orders-2026-03-01.log"))
    ('/var/log/shop/orders.log', 'orders.log')
    """
    name = _COMPRESSED.sub("", path.name)
    for _ in range(3):
        shorter = _ROTATED.sub("", name)
        if shorter in (name, ""):
            break
        name = shorter
    return storable(str(path.with_name(name)))


def owner_of(path: Path) -> tuple[str, str | None]:
    """The service whose log this is, and its host or pod where the name says so.

    >>> owner_of(Path("/var/log/shop/orders.log.1")), owner_of(Path("/var/log/nginx/error.log"))
    (('orders', None), ('nginx', None))
    """
    stream = Path(stream_of(path))
    stem = stream.name.split(".")[0] or stream.name
    if match := _CONTAINER.match(stream.stem):
        return match["container"], match["pod"]
    parts = stream.parent.parts
    if len(parts) >= 4 and parts[-4:-2] == ("log", "pods") and parts[-2].count("_") == 2:
        return parts[-1], parts[-2].split("_")[1]
    for name in (stem, *reversed(parts)):
        if not _SAYS_NOTHING.fullmatch(name):
            return name, None
    return stem, None


# --- Bytes ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Chunk:
    """Whole lines: where they stand in the content, and the number of the first."""

    start: int
    end: int
    line: int
    data: bytes


@contextmanager
def opened(path: Path, encoding: str | None = None) -> Iterator[Content]:
    """The content of a file as UTF-8, whatever it is packed in and written in; `encoding` where that is known.

    Raises PermanentError or TransientError.
    """
    try:
        with path.open("rb") as file:
            magic = file.read(4)
            file.seek(0)
            if encoding is None:
                encoding = encoding_of(_telling(unpacked(file, magic)))
                file.seek(0)
            yield as_utf8(unpacked(file, magic), encoding)
    except FileNotFoundError as error:
        raise moved(path) from error
    except PermissionError as error:
        raise PermanentError(f"{path}: not readable; let the user of this process read it") from error
    except OSError as error:
        if is_at_limit(error):
            raise TransientError(f"{path}: {NO_MORE_FILES}") from error
        raise PermanentError(f"{path}: cannot be read: {error.strerror or error}") from error


def moved(path: object) -> TransientError:
    """What to say of a file that was there a moment ago."""
    return TransientError(f"{path}: it has just been moved or removed; it is looked for again")


def as_utf8(content: Content, encoding: str) -> Content:
    """The content in UTF-8."""
    return content if encoding == UTF8 else Transcoded(content, encoding)


def encoding_in(content: Content) -> str:
    """What the content was written in."""
    return content.encoding if isinstance(content, Transcoded) else UTF8


def _telling(content: Content) -> bytes:
    """The beginning of a content, or what comes next that is not ASCII: that tells more of its encoding."""
    head = head_of(content)
    if head[:4] == b"PAR1" or b"\x00" in head or not head.isascii() or len(head) < HEAD:
        return head
    for _ in range(LOOKED_THROUGH // BLOCK):
        data = content.read(BLOCK)
        if not data:
            break
        if not data.isascii():
            first = next(at for at in range(0, len(data), HEAD) if not data[at : at + HEAD].isascii())
            # From a whole line on, for a letter may have been cut.
            return data[data.find(b"\n", max(0, first - HEAD)) + 1 : first + HEAD]
    return head


class Transcoded:
    """Text of another encoding, as UTF-8; it can only be read from its beginning."""

    def __init__(self, inner: Content, encoding: str) -> None:
        self._inner = inner
        self.encoding = encoding
        self._decoder = codecs.getincrementaldecoder(codec_of(encoding))("replace")
        self._held = b""

    @property
    def truncated(self) -> bool:
        """Whether its end is missing."""
        return bool(getattr(self._inner, "truncated", False))

    def read(self, size: int, /) -> bytes:
        while len(self._held) < size and (data := self._inner.read(size)):
            self._held += self._decoder.decode(data).encode("utf-8", "replace")
        taken, self._held = self._held[:size], self._held[size:]
        return taken


Unfinished = Callable[[bytes], int]
"""Of whole lines, how many bytes at their end are a record that the next lines may go on with."""


def chunks(
    content: Content,
    start: int,
    line: int,
    stop: int | None,
    final: bool,
    unfinished: Unfinished = lambda _: 0,
) -> Iterator[Chunk]:
    """Whole lines from `start`, in chunks; the last line without a break only when `final`, or when `stop` says so.

    Where more follows, a chunk ends with a record as far as `unfinished` knows.
    """
    _skip_to(content, start)
    position, held = start, b""
    while stop is None or position < stop:
        data = content.read(BLOCK if stop is None else min(BLOCK, stop - position - len(held))) or b""
        held += data
        ended = final or stop is not None or held.endswith(b"\n")
        cut = _whole(held, unfinished) if data else len(held) if ended else held.rfind(b"\n") + 1
        if cut:
            yield from _pieces(Chunk(position, position + cut, line, held[:cut]), unfinished)
            line += held.count(b"\n", 0, cut)
            position, held = position + cut, held[cut:]
        elif len(held) > LONGEST_LINE:
            chunk, held = _beheaded(content, position, line, held)
            yield chunk
            line, position = line + 1, chunk.end
        if not data:
            return


def _whole(held: bytes, unfinished: Unfinished) -> int:
    """Bytes of whole lines, without the record at their end; where they are one, nothing of it until it is too long."""
    cut = held.rfind(b"\n") + 1
    more = unfinished(held[:cut]) if cut else 0
    return cut if more >= cut > LONGEST_RECORD else max(0, cut - more)


def _pieces(chunk: Chunk, unfinished: Unfinished) -> Iterator[Chunk]:
    """The chunk, or parts of it where it has too many lines."""
    data, start, line = chunk.data, chunk.start, chunk.line
    while data.count(b"\n") > MANY_LINES:
        at = 0
        for _ in range(MANY_LINES):
            at = data.index(b"\n", at) + 1
        at = _whole(data[:at], unfinished) or at
        yield Chunk(start, start + at, line, data[:at])
        line += data.count(b"\n", 0, at)
        data, start = data[at:], start + at
    yield Chunk(start, chunk.end, line, data)


def _beheaded(content: Content, position: int, line: int, held: bytes) -> tuple[Chunk, bytes]:
    """The beginning of an endless line, and what was read beyond its end."""
    size, beginning = len(held), held[: MAX_BODY_CHARS * 4] + b"\n"
    while data := content.read(BLOCK) or b"":
        cut = data.find(b"\n") + 1
        if cut:
            return Chunk(position, position + size + cut, line, beginning), data[cut:]
        size += len(data)
    return Chunk(position, position + size, line, beginning), b""


def _skip_to(content: Content, start: int) -> None:
    from_start = isinstance(content, Packed | Transcoded)
    if not from_start and start:
        cast(BinaryIO, content).seek(start)
    while from_start and start > 0 and (data := content.read(min(start, BLOCK))):
        start -= len(data)


def lines_of(data: bytes) -> pl.Series:
    """Whole lines as text."""
    text = data.decode("utf-8", "replace").removeprefix("\ufeff")
    lines = pl.Series("line", text.removesuffix("\n").split("\n"), dtype=pl.String)
    if "\x00" in text:
        # Before a line they are what a file that was cut leaves; inside, a crash or a payload.
        lines = lines.str.strip_chars_start("\x00").str.replace_all(r"\x00+", "\ufffd")
    return lines.str.strip_chars_end("\r") if "\r" in text else lines


# --- Forms --------------------------------------------------------------------------------------------


_NO_TEXT = (b"\xff\xfe", b"\xfe\xff", b"\xfd7zXZ", b"BZh", b"PK\x03\x04", b"\x7fELF", b"SQLite format 3\x00")
"""Text of several bytes a letter that could not be told, packings that are not read, programs, databases."""

_NULS = re.compile(rb"\x00{2,}")
_CONTROLS = re.compile(rb"[\x01-\x07\x0e-\x1a\x1c-\x1f\x7f]")

_MAY_HAVE_TIME = re.compile(rb"\S.*?(?:\d\d[:.]\d\d[:.]\d\d|\d{6})")


def kind_of(head: bytes, configured: str = "auto") -> Kind:
    """How a file is written, by its first bytes."""
    if head[:4] == b"PAR1":
        return "parquet"
    lines = [line for line in head.lstrip(b"\x00").split(b"\n") if line.strip()]
    if head.startswith(_NO_TEXT) or _is_binary(head):
        return "binary"
    if configured in ("text", "ndjson"):
        return "ndjson" if configured == "ndjson" else "text"
    # A banner or a stack trace can be longer than the documents so far: text is what brings times of its own.
    whole = lines if head.endswith(b"\n") else lines[:-1] or lines
    texts = [line for line in whole if not _is_document(line)]
    timed = sum(_MAY_HAVE_TIME.match(line, 0, 160) is not None for line in texts)
    return "ndjson" if len(whole) - len(texts) > timed else "text"


def _is_binary(head: bytes) -> bool:
    """Whether bytes are those of no text, in whatever encoding: a tenth of random ones are control characters.

    Some are in any log; whole runs of NUL are what a file that was cut leaves, and single ones are letters of UTF-16.
    """
    found = _NULS.sub(b"", head)
    return len(_CONTROLS.findall(found)) * 20 > len(found) or found.count(b"\x00") * 10 > 3 * len(found)


def _is_document(line: bytes) -> bool:
    try:
        return line.lstrip()[:1] == b"{" and isinstance(orjson.loads(line), dict)
    except orjson.JSONDecodeError:
        return False


def head_of(content: Content) -> bytes:
    """The first bytes; reading from a packed file may give fewer at a time."""
    parts, size = [], 0
    while size < HEAD and (data := content.read(HEAD - size)):
        parts.append(data)
        size += len(data)
    return b"".join(parts)


def is_packed(path: Path) -> bool:
    """Whether the name says that the content is compressed."""
    return _COMPRESSED.search(path.name) is not None
