"""Read logs from files: text, NDJSON or parquet, compressed or not, growing and rotated."""

from __future__ import annotations

import asyncio
import fnmatch
import glob
import io
import itertools
import logging
import os
import re
import select
import stat as modes
import sys
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import Field

from exporter.model import (
    EPOCH,
    Check,
    ConfigError,
    Context,
    ExporterError,
    Paths,
    PermanentError,
    TimeRange,
    TransientError,
    Unit,
    nanoseconds,
)
from exporter.reading.times import EARLIEST
from integrations.file.content import (
    BLOCK,
    HEAD,
    Chunk,
    Content,
    Kind,
    chunks,
    head_of,
    is_packed,
    kind_of,
    opened,
    owner_of,
    stream_of,
    unpacked,
)
from integrations.file.lines import LineSettings, Parser, Writer

logger = logging.getLogger(__name__)

_ARRAY = re.compile(rb"\s*\[\s*\{")

ROWS = 20_000
"""Rows of a parquet file that are parsed at once."""

IDLE = 60.0
"""Seconds after which a line without a line break is taken as whole: its writer has gone."""

CACHED_PAGES = 12
"""Parsed blocks that are kept: each minute the end of a file is asked for several times."""

ASIDE_MILLISECONDS = 100
"""How long standard input is waited for before its reader looks up."""

AFTER = 4096
"""Bytes after those that make the identity by which files with the same banner are told apart."""

ALIKE = 4
"""Generations with the same banner that are told apart at once."""

MAX_SECONDS = 4_000_000
"""Seconds with lines for which counts are kept; older blocks are read again to be counted."""

SECOND = 10**9
DAY = timedelta(days=1)
DAY_LENGTH = 24 * 3600 * SECOND
SLACK = timedelta(hours=1)
"""By which the last line of a file may seem to be written after it: clocks and zones differ."""

Numbers = npt.NDArray[np.int64]


class FileSettings(LineSettings):
    """Files of this machine."""

    type: Literal["file"] = "file"
    path: Paths
    """Files, directories (with all below them) or patterns such as /var/log/shop/*.log; what a file has been rotated to
    belongs to it."""
    exclude: tuple[str, ...] = ()
    """Patterns of files that are left out, such as `*.bak`."""
    max_files: Annotated[int, Unit("files")] = Field(default=10_000, ge=1)
    """Of more, the newest are read."""

    def read(self, paths: Sequence[str]) -> AsyncIterator[pl.DataFrame]:
        """The pages of files that are read once, from end to end."""
        return read_pages(paths, self)

    def build(self, context: Context) -> FileSource:
        return FileSource(self, context)


@dataclass
class Block:
    """Lines that stand together. `carry` is the time of the line before them, `seconds` how many lines each has."""

    start: int
    end: int
    line: int
    next_line: int
    carry: int | None
    next_carry: int | None
    first: int | None
    last: int | None
    seconds: tuple[Numbers, Numbers] | None

    def overlaps(self, start: int, end: int) -> bool:
        return self.first is not None and self.last is not None and self.first < end and self.last >= start


@dataclass
class Log:
    """What is known of one file: who writes it, and, block by block, which time stands where."""

    identity: str
    """The same wherever the file is moved to: of its content up to the first line with a time."""
    head: int
    """Bytes that the identity is made of."""
    writer: Writer
    after: bytes = b""
    """What follows these bytes, as far as it has been seen: generations can begin alike."""
    blocks: list[Block] = field(default_factory=list)
    seen: tuple[int, int] = (-1, -1)
    """Size and time of change when it was indexed."""
    complete: bool = False
    truncated: bool = False
    unusable: dict[str, int] = field(default_factory=dict)

    @property
    def kind(self) -> Kind:
        return self.writer.kind

    def within(self, start: int, end: int) -> list[Block]:
        return [block for block in self.blocks if block.overlaps(start, end)]

    def note(self, unusable: Mapping[str, int]) -> None:
        for reason, lines in unusable.items():
            self.unusable[reason] = self.unusable.get(reason, 0) + lines


