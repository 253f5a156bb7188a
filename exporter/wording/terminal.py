"""An incident on a terminal: short, in order of what a person needs first, and inert."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from io import StringIO
from typing import IO, TYPE_CHECKING

from exporter.model import RULES, Claim, Digest, Incident, NoticeTold, Report
from exporter.wording import digests, narrative, words
from exporter.wording.text import brief, day, link, listed, number, percent, span, time_of_day

if TYPE_CHECKING:
    from rich.console import Console, RenderableType


MAX_CONTRIBUTIONS = 5
MAX_SUSPECTS = 4
MAX_EVIDENCE = 5
MAX_SIMILAR = 3
MAX_CLAIMS = 5
"""Rows of each section: an incident fits a screen of 50 lines."""

COLOURS = {"critical": "red", "warning": "yellow", "info": "cyan"}


def render(
    incident: Incident,
    report: Report,
    url: str | None = None,
    *,
    color: bool | None = None,
    width: int | None = None,
    output: IO[str] | None = None,
    short: bool = False,
) -> str:
    """The incident as text that can be printed; coloured only where `output` (standard output) can show it.

    `short` leaves out everything between the headline and the address: what was printed when it opened.
    """
    from rich.console import Console

    stream = output or sys.stdout
    coloured = can_color(stream) if color is None else color
    console = Console(
        file=StringIO(),
        force_terminal=coloured,
        no_color=not coloured,
        color_system="standard" if coloured else None,
        width=width or _columns(stream),
        highlight=False,
        markup=False,
        emoji=False,
        legacy_windows=False,
    )
    console.print(_head(incident, report))
    if not short:
        _print_sections(console, incident, report)
    for line in _foot(incident, report, url):
        console.print(line)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    return _printable("\n".join(line.rstrip() for line in str(text).splitlines()), stream)


def render_digest(digest: Digest, output: IO[str]) -> str:
    """A digest as text: each incident on a line; only what changed where the digest was printed before."""
    lines = tuple(line for line in digest.lines if line.changed or not digest.again)
    rows = [digests.title(digest, lines), *(f"  {digests.line(line)}" for line in lines)]
    return _printable("\n".join([*rows, *filter(None, [link(digest.url)])]), output)


def render_notice(told: NoticeTold, output: IO[str]) -> str:
    """A notice as text, on one line."""
    return _printable(f"Notice: {words.notice(told.notice)} ({span(told.notice.at, None)})", output)


def _printable(text: str, output: IO[str]) -> str:
    """A terminal of another century gets question marks, not a crash."""
    encoding = getattr(output, "encoding", None) or "utf-8"
    return text.encode(encoding, "replace").decode(encoding)


def incident_line(incident: Incident) -> str:
    """An incident on one line of a list: id, from when to when, severity, services."""
    when = span(incident.starts_at, None if incident.status == "firing" else incident.last_seen)
    mark = f"  {said}" if (said := incident.withheld or words.mark(incident)) else ""
    return f"{brief(incident.id, 40)}  {when:26}  {incident.severity:8}  {listed(incident.services, 4)}{mark}"


def can_color(stream: IO[str]) -> bool:
    """Whether colours are wanted and shown there: https://no-color.org, and FORCE_COLOR for those who pipe."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return bool(os.environ.get("FORCE_COLOR")) or (hasattr(stream, "isatty") and stream.isatty())


def _columns(stream: IO[str]) -> int:
    try:
        return max(40, min(os.get_terminal_size(stream.fileno()).columns, 140))
    except (OSError, ValueError, AttributeError):
        return 100


def _print_sections(console: Console, incident: Incident, report: Report) -> None:
    from rich.text import Text

    if said := [*words.people(incident), *filter(None, [words.ruled(incident)])]:
        console.print(_section(words.PEOPLE, Text("\n".join(said))))
    for title, told in narrative.parts(report):
        console.print(_section(title, _claims(told, most=2 * MAX_CLAIMS)))
    if report.what_happened and report.writer == RULES and not incident.contributions:
        console.print(_section(narrative.WHAT_HAPPENED, _claims(report.what_happened)))
    if incident.contributions:
        console.print(_section(words.WHY, _why(incident)))
    if incident.suspects:
        console.print(_section(words.LIKELY_CAUSE, _ranked(incident)))
    if incident.evidence:
        console.print(_section("Evidence", _evidence(incident)))
    if report.similar or report.unasked:
        console.print(_section(words.SEEN_BEFORE, _similar(report)))
    if report.steps:
        console.print(_section(words.WHAT_TO_DO, _claims(report.steps, numbered=True)))


