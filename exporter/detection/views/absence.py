"""What is missing: the whole source as one gap, else services that are regularly there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime

from exporter.detection.observation import Observation
from exporter.detection.past.history import Volume
from exporter.detection.past.services import Known
from exporter.detection.past.source import Numbers, Past, Settled
from exporter.detection.rows import Rows
from exporter.detection.view import Detection, View
from exporter.model import Anomaly, AnomalyKind, Contribution, ContributionKind, Severity
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


class Absence(View):
    """Silence and collapse, told once a window will not change any more: until then lines may only be late."""

    name = "absence"
    kinds = ("silence", "volume")

    def __init__(self, past: Past) -> None:
        super().__init__(past)
        self._gap = 0
        """Settled windows in a row in which the source said nothing."""
        self._longest_gap = 0

    def settle(self, settled: Settled) -> Detection:
        observation, placed = settled.observation, settled.placed
        if observation is None or placed is None:
            return Detection()
        if observation.services.is_empty():
            self._gap += 1
            needed = max(MIN_GAP, 2 * self._longest_gap + 1)
            told = self._gap == needed and settled.seasoned
            return Detection((self._source_gap(settled.window, needed),)) if told else Detection()
        after_gap = self._gap > 0
        self._longest_gap = max(self._longest_gap, self._gap)
        self._gap = 0
        # A window beside a gap, or of which only a sample was read, says nothing about what is missing.
        if after_gap or observation.sampled < 1:
            return Detection()
        volumes = self.past.history.volumes(observation.window, placed)
        return Detection(tuple(self._missing(observation, volumes)))

    def _source_gap(self, window: int, run: int) -> Anomaly:
        start = moment(window - (run - 1) * self.past.step)
        reason = Contribution("silence", "the whole source says nothing", 0.0, 1.0, "lines", 1.0, start)
        return self._anomaly("", "gap", window, start, 1.0, Severity.WARN, reason)

    def _missing(self, observation: Observation, volumes: Mapping[str, Volume]) -> Iterator[Anomaly]:
        """Services that are regularly there and are missing or nearly so.

        `volumes` says of each service what its past has at this hour.
        """
        services = self.past.services
        spoke = dict(observation.services.select("service", "lines").iter_rows())
        for service, one in sorted(services.known.items()):
            volume = volumes.get(service, Volume(0.0, 0.0, False))
            lines = spoke.get(service, 0)
            low = lines < COLLAPSE * volume.usual or volume.short
            run = one.low + 1 if low else 0
            services.mark_low(service, run)
            needed = max(MIN_RUN, 2 * one.longest + 1)
            regular = self._regular(one) and volume.share >= MIN_SHARE
            if regular and needed <= run <= services.adopted and run * volume.usual >= MIN_EXPECTED:
                yield self._absent(observation.window, service, float(lines), volume.usual, run)

    def _regular(self, one: Known) -> bool:
        spoken_until = one.alive - one.silent
        return one.windows >= self.past.settings.min_present_windows and one.windows >= MIN_SHARE * spoken_until

    def _absent(self, window: int, service: str, observed: float, expected: float, run: int) -> Anomaly:
        since = moment(window - (run - 1) * self.past.step)
        text = f"{service} {'says nothing any more' if observed == 0 else 'says far less than usual'}"
        kind: ContributionKind = "silence" if observed == 0 else "volume"
        reason = Contribution(kind, text, observed, round(expected, 2), "lines", 1.0, since)
        return self._anomaly(service, "absence", window, moment(window), surprise(run), Severity.ERROR, reason)

    def _anomaly(
        self,
        service: str,
        kind: AnomalyKind,
        window: int,
        start: datetime,
        score: float,
        severity: Severity,
        reason: Contribution,
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
            contributions=(reason,),
            reached=self.past.settles_at(window),
            detectors=("absence",),
        )

    def numbers(self) -> Numbers:
        return {"gap": self._gap, "longest_gap": self._longest_gap}

    def load(self, rows: Rows, numbers: Numbers) -> None:
        self._gap, self._longest_gap = numbers.get("gap", 0), numbers.get("longest_gap", 0)


def surprise(run: int) -> float:
    """The longer it is missing, the surer: half a power of ten for each window, up to one in a million."""
    return float(round(1.0 - 10.0 ** -min(6.0, 1.0 + 0.5 * run), 9))
