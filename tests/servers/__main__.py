"""`python -m tests.servers build [NAME...]` builds test servers now; `list` says which there are."""

from __future__ import annotations

import argparse
import sys

from tests.servers.builds import BUILDS, CACHE, provision
from tests.servers.process import Unavailable


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.servers", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    build = verbs.add_parser("build", help=f"build into {CACHE} what this machine lacks")
    build.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BUILDS)}; all without it")
    verbs.add_parser("list", help="say what is there")
    chosen = parser.parse_args()
    if chosen.verb == "list":
        return _list()
    if unknown := [name for name in chosen.names if name not in BUILDS]:
        parser.error(f"{unknown[0]!r} is not one of {', '.join(BUILDS)}")
    # All of them are tried, so that one run names everything that is missing.
    return max([_build(name) for name in chosen.names or BUILDS])


def _list() -> int:
    for build in BUILDS.values():
        print(f"{build.name:14} {build.version:10} {build.found() or 'not built'}")
    return 0


def _build(name: str) -> int:
    try:
        program = provision(name, ask=True, tell=lambda line: print(line, flush=True))
    except Unavailable as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 1
    print(f"{name}: {program}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
