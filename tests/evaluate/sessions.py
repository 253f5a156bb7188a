"""Sessions of HDFS: prequential through backtest; halves, explanation and baselines on the same vectors."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt

from exporter.config import Config
from exporter.detection import DetectionSettings
from exporter.detection.explanation import explain_session
from exporter.detection.observation import Observation, observe
from exporter.detection.scoring.session_views import Columns, Vector, vector
from exporter.detection.scoring.sessions import SessionModel
from exporter.ingest import reduction
from exporter.ingest.reader import read_and_reduce
from exporter.model import Context, TimeRange
from exporter.run.assembly import make_brain, reduction_settings
from exporter.run.backtest import EARLIEST
from exporter.run.evaluation import session_metrics
from tests.evaluate.data import hdfs_config, hdfs_labels, run

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Sessions:
    """Every session of a data set, in the order in which they began: vector, truth, and its worst level."""

    vectors: tuple[Vector, ...]
    anomalous: Bools
    texts: Mapping[int, str]
    warned: Bools


def prequential(data: Path) -> dict[str, float]:
    """Score, then learn, as the daemon would have, from the first line on."""
    return dict(asyncio.run(run(hdfs_config(data), hdfs_labels(data))).metrics)


def load(data: Path) -> Sessions:
    """The vectors as reduction, mining and observation make them."""
    config = hdfs_config(data)
    truth = hdfs_labels(data).sessions or {}
    counts: dict[str, dict[int, int]] = {}
    first: dict[str, int] = {}
    warned: set[int] = set()
    texts: dict[int, str] = {}
    for seen, known in _observations(config):
        texts |= known
        warned |= set(seen.counts.filter(seen.counts["severity"] >= 13)["template"].to_list())
        for session, _, template, count, begin, _ in seen.sessions.iter_rows():
            own = counts.setdefault(session, {})
            own[template] = own.get(template, 0) + count
            first[session] = min(first.get(session, begin), begin)
    order = sorted(counts, key=lambda name: (first[name], name))
    return Sessions(
        tuple(vector(counts[name]) for name in order),
        np.array([truth.get(name, False) for name in order]),
        texts,
        np.array([bool(warned & counts[name].keys()) for name in order]),
    )


def _observations(config: Config) -> Iterator[tuple[Observation, Mapping[int, str]]]:
    source = config.sources[0]
    brain = make_brain(config, source)
    everything = TimeRange(EARLIEST, EARLIEST + timedelta(days=365 * 60))
    whole = asyncio.run(
        read_and_reduce(source.build(Context()), everything, reduction_settings(config, source, bytes(32)))
    )
    for window, part in sorted(reduction.windows(whole, source.window).items()):
        mined = brain.miner.mine(window, part)
        yield observe(source.name, window, source.window, part, mined), mined.texts


def judged(sessions: Sessions, train: Sequence[int], test: Sequence[int]) -> dict[str, float]:
    """Precision, recall and F1 of one division, with the threshold that the training half gives without labels."""
    model = fit(sessions, train)
    distinct = sorted({sessions.vectors[index] for index in test})
    verdict = dict(zip(distinct, model.strength(distinct) > model.threshold, strict=True))
    return metrics(sessions.anomalous[test], np.array([verdict[sessions.vectors[index]] for index in test]))


def fit(sessions: Sessions, train: Sequence[int]) -> SessionModel:
    """The product's model of these sessions, of which nobody says which are anomalous."""
    pool: dict[Vector, int] = {}
    for index in train:
        pool[sessions.vectors[index]] = pool.get(sessions.vectors[index], 0) + 1
    return SessionModel.fit(pool, DetectionSettings())


def metrics(truth: Bools, found: Bools) -> dict[str, float]:
    """As backtest counts them."""
    names = [str(number) for number in range(len(truth))]
    return session_metrics(
        dict(zip(names, map(bool, truth), strict=True)), dict(zip(names, map(bool, found), strict=True))
    )


def halves(count: int, number: int) -> Iterator[tuple[list[int], list[int]]]:
    """Random divisions, the same each time."""
    for seed in range(number):
        order = np.random.default_rng(seed).permutation(count).tolist()
        yield order[: count // 2], order[count // 2 :]


def explained(sessions: Sessions) -> float:
    """Share of anomalous sessions of which a template that truly differs is among the first three reasons.

    It truly differs when its count is not that of the most alike normal session, which labels tell.
    """
    half = len(sessions.vectors) // 2
    model = fit(sessions, range(half))
    normal = sorted({sessions.vectors[i] for i in range(half) if not sessions.anomalous[i]})
    columns = Columns.of(sessions.vectors)
    known = np.log1p(columns.matrix(normal))
    hits = []
    for one in (sessions.vectors[i] for i in range(half, len(sessions.vectors)) if sessions.anomalous[i]):
        nearest = normal[int(np.abs(known - np.log1p(columns.matrix([one]))).sum(axis=1).argmin())]
        differing = {template for template, _ in set(one) ^ set(nearest)}
        reasons = explain_session(model, one, sessions.texts, None)[:3]
        hits.append(any(differing & set(reason.templates) for reason in reasons))
    return float(np.mean(hits))


def baselines(sessions: Sessions) -> dict[str, dict[str, float]]:
    """What simple means reach on the first division: half trains, half is judged."""
    from pyod.models.iforest import IForest

    half = len(sessions.vectors) // 2
    train, test = range(half), range(half, len(sessions.vectors))
    columns = Columns.of([sessions.vectors[i] for i in train])
    forest = IForest(random_state=0, n_jobs=1).fit(columns.matrix([sessions.vectors[i] for i in train]))
    flagged = forest.predict(columns.matrix([sessions.vectors[i] for i in test])) == 1
    known = set(columns.templates)
    news = np.array([any(template not in known for template, _ in sessions.vectors[i]) for i in test])
    truth = sessions.anomalous[half:]
    return {
        "PyOD IForest on counts, its own threshold": metrics(truth, flagged),
        "any line of level WARN or worse": metrics(truth, sessions.warned[half:]),
        "a template never seen before": metrics(truth, news),
    }
