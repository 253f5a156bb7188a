"""`incidents list | show | resolve`."""

from __future__ import annotations

import json
from contextlib import closing
from typing import Literal

from exporter.config import Config
from exporter.model import (
    NoTelemetry,
    PermanentError,
    StateError,
    SystemClock,
    TransientError,
    to_json,
)
from exporter.run.assembly import assemble
from exporter.state.contact import contact_of
from exporter.state.file import Rows
from exporter.state.incidents import incident_list, incident_of, near_misses, reports_of
from exporter.state.place import StateInUse
from exporter.wording.terminal import incident_line, render
from exporter.wording.text import brief, listed, one_line, span
from exporter.wording.why import why_it_did_not_open, why_it_opened


def _rows(config: Config) -> Rows:
    if not config.state.exists():
        raise StateError(f"state file {config.state} does not exist yet: `run` makes it at first start")
    return Rows(config.state)


async def list_incidents(config: Config, status: Literal["firing", "resolved"] | None, limit: int, form: str) -> int:
    """Print incidents, the newest first."""
    with closing(_rows(config)) as rows:
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
    with closing(_rows(config)) as rows:
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


async def resolve_incident(config: Config, incident_id: str, fix: str | None) -> int:
    """Close an incident in the state file, or through the daemon when that holds it."""
    from exporter.run.operations import Operations

    try:
        assembly = assemble(config, SystemClock(), NoTelemetry())
    except StateInUse:
        await _resolve_through_daemon(config, incident_id, fix)
    else:
        try:
            record = await Operations(assembly).resolve(incident_id, fix)
        finally:
            await assembly.close()
        if record is None:
            raise PermanentError(f"no incident {incident_id!r}; `incidents list` prints their ids")
    print(f"incident {incident_id} is resolved" + (", and what fixed it is remembered" if fix else ""))
    return 0


async def _resolve_through_daemon(config: Config, incident_id: str, fix: str | None) -> None:
    import aiohttp

    contact = contact_of(config.state)
    if contact is None:
        raise PermanentError(
            f"the daemon holds the state file, and does not say how to reach it (in {config.state}.daemon, for who "
            "may read the state file): run this as its user"
        )
    url = f"{contact.url}/api/incidents/{incident_id}/resolve"
    timeout = aiohttp.ClientTimeout(total=30)
    headers = {"Authorization": f"Bearer {contact.token}"}
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, headers=headers) as session,
            session.post(url, json={"fix": fix}, allow_redirects=False) as response,
        ):
            if response.status >= 400:
                raise PermanentError(f"the daemon answers {response.status}: {brief(await response.text(), 300)}")
    except aiohttp.ClientError as error:
        raise TransientError(f"the daemon at {contact.url} cannot be reached: {error}") from error


async def explain_incident(config: Config, incident_id: str, form: str) -> int:
    """Print why an incident opened."""
    with closing(_rows(config)) as rows:
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


async def near_incidents(config: Config, limit: int, form: str) -> int:
    """Print what came nearest to being an incident."""
    with closing(_rows(config)) as rows:
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
