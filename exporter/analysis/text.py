"""An analysis as text for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from exporter.analysis.findings import Analysis, Finding, Overview
from exporter.model import Severity
from exporter.wording import words
from exporter.wording.text import amount, brief, duration, number, span


def render(analysis: Analysis, color: bool = False) -> str:
    """The analysis as text for a terminal. Text of logs is shown without control characters."""
    paint = _Paint(color)
    parts = [*_head(analysis.overview, paint), ""]
    if not analysis.findings:
        parts.append("Nothing unusual was found.")
    for rank, finding in enumerate(analysis.findings, 1):
        parts += [*_finding(rank, finding, analysis.overview, paint), ""]
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
        length = duration(max(overview.end - overview.start, timedelta(seconds=1)))
        times = f", {span(overview.start, overview.end, seconds=True)} ({length})"
    yield paint("bold", f"{amount(overview.lines, 'lines')}{times}")
    compared = f", compared by windows of {duration(overview.window)}" if overview.window else ""
    if overview.by_position:
        compared = ""
    yield f"{amount(len(overview.services), 'services')}, {number(overview.templates)} kinds of lines{compared}"
    for service in overview.services[:8]:
        trouble = f"  {number(service.errors)} errors, {number(service.warnings)} warnings"
        name = brief(service.service, 40)
        yield f"  {name:<24} {number(service.lines):>10} lines  {number(service.templates):>5} kinds{trouble}"
    if len(overview.services) > 8:
        yield f"  and {len(overview.services) - 8} more"


def _finding(rank: int, finding: Finding, overview: Overview, paint: _Paint) -> Iterable[str]:
    style = "red" if finding.severity >= Severity.ERROR else "yellow" if finding.severity >= Severity.WARN else "bold"
    title = f"{rank}. {brief(finding.service, 60) or 'all services'}: {words.ANALYSIS_KINDS[finding.kind]}"
    yield paint(style, title) + paint("dim", f"  (score {finding.score:.2f})")
    yield f"   {brief(finding.text, 300)}"
    yield f"   {_when(finding, overview)}{_amounts(finding)}"
    for example in finding.examples:
        yield paint("dim", f"   {brief(example.place, 80)}  ") + brief(example.body, 240)
    for text in finding.also[:3]:
        yield f"   also: {brief(text, 200)}"
    if len(finding.also) > 3:
        yield f"   and {len(finding.also) - 3} more kinds of lines that move the same way"


def _when(finding: Finding, overview: Overview) -> str:
    if overview.by_position or not (finding.since and finding.until):
        return ""
    return f"{span(finding.since, finding.until, seconds=True)}, "


def _amounts(finding: Finding) -> str:
    if finding.kind in ("session", "failure"):
        return f"{amount(finding.observed, finding.unit)}: {finding.reason}"
    return finding.reason
