"""The rows of the table that `make story` prints."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing.pool import ThreadPool
from pathlib import Path

import polars as pl

from tests.checkouts import REPOSITORY
from tests.story.cases import EXPECTED, cases
from tests.story.haste import waits
from tests.story.judge import Verdict, ticketed, verdicts
from tests.story.play import Played, asked, play
from tests.story.recount import names, recounted


@dataclass(frozen=True)
class Row:
    """A name, what was reached, and what is to be reached: at least, or with `at_most` at most; None says nothing."""

    name: str
    value: float | str
    goal: float | None = None
    at_most: bool = False


SIDE_BY_SIDE = 2


def shop_figures(seed: int, checkout: Path = REPOSITORY) -> Iterator[Row]:
    """Every kind, twice, in the shops of a seed."""
    with ThreadPool(SIDE_BY_SIDE) as pool:
        played = list(pool.imap(partial(play, checkout=checkout), cases(seed)))
    yield from of_verdicts([one for each in played for one in verdicts(each)])
    yield from of_numbers(played)


def of_verdicts(found: Sequence[Verdict]) -> Iterator[Row]:
    """Headlines, decisive lines and times."""
    first, second = ([one for one in found if one.again is again] for again in (False, True))
    kinds = len(EXPECTED)
    yield Row(f"incidents of {kinds}, first and second time", f"{_told(first)}, {_told(second)}")
    yield Row(f"right headline of {kinds}, first time", sum(one.right for one in first), 18)
    yield Row(f"right headline of {kinds}, second time, with what fixed it", sum(one.whole for one in second), 18)
    yield Row("  right as they opened", f"{sum(v.opening for v in first)}, {sum(v.opening for v in second)}")
    yield Row("  right the second time, whatever fixed it", sum(one.right for one in second))
    yield Row("  another failure's fix proposed", sum(one.wrongly for one in second))
    yield Row(f"decisive line kept of {kinds}", sum(one.line for one in first), 20)
    yield Row("  the second time", sum(one.line for one in second))
    yield Row("since is the first line that shows it", f"{_since(first)}, {_since(second)}")
    for one in found:
        if not one.whole:
            again = "again" if one.again else "first"
            yield Row(f"  {one.kind}, {again}", one.headline or "no incident")


def _told(found: Sequence[Verdict]) -> int:
    return sum(bool(one.headline) for one in found)


def _since(found: Sequence[Verdict]) -> str:
    return f"{sum(one.since is True for one in found)} of {sum(one.since is not None for one in found)}"


def of_numbers(played: Sequence[Played]) -> Iterator[Row]:
    """Numbers and names, counted again."""
    wrong, every, nameless = [], 0, 0
    for each in played:
        for told in each.told:
            found = recounted(each.lines, told)
            every += len(found)
            wrong += [one for one in found if one.wrong]
            nameless += not names(told, each.case.shop.services)
    yield Row(f"numbers of {every} wrong", len(wrong), 0, at_most=True)
    for one in wrong[:5]:
        yield Row(f"  {one.said} said, {one.true} counted", one.text)
    yield Row("headlines about no service that there is", nameless, 0, at_most=True)


TOLD = 50


def haste_figures() -> Iterator[Row]:
    """From the commit that opened an incident to the first request of a place, with a model that never answers."""
    with tempfile.TemporaryDirectory() as folder:
        waited = sorted(asyncio.run(waits(TOLD, Path(folder))))
    last = waited[round(0.95 * len(waited)) - 1]
    yield Row(f"seconds until the first place is asked, p95 of {TOLD}", last, 1.0, at_most=True)


def train_ticket_figures(data: Path, checkout: Path = REPOSITORY) -> Iterator[Row]:
    """The incidents of the TrainTicket day that overlap a label."""
    from tests.evaluate.data import TRAIN_TICKET, TRAIN_TICKET_LABELS

    folder = data / "trainticket"
    if not folder.is_dir():
        return
    source = {
        "type": "file",
        "name": "train-ticket",
        "path": [str(folder / name) for name in TRAIN_TICKET],
        "fields": {
            "body": "message",
            "timestamp": "TimeUnixNano",
            "service": "PodName",
            "trace": "TraceID",
            "host": "Node",
        },
    }
    told = asked({"config": {"sources": [source]}}, checkout)
    times = pl.col("start", "end").str.to_datetime(time_zone="UTC")
    found = ticketed(told, pl.read_csv(folder / TRAIN_TICKET_LABELS).with_columns(times))
    yield Row("incidents that overlap a label", len(found), 15)
    yield Row("share of their headlines right", sum(one.right for one in found) / max(1, len(found)), 0.7)
    for one in found:
        yield Row(f"  {one.service}, {one.kind}: {'right' if one.right else 'WRONG'}", one.headline)
