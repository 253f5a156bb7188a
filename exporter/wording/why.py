"""Why an incident opened, or did not: its strength against the threshold of that day, and what brought it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from exporter.model import Contribution, Incident, NearMiss, Opening, Share
from exporter.wording.text import brief, duration, listed, minute, time_of_day
from exporter.wording.words import reason

SHOWN = 5
"""Services, and findings, that an account names."""

POWERS = (
    "Strength is in powers of ten of unlikelihood, added up over the strongest windows: by chance alone one window in "
    "a hundred has a strength of 2, one in a thousand 3. Windows without a warning or an error count for less."
)


def why_it_opened(incident: Incident) -> list[str]:
    """The account of an incident, a sentence each; of older releases as far as they kept it."""
    if incident.opening is None:
        return list(_unkept(incident))
    opening = incident.opening
    over = incident.status == "resolved" or incident.reopened
    return [
        f"It opened at {minute(opening.at)} UTC with a strength of {_power(opening.strength)} against a threshold of "
        f"{_power(opening.threshold)}; {_persistence(opening)}.",
        *_account(opening, incident.contributions),
        "Made of these windows, it would not have opened with a threshold above "
        f"{_power(incident.peak or opening.strength)}, the greatest strength that it had"
        f"{' before it first ended' if incident.reopened else ''}, or with `incidents.for` longer than "
        f"{duration(incident.held or opening.lasted)}, which it {'lasted' if over else 'has lasted so far'}.",
    ]


def why_it_did_not_open(near: NearMiss) -> list[str]:
    """The account of what came near to an incident, a sentence each."""
    opening = near.opening
    missing = (
        f"below the threshold of {_power(opening.threshold)}"
        if near.reason == "weak"
        else f"enough for the threshold of {_power(opening.threshold)}, but it ended before `incidents.for`"
    )
    return [
        f"Its strength came to {_power(opening.strength)} at {minute(opening.at)} UTC, {missing}; "
        f"{_persistence(opening)}.",
        *_account(opening, near.contributions),
    ]


def _unkept(incident: Incident) -> Iterator[str]:
    if incident.alerted:
        yield f"It was opened by {brief(incident.trigger, 200)}, whatever the strength of what the logs show."
    else:
        yield "It was opened by a release that did not keep its strength, nor the threshold of that day."
    if incident.anomalies:
        yield f"It is made of {incident.anomalies} anomalies, the strangest with a score of {incident.score:.4f}."
    yield from _findings(incident.contributions)


def _account(opening: Opening, findings: Sequence[Contribution]) -> Iterator[str]:
    yield POWERS
    for share in opening.shares[:SHOWN]:
        yield _share(share)
    if len(opening.shares) > SHOWN:
        rest = opening.shares[SHOWN:]
        yield f"{len(rest)} more brought {_power(sum(share.strength for share in rest))} together."
    if len(opening.shares) > 1:
        yield (
            f"Of {opening.among} services some are always unusual: each but the strongest counts for what it has "
            "beyond that choice."
        )
    yield from _findings(findings)
    for past in opening.past:
        yield (
            f"What is expected of {brief(past.source, 80)} comes from its windows between {minute(past.since)} and "
            f"{minute(past.through)} UTC, as far as they were read."
        )


def _share(share: Share) -> str:
    where = f"{brief(share.service, 80)} ({brief(share.source, 80)}) brought {_power(share.strength)}"
    windows = f", in the windows of {listed([time_of_day(start) for start in share.windows])}" if share.windows else ""
    views = f"; {listed([brief(view, 40) for view in share.views])} agreed" if share.views else ""
    return f"{where}{windows}{views}."


def _findings(findings: Sequence[Contribution]) -> Iterator[str]:
    for finding in sorted(findings, key=lambda finding: -finding.share)[:SHOWN]:
        yield f"{brief(finding.service, 80)}: {reason(finding)}" if finding.service else reason(finding)


def _persistence(opening: Opening) -> str:
    lasted = f"it had lasted {duration(opening.lasted)}"
    return f"{lasted}, and `incidents.for` asked for {duration(opening.required) if opening.required else 'nothing'}"


def _power(strength: float) -> str:
    """To the hundredth: thresholds are often missed by as little."""
    return f"{strength:.2f}"
