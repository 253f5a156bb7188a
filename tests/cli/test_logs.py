"""The log: what runs and what is watched, each incident's headline, and a form for people or for shippers."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from exporter.cli import logs
from exporter.cli.main import main
from exporter.model import ConfigError
from tests.memory_source import START, MemorySource
from tests.run.test_daemon import HOUR, MINUTE, StepClock, config, lines, running


@contextmanager
def logging_to_standard_error() -> Iterator[logging.Logger]:
    logger, handler = logging.getLogger("exporter.some"), logs.handler()
    logger.addHandler(handler)
    yield logger
    logger.removeHandler(handler)


def test_entries_are_json_where_the_environment_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LOG_FORMAT", "json")
    with logging_to_standard_error() as logger:
        try:
            raise ValueError("odd")
        except ValueError:
            logger.exception("failed: %s", "first\nsecond")
    (line,) = capsys.readouterr().err.splitlines()
    entry = json.loads(line)
    assert (entry["level"], entry["logger"], entry["message"]) == ("error", "exporter.some", "failed: first\nsecond")
    assert entry["timestamp"].endswith("Z")
    assert "ValueError: odd" in entry["exception"]


def test_what_others_wrote_is_neither_an_entry_of_its_own_nor_a_command_to_the_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with logging_to_standard_error() as logger:
        logger.warning("read %s", "a\n2026-01-01 ERROR forged \x1b[2J")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("WARNING exporter.some: read a 2026-01-01 ERROR forged")


def test_a_form_that_there_is_not_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LOG_FORMAT", "xml")
    with pytest.raises(ConfigError, match="LOG_FORMAT is 'xml': write text or json"):
        logs.handler()
    assert main(["run", "-c", str(tmp_path / "exporter.yml")]) == 2


async def test_it_says_what_is_watched_and_what_happens(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    clock = StepClock(START + HOUR)
    source = MemorySource(lines(90, failing=range(65, 75)))
    with caplog.at_level(logging.INFO):
        async with running(config(tmp_path, "shop"), clock, source) as daemon:
            for _ in range(14):
                await daemon.once()
                clock.moment += 2 * MINUTE
    for said in (
        "shop: watched: 1 service, about 6 lines a minute; learnt from 1 h, 100% of the 1 h before it",
        "an incident opens from strength",
        " opened: ",
        "pool exhausted",
    ):
        assert said in caplog.text
    assert caplog.text.count("shop: watched:") == 1


async def test_a_source_that_is_behind_is_told_once_with_the_remedy(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = StepClock(START + HOUR)
    with caplog.at_level(logging.INFO):
        async with running(config(tmp_path, "shop"), clock, MemorySource(lines(90))) as daemon:
            await daemon.once()
            clock.moment += 10 * MINUTE
            for _ in range(3):
                await daemon.measure()
            assert caplog.text.count("shop: 10 min behind") == 1
            assert "raise `readers`" in caplog.text
            await daemon.once()
            assert "shop: has caught up" in caplog.text


async def test_windows_that_are_sampled_are_told_once_with_the_remedy(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = config(tmp_path, "shop")
    (source,) = settings.sources
    settings = settings.model_copy(update={"sources": (source.model_copy(update={"max_lines_per_window": 3}),)})
    async with running(settings, StepClock(START + HOUR), MemorySource(lines(90))) as daemon:
        await daemon.once()
    assert caplog.text.count("shop: sampled: a window has 6 lines, more than `max_lines_per_window` (3)") == 1


async def test_a_source_that_does_not_answer_is_told_with_the_remedy(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = StepClock(START + HOUR)
    source = MemorySource(lines(90))
    async with running(config(tmp_path, "shop"), clock, source) as daemon:
        await daemon.once()
        source.fail_next = 99
        for _ in range(4):
            clock.moment += 5 * MINUTE
            await daemon.pollings[0].poll()
    assert caplog.text.count("shop: stalled: it has not answered for") == 1
    assert "`check-config --connect`" in caplog.text