def _head(incident: Incident, report: Report) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    firing = incident.status == "firing"
    colour = COLOURS[incident.severity] if firing else "green"
    title = Text(no_wrap=False)
    title.append(f" {words.state(incident).upper()} ", f"bold reverse {colour}")
    title.append(" " + words.headline(incident, report), "bold")
    return Group(title, Text(_when(incident), "dim"))


def _when(incident: Incident) -> str:
    lasted = f", {words.lasted(incident)}" if incident.last_seen > incident.starts_at else ""
    when = f"{span(incident.starts_at, incident.last_seen)}{lasted}"
    return f"{when} · {listed(incident.services)} · score {incident.score:.2f}"


def _section(title: str, body: RenderableType) -> RenderableType:
    from rich.console import Group
    from rich.padding import Padding
    from rich.text import Text

    return Group(Text(""), Text(title, "bold cyan"), Padding(body, (0, 0, 0, 2)))


def _why(incident: Incident) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=True, header_style="dim", padding=(0, 2, 0, 0), pad_edge=False, expand=True)
    table.add_column("observed", justify="right", no_wrap=True, min_width=8)
    table.add_column("expected", justify="right", no_wrap=True, min_width=8)
    table.add_column("", no_wrap=True, min_width=5)
    table.add_column("what", overflow="ellipsis", no_wrap=True, ratio=1)
    for item in incident.contributions[:MAX_CONTRIBUTIONS]:
        table.add_row(
            Text(number(item.observed), "bold"),
            Text(number(item.expected)),
            Text(brief(item.unit, 12), "dim"),
            Text(f"{words.kind_of(item).name}: {brief(item.text, 200)}"),
        )
    return table


def _ranked(incident: Incident) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, justify="right")
    table.add_column(no_wrap=True, overflow="ellipsis", max_width=32)
    table.add_column(no_wrap=True)
    table.add_column()
    for rank, suspect in enumerate(incident.suspects[:MAX_SUSPECTS]):
        style = "bold" if rank == 0 else ""
        table.add_row(
            Text(percent(suspect.weight), style),
            Text(brief(suspect.service, 80), style),
            Text("█" * max(1, round(suspect.weight * 12)), "red" if rank == 0 else "dim"),
            Text(brief(suspect.reason, 160)),
        )
    return table


def _evidence(incident: Incident) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2, 0, 0), expand=True)
    table.add_column(no_wrap=True, min_width=13)
    table.add_column(no_wrap=True, min_width=8)
    table.add_column(no_wrap=True, overflow="ellipsis", min_width=8, max_width=24)
    table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    for line in incident.evidence[:MAX_EVIDENCE]:
        table.add_row(
            Text(f"[{brief(line.id, 16)}]", "dim"),
            Text(time_of_day(line.timestamp), "dim"),
            Text(brief(line.service, 40)),
            Text(brief(line.body, 400)),
        )
    return table


def _similar(report: Report) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    lines = [Text(said)] if (said := words.unasked(report)) else []
    for past in report.similar[:MAX_SIMILAR]:
        text = Text(f"{words.tier(past)} {day(past.starts_at)} · ", "dim")
        text.append(brief(past.headline, 160), "default")
        text.append("".join(f" · {why}" for why in words.because(past)), "dim")
        text.append("\n→ ", "green" if past.fix else "dim")
        text.append(words.fixed(past, 240), "bold" if past.fix else "dim")
        text.append(f"  [{brief(past.id, 20)}]", "dim")
        lines.append(text)
    return Group(*lines)


def _claims(claims: Iterable[Claim], numbered: bool = False, most: int = MAX_CLAIMS) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 1, 0, 0))
    table.add_column(justify="right", no_wrap=True)
    table.add_column()
    for rank, claim in enumerate(list(claims)[:most], start=1):
        text = Text(brief(claim.text, 400))
        if claim.evidence:
            text.append(f" [{', '.join(brief(c, 16) for c in claim.evidence[:4])}]", "dim")
        if claim.mark:
            text.append(f" ({claim.mark})", "yellow")
        table.add_row(Text(f"{rank}." if numbered else "•", "dim"), text)
    return table


def _foot(incident: Incident, report: Report, url: str | None) -> list[RenderableType]:
    from rich.text import Text

    notes = [f"incident {brief(incident.id, 40)}", f"revision {incident.revision}"]
    if generated := narrative.generated(report):
        notes.append(generated)
    lines: list[RenderableType] = [Text(""), Text(" · ".join(notes), "dim")]
    if sampled := words.sampled(incident):
        lines.append(Text(sampled, "dim"))
    if address := link(url):
        lines.append(Text(address, "underline"))
    return lines
