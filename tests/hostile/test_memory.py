"""What a command holds depends on its limits, not on what it reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.hostile.memory import INPUTS, peak


@pytest.mark.parametrize("name", INPUTS)
def test_memory_is_bounded_whatever_is_read(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    measure, most = INPUTS[name]
    # A folder of a test is named test_…, which is how tokens begin: that loads the library of redaction, 40 MB.
    found = measure(tmp_path_factory.mktemp("read"), 100)
    assert found.code == 0, found.printed
    # A part of the whole: what a gigabyte would come to is in `make evaluate ARGS=hostile`.
    assert found.megabytes < most * 0.75


def test_a_sample_is_said(tmp_path: Path) -> None:
    path = tmp_path / "app.log"
    path.write_bytes(b"a\n" * 1_300_000)
    assert "lines were left out, for all would not fit into memory" in peak(["analyze", path]).printed
