"""Keep incident documents in the team's Elasticsearch, and search them by vectors (kNN) and by words (BM25)."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import MISSING, fields
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from pydantic import Field, field_validator

from exporter.model import (
    Aside,
    Check,
    Context,
    Duration,
    Earlier,
    ExporterError,
    IncidentDocument,
    KeepingSettings,
    NoTelemetry,
    PermanentError,
    Telemetry,
    from_json,
    to_json,
)
from exporter.model.memory import in_place_of
from integrations._elasticsearch import ConnectionSettings
from integrations._incident_index import PROPERTIES, VERSION, IncidentIndex, field_of
from integrations._incident_requests import Requests
from integrations._incident_retention import drop_old, drop_surplus

Found = Sequence[tuple[IncidentDocument, float]]

MAX_QUERY_WORDS = 200

WRITTEN_AT_ONCE = 500
"""Documents of an import in one request."""

PROBE = "probe"
"""Id and status of what `check-config --connect` writes."""

OVERSAMPLE = 3.0
"""So many times the documents asked for are compared again."""

REQUIRED = frozenset(each.name for each in fields(IncidentDocument) if each.default is each.default_factory is MISSING)


class ElasticsearchIncidentsSettings(ConnectionSettings, KeepingSettings):
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
        return ElasticsearchIncidents(self, context.aside, telemetry=context.telemetry)


class ElasticsearchIncidents:
    """An incident store. Ranks of its two searches are fused by its caller, which needs no licence."""

    requests: type[Requests] = Requests

    def __init__(
        self,
        settings: ElasticsearchIncidentsSettings,
        aside: Aside | None = None,
        version: int = VERSION,
        telemetry: Telemetry | None = None,
    ) -> None:
        self._settings = settings
        self._telemetry = telemetry or NoTelemetry()
        self._aside = aside or Aside()
        self._alias = settings.index
        self._requests = self.requests(settings, settings.index, settings.bootstrap, list(PROPERTIES))
        self._index = IncidentIndex(self._requests, version)
        self._compares_again = True
        self._writing = asyncio.Lock()
        """What is read before it is written over: an index has no way to do both at once."""

    async def put(self, document: IncidentDocument) -> None:
        from elasticsearch import ConflictError, NotFoundError

        async with self._writing:
            try:
                await self._write(document)
            except ConflictError:
                return
            except NotFoundError:
                # Somebody deleted the index since we last looked.
                self._index.forget()
                await self._write(document)

    async def _write(self, document: IncidentDocument) -> None:
        from elasticsearch import ApiError

        await self._index.prepare(len(document.embedding))
        there = await self._there([document.key, document.id])
        # What an older release wrote, which named no installation, keeps its id: it is never two.
        older = there.get(document.id)
        ours = older is not None and older.installation in ("", document.installation)
        identity = document.id if ours else document.key
        before = there.get(identity)
        request = self._requests.client.index(
            index=self._alias,
            id=identity,
            document=to_source(in_place_of(before, document) if before else document),
            # An older revision is refused by the server itself; the same one may be written again.
            version=document.revision,
            version_type="external_gte",
            # Else a missing index would be made up, with fields guessed from the document.
            require_alias=True,
        )
        try:
            await self._requests.attempt(request, raw=True)
        except ApiError as error:
            if error.meta.status in (404, 409):
                raise
            raise self._requests.explained(error) from None

    async def _there(self, identities: Sequence[str]) -> Mapping[str, IncidentDocument]:
        """What is there under ids of the index."""
        ids = list(dict.fromkeys(identities))
        request = self._requests.client.mget(index=self._alias, ids=ids, source_includes=list(PROPERTIES))
        hits = (await self._requests.attempt(request))["docs"]
        read = {hit["_id"]: self._read(hit) for hit in hits if hit.get("found")}
        return {identity: document for identity, document in read.items() if document is not None}

    async def put_all(self, documents: Sequence[IncidentDocument]) -> int:
        """Write many at once. Returns how many are new, or newer than what was there."""
        for length in sorted({len(document.embedding) for document in documents}):
            await self._index.prepare(length)
        written = 0
        for start in range(0, len(documents), WRITTEN_AT_ONCE):
            async with self._writing:
                written += await self._write_all(documents[start : start + WRITTEN_AT_ONCE])
        return written

    async def _write_all(self, documents: Sequence[IncidentDocument]) -> int:
        there = await self._there([document.key for document in documents])
        operations: list[Any] = []
        for document in documents:
            version = {"version": document.revision, "version_type": "external"}
            before = there.get(document.key)
            whole = to_source(in_place_of(before, document) if before else document)
            operations += [{"index": {"_id": document.key, **version}}, whole]
        return await self._requests.bulk(operations, index=self._alias, require_alias=True)

    async def everything(self) -> AsyncIterator[IncidentDocument]:
        """All documents in the order of their ids, without vectors."""
        after: list[Any] | None = None
        while hits := await self._requests.page(after):
            for hit in hits:
                if (document := self._read(hit)) is not None and document.status != PROBE:
                    yield document
            after = hits[-1]["sort"]

    async def nearest(self, vector: Sequence[float], embedding_model: str, k: int, past: Earlier) -> Found:
        if not await self._index.has_field(len(vector)):
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
        return [(document, 2 * score - 1) for document, score in await self._nearest(k, knn)]

    async def _nearest(self, k: int, knn: Mapping[str, Any]) -> Found:
        """The index compares numbers of one byte: what it finds is compared again as it was written, from 8.18 on."""
        if self._compares_again:
            try:
                return await self._search(k, knn={**knn, "rescore_vector": {"oversample": OVERSAMPLE}})
            except PermanentError as error:
                if "rescore_vector" not in str(error):
                    raise
                self._compares_again = False
        return await self._search(k, knn=knn)

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

    async def document(self, key: str) -> IncidentDocument | None:
        return (await self._found(key))[1]

    async def delete(self, key: str) -> bool:
        from elasticsearch import ConflictError

        identity, document = await self._found(key)
        if document is None:
            return False
        # Its version stays known for a minute: of this one the same revision may be written again.
        of_this = {"version": document.revision, "version_type": "external_gte"}
        request = self._requests.client.delete(index=self._alias, id=identity, **of_this)  # type: ignore[arg-type]
        try:
            await self._requests.attempt(request)
        except ConflictError:
            # It was written again meanwhile.
            return await self.delete(key)
        self._telemetry.count("memory_documents_dropped", reason="asked")
        return True

    async def prune(self, now: datetime, whose: Collection[str]) -> None:
        since = self._settings.kept_since(now)
        for installation in sorted({*whose} - {""}):
            if since is not None:
                self._dropped("age", await drop_old(self._requests, installation, since))
            self._dropped("room", await drop_surplus(self._requests, installation, self._settings.max_documents))

    def _dropped(self, reason: str, amount: int) -> None:
        self._telemetry.count("memory_documents_dropped", amount, reason=reason)

    async def _found(self, key: str) -> tuple[str, IncidentDocument | None]:
        """The document of a key, and its id in the index."""
        # What an older release wrote keeps its id, which names no installation.
        for identity in (key, key.partition(":")[2]):
            document = await self._document(identity) if identity else None
            if document is not None and document.key == key:
                return identity, document
        return "", None

    async def _document(self, identity: str) -> IncidentDocument | None:
        from elasticsearch import NotFoundError

        request = self._requests.client.get(index=self._alias, id=identity, source_includes=list(PROPERTIES))
        try:
            found = await self._requests.attempt(request, raw=True)
        except NotFoundError:
            return None
        return self._read(found.body)

    async def check(self) -> Sequence[Check]:
        """Compare the mapping; write, read and delete a probe; then the rights, where the server can tell."""
        subject = f"memory: index {self._alias} on {', '.join(self._settings.hosts)}"
        try:
            await self._index.prepare(0)
            await self._search(0, query={"match_all": {}})
            stays = await self._probe()
            missing = await self._index.missing_privileges()
        except ExporterError as error:
            return [Check(subject, False, str(error), self._requests.remedy())]
        if missing:
            return [Check(subject, False, f"missing privileges: {', '.join(missing)}", self._requests.remedy())]
        return [Check(subject, True, f"can be searched and written{stays}")]

    async def _probe(self) -> str:
        """Write, read and delete a document that nothing recalls. Raises what any of that fails with."""
        from elasticsearch import AuthorizationException

        client, now = self._requests.client, datetime.now(UTC)
        probe = IncidentDocument(PROBE, 1, "", "", "", (), "info", PROBE, now, now, None, "", ())
        await self._requests.attempt(
            client.index(index=self._alias, id=PROBE, document=to_source(probe), require_alias=True)
        )
        read = await self._requests.attempt(client.get(index=self._alias, id=PROBE))
        if from_source(read["_source"]) != probe:
            raise PermanentError(f"memory: {self._alias} gives back another document than was written")
        try:
            await self._requests.attempt(client.delete(index=self._alias, id=PROBE), raw=True)
        except AuthorizationException:
            return (
                f"; but we may not delete: grant that on {self._alias}*, or nothing is ever dropped from it "
                "(max_documents, retention), and a probe stays in it, which nothing recalls"
            )
        return ""

    async def close(self) -> None:
        await self._requests.close()

    async def _search(self, size: int, **body: Any) -> Found:
        read = ((self._read(hit), float(hit["_score"] or 0.0)) for hit in await self._requests.hits(size, **body))
        return [(document, score) for document, score in read if document is not None]

    def _read(self, hit: Mapping[str, Any]) -> IncidentDocument | None:
        """The index is shared: a document that somebody else wrote otherwise costs itself, and no recall."""
        try:
            return from_source(hit["_source"])
        except (ValueError, TypeError, KeyError) as error:
            key = str(hit.get("_id"))
            self._aside.note("documents", key, error, f"put {key} of the index {self._alias} right, or delete it")
            return None


def among(past: Earlier, *more: Mapping[str, Any]) -> dict[str, Any]:
    """What may be recalled, as a filter: inside the query, so that what may not takes no place."""
    return {
        "bool": {
            "filter": [
                {"term": {"status": "resolved"}},
                {"range": {"starts_at": {"lt": past.before.isoformat()}}},
                *more,
            ],
            "must_not": [{"ids": {"values": sorted(past.itself)}}, {"term": {"verdict": "rejected"}}, *_others(past)],
        }
    }


def _others(past: Earlier) -> list[dict[str, Any]]:
    """Those of other installations, where they are not wanted; what an older release wrote says nothing of that."""
    if past.others:
        return []
    ours = {"terms": {"installation": ["", past.installation]}}
    return [{"bool": {"must": [{"exists": {"field": "installation"}}], "must_not": [ours]}}]


def either(past: Earlier, should: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What may be recalled and meets at least one of the queries."""
    return {"bool": {**among(past)["bool"], "should": list(should), "minimum_should_match": 1}}


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
