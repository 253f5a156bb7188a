"""The list of incidents as somebody asks for it, and how what goes on is changing."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import get_args

from aiohttp import web

from exporter.model import Incident, IncidentSeverity, IncidentStatus
from exporter.model.questions import Asked
from exporter.wording.text import storable

WITHIN: Mapping[str, tuple[str, timedelta | None]] = {
    "": ("Ever", None),
    "1h": ("Last hour", timedelta(hours=1)),
    "1d": ("Last day", timedelta(days=1)),
    "7d": ("Last 7 days", timedelta(days=7)),
    "30d": ("Last 30 days", timedelta(days=30)),
}
"""Choices of time."""

LONGEST = 200
"""Characters that are looked for."""

AT_THE_END = 5
"""Steps of time that are compared with as many before, to say whether it gets better."""


def asked(request: web.Request) -> Asked:
    """What somebody looks for, as the address says it. Raises 400 for what no choice of the page is."""
    query = request.query
    status, severity, within = query.get("status", "all"), query.get("severity", ""), query.get("within", "")
    if status not in ("all", *get_args(IncidentStatus)):
        raise web.HTTPBadRequest(text="status is none of all, firing, resolved.")
    if severity not in ("", *get_args(IncidentSeverity)):
        raise web.HTTPBadRequest(text="severity is none of critical, warning, info.")
    if within not in WITHIN:
        raise web.HTTPBadRequest(text=f"within is none of {', '.join(filter(None, WITHIN))}.")
    words, service = (storable(query.get(name, ""))[:LONGEST].strip() for name in ("q", "service"))
    return Asked(
        status=None if status == "all" else status,  # type: ignore[arg-type]
        severity=severity or None,  # type: ignore[arg-type]
        service=service,
        within=WITHIN[within][1],
        words=words,
    )


def trend(incident: Incident) -> str:
    """Whether what failed gets more or less, as of its last numbers; nothing where that is not known, or it is over.

    >>> from tests.web.backend import shop_incident
    >>> trend(shop_incident())
    'rising'
    """
    facts = incident.facts
    series = facts.series[:1] if facts else ()
    if facts is None or not series or incident.status == "resolved" or series[0].kind not in ("lines", "failed"):
        return ""
    if incident.last_seen - facts.until > AT_THE_END * timedelta(seconds=series[0].step):
        return ""
    counts = [count for count in series[0].counts if count is not None]
    now, before = sum(counts[-AT_THE_END:]), sum(counts[-2 * AT_THE_END : -AT_THE_END])
    if now >= 1.5 * before and now > before:
        return "rising"
    return "falling" if now * 1.5 <= before and now < before else "steady"
