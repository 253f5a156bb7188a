"""Documents of any shipper become pages."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any

import polars as pl

from exporter.model import RecordSourceSettings, nanoseconds, page_schema
from exporter.reading.batches import BATCHES
from exporter.reading.instants import EARLIEST, instant
from exporter.reading.levels import (
    BESIDE_SYSLOG,
    TEXT_TYPES,
    TRANSPORTS,
    first_value,
    levels_of,
    severities,
    severity,
)
from exporter.reading.peeling import peel, service_of
from exporter.reading.times import moments
from exporter.reading.told import SAID, Told
from integrations._beside import BESIDE, paths_beside, said_beside
from integrations._forms import Form, Keys, Route, at, lookup, routes

MAX_BODY_CHARS = 65_536
"""Characters of a line that are kept at all; reduction looks at far fewer."""

MAX_NAME_CHARS = 1024
"""Characters of what is no message: of a service, a host, a key."""


SYSLOG = "\1syslog"
TEMPLATED = "\1templated"
"""Names in a plan, beside those of columns: what stands beside a level says how it counts, and Serilog's compact form
leaves out the level of information and writes a template and its values for a message."""


class Decoder:
    """Documents to pages. The one loop over log lines that is allowed: their form is any shipper's.

    Documents of one shipper look alike: where each column stands is found once for every form, and taken from all
    documents of that form together.
    """

    def __init__(
        self,
        settings: RecordSourceSettings,
        zone: str = "UTC",
        chosen: Mapping[str, tuple[str, ...]] | None = None,
        told: Told | None = None,
    ) -> None:
        self._told = told
        also = chosen or {}
        self._columns = {name: (*paths, *also.get(name, ())) for name, paths in settings.columns().items()}
        self._zone = zone
        # Whoever configures where the level stands means it.
        self._transports = frozenset() if "severity" in settings.fields.model_fields_set else TRANSPORTS
        self._group_by = settings.group_by if settings.group_by != ("service",) else ()
        self._excluded = list(settings.excluded)
        self._paths = {
            **self._columns,
            **{f"\0{path}": (path,) for path in self._group_by},
            SYSLOG: BESIDE_SYSLOG,
            TEMPLATED: ("@t",),
            **paths_beside(also),
        }
        self._keys = Keys()
        for path in sorted({path for paths in self._paths.values() for path in paths}):
            self._keys.grow(path.split("."))
        self._plan = lru_cache(maxsize=1024)(self._plan_for)

    def paths(self) -> list[str]:
        """Every path that may be needed."""
        known = {path for name, paths in self._paths.items() if name != TEMPLATED for path in paths}
        known |= BATCHES
        # A store is asked by exact names; shippers of Windows and .NET begin theirs with a capital.
        return sorted(known | {path.capitalize() for path in known if path.isalpha() and path.islower()})

    def has_body(self, document: Mapping[str, Any]) -> bool:
        """Whether a document has something in a place of a message."""
        return any(lookup(document, path) is not None for path in self._columns["body"])

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
            for column, values in self._of_form(form, alike).items():
                if len(forms) == 1:
                    rows[column] = values
                    continue
                whole = rows.setdefault(column, [None] * len(documents))
                for number, value in zip(numbers, values, strict=True):
                    whole[number] = value
        return self._frame(rows, ids, timestamps, order)

    def _of_form(self, form: Form, alike: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
        """The values of each column of documents of one form."""
        plan = self._plan(form)
        syslog, templated = SYSLOG in plan, TEMPLATED in plan
        if self._told and not self._told.enough:
            _note(self._told, alike, plan)
        found = {
            column: _values(alike, routes, column, syslog)
            for column, routes in plan.items()
            if column not in (SYSLOG, TEMPLATED) and not column.startswith(BESIDE)
        }
        if _of_pods(plan):
            # All containers of some pods are called app: then their service is what the pod is of.
            found["service"] = [
                service_of(host, name) if type(host) is type(name) is str else name
                for host, name in zip(found["host"], found["service"], strict=True)
            ]
        if templated:
            found["body"] = _rendered(alike, found.get("body") or [None] * len(alike))
            found["severity"] = [value or "information" for value in found.get("severity") or [None] * len(alike)]
        return found | said_beside(alike, plan, found.get("body"))

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
            column: tuple(dict.fromkeys(route for path in paths for route in routes(known, path)))
            for column, paths in self._paths.items()
        }
        weak = tuple(route for route in plan["severity"] if ".".join(route).lower() in self._transports)
        plan["severity"] = tuple(route for route in plan["severity"] if route not in weak)
        return {column: routes for column, routes in {**plan, "transport": weak}.items() if routes}

    def _frame(
        self, rows: dict[str, list[Any]], ids: Sequence[str], timestamps: pl.Series | None, order: Sequence[int] | None
    ) -> pl.DataFrame:
        height = len(ids)
        columns: dict[str, pl.Series] = {
            "id": pl.Series(ids, dtype=pl.String),
            "timestamp": timestamps if timestamps is not None else _instants(rows.get("timestamp"), height, self._zone),
            "sequence": _integers(order or rows.get("sequence"), height),
            "severity": _severities(rows.get("severity"), rows.get("transport"), height),
            "body": _texts(rows.get("body", [""] * height), _body),
            "ingested_at": _instants(rows.get("ingested_at"), height, "UTC"),
        }
        for name, kind in (("code", pl.Int16), ("duration", pl.Float32), ("place", pl.String), ("fields", pl.String)):
            if name in rows:
                columns[name] = pl.Series(rows[name], dtype=kind)
        names = [name for name in NAMES if name in rows]
        columns |= {name: _texts(rows[name], _plain) for name in names}
        names += [name for name in _peel(columns) if name not in names]
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


NAMES = ("stream", "service", "trace", "session", "host", "template", "instance", "version")
"""Columns that hold short texts."""


def _of_pods(plan: Mapping[str, tuple[Route, ...]]) -> bool:
    """Whether documents of a form say their container for a service, and their pod for a host."""
    if "service" not in plan or "host" not in plan:
        return False
    service, host = (".".join(plan[name][0]).lower() for name in ("service", "host"))
    return service in _OF_CONTAINERS and "pod" in host


def _note(told: Told, documents: Sequence[Mapping[str, Any]], plan: Mapping[str, tuple[Route, ...]]) -> None:
    """Say where the columns of documents of one form stand."""
    told.records += len(documents)
    routes = {**plan, "severity": (*plan.get("severity", ()), *plan.get("transport", ()))}
    for column in SAID:
        left = list(documents)
        for route in routes.get(column, ()):
            without = [one for one, value in zip(left, at(left, route), strict=True) if value in (None, "", [], {})]
            told.note(column, ".".join(route), len(left) - len(without))
            left = without


def _peel(columns: dict[str, pl.Series]) -> list[str]:
    """Take off what stands in front of the bodies, and keep what it says where nothing else does. Returns the names of
    texts that it told of."""
    peeled = peel(columns["body"])
    if not peeled.said:
        columns["body"] = peeled.text
        return []
    columns["body"] = peeled.text
    if (levels := peeled.said.get("severity")) is not None:
        columns["severity"] = columns["severity"].set(columns["severity"] == 0, None).fill_null(-levels).fill_null(0)
    if (times := peeled.said.get("time")) is not None:
        columns["timestamp"] = columns["timestamp"].fill_null(times)
    told = [name for name in ("service", "host") if name in peeled.said]
    for name in told:
        columns[name] = columns[name].fill_null(peeled.said[name]) if name in columns else peeled.said[name]
    return told


def _severities(own: list[Any] | None, carried: list[Any] | None, height: int) -> pl.Series:
    """Levels, below 0 where only who carried the line says one."""
    found = severities(own, height)
    if carried is None:
        return found
    return found.set(found == 0, None).fill_null(-severities(carried, height))


_HOLE = re.compile(r"\{\{|\}\}|\{[@$]?(\w+)(?:,-?\d+)?(?::[^{}]*)?\}")


def _rendered(documents: Sequence[Mapping[str, Any]], bodies: Sequence[Any]) -> list[Any]:
    """The message of records that have its template and values, and their exception under it."""
    found = []
    for document, body in zip(documents, bodies, strict=True):
        if "@mt" in document and "@m" not in document and isinstance(body, str):
            body = _HOLE.sub(partial(_filled, document), body[:MAX_BODY_CHARS])
        if isinstance(trace := document.get("@x"), str):
            body = f"{body or ''}\n{trace[:MAX_BODY_CHARS]}"
        found.append(body)
    return found


def _filled(document: Mapping[str, Any], hole: re.Match[str]) -> str:
    if hole[1] is None:
        return hole[0][0]
    value = document.get(hole[1], hole[0])
    return value[:MAX_NAME_CHARS] if isinstance(value, str) else _json(value)[:MAX_NAME_CHARS]


def _values(
    documents: Sequence[Mapping[str, Any]], routes: Sequence[Route], column: str, syslog: bool = False
) -> list[Any]:
    """The first value that says something of each document; only a body or a time can be an object."""
    values: list[Any] = []
    for number, route in enumerate(routes):
        found = at(documents, route)
        kinds = set(map(type, found))
        if column not in ("body", "timestamp") and dict in kinds:
            found = [None if type(value) is dict else value for value in found]
        if column == "severity":
            found = levels_of(found, ".".join(route), syslog)
        elif column == "transport":
            found = [severity(value, ".".join(route), syslog=True) or None for value in found]
        elif column == "service" and route[-1].lower() in _NARROWED:
            found = [_NARROWED[route[-1].lower()](value) for value in found]
        if column == "service":
            found = _named(found, kinds, last=number == len(routes) - 1)
            kinds = set(map(type, found))
        values = [b if a is None or a == "" else a for a, b in zip(values, found, strict=True)] if number else found
        if (number == 0 and kinds == {str} and "" not in found) or (None not in values and "" not in values):
            return values
    return [None if value == "" else value for value in values] if "" in values else values


_OF_CONTAINERS = frozenset(
    ("container", "container_name", "k8s_container_name", "kubernetes.container.name", "kubernetes.container_name")
)
"""Places where a container says its name, in small letters."""

_CONTAINER_ID = re.compile(r"(?=[a-f]*[0-9])[0-9a-f]{12}(?:[0-9a-f]{52})?")


def _named(values: list[Any], kinds: set[type], last: bool) -> list[Any]:
    """Names of services: the id of a container is only a guess, for the time that nothing else is said."""
    if last or not kinds <= TEXT_TYPES or not any(map(_CONTAINER_ID.fullmatch, filter(None, set(values)))):
        return values
    return [None if value and _CONTAINER_ID.fullmatch(value) else value for value in values]


def _texts(values: list[Any], plain: Callable[[Any], str | None]) -> pl.Series:
    """Values as text, whatever they are."""
    return pl.Series(values if set(map(type, values)) <= TEXT_TYPES else list(map(plain, values)), dtype=pl.String)


def _last_part(value: Any) -> Any:
    return value.rstrip("/").rpartition("/")[2] if isinstance(value, str) else None


def _no_number(value: Any) -> Any:
    return value if isinstance(value, str) and not value.isdecimal() else None


_NARROWED: Mapping[str, Callable[[Any], Any]] = {
    "@log_group": _last_part,
    "log_group": _last_part,
    "loggroup": _last_part,
    "facility": _no_number,
}
"""What of some values is a name: the end of a path, and syslog's facility only where it is no number."""


def _instants(values: list[Any] | None, height: int, zone: str) -> pl.Series:
    """Times in any usual form as nanoseconds; what all loggers write together, the rest one by one."""
    if values is None:
        return pl.Series([None] * height, dtype=pl.Int64)
    if set(map(type, values)) <= TEXT_TYPES:
        texts = pl.Series(values, dtype=pl.String)
        times = moments(texts, zone)
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
        if value and set(map(type, value)) == {int} and min(value) >= 0 and max(value) < 256:
            # How journald writes what is no text for sure, such as a line with colours.
            return bytes(value[: MAX_BODY_CHARS * 4]).decode("utf-8", "replace")[:MAX_BODY_CHARS]
        return _json(list(value))[:MAX_BODY_CHARS]
    if isinstance(value, Mapping):
        # The log of Fluent Bit, or a structured body of OpenTelemetry.
        names = ("message", "msg", "text", "log", "stringValue")
        inner = next((value[key] for key in names if isinstance(value.get(key), str)), None)
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
