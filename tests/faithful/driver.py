"""Let a scripted model answer with the code of the checkout that it is started in; `python -P driver.py`.

Tasks are in stdin: each line of it is an incident with the answers that are tried on it, each line of stdout what is
shown of one of them in every place. It may use only what every checkout has, and looks for where that is.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import Any, get_args

PLACES = {
    "from_json": ("exporter.model",),
    "to_json": ("exporter.model",),
    "Incident": ("exporter.model",),
    "ContributionKind": ("exporter.model",),
    "SimilarIncident": ("exporter.model",),
    "Notification": ("exporter.model",),
    "PermanentError": ("exporter.model",),
    "IncidentRecord": ("exporter.model.questions", "exporter.web.backend"),
    "Redactor": ("exporter.ingest.redaction", "exporter.redaction"),
    "write": ("exporter.report.rules", "exporter.report"),
    "write_with_llm": ("exporter.report.llm", "exporter.report"),
    "parse": ("integrations.openai.answers", "integrations.openai"),
    "incident_page": ("exporter.web.pages",),
    "message": ("integrations.slack.message", "integrations.slack"),
    "annotation": ("integrations.grafana",),
    "alerts": ("integrations.alertmanager",),
    "tell": ("integrations.alertmanager",),
    "event": ("integrations._otlp_events", "integrations.otlp"),
    "payload": ("integrations.webhook",),
    "render": ("exporter.wording.terminal", "integrations.console"),
}
"""Where things are or were: what this checkout has is found from any."""

MEANT = re.compile(r"⟦([FfL]):([^⟧]*)⟧")
"""A fact by the parts of what is told of it, also with its id in small letters, and a line by how it begins."""


def find(name: str) -> Any:
    """What a checkout has under this name, wherever it has it."""
    for module in PLACES[name]:
        with contextlib.suppress(ModuleNotFoundError, AttributeError):
            return getattr(import_module(module), name)
    raise SystemExit(f"{name} is in none of {', '.join(PLACES[name])}: say in {__file__} where it is now")


@dataclass
class Scripted:
    """A model that gives one answer, with the ids of the prompt that it was asked with."""

    content: str
    model: str = "scripted"

    async def complete(self, system: str, user: str, schema: Mapping[str, Any], *rest: Any) -> Any:
        text = spoken(self.content, system, user)
        try:
            return find("parse")(text, schema)
        except ValueError as error:
            raise find("PermanentError")(f"no valid answer: {error}") from error


def spoken(content: str, system: str, user: str) -> str:
    """The answer with ids of the prompt in the place of what it means: a fact by what it says, a line by its text."""
    lines = user.split("\n")
    rows = [json.loads(line) for line in lines if line.startswith("{")]

    def identity(match: re.Match[str]) -> str:
        parts, kind = match[2].split("¦"), {"L": "line"}.get(match[1], "fact")
        held = [row for row in rows if "id" in row and all(part in _flat(row) for part in parts)]
        named = [row["id"] for row in held if row.get("what") == kind]
        # An older prompt has findings instead of facts.
        others = [row["id"] for row in rows if row.get("what") in ("finding", "line")]
        found = str(next(iter([*named, *others]), "F1"))
        return found.lower() if match[1] == "f" else found

    text = MEANT.sub(identity, content)
    return text.replace("⟦D⟧", lines[0]).replace("⟦S⟧", json.dumps(system, ensure_ascii=False)[1:300])


def _flat(row: Mapping[str, Any]) -> str:
    return " ".join(" ".join(str(value).split()) for value in row.values())


def shown(incident: Any, report: Any, rules: Any) -> dict[str, Any]:
    """What stands in each place, as the place is given it."""
    url = f"https://anomalies.example.org/incidents/{incident.id}"
    news = find("Notification")(
        event_id=f"{incident.id}:1",
        change="reported",
        incident=incident,
        report=report,
        now=incident.updated_at,
        url=url,
    )
    reports = (report, rules) if report.writer != "rules" else (rules,)
    resend = timedelta(minutes=1)
    event = find("event")(news)
    places: dict[str, Callable[[], Any]] = {
        "page": lambda: find("incident_page")(find("IncidentRecord")(incident, reports), "/"),
        "slack": lambda: find("message")(news),
        "grafana": lambda: find("annotation")(news)["text"],
        "alertmanager": lambda: find("alerts")(news, find("tell")(news, None), resend)[-1]["annotations"],
        "otlp": lambda: {"body": event.body, **event.attributes},
        "webhook": lambda: find("payload")(news),
        "console": lambda: find("render")(incident, report, url, color=False, width=2000),
        "show": lambda: {"incident": find("to_json")(incident), "reports": find("to_json")(reports)},
    }
    return {name: place() for name, place in places.items()}


def read(body: Mapping[str, Any]) -> Any:
    """The incident, without findings of kinds that an older checkout does not know."""
    try:
        return find("from_json")(find("Incident"), body)
    except ValueError:
        known = get_args(find("ContributionKind"))
        kept = [one for one in body["contributions"] if one["kind"] in known]
        return find("from_json")(find("Incident"), {**body, "contributions": kept})


async def answered(task: Mapping[str, Any]) -> Sequence[dict[str, Any]]:
    incident = read(task["incident"])
    similar = tuple(find("from_json")(find("SimilarIncident"), one) for one in task["similar"])
    redactor, rules = find("Redactor")(b"a key of this installation only"), find("write")(incident, similar)
    found = []
    # An older checkout is given what is remembered beside the report that has it.
    asks = inspect.signature(find("write_with_llm")).parameters
    given = (similar,) if "similar" in asks else ()
    for content in task["contents"]:
        try:
            report = await find("write_with_llm")(rules, incident, *given, Scripted(content), redactor)
        except Exception as error:
            if type(error).__name__ not in ("ModelFailedError", "WriterFailedError"):
                raise
            report = rules
        found.append({"writer": report.writer, "places": shown(incident, report, rules)})
    return found


if __name__ == "__main__":
    sys.path.insert(0, str(Path.cwd()))
    # Where another checkout is installed for editing, its finder would fill what this one lacks.
    sys.meta_path[:] = [finder for finder in sys.meta_path if "editable" not in repr(finder).lower()]
    for line in sys.stdin:
        for one in asyncio.run(answered(json.loads(line))):
            print(json.dumps(one, ensure_ascii=False, default=asdict))
