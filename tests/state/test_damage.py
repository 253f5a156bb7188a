"""A slice of `make evaluate ARGS=state`: a damaged file and the commands that open one."""

from __future__ import annotations

import pytest

from tests.damage import opened


@pytest.mark.parametrize("damage", ["rows", "schema", "version"])
def test_a_damaged_file_is_opened_or_a_sentence_says_what_to_do(damage: str) -> None:
    assert [one for one in opened(damage, 7, ["incidents list", "run --once"]) if one.wrong] == []