class FileSource:
    """Lines of files, by range of their time. An index, which can be lost, says where in a file to read."""

    def __init__(self, settings: FileSettings, context: Context) -> None:
        self.name = settings.name
        self._settings = settings
        self._telemetry = context.telemetry
        self._clock = context.clock
        self._parser = Parser(settings)
        self._logs: dict[str, Log] = {}
        self._identities: dict[Path, tuple[tuple[int, ...], str]] = {}
        self._pages: OrderedDict[tuple[str, int, int], pl.DataFrame] = OrderedDict()
        self._lock = threading.RLock()
        self._closed = False

    # --- Source ---

    async def query(self, time_range: TimeRange) -> AsyncIterator[pl.DataFrame]:
        """Pages of the range, file by file. After a TransientError the whole range is to be read again."""
        pages = self._read(nanoseconds(time_range.start), nanoseconds(time_range.end))
        while (page := await asyncio.to_thread(next, pages, None)) is not None:
            yield page

    async def count(self, time_range: TimeRange, window: timedelta) -> Mapping[datetime, int]:
        """Counts out of the index; only what it no longer holds is read."""
        return await asyncio.to_thread(self._counts, time_range, window)

    async def unusable(self) -> Mapping[str, int]:
        """Lines of the files that are there now that are in no range, by reason."""
        return await asyncio.to_thread(self._unusable)

    async def check(self) -> Sequence[Check]:
        """Which files there are, and how the newest is understood."""
        return await asyncio.to_thread(self._check)

    async def close(self) -> None:
        """Send home the threads that read or index: a large file would hold up the end of the process."""
        self._closed = True

    def _going_on(self) -> None:
        if self._closed:
            raise TransientError(f"source {self.name}: it was closed while it was read")

    # --- Reading ---

    def _read(self, start: int, end: int) -> Iterator[pl.DataFrame]:
        inside = pl.col("timestamp").is_between(start, end, closed="left")
        for path, log, blocks in self._found(start, end):
            for block in blocks:
                page = self._page(path, log, block).filter(inside)
                if page.height:
                    yield page

    def _page(self, path: Path, log: Log, block: Block) -> pl.DataFrame:
        """The parsed lines of a block. Raises TransientError when the file is no longer where it was."""
        self._going_on()
        key = (log.identity, block.start, block.end)
        with self._lock:
            if key in self._pages:
                self._pages.move_to_end(key)
                return self._pages[key]
        page = self._parsed(path, log, block)
        self._keep(key, page)
        return page

    def _keep(self, key: tuple[str, int, int], page: pl.DataFrame) -> None:
        with self._lock:
            self._pages[key] = page
            while len(self._pages) > CACHED_PAGES:
                self._pages.popitem(last=False)

    def _parsed(self, path: Path, log: Log, block: Block) -> pl.DataFrame:
        if log.kind == "parquet":
            return self._parser.rows(log.writer, rows_of(path, block.start, block.end - block.start), block.start)[0]
        if not self._begins_as(path, log):
            raise TransientError(f"source {self.name}: {path}: it was rotated while it was read; it is read again")
        with opened(path) as content:
            found = list(chunks(content, block.start, block.line, block.end, final=True))
        if not found or found[-1].end != block.end:
            raise TransientError(f"source {self.name}: {path}: it was cut while it was read; it is read again")
        whole = Chunk(block.start, block.end, block.line, b"".join(chunk.data for chunk in found))
        return self._parser.page(log.writer, whole, block.carry)[0]

    # --- The index ---

    def _found(self, start: int, end: int) -> list[tuple[Path, Log, list[Block]]]:
        """The files there are, indexed up to their present end, and their blocks that may hold lines of a range."""
        with self._lock:
            try:
                return self._indexed(start, end)
            except FileNotFoundError as error:
                raise _moved(error.filename) from error

    def _indexed(self, start: int, end: int) -> list[tuple[Path, Log, list[Block]]]:
        found: dict[str, tuple[Path, Log]] = {}
        for path, stat in self._present():
            # What was last changed days before a range holds none of it, unless its time of change is made up.
            if EARLIEST.timestamp() < stat.st_mtime and (stat.st_mtime + DAY.total_seconds()) * SECOND < start:
                continue
            log = self._log(path, stat)
            if log is None or self._is_copy(path, found.get(log.identity)):
                continue
            self._refresh(path, log, stat)
            found[log.identity] = (path, log)
        self._forget(found)
        return [(path, log, blocks) for path, log in found.values() if (blocks := log.within(start, end))]

    def _is_copy(self, path: Path, other: tuple[Path, Log] | None) -> bool:
        """Whether the file is there twice, for a rotation is copying or packing it: the longer one is read."""
        if other is None:
            return False
        return is_packed(path) or (not is_packed(other[0]) and path.stat().st_size <= other[0].stat().st_size)

    def _forget(self, found: Mapping[str, tuple[Path, Log]]) -> None:
        """Nothing is kept of files that have gone, and not more counts than allowed."""
        kept = {identity for _, identity in self._identities.values()} | found.keys()
        self._logs = {identity: log for identity, log in self._logs.items() if identity in kept}
        counted = [block for log in self._logs.values() for block in log.blocks if block.seconds is not None]
        if sum(len(block.seconds[0]) for block in counted if block.seconds is not None) > MAX_SECONDS:
            for block in sorted(counted, key=lambda block: block.last or 0)[: len(counted) // 2]:
                block.seconds = None

    def _present(self) -> list[tuple[Path, os.stat_result]]:
        """Files as they stand; looked at twice, for a rotation between two names would hide one."""
        before = listed(self._settings)
        for _ in range(5):
            now = listed(self._settings)
            if [(path, stat.st_ino) for path, stat in now] == [(path, stat.st_ino) for path, stat in before]:
                break
            before = now
        if not now:
            # A service that has not written yet, or whose files are elsewhere for a while, is no silence.
            patterns = ", ".join(self._settings.path)
            reason = "it is waited for; if it should be there, check the path and who may list it"
            raise TransientError(f"source {self.name}: no file matches {patterns}; {reason}")
        if (more := len(now) - self._settings.max_files) > 0:
            self._telemetry.count("source_lines_dropped", more, source=self.name, reason="max_files")
            now = sorted(now, key=lambda item: item[1].st_mtime)[more:]
        present = {path for path, _ in now}
        self._identities = {path: known for path, known in self._identities.items() if path in present}
        return now

    def _log(self, path: Path, stat: os.stat_result) -> Log | None:
        """What is known of a file, by what it holds; None while it holds no line that can be placed in time."""
        signature = (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns)
        known = self._identities.get(path)
        if known and known[0] == signature:
            return self._logs.get(known[1])
        if known and (old := self._logs.get(known[1])) and self._begins_as(path, old):
            self._identities[path] = (signature, old.identity)
            old.writer.reference = datetime.fromtimestamp(stat.st_mtime, UTC)
            return old
        fresh = self._inspected(path, stat)
        self._identities[path] = (signature, fresh.identity if fresh else "")
        if fresh is None:
            return None
        log = self._logs.setdefault(fresh.identity, fresh)
        log.writer.reference = fresh.writer.reference
        return log

    def _inspected(self, path: Path, stat: os.stat_result) -> Log | None:
        """A file that is looked at anew; where another begins with the same banner, by more of its lines."""
        reference = datetime.fromtimestamp(stat.st_mtime, UTC)
        fresh: Log | None = None
        for timed in range(1, ALIKE + 1):
            fresh = inspected(path, self._settings, self._parser, reference, timed)
            other = self._logs.get(fresh.identity) if fresh else None
            if fresh is None or other is None or not fresh.head or self._begins_as(path, other):
                break
        return fresh

    def _begins_as(self, path: Path, log: Log) -> bool:
        """Whether the file still is the one that it was: not another that took its name, nor cut and written anew."""
        if not log.head:
            return False
        with opened(path) as content:
            if _digest(_exactly(content, log.head), log.writer.stream) != log.identity:
                return False
            after = _exactly(content, AFTER)
        if not (after.startswith(log.after) or log.after.startswith(after)):
            return False
        log.after = max(after, log.after, key=len)
        return True

    def _refresh(self, path: Path, log: Log, stat: os.stat_result) -> None:
        """Index what has been added since the file was last looked at."""
        idle = time.time() - stat.st_mtime > IDLE
        state = (stat.st_size, stat.st_mtime_ns)
        if log.kind == "binary" or (log.seen == state and (log.complete or not idle)):
            return
        if log.kind == "parquet":
            log.truncated = not _has_footer(path)
            if log.truncated and not idle:
                raise TransientError(f"source {self.name}: {path}: its end is missing; it is still being written")
            if not log.truncated:
                self._index_rows(path, log)
        else:
            self._index_lines(path, log, idle)
        log.seen = state

    def _index_lines(self, path: Path, log: Log, idle: bool) -> None:
        final = idle or is_packed(path)
        if log.blocks and not is_packed(path) and path.stat().st_size < log.blocks[-1].end:
            log.blocks.clear()
            log.unusable.clear()
        last = log.blocks[-1] if log.blocks else None
        start, line, carry = (last.end, last.next_line, last.next_carry) if last else (0, 1, None)
        if carry is not None and log.writer.begun is not None:
            # What is added was written now: a clock without a date does not say that nothing was written for days.
            carry += max(0, _whole_days(carry, log.writer.reference))
        with opened(path) as content:
            for chunk in chunks(content, start, line, None, final):
                carry = self._add(log, chunk, carry)
            log.truncated = getattr(content, "truncated", False)
        if log.truncated and not idle:
            raise TransientError(f"source {self.name}: {path}: its end is missing; it may still be being packed")
        log.complete = final

    def _add(self, log: Log, chunk: Chunk, carry: int | None) -> int | None:
        """Index a chunk that follows what is known. Returns the time that lines after it inherit."""
        self._going_on()
        page, unusable = self._parser.page(log.writer, chunk, carry)
        log.note(unusable)
        times = page["timestamp"].drop_nulls()
        after = int(times[-1]) if len(times) else carry
        next_line = chunk.line + chunk.data.count(b"\n") + (not chunk.data.endswith(b"\n"))
        block = Block(chunk.start, chunk.end, chunk.line, next_line, carry, after, *_extent(times), _seconds(times))
        last = log.blocks[-1] if log.blocks else None
        if last and last.next_carry == carry and block.end - last.start <= BLOCK:
            log.blocks[-1] = _joined(last, block)
        else:
            log.blocks.append(block)
            self._keep((log.identity, block.start, block.end), page)
        return after

    def _index_rows(self, path: Path, log: Log) -> None:
        log.blocks.clear()
        log.unusable.clear()
        for start in itertools.count(0, ROWS):
            self._going_on()
            frame = rows_of(path, start, ROWS)
            if not frame.height:
                break
            page, unusable = self._parser.rows(log.writer, frame, start)
            log.note(unusable)
            times, end = page["timestamp"].drop_nulls(), start + frame.height
            log.blocks.append(Block(start, end, start, end, None, None, *_extent(times), _seconds(times)))
        log.complete = True

    # --- Counts ---

    def _counts(self, time_range: TimeRange, window: timedelta) -> dict[datetime, int]:
        start, end = nanoseconds(time_range.start), nanoseconds(time_range.end)
        whole = not (start % SECOND or end % SECOND or window % timedelta(seconds=1))
        step = window // timedelta(microseconds=1) * 1000
        totals: dict[int, int] = {}
        for path, log, blocks in self._found(start, end):
            for block in blocks:
                times, lines = self._times(path, log, block, whole)
                inside = (times >= start) & (times < end)
                windows, places = np.unique(times[inside] // step, return_inverse=True)
                sums = np.bincount(places, weights=lines[inside], minlength=len(windows)).astype(np.int64)
                for number, amount in zip(windows.tolist(), sums.tolist(), strict=True):
                    totals[number] = totals.get(number, 0) + amount
        return {EPOCH + number * window: lines for number, lines in sorted(totals.items())}

    def _times(self, path: Path, log: Log, block: Block, whole_seconds: bool) -> tuple[Numbers, Numbers]:
        """Times of a block and how many lines have each."""
        if whole_seconds and block.seconds is not None:
            return block.seconds[0] * SECOND, block.seconds[1]
        times = self._page(path, log, block)["timestamp"].drop_nulls().to_numpy()
        return times, np.ones(len(times), np.int64)

    def _unusable(self) -> dict[str, int]:
        reasons: dict[str, int] = {}
        tomorrow = nanoseconds(self._clock.now() + DAY)
        for path, log, blocks in self._found(tomorrow, 2**63 - 1):
            ahead = sum(int((self._page(path, log, block)["timestamp"] >= tomorrow).sum()) for block in blocks)
            reasons["in_the_future"] = reasons.get("in_the_future", 0) + ahead
        with self._lock:
            timeless = sum(1 for _, identity in self._identities.values() if not identity)
            reasons["file_without_times"] = timeless
            rotated = {path for pattern in self._settings.path for path in _generations(pattern)}
            reasons["unreadable_file"] = sum(not _readable(path) for path in rotated)
            for log in self._logs.values():
                binary = {"binary_file": 1} if log.kind == "binary" else {}
                truncated = {"truncated_file": 1} if log.truncated else {}
                for reason, lines in {**log.unusable, **binary, **truncated}.items():
                    reasons[reason] = reasons.get(reason, 0) + lines
        return {reason: lines for reason, lines in reasons.items() if lines}

    def _check(self) -> list[Check]:
        subject = f"read {', '.join(self._settings.path)}"
        try:
            with self._lock:
                present = self._present()
                newest, stat = max(present, key=lambda item: item[1].st_mtime)
                log = self._log(newest, stat)
        except (ExporterError, FileNotFoundError) as error:
            return [Check(subject, False, str(error), "Give `path` files that exist and that this user may read.")]
        size = sum(stat.st_size for _, stat in present)
        checks = [Check(subject, True, f"{len(present)} files, {size / 1e6:,.1f} MB; the newest is {newest}")]
        if log is None:
            detail = f"{newest}: no line has a time that is understood"
            return [*checks, Check("times", False, detail, "Set `fields.timestamp`, or a `pattern` with that group.")]
        form = f", times are {log.writer.stamp.form.name}" if log.writer.stamp else ""
        detail = f"{newest}: {log.kind}{form}, service {self._settings.service or log.writer.service}"
        return [*checks, Check("form", log.kind != "binary", detail)]


# --- Files ------------------------------------------------------------------------------------------------


def listed(settings: FileSettings, rotated: bool = True) -> list[tuple[Path, os.stat_result]]:
    """The files that the paths name, each once, in order of their names; with what they have been rotated to."""
    found: dict[tuple[int, int], tuple[Path, os.stat_result]] = {}
    for pattern in settings.path:
        for path in sorted({*_matching(pattern), *(filter(_readable, _generations(pattern)) if rotated else ())}):
            if any(path.match(excluded) for excluded in settings.exclude):
                continue
            try:
                stat = path.stat()
            except FileNotFoundError:
                continue
            except OSError as error:
                raise PermanentError(f"{path}: {error.strerror}; let the user of this process read it") from error
            if modes.S_ISREG(stat.st_mode):
                found.setdefault((stat.st_dev, stat.st_ino), (path, stat))
    return sorted(found.values(), key=lambda item: item[0])


def _matching(pattern: str) -> Iterator[Path]:
    path = Path(pattern).expanduser()
    if path.is_dir():
        for folder, folders, names in os.walk(path):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            yield from (Path(folder, name) for name in names if not name.startswith("."))
    elif path.exists():
        yield path
    else:
        yield from (Path(name) for name in glob.iglob(str(path), recursive=True))


def _generations(pattern: str) -> Iterator[Path]:
    """Files whose log a path or pattern names, or named: after a rotation they are all that is left of it."""
    path = Path(pattern).expanduser()
    if path.is_dir() or stream_of(path) != str(path):
        return
    # A date stands behind the name, or between it and its ending.
    for beginning in {path, path.with_name(path.stem)} if path.name == glob.escape(path.name) else {path}:
        for name in glob.iglob(f"{beginning}*", recursive=True):
            stream = Path(stream_of(Path(name)))
            if stream.name != Path(name).name and fnmatch.fnmatchcase(stream.name, path.name):
                yield Path(name)


def _readable(path: Path) -> bool:
    return os.access(path, os.R_OK)


def inspected(path: Path, settings: FileSettings, parser: Parser, reference: datetime, timed: int = 1) -> Log | None:
    """A file that has not been seen before, by its first bytes; None when it has not so many lines with a time yet."""
    with opened(path) as content:
        head = head_of(content)
    service, host = owner_of(path)
    writer = Writer(stream_of(path), service, host, kind_of(head, settings.format), reference, place="")
    if writer.kind == "binary":
        return Log(f"binary {path}", 0, writer)
    if writer.kind == "parquet":
        writer.stream, size, identity = str(path), 0, _tail(path)
    elif size := _identifying(writer, parser, head, timed):
        identity = _digest(head[:size], writer.stream)
    else:
        return None
    writer.begun = _begun(path, writer, parser)
    writer.place = f"{writer.stream}@{identity}"
    return Log(identity, size, writer, head[size : size + AFTER])


def _identifying(writer: Writer, parser: Parser, head: bytes, timed: int = 1) -> int:
    """Bytes up to the end of the first lines with a time: whole lines only, for more may be on its way."""
    whole = head[: head.rfind(b"\n") + 1] or (head if len(head) >= HEAD else b"")
    page, _ = parser.page(writer, Chunk(0, len(whole), 1, whole), None)
    lines = page.filter(pl.col("timestamp").is_not_null())
    if lines.height < timed:
        return len(whole) if len(head) >= HEAD else 0
    # Its number is not its `sequence`, which a document may say itself.
    number = int(lines["id"][timed - 1].rpartition(":")[2])
    return min(len(whole), sum(len(line) + 1 for line in whole.split(b"\n")[:number]))


def _begun(path: Path, writer: Writer, parser: Parser) -> int | None:
    """When a file was begun whose lines tell the time of day only: as many midnights before its end as it has."""
    first: int | None = None
    carry: int | None = None
    if not (writer.stamp and writer.stamp.form.dateless):
        return None
    with opened(path) as content:
        for chunk in chunks(content, 0, 1, None, final=True):
            times = parser.page(writer, chunk, carry)[0]["timestamp"].drop_nulls()
            if len(times):
                first, carry = int(times[0]) if first is None else first, int(times[-1])
    if first is None or carry is None:
        return None
    return first + _whole_days(carry, writer.reference + SLACK)


def _whole_days(since: int, until: datetime) -> int:
    return (nanoseconds(until) - since) // DAY_LENGTH * DAY_LENGTH


def _digest(head: bytes, stream: str) -> str:
    return blake2b(head, digest_size=6, key=stream.encode()[-64:]).hexdigest()


def _exactly(content: Content, size: int) -> bytes:
    data = b""
    while len(data) < size and (more := content.read(size - len(data))):
        data += more
    return data


def _tail(path: Path) -> str:
    """The identity of a parquet file, which says at its end what it holds."""
    size, end = _end_of(path, HEAD)
    return _digest(end + str(size).encode(), str(path))


def _moved(path: object) -> TransientError:
    return TransientError(f"{path}: it has just been moved or removed; it is looked for again")


def _has_footer(path: Path) -> bool:
    """Whether the writer of a parquet file has come to its end."""
    size, end = _end_of(path, 4)
    return size > 8 and end == b"PAR1"


def _end_of(path: Path, length: int) -> tuple[int, bytes]:
    """The size of a file, and its last bytes."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - length))
        return size, file.read()


def rows_of(path: Path, start: int, size: int) -> pl.DataFrame:
    """Rows of a parquet file. Raises TransientError or PermanentError."""
    try:
        return pl.scan_parquet(path).slice(start, size).collect()
    except FileNotFoundError as error:
        raise _moved(path) from error
    except (OSError, pl.exceptions.PolarsError) as error:
        raise PermanentError(f"{path}: not a parquet file that can be read: {error}") from error


def _extent(times: pl.Series) -> tuple[int | None, int | None]:
    first, last = times.min(), times.max()
    return (first, last) if isinstance(first, int) and isinstance(last, int) else (None, None)


def _seconds(times: pl.Series) -> tuple[Numbers, Numbers]:
    seconds, lines = np.unique(times.to_numpy() // SECOND, return_counts=True)
    return seconds.astype(np.int64), lines.astype(np.int64)


def _joined(first: Block, second: Block) -> Block:
    """Two neighbours as one."""
    earliest = [value for value in (first.first, second.first) if value is not None]
    latest = [value for value in (first.last, second.last) if value is not None]
    return Block(
        first.start,
        second.end,
        first.line,
        second.next_line,
        first.carry,
        second.next_carry,
        min(earliest, default=None),
        max(latest, default=None),
        _added(first.seconds, second.seconds),
    )


def _added(
    first: tuple[Numbers, Numbers] | None, second: tuple[Numbers, Numbers] | None
) -> tuple[Numbers, Numbers] | None:
    if first is None or second is None:
        return None
    seconds, places = np.unique(np.concatenate([first[0], second[0]]), return_inverse=True)
    lines = np.bincount(places, weights=np.concatenate([first[1], second[1]]), minlength=len(seconds))
    return seconds, lines.astype(np.int64)


# --- One shot ---------------------------------------------------------------------------------------------


async def read_pages(paths: Sequence[str], settings: FileSettings) -> AsyncIterator[pl.DataFrame]:
    """All lines of files, directories or patterns, `-` being standard input, from their first to their last.

    Lines are called by path and number. Raises ConfigError when there is nothing to read.
    """
    parser, typed = Parser(settings), _Typed()
    try:
        for path in paths:
            pages = _standard_input(typed, settings, parser) if path == "-" else _every_page(path, settings, parser)
            while (page := await asyncio.to_thread(next, pages, None)) is not None:
                yield page
    finally:
        typed.over = True


def _every_page(pattern: str, settings: FileSettings, parser: Parser) -> Iterator[pl.DataFrame]:
    files = listed(settings.model_copy(update={"path": (pattern,)}), rotated=False)
    if not files and Path(pattern).is_dir():
        raise ConfigError(f"{pattern}: holds no file to read; give a file, or a pattern such as {pattern}/*/*.log")
    if not files:
        raise ConfigError(f"{pattern}: no such file; give a file, a directory, a pattern, or - for standard input")
    for path, stat in files:
        with opened(path) as content:
            head = head_of(content)
        kind = kind_of(head, settings.format)
        writer = _named(path, kind, datetime.fromtimestamp(stat.st_mtime, UTC))
        if kind == "parquet":
            yield from _all_rows(path, writer, parser)
        elif kind != "binary":
            if _ARRAY.match(head):
                raise ConfigError(
                    f"{path}: is one JSON array; give NDJSON, one object a line, as jq -c '.[]' writes it"
                )
            _identifying(writer, parser, head)
            writer.begun = _begun(path, writer, parser)
            with opened(path) as content:
                yield from _all_lines(content, writer, parser)
                if getattr(content, "truncated", False):
                    logger.warning("%s: its end is missing; what there is of it was read", path)
        elif len(files) == 1:
            raise ConfigError(f"{path}: is not text; give text in UTF-8, NDJSON or parquet, also as .gz or .zst")
        else:
            logger.warning("%s: is not text; left out", path)


def _named(path: Path, kind: Kind, reference: datetime) -> Writer:
    service, host = owner_of(path)
    return Writer(str(path), service, host, kind, reference, place=str(path))


def _all_lines(content: Content, writer: Writer, parser: Parser) -> Iterator[pl.DataFrame]:
    carry: int | None = None
    for chunk in chunks(content, 0, 1, None, final=True):
        page, _ = parser.page(writer, chunk, carry)
        times = page["timestamp"].drop_nulls()
        carry = int(times[-1]) if len(times) else carry
        if page.height:
            yield page


def _all_rows(path: Path, writer: Writer, parser: Parser) -> Iterator[pl.DataFrame]:
    for start in itertools.count(0, ROWS):
        frame = rows_of(path, start, ROWS)
        if not frame.height:
            return
        yield parser.rows(writer, frame, start)[0]


class _Typed(io.RawIOBase):
    """Standard input, whose reader can be sent home: what a terminal is asked for may never come."""

    over = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        descriptor = sys.stdin.fileno()
        waiting = select.poll()
        waiting.register(descriptor, select.POLLIN)
        while not self.over:
            if waiting.poll(ASIDE_MILLISECONDS):
                data = os.read(descriptor, len(buffer))
                buffer[: len(data)] = data
                return len(data)
        return 0


def _standard_input(typed: _Typed, settings: FileSettings, parser: Parser) -> Iterator[pl.DataFrame]:
    """What is piped in: lines as they come; a parquet file, which is read from its end, by way of the disk."""
    pipe = io.BufferedReader(typed)
    magic = pipe.peek(4)[:4]
    now = datetime.now(UTC)
    if magic == b"PAR1":
        with tempfile.NamedTemporaryFile(suffix=".parquet") as file:
            while data := pipe.read(BLOCK):
                file.write(data)
            file.flush()
            yield from _all_rows(Path(file.name), _named(Path("stdin"), "parquet", now), parser)
        return
    content = unpacked(pipe, magic)
    head = head_of(content)
    kind = kind_of(head, settings.format)
    if kind == "binary":
        raise ConfigError("standard input is not text; give text in UTF-8, NDJSON or parquet, also packed")
    yield from _all_lines(_Again(head, content), _named(Path("stdin"), kind, now), parser)


class _Again:
    """A pipe whose beginning has been looked at already."""

    def __init__(self, head: bytes, rest: Content) -> None:
        self._head, self._rest = head, rest

    def read(self, size: int, /) -> bytes:
        data, self._head = self._head, b""
        return data or self._rest.read(size)
