"""Read columns of times, in whatever form they were written: at the beginning of lines, or in a field."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Literal

import polars as pl

from exporter.model import nanoseconds
from exporter.reading.forms import AMBIGUOUS, FORMS, MONTH, MONTH_WORDS, WEEKDAY, ZONES, Form

ANYWHERE = 160
"""Characters at the beginning of a line among which its time is looked for."""

ROOM = 48
"""Characters that a time and its zone can take."""

SAMPLE = 400
"""Lines by which the form of a file is recognised."""

MAX_SECONDS = 2**63 // 10**9 - 1
LAST_YEAR = "2261"
"""Up to these 64 bits hold the nanoseconds since the epoch."""

HOUR = 3600 * 10**9
DAY = 24 * HOUR


COMMON = next(form for form in FORMS if form.name == "common")

_IN_ACCESS_LOG = rf" \[[0-9]{{2}}/{MONTH}/[0-9]{{4}}:"


@dataclass(frozen=True)
class Stamp:
    """How a file writes its times: a form, how far from the start of a line, and whether lines are indented."""

    form: Form
    reach: int = ROOM
    indented: bool = False

    def times(self, lines: pl.Series, reference: datetime, zone: str = "UTC", carry: int | None = None) -> pl.Series:
        """Nanoseconds since the epoch; null where a line has no time of its own.

        Lines of another form than the file's are understood where they begin with their time. `reference` is when the
        last line can have been written: it says which year is meant where none stands. `carry` is the time of the
        line before: it says which of two is meant in the hour that a clock shows twice.
        """
        found = _times(lines.str.head(self.reach), self.form, reference, zone, carry)
        if not self.indented and found.null_count() < len(found):
            own = ~lines.str.contains(r"^\s")
            found = found.zip_with(own, nothing(len(found)))
        missing = found.is_null().arg_true()
        if len(missing) and not self.form.dateless:
            heads = lines.gather(missing)
            others = leading(heads, reference, zone, but=self.form)
            if others.null_count() < len(others):
                found = found.scatter(missing, others)
            found = self._in_access_log(lines, found, reference, zone)
        return found

    def _in_access_log(self, lines: pl.Series, found: pl.Series, reference: datetime, zone: str) -> pl.Series:
        """The times with those of an access log, which stand in brackets, among lines of another form."""
        rows = (found.is_null() & lines.str.head(ANYWHERE).str.contains(_IN_ACCESS_LOG)).arg_true()
        if not len(rows):
            return found
        return found.scatter(rows, _times(lines.gather(rows).str.head(ANYWHERE), COMMON, reference, zone))

    def zones(self, lines: pl.Series) -> pl.Series:
        """The zone that stands beside the time of each line; null where none does."""
        heads = lines.str.head(self.reach)
        if not self.form.format:
            return pl.Series(["UTC"]).new_from_index(0, len(lines))
        if self.form.name == "date":
            return heads.str.extract(self.form.pattern, 1).str.extract(_INNER_ZONE, 1)
        if not self.form.zoned:
            return pl.Series([None], dtype=pl.String).new_from_index(0, len(lines))
        found = heads.str.extract(self.form.pattern, 2)
        known = found.is_in([*ZONES, *AMBIGUOUS]) | found.str.contains("^[+-]")
        return found.set(~known.fill_null(False), None)


def recognise(lines: pl.Series, reference: datetime, zone: str = "UTC") -> Stamp | None:
    """How these lines write their times; None when fewer than one in ten has one that is understood.

    Indented lines count only where no other has a time: the first thing in a file may be a long stack trace.
    """
    filled = lines.filter(lines.str.contains(r"\S"))
    best: tuple[int, float, Stamp] | None = None
    for indented in (False, True):
        heads = (filled if indented else filled.filter(~filled.str.contains(r"^\s"))).head(SAMPLE)
        for form in FORMS:
            if best and (best[:2] == (len(heads), 0.0) or form.rare):
                # Nothing can be found oftener or nearer to the start.
                continue
            candidate = _tried(heads.str.head(ANYWHERE), form, reference, zone, indented)
            if candidate and (best is None or (-candidate[0], candidate[1]) < (-best[0], best[1])):
                best = candidate
        if best:
            break
    return best[2] if best and best[0] * 10 >= len(heads) else None


def _tried(
    heads: pl.Series, form: Form, reference: datetime, zone: str, indented: bool
) -> tuple[int, float, Stamp] | None:
    """How many lines have a time of this form, how far from their start, and the stamp."""
    found = _times(heads, form, reference, zone).is_not_null()
    count = int(found.sum())
    if not count:
        return None
    whole = heads.filter(found)
    starts = whole.str.find(form.pattern).fill_null(0)
    reach = int(starts.quantile(0.95, "higher") or 0) + ROOM
    return count, float(starts.mean() or 0), Stamp(form, min(reach, ANYWHERE), indented)  # type: ignore[arg-type]


def leading(lines: pl.Series, reference: datetime, zone: str, but: Form | None = None) -> pl.Series:
    """Times of lines that begin with one, in any form."""
    heads = lines.str.head(ROOM)
    plausible = heads.str.contains(rf"^[\[(<]?(?:\d|{MONTH} |{WEEKDAY} |[IWEF]\d{{4}} )")
    result = nothing(len(heads))
    rows = plausible.arg_true()
    for form in FORMS:
        if not len(rows):
            break
        if form is but or form.dateless or form.rare or form.name in ("british", "american", "epoch field"):
            continue
        anchored = form.pattern if form.pattern.startswith("^") else rf"^[\[(<]?{form.pattern}"
        times = _times(heads.gather(rows), replace(form, pattern=anchored), reference, zone)
        hit = times.is_not_null()
        if hit.any():
            result = result.scatter(rows.filter(hit), times.filter(hit))
            rows = rows.filter(~hit)
    return result


def _times(heads: pl.Series, form: Form, reference: datetime, zone: str, carry: int | None = None) -> pl.Series:
    """Nanoseconds of the times of one form."""
    groups = heads.str.extract_groups(form.pattern).struct
    text = groups.field("1")
    if text.null_count() == len(text):
        return text.cast(pl.Int64)
    if not form.format:
        return epoch(text)
    text = _normal(text, form)
    if form.dateless:
        return _parsed("1970-01-01 " + text, form).cast(pl.Int64)
    if form.yearless:
        return _with_year(text, form, reference, zone)
    if form.zoned and (places := _places(groups.field("2"))):
        return _in_places(_parsed(text, form), groups.field("2"), places, zone)
    offsets = _offsets(groups.field("2")) if form.zoned else None
    if form.name == "date":
        offsets = _offsets(text.str.extract(_INNER_ZONE, 1))
        text = text.str.replace(_INNER_ZONE, " $2")
    return _instants(_parsed(text, form), offsets, zone, carry)


_INNER_ZONE = r" (\S+) (\d{4})$"
"""Of a time whose zone stands before its year, as `date` writes it."""


def _normal(text: pl.Series, form: Form) -> pl.Series:
    if form.name == "dotted":
        return text.str.replace_all(r"[-_:.]", " ").str.replace(r"^(\d+ \d+ \d+ \d+ \d+ \d+) ", "$1.")
    if form.rare:
        plain = text.str.to_lowercase().str.replace_all(r"[.,]?[ -]", " ").str.replace(",", ".", literal=True)
        return plain.str.replace_many(list(MONTH_WORDS), list(MONTH_WORDS.values()), leftmost=True)
    if form.name.startswith("american") or form.name == "british":
        return text.str.replace(",", "", literal=True)
    if form.name == "in keys":
        return text.str.replace(r"\"? time=\"?", " ").str.replace(",", ".", literal=True)
    if form.name == "websphere":
        return text.str.replace(r":(\d{3})$", ".$1")
    return text if form.name == "java" else text.str.replace(",", ".", literal=True)


def _parsed(text: pl.Series, form: Form) -> pl.Series:
    if form.format.startswith("%Y"):
        # Nanoseconds of later years do not fit: they would come out as those of a century that does.
        text = text.set((text.str.head(4) > LAST_YEAR).fill_null(False), None)
    return text.str.strptime(pl.Datetime("ns"), form.format, strict=False)


_EITHER: tuple[Literal["earliest", "latest"], ...] = ("earliest", "latest")


def _instants(local: pl.Series, offsets: pl.Series | None, zone: str, carry: int | None = None) -> pl.Series:
    """What clocks show, as instants: by the zone that stands beside it, else by the file's."""
    plain = local.cast(pl.Int64)
    if zone != "UTC":
        first, second = (
            local.dt.replace_time_zone(zone, ambiguous=which, non_existent="null")
            .dt.convert_time_zone("UTC")
            .cast(pl.Int64)
            for which in _EITHER
        )
        plain = _unfolded(first, second, carry, zone)
    if offsets is None or offsets.null_count() == len(offsets):
        return plain
    return (local.cast(pl.Int64) - offsets).zip_with(offsets.is_not_null(), plain)


