"""Every function that meets foreign text, by the module that it stands in, and the modules that meet none."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl
from aiohttp import web

from exporter.analysis import text as analysis_text
from exporter.analysis.findings import Analysis, Example, Finding, Overview
from exporter.cli import mine as mine_command
from exporter.facts import alike
from exporter.facts.prefixes import Prefix
from exporter.facts.roots import told
from exporter.incidents import build, given, matching, movers
from exporter.ingest import exemplars, messages, parts, patterns, reduction, shapes, splits
from exporter.ingest.redaction import RedactionSettings, Redactor
from exporter.ingest.settings import ReductionSettings
from exporter.memory import documents, embedding, moving
from exporter.memory.judging import Candidate, judged
from exporter.memory.signs import signs_of
from exporter.mining import distinct, masks
from exporter.mining import words as mining_words
from exporter.mining.miner import Miner
from exporter.mining.settings import MiningSettings
from exporter.model import Contribution, DigestLine, Match, Notification, Rule, Suspect, failure_in, page_schema
from exporter.model.facts import Facts, Failing
from exporter.model.faults import fault_in
from exporter.model.questions import IncidentRecord
from exporter.reading import (
    batches,
    beside,
    choice,
    columns,
    encodings,
    fields,
    instants,
    levels,
    owners,
    peeling,
    records,
    times,
    windows,
    writers,
)
from exporter.reading.parts import joined
from exporter.report import answer, catalogue, check, compose, prompt, rules
from exporter.state.search import WordIndex
from exporter.web import bodies, pages
from exporter.wording import digests, headlines, narrative, terminal, text, why, words
from integrations import alertmanager, grafana, otlp, webhook
from integrations import console as console_sink
from integrations._batches import batch_in, parted
from integrations._choosing import short
from integrations._documents import Decoder
from integrations.file import FileSettings, content, identity, lines, once
from integrations.file import records as file_records
from integrations.local_incidents import from_row, to_row
from integrations.loki import entries
from integrations.openai import answers
from integrations.slack import message as slack_message
from tests import samples

Reader = Callable[[str], object]

NOW = datetime(2026, 3, 14, 12, tzinfo=UTC)


@dataclass(frozen=True)
class Row:
    """A function that meets foreign text, and the modules whose work it is."""

    name: str
    modules: tuple[str, ...]
    read: Reader


# --- How each is given a text ----------------------------------------------------------------------


def one(given: str) -> pl.Series:
    return pl.Series("text", [given], dtype=pl.String)


def page(given: str) -> pl.DataFrame:
    """A page of one line."""
    known: dict[str, list[Any]] = {
        "id": ["1"],
        "timestamp": [1_773_480_000 * 10**9],
        "sequence": [1],
        "stream": ["a"],
        "service": ["shop"],
        "severity": [0],
        "body": [given],
    }
    return pl.DataFrame({name: known.get(name, [None]) for name in page_schema()}, schema=page_schema())


@cache
def _longest() -> ReductionSettings:
    """Looks at as much of a line as can be configured; nothing is remembered of the lines before."""
    return ReductionSettings(max_line_chars=65_536, session_pattern=r"order=(\w+)", redaction_key=b"0" * 16)


def _reduced(given: str) -> object:
    shapes.forget()
    return reduction.reduce(page(given), _longest())


def _mined(given: str) -> object:
    shapes.forget()
    return Miner("shop", MiningSettings(max_tokens=1_024)).mine(0, reduction.reduce(page(given), _longest()))


def _masked(given: str) -> object:
    return masks.masked([given], MiningSettings().masks)


def _extracted(given: str) -> object:
    return masks.extract(given[:4_096].replace("a", "<NUM>"), given), masks.extract("user <*> took <TIME>", given)


@cache
def _redactor() -> Redactor:
    return Redactor.of(RedactionSettings(ip=True), b"0" * 16)


@cache
def _users() -> tuple[patterns.UsersPattern, ...]:
    # A search is linear in any engine without backtracking, and there are as many as there are matches: one such as
    # `a|(?:\w+\s?)+!`, which looks to the end of the line before each, is not linear in any of them.
    return tuple(map(patterns.users_pattern, (r"(a+)+b", r"(.*)*x", r"[A-Za-z.]*(?P<s>[a-z0])", r"(?:\w+\s?)+!")))


def _found(given: str) -> object:
    return [pattern.spans(given) for pattern in _users()]


def _failed(given: str) -> object:
    prefix = Prefix([given, f"12:00:01 {given}"])
    return prefix.strip(given), told(given, prefix)


def _headline(given: str) -> object:
    failing = Failing("shop", given, "", 17, 3, 0.0, NOW)
    said = [given.split()[:60], given.split()[:60]]
    return alike.are_alike(*said), headlines.headline(Facts(NOW, (failing,)), (samples.similar(given),))


def _given_text(text: str) -> object:
    return given.given_incident(None, given.lines_of(f"{text}\nand no more", NOW))


def _notified(given: str) -> Notification:
    return samples.notification(text=given)


def _preview(sink: Any) -> Reader:
    return lambda given: sink.preview(_notified(given))


def _told(given: str) -> object:
    incident = samples.incident(given)
    report = rules.write(incident, (samples.similar(given),), (("logs", given),))
    return report, terminal.render(incident, report, given, color=False, width=100)


def _body(given: str) -> None:
    for body in (given, json.dumps({given: [given, math.nan]})):
        with contextlib.suppress(web.HTTPBadRequest):
            bodies.object_in(body.encode("utf-8", "replace"))


def _asked(given: str) -> object:
    # What is redacted is measured by itself.
    incident = samples.incident(given[:2_000])
    known = catalogue.catalogue(incident, rules.write(incident, (samples.similar(given),)))
    return prompt.prompt(incident, known, _redactor().redact, delimiter="DATA")


def _judged(given: str) -> object:
    said = {"text": given, "evidence": ["L1", given], "fact": given}
    said_of = {"what_happened": [said, {"text": given}, "[F1] " + given], "cause": [said, given], "steps": given}
    incident = samples.incident(given[:2_000])
    report = rules.write(incident)
    known = catalogue.catalogue(incident, report)
    read = answer.read(said_of, known.ids)
    told = compose.compose(report, known, read, check.Checker(known, _redactor(), given[:2_000]), "m")
    return [narrative.claim(one, 300) for _, part in narrative.parts(told or report) for one in part]


def _answered(given: str) -> object:
    with contextlib.suppress(ValueError):
        return answers.parse(given[: answers.MAX_ANSWER_CHARS], {"required": ["a"]})
    return None


def _opened(given: str) -> object:
    found = why.why_it_opened(samples.incident(given))
    return (
        found,
        [words.reason(finding) for finding in samples.contributions(given)],
        words.suspects(samples.incident(given)),
    )


def _paged(given: str) -> object:
    record = IncidentRecord(samples.incident(given), (samples.report(given),), (), (("shop", given),))
    return pages.incident_page(record, ""), pages.visible(given), pages.web_url(given), pages.segment(given)


def _analysed(given: str) -> object:
    example = Example(given, NOW, given)
    finding = Finding(
        "burst", given, given, 0.9, 9.0, 1.0, given, NOW, NOW, 17, given, (example,) * 3, also=(given,) * 4
    )
    overview = Overview(9, NOW, NOW, None, (), 0, 0, {})
    return analysis_text.render(Analysis(overview, (finding,), (given,)))


def _mined_file(given: str) -> object:
    return mine_command.mine_lines(one(given))


def _movers(given: str) -> object:
    incident = samples.incident(given)
    suspects = (*incident.suspects, *(Suspect(given[at : at + 60], 0.1, "") for at in range(0, 6_000, 60)))
    names = [suspect.service for suspect in suspects if suspect.service]
    return movers.with_named(suspects, names, incident.evidence)


def _fingerprint(given: str) -> object:
    return build.fingerprint(given, [Contribution("template", given, 1.0, 0.0)] * 3)


@cache
def _options() -> FileSettings:
    return FileSettings(name="files", path=("x",), pattern=r"\[(?P<service>\w+)\] (?P<severity>\w+) (?P<body>.*)")


def _file_lines(kind: content.Kind, options: FileSettings | None = None) -> Reader:
    def read(given: str) -> object:
        parser = lines.Parser(options or FileSettings(name="files", path=("x",)))
        data = given.encode("utf-8", "replace")
        writer = lines.Writer("x.log", "x", None, kind, NOW, "x")
        identity.identifying(writer, parser, data[: content.HEAD])
        return [parser.page(writer, chunk, None) for chunk in content.chunks(io.BytesIO(data), 0, 1, None, True)]

    return read


def _file_head(given: str) -> object:
    head = given.encode("utf-8", "replace")
    # Longer names no file system has.
    name = Path("/var/log", given.replace("\0", "").replace("/", "_")[:200] + "x")
    found = content.stream_of(name), content.owner_of(name)
    return content.kind_of(head), once._ARRAY.match(head), found


def _document(given: str) -> Mapping[str, Any]:
    return {
        "@timestamp": given,
        "message": given,
        "log": {"level": given},
        "service": {"name": [given]},
        "host.name": given,
        "trace.id": {"a": given},
    }


def _decoded(given: str) -> object:
    return Decoder(FileSettings(name="files", path=("x",))).page(
        [_document(given), {"message": [given], given: given}], ["a", "b"]
    )


def _loki(given: str) -> object:
    values = [["1773480000000000000", given, {"structuredMetadata": {"pod": given}, "parsed": {given: given}}]]
    return entries.entries_of([{"stream": {"app": given, given: "x"}, "values": values}])


def _remembered(given: str) -> object:
    incident = samples.incident(given)
    document = from_row(to_row(documents.document(incident, samples.report(given)))[0])
    index = WordIndex()
    index.put([("a", document.text, 0.0, "")])
    found = index.best(given, 5, 1.0, "b"), judged(incident, signs_of(incident), [Candidate(document, ())])
    index.close()
    return found


def _line_of_an_export(given: str) -> object:
    found: list[object] = []
    for line in (given, json.dumps({moving.MARK: moving.VERSION, "id": given, "text": given})):
        with contextlib.suppress(ValueError):
            found.append(moving.document_in(line))
    return found


def _cleaned(given: str) -> object:
    return text.clean(given), text.one_line(given), text.visible(given), text.storable(given), text.brief(given, 200)


def _filled(given: str) -> object:
    return text.fill(given, 2_000, slack_message.inert), text.fill(given, 2_000, slack_message.unlinked)


def _addresses(given: str) -> object:
    found = text.link(given), text.link("https://a/" + given, 10**6), text.listed([given] * 9)
    return found, text.conceal(given, "https://a/b?c"), text.conceal("a" + given[:2_000], given)


def _structured(given: str) -> object:
    quoted = json.dumps(given)
    for body in (
        given,
        f'{{"log":{quoted},"stream":"stdout"}}',
        f'{{"message":{quoted},"took":{quoted}}}',
        f"msg={given}",
    ):
        fields.decode(body)
    return fields.decode(json.dumps({"level": given, "status": given, "duration": given, given: {given: given}}))


def _frames(given: str) -> object:
    some = pl.Series("body", [given, f"a\n{given}", f"a\n\tat {given}", f"2026-03-14T09:26:00Z stdout F {given}"])
    return messages.find_messages(some)


def _columns(given: str) -> object:
    some = one(given)
    return messages.hints(some), messages.codes_in(some), messages.phrases_in(some), messages.durations_in(some)


def _digest(given: str) -> object:
    line = DigestLine("a", "firing", "critical", (given,), NOW, NOW, given, given)
    return digests.line(line), slack_message._linked(line)


def _when(given: str) -> object:
    some = pl.Series("t", [given, f"2026-03-14 09:26:00 {given}", f"09:26:00 {given}", f"Mar 14 09:26:00 {given}"])
    stamp = times.recognise(some, NOW)
    if stamp:
        stamp.times(some, NOW)
    return times.leading(some, NOW, "UTC"), times.moments(some), times.epoch(some)


def _at(given: str) -> object:
    parted = {"date": given, "timezone": given}, {"date": "2026-03-14 09:26:00", "timezone": given}
    return [instants.instant(one) for one in (given, f"/Date({given})/", f"17949168{given}", *parted)]


def _written(given: str) -> object:
    some = pl.Series(
        [given, f"2026-03-14 09:26:00 {given}", f"2026-03-14 09:26:00 [info] [{given}]", f"a INFO 1 --- {given}"]
    )
    found = [writers.programs_of(some, form) for form in writers.PROGRAMS]
    return found, writers.are_names(writers.in_brackets(some)), writers.of_spring(some)


def _event(given: str) -> object:
    head = "<Event x><System><Provider Name='a'/><TimeCreated SystemTime='2026-03-14T09:26:00Z'/>"
    return windows.event_of(given), windows.event_of(f"{head}<Message>{given}"), windows.event_of(f"<Event {given}")


def _levels(given: str) -> object:
    found = levels.level_in(given), levels.severity(given), levels.severity(given, "priority")
    return found, levels.severities([given, 3], 2), levels.hidden_levels(one(given)), levels.levels_of([given], "level")


def _nested(given: str) -> object:
    """What stands in a document more deeply than Python calls."""
    value: Any = given
    for _ in range(len(given) // 10):
        value = [value]
    return levels.first_value(value), Decoder(FileSettings(name="files", path=("x",))).page([{"message": value}], ["a"])


def _joined(given: str) -> object:
    """Parts of both runtimes, the text in each of them."""
    lines = [f'{{"log":"{given}","stream":"stdout"}}', f"2026-03-14T09:26:53.589793238Z stdout P {given}"] * 3
    return joined(pl.Series(lines), pl.int_range(len(lines), eager=True))


def _peeled(given: str) -> object:
    in_front = [f"cart-1 | {given}", f"<27>1 - {given} app 1 -", f"\x1b[{given}", f"\x1b]{given}", f"[pod/{given}/a] x"]
    some = pl.Series([given, *in_front])
    return peeling.peel(some, ("bare compose", "bare stern")), peeling.bare_layers(some)


def _tabular(given: str) -> object:
    table = columns.Columns("csv", ("a", "b", "c"), ",", "a,b,c")
    fields = columns.Columns("w3c", ("a", "b"), " ")
    some = pl.Series([given, f'1,2,"{given}', f"1,{given},3"])
    found = columns.columns_of(pl.Series([given, "1,2,3"])), columns.columns_of(pl.Series([f"#Fields: {given}"]))
    return found, columns.rows_of(some, table), columns.rows_of(some, fields)


def _encoded(given: str) -> object:
    beginning = given.encode("utf-16", "replace")[: content.HEAD], given.encode("latin-1", "replace")[: content.HEAD]
    return [encodings.encoding_of(head) for head in beginning]


def _batched(given: str) -> object:
    record = {"body": {"stringValue": given}, "attributes": [{"key": given, "value": {"stringValue": given}}]}
    batch = {"resourceLogs": [{"scopeLogs": [{"logRecords": [record] * 3}]}]}
    line = json.dumps({"logEvents": [{"message": given}]})
    return (
        batch_in(line),
        parted([batch, {given: given}]),
        batches.records_of(batch),
        batches.records_of({"logGroup": given, "logEvents": [{"message": given}]}),
    )


def _chosen(given: str) -> object:
    record = {"when": "2026-03-14T12:00:00Z", given: 1, "text": given, "of": {given: {given: given}}}
    record = short(record)
    return choice.chosen([record] * 6, {"timestamp": ("time",), "severity": (), "body": (), "service": ()})


def _templated(given: str) -> object:
    record = {"@t": "2026-03-14T12:00:00Z", "@mt": given, "x": given, "@x": given, "@l": given}
    documents = [record, {"@log_group": given, "s": given}]
    return Decoder(FileSettings(name="files", path=("x",))).page(documents, ["a", "b"])


def _embedded(given: str) -> object:
    return embedding.HashingEmbedder().embed([given]), embedding.words(given), embedding.normalise(given)


def _examples(given: str) -> object:
    reduced = reduction.reduce(page(given), ReductionSettings(redaction_key=b"0" * 16))
    return exemplars.best_of_each(reduced.exemplars), distinct.groups_of(reduced.lines)


def _printed(given: str) -> object:
    output = io.StringIO()
    sink = console_sink.ConsoleSink(console_sink.ConsoleSettings(type="console", width=100), output)
    return asyncio.run(sink.deliver(_notified(given)))


def _in_records(given: str) -> object:
    some = pl.Series([f"2026-03-14 09:26:00 ERROR {given}", given, *given.split("\n")[:200], "{", given, "}"])
    timed = pl.Series([True] + [False] * (len(some) - 1))
    writer = lines.Writer("x.log", "x", None, "text", NOW, "x")
    numbers = pl.int_range(1, len(some) + 1, eager=True)
    records.whole_documents(records.with_own_times(some))
    return file_records.grouped(writer, some, numbers, timed, {"service": some.str.head(3)})


def _beside(given: str) -> object:
    leaves: dict[str, list[Any]] = {
        "outcome": [given, given[:20], "ok"],
        given[:100]: [1, 2.5, 3],
        "took": [given, 1, 2],
    }
    beside.chosen_beside(leaves, [given[:100]])
    return beside.seconds_of(given, 1.0), beside.code_of(given), beside.with_error(given, given, given, given, 65_536)


def _worded(given: str) -> object:
    texts = [json.dumps({"field": f"{given[:1_000]}{number}", given[:100]: "x"}) for number in range(len(given) // 100)]
    some = pl.concat([page(given[:10])] * max(1, len(texts))).with_columns(
        fields=pl.Series(texts or [None], dtype=pl.String), sequence=pl.int_range(max(1, len(texts)), eager=True)
    )
    return reduction.windows(reduction.reduce(some, ReductionSettings(redaction_key=b"0" * 16)), timedelta(minutes=1))


def _of_parts(given: str) -> object:
    some = page(given)
    both = pl.concat([some, some]).with_columns(sequence=pl.Series([1, 2]), record=pl.Series([1, 1]))
    return parts.with_parts(both)


# --- The table -------------------------------------------------------------------------------------

_REDACTION = tuple(
    f"exporter.ingest.redaction.{name}"
    for name in (
        *("checks", "finder", "library", "pieces", "placeholders", "presence", "redactor"),
        *("rule", "rules", "seen", "stems", "view", "words"),
    )
)


def _split_apart(given: str) -> object:
    """Two parts of one record, of a length at which Docker splits, in one page."""
    parts = [f'{{"log":"{given[:16_000]}", "stream":"stdout"}}', f"2026-03-14T09:26:00Z stdout P {given}"]
    both = pl.concat([page(part) for part in parts])
    return splits.without_split_secrets(both.with_columns(sequence=pl.Series([1, 2])), _redactor())


def _matched(given: str) -> object:
    """By a text that is shown whole, by one whose end is not, and by patterns."""
    rule = Rule("a", "expected", Match(services=("~sh.p",), texts=(f"{given[:100]}…", given, "~(a|b)+c")))
    return matching.Matcher(rule).covered([Contribution("template", given, 1, 0)])


def _said_beside(given: str) -> object:
    """A document that says all of it in fields of their own."""
    error = {"type": given, "message": given, "stack_trace": given}
    document = {"message": given, "error": error, "status": given, "took_ms": given, "outcome": given}
    beside.with_error(given, given, given, given, 65_536)
    return Decoder(FileSettings(name="files", path=("x",))).page([document], ["a"])


TABLE = (
    Row("fields of a line", ("exporter.reading.fields",), _structured),
    Row("levels", ("exporter.reading.levels",), _levels),
    Row("times", ("exporter.reading.times",), _when),
    Row("one time", ("exporter.reading.instants",), _at),
    Row("who wrote a line", ("exporter.reading.writers",), _written),
    Row("events of Windows", ("exporter.reading.windows",), _event),
    Row("what stands in front of a line", ("exporter.reading.peeling",), _peeled),
    Row("parts of a record that a runtime split", ("exporter.reading.parts",), _joined),
    Row(
        "labels of an alert",
        ("exporter.reading.owners",),
        lambda given: owners.owner_of({"job_name": given, "pod": given}),
    ),
    Row("columns", ("exporter.reading.columns",), _tabular),
    Row("encodings", ("exporter.reading.encodings",), _encoded),
    Row("batches", ("exporter.reading.batches", "integrations._batches"), _batched),
    Row("places by value", ("exporter.reading.choice", "integrations._choosing"), _chosen),
    Row("templates of records", ("integrations._documents",), _templated),
    Row("messages and frames", ("exporter.ingest.messages",), _frames),
    Row("codes and durations", ("exporter.ingest.messages", "exporter.ingest.places"), _columns),
    Row("what continues a line", ("exporter.ingest.messages",), messages.continues),
    Row("lines of a record", ("exporter.reading.records", "integrations.file.records"), _in_records),
    Row("parts of a record", ("exporter.ingest.parts",), _of_parts),
    Row("shapes", ("exporter.ingest.shapes",), lambda given: shapes.shapes_of(one(given), 262_144)),
    Row("reduce", ("exporter.ingest.reduction", "exporter.ingest.settings"), _reduced),
    Row("exemplars", ("exporter.ingest.exemplars", "exporter.mining.distinct"), _examples),
    Row("redaction", ("exporter.ingest.redaction",), lambda given: _redactor().redact(given)),
    Row("redaction of columns", _REDACTION, lambda given: _redactor().redact_series(one(given))),
    Row("parts of a record that a shipper has split", ("exporter.ingest.splits",), _split_apart),
    Row("what rules of people match", ("exporter.incidents.matching",), _matched),
    Row("patterns of users", ("exporter.ingest.patterns",), _found),
    Row("masks", ("exporter.mining.masks",), _masked),
    Row("collapse", ("exporter.mining.masks",), masks.collapse),
    Row("tokens", ("exporter.mining.masks",), lambda given: masks.tokens_of(given, 1_024)),
    Row("values at placeholders", ("exporter.mining.masks",), _extracted),
    Row("words at keys", ("exporter.mining.words",), lambda given: list(mining_words.pairs_of(given, ()))),
    Row("mine", ("exporter.mining.miner", "exporter.mining.tree"), _mined),
    Row("words of failure", ("exporter.model.failures",), failure_in),
    Row("kinds of fault", ("exporter.model.faults",), fault_in),
    Row("clean text", ("exporter.wording.text",), _cleaned),
    Row("text that fills its place", ("exporter.wording.text",), _filled),
    Row("text without links", ("exporter.wording.text",), text.without_links),
    Row("addresses", ("exporter.wording.text",), _addresses),
    Row("report and terminal", ("exporter.report.rules", "exporter.wording.terminal"), _told),
    Row("why and words", ("exporter.wording.why", "exporter.wording.words"), _opened),
    Row("digests", ("exporter.wording.digests",), _digest),
    Row("what a line says failed", ("exporter.facts.prefixes", "exporter.facts.roots"), _failed),
    Row("a headline", ("exporter.facts.groups", "exporter.wording.headlines"), _headline),
    Row("pages", ("exporter.web.pages", "exporter.web.showing", "exporter.wording.impact"), _paged),
    Row("body of a request", ("exporter.web.bodies",), _body),
    Row("prompt", ("exporter.report.prompt", "exporter.report.catalogue"), _asked),
    Row(
        "answer of a model, judged",
        ("exporter.report.answer", "exporter.report.check", "exporter.report.compose", "exporter.wording.narrative"),
        _judged,
    ),
    Row("answer of a model, found", ("integrations.openai.answers",), _answered),
    Row("embedding", ("exporter.memory.embedding",), _embedded),
    Row(
        "memory",
        ("exporter.memory.documents", "exporter.memory.signs", "exporter.state.search", "integrations.local_incidents"),
        _remembered,
    ),
    Row("line of an export", ("exporter.memory.moving",), _line_of_an_export),
    Row("fingerprint", ("exporter.incidents.build",), _fingerprint),
    Row("who names whom", ("exporter.incidents.movers", "exporter.incidents.kinship"), _movers),
    Row("text that is given", ("exporter.incidents.given",), _given_text),
    Row("analysis as text", ("exporter.analysis.text",), _analysed),
    Row("mine a file", ("exporter.cli.mine",), _mined_file),
    Row("lines of a file", ("integrations.file.lines", "integrations.file.identity"), _file_lines("text")),
    Row("lines by a pattern", ("integrations.file.lines",), _file_lines("text", _options())),
    Row("NDJSON of a file", ("integrations.file.lines", "integrations.file.content"), _file_lines("ndjson")),
    Row("what a file is", ("integrations.file.content", "integrations.file.once"), _file_head),
    Row("documents", ("integrations._documents", "integrations._forms"), _decoded),
    Row("what is said beside a message", ("exporter.reading.beside", "integrations._beside"), _said_beside),
    Row("deep documents", ("integrations._documents", "exporter.reading.levels"), _nested),
    Row("answers of Loki", ("integrations.loki.entries",), _loki),
    Row("Slack", ("integrations.slack.message",), lambda given: slack_message.message(_notified(given))),
    Row("Alertmanager", ("integrations.alertmanager",), _preview(alertmanager.AlertmanagerSettings)),
    Row("Grafana", ("integrations.grafana",), _preview(grafana.GrafanaSettings)),
    Row("webhook", ("integrations._events", "integrations.webhook"), _preview(webhook.WebhookSettings)),
    Row("OTLP", ("integrations.otlp",), _preview(otlp.OtlpSettings)),
    Row("console", ("integrations.console",), _printed),
)

ELSEWHERE = {
    "exporter.analysis.analyze": "compares findings, which are numbers, and passes texts on",
    "exporter.analysis.judging": "numbers and ids; looks for a word of a template, as it is, in lines that are cut",
    "exporter.cli": "what the user of a command says; what is printed goes through exporter.wording",
    "exporter.config": "the operator's own file",
    "exporter.demo": "the shop's own lines",
    "exporter.delivery": "passes texts on",
    "exporter.detection": "numbers, ids and the first 300 characters of templates",
    "exporter.facts": "numbers, and what lines say, which is cut before; that is in the table",
    "exporter.flow": "passes texts on",
    "exporter.incidents.rule_settings": "the operator's own file, and what people say, which is cut before",
    "exporter.ingest.redaction.forms": "patterns of our own",
    "exporter.ingest.keys": "patterns of the operator's own; the keys are among the names of pages",
    "exporter.ingest.words": "words of fields, of which reading keeps 50 of 100 characters",
    "exporter.incidents.alerts": "names of alerts, which the web side has cut",
    "exporter.incidents.blame": "reasons, which are cut before",
    "exporter.incidents.threshold": "numbers",
    "exporter.mining.settings": "the operator's own file",
    "exporter.model": "forms of our own: durations, rows, levels; words of failure are in the table",
    "exporter.reading.forms": "words and patterns of our own",
    "exporter.reading.patterns": "the operator's own file",
    "exporter.report.llm": "passes texts on; the prompt and the answer are in the table",
    "exporter.run": "passes texts on; labels are the user's",
    "exporter.state": "rows of our own",
    "exporter.telemetry": "names of our own, and labels as they are",
    "exporter.web": "requests, which are cut before; the texts on pages are in the table",
    "exporter.wording.glossary": "words of our own",
    "integrations._incident_index": "the mapping of the index, and names of its own",
    "integrations._incident_requests": "passes documents on",
    "integrations._elasticsearch": "addresses of the operator's, and errors, which are cut before",
    "integrations._http": "answers, which are cut before; addresses in them are in the table",
    "integrations._layers": "answers of our own kind, and errors, which are cut before",
    "integrations._links": "a few words of a line, which are cut before, and names of services",
    "integrations._receipts": "what we wrote ourselves",
    "integrations.elasticsearch": "queries of our own; the documents are in the table",
    "integrations.elasticsearch_incidents": "documents of our own",
    "integrations.file.listing": "names of files, which file systems cut",
    "integrations.file.parquet": "how long texts are; what they say is in the table",
    "integrations.file.settings": "the operator's own file",
    "integrations.file.source": "the first lines of a file, by what is in the table",
    "integrations.loki": "queries of our own and errors, which are cut before; the answers are in the table",
    "integrations.openai": "requests of our own and errors, which are cut before; the answers are in the table",
    "integrations.slack": "errors, which are cut before; the messages are in the table",
}
"""Modules, or rooms of them, that work with text and are not measured by themselves, and why."""
