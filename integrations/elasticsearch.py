"""Read logs from Elasticsearch: point in time and search_after, only the needed fields, never a partial answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Literal

import polars as pl
from pydantic import Field

from exporter.model import (
    EPOCH,
    Check,
    Choice,
    Context,
    ExporterError,
    PermanentError,
    RecordSourceSettings,
    TimeRange,
    TransientError,
    Unit,
    Wanted,
)
from exporter.reading.instants import EARLIEST
from integrations._batches import ids_of, parted
from integrations._choosing import Decoders, open_columns, short
from integrations._coverage import NEWEST, coverage
from integrations._documents import Decoder
from integrations._elasticsearch import ConnectionSettings, explained, reason
from integrations._http import pause
from integrations._links import BaseUrl, GrafanaLinks, discover, explore, phrase

if TYPE_CHECKING:
    from elasticsearch import AsyncElasticsearch

KEEP_ALIVE = "2m"
"""Of a point in time: only the next page must come within it."""

ATTEMPTS = 4
"""Tries of one request; what still fails is the caller's to try again later."""

SAMPLED = 500
"""Whole documents asked for at once."""

MAX_BUCKETS = 10_000
"""Windows counted by one request; servers refuse more than 65,536 buckets."""

FORMAT = "strict_date_optional_time_nanos"


class ElasticsearchSettings(ConnectionSettings, GrafanaLinks, RecordSourceSettings):
    """Indices of an Elasticsearch that hold logs."""

    MAY_CHANGE = (
        RecordSourceSettings.MAY_CHANGE
        | ConnectionSettings.model_fields.keys()
        | GrafanaLinks.model_fields.keys()
        | {"slices", "kibana_url", "data_view"}
    )

    type: Literal["elasticsearch"] = "elasticsearch"
    index: str | tuple[str, ...] = "filebeat-*"
    """Index patterns, aliases or data streams."""
    query: dict[str, Any] | None = None
    """A further query (Query DSL) that lines must match."""
    slices: Annotated[int, Unit("parts")] = Field(default=2, ge=1, le=16)
    """Parts of a range that are read at the same time."""
    page_size: Annotated[int, Unit("lines")] = Field(default=2000, ge=1, le=10_000)
    """Lines asked for at once; documents in flight are most of the memory that reading takes."""
    kibana_url: BaseUrl = None
    """Where people reach Kibana, with the path of the space: pages then link to exactly the lines of a fact, in
    Discover."""
    data_view: str | None = None
    """The id of the data view in Kibana that has these logs; its default one otherwise."""

    def lines_url(self, wanted: Wanted) -> str | None:
        """By phrases, which hold in whichever field has them: which one it is differs with the kind of document."""
        service = phrase(wanted.service) if wanted.service and self.group_by == ("service",) else ""
        phrases = [service, *map(phrase, wanted.texts), phrase(wanted.trace) if wanted.trace else ""]
        said = list(filter(None, phrases))
        if self.kibana_url:
            return discover(self.kibana_url, self.data_view, " and ".join(said), self.fields.timestamp[0], wanted)
        query = {"query": " AND ".join(said), "metrics": [{"type": "logs", "id": "1"}]}
        return explore(self, "elasticsearch", query, wanted)

    def index_list(self) -> str:
        """The patterns as the API takes them."""
        return self.index if isinstance(self.index, str) else ",".join(self.index)

    def build(self, context: Context) -> ElasticsearchSource:
        return ElasticsearchSource(self, context)


