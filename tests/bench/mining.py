"""How well and how fast templates are mined, against drain3 on the same lines in the same run."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

import numpy as np
import polars as pl

from exporter.cli.mine import mine_lines
from exporter.ingest import reduction
from exporter.ingest.exemplars import NO_EXEMPLARS
from exporter.ingest.settings import ReductionSettings
from exporter.ingest.shapes import distinct_shapes, forget
from exporter.mining.miner import Miner
from exporter.mining.settings import MiningSettings
from exporter.model import Reduced, page_schema, stable_key

DATA = Path(os.environ.get("LAE_SHARED_DATA") or Path(__file__).parents[3] / "shared" / "data")
ROUNDS = 3
SERVICE = stable_key("bench")
NAMES = pl.DataFrame({"key": [SERVICE], "text": ["bench"]}, schema=reduction.NAMES_SCHEMA)

# The masks and settings of examples/drain3.ini in drain3's repository.
_BEFORE, _AFTER = r"((?<=[^A-Za-z0-9])|^)", r"((?=[^A-Za-z0-9])|$)"
DRAIN3_MASKS = (
    (rf"{_BEFORE}(([0-9a-f]{{2,}}:){{3,}}([0-9a-f]{{2,}})){_AFTER}", "ID"),
    (rf"{_BEFORE}(\d{{1,3}}\.\d{{1,3}}\.\d{{1,3}}\.\d{{1,3}}){_AFTER}", "IP"),
    (rf"{_BEFORE}([0-9a-f]{{6,}} ?){{3,}}{_AFTER}", "SEQ"),
    (rf"{_BEFORE}([0-9A-F]{{4}} ?){{4,}}{_AFTER}", "SEQ"),
    (rf"{_BEFORE}(0x[a-f0-9A-F]+){_AFTER}", "HEX"),
    (rf"{_BEFORE}([\-\+]?\d+){_AFTER}", "NUM"),
    (r"(?<=executed cmd )(\".+?\")", "CMD"),
)


def accuracy(ids: pl.Series, truth: pl.Series) -> tuple[float, float]:
    """Grouping accuracy: lines whose group is exactly the true one; and the F1 of the same a template."""
    pairs = pl.DataFrame({"id": ids, "truth": truth}).group_by("id", "truth").len("lines")
    sizes = pairs.with_columns(mine=pl.col("lines").sum().over("id"), true=pl.col("lines").sum().over("truth"))
    right = sizes.filter((pl.col("lines") == pl.col("mine")) & (pl.col("lines") == pl.col("true")))
    found, there = pairs["id"].n_unique(), pairs["truth"].n_unique()
    return int(right["lines"].sum()) / len(ids), 2 * right.height / (found + there)


# --- Data ------------------------------------------------------------------------------------------


def hdfs() -> pl.Series:
    """Messages of HDFS."""
    return pl.read_parquet(DATA / "hdfs" / "events.parquet")["m_message"].rename("body")


def trainticket() -> pl.Series:
    """Full lines of TrainTicket."""
    parts = [DATA / "trainticket" / f"{part}_2023-01-29.parquet" for part in ("normal", "faults")]
    return pl.concat([pl.read_parquet(part)["message"] for part in parts]).rename("body")


def page_of(bodies: pl.Series, start: int = 0) -> pl.DataFrame:
    """Lines as a source would bring them: of one service and stream, in order."""
    size = len(bodies)
    numbers = pl.int_range(start, start + size, eager=True)
    known = {
        "id": numbers.cast(pl.String),
        "timestamp": numbers,
        "sequence": numbers,
        "severity": pl.zeros(size, dtype=pl.Int8, eager=True),
        "stream": pl.repeat("stream", size, eager=True),
        "service": pl.repeat("bench", size, eager=True),
        "body": bodies,
    }
    empty = pl.Series(dtype=pl.String).clear(size)
    return pl.DataFrame({name: known.get(name, empty) for name in page_schema()}, schema=page_schema())


# --- Speed -----------------------------------------------------------------------------------------

Reduce = Callable[[pl.DataFrame, ReductionSettings], Reduced]


def prepared(page: pl.DataFrame, settings: ReductionSettings) -> Reduced:
    """What mining needs of a body that is the message already."""
    shapes = distinct_shapes(page["body"], settings)
    keys = pl.Series(shapes.key_of_each())
    service = pl.Series([SERVICE], dtype=pl.UInt64).new_from_index(0, page.height)
    lines = pl.DataFrame([page["timestamp"], service.alias("service"), keys.alias("shape")])
    return Reduced(lines, shapes.frame(keys), NAMES, NO_EXEMPLARS)


def numbers(page: pl.DataFrame, settings: ReductionSettings) -> Reduced:
    """Message, codes, durations, severity and keys as well."""
    return reduction.reduce_to_numbers(page, settings)[1]


def ours(pages: Sequence[pl.DataFrame], settings: ReductionSettings, reduce: Reduce) -> float:
    """Seconds of processor time from pages to the template of each line, nothing being known before."""
    forget()
    miner = Miner("bench", MiningSettings())
    began = time.process_time()
    for window, page in enumerate(pages):
        reduced = reduce(page, settings)
        mined = miner.mine(window, reduced)
        # All lines are of one service, and the templates are in the order of their shapes.
        shapes, templates = mined.templates["shape"].to_numpy(), mined.templates["template"].to_numpy()
        templates[np.searchsorted(shapes, reduced.lines["shape"].to_numpy())]
    return time.process_time() - began


def drain3(lines: Sequence[str]) -> float:
    """Seconds of processor time that drain3's TemplateMiner takes with its sample masks."""
    from drain3 import TemplateMiner
    from drain3.masking import MaskingInstruction
    from drain3.template_miner_config import TemplateMinerConfig

    config = TemplateMinerConfig()
    config.masking_instructions = [MaskingInstruction(pattern, name) for pattern, name in DRAIN3_MASKS]
    config.mask_prefix, config.mask_suffix = "<:", ":>"
    config.drain_max_clusters = 1024
    config.drain_extra_delimiters = ["_"]
    miner = TemplateMiner(config=config)
    began = time.process_time()
    for line in lines:
        miner.add_log_message(line)
    return time.process_time() - began


