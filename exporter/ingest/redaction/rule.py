"""One kind of secret: by which pattern it is found, and where that is tried."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

from exporter.ingest.patterns import UsersPattern, users_pattern
from exporter.ingest.redaction import words
from exporter.ingest.redaction.stems import places, stems

Span = tuple[int, int]

Names = dict[str, list[Span]]
"""Where names stand, by the pattern that finds them."""


@dataclass(frozen=True)
class Rule:
    """One kind of secret.

    Patterns take linear time on any input: possessive or bounded quantifiers, and where a run of characters begins a
    match, either a look-behind keeps it from starting inside of the run or the run has a small bound. They look at a
    view (`view.py`), in which nothing is escaped. What the groups whose names begin with `s` match is hidden, all of
    the match where it has none. Patterns of Python's slower `re` run only on views that have one of `needs`, in small
    letters where the pattern is for any case, or that `hint`, a pattern of Rust's regex, matches. Where they begin with
    a name, `head`, they are tried only at the names that stand around one of `needs`.
    """

    name: str
    source: str
    hint: str = ""
    needs: frozenset[str] | None = None
    head: str = ""
    holds: Callable[[str], bool] = lambda _: True
    spans: Callable[[re.Match[str]], Iterable[Span]] | None = None
    part: Callable[[str], int] = len
    """How many characters of what is found are secret."""

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        return re.compile(lowered_pattern(self.source))

    @property
    def any_case(self) -> bool:
        """Then it is looked for in text of small letters, which is several times as fast."""
        return self.source.startswith(ANY_CASE)

    @cached_property
    def _head(self) -> re.Pattern[str]:
        return re.compile(lowered_pattern(ANY_CASE + self.head) if self.any_case else self.head)

    def find(self, text: str, lower: str, present: Collection[str], names: Names) -> Iterator[Span]:
        """Where something is to be hidden of a text, which in small letters is as long, with what it has of `needs`.

        `names` are those that other rules have found in it.
        """
        where = lower if self.any_case else text
        for match in self._matches(where, present, names) if self.head else self.pattern.finditer(where):
            for start, end in self.spans(match) if self.spans else _groups(match):
                if start < end and self.holds(text[start:end]):
                    yield start, start + self.part(text[start:end])

    def counts(self, lower: str, names: Names) -> bool:
        """Whether a number of a text that the rule was tried on, or its length, may say that it is to be hidden."""
        if not self.head:
            return not self.hint and self.any_case and self.name in OF_NUMBERS
        spans = names.get(self.head, [])
        if self.name in OF_NUMBERS or words.PASSWORD in self.head:
            return bool(spans)
        return self.name == "secret" and any(NUMBER_FOLLOWS.match(lower, end) for _, end in spans)

    def _matches(self, text: str, present: Collection[str], names: Names) -> Iterator[re.Match[str]]:
        """As if all of the text were searched."""
        if self.head not in names:
            windows = _windows(text, present)
            names[self.head] = [name.span() for span in windows for name in self._head.finditer(text, *span)]
        last = 0
        for start, _ in names[self.head]:
            if start >= last and (match := self.pattern.match(text, start)):
                last = match.end()
                yield match


OF_NUMBERS = frozenset(
    ("id_number", "phone", "code", "birth_date", "card", "iban", "position", "cookie", "authorization")
)
"""Types whose numbers count wherever their name stands."""

NUMBER_FOLLOWS = re.compile(
    r"s?(?:[_\-. ]?(?:values?|keys?|ids?|no|nr|num|numbers?|codes?|hash|text|string|data|new|old)|[\d(\[]{1,2})?"
    r"[\"'`\])\s]{0,6}(?:=>|:=|==|->|[=:>,#\-\uff1a\uff1d\u662f\u4e3a])?"
    r"[\s\"'`\[(]{0,4}(?:\d|[0-9a-f\-]{16})"
)
"""What stands behind a name whose value is a number, or begins with one."""


@dataclass(frozen=True)
class OwnRule(Rule):
    """A pattern of the operator's own."""

    @classmethod
    def of(cls, name: str, pattern: str) -> OwnRule:
        return cls(name, pattern)

    @cached_property
    def _users(self) -> UsersPattern:
        return users_pattern(self.source)

    @property
    def hint_of_users(self) -> str:
        """A pattern of Rust's that each text matches in which it finds something."""
        return self._users.hint

    @property
    def any_case(self) -> bool:
        return False

    def find(self, text: str, lower: str, present: Collection[str], names: Names) -> Iterator[Span]:
        yield from ((start, end) for start, end in self._users.spans(text) if start < end)


_BEFORE, _AFTER = 40, 48
"""Characters around a stem in which the name begins that it is a part of, and ends."""

LONGEST_HEAD = 40
"""Characters of a head, so that it lies in there."""


def _windows(text: str, stems: Collection[str]) -> list[Span]:
    """The parts of a text around the places of stems."""
    windows: list[Span] = []
    for at in sorted({at for stem in stems for at in places(stem, text)}):
        first, end = max(0, at - _BEFORE), at + _AFTER
        if windows and first <= windows[-1][1]:
            windows[-1] = windows[-1][0], end
        else:
            windows.append((first, end))
    return windows


ANY_CASE = "(?i)"


def lowered_pattern(source: str) -> str:
    """A pattern for any case as one for small letters; others stay as they are."""
    if not source.startswith(ANY_CASE):
        return source
    kept = r"\\.|\(\?P<\w+>|\(\?-i:"
    return re.sub(rf"({kept})|([A-Z])", lambda match: match[1] or match[2].lower(), source.removeprefix(ANY_CASE))


def lowered(text: str) -> str:
    """In small letters, and as long as before.

    >>> lowered("AİB")
    'aİb'
    """
    lower = text.lower()
    if len(lower) == len(text):
        return lower
    return "".join(char.lower() if len(char.lower()) == 1 else char for char in text)


def _groups(match: re.Match[str]) -> Iterator[Span]:
    names = [name for name in match.re.groupindex if name[0] == "s" and match.start(name) >= 0]
    return iter([match.span(name) for name in names] or [match.span()])


def rule(
    name: str,
    source: str,
    hint: str = "",
    needs: str | Iterable[str] = "",
    holds: Callable[[str], bool] = lambda _: True,
    spans: Callable[[re.Match[str]], Iterable[Span]] | None = None,
) -> Rule:
    known = (
        frozenset(needs.split() if isinstance(needs, str) else needs)
        if needs
        else None
        if hint
        else stems(lowered_pattern(source))
    )
    return Rule(name, source, hint, known, "", holds, spans)


def named(
    name: str,
    head: str,
    rest: str,
    holds: Callable[[str], bool] = lambda _: True,
    spans: Callable[[re.Match[str]], Iterable[Span]] | None = None,
    part: Callable[[str], int] = len,
) -> Rule:
    """A rule for what follows a name, in any case."""
    return Rule(name, f"{ANY_CASE}{head}{rest}", "", stems(lowered_pattern(ANY_CASE + head)), head, holds, spans, part)


def each(name: str, heads: Iterable[str], rest: str, holds: Callable[[str], bool] = lambda _: True) -> Iterator[Rule]:
    """The same after names of several kinds: a text has seldom more than one of them."""
    return (named(name, head, rest, holds) for head in heads)
