"""Ask a model about an incident, and make a report of what it answered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from exporter.ingest.redaction import Redactor
from exporter.model import (
    LLM,
    Asked,
    Incident,
    Meter,
    NoTelemetry,
    PermanentError,
    Report,
    Telemetry,
    TooLongError,
    TransientError,
    WriterFailedError,
)
from exporter.report.answer import read
from exporter.report.catalogue import Catalogue, catalogue
from exporter.report.check import Checker
from exporter.report.compose import compose
from exporter.report.prompt import MAX_TOKENS, Prompt, prompt
from exporter.wording.text import brief, without_links

SHARES: Sequence[float] = (1, 0.6, 0.4)
"""Of the longest prompt: what is tried in turn where a server says that it is too long."""

MODEL_DEADLINE = timedelta(minutes=3)
"""For an answer, in wall time, where nothing is configured."""


@dataclass(frozen=True)
class Question:
    """An incident with the report of the rules on it, and what of it can be told: to ask a model, and to tell."""

    incident: Incident
    report: Report
    known: Catalogue

    @classmethod
    def of(cls, incident: Incident, report: Report) -> Question:
        return cls(incident, report, catalogue(incident, report))

    def prompt(self, redact: Callable[[str], str], share: float = 1) -> Prompt:
        return prompt(self.incident, self.known, redact, MAX_TOKENS * share)


async def ask(
    question: Question,
    llm: LLM,
    redactor: Redactor,
    at: int,
    meter: Meter | None = None,
    deadline: timedelta = MODEL_DEADLINE,
) -> Asked:
    """The model's answer, word for word but for what is redacted. Raises WriterFailedError.

    `at` is wall time, in seconds since the epoch. `meter` counts what it costs, also where it fails. `deadline` is that
    of each answer.
    """
    meter = meter or Meter()
    try:
        asked, answer = await _shorter_and_shorter(question, llm, redactor, meter, deadline)
    except (TransientError, TimeoutError) as error:
        wait = getattr(error, "retry_after", None)
        why = f"the model could not be asked ({_reason(error, redactor)})"
        raise WriterFailedError(why, wait, passing=True) from error
    except PermanentError as error:
        raise WriterFailedError(f"the model refused ({_reason(error, redactor)})") from error
    except Exception as error:
        # A client library may raise anything on an odd answer.
        raise WriterFailedError(f"the model's client failed ({type(error).__name__})") from error
    return Asked(
        incident=question.incident.id,
        model=llm.model,
        revision=question.incident.revision,
        at=at,
        evidence=question.known.evidence_key,
        system=asked.system,
        user=asked.user,
        answer=_redacted(answer, redactor),
        ids=asked.ids,
        calls=meter.calls,
        tokens=meter.tokens,
    )


async def _shorter_and_shorter(
    question: Question, llm: LLM, redactor: Redactor, meter: Meter, deadline: timedelta
) -> tuple[Prompt, Any]:
    for share in SHARES:
        asked = question.prompt(redactor.redact, share)
        try:
            async with asyncio.timeout(deadline.total_seconds()):
                return asked, await llm.complete(asked.system, asked.user, asked.schema, meter)
        except TooLongError as error:
            last = error
    raise last


DEEPEST = 20
"""Lists and objects within each other that an answer may have; an answer of ours has three."""


def _redacted(answer: Any, redactor: Redactor, depth: int = 0) -> Any:
    """A model may say what it learnt elsewhere, and what it says is kept."""
    if isinstance(answer, str):
        return redactor.redact(answer)
    if isinstance(answer, Mapping):
        within = answer.items() if depth < DEEPEST else ()
        return {redactor.redact(str(key)): _redacted(value, redactor, depth + 1) for key, value in within}
    if isinstance(answer, Sequence):
        return [_redacted(one, redactor, depth + 1) for one in (answer if depth < DEEPEST else ())]
    return answer


def tell(question: Question, asked: Asked, redactor: Redactor, telemetry: Telemetry | None = None) -> Report:
    """The report that an answer makes, with the numbers of now. Raises WriterFailedError where nothing of it is left.

    The model decides no headline, severity, label or link. What it says is cleaned and redacted again.
    """
    telemetry = telemetry or NoTelemetry()
    answer = read(asked.answer, asked.ids)
    checker = Checker(question.known, redactor, f"{asked.system}\n{asked.user.partition(chr(10))[0]}")
    report = compose(question.report, question.known, answer, checker, asked.model)
    for reason, amount in (*answer.dropped.items(), *checker.dropped.items()):
        telemetry.count("llm_claims_dropped", amount, reason=reason)
    for reason, amount in checker.removed.items():
        telemetry.count("llm_pieces_removed", amount, reason=reason)
    if report is None:
        telemetry.count("llm_requests", outcome="invalid")
        raise WriterFailedError("the model said nothing that the evidence supports", answered=True)
    return replace(report, calls=asked.calls, tokens=asked.tokens)


def tell_again(
    report: Report, incident: Incident, asked: Asked, *, redactor: Redactor, telemetry: Telemetry | None = None
) -> Report | None:
    """What a model answered before, with the numbers of now; None where the facts are others, or nothing is left."""
    question = Question.of(incident, report)
    if asked.evidence != question.known.evidence_key:
        return None
    try:
        return tell(question, asked, redactor, telemetry)
    except WriterFailedError:
        return None


async def write_with_llm(
    report: Report,
    incident: Incident,
    llm: LLM,
    redactor: Redactor,
    telemetry: Telemetry | None = None,
    *,
    deadline: timedelta = MODEL_DEADLINE,
) -> Report:
    """Ask, and tell. Raises WriterFailedError."""
    question = Question.of(incident, report)
    asked = await ask(question, llm, redactor, 0, deadline=deadline)
    return tell(question, asked, redactor, telemetry)


def without_model(report: Report, why: str) -> Report:
    """The report with a note on why the model did not write it."""
    return replace(report, notes=(*report.notes, f"Written without the model: {why}."))


def _reason(error: Exception, redactor: Redactor) -> str:
    return brief(without_links(redactor.redact(str(error) or type(error).__name__)), 200)
