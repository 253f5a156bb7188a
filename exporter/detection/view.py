"""What a view of detection owes.

A view judges one thing about the services of a source. It is a class in a file of `exporter.detection.views` and an
entry in the table there; `tests/contracts/test_views.py` holds each to what stands here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import polars as pl

from exporter.detection.localisation import SCORES
from exporter.detection.look import Look
from exporter.detection.observation import Observation
from exporter.detection.past.index import Number, Placed
from exporter.detection.past.source import Numbers, Past, Settled
from exporter.detection.rows import Rows, Table
from exporter.model import Anomaly, Contribution, ContributionKind, Notice, OwnKind, Write

Floats = npt.NDArray[np.float64]

SESSION_FRAME = {"session": pl.String(), "service": pl.String(), "score": pl.Float64(), "anomalous": pl.Boolean()}
# Most windows have no verdicts, and many no lines: making an empty frame costs more than all else of them.
NO_SESSIONS = pl.DataFrame(schema=SESSION_FRAME)
NO_SERVICES = pl.DataFrame(schema=SCORES)


@dataclass(frozen=True)
class Feature:
    """A number that a view gives of each service of a window: at least 0, and larger when the window is stranger.

    unit: what is ordinary whatever the past was; what is above it counts in multiples of it at least.
    words: what the service does of which this is the strongest sign, said of it in a ranking.
    """

    unit: float
    words: str


@dataclass(frozen=True)
class Reason:
    """Something unusual and how strange it is, in standard deviations; its share is set when it is told."""

    size: float
    finding: Contribution


@dataclass(frozen=True)
class Measured:
    """The features of a view. `rows` has one row a service of the look, in its order, and one column a feature."""

    rows: Floats
    reasons: Callable[[str], Iterable[Reason]]
    """What is unusual of a service, the strangest first."""


@dataclass(frozen=True)
class Account:
    """Why a view has its opinion. `since` is when it began, where the view knows; `witnesses` name who agrees."""

    reasons: Sequence[Reason]
    since: datetime | None = None
    witnesses: tuple[str, ...] = ()
    severity: int = 0
    """How bad it is by itself, whatever the level of the lines."""


@dataclass(frozen=True)
class Opinion:
    """What a view thinks of a service in a window: a score in [0, 1], and why, asked for only if it is told."""

    score: float
    account: Callable[[], Account]


@dataclass(frozen=True)
class Sight:
    """What a view sees in a window.

    opinions: by service. Those of all views on one service make one anomaly, as strong as the strongest.
    anomalies: what stands for itself.
    scores: how strange each service is, with SCORES among its columns; of the one view that ranks them.
    """

    opinions: Mapping[str, Opinion] = field(default_factory=dict)
    anomalies: tuple[Anomaly, ...] = ()
    scores: pl.DataFrame = field(default_factory=lambda: NO_SERVICES)


@dataclass(frozen=True)
class Detection:
    """What judging or settling a window found.

    scores: how strange each service of the window is, one row each (SCORES), to rank them by.
    sessions: verdicts that changed, one row each (SESSION_FRAME).
    notes: what limits left out, by reason.
    learning: what was missing, in words, when no window could be called anomalous yet.
    notices: what is worth knowing and is no anomaly.
    """

    anomalies: tuple[Anomaly, ...] = ()
    scores: pl.DataFrame = field(default_factory=lambda: NO_SERVICES)
    sessions: pl.DataFrame = field(default_factory=lambda: NO_SESSIONS)
    writes: tuple[Write, ...] = ()
    notes: Mapping[str, int] = field(default_factory=dict)
    learning: str = ""
    notices: tuple[Notice, ...] = ()


class View:
    """One side from which a source is judged. A view keeps to the verbs that it needs; the others do nothing.

    What a view has learnt is a function of its rows: `load` of all that it has written makes the same view.
    """

    name: ClassVar[str]
    kinds: ClassVar[tuple[ContributionKind, ...]] = ()
    """Kinds of what it finds, of those that `exporter.wording` can say."""
    own_kinds: ClassVar[Mapping[OwnKind, str]] = {}
    """Kinds that only this view knows, each with the words for it: `Contribution.words`."""
    features: ClassVar[Mapping[str, Feature]] = {}
    """What it measures of each service in a window. The features of all views are scored together."""
    codes: ClassVar[tuple[int, ...]] = ()
    """Kinds of numbers that it adds to what is summed up of every window (`count`), from `index.OWN` on."""
    tables: ClassVar[tuple[Table, ...]] = ()
    """Where it keeps what it has learnt, beside a few numbers (`numbers`)."""

    def __init__(self, past: Past) -> None:
        self.past = past

    # --- A window that may still change ------------------------------------------------------------

    def count(self, observation: Observation) -> Iterable[Number]:
        """Numbers of a window, of the kinds in `codes`: the past sums them up, and `Look.compare` compares them."""
        return ()

    def measure(self, look: Look, span: Sequence[Placed]) -> Measured:
        """The features of the services of a window, over one of its spans; owed by a view that has any."""
        raise NotImplementedError

    def headline(self, scaled: Floats) -> Floats:
        """What the strongest evidence alone says, of rows of features in units of what is rare for the service."""
        return np.asarray(scaled.max(axis=1))

    def judge(self, look: Look) -> Sight:
        """What is unusual in a window; changes nothing."""
        return Sight()

    def note(self, look: Look, observation: Observation) -> Observation:
        """The window with what judging it found, as it is kept until it settles."""
        return observation

    def take(self, look: Look, sight: Sight) -> Detection:
        """Keep a window that was judged, in place of what it held before (`Look.before`)."""
        return Detection()

    # --- A window that has settled -----------------------------------------------------------------

    def withhold(self, settled: Settled, later: Sequence[Observation]) -> Observation | None:
        """The window as it is to be learnt from, where that is not as it was; `later` are those that follow it."""
        return None

    def settle(self, settled: Settled) -> Detection:
        """What only a whole window can show, before anyone has learnt from it."""
        return Detection()

    def learn(self, settled: Settled) -> Detection:
        """Learn from it, after `Past` has; fit what is due, and forget what is old."""
        return Detection()

    def finish(self) -> Detection:
        """What is to be said of what is still open when there will be no more windows; changes nothing."""
        return Detection()

    # --- Rows --------------------------------------------------------------------------------------

    def rename(self, moves: Mapping[int, int]) -> tuple[Write, ...]:
        """Templates (keys) were merged into others (values): what is counted of them moves."""
        return ()

    def numbers(self) -> Numbers:
        """The few numbers that are kept without a table of their own; no two views give one the same name."""
        return {}

    def load(self, rows: Rows, numbers: Numbers) -> None:
        """Learn again, exactly, what was written: `past` has been loaded before."""


def joined(parts: Iterable[Detection]) -> Detection:
    """What several views found, as one, in their order. Scores are those of the one view that ranks services."""
    given = list(parts)
    scores = [one.scores for one in given if len(one.scores)]
    sessions = [one.sessions for one in given if len(one.sessions)]
    notes: dict[str, int] = {}
    for reason, amount in (item for one in given for item in one.notes.items() if item[1] > 0):
        notes[reason] = notes.get(reason, 0) + amount
    return Detection(
        anomalies=tuple(anomaly for one in given for anomaly in one.anomalies),
        scores=scores[0] if scores else NO_SERVICES,
        sessions=pl.concat(sessions) if len(sessions) > 1 else sessions[0] if sessions else NO_SESSIONS,
        writes=tuple(write for one in given for write in one.writes),
        notes=notes,
        notices=tuple(notice for one in given for notice in one.notices),
    )
