"""What every writer of reports owes, over the model in this process and over one that is served elsewhere."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

from exporter.ingest.redaction import Redactor
from exporter.model import Context, PermanentError, Report, ReportWriter, TransientError, WriterFailedError
from exporter.report import rules
from exporter.report.writing import ModelWriter
from exporter.wording import narrative
from tests import samples
from tests.delivery.test_enrich import MODEL, Model
from tests.layers.serving import served_reports

Make = Callable[[Model], AbstractAsyncContextManager[ReportWriter]]

REDACTOR = Redactor(b"a key of an installation")


@asynccontextmanager
async def here(model: Model) -> AsyncIterator[ReportWriter]:
    yield ModelWriter(model, REDACTOR)


@asynccontextmanager
async def elsewhere(model: Model) -> AsyncIterator[ReportWriter]:
    async with served_reports(ModelWriter(model, REDACTOR)) as settings:
        writer = settings.build(Context())
        yield writer
        await writer.close()


every_writer = pytest.mark.parametrize("make", [here, elsewhere])


def by_rules() -> Report:
    return rules.write(samples.incident(), (samples.similar(),))


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
    ("error", "wait"),
    [
        (TransientError("503"), None),
        (TransientError("429", timedelta(minutes=7)), timedelta(minutes=7)),
        (PermanentError("401"), None),
        (KeyError("odd"), None),
        (TimeoutError(), None),
    ],
    ids=repr,
)
async def test_a_model_that_fails_is_no_report_and_is_asked_again(
    make: Make, error: Exception, wait: timedelta | None
) -> None:
    with pytest.raises(WriterFailedError, match="model") as failed:
        await written(make, Model(error))
    assert (failed.value.retry_after, failed.value.answered) == (wait, False)


@every_writer
async def test_what_nothing_supports_is_no_report_and_is_not_asked_again(make: Make) -> None:
    nothing: dict[str, Any] = {"what_happened": [], "causes": [], "steps": []}
    with pytest.raises(WriterFailedError) as failed:
        await written(make, Model(answer=nothing))
    assert failed.value.answered


@every_writer
async def test_checking_tells_and_never_raises(make: Make) -> None:
    async with make(Model()) as writer:
        assert all(check.ok for check in await writer.check())


@every_writer
async def test_closing_twice_is_fine(make: Make) -> None:
    async with make(Model()) as writer:
        await writer.close()
        await writer.close()
