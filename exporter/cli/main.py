"""The commands. Nothing heavy is imported before a command needs it, so that `--help` answers at once."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exporter.cli import early, kept, layers
from exporter.cli.options import (
    EXIT_CODES,
    Command,
    above_zero,
    add_command,
    config_option,
    duration,
    helpless,
    instant,
    load_config,
    reading_options,
)
from exporter.cli.running import run, serve

if TYPE_CHECKING:
    from exporter.config import Config
    from exporter.ingest.redaction import Redactor


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    parser = build_parser()
    options = parser.parse_args(arguments)
    if not hasattr(options, "command"):
        parser.print_help()
        return 2
    command: Command = options.command
    try:
        with early.interruptible():
            code = command(options)
            sys.stdout.flush()
            return code
    except KeyboardInterrupt:
        return early.INTERRUPTED
    except MemoryError:
        print("error: there is not enough memory for this; give it less to read, or more memory", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # The reader of our output has gone; leave nothing for the interpreter to flush.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        return _explain(error)


def _explain(error: Exception) -> int:
    """Errors that a person can act on are one message; anything else is ours, and is shown whole."""
    from exporter.model import ConfigError, ExporterError, PermanentError
    from exporter.wording.text import clean

    if isinstance(error, OSError) and error.errno:
        where = f"{error.filename}: " if error.filename else ""
        error = PermanentError(f"{where}{error.strerror}")
        # What could not be written is not tried again at the end.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if not isinstance(error, ExporterError):
        raise error
    print(f"error: {clean(str(error))}", file=sys.stderr)
    return 2 if isinstance(error, ConfigError) else 1


def build_parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    parser = argparse.ArgumentParser(
        prog="log-anomaly-exporter",
        description="Turns the logs in Elasticsearch, Loki or files into few, explained, evidence-cited incidents.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=_version())
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    everyday = (run, _analyze, _backtest, _check, _configuration, kept.incidents, kept.rules, kept.state, _templates)
    for add in (*everyday, serve, layers.detect, layers.recall, layers.report, _redact, _simulate, _demo):
        add(commands)
    return parser


def _version() -> str:
    try:
        return version("log-anomaly-exporter")
    except PackageNotFoundError:
        return "not installed"


def _progress(label: str) -> Callable[[str, float], None]:
    """A line that is drawn over itself on a terminal; elsewhere a line each tenth of the way."""
    shown: dict[str, int] = {}
    terminal = sys.stderr.isatty()

    def report(name: str, done: float) -> None:
        step = int(done * (100 if terminal else 10))
        if shown.get(name) == step:
            return
        shown[name] = step
        text = f"{label} {name}: {done:4.0%}"
        if terminal:
            print(f"\r\x1b[2K{text}", end="\n" if done >= 1 else "", file=sys.stderr, flush=True)
        else:
            print(text, file=sys.stderr)

    return report


# --- analyze --------------------------------------------------------------------------------------


def _analyze(commands: Any) -> None:
    parser = add_command(
        commands,
        "analyze",
        "say what is unusual in log files, with no configuration",
        "Read text, NDJSON or parquet (also .gz and .zst; - for standard input), find time stamps, levels and\n"
        "services by itself, and print what is unusual and why.",
        _analyze_command,
    )
    parser.add_argument("files", nargs="+", metavar="FILE", help="a file, or - for standard input")
    reading_options(parser)
    parser.add_argument("--session", metavar="PATTERN", help="a regular expression whose group is the session's key")
    parser.add_argument("--session-field", metavar="FIELD", help="the field that holds the session's key")
    parser.add_argument("--window", type=duration, help="length of a window, such as 60s; chosen by itself if absent")
    parser.add_argument("--top", type=int, default=10, help="findings to print (10)")
    parser.add_argument("--format", choices=("text", "json"), default="text")
    parser.add_argument("--fail-on-anomaly", action="store_true", help="exit with 3 when something is unusual")


def _analyze_command(options: argparse.Namespace) -> int:
    from exporter.cli.commands import analyze

    return asyncio.run(analyze(options))


# --- backtest -------------------------------------------------------------------------------------


def _backtest(commands: Any) -> None:
    parser = add_command(
        commands,
        "backtest",
        "what a configuration would have found and sent over recorded time",
        "The same pipeline as the daemon's, with no delivery. With --start, `warmup.history` before it is learnt\n"
        "first. With --labels, says how much of what was wrong was found, how fast, and how falsely.",
        _backtest_command,
    )
    config_option(parser)
    parser.add_argument("--start", type=instant, metavar="TIME", help="RFC 3339; default: the first line there is")
    parser.add_argument("--end", type=instant, metavar="TIME", help="RFC 3339, exclusive; default: after the last")
    parser.add_argument("--labels", type=Path, metavar="FILE", help="CSV, NDJSON or parquet of what was really wrong")
    parser.add_argument("--tolerance", type=duration, default="2m", help="widens labelled intervals (2m)")
    parser.add_argument("--sessions", action="store_true", help="print the verdict of every session too")
    parser.add_argument("--format", choices=("text", "json"), default="text")


def _backtest_command(options: argparse.Namespace) -> int:
    from exporter.cli.commands import print_backtest
    from exporter.run.backtest import backtest
    from exporter.run.evaluation import load_labels

    config = load_config(options)
    labels = load_labels(options.labels) if options.labels else None
    progress = _progress("replaying")
    result = asyncio.run(backtest(config, options.start, options.end, labels, options.tolerance, progress))
    with_sessions = options.sessions or bool(labels and labels.sessions is not None)
    if options.format == "json":
        print(json.dumps(result.to_json(with_sessions), ensure_ascii=False))
    else:
        print_backtest(result)
    return 0


# --- check-config ---------------------------------------------------------------------------------


def _check(commands: Any) -> None:
    parser = add_command(
        commands,
        "check-config",
        "validate a configuration, and try its servers",
        "Print the effective configuration with all defaults and secrets masked. With --connect, try each server\n"
        "with the rights that are needed, and say what is missing and how to grant it.",
        _check_command,
    )
    config_option(parser)
    parser.add_argument("--connect", action="store_true", help="try every source, sink, memory and model")


def _check_command(options: argparse.Namespace) -> int:
    from exporter.cli.check import about_state
    from exporter.config import effective, load
    from exporter.wording.text import clean

    config = load(options.config, warn=lambda text: print(f"warning: {text}", file=sys.stderr))
    print(effective(config), end="", flush=True)
    for line in about_state(config):
        print(clean(line), file=sys.stderr)
    if not options.connect:
        return 0
    return asyncio.run(_connect(config))


async def _connect(config: Config) -> int:
    from exporter.cli.check import connect
    from exporter.wording.text import one_line

    failed = 0
    for check in await connect(config):
        print(f"{'ok  ' if check.ok else 'FAIL'} {one_line(check.subject)}: {one_line(check.detail)}")
        if not check.ok:
            failed += 1
            for line in check.remedy.splitlines():
                print(f"       {one_line(line)}")
    return 3 if failed else 0


# --- config ---------------------------------------------------------------------------------------


def _configuration(commands: Any) -> None:
    parser = add_command(
        commands,
        "config",
        "what exporter.yml can say",
        "Everything that exporter.yml can say: for editors, or to read.",
        lambda options: helpless(parser),
    )
    verbs = parser.add_subparsers(title="verbs", metavar="VERB")
    schema = "Print the JSON schema of exporter.yml (draft 2020-12): with it, editors complete and check the file."
    add_command(verbs, "schema", "its JSON schema, for editors", schema, _config_schema)
    docs = "Print every option of exporter.yml with type, unit, default and description, as Markdown."
    add_command(verbs, "docs", "every option, as Markdown", docs, _config_docs)


def _config_schema(options: argparse.Namespace) -> int:
    from exporter.config.schema import editors_schema

    print(json.dumps(editors_schema(), indent=2, ensure_ascii=False))
    return 0


def _config_docs(options: argparse.Namespace) -> int:
    from exporter.config.reference import markdown

    print(markdown(), end="")
    return 0


# --- templates ------------------------------------------------------------------------------------


def _templates(commands: Any) -> None:
    parser = add_command(
        commands,
        "templates",
        "list and show log templates, or mine a file",
        "Log templates that were learnt, or those of one file.",
        lambda options: helpless(parser),
    )
    from exporter.cli.templates import add_verbs

    add_verbs(parser, add_command)


# --- redact ---------------------------------------------------------------------------------------


def _redact(commands: Any) -> None:
    parser = add_command(
        commands,
        "redact",
        "show what redaction makes of text",
        "Read lines from a file or standard input and print them as they would leave the process.",
        _redact_command,
    )
    parser.add_argument("file", nargs="?", default="-", metavar="FILE")
    parser.add_argument("-c", "--config", type=Path, metavar="FILE", help="for its `redaction` settings")
    parser.add_argument("--explain", action="store_true", help="say instead what is hidden where, and by which rule")


def _redact_command(options: argparse.Namespace) -> int:
    from exporter.cli import streams
    from exporter.ingest.redaction import MAX_CHARS, RedactionSettings, Redactor
    from exporter.wording.text import visible

    settings = load_config(options).redaction if options.config else RedactionSettings()
    redactor = Redactor.of(settings, b"preview, not a secret")
    terminal = sys.stdout.isatty()
    numbers = count(1)
    for lines in streams.lines(streams.blocks(Path(options.file)), 4 * MAX_CHARS + 1):
        for line in lines:
            number = next(numbers)
            text = line.decode("utf-8", "replace").rstrip("\r")
            said = _explained(redactor, number, text) if options.explain else [redactor.redact(text)]
            for one in said:
                print(visible(one) if terminal else one)
    return 0


def _explained(redactor: Redactor, number: int, text: str) -> list[str]:
    """What is hidden of a line, where, and by which rule."""
    found = [(one, text[one.start : one.end]) for one in redactor.secrets(text)]
    return [
        f"{number}:{one.start + 1}: {hidden!r} -> {redactor.placeholder(one.type, hidden)} ({one.rule})"
        for one, hidden in found
    ]


# --- simulate, demo -------------------------------------------------------------------------------


def _simulate(commands: Any) -> None:
    parser = add_command(
        commands,
        "simulate",
        "write the logs of a simulated shop",
        "NDJSON in the shape of ECS, to standard output, a file, or an Elasticsearch (its key in $ES_API_KEY).",
        _simulate_command,
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help="default: standard output")
    parser.add_argument("--format", choices=("ndjson", "text"), default="ndjson", help="of lines in a file (ndjson)")
    parser.add_argument("--elasticsearch", metavar="URL", help="write to this server instead")
    parser.add_argument("--index", default="shop-logs", help="index or data stream (shop-logs)")
    parser.add_argument(
        "--rate", type=above_zero(float), metavar="LINES", help="lines a second of all services together"
    )
    parser.add_argument("--history", type=duration, default="3d", help="how much of the past to write first (3d)")
    parser.add_argument("--follow", action="store_true", help="then go on in real time until stopped")
    parser.add_argument("--seed", type=int, default=0)


def _simulate_command(options: argparse.Namespace) -> int:
    from exporter.cli.commands import simulate

    return asyncio.run(simulate(options))


def _demo(commands: Any) -> None:
    parser = add_command(
        commands,
        "demo",
        "the main job end to end, with no server and no key",
        "A simulated shop fails as it failed once before; the same pipeline as the daemon's finds it, ranks the\n"
        "services, remembers what fixed it, and shows what would have been sent to each place.",
        _demo_command,
    )
    parser.add_argument("--directory", type=Path, default=Path("demo"), help="where to leave its files (./demo)")
    parser.add_argument("--serve", action="store_true", help="then serve the incident pages until stopped")


def _demo_command(options: argparse.Namespace) -> int:
    from exporter.demo.demo import demo

    return asyncio.run(demo(options.directory, options.serve))


if __name__ == "__main__":
    sys.exit(main())
