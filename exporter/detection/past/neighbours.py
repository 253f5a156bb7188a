"""Say with whom a service is in touch, by what is usual: who stands beside it in traces, and who names whom."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from exporter.detection.past import index as base
from exporter.detection.past.index import Ints
from exporter.detection.past.source import Past
from exporter.detection.valued import WORDS
from exporter.mining.words import value_of

MAX_NEIGHBOURS = 50

USUAL = 0.1
"""Of the windows in which its most usual neighbour stands beside it, so many at least make another one: where requests
do many things at once everybody stands beside everybody now and then."""

_PLACE = (1 << 32) - 1


def neighbours(past: Past, service: str) -> tuple[str, ...]:
    """The services that one calls or is called by, as far as what is learnt says so; by name, MAX_NEIGHBOURS at most.

    Traces say it where it has any: a name in a text may be that of a table.
    """
    number = past.history.index.number(service)
    if number is None:
        return ()
    found = {*_beside(past, number)} or {*_names(past, number), *_named_by(past, service)}
    return tuple(sorted(found - {service}))[:MAX_NEIGHBOURS]


def _beside(past: Past, number: int) -> Iterator[str]:
    """Whose lines follow directly on its own in traces, or stand before them: each step is counted of both services."""
    index, windows = past.history.index, past.history.total()[:, base.WINDOWS]
    beside: dict[str, int] = {}
    for kind, other in ((base.GAP_IN, base.GAP_OUT), (base.GAP_OUT, base.GAP_IN)):
        own = np.flatnonzero((windows > 0) & (index.kind == kind) & (index.service == number))
        theirs = np.flatnonzero((windows > 0) & (index.kind == other) & (index.service != number))
        for place in theirs[np.isin(_step(index, theirs), _step(index, own))].tolist():
            name = index.services[index.service[place]]
            beside[name] = max(beside.get(name, 0), int(windows[place]))
    most = max(beside.values(), default=0)
    return (name for name, often in beside.items() if often >= USUAL * most)


def _step(index: base.Index, places: Ints) -> Ints:
    return index.first[places] << 32 | index.second[places]


def _names(past: Past, number: int) -> Iterator[str]:
    """Whom its texts name, or the words that vary in them."""
    index, windows = past.history.index, past.history.total()[:, base.WINDOWS]
    own = (windows > 0) & (index.service == number)
    words = np.unique(index.second[own & (index.kind == base.VALUED + 2 * WORDS + 1)] & _PLACE)
    texts = "\n".join(past.texts.get(one, "") for one in index.first[own & (index.kind == base.TEMPLATE)].tolist())
    said = set(_WORD.findall(texts))
    return (name for name in index.services if name in said or value_of(name) in words)


def _named_by(past: Past, service: str) -> Iterator[str]:
    """Whose texts name it, or have it among the words that vary."""
    index, windows = past.history.index, past.history.total()[:, base.WINDOWS]
    naming = [template for template, text in past.texts.items() if service in _WORD.findall(text)]
    texts = (index.kind == base.TEMPLATE) & np.isin(index.first, np.array(naming, np.int64))
    words = (index.kind == base.VALUED + 2 * WORDS + 1) & (index.second & _PLACE == value_of(service))
    return (index.services[number] for number in np.unique(index.service[(windows > 0) & (texts | words)]).tolist())


_WORD = re.compile(r"[\w-]+")
