"""Read a model's answer, whatever form it has: which facts it chose, in which order, and what it says in its own words.

Nothing that it says is believed here; ids that the prompt did not have are left out.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from exporter.report.catalogue import FILLED
from exporter.wording.text import ELLIPSIS

MAX_SENTENCES = 12
"""Of each section."""

MAX_TEXT = 2_000
"""Characters of one sentence that are looked at."""

_MAX_DEPTH = 4
"""Of wrapping, and of lists in lists."""

_SECTIONS: Mapping[str, str] = {
    "what_happened": "whathappened happened summary whathashappened events observations facts findings what",
    "cause": "cause causes rootcause rootcauses likelycause likelycauses mostlikelycause reason",
    "steps": "steps nextsteps actions suggestions suggestedsteps recommendations recommendedsteps whattodo todo",
    "not_known": "notknown unknown unknowns whatisnotknown missing openquestions limits gaps",
}
"""By the name of a section what models call it, in small letters alone."""

_NAMES = {alias: section for section, aliases in _SECTIONS.items() for alias in aliases.split()}

_CITES = frozenset(
    [
        "fact",
        "facts",
        "id",
        "ids",
        "evidence",
        "cites",
        "citations",
        "citation",
        "line",
        "lines",
        "ref",
        "refs",
        "reference",
        "source",
        "sources",
    ]
)
_SAYS = frozenset(
    ["text", "sentence", "claim", "reading", "description", "statement", "step", "action", "content", "value", "answer"]
)

_ID = re.compile(r"(?i)\b[FL]\d{1,4}\b")
_CITATION = re.compile(r"(?i)\s*[\[(](?:(?:facts?|lines?|see|cf\.?)?\s*[FL]\d{1,4}\s*[,;&]?\s*(?:and\s+)?)+[\])]")
_SLOT = re.compile(r"(?i)\{+\s*\[?\s*([FL]\d{1,4})\s*\]?\s*(?:\.\s*([a-z_]+))?\s*\}+")
_BRACES = re.compile(r"\{[^{}]{0,80}\}")


@dataclass(frozen=True)
class Sentence:
    """Facts that it chose, by their keys, then words of its own, in which slots name keys: `{key.count}`."""

    facts: tuple[str, ...] = ()
    text: str = ""


@dataclass(frozen=True)
class Answer:
    """What a model said. `cause` is None where it did not say anything about it, not even that there is none."""

    what_happened: tuple[Sentence, ...] = ()
    cause: tuple[Sentence, ...] | None = None
    steps: tuple[Sentence, ...] = ()
    not_known: tuple[Sentence, ...] = ()
    dropped: Mapping[str, int] = field(default_factory=dict)
    """What was left out, by reason."""

    @property
    def is_empty(self) -> bool:
        return not (self.what_happened or self.cause or self.steps or self.not_known)


def read(raw: Any, ids: Mapping[str, str]) -> Answer:
    """The answer in what a server gave, parsed; `ids` are those of the prompt, with the keys of what they stand for."""
    reader = _Reader(ids)
    sections = _sections(raw)
    found = {name: reader.sentences(sections[name]) for name in _SECTIONS if name in sections}
    return Answer(
        found.get("what_happened", ()),
        found.get("cause"),
        found.get("steps", ()),
        found.get("not_known", ()),
        reader.dropped,
    )


def _sections(raw: Any, depth: int = 0) -> dict[str, Any]:
    """The sections of an answer by name, also where they stand inside of something else."""
    if isinstance(raw, Mapping):
        found: dict[str, Any] = {}
        for name, value in raw.items():
            if section := _NAMES.get(_letters(name)):
                found.setdefault(section, value)
        if found:
            return found
    if depth < _MAX_DEPTH and isinstance(raw, (Mapping, list)):
        inner = raw.values() if isinstance(raw, Mapping) else raw
        return next(filter(None, (_sections(value, depth + 1) for value in list(inner)[:10])), {})
    return {}


def _letters(name: object) -> str:
    return "".join(filter(str.isalpha, str(name).lower()))


class _Reader:
    """Reads sentences, with the ids of one prompt."""

    def __init__(self, ids: Mapping[str, str]) -> None:
        self._ids = ids
        self.dropped: Counter[str] = Counter()

    def sentences(self, raw: Any) -> tuple[Sentence, ...]:
        found = [one for one in map(self._sentence, _items(raw)) if one.facts or one.text]
        if len(found) > MAX_SENTENCES:
            self.dropped["too_many"] += len(found) - MAX_SENTENCES
        return tuple(found[:MAX_SENTENCES])

    def _sentence(self, item: Any) -> Sentence:
        if isinstance(item, str):
            return self._of_text(item, ())
        if not isinstance(item, Mapping):
            self.dropped["malformed"] += 1
            return Sentence()
        chosen: list[str] = []
        said = ""
        for name, value in item.items():
            letters = _letters(name)
            if letters in _CITES:
                chosen += self._named(" ".join(_texts(value)))
            elif letters in _SAYS and not said:
                said = " ".join(_texts(value))
        return self._of_text(said, tuple(dict.fromkeys(chosen)))

    def _named(self, text: str) -> Iterator[str]:
        """Keys of the ids in a text that is nothing but ids."""
        for match in _ID.finditer(text[:MAX_TEXT]):
            if key := self._ids.get(match[0].upper()):
                yield key
            else:
                self.dropped["unknown_evidence"] += 1

    def _of_text(self, text: str, chosen: tuple[str, ...]) -> Sentence:
        """What it cites in brackets is chosen, too; nothing else in it is."""
        text = text[:MAX_TEXT].strip()
        if not _ID.sub("", text).strip(" []().,;:{}-"):
            return Sentence(tuple(dict.fromkeys((*chosen, *self._named(text)))))
        cited = [key for match in _CITATION.finditer(text) for key in self._named(match[0])]
        bare = _BRACES.sub(self._slot, _SLOT.sub(self._slot, _CITATION.sub("", text)))
        return Sentence(tuple(dict.fromkeys((*chosen, *cited))), bare.strip())

    def _slot(self, match: re.Match[str]) -> str:
        found = _SLOT.fullmatch(match[0])
        if found is None:
            return match[0] if FILLED.fullmatch(match[0]) else ELLIPSIS
        key = self._ids.get(found[1].upper())
        if key is None:
            self.dropped["unknown_evidence"] += 1
            return ELLIPSIS
        return f"{{{key}.{(found[2] or 'subject').lower()}}}"


def _items(raw: Any, depth: int = 0) -> Iterator[Any]:
    """The sentences of a section: of a list, of one alone, of an object whose values they are."""
    if raw is None or depth > _MAX_DEPTH:
        return
    if isinstance(raw, list):
        for one in raw[: 4 * MAX_SENTENCES]:
            yield from _items(one, depth + 1)
    elif isinstance(raw, Mapping):
        letters = {_letters(name) for name in raw}
        if letters & (_CITES | _SAYS) or not raw:
            yield raw
        else:
            for value in list(raw.values())[: 4 * MAX_SENTENCES]:
                yield from _items(value, depth + 1)
    else:
        yield raw


def _texts(value: Any, depth: int = 0) -> Iterator[str]:
    """The texts in a value, which may be a list of them, or objects with ids."""
    if isinstance(value, str):
        yield value[:MAX_TEXT]
    elif isinstance(value, list) and depth < _MAX_DEPTH:
        for one in value[:MAX_SENTENCES]:
            yield from _texts(one, depth + 1)
    elif isinstance(value, Mapping) and depth < _MAX_DEPTH:
        for one in list(value.values())[:MAX_SENTENCES]:
            yield from _texts(one, depth + 1)
