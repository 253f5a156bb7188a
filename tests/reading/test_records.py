"""Entries of several lines are one record each, whoever wrote them and wherever they are cut."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from exporter.ingest.reduction import reduce
from exporter.reading.records import MOST_LINES_OF_DOCUMENT
from integrations.file import FileSettings, content
from integrations.file import once as reader
from integrations.file.lines import Parser
from tests.records import measure, traces
from tests.records.measure import SETTINGS, read, wrong, wrong_document, wrong_place
from tests.records.places import DOCUMENTS, TIMED

FRAME = "\tat com.acme.Order.price(Order.java:77)\n"
HEAD = "2026-11-17 06:00:{S},000 ERROR order failed\njava.lang.IllegalStateException: no rate\n"


@pytest.mark.parametrize("case", traces.CASES, ids=lambda case: case.name)
def test_an_entry_of_several_lines_is_one_record(case: traces.Case, tmp_path: Path) -> None:
    assert wrong(case, tmp_path) == []


@pytest.mark.parametrize("block", [64, 400, 2_000])
@pytest.mark.parametrize("case", [traces.CASES[0], traces.CASES[19]], ids=lambda case: case.name)
def test_a_record_is_whole_wherever_a_file_is_cut(
    case: traces.Case, block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(content, "BLOCK", block)
    monkeypatch.setattr(content, "MANY_LINES", 7)
    assert wrong(case, tmp_path) == []


def test_records_of_several_writers_of_one_file_are_told_apart(tmp_path: Path) -> None:
    trace = ["Traceback (most recent call last):", '  File "a.py", line 1, in f', "KeyError: 'gold'"]
    web = ["2026-11-17 06:00:01,000 ERROR no rate", *trace]
    cart = [f"2026-11-17 06:00:0{second},000 INFO order stored" for second in range(4)]
    both = [
        f"{name}-1  | {line}"
        for pair in zip(web, cart, strict=True)
        for name, line in zip(("web", "cart"), pair, strict=True)
    ]
    found = read(tmp_path / "all.log", "\n".join(both * 6) + "\n")
    assert [record.level for record in found] == [17, 9, 9, 9, 9] * 6
    assert all(record.text.endswith("KeyError: 'gold'") for record in found[::5])


@pytest.mark.parametrize(("name", "document", "right"), DOCUMENTS, ids=[name for name, _, _ in DOCUMENTS])
def test_what_a_record_says_beside_its_message_is_read(
    name: str, document: dict[str, Any], right: dict[str, Any], tmp_path: Path
) -> None:
    assert wrong_document(document, right, tmp_path) == [], name


@pytest.mark.parametrize(("name", "line", "code", "seconds"), TIMED, ids=[row[0] for row in TIMED])
def test_a_status_and_a_duration_are_read_where_programs_write_them(
    name: str, line: str, code: int | None, seconds: float | None, tmp_path: Path
) -> None:
    assert wrong_place(line, code, seconds, tmp_path) == [], name


def test_of_a_trace_of_a_million_frames_the_beginning_is_kept_and_the_rest_is_counted(tmp_path: Path) -> None:
    many = 1_000_000
    path = tmp_path / "some.log"
    path.write_text(HEAD.replace("{S}", "01") + FRAME * many + HEAD.replace("{S}", "02"))
    lines = continuations = cut = 0
    for page in reader._every_page(str(path), FileSettings(type="file", name="f", path=(str(path),)), _parser()):
        reduced = reduce(page, SETTINGS)
        lines += page.height
        continuations += int(reduced.lines["continuation"].sum())
        cut += reduced.dropped.get("long_record", 0)
        assert reduced.exemplars["body"].str.len_chars().max() <= 2_000  # type: ignore[operator]
    assert (lines, lines - continuations) == (many + 4, 2)
    assert cut > many - 50_000


def _parser() -> Parser:
    return Parser(FileSettings(type="file", name="f", path=("x",)))


def test_a_document_that_never_ends_swallows_nothing(tmp_path: Path) -> None:
    text = "{\n" + '  "a": 1,\n' * (MOST_LINES_OF_DOCUMENT + 10) + "2026-11-17T06:00:01Z INFO on\n" * 3
    found = read(tmp_path / "some.json", text)
    assert [record.text for record in found[-3:]] == ["0-0-0:0:0Z INFO on"] * 3


def test_the_measure_tells_what_is_wrong(tmp_path: Path) -> None:
    right = traces.CASES[0]
    other = traces.Case("other", [(text, traces.Said(1, "never said", 0)) for text, _ in right.records])
    assert len(measure.wrong(other, tmp_path)) > 1
