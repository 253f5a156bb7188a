"""Count again, from the raw lines, what texts say: it shares no code with what computes facts, and knows only texts.

What can be counted again: lines of a text since a time (until one, else until it was told) and in the hour before,
requests that failed of all, what is said not to have changed, and whether a service that is named is one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

_TIME = r"(\d\d:\d\d)"
_COUNT = re.compile(
    r"^(?:(?P<where>[\w, .-]+): )?(?:[\w ]+: )?“(?P<text>.+?)”[^“]*?(?P<number>\d[\d,]*) lines?\b(?P<rest>.*)$"
)
_OWN = re.compile(
    r"^(?:[\w, .-]+: )?(?P<what>errors|lines|log lines) of (?P<where>[\w.-]+): (?P<number>\d[\d,]*) lines?(?P<rest>.*)$"
)
_REQUESTS = re.compile(r"(?P<failed>\d[\d,]*) of (?P<all>\d[\d,]*) requests failed")
_SINCE, _UNTIL = re.compile(rf"since {_TIME}"), re.compile(rf"until {_TIME}")
_USUAL = re.compile(r"usually (?P<number>\d[\d,.]*) (?:a (?P<minute>minute)|an hour)|(?P<none>none) in the hour before")
_SAME = re.compile(rf"^Not changed since {_TIME} until {_TIME}[^:]*: (?P<what>.+)\.$")
_RATE = re.compile(r"^(?P<where>[\w.-]+) (?:answers|writes) (?P<now>[\d,.]+) (?P<unit>requests|lines) a minute, "
                   r"(?P<before>[\d,.]+) in the hour before$")  # fmt: skip
_NO_START = re.compile(rf"^no line of (?P<where>[\w.-]+) tells of a start or a stop from {_TIME} on$")
_OTHERS = re.compile(r"^(?P<names>.+) writes? as many lines as before$")
_STARTS = r"(?i)\b(?:starting|started|restarted|shutting down|stopped|SIGTERM|killed)\b"
HOUR = 3600 * 10**9
"""Before the first line that is told, with which it is compared; in nanoseconds."""
_CODE = re.compile(r'(?:" |status=)([1-5]\d\d)\b')


@dataclass(frozen=True)
class Recounted:
    """A number that a text says, and what the lines say; equal where it is right."""

    text: str
    said: float
    true: float

    expected: bool = False
    """Whether it is what is usual: then it is right within a quarter, or a line."""

    @property
    def wrong(self) -> bool:
        if self.expected:
            return abs(self.said - self.true) > max(1.0, self.true / 4)
        return self.said != self.true


def recounted(lines: pl.DataFrame, told: Mapping[str, Any]) -> list[Recounted]:
    """Every number of a revision that can be counted again."""
    at = datetime.fromtimestamp(told["at"], UTC)
    found: list[Recounted] = []
    for text in [told["headline"], *told["claims"]]:
        found += _of_text(lines, text, at)
    return found


def _of_text(lines: pl.DataFrame, text: str, at: datetime) -> Iterator[Recounted]:
    if match := _SAME.match(text):
        first, last = _moment(match[1], at), _moment(match[2], at)
        for part in match["what"].split("; "):
            yield from _of_same(lines, text, part, (first, last), at)
        return
    since = _SINCE.findall(text)
    if not since:
        return
    first, last = _moment(since[-1], at), _until(text, at)
    span = lines.filter(pl.col("timestamp").is_between(_nano(first), _nano(last), closed="left"))
    if match := _REQUESTS.search(text):
        codes = span["body"].str.extract(_CODE.pattern, 1).cast(pl.Int64)
        coded = span.with_columns(codes.alias("code")).drop_nulls("code")
        access = coded.filter(pl.col("body").str.contains(r'" [1-5]\d\d '))
        yield Recounted(text, _whole(match["failed"]), access.filter(pl.col("code") >= 500).height)
        yield Recounted(text, _whole(match["all"]), access.height)
    if match := _OWN.match(text):
        own = span.filter(pl.col("service") == match["where"])
        counted = own.filter(pl.col("severity") >= 17) if match["what"] == "errors" else own
        yield Recounted(text, _whole(match["number"]), counted.height)
    elif (match := _COUNT.match(text)) and "…" not in match["text"][-3:]:
        where = [name.strip() for name in re.split(r",| and ", match["where"] or "") if name.strip()]
        own = span.filter(pl.col("service").is_in(where)) if where else span
        bare = own["body"].str.replace_all('"', "", literal=True)
        shown = own.filter(bare.str.contains(_pattern(match["text"].replace('"', ""))))
        yield Recounted(text, _whole(match["number"]), shown.height)
        if (usual := _USUAL.search(text)) and where:
            earlier = lines.filter(pl.col("timestamp").is_between(_nano(first) - HOUR, _nano(first), closed="left"))
            own = earlier.filter(pl.col("service").is_in(where))
            bare = own["body"].str.replace_all('"', "", literal=True)
            before = own.filter(bare.str.contains(_pattern(match["text"].replace('"', "")))).height
            said = 0.0 if usual["none"] else float(usual["number"].replace(",", "")) * (60 if usual["minute"] else 1)
            yield Recounted(text, said, before, expected=True)


def _of_same(
    lines: pl.DataFrame, text: str, part: str, span: tuple[datetime, datetime], at: datetime
) -> Iterator[Recounted]:
    """What is said not to have changed."""
    if match := _NO_START.match(part):
        own = lines.filter(
            (pl.col("service") == match["where"])
            & pl.col("timestamp").is_between(_nano(_moment(match[2], at)), _nano(span[1]), closed="left")
        )
        yield Recounted(text, 0, own.filter(pl.col("body").str.contains(_STARTS)).height)
    elif match := _RATE.match(part):
        now, before = _rates(lines, match["where"], span, coded=match["unit"] == "requests")
        said = float(match["now"].replace(",", ""))
        yield Recounted(text, said, said if abs(said - now) <= max(0.5, now / 100) else round(now))
        yield Recounted(text, float(match["before"].replace(",", "")), before, expected=True)
    else:
        others = _OTHERS.match(part)
        assert others, part
        for name in re.split(r", | and ", others["names"]):
            if not name.endswith(" more"):
                now, before = _rates(lines, name, span)
                yield Recounted(text, now, before, expected=True)


def _rates(
    lines: pl.DataFrame, service: str, span: tuple[datetime, datetime], coded: bool = False
) -> tuple[float, float]:
    """Lines of a service a minute, all or those with the code of a request, of a span and of the hour before it."""
    own = lines.filter(pl.col("service") == service)
    own = own.filter(pl.col("body").str.contains(_CODE.pattern)) if coded else own
    (first, last), minutes = map(_nano, span), (span[1] - span[0]).total_seconds() / 60
    now = own.filter(pl.col("timestamp").is_between(first, last, closed="left")).height
    before = own.filter(pl.col("timestamp").is_between(first - HOUR, first, closed="left")).height
    return now / minutes, before / 60


def _pattern(text: str) -> str:
    """A pattern for the lines of a template: what varies is a placeholder or an ellipsis."""
    parts = re.split(r"<[^<>]{1,12}>|…", text)
    return "(?s)" + ".*?".join(re.escape(part).replace(r"\ ", r"\s+") for part in parts)


def _moment(clock: str, at: datetime) -> datetime:
    """The last time at which a clock showed this before a moment."""
    hour, minute = map(int, clock.split(":"))
    moment = at.replace(hour=hour, minute=minute, second=0, microsecond=0)
    return moment if moment <= at else moment - timedelta(days=1)


def _until(text: str, at: datetime) -> datetime:
    said = _UNTIL.findall(text)
    return _moment(said[-1], at) if said else at


def _nano(moment: datetime) -> int:
    return int(moment.timestamp()) * 10**9


def _whole(number: str) -> int:
    return int(number.replace(",", ""))


def names(told: Mapping[str, Any], services: Sequence[str]) -> bool:
    """Whether the headline is about a service that there is."""
    return str(told["headline"]).split(":", 1)[0].strip() in services
