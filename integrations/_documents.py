"""Documents of any shipper become pages."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import polars as pl

from exporter.model import RecordSourceSettings, nanoseconds, page_schema
from exporter.reading.levels import TEXT_TYPES, first_value, levels_of, severities
from exporter.reading.times import EARLIEST, instant, moments

MAX_BODY_CHARS = 65_536
"""Characters of a line that are kept at all; reduction looks at far fewer."""

MAX_NAME_CHARS = 1024
"""Characters of what is no message: of a service, a host, a key."""


def lookup(document: Mapping[str, Any], path: str) -> Any:
    """The value at a path, whether keys are nested, dotted, or a mix of both; None when absent.

    >>> lookup({"log.level": "warn"}, "log.level"), lookup({"log": {"level": "info"}}, "log.level")
    ('warn', 'info')
    """
    if path in document:
        return document[path]
    head, dot, rest = path.partition(".")
    while dot:
        value = document.get(head)
        if isinstance(value, Mapping) and (found := lookup(value, rest)) is not None:
            return found
        more, dot, rest = rest.partition(".")
        head = f"{head}.{more}"
    return None


Route = tuple[str, ...]
"""Keys that lead to a value in nested objects; a key may have dots of its own."""


class Decoder:
    """Documents to pages. The one loop over log lines that is allowed: their form is any shipper's.

    Documents of one shipper look alike: where each column stands is found once for every form, and taken from all
    documents of that form together.
    """

    def __init__(self, settings: RecordSourceSettings) -> None:
        self._columns = settings.columns()
        self._group_by = settings.group_by if settings.group_by != ("service",) else ()
        self._excluded = list(settings.excluded)
        self._paths = {**self._columns, **{f"\0{path}": (path,) for path in self._group_by}}
        self._keys = Keys()
        for path in sorted({path for paths in self._paths.values() for path in paths}):
            self._keys.grow(path.split("."))
        self._plan = lru_cache(maxsize=1024)(self._plan_for)

    def paths(self) -> list[str]:
        """Every path that may be needed."""
        return sorted({path for paths in self._columns.values() for path in paths} | set(self._group_by))

    def page(
        self,
        documents: Sequence[Mapping[str, Any]],
        ids: Sequence[str],
        timestamps: pl.Series | None = None,
        order: Sequence[int] | None = None,
    ) -> pl.DataFrame:
        """A page of documents; `timestamps` (nanoseconds) and `order` where the caller knows better than they do."""
        forms = self._forms(documents)
        rows: dict[str, list[Any]] = {}
        for form, numbers in forms.items():
            alike = documents if len(forms) == 1 else [documents[number] for number in numbers]
            for column, routes in self._plan(form).items():
                values = _values(alike, routes, column)
                if len(forms) == 1:
                    rows[column] = values
                    continue
                whole = rows.setdefault(column, [None] * len(documents))
                for number, value in zip(numbers, values, strict=True):
                    whole[number] = value
        return self._frame(rows, ids, timestamps, order)

    def _forms(self, documents: Sequence[Mapping[str, Any]]) -> dict[Form, Sequence[int]]:
        """The numbers of the documents of each form."""
        by_keys: dict[tuple[str, ...], list[int]] = {}
        for number, keys in enumerate(map(tuple, documents)):
            by_keys.setdefault(keys, []).append(number)
        forms: dict[Form, list[int]] = {}
        for numbers in by_keys.values():
            some = documents if len(by_keys) == 1 else [documents[number] for number in numbers]
            if self._keys.alike(some):
                forms.setdefault(self._keys.form(some[0]), []).extend(numbers)
                continue
            for number, document in zip(numbers, some, strict=True):
                forms.setdefault(self._keys.form(document), []).append(number)
        return dict(forms)

    def _plan_for(self, form: Form) -> dict[str, tuple[Route, ...]]:
        """Where in documents of a form each column can stand, best first."""
        known = self._keys.expanded(form)
        plan = {
            column: tuple(dict.fromkeys(route for path in paths for route in _routes(known, path)))
            for column, paths in self._paths.items()
        }
        return {column: routes for column, routes in plan.items() if routes}

    def _frame(
        self, rows: dict[str, list[Any]], ids: Sequence[str], timestamps: pl.Series | None, order: Sequence[int] | None
    ) -> pl.DataFrame:
        height = len(ids)
        columns: dict[str, pl.Series] = {
            "id": pl.Series(ids, dtype=pl.String),
            "timestamp": timestamps if timestamps is not None else _instants(rows.get("timestamp"), height),
            "sequence": _integers(order or rows.get("sequence"), height),
            "severity": severities(rows.get("severity"), height),
            "body": _texts(rows.get("body", [""] * height), _body),
            "ingested_at": _instants(rows.get("ingested_at"), height),
        }
        names = [name for name in NAMES if name in rows]
        columns |= {name: _texts(rows[name], _plain) for name in names}
        if self._group_by:
            parts = [_texts(rows.get(f"\0{path}", [None] * height), _plain).fill_null("") for path in self._group_by]
            columns["service"] = pl.select(pl.concat_str(parts, separator="/")).to_series()
        # One call for all: what a call of polars costs by itself is the work on a thousand lines.
        limited = [pl.col(name).str.head(MAX_NAME_CHARS) for name in names if name != "service"]
        frame = pl.DataFrame(columns).select(
            **{name: pl.col(name) if name in columns else pl.lit(None, kind) for name, kind in page_schema().items()}
        )
        service = without_pod_suffix()
        frame = frame.with_columns(pl.col("body").fill_null("").str.head(MAX_BODY_CHARS), service, *limited)
        return frame.filter(~pl.col("service").is_in(self._excluded).fill_null(False))


NAMES = ("stream", "service", "trace", "session", "host", "template")
"""Columns that hold short texts."""

Form = tuple[Any, ...]
"""Which of the keys that matter a document has, then the forms of those of their values that can be objects."""

MAX_KEYS = 1024
"""Sets of keys that are remembered; more is a sign of documents without a form."""


class Keys:
    """The keys on one level that can lead to a value."""

    def __init__(self) -> None:
        self.inner: dict[str, Keys] = {}
        self._known: dict[tuple[str, ...], tuple[tuple[str, ...], tuple[tuple[str, Keys], ...]]] = {}

    def grow(self, parts: Sequence[str]) -> None:
        """Add a path: any of its dots may be part of a key, or lead to the next level."""
        for count in range(1, len(parts) + 1):
            branch = self.inner.setdefault(".".join(parts[:count]), Keys())
            if count < len(parts):
                branch.grow(parts[count:])

    def form(self, document: Mapping[str, Any]) -> Form:
        """The form of a document; documents of one form have their values in the same places."""
        keys = tuple(document)
        telling, branches = self._known.get(keys) or self._look(keys)
        if not branches:
            return telling, ()
        # A comprehension of a tuple would be a generator, which is slower.
        inner = [branch.form(value) if type(value := document[key]) is dict else None for key, branch in branches]
        return telling, tuple(inner)

    def alike(self, documents: Sequence[Mapping[str, Any]]) -> bool:
        """Whether all documents are of one form for sure; many times faster than to find the form of each."""
        if len(set(map(tuple, documents))) > 1:
            return False
        for key, branch in (self._known.get(tuple(documents[0])) or self._look(tuple(documents[0])))[1]:
            inner = [document[key] for document in documents]
            kinds = set(map(type, inner))
            if dict in kinds and (len(kinds) > 1 or not branch.alike(inner)):
                return False
        return True

    def expanded(self, form: Form) -> dict[str, Any]:
        """A form by key: None for a value, a dict for an object."""
        telling, inner = form
        branches = self._branches(telling)
        objects = {
            key: branch.expanded(of) for (key, branch), of in zip(branches, inner, strict=True) if of is not None
        }
        return dict.fromkeys(telling) | objects

    def _look(self, keys: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[tuple[str, Keys], ...]]:
        if len(self._known) >= MAX_KEYS:
            self._known.clear()
        telling = tuple(key for key in keys if key in self.inner)
        return self._known.setdefault(keys, (telling, self._branches(telling)))

    def _branches(self, telling: Iterable[str]) -> tuple[tuple[str, Keys], ...]:
        return tuple((key, self.inner[key]) for key in telling if self.inner[key].inner)


def _routes(known: Mapping[str, Any], path: str) -> Iterator[Route]:
    """The ways in which a path can be in a form, dotted keys before nested ones, as `lookup` takes them."""
    if path in known:
        yield (path,)
    parts = path.split(".")
    for count in range(1, len(parts)):
        head = ".".join(parts[:count])
        if isinstance(inner := known.get(head), dict):
            yield from ((head, *rest) for rest in _routes(inner, ".".join(parts[count:])))


def _values(documents: Sequence[Mapping[str, Any]], routes: Sequence[Route], column: str) -> list[Any]:
    """The first value that says something of each document; only a body can be an object."""
    values: list[Any] = []
    for number, route in enumerate(routes):
        found = _at(documents, route)
        kinds = set(map(type, found))
        if column != "body" and dict in kinds:
            found = [None if type(value) is dict else value for value in found]
        if column == "severity":
            found = levels_of(found, ".".join(route))
        values = [b if a is None or a == "" else a for a, b in zip(values, found, strict=True)] if number else found
        if (number == 0 and kinds == {str} and "" not in found) or (None not in values and "" not in values):
            return values
    return [None if value == "" else value for value in values] if "" in values else values


def _at(documents: Sequence[Mapping[str, Any]], route: Route) -> list[Any]:
    if len(route) == 1:
        (key,) = route
        return [document[key] for document in documents]
    if len(route) == 2:
        outer, inner = route
        return [document[outer][inner] for document in documents]
    found: list[Any] = list(documents)
    for key in route:
        found = [value[key] for value in found]
    return found


def _texts(values: list[Any], plain: Callable[[Any], str | None]) -> pl.Series:
    """Values as text, whatever they are."""
    return pl.Series(values if set(map(type, values)) <= TEXT_TYPES else list(map(plain, values)), dtype=pl.String)


def _instants(values: list[Any] | None, height: int) -> pl.Series:
    """Times in any usual form as nanoseconds; what all loggers write together, the rest one by one."""
    if values is None:
        return pl.Series([None] * height, dtype=pl.Int64)
    if set(map(type, values)) <= TEXT_TYPES:
        texts = pl.Series(values, dtype=pl.String)
        times = moments(texts)
        times = times.set((times < nanoseconds(EARLIEST)).fill_null(False), None)
        rest = (times.is_null() & texts.is_not_null()).arg_true()
        return times.scatter(rest, [instant(value) for value in texts.gather(rest)]) if len(rest) else times
    return pl.Series(list(map(instant, values)), dtype=pl.Int64)


def without_pod_suffix() -> pl.Expr:
    """The service without what Kubernetes adds to the names of the pods of a deployment."""
    return pl.col("service").str.replace(r"-[0-9a-f]{8,10}-[a-z0-9]{5}$", "")


def _plain(value: Any) -> str | None:
    """A value as text; the first of a list."""
    value = first_value(value)
    if isinstance(value, str):
        return value[:MAX_NAME_CHARS] or None
    return None if value is None or isinstance(value, Mapping) else str(value)


def _body(value: Any) -> str:
    while isinstance(value, (list, tuple)) and len(value) == 1:
        value = value[0]
    if isinstance(value, str):
        return value[:MAX_BODY_CHARS]
    if isinstance(value, (list, tuple)):
        return _json(list(value))[:MAX_BODY_CHARS]
    if isinstance(value, Mapping):
        # The log of Fluent Bit, or a structured body of OpenTelemetry.
        inner = next((value[key] for key in ("message", "msg", "text", "log") if isinstance(value.get(key), str)), None)
        return (inner if inner is not None else _json(value))[:MAX_BODY_CHARS]
    return "" if value is None else str(value)


def _json(value: Any) -> str:
    """The value as JSON; empty, as if it were not there, where it is nested more deeply than can be written."""
    try:
        return json.dumps(value, ensure_ascii=False, default=str).encode("utf-8", "replace").decode()
    except RecursionError:
        return ""


def _integers(values: Sequence[Any] | None, height: int) -> pl.Series:
    numbers = (
        [value if type(value) is int and abs(value) < 2**62 else 0 for value in values] if values else [0] * height
    )
    return pl.Series(numbers, dtype=pl.Int64)
