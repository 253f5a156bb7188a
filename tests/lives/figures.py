"""The rows of the table that `make evaluate ARGS=lives` prints, from what was told of stories."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from tests.checkouts import REPOSITORY
from tests.lives.judge import Judge, Verdict
from tests.lives.play import play
from tests.lives.stories import CHANGES, REPORTED, STORIES


@dataclass(frozen=True)
class Row:
    """A name, what was reached, and what is to be reached: at least, or with `at_most` at most; None says nothing."""

    name: str
    value: float | None
    goal: float | None = None
    at_most: bool = False


def judged(name: str, seed: int, checkout: Path = REPOSITORY, learnt: Path | None = None) -> Judge:
    """A story as it was told."""
    return Judge(play(STORIES[name](seed), checkout, learnt))


def rows(judge: Judge) -> Iterator[Row]:
    """What there is to say of one story."""
    verdicts = judge.verdicts()
    yield from _OF[judge.played.story.name](judge, verdicts)
    yield Row("pages that belong to nothing", judge.elsewhere, 1, at_most=True)


def _of(verdicts: Sequence[Verdict], *kinds: str) -> list[Verdict]:
    return [one for one in verdicts if one.case.kind in kinds]


def _long(judge: Judge, verdicts: Sequence[Verdict]) -> Iterator[Row]:
    failures, shifts = _of(verdicts, "long"), _of(verdicts, "shift")
    yield Row(
        f"of {len(failures)} long failures: open while it lasts", sum(judge.stays_open(v.case) for v in failures), 4
    )
    yield Row("  the return found", sum(judge.found_again(v.case) for v in failures), 4)
    yield Row("  pages, 2 each", sum(v.pages for v in failures), 8, at_most=True)
    yield Row(
        f"of {len(shifts)} level shifts: one page at most, and adopted", sum(v.right for v in shifts), len(shifts)
    )
    yield Row("  pages", sum(v.pages for v in shifts), len(shifts), at_most=True)


def _pairs(judge: Judge, verdicts: Sequence[Verdict]) -> Iterator[Row]:
    both, seldom = _of(verdicts, "pair"), _of(verdicts, "seldom")
    yield Row(f"of {len(both)} pairs: two incidents, each with its cause", sum(v.right for v in both), 10)
    yield Row(f"of {len(seldom)} failures of seldom signs: one page", sum(v.right for v in seldom), len(seldom))
    yield Row("  pages", sum(v.pages for v in seldom), len(seldom), at_most=True)


def _changes(judge: Judge, verdicts: Sequence[Verdict]) -> Iterator[Row]:
    for kind in CHANGES:
        own = _of(verdicts, kind)
        yield Row(f"of {len(own)} changes ({kind}): pages", sum(v.pages for v in own), 0, at_most=True)
        most = max((v.notices for v in own), default=0)
        yield Row("  notices of one, at most", most, 1, at_most=True)


def _silences(judge: Judge, verdicts: Sequence[Verdict]) -> Iterator[Row]:
    told = [v.told_after for v in verdicts if v.told_after is not None]
    name = f"of {len(verdicts)} silences: told while it lasts, open until it ends, right name"
    yield Row(name, sum(v.right for v in verdicts), len(verdicts) - 1)
    yield Row("  told after, minutes", median(told) if told else None)
    yield Row("  pages", sum(v.pages for v in verdicts))


def _ends(judge: Judge, verdicts: Sequence[Verdict]) -> Iterator[Row]:
    yield Row(f"of {len(verdicts)} failures: one page", sum(v.right for v in verdicts), len(verdicts) - 1)
    ended = [abs(v.ended_after) for v in verdicts if v.ended_after is not None]
    resolved = [v.resolved_after for v in verdicts if v.resolved_after is not None]
    yield Row("  its end is told as so many minutes beside it", median(ended) if ended else None, 3, at_most=True)
    yield Row("  told so many minutes after it", median(resolved) if resolved else None, 8, at_most=True)


_OF = {"long": _long, "pairs": _pairs, "changes": _changes, "silences": _silences, "ends": _ends}


def reported(name: str, checkout: Path = REPOSITORY) -> Iterator[tuple[int, Row]]:
    """The rows of a story, of each seed that is reported."""
    with tempfile.TemporaryDirectory() as folder:
        for seed in REPORTED:
            for row in rows(judged(name, seed, checkout, Path(folder))):
                yield seed, row
