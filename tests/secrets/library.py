"""Write `exporter/ingest/redaction/library.txt`: without one of these words the kept library finds nothing.

`python -m tests.secrets.library`, whenever its version in constraints.txt changes.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from pathlib import Path

from kingfisher_sdk import Rules

from exporter.ingest.redaction import library
from exporter.ingest.redaction.stems import EDGE, stems

# Schemes of URLs, whose passwords our own rules know, and words that are in much: what they name our rules know, too.
_LEFT_OUT = frozenset(
    """
    amqp ftp http http:// https:// ldap mariadb mongodb mysql postgres redis smtp ssh influx
    token client address app box checkout access key secret -secret .secret _secret sk 00 s. ey eyj wiz fal ibm bx
    woo ==: al- pa- sg. q~ sk- curl aaaaaaaaaa password user cursor linear miro shop spectral square lob mux
    hunter looker
    """.split()  # noqa: SIM905 - a list of so many strings is no list that is read
)


def written() -> str:
    """The words of all rules that find secrets, one a line, `^` for the edge of a word."""
    rules = Rules(confidence="low", cache=False)
    words: set[str] = set()
    for rule in rules.metadata():
        if not library.names_a_place(rule["id"]):
            words.update(_words(rules.detail(rule["id"])["pattern"]))
    return "".join(f"{word}\n" for word in sorted(words))


def _words(pattern: str) -> Iterator[str]:
    with warnings.catch_warnings(action="ignore"):
        found = stems(_as_python(pattern)) or frozenset()
    for stem in found:
        if stem.lstrip(EDGE).lower() not in _LEFT_OUT:
            yield stem.replace(EDGE, "^").lower()


def _as_python(pattern: str) -> str:
    """As much of a pattern of Rust's as says which words are in all that it matches."""
    pattern = re.sub(r"\(\?[-imsxu]+\)", "", pattern.replace(r"\z", r"\Z"))
    return re.sub(r"\(\?-?[imsx]+(?:-[imsx]+)?:", "(?:", pattern.replace("(?<", "(?P<"))


if __name__ == "__main__":
    Path(library.WORDS).write_text(written(), encoding="utf-8")
