"""What `detect`, `recall` and `report` do: each layer asked alone, in this process or where the configuration says."""

from __future__ import annotations

import json
import secrets
import sys
import tempfile
from argparse import Namespace
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, closing
from pathlib import Path
from typing import Any, cast

from exporter.cli import streams
from exporter.cli.asking import rows_of
from exporter.cli.options import load_config, reading
from exporter.config import SOURCES, Config, parse, resolve
from exporter.incidents.clusters import MIN_STRENGTH
from exporter.incidents.given import MOST_TEXT, given_incident, lines_of
from exporter.incidents.settings import IncidentSettings
from exporter.incidents.tracker import advance
from exporter.ingest.redaction import RedactionSettings, Redactor
from exporter.memory.recall import Memory
from exporter.model import (
    Anomaly,
    ConfigError,
    Context,
    Documents,
    ExporterError,
    Incident,
    Report,
    SimilarIncident,
    SystemClock,
    WriterFailedError,
    from_json,
    to_json,
)
from exporter.report import rules as reports
from exporter.report.llm import without_model
from exporter.run.assembly import make_writer
from exporter.run.detecting import stream_of, told_of
from exporter.wording import words
from exporter.wording.terminal import render
from exporter.wording.text import brief, number, visible

VERSION = 1
"""Of a line of `detect`."""

MOST_BYTES = 64 * 1024 * 1024
"""Of a file of findings or of an incident."""

_REASONS = {
    "absent_timestamp": "had no time (--timestamp names its field)",
    "time_ahead": "are of a time that has not come",
    "late": "came after their window had been judged (--wait)",
}


# --- detect -------------------------------------------------------------------------------------------


async def detect_lines(options: Namespace) -> int:
    """Print findings as they are known; 3 when there are any and the caller wants to know by exit code."""
    source = {"type": "file", "name": "stdin", "path": "-", **reading(options)}
    # A window that was judged is not read again: what it says of silence is known as soon as that.
    source |= {"window": options.window, "late_window": options.wait}
    config = parse({"state": str(options.state or "unused.db"), "sources": [source]}, "detect")
    files = resolve(SOURCES["file"])(**source)
    stream, state = stream_of(config, SystemClock(), options.wait, keeps=options.state is not None)
    found = 0
    try:
        await stream.load()
        async for anomaly in stream.findings(files.read(["-"], live=True)):
            print(json.dumps(finding(anomaly)), flush=True)
            found += 1
    finally:
        if state is not None:
            state.close()
    for reason, lines in sorted(stream.left_out.items()):
        if lines:
            print(f"{number(lines)} lines {_REASONS.get(reason, f'were limited ({reason})')}", file=sys.stderr)
    learning = f"; nothing could be called unusual yet: it {stream.learning}" if stream.learning else ""
    print(f"{number(stream.judged)} windows, {number(found)} findings{learning}", file=sys.stderr)
    return 3 if options.fail_on_anomaly and found else 0


def finding(anomaly: Anomaly) -> dict[str, Any]:
    """A finding as `detect` prints it: its numbers, its lines, and what it says in words."""
    said = [words.sentence(one, [anomaly.service]) for one in anomaly.contributions]
    return {"finding": VERSION, "id": anomaly.id, "said": said, **to_json(anomaly)}


# --- recall -------------------------------------------------------------------------------------------


async def recall_file(options: Namespace) -> int:
    """Print past incidents like what a file holds."""
    config = load_config(options)
    text = _text(options.file)
    incident = _incident_in(text)
    async with _memory(config) as (memory, redactor):
        if incident is None:
            now = SystemClock().now()
            incident = given_incident(None, lines_of(redactor.redact(text[:MOST_TEXT]), now))
        found = await memory.recall(incident)
    if options.format == "json":
        print(json.dumps({"similar": to_json(found)}, ensure_ascii=False))
    else:
        print("\n".join(_recalled(found)) or "nothing like it is remembered")
    return 0


def _recalled(found: Sequence[SimilarIncident]) -> Iterator[str]:
    for one in found:
        yield visible(f"{one.id}  {words.tier(one)}: {words.similar(one)}")
        for why in words.because(one):
            yield f"  {brief(why, 300)}"


@asynccontextmanager
async def _memory(config: Config) -> AsyncIterator[tuple[Memory, Redactor]]:
    """The memory of a configuration, to ask; a state file is read, also while a daemon writes it."""
    redactor = _redactor(config)
    with ExitStack() as stack:
        context = Context(origin=config.origin)
        if config.memory.type == "local" or config.state.exists():
            rows = stack.enter_context(closing(rows_of(config)))
            # It is only read from.
            documents = cast(Documents, rows)
            context = Context(documents=documents, installation=rows.installation(), origin=config.origin)
        memory = Memory.of(config.memory, context, redactor.redact)
        try:
            yield memory, redactor
        finally:
            await memory.close()


