"""What is shown and pages nobody: refused requests, a release that was told, what is usual now, who is gone."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from exporter.model import Notice, TimeRange, Write, stable_key
from exporter.model.times import Window, moment, seconds
from exporter.state.aside import readable
from exporter.state.bodies import pack
from exporter.state.checkpoints import releases
from exporter.state.file import Rows

EVER = TimeRange(moment(0), moment(2**33))


def notice_rows(source: str, window: Window, notices: Iterable[Notice]) -> tuple[Write, ...]:
    """What there is to notice in a window, in place of what its lines said when it was read before."""
    gone = Write("notices", ("source", "window", "kind"), ((source, window.key, "refused"),), delete=True)
    return (gone, *lasting_rows(source, window, notices))


def lasting_rows(source: str, window: Window, notices: Iterable[Notice]) -> tuple[Write, ...]:
    """What follows when a window has settled, beside what its lines said."""
    found = tuple((source, window.key, notice.service, notice.kind, pack(notice)) for notice in notices)
    return (Write("notices", ("source", "window", "service", "kind", "body"), found),) if found else ()


async def notices(rows: Rows, limit: int, span: TimeRange = EVER) -> list[Notice]:
    """The newest first; what warm-up saw is no news."""
    query = """
        SELECT notices.source, window, service, kind, body FROM notices
        LEFT JOIN checkpoints ON checkpoints.source = notices.source
        WHERE window >= ? AND window < ? AND window >= COALESCE(warm_until, 0) ORDER BY window DESC, service LIMIT ?
    """
    found = []
    for source, window, service, kind, body in await rows.read(query, (seconds(span.start), seconds(span.end), limit)):
        notice = readable(rows, "notices", f"{source}:{window}:{service}:{kind}", Notice, body)
        found += [notice] if notice else []
    told = [_of_release(one.service, one.version, one.at) for one in await releases(rows, span)]
    return sorted([*found, *told], key=lambda notice: (notice.at, notice.id), reverse=True)[:limit]


async def told(rows: Rows, sink: str, peer: str) -> set[str]:
    """The ids of the notices that a place was told of."""
    query = "SELECT notice FROM told_notices WHERE sink = ? AND peer = ?"
    return {notice for (notice,) in await rows.read(query, (sink, peer))}


def told_row(sink: str, peer: str, notice: str, at: datetime) -> Write:
    return Write("told_notices", ("sink", "peer", "notice", "told_at"), ((sink, peer, notice, seconds(at)),))


def _of_release(service: str, version: str, at: datetime) -> Notice:
    key = stable_key(f"release/{service}/{version}/{at.isoformat()}")
    return Notice(f"N{key:016x}"[:12], "release", "", service, at, deployed=version)
