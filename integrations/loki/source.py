"""Read logs from Loki: forward paging that loses no line of a shared nanosecond, and exact counts of windows."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypeVar

import polars as pl

from exporter.model import (
    EPOCH,
    Check,
    Choice,
    Context,
    ExporterError,
    FieldMap,
    TimeRange,
    TransientError,
    floor,
    nanoseconds,
)
from integrations._choosing import Decoders, open_columns, short
from integrations._coverage import NEWEST, coverage
from integrations._documents import Decoder
from integrations._http import Client, Refused, Unready, join, pause
from integrations.loki.batches import decoded
from integrations.loki.entries import STREAM, Entry, entries_of, most_telling, order_of
from integrations.loki.errors import TooLarge, TooMuch, outcome_of, remedy_for, too_much
from integrations.loki.logql import guarded, pieces, quoted, selector_end, with_matchers
from integrations.loki.settings import LokiOptions

T = TypeVar("T")

ATTEMPTS = 4
"""Tries of one request; what still fails is the caller's to try again later."""

IN_FLIGHT = 2
"""Requests at the same time: a server queues few for each tenant, and others ask it too."""

LONGEST = 3600 * 10**9
"""Nanoseconds asked for at once: longer queries are fanned out by the server."""

SHORTEST = 10**9
"""Nanoseconds below which a query that the server finds too large is not halved any more."""

PLENTY = 50_000
"""Lines asked for where many share one nanosecond; most servers answer with their own, lower limit."""

MAX_SHRINKS = 20
"""Times that one page is asked for with less before it is given up."""

MAX_SIMULTANEOUS = 200_000
"""Lines of one nanosecond that are held; more is a loss, and counted."""

MAX_STREAMS = 100_000
"""Streams that are told apart in one nanosecond; more is a loss, and counted."""

HEADERS = {
    # Structured metadata stays apart from the labels; servers that do not know this ignore it.
    "X-Loki-Response-Encoding-Flags": "categorize-labels",
    # An empty answer is cached by the server: late lines would never be seen.
    "Cache-Control": "no-cache",
}

BORDER = "exporter_border"

STAMP = "{{ __timestamp__ | unixEpochNanos }}"
"""A label that is the time of its line in nanoseconds, for lines whose exact time matters."""


@dataclass(frozen=True)
class Page:
    """One answer: lines in order of time; when `full`, there may be more up to `end`."""

    entries: Sequence[Entry]
    end: int
    full: bool


