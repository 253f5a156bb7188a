"""What every source owes, tested once, over each that exists: all lines of a range, each once, and their counts."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import polars as pl
import pytest
from elasticsearch import Elasticsearch
from elasticsearch.helpers import bulk

from exporter.config import SOURCES, resolve
from exporter.model import (
    OWN_NAME,
    Check,
    Context,
    Source,
    TimeRange,
    floor,
    from_nanoseconds,
    nanoseconds,
    page_schema,
)
from tests.fakes.loki import LokiFake
from tests.fakes.serving import serving
from tests.servers.process import request as ask
from tests.servers.running import LOKIS

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
# Loki asks its own memory for the last three hours only, and what tests push is nowhere else yet.
START = floor(datetime.now(UTC), HOUR) - HOUR
RANGE = TimeRange(START, START + 10 * MINUTE)


class Clock:
    def now(self) -> datetime:
        return START + HOUR


@dataclass(frozen=True)
class Line:
    at: int
    service: str
    text: str


def sample() -> list[Line]:
    """Lines on the borders of windows and of the range, several of them in one moment."""
    steps = [nanoseconds(RANGE.start + n * timedelta(seconds=10)) for n in range(61)]
    shared = [Line(at, f"service-{n % 3}", f"request {n} of {at} took {n} ms") for at in steps for n in range(7)]
    around = [Line(at + shift, "edge", f"at {at + shift}") for at in steps[::6] for shift in (-1000, 1000)]
    return sorted((*shared, *around), key=lambda line: (line.at, line.text))


LINES = sample()
WITHIN = [line for line in LINES if nanoseconds(RANGE.start) <= line.at < nanoseconds(RANGE.end)]


# --- Each source, filled ------------------------------------------------------------------------------


def document(line: Line) -> dict[str, str]:
    fraction = f"{line.at % 10**9:09}"
    moment = from_nanoseconds(line.at).strftime("%Y-%m-%dT%H:%M:%S")
    return {"@timestamp": f"{moment}.{fraction}Z", "service.name": line.service, "message": line.text}


def build(kind: str, **values: object) -> Source:
    made: Source = resolve(SOURCES[kind])(name="shop", **values).build(Context(clock=Clock()))
    return made


def streams(app: str) -> list[dict[str, object]]:
    services = sorted({line.service for line in LINES})
    return [
        {
            "stream": {"app": app, "service_name": service},
            "values": [[str(line.at), line.text] for line in LINES if line.service == service],
        }
        for service in services
    ]


async def elasticsearch(request: pytest.FixtureRequest, name: str) -> AsyncIterator[Source]:
    url = request.getfixturevalue("elasticsearch_url")
    with Elasticsearch(url) as client:
        mappings = {"properties": {"@timestamp": {"type": "date_nanos"}}}
        client.indices.create(index=name, mappings=mappings, settings={"number_of_shards": 2})
        bulk(client, ({"_index": name, "_source": document(line)} for line in LINES))
        client.indices.refresh(index=name)
    yield build("elasticsearch", hosts=(url,), index=name, page_size=50)


def write(path: Path) -> Path:
    path.write_text("".join(json.dumps(document(line)) + "\n" for line in LINES))
    return path


async def file(request: pytest.FixtureRequest, name: str) -> AsyncIterator[Source]:
    path = write(request.getfixturevalue("tmp_path") / "shop.log")
    yield build("file", path=(str(path),))


async def loki(fixture: str, request: pytest.FixtureRequest, name: str) -> AsyncIterator[Source]:
    url = request.getfixturevalue(fixture)
    answer = ask(f"{url}/loki/api/v1/push", {"streams": streams(name)})
    assert answer.status == 204, answer.text
    yield build("loki", url=url, query=f'{{app="{name}"}}', page_size=50)


async def loki_of_short_pages(request: pytest.FixtureRequest, name: str) -> AsyncIterator[Source]:
    fake = LokiFake(max_entries=40)
    for stream in streams(name):
        fake.push(stream["stream"], stream["values"])  # type: ignore[arg-type]
    async with serving(fake.app()) as url:
        yield build("loki", url=url, query=f'{{app="{name}"}}', page_size=50)


async def simulator(request: pytest.FixtureRequest, name: str) -> AsyncIterator[Source]:
    yield build("simulator", start=START - 24 * HOUR, services=6, rate=20)


Filled = Callable[[pytest.FixtureRequest, str], AsyncIterator[Source]]
FILLED: dict[str, Filled] = {
    "elasticsearch": elasticsearch,
    "file": file,
    **{f"loki, {kind}": partial(loki, f"{kind}_url") for kind in LOKIS},
    "loki, of short pages": loki_of_short_pages,
    "simulator": simulator,
}
GIVEN = sorted(FILLED.keys() - {"simulator"})


@pytest.fixture
async def source(request: pytest.FixtureRequest, unique_name: str) -> AsyncIterator[Source]:
    filled = FILLED[request.param](request, unique_name)
    made = await anext(filled)
    yield made
    await made.close()
    assert await anext(filled, None) is None


every = pytest.mark.parametrize("source", sorted(FILLED), indirect=True)
given = pytest.mark.parametrize("source", GIVEN, indirect=True)


async def read(source: Source, time_range: TimeRange = RANGE) -> pl.DataFrame:
    pages = [page async for page in source.query(time_range)]
    for page in pages:
        assert dict(page.schema) == page_schema()
    return pl.concat([pl.DataFrame(schema=page_schema()), *pages]).sort("id")


# --- What each owes -----------------------------------------------------------------------------------


def test_every_source_that_can_be_configured_is_held_to_its_contract() -> None:
    assert {name.partition(",")[0] for name in FILLED} == set(SOURCES)


@every
async def test_a_source_is_a_source(source: Source) -> None:
    assert isinstance(source, Source)
    assert source.name == "shop"


@given
async def test_a_range_has_exactly_its_lines(source: Source) -> None:
    lines = await read(source)
    found = Counter(zip(lines["timestamp"], lines["service"], lines["body"], strict=True))
    assert found == Counter((line.at, line.service, line.text) for line in WITHIN)


@every
async def test_each_line_has_an_id_of_its_own_and_a_body(source: Source) -> None:
    lines = await read(source)
    assert lines.height
    assert lines["id"].n_unique() == lines.height
    for column in ("id", "sequence", "severity", "body"):
        assert lines[column].null_count() == 0


@every
async def test_no_line_is_outside_its_range(source: Source) -> None:
    for part in RANGE.split(3 * MINUTE):
        times = (await read(source, part))["timestamp"]
        assert times.is_between(nanoseconds(part.start), nanoseconds(part.end), closed="left").all()


@every
async def test_parts_of_a_range_are_the_range(source: Source) -> None:
    whole = await read(source)
    for step in (MINUTE, timedelta(seconds=145)):
        parts = [await read(source, part) for part in RANGE.split(step)]
        assert pl.concat(parts).sort("id").equals(whole)


@every
async def test_reading_again_gives_the_same(source: Source) -> None:
    assert (await read(source)).equals(await read(source))


@every
async def test_readers_side_by_side_do_not_disturb_each_other(source: Source) -> None:
    parts = list(RANGE.split(4 * MINUTE))
    together = await asyncio.gather(*(read(source, part) for part in parts))
    for part, lines in zip(parts, together, strict=True):
        assert lines.equals(await read(source, part))


@every
async def test_counts_are_those_of_the_lines_on_the_grid_of_windows(source: Source) -> None:
    for window in (timedelta(seconds=30), MINUTE, 5 * MINUTE):
        counts = await source.count(RANGE, window)
        times = (await read(source))["timestamp"]
        expected = Counter(floor(from_nanoseconds(at), window) for at in times)
        assert {start: n for start, n in counts.items() if n} == dict(expected)


@every
async def test_an_empty_range_has_no_lines_and_no_counts(source: Source) -> None:
    empty = TimeRange(RANGE.start, RANGE.start)
    assert (await read(source, empty)).is_empty()
    assert not any((await source.count(empty, MINUTE)).values())


@every
async def test_a_reader_that_stops_midway_leaves_a_source_that_can_be_read(source: Source) -> None:
    whole = await read(source)
    pages = source.query(RANGE)
    await anext(pages)
    await pages.aclose()  # type: ignore[attr-defined]
    assert (await read(source)).equals(whole)


@every
async def test_a_reader_that_is_cancelled_leaves_a_source_that_can_be_read(source: Source) -> None:
    task = asyncio.create_task(read(source))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await read(source)).height


@every
async def test_check_finds_nothing_missing(source: Source) -> None:
    checks = await source.check()
    assert checks
    assert all(isinstance(check, Check) and check.ok and check.detail for check in checks)


@every
async def test_lines_in_no_range_are_counted_by_reason(source: Source) -> None:
    assert not any((await source.unusable()).values())


@every
async def test_closing_twice_or_before_use_is_harmless(source: Source) -> None:
    await source.close()
    await source.close()


@pytest.mark.parametrize("source", [name for name in GIVEN if name != "file"], indirect=True)
async def test_our_own_service_is_never_read(source: Source) -> None:
    assert OWN_NAME not in set((await read(source))["service"])
