"""How commands change things: who says so, until when, what it would have hidden, and where it is done."""

from __future__ import annotations

import argparse
import getpass
import json
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from exporter.model import PermanentError, TransientError, to_json
from exporter.model.questions import EVER, RULES_LAST, Preview, Said
from exporter.wording.rules import rule_line
from exporter.wording.text import brief, day, duration, minute

if TYPE_CHECKING:
    from exporter.config import Config
    from exporter.model import Rule
    from exporter.run.operations import Operations
    from exporter.state.file import Rows

DAEMON_TIMEOUT = timedelta(seconds=30)

MOST_SHOWN = 20
"""Incidents of a preview, and things that a rule hid."""


def who(options: argparse.Namespace) -> str:
    """Where the user has no name (a container's often has none) the uid says who it was."""
    try:
        return options.by or getpass.getuser()
    except (OSError, KeyError, ImportError):
        return "somebody on this machine"


def said_by(options: argparse.Namespace, text: str, confirmed: bool = False) -> Said:
    until, lasting = getattr(options, "until", None), getattr(options, "lasting", RULES_LAST)
    return Said(who(options), text, until, lasting, confirmed)


def confirmed(preview: Preview, yes: bool) -> None:
    print_preview(preview)
    if not preview.is_grave or yes:
        return
    if sys.stdin.isatty() and sys.stdout.isatty():
        for question in ("That is much. Make it all the same?", "Really?"):
            if input(f"{question} [yes/no] ").strip().lower() != "yes":
                raise PermanentError("nothing has changed")
        return
    raise PermanentError("nothing has changed: that would hide a critical one, or more than a tenth; --yes makes it")


def print_preview(preview: Preview) -> None:
    print(f"Of {preview.among} incidents since {day(preview.since)} it would have hidden {len(preview.hidden)}.")
    for one in preview.hidden[:MOST_SHOWN]:
        print(f"  {minute(one.starts_at)}  {one.severity:8}  {one.id}  {brief(one.headline, 160)}")
    if len(preview.hidden) > MOST_SHOWN:
        print(f"  and {len(preview.hidden) - MOST_SHOWN} more")


def described(rule: Rule) -> list[str]:
    lines = [rule_line(rule)]
    lines += [f"  because: {brief(rule.reason, 300)}"] if rule.reason else []
    lines += [f"  text: {brief(text, 200)}" for text in rule.match.texts[:MOST_SHOWN]]
    if rule.removed_at:
        lines.append(f"  taken back {minute(rule.removed_at)} by {brief(rule.removed_by, 60)}")
    return lines


def ndjson(values: Iterable[Any]) -> None:
    for value in values:
        print(json.dumps(to_json(value), ensure_ascii=False))


# --- Where it is done ------------------------------------------------------------------------------


def rows_of(config: Config) -> Rows:
    """The state file, to read. Raises StateError where there is none yet."""
    from exporter.model import StateError
    from exporter.state.file import Rows

    if not config.state.exists():
        raise StateError(f"state file {config.state} does not exist yet: `run` makes it at first start")
    return Rows(config.state)


def until_of(said: Said) -> dict[str, Any]:
    from exporter.model.times import format_duration

    if said.until:
        return {"until": said.until.isoformat()}
    return {"for": format_duration(said.lasting) if said.lasting is not None else EVER}


async def ask(config: Config, here: Callable[[Operations], Awaitable[Any]], path: str, body: Mapping[str, Any]) -> None:
    """In the state file, or by the daemon when that holds it."""
    from exporter.model import NoTelemetry, SystemClock
    from exporter.run.assembly import assemble
    from exporter.run.operations import Operations
    from exporter.state.place import StateInUse

    try:
        assembly = assemble(config, SystemClock(), NoTelemetry())
    except StateInUse:
        await ask_daemon(config, path, body)
        return
    try:
        await here(Operations(assembly))
    finally:
        await assembly.close()


async def ask_daemon(config: Config, path: str, body: Mapping[str, Any], within: timedelta = DAEMON_TIMEOUT) -> Any:
    """What the daemon answers that holds the state file. Raises PermanentError or TransientError."""
    import aiohttp

    from exporter.state.contact import contact_of

    contact = contact_of(config.state)
    if contact is None:
        raise PermanentError(
            f"the daemon holds the state file, and does not say how to reach it (in {config.state}.daemon, for who "
            "may read the state file): run this as its user; where `serve memory` holds it, ask that, by a "
            "configuration with `memory: {type: remote, url: …}` and a state file of its own"
        )
    timeout = aiohttp.ClientTimeout(total=within.total_seconds())
    headers = {"Authorization": f"Bearer {contact.token}"}
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, headers=headers) as session,
            session.post(f"{contact.url}/{path}", json=body, allow_redirects=False) as response,
        ):
            if response.status >= 400:
                raise PermanentError(f"the daemon answers {response.status}: {brief(await response.text(), 300)}")
            return await response.json()
    except TimeoutError:
        raise TransientError(f"the daemon at {contact.url} has not answered within {duration(within)}") from None
    except aiohttp.ClientError as error:
        raise TransientError(f"the daemon at {contact.url} cannot be reached: {error}") from error
