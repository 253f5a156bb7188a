"""Judge windows and sessions of one source: a loop over views. What is in memory is what the rows hold."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import polars as pl

from exporter.detection import rows, views
from exporter.detection.episodes import Episodes
from exporter.detection.evidence import Lines, cited
from exporter.detection.explanation import TOP
from exporter.detection.localisation import SCORES
from exporter.detection.look import Look
from exporter.detection.observation import Observation, survivors
from exporter.detection.past.source import Numbers, Past, Settled
from exporter.detection.scoring import contract
from exporter.detection.settings import SESSION_DETECTORS, WINDOW_DETECTORS, DetectionSettings
from exporter.detection.together import Together
from exporter.detection.view import NO_SERVICES, Detection, Opinion, Reason, Sight, View, joined
from exporter.model import Anomaly, Contribution, Write

if TYPE_CHECKING:
    from exporter.mining.templates import Mined


def tables() -> str:
    """The statements that make the tables of detection and of all its views."""
    own = (table for view in views.VIEWS for table in view.tables)
    return "".join(table.definition() for table in (*rows.SHARED, *own))


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
        self.settings = settings
        self.past = Past(source, settings, window, late_window, idle, max_age)
        given = tuple(view(self.past) for view in views.VIEWS)
        self.past.counting = tuple(view.count for view in given if view.codes)
        if (settings.sessions, settings.windows) != (SESSION_DETECTORS, WINDOW_DETECTORS):
            contract.verify(settings, sum(len(view.features) for view in given))
        self._together = Together(self.past, given)
        self.views: tuple[View, ...] = (self._together, *given)
        self._episodes = Episodes(self.past)

    def load(self, known: rows.Rows, texts: Mapping[int, str]) -> None:
        """Learn again what the rows hold, exactly."""
        numbers = self.past.load(known, texts)
        for view in self.views:
            view.load(known, numbers)
        self._episodes.load(known)

    @property
    def learning(self) -> str:
        """What is missing before any window may be called anomalous, in words; empty when nothing is."""
        for name, known, what in (
            ("min_service_windows", self.past.learnt, "windows with lines"),
            ("min_windows", self._together.pooled, "windows of services"),
        ):
            needed = getattr(self.settings, name)
            if known < needed:
                return f"knows {known} of the {needed} {what} that it needs to call any anomalous (detection.{name})"
        return ""

    # --- A window that may still change ------------------------------------------------------------

    def judge(
        self,
        observation: Observation,
        mined: Mined,
        exemplars: pl.DataFrame,
        learn: bool = True,
    ) -> Detection:
        """What is unusual in a window, and in the sessions that are idle at its end."""
        moves = survivors(mined.merged) if learn else {}
        renamed = self.rename(moves) if moves else ()
        texts = {**self.past.texts, **mined.texts}
        lines = Lines(self.past.source, exemplars, mined)
        look = Look(self.past, observation, lines, texts, seasoned=not self.learning)
        sights = [view.judge(look) for view in self.views]
        anomalies = tuple(self._seen(look, sights))
        if not learn:
            return Detection(anomalies, _scores(sights))
        followed = self._episodes.take(look, anomalies)
        seen = Detection(followed.anomalies, _scores(sights), notices=followed.notices)
        for view in self.views:
            observation = view.note(look, observation)
        kept = self.past.take(observation, look.placed, texts)
        own = Detection(writes=(*renamed, *followed.writes, *kept), notes={"transitions": observation.limited})
        taken = [view.take(look, sight) for view, sight in zip(self.views, sights, strict=True)]
        found = joined([seen, own, *taken])
        return replace(found, learning=self.learning)

    def _seen(self, look: Look, sights: Sequence[Sight]) -> list[Anomaly]:
        """The anomalies of a window, by service."""
        found = [anomaly for sight in sights for anomaly in sight.anomalies]
        for service in look.services:
            opinions = [sight.opinions[service] for sight in sights if service in sight.opinions]
            score = max((opinion.score for opinion in opinions), default=0.0)
            if score >= self.settings.window_score:
                found.append(self._agreed(look, service, score, opinions))
        return sorted(found, key=lambda anomaly: anomaly.service)

    def _agreed(self, look: Look, service: str, score: float, opinions: Sequence[Opinion]) -> Anomaly:
        """One anomaly of what all views think of a service, told by the strongest reasons of them all."""
        accounts = [opinion.account() for opinion in opinions]
        since = next((account.since for account in accounts if account.since), look.start)
        reasons = list(_told((reason for account in accounts for reason in account.reasons), since))
        templates = [template for reason in reasons for template in reason.templates]
        # What comes less often than usual, or sooner, says nothing of a failure, whatever its level is.
        more = [template for reason in reasons if reason.observed > reason.expected for template in reason.templates]
        evidence = look.lines.of(service, templates)
        return Anomaly(
            source=self.past.source,
            service=service,
            window=look.start,
            duration=self.past.duration,
            kind="window",
            score=score,
            threshold=self.settings.window_score,
            severity=max(look.lines.highest(service, more), *(account.severity for account in accounts)),
            contributions=tuple(cited(reason, evidence) for reason in reasons),
            reached=look.start + self.past.duration,
            evidence=evidence,
            detectors=next((account.witnesses for account in accounts if account.witnesses), ()),
            hosts=look.lines.hosts(service),
            traces=look.lines.traces(service),
            sampled=look.observation.sampled,
            neighbours=look.neighbours.of(service),
        )

    def rename(self, moves: Mapping[int, int]) -> tuple[Write, ...]:
        """Move counts of merged templates to the survivors, everywhere."""
        kept = (*self.past.rename(moves), *self._episodes.rename(moves))
        return (*kept, *(write for view in self.views for write in view.rename(moves)))

    # --- A window that has settled -----------------------------------------------------------------

    def settle(self, window: int) -> Detection:
        """What follows when a window will not change any more: absence, learning, fits and forgetting."""
        settled = self.past.settle(window, seasoned=not self.learning)
        if settled is None:
            return Detection()
        marked, rewritten = self._withheld(settled)
        settled = marked
        found = [view.settle(settled) for view in self.views]
        settled, without = self._without_failures(settled)
        self.past.learn(settled)
        found += [view.learn(settled) for view in self.views]
        own = Detection(
            writes=(*rewritten, *without, *self.past.close(window, self._numbers())), notes=self.past.dropped()
        )
        return joined([*found, own])

    def _withheld(self, settled: Settled) -> tuple[Settled, tuple[Write, ...]]:
        """The window as it is learnt from, and its row where that differs."""
        later = self.past.following(settled.window)
        for view in self.views:
            if (observation := view.withhold(settled, later)) is not None:
                return self.past.rewritten(settled, observation)
        return settled, ()

    def _without_failures(self, settled: Settled) -> tuple[Settled, tuple[Write, ...]]:
        learnt = self._episodes.withheld(settled)
        if learnt.observation is None or learnt.observation is settled.observation:
            return learnt, ()
        return self.past.rewritten(learnt, learnt.observation)

    def finish(self) -> Detection:
        """What is to be said when there will be no more windows: open sessions as incomplete; changes nothing."""
        return joined(view.finish() for view in self.views)

    def _numbers(self) -> Numbers:
        return {name: number for view in self.views for name, number in view.numbers().items()}


def _scores(sights: Iterable[Sight]) -> pl.DataFrame:
    """By what services are ranked."""
    return next((sight.scores.select(list(SCORES)) for sight in sights if len(sight.scores)), NO_SERVICES)


def _told(reasons: Iterable[Reason], since: datetime) -> Iterator[Contribution]:
    """The strongest, each with its share; what does not say since when began with the whole."""
    ordered = sorted(reasons, key=lambda reason: (-round(reason.size, 6), reason.finding.kind, reason.finding.text))
    # Where two views see the same, the stronger says it.
    once: dict[object, Reason] = {}
    for reason in ordered:
        once.setdefault((reason.finding.kind, reason.finding.text, reason.finding.templates), reason)
    ranked = [*once.values()]
    total = sum(reason.size for reason in ranked[:TOP]) or 1.0
    for reason in ranked[:TOP]:
        yield replace(reason.finding, share=reason.size / total, since=reason.finding.since or since)
