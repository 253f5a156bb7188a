"""Which time stands where in the files that there are now. An index can be lost: the files say it again."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from exporter.model import PermanentError, Telemetry, TransientError
from exporter.reading.encodings import UTF8
from exporter.reading.instants import EARLIEST
from exporter.wording.text import one_line
from integrations.file.content import BLOCK, Chunk, chunks, is_packed, moved, opened
from integrations.file.identity import begins_as, inspected, whole_days
from integrations.file.lines import Parser
from integrations.file.listing import listed, unreadable
from integrations.file.log import SECOND, Block, Log, extent, joined, seconds_of
from integrations.file.pages import Pages
from integrations.file.parquet import has_footer, pieces_of
from integrations.file.settings import FileOptions

logger = logging.getLogger(__name__)

IDLE = 60.0
"""Seconds after which a line without a line break is taken as whole: its writer has gone."""

ALIKE = 4
"""Generations with the same banner that are told apart at once."""

MAX_SECONDS = 4_000_000
"""Seconds with lines for which counts are kept; older blocks are read again to be counted."""

DAY = timedelta(days=1)


class Index:
    """The files of a source, each indexed up to its present end when it is asked for."""

    def __init__(self, settings: FileOptions, parser: Parser, pages: Pages, telemetry: Telemetry) -> None:
        self._name = settings.name
        self._settings = settings
        self._parser = parser
        self._pages = pages
        self._telemetry = telemetry
        self._logs: dict[str, Log] = {}
        self._identities: dict[Path, tuple[tuple[int, ...], str]] = {}
        self._left_out: dict[Path, str] = {}
        self._lock = threading.RLock()

    def found(self, start: int, end: int) -> list[tuple[Path, Log, list[Block]]]:
        """The files there are, indexed up to their present end, and their blocks that may hold lines of a range."""
        with self._lock:
            try:
                return self._indexed(start, end)
            except FileNotFoundError as error:
                raise moved(error.filename) from error

    def newest(self) -> tuple[list[tuple[Path, os.stat_result]], Path, Log | None]:
        """The files there are, the newest of them, and what it is; None where it holds no line with a time."""
        with self._lock:
            present = self._present()
            path, stat = max(present, key=lambda item: item[1].st_mtime)
            return present, path, self._log(path, stat)

    def unplaced(self) -> dict[str, int]:
        """Lines and files that are in no range, by reason."""
        reasons: dict[str, int] = {}
        with self._lock:
            timeless = sum(1 for _, identity in self._identities.values() if not identity)
            reasons["file_without_times"] = timeless
            reasons["unreadable_file"] = unreadable(self._settings.path) + len(self._left_out)
            for log in self._logs.values():
                binary = {"binary_file": 1} if log.kind == "binary" else {}
                truncated = {"truncated_file": 1} if log.truncated else {}
                for reason, lines in {**log.unusable, **binary, **truncated}.items():
                    reasons[reason] = reasons.get(reason, 0) + lines
        return reasons

    # --- Which files there are --------------------------------------------------------------------

    def _indexed(self, start: int, end: int) -> list[tuple[Path, Log, list[Block]]]:
        found: dict[str, tuple[Path, Log]] = {}
        for path, stat in self._present():
            # What was last changed days before a range holds none of it, unless its time of change is made up.
            if EARLIEST.timestamp() < stat.st_mtime and (stat.st_mtime + DAY.total_seconds()) * SECOND < start:
                continue
            try:
                log = self._log(path, stat)
                if log is None or self._is_copy(path, found.get(log.identity)):
                    continue
                self._refresh(path, log, stat)
            except PermanentError as error:
                # The others are read all the same.
                self._leave_out(path, str(error))
                continue
            self._left_out.pop(path, None)
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
        before = listed(self._settings).files
        for _ in range(5):
            found = listed(self._settings)
            now = found.files
            if [(path, stat.st_ino) for path, stat in now] == [(path, stat.st_ino) for path, stat in before]:
                break
            before = now
        there = {*dict(now), *found.left_out}
        self._left_out = {path: reason for path, reason in self._left_out.items() if path in there}
        for path, reason in found.left_out.items():
            self._leave_out(path, f"{path}: {reason}")
        if not now and found.left_out:
            raise TransientError(f"source {self._name}: there is no file to read; {found.reasons}")
        if not now:
            # A service that has not written yet, or whose files are elsewhere for a while, is no silence.
            patterns = ", ".join(self._settings.path)
            reason = "it is waited for; if it should be there, check the path and who may list it"
            raise TransientError(f"source {self._name}: no file matches {patterns}; {reason}")
        if (more := len(now) - self._settings.max_files) > 0:
            self._telemetry.count("source_lines_dropped", more, source=self._name, reason="max_files")
            now = sorted(now, key=lambda item: item[1].st_mtime)[more:]
        present = {path for path, _ in now}
        self._identities = {path: known for path, known in self._identities.items() if path in present}
        return now

    def _leave_out(self, path: Path, reason: str) -> None:
        """Say once, and count, that a file is not read."""
        if self._left_out.get(path) != reason:
            logger.warning("source %s: %s; it is left out, the others are read", self._name, one_line(reason))
        self._left_out[path] = reason

    def _log(self, path: Path, stat: os.stat_result) -> Log | None:
        """What is known of a file, by what it holds; None while it holds no line that can be placed in time."""
        signature = (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns)
        known = self._identities.get(path)
        if known and known[0] == signature:
            return self._logs.get(known[1])
        if known and (old := self._logs.get(known[1])) and begins_as(path, old):
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
            if fresh is None or other is None or not fresh.head or begins_as(path, other):
                break
        return fresh

    # --- Indexing ---------------------------------------------------------------------------------

    def _refresh(self, path: Path, log: Log, stat: os.stat_result) -> None:
        """Index what has been added since the file was last looked at."""
        idle = time.time() - stat.st_mtime > IDLE
        state = (stat.st_size, stat.st_mtime_ns)
        if log.kind == "binary" or (log.seen == state and (log.complete or not idle)):
            return
        if log.kind == "parquet":
            log.truncated = not has_footer(path)
            if log.truncated and not idle:
                raise TransientError(f"source {self._name}: {path}: its end is missing; it is still being written")
            if not log.truncated:
                self._index_rows(path, log)
        else:
            self._index_lines(path, log, idle)
        log.seen = state

    def _index_lines(self, path: Path, log: Log, idle: bool) -> None:
        final = idle or is_packed(path)
        # What is read in another encoding has other places than the file.
        known = log.seen[0] if log.writer.encoding != UTF8 else log.blocks[-1].end if log.blocks else 0
        if log.blocks and not is_packed(path) and path.stat().st_size < known:
            log.blocks.clear()
            log.unusable.clear()
        last = log.blocks[-1] if log.blocks else None
        start, line, carry = (last.end, last.next_line, last.next_carry) if last else (0, 1, None)
        if carry is not None and log.writer.begun is not None:
            # What is added was written now: a clock without a date does not say that nothing was written for days.
            carry += max(0, whole_days(carry, log.writer.reference))
        with opened(path, log.writer.encoding) as content:
            for chunk in chunks(content, start, line, None, final, partial(self._parser.unfinished, log.writer)):
                carry = self._add(log, chunk, carry)
            log.truncated = getattr(content, "truncated", False)
        if log.truncated and not idle:
            raise TransientError(f"source {self._name}: {path}: its end is missing; it may still be being packed")
        log.complete = final

    def _add(self, log: Log, chunk: Chunk, carry: int | None) -> int | None:
        """Index a chunk that follows what is known. Returns the time that lines after it inherit."""
        self._pages.going_on()
        page, unusable = self._parser.page(log.writer, chunk, carry)
        log.note(unusable)
        times = page["timestamp"].drop_nulls()
        after = int(times[-1]) if len(times) else carry
        next_line = chunk.line + chunk.data.count(b"\n") + (not chunk.data.endswith(b"\n"))
        block = Block(chunk.start, chunk.end, chunk.line, next_line, carry, after, *extent(times), seconds_of(times))
        last = log.blocks[-1] if log.blocks else None
        if last and last.next_carry == carry and block.end - last.start <= BLOCK:
            log.blocks[-1] = joined(last, block)
        else:
            log.blocks.append(block)
            self._pages.keep((log.identity, block.start, block.end), page)
        return after

    def _index_rows(self, path: Path, log: Log) -> None:
        log.blocks.clear()
        log.unusable.clear()
        for start, frame in pieces_of(path):
            self._pages.going_on()
            page, unusable = self._parser.rows(log.writer, frame, start)
            log.note(unusable)
            times, end = page["timestamp"].drop_nulls(), start + frame.height
            log.blocks.append(Block(start, end, start, end, None, None, *extent(times), seconds_of(times)))
        log.complete = True
