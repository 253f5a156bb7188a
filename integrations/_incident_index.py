"""The index of past incidents in Elasticsearch: its mapping, and what of an index is not as it should be."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from exporter.model import PermanentError
from integrations._incident_requests import Requests

MAX_DIMENSIONS = 4096

VERSION = 1
"""Of the mapping; it is in the index's name. The alias is what everybody reads and writes."""

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
    "verdict_at": {"type": "date"},
    "fixed_by": {"type": "keyword"},
    "fixed_at": {"type": "date"},
    "told": {"type": "keyword"},
    "installation": {"type": "keyword"},
    "origin": {"type": "keyword"},
}
"""Fields are only ever added: an index that an older release made is given those that it lacks."""


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


def index_body(*lengths: int) -> dict[str, Any]:
    """Settings and mapping of the index, for vectors of these lengths. No document makes a field that is not here."""
    properties = dict(PROPERTIES) | {field_of(length): vector_field(length) for length in lengths if length}
    return {
        "settings": {"index.mode": "standard", "number_of_shards": 1, "auto_expand_replicas": "0-1"},
        "mappings": {"dynamic": False, "properties": properties},
    }


ASKED = (
    "id",
    "headline",
    "text",
    "status",
    "starts_at",
    "embedding_model",
    "kinds",
    "signature",
    "verdict",
    "installation",
)
"""Fields by which documents are found; of others it is the same how an index that somebody made keeps them."""


def lengths_of(properties: Mapping[str, Any]) -> set[int]:
    """Lengths of vectors for which a mapping has the right field."""
    named = {name: spec for name, spec in properties.items() if name.startswith("embedding_")}
    return {spec["dims"] for name, spec in named.items() if "dims" in spec and name == field_of(spec["dims"])}


def lacking(properties: Mapping[str, Any]) -> set[str]:
    """Fields that an older release's index has not; what an object has instead is there, and wrong."""
    return PROPERTIES.keys() - properties.keys()


def differences(properties: Mapping[str, Any]) -> Iterator[str]:
    """What of a mapping is not as it has to be, in words.

    >>> list(differences({"starts_at": {"type": "text"}, "embedding_3": {"type": "dense_vector", "dims": 4}}))
    ['starts_at is text, not date', 'embedding_3 has 4 dimensions']
    """
    for name, spec in properties.items():
        kind, wanted = spec.get("type", "object"), PROPERTIES.get(name, {}).get("type")
        if name in ASKED and kind != wanted:
            yield f"{name} is {kind}, not {wanted}"
        if re.fullmatch(r"embedding_\d+", name):
            if kind != "dense_vector":
                yield f"{name} is {kind}, not dense_vector"
            elif name != field_of(spec.get("dims", 0)):
                yield f"{name} has {spec.get('dims', 'no fixed number of')} dimensions"
            elif spec.get("similarity", "cosine") != "cosine":
                yield f"{name} is compared by {spec['similarity']}, not by cosine"


