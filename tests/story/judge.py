"""Whether what was told of each failure is right: headline, decisive line, since, and what fixed it then."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from exporter.demo.shop.failures import Failure
from tests.story.cases import EXPECTED, TRAIN_TICKET, Expected
from tests.story.play import Played

TOLERANCE = 300.0
"""Seconds by which an incident may begin or end beside its failure."""
LONGEST = 160


@dataclass(frozen=True)
class Verdict:
    """Of one failure. `headline` is that of its end; `opening` whether it was right already when it was told first.

    fixed: whether what fixed it the first time stands in what is told the second. since: whether the time that the
    headline names is that of the first line that shows it, None where no line does. wrongly: another failure's fix is
    proposed.
    """

    kind: str
    again: bool
    headline: str
    right: bool
    opening: bool
    line: bool
    since: bool | None
    fixed: bool
    wrongly: bool

    @property
    def whole(self) -> bool:
        """Right, and the second time with what fixed it."""
        return self.right and (self.fixed or not self.again)


def verdicts(played: Played) -> list[Verdict]:
    """One for each failure of a case, in order of time."""
    found = []
    for failure in sorted(played.case.shop.failures, key=lambda one: one.start):
        again = failure.start >= played.case.split
        found.append(_verdict(played, failure, again))
    return found


def _verdict(played: Played, failure: Failure, again: bool) -> Verdict:
    expected, told = EXPECTED[failure.kind], _told_of(played.told, failure)
    if not told:
        return Verdict(failure.kind, again, "", False, False, False, None, False, False)
    last = told[-1]
    text = " ".join([last["headline"], *last["claims"], *last["steps"]])
    others = [one.fix for kind, one in EXPECTED.items() if kind != failure.kind]
    return Verdict(
        failure.kind,
        again,
        last["headline"],
        right(last["headline"], failure.service, expected.words),
        right(told[0]["headline"], failure.service, expected.words),
        _keeps(last, text, expected),
        _since(played.lines, last["headline"], failure, expected),
        expected.fix in text,
        any(fix in text for fix in others),
    )


def _told_of(told: Sequence[Mapping[str, Any]], failure: Failure) -> list[Mapping[str, Any]]:
    """The revisions of the incident of a failure: of those that overlap it the one that is told of its service first,
    else the first; up to its end, and not of what reopened it later."""
    start, end = failure.start.timestamp(), failure.end.timestamp()
    within = [one for one in told if start <= one["at"] <= end + 2 * TOLERANCE + 900 and one["last_seen"] >= start]
    began = [one for one in within if one["starts_at"] <= end]
    ids = list(dict.fromkeys(one["id"] for one in began))
    own = [key for key in ids if any(one["id"] == key and one["service"] == failure.service for one in began)]
    key = next(iter([*own, *ids]), None)
    return [one for one in began if one["id"] == key]


def right(headline: str, service: str, words: Sequence[str]) -> bool:
    """Whether a headline is about a service, has one of these words, and is no longer than it may be."""
    about = headline.split(":", 1)[0].strip() == service
    said = not words or any(re.search(word, headline, re.IGNORECASE) for word in words)
    return about and said and len(headline) <= LONGEST


def _keeps(last: Mapping[str, Any], text: str, expected: Expected) -> bool:
    if not expected.line:
        return any(re.search(word, text, re.IGNORECASE) for word in expected.missing)
    return any(re.search(line, one["body"]) for line in expected.line for one in last["lines"])


def _since(lines: pl.DataFrame, headline: str, failure: Failure, expected: Expected) -> bool | None:
    """Whether the headline's time is within a minute of the first line of the failure that shows it."""
    if not expected.line:
        return None
    start, end = (int(at.timestamp() * 1e9) for at in (failure.start - timedelta(minutes=1), failure.end))
    shows = pl.any_horizontal(pl.col("body").str.contains(line) for line in expected.line)
    times: list[int] = lines.filter(pl.col("timestamp").is_between(start, end) & shows)["timestamp"].to_list()
    said = re.findall(r"since (\d\d):(\d\d)", headline)
    if not times or not said:
        return False
    moment = datetime.fromtimestamp(min(times) / 1e9, UTC)
    named = moment.replace(hour=int(said[-1][0]), minute=int(said[-1][1]), second=0)
    return -120 < (named - moment).total_seconds() <= 60


@dataclass(frozen=True)
class Ticketed:
    """Of a fault of the TrainTicket day that an incident overlaps."""

    service: str
    kind: str
    headline: str
    right: bool


def ticketed(told: Sequence[Mapping[str, Any]], labels: pl.DataFrame, tolerance: float = 120.0) -> list[Ticketed]:
    """The incidents that overlap a label; a headline counts as right by the best label that it overlaps."""
    found = []
    for one in told:
        overlapping = [
            row
            for row in labels.iter_rows(named=True)
            if row["start"].timestamp() - tolerance <= one["last_seen"]
            and one["starts_at"] <= row["end"].timestamp() + tolerance
        ]
        judged = [
            Ticketed(row["service"], row["kind"], one["headline"], _names(one["headline"], row)) for row in overlapping
        ]
        found += sorted(judged, key=lambda each: not each.right)[:1]
    return found


def _names(headline: str, row: Mapping[str, Any]) -> bool:
    known = next(one for one in TRAIN_TICKET if (one.service, one.kind) == (row["service"], row["kind"]))
    # The day names services by their pods.
    about = headline.split(":", 1)[0].strip().startswith(known.service)
    return about and (not known.words or any(re.search(word, headline, re.IGNORECASE) for word in known.words))
