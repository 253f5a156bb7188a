"""Say with whom a service is in touch, by what is usual: who stands beside it in traces, and who names whom."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from functools import cached_property

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

_WORD_VALUES = base.VALUED + 2 * WORDS + 1
"""The kind of numbers that count a word where words vary."""

_VALUE = (1 << 32) - 1
"""The part of their second key that is the word."""

_NAME = re.compile(r"[\w-]+(?:[./:][\w-]+)*")
_PART = re.compile(r"[./:]")


class Neighbours:
    """The services that each calls or is called by, as far as what is learnt says so; for as long as it is asked in one
    window."""

    def __init__(self, past: Past) -> None:
        self._past = past
        self._index, self._windows = past.history.index, past.history.total()[:, base.WINDOWS]

    def of(self, service: str) -> tuple[str, ...]:
        """Of one service, by name; of more than MAX_NEIGHBOURS those that are most often beside it.

        Traces say it where it has any: a name in a text may be that of a table.
        """
        number = self._index.number(service)
        if number is None:
            return ()
        found = self._beside(number) or self._named.get(service, Counter())
        del found[service]
        ranked = sorted(found, key=lambda name: (-found[name], name))
        return tuple(sorted(ranked[:MAX_NEIGHBOURS]))

    def _beside(self, number: int) -> Counter[str]:
        """Whose lines follow directly on its own in traces, or stand before them, in how many windows: each step is
        counted of both services."""
        index, windows, beside = self._index, self._windows, Counter[str]()
        for kind, other in ((base.GAP_IN, base.GAP_OUT), (base.GAP_OUT, base.GAP_IN)):
            own = np.flatnonzero((windows > 0) & (index.kind == kind) & (index.service == number))
            theirs = np.flatnonzero((windows > 0) & (index.kind == other) & (index.service != number))
            for place in theirs[np.isin(_step(index, theirs), _step(index, own))].tolist():
                name = index.services[index.service[place]]
                beside[name] = max(beside[name], int(windows[place]))
        least = USUAL * max(beside.values(), default=0)
        return Counter({name: often for name, often in beside.items() if often >= least})

    @cached_property
    def _named(self) -> Mapping[str, Counter[str]]:
        """Who names whom in its texts, or among the words that vary in them, and who is named by whom."""
        index, known = self._index, set(self._index.services)
        by_value = {value_of(name): name for name in sorted(known)}
        names = {key: tuple(_names_in(text, known)) for key, text in self._past.texts.items()}
        found: dict[str, Counter[str]] = {}
        told = (index.kind == base.TEMPLATE) | (index.kind == _WORD_VALUES)
        for place in np.flatnonzero(told & (self._windows > 0)).tolist():
            service, kind, first, second = index.keys[place]
            word = by_value.get(second & _VALUE) if kind == _WORD_VALUES else None
            for name in names.get(first, ()) if kind == base.TEMPLATE else filter(None, [word]):
                for one, other in ((service, name), (name, service)):
                    found.setdefault(one, Counter())[other] += int(self._windows[place])
        return found


def _step(index: base.Index, places: Ints) -> Ints:
    return index.first[places] << 32 | index.second[places]


def _names_in(text: str, known: Collection[str]) -> Iterator[str]:
    """Which of some names a text has: whole, or with a port or a path."""
    for word in set(_NAME.findall(text)):
        if word in known:
            yield word
        else:
            yield from {part for part in _PART.split(word) if part in known}
