"""Apply rules to many texts at once: which of them can find something in which text, a compiled search says first."""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import polars as pl

from exporter.ingest.redaction import library
from exporter.ingest.redaction.placeholders import PLACEHOLDER
from exporter.ingest.redaction.presence import Strings, is_short
from exporter.ingest.redaction.rule import Names, OwnRule, Rule, lowered
from exporter.ingest.redaction.stems import EDGE, stands
from exporter.ingest.redaction.view import HIDDEN, View, view_of

log = logging.getLogger(__name__)


Applicable = dict[int, frozenset[str]]
"""Numbers of rules, and the stems because of which they may find something."""


@dataclass(frozen=True, order=True)
class Secret:
    """What is to be hidden of a text: from, to, its type, and which rule says so."""

    start: int
    end: int
    type: str
    rule: str = ""


# Signs that may stand in a name, or not.
_SQUEEZED = str.maketrans("", "", " _.-" + EDGE)


@dataclass(frozen=True)
class Looked:
    """What came of looking at a text."""

    secrets: list[Secret] | None
    """None where they cannot be known, for then the text must not pass."""
    counts: bool = False
    """Whether a number in it, or its length, counts, for it is the value of a name."""
    of_library: bool = False
    """Whether the library may find something more."""


OF_LIBRARY = -1
"""Stands among the numbers of rules for the library."""


class Finder:
    """All rules of a redactor."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = tuple(rules)
        self._stems = _stems_of(self._rules)
        self._own = [number for number, rule in enumerate(rules) if isinstance(rule, OwnRule)]
        hinted: dict[str, list[int]] = defaultdict(list)
        for number, rule in enumerate(rules):
            if rule.hint or (not rule.needs and number not in self._own):
                hinted[rule.hint].append(number)
        self._hinted = dict(hinted)
        self._hints = [(re.compile(hint), numbers) for hint, numbers in hinted.items()]

    def find(self, texts: Sequence[str]) -> list[Looked]:
        """The secrets of each text."""
        views = [_guarded(text) for text in texts]
        shown = [view.text if view else "" for view, _ in views]
        applicable = self._applicable(shown, [small for _, small in views])
        return [
            Looked(None) if view is None else self._looked(text, view, small, some)
            for text, (view, small), some in zip(texts, views, applicable, strict=True)
        ]

    def _applicable(self, texts: Sequence[str], lower: Sequence[str]) -> list[Applicable]:
        """The numbers of the rules that may find something in each text, and what it has of their stems."""
        if is_short(texts):
            return [self._applicable_to(text, small) for text, small in zip(texts, lower, strict=True)]
        applicable: list[Applicable] = [{} for _ in texts]
        searches = [self._stems[False].likely("text"), self._stems[True].likely("lower")]
        searches += [library.likely("lower"), *(pl.col("text").str.contains(hint) for hint in self._hinted)]
        frame = frame_of(texts, lower).select(one.alias(str(at)) for at, one in enumerate(searches))
        case, any_case, of_library, *hints = ([row for row, has in enumerate(column) if has] for column in frame)
        self._stems[False].note(texts, case, applicable)
        self._stems[True].note(lower, any_case, applicable)
        for rows, numbers in zip(hints, self._hinted.values(), strict=True):
            for row in rows:
                applicable[row].update((number, frozenset()) for number in numbers)
        for row in of_library:
            applicable[row][OF_LIBRARY] = frozenset()
        return applicable

    def _applicable_to(self, text: str, lower: str) -> Applicable:
        """`_applicable` of one text, with nothing to be prepared."""
        applicable = {**self._stems[False].of(text), **self._stems[True].of(lower)}
        for hint, numbers in self._hints:
            if hint.search(text):
                applicable.update((number, frozenset()) for number in numbers)
        if library.is_likely(lower):
            applicable[OF_LIBRARY] = frozenset()
        return applicable

    def _looked(self, text: str, view: View, lower: str, applicable: Applicable) -> Looked:
        names: Names = {}
        of_library = applicable.pop(OF_LIBRARY, None) is not None
        try:
            secrets = [*self._of_own(text, view), *self._by_rules(view, lower, applicable, names)]
        except Exception:
            log.debug("a text could not be redacted", exc_info=True)
            return Looked(None)
        counts = any(self._rules[number].counts(lower, names) for number in applicable)
        return Looked(secrets, counts, of_library)

    def _of_own(self, text: str, view: View) -> Iterator[Secret]:
        """By the operator's own rules: in the text as it is, and with nothing escaped."""
        if self._own:
            plain = PLACEHOLDER.sub(lambda match: HIDDEN * len(match[0]), text)
            for number in self._own:
                rule = self._rules[number]
                for start, end in rule.find(plain, plain, (), {}):
                    yield Secret(start, end, rule.name, rule.name)
                for start, end in rule.find(view.text, view.text, (), {}) if view.places else ():
                    yield Secret(*view.span(start, end), rule.name, rule.name)

    def _by_rules(self, view: View, lower: str, applicable: Applicable, names: Names) -> Iterator[Secret]:
        for number in sorted(applicable):
            rule = self._rules[number]
            for start, end in rule.find(view.text, lower, applicable[number], names):
                yield Secret(*view.span(start, end), rule.name, f"{rule.name} {number}")


