"""Follow sessions from their first line until they are idle, score them, and learn from all of them."""

from __future__ import annotations

import json
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TypeVar

from exporter.detection.observation import Observation
from exporter.detection.rows import Table
from exporter.detection.scoring.session_views import Vector, vector
from exporter.detection.scoring.sessions import SessionModel
from exporter.detection.settings import DetectionSettings
from exporter.model import SqlValue, Write, stable_key
from exporter.model.times import nanoseconds_in

SESSIONS = Table(
    "detection_sessions",
    {"session": str},
    {
        "service": str,
        "first": int,
        "last": int,
        "judged": int,
        "learnt": str,
        "counts": str,
        "score": float,
        "anomalous": int,
    },
)
VECTORS = Table("detection_vectors", {"vector": str}, {"count": int})

Key = TypeVar("Key")

MAX_TEMPLATES = 2_000
"""Distinct templates of one session that are kept."""


@dataclass(frozen=True)
class Part:
    """What one window adds to a session."""

    service: str
    first: int
    last: int
    counts: Mapping[int, int]


@dataclass(frozen=True)
class Session:
    """What is settled of a session, and its last verdict. `learnt` is the vector that the pool has of it."""

    service: str
    first: int
    last: int
    counts: Vector = ()
    judged: int = 0
    learnt: str = ""
    score: float = 0.0
    anomalous: bool = False


@dataclass(frozen=True)
class Verdict:
    """What is thought of a session now."""

    session: str
    service: str
    first: int
    last: int
    vector: Vector
    score: float
    anomalous: bool
    trained: bool = True


def dump(counts: Vector) -> str:
    """A vector as text: rows and hashes are made of it."""
    return json.dumps(counts, separators=(",", ":"))


def parse(text: str) -> Vector:
    return tuple((template, count) for template, count in json.loads(text))


def renamed(counts: Vector, moves: Mapping[int, int]) -> Vector:
    """The vector after templates were merged."""
    out: dict[int, int] = {}
    for template, count in counts:
        target = moves.get(template, template)
        out[target] = out.get(target, 0) + count
    return vector(out)


