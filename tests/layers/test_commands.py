"""Each layer alone on the command line: findings through a pipe, recall of a file, a report of somebody's findings."""

from __future__ import annotations

import argparse
import asyncio
import io
import json
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from exporter.cli.asking_layers import finding
from exporter.cli.main import main
from exporter.cli.running import _to_run
from exporter.config import load, parse
from exporter.demo.shop import demo_shop, documents
from exporter.memory.embedding import HashingEmbedder
from exporter.memory.recall import Memory
from exporter.model import Anomaly, ConfigError, Context, IncidentStore, SystemClock, TimeRange, to_json
from exporter.run.detecting import Stream
from exporter.run.learning import open_state
from exporter.run.serving import serving
from exporter.telemetry import PrometheusTelemetry
from integrations.console import ConsoleSettings, NdjsonSink
from integrations.local_incidents import LocalIncidentsSettings
from integrations.no_memory import NoMemorySettings
from tests import samples
from tests.layers.scenes import MINUTE, small
from tests.memory.test_memory import DATABASE, failure, remember
from tests.memory_source import START
from tests.servers.process import free_port

SCENE = small()
FIRST = SCENE.failures[0]
LASTS = 24
"""Minutes of the scene that are looked at: its first failure is among them."""

FEW_LINES = SCENE.more["detection"]


async def pages(start: int, end: int) -> AsyncIterator[pl.DataFrame]:
    """The lines of some minutes, in pages of five."""
    for minute in range(start, end, 5):
        span = TimeRange(START + minute * MINUTE, START + min(minute + 5, end) * MINUTE)
        async for found in SCENE.source().query(span):
            yield found.sort("timestamp")


def settings(folder: Path) -> Any:
    source = {"type": "file", "name": "stdin", "path": "-", "window": "60s", "late_window": "30s"}
    return parse({"state": str(folder / "learnt.db"), "sources": [source], "detection": FEW_LINES})


async def found(stream: Stream, start: int, end: int) -> list[Anomaly]:
    return [one async for one in stream.findings(pages(start, end))]


# --- detect -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def findings() -> list[Anomaly]:
    """What is found in all of it, with nothing kept."""
    stream = Stream(settings(Path()), SystemClock(), timedelta(seconds=30))
    everything = asyncio.run(found(stream, 0, LASTS))
    assert (stream.judged, stream.learning) == (LASTS, "")
    return everything


