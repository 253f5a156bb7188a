"""Run every case of the field that is there, and print what is told right.

`python -m tests.field [NAME...] [--made | --found] [--checkout DIR]`: names are beginnings of names of files. The
second table is of small logs that were made for this repository, of kinds that the field lacks.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.checkouts import answers
from tests.field.cases import (
    COMPARED,
    MORE,
    REPOSITORY,
    Verdict,
    cases,
    folder,
    judged,
    judged_lines,
    judged_redaction,
    judged_webhook,
)
from tests.field.made import documents_of, judged_documents, judged_file, made, tasks, written
from tests.servers.process import Unavailable

FINDINGS = "20"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.field", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="only files that begin so")
    parser.add_argument("--checkout", type=Path, default=REPOSITORY, metavar="DIR", help="default: this one")
    only = parser.add_mutually_exclusive_group()
    only.add_argument("--made", action="store_true", help="only the second table")
    only.add_argument("--found", action="store_true", help="only the first")
    options = parser.parse_args()
    checkout = options.checkout.resolve()
    if not options.made:
        if (where := folder()) is None:
            print("skipped: there are no logs of the field; LAE_SHARED_DATA names the data that they are beside")
        else:
            printed(measured(where, cases(where, options.names), checkout))
    if not options.found:
        print("made for this repository:")
        printed(measured_of_made(made(options.names), checkout))
    return 0


def printed(verdicts: Iterable[Verdict]) -> None:
    """One table, and its sums."""
    found = []
    for verdict in verdicts:
        found.append(verdict)
        print(row(verdict), flush=True)
    print(*summary(found), sep="\n")


def measured_of_made(wanted: Sequence[Mapping[str, Any]], checkout: Path) -> Iterator[Verdict]:
    """What a checkout makes of the cases that were made."""
    files = [case for case in wanted if case["command"] == "analyze"]
    with tempfile.TemporaryDirectory(prefix="field-") as home:
        asked = [list(tasks(case, written(case, Path(home)))) for case in files]
        answers = iter(driven(checkout, [task for each in asked for task in each]))
    for case, each in zip(files, asked, strict=True):
        yield judged_file(case, [next(answers) for _ in each])
    for case in wanted:
        if case["command"] != "analyze":
            try:
                yield judged_documents(case, asyncio.run(_asked(case, documents_of(case), checkout)))
            except Unavailable as error:
                yield Verdict(case["file"], {}, note=f"left out: {error}")


def measured(where: Path, wanted: Sequence[Mapping[str, Any]], checkout: Path) -> Iterator[Verdict]:
    """What a checkout makes of each case."""
    from_servers = [case for case in wanted if case["command"] in ("elasticsearch", "loki")]
    commands = [(case, command) for case in wanted if (command := _command(case, where, checkout))]
    answers = driven(checkout, [{"run": command} for _, command in commands])
    for (case, _), answer in zip(commands, answers, strict=True):
        yield judged_redaction(case, answer) if case["command"] == "redact" else judged(case, answer)
    for case in from_servers:
        try:
            yield asyncio.run(_from_server(case, where, checkout))
        except Unavailable as error:
            yield Verdict(case["file"], {}, note=f"left out: {error}")
    hooks = [case for case in wanted if case["command"] == "webhook"]
    payloads = [{"posted": json.loads((where / case["file"]).read_text())} for case in hooks]
    yield from map(judged_webhook, hooks, driven(checkout, payloads))


def _command(case: Mapping[str, Any], where: Path, checkout: Path) -> list[str] | None:
    path, options = str(where / case["file"]), case["options"]
    if case["command"] == "redact":
        return ["redact", path]
    if case["command"] not in ("analyze", "templates mine", "backtest"):
        return None
    flags = options if isinstance(options, list) and case["command"] == "analyze" else []
    if isinstance(options, dict) and "timezone" in options and _knows(checkout, "--timezone"):
        flags = ["--timezone", options["timezone"]]
    return ["analyze", path, *flags, "--format", "json", "--top", FINDINGS]


def _knows(checkout: Path, flag: str) -> bool:
    return any(flag in path.read_text() for path in (checkout / "exporter").rglob("*.py"))


def driven(checkout: Path, tasks: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The answers of a process that has the code of a checkout."""
    try:
        return [json.loads(line) for line in answers(Path(__file__).with_name("driver.py"), tasks, checkout)]
    except RuntimeError as error:
        raise SystemExit(str(error)) from None


async def _from_server(case: Mapping[str, Any], where: Path, checkout: Path) -> Verdict:
    documents = [json.loads(line) for line in (where / case["file"]).read_text().splitlines()]
    return judged_lines(case, await _asked(case, documents, checkout))


async def _asked(case: Mapping[str, Any], documents: Sequence[Mapping[str, Any]], checkout: Path) -> dict[str, Any]:
    """What a source says of documents."""
    if case["command"] == "loki":
        from tests.field.servers import in_loki

        return await in_loki(documents, lambda source: driven(checkout, [{"source": source}])[0])
    from tests.field.servers import in_elasticsearch

    with tempfile.TemporaryDirectory(prefix="field-") as home:
        return in_elasticsearch(documents, Path(home), lambda source: driven(checkout, [{"source": source}])[0])


def row(verdict: Verdict) -> str:
    """One line of the table."""
    names = [*COMPARED, *MORE] if set(verdict.facts) <= {*COMPARED, *MORE} else list(verdict.facts)
    parts = [_fact(name, verdict.facts[name]) for name in names if name in verdict.facts]
    if verdict.told:
        parts.append("told first" if verdict.told == "first" else f"told as {verdict.told}".replace("as not", "NOT"))
    if verdict.quiet is not None:
        parts.append("quiet" if verdict.quiet else "NOT QUIET")
    return f"  {verdict.file:<38} {'; '.join([*parts, verdict.note] if verdict.note else parts)}"


def _fact(name: str, wrong: str | None) -> str:
    return f"{name} ok" if wrong is None else f"{name} BAD {wrong}"


def summary(verdicts: Sequence[Verdict]) -> Iterator[str]:
    """The sums: of all, and of what commit 82d5d22 was measured by."""
    counted: Counter[str] = Counter()
    total: Counter[str] = Counter()
    for verdict in verdicts:
        for name, wrong in verdict.facts.items():
            group = name if name in (*COMPARED, *MORE) else "others"
            counted[group] += wrong is None
            total[group] += 1
    yield ", ".join(f"{name} {counted[name]}/{total[name]}" for name in (*COMPARED, *MORE, "others") if total[name])
    like = [verdict for verdict in verdicts if verdict.told or verdict.quiet is not None]
    compared = [wrong for verdict in like for name, wrong in verdict.facts.items() if name in COMPARED]
    planted = [verdict.told for verdict in verdicts if verdict.told]
    quiet = [verdict.quiet for verdict in verdicts if verdict.quiet is not None]
    if not planted:
        return
    yield (
        f"facts right {compared.count(None)} of {len(compared)}, planted told "
        f"{len(planted) - planted.count('not')} of {len(planted)}, first {planted.count('first')} of {len(planted)}; "
        f"quiet kept {quiet.count(True)} of {len(quiet)}"
    )


if __name__ == "__main__":
    sys.exit(main())
