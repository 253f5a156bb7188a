"""The invariant that everything else serves: the same rows, however the time is divided, read, or interrupted."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exporter.config import Config, parse
from exporter.detection.observation import Observation
from exporter.detection.valued import LEFT
from exporter.facts.observed import read
from exporter.ingest.redaction import Redactor
from exporter.model import NoTelemetry, SystemClock
from exporter.report import rules
from exporter.report.writing import ModelWriter
from exporter.run.assembly import Assembly, assemble
from exporter.run.learning import open_state
from exporter.state.incidents import incident_list
from exporter.state.narration import Narrations
from tests.delivery.test_enrich import Model
from tests.memory_source import START, MemorySource, at, page
from tests.samples import SteppedClock

MINUTE = timedelta(minutes=1)
Table = dict[str, list[tuple[Any, ...]]]
WINDOWS = 24
WARM = 6


def config(folder: Path, **more: object) -> Config:
    return parse(
        {
            "state": str(folder / "state.db"),
            "detection": {
                "min_windows": 9,
                "min_service_windows": 3,
                "min_present_windows": 9,
                "refit_windows": 10,
                "known_for": "4m",
            },
            "mining": {"max_line_chars": 128},
            "sources": [
                {
                    "type": "elasticsearch",
                    "name": "shop",
                    "hosts": ["http://127.0.0.1:9"],
                    "sessions": {"pattern": r"order=(\w+)", "idle": "3m", "max_age": "10m"},
                    "late_window": "3m",
                    "query_offset": "0s",
                }
            ],
            **more,
        }
    )


def with_failure(base: list[dict[str, Any]], minute: int, length: int) -> list[dict[str, Any]]:
    lines = [
        {
            "timestamp": at(60 * (minute + number // 12) + number % 12 * 4.5),
            "service": "payments" if number % 3 else "orders",
            "severity": 17,
            "body": f"connection pool exhausted after {number} attempts: pool=main",
            "trace": f"t{number % 5}",
            "host": f"node-{number % 2}",
            "version": "2.14.0",
            "instance": f"pod-{number % 4}",
        }
        for number in range(12 * length)
    ]
    return base + lines


def quiet_lines(minutes: int = WINDOWS) -> list[dict[str, Any]]:
    """Three services that say the same each minute, with traces and orders."""
    lines: list[dict[str, Any]] = []
    for minute, number in itertools.product(range(minutes), range(6)):
        second = 60 * minute + 9 * number
        order = minute * 6 + number
        for offset, service, body in (
            (0, "gateway", f"GET /orders/{order} 200 in {10 + number} ms"),
            (1, "orders", f"order=o{order} accepted for user {number}"),
            (2, "payments", f"order=o{order} charged {number}.99 EUR"),
        ):
            line = {"timestamp": at(second + offset), "service": service, "severity": 9, "body": body}
            lines.append({**line, "trace": f"t{order}", "stream": service})
    return lines


def cut_lines() -> list[dict[str, Any]]:
    """A service whose lines are cut inside of a list, at places that the widths of its values choose; it falls silent
    when the others fail."""
    return [
        {
            "timestamp": at(60 * minute + 7 * number),
            "service": "seats",
            "severity": 9,
            "body": f"left are {[f'Seat(no={10**width + number}, row={minute})' for width in range(2, 12)]}",
        }
        for minute, number in itertools.product(range(14), range(8))
    ]


def valued_lines() -> list[dict[str, Any]]:
    """A service whose lines differ in word, code and duration only; for some minutes most go wrong."""
    lines = []
    for minute, number in itertools.product(range(WINDOWS), range(8)):
        bad = 15 <= minute < 19 and number
        word, code, took = ("stranded", 503, 900 + number) if bad else (("paid", "open")[number == 3], 200, 20 + number)
        body = f"bill {number} is {word} by=till{number % 2} with status {code} after {took} ms"
        lines.append({"timestamp": at(60 * minute + 6 * number), "service": "tills", "severity": 9, "body": body})
    return lines


def renamed_lines() -> list[dict[str, Any]]:
    """A service that goes on under another name, and writes every other line to debug."""
    return [
        {
            "timestamp": at(60 * minute + 7 * number),
            "service": "desk" if minute < 12 else "desk-v2",
            "severity": 5 if number % 2 else 9,
            "body": f"place {number} is looked up" if number % 2 else f"guest {number} was seated",
        }
        for minute, number in itertools.product(range(WINDOWS), range(8))
    ]


LINES = page(with_failure(quiet_lines() + cut_lines() + valued_lines() + renamed_lines(), 14, 3))


async def rows(assembly: Assembly) -> Table:
    """Everything that the state file holds and that event time decides."""
    state = assembly.state
    tables = [name for (name,) in await state.read("SELECT name FROM sqlite_master WHERE type = 'table'")]
    clock = {"decisions", "meta", "undo", "documents", "reports", "deliveries"}
    found = {name: await state.read(f"SELECT * FROM {name}") for name in sorted(tables) if name not in clock}
    # How grouping stood before depends on when it was done.
    found["undo"] = await state.read("SELECT * FROM undo WHERE source != ''")
    found["meta"] = await state.read(
        "SELECT * FROM meta WHERE key IN ('alarm_threshold', 'alarm_services', 'grouped_through')"
    )
    # Drawn anew for each question.
    found["answers"] = [(*row[:-1], re.sub(r"DATA-[0-9a-f]+", "DATA", row[-1])) for row in found["answers"]]
    return found


async def ask(assembly: Assembly) -> None:
    """Let a model be asked about what there is by now: what it is asked and answers is kept."""
    redactor = Redactor(b"one key for every run")
    writer = ModelWriter(Model(), redactor, ledger=Narrations(assembly.state), clock=SteppedClock())
    for incident in await incident_list(assembly.state, None, 10):
        await writer.write(rules.write(incident), incident)


def build(folder: Path, readers: int = 1, page_size: int = 1000, seed: int | None = None) -> Assembly:
    """The parts as the configuration says, over the lines in memory."""
    settings_ = config(folder).model_copy(update={"readers": readers})
    source = MemorySource(LINES, page_size=page_size, seed=seed)
    return assemble(settings_, SystemClock(), NoTelemetry(), open_state(settings_), sources=[source], sinks=[])


async def take(assembly: Assembly, cut: int) -> None:
    """Bring everything up to so many minutes after the start."""
    until = START + cut * MINUTE
    pipeline = assembly.pipelines[0]
    await pipeline.start(START, START + WARM * MINUTE)
    await pipeline.advance(until)
    if cut >= WARM:
        if await assembly.state.meta("alarm_threshold") is None:
            await assembly.grouper.calibrate(1.0)
        await assembly.grouper.group(until)


async def run(
    cuts: Sequence[int] = (),
    restarts: Sequence[int] = (),
    page_size: int = 1000,
    seed: int | None = None,
    readers: int = 1,
) -> Table:
    """Take the lines through the pipeline: `cuts` divide the time, after `restarts` everything is loaded anew."""
    with tempfile.TemporaryDirectory() as name:
        assembly = build(Path(name), readers, page_size, seed)
        for cut in sorted({*cuts, *restarts, WARM, WINDOWS}):
            await take(assembly, cut)
            if cut in restarts:
                await assembly.close()
                assembly = build(Path(name), readers, page_size, seed)
        await ask(assembly)
        found = await rows(assembly)
        await assembly.close()
        return found


def same(left: Table, right: Table) -> None:
    assert left.keys() == right.keys()
    for table in left:
        assert left[table] == right[table], table


_whole: Table = {}


def whole() -> Table:
    """One uninterrupted run."""
    if not _whole:
        _whole.update(asyncio.run(run()))
    return _whole


def test_the_failure_becomes_an_incident_of_the_services_that_show_it() -> None:
    bodies = [row[6] for row in whole()["incidents"] if row[6]]
    assert len(bodies) == 1
    assert "payments" in bodies[0]


def test_windows_that_are_left_out_of_the_past_are_among_the_rows() -> None:
    found = [Observation.from_bytes("shop", body) for _, _, body in whole()["detection_observations"] if body]
    assert any(((one.values["flags"] & LEFT) != 0).any() for one in found)


def test_what_windows_say_of_a_failure_and_the_facts_of_the_incident_are_among_the_rows() -> None:
    said = [read(body) for _, _, body in whole()["facts_windows"]]
    assert any(each.hosts and each.versions and each.instances for one in said for each in one.sayings)
    (body,) = [row[6] for row in whole()["incidents"] if row[6]]
    assert json.loads(body)["facts"]["failing"]


def test_what_lasts_what_is_silent_and_their_ends_are_among_the_rows() -> None:
    found = [json.loads(row[-1]) for row in whole()["anomalies"]]
    assert {one["kind"] for one in found} >= {"window", "absence", "calm"}
    assert {one["kind"] for one in found if one["lasts"]} == {"window", "absence"}
    assert whole()["detection_episodes"]
    assert whole()["detection_silences"]


def test_a_service_that_was_renamed_and_whom_each_service_calls_are_among_the_rows() -> None:
    assert any('"renamed"' in str(row) and "desk-v2" in str(row) for row in whole()["notices"])
    assert any(json.loads(row[-1])["neighbours"] for row in whole()["anomalies"])


def test_what_a_model_is_asked_and_answers_is_among_the_rows() -> None:
    ((incident, _, body),) = whole()["answers"]
    assert incident in [row[0] for row in whole()["incidents"]]
    assert json.loads(body)["answer"]["what_happened"] == [{"fact": "F1"}]
    assert "connection pool exhausted" in json.loads(body)["user"]


CASES = int(os.environ.get("LAE_CASES", "15"))
"""Of each property; `make evaluate ARGS=rows` tries many more."""

minutes = st.lists(st.integers(1, WINDOWS - 1), max_size=6)


@given(minutes, minutes, st.sampled_from([1, 7, 100]), st.integers(0, 5) | st.none(), st.sampled_from([1, 2, 5]))
@settings(max_examples=CASES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_division_page_order_readers_and_restart_give_the_same_rows(
    cuts: list[int], restarts: list[int], page_size: int, seed: int | None, readers: int
) -> None:
    same(asyncio.run(run(cuts, restarts, page_size, seed, readers)), whole())


async def work(folder: Path) -> None:
    """What a process does that is killed and started again: go on from where the rows say it was."""
    assembly = build(folder)
    print("loaded", flush=True)
    for cut in range(1, WINDOWS + 1):
        await take(assembly, max(cut, WARM))
        print(cut, flush=True)
    await assembly.close()


@pytest.mark.parametrize("seed", range(max(1, CASES // 15)))
def test_processes_killed_at_random_moments_leave_the_same_rows(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    command = [sys.executable, "-c", f"import asyncio, pathlib; from tests.flow.test_invariant import work; "
               f"asyncio.run(work(pathlib.Path({str(tmp_path)!r})))"]  # fmt: skip
    for _ in range(4):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        # Kill somewhere inside the work on the window that follows a random one.
        stop_after = str(chance.randint(1, WINDOWS - 1))
        for line in process.stdout:
            if line.strip() == stop_after:
                threading.Event().wait(chance.random() * 0.02)
                break
        process.send_signal(signal.SIGKILL)
        process.wait()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    async def left() -> Table:
        assembly = build(tmp_path)
        await ask(assembly)
        found = await rows(assembly)
        await assembly.close()
        return found

    same(asyncio.run(left()), whole())
