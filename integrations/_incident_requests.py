"""Requests to the index of past incidents: their errors told apart, with the remedy."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from exporter.model import ExporterError, PermanentError, TransientError
from integrations._elasticsearch import ConnectionSettings, explained

if TYPE_CHECKING:
    from elasticsearch import AsyncElasticsearch

T = TypeVar("T")

READ_AT_ONCE = 500

MOST_PRUNED = 1_000
"""Documents that are dropped at a time, for each reason that there is: the rest goes the next time."""


class Requests:
    """Asks an Elasticsearch about one alias; `fields` are those of documents that are read."""

    def __init__(self, settings: ConnectionSettings, alias: str, bootstrap: bool, fields: Sequence[str]) -> None:
        self.alias = alias
        self.bootstrap = bootstrap
        self._settings = settings
        self._fields = list(fields)
        self._connection: AsyncElasticsearch | None = None

    @property
    def client(self) -> AsyncElasticsearch:
        if self._connection is None:
            self._connection = self._settings.client("memory", audited=True)
        return self._connection

    async def close(self) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            await connection.close()

    async def hits(self, size: int, **body: Any) -> Sequence[Mapping[str, Any]]:
        """Of a search; none where there is no index yet. Raises TransientError or PermanentError."""
        return (await self.counted(size, track_total_hits=False, **body))[1]

    async def counted(
        self, size: int, track_total_hits: bool = True, **body: Any
    ) -> tuple[int, Sequence[Mapping[str, Any]]]:
        """`hits`, and of how many in all; 0 where they are not counted."""
        from elasticsearch import NotFoundError

        counts = {"allow_partial_search_results": False, "track_total_hits": track_total_hits}
        asked = {"index": self.alias, "source": {"includes": self._fields}, **counts, **body}
        try:
            answer = await self.attempt(self.client.search(size=size, **asked), raw=True)
        except NotFoundError:
            # No incident has been remembered yet.
            return 0, ()
        except Exception as error:
            raise self.explained(error) from error
        if answer["timed_out"] or answer["_shards"]["failed"]:
            raise TransientError(f"memory: {self.alias} answered in part only; see the cluster's health")
        return answer["hits"].get("total", {"value": 0})["value"], answer["hits"]["hits"]

    async def delete(self, query: Mapping[str, Any], beyond: int = 0, **order: Any) -> int:
        """Delete what a query finds beyond so many, the first ones; at most `MOST_PRUNED`. Returns how many are gone.

        What is written again meanwhile stays: it is deleted as it was found, or not at all.
        """
        found = await self.counted(MOST_PRUNED, query=query, source=False, seq_no_primary_term=True, **order)
        surplus = found[1][: max(0, found[0] - beyond)]
        if not surplus:
            return 0
        as_found = ({"if_seq_no": hit["_seq_no"], "if_primary_term": hit["_primary_term"]} for hit in surplus)
        operations = [{"delete": {"_id": hit["_id"], **seen}} for hit, seen in zip(surplus, as_found, strict=True)]
        return await self.bulk(operations, index=self.alias)

    async def page(self, after: list[Any] | None, **more: Any) -> Sequence[Mapping[str, Any]]:
        """The next hits of all, in the order of their ids; `after` is what the last one was sorted by."""
        sort = [{"id": "asc"}, {"installation": {"order": "asc", "unmapped_type": "keyword", "missing": "_first"}}]
        query = {"exists": {"field": "id"}}
        return await self.hits(READ_AT_ONCE, query=query, sort=sort, search_after=after, **more)

    async def bulk(self, operations: Sequence[Any], **where: Any) -> int:
        """Returns how many were written, or deleted: what is not newer than what is there, or is not as it was seen, is
        left."""
        answer = await self.attempt(self.client.bulk(operations=operations, **where))
        items = [told for item in answer["items"] for told in item.values()]
        for item in items:
            if item["status"] == 429 or item["status"] >= 500:
                raise TransientError(f"memory: {self.alias} took a part only: {item['error'].get('reason')}")
            if item["status"] >= 300 and item["status"] != 409:
                raise PermanentError(f"memory: {item['_id']}: {item['error'].get('reason')}; {self.remedy()}")
        return sum(item["status"] < 300 for item in items)

    async def attempt(self, request: Awaitable[T], raw: bool = False) -> T:
        """Await a request; errors become ours, but for conflicts, and with `raw` what callers tell apart."""
        from elasticsearch import ApiError, ConflictError

        try:
            return await request
        except ConflictError:
            raise
        except ApiError as error:
            if error.meta.status == 401:
                await self.close()
            if raw and error.meta.status in (400, 403, 404):
                raise
            raise self.explained(error) from None
        except Exception as error:
            raise self.explained(error) from error

    def explained(self, error: Exception) -> ExporterError:
        """What went wrong, as one of our errors, with the remedy."""
        return explained(error, f"memory: Elasticsearch at {', '.join(self._settings.hosts)}", self.remedy())

    def remedy(self) -> str:
        """What to do where we may not do something."""
        rights = "read, index, delete" + (", view_index_metadata, create_index and manage" if self.bootstrap else "")
        return f"grant on {self.alias}*: {rights}; or create the index yourself and set bootstrap: false"
