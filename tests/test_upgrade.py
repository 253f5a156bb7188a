"""An installation of commit 82d5d22 is upgraded: nothing is lost, nothing is told twice, nothing is learnt again.

`tests/data/82d5d22/` is what it left behind, and what its own code did next.
"""

from __future__ import annotations

import html
import json
import re
import shutil
import socket
import sqlite3
from collections.abc import AsyncIterator, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import zstandard
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from exporter.cli.main import main
from exporter.config import load
from exporter.config.retired import without_retired
from exporter.model import Incident, to_json
from exporter.run.assembly import assemble
from exporter.run.daemon import Daemon
from exporter.run.learning import fingerprint
from exporter.state.migrations import MIGRATIONS
from exporter.telemetry import PrometheusTelemetry
from exporter.web import WebSettings
from exporter.web.app import create_app, start
from tests.fakes.grafana import Annotation, GrafanaFake
from tests.fakes.llm import says, scripted
from tests.fakes.recording import Recorder
from tests.fakes.serving import serving
from tests.fakes.slack import Message, SlackFake
from tests.samples import SteppedClock

OLD = Path(__file__).parent / "data" / "82d5d22"
EXPECTED: dict[str, Any] = json.loads((OLD / "expected.json").read_text())
EFFECTIVE: dict[str, Any] = json.loads((OLD / "effective.json").read_text())
NEXT: dict[str, Any] = EXPECTED["next"]
KILLED_AT = datetime.fromisoformat(EXPECTED["at"])
MINUTE = timedelta(minutes=1)
ANSWER = {"what_happened": [{"fact": "L1"}], "cause": [], "steps": [], "not_known": []}
ROUNDS = 4
"""Of all jobs within one window: Slack takes one message a second."""

RESOLVED, ESCALATED, BY_ALERT, HALF_TOLD, UNREPORTED = (
    "25b7807b275e",
    "dbb18bdccb9f",
    "a46aeabe9d20",
    "c7d28f0310b9",
    "606fb2eed47a",
)


@dataclass
class Places:
    """Every server that the configuration names, with what each was told before the upgrade."""

    alertmanager: Recorder = field(default_factory=Recorder)
    webhook: Recorder = field(default_factory=Recorder)
    otlp: Recorder = field(default_factory=Recorder)
    grafana: GrafanaFake = field(
        default_factory=lambda: GrafanaFake(
            annotations={row["id"]: Annotation(**row) for row in EXPECTED["told"]["grafana"]},
            _last_id=len(EXPECTED["told"]["grafana"]),
        )
    )
    slack: SlackFake = field(
        default_factory=lambda: SlackFake(
            messages=[Message(blocks=[], body={}, **row) for row in EXPECTED["told"]["slack"]],
            _last=len(EXPECTED["told"]["slack"]),
        )
    )

    def posted(self) -> list[str]:
        """Event ids as the webhook had them."""
        return [request.json()["event_id"] for request in self.webhook.requests]

    def events(self) -> list[str]:
        """Event ids as OTLP's collector had them."""
        return [
            next(pair.value.string_value for pair in record.attributes if pair.key == "event.id")
            for request in self.otlp.requests
            for resource in ExportLogsServiceRequest.FromString(request.body).resource_logs
            for scope in resource.scope_logs
            for record in scope.log_records
        ]

    def alerts(self) -> dict[str, set[str]]:
        """Label sets, each with the starts that it was posted with."""
        found: dict[str, set[str]] = {}
        for request in self.alertmanager.requests:
            for alert in request.json():
                found.setdefault(labelled(alert["labels"]), set()).add(alert["startsAt"])
        return found


def labelled(labels: object) -> str:
    return json.dumps(labels, sort_keys=True)


def ids(told: Iterable[dict[str, str]]) -> list[str]:
    return [item["event_id"] for item in told]


def alerts_of(told: Iterable[dict[str, Any]]) -> dict[str, set[str]]:
    return {labelled(item["labels"]): set(item["starts"]) for item in told}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of what was left behind; no server is there."""
    state = zstandard.ZstdDecompressor().decompress((OLD / "state.db.zst").read_bytes())
    (tmp_path / "state.db").write_bytes(state)
    for name in ("exporter.yml", "shop.ndjson.zst"):
        shutil.copy(OLD / name, tmp_path)
    monkeypatch.setenv("FOLDER", str(tmp_path))
    for name in ("LLM", "ALERTMANAGER", "GRAFANA", "SLACK", "WEBHOOK", "OTLP"):
        monkeypatch.setenv(f"{name}_URL", "http://127.0.0.1:9")
    return tmp_path


@pytest.fixture
async def places(folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Places]:
    """The servers, all up again."""
    places = Places()
    async with AsyncExitStack() as stack:
        llm = await stack.enter_async_context(scripted(says(ANSWER)))
        monkeypatch.setenv("LLM_URL", llm.url)
        for name in ("alertmanager", "webhook", "otlp", "grafana", "slack"):
            url = await stack.enter_async_context(serving(getattr(places, name).app()))
            monkeypatch.setenv(f"{name.upper()}_URL", url)
        yield places


@asynccontextmanager
async def upgraded(folder: Path, clock: SteppedClock) -> AsyncIterator[Daemon]:
    """Today's daemon over the old file and the old configuration."""
    telemetry = PrometheusTelemetry()
    assembly = assemble(load(folder / "exporter.yml"), clock, telemetry, wall=clock)
    try:
        yield Daemon(assembly, telemetry)
    finally:
        await assembly.close()
        telemetry.close()


