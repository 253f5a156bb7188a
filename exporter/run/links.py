"""Addresses of exactly the lines that an incident cites, where people read logs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime

from exporter.config import Config
from exporter.model import Evidence, Incident, Wanted

MOST_TEXTS, LONGEST_TEXT = 3, 160
"""Of a line that is looked for by what it says: the longest texts, and how many characters of one."""

LEAST_TEXT = 6

_SURE = re.compile(r"[A-Za-z0-9.,:;=()\[\]/_+-]+")
"""A word that stands in the store as it stands here: nothing was masked in it, and no form of text escapes it."""


def line_urls(config: Config, incident: Incident) -> Mapping[str, str]:
    """Of each line of evidence, where its source says where people read it."""
    return _urls(config, {line.id: (line, line.timestamp, line.timestamp, line.trace) for line in incident.evidence})


def fact_urls(config: Config, incident: Incident) -> Mapping[str, str]:
    """Of all lines of each fact, by the line that shows it: from its first one until the facts were counted."""
    facts = incident.facts
    kept = {line.id: line for line in incident.evidence}
    known = [one for one in facts.failing if one.line in kept] if facts else []
    until = facts.until if facts else incident.last_seen
    return _urls(config, {one.line: (kept[one.line], one.since, until, "") for one in known})


def _urls(config: Config, wanted: Mapping[str, tuple[Evidence, datetime, datetime, str]]) -> dict[str, str]:
    sources = {source.name: source for source in config.sources}
    found: dict[str, str] = {}
    for identity, (line, start, end, trace) in wanted.items():
        if line.source in sources:
            url = sources[line.source].lines_url(Wanted(line.service, start, end, texts_of(line), trace))
            found |= {identity: url} if url else {}
    return found


def texts_of(line: Evidence) -> tuple[str, ...]:
    """Texts that a line and all of its kind have: whole words of its template that stand in it, the longest ones.

    >>> from datetime import UTC, datetime
    >>> body = "Released reservation of SKU12 for ORD7, no reply within 5000 ms"
    >>> template = "Released reservation of SKU<NUM> for ORD<NUM>, no reply within <NUM> ms"
    >>> texts_of(Evidence("L1", "shop", "orders", datetime(2026, 3, 14, tzinfo=UTC), body, template=template))
    ('Released reservation of', 'no reply within')
    """
    first = line.body.partition("\n")[0]
    runs: list[list[str]] = [[]]
    for word in (line.template or first).partition("\n")[0].split():
        if _SURE.fullmatch(word):
            runs[-1].append(word)
        else:
            runs.append([])
    texts = [_cut(run) for run in runs]
    said = dict.fromkeys(text for text in texts if len(text) >= LEAST_TEXT and text in first)
    return tuple(sorted(said, key=lambda text: -len(text))[:MOST_TEXTS])


def _cut(words: list[str]) -> str:
    """Whole words."""
    text = " ".join(words)
    return text if len(text) <= LONGEST_TEXT else text[:LONGEST_TEXT].rpartition(" ")[0]
