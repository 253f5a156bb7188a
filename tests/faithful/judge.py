"""Whether what is shown in each place is marked where it is the model's, and whole where it was right."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Any

from tests.faithful.scripts import Script

READING, SUGGESTION = "model's reading, not checked", "suggestion, not checked"
MARKS = (READING, SUGGESTION)
OLD_MARKS = ("unverified", "not verified")
"""What an older release wrote beside what it had not checked."""

NO_CAUSE = "o cause is seen in the logs"
IN_ORDER = ("page", "slack")
"""Places that have room for every fact that was chosen."""


@dataclass(frozen=True)
class Line:
    """One line of a place, and whether it, or what it stands under, says that it is not checked."""

    text: str
    marked: bool


@dataclass(frozen=True)
class Verdict:
    """What is wrong with one answer, in words: by place."""

    script: Script
    lies: Sequence[str] = ()
    unmarked: Sequence[str] = ()
    forbidden: Sequence[str] = ()
    lost: Sequence[str] = ()
    facts: bool = True

    @property
    def wrong(self) -> Sequence[str]:
        return [*self.lies, *self.unmarked, *self.forbidden, *self.lost, *([] if self.facts else ["facts"])]


def judged(script: Script, shown: Mapping[str, Any]) -> Verdict:
    """The verdict over one answer in all places."""
    places = {name: list(lines(name, place)) for name, place in shown["places"].items()}
    lies: list[str] = []
    unmarked: list[str] = []
    forbidden: list[str] = []
    for name, found in places.items():
        for phrase in script.said:
            open_lines = [one for one in found if phrase in one.text and not one.marked]
            target = lies if script.group in ("lie", "hostile") else unmarked
            target += [f"{name}: {one.text[:160]}" for one in open_lines]
        raw = json.dumps(shown["places"][name], ensure_ascii=False)
        forbidden += [f"{name}: {never}" for never in _forbidden(script, raw, found)]
    return Verdict(script, lies, unmarked, forbidden, list(_lost(script, places)), _told_in_order(script.facts, places))


def _forbidden(script: Script, raw: str, found: Sequence[Line]) -> Iterator[str]:
    # Lines of evidence and our own words are no words of the model's.
    for never in script.never:
        if any(never in one.text for one in found) or (never.startswith("<") and never in raw):
            yield never


def _lost(script: Script, places: Mapping[str, Sequence[Line]]) -> Iterator[str]:
    for phrases in script.truth:
        having = [name for name, found in places.items() if any(p in one.text for p in phrases for one in found)]
        missing = set(places) - set(having)
        if not having or (script.everywhere and missing):
            yield f"{phrases[0]}: not in {', '.join(sorted(missing))}"
    if script.no_cause:
        yield from (
            f"{NO_CAUSE}: not in {name}" for name, found in places.items() if not any(NO_CAUSE in o.text for o in found)
        )


def _told_in_order(facts: Sequence[Sequence[str]], places: Mapping[str, Sequence[Line]]) -> bool:
    """Whether each fact stands on a line of its own, after the one that was chosen before it."""
    return all(_in_order(facts, [one.text for one in places[name]]) for name in IN_ORDER)


def _in_order(facts: Sequence[Sequence[str]], texts: Sequence[str]) -> bool:
    for start in range(len(texts)):
        place = start
        for parts in facts:
            if place >= len(texts) or not all(_plain(part) in _plain(texts[place]) for part in parts):
                break
            place += 1
        else:
            return True
    return not facts


def _plain(text: str) -> str:
    """Without what only places add: zero-width spaces, doubled blanks, quotation marks."""
    return re.sub(r"[\u200b\"“”‘’']|\s+", lambda match: " " if match[0].isspace() else "", text)


# --- The lines of each place ---------------------------------------------------------------------------------


def lines(name: str, place: Any) -> Iterator[Line]:
    if name == "page":
        parser = _Page()
        parser.feed(str(place))
        parser.close()
        yield from parser.lines
    elif name == "grafana":
        texts = [html.unescape(re.sub(r"<[^>]*>", "", part)) for part in re.split(r"<br\s*/?>", str(place))]
        yield from _under_headings(texts)
    elif name in ("webhook", "show"):
        yield from _of_json(place, False)
    elif name == "slack":
        for block in place["blocks"]:
            parts = [block.get("text", {}), *block.get("elements", [])]
            for part in parts:
                yield from _under_headings(html.unescape(str(part.get("text", ""))).split("\n"))
    elif name == "otlp":
        for key, value in place.items():
            values = value if isinstance(value, list) else [value]
            yield from (Line(str(one), _marks(f"{key} {one}")) for one in values)
    elif name == "alertmanager":
        for value in place.values():
            yield from _under_headings(str(value).split("\n"))
    else:
        yield from _under_headings(str(place).split("\n"))


def _marks(text: str) -> bool:
    return any(mark in text for mark in (*MARKS, *OLD_MARKS))


def _under_headings(texts: Sequence[str]) -> Iterator[Line]:
    """A heading is a line of no list; its mark holds for the list below it."""
    heading = False
    for text in texts:
        is_item = re.match(r"\s*(?:[-•*] |\d+\. )", text)
        if not is_item:
            heading = _marks(text)
        yield Line(text, heading or _marks(text))


def _of_json(value: Any, marked: bool) -> Iterator[Line]:
    if isinstance(value, Mapping):
        own = marked or value.get("verified") is False or _marks(str(value.get("mark", "")))
        for item in value.values():
            yield from _of_json(item, own)
    elif isinstance(value, list):
        for item in value:
            yield from _of_json(item, marked)
    elif isinstance(value, str):
        yield Line(value, marked or _marks(value))


class _Page(HTMLParser):
    """The page as lines: what stands in one block is one, and a heading's mark holds until the next."""

    BLOCKS = frozenset(
        [
            "p",
            "li",
            "h1",
            "h2",
            "h3",
            "h4",
            "pre",
            "tr",
            "dd",
            "dt",
            "td",
            "div",
            "section",
            "title",
            "caption",
            "ul",
            "ol",
        ]
    )

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[Line] = []
        self._text, self._heading, self._in_heading = "", False, False

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag in self.BLOCKS:
            self._end()
        if tag in ("h1", "h2", "h3", "h4"):
            self._in_heading = True

    def handle_endtag(self, tag: str) -> None:
        if tag in self.BLOCKS:
            self._end()

    def handle_data(self, data: str) -> None:
        self._text += data

    def close(self) -> None:
        super().close()
        self._end()

    def _end(self) -> None:
        text, self._text = " ".join(self._text.split()), ""
        if self._in_heading and text:
            self._heading, self._in_heading = _marks(text), False
        if text:
            self.lines.append(Line(text, self._heading or _marks(text)))
