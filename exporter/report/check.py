"""Leave of a model's own words what it may say: no number, name, time, quotation, command or link that is not ours.

What is taken out becomes "…". Words alone cannot be checked, so whoever shows them says that they are not.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from exporter.ingest.redaction import Redactor
from exporter.report.catalogue import FILLED, Catalogue, Known
from exporter.wording.text import ELLIPSIS, LINK_REMOVED, one_line, shorten, without_links

MAX_TEXT = 500
"""Characters of one sentence of the model's."""

MAX_READ = 2_000
"""Characters that are looked at."""

LEAST_WORDS = 4
"""Words of its own that must be left of a sentence: fewer say nothing."""

LEAST_RUNS = 12
"""Runs of three words from which a text is seen to repeat itself: models that lose their way say one thing until they
are cut."""

LEAKED = 6
"""Words in a row of what the model was told: as many are no accident."""

MAX_FIX = 400

# Signs of the private use area stand for what is filled in: nothing below touches them, and no text has them.
_HELD = re.compile("[\ue000-\uefff]")

_PROGRAMS = (
    "kubectl|helm|docker|podman|systemctl|journalctl|sudo|doas|curl|wget|psql|mysql|redis-cli|mongosh?|ssh|scp|rsync|rm|"
    "chmod|chown|killall|pkill|iptables|nft|apt|apt-get|yum|dnf|pip3?|npm|yarn|terraform|ansible|ansible-playbook|aws|"
    "gcloud|bash|zsh|sh|python3?|perl|mkfs(?:\\.\\w+)?|crontab|git|eval|exec|xargs|sed|awk|iwr|invoke-\\w+|powershell"
)
_SOMETIMES = (
    "kill|cat|tail|head|grep|service|reboot|shutdown|echo|export|nc|dd|mv|cp|ls|cd|make|go|set|unset|source|touch"
)
_STATEMENT = (
    r"(?:drop|truncate|alter|create)\s+(?:table|database|index|schema|user|role)\b|delete\s+from\b|insert\s+into\b|"
    r"update\s+\S+\s+set\b|grant\s+\w+\s+on\b"
)
_TO_END = r"[^.;!?]{0,400}(?:[.;](?=\S)[^.;!?]{0,400}){0,20};?"
_COMMAND = re.compile(
    rf"(?i)(?<![\w.-])(?:(?:{_PROGRAMS})(?=\s+\S)|(?:{_SOMETIMES})(?=\s+(?:-\w|/|\S*[=/$|]))|{_STATEMENT}){_TO_END}"
)
_SHELL = re.compile(r"(?<!\S)(?:--?[A-Za-z][\w-]*(?:=\S+)?|[|&]{1,2}|>>?|<<?|\$\S+|(?:~|\.{1,2})?/\S+|\w+=\S+)(?!\w)")

_TAG = re.compile(r"<[^<>]{0,300}>?")
_REMOVED = re.compile(re.escape(LINK_REMOVED))
_MAIL = re.compile(r"\S{1,80}@[\w.-]{1,80}")
_MENTION = re.compile(r"@\w{1,60}")
_DOMAIN = re.compile(r"(?i)(?<![\w.-])[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63}){0,9}\.[a-z]{2,24}(?:[:/]\S*)?(?![\w])")
_LABEL = re.compile(r"\[([^\[\]]{0,300})\]\([^()\s]{0,2000}\)")
_CODE = re.compile(r"`{1,3}[^`]{0,400}`{1,3}|`+")
_MARKUP = re.compile(r"[*~#|\\<>\[\]{}]+")

_QUOTES = (
    re.compile(r"[“”„«»‹›「」\"][^“”„«»‹›「」\"]{1,400}[“”„«»‹›「」\"]"),
    re.compile(r"(?<!\w)['‘’][^'‘’]{2,400}['‘’](?!\w)"),
    re.compile(r"[“”„«»‹›「」\"].{1,400}$"),
)
_FORGED = re.compile(
    r"(?i)[(\[]?\b(?:not\s+)?(?:verified|checked|confirmed|proven|validated)\b(?:\s+by\s+(?:the\s+)?\w+)?[)\]]?"
)
_TIMES = re.compile(
    r"(?i)\b(?:noon|midnight|yesterday|today|tonight|tomorrow|(?:mon|tues|wednes|thurs|fri|satur|sun)day|"
    r"january|february|april|june|july|august|september|october|november|december)\b"
)
_NAMED = re.compile(
    r"(?i)(?<![\w-])[a-z0-9]+(?:[-_][a-z0-9]+)*[-_](?:service|svc|server|api|db|database|gateway|worker|job)\b"
)
_IDENTIFIER = re.compile(r"(?<!\w)\w{0,60}_\w{0,60}(?!\w)")
_GAPS = re.compile(rf"{ELLIPSIS}(?:[\s,.;:()/-]*{ELLIPSIS})+")
_WORD = re.compile(r"[^\W\d_]{2,}")


@dataclass(frozen=True)
class Kept:
    """What is left of a sentence: empty where it says nothing any more. `facts` are those that its slots name."""

    text: str
    facts: tuple[Known, ...] = ()


