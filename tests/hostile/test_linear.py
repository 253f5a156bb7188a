"""Every function that meets foreign text takes linear time, and none is missing from the table of them."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.hostile.inputs import FOUND, Text
from tests.hostile.search import worst
from tests.hostile.slope import grown
from tests.hostile.table import ELSEWHERE, TABLE, Row

REPOSITORY = Path(__file__).parents[2]

WORKS_ON_TEXT = {
    *("split", "rsplit", "splitlines", "partition", "rpartition", "replace", "find", "rfind", "index", "translate"),
    *("finditer", "findall", "search", "match", "fullmatch", "sub", "loads", "raw_decode", "str", "casefold", "lower"),
}
"""Names of what text is worked on with; `str` is what columns of polars have."""


def modules() -> dict[str, Path]:
    return {
        ".".join(path.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__"): path
        for room in ("exporter", "integrations")
        for path in (REPOSITORY / room).rglob("*.py")
    }


def works_on_text(path: Path) -> bool:
    tree = ast.parse(path.read_text())
    used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    return bool(used & WORKS_ON_TEXT or imported & {"re", "json", "orjson"})


def test_each_module_that_works_on_text_is_in_the_table_or_named_with_a_reason() -> None:
    measured = {module for row in TABLE for module in row.modules}
    working = {name for name, path in modules().items() if works_on_text(path)}
    assert measured <= modules().keys()
    exempt = {name for name in working if any(name == at or name.startswith(f"{at}.") for at in ELSEWHERE)}
    assert working - measured - exempt == set()
    assert all(any(name == at or name.startswith(f"{at}.") for name in working) for at in ELSEWHERE)


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_time_is_linear_in_a_hostile_text(row: Row) -> None:
    found = worst(row, seconds=0.1, seed=0, least=2, most=64_000)
    assert [str(one) for one in found if not one.linear] == []


def test_what_is_quadratic_is_found() -> None:
    def quadratic(text: str) -> int:
        return sum(text.count("a", at) for at in range(0, len(text), 4))

    assert not grown("quadratic", quadratic, Text("", "b", ""), 64_000).linear
    assert grown("linear", str.split, FOUND[0]).linear
