"""The words of a digest: how many incidents, how bad, and each on a line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from exporter.model import Digest, DigestLine
from exporter.wording.text import brief, number, span

RANKS = ("critical", "warning", "info", "resolved")


def ranked(lines: Iterable[DigestLine]) -> tuple[DigestLine, ...]:
    """What goes on before what is over, the worst first, then in the order of time."""
    return tuple(sorted(lines, key=lambda line: (RANKS.index(_rank(line)), line.starts_at, line.id)))


def title(digest: Digest, lines: tuple[DigestLine, ...]) -> str:
    """How many of which kind stand in `lines`, and why they are told as one."""
    count = Counter(map(_rank, lines))
    kinds = ", ".join(f"{number(count[rank])} {rank}" for rank in RANKS if count[rank])
    named = f"{number(len(lines))} {'incident' if len(lines) == 1 else 'incidents'}"
    if digest.again:
        return f"{named} of a digest changed: {kinds}"
    if digest.reason == "outage":
        return f"{named} came and went while nothing was watched"
    return f"{named} at once: {kinds}"


def line(one: DigestLine, limit: int = 200) -> str:
    """An incident on one line."""
    when = span(one.starts_at, None if one.status == "firing" else one.last_seen)
    return f"{_rank(one).capitalize()}: {brief(one.headline, limit)} ({when}, incident {brief(one.id, 40)})"


def more(count: int) -> str:
    """How many stand there no more."""
    return f"and {number(count)} more"


def _rank(line: DigestLine) -> str:
    return "resolved" if line.status == "resolved" else line.severity
