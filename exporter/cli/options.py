"""What the options of several commands have in common; nothing heavy is imported before it is needed."""

from __future__ import annotations

import argparse
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from exporter.config import Config


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