def test_the_first_layer_alone_finds_what_fails_and_the_third_alone_tells_it(
    findings: list[Anomaly], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    failing = [one for one in findings if one.service == "payments" and one.window in FIRST]
    assert failing
    assert any(one.evidence for one in failing)
    path = tmp_path / "findings.ndjson"
    path.write_text("".join(json.dumps(finding(one)) + "\n" for one in findings if one.window in FIRST))
    assert main(["report", str(path), "--top", "1", "--format", "json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["incident"]["service"] == "payments"
    assert told["report"]["headline"].startswith("payments")
    cited = {line for claim in told["report"]["what_happened"] for line in claim["evidence"]}
    assert cited <= {line["id"] for line in told["incident"]["evidence"]}
    assert cited


async def test_what_is_kept_in_a_state_file_is_gone_on_with_by_the_next_pipe(
    findings: list[Anomaly], tmp_path: Path
) -> None:
    config, in_parts = settings(tmp_path), list[Anomaly]()
    for start, end in ((0, 12), (12, LASTS)):
        state = open_state(config)
        stream = Stream(config, SystemClock(), timedelta(seconds=30), state)
        await stream.load()
        in_parts += await found(stream, start, end)
        again = await found(stream, start, start + 1)
        state.close()
        assert again == []
        assert stream.left_out["late"] > 0, "what was judged is not judged again"
    assert [one.id for one in in_parts] == [one.id for one in findings]


async def test_a_line_of_a_time_that_has_not_come_ends_no_window(tmp_path: Path) -> None:
    stream = Stream(settings(tmp_path), SystemClock(), timedelta(seconds=30))
    (page,) = [one async for one in pages(0, 1)]
    ahead = page.head(1).with_columns(timestamp=pl.lit(4_000_000_000 * 10**9, pl.Int64))

    async def both() -> AsyncIterator[pl.DataFrame]:
        yield pl.concat([page, ahead])

    assert [one async for one in stream.findings(both())] == []
    assert (stream.judged, stream.left_out["time_ahead"]) == (1, 1)


def test_lines_come_through_a_pipe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By way of the program: NDJSON in, and what could not be said on standard error."""
    from tests.cli.test_cli import run

    shop = demo_shop()
    text = "\n".join(documents(shop.page(TimeRange(shop.start, shop.start + 2 * MINUTE)))) + "\n"
    done = run("detect", text=text + '{"message": "when?"}\n')
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert "1 lines had no time" in done.stderr
    assert "2 windows, 0 findings; nothing could be called unusual yet" in done.stderr


# --- report -------------------------------------------------------------------------------------------


LINES = [
    {"time": "2026-03-14T09:26:01Z", "app": "payments", "level": "error", "msg": "no route to db-7, password=hunter2x"},
    {"time": "2026-03-14T09:26:05Z", "app": "payments", "level": "error", "msg": "no route to db-7, password=hunter2x"},
    {"time": "2026-03-14T09:27:05Z", "app": "checkout", "level": "warn", "msg": "payments answered 503"},
]


def test_lines_that_somebody_else_found_telling_have_a_report_that_claims_no_past(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "lines.ndjson"
    path.write_text("".join(json.dumps(line) + "\n" for line in LINES))
    assert main(["report", str(path), "--service", "app", "--format", "json"]) == 0
    said = capsys.readouterr().out
    assert "hunter2x" not in said
    told = json.loads(said)
    assert "no route to db-7, password=<secret:" in told["report"]["headline"]
    assert "2 lines since 09:26" in told["report"]["headline"]
    sentences = " ".join(claim["text"] for claim in told["report"]["what_happened"])
    assert "hour before" not in sentences
    assert "unlike" not in sentences
    assert [one["count"] for one in told["incident"]["facts"]["failing"]] == [2, 1]


def test_why_no_model_has_written_it_is_said_beside_the_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked, settings_ = tmp_path / "incident.json", tmp_path / "exporter.yml"
    asked.write_text(json.dumps(to_json(samples.incident())))
    llm = {"type": "openai", "base_url": f"http://127.0.0.1:{free_port()}/v1", "model": "m"}
    source = {"type": "file", "name": "x", "path": "/var/log/*.log"}
    settings_.write_text(json.dumps({"sources": [source], "memory": {"type": "none"}, "llm": llm}))
    assert main(["report", str(asked), "-c", str(settings_)]) == 0
    printed = capsys.readouterr()
    assert "db-payments" in printed.out
    assert "written without the model: the model could not be asked (llm m: cannot be reached" in printed.err


def test_what_is_nothing_of_that_kind_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "prose.txt"
    path.write_text("nothing has a time here\n")
    assert main(["report", str(path)]) == 2
    assert "nor lines with a time" in capsys.readouterr().err


# --- recall -------------------------------------------------------------------------------------------


@pytest.fixture
def remembering(tmp_path: Path) -> Path:
    """A configuration whose memory knows a failure."""
    path = tmp_path / "exporter.yml"
    path.write_text(f"state: {tmp_path / 'state.db'}\nsources: [{{type: simulator, name: shop}}]\n")
    config = load(path)

    async def kept() -> None:
        state = open_state(config)
        store = LocalIncidentsSettings().build(Context(documents=state))
        memory = Memory(store, HashingEmbedder(), installation=state.installation())
        await remember(memory, failure("database", *DATABASE, days=12, fix="raised the limit"))
        await memory.close()
        state.close()

    asyncio.run(kept())
    return path


@pytest.mark.parametrize(
    "text",
    [
        json.dumps({"incident": to_json(failure("new", *DATABASE)), "reports": []}),
        "could not connect to db-7: connection refused\nconnection pool exhausted: 20 of 20 in use\n",
    ],
    ids=["an incident of ours", "any text"],
)
def test_memory_is_asked_by_a_file(
    text: str, remembering: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "asked"
    path.write_text(text)
    assert main(["recall", str(path), "-c", str(remembering)]) == 0
    said = capsys.readouterr().out
    assert said.startswith("database  ")
    assert "raised the limit" in said
    assert main(["recall", str(path), "-c", str(remembering), "--format", "json"]) == 0
    assert [one["id"] for one in json.loads(capsys.readouterr().out)["similar"]] == ["database"]


def test_what_has_no_like_is_said_to_have_none(
    remembering: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "asked"
    path.write_text("the cat sat on the mat\n")
    assert main(["recall", str(path), "-c", str(remembering)]) == 0
    assert capsys.readouterr().out == "nothing like it is remembered\n"


# --- run ----------------------------------------------------------------------------------------------


def run_with(folder: Path, text: str, form: str | None = None) -> Any:
    path = folder / "run.yml"
    path.write_text(text)
    return _to_run(argparse.Namespace(config=path, format=form))


SOURCE = "sources: [{type: simulator, name: shop}]\n"


@pytest.mark.parametrize(
    ("sinks", "names"),
    [
        ("", ["standard output"]),
        ("sinks: [{type: console}, {type: webhook, url: 'http://x.example'}]\n", ["webhook", "standard output"]),
        ("sinks: [{type: console, name: own, format: ndjson}]\n", ["own"]),
    ],
)
def test_a_daemon_that_prints_ndjson_prints_nothing_else(tmp_path: Path, sinks: str, names: Sequence[str]) -> None:
    config = run_with(tmp_path, SOURCE + sinks, "ndjson")
    assert [sink.name for sink in config.sinks] == names
    assert all(sink.format == "ndjson" for sink in config.sinks if sink.type == "console")


def test_a_daemon_needs_sources_and_a_layer_does_not(tmp_path: Path) -> None:
    text = "serve: {memory: {token: x}}\n"
    with pytest.raises(ConfigError, match="sources: missing"):
        run_with(tmp_path, text)
    assert load(tmp_path / "run.yml").sources == ()


async def test_a_change_is_a_line_with_facts_that_no_byte_of_the_logs_can_break() -> None:
    output = io.StringIO()
    sink = NdjsonSink(ConsoleSettings(type="console", format="ndjson"), output)
    await sink.deliver(samples.hostile())
    await sink.deliver(samples.notification(samples.incident()))
    lines = output.getvalue().splitlines()
    assert len(lines) == 2
    assert output.getvalue().isascii()
    assert all("facts" in json.loads(line)["incident"] for line in lines)


async def test_no_memory_recalls_and_keeps_nothing() -> None:
    store: IncidentStore = NoMemorySettings(type="none").build(Context())
    memory = Memory.of(NoMemorySettings(type="none"), Context())
    await remember(memory, failure("database", *DATABASE, days=12))
    assert await memory.recall(failure("new", *DATABASE)) == ()
    assert [one async for one in store.everything()] == []
    assert all(check.ok for check in await memory.check())
    await memory.close()


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"memory": {"type": "remote", "url": "memory:9464"}}, "memory.url"),
        ({"memory": {"type": "remote", "url": "http://m", "embedder": {"type": "hashing"}}}, "embedder of its own"),
        ({"report": {"type": "remote"}}, "report.url: missing"),
        (
            {"report": {"type": "remote", "url": "http://r"}, "llm": {"type": "openai", "model": "m"}},
            "report: llm is given, too",
        ),
    ],
)
def test_what_cannot_be_meant_of_layers_is_refused(more: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        parse({"sources": [{"type": "simulator", "name": "shop"}], **more})


@pytest.mark.parametrize(
    ("name", "settings", "says"),
    [
        ("memory", "memory: {type: none}", "cannot be served"),
        ("memory", "memory: {type: remote, url: 'http://m.example'}", "cannot be served"),
        ("report", "report: {type: remote, url: 'http://r.example'}", "who serves reports writes them"),
    ],
)
async def test_a_layer_that_would_ask_another_is_not_served(
    name: str, settings: str, says: str, tmp_path: Path
) -> None:
    path = tmp_path / "exporter.yml"
    path.write_text(f"state: {tmp_path / 'm.db'}\nserve: {{}}\n{settings}\n")
    with pytest.raises(ConfigError, match=says):
        async with serving(name, load(path), PrometheusTelemetry(), SystemClock()):
            pass
