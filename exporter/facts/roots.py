"""What a line says failed: the root of its chain of errors, the error in its fields, else its message."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from exporter.facts.prefixes import Prefix
from exporter.reading.fields import decode

MOST_CHARS = 600
"""Of what a line says."""

MOST_READ = 4_000
"""Of a record."""

MOST_LINES = 60
"""Lines of a record in which the root of its error is looked for."""

_CLASS = r"(?:[A-Za-z_]\w{0,80}\.){0,12}[A-Z]\w{0,80}(?:Error|Exception|Interrupt)\b"
_RAISED = re.compile(rf"^\s{{0,40}}(?:Caused by: |-+> )?({_CLASS}.*)")
_HEADER = re.compile(r"^\w{4,5}: [\w.]{1,200}\[\d{1,9}\]$")

_ERRORS = ("err", "error", "exception", "cause", "reason")
_PEERS = ("peer", "upstream", "target", "endpoint", "dependency")

_THROWN = re.compile(r"(?:[\w$]{1,80}\.){0,12}((?:[A-Z]\w{0,80})?(?:Error|Exception))(?: \([^)]{0,80}\))?: (?=\S)")

_PLAIN = re.compile(
    r"(?:Axios|OS|Operational|Runtime|IO|Http\w*|Npgsql|Postgres|Sql|SQL\w*|Illegal(?:Argument|State))?(?:Error|Exception)"
)
"""Classes of which the name says only that something is wrong."""


_ACCESS = re.compile(r'"([A-Z]{3,10}) ([^"\s?]{1,200})(\?[^"\s]{0,600})?( [^"\s]{1,40})?" ([1-5]\d\d)\b')
_ANSWERED = re.compile(r"[A-Z]{3,10} \S+ (?:\S+ )?(?:[1-5]\d\d|…)")


def is_access(said: str) -> bool:
    """Whether it is a line of an access log, as `told` says it: it says only that something failed."""
    return _ANSWERED.fullmatch(said) is not None


def told(body: str, prefix: Prefix) -> str:
    """What a record of one or more lines says failed.

    >>> told('{"msg":"request failed","err":{"message":"connect ECONNREFUSED 10.4.2.9:6379"}}', Prefix([]))
    'connect ECONNREFUSED 10.4.2.9:6379'
    """
    body = body[:MOST_READ]
    first, *more = body.split("\n")[:MOST_LINES]
    raised = [found[1].strip() for line in more if (found := _RAISED.match(line))]
    if fields := decode(body if body[:1] == "{" else first):
        record = _record(body)
        said = _error(record) or fields.message + _peer(record)
    elif _HEADER.match(first) and more:
        said = more[0].strip()
    elif found := _ACCESS.search(first):
        said = f"{found[1]} {found[2]}{'?…' if found[3] else ''}{found[4] or ''} {found[5]}"
    else:
        said = prefix.strip(first)
    return _bare(" ".join((raised[-1] if raised else said).split())[:MOST_CHARS])


def _record(body: str) -> Mapping[str, Any]:
    if body[:1] == "{":
        try:
            found = json.loads(body)
        except (ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}
    return {key: quoted or bare for key, quoted, bare in _PAIR.findall(body)}


_PAIR = re.compile(
    rf"(?<![\w.])({'|'.join((*_ERRORS, *_PEERS))})="
    r'(?:"((?:[^"\\]|\\.)*+)"|([^\s"]*+))'
)


def _error(record: Mapping[str, Any]) -> str:
    found = next((record[name] for name in _ERRORS if record.get(name)), "")
    if isinstance(found, dict):
        kind, text = (str(found.get(name) or "") for name in ("type", "message"))
        return f"{kind}: {text}".strip(": ")
    if not found:
        text = record.get("error.message") or record.get("exception.message") or ""
        return str(text)
    return str(found) if isinstance(found, str) else ""


def _peer(record: Mapping[str, Any]) -> str:
    found = next((str(record[name]) for name in _PEERS if isinstance(record.get(name), str)), "")
    return f" peer={found}" if found else ""


def _bare(text: str) -> str:
    """Without the package of an exception, and without its class where that says nothing."""
    found = _THROWN.match(text)
    if not found:
        return text
    rest = text[found.end() :]
    return rest if _PLAIN.fullmatch(found[1]) else f"{found[1]}: {rest}"
