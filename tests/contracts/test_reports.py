"""What every writer of reports owes, over the model in this process and over one that is served elsewhere."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from aiohttp import web

from exporter.ingest.redaction import Redactor
from exporter.model import (
    Context,
    Incident,
    InMemory,
    Ledger,
    PermanentError,
    Report,
    ReportWriter,
    RetellingWriter,
    TransientError,
    WriterFailedError,
    to_json,
)
from exporter.model.layers import Reported
from exporter.report import rules
from exporter.report.llm import tell_again
from exporter.report.writing import ModelWriter
from exporter.wording import narrative
from integrations.remote_report import MOST_KEPT, RemoteReportSettings
from tests import samples
from tests.delivery.test_enrich import MODEL, Model
from tests.fakes.serving import serving
from tests.layers.serving import served_reports

Make = Callable[..., AbstractAsyncContextManager[ReportWriter]]

REDACTOR = Redactor(b"a key of an installation")


@asynccontextmanager
async def here(model: Model, ledger: Ledger | None = None) -> AsyncIterator[ReportWriter]:
    yield ModelWriter(model, REDACTOR, ledger=ledger)


@asynccontextmanager
async def elsewhere(model: Model, ledger: Ledger | None = None) -> AsyncIterator[ReportWriter]:
    async with served_reports(ModelWriter(model, REDACTOR)) as settings:
        writer = settings.build(asking(ledger))
        yield writer
        await writer.close()


def asking(ledger: Ledger | None = None) -> Context:
    """What somebody is built with who has no model, and can tell what one answered."""
    return Context(ledger=ledger or InMemory(), tell_again=partial(tell_again, redactor=REDACTOR))


every_writer = pytest.mark.parametrize("make", [here, elsewhere])


def by_rules(incident: Incident | None = None) -> Report:
    return rules.write(incident or samples.incident(), (samples.similar(),))


def later() -> Incident:
    """The next revision: more lines of what failed before."""
    first, *others = samples.contributions()
    return samples.incident(revision=5, contributions=(replace(first, observed=9001), *others))


def another() -> Incident:
    """The next revision, in which something else has failed."""
    first, *others = samples.contributions()
    return samples.incident(revision=5, contributions=(replace(first, text="disk of db-payments is full"), *others))


def told(report: Report | None) -> str:
    assert report is not None
    return " ".join(claim.text for claim in report.what_happened)


async def written(make: Make, model: Model) -> Report:
    async with make(model) as writer:
        return await writer.write(by_rules(), samples.incident())


@every_writer
async def test_the_report_is_the_models_over_what_the_rules_know(make: Make) -> None:
    report = await written(make, Model())
    assert report.writer == MODEL
    assert narrative.generated(report)
    assert (report.headline, report.similar) == (by_rules().headline, by_rules().similar)


async def test_it_is_the_same_report_wherever_it_is_written() -> None:
    assert await written(elsewhere, Model()) == await written(here, Model())


@every_writer
@pytest.mark.parametrize(
    ("error", "wait", "passing"),
    [
        (TransientError("503"), None, True),
        (TransientError("429", timedelta(minutes=7)), timedelta(minutes=7), True),
        (PermanentError("401"), None, False),
        (KeyError("odd"), None, False),
        (TimeoutError(), None, True),
    ],
    ids=repr,
)
async def test_a_model_that_fails_is_no_report_and_is_asked_again(
    make: Make, error: Exception, wait: timedelta | None, passing: bool
) -> None:
    with pytest.raises(WriterFailedError, match="model") as failed:
        await written(make, Model(error))
    assert (failed.value.retry_after, failed.value.answered, failed.value.passing) == (wait, False, passing)


@every_writer
async def test_what_nothing_supports_is_no_report_and_is_not_asked_again(make: Make) -> None:
    nothing: dict[str, Any] = {"what_happened": [], "causes": [], "steps": []}
    with pytest.raises(WriterFailedError) as failed:
        await written(make, Model(answer=nothing))
    assert failed.value.answered


# --- What was said is said again ------------------------------------------------------------------------


@every_writer
async def test_what_was_said_is_said_again_with_the_numbers_of_now_and_nobody_is_asked(make: Make) -> None:
    model = Model()
    async with make(model) as writer:
        before = await writer.write(by_rules(), samples.incident())
        assert isinstance(writer, RetellingWriter)
        again = await writer.retell(by_rules(later()), later())
    assert ("184" in told(before), "9,001" in told(before)) == (True, False)
    assert ("184" in told(again), "9,001" in told(again)) == (False, True)
    assert again is not None
    assert (again.revision, again.writer) == (5, MODEL)
    assert model.asked == 1


@every_writer
async def test_written_again_while_its_facts_are_the_same_it_asks_nobody_either(make: Make) -> None:
    model = Model()
    async with make(model) as writer:
        await writer.write(by_rules(), samples.incident())
        assert "9,001" in told(await writer.write(by_rules(later()), later()))
    assert model.asked == 1


@every_writer
async def test_where_something_else_has_failed_there_is_nothing_to_say_again(make: Make) -> None:
    model = Model()
    async with make(model) as writer:
        assert isinstance(writer, RetellingWriter)
        assert await writer.retell(by_rules(), samples.incident()) is None, "nothing was said before"
        await writer.write(by_rules(), samples.incident())
        assert await writer.retell(by_rules(another()), another()) is None
        assert model.asked == 1
        await writer.write(by_rules(another()), another())
    assert model.asked == 2


@every_writer
async def test_what_was_said_outlives_the_writer_where_it_is_kept(make: Make) -> None:
    ledger, model = InMemory(), Model()
    async with make(model, ledger) as writer:
        await writer.write(by_rules(), samples.incident())
    async with make(model, ledger) as writer:
        assert isinstance(writer, RetellingWriter)
        assert "9,001" in told(await writer.retell(by_rules(later()), later()))
        asked = await writer.asked(samples.incident().id)
    assert asked is not None
    assert (asked.model, asked.answer["what_happened"]) == (MODEL, [{"fact": "F1"}])
    assert model.asked == 1


async def test_what_was_said_elsewhere_is_said_again_when_who_said_it_is_gone() -> None:
    model = Model()
    async with served_reports(ModelWriter(model, REDACTOR)) as settings:
        writer = settings.build(asking())
        await writer.write(by_rules(), samples.incident())
    assert isinstance(writer, RetellingWriter)
    assert "9,001" in told(await writer.retell(by_rules(later()), later()))
    with pytest.raises(WriterFailedError) as failed:
        await writer.write(by_rules(another()), another())
    assert failed.value.passing, "its place failed: it is left alone for a while, whatever it would be asked about"
    await writer.close()


@pytest.mark.parametrize(
    "changed", [None, {"incident": "another"}, {"user": "x" * MOST_KEPT}], ids=["nothing", "of another", "too much"]
)
async def test_of_a_service_that_does_not_say_what_was_asked_or_too_much_the_report_alone_is_taken(
    changed: dict[str, Any] | None,
) -> None:
    async with here(Model()) as model:
        report = await model.write(by_rules(), samples.incident())
        assert isinstance(model, RetellingWriter)
        asked = await model.asked(report.incident)
    answer = to_json(Reported(report, asked=replace(asked, **changed) if asked and changed else None))
    if changed is None:
        del answer["asked"]

    async def answered(_: web.Request) -> web.Response:
        return web.Response(text=json.dumps(answer), content_type="application/json")

    app = web.Application()
    app.router.add_post("/v1/report", answered)
    async with serving(app) as url:
        writer = RemoteReportSettings(type="remote", url=url).build(asking())
        assert await writer.write(by_rules(), samples.incident()) == report
        assert await writer.retell(by_rules(later()), later()) is None
        await writer.close()


@every_writer
async def test_checking_tells_and_never_raises(make: Make) -> None:
    async with make(Model()) as writer:
        assert all(check.ok for check in await writer.check())


@every_writer
async def test_closing_twice_is_fine(make: Make) -> None:
    async with make(Model()) as writer:
        await writer.close()
        await writer.close()
