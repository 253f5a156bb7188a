"""An analysis as text for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from exporter.analysis.findings import Analysis, Finding, Overview
from exporter.model import Severity, format_duration

LEVELS = {Severity.TRACE: "trace", Severity.DEBUG: "debug", Severity.INFO: "info", Severity.WARN: "warning"}


def render(analysis: Analysis, color: bool = False) -> str:
    """The analysis as text for a terminal. Text of logs is shown without control characters."""
    paint = _Paint(color)
    parts = [*_head(analysis.overview, paint), ""]
    if not analysis.findings:
        parts.append("Nothing unusual was found.")
    for number, finding in enumerate(analysis.findings, 1):
        parts += [*_told(number, finding, analysis.overview, paint), ""]
    parts += [f"Note: {note}" for note in analysis.notes]
    return "\n".join(parts).rstrip() + "\n"


@dataclass(frozen=True)
class _Paint:
    color: bool
    codes: Mapping[str, str] = field(default_factory=lambda: {"bold": "1", "red": "31", "yellow": "33", "dim": "2"})

    def __call__(self, style: str, text: str) -> str:
        return f"\x1b[{self.codes[style]}m{text}\x1b[0m" if self.color else text


def _head(overview: Overview, paint: _Paint) -> Iterable[str]:
    if not overview.lines:
        return
    times = ""
    if overview.start and overview.end:
        length = format_duration(timedelta(seconds=max(1, round((overview.end - overview.start).total_seconds()))))
        times = f", {_time(overview.start)} to {_time(overview.end)} ({length})"
    yield paint("bold", f"{overview.lines:,} lines{times}")
    compared = f", compared by windows of {format_duration(overview.window)}" if overview.window else ""
    if overview.by_position:
        compared = ""
    yield f"{len(overview.services)} services, {overview.templates:,} kinds of lines{compared}"
    for service in overview.services[:8]:
        trouble = f"  {service.errors:,} errors, {service.warnings:,} warnings"
        name = printable(service.service, 40)
        yield f"  {name:<24} {service.lines:>10,} lines  {service.templates:>5} kinds{trouble}"
    if len(overview.services) > 8:
        yield f"  and {len(overview.services) - 8} more"


def _told(number: int, finding: Finding, overview: Overview, paint: _Paint) -> Iterable[str]:
    style = "red" if finding.severity >= Severity.ERROR else "yellow" if finding.severity >= Severity.WARN else "bold"
    title = f"{number}. {printable(finding.service, 60) or 'all services'}: {_KINDS[finding.kind]}"
    yield paint(style, title) + paint(
        "dim", f"  (score {finding.score:.2f}{', the detector agrees' if finding.confirmed else ''})"
    )
    yield f"   {printable(finding.text, 300)}"
    yield f"   {_when(finding, overview)}{_amounts(finding)}: {finding.reason}"
    for example in finding.examples:
        yield paint("dim", f"   {printable(example.place, 80)}  ") + printable(example.body, 240)
    for text in finding.also[:3]:
        yield f"   also: {printable(text, 200)}"
    if len(finding.also) > 3:
        yield f"   and {len(finding.also) - 3} more kinds of lines that move the same way"


_KINDS = {
    "new": "a kind of line that is new",
    "burst": "a kind of line comes in a burst",
    "volume": "an unusual amount of lines",
    "silence": "silence",
    "gap": "a gap",
    "errors": "failing requests",
    "failure": "a rare failure",
    "slow": "slower than usual",
    "session": "unusual sessions",
    "window": "an unusual stretch",
}


def _when(finding: Finding, overview: Overview) -> str:
    if overview.by_position or not (finding.since and finding.until):
        return ""
    if finding.until - finding.since < timedelta(seconds=1):
        return f"at {_time(finding.since)}, "
    same = finding.since.date() == finding.until.date()
    return f"{_time(finding.since)} to {finding.until.strftime('%H:%M:%S') if same else _time(finding.until)}, "


def _amounts(finding: Finding) -> str:
    if finding.unit == "seconds":
        return f"{number_text(finding.observed)} s instead of {number_text(finding.expected)} s"
    if finding.kind == "session":
        return f"{number_text(finding.observed)} sessions"
    unit = "line" if finding.unit == "lines" and finding.observed == 1 else finding.unit
    return f"{number_text(finding.observed)} {unit}, expected {number_text(finding.expected)}"


def number_text(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.2g}"


def _time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S")


def printable(text: str, limit: int) -> str:
    """One line without control characters (a log must not drive the terminal), cut to so many characters.

    >>> printable("a\\x1b[31mb\\nc", 80)
    'a�[31mb | c'
    """
    flat = " | ".join(part.strip() for part in text.splitlines() if part.strip())
    clean = "".join(character if character.isprintable() else "\ufffd" for character in flat)
    return clean if len(clean) <= limit else clean[: limit - 1] + "…"
