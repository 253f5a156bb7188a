"""`rules` and the verbs of `incidents`, as people type them: with a daemon and without."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter.cli.main import main
from exporter.memory.documents import document
from exporter.memory.moving import AT_ONCE, MARK
from exporter.model import Severity, to_json
from exporter.report.rules import write
from exporter.run.daemon import Daemon
from exporter.state.contact import Contact, reachable
from exporter.telemetry import PrometheusTelemetry
from exporter.web import WebSettings
from exporter.web.app import serve
from tests.people.weeks import HOUR, Weeks, failure, weeks


class Installation:
    """An open incident, its state file, and its exporter.yml."""

    def __init__(self, world: Weeks, folder: Path) -> None:
        self.world = world
        self.file = folder / "exporter.yml"
        self.file.write_text(yaml.safe_dump(world.settings))

    async def run(self, *command: str) -> int:
        """The exit code of a command."""
        return await asyncio.to_thread(main, [*command, "-c", str(self.file)])


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Installation]:
    async with weeks(tmp_path) as (world, _):
        await world.hour(failure("orders", "pool exhausted", world.clock.moment, 60, Severity.ERROR))
        yield Installation(world, tmp_path)


def printed(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().out


async def test_without_a_daemon_commands_change_the_state_file(
    place: Installation, capsys: pytest.CaptureFixture[str]
) -> None:
    (incident,) = await place.world.incidents()
    await place.world.assembly.close()
    assert await place.run("incidents", "ack", incident.id, "--by", "anna", "--note", "on it") == 0
    assert f"incident {incident.id} is acknowledged, by anna" in printed(capsys)
    assert await place.run("incidents", "list") == 0
    assert "acknowledged" in printed(capsys)
    assert await place.run("incidents", "accept", incident.id, "--by", "anna", "--reason", "a new release") == 0
    said = printed(capsys)
    assert "text: pool exhausted" in said
    assert "Of 0 incidents since" in said
    assert f"rule accept-{incident.id} expects it from now on" in said
    assert await place.run("incidents", "show", incident.id) == 0
    assert "Accepted as normal by anna: a new release" in printed(capsys)
    assert await place.run("rules", "list") == 0
    assert f"accept-{incident.id}  expects" in printed(capsys)
    assert await place.run("incidents", "acts") == 0
    assert [json.loads(line)["verb"] for line in printed(capsys).splitlines()] == ["ack", "accept"]
    assert await place.run("rules", "remove", f"accept-{incident.id}") == 0
    assert await place.run("rules", "show", f"accept-{incident.id}") == 0
    assert "taken back" in printed(capsys)


async def test_while_a_daemon_runs_it_does_what_commands_ask(
    place: Installation, capsys: pytest.CaptureFixture[str]
) -> None:
    (incident,) = await place.world.incidents()
    telemetry = PrometheusTelemetry()
    daemon = Daemon(place.world.assembly, telemetry)
    async with serve(WebSettings(listen="127.0.0.1:0"), daemon, telemetry, own_token="of this run") as url:
        with reachable(place.world.assembly.config.state, Contact(url, "of this run")):
            assert await place.run("rules", "add", "--mute", "--service", "mail", "--for", "7d", "--by", "ben") == 0
            assert "rule mute-1 holds from now on" in printed(capsys)
            assert await place.run("incidents", "note", incident.id, "the pool is too small", "--by", "anna") == 0
            assert await place.run("incidents", "unfix", incident.id) == 1, "nothing was said to have fixed it"
            assert await place.run("incidents", "resolve", incident.id, "--fix", "a bigger pool") == 0
            assert await place.run("incidents", "unfix", incident.id, "--reason", "it did not help") == 0
            assert f"incident {incident.id} has no fix any more" in printed(capsys)
            assert await place.run("incidents", "reject", incident.id, "--by", "anna") == 0
            assert await place.run("incidents", "reject", "unknown") == 1
            assert await place.run("rules", "remove", "unknown") == 1
            assert await place.run("rules", "remove", "mute-1") == 0
    (now,) = await place.world.incidents()
    assert now.closed is not None
    assert (now.closed.verdict, now.closed.by) == ("rejected", "anna")
    assert "note by anna: the pool is too small" in [entry.text for entry in now.timeline]


async def test_a_memory_is_exported_and_imported_by_commands(
    place: Installation, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (incident,) = await place.world.incidents()
    await place.world.do("resolve", incident, "a bigger pool")
    assert await place.run("incidents", "export") == 0, "also while a daemon holds the state file"
    exported = printed(capsys)
    assert [json.loads(line)["fix"] for line in exported.splitlines()] == ["a bigger pool"]
    await place.world.assembly.close()
    file = tmp_path / "memory.ndjson"
    file.write_text(exported.replace(json.loads(exported)["installation"], "that of others") + "nonsense\n")
    assert await place.run("incidents", "import", "--dry-run", str(file)) == 1
    assert "2 incidents: 1 would be taken, 0 are there already, 1 cannot be read" in printed(capsys)
    assert await place.run("incidents", "import", str(file)) == 1
    assert await place.run("incidents", "import", str(file)) == 1
    out = capsys.readouterr()
    assert "1 are taken, 0 are there" in out.out
    assert "0 are taken, 1 are there" in out.out
    assert "line 2: no JSON" in out.err
    assert await place.run("incidents", "import", str(tmp_path / "nowhere")) == 1
    assert "nowhere cannot be read" in capsys.readouterr().err
    assert await place.run("incidents", "export") == 0
    assert len(printed(capsys).splitlines()) == 2


@asynccontextmanager
async def daemon_of(place: Installation) -> AsyncIterator[Daemon]:
    """It answers commands, as one that runs."""
    telemetry = PrometheusTelemetry()
    daemon = Daemon(place.world.assembly, telemetry)
    async with serve(WebSettings(listen="127.0.0.1:0"), daemon, telemetry, own_token="of this run") as url:
        with reachable(place.world.assembly.config.state, Contact(url, "of this run")):
            yield daemon


async def test_what_is_imported_while_a_daemon_runs_is_recalled_by_it_at_once(
    place: Installation, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (incident,) = await place.world.incidents()
    memory = place.world.assembly.memory
    assert await memory.recall(incident) == (), "all that it holds has been read by now"
    past = replace(incident, starts_at=incident.starts_at - HOUR, status="resolved", ends_at=incident.starts_at)
    theirs = replace(document(past, write(past)), installation="there", fix="password=hunter2secret was set")
    file = tmp_path / "memory.ndjson"
    many = [replace(theirs, id=f"{number:04}") for number in range(AT_ONCE + 1)]
    file.write_text("nonsense\n" + "".join(json.dumps({MARK: 1, **to_json(one)}) + "\n" for one in many))
    async with daemon_of(place):
        assert await place.run("incidents", "import", "--dry-run", str(file)) == 1
        assert f"{AT_ONCE + 2} incidents: {AT_ONCE + 1} would be taken, 0 are there already, 1" in printed(capsys)
        assert await memory.recall(incident) == (), "a dry run changes nothing"
        assert await place.run("incidents", "import", str(file)) == 1
        assert f"{AT_ONCE + 1} are taken, 0 are there already" in printed(capsys)
        assert await place.run("incidents", "import", str(file)) == 1
        assert f"0 are taken, {AT_ONCE + 1} are there already" in printed(capsys)
        found = await memory.recall(incident)
        assert {(one.tier, "hunter2secret" in (one.fix or "")) for one in found} == {("same", False)}
        await place.world.do("resolve", incident, "a bigger pool")
        assert await place.run("incidents", "export") == 0
        assert len(printed(capsys).splitlines()) == len(many) + 1, "what the daemon wrote and what came are both there"


async def test_an_import_in_many_parts_is_whole(
    place: Installation, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place.world.settings["web"] = {"client_max_size": 20_000}
    place.file.write_text(yaml.safe_dump(place.world.settings))
    (incident,) = await place.world.incidents()
    one = replace(document(incident, write(incident)), installation="there", text="x" * 4_000)
    file = tmp_path / "memory.ndjson"
    many = [to_json(replace(one, id=str(number))) for number in range(30)]
    file.write_text("".join(json.dumps({MARK: 1, **plain}) + "\n" for plain in many))
    async with daemon_of(place):
        assert await place.run("incidents", "import", str(file)) == 0
    assert "30 are taken" in printed(capsys)


@pytest.mark.parametrize("runs", [True, False], ids=["a daemon runs", "no daemon runs"])
async def test_what_memory_holds_of_an_incident_is_forgotten(
    place: Installation, runs: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    (incident,) = await place.world.incidents()
    await place.world.do("resolve", incident, "a bigger pool")
    async with daemon_of(place) if runs else closed(place):
        assert await place.run("incidents", "forget", incident.id) == 0
        assert f"incident {incident.id} is forgotten" in printed(capsys)
        assert await place.run("incidents", "forget", incident.id) == 1
        assert "othing is remembered" in capsys.readouterr().err
        assert await place.run("incidents", "export") == 0
        assert printed(capsys) == ""
        assert await place.run("incidents", "show", incident.id) == 0, "the incident itself stays"


@asynccontextmanager
async def closed(place: Installation) -> AsyncIterator[None]:
    await place.world.assembly.close()
    yield


async def test_an_import_beside_a_process_that_cannot_be_reached_is_refused_with_the_remedy(
    place: Installation, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (incident,) = await place.world.incidents()
    file = tmp_path / "memory.ndjson"
    one = replace(document(incident, write(incident)), installation="there")
    file.write_text(json.dumps({MARK: 1, **to_json(one)}))
    assert await place.run("incidents", "import", str(file)) == 1
    said = capsys.readouterr().err
    assert "run this as its user" in said
    assert "type: remote" in said, "where `serve memory` holds it"


async def test_what_would_hide_much_is_shown_and_made_only_with_yes(
    place: Installation, capsys: pytest.CaptureFixture[str]
) -> None:
    await place.world.assembly.close()
    rule = ("--expected", "--text", "~pool .*", "--name", "pool")
    # The story is of another year: nothing of it is of the last 14 days.
    assert await place.run("rules", "preview", *rule) == 0
    assert "Of 0 incidents since" in printed(capsys)
    assert await place.run("rules", "add", *rule, "--for", "ever") == 0
    assert await place.run("rules", "export") == 0
    (exported,) = [json.loads(line) for line in printed(capsys).splitlines() if line.startswith("{")]
    assert exported == {**exported, "name": "pool", "do": "expected", "texts": ["~pool .*"]}
    assert "until" not in exported


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("rules", "add", "--mute"), "it matches everything"),
        (("rules", "add", "--mute", "--service", "x", "--until", "2020-01-01"), "is over already"),
        (("rules", "add", "--mute", "--text", "~(a)(?=b)"), "look-around"),
        (("rules", "show", "unknown"), "no rule 'unknown'"),
        (("incidents", "accept", "unknown"), "no incident 'unknown'"),
        (("incidents", "ack", "unknown"), "no incident 'unknown'"),
    ],
)
async def test_what_makes_no_sense_is_refused_and_nothing_changes(
    place: Installation, capsys: pytest.CaptureFixture[str], command: tuple[str, ...], said: str
) -> None:
    await place.world.assembly.close()
    assert await place.run(*command) in (1, 2)
    assert said in capsys.readouterr().err
    assert await place.run("rules", "list") == 0
    assert "no rules" in printed(capsys)


def test_help_names_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    for command, verbs in {"rules": ("list", "show", "add", "preview", "remove", "export")}.items():
        assert main([command]) == 2
        said: Any = printed(capsys)
        assert all(verb in said for verb in verbs)
