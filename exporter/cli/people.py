"""The options of what people do on the command line: the verbs of `rules`, and those of `incidents` that change one."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from exporter.cli.options import config_option, duration, instant

Command = Callable[[argparse.Namespace], int]
Add = Callable[[Any, str, str, str, Command], argparse.ArgumentParser]


def _acts(name: str) -> Command:
    """A command of a module that is imported when it is run."""

    def run(options: argparse.Namespace) -> int:
        from exporter.cli import acts

        code: int = getattr(acts, name)(options)
        return code

    return run


def _rules(name: str) -> Command:
    def run(options: argparse.Namespace) -> int:
        from exporter.cli import rules

        code: int = getattr(rules, name)(options)
        return code

    return run


def add_acts(verbs: Any, add: Add) -> None:
    """The verbs of `incidents` that change something, and their log."""
    accept = add(
        verbs,
        "accept",
        "this is normal now: close it, and expect it from now on",
        "Close an incident in every place. What it was made of is expected from now on: it opens no incident and\n"
        "holds none open. What that would have hidden of the last 14 days is shown before.",
        _acts("accept"),
    )
    reject = add(
        verbs,
        "reject",
        "this is no problem: close it, and do not report its like again",
        "Close an incident in every place, and say there that it is no problem. The same\n"
        "failure of the same services is expected from now on.",
        _acts("reject"),
    )
    ack = add(
        verbs,
        "ack",
        "somebody looks after it: nothing more is told until it gets worse",
        "Acknowledge an incident: until it is severer, a finding of another kind or service comes, or the time given\n"
        "is over, nothing more is told of it but its end.",
        _acts("ack"),
    )
    note = add(verbs, "note", "add a note to its story", "Add a note to the story of an incident.", _acts("note"))
    unfix = add(
        verbs,
        "unfix",
        "what was said to have fixed it did not: take it back",
        "Take back what was said to have fixed an incident. Memory names it no more.",
        _acts("unfix"),
    )
    unfix.add_argument("id", help="as `incidents list` prints it")
    unfix.add_argument("--reason", metavar="TEXT", default="", help="why")
    note.add_argument("id", help="as `incidents list` prints it")
    note.add_argument("text", help="what there is to say")
    for verb in (accept, reject):
        verb.add_argument("--reason", metavar="TEXT", default="", help="why")
        ending(verb)
        verb.add_argument("--yes", action="store_true", help="also where that would have hidden much")
    ending(ack, "ever")
    ack.add_argument("--note", metavar="TEXT", default="", help="what is being done")
    for verb in (accept, reject, ack):
        verb.add_argument("id", help="as `incidents list` prints it")
    acts = add(verbs, "acts", "what people did", "Print what people did, as NDJSON, in order.", _acts("log"))
    acts.add_argument("id", nargs="?", default="", help="of one incident; default: of all")
    for verb in (accept, reject, ack, note, unfix):
        by_whom(verb)
    for verb in (accept, reject, ack, note, unfix, acts):
        config_option(verb)


def _moves(name: str) -> Command:
    def run(options: argparse.Namespace) -> int:
        from exporter.cli import moving

        code: int = getattr(moving, name)(options)
        return code

    return run


def add_moving(verbs: Any, add: Add) -> None:
    """The verbs of `incidents` that move a memory, or take something from it."""
    export = add(
        verbs,
        "export",
        "what memory holds, as NDJSON",
        "Print the incidents that memory holds, each a line of JSON, for `incidents import` of another installation.",
        _moves("export"),
    )
    taken = add(
        verbs,
        "import",
        "put an export into memory",
        "Put the lines of an `incidents export` into memory: what is there already is left, what is newer goes in.\n"
        "They are redacted by this configuration. A daemon that runs takes them itself, and knows them at once.",
        _moves("import_file"),
    )
    gone = add(
        verbs,
        "forget",
        "delete what memory holds of an incident",
        "Delete what memory holds of an incident: it is recalled no more. The incident itself stays as long as\n"
        "`retention` says; what is said of it later (a fix, a note) is remembered again.",
        _moves("forget"),
    )
    gone.add_argument("id", help="as `incidents list` prints it; INSTALLATION:ID for that of another installation")
    taken.add_argument("file", metavar="FILE", help="- is standard input")
    taken.add_argument("--dry-run", action="store_true", help="only say what would be new")
    for verb in (export, taken, gone):
        config_option(verb)


def add_rules(parser: argparse.ArgumentParser, add: Add) -> None:
    """The verbs of `rules`."""
    verbs = parser.add_subparsers(title="verbs", metavar="VERB")
    listing = add(
        verbs,
        "list",
        "rules that stand",
        "Rules that stand, and how much each has hidden.",
        _rules("list_rules"),
    )
    show = add(
        verbs,
        "show",
        "one rule, and what it hid",
        "One rule, and what it hid, the newest first.",
        _rules("show_rule"),
    )
    new = add(
        verbs,
        "add",
        "make a rule",
        "Make a rule. All that is given must hold; of what is given several times, one. Texts are compared whole,\n"
        "after ~ stands a regular expression. What it would have hidden of the last 14 days is shown before.",
        _rules("add_rule"),
    )
    look = add(
        verbs,
        "preview",
        "what a rule would have hidden",
        "Print what a rule would have hidden of the last 14 days, and make none.",
        _rules("preview_rule"),
    )
    gone = add(
        verbs,
        "remove",
        "take a rule back",
        "Take a rule back: what it hid is told from now on.",
        _rules("remove_rule"),
    )
    export = add(
        verbs,
        "export",
        "all rules, as NDJSON",
        "Print all rules, also those that were taken back, as NDJSON: what stands can be put into exporter.yml.",
        _rules("export_rules"),
    )
    for verb in (show, gone):
        verb.add_argument("name", help="as `rules list` prints it")
    gone.add_argument("--reason", metavar="TEXT", default="", help="why")
    for verb in (new, look):
        verb.add_argument("--name", default="", help="by which it is shown and taken back; default: a new one")
        does = verb.add_mutually_exclusive_group(required=True)
        does.add_argument("--mute", action="store_true", help="recorded and shown, and delivered nowhere")
        does.add_argument("--expected", action="store_true", help="neither opens an incident nor holds one open")
        does.add_argument("--severity-at-most", choices=("info", "warning", "critical"))
        verb.add_argument("--source", default="")
        for name in ("service", "kind", "text"):
            verb.add_argument(f"--{name}", action="append", default=[], help="may be given several times")
        verb.add_argument("--host", default="", help="a host or an instance, where lines have one")
        verb.add_argument("--severity", action="append", default=[], choices=("info", "warning", "critical"))
        verb.add_argument("--hours", metavar="FROM-TO", help="such as 22:00-06:00")
        verb.add_argument("--weekdays", metavar="DAYS", default="", help="such as sat,sun")
        verb.add_argument("--timezone", default="UTC", help="of hours and weekdays (UTC)")
        verb.add_argument("--reason", metavar="TEXT", default="", help="why it is not news")
        ending(verb)
    new.add_argument("--yes", action="store_true", help="also where it would have hidden much")
    for verb in (new, gone):
        by_whom(verb)
    for verb in (listing, show, new, look, gone, export):
        config_option(verb)
    for verb in (listing, show):
        verb.add_argument("--format", choices=("text", "json"), default="text")


def by_whom(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--by", metavar="NAME", default="", help="who says so (default: the user)")


def ending(parser: argparse.ArgumentParser, default: str = "90d") -> None:
    until = parser.add_mutually_exclusive_group()
    until.add_argument("--until", type=instant, metavar="TIME", help="RFC 3339")
    until.add_argument(
        "--for",
        dest="lasting",
        type=_lasting,
        metavar="DURATION",
        default=default,
        help=f"such as 7d, or ever ({default})",
    )


def _lasting(text: str) -> timedelta | None:
    from exporter.model.questions import EVER

    return None if text == EVER else duration(text)
