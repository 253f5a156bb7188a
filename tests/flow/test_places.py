"""Where records keep what no known name says is chosen once, kept, and chosen anew where a day cannot be read by it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from exporter.config import Config
from exporter.model import NoTelemetry, SystemClock, TimeRange, floor
from exporter.run.assembly import Assembly, assemble
from exporter.run.learning import open_state
from exporter.state import checkpoints
from tests.document_source import Documents, DocumentSource
from tests.flow.test_invariant import Table, config, rows, same
from tests.memory_source import START

MINUTE = timedelta(minutes=1)
MIDNIGHT = floor(START, timedelta(days=1)) + timedelta(days=1)
BEGUN = MIDNIGHT - 12 * MINUTE
WARM, WHOLE = 6, 24


def told(number: int, minute: int) -> dict[str, Any]:
    """The form changes after warm-up."""
    level = "Fehler" if minute == 18 else "Warnung" if number % 7 == 5 else "Information"
    text = f"Beleg {minute * 6 + number} wurde gebucht" if level != "Fehler" else f"Kasse {number} antwortet nicht mehr"
    service = "kasse" if number % 3 else "lager"
    if minute < WARM:
        return {"service": {"name": service}, "stufe": level, "vorfall": {"text": text}}
    return {"app": service, "ernst": level, "meldung": text}


def documents() -> Documents:
    return [
        (BEGUN + minute * MINUTE + timedelta(seconds=4 * number), told(number, minute))
        for minute in range(WHOLE)
        for number in range(12)
    ]


def build(folder: Path, page_size: int = 1000, **fields: str) -> Assembly:
    settings = config(folder)
    source = settings.sources[0]
    if fields:
        raw = {**source.model_dump(exclude_unset=True), "fields": fields}
        source = type(source).model_validate(raw)
        settings = settings.model_copy(update={"sources": (source,)})
    return built(settings, page_size)


def built(settings: Config, page_size: int) -> Assembly:
    source = DocumentSource(settings.sources[0], documents(), page_size)  # type: ignore[arg-type]
    return assemble(settings, SystemClock(), NoTelemetry(), open_state(settings), sources=[source], sinks=[])


async def decided(assembly: Assembly) -> list[tuple[str, dict[str, list[str]]]]:
    found = await assembly.state.read("SELECT start, detail FROM decisions WHERE kind = 'fields' ORDER BY start")
    return [(f"{start - MIDNIGHT.timestamp():+.0f}", json.loads(detail)) for start, detail in found]


async def run(folder: Path, cuts: Sequence[int] = (), restarts: bool = False, page_size: int = 1000) -> Table:
    assembly = build(folder, page_size)
    for cut in sorted({*cuts, WHOLE}):
        pipeline = assembly.pipelines[0]
        await pipeline.start(BEGUN, BEGUN + WARM * MINUTE)
        await pipeline.advance(BEGUN + cut * MINUTE)
        if restarts:
            await assembly.close()
            assembly = build(folder, page_size)
    found = {**await rows(assembly), "decided": list(await decided(assembly))}
    await assembly.close()
    return found


OLD = {"severity": ["stufe"], "body": ["vorfall.text"]}
NEW = {"body": ["meldung", "vorfall.text"], "severity": ["ernst", "stufe"]}


async def test_it_is_chosen_at_the_start_and_anew_after_a_day_that_cannot_be_read(tmp_path: Path) -> None:
    found = await run(tmp_path)
    assert [(since, {name: set(paths) for name, paths in choice.items()}) for since, choice in found["decided"]] == [
        ("-720", {name: set(paths) for name, paths in OLD.items()}),
        ("+0", {name: set(paths) for name, paths in NEW.items()}),
    ]
    mined = str({name: found[name] for name in found if name != "decided"})
    assert "Beleg" in mined
    assert "vorfall" not in mined


@pytest.mark.parametrize(
    ("cuts", "restarts", "page_size"),
    [((5, 12, 13), False, 7), ((3, 11, 12, 20), True, 1000)],
)
async def test_any_division_page_size_and_restart_choose_the_same_and_leave_the_same_rows(
    tmp_path: Path, cuts: tuple[int, ...], restarts: bool, page_size: int
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    same(await run(tmp_path / "a"), await run(tmp_path / "b", cuts, restarts, page_size))


async def test_late_lines_of_the_day_before_are_read_by_what_was_chosen_for_it(tmp_path: Path) -> None:
    assembly = build(tmp_path)
    pipeline, source = assembly.pipelines[0], assembly.pipelines[0].source
    assert isinstance(source, DocumentSource)
    await pipeline.start(BEGUN, BEGUN + WARM * MINUTE)
    await pipeline.advance(MIDNIGHT + MINUTE)
    late = MIDNIGHT - MINUTE + timedelta(seconds=50), told(1, 0)
    source.documents = [*source.documents, late]
    assert await pipeline.sweep(MIDNIGHT + MINUTE) == 1
    assert [since for since, _ in await decided(assembly)] == ["-720", "+0"]
    await assembly.close()


async def test_what_is_configured_is_not_chosen(tmp_path: Path) -> None:
    assembly = build(tmp_path, body="vorfall.text", severity="nirgends")
    await assembly.pipelines[0].start(BEGUN, BEGUN + WARM * MINUTE)
    assert all({"body", "severity"}.isdisjoint(choice) for _, choice in await decided(assembly))
    await assembly.close()


async def test_a_choice_that_cannot_be_read_is_none(tmp_path: Path) -> None:
    assembly = build(tmp_path)
    await assembly.pipelines[0].start(BEGUN, BEGUN + WARM * MINUTE)
    for broken in ("", "[]", '{"body": 7}', '{"body": "x"}'):
        row = checkpoints.choice_row("shop", TimeRange(BEGUN, BEGUN), {"body": ("x",)})
        await assembly.state.write([type(row)(row.table, row.columns, ((*row.rows[0][:-1], broken),))])
        found = await checkpoints.choices(assembly.state, "shop")
        assert found in ([], [(BEGUN, {"body": ("x",)})])
    await assembly.close()
