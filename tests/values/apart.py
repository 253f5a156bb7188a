"""Whether what a checkout mines tells the bad line of a pair from the good one."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from tests.field.__main__ import driven
from tests.values.pairs import Pair


def told_apart(pairs: Sequence[Pair], checkout: Path) -> list[bool]:
    """By the template that each line is assigned in the end."""
    with tempfile.TemporaryDirectory() as folder:
        tasks = []
        for number, pair in enumerate(pairs):
            lines = Path(folder, f"{number}.log")
            lines.write_text("\n".join((*pair.lines, *pair.failing, "")))
            tasks.append({"run": ["templates", "mine", str(lines), "--assign", f"{lines}.parquet"]})
        for answer in driven(checkout, tasks):
            if answer["code"]:
                raise SystemExit(f"{checkout}: {answer['err'][-2000:]}")
        return [_apart(pair, Path(folder, f"{number}.log.parquet")) for number, pair in enumerate(pairs)]


def _apart(pair: Pair, assigned: Path) -> bool:
    ids = pl.read_parquet(assigned)["template_id"]
    return bool(ids[len(pair.lines) - 1] != ids[-1])
