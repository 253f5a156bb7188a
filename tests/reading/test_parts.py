"""Records that a runtime has split are one record, wherever a block of the file ends."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from exporter.reading.parts import MOST_CHARS, begins_last, joined
from integrations.file import content as contents
from tests.integrations.test_file import all_of

LONG = "the payment of order 17 failed because " + "of a timeout " * 30
AT = "2026-03-14T09:26:{:02}.589793238Z"


def cri(pieces: list[str], second: int, stream: str = "stdout") -> list[str]:
    last = len(pieces) - 1
    return [f"{AT.format(second)} {stream} {'PF'[number == last]} {one}" for number, one in enumerate(pieces)]


def docker(pieces: list[str], second: int, stream: str = "stdout") -> list[str]:
    last = len(pieces) - 1
    return [
        json.dumps(
            {"log": one + "\n" * (n == last), "stream": stream, "time": AT.format(second)}, separators=(",", ":")
        )
        for n, one in enumerate(pieces)
    ]


def split(text: str, size: int = 100) -> list[str]:
    return [text[at : at + size] for at in range(0, len(text), size)]


@pytest.mark.parametrize("writes", [cri, docker])
def test_parts_are_one_record_with_another_stream_between(writes: object) -> None:
    assert callable(writes)
    first, *rest = writes(split(LONG), 1)
    lines = pl.Series([*writes(["before"], 0), first, *writes(["ERR"], 1, "stderr"), *rest, *writes(["after"], 2)])
    whole, numbers, cut = joined(lines, pl.int_range(10, 10 + len(lines), eager=True))
    others = [*writes(["before"], 0), *writes(["ERR"], 1, "stderr"), *writes(["after"], 2)]
    assert whole.gather([0, 2, 3]).to_list() == others
    assert [whole[1].replace(" P ", " F ")] == writes([LONG], 1)
    assert numbers.to_list() == [10, 11, 12, 10 + len(lines) - 1]
    assert cut == {}
    assert begins_last(lines) is None
    assert begins_last(lines[:3]) == 1


def test_a_record_that_never_ends_is_cut_and_counted() -> None:
    piece = "x" * 16_384
    lines = pl.Series(cri([piece] * 900, 1)[:-1])
    whole, numbers, cut = joined(lines, pl.int_range(len(lines), eager=True))
    assert len(whole) == len(numbers) == 1
    assert len(whole[0]) <= MOST_CHARS
    assert cut == {"long_record": 899 - MOST_CHARS // 16_384}


@pytest.mark.parametrize("writes", [cri, docker])
@pytest.mark.parametrize("block", [512, 4_096])
async def test_it_is_whole_wherever_a_block_ends(
    writes: object, block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert callable(writes)
    lines = [line for second in range(30) for line in writes(split(f"{second} {LONG}"), second)]
    (tmp_path / "a.log").write_text("".join(f"{line}\n" for line in lines))
    monkeypatch.setattr(contents, "BLOCK", block)
    bodies = (await all_of(tmp_path / "a.log"))["body"]
    assert [body.strip() for body in bodies] == [f"{second} {LONG}".strip() for second in range(30)]
