"""Replay the same inputs through an old checkout and this one, and print what differs.

Exit codes: 0 nothing differs, 3 something does, 1 a replay could not be run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.golden.differences import MACHINE, differences, normalised, told
from tests.golden.driver import NEED_DATA, PARTS
from tests.golden.places import places, readable

REPOSITORY = Path(__file__).parent.parent.parent
LOGS = REPOSITORY / "tests" / "data" / "82d5d22" / "shop.ndjson.zst"


class Failed(Exception):
    """A replay that did not come to its end."""


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    data = real_logs()
    parts = [part for part in options.part or PARTS if data or part not in NEED_DATA]
    for part in set(options.part or PARTS) - set(parts):
        print(f"{part}: left out, there are no real logs; LAE_SHARED_DATA names their place")
    try:
        if not parts:
            raise Failed("there is nothing to compare")
        with checkout(options.old) as old, checkout(options.new) as new:
            clean = [compare(part, old, new, data, options.expect) for part in parts]
    except Failed as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print("nothing differs" if all(clean) else "something differs")
    return 0 if all(clean) else 3


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(prog="python -m tests.golden", description=__doc__)
    found.add_argument("old", metavar="OLD_CHECKOUT", help="a directory, or a revision of this repository")
    found.add_argument("--new", default=str(REPOSITORY), metavar="CHECKOUT", help="default: this one")
    found.add_argument("--part", action="append", choices=list(PARTS), help="only this; may be given several times")
    found.add_argument(
        "--expect",
        action="append",
        default=[],
        type=re.compile,
        metavar="PATTERN",
        help="a regular expression of places that are meant to differ: they are only counted",
    )
    return found


def real_logs() -> Path | None:
    """Where the labelled logs are, which are not part of the repository."""
    path = Path(os.environ.get("LAE_SHARED_DATA") or REPOSITORY.parent / "shared" / "data")
    return path.resolve() if path.is_dir() else None


@contextmanager
def checkout(named: str) -> Iterator[Path]:
    """The directory of that name, or the files of that revision in a folder for the time being."""
    if Path(named).is_dir():
        yield Path(named).resolve()
        return
    with tempfile.TemporaryDirectory(prefix="golden-") as folder:
        archive = subprocess.run(["git", "-C", str(REPOSITORY), "archive", named], capture_output=True, check=False)
        if archive.returncode:
            raise Failed(f"{named} is neither a directory nor a revision: {archive.stderr.decode().strip()}")
        subprocess.run(["tar", "-x", "-C", folder], input=archive.stdout, check=True)
        yield Path(folder).resolve()


def compare(part: str, old: Path, new: Path, data: Path | None, expected: Sequence[re.Pattern[str]]) -> bool:
    """Print what differs in a part, but for what is meant to. Returns whether nothing does."""
    began = time.monotonic()
    before, after = asyncio.run(both(part, old, new, data))
    everything = list(differences(before, after))
    found = [one for one in everything if not any(pattern.search(one.place) for pattern in expected)]
    for line in told(part, found, len(everything) - len(found)):
        print(line, flush=True)
    print(f"{part}: {size(after):,} values compared, {time.monotonic() - began:.0f} s", file=sys.stderr)
    return not found


async def both(part: str, old: Path, new: Path, data: Path | None) -> tuple[Any, Any]:
    """What each checkout makes of the part, at the same time."""
    found = await asyncio.gather(*(run(part, path, data) for path in (old, new)), return_exceptions=True)
    for one in found:
        if isinstance(one, BaseException):
            raise one
    return found[0], found[1]


async def run(part: str, checkout: Path, data: Path | None) -> Any:
    """All that comes out of a part in a process with the checkout's code: its own account, and what servers got."""
    with tempfile.TemporaryDirectory(prefix="golden-") as name:
        folder = Path(name)
        shutil.copy(LOGS, folder)
        async with places() as (urls, sent):
            await drive(part, checkout, folder, data, urls)
            requests = {place: readable(place, got) for place, got in sent.items() if got}
        own = json.loads((folder / "found.json").read_text())
        machine = [*MACHINE, (re.escape(str(folder)), "FOLDER"), (re.escape(str(checkout)), "CHECKOUT")]
        return normalised({**own, "sent": requests}, machine)


async def drive(part: str, checkout: Path, folder: Path, data: Path | None, urls: dict[str, str]) -> None:
    driver = Path(__file__).parent / "driver.py"
    given = [part, folder, *([data] if data else [])]
    surroundings = {
        **{name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")},
        **urls,
        # What differs by chance would be taken for a difference between the checkouts.
        "PYTHONHASHSEED": "0",
        "PYTHONPATH": str(checkout),
        "PYTHONDONTWRITEBYTECODE": "1",
        "NO_COLOR": "1",
        "TZ": "UTC",
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-P", str(driver), *map(str, given), cwd=checkout, env=surroundings,
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    _, complaints = await process.communicate()
    if process.returncode:
        last = "\n".join(complaints.decode(errors="replace").splitlines()[-15:])
        raise Failed(f"{part} in {checkout}: exit code {process.returncode}\n{last}")


def size(value: Any) -> int:
    """How many values there are in a JSON value."""
    if isinstance(value, dict):
        return sum(map(size, value.values()))
    return sum(map(size, value)) if isinstance(value, list) else 1


if __name__ == "__main__":
    sys.exit(main())