MOST_PLACES = 16
"""Names such as Europe/Berlin beside times that are told apart; more than a file of one writer has."""


def _places(zones: pl.Series) -> list[str]:
    """The zones that are called by a place."""
    named = zones.filter(zones.str.contains("/", literal=True).fill_null(False)).unique().to_list()
    return [name for name in sorted(named)[:MOST_PLACES] if is_place(name)]


@lru_cache(maxsize=64)
def is_place(name: str) -> bool:
    """Whether a zone has this name."""
    try:
        pl.Series([None], dtype=pl.Datetime("ns")).dt.replace_time_zone(name)
    except pl.exceptions.PolarsError:
        return False
    return True


def _in_places(local: pl.Series, zones: pl.Series, places: Sequence[str], zone: str) -> pl.Series:
    times = _instants(local, _offsets(zones), zone)
    for place in places:
        rows = (zones == place).arg_true()
        times = times.scatter(rows, _instants(local.gather(rows), None, place))
    return times


OUT_OF_ORDER = HOUR // 2
"""By which a line can be older than the one before it in an hour that a clock shows twice."""


def _unfolded(first: pl.Series, second: pl.Series, carry: int | None, zone: str) -> pl.Series:
    """Instants of lines in their order: once a clock has gone back within an hour that it shows twice, it is the second
    time."""
    twice = (first != second).fill_null(False)
    if not twice.any():
        return first
    rows = twice.arg_true()
    shown = first.gather(rows)
    steps = shown.diff().fill_null(0)
    nights = (steps.abs() > DAY // 2).cum_sum()
    before = first[int(rows[0]) - 1] if rows[0] else carry
    if before is not None:
        steps[0] = int(shown[0]) - before
    back = (steps < -OUT_OF_ORDER) & (steps > -DAY // 2)
    back[0] = bool(back[0]) or (not rows[0] and carry is not None and _second_time(carry, zone))
    later = pl.DataFrame({"night": nights, "back": back}).select(pl.col("back").cum_max().over("night"))["back"]
    return first.clone().scatter(rows.filter(later), second.gather(rows.filter(later)))


def _second_time(instant: int, zone: str) -> bool:
    """Whether a clock there shows a time that it has shown an hour before."""
    local = pl.Series([_shown(instant, zone)]).cast(pl.Datetime("ns"))
    first = local.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null").dt.convert_time_zone("UTC")
    return bool(first.cast(pl.Int64).item() != instant)


def _offsets(zones: pl.Series) -> pl.Series:
    """Nanoseconds by which clocks of a zone such as +02:00 are ahead."""
    names = zones.unique().drop_nulls().to_list()
    values = [_offset(name.upper()) for name in names]
    return zones.replace_strict(names, values, default=None, return_dtype=pl.Int64)


def _offset(name: str) -> int | None:
    if "/" in name:
        return None
    if name[0] not in "+-":
        hours = ZONES.get(name)
        return None if hours is None else round(hours * HOUR)
    if len(name) == 4 and name[1:].isdigit():
        return int(name) * HOUR // 60
    digits = "".join(filter(str.isdigit, name)).ljust(4, "0")
    if digits > "1459" or digits[2:] > "59":
        return None
    seconds = int(digits[:2]) * 3600 + int(digits[2:]) * 60
    return (-seconds if name[0] == "-" else seconds) * 10**9


def _with_year(text: pl.Series, form: Form, reference: datetime, zone: str) -> pl.Series:
    """The newest year in which the time is not after the reference."""
    limit = nanoseconds(reference + timedelta(days=1))
    year = (reference + timedelta(days=1)).year
    result = nothing(len(text))
    # Four years back, for the 29th of February.
    for candidate in range(year, year - 5, -1):
        times = _instants(_parsed(f"{candidate} " + text, form), None, zone)
        fits = result.is_null() & times.is_not_null() & (times <= limit).fill_null(False)
        result = times.zip_with(fits, result)
        if result.null_count() == text.null_count():
            break
    return result


def dated(clock: pl.Series, since: int | None, reference: datetime, zone: str) -> pl.Series:
    """Nanoseconds since the epoch of times of day that follow each other, and the time `since`.

    Without that, the first is the last one that was before `reference`.
    """
    known = clock.drop_nulls()
    if not len(known):
        return clock
    before = _shown(nanoseconds(reference) if since is None else since, zone)
    if since is None:
        first = int(known[0])
        before = before - before % DAY + first - (DAY if first > before % DAY else 0)
    steps = pl.concat([pl.Series([before % DAY]), known]).diff().drop_nulls()
    # A clock that goes back has passed midnight, unless it goes back by so little that lines are just out of order.
    days = ((steps < -HOUR).cast(pl.Int64) - (steps > DAY - HOUR).cast(pl.Int64)).cum_sum() + before // DAY
    times = _instants((known + days * DAY).cast(pl.Datetime("ns")), None, zone)
    return nothing(len(clock)).scatter(clock.is_not_null().arg_true(), times)


def _shown(instant: int, zone: str) -> int:
    """What a clock shows there, as nanoseconds."""
    there = pl.Series([instant]).cast(pl.Datetime("ns", "UTC")).dt.convert_time_zone(zone).dt.replace_time_zone(None)
    return int(there.cast(pl.Int64)[0])


def nothing(height: int) -> pl.Series:
    """So many times that are not known."""
    return pl.Series([None] * height, dtype=pl.Int64)


def epoch(text: pl.Series) -> pl.Series:
    """Nanoseconds of seconds, milli-, micro- or nanoseconds since the epoch, told apart by their size."""
    parts = text.str.split_exact(".", 1).struct.unnest()
    whole = parts["field_0"].cast(pl.Int64, strict=False)
    fraction = parts["field_1"].fill_null("").str.pad_end(9, "0").str.head(9).cast(pl.Int64, strict=False)
    return scaled(whole, fraction)


def scaled(whole: pl.Series, fraction: pl.Series | None = None) -> pl.Series:
    """Nanoseconds of whole numbers by their size; `fraction` is that of a second, in nanoseconds."""
    frame = pl.DataFrame({"whole": whole.cast(pl.Int64), "rest": fraction if fraction is not None else 0})
    size = pl.col("whole").abs()
    return frame.select(
        pl.when((size > MAX_SECONDS) & (size < 10**11))
        .then(None)
        .when(size < 10**11)
        .then(pl.col("whole") * 10**9 + pl.col("rest").fill_null(0))
        .when(size < 10**14)
        .then(pl.col("whole") * 10**6)
        .when(size < 10**17)
        .then(pl.col("whole") * 10**3)
        .otherwise(pl.col("whole"))
        .alias("times")
    )["times"]


def moments(values: pl.Series, zone: str = "UTC", reference: datetime | None = None) -> pl.Series:
    """Nanoseconds of a column of times: dates, numbers, or text in any form that is known."""
    kind = values.dtype
    if isinstance(kind, pl.Datetime):
        if kind.time_zone is None:
            return _instants(values.cast(pl.Datetime("ns")), None, zone)
        return values.dt.convert_time_zone("UTC").cast(pl.Datetime("ns", "UTC")).cast(pl.Int64)
    if kind == pl.Date:
        return values.cast(pl.Datetime("ns")).cast(pl.Int64)
    if kind.is_integer():
        return scaled(values)
    if kind.is_numeric():
        small = values.cast(pl.Float64)
        rest = ((small - small.floor()) * 1e9).round().cast(pl.Int64, strict=False)
        return scaled(small.floor().cast(pl.Int64, strict=False), rest)
    if kind != pl.String:
        return nothing(len(values))
    at = reference or datetime.now(UTC)
    # What most write, before all else is tried.
    times = _times(values.str.head(ROOM), FORMS[0], at, zone)
    if times.null_count() == values.null_count():
        return times
    stamp = recognise(values.drop_nulls(), at, zone)
    return stamp.times(values, at, zone) if stamp and not stamp.form.dateless else nothing(len(values))
