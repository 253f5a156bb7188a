"""The commands on what is kept in the state file: `incidents`, `rules` and `state`."""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path
from typing import Any

from exporter.cli import people, prompt
from exporter.cli.options import above_zero, add_command, config_option, helpless, load_config

# --- incidents ------------------------------------------------------------------------------------


def incidents(commands: Any) -> None:
    parser = add_command(
        commands,
        "incidents",
        "list, show, accept, reject, acknowledge and resolve incidents",
        "Incidents of the state file that the configuration names. What changes one also works while the daemon runs:\n"
        "it then asks the daemon, as the user who may read the state file.",
        lambda options: helpless(parser),
    )
    verbs = parser.add_subparsers(title="verbs", metavar="VERB")
    listing = add_command(verbs, "list", "incidents, the newest first", "Incidents, the newest first.", _incidents_list)
    listing.add_argument("--status", choices=("firing", "resolved"))
    listing.add_argument("--limit", type=above_zero(int), default=20)
    show = add_command(
        verbs, "show", "one incident, whole", "One incident with its report and evidence.", _incidents_show
    )
    resolve = add_command(
        verbs,
        "resolve",
        "close an incident, and say what fixed it",
        "Close an incident. What fixed it is remembered, and shown when a similar one comes.",
        _incidents_resolve,
    )
    resolve.add_argument("--fix", metavar="TEXT", help="what fixed it")
    people.by_whom(resolve)
    people.add_acts(verbs, add_command)
    people.add_moving(verbs, add_command)
    prompt.add_prompt(verbs, add_command)
    explain = add_command(
        verbs,
        "explain",
        "why an incident opened",
        "Why an incident opened: its strength against the threshold of that day, which windows of which services\n"
        "brought it, what was expected and from which past, and what would have kept it from opening.",
        _incidents_explain,
    )
    noticed = add_command(
        verbs,
        "notices",
        "what is worth knowing and pages nobody",
        "Bursts of refused requests, and releases that were told, the newest first: none of them opens an incident.",
        _incidents_notices,
    )
    noticed.add_argument("--limit", type=above_zero(int), default=20)
    near = add_command(
        verbs,
        "near",
        "what came nearest to being an incident",
        "What was unusual and became no incident, the strongest against its threshold first, with the same account.",
        _incidents_near,
    )
    near.add_argument("--limit", type=above_zero(int), default=10)
    for verb in (show, resolve, explain):
        verb.add_argument("id", help="as `incidents list` prints it")
    for verb in (listing, show, resolve, explain, noticed, near):
        config_option(verb)
    for verb in (listing, show, explain, near):
        verb.add_argument("--format", choices=("text", "json"), default="text")


def _incidents_explain(options: argparse.Namespace) -> int:
    from exporter.cli.incidents import explain_incident

    return asyncio.run(explain_incident(load_config(options), options.id, options.format))


def _incidents_notices(options: argparse.Namespace) -> int:
    from exporter.cli.incidents import list_notices

    return asyncio.run(list_notices(load_config(options), options.limit, options.format))


def _incidents_near(options: argparse.Namespace) -> int:
    from exporter.cli.incidents import near_incidents

    return asyncio.run(near_incidents(load_config(options), options.limit, options.format))


def _incidents_list(options: argparse.Namespace) -> int:
    from exporter.cli.incidents import list_incidents

    return asyncio.run(list_incidents(load_config(options), options.status, options.limit, options.format))


def _incidents_show(options: argparse.Namespace) -> int:
    from exporter.cli.incidents import show_incident

    return asyncio.run(show_incident(load_config(options), options.id, options.format))


def _incidents_resolve(options: argparse.Namespace) -> int:
    from exporter.cli.asking import who
    from exporter.cli.incidents import resolve_incident

    return asyncio.run(resolve_incident(load_config(options), options.id, options.fix, who(options)))


# --- rules ----------------------------------------------------------------------------------------


def rules(commands: Any) -> None:
    parser = add_command(
        commands,
        "rules",
        "say what is not news, and take it back",
        "Rules of people: what they match is muted, expected, or less severe. Those of exporter.yml are shown, too.",
        lambda options: helpless(parser),
    )
    people.add_rules(parser, add_command)


# --- state ----------------------------------------------------------------------------------------


def state(commands: Any) -> None:
    parser = add_command(
        commands,
        "state",
        "copy the state file, look whether it is whole, put a copy back",
        "The state file that the configuration names. Before an upgrade: `state backup FILE`; to go back: the older\n"
        "release, and `state restore FILE`.",
        lambda options: helpless(parser),
    )
    verbs = parser.add_subparsers(title="verbs", metavar="VERB")
    backup = add_command(verbs, "backup", "copy it", "Copy it, also while the daemon runs.", _state_backup)
    backup.add_argument("file", type=Path, metavar="FILE", help="the copy; one that is there is replaced")
    check = add_command(
        verbs, "check", "look whether it is whole", "Read all of it, and say what is wrong.", _state_check
    )
    check.add_argument("--format", choices=("text", "json"), default="text")
    back = add_command(
        verbs, "restore", "put a copy back", "Put a copy back; what was there is kept beside it.", _state_restore
    )
    back.add_argument("file", type=Path, metavar="FILE", help="a copy of `backup`, or of a release at its start")
    for verb in (backup, check, back):
        config_option(verb)


def _state_backup(options: argparse.Namespace) -> int:
    from exporter.cli.state import back_up_state

    return back_up_state(load_config(options), options.file)


def _state_check(options: argparse.Namespace) -> int:
    from exporter.cli.state import check_state

    return check_state(load_config(options), options.format)


def _state_restore(options: argparse.Namespace) -> int:
    from exporter.cli.state import restore_state

    return restore_state(load_config(options), options.file)
