"""Find where records of a kind keep their time, level, message and service where no known name fits: by names at any
depth, then by what the values are."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import polars as pl

from exporter.model import MAX_DOTS, Choice, nanoseconds
from exporter.reading.beside import chosen_beside
from exporter.reading.instants import EARLIEST, MAX_TIME_CHARS, instant
from exporter.reading.levels import TRANSPORTS, severity
from exporter.reading.times import moments

SAMPLE = 2_000
"""Records by which is chosen."""

MOST_KINDS = 64
"""Sets of top-level keys for which is chosen."""

FEWEST = 5
"""Records of a kind by whose values alone is chosen; of fewer, only what names say, too."""

FEWEST_FIGURES = 6
"""Of a time: those of a clock."""

MOST_PATHS = 16
"""Of a column that are chosen: each is one more place to look at in every record."""

LONGEST_PATH = 256
"""Characters of one that can be chosen."""

MOST_LEAVES = 200
DEEPEST = 8

_NAMES = {
    "timestamp": "timestamp @timestamp time ts datetime date_time eventtime event_time log_time logtime created_at",
    "severity": "level severity loglevel log_level severity_text severitytext lvl levelname",
    "body": "message msg log text body short_message displaymessage logmessage event_message rawmessage event",
    "service": "service service_name servicename app application app_name appname container_name containername "
    "dienst anwendung applikation servicio aplicacion aplicação serviço servizio usługa сервис 服务 服务名 应用",
    "host": "hostname host_name pod_name podname",
    "trace": "trace_id traceid",
}
_OF_SOMETHING_ELSE = frozenset(
    ("error", "err", "exception", "cause", "request", "response", "headers", "http", "url", "user", "query", "params")
)
_TIME_NAMED = re.compile(r"(?i)time|date|(?:^|[._@])(?:ts|at|when|zeit|fecha|heure|data)(?:$|[._])|instant|epoch")
_NO_MESSAGE = re.compile(r"(?i)agent|referer|referrer|url|uri|path|query|stack|trace|cookie|request|sql|header|token")
_LATEST = nanoseconds(datetime(2100, 1, 1, tzinfo=UTC))

Values = Mapping[str, Sequence[Any]]
"""Values of the leaves of some records, by path; None where a record has no such leaf."""


def chosen(documents: Sequence[Mapping[str, Any]], known: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    """Paths by column for kinds of records in fewer than half of which a known path leads to anything.

    >>> found = [{"wann": f"2026-11-17 06:00:0{n}", "was": "order stored in the cellar"} for n in range(5)]
    >>> chosen(found, {"timestamp": ("time",)})
    {'timestamp': ('wann',), 'words': ('was',)}
    """
    kinds: dict[frozenset[str], list[Mapping[str, Any]]] = {}
    for document in documents[:SAMPLE]:
        kinds.setdefault(frozenset(document), []).append(document)
    found: dict[str, dict[str, None]] = {}
    for alike in sorted(kinds.values(), key=len, reverse=True)[:MOST_KINDS]:
        values = _leaves(alike)
        for column, paths in known.items():
            if column in _NAMES and (path := _place(column, values, len(alike), paths)):
                found.setdefault(column, {})[path] = None
    places = {column: tuple(paths) for column, paths in found.items()}
    taken = {path for paths in (*known.values(), *places.values()) for path in paths}
    beside = chosen_beside(_leaves(documents[:SAMPLE]), taken) if len(documents) >= FEWEST else {}
    return {**places, **beside}


def joined(found: Choice, before: Choice) -> Choice:
    """What was chosen now and before, the newest first."""
    return {
        column: tuple(dict.fromkeys((*found.get(column, ()), *before.get(column, ()))))[:MOST_PATHS]
        for column in sorted(found.keys() | before.keys())
    }


def unread(documents: Sequence[Mapping[str, Any]], known: Mapping[str, Sequence[str]]) -> list[str]:
    """The columns that fewer than half of some records have in a known place."""
    values = _leaves(documents)
    return [
        column for column, paths in known.items() if documents and not _known(column, values, len(documents), paths)
    ]


def _leaves(documents: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    values: dict[str, list[Any]] = {}
    for number, document in enumerate(documents):
        for path, value in _flat(document, "", 0):
            if path in values or len(values) < MOST_LEAVES:
                column = values.setdefault(path, [])
                column += [None] * (number - len(column))
                if len(column) == number:
                    column.append(value)
    return {path: column + [None] * (len(documents) - len(column)) for path, column in values.items()}


def _flat(document: Mapping[str, Any], above: str, depth: int) -> Iterator[tuple[str, Any]]:
    for key, value in document.items():
        path = f"{above}{key}"
        if len(path) > LONGEST_PATH or path.count(".") > MAX_DOTS:
            continue
        if isinstance(value, dict):
            if depth < DEEPEST:
                yield from _flat(value, f"{path}.", depth + 1)
        elif value is not None and value != "":
            yield path, value


def _place(column: str, values: Values, height: int, known: Iterable[str]) -> str | None:
    if _known(column, values, height, known):
        return None
    return _by_name(column, values, height) or _by_value(column, values, height)


def _known(column: str, values: Values, height: int, known: Iterable[str]) -> bool:
    """Whether half of some records have a column in a known place; who carried a line only guesses its level."""
    usual = {path.lower() for path in known}
    if column == "severity":
        usual -= TRANSPORTS
    return (
        2 * max((_filled(found) for path, found in values.items() if _under(path.lower(), usual)), default=0) >= height
    )


def _under(path: str, known: set[str]) -> bool:
    """Whether a leaf is a known place, or a part of an object that is one."""
    return path in known or path.rpartition(".")[0] in known


def _filled(found: Sequence[Any]) -> int:
    return sum(value is not None for value in found)


def _by_name(column: str, values: Values, height: int) -> str | None:
    names = _NAMES[column].split()
    fitting = []
    for path, found in values.items():
        *above, last = path.lower().split(".")
        if last in names and not _OF_SOMETHING_ELSE & set(above) and 2 * _filled(found) >= height:
            fitting.append((len(above), names.index(last), path))
    return min(fitting)[2] if fitting else None


def _by_value(column: str, values: Values, height: int) -> str | None:
    if column == "timestamp":
        named = _named_first(values) if height >= FEWEST else filter(_is_named_time, values.items())
        return next((path for path, found in named if _are_times(found, height)), None)
    if column == "severity":
        if height < FEWEST:
            return None
        return next((path for path, found in values.items() if _are_levels(found, height)), None)
    if column == "service":
        # As bunyan and pino write it, whose records have all of these.
        return next((f"{above}name" for above in _above(values) if _is_of_node(values, above)), None)
    return _message(values, height) if column == "body" and height >= FEWEST else None


def _above(values: Values) -> Iterator[str]:
    """What may stand in front of names: nothing, or the key of an object with its dot."""
    yield ""
    yield from sorted({f"{path.rpartition('.')[0]}." for path in values if "." in path})


def _is_of_node(values: Values, above: str) -> bool:
    return all(f"{above}{name}" in values for name in ("name", "hostname", "pid", "level"))


def _named_first(values: Values) -> list[tuple[str, Sequence[Any]]]:
    return sorted(values.items(), key=lambda item: not _is_named_time(item))


def _is_named_time(item: tuple[str, Sequence[Any]]) -> bool:
    return _TIME_NAMED.search(item[0]) is not None


def _are_times(found: Sequence[Any], height: int) -> bool:
    """Whether nearly all records have a plausible time there, and each is hardly ever before the last."""
    if 10 * _filled(found) < 9 * height or any(isinstance(value, (bool, list)) for value in found):
        return False
    texts = [value for value in found if isinstance(value, str)]
    if len(texts) == _filled(found):
        if 10 * sum(may_be_time(text) for text in texts) < 9 * len(texts):
            return False
        times = moments(pl.Series(found, dtype=pl.String).str.head(64)).to_list()
    else:
        times = [instant(value) for value in found]
    plausible = [time for time in times if time is not None and nanoseconds(EARLIEST) <= time < _LATEST]
    if 10 * len(plausible) < 9 * height or len(set(plausible)) * 10 < height:
        return False
    later = sum(int(second >= first) for first, second in pairwise(plausible))
    return bool(later * 10 >= (len(plausible) - 1) * 8)


def may_be_time(text: str) -> bool:
    """Whether a text has as many figures as a time; to try all forms takes a thousand times as long."""
    return len(text) <= MAX_TIME_CHARS and sum(map(str.isdecimal, text)) >= FEWEST_FIGURES


def _are_levels(found: Sequence[Any], height: int) -> bool:
    """Whether nearly all records have one of a few words of levels there."""
    words = Counter(value for value in found if isinstance(value, str))
    if 10 * words.total() < 9 * height or not 1 <= len(words) <= 12 or any(word.isdigit() for word in words):
        return False
    meant = {severity(word) for word in words}
    # One that is always the same may be anything, such as the v1 of an interface: then it has to be a whole word.
    return 0 not in meant and (len(meant) > 1 or (len(word := next(iter(words))) > 3 and word.isalpha()))


def _message(values: Values, height: int) -> str | None:
    """The text that is most of what a record says, of several words and not always the same."""
    texts = {
        path: [value for value in found if isinstance(value, str)]
        for path, found in values.items()
        if not _are_times(found, height)
    }
    sizes = {path: sum(map(len, found)) for path, found in texts.items() if found}
    if not sizes:
        return None
    path = max(sizes, key=lambda path: sizes[path])
    found = texts[path]
    wordy = sum(len(text.split()) >= 3 or not text.isascii() for text in found) * 10 >= len(found) * 6
    varied = len(set(found)) * 10 >= len(found)
    most = sizes[path] * 2 >= sum(sizes.values())
    return (
        path if wordy and varied and most and 10 * len(found) >= 9 * height and not _NO_MESSAGE.search(path) else None
    )