def speed(name: str, bodies: pl.Series, session: str) -> None:
    """Lines a second of each form, all on the same lines."""
    plain, keyed = ReductionSettings(), ReductionSettings(session_pattern=session)
    forms: dict[str, tuple[Reduce, ReductionSettings, int]] = {
        "prepared body, batches of 10,000": (prepared, plain, 10_000),
        "prepare included, batches of 10,000": (numbers, keyed, 10_000),
        "whole reduce, exemplars redacted, batches of 10,000": (reduction.reduce, keyed, 10_000),
        "prepared body, batches of 1,000": (prepared, plain, 1_000),
    }
    pages = {size: _pages(bodies, size) for size in (1_000, 10_000)}
    base = len(bodies) / drain3(bodies.to_list())
    print(f"{name}, {len(bodies):,} lines: drain3's TemplateMiner with its sample masks {base:,.0f} lines/s")
    rates: dict[str, list[float]] = {form: [] for form in forms}
    for _ in range(ROUNDS):
        for form, (reduce, settings, size) in forms.items():
            rates[form].append(len(bodies) / ours(pages[size], settings, reduce))
    for form, found in rates.items():
        print(f"  {form:52} {median(found):>11,.0f} lines/s  {median(found) / base:5.1f}x")


def _pages(bodies: pl.Series, size: int) -> list[pl.DataFrame]:
    return [page_of(bodies.slice(start, size), start) for start in range(0, len(bodies), size)]


# --- Accuracy, limits, memory ----------------------------------------------------------------------


