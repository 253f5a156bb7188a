"""Turn texts into vectors without a model: stable hashing of words and of pairs of words."""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from exporter.model import Embedder, EmbedderSettings, Unit, stable_key

MAX_WORDS = 2_000

_VARIABLE = re.compile(
    r"<[^<>\s]{0,40}>"  # masks of the miner and placeholders of redaction
    r"|\b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b"
    r"|\b0x[0-9a-fA-F]+\b|\b(?=[a-fA-F]*\d)[0-9a-fA-F]{8,64}\b"
    r"|\d+"
)
_WORD = re.compile(r"[^\W\d_]{2,64}")
_HUMP = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")

_COMMON = frozenset(
    {"an", "and", "are", "as", "at", "be", "by", "for", "from", "has", "have", "in", "is", "it", "its", "not", "of"}
    | {"on", "or", "that", "the", "this", "to", "was", "with"}
)


class HashingSettings(EmbedderSettings):
    """Vectors from words alone: no model, no download, the same everywhere."""

    type: Literal["hashing"] = "hashing"
    dimensions: Annotated[int, Unit("numbers")] = Field(default=512, ge=64, le=4096)
    """Length of a vector. With more, fewer words share a place."""

    def build(self) -> Embedder:
        return HashingEmbedder(self.dimensions)


class HashingEmbedder:
    """An `Embedder` whose vectors are alike when texts share words and pairs of words.

    >>> embedder = HashingEmbedder()
    >>> a, b, c = embedder.embed(["connection to db refused", "db refused a connection", "user logged in"])
    >>> sum(x * y for x, y in zip(a, b)) > 0.5 > sum(x * y for x, y in zip(a, c))
    True
    """

    semantic = False
    """Its vectors say of words what words say themselves."""

    def __init__(self, dimensions: int = 512) -> None:
        self.dimensions = dimensions
        self.model = f"hashing-1-{dimensions}"

    def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        return [self._vector(text) for text in texts]

    def _vector(self, text: str) -> list[float]:
        vector = np.zeros(self.dimensions)
        for feature, weight in _features(text):
            key = stable_key(feature)
            vector[key % self.dimensions] += weight if key >> 63 else -weight
        norm = float(np.linalg.norm(vector))
        if norm < 1e-9:
            # A zero vector has no direction, and cosine indexes refuse it.
            vector[stable_key(text) % self.dimensions] = norm = 1.0
        return [float(value) for value in vector / norm]


def normalise(text: str) -> str:
    """The text without what differs between two occurrences of the same thing.

    >>> normalise("order <num> of <email:3fa9c1> took 12ms")
    'order of took ms'
    """
    return " ".join(_VARIABLE.sub(" ", text).split())


def words(text: str) -> list[str]:
    """Telling words of a text in lower case, the parts of compound ones too.

    >>> words("ConnectionTimeout while reading from orders_db")
    ['connectiontimeout', 'connection', 'timeout', 'while', 'reading', 'orders', 'db']
    """
    found: list[str] = []
    for word in _WORD.findall(normalise(text)):
        parts = _HUMP.findall(word)
        found += [word, *parts] if len(parts) > 1 else [word]
        if len(found) >= MAX_WORDS:
            break
    return [word for word in map(str.lower, found) if word not in _COMMON and len(word) > 1]


def _features(text: str) -> Iterator[tuple[str, float]]:
    """Words and neighbours; what is said often counts more, but less than in proportion."""
    found = words(text)
    pairs = [f"{a} {b}" for a, b in itertools.pairwise(found)]
    for counts, weight in ((Counter(found), 1.0), (Counter(pairs), 0.5)):
        for feature, amount in counts.items():
            yield feature, weight * (1 + math.log(amount))
