"""What every incident store owes, over the local one, a real Elasticsearch, and one that is served elsewhere."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from pydantic import ValidationError

from exporter.memory.embedding import HashingEmbedder
from exporter.memory.recall import Memory
from exporter.model import (
    Aside,
    ConfigError,
    Context,
    Earlier,
    IncidentDocument,
    IncidentStore,
    PermanentError,
    TransientError,
)
from exporter.state.search import WordIndex
from exporter.telemetry import PrometheusTelemetry
from integrations._incident_index import index_body
from integrations._incident_requests import MOST_PRUNED, Requests
from integrations.elasticsearch_incidents import (
    ElasticsearchIncidents,
    ElasticsearchIncidentsSettings,
    from_source,
    to_source,
)
from integrations.local_incidents import LocalIncidents, LocalIncidentsSettings, from_row, to_row
from tests.fakes.serving import serving
from tests.layers.serving import served_memory

MODEL = "test-1"
START = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)


class KeptDocuments:
    """The document protocol over a dictionary that outlives the store, as the state file does."""

    def __init__(self) -> None:
        self.rows: dict[str, tuple[str, bytes | None]] = {}

    async def put_documents(self, rows: Sequence[tuple[str, Mapping[str, Any], bytes | None]]) -> None:
        self.rows |= {key: (json.dumps(document), vector) for key, document, vector in rows}

    async def documents_after(self, key: str, limit: int) -> Sequence[tuple[str, Mapping[str, Any], bytes | None]]:
        found = [(each, json.loads(body), vector) for each, (body, vector) in sorted(self.rows.items()) if each > key]
        return found[:limit]

    async def delete_documents(self, keys: Sequence[str]) -> None:
        for key in keys:
            del self.rows[key]

    def word_index(self) -> WordIndex:
        return WordIndex()


class AtOnce(Requests):
    """Sees at once what was written, which else takes its server a second."""

    async def counted(
        self, size: int, track_total_hits: bool = True, **body: Any
    ) -> tuple[int, Sequence[Mapping[str, Any]]]:
        await self.client.indices.refresh(index=f"{self.alias}*")
        return await super().counted(size, track_total_hits, **body)


class Refreshed(ElasticsearchIncidents):
    """A store that asks so."""

    requests = AtOnce


def past(exclude: str = "none") -> Earlier:
    """All that is over, but for one."""
    return Earlier(exclude, START + timedelta(days=900))


@dataclass
class Kind:
    """A kind of store: `open` gives one on the same data each time."""

    open: Callable[[], IncidentStore]


@pytest.fixture(params=["local", "elasticsearch", "remote"])
async def kind(request: pytest.FixtureRequest, unique_name: str) -> AsyncIterator[Kind]:
    documents = KeptDocuments()

    def local() -> IncidentStore:
        return LocalIncidentsSettings().build(Context(documents=documents, installation="here"))

    if request.param == "local":
        yield Kind(local)
    elif request.param == "remote":
        async with served_memory(Memory(local(), HashingEmbedder(), installation="here")) as settings:
            yield Kind(lambda: settings.build(Context()))
    else:
        found = elasticsearch_settings(request.getfixturevalue("elasticsearch_url"), unique_name)
        yield Kind(lambda: Refreshed(found))


@pytest.fixture
async def store(kind: Kind) -> AsyncIterator[IncidentStore]:
    opened = kind.open()
    yield opened
    await opened.close()


def elasticsearch_settings(url: str, name: str, **changes: Any) -> ElasticsearchIncidentsSettings:
    return ElasticsearchIncidentsSettings.model_validate(
        {"type": "elasticsearch", "hosts": [url], "index": name, "timeout": "30s"} | changes
    )


def unit(*values: float) -> tuple[float, ...]:
    norm = math.sqrt(sum(value * value for value in values))
    return tuple(value / norm for value in values)


def document(
    key: str, text: str = "something broke", vector: tuple[float, ...] = (1.0, 0.0, 0.0), **changes: Any
) -> IncidentDocument:
    base = IncidentDocument(
        id=key,
        revision=1,
        fingerprint=f"f-{key}",
        headline=f"headline of {key}",
        text=text,
        services=("payments", "checkout"),
        severity="critical",
        status="resolved",
        starts_at=START,
        ends_at=START + timedelta(minutes=20),
        fix=None,
        embedding_model=MODEL if vector else "",
        embedding=unit(*vector) if vector else (),
    )
    return replace(base, **changes)


def ids(found: Sequence[tuple[IncidentDocument, float]]) -> list[str]:
    return [item.id for item, _ in found]


async def test_an_empty_store_finds_nothing(store: IncidentStore) -> None:
    assert list(await store.nearest(unit(1, 0, 0), MODEL, 5, past())) == []
    assert list(await store.matching("anything", 5, past())) == []
    assert list(await store.matching("", 5, past())) == []


async def test_the_nearest_come_first_with_their_cosine(store: IncidentStore) -> None:
    await store.put(document("same", vector=(1, 0, 0)))
    await store.put(document("near", vector=(1, 1, 0)))
    await store.put(document("opposite", vector=(-1, 0, 0)))
    found = await store.nearest(unit(1, 0, 0), MODEL, 3, past())
    assert ids(found) == ["same", "near", "opposite"]
    scores = [score for _, score in found]
    assert scores == pytest.approx([1.0, math.sqrt(0.5), -1.0], abs=1e-5)
    assert ids(await store.nearest(unit(1, 0, 0), MODEL, 1, past())) == ["same"]


async def test_a_document_comes_back_as_it_was_put_but_for_its_vector(store: IncidentStore) -> None:
    put = document("a", "connection refused", fix="raised the limit of “connections”")
    await store.put(put)
    (found, _), *_ = await store.matching("refused", 5, past())
    assert replace(found, embedding=()) == replace(put, embedding=())


async def test_the_most_telling_words_win(store: IncidentStore) -> None:
    for number in range(4):
        await store.put(document(f"common-{number}", "order failed in checkout"))
    await store.put(document("rare", "order failed: tablespace exhausted"))
    found = await store.matching("tablespace of an order", 5, past())
    assert ids(found)[0] == "rare"
    assert len(found) == 5
    assert all(score > 0 for _, score in found)


async def test_words_that_nothing_shares_find_nothing(store: IncidentStore) -> None:
    await store.put(document("a", "connection refused"))
    assert list(await store.matching("zebra", 5, past())) == []


async def test_the_incident_itself_is_left_out_without_costing_a_place(store: IncidentStore) -> None:
    await store.put(document("self", "connection refused"))
    await store.put(document("other", "connection refused", vector=(1, 1, 0)))
    assert ids(await store.nearest(unit(1, 0, 0), MODEL, 1, past("self"))) == ["other"]
    assert ids(await store.matching("refused", 1, past("self"))) == ["other"]


async def test_vectors_of_another_model_are_never_mixed(store: IncidentStore) -> None:
    await store.put(document("ours"))
    await store.put(document("theirs", embedding_model="other-model"))
    await store.put(document("longer", vector=(1, 0, 0, 0), embedding_model="longer-model"))
    assert ids(await store.nearest(unit(1, 0, 0), MODEL, 5, past())) == ["ours"]
    assert ids(await store.nearest(unit(1, 0, 0, 0), "longer-model", 5, past())) == ["longer"]
    assert set(ids(await store.matching("broke", 5, past()))) == {"ours", "theirs", "longer"}


async def test_a_document_without_a_vector_is_found_by_words(store: IncidentStore) -> None:
    await store.put(document("words", "connection refused", vector=()))
    assert ids(await store.matching("refused", 5, past())) == ["words"]
    assert list(await store.nearest(unit(1, 0, 0), MODEL, 5, past())) == []


async def test_an_older_revision_never_replaces_a_newer_one(store: IncidentStore) -> None:
    await store.put(document("a", "the newer text", revision=3))
    await store.put(document("a", "the older text", revision=2))
    ((found, _),) = await store.matching("text", 5, past())
    assert (found.revision, found.text) == (3, "the newer text")
    await store.put(document("a", "the newest text", revision=4, vector=(0, 1, 0)))
    ((found, _),) = await store.matching("text", 5, past())
    assert found.text == "the newest text"
    ((_, score),) = await store.nearest(unit(0, 1, 0), MODEL, 5, past())
    assert score == pytest.approx(1.0, abs=0.02)


async def test_the_same_revision_may_be_written_again(store: IncidentStore) -> None:
    await store.put(document("a", fix=None))
    await store.put(document("a", fix="restarted"))
    ((found, _),) = await store.matching("broke", 5, past())
    assert found.fix == "restarted"


async def test_many_are_written_at_once_but_what_is_there_already(store: IncidentStore) -> None:
    await store.put(document("a", revision=3))
    many = [document("a", revision=2), document("b"), document("c", vector=(0, 1, 0)), document("a", revision=3)]
    assert await store.put_all(many) == 2
    assert await store.put_all([document("a", "the newest text", revision=4), *many[1:3]]) == 1
    assert ids(await store.nearest(unit(0, 1, 0), MODEL, 1, past())) == ["c"]
    assert ids(await store.matching("newest", 5, past())) == ["a"]


async def test_everything_comes_once_in_order_whoever_wrote_it(store: IncidentStore) -> None:
    many = [document(f"{number:04}", installation="here", origin=("cluster=a",)) for number in range(700)]
    assert await store.put_all([*reversed(many), document("0400", installation="there")]) == 701
    found = [one async for one in store.everything()]
    assert sorted(one.key for one in found) == sorted({*(one.key for one in many), "there:0400"})
    assert [one.id for one in found] == sorted(one.id for one in found)
    assert found[0] == replace(many[0], embedding=())


async def test_incidents_of_one_id_of_two_installations_are_two(store: IncidentStore) -> None:
    await store.put(document("a", "connection refused", installation="here"))
    await store.put(document("a", "connection refused", installation="there", vector=(1, 1, 0)))
    for asked, found in ((False, ["here"]), (True, ["here", "there"])):
        among = Earlier("none", START + timedelta(days=1), "here", others=asked)
        by_words = await store.matching("refused", 5, among)
        by_meaning = await store.nearest(unit(1, 0, 0), MODEL, 5, among)
        assert sorted(one.installation for one, _ in by_words) == found
        assert [one.installation for one, _ in by_meaning] == found
    itself = Earlier("a", START + timedelta(days=1), "here")
    assert [one.installation for one, _ in await store.matching("refused", 1, itself)] == ["there"]


async def test_what_an_older_release_wrote_of_no_installation_is_ones_own(store: IncidentStore) -> None:
    await store.put(document("old", "connection refused"))
    among = Earlier("none", START + timedelta(days=1), "here", others=False)
    assert ids(await store.matching("refused", 5, among)) == ["old"]


async def test_what_an_older_release_wrote_and_its_installation_writes_again_is_one(store: IncidentStore) -> None:
    await store.put(document("a", "connection refused"))
    await store.put(document("b", "connection refused"))
    await store.put(document("a", "connection refused", revision=2, installation="here", verdict="rejected"))
    await store.put(document("a", "connection refused", installation="there"))
    found = await store.matching("refused", 5, past())
    assert sorted((one.id, one.installation) for one, _ in found) == [("a", "there"), ("b", "")]
    assert sorted([one.key async for one in store.everything()]) == ["b", "here:a", "there:a"]


# --- What people said to memory itself ----------------------------------------------------------------


class Incident:
    """An incident whose document is written again and again, by one of the two ways of writing."""

    def __init__(self, store: IncidentStore, together: bool) -> None:
        self.store, self._together, self.revision = store, together, 1

    async def written(self, **of_its_own: Any) -> IncidentDocument:
        """Its next revision, as its installation writes it, which knows nothing of what memory was told."""
        self.revision += 1
        new = document("a", "connection refused", installation="here", revision=self.revision, **of_its_own)
        if self._together:
            assert await self.store.put_all([new, document("b")]) >= 1
        else:
            await self.store.put(new)
        return await self.kept()

    async def told(self, word: str, **said: Any) -> None:
        """Somebody says something of it to memory."""
        there = await self.kept()
        await self.store.put(replace(there, told=(*there.told, word), **said))

    async def kept(self) -> IncidentDocument:
        found = await self.store.document("here:a")
        assert found is not None
        return found


@pytest.fixture(params=[False, True], ids=["written alone", "written with others"])
async def told_of(store: IncidentStore, request: pytest.FixtureRequest) -> Incident:
    incident = Incident(store, request.param)
    await store.put(document("a", "connection refused", installation="here"))
    return incident


MORNING, NOON, EVENING = (START + timedelta(hours=hours) for hours in (8, 12, 18))


async def test_a_fix_that_memory_was_told_survives_every_later_write_of_its_incident(told_of: Incident) -> None:
    await told_of.told("fix", fix="raised the limit", fixed_by="ann", fixed_at=NOON)
    for _ in range(2):
        found = await told_of.written()
        assert (found.fix, found.fixed_by, found.fixed_at) == ("raised the limit", "ann", NOON)
    assert found.revision == 3


async def test_a_rejection_that_memory_was_told_survives_and_so_does_taking_it_back(told_of: Incident) -> None:
    await told_of.told("verdict", verdict="rejected", verdict_at=NOON)
    await told_of.written()
    assert "a" not in ids(await told_of.store.matching("refused", 5, past()))
    await told_of.told("verdict", verdict="", verdict_at=EVENING)
    # Its installation said so in the morning, and has not heard that somebody took it back.
    await told_of.written(verdict="rejected", verdict_at=MORNING)
    assert "a" in ids(await told_of.store.matching("refused", 5, past()))


async def test_a_fix_that_was_taken_back_where_memory_is_does_not_come_back_with_the_next_write(
    told_of: Incident,
) -> None:
    await told_of.written(fix="restarted", fixed_by="bob", fixed_at=MORNING)
    await told_of.told("fix", fix=None, fixed_by="", fixed_at=NOON)
    assert (await told_of.written(fix="restarted", fixed_by="bob", fixed_at=MORNING)).fix is None


async def test_what_its_installation_says_later_counts(told_of: Incident) -> None:
    await told_of.told("fix", fix="raised the limit", fixed_by="ann", fixed_at=NOON)
    await told_of.told("verdict", verdict="rejected", verdict_at=NOON)
    of_its_own = {"verdict": "resolved", "verdict_at": EVENING, "fixed_at": EVENING}
    found = await told_of.written(fix="replaced the disk", fixed_by="bob", **of_its_own)
    assert (found.fix, found.fixed_by, found.verdict, found.told) == ("replaced the disk", "bob", "resolved", ())


async def test_what_its_installation_takes_back_of_its_own_is_gone(told_of: Incident) -> None:
    own = {"fix": "restarted", "fixed_by": "bob", "fixed_at": MORNING, "verdict": "resolved", "verdict_at": MORNING}
    await told_of.written(**own)
    found = await told_of.written()
    assert (found.fix, found.fixed_by, found.fixed_at, found.verdict) == (None, "", None, "")


async def test_one_word_says_nothing_of_the_other(told_of: Incident) -> None:
    await told_of.told("fix", fix="raised the limit", fixed_by="ann", fixed_at=NOON)
    found = await told_of.written(verdict="resolved", verdict_at=EVENING)
    assert (found.fix, found.verdict, found.told) == ("raised the limit", "resolved", ("fix",))


async def test_writers_at_the_same_time_leave_the_newest(store: IncidentStore) -> None:
    await asyncio.gather(*(store.put(document("a", f"text {n}", revision=n)) for n in (3, 1, 5, 2, 4)))
    ((found, _),) = await store.matching("text", 5, past())
    assert found.revision == 5


async def test_what_was_put_is_there_after_a_restart(kind: Kind) -> None:
    first = kind.open()
    await first.put(document("a", "connection refused"))
    await first.close()
    second = kind.open()
    assert ids(await second.matching("refused", 5, past())) == ["a"]
    assert ids(await second.nearest(unit(1, 0, 0), MODEL, 5, past())) == ["a"]
    await second.close()


async def test_hostile_text_is_only_text(store: IncidentStore) -> None:
    text = '") OR (*:*) {"query": {"match_all": {}}} \x00 \\ <script> +-&&||!(){}[]^"~*?:/ ' + "long " * 5000
    await store.put(document("a", text))
    assert ids(await store.matching(text, 5, past())) == ["a"]


async def test_check_says_that_it_works(store: IncidentStore) -> None:
    assert all(check.ok for check in await store.check())


async def test_a_document_is_had_by_its_key(store: IncidentStore) -> None:
    await store.put(document("a", "connection refused", installation="here"))
    found = await store.document("here:a")
    assert found == replace(document("a", "connection refused", installation="here"), embedding=())
    assert await store.document("there:a") is None


async def test_what_is_deleted_is_found_no_more_in_any_way(store: IncidentStore) -> None:
    await store.put(document("a", "connection refused", installation="here", signature="s", kinds=("refused",)))
    await store.put(document("a", "connection refused", installation="there", signature="s", kinds=("refused",)))
    assert await store.delete("here:a")
    assert not await store.delete("here:a")
    assert not await store.delete("a")
    assert await store.document("here:a") is None
    ways = (
        [one for one, _ in await store.nearest(unit(1, 0, 0), MODEL, 5, past())],
        [one for one, _ in await store.matching("refused", 5, past())],
        await store.sharing("s", ["refused"], 5, past()),
        [one async for one in store.everything()],
    )
    assert [[one.key for one in found] for found in ways] == [["there:a"]] * 4


async def test_what_was_deleted_may_be_written_again(store: IncidentStore) -> None:
    await store.put(document("a", "connection refused", installation="here"))
    await store.delete("here:a")
    await store.put(document("a", "connection refused", installation="here"))
    assert ids(await store.matching("refused", 5, past())) == ["a"]


async def test_what_an_older_release_wrote_is_deleted_by_its_id(store: IncidentStore) -> None:
    await store.put(document("a"))
    assert await store.delete("a")
    assert [one async for one in store.everything()] == []


# --- What is dropped ----------------------------------------------------------------------------------


@dataclass
class Keeping:
    """A kind of store that keeps documents itself, with settings, and what it counts."""

    open: Callable[..., IncidentStore]
    telemetry: PrometheusTelemetry

    def dropped(self, reason: str) -> float | None:
        return self.telemetry.value("log_anomaly_exporter_memory_documents_dropped_total", reason=reason)


@pytest.fixture(params=["local", "elasticsearch"])
def keeping(request: pytest.FixtureRequest, unique_name: str) -> Keeping:
    documents, telemetry = KeptDocuments(), PrometheusTelemetry()

    def local(**settings: Any) -> IncidentStore:
        return LocalIncidents(documents, LocalIncidentsSettings(**settings), telemetry, installation="here")

    def shared(**settings: Any) -> IncidentStore:
        url = request.getfixturevalue("elasticsearch_url")
        return Refreshed(elasticsearch_settings(url, unique_name, **settings), telemetry=telemetry)

    return Keeping(local if request.param == "local" else shared, telemetry)


NOW = START + timedelta(days=500)

HIT = {"_id": "a", "_seq_no": 1, "_primary_term": 1}


async def keys(store: IncidentStore) -> list[str]:
    return sorted([one.key async for one in store.everything()])


def ours(key: str, days: int = 0, **changes: Any) -> IncidentDocument:
    return document(key, **{"installation": "here", "starts_at": START + timedelta(days=days), **changes})


async def test_what_is_older_than_the_retention_goes_and_is_counted(keeping: Keeping) -> None:
    store = keeping.open(retention="400d")
    await store.put_all([ours("old"), ours("fixed", fix="restarted"), ours("young", 101)])
    await store.prune(NOW, {"here"})
    assert await keys(store) == ["here:young"]
    assert ids(await store.matching("broke", 5, past())) == ["young"]
    assert keeping.dropped("age") == 2
    await store.close()


async def test_without_a_retention_age_is_no_reason(keeping: Keeping) -> None:
    store = keeping.open()
    await store.put(ours("old"))
    await store.prune(NOW + timedelta(days=9_000), {"here"})
    assert await keys(store) == ["here:old"]
    await store.close()


async def test_where_there_is_no_room_the_oldest_without_a_fix_go_first(keeping: Keeping) -> None:
    store = keeping.open()
    await store.put_all([ours("fixed", 0, fix="restarted"), ours("old", 1), ours("new", 2), ours("newest", 3)])
    await store.close()
    store = keeping.open(max_documents=2)
    for _ in range(2):
        await store.prune(NOW, {"here"})
        assert await keys(store) == ["here:fixed", "here:newest"]
        assert keeping.dropped("room") == 2
    await store.close()


async def test_what_another_installation_wrote_into_a_shared_index_stays(
    elasticsearch_url: str, unique_name: str
) -> None:
    store = Refreshed(elasticsearch_settings(elasticsearch_url, unique_name, retention="400d", max_documents=1))
    theirs = [replace(ours(f"{number}", number), installation="there") for number in range(3)]
    await store.put_all([*theirs, document("nobody's"), ours("old"), ours("a", 450), ours("b", 451)])
    await store.prune(NOW, {"here", ""})
    assert await keys(store) == ["here:b", "nobody's", "there:0", "there:1", "there:2"]
    await store.close()


async def test_of_very_many_a_bounded_number_goes_at_a_time(elasticsearch_url: str, unique_name: str) -> None:
    store = Refreshed(elasticsearch_settings(elasticsearch_url, unique_name, retention="400d", max_documents=2))
    await store.put_all([ours(f"{number:05}", vector=()) for number in range(2 * MOST_PRUNED + 10)])
    left = []
    for _ in range(2):
        await store.prune(NOW, {"here"})
        left.append(len(await keys(store)))
    assert left == [10, 0], "a thousand for their age, and a thousand for want of room"
    await store.close()


async def test_what_is_written_again_while_it_is_dropped_stays(elasticsearch_url: str, unique_name: str) -> None:
    store = ElasticsearchIncidents(elasticsearch_settings(elasticsearch_url, unique_name, retention="400d"))
    await store.put(ours("a"))
    await store._requests.client.indices.put_settings(index=unique_name, settings={"index.refresh_interval": "-1"})
    await store._requests.client.indices.refresh(index=unique_name)
    await store.put(ours("a", revision=2))
    await store.prune(NOW, {"here"})
    found = await store.document("here:a")
    assert found is not None
    assert found.revision == 2
    await store.close()


async def test_an_index_that_is_not_there_is_not_made_to_drop_from(elasticsearch_url: str, unique_name: str) -> None:
    store = ElasticsearchIncidents(elasticsearch_settings(elasticsearch_url, unique_name, retention="1d"))
    await store.prune(NOW, {"here"})
    assert not await store._requests.client.indices.exists(index=f"{unique_name}*", allow_no_indices=False)
    await store.close()


async def test_who_may_not_delete_is_told_which_right_is_missing() -> None:
    found = PARTIAL | {"_shards": {"failed": 0}, "hits": {"total": {"value": 1}, "hits": [HIT]}}
    refused = {"errors": True, "items": [{"delete": {"_id": "a", "status": 403, "error": {"reason": "no right"}}}]}

    async def answer(request: web.Request) -> web.Response:
        said = refused if request.path.endswith("_bulk") else found
        return web.json_response(said, headers={"X-Elastic-Product": "Elasticsearch"})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    async with serving(app) as url:
        store = ElasticsearchIncidents(elasticsearch_settings(url, "lae-incidents", retention="1d"))
        with pytest.raises(PermanentError, match=r"no right; grant on lae-incidents\*: read, index, delete"):
            await store.prune(NOW, {"here"})
        await store.close()


SPOILED: tuple[dict[str, Any], ...] = (
    {"headline": None},
    {"starts_at": None},
    {"starts_at": "2026-01-05T12:00:00"},
    {"ends_at": "2026-01-05T12:00:00"},
    {"revision": "many"},
    {"severity": {"is": "odd"}},
)
"""What somebody else wrote, or a hand: a null, a time without its zone, another form."""


@pytest.mark.parametrize("spoiled", SPOILED, ids=str)
async def test_a_document_of_another_form_in_the_state_file_costs_itself_alone(spoiled: dict[str, Any]) -> None:
    documents, aside = KeptDocuments(), Aside()
    good, _ = to_row(document("good"))
    await documents.put_documents([("good", good, to_row(document("good"))[1])])
    await documents.put_documents([("bad", {**good, "id": "bad", **spoiled}, None)])
    store = LocalIncidentsSettings().build(Context(documents=documents, aside=aside))
    assert ids(await store.matching("broke", 5, past())) == ["good"]
    assert [(one.kind, one.key) for one in aside.all()] == [("documents", "bad")]


async def test_documents_of_another_form_in_a_shared_index_cost_themselves_alone(
    elasticsearch_url: str, unique_name: str
) -> None:
    aside = Aside()
    store = Refreshed(elasticsearch_settings(elasticsearch_url, unique_name), aside)
    await store.put(document("good"))
    spoiled = [change for change in SPOILED if change.keys().isdisjoint({"revision", "severity"})]
    for number, change in enumerate((*spoiled, {"id": None}, {"services": [None]})):
        source = {**to_source(document(f"bad{number}")), **change}
        await store._requests.client.index(index=unique_name, id=f"bad{number}", document=source, refresh="wait_for")
    assert ids(await store.matching("broke", 9, past())) == ["good"]
    assert ids(await store.nearest(unit(1, 0, 0), MODEL, 9, past())) == ["good"]
    await store.close()
    # What has no beginning is in no past, which the server itself leaves out.
    assert aside.counts() == {"documents": len(spoiled) + 1}
    assert unique_name in aside.all()[0].remedy


# --- The local one ------------------------------------------------------------------------------------


async def test_the_local_store_drops_the_oldest_without_a_fix_and_counts() -> None:
    documents, telemetry = KeptDocuments(), PrometheusTelemetry()
    store = LocalIncidents(documents, LocalIncidentsSettings(max_documents=2), telemetry)
    await store.put(document("fixed", starts_at=START, fix="restarted"))
    await store.put(document("old", starts_at=START + timedelta(days=1)))
    await store.put(document("new", starts_at=START + timedelta(days=2)))
    assert sorted(documents.rows) == ["fixed", "new"]
    assert set(ids(await store.matching("broke", 5, past()))) == {"fixed", "new"}
    assert telemetry.value("log_anomaly_exporter_memory_documents_dropped_total", reason="room") == 1


async def test_what_an_older_release_wrote_is_replaced_by_what_names_its_installation() -> None:
    documents = KeptDocuments()
    await documents.put_documents([("a", *to_row(document("a", "the old text")))])
    store = LocalIncidents(documents, installation="here")
    await store.put(document("a", "the new text", revision=2, installation="here"))
    await store.put(document("a", "another text", installation="there"))
    assert sorted(documents.rows) == ["here:a", "there:a"]
    assert sorted(one.text for one, _ in await store.matching("text", 5, past())) == ["another text", "the new text"]


def test_the_local_store_needs_a_state_file() -> None:
    with pytest.raises(ConfigError, match="state"):
        LocalIncidentsSettings().build(Context())


def test_rows_give_the_document_back() -> None:
    put = document("a", vector=(1, 0, 0), fix="x")
    assert from_row(*to_row(put)) == put
    without = document("a", vector=())
    assert from_row(*to_row(without)) == without


# --- Elasticsearch --------------------------------------------------------------------------------------


def test_the_mapping_says_everything() -> None:
    assert index_body(384) == {
        "settings": {"index.mode": "standard", "number_of_shards": 1, "auto_expand_replicas": "0-1"},
        "mappings": {
            "dynamic": False,
            "properties": {
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
                "embedding_384": {
                    "type": "dense_vector",
                    "dims": 384,
                    "index": True,
                    "similarity": "cosine",
                    "index_options": {"type": "int8_hnsw", "m": 16, "ef_construction": 100},
                },
            },
        },
    }


def test_a_source_gives_the_document_back_without_its_vector() -> None:
    put = document("a", fix="x")
    assert from_source(json.loads(json.dumps(to_source(put)))) == replace(put, embedding=())


async def test_the_index_is_behind_an_alias_and_takes_no_other_fields(elasticsearch_url: str, unique_name: str) -> None:
    store = Refreshed(elasticsearch_settings(elasticsearch_url, unique_name))
    await store.put(document("a"))
    client = store._requests.client
    answer = await client.indices.get(index=unique_name)
    assert list(answer.body) == [f"{unique_name}-v1"]
    mappings = answer.body[f"{unique_name}-v1"]["mappings"]
    assert mappings["dynamic"] == "false"
    assert set(mappings["properties"]) == {*index_body(3)["mappings"]["properties"]}
    await store.close()


async def test_without_bootstrap_a_missing_index_is_named_with_the_rights(
    elasticsearch_url: str, unique_name: str
) -> None:
    store = ElasticsearchIncidents(elasticsearch_settings(elasticsearch_url, unique_name, bootstrap=False))
    with pytest.raises(PermanentError, match="read, index"):
        await store.put(document("a"))
    checks = await store.check()
    assert not checks[0].ok
    assert "bootstrap" in checks[0].remedy
    await store.close()


async def test_an_index_where_an_alias_should_be_is_named_and_nothing_is_written(
    elasticsearch_url: str, unique_name: str
) -> None:
    store = Refreshed(elasticsearch_settings(elasticsearch_url, unique_name))
    await store._requests.client.indices.create(index=unique_name)
    with pytest.raises(PermanentError, match=f"no alias of one; set `index` to another name.*{unique_name}-v1"):
        await store.put(document("a"))
    (check,) = await store.check()
    assert (check.ok, "no alias" in check.detail) == (False, True)
    await store._requests.client.indices.delete(index=unique_name)
    await store.put(document("a"))
    assert ids(await store.matching("broke", 5, past())) == ["a"]
    await store.close()


@pytest.mark.parametrize(
    ("properties", "said"),
    [
        ({"starts_at": {"type": "text"}}, "starts_at is text, not date"),
        ({"id": {"properties": {"of": {"type": "keyword"}}}}, "id is object, not keyword"),
        ({"embedding_3": {"type": "dense_vector", "dims": 4}}, "embedding_3 has 4 dimensions"),
        ({"embedding_3": {"type": "float"}}, "embedding_3 is float, not dense_vector"),
        (
            {"embedding_3": {"type": "dense_vector", "dims": 3, "index": True, "similarity": "l2_norm"}},
            "compared by l2_norm",
        ),
    ],
    ids=str,
)
async def test_a_mapping_that_somebody_made_otherwise_is_named(
    elasticsearch_url: str, unique_name: str, properties: dict[str, Any], said: str
) -> None:
    store = Refreshed(elasticsearch_settings(elasticsearch_url, unique_name))
    body = index_body(3)
    mapping = {"dynamic": False, "properties": body["mappings"]["properties"] | properties}
    await store._requests.client.indices.create(index=f"{unique_name}-v1", mappings=mapping, aliases={unique_name: {}})
    (check,) = await store.check()
    assert (check.ok, said in check.detail) == (False, True)
    with pytest.raises(PermanentError, match="with the right mapping"):
        await store.put(document("a"))
    await store.close()


async def test_a_mapping_that_takes_no_fields_of_ours_is_given_them(elasticsearch_url: str, unique_name: str) -> None:
    store = Refreshed(elasticsearch_settings(elasticsearch_url, unique_name))
    mapping = {"dynamic": "strict", "properties": {"id": {"type": "keyword"}}}
    await store._requests.client.indices.create(index=f"{unique_name}-v1", mappings=mapping, aliases={unique_name: {}})
    await store.put(document("a"))
    assert ids(await store.nearest(unit(1, 0, 0), MODEL, 5, past())) == ["a"]
    await store.close()
    unable = Refreshed(elasticsearch_settings(elasticsearch_url, f"{unique_name}2", bootstrap=False))
    aliases: dict[str, Any] = {f"{unique_name}2": {}}
    await unable._requests.client.indices.create(index=f"{unique_name}2-v1", mappings=mapping, aliases=aliases)
    assert "bootstrap" in (await unable.check())[0].remedy
    await unable.close()


async def test_a_check_leaves_nothing_behind(elasticsearch_url: str, unique_name: str) -> None:
    store = Refreshed(elasticsearch_settings(elasticsearch_url, unique_name))
    assert [(one.ok, one.detail) for one in await store.check()] == [(True, "can be searched and written")]
    assert [one async for one in store.everything()] == []
    await store.close()


async def test_an_index_of_an_older_mapping_is_copied_and_the_alias_moves(
    elasticsearch_url: str, unique_name: str
) -> None:
    settings = elasticsearch_settings(elasticsearch_url, unique_name)
    before = Refreshed(settings)
    await before.put(document("old", revision=7))
    after = Refreshed(settings, version=2)
    await after.put(document("new", vector=(0, 1, 0)))
    answer = await after._requests.client.indices.get_alias(name=unique_name)
    assert list(answer.body) == [f"{unique_name}-v2"]
    await after.put(document("old", "an older revision", revision=6))
    await before.put(document("late"))
    found = await after.nearest(unit(1, 0, 0), MODEL, 5, past())
    assert sorted(ids(found)) == ["late", "new", "old"]
    assert "an older revision" not in {one.text for one, _ in found}
    await before.close()
    await after.close()


async def test_an_index_that_was_deleted_is_made_again_with_its_mapping(
    elasticsearch_url: str, unique_name: str
) -> None:
    store = Refreshed(elasticsearch_settings(elasticsearch_url, unique_name))
    await store.put(document("a"))
    await store._requests.client.indices.delete(index=f"{unique_name}-v1")
    assert list(await store.matching("broke", 5, past())) == []
    await store.put(document("b"))
    assert ids(await store.nearest(unit(1, 0, 0), MODEL, 5, past())) == ["b"]
    await store.close()


@asynccontextmanager
async def answering(
    status: int, body: Mapping[str, Any], product: bool = True
) -> AsyncIterator[ElasticsearchIncidents]:
    """A store whose server gives the same answer to everything."""
    calls: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        calls.append(request.path)
        headers = {"X-Elastic-Product": "Elasticsearch"} if product else {}
        return web.json_response(body, status=status, headers=headers)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    async with serving(app) as url:
        store = ElasticsearchIncidents(elasticsearch_settings(url, "lae-incidents"))
        yield store
        await store.close()
        assert len(calls) <= 2  # never asked again at once


def failure(kind: str) -> dict[str, Any]:
    return {"error": {"type": kind, "reason": kind, "root_cause": []}, "status": 0}


PARTIAL = {"timed_out": False, "_shards": {"failed": 1, "total": 2, "successful": 1}, "hits": {"hits": []}}


@pytest.mark.parametrize(
    ("status", "body", "error", "message"),
    [
        (401, failure("security_exception"), PermanentError, "check api_key"),
        (403, failure("security_exception"), PermanentError, "grant on lae-incidents"),
        (429, failure("es_rejected_execution_exception"), TransientError, "429"),
        (503, failure("cluster_block_exception"), TransientError, "503"),
        (400, failure("media_type_header_exception"), PermanentError, "older than 8"),
        (200, PARTIAL, TransientError, "in part only"),
        (200, PARTIAL | {"timed_out": True, "_shards": {"failed": 0}}, TransientError, "in part only"),
    ],
)
async def test_what_a_server_refuses_is_explained(
    status: int, body: Mapping[str, Any], error: type[Exception], message: str
) -> None:
    async with answering(status, body) as store:
        with pytest.raises(error, match=message):
            await store.matching("words", 5, past())


async def test_a_server_that_compares_nothing_again_is_asked_as_before() -> None:
    asked: list[bool] = []

    async def answer(request: web.Request) -> web.Response:
        headers = {"X-Elastic-Product": "Elasticsearch"}
        if request.path.endswith("_mapping"):
            known = {"lae-incidents-v1": {"mappings": index_body(3)["mappings"]}}
            return web.json_response(known, headers=headers)
        again = "rescore_vector" in (await request.json())["knn"]
        asked.append(again)
        if again:
            refused = {"error": {"type": "x_content_parse_exception", "reason": "[knn] unknown field [rescore_vector]"}}
            return web.json_response(refused, status=400, headers=headers)
        hit = {"_source": to_source(document("a")), "_score": 0.9}
        found = {"timed_out": False, "_shards": {"failed": 0}, "hits": {"hits": [hit]}}
        return web.json_response(found, headers=headers)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    async with serving(app) as url:
        store = ElasticsearchIncidents(elasticsearch_settings(url, "lae-incidents"))
        for _ in range(2):
            ((found, cosine),) = await store.nearest(unit(1, 0, 0), MODEL, 5, past())
            assert found.id == "a"
            assert cosine == pytest.approx(0.8)
        await store.close()
    assert asked == [True, False, False]


async def test_what_is_no_elasticsearch_is_named() -> None:
    async with answering(200, {}, product=False) as store:
        with pytest.raises(PermanentError, match="proxy or login page in between, or OpenSearch"):
            await store.matching("words", 5, past())


async def test_a_server_that_is_not_there_is_transient() -> None:
    store = ElasticsearchIncidents(elasticsearch_settings("http://127.0.0.1:9", "lae-incidents"))
    with pytest.raises(TransientError, match="no answer"):
        await store.put(document("a"))
    assert not (await store.check())[0].ok
    await store.close()


async def test_tls_and_secrets_are_read_when_they_are_needed(tmp_path: Path) -> None:
    key = tmp_path / "key"
    store = ElasticsearchIncidents(
        elasticsearch_settings("https://127.0.0.1:9", "lae-incidents", api_key_file=str(key))
    )
    with pytest.raises(PermanentError, match="make it readable"):
        await store.put(document("a"))
    key.write_text("c2VjcmV0OnNlY3JldA==\n")
    with pytest.raises(TransientError, match="no answer"):
        await store.put(document("a"))
    await store.close()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hosts": ["es:9200"]}, "URL with its port"),
        ({"hosts": ["https://u:p@es:9200"]}, "URL with its port"),
        ({"hosts": ["https://es"]}, "URL with its port"),
        ({"hosts": []}, "at least 1"),
        ({"index": "logs-anomaly-default"}, "belong to templates"),
        ({"api_key": "a", "api_key_file": "/b"}, "one of them"),
        ({"api_key": "a", "username": "b", "password": "c"}, "more than one"),
        ({"username": "b"}, "go together"),
        ({"tls": {"key_file": "/a"}}, "cert_file"),
        ({"hostz": []}, "hostz"),
    ],
)
def test_settings_that_cannot_work_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ElasticsearchIncidentsSettings.model_validate({"type": "elasticsearch", "hosts": ["https://es:9200"]} | changes)
