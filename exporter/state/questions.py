"""Which incidents a model is to be asked about, and which questions failed."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime

from exporter.model import RULES, Incident, Report, Write
from exporter.state.aside import dated, readable
from exporter.state.file import Rows


@dataclass(frozen=True)
class Question:
    """A question to a model on one revision of an incident that brought no report.

    `next_attempt` is wall time, in seconds since the epoch; 0: it is not asked again on this revision.
    """

    incident: str
    model: str
    revision: int
    attempts: int = 0
    next_attempt: int = 0
    error: str = ""


_COLUMNS = tuple(field.name for field in fields(Question))


def question_row(question: Question) -> Write:
    """The newest failure of each model on an incident."""
    return Write("questions", _COLUMNS, (tuple(getattr(question, name) for name in _COLUMNS),))


async def question_of(rows: Rows, incident: str, model: str) -> Question | None:
    query = f"SELECT {', '.join(_COLUMNS)} FROM questions WHERE incident = ? AND model = ?"
    found = await rows.read(query, (incident, model))
    return Question(*found[0]) if found else None


async def questions_of(rows: Rows, incident: str) -> list[Question]:
    """What failed on an incident, of every model."""
    query = f"SELECT {', '.join(_COLUMNS)} FROM questions WHERE incident = ? ORDER BY model"
    return [Question(*row) for row in await rows.read(query, (incident,))]


async def unnarrated(rows: Rows, model: str, now: int) -> list[str]:
    """Firing incidents on whose newest revision no model has written, the newest first.

    Those of which a question to this one failed come when its wait is over, and after those that were not asked about.
    """
    query = (
        "SELECT i.id FROM incidents i "
        "JOIN reports r ON r.incident = i.id AND r.writer = ? AND r.revision = i.revision "
        "LEFT JOIN questions q ON q.incident = i.id AND q.model = ? AND q.revision = i.revision "
        # What people do not want to hear of costs no question.
        """WHERE i.status = 'firing' AND i.body NOT LIKE '%"withheld":"muted"%' """
        "AND (q.revision IS NULL OR (q.next_attempt > 0 AND q.next_attempt <= ?)) "
        "AND NOT EXISTS "
        "(SELECT 1 FROM reports m WHERE m.incident = i.id AND m.writer != ? AND m.revision = i.revision) "
        "ORDER BY q.revision IS NOT NULL, i.updated_at DESC, i.id"
    )
    return [incident for (incident,) in await rows.read(query, (RULES, model, now, RULES))]


async def to_narrate(rows: Rows, incident: str) -> tuple[Incident, Report, datetime] | None:
    """An incident, the report of the rules on it, and when it changed; None where one of them cannot be read."""
    query = (
        "SELECT i.body, r.body, i.updated_at FROM incidents i "
        "JOIN reports r ON r.incident = i.id AND r.writer = ? AND r.revision = i.revision WHERE i.id = ?"
    )
    for body, report, at in await rows.read(query, (RULES, incident)):
        told = readable(rows, "incidents", incident, Incident, body)
        written = readable(rows, "reports", incident, Report, report)
        when = dated(rows, "incidents", incident, at)
        return None if told is None or written is None or when is None else (told, written, when)
    return None


async def without_recall(rows: Rows, limit: int) -> list[str]:
    """Incidents whose newest revision was reported on without memory, the newest first."""
    query = (
        "SELECT i.id FROM incidents i "
        "JOIN reports r ON r.incident = i.id AND r.writer = ? AND r.revision = i.revision "
        """WHERE r.body LIKE '%"unasked":"%' AND r.body NOT LIKE '%"unasked":""%' """
        "ORDER BY i.updated_at DESC, i.id LIMIT ?"
    )
    return [incident for (incident,) in await rows.read(query, (RULES, limit))]