async def tell_what_is_due(daemon: Daemon, clock: SteppedClock) -> None:
    for _ in range(ROUNDS):
        await daemon.once()
        clock.step(MINUTE / 10)


async def go_on(daemon: Daemon, clock: SteppedClock, until: datetime) -> None:
    while clock.now() < until:
        clock.step(MINUTE)
        await daemon.once()


def rows(folder: Path, query: str) -> list[Any]:
    with closing(sqlite3.connect(folder / "state.db")) as connection:
        return connection.execute(query).fetchall()


def learnt(folder: Path) -> dict[str, list[Any]]:
    """All derived rows."""
    ((tables,),) = rows(folder, "SELECT value FROM meta WHERE key = 'derived'")
    return {table: rows(folder, f"SELECT * FROM {table}") for table in json.loads(tables)}


def alike(incident: dict[str, Any], before: dict[str, Any]) -> bool:
    """Whether what identifies an incident, elsewhere too, is what it was; label sets are only ever left."""
    names = ("fingerprint", "service", "starts_at", "trigger")
    sets = [*before["retired_labels"], before["labels"]]
    kept = [*incident["retired_labels"], incident["labels"]][: len(sets)]
    return kept == sets and all(incident[name] == before[name] for name in names)


# --- Reading ------------------------------------------------------------------------------------------


def test_old_incidents_are_listed_as_they_were(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["incidents", "list", "-c", str(folder / "exporter.yml"), "--format", "json"]) == 0
    found = {incident["id"]: incident for incident in json.loads(capsys.readouterr().out)}
    assert list(found) == list(EXPECTED["incidents"])
    for key, before in EXPECTED["incidents"].items():
        incident = found[key]
        told = incident | {
            "evidence": {line["id"]: line["body"] for line in incident["evidence"]},
            "timeline": [entry["text"] for entry in incident["timeline"]],
            "reports": before["reports"],
        }
        assert {name: told[name] for name in before} == before