class ElasticsearchSource:
    """Lines of index patterns, by range of their timestamp."""

    def __init__(self, settings: ElasticsearchSettings, context: Context) -> None:
        self.name = settings.name
        self._settings = settings
        self._telemetry = context.telemetry
        self._clock = context.clock
        self._decoders = Decoders(settings)
        self._field = settings.fields.timestamp[0]
        self._client: AsyncElasticsearch | None = None

    # --- Source ---

    async def query(self, time_range: TimeRange) -> AsyncIterator[pl.DataFrame]:
        """Pages of the range, slices side by side. After a TransientError the whole range is to be read again."""
        pages: asyncio.Queue[pl.DataFrame | None] = asyncio.Queue(maxsize=2)
        pit = await self._open_pit()
        slices = self._settings.slices if time_range.duration > timedelta(minutes=2) else 1

        decoder = self._decoders.at(time_range.start)

        async def read(number: int) -> None:
            async for page in self._slice(pit, time_range, number, slices, decoder):
                await pages.put(page)
            await pages.put(None)

        tasks = [asyncio.create_task(read(number)) for number in range(slices)]
        try:
            open_slices = slices
            while open_slices:
                page = await self._next(pages, tasks)
                if page is None:
                    open_slices -= 1
                elif page.height:
                    yield page
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._close_pit(pit["id"])

    async def _next(
        self, pages: asyncio.Queue[pl.DataFrame | None], tasks: Sequence[asyncio.Task[None]]
    ) -> pl.DataFrame | None:
        """The next page of any slice, or the error of the first that failed."""
        for task in tasks:
            if task.done():
                task.result()
        getter = asyncio.create_task(pages.get())
        running: set[asyncio.Task[Any]] = {task for task in tasks if not task.done()}
        while not getter.done():
            done, running = await asyncio.wait({getter, *running}, return_when=asyncio.FIRST_COMPLETED)
            running.discard(getter)
            for task in done - {getter}:
                if task.exception():
                    getter.cancel()
                    task.result()
        return getter.result()

    async def _slice(
        self, pit: dict[str, str], time_range: TimeRange, number: int, slices: int, decoder: Decoder
    ) -> AsyncIterator[pl.DataFrame]:
        body: dict[str, Any] = {
            "size": self._settings.page_size,
            "query": self._filter(time_range),
            "sort": [self._in_time(), {"_shard_doc": "asc"}],
            "track_total_hits": False,
            "_source": decoder.paths(),
        }
        if slices > 1:
            body["slice"] = {"id": number, "max": slices}
        while True:
            # Its id may change with every answer; the newest is the one to use and to close.
            body["pit"] = {"id": pit["id"], "keep_alive": KEEP_ALIVE}
            answer = await self._search(body)
            pit["id"] = answer.get("pit_id", pit["id"])
            hits = answer["hits"]["hits"]
            if hits and hits[-1]["sort"] == body.get("search_after"):
                raise TransientError(f"source {self.name}: the same page came twice: is there a cache on the way?")
            if hits and not decoder.has_body(hits[0].get("_source") or {}) and "fields" not in body:
                # Field aliases are in no `_source`: ask for the fields themselves, from this page on.
                body["fields"] = decoder.paths()
                continue
            if hits:
                yield await asyncio.to_thread(page_of, hits, decoder)
            if len(hits) < self._settings.page_size:
                return
            body["search_after"] = hits[-1]["sort"]

    # --- Choosing ---

    def open_columns(self) -> Mapping[str, Sequence[str]]:
        """Not for the time: by that the store is asked."""
        return open_columns(self._settings)

    def read_by(self, choices: Sequence[tuple[datetime, Choice]]) -> None:
        """A reader of a range is given what was chosen for its start."""
        self._decoders.read_by(choices)

    async def sample(self, time_range: TimeRange, most: int) -> Sequence[Mapping[str, Any]]:
        """In order of time and id; of those that share the last moment none, for their order does not last."""
        hits: list[tuple[str, str, Mapping[str, Any]]] = []
        pit = await self._open_pit()
        try:
            body: dict[str, Any] = {
                "query": self._filter(time_range),
                "sort": [self._in_time(), {"_shard_doc": "asc"}],
                "track_total_hits": False,
            }
            found: list[Any] = []
            while len(hits) < most and (not hits or len(found) == SAMPLED):
                answer = await self._search(
                    {**body, "size": SAMPLED, "pit": {"id": pit["id"], "keep_alive": KEEP_ALIVE}}
                )
                pit["id"], found = answer.get("pit_id", pit["id"]), answer["hits"]["hits"]
                hits += [(hit["sort"][0], _id(hit), short(hit.get("_source") or {})) for hit in found]
                if not found:
                    break
                body["search_after"] = found[-1]["sort"]
        finally:
            await self._close_pit(pit["id"])
        whole = [hit for hit in hits if hit[0] != hits[-1][0]] if len(hits) >= most else hits
        return [document for _, _, document in sorted(whole or hits, key=lambda hit: hit[:2])]

    def _in_time(self) -> dict[str, Any]:
        return {self._field: {"order": "asc", "format": FORMAT, "numeric_type": "date_nanos"}}

    # --- Counts and checks ---

    async def count(self, time_range: TimeRange, window: timedelta) -> Mapping[datetime, int]:
        """Counts by date_histogram, on the grid of the epoch."""
        counts: dict[datetime, int] = {}
        for part in time_range.split(window * MAX_BUCKETS):
            counts.update(await self._count(part, window))
        return counts

    async def _count(self, time_range: TimeRange, window: timedelta) -> dict[datetime, int]:
        histogram = {
            "field": self._field,
            "fixed_interval": f"{window // timedelta(milliseconds=1)}ms",
            "min_doc_count": 1,
        }
        body = {
            "size": 0,
            "query": self._filter(time_range),
            "track_total_hits": False,
            "aggs": {"windows": {"date_histogram": histogram}},
        }
        answer = await self._search(body, self._settings.index_list())
        buckets = answer.get("aggregations", {}).get("windows", {}).get("buckets", [])
        return {EPOCH + timedelta(milliseconds=bucket["key"]): bucket["doc_count"] for bucket in buckets}

    async def unusable(self) -> Mapping[str, int]:
        """Documents that are in no range, by reason; they are counted, and never judged."""
        tomorrow = self._clock.now() + timedelta(days=1)
        reasons = {
            "absent_timestamp": {"bool": {"must_not": [{"exists": {"field": self._field}}]}},
            "before_1990": {"range": {self._field: {"lt": _instant(EARLIEST), "format": FORMAT}}},
            "in_the_future": {"range": {self._field: {"gte": _instant(tomorrow), "format": FORMAT}}},
        }
        body = {"size": 0, "track_total_hits": False, "aggs": {name: {"filter": q} for name, q in reasons.items()}}
        answer = await self._search(body, self._settings.index_list())
        found = answer.get("aggregations", {})
        return {name: found[name]["doc_count"] for name in reasons if found.get(name, {}).get("doc_count")}

    async def check(self) -> Sequence[Check]:
        """A search over the pattern, a point in time, and what is in no range."""
        subject = f"read {self._settings.index_list()}"
        try:
            pit = await self._open_pit()
            await self._close_pit(pit["id"])
            now = self._clock.now()
            lines = sum((await self.count(TimeRange(now - timedelta(days=1), now), timedelta(hours=1))).values())
            unusable = await self.unusable()
            newest = await self._newest()
        except ExporterError as error:
            return [Check(subject, False, str(error), _grant(self._settings.index_list()))]
        checks = [Check(subject, True, f"{lines} lines in the last day")]
        if unusable:
            detail = ", ".join(f"{count} {reason.replace('_', ' ')}" for reason, count in unusable.items())
            checks.append(Check("timestamps", True, f"{detail}: counted, never judged (field {self._field})"))
        return [*checks, *coverage(self._settings, newest)]

    async def _newest(self) -> list[Mapping[str, Any]]:
        """The newest documents, whole."""
        now = self._clock.now()
        body = {
            "size": NEWEST,
            "query": self._filter(TimeRange(now - timedelta(days=1), now)),
            "sort": [{self._field: {"order": "desc", "unmapped_type": "date"}}],
            "track_total_hits": False,
        }
        answer = await self._search(body, self._settings.index_list())
        return [hit.get("_source") or {} for hit in answer["hits"]["hits"]]

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()
            self._client = None

    # --- Requests ---

    def _connection(self) -> AsyncElasticsearch:
        if self._client is None:
            self._client = self._settings.client(f"source {self.name}")
        return self._client

    def _filter(self, time_range: TimeRange) -> dict[str, Any]:
        limits = {"gte": _instant(time_range.start), "lt": _instant(time_range.end), "format": FORMAT}
        needed: list[dict[str, Any]] = [{"range": {self._field: limits}}]
        if self._settings.query:
            needed.append(self._settings.query)
        excluded = list(self._settings.excluded)
        return {"bool": {"filter": needed, "must_not": [{"terms": {"service.name": excluded}}]}}

    async def _open_pit(self) -> dict[str, str]:
        index = self._settings.index_list()

        async def call() -> Any:
            return await self._connection().open_point_in_time(index=index, keep_alive=KEEP_ALIVE)

        answer = await self._patiently(call)
        shards = answer.get("_shards", {})
        if shards.get("total") == 0:
            raise PermanentError(
                f"source {self.name}: {index!r} matches no index; check its spelling, or what the key may see"
            )
        if shards.get("failed"):
            raise TransientError(f"source {self.name}: {shards['failed']} of {shards['total']} shards are missing")
        return {"id": answer["id"]}

    async def _close_pit(self, pit: str) -> None:
        from elasticsearch import ApiError, TransportError

        try:
            await self._connection().close_point_in_time(id=pit)
        except (ApiError, TransportError):
            # It ends by itself after its keep-alive.
            self._telemetry.count("source_requests", source=self.name, outcome="pit_not_closed")

    async def _search(self, body: Mapping[str, Any], index: str | None = None) -> Mapping[str, Any]:
        """One search whose answer is whole. Raises TransientError for a partial one."""

        async def call() -> Any:
            return await self._connection().search(index=index, body=dict(body), allow_partial_search_results=False)

        answer = await self._patiently(call)
        if "took" in answer:
            self._telemetry.observe("source_store_seconds", answer["took"] / 1000, source=self.name)
        failed = answer["_shards"].get("failed", 0)
        if answer.get("timed_out") or failed:
            reason = "timed out" if answer.get("timed_out") else f"{failed} shards failed"
            raise TransientError(f"source {self.name}: a partial answer ({reason}); it is not taken for a whole one")
        clusters = answer.get("_clusters", {})
        if clusters.get("skipped") or clusters.get("partial") or clusters.get("failed"):
            raise TransientError(f"source {self.name}: a remote cluster did not answer whole")
        body_of: Mapping[str, Any] = answer.body if hasattr(answer, "body") else answer
        return body_of

    async def _patiently(self, call: Any) -> Any:
        """Try a few times, with a pause that grows."""
        for attempt in range(ATTEMPTS):
            try:
                answer = await self._explained(call)
            except TransientError as error:
                self._telemetry.count("source_requests", source=self.name, outcome="transient")
                if attempt == ATTEMPTS - 1 or isinstance(error, Restart):
                    raise
                await pause(attempt, error.retry_after)
            else:
                self._telemetry.count("source_requests", source=self.name, outcome="ok")
                return answer
        raise AssertionError("unreachable")

    async def _explained(self, call: Any) -> Any:
        try:
            return await call()
        except Exception as error:
            if getattr(error, "status_code", None) == 401:
                # A secret in a file may have been replaced: the next try reads it again.
                await self.close()
            raise self._ours(error) from error

    def _ours(self, error: Any) -> ExporterError:
        place, index = f"source {self.name}", self._settings.index_list()
        if getattr(error, "status_code", None) == 404:
            place = f"{place}: 404 {reason(error)}"
            if "search_context_missing" in str(error.body):
                return Restart(f"{place}; the point in time has expired, the range is read again")
            return PermanentError(f"{place}; index {index!r} does not exist")
        return explained(error, place, _grant(index))


