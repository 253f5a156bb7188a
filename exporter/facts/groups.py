"""Failing lines that say the same, over the windows of an incident and the hour before it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from exporter.facts.alike import VALUE, VARIES, are_alike, common, tokens
from exporter.facts.observed import Lines, Saying
from exporter.model import Evidence

SURE = 10
"""Lines that say a value, of which none says another, from which all are taken to say it: fewer of many may agree by
chance."""

LULL = 600.0
"""Seconds without a line after which a run is another one."""


@dataclass
class Seen:
    """A kind of failing line in one window: seconds of its first line and of the window's end, what its lines say, and
    of how many of them that is known."""

    first: float
    end: float
    count: int
    hosts: Lines = ()
    versions: Lines = ()
    instances: Lines = ()
    words: tuple[str, ...] = ()
    heard: int = 0


@dataclass
class Group:
    """Lines of a service that say the same failure; `now` and `before` are its windows, in order of time."""

    source: str
    service: str
    kind: str
    words: list[str]
    now: list[Seen] = field(default_factory=list)
    before: list[Seen] = field(default_factory=list)
    lines: list[Evidence] = field(default_factory=list)
    level: int = 0
    since: float = 0.0
    score: float = 0.0
    about: str = ""

    def said(self) -> str:
        """Its words, values where they are the same in all lines, an ellipsis where they differ."""
        return re.sub(rf"(?:{VARIES} ?){{2,}}", f"{VARIES} ", " ".join(self.words)).strip(" ")

    def surely(self) -> list[str]:
        """Its words, an ellipsis also where too few lines were heard to say that a value is that of all."""
        heard, lines = sum(seen.heard for seen in self.now), sum(seen.count for seen in self.now)
        if heard >= min(lines, SURE):
            return self.words
        known = {word for line in self.lines for word in line.template.split()}
        return [one if one in known or not VALUE.search(one) else VARIES for one in self.words]

    def count(self, since: float) -> int:
        """Lines of its windows from a moment on at which one of them begins."""
        return sum(seen.count for seen in self.run(since))

    def run(self, since: float) -> list[Seen]:
        """The windows from such a moment on in which that is said."""
        return [seen for seen in (*self.before, *self.now) if seen.first >= since and self._says(seen)]

    def earlier(self, since: float, span: float) -> int:
        """Lines that say so in its windows of so many seconds before that."""
        earlier = (seen for seen in (*self.before, *self.now) if since - span <= seen.first < since)
        return sum(seen.count for seen in earlier if self._says(seen))

    def _says(self, seen: Seen) -> bool:
        """Whether what is said now is said in a window, too: what is alike may be of others."""
        said = (tokens(words) for words in seen.words)
        return all(_covers(self.words, words) for words in said if len(words) == len(self.words))


def grouped(sayings: Iterable[tuple[bool, str, float, Saying]]) -> list[Group]:
    """Groups of sayings, each given with whether it is of now, its source, and the end of its window in seconds.

    First those of now: what they say decides the words.
    """
    found: list[Group] = []
    buckets: dict[tuple[str, str], list[Group]] = {}
    of: dict[tuple[str, str, int], Group] = {}
    wordless: list[tuple[bool, str, float, Saying]] = []
    for late, source, end, one in sayings:
        if not one.words:
            wordless.append((late, source, end, one))
            continue
        said = [tokens(words) for words in one.words]
        bucket = buckets.setdefault((source, one.service), [])
        group = next((each for each in bucket if are_alike(each.words, said[0])), None)
        if group is None:
            group = Group(source, one.service, one.kind, said[0])
            bucket.append(group)
            found.append(group)
        for template in (one.template, *one.templates):
            of.setdefault((source, one.service, template), group)
        seen = _seen(one, end)
        if late:
            for words in said:
                group.words = common(group.words, words)
            group.level = max(group.level, one.level)
            group.kind = group.kind or one.kind
            group.lines += one.lines
        (group.now if late else group.before).append(seen)
    for late, source, end, one in wordless:
        # Of a window in which none was kept: they say what lines of the template say elsewhere.
        if group := of.get((source, one.service, one.template)):
            (group.now if late else group.before).append(_seen(one, end))
    for group in found:
        group.words = group.surely()
    found = [group for bucket in buckets.values() for group in _without_cases(bucket)]
    for group in found:
        group.now.sort(key=lambda seen: seen.first)
        group.before.sort(key=lambda seen: seen.first)
    return found


def _without_cases(bucket: Sequence[Group]) -> list[Group]:
    """Groups of a service, none of which says what is a case of what another says: who counts that counts both."""
    kept: list[Group] = []
    for group in sorted(bucket, key=lambda one: -one.words.count(VARIES)):
        whole = next((one for one in kept if one.kind == group.kind and _covers(one.words, group.words)), None)
        if whole is None:
            kept.append(group)
            continue
        whole.now += group.now
        whole.before += group.before
        whole.lines += group.lines
        whole.level = max(whole.level, group.level)
    return [group for group in bucket if any(group is one for one in kept)]


def _covers(words: Sequence[str], case: Sequence[str]) -> bool:
    """Whether whatever says the one says the other."""
    return len(words) == len(case) and common(words, case) == words


def _seen(one: Saying, end: float) -> Seen:
    return Seen(
        one.first / 1e9, end, one.count, one.hosts, one.versions, one.instances, one.words, one.heard or len(one.words)
    )


def began(group: Group, usual: float) -> float:
    """The first line of the run that lasts: a lull of LULL, or of half the usual pause, begins another.

    usual: lines a second before. What is known of a window is its first line: so runs end with windows.
    """
    windows = [*group.before[-60:], *group.now]
    lull = min(LULL, 0.5 / usual if usual else LULL)
    start = windows[-1].first
    for earlier in reversed(windows[:-1]):
        last = earlier.first if earlier.count == 1 else earlier.end
        if start - last > lull:
            break
        start = earlier.first
    return start
