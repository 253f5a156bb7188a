"""The cases, and what of their facts an answer has right."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parent.parent.parent

LEVELS = ("FATAL", "ERROR", "WARN", "INFO", "DEBUG", "TRACE")

COMPARED = ("time", "services", "errors")
"""What commit 82d5d22 was measured by, the time of the first record to the second."""

MORE = ("last", "levels", "records", "encoding", "messages")


def folder() -> Path | None:
    """Where the cases are: beside the shared data."""
    data = Path(os.environ.get("LAE_SHARED_DATA") or REPOSITORY.parent / "shared" / "data")
    field = data.parent / "field"
    return field if (field / "expected.json").is_file() else None


def cases(where: Path, names: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Those whose file name begins with one of the names; all without names."""
    every: list[dict[str, Any]] = json.loads((where / "expected.json").read_text())
    there = [case for case in every if (where / case["file"]).is_file()]
    return [case for case in there if not names or any(case["file"].startswith(name) for name in names)]


@dataclass(frozen=True)
class Verdict:
    """What of a case was right: by fact, None for right and else what was said instead."""

    file: str
    facts: Mapping[str, str | None]
    told: str = ""
    """first, the number of the finding, or not; empty where nothing is planted."""
    quiet: bool | None = None
    note: str = ""


def judged(case: Mapping[str, Any], answer: Mapping[str, Any]) -> Verdict:
    """What `analyze --format json` made of a case."""
    try:
        found = json.loads(answer["out"])
    except ValueError:
        found = {"overview": {}, "findings": []}
    note = "" if answer["code"] in (0, 3) else f"exit {answer['code']}: {answer['err'].strip()[-200:]}"
    told, quiet = "", None
    if case["command"] == "analyze":
        told = _told(case, found["findings"])
        quiet = not found["findings"] if case["quiet"] else None
    return Verdict(case["file"], _facts(case["facts"], found["overview"]), told, quiet, note)


def _facts(right: Mapping[str, Any], overview: Mapping[str, Any]) -> dict[str, str | None]:
    facts: dict[str, str | None] = {}
    yearless = right.get("no_year")
    for name, key, old in (("time", "first", "start"), ("last", "last", "end")):
        if (moment := right[f"{name.replace('time', 'first')}_time"]) is not None:
            said = overview.get(key) or overview.get(old)
            digits = 19 if name == "time" else 32
            facts[name] = same(_moment(moment, yearless)[:digits], _moment(said, yearless)[:digits] if said else None)
    services = overview.get("services") or ()
    if right["services"] is not None:
        facts["services"] = same(sorted(right["services"]), sorted(service["service"] for service in services))
    if right["levels"] is not None:
        errors = sum(amount for level, amount in right["levels"].items() if level in ("ERROR", "FATAL"))
        facts["errors"] = same(errors, sum(service["errors"] for service in services))
        if "levels" in overview:
            facts["levels"] = same(right["levels"], {name: n for name, n in overview["levels"].items() if n})
    for name in ("records", "encoding"):
        if right[name] is not None and name in overview:
            facts[name] = same(right[name], overview[name])
    return facts


def _moment(text: str, yearless: bool | None) -> str:
    moment = datetime.fromisoformat(text)
    return moment.strftime("****-%m-%dT%H:%M:%S.%fZ" if yearless else "%Y-%m-%dT%H:%M:%S.%fZ")


def same(right: object, said: object) -> str | None:
    """None where they are the same, else what is said instead."""
    return None if right == said else f"{said} of {right}"


def _told(case: Mapping[str, Any], findings: Iterable[Mapping[str, Any]]) -> str:
    """Which finding shows the planted problem by an example."""
    planted = case["planted"]
    if not planted or planted["text"] is None:
        return ""
    for rank, finding in enumerate(findings, 1):
        if any(planted["text"] in example["body"] for example in finding["examples"]):
            return "first" if rank == 1 else f"no. {rank}"
    return "not"


def judged_lines(case: Mapping[str, Any], answer: Mapping[str, Any]) -> Verdict:
    """What a source made of documents, each with its id or place."""
    facts: dict[str, str | None] = {}
    found = {line["key"]: line for line in answer["lines"]}
    for right in case["facts"]["documents"]:
        line = found.get(right["line"], {"service": None, "severity": 0, "body": ""})
        level = level_of(line["severity"])
        said = {"service": line["service"], "level": level}
        for name, value in said.items():
            if right.get(name) is not None:
                facts[f"{right['line']} {name}"] = same(right[name], value)
        body = right.get("body") or ""
        facts[f"{right['line']} body"] = None if body in line["body"] else line["body"][:40] or "empty"
    return Verdict(case["file"], facts)


def judged_redaction(case: Mapping[str, Any], answer: Mapping[str, Any]) -> Verdict:
    """What redaction left of what it must hide, and hid of what it must leave."""
    facts = case["facts"]
    hidden = {f"hides {n}": None if one not in answer["out"] else "shown" for n, one in enumerate(facts["hidden"], 1)}
    kept = {f"keeps {n}": None if one in answer["out"] else "hidden" for n, one in enumerate(facts["kept"], 1)}
    return Verdict(case["file"], {**hidden, **kept})


def judged_webhook(case: Mapping[str, Any], answer: Mapping[str, Any]) -> Verdict:
    """With which status an alert was taken, and of which service it was found to be."""
    right = case["facts"]
    facts = {"answer": same(right["answer"], answer["answer"])}
    if right["services"] is not None:
        facts["services"] = same(right["services"], answer["services"])
    return Verdict(case["file"], facts)


def level_of(number: int) -> str | None:
    """The name of OpenTelemetry's number."""
    return LEVELS[max(0, 5 - (number - 1) // 4)] if number > 0 else None
