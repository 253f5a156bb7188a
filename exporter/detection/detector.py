"""Judge windows and sessions of one source against all that is known of it; memory holds what the rows hold."""

from __future__ import annotations

import heapq
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from exporter.detection import explanation
from exporter.detection.evidence import Lines, cited
from exporter.detection.localisation import SCORES
from exporter.detection.observation import Observation, empty, pack, survivors, unpack
from exporter.detection.past import index as base
from exporter.detection.past.history import HOUR, RECENT, History
from exporter.detection.past.index import Bools, Placed
from exporter.detection.scoring import contract
from exporter.detection.settings import SESSION_DETECTORS, WINDOW_DETECTORS, DetectionSettings
from exporter.detection.views import deviations as windows
from exporter.detection.views.absence import Presences
from exporter.detection.views.deviations import COLUMNS, Deviations, Models, Now
from exporter.detection.views.sessions import SessionBook, Verdict, dump, parse
from exporter.model import EPOCH, Anomaly, Contribution, Severity, SqlValue, Write, from_nanoseconds, stable_key

if TYPE_CHECKING:
    from exporter.mining.templates import Mined

Rows = Mapping[str, Sequence[tuple[SqlValue, ...]]]

SESSION_FRAME = {"session": pl.String(), "service": pl.String(), "score": pl.Float64(), "anomalous": pl.Boolean()}
# Most windows have no verdicts, and many no lines: making an empty frame costs more than all else of them.
_NO_SESSIONS = pl.DataFrame(schema=SESSION_FRAME)
_NO_SERVICES = pl.DataFrame(schema=SCORES)
MIN_RANKED_WINDOWS = 6
"""Windows from which services can be ranked by a fitted scale; alarms need more."""

MIN_KNOWN_WINDOWS = 3
"""Windows of a service before its deviations mean anything, and are learnt from."""

MIN_GAP = 2
"""Windows without a line from a source that always had some, before that is told."""

MAX_TOLD_SESSIONS = 50
"""Sessions that are told of one window, the strangest first."""

KEEP_SCORES = timedelta(days=2)
"""How long the scores of windows are kept for ranking services."""

NEW_TEMPLATE_SCORE = 0.9995
"""Score of a window with an error-worded template that its service never wrote before: one in two thousand; or with
one that warns, once it does so again and again.

Measured on TrainTicket: 18 such events in 131 minutes of faults in 27 services, 5 of them at the true cause."""

AGAIN = 5
"""Lines of a new template that warns, in the RECENT windows, from which it is more than an oddity."""

NEW_SERVICE_SCORE = 0.9
"""A service never seen before is one piece of news, and no failure."""


@dataclass(frozen=True)
class Detection:
    """What judging or settling a window found.

    scores: one row a service of the window: SCORES, what detectors saw, and `learning` before it may alarm.
    sessions: verdicts that changed: session, service, score, anomalous.
    learning: what was missing, in words, when no window could be called anomalous yet.
    """

    anomalies: tuple[Anomaly, ...] = ()
    scores: pl.DataFrame = field(default_factory=lambda: _NO_SERVICES)
    sessions: pl.DataFrame = field(default_factory=lambda: _NO_SESSIONS)
    writes: tuple[Write, ...] = ()
    notes: Mapping[str, int] = field(default_factory=dict)
    learning: str = ""


