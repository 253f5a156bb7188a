"""Learning is a source's own: what changes about one source leaves all others, and what was told, as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from exporter.cli.main import main
from exporter.config import Config
from exporter.run.daemon import Daemon
from exporter.run.learning import open_state
from exporter.state.incidents import calibration, incident_list
from tests.memory_source import START, MemorySource
from tests.run.test_daemon import HOUR, MINUTE, StepClock, config, lines, running

LEARNT = ("mining_templates", "detection_services", "windows", "checkpoints")


def with_window(tmp_path: Path, changed: str, *names: str) -> Config:
    """A configuration in which one source has windows of two minutes."""
    whole = config(tmp_path, *names)
    sources = [
        source.model_copy(update={"window": 2 * MINUTE} if source.name == changed else {}) for source in whole.sources
    ]
    return whole.model_copy(update={"sources": tuple(sources)})


async def learnt(daemon: Daemon, source: str) -> list[Any]:
    state = daemon.assembly.state
    tables = [table for table in LEARNT if await state.read("SELECT 1 FROM sqlite_master WHERE name = ?", (table,))]
    return [await state.read(f"SELECT * FROM {table} WHERE source = ?", (source,)) for table in tables]


async def test_another_setting_of_one_source_lets_that_source_learn_anew_and_no_other(tmp_path: Path) -> None:
    clock = StepClock(START + HOUR)
    sources = MemorySource(lines(70), "one"), MemorySource(lines(70), "two")
    async with running(config(tmp_path, "one", "two"), clock, *sources) as daemon:
        await daemon.once()
        before, threshold = await learnt(daemon, "one"), await calibration(daemon.assembly.state)
        assert all(before), "nothing was learnt that could be kept"
    async with running(with_window(tmp_path, "two", "one", "two"), clock, *sources) as daemon:
        assert await learnt(daemon, "one") == before
        assert not any(await learnt(daemon, "two"))
        assert await calibration(daemon.assembly.state) == threshold
        await daemon.once()
        assert [(await polling.progress()).state for polling in daemon.pollings] == ["ready", "ready"]
        assert await daemon.assembly.state.read("SELECT COUNT(*) FROM windows WHERE source = 'two'") != [(0,)]


async def test_a_source_that_was_learnt_with_other_rules_of_redaction_is_learnt_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, source = StepClock(START + HOUR), MemorySource(lines(70), "one")
    with monkeypatch.context() as older:
        older.setattr("exporter.run.learning.redaction_fingerprint", lambda: "of other rules")
        async with running(config(tmp_path, "one"), clock, source) as daemon:
            await daemon.once()
            assert all(await learnt(daemon, "one"))
    async with running(config(tmp_path, "one"), clock, source) as daemon:
        assert not any(await learnt(daemon, "one")), "what other rules have left may be in there"
        await daemon.once()
        assert await incident_list(daemon.assembly.state) == []


async def test_incidents_of_the_others_go_on_while_one_source_learns(tmp_path: Path) -> None:
    clock = StepClock(START + HOUR)
    one, two = MemorySource(lines(90, failing=range(65, 80)), "one"), MemorySource(lines(90), "two")
    async with running(config(tmp_path, "one", "two"), clock, one, two) as daemon:
        await daemon.once()
        for _ in range(10):
            clock.moment += MINUTE
            await daemon.once()
        (open_one,) = await incident_list(daemon.assembly.state)
        assert open_one.status == "firing"
    async with running(with_window(tmp_path, "two", "one", "two"), clock, one, two) as daemon:
        for _ in range(2):
            clock.moment += MINUTE
            await daemon.pollings[0].poll()
            await daemon.group()
        (still,) = await incident_list(daemon.assembly.state)
        assert (still.id, still.status) == (open_one.id, "firing")
        assert still.last_seen > open_one.last_seen, "the source that did not change was not grouped"


async def test_a_new_source_learns_while_the_others_alarm_and_then_has_its_part_in_the_threshold(
    tmp_path: Path,
) -> None:
    clock = StepClock(START + HOUR)
    one, two = MemorySource(lines(90, failing=range(65, 80)), "one"), MemorySource(lines(90), "two")
    async with running(config(tmp_path, "one"), clock, one) as daemon:
        await daemon.once()
        before, known = await learnt(daemon, "one"), await calibration(daemon.assembly.state)
        assert known is not None
    async with running(config(tmp_path, "one", "two"), clock, one, two) as daemon:
        assert await learnt(daemon, "one") == before
        for _ in range(10):
            clock.moment += MINUTE
            await daemon.pollings[0].poll()
            await daemon.group()
        assert [incident.status for incident in await incident_list(daemon.assembly.state)] == ["firing"]
        assert await calibration(daemon.assembly.state) == known
        await daemon.once()
        now = await calibration(daemon.assembly.state)
        assert now is not None
        assert (now.services, set(now.learnt)) == (2 * known.services, {"one", "two"})
        assert now.threshold > known.threshold, "twice as many windows are as unlikely by chance"


async def test_a_source_that_is_gone_has_no_part_in_the_threshold_any_more(tmp_path: Path) -> None:
    clock = StepClock(START + HOUR)
    one, two = MemorySource(lines(90), "one"), MemorySource(lines(90), "two")
    async with running(config(tmp_path, "one", "two"), clock, one, two) as daemon:
        await daemon.once()
        both = await calibration(daemon.assembly.state)
    clock.moment += MINUTE
    async with running(config(tmp_path, "one"), clock, one) as daemon:
        await daemon.once()
        now = await calibration(daemon.assembly.state)
    assert both is not None
    assert now is not None
    assert (set(now.learnt), now.threshold < both.threshold) == ({"one"}, True)


def test_how_a_source_is_reached_is_no_reason_to_learn_anew(tmp_path: Path) -> None:
    whole = config(tmp_path, "one")
    open_state(whole).close()
    (source,) = whole.sources
    for name, value in {"hosts": ("http://127.0.0.1:8",), "query_offset": MINUTE, "slices": 3, "page_size": 7}.items():
        other = source.model_copy(update={name: value})
        assert source.learnt_with() == other.learnt_with(), name
    for name, value in {"index": "other-*", "window": 2 * MINUTE, "group_by": ("host.name",)}.items():
        other = source.model_copy(update={name: value})
        assert source.learnt_with().keys() ^ other.learnt_with().keys() == {name}


def test_check_config_says_before_what_would_be_learnt_anew(tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "a.log").write_text("2026-11-01T00:00:00Z INFO started\n")
    text = f"state: {tmp_path}/state.db\nsources:\n"
    text += "".join(f"  - {{type: file, name: {name}, path: {tmp_path}/*.log}}\n" for name in ("one", "two"))
    file = tmp_path / "exporter.yml"
    file.write_text(text)

    def said() -> str:
        assert main(["check-config", "-c", str(file)]) == 0
        return str(capsys.readouterr().err)

    assert "anew" not in said()
    assert main(["run", "--once", "-c", str(file)]) == 0
    assert "anew" not in said()
    file.write_text(file.read_text().replace("name: two,", "name: two, window: 5m,"))
    assert "two: would be learnt anew, for window differs from what it was learnt with" in said()
    file.write_text(file.read_text().replace("name: two", "name: three"))
    assert "three: would learn first, beside what goes on" in said()
    file.write_text(file.read_text() + "detection: {min_windows: 30}\n")
    assert "one: would be learnt anew, for detection differs from what it was learnt with" in said()


def test_what_is_not_known_of_a_state_file_is_no_reason_not_to_check(tmp_path: Path, capsys: Any) -> None:
    file = tmp_path / "exporter.yml"
    file.write_text(f"state: {tmp_path}/state.db\nsources: [{{type: file, name: a, path: /var/log/*.log}}]\n")
    (tmp_path / "state.db").write_bytes(b"no state file" * 99)
    assert main(["check-config", "-c", str(file)]) == 0
    assert "state.db" in capsys.readouterr().err
