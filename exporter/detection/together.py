"""Score the features of all views together: one anomaly of a service in a window, however many views see it."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Sequence
from datetime import timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from exporter.detection import localisation
from exporter.detection.look import Look
from exporter.detection.packing import pack, unpack
from exporter.detection.past.history import HOUR, RECENT
from exporter.detection.past.source import Numbers, Past, Settled
from exporter.detection.rows import MODELS, POOL, SCORES, Rows, binary, integer
from exporter.detection.scoring import windows
from exporter.detection.view import Account, Detection, Measured, Opinion, Sight, View
from exporter.model import Write, stable_key

Floats = npt.NDArray[np.float64]

MIN_RANKED_WINDOWS = 6
"""Windows from which services can be ranked by a fitted scale; alarms need more."""

MIN_KNOWN_WINDOWS = 3
"""Windows of a service before its features mean anything, and are learnt from."""

KEEP_SCORES = timedelta(days=2)
"""How long the scores of windows are kept for ranking services."""


class Together(View):
    """The view that has no side of its own: it learns what the features of the others mean, over all services.

    Its kinds are theirs, and so are the reasons that it gives.
    """

    name = "together"

    def __init__(self, past: Past, views: Sequence[View]) -> None:
        super().__init__(past)
        self._measuring = tuple(view for view in views if view.features)
        given = {name: one for view in self._measuring for name, one in view.features.items()}
        self._features = windows.Features(
            names=tuple(given),
            units=np.array([one.unit for one in given.values()]),
            words=tuple(one.words for one in given.values()),
            headline=self.headline,
        )
        self._schema = {
            "service": pl.String(),
            **dict.fromkeys(self._features.columns, pl.Float64()),
            **localisation.SCORES,
            "learning": pl.Boolean(),
            "known": pl.Boolean(),
        }
        self._models: windows.Models | None = None
        self._fitted = 0
        self._pool: dict[tuple[int, str], tuple[float, ...]] = {}
        self._ranked: list[tuple[int, int, str]] = []
        """The pool as a heap: of too many, those with the largest hashes go."""
        self._unpooled: dict[int, pl.DataFrame] = {}
        """Scores of windows that are not settled."""

    @property
    def pooled(self) -> int:
        """Windows of services that it can be fitted on."""
        return len(self._pool)

    # --- A window that may still change ------------------------------------------------------------

    def headline(self, scaled: Floats) -> Floats:
        """The strongest of what the views say, each of its own columns."""
        ends = np.cumsum([len(view.features) for view in self._measuring])
        parts = np.hsplit(scaled, ends[:-1])
        said = [view.headline(part) for view, part in zip(self._measuring, parts, strict=True)]
        return np.asarray(np.maximum.reduce(said))

    def judge(self, look: Look) -> Sight:
        """How strange each service is, alone and over the last windows."""
        if not look.services or not self._measuring:
            return Sight()
        spans = [[view.measure(look, span) for view in self._measuring] for span in look.spans]
        rows = np.hstack([measured.rows for span in spans for measured in span])
        strength, score, reasons = windows.scored(self._features, self._models, look.services, rows)
        known = [self.past.services.windows(name) for name in look.services]
        young = self._models is None or not look.seasoned
        learning = [young or count < self.past.settings.min_service_windows for count in known]
        columns: dict[str, Any] = {"service": look.services}
        columns |= dict(zip(self._features.columns, rows.T, strict=True))
        columns |= {"score": score, "strength": strength, "reason": reasons, "learning": learning}
        columns["known"] = [count >= MIN_KNOWN_WINDOWS for count in known]
        opinions = {
            name: Opinion(0.0 if still else value, self._account(look, name, row, spans))
            for name, value, still, row in zip(look.services, score.tolist(), learning, rows, strict=True)
        }
        return Sight(opinions, scores=pl.DataFrame(columns, schema=self._schema))

    def _account(
        self, look: Look, service: str, row: Floats, spans: Sequence[Sequence[Measured]]
    ) -> Callable[[], Account]:
        def account() -> Account:
            scale, names = self._models.witnesses(service, row) if self._models else (0, ())
            reasons = [reason for measured in spans[scale] for reason in measured.reasons(service)]
            return Account(reasons, look.start - scale * (RECENT - 1) * self.past.duration, names)

        return account

    def take(self, look: Look, sight: Sight) -> Detection:
        if look.settled:
            return Detection()
        scores = sight.scores if len(sight.scores) else pl.DataFrame(schema=self._schema)
        self._unpooled[look.window] = scores
        return Detection(writes=self._scores_row(look.window, scores))

    # --- A window that has settled -----------------------------------------------------------------

    def learn(self, settled: Settled) -> Detection:
        scores = self._unpooled.pop(settled.window, None)
        writes: list[Write] = []
        if scores is not None and settled.observation and not settled.observation.services.is_empty():
            writes += self._put_in_pool(settled.window, scores, settled.failing)
        if self._measuring and self._due():
            self._fitted = self.past.learnt
            pool = self._pool_frame()
            self._fit(pool)
            writes += MODELS.put(self.past.source, [("windows", settled.window, pack(pool))])
        return Detection(writes=(*writes, *self._forget(settled.window)))

    def _put_in_pool(self, window: int, scores: pl.DataFrame, failing: Collection[str]) -> tuple[Write, ...]:
        """Put the window's rows into the pool, but of what fails; of too many, those with the smallest hashes stay.

        Then what is kept of the window's scores is what services are ranked by.
        """
        usable = scores.filter(pl.col("known") & ~pl.col("service").is_in(sorted(failing))).select(
            "service", *self._features.columns
        )
        fresh = {(window, row[0]): tuple(map(float, row[1:])) for row in usable.iter_rows()}
        for key, values in fresh.items():
            self._put(*key, values)
        gone = []
        while len(self._pool) > self.past.settings.pool:
            _, start, service = heapq.heappop(self._ranked)
            if self._pool.pop((start, service), None) is not None:
                gone.append((start, service))
        source = self.past.source
        return (
            *POOL.put(source, ((*key, _packed(fresh[key])) for key in sorted(fresh) if key in self._pool)),
            *self._scores_row(window, scores.select(list(localisation.SCORES))),
            *POOL.delete(source, (key for key in gone if key not in fresh)),
        )

    def _put(self, window: int, service: str, values: tuple[float, ...]) -> None:
        self._pool[window, service] = values
        heapq.heappush(self._ranked, (-stable_key(f"{window}/{service}"), window, service))

    def _due(self) -> bool:
        learnt = self.past.learnt
        if learnt < MIN_RANKED_WINDOWS or len(self._pool) < MIN_RANKED_WINDOWS:
            return False
        # Long histories change slowly: there a fit waits for a twentieth more, so that warm-up is not spent on fits.
        due = max(2, min(self.past.settings.refit_windows, self._fitted // 4), self._fitted // 20)
        return self._models is None or learnt - self._fitted >= due

    def _pool_frame(self) -> pl.DataFrame:
        keys = sorted(self._pool)
        rows = np.array([self._pool[key] for key in keys])
        columns = dict(zip(self._features.columns, rows.T, strict=True))
        return pl.DataFrame({"service": [service for _, service in keys], **columns})

    def _fit(self, pool: pl.DataFrame) -> None:
        rows, settings = pool.select(self._features.columns).to_numpy(), self.past.settings
        services = pool["service"].to_list()
        self._models = windows.Models.fit(self._features, services, rows, settings.windows, settings.pool)

    def _forget(self, window: int) -> tuple[Write, ...]:
        """What is older than `history`, and scores that nobody ranks services by any more."""
        settings, source = self.past.settings, self.past.source
        oldest = window - settings.history // timedelta(seconds=1)
        old = sorted(key for key in self._pool if key[0] < oldest) if window % HOUR < self.past.step else []
        for key in old:
            del self._pool[key]
        if old:
            self._ranked = [one for one in self._ranked if one[1:] in self._pool]
            heapq.heapify(self._ranked)
        stale = window - KEEP_SCORES // timedelta(seconds=1)
        return (*POOL.delete(source, old), *SCORES.delete(source, [(stale,)]))

    # --- Rows --------------------------------------------------------------------------------------

    def _scores_row(self, window: int, scores: pl.DataFrame) -> tuple[Write, ...]:
        return SCORES.put(self.past.source, [(window, pack(scores))])

    def numbers(self) -> Numbers:
        return {"fitted": self._fitted}

    def load(self, rows: Rows, numbers: Numbers) -> None:
        self._fitted = numbers.get("fitted", 0)
        for _, window, service, body in rows.get(POOL.name, ()):
            self._put(integer(window), str(service), _floats(binary(body)))
        for _, window, body in rows.get(SCORES.name, ()):
            if integer(window) > self.past.settled:
                self._unpooled[integer(window)] = unpack(binary(body))
        for _, kind, _, body in rows.get(MODELS.name, ()):
            if kind == "windows":
                self._fit(unpack(binary(body)))


def _packed(values: Sequence[float]) -> bytes:
    return np.array(values, np.float64).tobytes()


def _floats(body: bytes) -> tuple[float, ...]:
    return tuple(np.frombuffer(body, np.float64).tolist())
