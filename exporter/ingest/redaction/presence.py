"""Which of many short strings a text has: a compiled search takes a thousandth of a second before it begins."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

_LETTERS = 3

SHORT = 5_000
"""Characters of all texts together, up to which they are looked at here."""


class Strings:
    """Some strings, each known by the three letters of it that fewest others have.

    >>> sorted(Strings(("password", "pass", "pw")).of("db_password=x"))
    ['pass', 'password']
    """

    def __init__(self, strings: Iterable[str]) -> None:
        known = sorted(set(strings))
        common = Counter(part for one in known for part in _parts(one))
        self._of: dict[str, list[str]] = {}
        self._shorter = [one for one in known if len(one) < _LETTERS]
        for one in known:
            if len(one) >= _LETTERS:
                self._of.setdefault(min(_parts(one), key=lambda part: (common[part], part)), []).append(one)
        self._parts = frozenset(self._of)

    def of(self, text: str) -> Iterator[str]:
        """Those that the text has."""
        yield from (one for one in self._shorter if one in text)
        for part in self._parts & _parts(text):
            yield from (one for one in self._of[part] if one in text)


def _parts(text: str) -> set[str]:
    return set(map("".join, zip(text, text[1:], text[2:], strict=False)))


def is_short(texts: Sequence[str]) -> bool:
    """Whether so little is to be looked at that it is better done here."""
    return sum(map(len, texts)) <= SHORT
