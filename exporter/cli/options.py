"""What the options of several commands have in common; nothing heavy is imported before it is needed."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from exporter.config import Config


EXIT_CODES = """
exit codes:
  0  done
  1  it could not be done: a server, a file or the state said no; the message says what to do
  2  the command line or the configuration is wrong
  3  done, and the answer is no: a check failed, or --fail-on-anomaly found something
  130  interrupted
"""

Command = Callable[[argparse.Namespace], int]


def add_command(commands: Any, name: str, help_text: str, description: str, run: Command) -> argparse.ArgumentParser:
    """A command, or a verb of one, whose help says the exit codes."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=help_text,
        description=description,
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command=run)
    return parser


def helpless(parser: argparse.ArgumentParser) -> int:
    """A command was given without its verb."""
    parser.print_help()
    return 2


def above_zero(kind: Callable[[str], float]) -> Callable[[str], float]:
    """The type of an option that is a number above 0."""

    def convert(text: str) -> float:
        with contextlib.suppress(ValueError):
            if 0 < (value := kind(text)) < float("inf"):
                return value
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")

    return convert


def config_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-c", "--config", type=Path, required=True, metavar="FILE", help="exporter.yml")


def load_config(options: argparse.Namespace) -> Config:
    """What the file of `config_option` says. Raises ConfigError."""
    from exporter.config import load

    return load(options.config)


def instant(text: str) -> datetime:
    from exporter.model import parse_moment

    try:
        return parse_moment(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def duration(text: str) -> timedelta:
    from exporter.model import parse_duration

    try:
        return parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


FIELDS = ("body", "timestamp", "severity", "service", "trace", "host")


def reading_options(parser: argparse.ArgumentParser) -> None:
    """How lines are read that no configuration tells of."""
    for name in FIELDS:
        parser.add_argument(f"--{name}", metavar="FIELD", help=f"the field that holds the {name}")
    parser.add_argument("--timezone", metavar="ZONE", help="of times that name none, such as Europe/Berlin (UTC)")
    parser.add_argument("--encoding", metavar="NAME", help="what text is written in; found out where it is no UTF-8")


def reading(options: argparse.Namespace) -> dict[str, object]:
    """What these options say of a source."""
    fields = {name: value for name in FIELDS if (value := getattr(options, name))}
    return {"fields": fields} | {name: value for name in ("timezone", "encoding") if (value := getattr(options, name))}
