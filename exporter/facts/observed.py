"""What a window says for whoever tells of an incident: its failing lines with their words, its requests, its starts.

A row a window, replaced when the window is read again; it is kept as long as something may still be told of it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import polars as pl

from exporter.detection import valued
from exporter.detection.evidence import evidence_of
from exporter.detection.observation import Observation
from exporter.detection.rows import Table
from exporter.facts.alike import are_alike, common, tokens
from exporter.facts.prefixes import Prefix
from exporter.facts.roots import told
from exporter.model import (
    Evidence,
    Reduced,
    Severity,
    Write,
    dumps,
    failure_in,
    loads,
    stable_key,
)
from exporter.model.faults import fault_in

if TYPE_CHECKING:
    from exporter.mining.templates import Mined

FACTS = Table("facts_windows", {"window": int}, {"body": bytes})

KEEP = timedelta(hours=26)
"""How long a window is kept: an incident is told by what it holds, and by the hour before it."""

MOST_SAYINGS = 30
"""Kinds of failing lines of a service that are kept of a window, the worst and most frequent first."""

MOST_OF_ALL = 300
"""The same of all services."""

MOST_READ = 10
"""Templates for each of these that are looked at: of an access log many say the same."""

SHOWN = 2
"""Lines that are kept of each."""

MOST_WORDS = 12
"""Lines of each of which it is kept what they say."""

MOST_STARTS = 50

MOST_PLACES = 20
"""Hosts, versions and instances of a service, or of a kind of its lines, that are kept of a window."""

PLACES = ("host", "version", "instance")


Lines = tuple[tuple[str, int], ...]
"""How many lines each of some names has."""


@dataclass(frozen=True)
class Saying:
    """A kind of failing line of a service in a window. `first` is in nanoseconds; `words` are what `heard` of its lines
    say; `lines` are some of these. `templates` are others that say the same.

    hosts, versions, instances: of how many lines each is, where the lines say it; the most lines first.
    """

    service: str
    template: int
    level: int
    count: int
    first: int
    kind: str
    words: tuple[str, ...]
    lines: tuple[Evidence, ...]
    hosts: Lines = ()
    versions: Lines = ()
    instances: Lines = ()
    heard: int = 0
    templates: tuple[int, ...] = ()


@dataclass(frozen=True)
class Requests:
    """Lines of one kind that have a status: all, those of 2xx and 3xx, those of 5xx."""

    service: str
    family: int
    all: int
    well: int
    failed: int


@dataclass(frozen=True)
class Began:
    """A line that says that a service starts."""

    service: str
    version: str
    at: int


@dataclass(frozen=True)
class Places:
    """Whence all lines of a service come that fails in a window."""

    service: str
    hosts: Lines = ()
    versions: Lines = ()
    instances: Lines = ()


@dataclass(frozen=True)
class Observed:
    """A window. `lines` are those of each service; `places` are of those that fail. `moving`: services of which a line
    speaks of a start or a stop; None where an earlier release has not looked."""

    lines: Mapping[str, int]
    sayings: tuple[Saying, ...] = ()
    requests: tuple[Requests, ...] = ()
    starts: tuple[Began, ...] = ()
    places: tuple[Places, ...] = ()
    moving: tuple[str, ...] | None = None


def tables() -> str:
    """The statement that makes the table."""
    return FACTS.definition()


def observed_rows(source: str, observation: Observation, reduced: Reduced, mined: Mined) -> tuple[Write, ...]:
    """The row of a window."""
    if observation.services.is_empty():
        return FACTS.put(source, [(observation.window, b"")])
    return FACTS.put(source, [(observation.window, _packed(observed(source, observation, reduced, mined)))])


def forgotten_rows(source: str, window: int) -> tuple[Write, ...]:
    """Forget the window that is old when this one settles."""
    return FACTS.delete(source, [(window - KEEP // timedelta(seconds=1),)])


def _packed(value: Observed) -> bytes:
    import zstandard

    return zstandard.compress(dumps(value).encode(), 3)


MOST_UNPACKED = 1 << 28


def read(body: bytes) -> Observed:
    """The window that a row holds."""
    import zstandard

    if not body:
        return Observed({})
    found: Observed = loads(Observed, zstandard.decompress(body, max_output_size=MOST_UNPACKED))
    return found


def observed(source: str, observation: Observation, reduced: Reduced, mined: Mined) -> Observed:
    """What a window says."""
    # Whoever counts again counts what is written to debug, too.
    counted = observation.counts.group_by("service").agg(pl.col("count").sum()).sort("service")
    lines = dict(zip(*(counted[name].to_list() for name in ("service", "count")), strict=True))
    failing = _failing(reduced.lines, mined, observation.sampled)
    names = dict(zip(*(reduced.names[name].to_list() for name in ("key", "text")), strict=True)) if failing else {}
    return Observed(
        lines,
        tuple(_sayings(source, failing, names, reduced, mined)) if failing else (),
        tuple(_requests(observation.values)),
        tuple(_starts(reduced.exemplars))[:MOST_STARTS],
        tuple(_places(failing, names, reduced.lines)) if failing else (),
        tuple(_moving(reduced.exemplars)),
    )


def _sayings(
    source: str, failing: Sequence[_Failing], names: Mapping[int, str], reduced: Reduced, mined: Mined
) -> Iterator[Saying]:
    """What fails, the worst and most frequent first; templates of a service that say the same are one."""
    shown = _shown(source, reduced.exemplars, mined, {one.template for one in failing})
    prefixes: dict[str, Prefix] = {}
    places = [_of_each(failing, names, reduced.lines, mined, place) for place in PLACES]
    drafts: dict[str, list[_Draft]] = {}
    number = 0
    for one in failing:
        service = names.get(one.service, "")
        known = shown.get((service, one.template, one.loud), [])
        if service not in prefixes:
            own = reduced.exemplars.filter(pl.col("service") == service)["body"]
            prefixes[service] = Prefix(body.split("\n", 1)[0] for body in own if body[:1] != "{")
        said = tokens(told(known[0][1].body, prefixes[service])) if known else []
        own_drafts = drafts.setdefault(service, [])
        same = next((draft for draft in own_drafts if said and draft.says(one, said)), None)
        if same is not None:
            same.add(one, known)
        elif len(own_drafts) < MOST_SAYINGS and number < MOST_OF_ALL:
            own_drafts.append(_Draft(said, [one], [known]))
            number += 1
    for service, own_drafts in drafts.items():
        yield from (draft.saying(service, prefixes[service], places, mined) for draft in own_drafts)


Known = Sequence[tuple[int, Evidence]]
"""Lines as text, with their shapes, in order of time."""


@dataclass
class _Draft:
    """Templates of a service that say the same, with what is known of their lines."""

    said: list[str]
    parts: list[_Failing]
    known: list[Known]

    def says(self, one: _Failing, said: Sequence[str]) -> bool:
        return one.level == self.parts[0].level and bool(self.said) and are_alike(self.said, said)

    def add(self, one: _Failing, known: Known) -> None:
        self.parts.append(one)
        self.known.append(known)

    def saying(
        self, service: str, prefix: Prefix, places: Sequence[Mapping[tuple[int, int, bool], Lines]], mined: Mined
    ) -> Saying:
        first, ordered = self.parts[0], sorted((line for known in self.known for _, line in known), key=_time)
        lines = ordered[:SHOWN]
        heard = [told(body, prefix) for known in self.known for body in _speaking(known)]
        words = _telling(heard)
        texts = [mined.texts.get(part.template, "") for part in self.parts]
        fault = next(
            (found for each in (*words, *(line.body for line in lines), *texts[:1]) if (found := fault_in(each))), None
        )
        hosts, versions, instances = (_added(place.get(part[:3], ()) for part in self.parts) for place in places)
        return Saying(
            service,
            first.template,
            first.level or failure_in(texts[0]),
            sum(part.lines for part in self.parts),
            min(part.first for part in self.parts),
            fault.id if fault else "",
            words,
            tuple(lines),
            hosts,
            versions,
            instances,
            len(heard),
            tuple(part.template for part in self.parts[1:]),
        )


def _time(line: Evidence) -> tuple[datetime, str]:
    return line.timestamp, line.id


def _speaking(known: Known) -> list[str]:
    """Lines of a template, MOST_WORDS at most: first some of each shape, for a word that two have in common need not
    stand in all."""
    of_shapes = {line.id: line.body for _, line in dict(reversed(known)).items()}
    first = {line.id: line.body for _, line in known[:SHOWN]}
    return [*{**first, **of_shapes, **{line.id: line.body for _, line in known}}.values()][:MOST_WORDS]


def _telling(heard: Sequence[str]) -> tuple[str, ...]:
    """What lines say, MOST_WORDS at most: first what shows a word to differ."""
    distinct, kept = [*dict.fromkeys(heard)], list[str]()
    pattern = tokens(distinct[0]) if distinct else []
    for words in distinct:
        if not kept or common(pattern, tokens(words)) != pattern:
            pattern = common(pattern, tokens(words))
            kept.append(words)
    return tuple([*kept, *(words for words in distinct if words not in kept)][: max(MOST_WORDS, len(kept))])


def _added(parts: Iterable[Lines]) -> Lines:
    found = Counter[str]()
    for part in parts:
        found.update(dict(part))
    return tuple(sorted(found.items(), key=lambda pair: (-pair[1], pair[0])))[:MOST_PLACES]


class _Failing(NamedTuple):
    """Lines of a template, those that warn or worse (`loud`) where there are any; `service` is its key."""

    service: int
    template: int
    loud: bool
    level: int
    lines: int
    first: int


def _failing(lines: pl.DataFrame, mined: Mined, sampled: float) -> list[_Failing]:
    """What fails, the worst and most frequent first: a harmless line of the same words is no failure."""
    loud = (pl.col("severity") >= Severity.WARN).alias("loud")
    shapes = lines.filter(~pl.col("continuation")).group_by("service", "shape", loud)
    counted = shapes.agg(pl.len(), pl.col("severity").max(), pl.col("timestamp").min())
    found = (
        counted.join(mined.templates, on=("service", "shape"))
        .group_by("service", "template", "loud")
        .agg(pl.col("severity").max(), pl.col("len").sum(), pl.col("timestamp").min())
        .sort("loud", "severity", "len", "service", "template", descending=[True, True, True, False, False])
    )
    kept, of, known = list[_Failing](), dict[int, int](), set[tuple[int, int]]()
    for service, template, is_loud, level, count, first in found.iter_rows():
        if (service, template) in known or not (is_loud or _speaks(mined.texts.get(template, ""), level)):
            continue
        known.add((service, template))
        of[service] = of.get(service, 0) + 1
        if of[service] <= MOST_READ * MOST_SAYINGS:
            kept.append(_Failing(service, template, is_loud, max(level, 0), round(count / sampled), first))
    return kept[: MOST_READ * MOST_OF_ALL]


def _of_each(
    failing: Sequence[_Failing], names: Mapping[int, str], lines: pl.DataFrame, mined: Mined, place: str
) -> dict[tuple[int, int, bool], Lines]:
    """The places of the lines of each kind, by service, template and whether they warn."""
    ids = mined.templates.filter(pl.col("template").is_in([one.template for one in failing]))
    known = lines.filter(~pl.col("continuation") & (pl.col(place) != 0))
    loud = (pl.col("severity") >= Severity.WARN).alias("loud")
    found = known.join(ids, on=("service", "shape")).group_by("service", "template", loud, place).len()
    return _kept(found, ["service", "template", "loud"], names, place)


def _places(failing: Sequence[_Failing], names: Mapping[int, str], lines: pl.DataFrame) -> Iterator[Places]:
    """Of the services that fail."""
    keys = list(dict.fromkeys(one.service for one in failing))
    own = lines.filter(pl.col("service").is_in(keys) & ~pl.col("continuation"))
    found = [
        _kept(own.filter(pl.col(place) != 0).group_by("service", place).len(), ["service"], names, place)
        for place in PLACES
    ]
    for key in keys:
        if any((key,) in place for place in found):
            yield Places(names.get(key, ""), *(place.get((key,), ()) for place in found))


def _kept(found: pl.DataFrame, by: Sequence[str], names: Mapping[int, str], place: str) -> dict[Any, Lines]:
    """Of each group the places with most lines."""
    kept: dict[Any, list[tuple[str, int]]] = {}
    for *group, key, lines in found.sort("len", place, descending=[True, False]).select(*by, place, "len").iter_rows():
        of = kept.setdefault(tuple(group), [])
        if len(of) < MOST_PLACES:
            of.append((names.get(key, ""), lines))
    return {group: tuple(of) for group, of in kept.items()}


def _speaks(text: str, level: int) -> bool:
    """Whether lines that do not warn speak of a failure: of a kind of fault, or by a word where they have no level."""
    return fault_in(text) is not None or (level <= 0 and failure_in(text) >= Severity.WARN)


def _shown(
    source: str, exemplars: pl.DataFrame, mined: Mined, templates: Collection[int]
) -> dict[tuple[str, int, bool], list[tuple[int, Evidence]]]:
    """Lines of templates as text with their shapes, by service, template and whether they warn or worse, in order of
    time."""
    keys = {name: stable_key(name) if name else 0 for name in exemplars["service"].unique().to_list()}
    keyed = exemplars.with_columns(pl.col("service").replace_strict(keys, return_dtype=pl.UInt64).alias("key"))
    ids = mined.templates.filter(pl.col("template").is_in(list(templates)))
    joined = keyed.join(ids, left_on=("key", "shape"), right_on=("service", "shape")).sort("timestamp", "id")
    found: dict[tuple[str, int, bool], list[tuple[int, Evidence]]] = {}
    for row in joined.iter_rows(named=True):
        loud = (row["severity"] or 0) >= Severity.WARN
        found.setdefault((row["service"], row["template"], loud), []).append(
            (row["shape"], evidence_of(source, row, mined.texts))
        )
    return found


def _requests(values: pl.DataFrame) -> Iterator[Requests]:
    own = values.filter((pl.col("kind") == valued.CODES) & (pl.col("family") != valued.SERVICE))
    found: dict[tuple[str, int], dict[int, int]] = {}
    columns = (own[name].to_list() for name in ("service", "family", "value", "x"))
    for service, family, value, amount in zip(*columns, strict=True):
        found.setdefault((service, family), {})[value] = amount
    for (service, family), amounts in sorted(found.items()):
        every = amounts.get(valued.ALL, sum(amounts.values()))
        well = amounts.get(2, 0) + amounts.get(valued.REDIRECTED, 0)
        yield Requests(service, family, every, well, amounts.get(valued.BROKEN, 0))


_STARTS = r"(?i)\b(?:starting|started|booting|server listening)\b"
_VERSION = re.compile(r"(?<![\d.])v?(\d{1,5}\.\d{1,5}\.\d{1,5})(?![\d.])")


def _starts(exemplars: pl.DataFrame) -> Iterator[Began]:
    """Starts that name a version, in order of time."""
    harmless = pl.col("severity").fill_null(0) < Severity.WARN
    found = exemplars.filter(pl.col("body").str.contains(_STARTS) & harmless).sort("timestamp", "id")
    for row in found.select("service", "body", "timestamp").iter_rows():
        if version := _VERSION.search(row[1][:400]):
            yield Began(row[0], version[1], row[2])


_MOVES = (
    r"(?i)\b(?:re)?start(?:s|ed|ing|up)?\b|\b(?:re)?boot(?:s|ed|ing)?\b|\blistening\b|\bshut(?:ting)?[ -]?down\b"
    r"|\bstopp(?:ed|ing)\b|\bexit(?:ed|ing)?\b|\bterminat(?:ed|ing)\b|\bsigterm\b|\bkilled\b|\bdeploy"
)


def _moving(exemplars: pl.DataFrame) -> list[str]:
    """Services of which a line speaks of a start or a stop, whatever else it says."""
    return exemplars.filter(pl.col("body").str.contains(_MOVES))["service"].unique().sort().to_list()
