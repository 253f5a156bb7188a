"""Whether what a checkout mines tells the bad line of a pair from the good one, by its template or by a word."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from tests.field.__main__ import driven
from tests.values.pairs import REPOSITORY, Pair


def told_apart(pairs: Sequence[Pair], checkout: Path) -> list[bool]:
    """By the template that each line is assigned in the end; of this checkout also by the words that are kept."""
    with tempfile.TemporaryDirectory() as folder:
        tasks = []
        for number, pair in enumerate(pairs):
            lines = Path(folder, f"{number}.log")
            lines.write_text("\n".join((*pair.lines, *pair.failing, "")))
            tasks.append({"run": ["templates", "mine", str(lines), "--assign", f"{lines}.parquet"]})
        for answer in driven(checkout, tasks):
            if answer["code"]:
                raise SystemExit(f"{checkout}: {answer['err'][-2000:]}")
        found = [_apart(pair, Path(folder, f"{number}.log.parquet")) for number, pair in enumerate(pairs)]
    if checkout != REPOSITORY:
        return found
    return [apart or _by_word(pair) for apart, pair in zip(found, pairs, strict=True)]


def _apart(pair: Pair, assigned: Path) -> bool:
    ids = pl.read_parquet(assigned)["template_id"]
    return bool(ids[len(pair.lines) - 1] != ids[-1])


def _by_word(pair: Pair) -> bool:
    """Whether the bad lines have a word, at a place where few were until then, that no other has there."""
    from datetime import timedelta

    from exporter.detection.observation import observe
    from exporter.detection.valued import ALL, MOST_WORDS, WORDS
    from exporter.detection.views.values import LINES_A_VALUE
    from exporter.ingest.reduction import reduce
    from exporter.ingest.settings import ReductionSettings
    from exporter.mining.miner import Miner
    from exporter.mining.settings import MiningSettings
    from exporter.reading.peeling import peel
    from tests.bench.mining import page_of

    miner, values = Miner("pair", MiningSettings()), []
    # Twice the usual ones: a place is one from when it has opened.
    for window, lines in enumerate((pair.lines, pair.lines, pair.failing)):
        reduced = reduce(page_of(peel(pl.Series("body", lines, dtype=pl.String)).text), ReductionSettings())
        mined = miner.mine(window * 60, reduced)
        values.append(observe("pair", window * 60, timedelta(minutes=1), reduced, mined).values)
    keys = ["service", "family", "place"]
    usual, now = (frame.filter((pl.col("kind") == WORDS) & (pl.col("value") != ALL)) for frame in values[1:])
    few = usual.group_by(keys).agg(pl.len().alias("words"), pl.col("n").max().alias("lines"))
    few = few.filter((pl.col("words") <= MOST_WORDS) & (pl.col("lines") >= LINES_A_VALUE * pl.col("words")))
    new = now.join(usual, on=[*keys, "value"], how="anti").join(few, on=keys, how="semi")
    return not new.is_empty()
