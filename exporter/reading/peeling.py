"""Take off what runtimes, collectors and terminals wrote around a line, and keep what it says: service, host, time.

Colours, the count of octets and the priority of syslog, RFC 5424's header, the names that compose, stern, kubectl, pm2
and foreman put in front, the times of `docker logs -t` and `kubectl logs --timestamps`, CRI's `stdout F`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import polars as pl

from exporter.model import LEVELS
from exporter.reading.levels import severity
from exporter.reading.times import moments

HEAD = 512
"""Characters at the beginning of a line among which what is peeled has to end."""

SAMPLE = 400
"""Lines by which it is decided what all lines of a file have in front."""

MOST_NAMES = 64
"""Names that the services of a file have at most, where only their number shows that they are names."""

# Without bounds, for these make Rust's regexes large; each is anchored and looks at the head alone.
_TIME = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}"
_ZONE = r"(?:Z|[+-][0-9]{2}:[0-9]{2})"
_POD = r"[a-z0-9][-a-z0-9.]*-[0-9a-f]{8,10}-[a-z0-9]{5}"
_NAME = r"[a-z0-9][-a-z0-9]*"
_WORD = r"[0-9A-Za-z_.-]"

# In the order in which they stand; group names say what is kept.
_OUTER: Mapping[str, str] = {
    "rfc5424": (
        r"^(?:[0-9]+ )?<(?P<priority>[0-9]{1,3})>1 (?P<time>[!-~]+) (?P<host>[!-~]+) (?P<service>[!-~]+) [!-~]+ "
        r"(?:- (?:- )?)?"
    ),
    "syslog": r"^(?:[0-9]+ )?<(?P<priority>[0-9]{1,3})>",
    "kubectl": r"^\[pod/(?P<host>[a-z0-9.-]+)/(?P<container>[a-z0-9-]+)\] ?",
    "stern": rf"^(?:{_NAME} )?(?P<host>{_POD}) (?:› )?(?P<container>{_NAME}) (?:[|│] )?",
    "swarm": rf"^(?P<service>{_WORD}+?)\.[0-9]+\.[a-z0-9]{{8,25}}@(?P<host>{_WORD}+) +\| ?",
    "pm2": rf"^[0-9]{{1,3}}\|(?P<service>[A-Za-z]{_WORD}*?) +\| ?",
    "foreman": rf"^(?P<kept>[0-9]{{2}}:[0-9]{{2}}:[0-9]{{2}} )(?P<service>[A-Za-z]{_WORD}*?)\.[0-9]{{1,3}} +\| ?",
    "compose": rf"^(?P<host>(?P<service>[A-Za-z0-9]{_WORD}*?)[-_][0-9]{{1,4}}) +\| ?",
}

_INNER: Mapping[str, str] = {
    "cri": rf"^(?P<time>{_TIME}(?:\.[0-9]{{1,9}})?{_ZONE}) (?:stdout|stderr) [FP] ",
    "fluentd": rf"^(?P<time>{_TIME}(?:\.[0-9]{{1,9}})?{_ZONE})\t[\w.*-]+\t(?P<kept>\{{)",
    # Nine digits of a second are a runtime's; programs write fewer.
    "runtime": rf"^(?P<time>{_TIME}\.[0-9]{{9}}{_ZONE}) ",
}

# Told from words of a message only where nearly all lines of a file begin so.
_LOOSE: Mapping[str, str] = {
    "bare compose": rf"^(?P<service>[A-Za-z]{_WORD}*) +\| ?",
    "bare stern": rf"^(?P<host>{_NAME}-[a-z0-9]{{1,10}}) (?:› )?(?P<container>{_NAME}) (?:[|│] )?",
}

_ANY = "|".join(re.sub(r"\?P<[a-z]+>", "?:", f"(?:{pattern})") for pattern in (*_OUTER.values(), *_INNER.values()))

_COLOURS = r"\x1b(?:\[[0-9;:?]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\))"

_GENERIC = re.compile(r"(?i)(?:app|application|main|server|service|container|web|worker|api)-?\d*")


@dataclass(frozen=True)
class Peeled:
    """Lines without what stood in front, and what that said of each; null where it said nothing."""

    text: pl.Series
    said: Mapping[str, pl.Series] = field(default_factory=dict)
    """`service` and `host` as text, `time` as nanoseconds, `severity` of syslog's priority: what a transport says."""


