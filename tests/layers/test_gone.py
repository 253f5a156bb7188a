"""Who is asked may be slow, gone, or of another version: the deterministic report goes out, and the rest follows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.typedefs import Handler

from exporter.delivery.enrich import Enricher
from exporter.ingest.redaction import Redactor
from exporter.memory.embedding import HashingEmbedder
from exporter.memory.recall import Memory
from exporter.model import Context, NoTelemetry, SystemClock, to_json
from exporter.report.llm import tell_again
from exporter.report.writing import ModelWriter
from exporter.run.serving import MemoryService, ReportService
from exporter.state.file import State
from exporter.state.incidents import incident_of
from exporter.state.narration import Narrations
from exporter.state.questions import question_of
from exporter.telemetry import PrometheusTelemetry
from exporter.web.layers import create_layer
from exporter.web.settings import Guarded, MemoryServiceSettings
from integrations.remote_memory import RemoteMemorySettings
from integrations.remote_report import RemoteReport, RemoteReportSettings
from tests import samples
from tests.delivery.parts import StepClock
from tests.delivery.test_enrich import MODEL, Model, opened, reports
from tests.fakes.serving import serving
from tests.memory.test_memory import kept
from tests.servers.process import PATIENCE, free_port

REDACTOR = Redactor(b"a key of an installation")


@pytest.fixture
def state(tmp_path: Path) -> State:
    return State(tmp_path / "state.db")


class Layers:
    """A memory and a writer of reports at one address each, which can be slow, or of another version."""

    def __init__(self) -> None:
        self.free, self.version = asyncio.Event(), 1
        self.asked = 0

    @asynccontextmanager
    async def at(self, app: web.Application) -> AsyncIterator[str]:
        @web.middleware
        async def slow(request: web.Request, handler: Handler) -> web.StreamResponse:
            self.asked += 1
            await self.free.wait()
            if self.version != 1:
                return web.json_response({"error": "no", "versions": [self.version]}, status=404)
            return await handler(request)

        app.middlewares.append(slow)
        async with serving(app) as url:
            yield url


@asynccontextmanager
async def asking(state: State, memory_url: str, report_url: str, clock: StepClock) -> AsyncIterator[Enricher]:
    memory = Memory.of(RemoteMemorySettings(type="remote", url=memory_url), Context())
    settings = RemoteReportSettings(type="remote", url=report_url, timeout=timedelta(seconds=PATIENCE))
    again = partial(tell_again, redactor=REDACTOR)
    writer = settings.build(Context(ledger=Narrations(state), tell_again=again))
    yield Enricher(state, memory, REDACTOR, lambda _: (), writer, NoTelemetry(), clock, chance=lambda: 1.0)
    await memory.close()
    await writer.close()


@asynccontextmanager
async def served(layers: Layers, known: Memory) -> AsyncIterator[tuple[str, str]]:
    telemetry, settings = PrometheusTelemetry(), MemoryServiceSettings(auth="none")
    services = (
        MemoryService(known, str, telemetry, SystemClock()),
        ReportService(ModelWriter(Model(), REDACTOR), str, telemetry),
    )
    apps = [create_layer(one, lambda: Guarded(settings), telemetry) for one in services]
    async with layers.at(apps[0]) as memory, layers.at(apps[1]) as report:
        yield memory, report


async def remembered(state: State) -> Memory:
    """A memory that knows the failure of the incident that has just opened."""
    memory = Memory(kept(), HashingEmbedder())
    incident = await incident_of(state, "i1")
    assert incident is not None
    past = samples.resolved(
        id="past", starts_at=incident.starts_at - timedelta(days=3), contributions=incident.contributions,
        evidence=incident.evidence, service=incident.service, services=incident.services, fix="restarted",
        updated_at=incident.starts_at - timedelta(days=2), ends_at=incident.starts_at - timedelta(days=2),
    )  # fmt: skip
    await memory.remember(past, samples.report())
    return memory


async def test_while_both_are_slow_the_report_goes_out_and_what_they_say_follows(state: State) -> None:
    await state.write(opened())
    layers, known = Layers(), await remembered(state)
    async with served(layers, known) as urls, asking(state, *urls, StepClock()) as enricher:
        async with asyncio.timeout(PATIENCE):
            await enricher.enrich()
        (report,) = await reports(state)
        assert (report.writer, report.similar, bool(report.unasked)) == ("rules", (), True)
        layers.free.set()
        assert await enricher.late() == 1
        assert await enricher.narrate() == 1
        model, rules = await reports(state)
        assert [one.id for one in rules.similar] == ["past"]
        assert (model.writer, to_json(model.similar)) == (MODEL, to_json(rules.similar))
    await known.close()
    state.close()


@pytest.mark.parametrize("how", ["gone", "of another version"])
async def test_what_is_wrong_with_them_is_said_and_they_are_asked_again(state: State, how: str) -> None:
    await state.write(opened())
    layers, known, clock = Layers(), await remembered(state), StepClock()
    layers.free.set()
    async with served(layers, known) as urls:
        layers.version = 2
        asked = urls if how != "gone" else (f"http://127.0.0.1:{free_port()}",) * 2
        async with asking(state, *asked, clock) as enricher:
            await enricher.enrich()
            assert await enricher.narrate() == 0
            (report,) = await reports(state)
            question = await question_of(state, "i1", RemoteReport.name)
            assert question is not None
            assert question.next_attempt > 0
            for said in (report.unasked, question.error):
                assert ("cannot be reached" if how == "gone" else "speaks version 2") in said
        layers.version = 1
        clock.moment += timedelta(minutes=10)
        async with asking(state, *urls, clock) as enricher:
            assert await enricher.late() == 1
            assert await enricher.narrate() == 1
        assert [one.writer for one in await reports(state)] == [MODEL, "rules"]
    await known.close()
    state.close()


async def test_what_a_model_said_elsewhere_stands_in_a_later_revision_although_that_is_gone(state: State) -> None:
    await state.write(opened())
    layers, known = Layers(), Memory(kept(), HashingEmbedder())
    layers.free.set()
    async with served(layers, known) as urls, asking(state, *urls, StepClock()) as enricher:
        await enricher.enrich()
        assert await enricher.narrate() == 1
    await state.write(opened(revision=2))
    async with asking(state, *urls, StepClock()) as enricher:
        await enricher.enrich()
    assert [(one.writer, one.revision) for one in await reports(state)][:2] == [(MODEL, 2), ("rules", 2)]
    await known.close()
    state.close()
