"""What is missing: the whole source, else services that are there as a rule, each by the pauses that it makes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np

from exporter.detection.look import Look
from exporter.detection.observation import Observation
from exporter.detection.past import index as base
from exporter.detection.past.history import Volume
from exporter.detection.past.neighbours import Neighbours
from exporter.detection.past.presence import PARTS, Spells
from exporter.detection.past.services import Known
from exporter.detection.past.source import Numbers, Past, Settled
from exporter.detection.past.successors import successor
from exporter.detection.rows import SILENCES, Rows
from exporter.detection.view import Detection, Sight, View
from exporter.model import (
    Anomaly,
    AnomalyKind,
    Contribution,
    ContributionKind,
    Notice,
    NoticeKind,
    Severity,
    Write,
    stable_key,
)
from exporter.model.times import moment

MIN_GAP = 2
"""Windows without a line from a source that always had some, before that is told."""

MIN_SHARE = 0.95
"""Share of the windows since its first in which a service must have spoken, to be missed: cron jobs do not."""

MIN_RUN = 3
"""Windows in a row that say nothing before it means anything."""

MIN_EXPECTED = 20.0
"""Lines that must be missing, in all, before silence is no accident."""

COLLAPSE = 0.1
"""What is left of the usual lines when a volume has collapsed."""

HOUR_WEIGHT = 60
"""Windows at any hour that count beside those at this hour of the day, where lines are expected."""

SILENT = 1.0 - 1e-6
"""Score of a silence that is longer than chance allows once in thousands of days."""

Name = tuple[int, str]
"""A service (0 and its name), or the whole source (1 and its name)."""

DAY = timedelta(days=1)


class Absence(View):
    """Silence and collapse, told once a window will not change any more: until then lines may only be late."""

    name = "absence"
    kinds = ("silence", "volume")
    tables = (SILENCES,)

    def __init__(self, past: Past) -> None:
        super().__init__(past)
        self._gap = 0
        """Settled windows in a row in which the source said nothing."""
        self._longest_gap = 0
        self._whole = Known(0, 0, 0, 0)
        """The source as if it were one service."""
        self._spells: dict[Name, Spells] = {}
        self._gone: list[Notice] = []
        """Who is no longer missed, or has another name, of the window that settles."""

    # --- A window that may still change: lines that are there are there ------------------------------

    def take(self, look: Look, sight: Sight) -> Detection:
        """What was missing and speaks again."""
        speaking = [(0, service) for service in look.services]
        if look.services:
            speaking.append((1, self.past.source))
        silent = [] if look.settled else [name for name in speaking if self._is_missed(name)]
        found = tuple(self._end(name, look.window, moment(look.window + self.past.step)) for name in silent)
        return Detection(found, writes=self._rows(silent))

    def _is_missed(self, name: Name) -> bool:
        one = self._spells.get(name)
        return one is not None and one.since > 0 and not one.over

    def _end(self, name: Name, window: int, reached: datetime) -> Anomaly:
        """It was missed until this window."""
        if name in self._spells:
            self._spells[name] = replace(self._spells[name], over=True)
        return self._anomaly(name[1], "spoke", moment(window - self.past.step), 0.0, Severity.UNSPECIFIED, reached)

    # --- A window that has settled -------------------------------------------------------------------

    def settle(self, settled: Settled) -> Detection:
        observation, placed = settled.observation, settled.placed
        if observation is None or placed is None:
            return Detection()
        before, self._gone = dict(self._spells), []
        after_gap = self._gap > 0
        found = list(self._source(settled, observation))
        # A window beside a gap, or of which only a sample was read, says nothing about what is missing.
        if not observation.services.is_empty() and not after_gap and observation.sampled == 1:
            volumes = self.past.history.volumes(observation.window, placed)
            found += [*self._collapsed(observation, volumes), *self._silent(settled, observation)]
        changed = [name for name, one in self._spells.items() if one is not before.get(name)]
        gone = [name for name in self._spells if not name[0] and name[1] not in self.past.services.known]
        for name in gone:
            del self._spells[name]
        writes = (*self._rows(changed), *SILENCES.delete(self.past.source, gone))
        return Detection(tuple(found), writes=writes, notices=tuple(self._gone))

    def _source(self, settled: Settled, observation: Observation) -> Iterator[Anomaly]:
        """The source itself."""
        name, lines = (1, self.past.source), int(observation.services["lines"].sum())
        if lines:
            self._longest_gap, self._gap = max(self._longest_gap, self._gap), 0
        else:
            self._gap += 1
            needed = max(MIN_GAP, 2 * self._longest_gap + 1)
            if self._gap == needed and settled.seasoned:
                yield self._source_gap(settled.window, needed)
        if self._whole.windows:
            is_known = self._whole.last - self._whole.first >= self.past.settings.known_for // timedelta(seconds=1)
            yield from self._spell(settled, name, self._whole, lines, is_known)
        self._whole = _grown(self._whole, settled.window, lines)

    def _silent(self, settled: Settled, observation: Observation) -> Iterator[Anomaly]:
        """Services that are missed by their own pauses."""
        spoke = dict(observation.services.select("service", "lines").iter_rows())
        for service, one in sorted(self.past.services.known.items()):
            is_known = self.past.services.is_known(service, self.past.settings.known_for)
            yield from self._spell(settled, (0, service), one, spoke.get(service, 0), is_known)

    def _spell(self, settled: Settled, name: Name, one: Known, lines: int, is_known: bool) -> Iterator[Anomaly]:
        """One more window, with lines or without, of what is known as `one`."""
        spells = self._spells.get(name, Spells())
        if lines:
            if spells.windows:
                self._spells[name] = spells.spoken(one.windows)
            return
        mean, days = one.lines / max(one.alive, 1), max(one.alive * self.past.duration / DAY, 1e-9)
        spells = spells.silent(self._expected(settled.window, name, mean))
        enough = is_known and settled.seasoned and spells.windows >= MIN_RUN
        if enough and not spells.since and spells.too_long(one.windows, days, mean):
            since = settled.window - (spells.windows - 1) * self.past.step
            renamed = None if name[0] else successor(self.past, name[1], since)
            # Where it has spoken since, it is over before it is told; under another name it is nothing to be told.
            spells = replace(spells, since=since, over=renamed is not None or self._speaks(name))
            if renamed is None:
                yield self._missing(settled.window, name, spells)
            else:
                self._gone.append(replace(self._notice("renamed", name[1], since), renamed=renamed))
        self._spells[name] = spells
        if self._is_missed(name) and spells.windows >= self.past.services.adopted:
            self._gone.append(self._notice("gone", name[1], spells.since))
            yield self._end(name, settled.window + self.past.step, self.past.settles_at(settled.window))

    def _notice(self, kind: NoticeKind, service: str, since: int) -> Notice:
        key = stable_key(f"{kind}/{self.past.source}/{service}/{since}")
        return Notice(f"N{key:016x}"[:12], kind, self.past.source, service, moment(since))

    def _speaks(self, name: Name) -> bool:
        """Whether it has lines in a window that is not settled."""
        pending = self.past.pending.values()
        return any(len(one.services) if name[0] else name[1] in one.services["service"] for one in pending)

    def _expected(self, window: int, name: Name, mean: float) -> float:
        """Lines in a window at this hour, as far as this hour is known, else at any."""
        history = self.past.history
        found = history.lines_at(window)
        if found is None:
            return mean
        lines, windows = found
        place = history.index.place((name[1], base.VOLUME, 0, 0))
        own = lines[history.index.kind == base.VOLUME] if name[0] else lines[[] if place is None else [place]]
        return (float(np.sum(own)) + HOUR_WEIGHT * mean) / (windows + HOUR_WEIGHT)

    def _missing(self, window: int, name: Name, spells: Spells) -> Anomaly:
        text = f"nothing arrives from {name[1]} any more" if name[0] else f"{name[1]} says nothing any more"
        expected = round(spells.spell / PARTS, 2)
        reason = Contribution("silence", text, 0.0, expected, "lines", 1.0, moment(spells.since))
        found = self._anomaly(
            name[1], "absence", moment(spells.since), SILENT, Severity.ERROR, self.past.settles_at(window), reason
        )
        return replace(found, duration=spells.windows * self.past.duration, lasts=not spells.over)

    def _source_gap(self, window: int, run: int) -> Anomaly:
        start = moment(window - (run - 1) * self.past.step)
        reason = Contribution("silence", "the whole source says nothing", 0.0, 1.0, "lines", 1.0, start)
        return self._anomaly("", "gap", start, 1.0, Severity.WARN, self.past.settles_at(window), reason)

    def _collapsed(self, observation: Observation, volumes: Mapping[str, Volume]) -> Iterator[Anomaly]:
        """Services that are regularly there and nearly say nothing; of those that are known for long, silence is told
        by their own pauses.

        `volumes` says of each service what its past has at this hour.
        """
        services, window = self.past.services, observation.window
        spoke = dict(observation.services.select("service", "lines").iter_rows())
        for service, one in sorted(services.known.items()):
            volume = volumes.get(service, Volume(0.0, 0.0, False))
            lines = spoke.get(service, 0)
            # What was silent is told as that: the first of its lines are not few.
            silent = self._spells.get((0, service), Spells()).since > 0
            low = not silent and (lines < COLLAPSE * volume.usual or volume.short)
            run = one.low + 1 if low else 0
            services.mark_low(service, run)
            needed = max(MIN_RUN, 2 * one.longest + 1)
            told = lines > 0 or not services.is_known(service, self.past.settings.known_for)
            regular = self._regular(one) and volume.share >= MIN_SHARE
            if told and regular and needed <= run <= services.adopted and run * volume.usual >= MIN_EXPECTED:
                self._spells[0, service] = replace(self._spells.get((0, service), Spells()), few=True)
                yield self._absent(window, service, float(lines), volume.usual, run)
            elif not 0 < run <= services.adopted and (known := self._spells.get((0, service))) and known.few:
                self._spells[0, service] = replace(known, few=False)
                before = moment(window - self.past.step)
                # Who writes nothing at all now is still missed.
                if not silent:
                    yield self._anomaly(
                        service, "spoke", before, 0.0, Severity.UNSPECIFIED, self.past.settles_at(window)
                    )

    def _regular(self, one: Known) -> bool:
        spoken_until = one.alive - one.silent
        return one.windows >= self.past.settings.min_present_windows and one.windows >= MIN_SHARE * spoken_until

    def _absent(self, window: int, service: str, observed: float, expected: float, run: int) -> Anomaly:
        since = moment(window - (run - 1) * self.past.step)
        text = f"{service} {'says nothing any more' if observed == 0 else 'says far less than usual'}"
        kind: ContributionKind = "silence" if observed == 0 else "volume"
        reason = Contribution(kind, text, observed, round(expected, 2), "lines", 1.0, since)
        reached = self.past.settles_at(window)
        found = self._anomaly(service, "absence", moment(window), surprise(run), Severity.ERROR, reached, reason)
        return replace(found, lasts=True)

    def _anomaly(
        self,
        service: str,
        kind: AnomalyKind,
        start: datetime,
        score: float,
        severity: Severity,
        reached: datetime,
        *reasons: Contribution,
    ) -> Anomaly:
        return Anomaly(
            source=self.past.source,
            service=service,
            window=start,
            duration=self.past.duration,
            kind=kind,
            score=score,
            threshold=self.past.settings.window_score,
            severity=int(severity),
            contributions=reasons,
            reached=reached,
            detectors=("absence",),
            neighbours=Neighbours(self.past).of(service) if kind == "absence" else (),
        )

    # --- Rows ----------------------------------------------------------------------------------------

    def _rows(self, names: list[Name]) -> tuple[Write, ...]:
        found = [(*name, self._spells[name].body()) for name in sorted(names) if name in self._spells]
        return SILENCES.put(self.past.source, found)

    def numbers(self) -> Numbers:
        whole = self._whole
        own = {"gap": self._gap, "longest_gap": self._longest_gap}
        known = {"first": whole.first, "last": whole.last, "windows": whole.windows, "lines": whole.lines}
        return {**own, **{f"source_{name}": number for name, number in known.items()}, "source_alive": whole.alive}

    def load(self, rows: Rows, numbers: Numbers) -> None:
        self._gap, self._longest_gap = numbers.get("gap", 0), numbers.get("longest_gap", 0)
        first, last, windows, lines, alive = (
            numbers.get(f"source_{name}", 0) for name in ("first", "last", "windows", "lines", "alive")
        )
        self._whole = Known(first, last, windows, lines, alive=alive)
        self._spells = {
            (int(whole or 0), str(service)): Spells.of(str(body))
            for _, whole, service, body in rows.get(SILENCES.name, ())
        }


def _grown(one: Known, window: int, lines: int) -> Known:
    """The source after one more window; it begins with the first that has lines."""
    if not lines:
        return replace(one, alive=one.alive + 1) if one.windows else one
    return replace(
        one,
        first=one.first or window,
        last=window,
        windows=one.windows + 1,
        lines=one.lines + lines,
        alive=one.alive + 1,
    )


def surprise(run: int) -> float:
    """The longer it is missing, the surer: half a power of ten for each window, up to one in a million."""
    return float(round(1.0 - 10.0 ** -min(6.0, 1.0 + 0.5 * run), 9))
