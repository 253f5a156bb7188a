"""A memory can be moved: what one installation exports another imports, marked as that one's."""

from __future__ import annotations

import json
from typing import Any

import pytest

from exporter.ingest.redaction import Redactor
from exporter.memory.documents import document
from exporter.memory.embedding import HashingEmbedder
from exporter.memory.moving import AT_ONCE, MARK, MAX_LINE, exported, imported
from exporter.memory.recall import Memory
from exporter.report import rules as reports
from exporter.report.catalogue import catalogue
from exporter.wording import words
from integrations.local_incidents import LocalIncidents
from tests.contracts.test_stores import KeptDocuments
from tests.memory.test_memory import DATABASE, DISK, failure, remember

REDACTOR = Redactor(b"a key of this installation only")
LABELS = ("cluster=eu-1", "environment=staging")


def memory(installation: str, origin: tuple[str, ...] = (), **options: Any) -> Memory:
    store = LocalIncidents(KeptDocuments(), installation=installation)
    return Memory(store, HashingEmbedder(), installation=installation, origin=origin, **options)


@pytest.fixture
async def lines() -> list[str]:
    """What another installation exports; one of its documents was written by an older release."""
    there = memory("there", LABELS)
    await remember(there, failure("database", *DATABASE, days=12, fix="grew the pool"))
    older = failure("disk", *DISK, days=5)
    await there.store.put(document(older, reports.write(older)))
    return [line async for line in exported(there.store, "there", LABELS)]


async def test_an_export_says_of_each_incident_whose_it_is(lines: list[str]) -> None:
    told = [json.loads(line) for line in lines]
    assert [(one["id"], one["installation"], one["origin"]) for one in told] == [
        ("database", "there", list(LABELS)),
        ("disk", "there", list(LABELS)),
    ]


async def test_what_is_imported_is_recalled_as_that_of_another_installation(lines: list[str]) -> None:
    here = memory("here")
    moved = await imported(lines, here, here.store, str)
    assert (moved.read, moved.new, moved.refused) == (2, 2, 0)
    (found,) = await here.recall(failure("now", *DATABASE))
    assert (found.tier, found.fix, found.elsewhere) == ("same", "grew the pool", "cluster=eu-1, environment=staging")
    assert "meaning" in found.matched, "it is embedded anew"
    assert "in cluster=eu-1, environment=staging" in words.because(found)
    (step,) = reports.known_fixes([found])
    assert "(database, in cluster=eu-1, environment=staging), was fixed by: grew the pool" in step.text
    now = failure("now", *DATABASE)
    known = catalogue(now, reports.write(now, [found]))
    assert known.fixes == (), "nobody here said so: no command of it stays in a model's words"


async def test_who_wants_no_others_recalls_only_his_own(lines: list[str]) -> None:
    here = memory("here", others=False)
    await imported(lines, here, here.store, str)
    assert await here.recall(failure("now", *DATABASE)) == ()
    await remember(here, failure("database", *DATABASE, days=3))
    (found,) = await here.recall(failure("now", *DATABASE))
    assert (found.id, found.elsewhere, found.times) == ("database", "", 2)


async def test_what_comes_home_is_ones_own_again(lines: list[str]) -> None:
    home = memory("there")
    await imported(lines, home, home.store, str)
    (found,) = await home.recall(failure("now", *DATABASE))
    assert found.elsewhere == ""


async def test_what_an_older_release_wrote_at_home_is_not_taken_again(lines: list[str]) -> None:
    home = memory("there")
    older = failure("disk", *DISK, days=5)
    await home.store.put(document(older, reports.write(older)))
    assert (await imported(lines, home, home.store, str)).new == 1


async def test_what_is_there_already_is_left_and_a_dry_run_changes_nothing(lines: list[str]) -> None:
    here = memory("here")
    dry = await imported(lines, here, here.store, str, dry=True)
    assert (dry.read, dry.new) == (2, 2)
    assert [one async for one in here.store.everything()] == []
    await imported(lines[:1], here, here.store, str)
    again = await imported([*lines, *lines], here, here.store, str)
    assert (again.read, again.new, again.refused) == (4, 1, 0)


async def test_more_than_are_taken_at_once_are_all_taken() -> None:
    there, here = memory("there"), memory("here")
    past = [failure(f"{number:04}", *DATABASE, days=number + 1) for number in range(2 * AT_ONCE + 1)]
    await there.store.put_all([document(one, reports.write(one)) for one in past])
    moved = await imported([line async for line in exported(there.store, "there", ())], here, here.store, str)
    assert moved.new == len(past) == len([one async for one in here.store.everything()])


BAD = {
    "no JSON": "{",
    "no line of `incidents export`": '{"message": "hello"}',
    "of another version": json.dumps({MARK: 9}),
    "not as an export says it": json.dumps({MARK: 1, "id": 7}),
    "longer than": "x" * (MAX_LINE + 1),
}


@pytest.mark.parametrize("said", BAD)
async def test_a_line_that_is_none_is_named_and_costs_itself_alone(lines: list[str], said: str) -> None:
    here = memory("here")
    moved = await imported(["", BAD[said], *lines], here, here.store, str)
    assert (moved.new, moved.refused) == (2, 1)
    assert moved.why[0].startswith(f"line 2: {said}")


@pytest.mark.parametrize(
    "changes",
    [
        {"installation": ""},
        {"starts_at": None},
        {"starts_at": "2026-01-05T12:00:00"},
        {"lines": "x"},
        {"revision": "x"},
    ],
    ids=str,
)
async def test_a_document_that_is_not_as_it_should_be_is_refused(lines: list[str], changes: dict[str, Any]) -> None:
    here = memory("here")
    spoiled = json.dumps(json.loads(lines[0]) | changes)
    moved = await imported([spoiled, lines[1]], here, here.store, str)
    assert (moved.new, moved.refused) == (1, 1)


async def test_what_is_imported_is_redacted(lines: list[str]) -> None:
    here = memory("here")
    await imported([line.replace("grew the pool", "password=hunter2secret") for line in lines], here, here.store, _hide)
    (kept, *_) = [one async for one in here.store.everything()]
    assert kept.fix == "password=<secret>"


def _hide(text: str) -> str:
    return text.replace("hunter2secret", "<secret>")
