"""Which lines of text are one record: an entry of several lines, a stack trace with the line that it belongs to."""

from __future__ import annotations

import re

import numpy as np
import numpy.typing as npt
import polars as pl

from exporter.model import LEVELS, Severity
from exporter.reading.levels import level_in

Bools = npt.NDArray[np.bool_]

Int64s = npt.NDArray[np.int64]

LOOKED_AT = 256
"""Characters of a line by which is told what it is."""

ENOUGH = 20
"""Lines of which it can be told whether they come in blocks."""

_LEVEL = "|".join(sorted((word for word in LEVELS if len(word) > 2 and word.isascii()), key=len, reverse=True))

# A class of an error, as Java, .NET, Python, Ruby, PHP and Node write it, and what is said of it. Whole words, so that
# nothing is looked for twice.
RAISED = (
    r"(?:[A-Za-z_$][\w$]*(?:\.|::|\\))*[A-Z][\w$]*(?:Error|Exception|Failure|Fault|Interrupt|Warning|Exit|Throwable)"
    r"(?:\b|$)"
)

CONTINUES = (
    r"^(?:\t| {4}\s*\S"
    r"|\s+(?:at |from |in |by |File \"|\.\.\. |--- |->|~|\^)"
    r"|Caused by: |Suppressed: |\.\.\. [0-9]+ more|Traceback \(most recent call last\):|During handling of the above"
    r"|The above exception was the direct cause|goroutine [0-9]+ \[|created by |#[0-9]+ 0x|#[0-9]+ +\S+\("
    r"|--- End of |\s*\^+\s*$|[})\]]+[,;]?\s*$)"
)
"""How lines begin that are a part of the record before them wherever they stand."""

_CHAINED = r"^(?:During handling of the above|The above exception was the direct cause|Caused by: |Suppressed: )"

_WITHIN = (
    rf"^(?:{RAISED}|#[0-9]+ |Stack trace:|stack backtrace:|\[signal |exit status [0-9]+|note: |Node\.js v[0-9]"
    r"|Error: |\S+:[0-9]+:in [`']|\S+\(.*\)$|\*\* \(|panicked at |\[cause\])"
)
"""How lines of a trace begin that could be a line of their own elsewhere."""

_OPENS = (
    r"^(?:Traceback \(most recent call last\):|panic: |fatal error: |thread '[^']*' panicked at "
    r"|PHP [A-Z]\w+(?: \w+)?: |Exception in thread |Unhandled [Ee]xception|Uncaught )"
)
"""How traces begin."""

_OTHER_TIME = r"\b[0-9]{1,2}:[0-9]{2}:[0-9]{2}|^\W{0,2}(?:[12][0-9]{9}\b|[0-9]{4}[-/.][0-9]{2}[-/.][0-9]{2}\b)"
"""Times in another form than the file's, or that cannot be."""

_LEVEL_FIRST = rf"^(?:[\[(<] ?(?i:{_LEVEL}) ?[\])>]|(?:{_LEVEL.upper()})\b|(?i:{_LEVEL}): )"

# ASP.NET's level, category and number of the event.
_ONLY_HEADER = r"(?:^|\s)(?:trce|dbug|info|warn|fail|crit): [\w.`+\[\],<>]+\[-?[0-9]+\]$"

# PostgreSQL says more of an error in lines that begin as the error does.
_SECOND = r"\b(?:DETAIL|HINT|CONTEXT|STATEMENT|QUERY|LOCATION):  "

_EVENT = r"\bmsg=audit\(([0-9.]{1,24}:[0-9]{1,20})\)"

_SIGNS = r"(?:DETAIL|HINT|CONTEXT|STATEMENT|QUERY|LOCATION):  |msg=audit\(|^# Time:"
"""What lines with a time of their own have that may be of a record of several."""


_NO_TIME = "SET timestamp="


