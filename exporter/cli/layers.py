"""The commands that speak to one layer alone: `detect`, `recall` and `report`."""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path
from typing import Any

from exporter.cli.options import Command, above_zero, add_command, config_option, duration, reading_options


def detect(commands: Any) -> None:
    parser = add_command(
        commands,
        "detect",
        "findings in lines that come through a pipe, as NDJSON",
        "Read lines on standard input, in order of time, and print what is unusual in each window as a line of JSON:\n"
        "the first layer alone, for the next program of a pipe. It learns from the first part of what it reads, or\n"
        "from what it has learnt before (--state). A window is judged once a line is --wait younger than its end.",
        _command("detect_lines"),
    )
    reading_options(parser)
    parser.add_argument("--window", type=duration, default="60s", help="what is judged at once (60s)")
    parser.add_argument("--wait", type=duration, default="30s", help="how late a line may be (30s)")
    parser.add_argument("--state", type=Path, metavar="FILE", help="keep here what is learnt, and begin with it")
    parser.add_argument("--fail-on-anomaly", action="store_true", help="exit with 3 when something is unusual")


def recall(commands: Any) -> None:
    parser = add_command(
        commands,
        "recall",
        "past incidents like one, or like any text",
        "Ask memory: FILE holds an incident of ours (`incidents show --format json`, a webhook's body, a line of\n"
        "`run --format ndjson`), or any text, such as a few lines of a log; - is standard input.",
        _command("recall_file"),
    )
    parser.add_argument("file", metavar="FILE")
    parser.add_argument("--format", choices=("text", "json"), default="text")
    config_option(parser)


def report(commands: Any) -> None:
    parser = add_command(
        commands,
        "report",
        "the report of findings, ours or somebody else's",
        "Write the report of what FILE holds: findings of `detect`, an incident of ours, or NDJSON of lines with a\n"
        "time that somebody else found telling; - is standard input. With -c, memory and model are asked, too.",
        _command("report_file"),
    )
    parser.add_argument("file", metavar="FILE")
    reading_options(parser)
    parser.add_argument("-c", "--config", type=Path, metavar="FILE", help="for its memory, model and redaction")
    parser.add_argument("--format", choices=("text", "json"), default="text")
    parser.add_argument("--top", type=above_zero(int), default=5, help="incidents that are reported on (5)")


def _command(name: str) -> Command:
    """A command of a module that is imported when it is run."""

    def run(options: argparse.Namespace) -> int:
        from exporter.cli import asking_layers

        code: int = asyncio.run(getattr(asking_layers, name)(options))
        return code

    return run
