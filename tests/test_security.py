"""The threat model: each line of it names a test that is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs/security.md").read_text()
ROWS = [line for line in PAGE.splitlines() if line.startswith("|") and not re.match(r"\|(-|[^|]*\| (what|how) )", line)]
LINES = [line for line in ROWS if not line.endswith("| test |")]


def names_in(file: str) -> set[str]:
    tree = ast.parse((ROOT / file).read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


@pytest.mark.parametrize("line", LINES)
def test_each_line_of_the_threat_model_is_held_by_a_test(line: str) -> None:
    named = re.fullmatch(r"\|.*\| `(tests/[\w/]+\.py)::(test_\w+)` \|", line)
    assert named, "the line names no test"
    assert named[2] in names_in(named[1])


def test_the_threat_model_has_lines_and_can_be_found() -> None:
    assert len(LINES) > 25
    assert "docs/security.md" in (ROOT / "SECURITY.md").read_text()
    assert "docs/security.md" in (ROOT / "README.md").read_text()
