"""Reports go out whatever memory and model do, and a failure of either is no report."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from exporter.delivery import enrich
from exporter.delivery.enrich import Enricher
from exporter.ingest.redaction import Redactor
from exporter.memory.embedding import HashingEmbedder
from exporter.memory.recall import Memory
from exporter.model import Claim, Earlier, Incident, PermanentError, Report, SimilarIncident, TransientError, Write
from exporter.report import rules
from exporter.report.writing import ModelWriter
from exporter.state.file import State
from exporter.state.incidents import incident_row, reports_of
from exporter.state.news import incidents_with_news, newest_news, news_row
from exporter.state.questions import question_of
from exporter.wording import words
from integrations.local_incidents import LocalIncidents
from tests import samples
from tests.delivery.parts import StepClock, story
from tests.servers.process import PATIENCE

MODEL = "qwen"


class Model:
    """Fails with what it is given, then answers."""

    model = MODEL

    def __init__(self, *errors: Exception, answer: Mapping[str, Any] | None = None) -> None:
        self.errors, self.answer, self.asked = list(errors), answer, 0

    async def complete(self, system: str, user: str, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        self.asked += 1
        if self.errors:
            raise self.errors.pop(0)
        cited = [{"text": "payments lost its database", "evidence": ["C1"], "quote": ""}]
        return self.answer or {"what_happened": cited, "causes": [], "steps": []}

    async def check(self) -> list[Any]:
        return []

    async def close(self) -> None:
        pass


class Recalling(Memory):
    """Knows one past incident, once it is let go; may fail instead."""

    def __init__(self, state: State, error: Exception | None = None, hangs: bool = False) -> None:
        super().__init__(LocalIncidents(state), HashingEmbedder())
        self.free, self.error, self.recalled = asyncio.Event(), error, 0
        if not hangs:
            self.free.set()

    async def recall(self, incident: Incident, past: Earlier | None = None) -> tuple[SimilarIncident, ...]:
        self.recalled += 1
        await self.free.wait()
        if self.error:
            raise self.error
        return (samples.similar(),)


@asynccontextmanager
async def enriching(
    state: State, memory: Recalling | None = None, model: Model | None = None, clock: StepClock | None = None
) -> AsyncIterator[Enricher]:
    memory = memory or Recalling(state)
    redactor = Redactor(b"a key of an installation")
    writer = ModelWriter(model, redactor) if model else None
    yield Enricher(state, memory, redactor, lambda incident: (), writer, clock=clock or StepClock(), chance=lambda: 1.0)
    await memory.close()


def opened(identity: str = "i1", revision: int = 1) -> list[Write]:
    told = story()[0]
    incident = replace(told.incident, id=identity, revision=revision)
    return [news_row(incident, told.change, told.at), incident_row(incident, told.at)]


async def reports(state: State, incident: str = "i1") -> list[Report]:
    return list(await reports_of(state, incident))


# --- The model ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [TransientError("503"), PermanentError("401"), KeyError("odd"), TimeoutError()])
async def test_a_question_that_failed_leaves_no_report_and_is_asked_again(state: State, error: Exception) -> None:
    clock, model = StepClock(), Model(error)
    await state.write(opened())
    async with enriching(state, model=model, clock=clock) as one:
        await one.enrich()
        assert await one.narrate() == 0
        assert [report.writer for report in await reports(state)] == ["rules"]
        assert await one.narrate() == 0
        assert model.asked == 1, "it waits first"
        failed = await question_of(state, "i1", MODEL)
        assert failed is not None
        assert "model" in failed.error
        clock.moment += timedelta(seconds=10)
        assert await one.narrate() == 1
    assert [report.writer for report in await reports(state)] == [MODEL, "rules"]


async def test_a_wait_that_the_model_asks_for_is_kept_over_a_restart(state: State) -> None:
    clock, model = StepClock(), Model(TransientError("429", timedelta(minutes=10)))
    await state.write(opened())
    async with enriching(state, model=model, clock=clock) as one:
        await one.enrich()
        await one.narrate()
    clock.moment += timedelta(minutes=9)
    async with enriching(state, model=model, clock=clock) as one:
        assert await one.narrate() == 0
        assert model.asked == 1
        clock.moment += timedelta(minutes=2)
        assert await one.narrate() == 1


async def test_what_the_model_said_in_vain_is_not_asked_again_before_something_changes(state: State) -> None:
    clock, model = StepClock(), Model(answer={"what_happened": [], "causes": [], "steps": []})
    await state.write(opened())
    async with enriching(state, model=model, clock=clock) as one:
        await one.enrich()
        await one.narrate()
        clock.moment += timedelta(days=1)
        await one.narrate()
        assert model.asked == 1
        await state.write(opened(revision=2))
        await one.enrich()
        await one.narrate()
    assert model.asked == 2


async def test_one_question_that_fails_costs_no_other_its_answer(state: State) -> None:
    model = Model(TransientError("503"))
    for number in range(6):
        await state.write(opened(f"i{number}"))
    async with enriching(state, model=model) as one:
        await one.enrich()
        assert await one.narrate() == 5


# --- Memory -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [TransientError("down"), KeyError("starts_at"), TypeError("naive and aware")])
async def test_whatever_memory_fails_of_the_report_is_written(state: State, error: Exception) -> None:
    await state.write([*opened("i1"), *opened("i2")])
    async with enriching(state, Recalling(state, error)) as one:
        assert await one.enrich() == 2
    for incident in ("i1", "i2"):
        [report] = await reports(state, incident)
        assert words.unasked(report).startswith("memory could not be asked: ")


async def test_what_memory_could_not_be_asked_is_asked_when_it_is_back_also_after_a_restart(state: State) -> None:
    clock = StepClock()
    await state.write(opened())
    async with enriching(state, Recalling(state, TransientError("down")), Model(), clock) as one:
        await one.enrich()
        await one.narrate()
        clock.moment += timedelta(seconds=10)
        assert await one.late() == 0
    async with enriching(state, clock=clock) as one:
        assert await one.late() == 1
        assert await one.late() == 0
    for report in await reports(state):
        assert (len(report.similar), report.unasked) == (1, ""), report.writer
    told = await newest_news(state, "i1")
    assert told is not None
    assert (told.report.writer, len(told.report.similar)) == (MODEL, 1), "what sinks are told is the model's, completed"


async def test_what_memory_knows_and_cannot_be_told_costs_no_report(
    state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    def odd(similar: Sequence[SimilarIncident]) -> list[Claim]:
        return [Claim(one.headline.no_such_thing) for one in similar]  # type: ignore[attr-defined]

    monkeypatch.setattr(rules, "known_fixes", odd)
    await state.write(opened())
    async with enriching(state) as one:
        await one.enrich()
    [report] = await reports(state)
    assert report.similar == ()
    assert "cannot be told" in report.unasked


async def test_what_memory_knows_later_is_another_report_of_the_same_revision(
    state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(enrich, "RECALL_AT_ONCE", timedelta(0))
    memory = Recalling(state, hangs=True)
    await state.write(opened())
    async with enriching(state, memory) as one:
        await one.enrich()
        [first] = await reports(state)
        assert first.similar == ()
        memory.free.set()
        assert await one.late() == 1
    [then] = await reports(state)
    assert (then.revision, len(then.similar)) == (first.revision, 1)


async def test_a_memory_that_hangs_is_waited_for_once_and_not_by_each_of_many(
    state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    wait = asyncio.wait

    async def noted(tasks: Any, timeout: float | None = None, **options: Any) -> Any:  # noqa: ASYNC109
        waits.append(timeout or 0.0)
        return await wait(tasks, timeout=0, **options)

    monkeypatch.setattr(asyncio, "wait", noted)
    for number in range(200):
        await state.write(opened(f"i{number}"))
    async with asyncio.timeout(PATIENCE), enriching(state, Recalling(state, hangs=True)) as one:
        assert await one.enrich() == 200
    assert (len(waits), sum(waits)) == (10, 0.5)
    assert len(await incidents_with_news(state, 0)) == 200


# --- Rows that cannot be read -------------------------------------------------------------------------


@pytest.mark.parametrize("body", ["", "null", "[]", '{"id": 1}', '{"version": 99}'])
async def test_a_revision_that_cannot_be_read_holds_up_no_other(state: State, body: str) -> None:
    names = ("incident", "revision", "part", "change", "at", "body")
    await state.write([Write("news", names, (("bad", 1, 0, "opened", 0, body),)), *opened()])
    clock = StepClock()
    async with enriching(state, clock=clock) as one:
        await one.enrich()
        assert await one.enrich() == 0, "it is not looked at again and again"
        clock.moment += timedelta(seconds=10)
        await one.enrich()
    assert await reports(state)
    assert [(found.kind, found.key) for found in state.aside.all()] == [("news", "bad:1:0")]
    assert "restore" in state.aside.all()[0].remedy


async def test_a_report_that_cannot_be_written_is_tried_again_and_holds_up_no_other(
    state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, broken = rules.write, {"i1"}

    def fragile(incident: Incident, *rest: Any) -> Report:
        if incident.id in broken:
            raise ZeroDivisionError
        return write(incident, *rest)

    monkeypatch.setattr(rules, "write", fragile)
    clock = StepClock()
    await state.write([*opened("i1"), *opened("i2")])
    async with enriching(state, clock=clock) as one:
        await one.enrich()
        assert (await reports(state, "i1"), len(await reports(state, "i2"))) == ([], 1)
        broken.clear()
        clock.moment += timedelta(seconds=10)
        assert await one.enrich() == 1
    assert await reports(state, "i1")


async def test_a_copy_that_an_older_release_kept_as_the_models_report_is_gone(tmp_path: Path) -> None:
    from exporter.state import migrations

    path = tmp_path / "state.db"
    with pytest.MonkeyPatch.context() as older:
        older.setattr(migrations, "MIGRATIONS", migrations.MIGRATIONS[:2])
        body = {"incident": "i1", "revision": 1, "writer": "rules", "headline": "h", "what_happened": []}
        rows = [("i1", writer, 1, json.dumps({**body, **more})) for writer, more in KEPT]
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            migrations.migrate(connection, path)
            connection.executemany("INSERT INTO reports (incident, writer, revision, body) VALUES (?, ?, ?, ?)", rows)
    state = State(path)
    try:
        found = await state.read("SELECT writer FROM reports ORDER BY writer")
        assert [writer for (writer,) in found] == ["odd", "other", "rules"]
    finally:
        state.close()


KEPT: tuple[tuple[str, dict[str, Any]], ...] = (
    ("rules", {}),
    (MODEL, {"notes": ["Written without the model: 503."]}),
    ("other", {"writer": "other"}),
    ("odd", {"writer": "odd", "headline": 3}),
)
