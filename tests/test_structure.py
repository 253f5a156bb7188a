"""The rules of the house: what may import what, who speaks SQL, who knows which integrations exist; each can refuse."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

SQL = re.compile(r"\s*(?:SELECT|INSERT|DELETE|UPDATE|REPLACE|CREATE|DROP|ALTER|PRAGMA|BEGIN|COMMIT|ROLLBACK)\b[^.]*\S")
REFERENCE = re.compile(r"(?:exporter|integrations)(?:\.\w+)+:\w+|integrations(?:\.\w+)+")

SPEAKS_SQL = "exporter/state"
DEFINE_DERIVED_TABLES = {"exporter/detection/rows.py", "exporter/mining/rows.py"}
"""The tables of a stage are the stage's own: it says which, and leaves reading and writing to exporter/state."""

KNOWS_INTEGRATIONS = "exporter/config/tables.py"
IMPORTS_BY_NAME = {KNOWS_INTEGRATIONS, "exporter/detection/scoring/ensemble.py"}
"""The second finds PyOD's detectors, of which a configuration names some."""


LONG_FILE, LONG_CLASS = 450, 300
"""Lines above which a docstring says "One file" or "One class" and why that is so."""

TOO_LONG_FOR_NOW: set[str] = set()
"""What is yet to be divided: nothing may be added here."""


def sources(root: Path) -> Iterator[tuple[str, ast.Module]]:
    for top in ("exporter", "integrations"):
        for file in sorted((root / top).rglob("*.py")):
            yield file.relative_to(root).as_posix(), ast.parse(file.read_text())


def texts(tree: ast.Module) -> Iterator[str]:
    """The string constants of a module that are no docstrings."""
    told = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in told:
            yield node.value


def imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def speakers_of_sql(root: Path) -> set[str]:
    """Files outside of exporter/state with statements of SQL, or with SQLite itself."""
    return {
        name
        for name, tree in sources(root)
        if not name.startswith(f"{SPEAKS_SQL}/")
        and (any(SQL.match(text) for text in texts(tree)) or "sqlite3" in imported(tree))
    }


def importers_by_name(root: Path) -> set[str]:
    """Files that hold the name of a module of ours as text, or import what a text names."""
    return {
        name
        for name, tree in sources(root)
        if any(REFERENCE.fullmatch(text) for text in texts(tree)) or "importlib" in imported(tree)
    }


def too_long(root: Path) -> set[str]:
    """Files and classes that are long, and do not say why they are one."""
    found = set()
    for name, tree in sources(root):
        lines = len((root / name).read_text().splitlines())
        if lines > LONG_FILE and "One file" not in (ast.get_docstring(tree) or ""):
            found.add(name)
        classes = (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef))
        long = (one for one in classes if (one.end_lineno or 0) - one.lineno >= LONG_CLASS)
        found |= {f"{name}: {one.name}" for one in long if "One class" not in (ast.get_docstring(one) or "")}
    return found


def test_what_is_long_says_why_it_is_one_thing() -> None:
    assert too_long(ROOT) == TOO_LONG_FOR_NOW


def test_what_is_long_and_does_not_say_why_is_refused(tmp_path: Path) -> None:
    body = "\n".join(f"    x{number} = {number}" for number in range(LONG_FILE))
    long = {
        "exporter/report/offence.py": f"class Offence:\n{body}\n",
        "exporter/report/reason.py": f'"""One file."""\n\n\nclass Reason:\n    """One class."""\n\n{body}\n',
    }
    offend(tmp_path, long)
    assert too_long(tmp_path) == {"exporter/report/offence.py", "exporter/report/offence.py: Offence"}


def test_only_the_state_speaks_sql() -> None:
    assert speakers_of_sql(ROOT) == DEFINE_DERIVED_TABLES


def test_nothing_but_the_table_of_configuration_knows_which_integrations_exist() -> None:
    assert importers_by_name(ROOT) == IMPORTS_BY_NAME


@pytest.mark.parametrize(
    "offence",
    [
        'ROWS = "SELECT body FROM incidents"',
        'def count(table: str) -> str:\n    return f"DELETE FROM {table}"',
        "import sqlite3",
    ],
)
def test_a_file_that_speaks_sql_is_refused(offence: str, tmp_path: Path) -> None:
    offend(tmp_path, {"exporter/report/offence.py": offence})
    assert speakers_of_sql(tmp_path) == {"exporter/report/offence.py"}


@pytest.mark.parametrize(
    "offence",
    [
        'SINK = "integrations.slack.bot:SlackSettings"',
        'import importlib\nimportlib.import_module("integrations." + "slack")',
    ],
)
def test_a_file_that_imports_by_name_is_refused(offence: str, tmp_path: Path) -> None:
    offend(tmp_path, {"exporter/demo/offence.py": offence})
    assert importers_by_name(tmp_path) == {"exporter/demo/offence.py"}


def offend(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n")


OFFENCES = {
    "exporter/mining/offence.py": ("import exporter.flow.brain", "exporter.mining.offence -> exporter.flow.brain"),
    "exporter/detection/offence.py": ("import exporter.state", "exporter.detection.offence -> exporter.state"),
    "exporter/run/offence.py": ("import exporter.demo", "exporter.run.offence -> exporter.demo"),
    "exporter/reading/offence.py": (
        "import exporter.ingest.shapes",
        "exporter.reading.offence imports exporter.ingest.shapes",
    ),
    "exporter/state/offence.py": (
        "import exporter.incidents.clusters",
        "exporter.state.offence imports exporter.incidents.clusters",
    ),
    "exporter/web/offence.py": (
        "import exporter.incidents.clusters",
        "exporter.web.offence imports exporter.incidents.clusters",
    ),
    "integrations/offence.py": ("import integrations.slack.bot", "integrations.offence imports integrations.slack.bot"),
    "integrations/another.py": (
        "import exporter.ingest.redaction",
        "integrations.another imports exporter.ingest.redaction",
    ),
    "integrations/_shared.py": (
        "import integrations.loki.source",
        "integrations._shared imports integrations.loki.source",
    ),
    "exporter/cli/offence.py": ("import integrations.slack.bot", "exporter.cli.offence -> integrations.slack.bot"),
    "exporter/memory/one.py": ("import exporter.memory.other", ".one"),
    "exporter/memory/other.py": ("import exporter.memory.one", ".other"),
}


def import_rules(root: Path, extra: dict[str, str]) -> str:
    """What import-linter says of the house with some files more."""
    for top in ("exporter", "integrations"):
        shutil.copytree(ROOT / top, root / top, ignore=shutil.ignore_patterns("__pycache__"))
    (root / "tests").mkdir()
    for name in ("pyproject.toml", "tests/__init__.py", "tests/import_rules.py"):
        shutil.copyfile(ROOT / name, root / name)
    offend(root, extra)
    code = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root), "COLUMNS": "400"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode, "the rules were kept"
    return done.stdout + done.stderr


def test_each_offending_import_is_refused_by_its_rule(tmp_path: Path) -> None:
    said = import_rules(tmp_path, {name: text for name, (text, _) in OFFENCES.items()})
    assert "KEPT" not in said, "every rule has refused something"
    missed = [name for name, (_, refusal) in OFFENCES.items() if refusal not in said]
    assert missed == []


def test_a_new_room_is_refused_until_it_has_its_place_among_the_layers(tmp_path: Path) -> None:
    said = import_rules(tmp_path, {"exporter/attic/__init__.py": '"""What nobody has found a place for."""'})
    assert "attic" in said
