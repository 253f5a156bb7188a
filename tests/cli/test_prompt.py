"""`incidents prompt`: what a model was asked and answered, and what it would be asked."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from exporter.cli.main import main
from exporter.model import Asked, Evidence
from exporter.state.file import State
from exporter.state.narration import answers_of, asked_row
from tests import samples
from tests.delivery.test_enrich import MODEL, Model, enriching, opened

SECRET = "hunter2-of-anna"


class Place:
    """A state file with an incident of which a line says a secret, and its exporter.yml."""

    def __init__(self, folder: Path) -> None:
        self.state = folder / "state.db"
        self.file = folder / "exporter.yml"
        source = {"type": "file", "name": "shop", "path": "/var/log/*.log"}
        # A model that nobody could ask: whoever tried would fail.
        llm = {"type": "openai", "base_url": "http://127.0.0.1:9/v1", "model": MODEL}
        self.file.write_text(json.dumps({"state": str(self.state), "sources": [source], "llm": llm}))

    def reported(self, model: Model | None = None) -> list[Asked]:
        """Let the incident be reported on, by a model where there is one. Returns what that was asked."""

        async def report() -> list[Asked]:
            state = State(self.state)
            try:
                line = Evidence("L1", "shop", "a", samples.START, f"a failed: password={SECRET}", 17)
                await state.write(opened(evidence=(line,)))
                async with enriching(state, model=model) as enricher:
                    await enricher.enrich()
                    await enricher.narrate()
                return await answers_of(state, "i1")
            finally:
                state.close()

        return asyncio.run(report())

    def run(self, *options: str, incident: str = "i1") -> int:
        return main(["incidents", "prompt", incident, "-c", str(self.file), *options])


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


Printed = pytest.CaptureFixture[str]


def test_what_left_is_printed_word_for_word_with_the_answer_and_what_it_cost(place: Place, capsys: Printed) -> None:
    answer: dict[str, Any] = {"what_happened": [{"fact": "F1"}], "cause": [], "steps": [], "not_known": []}
    (asked,) = place.reported(Model(answer=answer))
    assert place.run() == 0
    printed = capsys.readouterr().out
    assert f"to {MODEL}, of revision 1; 1 request, 1,000 tokens" in printed
    assert f"{asked.system}\n{asked.user}\n" in printed
    assert json.loads(printed.partition("--- its answer\n")[2]) == answer


def test_where_nothing_has_left_it_is_printed_as_it_would_leave_and_nothing_is_sent(
    place: Place, capsys: Printed
) -> None:
    place.reported()
    assert place.run() == 0
    printed = capsys.readouterr().out
    assert printed.startswith("--- would leave now: ")
    assert "its answer" not in printed


def test_a_dry_run_prints_what_would_leave_now_although_something_has_left(place: Place, capsys: Printed) -> None:
    (asked,) = place.reported(Model())
    assert place.run("--dry-run") == 0
    printed = capsys.readouterr().out
    assert printed.startswith("--- would leave now: ")
    assert "its answer" not in printed
    # But for the delimiter, which is drawn anew for each question, and what secrets are called, it is what left.
    delimiter, *fenced, _ = re.sub(r":[0-9a-f]{6}>", ">", asked.user).split("\n")
    assert "\n".join(fenced) in re.sub(r":[0-9a-f]{6}>", ">", printed)
    assert delimiter not in printed


@pytest.mark.parametrize("model", [None, Model()], ids=["would leave", "left"])
def test_a_secret_is_printed_as_it_leaves_redacted_and_its_kind_is_told(
    place: Place, capsys: Printed, model: Model | None
) -> None:
    place.reported(model)
    assert place.run() == 0
    printed = capsys.readouterr().out
    assert SECRET not in printed
    head = printed.partition("\n")[0]
    assert "redacted in it: 1 " in head


def test_as_json_it_is_the_question_with_its_answer_or_the_question_that_would_leave(
    place: Place, capsys: Printed
) -> None:
    (asked,) = place.reported(Model())
    assert place.run("--format", "json") == 0
    (kept,) = json.loads(capsys.readouterr().out)
    assert (kept["user"], kept["answer"], kept["model"]) == (asked.user, asked.answer, MODEL)
    assert place.run("--dry-run", "--format", "json") == 0
    would = json.loads(capsys.readouterr().out)
    assert would["system"]
    assert "answer" not in would


def test_the_answer_of_each_model_that_was_asked_is_printed(place: Place, capsys: Printed) -> None:
    place.reported(Model())
    asyncio.run(_asked_too(place, "gemma"))
    assert place.run() == 0
    printed = capsys.readouterr().out
    assert printed.count("--- its answer") == 2
    assert "to gemma, of revision 1" in printed


async def _asked_too(place: Place, model: str) -> None:
    state = State(place.state)
    try:
        (asked,) = await answers_of(state, "i1")
        await state.write([asked_row(replace(asked, model=model), model)])
    finally:
        state.close()


def test_an_incident_that_is_not_there_is_a_clear_error(place: Place, capsys: Printed) -> None:
    place.reported()
    assert place.run(incident="i2") == 1
    assert "no incident 'i2' with a report; `incidents list` prints their ids" in capsys.readouterr().err


def test_without_a_state_file_it_says_how_one_comes_to_be(place: Place, capsys: Printed) -> None:
    assert place.run() == 1
    assert "does not exist yet" in capsys.readouterr().err
