"""Write the logs of the shop as a shipper would: to a file, to standard output, or into Elasticsearch."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO, Literal

import polars as pl

from exporter.demo.shop.shop import Shop
from exporter.model import Clock, ConfigError, PermanentError, TimeRange, TransientError

Write = Callable[[pl.DataFrame], Awaitable[None]]
Format = Literal["ndjson", "text"]

STEP = timedelta(minutes=30)
BULK_LINES = 5_000
ATTEMPTS = 8

_LEVELS = {5: "debug", 9: "info", 13: "warn", 17: "error", 21: "fatal"}


def documents(page: pl.DataFrame) -> pl.Series:
    """Each line as a JSON document in the Elastic Common Schema, as Filebeat ships it."""
    structured = page.select(
        pl.struct(
            _time().alias("@timestamp"),
            pl.col("body").alias("message"),
            pl.struct(level=_level(), offset=pl.col("sequence")).alias("log"),
            pl.struct(name="service").alias("service"),
            pl.struct(id="trace").alias("trace"),
            pl.struct(name="host").alias("host"),
            pl.struct(pod=pl.struct(name="stream")).alias("kubernetes"),
            pl.struct(dataset=pl.lit("shop")).alias("event"),
            pl.struct(version=pl.lit("8.11.0")).alias("ecs"),
        )
        .struct.json_encode()
        .alias("document")
    )
    return structured["document"]


def text_lines(page: pl.DataFrame) -> pl.Series:
    """Each line as text: time, level, service, instance, trace and message; a stack trace runs over several lines."""
    trace = pl.when(pl.col("trace").is_null()).then(pl.lit("")).otherwise(pl.format(" trace={}", "trace"))
    level = _level().str.to_uppercase().str.pad_end(5)
    line = pl.format("{} {} [{}] [{}]{} {}", _time(), level, "service", "stream", trace, "body")
    return page.select(line.alias("line"))["line"]


def _time() -> pl.Expr:
    return pl.col("timestamp").cast(pl.Datetime("ns")).dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ")


def _level() -> pl.Expr:
    return pl.col("severity").replace_strict(_LEVELS, default="info", return_dtype=pl.String)


async def simulate_to(
    write: Write,
    shop: Shop,
    clock: Clock,
    start: datetime,
    follow: bool = False,
    stop: asyncio.Event | None = None,
    pause: timedelta = timedelta(seconds=1),
) -> int:
    """Write all lines from `start` until now, then, with `follow`, go on in real time until told to stop.

    Returns the number of lines written. Raises what `write` raises.
    """
    stop = stop or asyncio.Event()
    written, done = 0, start
    while not stop.is_set() and done < shop.end:
        now = min(clock.now(), shop.end)
        for part in TimeRange(done, max(now, done)).split(STEP):
            page = await asyncio.to_thread(shop.page, part)
            await write(page)
            written, done = written + page.height, part.end
            if stop.is_set():
                return written
        if not follow:
            return written
        try:
            await asyncio.wait_for(stop.wait(), pause.total_seconds())
        except TimeoutError:
            continue
    return written


class FileWriter:
    """Appends to a file, or to standard output."""

    def __init__(self, path: Path | None, form: Format = "ndjson") -> None:
        self._form = form
        try:
            self._file: BinaryIO = path.open("ab") if path else sys.stdout.buffer
        except OSError as error:
            raise ConfigError(f"{path}: {error.strerror}; give --output a file that can be written") from error
        self._owned = path is not None

    async def __call__(self, page: pl.DataFrame) -> None:
        """Write a page. Raises PermanentError when the disk is full or the reader has gone."""
        if not page.height:
            return
        lines = documents(page) if self._form == "ndjson" else text_lines(page)
        data = ("\n".join(lines.to_list()) + "\n").encode()
        try:
            await asyncio.to_thread(self._file.write, data)
            await asyncio.to_thread(self._file.flush)
        except OSError as error:
            raise PermanentError(f"cannot write the logs: {error.strerror}") from error

    async def close(self) -> None:
        """Close a file that is ours."""
        if self._owned:
            self._file.close()


class BulkWriter:
    """Creates documents in an index or data stream; what is there already stays, so writing again is harmless."""

    def __init__(self, url: str, index: str, api_key: str | None = None) -> None:
        from elasticsearch import AsyncElasticsearch

        self._url, self._index = url, index
        try:
            self._client = AsyncElasticsearch(url, api_key=api_key, request_timeout=60, max_retries=0)
        except ValueError as error:
            raise ConfigError(f"--elasticsearch {url}: {error}") from error

    async def __call__(self, page: pl.DataFrame) -> None:
        """Write a page. Raises TransientError when the server stays away, PermanentError when it refuses."""
        for part in page.iter_slices(BULK_LINES):
            ids = part["id"].to_list()
            actions = [f'{{"create":{{"_id":"{key}"}}}}'.encode() for key in ids]
            bodies = [document.encode() for document in documents(part).to_list()]
            pending = list(zip(actions, bodies, strict=True))
            for attempt in range(ATTEMPTS):
                pending = await self._send(pending, last=attempt == ATTEMPTS - 1)
                if not pending:
                    break
                await asyncio.sleep(min(30.0, 0.5 * 2**attempt))

    async def _send(self, pending: list[tuple[bytes, bytes]], last: bool) -> list[tuple[bytes, bytes]]:
        """Returns what has to be sent again."""
        from elasticsearch import ApiError, TransportError

        operations: list[Any] = [part for pair in pending for part in pair]
        try:
            answer = await self._client.bulk(index=self._index, operations=operations)
        except (ApiError, TransportError) as error:
            status = getattr(error, "status_code", None)
            if status is not None and status != 429 and status < 500:
                raise PermanentError(f"{self._url}: refuses to write to {self._index}: {error}") from error
            if last:
                raise TransientError(f"{self._url}: does not take documents: {error}") from error
            return pending
        again = []
        for item, pair in zip(answer["items"], pending, strict=True):
            status = item["create"]["status"]
            if status == 429 or status >= 500:
                again.append(pair)
            elif status >= 300 and status != 409:
                raise PermanentError(f"{self._url}: refuses a document: {item['create'].get('error')}")
        if again and last:
            raise TransientError(f"{self._url}: is too busy, {len(again)} documents are not written; try a lower rate")
        return again

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()
