"""Say what is unusual in a stretch of logs by comparing it with itself: no configuration, no history."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

from exporter.analysis.comparisons import (
    FAILED,
    MIN_WINDOWS,
    WORDS,
    WORTH_TELLING,
    Logs,
    findings_of,
    of_template,
    rare_failures,
)
from exporter.analysis.findings import Analysis, AnalyzeSettings, Example, Finding, Overview, ServiceOverview
from exporter.analysis.reading import MANY_WINDOWS, STEPS, extent, read_all
from exporter.detection import DetectionSettings, Detector, observation
from exporter.detection.observation import survivors
from exporter.ingest import messages, reduction
from exporter.mining.miner import Miner
from exporter.mining.templates import Mined
from exporter.model import (
    EPOCH,
    Anomaly,
    ConfigError,
    Reduced,
    Severity,
    format_duration,
    from_nanoseconds,
    nanoseconds,
)
from exporter.reading.told import TEXT, Told
from exporter.wording.text import amount, brief, number

Floats = NDArray[np.float64]

Ints = NDArray[np.int64]

MOST_JUDGED = 5_000
"""Windows that the detector judges at most; a --window that makes more of them goes without it."""

MOST_WINDOWS = 20_000

MIN_LINES = 200
"""With fewer, nothing can be said of what is usual."""

LASTING = 3
"""Windows in a row that only the detector finds anomalous, before they are told."""

CLEARLY = 0.9999
"""Score of the strangest window of such a stretch; of the windows of a day by chance about one is so strange."""

EXAMPLES = 3

COMPARED = ("timestamp", "service", "shape", "severity", "code", "duration")
"""What comparisons look at of a record; the rest of its columns is held once, not twice."""


async def analyze(
    pages: AsyncIterator[pl.DataFrame], settings: AnalyzeSettings | None = None, told: Told | None = None
) -> Analysis:
    """Read all pages, compare the windows of the stretch with each other, and say what stands out.

    `told` is what whoever makes the pages finds out meanwhile.
    """
    settings = settings or AnalyzeSettings()
    reduced, by_position, dropped = await read_all(pages, settings)
    found = await asyncio.to_thread(_analyze, reduced, by_position, dropped, settings)
    return _with_told(found, told) if told else found


def _with_told(found: Analysis, told: Told) -> Analysis:
    """The analysis with what was found out while its lines were read."""
    fields = dict(told.shares())
    if found.overview.records:
        # What lines say inside of their text shows only when they are reduced.
        stated = sum(found.overview.levels.values()) / found.overview.records
        places = {place: share for place, share in fields["severity"].items() if place != "missing"}
        inside = round(max(0.0, stated - sum(places.values())), 4)
        own = {TEXT: inside} if inside else {}
        fields["severity"] = {**places, **own, "missing": round(max(0.0, 1 - stated), 4)}
    overview = replace(found.overview, encoding=told.encoding, fields=fields)
    return replace(found, overview=overview, notes=(*found.notes, *_told_notes(told, overview)))


_FLAGS = ("timestamp", "severity", "service", "body", "trace", "host")


def _told_notes(told: Told, overview: Overview) -> Iterable[str]:
    for column in _FLAGS:
        for place in told.chosen.get(column, ()):
            yield (
                f"The {column} was found in `{place}` by what stands there: --{column} FIELD names another one; a "
                f"source says `fields: {{{column}: {place}}}`."
            )
    if told.unzoned and overview.first:
        yield f"{number(told.unzoned)} times name no zone: they are read as {told.timezone} (--timezone)."
    for letters, lines in told.zones.most_common(3):
        yield (
            f"{number(lines)} times name the zone {letters}, which has several meanings: they are read as "
            f"{told.timezone} (--timezone)."
        )
    if told.undecoded:
        yield (
            f"{number(told.undecoded)} lines hold bytes that are no {told.encoding or 'text'}: --encoding says what "
            "they are written in."
        )
    if overview.by_position and overview.records:
        yield "Where the time of a record stands is said by --timestamp FIELD, or by a source's `pattern`."


def _analyze(reduced: Reduced, by_position: bool, dropped: Mapping[str, int], settings: AnalyzeSettings) -> Analysis:
    if reduced.lines.is_empty():
        overview = Overview(0, None, None, None, (), 0, 0, dropped)
        return Analysis(overview, (), (_nothing_read(dropped),))
    logs, anomalies, limited = _mine(reduced, settings)
    enough = logs.windows >= MIN_WINDOWS and logs.total >= MIN_LINES
    found = _grouped(_outside_gaps([*findings_of(logs)])) if enough else []
    failures, background = rare_failures(logs, found)
    ranked = sorted([*_confirmed(found, anomalies), *failures], key=_rank)
    overview = _overview(logs, reduced, {**dropped, **limited}, by_position)
    notes = (*background, *_notes(overview, logs, len(ranked), settings.top))
    shown = tuple(_with_examples(finding, logs) for finding in ranked[: settings.top])
    if by_position:
        overview = replace(overview, start=None, end=None, first=None, last=None)
    return Analysis(overview, shown, notes)


def _rank(finding: Finding) -> tuple[float, datetime, str, str]:
    return -finding.score, finding.since or EPOCH, finding.service, finding.text


def _mine(reduced: Reduced, settings: AnalyzeSettings) -> tuple[Logs, list[Anomaly], dict[str, int]]:
    """Mine all windows in order, and let the detector of the daemon judge them as it would have."""
    seconds = reduced.lines["timestamp"].to_numpy() // 1_000_000_000
    window = settings.window or _fitting(seconds)
    step = window // timedelta(seconds=1)
    starts = _grid(seconds, step)
    if len(starts) > MOST_WINDOWS:
        raise ConfigError(
            f"--window {format_duration(window)}: makes {number(len(starts))} windows; choose a longer one"
        )
    miner, parts = Miner("analyze", settings.mining), list[pl.DataFrame]()
    merged, texts, limited = list[tuple[int, int]](), dict[int, str](), dict[str, int]()
    judge = _Judge(window, len(starts))
    by_window = reduction.windows(reduced, window)
    for index, moment in enumerate(starts.tolist()):
        part = by_window.get(moment) or reduction.empty()
        mined = miner.mine(moment, part)
        judge.take(moment, part, mined)
        merged += mined.merged
        texts.update(mined.texts)
        for reason, lines in mined.dropped.items():
            limited[reason] = limited.get(reason, 0) + lines
        records = part.lines.filter(~pl.col("continuation")).select(COMPARED)
        records = records.join(mined.templates, on=["service", "shape"], how="left")
        parts.append(records.with_columns(window=pl.lit(index, pl.Int64)))
    records = pl.concat(parts).with_columns(pl.col("template").fill_null(-1))
    moves = survivors(merged)
    if moves:
        records = records.with_columns(pl.col("template").replace(moves))
    names = dict(reduced.names.rows())
    logs = Logs(records, texts, names, reduced.exemplars, starts, window)
    return logs, judge.finish(), limited


def _fitting(seconds: Ints) -> timedelta:
    """The shortest usual length of which not too many have lines."""
    return next((step for step in STEPS if len(np.unique(seconds // _seconds(step))) <= MANY_WINDOWS), STEPS[-1])


def _seconds(step: timedelta) -> int:
    return step // timedelta(seconds=1)


def _grid(seconds: Ints, step: int) -> Ints:
    """The starts of all windows; where many are empty, the logs have holes, and those with lines are compared."""
    filled = np.unique(seconds // step)
    whole = int(filled[-1] - filled[0]) + 1
    return np.asarray((np.arange(filled[0], filled[-1] + 1) if len(filled) >= 0.7 * whole else filled) * step)


class _Judge:
    """The detector of the daemon over the windows of the stretch, if there are enough of them."""

    def __init__(self, window: timedelta, windows: int) -> None:
        self._window = window
        self._step = window // timedelta(seconds=1)
        self._detector = Detector("analyze", DetectionSettings(), window=window, late_window=window)
        self._enough = DetectionSettings().min_windows <= windows <= MOST_JUDGED
        self._anomalies: list[Anomaly] = []

    def take(self, moment: int, part: Reduced, mined: Mined) -> None:
        if not self._enough:
            return
        seen = observation.observe("analyze", moment, self._window, part, mined)
        self._anomalies += self._detector.judge(seen, mined, part.exemplars).anomalies
        self._anomalies += self._detector.settle(moment - self._step).anomalies

    def finish(self) -> list[Anomaly]:
        if self._enough:
            self._anomalies += self._detector.finish().anomalies
        return self._anomalies


def _outside_gaps(findings: Sequence[Finding]) -> list[Finding]:
    """Where nobody says anything, that is told once, and not as the silence of each."""
    gaps = [finding for finding in findings if finding.kind == "gap"]
    return [
        finding
        for finding in findings
        if finding in gaps or finding.observed >= finding.expected or not any(_overlap(finding, gap) for gap in gaps)
    ]


def _grouped(findings: Sequence[Finding]) -> list[Finding]:
    """One finding for each template and time; what goes up or down together in a service is told by its strongest."""
    kept: list[Finding] = []
    # Of equals, the one with more words says more.
    telling = [finding for finding in findings if finding.score >= WORTH_TELLING]
    for finding in sorted(telling, key=lambda f: (-round(f.score, 1), -len(f.text), -f.score, f.text)):
        twin = next((i for i, other in enumerate(kept) if _same(finding, other)), None)
        if twin is None:
            kept.append(finding)
        elif finding.text != kept[twin].text and finding.text not in kept[twin].also:
            kept[twin] = replace(
                kept[twin], also=(*kept[twin].also, finding.text), score=max(kept[twin].score, finding.score)
            )
    return kept


def _same(one: Finding, other: Finding) -> bool:
    """Whether one says what the other has said: the same template, or the same movement of the same service."""
    if one.service != other.service or not _overlap(one, other):
        return False
    if one.text == other.text or one.text in other.also:
        return True
    if (one.observed > one.expected) != (other.observed > other.expected):
        return False
    return one.text in WORDS.values() or one.kind == other.kind


def _overlap(one: Finding, other: Finding) -> bool:
    if not (one.since and one.until and other.since and other.until):
        return False
    return one.since <= other.until and other.since <= one.until


def _confirmed(found: Sequence[Finding], anomalies: Sequence[Anomaly]) -> list[Finding]:
    """What the detector saw too says so; what only the detector saw is told if it lasted, or is about sessions."""
    stretches: dict[str, list[Anomaly]] = {}
    for anomaly in anomalies:
        if anomaly.kind == "window" and anomaly.contributions:
            stretches.setdefault(anomaly.service, []).append(anomaly)
    told = [replace(finding, confirmed=_seen(finding, stretches.get(finding.service, ()))) for finding in found]
    for service, several in sorted(stretches.items()):
        alone = [a for a in several if not any(f.service == service and _touches(f, a) for f in found)]
        told += [_stretch(run) for run in _in_a_row(alone) if _lasting(run)]
    return [*told, *_sessions(anomalies)]


def _lasting(run: Sequence[Anomaly]) -> bool:
    """Neighbouring windows share what is judged of the last ones together: one of them must be clearly strange."""
    return len(run) >= LASTING and max(anomaly.score for anomaly in run) >= CLEARLY


def _in_a_row(anomalies: Sequence[Anomaly]) -> list[list[Anomaly]]:
    """Anomalies of one service, parted where a window between them is not one."""
    runs: list[list[Anomaly]] = []
    for anomaly in sorted(anomalies, key=lambda anomaly: anomaly.window):
        if runs and anomaly.window <= runs[-1][-1].ends_at:
            runs[-1].append(anomaly)
        else:
            runs.append([anomaly])
    return runs


def _seen(finding: Finding, anomalies: Sequence[Anomaly]) -> bool:
    return any(_touches(finding, anomaly) for anomaly in anomalies)


def _touches(finding: Finding, anomaly: Anomaly) -> bool:
    if not (finding.since and finding.until):
        return False
    return finding.since < anomaly.ends_at and anomaly.window <= finding.until


def _stretch(anomalies: Sequence[Anomaly]) -> Finding:
    """Several windows of a service that only the detector has found."""
    strongest = max(anomalies, key=lambda anomaly: anomaly.score)
    top = strongest.contributions[0]
    return Finding(
        "window",
        strongest.service,
        top.text,
        0.55,
        top.observed,
        top.expected,
        top.unit,
        anomalies[0].window,
        anomalies[-1].ends_at,
        strongest.severity,
        f"{len(anomalies)} windows are unlike the others in the whole of what they hold",
        _cited(strongest),
        confirmed=True,
    )


def _sessions(anomalies: Sequence[Anomaly]) -> Iterable[Finding]:
    """Sessions that are unlike the others, together by what is unlike in them; the last verdict of each counts."""
    last = {anomaly.session: anomaly for anomaly in anomalies if anomaly.kind == "session" and anomaly.contributions}
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


def _with_examples(finding: Finding, logs: Logs) -> Finding:
    """The first lines of the finding's template in its time."""
    if finding.examples or finding.observed < finding.expected or not (finding.since and finding.until):
        return finding
    service = next((key for key, name in logs.names.items() if name == finding.service), 0)
    inside = logs.records.filter(
        (pl.col("service") == service)
        & pl.col("timestamp").is_between(nanoseconds(finding.since), nanoseconds(finding.until) + 1000)
    )
    sums = {text: key for key, text in WORDS.items()}
    ids = [key for key, text in logs.texts.items() if text == finding.text]
    inside = inside.filter(of_template(sums[finding.text]) if finding.text in sums else pl.col("template").is_in(ids))
    lines = logs.exemplars.filter(pl.col("service") == finding.service if finding.service else pl.lit(True))
    # Lines of one shape differ in their status: only those that were counted show the finding.
    lines = lines.join(inside, on=["shape", "timestamp"], how="semi")
    if finding.text == WORDS[FAILED]:
        lines = lines.filter(messages.codes_in(lines["body"]).is_between(500, 599).fill_null(True))
    span = pl.col("timestamp").is_between(nanoseconds(finding.since), nanoseconds(finding.until) + 1000)
    chosen = lines.filter(span).sort("timestamp", "id").head(EXAMPLES)
    rows = chosen.select("id", "timestamp", "body").rows()
    examples = tuple(Example(place, from_nanoseconds(moment), body) for place, moment, body in rows)
    return replace(finding, examples=examples)