def loghub() -> None:
    logs = pl.read_parquet(DATA / "loghub" / "loghub_2k.parquet")
    scores = {}
    for (system,), rows in logs.group_by("system", maintain_order=True):
        ids, _ = mine_lines(rows["content"].rename("body"))
        scores[str(system)] = accuracy(ids, rows["event_id"])
    for system, (grouping, f1) in scores.items():
        print(f"  {system:12} GA {grouping:.3f}  FGA {f1:.3f}")
    means = [sum(score[part] for score in scores.values()) / len(scores) for part in (0, 1)]
    print(f"loghub 2k, {len(scores)} systems, one configuration: GA {means[0]:.3f}  FGA {means[1]:.3f}")


def trainticket_accuracy() -> None:
    lines = trainticket()
    ids, _ = mine_lines(lines)
    truth = lines.str.extract(r"\b(\S+#\d+)\b")
    grouping, f1 = accuracy(ids, truth)
    counts = f"{ids.n_unique()} templates, {truth.n_unique()} statements"
    print(f"TrainTicket, full lines, truth Class#line: GA {grouping:.3f}  FGA {f1:.3f}  ({counts})")


def bad_input() -> None:
    random = Random(1)

    def word() -> str:
        return "".join(random.choices("abcdefghijklmnopqrstuvwxyz", k=6))

    def words(count: int) -> str:
        return " ".join(word() for _ in range(count))

    inputs: dict[str, Callable[[], list[str]]] = {
        "200 lines of one token of 100 KB": lambda: ["x" * 100_000] * 200,
        "10 lines of 1 MB": lambda: [words(150_000) for _ in range(10)],
        "200 integer arrays of any length": lambda: [str(list(range(random.randrange(20_000)))) for _ in range(200)],
        "20,000 binary lines": lambda: [random.randbytes(200).decode("utf-8", "replace") for _ in range(20_000)],
        "20,000 Chinese lines": lambda: [
            "".join(chr(random.randrange(0x4E00, 0x9FA5)) for _ in range(30)) for _ in range(20_000)
        ],
        "20,000 lines of 12 random words": lambda: [words(12) for _ in range(20_000)],
        "20,000 lines, the first word the same": lambda: [f"start {words(11)}" for _ in range(20_000)],
        "20,000 lines, one word free": lambda: [f"user {word()} logged in" for _ in range(20_000)],
    }
    for name, make in inputs.items():
        lines = pl.Series("body", make())
        began = time.process_time()
        _, texts = mine_lines(lines)
        print(f"  {name:40} {time.process_time() - began:5.2f} s  {len(texts) - 1:>5} templates")


def memory() -> None:
    """What four million repeated lines add once the first have been seen."""
    bodies, settings, miner = hdfs(), ReductionSettings(), Miner("bench", MiningSettings())
    done, before = 0, 0
    while done < 4_000_000 + len(bodies):
        for start in range(0, len(bodies), 10_000):
            miner.mine((done + start) // 10_000 * 60, reduction.reduce(page_of(bodies.slice(start, 10_000)), settings))
        done += len(bodies)
        before = before or _resident()
    print(f"memory after {done:,} lines: {(_resident() - before) / 1e6:+.0f} MB; peak {_peak() / 1e6:.0f} MB")


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def run() -> None:
    """Print the figures."""
    print(f"\n== mining (polars threads: {pl.thread_pool_size()}; processor time, median of {ROUNDS} rounds) ==")
    if not DATA.is_dir():
        print(f"no real logs: {DATA} is not there; LAE_SHARED_DATA names another place")
        return
    steps: tuple[Callable[[], Any], ...] = (
        loghub,
        trainticket_accuracy,
        lambda: speed("HDFS", hdfs(), r"(blk_-?[0-9]+)"),
        lambda: speed("TrainTicket", trainticket(), r"TraceID: ([0-9a-f]+)"),
        bad_input,
        memory,
    )
    for step in steps:
        step()