@dataclass
class SessionBook:
    """All sessions of a source that may still change, and the pool of those that ended."""

    source: str
    settings: DetectionSettings
    idle: timedelta
    max_age: timedelta
    settled: dict[str, Session] = field(default_factory=dict)
    pending: dict[str, dict[int, Part]] = field(default_factory=dict)
    """Parts from windows that are not settled, by session and window."""
    open: dict[str, int] = field(default_factory=dict)
    """Last line of the sessions that have lines which no verdict has seen."""
    unlearnt: dict[str, int] = field(default_factory=dict)
    pool: dict[Vector, int] = field(default_factory=dict)
    learnt: int = 0
    fitted: int = 0
    model: SessionModel | None = None
    dropped: int = 0
    _cache: dict[Vector, tuple[float, bool]] = field(default_factory=dict)

    # --- Taking in ---------------------------------------------------------------------------------

    def take(self, observation: Observation, before: Observation | None) -> None:
        """The parts of one window, instead of those that it had before."""
        stale = set(before.sessions["session"].unique()) if before is not None else set()
        for session in sorted(stale):
            self.pending.get(session, {}).pop(observation.window, None)
        fresh = _parts(observation)
        for session, part in fresh.items():
            if session not in self.pending and session not in self.settled and self._full():
                self.dropped += 1
                continue
            self.pending.setdefault(session, {})[observation.window] = part
        for session in sorted(stale | fresh.keys()):
            self._reopen(session)

    def _full(self) -> bool:
        return len(self.pending) + len(self.settled) >= 4 * self.settings.max_sessions

    def _reopen(self, session: str) -> None:
        last = self._last(session)
        known = self.settled.get(session)
        if not self.pending.get(session):
            self.pending.pop(session, None)
        if last and (known is None or known.judged != last):
            self.open[session] = last
        else:
            self.open.pop(session, None)

    def _last(self, session: str) -> int:
        known = self.settled.get(session)
        parts = self.pending.get(session, {})
        return max([part.last for part in parts.values()] + ([known.last] if known else []), default=0)

    # --- Judging -----------------------------------------------------------------------------------

    def due(self, now: int) -> list[str]:
        """Sessions that are idle at this moment (nanoseconds) and have news."""
        idle = nanoseconds_in(self.idle)
        return sorted(session for session, last in self.open.items() if last + idle <= now)

    def whole(self, session: str) -> Session:
        """The sum of what is settled and what is not."""
        known = self.settled.get(session)
        parts = [part for _, part in sorted(self.pending.get(session, {}).items())]
        counts = dict(known.counts) if known else {}
        lines: dict[str, int] = {}
        for part in parts:
            for template, count in part.counts.items():
                counts[template] = counts.get(template, 0) + count
            lines[part.service] = lines.get(part.service, 0) + sum(part.counts.values())
        service = known.service if known else max(sorted(lines), key=lambda name: lines[name])
        first = min([part.first for part in parts] + ([known.first] if known else []))
        base = known or Session(service, first, 0)
        return replace(base, first=first, last=self._last(session), counts=vector(counts))

    def judge(self, sessions: Iterable[str], keep: bool) -> list[Verdict]:
        """Verdicts on sessions as they stand; with `keep` they are remembered as judged."""
        wholes = [(session, self.whole(session)) for session in sessions]
        scores = self.scores([whole.counts for _, whole in wholes])
        verdicts = []
        for (session, whole), (score, anomalous) in zip(wholes, scores, strict=True):
            verdicts.append(
                Verdict(
                    session, whole.service, whole.first, whole.last, whole.counts, score, anomalous, bool(self.model)
                )
            )
            if keep:
                known = self.settled.get(session) or Session(whole.service, whole.first, 0)
                self.settled[session] = replace(known, judged=whole.last, score=score, anomalous=anomalous)
                self.open.pop(session, None)
        return verdicts

    def scores(self, vectors: Sequence[Vector]) -> list[tuple[float, bool]]:
        """Calibrated score and verdict of each; the same vector is scored once."""
        if self.model is None:
            return [(0.0, False)] * len(vectors)
        fresh = sorted({one for one in vectors if one not in self._cache})
        if fresh:
            raw = self.model.strength(fresh)
            calibrated = self.model.calibration.score(raw)
            if len(self._cache) > 50_000:
                self._cache.clear()
                fresh = sorted(set(vectors))
                raw = self.model.strength(fresh)
                calibrated = self.model.calibration.score(raw)
            for one, strength, score in zip(fresh, raw, calibrated, strict=True):
                self._cache[one] = (float(score), bool(strength > self.model.threshold))
        return [self._cache[one] for one in vectors]

    def judged(self) -> list[str]:
        """Settled sessions that have a verdict."""
        return sorted(name for name, session in self.settled.items() if session.judged)

    def revise(self) -> list[Verdict]:
        """After a fit: withdraw verdicts on sessions whose kind has proved common since. None becomes worse by it."""
        bad = sorted(name for name, known in self.settled.items() if known.anomalous and name not in self.open)
        wholes = [(name, self.whole(name)) for name in bad]
        scores = self.scores([whole.counts for _, whole in wholes])
        out = []
        for (name, whole), (score, _) in zip(wholes, scores, strict=True):
            if self.model is not None and score <= self.model.ordinary:
                self.settled[name] = replace(self.settled[name], score=score, anomalous=False)
                out.append(Verdict(name, whole.service, whole.first, whole.last, whole.counts, score, False))
        return out

    # --- Settling and learning ---------------------------------------------------------------------

    def settle(self, observation: Observation) -> set[str]:
        """Fold a window's parts into what is settled. Returns the sessions whose rows changed."""
        touched = set()
        for session in sorted(set(observation.sessions["session"].unique())):
            part = self.pending.get(session, {}).pop(observation.window, None)
            if part is None:
                continue
            self._fold(session, part)
            touched.add(session)
            self.unlearnt[session] = self.settled[session].last
            if not self.pending[session]:
                del self.pending[session]
        return touched

    def _fold(self, session: str, part: Part) -> None:
        known = self.settled.get(session)
        counts = dict(known.counts) if known else {}
        for template, count in part.counts.items():
            if template in counts or len(counts) < MAX_TEMPLATES:
                counts[template] = counts.get(template, 0) + count
        base = known or Session(part.service, part.first, 0)
        self.settled[session] = replace(
            base, first=min(base.first, part.first), last=max(base.last, part.last), counts=vector(counts)
        )

    def learn(self, now: int) -> tuple[set[str], set[Vector]]:
        """Put the sessions that are idle, as settled, into the pool. Returns changed sessions and vectors."""
        idle = nanoseconds_in(self.idle)
        sessions, vectors = set(), set()
        for session in sorted(name for name, last in self.unlearnt.items() if last + idle <= now):
            del self.unlearnt[session]
            known = self.settled[session]
            text = dump(known.counts)
            if text == known.learnt:
                continue
            if known.learnt:
                old = parse(known.learnt)
                self.pool[old] = self.pool.get(old, 0) - 1
                vectors.add(old)
            self.learnt += 1
            self.pool[known.counts] = self.pool.get(known.counts, 0) + 1
            vectors.add(known.counts)
            self.settled[session] = replace(known, learnt=text)
            sessions.add(session)
        for one in vectors:
            if self.pool.get(one, 0) <= 0:
                self.pool.pop(one, None)
        return sessions, vectors | self._bound()

    def _bound(self) -> set[Vector]:
        """Keep the vectors with the smallest hashes; which these are depends on nothing else."""
        excess = len(self.pool) - self.settings.pool
        if excess <= 0:
            return set()
        gone = sorted(self.pool, key=lambda one: -stable_key(dump(one)))[:excess]
        for one in gone:
            del self.pool[one]
        self.dropped += excess
        return set(gone)

    def forget(self, now: int) -> set[str]:
        """Let go of sessions that cannot come back."""
        limit = now - nanoseconds_in(self.max_age)
        gone = {
            name
            for name, known in self.settled.items()
            if max(known.last, known.judged) <= limit and name not in self.pending and name not in self.unlearnt
        }
        for name in gone:
            del self.settled[name]
            self.open.pop(name, None)
        return gone

    def refit_due(self) -> bool:
        """Whether enough was learnt since the last fit: a quarter more, between 50 and `refit_sessions`."""
        if self.model is None:
            return self.learnt >= self.settings.min_sessions and len(self.pool) > 1
        return self.learnt - self.fitted >= max(50, min(self.settings.refit_sessions, self.fitted // 4))

    def refit(self, pool: Mapping[Vector, int]) -> None:
        """Learn from this pool; the same pool gives the same model."""
        self.model = SessionModel.fit(pool, self.settings)
        self._cache = {}

    # --- Merged templates --------------------------------------------------------------------------

    def rename(self, moves: Mapping[int, int]) -> tuple[set[str], set[Vector]]:
        """Counts of merged templates move. Returns the sessions and vectors whose rows changed, gone ones included."""
        sessions = set()
        for session, known in self.settled.items():
            learnt = dump(renamed(parse(known.learnt), moves)) if known.learnt else ""
            fresh = replace(known, counts=renamed(known.counts, moves), learnt=learnt)
            if fresh != known:
                self.settled[session] = fresh
                sessions.add(session)
        for parts in self.pending.values():
            for window, part in parts.items():
                parts[window] = replace(part, counts=dict(renamed(vector(part.counts), moves)))
        changed = {one for one in self.pool if any(template in moves for template, _ in one)}
        for one in sorted(changed):
            count = self.pool.pop(one)
            target = renamed(one, moves)
            self.pool[target] = self.pool.get(target, 0) + count
            changed.add(target)
        if self.model is not None and any(t in moves for t in self.model.columns.templates):
            merged: dict[Vector, int] = {}
            for one, weight in zip(self.model.pool, self.model.weights, strict=True):
                target = renamed(one, moves)
                merged[target] = merged.get(target, 0) + int(weight)
            self.refit(merged)
        self._cache = {}
        return sessions, changed

    # --- Rows --------------------------------------------------------------------------------------

    def writes(self, sessions: Iterable[str], vectors: Iterable[Vector]) -> Iterator[Write]:
        """The rows of these sessions and vectors as they now stand; those that are gone are deleted."""
        names, ones = sorted(set(sessions)), sorted(set(vectors))
        kept, gone = _parted(names, self.settled)
        yield from SESSIONS.put(self.source, (_row(name, self.settled[name]) for name in kept))
        yield from SESSIONS.delete(self.source, ((name,) for name in gone))
        counted, lost = _parted(ones, self.pool)
        yield from VECTORS.put(self.source, ((dump(one), self.pool[one]) for one in counted))
        yield from VECTORS.delete(self.source, ((dump(one),) for one in lost))

    def load(self, sessions: Sequence[tuple[SqlValue, ...]], vectors: Sequence[tuple[SqlValue, ...]]) -> None:
        """Rows as `writes` wrote them."""
        for _, name, service, first, last, judged, learnt, counts, score, anomalous in sessions:
            known = Session(
                str(service), int(first or 0), int(last or 0), parse(str(counts)), int(judged or 0), str(learnt or ""),
                float(score or 0), bool(anomalous),
            )  # fmt: skip
            self.settled[str(name)] = known
            if known.counts and dump(known.counts) != known.learnt:
                self.unlearnt[str(name)] = known.last
        for _, text, count in vectors:
            self.pool[parse(str(text))] = int(count or 0)

    def resume(self) -> None:
        """After the pending windows were taken in again."""
        for session in sorted({*self.settled, *self.pending}):
            self._reopen(session)


def _row(name: str, known: Session) -> tuple[SqlValue, ...]:
    return (
        name, known.service, known.first, known.last, known.judged, known.learnt, dump(known.counts), known.score,
        int(known.anomalous),
    )  # fmt: skip


def _parted(keys: Iterable[Key], known: Container[Key]) -> tuple[list[Key], list[Key]]:
    """Those that are known, and those that are not any more."""
    there: list[Key] = []
    gone: list[Key] = []
    for key in keys:
        (there if key in known else gone).append(key)
    return there, gone


def _parts(observation: Observation) -> dict[str, Part]:
    """What a window adds to each of its sessions; the service is the one with the most lines."""
    counts: dict[str, dict[int, int]] = {}
    lines: dict[str, dict[str, int]] = {}
    times: dict[str, tuple[int, int]] = {}
    for session, service, template, count, first, last in observation.sessions.iter_rows():
        own = counts.setdefault(session, {})
        own[template] = own.get(template, 0) + count
        of = lines.setdefault(session, {})
        of[service] = of.get(service, 0) + count
        known = times.get(session, (first, last))
        times[session] = (min(known[0], first), max(known[1], last))
    return {
        name: Part(max(sorted(lines[name]), key=lambda s: lines[name][s]), *times[name], counts[name])
        for name in sorted(counts)
    }