def _overview(logs: Logs, reduced: Reduced, dropped: Mapping[str, int], by_position: bool) -> Overview:
    frame = (
        logs.counted.group_by("service")
        .agg(pl.col("lines", "errors", "warnings").sum(), pl.col("template").n_unique())
        .sort("lines", "service", descending=[True, False])
    )
    first, last = extent(reduced.lines["timestamp"])
    services = tuple(
        ServiceOverview(logs.names.get(key, "unknown"), lines, errors, warnings, templates)
        for key, lines, errors, warnings, templates in frame.rows()
    )
    return Overview(
        reduced.lines.height,
        from_nanoseconds(first),
        from_nanoseconds(last),
        logs.window,
        services,
        logs.counted.select("service", "template").n_unique(),
        int(reduced.lines["continuation"].sum()),
        dropped,
        by_position,
        logs.records.height,
        _levels(logs.records),
        first=from_nanoseconds(first),
        last=from_nanoseconds(last),
    )


def _levels(records: pl.DataFrame) -> dict[str, int]:
    """How many records state each level; numbers between two levels count to the lower."""
    found: dict[str, int] = {}
    for severity, lines in records.group_by("severity").len().sort("severity", descending=True).rows():
        if severity > 0:
            name = max(level for level in Severity if level <= severity).name
            found[name] = found.get(name, 0) + lines
    return found