@dataclass
class Checker:
    """Holds a model's words against what is known of one incident; counts what it leaves out, by reason.

    told: what the model was told to do, which is nobody's to read in a report.
    """

    known: Catalogue
    redactor: Redactor
    told: str = ""
    dropped: Counter[str] = field(default_factory=Counter)
    """Sentences that are not shown."""
    removed: Counter[str] = field(default_factory=Counter)
    """Pieces of sentences that are shown without them."""

    def __post_init__(self) -> None:
        self._by_key = self.known.by_key
        self._names = _names(self.known.services)
        self._leaks = frozenset(_runs(self.told))
        self._delimiters = re.findall(r"DATA-\w+", self.told)

    def kept(self, text: str) -> Kept:
        """What may be shown of a sentence; its slots are filled."""
        if not text:
            return Kept("")
        if self._leaks.intersection(_runs(text[:MAX_READ])) or any(mark in text for mark in self._delimiters):
            self.dropped["leaked"] += 1
            return Kept("")
        held: list[str] = []
        facts: dict[str, Known] = {}

        def hold(value: str) -> str:
            held.append(value)
            return chr(0xE000 + len(held) - 1)

        def slot(match: re.Match[str]) -> str:
            one = self._by_key.get(match[1])
            if one is None or not (value := one.values.get(match[2])):
                self.removed["slot"] += 1
                return ELLIPSIS
            facts[one.key] = one
            return hold(value)

        plain = unicodedata.normalize("NFKC", one_line(text[:MAX_READ])).replace("...", ELLIPSIS)
        text = self._fixes(FILLED.sub(slot, _HELD.sub("", plain)), hold)
        text = _without_gaps(self._bare(text))
        if len(_WORD.findall(_HELD.sub("", text))) < LEAST_WORDS:
            self.dropped["says_nothing"] += 1
            return Kept("", tuple(facts.values()))
        if _repeats_itself(text):
            self.dropped["repeats_itself"] += 1
            return Kept("", tuple(facts.values()))
        whole = _HELD.sub(lambda match: held[ord(match[0]) - 0xE000], shorten(self.redactor.redact(text), MAX_TEXT))
        return Kept(whole, tuple(facts.values()))

    def _fixes(self, text: str, hold: Callable[[str], str]) -> str:
        """What people confirmed may be said as they said it: such commands stay."""
        for fix in self.known.fixes:
            whole = one_line(fix)[:MAX_FIX]
            for said in sorted(
                {whole, *(match[0].strip(" ;") for match in _COMMAND.finditer(whole))}, key=len, reverse=True
            ):
                if len(said) > 3 and said in text:
                    text = text.replace(f"`{said}`", said).replace(said, hold(self.redactor.redact(said)))
        return text

    def _bare(self, text: str) -> str:
        """The text without anything that it may not say, each replaced by "…"."""
        text = self._without(_LABEL.sub(r"\1", text), "command", _CODE, _COMMAND)
        text = self._without(text, "link", _MAIL, _MENTION)
        text = _TAG.sub("", self._without(without_links(text), "link", _REMOVED))
        text = self._without(text, "link", _DOMAIN)
        text = self._without(text, "command", _SHELL)
        text = self._without(text, "mark", _FORGED)
        text = self._without(text, "quotation", *_QUOTES)
        text = self._without(text, "name", self._names, _NAMED, _IDENTIFIER)
        text = _MARKUP.sub(" ", self._without(text, "time", _TIMES))
        return " ".join(self._number(word) for word in text.split())

    def _without(self, text: str, reason: str, *patterns: re.Pattern[str]) -> str:
        for pattern in patterns:
            text, count = pattern.subn(f" {ELLIPSIS} ", text)
            if count:
                self.removed[reason] += count
        return text

    def _number(self, word: str) -> str:
        """A word with a digit of any script in it says a number, an id or a time."""
        if not any(unicodedata.category(character).startswith("N") for character in word):
            return word
        self.removed["number"] += 1
        kept = "".join(_HELD.findall(word))
        end = word[-1] if word[-1] in ".,;:!?" else ""
        return f"{ELLIPSIS}{kept}{end}"


def _names(services: Iterable[str]) -> re.Pattern[str]:
    """The names of services as people write them: with blanks for hyphens, or in one word."""
    forms = []
    for name in sorted({one_line(service)[:80] for service in services if service.strip()}, key=len, reverse=True):
        parts = [re.escape(part) for part in re.split(r"[-_./ ]+", name) if part]
        forms.append("[-_./ ]?".join(parts))
    return re.compile(rf"(?i)(?<![\w-])(?:{'|'.join(forms) or '(?!)'})(?:['’]s)?(?![\w])")


def _runs(text: str, length: int = LEAKED) -> Iterable[str]:
    """Every few words in a row of a text, in small letters."""
    found = [word.lower() for word in _WORD.findall(text)]
    return (" ".join(found[start : start + length]) for start in range(len(found) - length + 1))


def _repeats_itself(text: str) -> bool:
    """Whether less than half of what it says is new.

    >>> _repeats_itself("The user asked. " * 7), _repeats_itself("The user asked; nobody answered.")
    (True, False)
    """
    runs = list(_runs(text, 3))
    return len(runs) >= LEAST_RUNS and 2 * len(set(runs)) < len(runs)


def _without_gaps(text: str) -> str:
    text = _GAPS.sub(ELLIPSIS, " ".join(text.split()))
    return re.sub(rf"\(\s*{ELLIPSIS}?\s*\)", ELLIPSIS, text).strip(" ,;:-")
