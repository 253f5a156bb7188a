"""After any fault on the way, the observations equal those of a run without it: nothing lost, nothing twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from elasticsearch import Elasticsearch
from elasticsearch.helpers import bulk

from exporter.detection.observation import observe
from exporter.ingest import reduction
from exporter.ingest.reader import read_and_reduce
from exporter.ingest.settings import ReductionSettings
from exporter.mining.miner import Miner
from exporter.mining.settings import MiningSettings
from exporter.model import Context, Source, TimeRange, TransientError, floor, nanoseconds
from integrations.elasticsearch import ElasticsearchSettings
from integrations.loki import LokiSettings
from tests.fakes.proxy import Fault, Proxy, proxied
from tests.servers.process import PATIENCE, Server
from tests.servers.process import request as ask
from tests.servers.running import LOKIS

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
# Loki asks its own memory for the last three hours only, and what tests push is nowhere else yet.
START = floor(datetime.now(UTC), HOUR) - HOUR
RANGE = TimeRange(START, START + 5 * MINUTE)
REDUCTION = ReductionSettings(window=MINUTE, redaction_key=b"k" * 32)
PAGE = 100
ATTEMPTS = 6

FAULTS: tuple[Fault, ...] = (
    "latency",
    "reset",
    "429",
    "503",
    "truncated body",
    "partial shards",
    "duplicate page",
    "expired pit",
)


@dataclass
class Clock:
    """A clock that jumps."""

    moment: datetime = START + HOUR

    def now(self) -> datetime:
        return self.moment


@dataclass
class Store:
    """A server behind a proxy, with the same lines whichever it is."""

    source: Source
    proxy: Proxy
    clock: Clock = field(default_factory=Clock)


def lines() -> Iterator[tuple[int, str, str]]:
    """A thousand lines: every tenth moment has ten of them, so that pages end in the middle of one."""
    for n in range(1000):
        moment = nanoseconds(START) + n // 10 * 3 * 10**9
        level = "ERROR" if n % 17 == 0 else "INFO"
        yield moment, f"service-{n % 3}", f"{level} request {n} to shard-{n % 5} took {n % 97} ms"


def fill_elasticsearch(url: str, name: str) -> None:
    with Elasticsearch(url) as client:
        mappings = {"properties": {"@timestamp": {"type": "date_nanos"}}}
        client.indices.create(index=name, mappings=mappings, settings={"number_of_shards": 2})
        documents = (
            {"@timestamp": at // 10**6, "service.name": service, "message": text} for at, service, text in lines()
        )
        bulk(client, ({"_index": name, "_source": document} for document in documents))
        client.indices.refresh(index=name)


def fill_loki(url: str, name: str) -> None:
    streams: dict[str, list[list[str]]] = {}
    for at, service, text in lines():
        streams.setdefault(service, []).append([str(at), text])
    pushed = [{"stream": {"app": name, "service_name": service}, "values": streams[service]} for service in streams]
    answer = ask(f"{url}/loki/api/v1/push", {"streams": pushed})
    assert answer.status == 204, answer.text


def elasticsearch(url: str, name: str, clock: Clock, timeout: float) -> Source:
    hosts, limit = (url,), timedelta(seconds=timeout)
    settings = ElasticsearchSettings(name="shop", hosts=hosts, index=name, page_size=PAGE, timeout=limit)
    return settings.build(Context(clock=clock))


def loki(url: str, name: str, clock: Clock, timeout: float) -> Source:
    query, seconds = f'{{app="{name}"}}', timedelta(seconds=timeout)
    settings = LokiSettings(name="shop", url=url, query=query, page_size=PAGE, timeout=seconds)
    return settings.build(Context(clock=clock))


STORES = {"elasticsearch": (fill_elasticsearch, elasticsearch), **dict.fromkeys(LOKIS, (fill_loki, loki))}
both = pytest.mark.parametrize("store", STORES, indirect=True)


@pytest.fixture
async def store(request: pytest.FixtureRequest, unique_name: str) -> AsyncIterator[Store]:
    fill, make = STORES[request.param]
    target = request.getfixturevalue(f"{request.param}_url")
    await asyncio.to_thread(fill, target, unique_name)
    async with proxied(target) as (url, proxy):
        clock = Clock()
        # Only a request that is never answered may take too long; then the others must not take longer.
        never = request.node.callspec.params.get("fault") == "latency"
        made = Store(make(url, unique_name, clock, timeout=3 if never else PATIENCE), proxy, clock)
        yield made
        await made.source.close()


async def observations(source: Source) -> list[bytes]:
    """What is left of the range, as a caller sees it that reads again after a TransientError."""
    why = []
    for _ in range(ATTEMPTS):
        try:
            reduced = await read_and_reduce(source, RANGE, REDUCTION)
        except TransientError as error:
            why.append(str(error))
            continue
        miner, found = Miner("shop", MiningSettings()), []
        for window, part in sorted(reduction.windows(reduced, MINUTE).items()):
            mined = miner.mine(window, part)
            found.append(observe("shop", window, MINUTE, part, mined).to_bytes())
        return found
    raise AssertionError(f"not one of {ATTEMPTS} attempts succeeded: {why}")


@both
@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_at_any_page_changes_no_observation(store: Store, fault: Fault) -> None:
    wanted = await observations(store.source)
    assert len(wanted) == 5
    pages = store.proxy.seen
    assert pages >= 1000 // PAGE
    for position in sorted({1, pages // 2, pages - 3}):
        store.proxy.begin({position: fault})
        assert await observations(store.source) == wanted
        assert store.proxy.met == [fault]


@both
async def test_a_storm_of_refusals_changes_no_observation(store: Store) -> None:
    wanted = await observations(store.source)
    store.proxy.begin({number: "429" if number % 2 else "503" for number in range(3, 9)})
    assert await observations(store.source) == wanted
    assert not store.proxy.faults


@both
@pytest.mark.parametrize("jump", [timedelta(days=1), -timedelta(days=1)], ids=["forward", "backward"])
async def test_a_jump_of_the_clock_while_a_range_is_read_changes_no_observation(store: Store, jump: timedelta) -> None:
    wanted = await observations(store.source)

    async def leap() -> None:
        store.clock.moment += jump

    store.proxy.begin({3: "hook"}, leap)
    assert await observations(store.source) == wanted
    assert store.clock.moment == START + HOUR + jump


@both
@pytest.mark.parametrize("fault", ["reset", "503", "truncated body", "partial shards", "latency"])
async def test_a_fault_changes_no_count(store: Store, fault: Fault) -> None:
    wanted = await store.source.count(RANGE, MINUTE)
    assert sum(wanted.values()) == 1000
    store.proxy.begin({0: fault})
    for _ in range(ATTEMPTS):
        try:
            assert await store.source.count(RANGE, MINUTE) == wanted
            break
        except TransientError:
            continue
    assert store.proxy.met == [fault]


@pytest.mark.parametrize("kind", STORES)
async def test_a_restart_of_the_server_while_a_range_is_read_changes_no_observation(
    kind: str, request: pytest.FixtureRequest, unique_name: str
) -> None:
    server: Server = request.getfixturevalue(f"{kind}_server")
    fill, make = STORES[kind]
    await asyncio.to_thread(fill, server.url, unique_name)

    async def restart() -> None:
        await asyncio.to_thread(server.stop)
        await asyncio.to_thread(server.start)

    async with proxied(server.url) as (url, proxy):
        source = make(url, unique_name, Clock(), timeout=PATIENCE)
        wanted = await observations(source)
        proxy.begin({4: "hook"}, restart)
        assert await observations(source) == wanted
        assert proxy.met == ["hook"]
        await source.close()
