"""`incidents list | show | resolve`."""

from __future__ import annotations

import json
from contextlib import closing
from typing import Literal

from exporter.cli.acts import do
from exporter.cli.asking import rows_of
from exporter.config import Config
from exporter.model import PermanentError, to_json
from exporter.model.questions import Said
from exporter.state.incidents import incident_list, incident_of, near_misses, reports_of
from exporter.state.notices import notices
from exporter.wording.terminal import incident_line, render
from exporter.wording.text import brief, clock, day, listed, one_line, span
from exporter.wording.why import why_it_did_not_open, why_it_opened
from exporter.wording.words import notice


async def list_incidents(config: Config, status: Literal["firing", "resolved"] | None, limit: int, form: str) -> int:
    """Print incidents, the newest first."""
    with closing(rows_of(config)) as rows:
        found = await incident_list(rows, status, limit)
    if form == "json":
        print(json.dumps(to_json(found), ensure_ascii=False))
    elif not found:
        print("no incidents")
    else:
        for incident in found:
            print(incident_line(incident))
    return 0


async def show_incident(config: Config, incident_id: str, form: str) -> int:
    """Print one incident with its reports."""
    with closing(rows_of(config)) as rows:
        incident = await incident_of(rows, incident_id)
        reports = await reports_of(rows, incident_id)
    if incident is None:
        raise PermanentError(f"no incident {incident_id!r}; `incidents list` prints their ids")
    if form == "json":
        print(json.dumps({"incident": to_json(incident), "reports": to_json(reports)}, ensure_ascii=False))
    elif reports:
        print(render(incident, reports[0]))
    else:
        print(incident_line(incident))
    return 0


async def resolve_incident(config: Config, incident_id: str, fix: str | None, by: str) -> int:
    """Close an incident in the state file, or through the daemon when that holds it."""
    await do(config, incident_id, "resolve", Said(by, fix or ""))
    print(f"incident {incident_id} is resolved" + (", and what fixed it is remembered" if fix else ""))
    return 0


async def explain_incident(config: Config, incident_id: str, form: str) -> int:
    """Print why an incident opened."""
    with closing(rows_of(config)) as rows:
        incident = await incident_of(rows, incident_id)
    if incident is None:
        raise PermanentError(f"no incident {incident_id!r}; `incidents list` prints their ids")
    if form == "json":
        account = {"id": incident.id, "opening": to_json(incident.opening), "peak": incident.peak}
        print(json.dumps({**account, "why": why_it_opened(incident)}, ensure_ascii=False))
    else:
        print(incident_line(incident))
        print("\n".join(f"  {one_line(line)}" for line in why_it_opened(incident)))
    return 0


async def list_notices(config: Config, limit: int, form: str) -> int:
    """Print what is worth knowing and pages nobody, the newest first."""
    with closing(rows_of(config)) as rows:
        found = await notices(rows, limit)
    if form == "json":
        print(json.dumps(to_json(found), ensure_ascii=False))
    elif not found:
        print("no notices")
    for one in found if form != "json" else ():
        print(f"{one.id}  {day(one.at)} {clock(one.at)}  {one_line(notice(one))}")
    return 0


async def near_incidents(config: Config, limit: int, form: str) -> int:
    """Print what came nearest to being an incident."""
    with closing(rows_of(config)) as rows:
        found = await near_misses(rows, limit)
    if form == "json":
        accounts = [{**to_json(near), "why": why_it_did_not_open(near)} for near in found]
        print(json.dumps(accounts, ensure_ascii=False))
        return 0
    if not found:
        print("nothing came near to being an incident")
    for near in found:
        print(f"{near.id}  {span(near.starts_at, near.ends_at)}  {listed([brief(name, 80) for name in near.services])}")
        print("\n".join(f"  {one_line(line)}" for line in why_it_did_not_open(near)))
    return 0
