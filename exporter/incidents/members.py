"""The members of a cluster, and what each brings: bounded, the most telling kept."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from exporter.model import ENDS, Anomaly, Contribution, Evidence, Severity, failure_in, stable_key

MAX_CONTRIBUTIONS = 20

MAX_EVIDENCE = 40

MAX_MEMBERS = 200

QUIET = 0.4
"""What an anomaly without warnings and errors weighs: many of them are releases, and new habits of the users. Chosen on
fourteen days of the simulated shop, seed 0 (0.4 to 0.6 lose no failure there); seed 1 was looked at afterwards."""


MAX_FAILING = 40

MUCH = 2.0
"""Times what is expected, from which a text is one by which a service fails."""

STRONGEST = 3
"""Windows of a service of which the surprise counts."""

PAUSE = timedelta(minutes=15)
"""So long at least a failure may pause whose signs come now and then. Of ten made failures with 3 to 12 minutes between
their signs each was so one incident."""

LONGEST_PAUSE = timedelta(hours=1)
"""What shows itself more seldom has ended and comes again. Without a limit each stray sign would make the pause longer
that the next may come in: of fourteen days of a shop an incident of half an hour stayed open for the last ten."""


@dataclass(frozen=True)
class Member:
    """What one service of one source adds to a cluster; `surprises` are those of its three strongest windows.

    `strongest` are the starts of these windows, and `views` the detectors that found them unusual.
    """

    source: str
    service: str
    first: datetime
    last: datetime
    windows: int
    peak: float
    surprises: tuple[float, ...]
    severity: int
    strongest: tuple[datetime, ...] = ()
    views: tuple[str, ...] = ()
    lasts: tuple[str, ...] = ()
    """Kinds of anomalies of it that go on until they are said to be over."""
    gap: timedelta = timedelta(0)
    """The longest time without a sign of it, as far as its end may be no more than such a pause."""
    over: datetime | None = None
    """When it was said to be over."""
    failing: tuple[str, ...] = ()
    """Keys of the texts by which it fails, and of their templates, the newest last."""
    missed: float = 0.0
    """The surprise at its lines that are missing: what is told of it says of all its windows together how many are."""

    @property
    def surprise(self) -> float:
        """What it adds to the strength, at most: its strongest windows, and what is missing."""
        return sum(self.surprises) + self.missed

    @property
    def fails(self) -> bool:
        """Whether anything of it speaks of a failure."""
        return self.severity >= Severity.WARN

    @property
    def is_of_an_older_release(self) -> bool:
        """Whether it was kept by one that did not say by which texts a service fails, and nothing came since."""
        return not (self.strongest or self.missed or self.failing)

    def quiet_at(self, keep_firing_for: timedelta) -> datetime:
        """When it has been quiet for long enough, unless it goes on: after what was steady soon, else after twice the
        longest pause that it made."""
        wait = max(keep_firing_for, PAUSE, min(2 * self.gap, LONGEST_PAUSE)) if self.gap else keep_firing_for
        return max(self.last + wait, self.over or self.last)


def surprise(anomaly: Anomaly) -> float:
    """Powers of ten of unlikelihood, at most 6 (scores are 1 - p); less where nothing speaks of a failure.

    Most of what is unusual without a warning or an error is a release or a new habit of the users.
    """
    powers = -math.log10(max(1.0 - anomaly.score, 1e-6))
    return powers if anomaly.severity >= Severity.WARN else powers * QUIET


def fails(line: Evidence) -> bool:
    """Whether a line speaks of a failure: by its level, or where it has none by its words."""
    return (line.severity or failure_in(line.body)) >= Severity.WARN


def failing_texts(anomaly: Anomaly) -> tuple[str, ...]:
    """The keys of texts of an anomaly that are new, or come far more often, and whose lines speak of a failure; and of
    the templates of these, for the text of a young one changes."""
    lines = {line.id for line in anomaly.evidence if fails(line)}
    found: list[str] = []
    for reason in anomaly.contributions:
        grew = reason.kind in ("template", "new_template") and reason.observed > MUCH * reason.expected
        if grew and not lines.isdisjoint(reason.evidence):
            found += [reason.text, *(f"{anomaly.source}#{template}" for template in reason.templates)]
    return tuple(dict.fromkeys(f"{stable_key(text):016x}" for text in found))


def with_member(members: tuple[Member, ...], anomaly: Anomaly) -> tuple[Member, ...]:
    for index, member in enumerate(members):
        if (member.source, member.service) == (anomaly.source, anomaly.service):
            grown = replace(
                member,
                first=min(member.first, anomaly.window),
                last=max(member.last, anomaly.ends_at) if _goes_on(member, anomaly) else member.last,
                lasts=_lasting(member.lasts, anomaly, max(member.severity, anomaly.severity)),
                gap=_pause(member, anomaly),
                windows=member.windows + 1,
                peak=max(member.peak, anomaly.score),
                severity=max(member.severity, anomaly.severity),
                views=tuple(dict.fromkeys((*member.views, *anomaly.detectors))),
                **(_strongest(member, anomaly) if anomaly.kind != "absence" else {}),
                failing=tuple(dict.fromkeys((*member.failing, *failing_texts(anomaly))))[-MAX_FAILING:],
                missed=max(member.missed, _missed(anomaly)),
            )
            return (*members[:index], grown, *members[index + 1 :])
    if len(members) >= MAX_MEMBERS:
        return members
    new = Member(
        anomaly.source,
        anomaly.service,
        anomaly.window,
        anomaly.ends_at,
        1,
        anomaly.score,
        () if anomaly.kind == "absence" else (surprise(anomaly),),
        anomaly.severity,
        () if anomaly.kind == "absence" else (anomaly.window,),
        anomaly.detectors,
        _lasting((), anomaly, anomaly.severity),
        failing=failing_texts(anomaly)[-MAX_FAILING:],
        missed=_missed(anomaly),
    )
    return (*members, new)


def _pause(member: Member, anomaly: Anomaly) -> timedelta:
    """The longest time without a sign of it: what comes after longer than any is waited for is no part of it."""
    pause = anomaly.window - member.last
    is_pause = member.over is not None and _goes_on(member, anomaly) and pause <= LONGEST_PAUSE
    return max(member.gap, pause) if is_pause else member.gap


def _missed(anomaly: Anomaly) -> float:
    """What is told once of a whole silence counts as its strongest windows do."""
    if anomaly.kind != "absence":
        return 0.0
    is_whole = any(one.kind == "silence" and one.since == anomaly.window for one in anomaly.contributions)
    return surprise(anomaly) * (STRONGEST if is_whole else 1)


def _lasting(known: tuple[str, ...], anomaly: Anomaly, severity: int) -> tuple[str, ...]:
    """The kinds that go on, with what an anomaly says of its own; `severity` is that of its service.

    Where a service fails it goes on as long as that does, and not while it is only odd: a release may have come with
    the failure. What comes too late to be grouped in its order changes nothing: that it was over may have been said.
    """
    if anomaly.late:
        return known
    if severity < Severity.WARN:
        goes_on = anomaly.lasts
    else:
        goes_on = anomaly.fails and (anomaly.kind in known or (anomaly.lasts and not _is_odd(anomaly, severity)))
    return tuple(sorted({*known, anomaly.kind} if goes_on else {*known} - {anomaly.kind}))


def _goes_on(member: Member, anomaly: Anomaly) -> bool:
    """Whether the anomaly shows what the service brought: of one that fails, not what is only odd."""
    return anomaly.shows and not _is_odd(anomaly, member.severity)


def _is_odd(anomaly: Anomaly, severity: int) -> bool:
    """Whether nothing of it speaks of a failure, in a service of which something does."""
    return anomaly.severity < Severity.WARN <= severity


def with_end(members: tuple[Member, ...], end: Anomaly) -> tuple[Member, ...]:
    """What lasted in a service is over."""
    kind = ENDS[end.kind]
    return tuple(
        replace(
            member,
            last=max(member.last, end.ends_at),
            lasts=tuple(one for one in member.lasts if one != kind),
            gap=max(member.gap, end.gap) if end.gap else end.gap,
            over=end.reached,
        )
        if kind in member.lasts and (member.source, member.service) == (end.source, end.service)
        else member
        for member in members
    )


def _strongest(member: Member, anomaly: Anomaly) -> dict[str, Any]:
    """The three strongest windows; members of older releases do not say which theirs were."""
    known = zip(member.surprises, (*member.strongest, *[None] * STRONGEST), strict=False)
    ranked = sorted([*known, (surprise(anomaly), anomaly.window)], key=lambda pair: -pair[0])[:STRONGEST]
    return {
        "surprises": tuple(value for value, _ in ranked),
        "strongest": tuple(window for _, window in ranked if window is not None),
    }


def merge_contributions(known: tuple[Contribution, ...], anomaly: Anomaly) -> tuple[Contribution, ...]:
    """The strongest of each service, kind and text; shares are weighed by the anomaly's score."""
    merged = {(c.service, c.kind, c.text): c for c in known}
    for item in anomaly.contributions:
        share, since = item.share * anomaly.score, item.since or anomaly.window
        weighed = replace(item, share=share, since=since, service=anomaly.service, source=anomaly.source)
        before = merged.get((anomaly.service, item.kind, item.text))
        if before is None or weighed.share > before.share:
            since = min(filter(None, (weighed.since, before.since if before else None)))
            merged[anomaly.service, item.kind, item.text] = replace(weighed, since=since)
    ranked = sorted(merged.values(), key=lambda c: (-c.share, c.service, c.kind, c.text))
    return tuple(ranked[:MAX_CONTRIBUTIONS])


def merge_evidence(known: tuple[Evidence, ...], new: Iterable[Evidence]) -> tuple[Evidence, ...]:
    """First come, first kept, each line once."""
    merged = {line.id: line for line in known}
    for line in new:
        merged.setdefault(line.id, line)
    return tuple(merged.values())[:MAX_EVIDENCE]