def with_own_times(lines: pl.Series) -> pl.Series:
    """Lines, without a time that is not that of a record and without what MySQL writes before one that is."""
    if not lines.str.starts_with("# Time: ").any():
        return lines
    return lines.set(lines.str.starts_with(_NO_TIME), "").str.strip_prefix("# Time: ")


def heads_of(lines: pl.Series, timed: pl.Series, begun: bool, blocks: bool) -> Int64s | None:
    """For each line the place of the first line of its record; None where each line is a record.

    `timed` are lines with a time of their own, `begun` whether lines came before these, and `blocks` whether all lines
    between two with a time are one record (see `in_blocks`). A line that goes on a record which began before these has
    the place -1.
    """
    own = timed.to_numpy()
    if own.all() and not lines.str.contains(_SIGNS).any():
        return None
    starts = _starts(lines.str.head(LOOKED_AT), own, blocks)
    if not begun and len(starts):
        starts[0] = True
    if starts.all():
        return None
    return np.asarray(np.maximum.accumulate(np.where(starts, np.arange(len(starts)), -1)))


def in_blocks(lines: pl.Series, timed: pl.Series) -> bool | None:
    """Whether lines without a time belong to the line with one above them: a fifth has one, or nearly all lines with
    one are followed by some without. None where there are too few to tell."""
    heads = lines.str.head(LOOKED_AT)
    plain = ~(heads.str.contains(CONTINUES) | heads.str.contains(_OPENS) | heads.str.contains(_WITHIN)).to_numpy()
    own = timed.to_numpy()
    if not own.any():
        return False if len(own) >= ENOUGH else None
    mostly = 5 * int((own & plain).sum()) >= int(plain.sum())
    followed = ~own[1:] & plain[1:]
    each = 10 * int((own[:-1] & followed).sum()) >= 9 * max(1, int(own[:-1].sum()))
    return mostly or each if len(own) >= ENOUGH else None


def _starts(heads: pl.Series, timed: Bools, blocks: bool) -> Bools:
    """Which lines begin a record."""
    left = ~timed
    alone = _take(heads, left, _ONLY_HEADER)
    indented = _take(heads, left, r"^\s")
    # Where all lines are indented, that says nothing.
    sure = indented if not indented.all() else _among(heads, indented, CONTINUES)
    left &= ~sure
    opens, sure = _take(heads, left, _OPENS), sure | _take(heads, left, CONTINUES)
    within = _take(heads, left, _WITHIN)
    other = _take(heads, left, _OTHER_TIME) | _among(heads, left, r"^\{")
    levelled = _among(heads, left, _LEVEL_FIRST)
    starts = timed | other | alone
    starts |= (left & ~other) & (levelled | ~(_since(timed, sure | opens | within) | blocks))
    starts = _of_traces(heads, starts, opens, within, sure, blocks)
    if levelled.any():
        starts &= ~(levelled & _after_silent(heads, timed))
    starts &= ~_among(heads, timed, _SECOND) & ~_same_event(heads)
    return _of_mysql(heads, starts) if heads.str.starts_with("# User@Host:").any() else starts


def _among(heads: pl.Series, these: Bools, pattern: str) -> Bools:
    """Which of some lines have a pattern."""
    rows = np.flatnonzero(these)
    found = np.zeros(len(heads), np.bool_)
    if len(rows):
        found[rows] = heads.gather(rows).str.contains(pattern).to_numpy()
    return found


def _take(heads: pl.Series, left: Bools, pattern: str) -> Bools:
    """Which of the lines that are left have a pattern; they are left no more."""
    found = _among(heads, left, pattern)
    left &= ~found
    return found


def _since(timed: Bools, traces: Bools) -> Bools:
    """Lines between which and the last one with a time a trace stands."""
    places = np.arange(len(timed))
    last, trace = (np.maximum.accumulate(np.where(these, places, -1)) for these in (timed, traces))
    return np.asarray((last >= 0) & (trace > last))


