"""Texts that were looked at already: what is true of one is true of all that differ in numbers and ids alone.

But for where numbers count: as the value of a name, for their check digits, for their length.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Mapping, Sequence

import polars as pl

from exporter.ingest.redaction import words
from exporter.ingest.redaction.finder import Looked, Secret, frame_of
from exporter.ingest.redaction.pieces import COUNTRIES
from exporter.ingest.redaction.placeholders import PLACEHOLDER
from exporter.ingest.redaction.presence import is_short
from exporter.ingest.redaction.view import HIDDEN

MAX_HARMLESS = 50_000
"""Texts, but for their numbers, that are known to be harmless; with more all are forgotten."""

MAX_FOUND = 2_000
"""Texts whose secrets are known."""

# A seed of our own keeps anyone from preparing collisions.
_SEED = secrets.randbits(63)

# After these signs only: behind others an id may be a part of a token.
_UUID = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_ID = (
    rf"(^|[ \t\r\n(\[\"'{{,=])(?:{_UUID}|[0-9a-f]{{32}}|[0-9a-f]{{16}})(?-u:\b)"
    rf"|([A-Za-z]:){_UUID}(?-u:\b)"
)

_HIDDEN = re.compile(f"{PLACEHOLDER.pattern}|{HIDDEN}+")

_COUNTING = "|".join(
    (
        # Check digits, and first digits that say what a number is.
        r"(?:^|[^0-9])[0-9]{4}[ .-]?(?:[0-9]{4}[ .-]?[0-9]{4}[ .-]?[0-9]{4}|[0-9]{6}[ .-]?[0-9]{4,5})"
        r"(?:[^0-9A-Za-z_-]|$)",
        r"[0-9]{3}-[0-9]{2}-[0-9]{4}|[0-9]{3}\.[0-9]{3}\.[0-9]{3}-|[0-9]\.[0-9]{3}\.[0-9]{3}/|[0-9]{12}=[0-9]|[0-9]\^",
        r"\([0-9]{3}\)|(?:^|[^0-9A-Za-z_.+/-])\+[0-9]|(?:^|[^0-9A-Za-z_.+/:,-])00[0-9]",
        r"(?:^|[^0-9A-Za-z_])[1-8][0-9]{16}[0-9Xx](?:[^0-9A-Za-z_]|$)",
        r"(?:[eE][xX][pP]|[vV]alid|VALID|[mM][mM]/[yY][yY])[A-Za-z ]{0,20}[ .:=]{0,3}[0-9]{1,2}[/-][0-9]",
        rf"(?:^|[^A-Za-z0-9-])(?:{COUNTRIES})[0-9]{{2}}[ .-]?[0-9A-Za-z]{{4}}[ .-]?[0-9A-Za-z]{{4}}",
        # Passwords of URLs and of commands, and ids in queries.
        r"://[^ /]*@|[?&;#][A-Za-z0-9_-]{1,24}=[0-9a-f]{16}|(?:^|[^A-Za-z0-9_-])-[A-Za-z]|--[A-Za-z]",
        rf"(?:^|[^A-Za-z0-9])(?:{words.NUMBER_OF_IN_CAPITALS}(?:[^A-Za-z]|$)|2[fF][aA])",
    )
)
"""What makes numbers count: a pattern of Rust's."""


class Seen:
    """What is known of texts. Thread-safe enough: whatever two threads do at once, no secret is taken for harmless."""

    def __init__(self, forgets_numbers: bool) -> None:
        # What a pattern of the operator's own hangs on is not known.
        self._forgets_numbers = forgets_numbers
        self._harmless: set[int] = set()
        self._found: dict[int, list[Secret]] = {}

    def of(self, texts: Iterable[str]) -> tuple[dict[str, list[Secret]], dict[str, int]]:
        """The secrets of those that are known; the others, with the same number for what is alike in what counts."""
        known: dict[str, list[Secret]] = {}
        others: list[str] = []
        for text in dict.fromkeys(texts):
            key = hash(text)
            if key in self._harmless:
                known[text] = []
            elif key in self._found:
                known[text] = self._found[key]
            else:
                others.append(text)
        keys = {text: hash(text) if key is None else key for text, key in zip(others, self._keys(others), strict=True)}
        known |= {text: [] for text, key in keys.items() if key in self._harmless}
        return known, {text: key for text, key in keys.items() if text not in known}

    def learn(self, keys: Mapping[str, int], looked: Mapping[str, Looked]) -> None:
        """What came of looking at texts, which have such keys; nothing is learnt where it cannot be known."""
        if len(self._harmless) > MAX_HARMLESS:
            self._harmless = set()
        if len(self._found) > MAX_FOUND:
            self._found = {}
        for text, at in looked.items():
            if at.secrets:
                self._found[hash(text)] = at.secrets
            elif at.secrets is not None:
                self._harmless.add(hash(text) if at.counts else keys[text])

    def is_harmless(self, key: int) -> bool:
        return key in self._harmless

    def _keys(self, texts: Sequence[str]) -> Sequence[int | None]:
        """The same for texts that differ in numbers and ids alone; None where these count."""
        if not self._forgets_numbers or not texts:
            return [None] * len(texts)
        plain = [_HIDDEN.sub("\x02", text) if "<" in text or HIDDEN in text else text for text in texts]
        if is_short(plain):
            alike = [None if _A_COUNTING.search(text) else _alike(text) for text in plain]
        else:
            text = pl.col("text")
            key = text.str.replace_all(_ID, "${1}${2}\x03").str.replace_all("[0-9]+", "0")
            alike = frame_of(plain).select(pl.when(~text.str.contains(_COUNTING)).then(key)).to_series().to_list()
        return [None if text is None else hash((_SEED, text)) for text in alike]


def _alike(text: str) -> str:
    """A text without its numbers and ids."""
    return _NUMBER.sub("0", _AN_ID.sub("\\1\\2\x03", text))


_AN_ID, _NUMBER, _A_COUNTING = re.compile(_ID.replace("(?-u:", "(?a:")), re.compile("[0-9]+"), re.compile(_COUNTING)
