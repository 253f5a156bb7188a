"""Keep incident documents in the team's Elasticsearch, and search them by vectors (kNN) and by words (BM25)."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import MISSING, fields
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from pydantic import Field, field_validator

from exporter.model import (
    Aside,
    Check,
    Context,
    Duration,
    Earlier,
    ExporterError,
    IncidentDocument,
    MemorySettings,
    PermanentError,
    TransientError,
    from_json,
    to_json,
)
from integrations._elasticsearch import ConnectionSettings, explained

if TYPE_CHECKING:
    from elasticsearch import AsyncElasticsearch

T = TypeVar("T")
Found = Sequence[tuple[IncidentDocument, float]]

VERSION = 1
"""Of the mapping; it is in the index's name. The alias is what everybody reads and writes."""

MAX_DIMENSIONS = 4096
MAX_QUERY_WORDS = 200

PROPERTIES: Mapping[str, Any] = {
    "id": {"type": "keyword"},
    "revision": {"type": "long"},
    "fingerprint": {"type": "keyword"},
    "headline": {"type": "text"},
    "text": {"type": "text"},
    "services": {"type": "keyword"},
    "severity": {"type": "keyword"},
    "status": {"type": "keyword"},
    "starts_at": {"type": "date"},
    "ends_at": {"type": "date"},
    "fix": {"type": "text"},
    "embedding_model": {"type": "keyword"},
    "form": {"type": "integer"},
    "service": {"type": "keyword"},
    "lines": {"type": "text", "index": False},
    "kinds": {"type": "keyword"},
    "fell": {"type": "keyword"},
    "signature": {"type": "keyword"},
    "verdict": {"type": "keyword"},
    "fixed_by": {"type": "keyword"},
    "fixed_at": {"type": "date"},
}
"""Fields are only ever added: an index that an older release made is given those that it lacks."""


REQUIRED = frozenset(each.name for each in fields(IncidentDocument) if each.default is each.default_factory is MISSING)


class ElasticsearchIncidentsSettings(ConnectionSettings, MemorySettings):
    """Memory in Elasticsearch 8.14 or later, or 9: shared by installations, kept where the logs are."""

    type: Literal["elasticsearch"]
    index: str = Field(default="lae-incidents", pattern=r"^[a-z0-9][a-z0-9._-]{0,200}$")
    """The alias of the index; the index itself has a version after it."""
    bootstrap: bool = True
    """Create the index when it is missing, and a field for vectors of a new length."""
    timeout: Duration = timedelta(seconds=10)

    @field_validator("index")
    @classmethod
    def _ours(cls, value: str) -> str:
        if re.match(r"(logs|metrics|traces|synthetics|profiling)-", value):
            raise ValueError(
                "names like logs-* belong to templates of Elasticsearch itself; take another, such as lae-incidents"
            )
        return value

    def build(self, context: Context) -> ElasticsearchIncidents:
        return ElasticsearchIncidents(self, context.aside)