def _has(heads: pl.Series, pattern: str) -> Bools:
    return np.asarray(heads.str.contains(pattern).to_numpy())


def _of_traces(heads: pl.Series, starts: Bools, opens: Bools, within: Bools, sure: Bools, blocks: bool) -> Bools:
    """A trace belongs to the line before it that tells of an error; after a calm one it is a record of its own."""
    if not (opens.any() or within.any()):
        return starts
    places = np.arange(len(starts))
    above = np.maximum.accumulate(np.where(starts, places, -1))
    alarming = _alarming(heads, above, opens | within)
    traced = np.concatenate(([False], (sure | opens | within)[:-1]))
    chained = np.concatenate(([False], _has(heads, _CHAINED)[:-1]))
    starts = starts | (opens & ~alarming & ~chained)
    return starts | (within & ~alarming & ~traced & (not blocks))


def _alarming(heads: pl.Series, above: Int64s, wanted: Bools) -> Bools:
    """Whether the record above each of some lines may be what they are of: it states no level, or a bad one."""
    found = np.zeros(len(above), np.bool_)
    rows = np.flatnonzero(wanted & (above >= 0))
    levels = _levels(heads.gather(above[rows]))
    found[rows] = (levels == 0) | (levels >= Severity.WARN)
    return found


def _after_silent(heads: pl.Series, timed: Bools) -> Bools:
    """Lines right behind one with a time that states no level: java.util.logging writes the level on the next."""
    rows = np.flatnonzero(timed)
    silent = np.zeros(len(timed) + 1, np.bool_)
    silent[rows + 1] = _levels(heads.gather(rows)) == 0
    return silent[:-1]


def _levels(heads: pl.Series) -> npt.NDArray[np.int8]:
    """The levels that lines state; each shape is looked at once."""
    shapes = heads.str.replace_all(r"[0-9]+", "0")
    distinct = shapes.unique()
    levels = [level_in(shape) for shape in distinct.to_list()]
    return np.asarray(shapes.replace_strict(distinct, levels, return_dtype=pl.Int8).to_numpy())


def _same_event(heads: pl.Series) -> Bools:
    """Whether auditd says more of the event of the line before."""
    if not heads.str.contains("msg=audit(", literal=True).any():
        return np.zeros(len(heads), np.bool_)
    events = heads.str.extract(_EVENT)
    return np.asarray((events == events.shift(1)).fill_null(False).to_numpy())


def _of_mysql(heads: pl.Series, starts: Bools) -> Bools:
    """An entry of the slow log begins with its time, or, of the same second, with the user."""
    first, begins = _has(heads, r"^# Time:"), _has(heads, r"^# User@Host:")
    after_time = np.concatenate(([False], first[:-1]))
    banner = _has(heads, r"^(?:\S*mysqld\S*, Version:|Tcp port:|Time  +Id )")
    return np.asarray(first | (begins & ~after_time) | banner)


_PRETTY = re.compile(r"\s+\S|[}\]]")


def whole_documents(lines: pl.Series) -> tuple[pl.Series, Int64s] | None:
    """Lines in which each document that spans several stands whole in its first line, and the first line of each line;
    None where none does."""
    opened = (lines == "{").to_numpy()
    if not opened.any():
        return None
    texts, first = lines.to_list(), np.arange(len(lines))
    whole = dict[int, str]()
    for start in np.flatnonzero(opened).tolist():
        end = _end_of(texts, start)
        if end is not None:
            whole[start] = " ".join(texts[start : end + 1])
            first[start : end + 1] = start
    if not whole:
        return None
    return lines.scatter(list(whole), list(whole.values())), np.asarray(first)


MOST_LINES_OF_DOCUMENT = 2_000


def _end_of(texts: list[str], start: int) -> int | None:
    for place in range(start + 1, min(len(texts), start + MOST_LINES_OF_DOCUMENT)):
        if texts[place] == "}":
            return place
        if not _PRETTY.match(texts[place]):
            return None
    return None
