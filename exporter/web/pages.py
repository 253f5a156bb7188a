"""Incidents as HTML that needs no script: every text is foreign, so it is escaped, and what would hide is made visible.

Times are event times in UTC; durations are differences of event times, so a page says the same whenever it is read.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from exporter.model import Contribution, Incident, SimilarIncident
from exporter.model.questions import IncidentRecord, Readiness

MAX_TEXT = 4_000
"""Characters of one text that a page shows."""

# What the eye does not see, or what turns the text around it: controls, soft hyphen, Arabic letter mark, zero-width
# and direction marks, separators, fillers, variation selectors' tags, lone surrogates.
_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b-\u200f\u2028-\u202e"
    "\u2060-\u206f\u3164\ufeff\uffa0\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e0fff]"
)
_KINDS = {
    "new_template": "new kind of line",
    "template": "count of lines",
    "transition": "order of lines",
    "gap": "pause between lines",
    "errors": "errors",
    "volume": "volume",
    "silence": "silence",
    "new_service": "new service",
    "session": "session",
}
_SEVERITIES = ((21, "fatal"), (17, "error"), (13, "warn"), (9, "info"), (5, "debug"), (1, "trace"))


def incident_list(records: Sequence[IncidentRecord], status: str, readiness: Readiness, root: str) -> str:
    """The page of all incidents, the newest first."""
    return _render("incidents.html", root, records=records, status=status, readiness=readiness)


def incident_page(record: IncidentRecord, root: str) -> str:
    """The page that an alert links to."""
    return _render(
        "incident.html",
        root,
        record=record,
        incident=record.incident,
        similar=similar(record),
        known={evidence.id for evidence in record.incident.evidence},
    )


def error_page(status: int, reason: str, text: str, root: str) -> str:
    """What a person sees instead of a page."""
    return _render("error.html", root, status=status, reason=reason, text=text)


def similar(record: IncidentRecord) -> list[SimilarIncident]:
    """The past incidents that any report names, each once, the most alike first."""
    found = {item.id: item for report in reversed(record.reports) for item in report.similar}
    return sorted(found.values(), key=lambda item: (-item.similarity, item.id))


def visible(text: str) -> str:
    """The text, cut, with each character that would hide or reorder written out.

    >>> visible("rm \\u202etxt.exe\\x1b[31m")
    'rm ⟨U+202E⟩txt.exe␛[31m'
    """
    if len(text) > MAX_TEXT:
        text = f"{text[:MAX_TEXT]} … ({len(text) - MAX_TEXT:,} more characters)"
    return _HIDDEN.sub(_name, text)


def _name(match: re.Match[str]) -> str:
    code = ord(match[0])
    return chr(0x2400 + code) if code < 0x20 else f"⟨U+{code:04X}⟩"


def utc(moment: datetime) -> str:
    """The moment to the second.

    >>> utc(datetime(2026, 3, 1, 9, 5, 7, tzinfo=UTC))
    '2026-03-01 09:05:07'
    """
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def lasted(incident: Incident) -> str:
    """How long it has been going on, in event time."""
    return duration((incident.ends_at or incident.updated_at) - incident.starts_at)


def duration(value: timedelta) -> str:
    """The two largest units of a duration.

    >>> duration(timedelta(hours=26, minutes=5)), duration(timedelta(seconds=90)), duration(timedelta())
    ('1 d 2 h', '1 min 30 s', '0 s')
    """
    rest = max(0, int(value.total_seconds()))
    parts = []
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        amount, rest = divmod(rest, size)
        if amount:
            parts.append(f"{amount} {unit}")
        elif parts:
            break
    return " ".join(parts[:2]) or "0 s"


def number(value: float) -> str:
    """As many digits as a person compares.

    >>> [number(value) for value in (0, 0.0333, 2.5, 12, 1234.5, 0.0000001)]
    ['0', '0.033', '2.5', '12', '1,234', '0.0000001']
    """
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    if abs(value) >= 1:
        return f"{value:.1f}".removesuffix(".0")
    digits = f"{value:.12f}".split(".")[1]
    leading = len(digits) - len(digits.lstrip("0"))
    return f"{value:.{min(leading + 2, 12)}f}".rstrip("0").rstrip(".")


def change(contribution: Contribution) -> str:
    """Observed against expected, in the words that a person would use."""
    observed, expected = contribution.observed, contribution.expected
    if observed == expected:
        return "as expected"
    if expected <= 0:
        return "never before" if contribution.kind in {"new_template", "new_service"} else "not expected"
    if observed <= 0:
        return "missing"
    ratio = observed / expected
    return f"× {number(ratio)}" if ratio >= 1 else f"÷ {number(1 / ratio)}"


def width(value: float, largest: float) -> int:
    """The length of a bar, in percent; what is above nothing is seen."""
    if largest <= 0 or value <= 0:
        return 0
    return max(2, min(100, round(100 * value / largest)))


def severity(value: int) -> str:
    """The name of a severity number; nothing when the line did not say."""
    return next((name for least, name in _SEVERITIES if value >= least), "")


def web_url(url: str) -> str:
    """The URL when it may be a link: http or https, absolute; else nothing."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    hidden = _HIDDEN.search(url) or any(character.isspace() for character in url)
    return "" if hidden or parts.scheme not in {"http", "https"} or not parts.netloc else url


def segment(text: str) -> str:
    """The text as one segment of a path."""
    return quote(text.encode("utf-8", "replace"), safe="")


def _render(template: str, root: str, **values: Any) -> str:
    return _environment().get_template(template).render(root=root, **values)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        utc=utc,
        duration=duration,
        number=number,
        width=width,
        severity=severity,
        web_url=web_url,
        urlencode=segment,
    )
    environment.globals.update(lasted=lasted, change=change, kinds=_KINDS)
    return environment


def _finalize(value: Any) -> Any:
    """Every text that a template prints passes here, before it is escaped: no filter can be forgotten."""
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value
