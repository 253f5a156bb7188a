"""Who wrote lines of text: what syslog, journalctl, Spring Boot and names in brackets say in front of a message."""

from __future__ import annotations

import polars as pl

from exporter.model import LEVELS

PROGRAMS = ("syslog", "iso", "spaced")
"""Forms of times behind which a host and a program may stand."""

_PROGRAM = (
    r"^(?:<\d{1,3}>)?(?:\d )?[A-Z][a-z]{2} [ \d]?\d \d{2}:\d{2}:\d{2}(?:\.\d+)? (\S+) "
    r"([A-Za-z_][\w./-]*)(?:\([\w./-]+\))?(?:\[\d+\])?:(?: |$)"
)
_PROGRAM_ISO = (
    r"^(?:[A-Z][a-z]{2} )?\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}:\d{2}(?:\.\d+)?(?:Z| ?[+-]\d{2}:?\d{2}| [A-Z]{3,4})? "
    r"([\w.-]+) (?:([A-Za-z_][\w./-]*)(?:\([\w./-]+\))?\[\d+\]|(kernel)): "
)

# As Spring Boot writes the name of an application, and its tracing in front of that.
_OF_SPRING = r"^\S+ +(?:\S+ +)?[A-Z]+ (?:\[([A-Za-z][\w.-]*),[0-9a-f,-]*\] )?\d+ --- (?:\[ *([A-Za-z][\w.-]*)\] \[)?"

# A level in brackets, and a name without figures in the next.
_IN_BRACKETS = (
    rf"(?i)^[\[(]?[0-9][0-9TZ:.,/+ -]*[\])]? *\[ *(?:{'|'.join(word for word in LEVELS if len(word) > 1)}) *\] "
    r"?\[([^\[\]\s:=/.0-9]+)\]"
)
_NO_SERVICES = ("main", "thread", "null", "none", "root")


def programs_of(heads: pl.Series, form: str) -> tuple[pl.Series, pl.Series]:
    """Host and program of lines whose time has a form of `PROGRAMS`; null where a line names none.

    >>> [found.item() for found in programs_of(pl.Series(["2026-11-17T12:00:00+0100 n1 sshd[12]: closed"]), "iso")]
    ['n1', 'sshd']
    """
    if form != "syslog" and not any(heads.str.contains(sign, literal=True).any() for sign in ("]: ", " kernel: ")):
        # Most lines with such a time name none, and to look for that sign takes a tenth of the time.
        nobody = pl.Series([None], dtype=pl.String).new_from_index(0, len(heads))
        return nobody, nobody
    groups = heads.str.extract_groups(_PROGRAM if form == "syslog" else _PROGRAM_ISO).struct
    hosts, programs = groups.field("1"), groups.field("2")
    if form != "syslog":
        programs = programs.fill_null(groups.field("3"))
        # A level that a program follows is no host.
        levels = hosts.str.to_lowercase().is_in(list(LEVELS)).fill_null(False)
        hosts, programs = hosts.set(levels, None), programs.set(levels, None)
    return hosts, programs.str.split("/").list.last()


def in_brackets(heads: pl.Series) -> pl.Series:
    """What stands in brackets behind a level in brackets."""
    return heads.str.extract(_IN_BRACKETS)


def are_names(found: pl.Series) -> bool:
    """Whether what stands in brackets are services: nearly all lines name one of a few."""
    names = found.drop_nulls()
    few = names.n_unique() * 10 <= max(len(names), 10)
    return len(names) * 5 >= len(found) * 4 > 0 and few and not names.str.to_lowercase().is_in(_NO_SERVICES).any()


def of_spring(heads: pl.Series) -> pl.Series | None:
    """The application that lines of Spring Boot name; None where none is of it."""
    if not heads.str.contains(" --- ", literal=True).any():
        return None
    groups = heads.str.extract_groups(_OF_SPRING).struct
    return groups.field("1").fill_null(groups.field("2"))