def peel(lines: pl.Series, also: tuple[str, ...] = ()) -> Peeled:
    """What stands in front of each line is taken off; `also` is what `bare_layers` found of the file that they are of.

    >>> peeled = peel(pl.Series(["cart-1  | 2026-11-17T06:00:00.666649000Z INFO done"]))
    >>> peeled.text.item(), peeled.said["service"].item(), peeled.said["time"].item()
    ('INFO done', 'cart', 1794895200666649000)
    """
    if lines.str.contains("\x1b", literal=True).any():
        lines = lines.str.replace_all(_COLOURS, "")
    peeled = Peeled(lines)
    if not also and not lines.str.head(HEAD).str.contains(_ANY).any():
        return peeled
    for pattern in (*_OUTER.values(), *(_LOOSE[name] for name in also), *_INNER.values()):
        peeled = _without(peeled, pattern)
    return peeled


def bare_layers(lines: pl.Series) -> tuple[str, ...]:
    """Names without a number that nearly all lines of a file have in front, as some releases of compose write them."""
    heads = lines.filter(lines.str.contains(r"\S")).head(SAMPLE).str.head(HEAD).str.replace_all(_COLOURS, "")
    for pattern in _OUTER.values():
        heads = _without(Peeled(heads), pattern).text
    return tuple(name for name, pattern in _LOOSE.items() if _in_front(heads, pattern))


def _in_front(heads: pl.Series, pattern: str) -> bool:
    found = heads.str.extract_groups(pattern).struct.unnest().drop_nulls()
    names = found.to_series().unique()
    return found.height * 10 >= len(heads) * 9 > 0 and len(names) <= MOST_NAMES and not _levels(names)


def _levels(names: pl.Series) -> bool:
    return bool(names.str.to_lowercase().is_in(list(LEVELS)).any())


def _without(peeled: Peeled, pattern: str) -> Peeled:
    """The lines without one layer."""
    rows = peeled.text.str.head(HEAD).str.contains(pattern).arg_true()
    if not len(rows):
        return peeled
    those = peeled.text.gather(rows)
    groups = those.str.head(HEAD).str.extract_groups(pattern).struct.unnest()
    said = dict(peeled.said)
    for part, values in _meaning(groups).items():
        kind = pl.Int64 if part == "time" else pl.Int8 if part == "severity" else pl.String
        known = said.get(part, pl.Series([None] * len(peeled.text), dtype=kind)).clone()
        # What is further out comes from nearer to us: what is inside knows better, but of the time.
        kept = values if part != "time" else known.gather(rows).fill_null(values)
        said[part] = known.scatter(rows, kept.fill_null(known.gather(rows)))
    bare = those.str.replace(pattern, "${kept}" if "kept" in groups.columns else "")
    return replace(peeled, text=peeled.text.clone().scatter(rows, bare), said=said)


def _meaning(groups: pl.DataFrame) -> dict[str, pl.Series]:
    """The parts that one layer tells of."""
    found: dict[str, pl.Series] = {}
    if "service" in groups.columns:
        found["service"] = _filled(groups["service"]).str.split("/").list.last()
    if "host" in groups.columns:
        found["host"] = _filled(groups["host"])
    if "container" in groups.columns:
        pairs = groups.select("host", "container").rows()
        names = {pair: service_of(*pair) for pair in set(pairs)}
        found["service"] = pl.Series([names[pair] for pair in pairs], dtype=pl.String)
    if "time" in groups.columns:
        found["time"] = moments(_filled(groups["time"]))
    if "priority" in groups.columns:
        levels = [severity(number, "priority") for number in groups["priority"]]
        found["severity"] = pl.Series(levels, dtype=pl.Int8)
    return found


def _filled(values: pl.Series) -> pl.Series:
    return values.set((values == "-").fill_null(False), None)


def service_of(pod: str | None, container: str | None) -> str | None:
    """The service of a container: its own name, unless all containers are called so; then that of what its pod is of.

    >>> service_of("cart-7d9f6c5b8-x2k4p", "app"), service_of("cart-7d9f6c5b8-x2k4p", "istio-proxy")
    ('cart', 'istio-proxy')
    """
    if container and (pod is None or not _GENERIC.fullmatch(container)):
        return container
    return re.sub(r"(?:-[0-9a-f]{8,10})?-(?:[a-z0-9]{5}|\d{1,4})$", "", pod) if pod else None
