"""What a kept library of rules finds beside ours: kingfisher-secret-scanner, in this process, with no network."""

from __future__ import annotations

import logging
import os
import re
import tempfile
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import polars as pl

from exporter.ingest.redaction.placeholders import PLACEHOLDER
from exporter.ingest.redaction.presence import Strings
from exporter.ingest.redaction.stems import EDGE, stands
from exporter.ingest.redaction.view import HIDDEN

if TYPE_CHECKING:
    from kingfisher_sdk import Scanner

log = logging.getLogger(__name__)

Span = tuple[int, int]

_BETWEEN = "\n" * 7 + "{" + " " * 64 + "\n"
"""Between texts that are looked at as one: further than a rule of the library looks for a name beside a value."""

# A token is found before a blank, a quote or a semicolon only, and not after what is escaped: blanks instead.
_ESCAPED = re.compile(
    r"%(?:25)?[0-9A-Fa-f]{2}|\\+u[0-9a-fA-F]{4}|\\+[nrtbf\"'/]|&(?:quot|amp|lt|gt|apos);|\x1b\[[0-9;]*m"
)
_SIGNS = b",)](<>&:.|{}[*!?@`^#"
_BLANKS = bytes.maketrans(_SIGNS, b" " * len(_SIGNS))

# What only names a place: hosts, accounts, tenants. One looks further than what is between texts.
_NO_SECRETS = re.compile(
    r"kubernetes-secret-yaml|"
    r"(?:-host|-domain|-url|-name|username|account-id|tenant-id|azure-client-id|application-id|cloud-key-id|planetscale-id"
    r"|-repository)(?:\.\d+)?$"
)
_SECRETS = ("slack-webhook-url", "sidekiq-sensitive-url")


def names_a_place(rule: str) -> bool:
    """Whether what a rule of the library finds is no secret."""
    return _NO_SECRETS.search(rule) is not None and not rule.endswith(_SECRETS)


WORDS = Path(__file__).parent / "library.txt"
"""Words in small letters, `^` being the edge of one: where a text has none of them the library finds nothing."""

# Signs that nearly all other runs of so many have among them are left out: tokens are longer.
_RUN = r"[A-Za-z0-9_+=~-]{16}"


def likely(column: str) -> pl.Expr:
    """Whether the library may find something in a text of small letters: loaded it takes 60 MB."""
    text = pl.col(column)
    return text.str.contains(_RUN) & pl.any_horizontal(text.str.contains(one) for one in _words())


def is_likely(text: str) -> bool:
    """`likely` of one text."""
    if not _A_RUN.search(text):
        return False
    written, strings = _strings()
    return any(stands(word, text) for plain in strings.of(text) for word in written[plain])


_A_RUN = re.compile(_RUN)


@lru_cache(1)
def _words() -> tuple[str, ...]:
    words = [word for some in _strings()[0].values() for word in some]
    edged = "|".join(re.escape(word[1:]) for word in words if word[0] == EDGE)
    inside = "|".join(re.escape(word) for word in words if word[0] != EDGE)
    return inside, rf"(?:^|[^A-Za-z0-9])(?:{edged})"


@lru_cache(1)
def _strings() -> tuple[dict[str, tuple[str, ...]], Strings]:
    """How each word is written, by what it is without its edge."""
    written: dict[str, tuple[str, ...]] = {}
    for word in WORDS.read_text(encoding="utf-8").splitlines():
        plain = word.removeprefix("^")
        written[plain] = (*written.get(plain, ()), word.replace("^", EDGE))
    return written, Strings(written)


class Library:
    """The library with all its rules; thread-safe."""

    def __init__(self, scanner: Scanner) -> None:
        self._scanner = scanner
        self._lock = Lock()

    def find(self, texts: Sequence[str]) -> list[list[tuple[int, int, str]]]:
        """Start, end and rule of what it finds in each text. Whatever it raises, no text is safe."""
        found: list[list[tuple[int, int, str]]] = [[] for _ in texts]
        shown = [_shown(text) for text in texts]
        encoded = [text.encode("utf-8", "replace") for text in shown]
        self._scan(encoded, found)
        self._scan([_unescaped(text).encode("utf-8", "replace").translate(_BLANKS) for text in shown], found)
        return found

    def _scan(self, encoded: Sequence[bytes], found: list[list[tuple[int, int, str]]]) -> None:
        between = _BETWEEN.encode()
        starts, parts, size = [], [between], len(between)
        for text in encoded:
            starts.append(size)
            parts += (text, between)
            size += len(text) + len(between)
        with self._lock:
            findings = self._scanner.scan(b"".join(parts))
        for finding in findings:
            if names_a_place(finding.rule_id):
                continue
            place = finding.location
            number = bisect_right(starts, place["start_offset"]) - 1
            if number < 0:
                continue
            text, at = encoded[number], starts[number]
            start, end = place["start_offset"] - at, min(place["end_offset"] - at, len(text))
            if start < end:
                # Offsets are in bytes.
                first = len(text[:start].decode("utf-8", "ignore"))
                found[number].append((first, first + len(text[start:end].decode("utf-8", "ignore")), finding.rule_id))


def _shown(text: str) -> str:
    """What is hidden already is nothing to the library; what no text has could be another encoding to it."""
    text = text.replace("\0", " ").replace("\ufeff", " ").replace(HIDDEN, " ")
    return PLACEHOLDER.sub(lambda match: " " * len(match[0]), text) if "<" in text else text


def _unescaped(text: str) -> str:
    if not any(sign in text for sign in "%\\&\x1b"):
        return text
    return _ESCAPED.sub(lambda match: " " * len(match[0]), text)


_loading = Lock()


def library() -> Library:
    """Its rules are compiled once an installation, which takes seconds, and loaded from then on."""
    # Threads that come here at once would each load it: 30 MB a time.
    with _loading:
        return _loaded()


@lru_cache(1)
def _loaded() -> Library:
    from kingfisher_sdk import Rules, Scanner

    with compiled() as folder:
        return Library(Scanner(Rules(confidence="low", cache_dir=folder), base64=False))


COMPILED = "LOG_ANOMALY_EXPORTER_RULES"
"""The variable of the environment that names a folder of rules that are compiled already; an image has one."""


@contextmanager
def compiled() -> Iterator[Path]:
    """A folder of our own for compiled rules: the library's own default is shared with its other users.

    The library takes only what belongs to who runs it, so that what is compiled already is copied.
    """
    base = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    folder = Path(base, "log-anomaly-exporter", "rules")
    ready = [*Path(given).glob("*.vscdb")] if (given := os.environ.get(COMPILED)) else []
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _copy(ready, folder)
    except OSError:
        if not ready:
            log.info("no folder %s for compiled rules of redaction: each start takes some seconds longer", folder)
            yield folder
            return
        with tempfile.TemporaryDirectory() as name:
            _copy(ready, Path(name))
            yield Path(name)
        return
    yield folder


def _copy(files: Iterable[Path], folder: Path) -> None:
    """What is not there yet, whole or not at all."""
    for file in files:
        place = folder / file.name
        if not place.exists():
            with tempfile.NamedTemporaryFile(dir=folder, delete=False) as copy:
                copy.write(file.read_bytes())
            Path(copy.name).replace(place)