class ElasticsearchIncidents:
    """An incident store. Ranks of its two searches are fused by its caller, which needs no licence."""

    def __init__(self, settings: ElasticsearchIncidentsSettings, aside: Aside | None = None) -> None:
        self._settings = settings
        self._aside = aside or Aside()
        self._alias = settings.index
        self._connection: AsyncElasticsearch | None = None
        self._lengths: set[int] = set()
        self._lacking: Sequence[str] = ()
        """Fields that an older release's index has not."""
        self._setting_up = asyncio.Lock()

    async def put(self, document: IncidentDocument) -> None:
        from elasticsearch import ConflictError, NotFoundError

        try:
            await self._write(document)
        except ConflictError:
            return
        except NotFoundError:
            # Somebody deleted the index since we last looked.
            self._lengths.clear()
            await self._write(document)

    async def _write(self, document: IncidentDocument) -> None:
        from elasticsearch import ApiError

        await self._prepare(len(document.embedding))
        request = self._client().index(
            index=self._alias,
            id=document.id,
            document=to_source(document),
            # An older revision is refused by the server itself; the same one may be written again.
            version=document.revision,
            version_type="external_gte",
            refresh="wait_for",
            # Else a missing index would be made up, with fields guessed from the document.
            require_alias=True,
        )
        try:
            await self._try(request, raw=True)
        except ApiError as error:
            if error.meta.status in (404, 409):
                raise
            raise self._explained(error) from None

    async def nearest(self, vector: Sequence[float], embedding_model: str, k: int, past: Earlier) -> Found:
        if not await self._has_field(len(vector)):
            return ()
        knn = {
            "field": field_of(len(vector)),
            "query_vector": list(vector),
            "k": k,
            # Of each shard; more than k, for the search is approximate.
            "num_candidates": max(100, 4 * k),
            # Inside, so that it is applied first: outside it would leave fewer than k.
            "filter": among(past, {"term": {"embedding_model": embedding_model}}),
        }
        # A cosine of c has the score (1 + c) / 2.
        return [(document, 2 * score - 1) for document, score in await self._search(k, knn=knn)]

    async def matching(self, text: str, k: int, past: Earlier) -> Found:
        words = " ".join(list(dict.fromkeys(re.findall(r"\w+", text.lower())))[:MAX_QUERY_WORDS])
        if not words:
            return ()
        should: list[dict[str, Any]] = [
            {"match": {"text": words}},
            {"match": {"headline": {"query": words, "boost": 0.5}}},
        ]
        return await self._search(k, query=either(past, should))

    async def sharing(self, signature: str, kinds: Sequence[str], k: int, past: Earlier) -> Sequence[IncidentDocument]:
        # Constant scores: a signature counts for more than any number of kinds.
        should: list[dict[str, Any]] = []
        if signature:
            should.append({"constant_score": {"filter": {"term": {"signature": signature}}, "boost": 2}})
        if kinds:
            should.append({"constant_score": {"filter": {"terms": {"kinds": list(kinds)}}}})
        if not should:
            return ()
        newest = [{"_score": "desc"}, {"starts_at": {"order": "desc", "unmapped_type": "date"}}]
        return [document for document, _ in await self._search(k, query=either(past, should), sort=newest)]

    async def check(self) -> Sequence[Check]:
        """A search and a look at the mapping; then the rights, where the server can tell."""
        subject = f"memory: index {self._alias} on {', '.join(self._settings.hosts)}"
        try:
            await self._prepare(0)
            await self._search(0, query={"match_all": {}})
            missing = await self._missing_privileges()
        except ExporterError as error:
            return [Check(subject, False, str(error), self._remedy())]
        if missing:
            return [Check(subject, False, f"missing privileges: {', '.join(missing)}", self._remedy())]
        return [Check(subject, True, "can be searched and written")]

    async def close(self) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            await connection.close()

    # --- The index

    async def _prepare(self, dimensions: int) -> None:
        """Make sure that the index, and a field for vectors of this length, are there."""
        if dimensions > MAX_DIMENSIONS:
            raise PermanentError(f"memory: vectors of {dimensions} dimensions; Elasticsearch takes {MAX_DIMENSIONS}")
        if await self._has_field(dimensions):
            await self._complete()
            return
        if not self._settings.bootstrap:
            raise PermanentError(
                f"memory: index {self._alias} is missing, or has no field for vectors of {dimensions} dimensions; "
                f"{self._remedy()}"
            )
        await self._create(dimensions)
        await self._complete()
        if not await self._has_field(dimensions):
            await self._try(
                self._client().indices.put_mapping(
                    index=self._alias, properties={field_of(dimensions): vector_field(dimensions)}
                )
            )
            self._lengths.add(dimensions)

    async def _complete(self) -> None:
        """Give an older release's index the fields that it lacks: without them only words and vectors find anything."""
        if self._lacking and self._settings.bootstrap:
            more = {name: PROPERTIES[name] for name in self._lacking}
            await self._try(self._client().indices.put_mapping(index=self._alias, properties=more))
            self._lacking = ()

    async def _has_field(self, dimensions: int) -> bool:
        """Whether documents with vectors of this length can be written; 0 asks for the index alone."""
        if dimensions in self._lengths:
            return True
        from elasticsearch import AuthorizationException, NotFoundError

        try:
            mappings = await self._try(self._client().indices.get_mapping(index=self._alias), raw=True)
        except NotFoundError:
            return False
        except AuthorizationException:
            # A key without view_index_metadata: then the index is as somebody made it.
            self._lengths |= {0, dimensions}
            return True
        known = [index["mappings"].get("properties", {}) for index in mappings.values()]
        self._lengths |= {0} | {
            spec["dims"]
            for each in known
            for name, spec in each.items()
            if name.startswith("embedding_") and "dims" in spec
        }
        self._lacking = sorted({name for each in known for name in PROPERTIES.keys() - each.keys()})
        return dimensions in self._lengths

    async def _create(self, dimensions: int) -> None:
        from elasticsearch import BadRequestError

        async with self._setting_up:
            if await self._has_field(0):
                return
            try:
                await self._try(
                    self._client().indices.create(
                        index=f"{self._alias}-v{VERSION}", aliases={self._alias: {}}, **index_body(dimensions)
                    ),
                    raw=True,
                )
            except BadRequestError as error:
                # Somebody else was faster: another installation that shares the index.
                if error.error != "resource_already_exists_exception":
                    raise self._explained(error) from None

    async def _missing_privileges(self) -> list[str]:
        from elasticsearch import ApiError

        wanted = ["read", "index"] + (
            ["view_index_metadata", "create_index", "manage"] if self._settings.bootstrap else []
        )
        names = [self._alias, f"{self._alias}-v{VERSION}"]
        try:
            answer = await self._client().security.has_privileges(index=[{"names": names, "privileges": wanted}])
        except ApiError:
            # A server without security, or one that does not tell: the search has worked.
            return []
        granted = answer.body.get("index", {})
        return [right for right in wanted if not all(granted.get(name, {}).get(right, True) for name in names)]

    def _remedy(self) -> str:
        rights = "read, index" + (", view_index_metadata, create_index and manage" if self._settings.bootstrap else "")
        return f"grant on {self._alias}*: {rights}; or create the index yourself and set bootstrap: false"

    # --- Requests

    async def _search(self, size: int, **body: Any) -> Found:
        from elasticsearch import NotFoundError

        request = self._client().search(
            index=self._alias,
            size=size,
            source={"includes": list(PROPERTIES)},
            allow_partial_search_results=False,
            track_total_hits=False,
            **body,
        )
        try:
            answer = await self._try(request, raw=True)
        except NotFoundError:
            # No incident has been remembered yet.
            return ()
        except Exception as error:
            raise self._explained(error) from error
        if answer["timed_out"] or answer["_shards"]["failed"]:
            raise TransientError(f"memory: {self._alias} answered in part only; see the cluster's health")
        read = ((self._read(hit), float(hit["_score"] or 0.0)) for hit in answer["hits"]["hits"])
        return [(document, score) for document, score in read if document is not None]

    def _read(self, hit: Mapping[str, Any]) -> IncidentDocument | None:
        """The index is shared: a document that somebody else wrote otherwise costs itself, and no recall."""
        try:
            return from_source(hit["_source"])
        except (ValueError, TypeError, KeyError) as error:
            key = str(hit.get("_id"))
            self._aside.note("documents", key, error, f"put {key} of the index {self._alias} right, or delete it")
            return None

    async def _try(self, request: Awaitable[T], raw: bool = False) -> T:
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
            raise self._explained(error) from None
        except Exception as error:
            raise self._explained(error) from error

    def _explained(self, error: Exception) -> ExporterError:
        """What went wrong, as one of our errors, with the remedy."""
        return explained(error, f"memory: Elasticsearch at {', '.join(self._settings.hosts)}", self._remedy())

    def _client(self) -> AsyncElasticsearch:
        if self._connection is None:
            self._connection = self._settings.client("memory")
        return self._connection


