"""What is made to be hard to read has a budget of time and memory, and what stands beside it is read."""

from __future__ import annotations

import json
import resource
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.hostile.memory import MOST, peak

GOOD = [f"2026-11-20T08:00:{second:02d}Z INFO order {second} stored" for second in range(50)]

SECONDS = 20
"""Of a processor, with the start of the command and what other cores of the machine take of it."""


def long_line() -> str:
    return "\n".join([*GOOD[:25], "x" * 5_000_000, *GOOD[25:], ""])


def nested() -> str:
    deep: object = 1
    for _ in range(200):
        deep = {"a": deep}
    records = ({"when": line[:20], "deep": deep, "what": line[21:]} for line in GOOD)
    return "".join(f"{json.dumps(record)}\n" for record in records)


def many_columns() -> str:
    row = ",".join(map(str, range(1_000_000)))
    return "\n".join([row.replace("1", "c"), row, *GOOD, ""])


def many_keys() -> str:
    return "".join(
        json.dumps({**{f"k{number}.{key}": key for key in range(20_000)}, "time": line[:20], "msg": line[21:]}) + "\n"
        for number, line in enumerate(GOOD[:20])
    )


@pytest.mark.parametrize("made", [long_line, nested, many_columns, many_keys])
def test_what_is_hard_to_read_has_a_budget(made: Callable[[], str], tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_text(made())
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    found = peak(["analyze", path, "--format", "json"])
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < SECONDS
    assert found.megabytes < MOST * 0.75
    overview = json.loads(found.printed[found.printed.index("{") :])["overview"]
    assert overview["first"] == "2026-11-20T08:00:00Z"
    assert overview["levels"].get("INFO", 0) in (0, 20, 50)
