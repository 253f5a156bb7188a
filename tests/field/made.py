"""Small logs of kinds that the cases of the field lack, each with what is right, which was written down before it was
read."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from tests.field.cases import LEVELS, REPOSITORY, Verdict, judged, level_of, same

MADE = REPOSITORY / "tests" / "field" / "made"

WRITTEN = datetime(2026, 12, 28, 12, tzinfo=UTC).timestamp(), datetime(2026, 11, 28, 12, tzinfo=UTC).timestamp()
"""When files were last changed that tell of December, and all others: what has no year or no date is of then."""


def made(names: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Cases as those of the field, with their lines; those whose name begins with one of the names."""
    found = []
    for file in sorted(MADE.glob("*.yml")):
        content = yaml.safe_load(file.read_text())
        for name, right in content.items():
            if not name.endswith(".lines") and (not names or any(map(name.startswith, names))):
                found.append(_case(name, right, content[f"{name}.lines"]))
    return found


def _case(name: str, right: Mapping[str, Any], lines: str) -> dict[str, Any]:
    encoding = right.get("encoding", "utf-8")
    facts = {
        "first_time": right.get("first"),
        "last_time": right.get("last"),
        "records": right.get("records", lines.count("\n")),
        "services": right.get("services"),
        "levels": right.get("levels"),
        "encoding": encoding,
        "messages": right.get("messages") or {},
    }
    command = right.get("in", "analyze")
    return {"file": name, "command": command, "lines": lines, "facts": facts, "planted": None, "quiet": False}


def written(case: Mapping[str, Any], folder: Path) -> Path:
    """The file of a case."""
    path = folder / f"{case['file'].replace(' ', '-')}.log"
    path.write_bytes(case["lines"].encode(case["facts"]["encoding"]))
    late = str(case["facts"]["first_time"]).startswith("2026-12")
    os.utime(path, (WRITTEN[not late],) * 2)
    return path


def tasks(case: Mapping[str, Any], path: Path) -> Iterator[dict[str, Any]]:
    """What the driver is asked of a case that is a file."""
    yield {"run": ["analyze", str(path), "--format", "json"]}
    if case["facts"]["messages"]:
        yield {"source": {"type": "file", "name": "field", "path": [str(path)]}}


def judged_file(case: Mapping[str, Any], answers: Sequence[Mapping[str, Any]]) -> Verdict:
    """What of a file was right."""
    verdict = judged(case, answers[0])
    facts = {name: _milliseconds(case, name, wrong) for name, wrong in verdict.facts.items()}
    if len(answers) > 1:
        # Below the message its error may stand.
        lines = [line["body"].partition("\n")[0] for line in sorted(answers[1]["lines"], key=lambda line: line["time"])]
        for number, message in case["facts"]["messages"].items():
            said = lines[number - 1] if number <= len(lines) else ""
            facts["messages"] = facts.get("messages") or same(message, _first_of(message, said))
    return Verdict(verdict.file, facts, note=verdict.note)


def _first_of(message: str, body: str) -> str:
    """The message alone, where what else the record says of its error stands under it."""
    return message if message and body.startswith(f"{message}\n") else body


def _milliseconds(case: Mapping[str, Any], name: str, wrong: str | None) -> str | None:
    """Times are written down to the millisecond."""
    right = case["facts"]["last_time"]
    return None if name == "last" and wrong and right and wrong.startswith(right.rstrip("Z")) else wrong


def judged_documents(case: Mapping[str, Any], answer: Mapping[str, Any]) -> Verdict:
    """What of documents was right, each in its order."""
    facts = case["facts"]
    lines = sorted(answer["lines"], key=lambda line: (line["time"], line["id"]))
    said = {
        "services": [line["service"] for line in lines],
        "levels": [level_of(line["severity"]) if level_of(line["severity"]) in LEVELS else None for line in lines],
        "messages": [line["body"] for line in lines],
    }
    if facts["messages"] and len(lines) == len(facts["messages"]):
        said["messages"] = list(map(_first_of, facts["messages"], said["messages"]))
    return Verdict(case["file"], {name: same(facts[name], values) for name, values in said.items() if facts[name]})


def documents_of(case: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The documents of a case that is none of a file."""
    return [json.loads(line) for line in case["lines"].splitlines()]
