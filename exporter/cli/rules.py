"""`rules list | show | add | preview | remove | export`."""

from __future__ import annotations

import argparse
import asyncio
import json
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from exporter.cli.asking import (
    MOST_SHOWN,
    ask,
    confirmed,
    described,
    ndjson,
    print_preview,
    rows_of,
    said_by,
    until_of,
)
from exporter.cli.options import load_config
from exporter.model import PermanentError, settings_of, to_json
from exporter.wording.rules import rule_line
from exporter.wording.text import brief, minute, one_line

if TYPE_CHECKING:
    from exporter.config import Config


def list_rules(options: argparse.Namespace) -> int:
    async def run(config: Config) -> int:
        from exporter.run.people import rule_records

        with closing(rows_of(config)) as rows:
            found = await rule_records(rows)
        if options.format == "json":
            print(json.dumps(to_json(found), ensure_ascii=False))
        elif not found:
            print("no rules")
        for record in found if options.format == "text" else ():
            print(f"{rule_line(record.rule)}; hid {record.hidden}")
        return 0

    return asyncio.run(run(load_config(options)))


def show_rule(options: argparse.Namespace) -> int:
    async def run(config: Config) -> int:
        from exporter.state.people import hidden_by, rule_of

        with closing(rows_of(config)) as rows:
            rule = await rule_of(rows, options.name)
            hidden = await hidden_by(rows, options.name, MOST_SHOWN)
        if rule is None:
            raise PermanentError(f"no rule {options.name!r}; `rules list` prints their names")
        if options.format == "json":
            print(json.dumps(to_json({"rule": rule, "hidden": hidden}), ensure_ascii=False))
            return 0
        print("\n".join(described(rule)))
        print("It has hidden nothing yet." if not hidden else "It hid, the newest first:")
        for one in hidden:
            print(f"  {minute(one.at)}  {brief(one.service, 60)}  {brief(one.said, 120)}")
        return 0

    return asyncio.run(run(load_config(options)))


def add_rule(options: argparse.Namespace) -> int:
    async def run(config: Config) -> int:
        from exporter.run.people import preview, read_settings

        settings = await _settings(config, options)
        rule = read_settings(settings).rule(None)
        if config.state.exists():
            with closing(rows_of(config)) as rows:
                confirmed(await preview(rows, rule, datetime.now(UTC)), options.yes)
        said = said_by(options, options.reason, confirmed=True)
        body = {**settings, "by": said.by, "confirmed": True, **until_of(said)}
        await ask(
            config, lambda operations: operations.add_rule({**settings, "until": said.until}, said), "api/rules", body
        )
        print(f"rule {rule.name} holds from now on; `rules remove {rule.name}` takes it back")
        return 0

    return asyncio.run(run(load_config(options)))


def preview_rule(options: argparse.Namespace) -> int:
    async def run(config: Config) -> int:
        from exporter.run.people import preview, read_settings

        rule = read_settings(await _settings(config, options)).rule(None)
        with closing(rows_of(config)) as rows:
            print_preview(await preview(rows, rule, datetime.now(UTC)))
        return 0

    return asyncio.run(run(load_config(options)))


def remove_rule(options: argparse.Namespace) -> int:
    async def run(config: Config) -> int:
        said = said_by(options, options.reason)
        body = {"by": said.by, "reason": said.reason}
        await ask(
            config,
            lambda operations: operations.remove_rule(options.name, said),
            f"api/rules/{options.name}/remove",
            body,
        )
        print(f"rule {one_line(options.name)} is taken back")
        return 0

    return asyncio.run(run(load_config(options)))


def export_rules(options: argparse.Namespace) -> int:
    async def run(config: Config) -> int:
        from exporter.state.people import rules_of

        with closing(rows_of(config)) as rows:
            found = await rules_of(rows, standing=False)
        own = ("origin", "since", "removed_at", "removed_by")
        ndjson(
            {**settings_of(rule), **{name: getattr(rule, name) for name in own if getattr(rule, name)}}
            for rule in found
        )
        return 0

    return asyncio.run(run(load_config(options)))


async def _settings(config: Config, options: argparse.Namespace) -> dict[str, Any]:
    """What the options say, as exporter.yml would say it."""
    does = "mute" if options.mute else "expected" if options.expected else "severity"
    given: dict[str, Any] = {
        "name": options.name or await _new_name(config, does),
        "do": does,
        "at_most": options.severity_at_most,
        "source": options.source,
        "service": options.service,
        "host": options.host,
        "kinds": options.kind,
        "texts": options.text,
        "severities": options.severity,
        "hours": options.hours,
        "weekdays": [one.strip().lower()[:3] for one in options.weekdays.split(",") if one.strip()],
        "timezone": options.timezone,
        "reason": options.reason,
    }
    return {name: value for name, value in given.items() if value}


async def _new_name(config: Config, does: str) -> str:
    from exporter.state.people import rules_of

    taken: set[str] = set()
    if config.state.exists():
        with closing(rows_of(config)) as rows:
            taken = {rule.name for rule in await rules_of(rows, standing=False)}
    return next(name for number in range(1, len(taken) + 2) if (name := f"{does}-{number}") not in taken)
