"""Regular expressions that people write: matched by Rust's engine, which takes linear time whatever they are.

What only Python knows (look-around, references back) has meant something in `redaction.extra` so far. For one release
it still does, in a process of its own that is ended when a text takes it too long.
"""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from threading import Lock
from typing import Any, NamedTuple

from exporter.reading.patterns import matches_empty, problem

MAX_CHARS = 65_536
"""Characters of a text that a pattern which only Python knows looks at; longer ones are withheld."""

MOST_SECONDS = 0.25
"""Processor time that one text may take it; what takes longer is withheld."""

# No text may have them, for they are no characters.
_START, _END, _STOP = "\ufdd0", "\ufdd1", "\ufdd2"
_MARKS = re.compile(f"[{_START}{_END}{_STOP}]")

# Rust takes these for the borders of a word.
_OTHERWISE = re.compile(r"(?:^|[^\\])(?:\\\\)*\\[<>]")


def matches_nothing(pattern: str) -> bool:
    """Whether a pattern matches the empty text. Raises ValueError where no engine knows it."""
    return re.search(pattern, "") is not None if only_python(pattern) else matches_empty(pattern)


def only_python(pattern: str) -> str | None:
    """Why a pattern is left to Python's engine, or None where Rust's means the same. Raises ValueError if none can."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            re.compile(pattern)
        otherwise = "means something else in Rust's engine" if _OTHERWISE.search(pattern) else None
    except (FutureWarning, DeprecationWarning):
        otherwise = "means something else in Rust's engine"
    except (re.error, RecursionError, OverflowError) as error:
        if problem(pattern):
            raise ValueError(f"not a regular expression: {error or 'nested too deeply'}") from error
        return None
    return problem(pattern) or otherwise


def users_pattern(pattern: str) -> UsersPattern:
    """What finds a pattern of `redaction.extra`."""
    return _InPython(pattern) if only_python(pattern) else _InRust(pattern)


class Secret(NamedTuple):
    """What a pattern found, as redaction asks a match of `re` for it: the group named `s`, or all that matched."""

    string: str
    first: int
    last: int
    lastgroup: str | None = None

    def __getitem__(self, group: Any) -> str:  # type: ignore[override]
        return self.string[self.first : self.last]

    def span(self, group: object = 0) -> tuple[int, int]:
        return self.first, self.last

    def start(self) -> int:
        return self.first

    def end(self) -> int:
        return self.last


class UsersPattern(ABC):
    """As much of a pattern of `re` as redaction asks for."""

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern

    @property
    def hint(self) -> str:
        """A pattern of Rust's that each text with a secret matches."""
        return self._pattern

    def sub(self, replace: Callable[[Any], str], text: str) -> str:
        """The text with each secret replaced. Raises TooLongError where it cannot be known in time what is secret."""
        parts, at = [], 0
        for start, end in self.spans(text):
            parts += [text[at:start], replace(Secret(text, start, end))]
            at = end
        return "".join((*parts, text[at:]))

    @abstractmethod
    def spans(self, text: str) -> Sequence[tuple[int, int]]:
        """Where secrets are, in order."""


class TooLongError(Exception):
    """A text takes a pattern too long."""


class _InRust(UsersPattern):
    def spans(self, text: str) -> Sequence[tuple[int, int]]:
        import polars as pl

        # The engine says what it found, not where: marks around it do.
        template = f"{_START}${{0}}{_END}${{s}}{_STOP}"
        marked = pl.Series([_MARKS.sub("\ufffd", text)]).str.replace_all(self._pattern, template)[0]
        return list(_unmarked(marked))


def _unmarked(marked: str) -> Iterator[tuple[int, int]]:
    at = 0
    for part in marked.split(_STOP):
        before, _, found = part.partition(_START)
        whole, _, secret = found.partition(_END)
        at += len(before)
        # Where the group could be one of several places in the match, all of it is secret.
        first = whole.find(secret) if secret and whole.count(secret) == 1 else 0
        if whole:
            yield at + first, at + (first + len(secret) if secret and whole.count(secret) == 1 else len(whole))
        at += len(whole)


_CHILD = f"""
import json, re, signal, sys
pattern = re.compile(sys.argv[1])
for line in sys.stdin.buffer:
    signal.setitimer(signal.ITIMER_VIRTUAL, {MOST_SECONDS})
    found = pattern.finditer(json.loads(line))
    spans = [match.span("s" if "s" in pattern.groupindex and match["s"] is not None else 0) for match in found]
    signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    sys.stdout.buffer.write(json.dumps(spans).encode() + b"\\n")
    sys.stdout.buffer.flush()
"""
"""Answers line by line, until its timer ends it: nothing else ends a search that has begun."""


class _InPython(UsersPattern):
    """A pattern in a process of its own, which a text that takes too long ends."""

    def __init__(self, pattern: str) -> None:
        super().__init__(pattern)
        self._lock = Lock()
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def hint(self) -> str:
        return ""

    def spans(self, text: str) -> Sequence[tuple[int, int]]:
        if len(text) > MAX_CHARS:
            raise TooLongError(f"longer than {MAX_CHARS} characters")
        with self._lock:
            answer = self._asked(json.dumps(text).encode() + b"\n")
            if not answer:
                self.close()
                raise TooLongError(f"takes longer than {MOST_SECONDS} s")
        return [(start, end) for start, end in json.loads(answer)]

    def _asked(self, question: bytes) -> bytes:
        if self._child is None:
            command = (sys.executable, "-I", "-c", _CHILD, self._pattern)
            self._child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # noqa: S603
        asked, answers = self._child.stdin, self._child.stdout
        if asked is None or answers is None:
            return b""
        with contextlib.suppress(BrokenPipeError):
            asked.write(question)
            asked.flush()
        return answers.readline()

    def close(self) -> None:
        child, self._child = self._child, None
        if child:
            child.kill()
            child.communicate()

    def __del__(self) -> None:
        self.close()
