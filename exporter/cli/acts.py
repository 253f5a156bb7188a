"""What people do to incidents on the command line: `incidents accept | reject | ack | note | acts`."""

from __future__ import annotations

import argparse
import asyncio
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from exporter.cli.asking import (
    ask,
    confirmed,
    described,
    ndjson,
    rows_of,
    said_by,
    until_of,
    who,
)
from exporter.cli.options import load_config
from exporter.model import PermanentError
from exporter.model.questions import Said
from exporter.wording.text import one_line

if TYPE_CHECKING:
    from exporter.config import Config
    from exporter.model import Verb
    from exporter.run.operations import Operations


def accept(options: argparse.Namespace) -> int:
    return asyncio.run(act(load_config(options), options.id, "accept", options, options.reason))


def reject(options: argparse.Namespace) -> int:
    return asyncio.run(act(load_config(options), options.id, "reject", options, options.reason))


def ack(options: argparse.Namespace) -> int:
    return asyncio.run(act(load_config(options), options.id, "ack", options, options.note))


def unfix(options: argparse.Namespace) -> int:
    return asyncio.run(act(load_config(options), options.id, "unfix", options, options.reason))


def note(options: argparse.Namespace) -> int:
    return asyncio.run(act(load_config(options), options.id, "note", options, options.text))


async def act(config: Config, incident_id: str, verb: Verb, options: argparse.Namespace, text: str) -> int:
    """Do it, and say what was done."""
    if verb in ("accept", "reject"):
        await _look_before(config, incident_id, verb, options, text)
    said = said_by(options, text, confirmed=True)
    await do(config, incident_id, verb, said)
    closings = {
        "accept": "is accepted as normal",
        "reject": "is rejected as no problem",
        "ack": "is acknowledged",
        "unfix": "has no fix any more",
    }
    print(f"incident {incident_id} {closings.get(verb, 'has a note more')}, by {one_line(said.by)}")
    if verb in ("accept", "reject"):
        print(f"rule {verb}-{incident_id} expects it from now on; `rules remove {verb}-{incident_id}` takes that back")
    return 0


async def do(config: Config, incident_id: str, verb: Verb, said: Said) -> None:
    """One act on an incident. Raises PermanentError where there is none of this id."""

    async def here(operations: Operations) -> None:
        if await operations.act(incident_id, verb, said) is None:
            raise PermanentError(f"no incident {incident_id!r}; `incidents list` prints their ids")

    names = {"resolve": "fix", "ack": "note", "note": "text"}
    body: dict[str, Any] = {"by": said.by, names.get(verb, "reason"): said.reason}
    if verb in ("accept", "reject", "ack"):
        body |= until_of(said)
    if verb in ("accept", "reject"):
        body["confirmed"] = said.confirmed
    await ask(config, here, f"api/incidents/{incident_id}/{verb}", body)


async def _look_before(config: Config, incident_id: str, verb: Verb, options: argparse.Namespace, reason: str) -> None:
    from exporter.run.people import preview, rule_from
    from exporter.state.incidents import incident_of

    now = datetime.now(UTC)
    with closing(rows_of(config)) as rows:
        incident = await incident_of(rows, incident_id)
        if incident is None:
            raise PermanentError(f"no incident {incident_id!r}; `incidents list` prints their ids")
        settings = rule_from(incident, verb, who(options), reason)
        if settings is None:
            return
        for line in described(settings.rule(None)):
            print(line)
        confirmed(await preview(rows, settings.rule(None), now, but=incident_id), options.yes)


def log(options: argparse.Namespace) -> int:
    async def run(config: Config) -> int:
        from exporter.state.people import acts_of

        with closing(rows_of(config)) as rows:
            ndjson(await acts_of(rows, options.id))
        return 0

    return asyncio.run(run(load_config(options)))