class _Stems:
    """The stems of the rules for any case, or of the others."""

    def __init__(self, rules: Sequence[Rule], any_case: bool) -> None:
        # Which rules have a stem, but for its signs and where it stands, and how each of them writes it.
        self._rules: dict[str, dict[int, frozenset[str]]] = defaultdict(dict)
        # Names may have signs in them; of a token they are a part.
        self._squeezed = _SQUEEZED if any_case else {ord(EDGE): None}
        written = {stem for rule in rules if not rule.hint and rule.any_case == any_case for stem in rule.needs or ()}
        for number, rule in enumerate(rules):
            for stem in written & (rule.needs or frozenset()) if not rule.hint and rule.any_case == any_case else ():
                of_rule = self._rules[stem.translate(self._squeezed)]
                of_rule[number] = of_rule.get(number, frozenset()) | {stem}
        self._all = sorted(self._rules)
        self._strings = Strings(self._all)
        edged = "|".join(re.escape(stem[1:]) for stem in sorted(written) if stem[0] == EDGE)
        inside = "|".join(re.escape(stem) for stem in sorted(written) if stem[0] != EDGE)
        # Each by itself: together they are more than Rust's engine makes a fast search of.
        self._any = (inside, rf"(?:^|[^A-Za-z0-9])(?:{edged})")

    def likely(self, column: str) -> pl.Expr:
        """Whether a text has a stem."""
        return pl.any_horizontal(pl.col(column).str.contains(one) for one in self._any)

    def note(self, texts: Sequence[str], rows: Sequence[int], applicable: list[Applicable]) -> None:
        """Which rules those texts have a stem of that are likely to have one."""
        plain = pl.Series([encodable(texts[row].translate(self._squeezed)) for row in rows], dtype=pl.String)
        found = plain.str.extract_many(self._all, overlapping=True).list.unique().to_list()
        for row, present in zip(rows, found, strict=True):
            applicable[row].update(self._having(texts[row], present))

    def of(self, text: str) -> Applicable:
        """`note` of one text, whether it is likely or not."""
        return self._having(text, self._strings.of(text.translate(self._squeezed)))

    def _having(self, text: str, squeezed: Iterable[str]) -> Applicable:
        """The rules that have a stem as it is written in a text."""
        having: Applicable = {}
        there: dict[str, bool] = {}
        for one in squeezed:
            for number, stems in self._rules[one].items():
                for stem in stems:
                    if stem not in there:
                        there[stem] = stands(stem, text)
                    if there[stem]:
                        having[number] = having.get(number, frozenset()) | {stem}
        return having


@lru_cache(8)
def _stems_of(rules: tuple[Rule, ...]) -> dict[bool, _Stems]:
    return {any_case: _Stems(rules, any_case) for any_case in (False, True)}


def _guarded(text: str) -> tuple[View | None, str]:
    """What the rules look at, also in small letters; None where it cannot be had."""
    try:
        view = view_of(text)
        return view, lowered(view.text)
    except Exception:
        log.debug("a text could not be read for redaction", exc_info=True)
        return None, ""


def encodable(text: str) -> str:
    """Half of a surrogate pair is nothing that a column can hold."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode()
    return text


def frame_of(texts: Sequence[str], lower: Sequence[str] = ()) -> pl.DataFrame:
    """Texts as columns for Rust's engine."""
    columns = {"text": texts, "lower": lower} if lower else {"text": texts}
    return pl.DataFrame(
        [pl.Series(name, [encodable(text) for text in some], pl.String) for name, some in columns.items()]
    )