def _redactor(config: Config | None) -> Redactor:
    """With placeholders of this process alone."""
    return Redactor.of(config.redaction if config else RedactionSettings(), secrets.token_bytes(32))


# --- report -------------------------------------------------------------------------------------------


async def report_file(options: Namespace) -> int:
    """Print the reports of what a file holds."""
    config = load_config(options) if options.config else None
    incidents = await _incidents(options, config)
    for incident in incidents[: options.top]:
        report = await _report(incident, config)
        if options.format == "json":
            print(json.dumps({"incident": to_json(incident), "report": to_json(report)}, ensure_ascii=False))
        else:
            print(render(incident, report))
    if len(incidents) > options.top:
        print(f"and {len(incidents) - options.top} more incidents (--top)", file=sys.stderr)
    return 0


async def _report(incident: Incident, config: Config | None) -> Report:
    if config is None:
        return reports.write(incident)
    similar, unasked = await _similar(incident, config)
    report = reports.write(incident, similar, unasked=unasked)
    if config.llm is None and config.report is None:
        return report
    writer = make_writer(config, Context(), _redactor(config))
    try:
        return await writer.write(report, incident)
    except WriterFailedError as error:
        print(f"written without the model: {error}", file=sys.stderr)
        return without_model(report, str(error))
    finally:
        await writer.close()


async def _similar(incident: Incident, config: Config) -> tuple[Sequence[SimilarIncident], str]:
    """What memory knows, or why it could not be asked: there may be no state file yet."""
    try:
        async with _memory(config) as (memory, _):
            return await memory.recall(incident), ""
    except ExporterError as error:
        return (), brief(str(error), 200)


async def _incidents(options: Namespace, config: Config | None) -> list[Incident]:
    text = _text(options.file) if options.file != "-" else sys.stdin.read(MOST_BYTES)
    if incident := _incident_in(text):
        return [incident]
    if found := list(_findings(text)):
        return _grouped(found)
    return [await _told_of(options, text, config)]


def _grouped(findings: Sequence[Anomaly]) -> list[Incident]:
    """The incidents that findings make, the strongest first; where none is strong enough for one, all together."""
    until = max(one.reached for one in findings)
    services = max(1, len({one.service for one in findings}))
    for threshold in (MIN_STRENGTH, 0.0):
        _, told = advance((), findings, until, IncidentSettings(), threshold, {}, services=services)
        if told:
            break
    last = {one.incident.id: one for one in told}
    return [one.incident for one in sorted(last.values(), key=lambda one: (-one.strength, one.incident.starts_at))]


def _findings(text: str) -> Iterator[Anomaly]:
    for line in text.splitlines():
        value = _json(line)
        if isinstance(value, dict) and "finding" in value:
            if value["finding"] != VERSION:
                raise ConfigError("the findings are of another version; give them to the release that found them")
            yield _read(Anomaly, value)


def _incident_in(text: str) -> Incident | None:
    """The incident that a text holds, by itself or under `incident`; None where it is something else."""
    value = _json(text)
    value = value.get("incident", value) if isinstance(value, dict) else None
    if not isinstance(value, dict) or not {"fingerprint", "revision", "starts_at"} <= value.keys():
        return None
    found: Incident = _read(Incident, value)
    return found


async def _told_of(options: Namespace, text: str, config: Config | None) -> Incident:
    """The incident of lines with a time: what they say of a failure, counted."""
    settings = config.redaction.model_dump() if config else {}
    with tempfile.NamedTemporaryFile(prefix="lines-") as file:
        file.write(text.encode("utf-8", "replace"))
        file.flush()
        source = {"type": "file", "name": "lines", "path": file.name, **reading(options)}
        known = parse({"sources": [source], "redaction": settings}, "report")
        pages = resolve(SOURCES["file"])(**source).read([file.name])
        found = await told_of(pages, known, _redactor(config).redact, file.name)
    if found is None:
        raise ConfigError(f"{options.file}: holds neither findings of `detect`, an incident, nor lines with a time")
    return given_incident(found.facts, found.lines)


def _read(kind: Any, value: Any) -> Any:
    try:
        return from_json(kind, value)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"not as this release writes it: {' '.join(str(error).split())[:300]}") from None


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _text(file: str) -> str:
    parts, size = [], 0
    for block in streams.as_utf8(streams.blocks(Path(file))):
        parts.append(block)
        size += len(block)
        if size > MOST_BYTES:
            raise ConfigError(f"{file}: is larger than {MOST_BYTES >> 20} MB; give what is to be told of alone")
    return b"".join(parts).decode("utf-8", "replace")