class Detector:
    """Everything learnt about one source."""

    def __init__(
        self,
        source: str,
        settings: DetectionSettings,
        window: timedelta,
        late_window: timedelta,
        idle: timedelta = timedelta(minutes=10),
        max_age: timedelta = timedelta(hours=24),
    ) -> None:
        if (settings.sessions, settings.windows) != (SESSION_DETECTORS, WINDOW_DETECTORS):
            contract.verify(settings)
        self.source = source
        self.settings = settings
        self.duration = window
        self.step = window // timedelta(seconds=1)
        self.late_window = late_window
        self.book = SessionBook(source, settings, idle, max_age)
        self.presences = Presences(source, settings, self.step)
        self.texts: dict[int, str] = {}
        self._renames: dict[int, int] = {}
        self._pending: dict[int, Observation] = {}
        """Windows that are not settled."""
        self.history = History(source, self.step, settings.history, settings.adopt_after)
        self._pool: dict[tuple[int, str], tuple[float, ...]] = {}
        self._ranked: list[tuple[int, int, str]] = []
        """The pool as a heap: of too many, those with the largest hashes go."""
        self._placed: dict[int, Placed] = {}
        """Numbers of windows that are not settled: the same as are made of their observations again."""
        self._unpooled: dict[int, pl.DataFrame] = {}
        """Features of windows that are not settled."""
        self._models: Models | None = None
        self._settled = -1
        self._learnt = 0
        """Settled windows that had lines."""
        self._fitted = 0
        self._gap = 0
        """Settled windows in a row in which the source said nothing."""
        self._longest_gap = 0

    # --- Loading -----------------------------------------------------------------------------------

    def load(self, rows: Rows, texts: Mapping[int, str]) -> None:
        """Learn again what the rows hold, exactly."""
        self.texts = dict(texts)
        self._renames = {_int(old): _int(new) for _, old, new in rows.get("detection_renames", ())}
        for _, settled, learnt, body in rows.get("detection_progress", ()):
            self._settled, self._learnt = _int(settled), _int(learnt)
            state = json.loads(str(body))
            self._fitted, self._gap, self._longest_gap = state["fitted"], state["gap"], state["longest_gap"]
            self.book.learnt, self.book.fitted = state["sessions"], state["sessions_fitted"]
        self.book.load(rows.get("detection_sessions", ()), rows.get("detection_vectors", ()))
        self.presences.load(rows.get("detection_services", ()))
        running = []
        for _, window, body in rows.get("detection_observations", ()):
            data = _bytes(body)
            one = Observation.from_bytes(self.source, data) if data else empty(self.source, _int(window), self.duration)
            if one.window <= self._settled:
                running += [] if one.services.is_empty() else [one]
            else:
                self._pending[one.window] = one
                self.book.take(one, None)
        self.book.resume()
        self.history.load(rows.get("detection_blocks", ()), running, self._renames)
        for _, window, service, body in rows.get("detection_pool", ()):
            self._put(_int(window), str(service), _floats(_bytes(body)))
        for _, window, body in rows.get("detection_scores", ()):
            if _int(window) > self._settled:
                self._unpooled[_int(window)] = unpack(_bytes(body))
        for _, kind, _through, body in rows.get("detection_models", ()):
            self._restore(str(kind), _bytes(body))

    def _restore(self, kind: str, body: bytes) -> None:
        frame = unpack(body)
        if kind == "sessions":
            pairs = zip(frame["vector"].to_list(), frame["count"].to_list(), strict=True)
            self.book.refit({parse(text): count for text, count in pairs})
        else:
            self._models = self._fit_windows(frame)

    # --- Judging -----------------------------------------------------------------------------------

    def judge(
        self,
        observation: Observation,
        mined: Mined,
        exemplars: pl.DataFrame,
        late: bool,
        learn: bool = True,
    ) -> Detection:
        """What is unusual in a window, and in the sessions that are idle at its end."""
        writes: list[Write] = []
        moves = survivors(mined.merged)
        if learn and moves:
            writes += self._rename(moves)
        texts = {**self.texts, **mined.texts}
        placed = self.history.placed(base.seen(observation))
        scores, found = self._score(observation, placed, texts)
        lines = Lines(self.source, exemplars, mined)
        anomalies = self._window_anomalies(observation, placed, scores, found, lines, texts)
        if not learn:
            return Detection(tuple(anomalies), scores.select(list(SCORES)))
        self.texts = texts
        before = self._pending.get(observation.window)
        if observation.window > self._settled:
            self.book.take(observation, before)
            self._pending[observation.window] = observation
            self._placed[observation.window] = placed
            self._unpooled[observation.window] = scores
            writes.append(self._observation_row(observation))
            writes.append(self._scores_row(observation.window, scores))
        newest = max([observation.window, *self._pending])
        verdicts = self.book.judge(self.book.due((newest + self.step) * 10**9), keep=True)
        writes += self.book.writes([verdict.session for verdict in verdicts], ())
        bad = sorted((v for v in verdicts if v.anomalous), key=lambda v: (-v.score, v.session))
        anomalies += [self._session_anomaly(v, lines, newest) for v in bad[:MAX_TOLD_SESSIONS]]
        notes = {"anomalous_sessions": max(0, len(bad) - MAX_TOLD_SESSIONS), "transitions": observation.limited}
        marked = tuple(replace(a, late=late) for a in anomalies)
        kept, sessions = scores.select(list(SCORES)), _session_frame(verdicts)
        return Detection(marked, kept, sessions, tuple(writes), _positive(notes), self.learning)

    def _score(
        self, observation: Observation, placed: Placed, texts: Mapping[int, str]
    ) -> tuple[pl.DataFrame, tuple[Deviations, ...]]:
        """Scores of the services of a window (SCORES, COLUMNS, learning), and all deviations: its own, and of the last
        RECENT windows together."""
        names = observation.services["service"].to_list()
        if not names:
            return _NO_SCORES, ()
        recent = [*self._before(observation.window), placed]
        index, pasts = self.history.index, self.history.pasts(observation.window)
        harmless = self._harmless(observation, recent, texts)
        found = tuple(windows.deviations(index, Now.of(index, parts), pasts, harmless) for parts in ([placed], recent))
        rows = np.hstack([windows.vectors(one, names) for one in found])
        strength, score, reasons = windows.scored(self._models, names, rows)
        known = [self.presences.windows(name) for name in names]
        young = self._models is None or not self._seasoned()
        columns: dict[str, Any] = {"service": names, **dict(zip(COLUMNS, rows.T, strict=True))}
        columns |= {"score": score, "strength": strength, "reason": reasons}
        columns["learning"] = [young or count < self.settings.min_service_windows for count in known]
        columns["known"] = [count >= MIN_KNOWN_WINDOWS for count in known]
        return pl.DataFrame(columns, schema=_SCORED), found

    def _harmless(self, observation: Observation, recent: Sequence[Placed], texts: Mapping[int, str]) -> Bools:
        """By place, new templates of the last windows of which neither level nor words speak of a failure."""
        index = self.history.index
        seen, out = np.zeros(len(index), np.bool_), np.zeros(len(index), np.bool_)
        for one in recent:
            seen[one.places] = True
        keys = {place: index.keys[place] for place in self.history.young(np.flatnonzero(seen)).tolist()}
        if keys:
            new = {(service, template) for service, _, template, _ in keys.values()}
            pending = [one for start, one in sorted(self._pending.items()) if start < observation.window]
            levels = _levels([*pending[-RECENT:], observation], new, texts)
            out[[place for place, key in keys.items() if levels.get(key[::2], 0) < Severity.WARN]] = True
        return out

    def _before(self, window: int) -> list[Placed]:
        """The RECENT windows that end with this one, without it."""
        first = window - (RECENT - 1) * self.step
        pending = [start for start in sorted(self._pending) if first <= start < window]
        return [*self.history.before(window), *(self._numbers(start) for start in pending)]

    def _numbers(self, window: int) -> Placed:
        """Of a window that is not settled."""
        if window not in self._placed:
            self._placed[window] = self.history.placed(base.seen(self._pending[window]))
        return self._placed[window]

    @property
    def learning(self) -> str:
        """What is missing before any window may be called anomalous, in words; empty when nothing is."""
        for name, known, what in (
            ("min_service_windows", self._learnt, "windows with lines"),
            ("min_windows", len(self._pool), "windows of services"),
        ):
            needed = getattr(self.settings, name)
            if known < needed:
                return f"knows {known} of the {needed} {what} that it needs to call any anomalous (detection.{name})"
        return ""

    def _seasoned(self) -> bool:
        """Whether enough was learnt to call anything anomalous: windows of the source, and of all its services."""
        return not self.learning

    # --- Anomalies ---------------------------------------------------------------------------------

    def _window_anomalies(
        self,
        observation: Observation,
        placed: Placed,
        scores: pl.DataFrame,
        found: Sequence[Deviations],
        lines: Lines,
        texts: Mapping[int, str],
    ) -> list[Anomaly]:
        out = []
        seasoned = self._seasoned()
        fresh = self._new_templates(observation.window, placed)
        levels = _levels([observation], {(name, template) for name, own in fresh.items() for template in own}, texts)
        for row in scores.iter_rows(named=True):
            service = row["service"]
            known = self.presences.windows(service)
            if known == 0:
                if seasoned and not self.presences.pending(service, observation.window, self._pending):
                    out.append(self._new_service(observation, service, lines))
                continue
            own = fresh.get(service, {})
            score = 0.0 if row["learning"] else row["score"]
            telling = any(_telling(levels[service, template], lines) for template, (_, lines) in own.items())
            if telling and known >= min(3, self.settings.min_service_windows) and seasoned:
                score = max(score, NEW_TEMPLATE_SCORE)
            if score >= self.settings.window_score:
                new = {template: count for template, (count, _) in own.items()}
                out.append(self._window_anomaly(observation, service, score, row, found, new, lines, texts))
        return out

    def _new_templates(self, window: int, placed: Placed) -> dict[str, dict[int, tuple[int, int]]]:
        """Of each template that no settled window has, by service: its lines now, and in the RECENT windows."""
        index, total = self.history.index, self.history.total()
        news = (index.kind[placed.places] == base.TEMPLATE) & (total[placed.places, base.WINDOWS] == 0)
        out: dict[str, dict[int, tuple[int, int]]] = {}
        recent = [*self._before(window), placed] if news.any() else []
        for place, count in zip(placed.places[news].tolist(), placed.count[news].tolist(), strict=True):
            service, _, template, _ = index.keys[place]
            together = sum(int(one.count[one.places == place].sum()) for one in recent)
            out.setdefault(service, {})[template] = (count, together)
        return out

    def _window_anomaly(
        self,
        observation: Observation,
        service: str,
        score: float,
        row: Mapping[str, Any],
        found: Sequence[Deviations],
        new: Mapping[int, int],
        lines: Lines,
        texts: Mapping[int, str],
    ) -> Anomaly:
        start = _moment(observation.window)
        scale, names = windows.witnesses(self._models, service, np.array([row[name] for name in COLUMNS]))
        since = start - scale * (RECENT - 1) * self.duration
        reasons = explanation.explain_window(found[scale].of(service), texts, new, since)
        evidence = lines.of(service, [t for reason in reasons for t in reason.templates])
        return Anomaly(
            source=self.source,
            service=service,
            window=start,
            duration=self.duration,
            kind="window",
            score=score,
            threshold=self.settings.window_score,
            severity=lines.highest(service, [t for reason in reasons for t in reason.templates]),
            contributions=tuple(cited(reason, evidence) for reason in reasons),
            reached=start + self.duration,
            evidence=evidence,
            detectors=names or (("new_template",) if new else ()),
            hosts=lines.hosts(service),
            traces=lines.traces(service),
            sampled=observation.sampled,
        )

    def _new_service(self, observation: Observation, service: str, lines: Lines) -> Anomaly:
        start = _moment(observation.window)
        total = observation.services.filter(pl.col("service") == service)["lines"].sum()
        reason = Contribution("new_service", service, float(total), 0.0, "lines", 1.0, start)
        return Anomaly(
            source=self.source,
            service=service,
            window=start,
            duration=self.duration,
            kind="window",
            score=NEW_SERVICE_SCORE,
            threshold=self.settings.window_score,
            severity=int(Severity.INFO),
            contributions=(reason,),
            reached=start + self.duration,
            evidence=lines.of(service, ())[:2],
            detectors=("new_service",),
            hosts=lines.hosts(service),
            sampled=observation.sampled,
        )

    def _session_anomaly(self, verdict: Verdict, lines: Lines, newest: int) -> Anomaly:
        assert self.book.model is not None  # noqa: S101 - a verdict is anomalous only with a model
        last = verdict.last // 10**9 // self.step * self.step
        since = from_nanoseconds(verdict.first)
        reasons = explanation.explain_session(self.book.model, verdict.vector, self.texts, since)
        templates = [t for reason in reasons for t in reason.templates]
        evidence = lines.of(verdict.service, templates, strict=True)
        threshold = float(self.book.model.calibration.score(np.array([self.book.model.threshold]))[0])
        votes = self.book.model.ensemble.each(self.book.model.columns.matrix([verdict.vector]))[0]
        names = tuple(
            member.name
            for member, vote in zip(self.book.model.ensemble.members, votes, strict=True)
            if vote > self.book.model.threshold
        )
        return Anomaly(
            source=self.source,
            service=verdict.service,
            window=_moment(last),
            duration=self.duration,
            kind="session",
            score=verdict.score,
            threshold=threshold,
            severity=max((explanation.worded(self.texts.get(t, "")) for t in templates), default=int(Severity.INFO)),
            contributions=tuple(cited(reason, evidence) for reason in reasons),
            reached=_moment(newest) + self.duration,
            evidence=evidence,
            detectors=names,
            session=verdict.session,
        )

    # --- Settling ----------------------------------------------------------------------------------

    def settle(self, window: int) -> Detection:
        """What follows when a window will not change any more: absence, learning, fits and forgetting."""
        observation = self._pending.pop(window, None)
        scores = self._unpooled.pop(window, None)
        if window <= self._settled or (observation is None and self._settled < 0):
            return Detection()
        self._settled = window
        writes: list[Write] = []
        anomalies: list[Anomaly] = []
        now = (window + self.step) * 10**9
        touched: set[str] = set()
        if observation is not None:
            placed = self._placed.pop(window, None) or self.history.placed(base.seen(observation))
            anomalies += self._absence(observation, placed)
            touched |= self.book.settle(observation, now)
            writes += self._learn(observation, placed, scores)
        sessions, vectors = self.book.learn(now)
        touched |= sessions | self.book.forget(now)
        writes += self.book.writes(touched, vectors)
        writes += self.history.roll(window)
        writes += self.presences.writes()
        frame, fits = self._refit(window)
        writes += fits
        writes += self._prune(window)
        writes.append(self._progress_row())
        notes = {"sessions": self.book.dropped, "services": self.presences.dropped}
        self.book.dropped = self.presences.dropped = 0
        return Detection(tuple(anomalies), sessions=frame, writes=tuple(writes), notes=_positive(notes))

    def finish(self) -> Detection:
        """Judge the sessions that are still open, as incomplete; changes nothing."""
        verdicts = self.book.judge(sorted(self.book.open), keep=False)
        return Detection(sessions=_session_frame(verdicts))

    def _learn(self, observation: Observation, placed: Placed, scores: pl.DataFrame | None) -> list[Write]:
        if observation.services.is_empty():
            return []
        self._learnt += 1
        self.presences.learn(observation)
        self.history.learn(observation.window, placed)
        return self._pool_rows(observation.window, scores) if scores is not None else []

    def _pool_rows(self, window: int, scores: pl.DataFrame) -> list[Write]:
        """Put the window's vectors into the pool; of too many, those with the smallest hashes stay.

        Then what is kept of the window's scores is what services are ranked by.
        """
        usable = scores.filter("known")
        fresh = {(window, row[0]): tuple(map(float, row[1:])) for row in usable.select("service", *COLUMNS).iter_rows()}
        for (start, service), values in fresh.items():
            self._put(start, service, values)
        gone = []
        while len(self._pool) > self.settings.pool:
            _, start, service = heapq.heappop(self._ranked)
            if self._pool.pop((start, service), None) is not None:
                gone.append((start, service))
        kept = [(self.source, *key, _packed(fresh[key])) for key in sorted(fresh) if key in self._pool]
        writes = []
        if kept:
            writes.append(Write("detection_pool", ("source", "window", "service", "body"), tuple(kept)))
        writes.append(self._scores_row(window, scores.select(list(SCORES))))
        lost = [(self.source, *key) for key in gone if key not in fresh]
        if lost:
            writes.append(Write("detection_pool", ("source", "window", "service"), tuple(lost), delete=True))
        return writes

    def _put(self, window: int, service: str, values: tuple[float, ...]) -> None:
        self._pool[window, service] = values
        heapq.heappush(self._ranked, (-_key_hash((window, service)), window, service))

    def _refit(self, window: int) -> tuple[pl.DataFrame, list[Write]]:
        """Fit what is due; the pool of each fit is a row, so that a restart fits the same."""
        writes: list[Write] = []
        names = ("source", "kind", "fitted_through", "body")
        frame = _NO_SESSIONS
        if self.book.refit_due():
            first = self.book.model is None
            self.book.fitted = self.book.learnt
            pool = dict(self.book.pool)
            self.book.refit(pool)
            # What ended before anything was known is judged now; verdicts only, for it is no news any more.
            frame = self._judge_again() if first else _session_frame(self.book.revise())
            writes.append(Write("detection_models", names, ((self.source, "sessions", window, self._session_pool()),)))
            writes += self.book.writes(frame["session"].to_list(), ())
        if self._windows_due():
            self._fitted = self._learnt
            pool_frame = self._pool_frame()
            self._models = self._fit_windows(pool_frame)
            writes.append(Write("detection_models", names, ((self.source, "windows", window, pack(pool_frame)),)))
        return frame, writes

    def _judge_again(self) -> pl.DataFrame:
        known = sorted(name for name, session in self.book.settled.items() if session.judged)
        return _session_frame(self.book.judge(known, keep=True))

    def _session_pool(self) -> bytes:
        assert self.book.model is not None  # noqa: S101 - just fitted
        pool = self.book.model.pool
        columns = {"vector": [dump(one) for one in pool], "count": [int(w) for w in self.book.model.weights]}
        return pack(pl.DataFrame(columns, schema={"vector": pl.String(), "count": pl.Int64()}))

    def _windows_due(self) -> bool:
        if self._learnt < MIN_RANKED_WINDOWS or len(self._pool) < MIN_RANKED_WINDOWS:
            return False
        fresh = self._learnt - self._fitted
        # Long histories change slowly: there a fit waits for a twentieth more, so that warm-up is not spent on fits.
        due = max(2, min(self.settings.refit_windows, self._fitted // 4), self._fitted // 20)
        return self._models is None or fresh >= due

    def _pool_frame(self) -> pl.DataFrame:
        keys = sorted(self._pool)
        rows = [self._pool[key] for key in keys]
        columns = dict(zip(COLUMNS, np.array(rows).T, strict=True))
        return pl.DataFrame({"service": [service for _, service in keys], **columns})

    def _fit_windows(self, pool: pl.DataFrame) -> Models:
        rows = pool.select(COLUMNS).to_numpy()
        return windows.fit(pool["service"].to_list(), rows, self.settings.windows, self.settings.pool)

    def _prune(self, window: int) -> list[Write]:
        """Forget what is older than `history`."""
        index = self.history.index
        writes = self.history.prune(window)
        if self.history.index is not index:
            self._placed = {}
        oldest = window - self.settings.history // timedelta(seconds=1)
        old = sorted(key for key in self._pool if key[0] < oldest) if window % HOUR < self.step else []
        for key in old:
            del self._pool[key]
        if old:
            self._ranked = [one for one in self._ranked if one[1:] in self._pool]
            heapq.heapify(self._ranked)
            keys = tuple((self.source, *key) for key in old)
            writes.append(Write("detection_pool", ("source", "window", "service"), keys, delete=True))
        stale = window - KEEP_SCORES // timedelta(seconds=1)
        writes.append(Write("detection_scores", ("source", "window"), ((self.source, stale),), delete=True))
        return writes

    # --- Absence -----------------------------------------------------------------------------------

    def _absence(self, observation: Observation, placed: Placed) -> list[Anomaly]:
        """Silence and collapse, once a window will not change: of the source as one gap, else of its services."""
        if observation.services.is_empty():
            self._gap += 1
            needed = max(MIN_GAP, 2 * self._longest_gap + 1)
            told = self._gap == needed and self._seasoned()
            return [self._source_gap(observation, needed)] if told else []
        after_gap = self._gap > 0
        self._longest_gap = max(self._longest_gap, self._gap)
        self._gap = 0
        # A window beside a gap, or of which only a sample was read, says nothing about what is missing.
        if after_gap or observation.sampled < 1:
            return []
        volumes = self.history.volumes(observation.window, placed)
        return [self._absent(observation, *item) for item in self.presences.missing(observation, volumes)]

    def _source_gap(self, observation: Observation, run: int) -> Anomaly:
        start = _moment(observation.window - (run - 1) * self.step)
        return Anomaly(
            source=self.source,
            service="",
            window=start,
            duration=self.duration,
            kind="gap",
            score=1.0,
            threshold=self.settings.window_score,
            severity=int(Severity.WARN),
            contributions=(Contribution("silence", "the whole source says nothing", 0.0, 1.0, "lines", 1.0, start),),
            reached=self._settle_time(observation.window),
            detectors=("absence",),
        )

    def _absent(self, observation: Observation, service: str, observed: float, expected: float, run: int) -> Anomaly:
        start = _moment(observation.window)
        since = _moment(observation.window - (run - 1) * self.step)
        text = "says nothing any more" if observed == 0 else "says far less than usual"
        kind: Any = "silence" if observed == 0 else "volume"
        return Anomaly(
            source=self.source,
            service=service,
            window=start,
            duration=self.duration,
            kind="absence",
            score=self.presences.score(run),
            threshold=self.settings.window_score,
            severity=int(Severity.ERROR),
            contributions=(Contribution(kind, f"{service} {text}", observed, round(expected, 2), "lines", 1.0, since),),
            reached=self._settle_time(observation.window),
            detectors=("absence",),
        )

    def _settle_time(self, window: int) -> datetime:
        late = -(-self.late_window // self.duration) * self.duration
        return _moment(window) + self.duration + late

    # --- Merged templates --------------------------------------------------------------------------

    def _rename(self, moves: Mapping[int, int]) -> list[Write]:
        """Move counts of merged templates to the survivors, everywhere."""
        for old, new in self._renames.items():
            self._renames[old] = moves.get(new, new)
        self._renames.update(moves)
        self.history.rename(moves, self._renames)
        self._placed = {}
        writes = []
        for window, one in self._pending.items():
            self._pending[window] = one.rename(moves.items())
            if self._pending[window] is not one:
                writes.append(self._observation_row(self._pending[window]))
        had_model = self.book.model
        sessions, vectors = self.book.rename(moves)
        rows = tuple((self.source, old, new) for old, new in sorted(self._renames.items()))
        writes.append(Write("detection_renames", ("source", "old", "new"), rows))
        writes += self.book.writes(sessions, vectors)
        if self.book.model is not had_model:
            names = ("source", "kind", "fitted_through", "body")
            row = (self.source, "sessions", self._settled, self._session_pool())
            writes.append(Write("detection_models", names, (row,)))
        return writes

    # --- Rows --------------------------------------------------------------------------------------

    def _observation_row(self, observation: Observation) -> Write:
        body = b"" if observation.services.is_empty() else observation.to_bytes()
        row = (self.source, observation.window, body)
        return Write("detection_observations", ("source", "window", "body"), (row,))

    def _scores_row(self, window: int, scores: pl.DataFrame) -> Write:
        return Write("detection_scores", ("source", "window", "body"), ((self.source, window, pack(scores)),))

    def _progress_row(self) -> Write:
        state = {
            "fitted": self._fitted,
            "gap": self._gap,
            "longest_gap": self._longest_gap,
            "sessions": self.book.learnt,
            "sessions_fitted": self.book.fitted,
        }
        row = (self.source, self._settled, self._learnt, json.dumps(state))
        return Write("detection_progress", ("source", "settled", "learnt", "body"), (row,))


_SCORED = {"service": pl.String(), **dict.fromkeys(COLUMNS, pl.Float64()), **SCORES}
_SCORED |= {"learning": pl.Boolean(), "known": pl.Boolean()}
_NO_SCORES = pl.DataFrame(schema=_SCORED)


def _telling(level: int, lines: int) -> bool:
    """Whether a new template of this severity, with so many lines, is a finding by itself."""
    return level >= Severity.ERROR or (level >= Severity.WARN and lines >= AGAIN)


def _levels(
    observations: Sequence[Observation], templates: Collection[tuple[str, int]], texts: Mapping[int, str]
) -> dict[tuple[str, int], int]:
    """The severity of templates of services: the highest level of their lines, or what the words of their text say."""
    out = {key: explanation.worded(texts.get(key[1], "")) for key in templates}
    for counts in (one.counts for one in observations if out):
        for row in zip(*(counts[name].to_list() for name in ("service", "template", "severity")), strict=True):
            if row[:2] in out:
                out[row[:2]] = max(out[row[:2]], row[2])
    return out


def _session_frame(verdicts: Iterable[Verdict]) -> pl.DataFrame:
    rows = [(v.session, v.service, v.score, v.anomalous) for v in verdicts]
    return pl.DataFrame(rows, schema=SESSION_FRAME, orient="row") if rows else _NO_SESSIONS


def _positive(notes: Mapping[str, int]) -> dict[str, int]:
    return {reason: amount for reason, amount in notes.items() if amount > 0}


def _moment(seconds: int) -> datetime:
    return EPOCH + timedelta(seconds=seconds)


def _key_hash(key: tuple[int, str]) -> int:
    return stable_key(f"{key[0]}/{key[1]}")


def _packed(values: Sequence[float]) -> bytes:
    return np.array(values, np.float64).tobytes()


def _floats(body: bytes) -> tuple[float, ...]:
    return tuple(np.frombuffer(body, np.float64).tolist())


def _int(value: SqlValue) -> int:
    return int(value or 0)


def _bytes(value: SqlValue) -> bytes:
    return value if isinstance(value, bytes) else b""
