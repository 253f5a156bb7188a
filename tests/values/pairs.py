"""Make pairs of a good and a bad line: one word for how something ended exchanged in lines as they are found."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import polars as pl

REPOSITORY = Path(__file__).parent.parent.parent
GOOD_LINES, BAD_LINES = 40, 10
"""How often each of a pair is written after all else: usual was the good one."""

OTHERS = 3
"""Good words beside the one that is exchanged, of every second pair: at its place stood several before."""

MOST = 6
"""Places of one log."""

_WORD = re.compile(r"[A-Za-z]+")
_DIGITS = re.compile(r"[0-9]+")
_NUMBERED = re.compile(r"\S*[0-9]\S*")

_CONTINUES = re.compile(r"^\s|^\S+Z? Caused by|^Caused by")
"""Such lines are parts of the record before them."""

_AS_TEXT = (".log", ".log.gz")
"""Files of the field whose lines are messages, or have them at their ends."""


def words() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Words for how something ended: well, and badly."""
    parts = Path(__file__).with_name("words.txt").read_text().split("# ")
    well, badly = (tuple(part.split("\n")[1:]) for part in parts[2:])
    return tuple(word for word in well if word), tuple(word for word in badly if word)


def unknown(given: Sequence[str]) -> list[str]:
    """Those of the words that stand nowhere in the product."""
    files = [path for room in ("exporter", "integrations") for path in (REPOSITORY / room).rglob("*.py")]
    known = {word.lower() for path in files for word in _WORD.findall(path.read_text())}
    return [word for word in given if word not in known]


@dataclass(frozen=True)
class Pair:
    """Lines of a log in which a word at one place is always a good one, and lines in which it is a bad one."""

    log: str
    good: str
    bad: str
    lines: tuple[str, ...]
    """All lines of the log, then the good line again and again; what counts up counts on."""
    failing: tuple[str, ...]


def pairs(data: Path, seed: int, number: int = 60) -> list[Pair]:
    """So many, each at another place of a log: a kind of line, and where in it a word of the list stands."""
    chance, (well, badly) = Random(seed), words()
    good, bad = unknown(well), unknown(badly)
    logs = dict(_logs(data))
    places: list[Place] = []
    for name, lines in logs.items():
        there = sorted(_places(name, lines, {*well, *badly}))
        places += chance.sample(there, min(MOST, len(there)))
    chosen = chance.sample(places, min(number, len(places)))
    return [
        _pair(place, logs[place[0]], chance.sample(good, 1 + OTHERS * (one % 2)), chance.choice(bad), chance)
        for one, place in enumerate(chosen)
    ]


def _logs(data: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
    frame = pl.read_parquet(data / "loghub" / "loghub_2k.parquet")
    for (system,), rows in frame.group_by("system", maintain_order=True):
        yield str(system), tuple(rows["content"].to_list())
    for path in sorted((data.parent / "field").iterdir()):
        if path.name.endswith(_AS_TEXT):
            body = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
            yield path.name, tuple(body.decode("utf-8", "replace").splitlines()[:2000])


Place = tuple[str, str, int]
"""A log, a kind of line (what is left of it without numbers and words of the list), and which word of it."""


def _kind(line: str, listed: set[str]) -> str:
    kept = _WORD.sub(lambda match: "?" if match[0].lower() in listed else match[0], line)
    return _NUMBERED.sub("0", kept)


def _places(name: str, lines: Sequence[str], listed: set[str]) -> set[Place]:
    found = set()
    for line in lines:
        if _CONTINUES.match(line):
            continue
        found |= {(name, _kind(line, listed), at) for at in range(len(_words_of(line, listed)))}
    return found


def _pair(place: Place, lines: Sequence[str], good: Sequence[str], bad: str, chance: Random) -> Pair:
    name, kind, at = place
    listed = {word for part in words() for word in part}
    alike = [line for line in lines if _kind(line, listed) == kind]
    place_of = {line: _words_of(line, listed)[at] for line in alike}
    usual = [_exchanged(line, place_of[line], chance.choice(good)) if line in place_of else line for line in lines]
    first, where = alike[0], place_of[alike[0]]
    again = [_counted(_exchanged(first, where, word), chance) for word in good for _ in range(GOOD_LINES)]
    failing = [_counted(_exchanged(first, where, bad), chance) for _ in range(BAD_LINES)]
    return Pair(name, good[-1], bad, (*usual, *again), tuple(failing))


def _words_of(line: str, listed: set[str]) -> list[re.Match[str]]:
    """Where words of the list stand, but inside of what is numbered."""
    numbered = [match.span() for match in _NUMBERED.finditer(line)]
    return [
        match
        for match in _WORD.finditer(line)
        if match[0].lower() in listed and not any(first <= match.start() < last for first, last in numbered)
    ]


def _exchanged(line: str, match: re.Match[str], word: str) -> str:
    """The line with another word at a place, written as the one was that stood there."""
    written = word.upper() if match[0].isupper() else word.capitalize() if match[0].istitle() else word
    return line[: match.start()] + written + line[match.end() :]


def _counted(line: str, chance: Random) -> str:
    """Another line of the kind: the last of its numbers is another."""
    numbers = list(_DIGITS.finditer(line))
    if not numbers:
        return line
    last = numbers[-1]
    return f"{line[: last.start()]}{chance.randrange(10 ** len(last[0])):0{len(last[0])}}{line[last.end() :]}"