class Restart(TransientError):
    """The point in time is gone: only reading the range from its start helps."""


def page_of(hits: Sequence[Mapping[str, Any]], decoder: Decoder) -> pl.DataFrame:
    """The records of what a search found."""
    documents = [{**_first_values(hit["fields"]), **hit.get("_source", {})} if "fields" in hit else hit["_source"] for hit in hits]  # fmt: skip  # noqa: E501
    ids = list(map(_id, hits))
    times = pl.Series([hit["sort"][0] for hit in hits], dtype=pl.String)
    stamps = times.str.strptime(pl.Datetime("ns", "UTC"), "%Y-%m-%dT%H:%M:%S%.fZ", strict=False).cast(pl.Int64)
    if batches := parted(documents):
        # Each record has the time of its document, by which the store finds it.
        records, owners = batches
        return decoder.page(records, ids_of(ids, owners), stamps.gather(owners), list(range(len(records))))
    return decoder.page(documents, ids, stamps)


def _id(hit: Mapping[str, Any]) -> str:
    return f"{hit['_index']}/{hit['_id']}"


def _first_values(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: values[0] if isinstance(values, list) and values else values for name, values in fields.items()}


def _instant(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _grant(index: str) -> str:
    return (
        f"Needed is the index privilege `read` on {index}; for example, in Kibana's Dev Tools:\n"
        "POST /_security/api_key\n"
        '{"name": "log-anomaly-exporter", "role_descriptors": {"reader": {"indices": '
        f'[{{"names": ["{index}"], "privileges": ["read"]}}]}}}}}}'
    )
