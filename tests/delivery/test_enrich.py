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
from exporter.model import (
    READING,
    SUGGESTION,
    Claim,
    Earlier,
    Incident,
    Meter,
    PermanentError,
    Report,
    SimilarIncident,
    TransientError,
    Write,
)
from exporter.report import rules
from exporter.report.writing import ModelWriter
from exporter.state.file import State
from exporter.state.incidents import incident_row, reports_of
from exporter.state.narration import Narrations, answers_of
from exporter.state.news import incidents_with_news, newest_news, news_row
from exporter.state.questions import question_of
from exporter.wording import words
from integrations.local_incidents import LocalIncidents
from integrations.openai import OpenAISettings
from tests import samples
from tests.delivery.parts import StepClock, story
from tests.servers.process import PATIENCE

MODEL = "qwen"


class Model:
    """Fails with what it is given, then answers."""

    model = MODEL

    def __init__(self, *errors: Exception, answer: Mapping[str, Any] | None = None) -> None:
        self.errors, self.answer, self.asked = list(errors), answer, 0

    async def complete(
        self, system: str, user: str, schema: Mapping[str, Any], meter: Meter | None = None
    ) -> Mapping[str, Any]:
        self.asked += 1
        if meter:
            meter.calls, meter.sent = meter.calls + 1, meter.sent + 1000
        if self.errors:
            raise self.errors.pop(0)
        return self.answer or {"what_happened": [{"fact": "F1"}], "cause": [], "steps": [], "not_known": []}

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
    state: State,
    memory: Recalling | None = None,
    model: Model | None = None,
    clock: StepClock | None = None,
    **limits: Any,
) -> AsyncIterator[Enricher]:
    memory, clock = memory or Recalling(state), clock or StepClock()
    redactor = Redactor(b"a key of an installation")
    settings = OpenAISettings.model_validate(
        {"type": "openai", "base_url": "http://localhost:9", "model": MODEL, "concurrency": 4} | limits
    )
    writer = ModelWriter(model, redactor, None, settings, Narrations(state), clock) if model else None
    yield Enricher(state, memory, redactor, lambda incident: (), writer, clock=clock, chance=lambda: 1.0)
    await memory.close()


def opened(identity: str = "i1", revision: int = 1, **changes: Any) -> list[Write]:
    told = story()[0]
    incident = replace(told.incident, id=identity, revision=revision, **changes)
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
    clock, model = StepClock(), Model(answer={"what_happened": [], "cause": [], "steps": []})
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
        assert model.asked == 1, "nor where only numbers did"
        await state.write(opened(revision=3, contributions=samples.contributions()[:2]))
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


async def test_what_models_wrote_freely_before_is_kept_and_marked(tmp_path: Path) -> None:
    from exporter.state import migrations

    path = tmp_path / "state.db"
    claims = [{"text": "It was DNS", "evidence": ["L1"], "verified": True}]
    wrote = {"incident": "i1", "revision": 1, "headline": "h", "what_happened": claims, "steps": claims}
    with pytest.MonkeyPatch.context() as older:
        older.setattr(migrations, "MIGRATIONS", migrations.MIGRATIONS[:7])
        rows = [("i1", writer, 1, json.dumps({**wrote, "writer": writer})) for writer in (MODEL, "rules")]
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            migrations.migrate(connection, path)
            connection.executemany("INSERT INTO reports (incident, writer, revision, body) VALUES (?, ?, ?, ?)", rows)
    state = State(path)
    try:
        model, ours = await reports_of(state, "i1")
    finally:
        state.close()
    assert [(one.text, one.evidence, one.verified, one.mark) for one in (*model.what_happened, *model.steps)] == [
        ("It was DNS", ("L1",), False, READING),
        ("It was DNS", ("L1",), False, SUGGESTION),
    ]
    assert ours.what_happened == (Claim("It was DNS", ("L1",)),)


KEPT: tuple[tuple[str, dict[str, Any]], ...] = (
    ("rules", {}),
    (MODEL, {"notes": ["Written without the model: 503."]}),
    ("other", {"writer": "other"}),
    ("odd", {"writer": "odd", "headline": 3}),
)


# --- What a model costs -----------------------------------------------------------------------------------


async def test_the_same_facts_are_asked_about_once_also_after_a_restart_and_told_with_new_numbers(state: State) -> None:
    model, clock = Model(), StepClock()
    await state.write(opened(contributions=samples.contributions()))
    async with enriching(state, model=model, clock=clock) as one:
        await one.enrich()
        assert await one.narrate() == 1
    grown = (replace(samples.contributions()[0], observed=9_999), *samples.contributions()[1:])
    await state.write(opened(contributions=grown, revision=2))
    async with enriching(state, model=model, clock=clock) as one:
        await one.enrich()
        assert await one.narrate() == 0, "it was told with the first report"
    assert model.asked == 1
    told = await newest_news(state, "i1")
    assert told is not None
    assert (told.revision, told.report.writer, told.report.calls) == (2, MODEL, 1)
    assert "9,999 lines" in told.report.what_happened[0].text


async def test_other_facts_are_asked_about_again(state: State) -> None:
    model, clock = Model(), StepClock()
    await state.write(opened())
    async with enriching(state, model=model, clock=clock) as one:
        await one.enrich()
        await one.narrate()
        await state.write(opened(contributions=samples.contributions()[:1], revision=2))
        await one.enrich()
        assert await one.narrate() == 1
    assert model.asked == 2


@pytest.mark.parametrize(
    ("limit", "wait"),
    [({"hourly_calls": 2}, timedelta(hours=1)), ({"daily_calls": 2}, timedelta(days=1)),
     ({"hourly_tokens": 2000}, timedelta(hours=1)), ({"daily_tokens": 1500}, timedelta(days=1))],
)  # fmt: skip
async def test_a_budget_holds_over_a_restart_and_is_there_again_when_its_time_is_over(
    state: State, limit: dict[str, Any], wait: timedelta
) -> None:
    model, clock = Model(), StepClock()
    for number in range(4):
        await state.write(opened(f"i{number}"))
        async with enriching(state, model=model, clock=clock, **limit) as one:
            await one.enrich()
            await one.narrate()
    assert model.asked == 2
    failed = await question_of(state, "i3", MODEL)
    assert failed is not None
    assert f"llm.{next(iter(limit))}" in failed.error
    clock.moment += wait + timedelta(seconds=1)
    async with enriching(state, model=model, clock=clock, **limit) as one:
        assert await one.narrate() == 2


async def test_a_model_that_does_not_answer_is_left_alone_whatever_it_would_be_asked(state: State) -> None:
    model, clock = Model(*[TransientError("down")] * 100), StepClock()
    for number in range(10):
        await state.write(opened(f"i{number}"))
    async with enriching(state, model=model, clock=clock) as one:
        await one.enrich()
        await one.narrate()
        first = model.asked
        for number in range(10, 20):
            await state.write(opened(f"i{number}"))
        await one.enrich()
        await one.narrate()
        assert model.asked == first
        clock.moment += timedelta(minutes=5)
        await one.narrate()
        assert model.asked == first + 1, "one attempt decides"


async def test_a_question_and_its_answer_are_kept_word_for_word(state: State) -> None:
    await state.write(opened())
    async with enriching(state, model=Model()) as one:
        await one.enrich()
        await one.narrate()
    [kept] = await answers_of(state, "i1")
    assert kept.user.split("\n")[0] in kept.system
    assert kept.answer["what_happened"] == [{"fact": "F1"}]
    assert (kept.revision, kept.calls, kept.tokens) == (1, 1, 1000)
