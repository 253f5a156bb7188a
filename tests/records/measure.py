"""What of the cases is read right."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from exporter.ingest.reduction import reduce
from exporter.ingest.settings import ReductionSettings
from integrations.file import FileSettings
from tests.records.places import DOCUMENTS, TIMED
from tests.records.traces import CASES, Case, Said

ROUNDS = 6
SETTINGS = ReductionSettings(redaction_key=b"0123456789abcdef")
NEAR = 1e-5


@dataclass(frozen=True)
class Record:
    """A record as it is read."""

    at: int | None
    level: int
    text: str
    """What of it is mined."""
    body: str
    code: int | None
    duration: float | None
    place: str | None
    instance: str | None
    version: str | None
    words: dict[str, str]


def read(path: Path, text: str) -> list[Record]:
    """The records of a file that holds a text."""
    path.write_text(text)
    return asyncio.run(_read(path))


async def _read(path: Path) -> list[Record]:
    files = FileSettings(type="file", name="files", path=(str(path),))
    found: list[Record] = []
    async for page in files.read([str(path)]):
        reduced = reduce(page.with_columns(pl.col("timestamp").fill_null(0)), SETTINGS)
        names = dict(reduced.names.select("key", "text").iter_rows())
        mined = dict(reduced.shapes.select("shape", "text").iter_rows())
        for line, body, at in zip(reduced.lines.rows(named=True), page["body"], page["timestamp"], strict=True):
            if not line["continuation"]:
                found.append(_record(line, body, at, mined[line["shape"]], names))
            elif found:
                found[-1] = replace(found[-1], body=f"{found[-1].body}\n{body}")
    return found


def _record(line: dict[str, Any], body: str, at: int | None, mined: str, names: dict[int, str]) -> Record:
    named = {name: names.get(line[name]) for name in ("place", "instance", "version")}
    words = json.loads(names.get(line["fields"], "{}"))
    return Record(at, line["severity"], mined, body, line["code"], line["duration"], words=words, **named)


def wrong(case: Case, folder: Path) -> list[str]:
    """What is read wrong of some records of several lines."""
    found = read(folder / "some.log", case.text(ROUNDS))
    right = [said for _ in range(ROUNDS) for _, said in case.records]
    if len(found) != len(right):
        return [f"{len(found)} records of {len(right)}"]
    problems: dict[str, None] = {}
    for number, (record, said) in enumerate(zip(found, right, strict=True)):
        problems.update(dict.fromkeys(_wrong(record, said, number)))
    return list(problems)[:4]


def _wrong(record: Record, said: Said, number: int) -> Iterator[str]:
    if record.level != said.level:
        yield f"level {record.level} of {said.level}"
    if said.message not in record.text or "\n\tat " in record.text or "\n    at " in record.text:
        yield f"mined is {record.text[:80]!r}"
    if said.kept not in record.body:
        yield f"not kept is {said.kept!r}"
    if said.second is not None and (record.at is None or datetime.fromtimestamp(record.at / 1e9, UTC).second != number):
        yield f"time {record.at}"


def wrong_place(line: str, code: int | None, seconds: float | None, folder: Path) -> list[str]:
    """What is read wrong of a line that says a status or a duration."""
    found = read(folder / "one.log", f"{line}\n")
    if len(found) != 1:
        return [f"{len(found)} records of 1"]
    record = found[0]
    return [*_differs("code", record.code, code), *_differs("duration", record.duration, seconds)]


def wrong_document(document: dict[str, Any], right: dict[str, Any], folder: Path) -> list[str]:
    """What is read wrong of a record of fields."""
    line = json.dumps(document).replace("06:00:01", "06:00:0%s").replace("1794895201", "179489520%s")
    text = "".join(line.replace("%s", str(second)) + "\n" for second in range(8))
    found = read(folder / "some.json", text)
    if len(found) != 8:
        return [f"{len(found)} records of 8"]
    first = found[0]
    problems = [p for name in ("code", "duration", "place", "instance", "version") if name in right
                for p in _differs(name, getattr(first, name), right[name])]  # fmt: skip
    problems += [f"{name} is {first.words.get(name)}" for name, word in right.get("words", {}).items()
                 if first.words.get(name) != word]  # fmt: skip
    return problems + [
        f"{piece!r} is not in {first.body[:90]!r}" for piece in right.get("body", ()) if piece not in first.body
    ]


def _differs(name: str, said: Any, right: Any) -> list[str]:
    both = isinstance(said, float) and isinstance(right, float)
    same = abs(said - right) <= NEAR * right if both else said == right
    return [] if same else [f"{name} {said} of {right}"]


def every(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Each case, and what is wrong of it."""
    for case in CASES:
        yield case.name, wrong(case, folder)
    for name, line, code, seconds in TIMED:
        yield name, wrong_place(line, code, seconds, folder)
    for name, document, right in DOCUMENTS:
        yield name, wrong_document(document, right, folder)
