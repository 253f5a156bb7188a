"""`incidents prompt`: what a model was asked about an incident and what it answered, or what it would be asked."""

from __future__ import annotations

import argparse
import asyncio
import json
import secrets
from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING, Any

from exporter.cli.options import config_option, load_config

if TYPE_CHECKING:
    from exporter.config import Config
    from exporter.model import Asked
    from exporter.report.prompt import Prompt

Add = Callable[..., argparse.ArgumentParser]


def add_prompt(verbs: Any, add: Add) -> None:
    """The verb of `incidents`."""
    parser = add(
        verbs,
        "prompt",
        "what a model was asked, and what it answered",
        "The question to the model on an incident, word for word as it left, and the answer; where none has left,\n"
        "as it would leave. Nothing is sent.",
        lambda options: asyncio.run(show_prompt(load_config(options), options.id, options.dry_run, options.format)),
    )
    parser.add_argument("id", help="as `incidents list` prints it")
    parser.add_argument("--dry-run", action="store_true", help="as it would leave now, whatever was asked before")
    parser.add_argument("--format", choices=("text", "json"), default="text")
    config_option(parser)


async def show_prompt(config: Config, incident_id: str, dry_run: bool, form: str) -> int:
    """Print the question, and the answer where there is one."""
    from exporter.cli.asking import rows_of
    from exporter.model import to_json
    from exporter.state.narration import answers_of

    with closing(rows_of(config)) as rows:
        kept = [] if dry_run else await answers_of(rows, incident_id)
        asked = None if kept else await _would_be(config, rows, incident_id)
    if form == "json":
        print(json.dumps(to_json(kept or asked), ensure_ascii=False))
        return 0
    for one in kept:
        _print_kept(one)
    if asked is not None:
        _print_asked(asked.system, asked.user, f"would leave now: {asked.chars:,} characters")
    return 0


async def _would_be(config: Config, rows: Any, incident_id: str) -> Prompt:
    from exporter.ingest.redaction import Redactor
    from exporter.model import RULES, PermanentError
    from exporter.report.llm import Question
    from exporter.state.incidents import incident_of, reports_of

    incident = await incident_of(rows, incident_id)
    reports = [one for one in await reports_of(rows, incident_id) if one.writer == RULES]
    if incident is None or not reports:
        raise PermanentError(f"no incident {incident_id!r} with a report; `incidents list` prints their ids")
    # A state file that was never redacted with gives placeholders of this process alone.
    kept = await rows.meta("redaction_key")
    redactor = Redactor.of(config.redaction, bytes.fromhex(kept) if kept else secrets.token_bytes(32))
    return Question.of(incident, reports[0]).prompt(redactor.redact)


def _print_kept(one: Asked) -> None:
    from exporter.model.times import moment

    when = moment(one.at).isoformat()
    cost = f"{one.calls} {'request' if one.calls == 1 else 'requests'}, {one.tokens:,} tokens"
    _print_asked(one.system, one.user, f"left {when} to {one.model}, of revision {one.revision}; {cost}")
    print("\n--- its answer")
    print(json.dumps(one.answer, ensure_ascii=False, indent=2))


def _print_asked(system: str, user: str, head: str) -> None:
    from exporter.model.audit import placeholders, said

    print(f"--- {head}; redacted in it: {said(placeholders(user))}")
    print(system)
    print(user)
