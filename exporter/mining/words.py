"""The words of lines at places where others stood too, or that a mask hides: what varies may yet tell lines apart."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import polars as pl

from exporter.mining import masks
from exporter.mining.settings import MiningSettings
from exporter.mining.templates import NO_WORDS, WORDS_SCHEMA
from exporter.model import stable_key

if TYPE_CHECKING:
    from exporter.mining.tree import Cluster

MAX_REMEMBERED = 50_000
"""Shapes of which it is remembered how they are cut; with more all are forgotten."""

MOST_PAIRS = 32
"""Pairs of key and value of one line that are looked at."""

TOKENS = 128
"""Places below this are tokens by their number, those from it on are keys by their name."""

_PAIR = re.compile(
    r"(?<![A-Za-z0-9_.-])([A-Za-z_][A-Za-z0-9_.-]{0,60})="
    r"(\"[^\"]{1,100}\"|'[^']{1,100}'|[^\s,;&(){}\[\]\"'=]{1,100})"
)

_LETTER = re.compile(r"[^\W\d_]")


class Word(NamedTuple):
    """A word at a place of a line, as numbers, and how it is said."""

    place: int
    value: int
    said: str


class Cut(NamedTuple):
    """A line as it is told apart by its words: its masked tokens, and its values by key."""

    tokens: tuple[str, ...]
    pairs: tuple[Word, ...]


class Group(NamedTuple):
    """Lines of a service that have a shape, and the cluster of their template."""

    service: int
    shape: int
    cluster: Cluster
    lines: int
    template: int


class Words:
    """How shapes are cut into words. A pure function of their text, remembered."""

    def __init__(self, settings: MiningSettings) -> None:
        self._settings = settings
        self._cut: dict[int, Cut] = {}

    def of(self, groups: Sequence[Group], shapes: pl.DataFrame) -> pl.DataFrame:
        """The words of these lines, as WORDS_SCHEMA has them."""
        self._learn({group.shape for group in groups}, shapes)
        rows = [
            (group.service, group.shape, -group.cluster.cluster_id, *word, group.lines, group.template)
            for group in groups
            if (cut := self._cut.get(group.shape))
            for word in dict.fromkeys((*_at_places(cut.tokens, group.cluster), *cut.pairs))
        ]
        if not rows:
            return NO_WORDS
        return pl.DataFrame(rows, schema=WORDS_SCHEMA, orient="row")

    def _learn(self, wanted: set[int], shapes: pl.DataFrame) -> None:
        unknown = sorted(wanted - self._cut.keys())
        if not unknown:
            return
        if len(self._cut) + len(unknown) > MAX_REMEMBERED:
            self._cut.clear()
            unknown = sorted(wanted)
        own = shapes.filter(pl.col("shape").is_in(pl.Series(unknown, dtype=pl.UInt64).implode()) & ~pl.col("given"))
        texts = own["text"].to_list()
        masked = masks.masked(texts, self._settings.masks, self._settings.keep_keys)
        for shape, text, mask in zip(own["shape"].to_list(), texts, masked, strict=True):
            tokens = tuple(masks.tokens_of(mask, self._settings.max_tokens)[:TOKENS])
            self._cut[shape] = Cut(tokens, tuple(pairs_of(text, self._settings.keep_keys)))


def pairs_of(text: str, told_apart: Iterable[str]) -> Iterator[Word]:
    """The words that stand as the value of a key, but for keys whose values make templates.

    >>> [word.said for word in pairs_of("pay result=failed took=0ms id=0 by='a b'", ())]
    ['result: failed', 'took: 0ms', 'by: a b']
    """
    kept = set(told_apart)
    for number, match in enumerate(_PAIR.finditer(text)):
        if number == MOST_PAIRS:
            return
        key, value = match[1], match[2].strip("\"'")
        if key.lower() not in kept and _LETTER.search(value):
            yield Word(place_of(key), value_of(value), f"{key}: {value}")


def _at_places(tokens: Sequence[str], cluster: Cluster) -> Iterator[Word]:
    """The words where the cluster has seen several, whether they make templates of their own or not."""
    if len(tokens) != len(cluster.variants):
        return
    for place in cluster.places():
        token = tokens[place]
        if token[0] != "<" and _LETTER.search(token):
            yield Word(place, value_of(token), token)


def place_of(key: str) -> int:
    """The number of the place of a key."""
    return TOKENS + stable_key(key) % (2**31 - TOKENS)


def value_of(word: str) -> int:
    """The number of a word."""
    return stable_key(word) & 0xFFFFFFFF