_REASONS = {
    "absent_timestamp": "had no time stamp and were left out",
    "impossible_timestamp": "had an impossible time stamp and were left out",
    "max_lines": "were over the limit of lines and were not read",
    "max_services": "were of more services than are told apart and were left out",
    "sample": "were left out, for all would not fit into memory: what is said is of a sample of the others, by chance",
}


def _nothing_read(dropped: Mapping[str, int]) -> str:
    if dropped:
        return "No line could be used: " + "; ".join(
            f"{number(lines)} {_REASONS.get(reason, reason)}" for reason, lines in dropped.items()
        )
    return "There are no lines."


def _notes(overview: Overview, logs: Logs, findings: int, top: int) -> Iterable[str]:
    for reason, lines in overview.dropped.items():
        if lines:
            yield f"{number(lines)} lines {_REASONS.get(reason, f'were limited ({reason})')}."
    if overview.by_position:
        yield "Most lines have no time stamp: their order stands for time, and nothing is said of rates and pauses."
    if logs.windows < MIN_WINDOWS or logs.total < MIN_LINES:
        yield (
            "The stretch is too short to say what is usual in it: only rare failures are looked for. More lines, or "
            "a shorter --window, tell more."
        )
    if findings > top:
        yield f"{findings - top} more findings are weaker; --top shows them."