class IncidentIndex:
    """The index behind the alias: made, completed, and moved where a release has another mapping."""

    def __init__(self, requests: Requests, version: int = VERSION) -> None:
        self._requests = requests
        self._alias = requests.alias
        self._version = version
        self._lengths: set[int] = set()
        """Of vectors that can be written; 0 where there is an index at all."""
        self._older = ""
        """The index of an older mapping that the alias still names."""
        self._lacking: Sequence[str] = ()
        """Fields that an older release's index has not."""
        self._wrong: Sequence[str] = ()
        """What is not as it has to be: nothing is written into such an index."""
        self._setting_up = asyncio.Lock()

    def forget(self) -> None:
        """Look anew: somebody deleted it since we last did."""
        self._lengths.clear()

    async def prepare(self, dimensions: int) -> None:
        """Make sure that the index, and a field for vectors of this length, are there."""
        if dimensions > MAX_DIMENSIONS:
            raise PermanentError(f"memory: vectors of {dimensions} dimensions; Elasticsearch takes {MAX_DIMENSIONS}")
        known = await self.has_field(dimensions)
        if self._wrong:
            self._lengths.clear()
            raise PermanentError(
                f"memory: {self._alias}: {'; '.join(self._wrong)}; set `index` to another name, or reindex it into "
                f"{self._alias}-v{self._version} with the right mapping and let {self._alias} be an alias of that"
            )
        if known or await self.has_field(0):
            await self._move()
            known = await self.has_field(dimensions)
        if known:
            await self._complete()
            return
        if not self._requests.bootstrap:
            raise PermanentError(
                f"memory: index {self._alias} is missing, or has no field for vectors of {dimensions} dimensions; "
                f"{self._requests.remedy()}"
            )
        await self._create(dimensions)
        await self._complete()
        if not await self.has_field(dimensions):
            await self._requests.attempt(
                self._requests.client.indices.put_mapping(
                    index=self._alias, properties={field_of(dimensions): vector_field(dimensions)}
                )
            )
            self._lengths.add(dimensions)

    async def _move(self) -> None:
        """Copy what an older release's index holds into one with today's mapping, which the alias then names."""
        if not self._older or not self._requests.bootstrap:
            return
        async with self._setting_up:
            old, self._older = self._older, ""
            if not old:
                return
            new = f"{self._alias}-v{self._version}"
            await self._create_index(new, sorted(self._lengths - {0}))
            await self._copy(old, new)
            swap = [
                {"remove": {"index": old, "alias": self._alias}},
                {"add": {"index": new, "alias": self._alias}},
            ]
            await self._requests.attempt(self._requests.client.indices.update_aliases(actions=swap))
            # What was written into the old one meanwhile.
            await self._copy(old, new)
            self._lengths.clear()

    async def _copy(self, old: str, new: str) -> None:
        """What is newer in the one. Vectors are asked for by name: newer servers leave them out of what was written."""
        await self._requests.attempt(self._requests.client.indices.refresh(index=old))
        after: list[Any] | None = None
        vectors = [field_of(length) for length in sorted(self._lengths - {0})]
        while hits := await self._requests.page(after, index=old, version=True, fields=vectors):
            operations: list[Any] = []
            for hit in hits:
                version = {"version": hit["_version"], "version_type": "external"}
                source = hit["_source"] | hit.get("fields", {})
                operations += [{"index": {"_id": hit["_id"], **version}}, source]
            await self._requests.bulk(operations, index=new)
            after = hits[-1]["sort"]

    async def _complete(self) -> None:
        """Give an older release's index the fields that it lacks: without them only words and vectors find anything."""
        if self._lacking and self._requests.bootstrap:
            more = {name: PROPERTIES[name] for name in self._lacking}
            await self._requests.attempt(self._requests.client.indices.put_mapping(index=self._alias, properties=more))
            self._lacking = ()

    async def has_field(self, dimensions: int) -> bool:
        """Whether documents with vectors of this length can be written; 0 asks for the index alone."""
        if dimensions in self._lengths:
            return True
        from elasticsearch import AuthorizationException, NotFoundError

        try:
            mappings = await self._requests.attempt(
                self._requests.client.indices.get_mapping(index=self._alias), raw=True
            )
        except NotFoundError:
            self._wrong, self._older = (), ""
            return False
        except AuthorizationException:
            # A key without view_index_metadata: then the index is as somebody made it.
            self._lengths |= {0, dimensions}
            return True
        known = {name: index["mappings"].get("properties", {}) for name, index in mappings.items()}
        self._lengths |= {0}.union(*map(lengths_of, known.values()))
        self._lacking = sorted(set[str]().union(*map(lacking, known.values())))
        self._wrong = list(self._differences(known))
        older = [name for name in known if 0 < self._version_of(name) < self._version]
        self._older = older[0] if len(known) == len(older) == 1 else ""
        return dimensions in self._lengths

    def _differences(self, known: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
        if self._alias in known:
            yield "it is an index, and no alias of one"
        for properties in known.values():
            yield from differences(properties)

    def _version_of(self, name: str) -> int:
        found = re.fullmatch(rf"{re.escape(self._alias)}-v(\d{{1,9}})", name)
        return int(found[1]) if found else 0

    async def _create(self, dimensions: int) -> None:
        async with self._setting_up:
            if not await self.has_field(0):
                await self._create_index(f"{self._alias}-v{self._version}", [dimensions], {self._alias: {}})

    async def _create_index(self, name: str, lengths: Sequence[int], aliases: Mapping[str, Any] | None = None) -> None:
        from elasticsearch import BadRequestError

        request = self._requests.client.indices.create(index=name, aliases=aliases or {}, **index_body(*lengths))
        try:
            await self._requests.attempt(request, raw=True)
        except BadRequestError as error:
            # Somebody else was faster: another installation that shares the index.
            if error.error != "resource_already_exists_exception":
                raise self._requests.explained(error) from None

    async def missing_privileges(self) -> list[str]:
        """Rights that the server says we have not."""
        from elasticsearch import ApiError

        wanted = ["read", "index"] + (
            ["view_index_metadata", "create_index", "manage"] if self._requests.bootstrap else []
        )
        names = [self._alias, f"{self._alias}-v{self._version}"]
        try:
            answer = await self._requests.client.security.has_privileges(index=[{"names": names, "privileges": wanted}])
        except ApiError:
            # A server without security, or one that does not tell: the search has worked.
            return []
        granted = answer.body.get("index", {})
        return [right for right in wanted if not all(granted.get(name, {}).get(right, True) for name in names)]
