"""Whatever bytes come, no parser of ours lets more than the errors that it names reach a person, and none hangs.

LAE_FUZZ_EXAMPLES says how many examples each has: 40, in `make evaluate ARGS=fuzz` many more.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from exporter.config import load
from exporter.ingest import reduction
from exporter.ingest.redaction import RedactionSettings, Redactor
from exporter.ingest.settings import ReductionSettings
from exporter.mining.miner import Miner
from exporter.mining.settings import MiningSettings
from exporter.model import (
    ConfigError,
    Context,
    ExporterError,
    Incident,
    IncidentDocument,
    Report,
    TimeRange,
    from_json,
    loads,
    to_json,
)
from exporter.reading import fields, instants, levels, times, windows
from exporter.report import rules
from exporter.report.answer import read
from exporter.report.catalogue import catalogue
from exporter.report.check import Checker
from exporter.report.compose import compose
from exporter.report.schema import schema
from exporter.state.bodies import pack
from exporter.web import webhooks
from integrations._documents import Decoder
from integrations._http import Answer, Client
from integrations.file import FileSettings, content, identity, lines
from integrations.loki import LokiSettings
from integrations.loki.source import LokiSource
from integrations.openai import answers
from integrations.slack import SlackSettings
from integrations.slack.bot import SlackBot
from tests import samples
from tests.hostile.inputs import BEGINNINGS, ENDS, PIECES

EXAMPLES = int(os.environ.get("LAE_FUZZ_EXAMPLES", "40"))
NOW = datetime(2026, 3, 14, 12, tzinfo=UTC)
HOUR = TimeRange(NOW - timedelta(hours=1), NOW)

fuzzed = settings(max_examples=EXAMPLES, deadline=None)

pieces = st.lists(st.sampled_from([*BEGINNINGS, *PIECES, *ENDS]), max_size=12).map("".join)
TIMES = (
    "2026-03-14T09:26:00Z;2026-03-14 09:26:00,123;Mar 14 09:26:00;1773480000;9999-99-99T99:99:99Z;0001-01-01;-1;1e400;"
    "2026-02-30T00:00:00Z;1773480000000000000;99999999999999999999;2300-01-01T00:00:00Z;24:61:61;09:26:00.5 x"
)
times_like = st.sampled_from(TIMES.split(";"))
texts = st.one_of(st.text(max_size=60), pieces, times_like, st.tuples(times_like, pieces).map(" ".join))
raw = st.one_of(
    st.binary(max_size=300), st.lists(texts, max_size=8).map(lambda some: "\n".join(some).encode("utf-8", "replace"))
)
scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), texts, st.integers(-(2**70), 2**70))
NAMES = (
    "@timestamp message log level service service.name host trace id time body stream values value metric result msg "
    "severity log.level duration status kubernetes name"
)
names = st.sampled_from(NAMES.split())
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.one_of(names, texts), inner, max_size=5),
    max_leaves=12,
)


def stored(value: Any) -> Any:
    """As JSON brings it."""
    return json.loads(json.dumps(value))


def reduced(page: pl.DataFrame) -> None:
    found = reduction.reduce(page, ReductionSettings(session_pattern=r"id=(\w+)", redaction_key=b"0" * 16))
    for window, part in reduction.windows(found, timedelta(minutes=1)).items():
        Miner("shop", MiningSettings()).mine(window, part)


@fuzzed
@given(raw, st.sampled_from(["auto", "text", "ndjson"]), st.sampled_from([None, r"(?P<timestamp>\S+) (?P<body>.*)"]))
def test_lines(data: bytes, form: Any, pattern: str | None) -> None:
    options = FileSettings(name="files", path=("x",), format=form, pattern=pattern)
    parser = lines.Parser(options)
    writer = lines.Writer("x.log", "x", None, content.kind_of(data, form), NOW, "x")
    if writer.kind in ("binary", "parquet"):
        return
    identity.identifying(writer, parser, data)
    carry = None
    for chunk in content.chunks(io.BytesIO(data), 0, 1, None, True):
        page, _ = parser.page(writer, chunk, carry)
        reduced(page)


@fuzzed
@given(st.lists(texts, min_size=1, max_size=6), anything)
def test_times_and_levels(some: list[str], value: Any) -> None:
    column = pl.Series([text.encode("utf-8", "replace").decode() for text in some])
    for zone in ("UTC", "Europe/Berlin"):
        times.moments(column, zone)
        times.leading(column, NOW, zone)
        if stamp := times.recognise(column, NOW, zone):
            times.dated(stamp.times(column, NOW, zone), None, NOW, zone)
    instants.instant(value)
    levels.severity(value, "priority")
    for text in some:
        fields.decode(text)
        levels.level_in(text)
        windows.event_of(text)


@fuzzed
@given(st.lists(st.dictionaries(st.one_of(names, texts), anything, max_size=6), max_size=4))
def test_documents(documents: list[dict[str, Any]]) -> None:
    decoder = Decoder(FileSettings(name="files", path=("x",), group_by=("service", "host.name")))
    reduced(decoder.page(stored(documents), [str(number) for number in range(len(documents))]))


class Answering(LokiSource):
    """A Loki whose answers are what a test says."""

    answer: Any = None

    async def _once(self, path: str, form: Mapping[str, Any]) -> Any:
        self._note_time(self.answer)
        return self.answer


def an_answer(value: Any) -> Any:
    streams = st.fixed_dictionaries({"stream": st.one_of(st.just({"app": "a"}), value), "values": value})
    return st.one_of(value, st.fixed_dictionaries({"result": st.one_of(value, st.lists(streams, max_size=3))}))


entry = st.tuples(st.one_of(st.just("1773486000000000000"), scalars), scalars).map(list)


@fuzzed
@given(an_answer(st.one_of(anything, st.lists(entry, max_size=3))))
async def test_answers_of_loki(answer: Any) -> None:
    source = Answering(
        LokiSettings(name="loki", url="http://x", query='{a="b"}'), Context(clock=samples.SteppedClock(NOW))
    )
    source.answer = stored(answer)
    with contextlib.suppress(ExporterError):
        async for page in source.query(HOUR):
            reduced(page)
    with contextlib.suppress(ExporterError):
        await source.count(HOUR, timedelta(minutes=1))
    await source.check()
    await source.close()


@fuzzed
@given(st.one_of(texts, anything.map(json.dumps), st.tuples(texts, anything.map(json.dumps), texts).map("".join)))
def test_answers_of_models(text: str) -> None:
    with contextlib.suppress(ValueError):
        answers.parse(text, schema(["F1"]))


claims = st.fixed_dictionaries({"text": anything, "fact": st.one_of(anything, st.just("F1")), "quote": anything})


@fuzzed
@given(st.dictionaries(st.sampled_from(["what_happened", "cause", "steps"]), st.one_of(anything, st.lists(claims))))
def test_claims_of_models(answer: dict[str, Any]) -> None:
    report = rules.write(samples.incident())
    known = catalogue(samples.incident(), report)
    found = read(stored(answer), known.ids)
    compose(report, known, found, Checker(known, Redactor(b"0" * 16)), "m")


alerts = st.fixed_dictionaries(
    {},
    optional={
        "status": st.one_of(st.sampled_from(["firing", "resolved"]), anything),
        "labels": st.one_of(st.dictionaries(texts, anything, max_size=4), anything),
        "annotations": anything,
        "startsAt": st.one_of(times_like, anything),
        "endsAt": st.one_of(times_like, anything),
        "fingerprint": anything,
    },
)
payloads = st.one_of(
    anything, st.fixed_dictionaries({"alerts": st.lists(alerts, max_size=4)}, optional={"groupKey": anything})
)


@fuzzed
@given(payloads)
def test_webhooks(payload: Any) -> None:
    with contextlib.suppress(web.HTTPBadRequest):
        for alert in webhooks.parse_alerts(stored(payload)):
            assert len(alert.fingerprint) == 16
            pack(alert)


class Saying(Client):
    """A client of a server that always says the same."""

    answer: Any = None

    async def request(self, method: str, url: str, **content: Any) -> Answer:
        return Answer(200, {}, json.dumps(self.answer).encode())


slack = st.one_of(
    anything,
    st.fixed_dictionaries(
        {"ok": st.booleans()},
        optional={"ts": anything, "channel": anything, "error": anything, "messages": st.lists(anything, max_size=3)},
    ),
)


@fuzzed
@given(slack, st.one_of(st.none(), texts))
async def test_answers_of_slack(answer: Any, receipt: str | None) -> None:
    settings = SlackSettings(type="slack", token=SecretStr("t"), channel="C1")
    bot = SlackBot(settings, Context(clock=samples.SteppedClock(NOW)))
    bot._client = client = Saying(settings, "slack")
    client.answer = stored(answer)
    with contextlib.suppress(ExporterError):
        await bot.deliver(samples.notification(receipt=receipt, in_doubt=True))
    assert all(check.detail is not None for check in await bot.check())


KEYS = (
    "state",
    "sources",
    "sinks",
    "memory",
    "llm",
    "mining",
    "redaction",
    "web",
    "warmup",
    "incidents",
    "alarm_budget",
)
sources = st.fixed_dictionaries(
    {"name": st.one_of(st.just("a"), anything), "type": st.sampled_from(["file", "loki", "elasticsearch"])},
    optional={"path": anything, "pattern": texts, "window": anything, "sessions": anything, "fields": anything},
)
configurations = st.one_of(
    st.dictionaries(st.sampled_from(KEYS), anything, max_size=5),
    st.fixed_dictionaries(
        {"sources": st.lists(sources, max_size=2)},
        optional=dict.fromkeys([key for key in KEYS if key != "sources"], anything),
    ),
)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz") / "exporter.yml"


@fuzzed
@given(
    written=st.one_of(raw, configurations.map(lambda value: yaml.safe_dump(stored(value)).encode("utf-8", "replace")))
)
def test_configuration(file: Path, written: bytes) -> None:
    file.write_bytes(written)
    with contextlib.suppress(ConfigError):
        load(file, warn=lambda text: None)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 20_000,
        "{a: " * 20_000,
        "a: &a [1, 2]\n"
        + "".join(f"{chr(98 + n)}: &{chr(98 + n)} [" + f"*{chr(97 + n)}, " * 9 + "]\n" for n in range(12)),
        "sources: [{name: a, type: file, path: x, fields: {body: " + "a." * 24 + "a}}]",
    ],
)
def test_configuration_that_repeats_itself(file: Path, text: str) -> None:
    file.write_text(text)
    with pytest.raises(ConfigError):
        load(file)


def changed(value: Any, chance: random.Random, odd: Any) -> Any:
    """The value with something of it replaced, or left out."""
    if isinstance(value, dict) and value and chance.random() < 0.9:
        key = chance.choice(list(value))
        rest = {name: item for name, item in value.items() if name != key}
        return rest if chance.random() < 0.2 else {**rest, key: changed(value[key], chance, odd)}
    if isinstance(value, list) and value and chance.random() < 0.9:
        at = chance.randrange(len(value))
        return [*value[:at], changed(value[at], chance, odd), *value[at + 1 :]]
    return odd


BODIES: tuple[tuple[Any, Any], ...] = (
    (Incident, to_json(samples.incident())),
    (Report, to_json(samples.report())),
    (IncidentDocument, {"id": "a", "revision": 1, "text": "a", "services": ["a"]}),
)


@fuzzed
@given(st.sampled_from(BODIES), st.randoms(use_true_random=False), anything, texts)
def test_rows_of_the_state_file(body: tuple[Any, Any], chance: random.Random, odd: Any, text: str) -> None:
    kind, value = body
    with contextlib.suppress(ValueError):
        from_json(kind, changed(value, chance, stored(odd)))
    with contextlib.suppress(ValueError, RecursionError):
        loads(kind, text)


@fuzzed
@given(texts)
def test_redaction(text: str) -> None:
    redactor = Redactor.of(RedactionSettings(ip=True), b"0" * 16)
    once = redactor.redact(text)
    assert redactor.redact(once) == once
    assert "failed" not in redactor.counts
