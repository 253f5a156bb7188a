"""Judge the later part of a stretch by the views of the daemon, which learn from the part before; say what they saw."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

from exporter.analysis.findings import Example, Finding
from exporter.analysis.reading import extent
from exporter.analysis.stretch import EXAMPLES, Logs, examples_of, runs
from exporter.detection import DetectionSettings, Detector, observation
from exporter.ingest import messages
from exporter.mining.templates import Mined
from exporter.model import AnalysisKind, Anomaly, Contribution, Reduced, Severity, from_nanoseconds
from exporter.wording import words
from exporter.wording.text import amount, brief, number

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

LEARNT = 0.25
"""Share of the stretch that is learnt from; what is in it is what is usual."""

SHORT = DetectionSettings(min_windows=5, min_service_windows=5, min_present_windows=60)
"""A stretch has no weeks of windows: it is judged by what little there is. But what was there for half of it only may
come and go."""

FALSE_ALARM = 0.01
"""Chance that an anomaly is told of a stretch in which nothing happened."""

PERCENTILE = 0.95
"""Of durations: what the daemon tells of them."""

WORTH_TELLING = 0.5

CHANCE = 0.45
"""Takes the score of what may come by chance below that."""

SPREAD = 0.2
"""How much rates wander by themselves, as a share: counts of real logs are not as even as dice."""

SLOWER = 1.5
"""Times as long as before that something takes before it is told."""

OFTEN = 3
"""Lines of a new kind from which it is told by itself."""

BULK = 0.2
"""Share of its fullest window from which a window belongs to the time of a finding."""


def learnt_of(windows: int) -> int:
    """How many windows of a stretch are learnt from before any is judged."""
    return max(math.ceil(LEARNT * windows), 5)


class Judge:
    """The detector of the daemon over the windows of a stretch, in their order."""

    def __init__(self, window: timedelta, windows: int) -> None:
        self._window = window
        self._step = window // timedelta(seconds=1)
        self._detector = Detector("analyze", SHORT, window=window, late_window=window)
        self._learning = learnt_of(windows)
        self._anomalies: list[Anomaly] = []

    def take(self, moment: int, part: Reduced, mined: Mined) -> None:
        """The next window."""
        seen = observation.observe("analyze", moment, self._window, part, mined)
        found = self._detector.judge(seen, mined, part.exemplars).anomalies
        found += self._detector.settle(moment - self._step).anomalies
        self._learning -= 1
        if self._learning < 0:
            self._anomalies += found

    def finish(self) -> list[Anomaly]:
        """What is unusual in the part that was judged."""
        return [one for one in (*self._anomalies, *self._detector.finish().anomalies) if one.contributions]


def findings_of(anomalies: Sequence[Anomaly], logs: Logs) -> list[Finding]:
    """What is told of windows, one finding for each service and time, and of sessions."""
    by_service: dict[str, list[Anomaly]] = {}
    for anomaly in anomalies:
        if anomaly.kind != "session":
            by_service.setdefault(anomaly.service, []).append(anomaly)
    chances = math.log10(max(logs.windows - learnt_of(logs.windows), 1) * logs.services / FALSE_ALARM)
    found = [
        _told(service, episode, logs)
        for service, several in sorted(by_service.items())
        for episode in _episodes(several, logs)
        if _strength(episode) >= chances
    ]
    return [*(finding for finding in found if finding.score >= WORTH_TELLING), *_sessions(anomalies)]


def _episodes(anomalies: Sequence[Anomaly], logs: Logs) -> Iterator[list[Anomaly]]:
    """Anomalies of a service, parted where windows between them are none."""
    places: dict[int, list[Anomaly]] = {}
    for anomaly in anomalies:
        places.setdefault(logs.place(anomaly.window), []).append(anomaly)
    for first, last in runs(sorted(places)):
        yield [one for place in range(first, last + 1) for one in places.get(place, ())]


def _strength(episode: Sequence[Anomaly]) -> float:
    """How unlikely it is, in powers of ten: its windows together, each for what it has beyond the least of an anomaly.

    That a service is absent is no chance.
    """
    if any(anomaly.kind != "window" for anomaly in episode):
        return math.inf
    least = 1 - SHORT.window_score
    beyond = (math.log10(least / max(1 - anomaly.score, 1e-9)) for anomaly in episode)
    return sum(beyond) - math.log10(least)


@dataclass(frozen=True)
class _Said:
    """A reason of an anomaly."""

    reason: Contribution
    anomaly: Anomaly

    @property
    def key(self) -> tuple[str, str, bool]:
        return self.reason.kind, self.reason.text, self.more

    @property
    def more(self) -> bool:
        return self.reason.observed >= self.reason.expected


def _told(service: str, episode: Sequence[Anomaly], logs: Logs) -> Finding:
    """The strongest reason of an episode, with the others beside it."""
    reasons: dict[tuple[str, str, bool], list[_Said]] = {}
    for anomaly in episode:
        for reason in anomaly.contributions:
            said = _Said(reason, anomaly)
            reasons.setdefault(said.key, []).append(said)
    findings = [_finding(service, several, logs) for several in reasons.values()]
    # Of equals, the one with more words says more.
    top, *others = sorted(findings, key=lambda one: (-round(one.score, 2), -len(one.text), one.text))
    return replace(top, also=tuple(dict.fromkeys(one.text for one in others if one.text != top.text)))


def _finding(service: str, several: Sequence[_Said], logs: Logs) -> Finding:
    """One reason over all anomalies that give it: its numbers are of the whole time that shows it."""
    strongest, by_chance = max(several, key=lambda said: (said.anomaly.score, said.reason.share)), False
    reason, own = strongest.reason, logs.of(service)
    first, last = _extent(several, logs)
    shown = _lines(reason, own, logs)
    if shown is not None:
        among = own.filter(pl.col("code").is_not_null()) if reason.among else None
        if reason.kind != "duration":
            first, last = _narrowed(first, last, _odd(strongest, shown, among, first, logs))
        reason = _now(reason, shown, among, (first, last))
        if reason.kind in ("template", "volume", "errors") and strongest.anomaly.kind == "window":
            by_chance = _is_chance(logs.counts(shown), first, last, strongest.more, logs)
        if reason.kind == "new_template":
            # Something new comes up once all the time; where it is a failure, that is told as a rare one.
            by_chance = reason.observed < OFTEN
        if reason.kind == "duration":
            by_chance = reason.observed < SLOWER * reason.expected
    since, until = logs.moment(first), logs.moment(last + 1)
    if shown is not None and strongest.more and (inside := _showing(reason, _within(shown, first, last))).height:
        since, until = map(from_nanoseconds, extent(inside["timestamp"]))
    examples = _examples(strongest, (since, until), logs) if strongest.more else ()
    if shown is None and examples:
        since = examples[0].timestamp or since
    severity = max(said.anomaly.severity for said in several)
    return Finding(
        kind="gap" if strongest.anomaly.kind == "gap" else _kind(reason),
        service=service,
        text=reason.text,
        score=_score(reason, severity, strongest.anomaly) * (CHANCE if by_chance else 1.0),
        observed=reason.observed,
        expected=reason.expected,
        unit="seconds" if reason.unit == "s" else reason.unit,
        since=since,
        until=until,
        severity=severity,
        reason=words.expectation(reason),
        examples=examples,
        confirmed=True,
    )


def _extent(several: Sequence[_Said], logs: Logs) -> tuple[int, int]:
    """The first and the last window of a reason; of what was found over several, the first of them."""
    first = min(said.reason.since or said.anomaly.window for said in several)
    return logs.place(first), max(logs.place(said.anomaly.window) for said in several)


def _lines(reason: Contribution, own: pl.DataFrame, logs: Logs) -> pl.DataFrame | None:
    """The records of a service that a reason counts; None where they cannot be told from others."""
    of = own.filter(pl.col("template").is_in(_templates(reason, logs))) if reason.templates else own
    match reason.kind:
        case "new_template" | "template" | "volume" | "silence":
            return of
        case "errors":
            return of.filter(pl.col("severity") >= Severity.ERROR)
        case "status" if reason.text.startswith("status 5xx"):
            return of.filter(pl.col("code").is_between(500, 599))
        case "duration":
            return of.filter(pl.col("duration") > 0)
        case _:
            return None


def _odd(said: _Said, shown: pl.DataFrame, among: pl.DataFrame | None, first: int, logs: Logs) -> Bools:
    """The windows in which there is twice as much as before of what a reason counts, or half."""
    counts = logs.counts(shown)
    every = np.ones(logs.windows) if among is None else logs.counts(among)
    expected = every * counts[:first].sum() / max(every[:first].sum(), 1.0)
    if not said.more:
        return np.asarray(counts < expected / 2)
    # Of what was not there before, the bulk.
    return np.asarray((counts > 2 * expected) & (counts >= BULK * counts.max(initial=0)))


def _narrowed(first: int, last: int, odd: Bools) -> tuple[int, int]:
    """From where it began to where it ends: what was found once may have begun before, and goes on."""
    touching = [run for run in runs(np.flatnonzero(odd).tolist()) if run[0] <= last and run[1] >= first]
    return (touching[0][0], touching[-1][1]) if touching else (first, last)


def _templates(reason: Contribution, logs: Logs) -> list[int]:
    return [logs.merged.get(template, template) for template in reason.templates]


def _now(reason: Contribution, shown: pl.DataFrame, among: pl.DataFrame | None, span: tuple[int, int]) -> Contribution:
    """The reason with numbers of its whole time, counted again, and of all the time before it."""
    inside, before = _within(shown, *span), _within(shown, 0, span[0] - 1)
    if reason.kind == "duration":
        past, now = (frame["duration"].quantile(PERCENTILE) for frame in (before, inside))
        return replace(reason, observed=now, expected=past) if past and now else reason
    sizes = span[1] - span[0] + 1, max(span[0], 1)
    if among is not None:
        sizes = _within(among, *span).height, max(_within(among, 0, span[0] - 1).height, 1)
    of = sizes[0] if among is not None else 0
    return replace(reason, observed=float(inside.height), expected=before.height * sizes[0] / sizes[1], among=of)


def _is_chance(counts: Ints, first: int, last: int, more: bool, logs: Logs) -> bool:
    """Whether so many lines, or so few, may be chance: the daemon has weeks to learn how counts wander."""
    from scipy.stats import nbinom

    before, during = counts[:first], counts[first : last + 1]
    mean = max(float(before.mean()), 0.5 / len(before)) if len(before) else 1.0
    variance = max(mean, float(before.var()) if len(before) else 0.0) + (SPREAD * mean) ** 2
    size = mean**2 / max(variance - mean, 1e-9)
    share = size / (size + mean)
    if more:
        chance = float(nbinom.logsf(during.max() - 1, size, share))
    else:
        # Neighbouring windows are alike: each further one counts less.
        chance = float(nbinom.logcdf(during.mean(), size, share)) * (1 + 2 * math.log2(len(during)))
    return chance > math.log(FALSE_ALARM / (logs.windows * logs.kinds))


def _showing(reason: Contribution, inside: pl.DataFrame) -> pl.DataFrame:
    """The records that show it: of what takes longer, those that take at least half as long as is told."""
    return inside.filter(pl.col("duration") >= reason.observed / 2) if reason.kind == "duration" else inside


def _within(frame: pl.DataFrame, first: int, last: int) -> pl.DataFrame:
    return frame.filter(pl.col("window").is_between(first, last))


KINDS: Mapping[str, AnalysisKind] = {
    "new_template": "new",
    "new_service": "service",
    "errors": "errors",
    "status": "errors",
    "duration": "slow",
    "value": "value",
    "transition": "order",
    "gap": "pause",
}


def _kind(reason: Contribution) -> AnalysisKind:
    if reason.kind == "template":
        return "burst" if reason.observed >= reason.expected else "silence" if not reason.observed else "volume"
    if reason.kind in ("volume", "silence"):
        return "silence" if not reason.observed else "volume"
    return KINDS.get(reason.kind, "window")


WEIGHTS: Mapping[AnalysisKind, float] = {
    "new": 1.0,
    "value": 1.0,
    "errors": 0.98,
    "slow": 0.95,
    "silence": 0.95,
    "gap": 0.95,
    "burst": 0.9,
    "volume": 0.85,
    "order": 0.45,
    "pause": 0.45,
}
"""What says more comes first: what is new, which value or status it is, then how much there is of something, and never
alone in which order it comes."""


def _score(reason: Contribution, severity: int, anomaly: Anomaly) -> float:
    """From 0.5 towards 1: how sure it is, how bad, and how much its kind says."""
    kind = _kind(reason)
    sure = 0.6 + 0.4 * (1 - math.exp(math.log10(max(1 - anomaly.score, 1e-9)) / 10))
    bad = 1.0 if severity >= Severity.ERROR else 0.97 if severity >= Severity.WARN else 0.9
    often = 0.85 + 0.15 * (1 - math.exp(-reason.observed / 5)) if kind == "new" else 1.0
    return round(sure * bad * often * WEIGHTS.get(kind, 0.9), 3)


def _examples(said: _Said, span: tuple[datetime, datetime], logs: Logs) -> tuple[Example, ...]:
    """The first lines of its time that show it."""
    reason, service = said.reason, said.anomaly.service
    own = logs.of(service)
    shown = _lines(reason, own, logs)
    if shown is None:
        shown = own.filter(pl.col("template").is_in(_templates(reason, logs))) if reason.templates else own
    if reason.kind == "duration":
        shown = shown.filter(pl.col("duration") > reason.expected)
    lines = logs.lines(service, shown, span)
    # Lines of one shape differ in their values: only those that were counted show the finding.
    if reason.kind == "status":
        lines = lines.filter(messages.codes_in(lines["body"]).is_between(500, 599).fill_null(True))
    if reason.kind == "value":
        word = reason.text.partition(" in ")[0].rpartition(": ")[2]
        # A field beside the message is in no line as it is shown.
        told = lines.filter(pl.col("body").str.contains(word, literal=True))
        lines = told if told.height else lines
    return examples_of(lines)


def _sessions(anomalies: Sequence[Anomaly]) -> Iterable[Finding]:
    """Sessions that are unlike the others, together by what is unlike in them; the last verdict of each counts."""
    last = {anomaly.session: anomaly for anomaly in anomalies if anomaly.kind == "session"}
    alike: dict[tuple[str, str], list[Anomaly]] = {}
    for anomaly in last.values():
        alike.setdefault((anomaly.service, anomaly.contributions[0].text), []).append(anomaly)
    for (service, text), several in alike.items():
        top = several[0].contributions[0]
        names = ", ".join(brief(anomaly.session or "", 60) for anomaly in several[:3])
        yield Finding(
            "session",
            service,
            text,
            round(0.6 + 0.3 * (1 - math.exp(-len(several) / 5)), 3),
            len(several),
            0.0,
            "sessions",
            min(anomaly.window for anomaly in several),
            max(anomaly.ends_at for anomaly in several),
            max(anomaly.severity for anomaly in several),
            f"such as {names}, with {amount(top.observed, top.unit)} of it, expected {number(top.expected)}",
            _cited(several[0]),
            confirmed=True,
        )


def _cited(anomaly: Anomaly) -> tuple[Example, ...]:
    return tuple(Example(line.host or line.id, line.timestamp, line.body) for line in anomaly.evidence[:EXAMPLES])
