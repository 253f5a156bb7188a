"""Sessions that are unlike the others: judged when they are idle, whichever windows their lines are in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import polars as pl

from exporter.detection.evidence import cited
from exporter.detection.explanation import explain_session
from exporter.detection.look import Look
from exporter.detection.packing import pack, unpack
from exporter.detection.past.sessions import SESSIONS, VECTORS, SessionBook, Verdict, dump, parse
from exporter.detection.past.source import Numbers, Past, Settled
from exporter.detection.rows import MODELS, Rows, binary
from exporter.detection.view import NO_SESSIONS, SESSION_FRAME, Detection, Sight, View
from exporter.model import Anomaly, Severity, Write, failure_in, from_nanoseconds
from exporter.model.times import moment

MAX_TOLD_SESSIONS = 50
"""Sessions that are told of one window, the strangest first."""


class Sessions(View):
    """All sessions of a source, each the sum of its parts in windows."""

    name = "sessions"
    kinds = ("template", "new_template")
    tables = (SESSIONS, VECTORS)

    def __init__(self, past: Past) -> None:
        super().__init__(past)
        self.book = SessionBook(past.source, past.settings, past.idle, past.max_age)

    # --- A window that may still change ------------------------------------------------------------

    def take(self, look: Look, sight: Sight) -> Detection:
        """The window's part of each session; then those are judged that are idle at the end of the newest window."""
        if not look.settled:
            self.book.take(look.observation, look.before)
        newest = max([look.window, *self.past.pending])
        verdicts = self.book.judge(self.book.due((newest + self.past.step) * 10**9), keep=True)
        bad = sorted((v for v in verdicts if v.anomalous), key=lambda v: (-v.score, v.session))
        return Detection(
            anomalies=tuple(self._anomaly(verdict, look, newest) for verdict in bad[:MAX_TOLD_SESSIONS]),
            sessions=_frame(verdicts),
            writes=tuple(self.book.writes([verdict.session for verdict in verdicts], ())),
            notes={"anomalous_sessions": len(bad) - MAX_TOLD_SESSIONS},
        )

    def _anomaly(self, verdict: Verdict, look: Look, newest: int) -> Anomaly:
        model, texts = self.book.model, self.past.texts
        assert model is not None  # noqa: S101 - a verdict is anomalous only with a model
        last = verdict.last // 10**9 // self.past.step * self.past.step
        reasons = explain_session(model, verdict.vector, texts, from_nanoseconds(verdict.first))
        templates = [template for reason in reasons for template in reason.templates]
        evidence = look.lines.of(verdict.service, templates, strict=True)
        return Anomaly(
            source=self.past.source,
            service=verdict.service,
            window=moment(last),
            duration=self.past.duration,
            kind="session",
            score=verdict.score,
            threshold=float(model.calibration.score(np.array([model.threshold]))[0]),
            severity=max((failure_in(texts.get(template, "")) for template in templates), default=int(Severity.INFO)),
            contributions=tuple(cited(reason, evidence) for reason in reasons),
            reached=moment(newest) + self.past.duration,
            evidence=evidence,
            detectors=model.names(verdict.vector),
            session=verdict.session,
        )

    # --- A window that has settled -----------------------------------------------------------------

    def learn(self, settled: Settled) -> Detection:
        """The window's parts become part of their sessions, and sessions that are idle part of the pool."""
        touched = self.book.settle(settled.observation) if settled.observation else set()
        sessions, vectors = self.book.learn(settled.end)
        touched |= sessions | self.book.forget(settled.end)
        writes = [*self.book.writes(touched, vectors)]
        frame = NO_SESSIONS
        if self.book.refit_due():
            frame, fitted = self._refit(settled.window)
            writes += fitted
        notes = {"sessions": self.book.dropped}
        self.book.dropped = 0
        return Detection(sessions=frame, writes=tuple(writes), notes=notes)

    def _refit(self, window: int) -> tuple[pl.DataFrame, Sequence[Write]]:
        """Fit; the pool of the fit is a row, so that a restart fits the same. Returns the verdicts that changed."""
        first = self.book.model is None
        self.book.fitted = self.book.learnt
        self.book.refit(dict(self.book.pool))
        # What ended before anything was known is judged now; verdicts only, for it is no news any more.
        verdicts = self.book.judge(self.book.judged(), keep=True) if first else self.book.revise()
        changed = self.book.writes([verdict.session for verdict in verdicts], ())
        return _frame(verdicts), (*self._model_row(window), *changed)

    def finish(self) -> Detection:
        """Verdicts on the sessions that are still open, as incomplete."""
        return Detection(sessions=_frame(self.book.judge(sorted(self.book.open), keep=False)))

    # --- Rows --------------------------------------------------------------------------------------

    def rename(self, moves: Mapping[int, int]) -> tuple[Write, ...]:
        model = self.book.model
        sessions, vectors = self.book.rename(moves)
        writes = tuple(self.book.writes(sessions, vectors))
        return writes if self.book.model is model else (*writes, *self._model_row(self.past.settled))

    def _model_row(self, window: int) -> tuple[Write, ...]:
        model = self.book.model
        assert model is not None  # noqa: S101 - just fitted
        columns = {"vector": [dump(one) for one in model.pool], "count": [int(weight) for weight in model.weights]}
        pool = pl.DataFrame(columns, schema={"vector": pl.String(), "count": pl.Int64()})
        return MODELS.put(self.past.source, [("sessions", window, pack(pool))])

    def numbers(self) -> Numbers:
        return {"sessions": self.book.learnt, "sessions_fitted": self.book.fitted}

    def load(self, rows: Rows, numbers: Numbers) -> None:
        self.book.learnt, self.book.fitted = numbers.get("sessions", 0), numbers.get("sessions_fitted", 0)
        self.book.load(rows.get(SESSIONS.name, ()), rows.get(VECTORS.name, ()))
        for _, one in sorted(self.past.pending.items()):
            self.book.take(one, None)
        self.book.resume()
        for _, kind, _, body in rows.get(MODELS.name, ()):
            if kind == "sessions":
                pool = unpack(binary(body))
                pairs = zip(pool["vector"].to_list(), pool["count"].to_list(), strict=True)
                self.book.refit({parse(text): count for text, count in pairs})


def _frame(verdicts: Iterable[Verdict]) -> pl.DataFrame:
    rows = [(v.session, v.service, v.score, v.anomalous) for v in verdicts]
    return pl.DataFrame(rows, schema=SESSION_FRAME, orient="row") if rows else NO_SESSIONS