@pytest.mark.parametrize("key", EXPECTED["incidents"])
def test_an_old_incident_is_shown_with_its_reports(folder: Path, key: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = EXPECTED["incidents"][key]
    command = ["incidents", "show", key, "-c", str(folder / "exporter.yml")]
    assert main(command) == 0
    text = " ".join(capsys.readouterr().out.split())
    headlines = [report["headline"] for report in before["reports"].values()]
    for said in (key, *before["services"], *headlines[:1]):
        assert said in text
    assert main([*command, "--format", "json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["incident"]["id"] == key
    reports = {report["writer"]: report for report in shown["reports"]}
    assert {w: {name: reports[w][name] for name in ("revision", "headline")} for w in reports} == before["reports"]


async def test_pages_and_api_show_the_old_incidents(folder: Path) -> None:
    settings = WebSettings(listen="127.0.0.1:0")
    async with upgraded(folder, SteppedClock(KILLED_AT)) as daemon, aiohttp.ClientSession() as session:
        runner = await start(create_app(settings, daemon, daemon.telemetry), settings)

        async def get(path: str) -> str:
            async with session.get(f"http://127.0.0.1:{runner.addresses[0][1]}{path}") as answer:
                assert answer.status == 200
                return await answer.text()

        try:
            listed = await get("/")
            for key, before in EXPECTED["incidents"].items():
                page = html.unescape(await get(f"/incidents/{key}"))
                assert key in listed
                assert all(line in page for line in before["evidence"].values())
                assert all(report["headline"] in page for report in before["reports"].values())
                assert before["fix"] is None or before["fix"] in page
                record = json.loads(await get(f"/api/incidents/{key}"))
                assert record["incident"]["labels"] == before["labels"]
        finally:
            await runner.cleanup()


# --- Telling ------------------------------------------------------------------------------------------


async def test_what_was_due_is_told_once(folder: Path, places: Places) -> None:
    clock = SteppedClock(KILLED_AT)
    async with upgraded(folder, clock) as daemon:
        await tell_what_is_due(daemon, clock)
        assert set(places.posted()) == set(ids(NEXT["told"]["webhook"])) > set(ids(EXPECTED["due"]["webhook"]))
        assert set(places.events()) == set(ids(NEXT["told"]["otlp"])) > set(ids(EXPECTED["due"]["otlp"]))
        assert places.alerts() == alerts_of(NEXT["told"]["alertmanager"])
        before = len(places.slack.calls), len(places.grafana.requests), len(places.alertmanager.requests)
        await daemon.once()
        assert before == (len(places.slack.calls), len(places.grafana.requests), len(places.alertmanager.requests))
    for told, already in ((places.posted(), "webhook"), (places.events(), "otlp")):
        everything = [*ids(EXPECTED["told"][already]), *told]
        assert len(everything) == len(set(everything)), "no change is told twice"


async def test_what_a_place_has_already_is_changed_there_and_not_told_anew(folder: Path, places: Places) -> None:
    clock = SteppedClock(KILLED_AT)
    async with upgraded(folder, clock) as daemon:
        await tell_what_is_due(daemon, clock)
    marks = [tag for annotation in places.grafana.annotations.values() for tag in annotation.tags if "lae_id" in tag]
    assert sorted(marks) == sorted(f"lae_id:{key}" for key in EXPECTED["incidents"])
    messages = {m.metadata["event_payload"]["incident_id"]: m for m in places.slack.parents}
    assert messages.keys() == EXPECTED["incidents"].keys()
    assert len(places.slack.parents) == len(messages)
    assert messages[HALF_TOLD].text.startswith("Critical: ")
    assert messages[RESOLVED].edits == 3, "of what has not changed nothing is sent"


# --- Going on -----------------------------------------------------------------------------------------


async def test_what_was_learnt_is_learnt_anew_for_records_are_read_as_more(folder: Path, places: Places) -> None:
    warm_up = "SELECT * FROM decisions WHERE kind = 'warmup'"
    warmed, before = rows(folder, warm_up), learnt(folder)
    assert any(before.values())
    clock = SteppedClock(KILLED_AT)
    async with upgraded(folder, clock) as daemon:
        assert not daemon.assembly.state.rebuilt, "what was given is kept"
        assert not any(learnt(folder).values())
        await daemon.once()
        assert (await daemon.readiness()).ok
        now = {record.incident.id: record.incident.status for record in await daemon.list_incidents(None, 100)}
        later = learnt(folder)
    assert now.keys() == EXPECTED["incidents"].keys(), "no incident comes of it, and none goes"
    assert [row[0] for row in rows(folder, warm_up)] == [row[0] for row in warmed]
    assert rows(folder, warm_up) != warmed
    assert any(later.values())
    async with upgraded(folder, clock) as daemon:
        assert learnt(folder) == later, "once"


async def test_old_incidents_end_and_new_ones_are_found(folder: Path, places: Places) -> None:
    clock = SteppedClock(KILLED_AT)
    async with upgraded(folder, clock) as daemon:
        await tell_what_is_due(daemon, clock)
        await go_on(daemon, clock, KILLED_AT + 28 * MINUTE)
        found = {record.incident.id: record.incident for record in await daemon.list_incidents(None, 100)}
    for key, before in EXPECTED["incidents"].items():
        assert alike(to_json(found[key]), before)
        assert found[key].status == NEXT["incidents"][key]["status"]
    assert "alert QueueGrows fired: QueueGrows of mailer" in [entry.text for entry in found[UNREPORTED].timeline]
    assert rows(folder, "SELECT COUNT(*) FROM triggers WHERE done = 0") == [(0,)]
    new = [incident for key, incident in found.items() if key not in EXPECTED["incidents"]]
    assert ["gateway" in incident.services for incident in new] == [True]
    assert placeholders(new[0]) == placeholders(found[ESCALATED]), "equal secrets keep equal placeholders"
    assert alerts_of(NEXT["told_at_the_end"]["alertmanager"]).keys() <= places.alerts().keys()


async def test_what_was_remembered_is_recalled_by_meaning_and_by_words(folder: Path) -> None:
    async with upgraded(folder, SteppedClock(KILLED_AT)) as daemon:
        records = {record.incident.id: record.incident for record in await daemon.list_incidents(None, 100)}
        again = replace(records[RESOLVED], id="again", starts_at=KILLED_AT, status="firing")
        best, *_ = await daemon.assembly.memory.recall(again)
    assert (best.id, best.fix) == (RESOLVED, EXPECTED["incidents"][RESOLVED]["fix"])
    assert (best.similarity, best.matched, best.same_fingerprint) == (1.0, ("meaning", "words"), True)


def placeholders(incident: Incident) -> set[str]:
    return {found for line in incident.evidence for found in re.findall(r"<email:\w+>", line.body)}


# --- Configurations -----------------------------------------------------------------------------------


def test_every_old_configuration_comes_as_far_as_it_did(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ES_API_KEY", "a key")
    monkeypatch.setenv("GRAFANA_PASSWORD", "a password")
    monkeypatch.setattr(socket, "getaddrinfo", found_nowhere)
    before: dict[str, dict[str, Any]] = EXPECTED["configurations"]
    folders = [tmp_path / name for name in before]
    for folder in folders:
        # They import integrations, whose docstrings Python 3.11 cannot parse in several threads (gh-106905).
        load(placed(folder))
    with ThreadPoolExecutor(len(folders)) as pool:
        # Each waits for servers that are not there: all at once.
        codes = list(pool.map(run_once, folders))
    for folder, code in zip(folders, codes, strict=True):
        mark = fingerprint(load(folder / "exporter.yml"))
        begun = bool(rows(folder, "SELECT * FROM checkpoints"))
        assert {"code": code, "fingerprint": mark, "begun": begun} == before[folder.name], folder.name


def test_every_option_of_an_old_configuration_is_what_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ES_API_KEY", "GRAFANA_PASSWORD", "FOLDER"):
        monkeypatch.setenv(name, "/folder")
    for name in ("LLM", "ALERTMANAGER", "GRAFANA", "SLACK", "WEBHOOK", "OTLP"):
        monkeypatch.setenv(f"{name}_URL", "http://127.0.0.1:9")
    for file in (OLD / "exporter.yml", *sorted((OLD / "configurations").glob("*.yml"))):
        now = load(file).model_dump(mode="json", by_alias=True)
        assert kept(now, without_retired(EFFECTIVE[file.stem], [])), file.name


NEW_DEFAULTS = [("max_lines_per_window", 1_000_000, 200_000), ("adopt_after", "6h", "1d")]
"""Options that no old configuration sets, and whose default is another one now: before, and now."""


def kept(now: Any, before: Any) -> bool:
    """Whether all that was said is said; options may have been added, and defaults changed as CHANGELOG says."""
    if isinstance(before, dict):
        return all(
            key in now and ((key, value, now[key]) in NEW_DEFAULTS or kept(now[key], value))
            for key, value in before.items()
        )
    if isinstance(before, list) and before and all(isinstance(path, str) for path in before) and before != now:
        # Places where shippers keep what: more are known, and those that were known come in the same order.
        found = iter(now)
        return all(path in found for path in before)
    if isinstance(before, list):
        return len(now) == len(before) and all(map(kept, now, before))
    return bool(now == before)


def placed(folder: Path) -> Path:
    """The configuration of the folder's name, with its state file in there."""
    folder.mkdir()
    text = (OLD / "configurations" / f"{folder.name}.yml").read_text()
    moved = f"state: {folder / 'state.db'}\n" + re.sub(r"^state:.*\n", "", text, flags=re.MULTILINE)
    (folder / "exporter.yml").write_text(moved)
    return folder / "exporter.yml"


def run_once(folder: Path) -> int:
    return main(["run", "--once", "-c", str(folder / "exporter.yml")])


look_up = socket.getaddrinfo


def found_nowhere(host: Any, *arguments: Any, **options: Any) -> Any:
    """No name resolves, wherever the tests run."""
    if host in ("127.0.0.1", "localhost"):
        return look_up(host, *arguments, **options)
    raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


# --- Going back ---------------------------------------------------------------------------------------


async def test_a_copy_before_an_upgrade_is_the_way_back(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    configuration, copy = str(folder / "exporter.yml"), folder / "before.db"
    everything = "SELECT sql FROM sqlite_master WHERE type = 'table' ORDER BY name"
    before = rows(folder, everything), rows(folder, "SELECT * FROM news ORDER BY incident, revision, part")
    assert main(["state", "backup", str(copy), "-c", configuration]) == 0
    async with upgraded(folder, SteppedClock(KILLED_AT)) as daemon:
        await daemon.once()
    assert rows(folder, "PRAGMA user_version") == [(len(MIGRATIONS),)]
    assert main(["state", "check", "-c", configuration]) == 0
    assert main(["state", "restore", str(copy), "-c", configuration]) == 0
    assert rows(folder, "PRAGMA user_version") == [(1,)]
    assert before == (rows(folder, everything), rows(folder, "SELECT * FROM news ORDER BY incident, revision, part"))
    assert "it is whole" in capsys.readouterr().out