def among(past: Earlier, *more: Mapping[str, Any]) -> dict[str, Any]:
    """What may be recalled, as a filter: inside the query, so that what may not takes no place."""
    return {
        "bool": {
            "filter": [
                {"term": {"status": "resolved"}},
                {"range": {"starts_at": {"lt": past.before.isoformat()}}},
                *more,
            ],
            "must_not": [{"ids": {"values": [past.exclude]}}, {"term": {"verdict": "rejected"}}],
        }
    }


def either(past: Earlier, should: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What may be recalled and meets at least one of the queries."""
    return {"bool": {**among(past)["bool"], "should": list(should), "minimum_should_match": 1}}


def field_of(dimensions: int) -> str:
    """The field for vectors of this length: another embedder gets another field, words go on as before."""
    return f"embedding_{dimensions}"


def vector_field(dimensions: int) -> dict[str, Any]:
    """Everything is said, for the defaults differ between versions of the server."""
    return {
        "type": "dense_vector",
        "dims": dimensions,
        "index": True,
        "similarity": "cosine",
        "index_options": {"type": "int8_hnsw", "m": 16, "ef_construction": 100},
    }


def index_body(dimensions: int) -> dict[str, Any]:
    """Settings and mapping of the index. Nothing of a document makes a field that is not here."""
    properties = dict(PROPERTIES)
    if dimensions:
        properties[field_of(dimensions)] = vector_field(dimensions)
    return {
        "settings": {"index.mode": "standard", "number_of_shards": 1, "auto_expand_replicas": "0-1"},
        "mappings": {"dynamic": False, "properties": properties},
    }


def to_source(document: IncidentDocument) -> dict[str, Any]:
    """The document as it is indexed; without a vector it is found by words alone."""
    source: dict[str, Any] = to_json(document)
    embedding = source.pop("embedding")
    if embedding:
        source[field_of(len(embedding))] = embedding
    return source


def from_source(source: Mapping[str, Any]) -> IncidentDocument:
    """The document without its vector, which newer servers do not give back."""
    known = {name: source[name] for name in PROPERTIES if source.get(name) is not None or name in REQUIRED}
    plain = {**known, "services": known.get("services") or [], "embedding": []}
    document: IncidentDocument = from_json(IncidentDocument, dict.fromkeys(REQUIRED) | plain)
    return document