class LokiSource:
    """Lines of a LogQL query, by range of their timestamp."""

    def __init__(self, settings: LokiOptions, context: Context) -> None:
        self.name = settings.name
        self._settings = settings
        self._telemetry = context.telemetry
        self._clock = context.clock
        self._decoders = Decoders(settings)
        self._of_batches = Decoder(settings.model_copy(update={"fields": FieldMap()}))
        self._client = Client(settings, f"source {settings.name}", audited=False)
        self._query = guarded(settings.query, settings.fields.service, settings.excluded)
        self._limit = settings.page_size
        self._maximum = PLENTY
        self._span = LONGEST
        self._slots = asyncio.Semaphore(IN_FLIGHT)

    # --- Source ---

    async def query(self, time_range: TimeRange) -> AsyncIterator[pl.DataFrame]:
        """Pages in order of time. After a TransientError the whole range is to be read again."""
        start, end = nanoseconds(time_range.start), nanoseconds(time_range.end)
        seen: frozenset[str] = frozenset()
        decoder = self._decoders.at(time_range.start)
        while start < end:
            page = await self._read(self._query, start, min(end, start + self._span), self._limit)
            reached = page.entries[-1].timestamp if page.full else page.end
            if reached == start:
                # The page holds this nanosecond and no other: asking from it again would never get further.
                page, reached = await self._nanosecond(start), start + 1
            if fresh := [entry for entry in page.entries if entry.id not in seen]:
                yield await asyncio.to_thread(decoded, fresh, decoder, self._of_batches)
            # The next page begins with the lines of its first nanosecond that this one has had already.
            seen = frozenset(entry.id for entry in page.entries if entry.timestamp == reached)
            start = reached

    def open_columns(self) -> Mapping[str, Sequence[str]]:
        return open_columns(self._settings)

    def read_by(self, choices: Sequence[tuple[datetime, Choice]]) -> None:
        """A reader of a range is given what was chosen for its start."""
        self._decoders.read_by(choices)

    async def sample(self, time_range: TimeRange, most: int) -> Sequence[Mapping[str, Any]]:
        """In order of time, stream and id."""
        start, end = nanoseconds(time_range.start), nanoseconds(time_range.end)
        found: dict[str, Entry] = {}
        while start < end and len(found) < most:
            page = await self._read(self._query, start, min(end, start + self._span), min(self._limit, most))
            found.update((entry.id, entry) for entry in page.entries)
            reached = page.entries[-1].timestamp if page.full else page.end
            start = max(reached, start + 1)
        first = sorted(found.values(), key=order_of)[:most]
        return [short({key: value for key, value in one.document.items() if key != STREAM}) for one in first]

    async def count(self, time_range: TimeRange, window: timedelta) -> Mapping[datetime, int]:
        """Counts by count_over_time, on the grid of the epoch; windows that the range cuts, one by one."""
        counts: dict[datetime, int] = {}
        for piece in pieces(time_range, window):
            if floor(piece.start, window) == piece.start and floor(piece.end, window) == piece.end:
                counts.update(await self._on_grid(piece, window))
            elif n := await self._cut(piece):
                counts[floor(piece.start, window)] = n
        return counts

    async def unusable(self) -> Mapping[str, int]:
        """Loki takes no line without a time, and none that is far in the past or the future."""
        return {}

    async def check(self) -> Sequence[Check]:
        """A count over the last day and one line: rights, tenant, query, and whether any stream matches."""
        subject = f"read {self._settings.query}"
        now = self._clock.now()
        hour = floor(now, timedelta(hours=1))
        day = TimeRange(hour - timedelta(days=1), hour)
        try:
            lines = sum((await self.count(day, timedelta(hours=1))).values())
            recent = await self._read(self._query, nanoseconds(hour), nanoseconds(now) + 1, NEWEST)
            if lines or recent.entries:
                documents = [entry.document for entry in recent.entries]
                return [Check(subject, True, f"{lines} lines in the last day"), *coverage(self._settings, documents)]
            labels = await self._ask("labels", {"start": nanoseconds(day.start), "end": nanoseconds(now)}) or []
        except ExporterError as error:
            return [Check(subject, False, str(error), remedy_for(error))]
        known = (
            f"its labels are {', '.join(map(str, labels[:30]))}"
            if isinstance(labels, list) and labels
            else "this tenant has no labels at all"
        )
        return [Check(subject, False, "no line in the last day", f"Correct `query`: the server answers; {known}.")]

    async def close(self) -> None:
        await self._client.close()

    # --- Lines ---

    async def _read(self, query: str, start: int, end: int, limit: int) -> Page:
        """One page of [start, end), or of a shorter range when the server finds that too much."""
        for _ in range(MAX_SHRINKS):
            limit = min(limit, self._maximum)
            form = {"query": query, "start": start, "end": end, "limit": limit, "direction": "forward"}
            try:
                data = await self._ask("query_range", form, halvable=end - start > SHORTEST)
            except Refused as error:
                self._learn_limit(error, limit)
            except TooLarge:
                limit = max(1, limit // 2)
            except TooMuch:
                end = start + (end - start) // 2
                self._span = end - start
            else:
                self._span = min(LONGEST, self._span * 2)
                entries, found = await asyncio.to_thread(self._understood, partial(_entries, data))
                if entries and not start <= entries[0].timestamp <= entries[-1].timestamp < end:
                    raise TransientError(f"source {self.name}: the answer is not of the range that was asked for")
                return Page(entries, end, full=found >= limit)
        raise TransientError(
            f"source {self.name}: finds even short ranges too much; raise `timeout`, or narrow `query`"
        )

    def _learn_limit(self, error: Refused, limit: int) -> None:
        """Take the server's own limit from its refusal. Raises the error when it is about something else."""
        match = re.search(r"max_entries_limit\w* \((\d+) > (\d+)\)", error.answer.text())
        if not match or not 0 < int(match[2]) < limit:
            raise error
        self._maximum = int(match[2])
        self._limit = min(self._limit, self._maximum)

    async def _nanosecond(self, instant: int) -> Page:
        """All lines of one nanosecond; what one stream has over the server's limit is lost, and counted."""
        page = await self._read(self._query, instant, instant + 1, PLENTY)
        if not page.full:
            return page
        selector = self._query[: selector_end(self._query)]
        streams = await self._ask("series", {"match[]": selector, "start": instant, "end": instant + 1})
        found = {entry.id: entry for entry in page.entries}
        told = self._understood(lambda: [dict(stream) for stream in streams[:MAX_STREAMS]])
        await self._divide(told, (), instant, found)
        if lost := await self._count_at(instant) - len(found):
            reason = "same_nanosecond"
            self._telemetry.count("source_lines_dropped", max(0, lost), source=self.name, reason=reason)
        return Page(sorted(found.values(), key=order_of), instant + 1, full=False)

    async def _divide(
        self, streams: Sequence[Mapping[str, str]], matchers: Sequence[str], instant: int, found: dict[str, Entry]
    ) -> None:
        """Read one nanosecond by ever fewer streams, halving the values of the label that tells most of them apart."""
        name, values = most_telling(streams)
        if len(values) < 2 or len(found) >= MAX_SIMULTANEOUS:
            return
        for half in values[: len(values) // 2], values[len(values) // 2 :]:
            narrowed = [*matchers, f"{name}=~{quoted('|'.join(map(re.escape, half)))}"]
            page = await self._read(with_matchers(self._query, narrowed), instant, instant + 1, PLENTY)
            found.update((entry.id, entry) for entry in page.entries)
            if page.full:
                chosen = frozenset(half)
                fewer = [stream for stream in streams if stream.get(name, "") in chosen]
                await self._divide(fewer, narrowed, instant, found)

    # --- Counts ---

    async def _on_grid(self, time_range: TimeRange, window: timedelta) -> dict[datetime, int]:
        """Counts of whole windows.

        Loki counts (t - window, t], and moves the times of such a query to whole steps, so that asking for a
        nanosecond earlier does not help: what lies exactly on the borders is counted apart and moved to its window.
        """
        step = window // timedelta(milliseconds=1)
        whole = {"start": nanoseconds(time_range.start), "end": nanoseconds(time_range.end), "step": f"{step / 1000:g}"}
        on_border = f'{self._query} | label_format {BORDER}=`{STAMP}` | {BORDER}=~".*000000"'
        try:
            counted = await self._matrix(f"sum(count_over_time({self._query} [{step}ms]))", whole)
            borders = await self._matrix(f"sum(count_over_time({on_border} [1ms]))", whole)
        except TooMuch as error:
            if time_range.duration <= window:
                raise TransientError(f"{error}; one window is too much for the server to count") from error
            half = time_range.start + max(1, time_range.duration // window // 2) * window
            parts = TimeRange(time_range.start, half), TimeRange(half, time_range.end)
            return {key: n for part in parts for key, n in (await self._on_grid(part, window)).items()}
        counts = {}
        for one in time_range.windows(window):
            if n := counted.get(one.end, 0) - borders.get(one.end, 0) + borders.get(one.start, 0):
                counts[one.start] = n
        return counts

    async def _matrix(self, query: str, form: Mapping[str, Any]) -> dict[datetime, int]:
        data = await self._ask("query_range", {"query": query, **form}, halvable=True)

        def points() -> dict[datetime, int]:
            found = (point for series in data.get("result") or [] for point in series["values"])
            return {EPOCH + timedelta(milliseconds=round(float(at) * 1000)): int(float(n)) for at, n in found}

        return self._understood(points)

    async def _cut(self, time_range: TimeRange) -> int:
        """The count of a part of a window: of whole milliseconds by the server, else by reading the lines."""
        step, rest = divmod(time_range.duration, timedelta(milliseconds=1))
        if rest:
            return sum([page.height async for page in self.query(time_range)])
        return await self._instant(f"sum(count_over_time({self._query} [{step}ms]))", nanoseconds(time_range.end) - 1)

    async def _count_at(self, instant: int) -> int:
        """How many lines have exactly this time; the shortest range that Loki counts is a millisecond."""
        exactly = f'{self._query} | label_format {BORDER}=`{STAMP}` | {BORDER}="{instant}"'
        return await self._instant(f"sum(count_over_time({exactly} [1ms]))", instant)

    async def _instant(self, query: str, at: int) -> int:
        data = await self._ask("query", {"query": query, "time": at})
        return self._understood(lambda: sum(int(float(one["value"][1])) for one in data.get("result") or []))

    def _understood(self, read: Callable[[], T]) -> T:
        """What is read of an answer. Raises TransientError where it has another form than Loki's."""
        try:
            return read()
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            said = f"an answer that is not understood ({type(error).__name__}); is `url` that of a Loki?"
            raise TransientError(f"source {self.name}: {said}") from error

    # --- Requests ---

    async def _ask(self, path: str, form: Mapping[str, Any], halvable: bool = False) -> Any:
        """The `data` of a whole answer. Raises TooMuch or TooLarge where asking for less would help."""
        for attempt in range(ATTEMPTS):
            try:
                data = await self._once(path, form)
            except ExporterError as error:
                self._telemetry.count("source_requests", source=self.name, outcome=outcome_of(error))
                if isinstance(error, Unready | Refused) and "larger than max" in error.answer.text():
                    raise TooLarge(str(error)) from error
                if halvable and too_much(error):
                    raise TooMuch(str(error)) from error
                if not isinstance(error, TransientError) or attempt == ATTEMPTS - 1:
                    raise
                await pause(attempt, error.retry_after)
            else:
                self._telemetry.count("source_requests", source=self.name, outcome="ok")
                return data
        raise AssertionError("unreachable")

    async def _once(self, path: str, form: Mapping[str, Any]) -> Any:
        tenant = {"X-Scope-OrgID": self._settings.tenant} if self._settings.tenant else {}
        url = join(self._settings.url, f"/loki/api/v1/{path}")
        sent = {key: str(value) for key, value in form.items()}
        async with self._slots:
            answer = await self._client.request("POST", url, data=sent, headers={**HEADERS, **tenant})
        content = await asyncio.to_thread(answer.json)
        if not isinstance(content, dict) or content.get("status") != "success" or "data" not in content:
            raise TransientError(f"source {self.name}: what answers is no Loki; give `url` without /loki/api/v1")
        if any("partial" in str(warning) for warning in content.get("warnings") or ()):
            raise TransientError(f"source {self.name}: a partial answer ({content['warnings'][0]}); it is not taken")
        self._note_time(content["data"])
        return content["data"]

    def _note_time(self, data: Any) -> None:
        """Queries tell how long the server worked on them; questions about labels do not."""
        stats = data.get("stats") if isinstance(data, dict) else None
        summary = stats.get("summary") if isinstance(stats, dict) else None
        took = summary.get("execTime") if isinstance(summary, dict) else None
        if isinstance(took, int | float):
            self._telemetry.observe("source_store_seconds", float(took), source=self.name)


def _entries(data: Any) -> tuple[list[Entry], int]:
    return entries_of(data.get("result") or [])
