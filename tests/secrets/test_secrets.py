"""Kinds of secrets, by themselves and planted in a whole daemon: a slice of `make secrets`."""

from __future__ import annotations

from pathlib import Path
from random import Random

import polars as pl
import pytest

from exporter.ingest.redaction import Redactor
from tests.secrets.makers import APART_FILE, CLASSES, KINDS_FILE, kinds
from tests.secrets.measure import measure, plant
from tests.secrets.planting import Planted, alike, planted


def test_there_are_kinds_enough_each_with_a_sample() -> None:
    known = [*kinds(), *kinds(APART_FILE)]
    assert all(sum(kind.of == of for kind in known) >= 50 for of in CLASSES)
    assert len({kind.name for kind in known}) == len(known)
    assert all("«" in kind.sample for kind in known if kind.of != "alike")


@pytest.mark.parametrize(("file", "most"), [(KINDS_FILE, 0), (APART_FILE, 0.02)])
def test_hardly_a_kind_is_left_in_any_line_and_no_look_alike_is_touched(file: Path, most: float) -> None:
    chance = Random(17)
    known = kinds(file)
    secret = [planted(kind, chance, "line") for kind in known if kind.of != "alike" for _ in range(3)]
    harmless = [alike(kind, chance) for kind in known if kind.look_alike != "-"]

    def body(one: Planted) -> str:
        return str(one.rows[0]["body"])

    redacted = Redactor(b"0123456789abcdef").redact_series(pl.Series(map(body, [*secret, *harmless]))).to_list()
    left = [body(one) for one, safe in zip(secret, redacted, strict=False) if any(n in safe for n in one.needles)]
    touched = [body(one) for one, safe in zip(harmless, redacted[len(secret) :], strict=True) if safe != body(one)]
    assert len(left) <= most * len(secret), left
    assert touched == []


def test_nothing_that_is_planted_leaves_the_daemon(tmp_path: Path) -> None:
    found = measure(1, tmp_path, plant(1, lines=1, most=20))
    assert found.unseen <= len(found.planted) // 5, "what no incident cites proves nothing"
    assert [(one.kind.name, one.place, found.places[one.mark]) for one in found.leaks] == []
    assert [one.text for one in found.changed] == []
