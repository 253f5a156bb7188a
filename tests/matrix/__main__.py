"""Play a story under faults, and say of each place what is to be said against it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.fakes.faulty import FAULTS
from tests.matrix.daemon import REPOSITORY
from tests.matrix.play import AT_ONCE, played, setting


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.matrix", description=__doc__)
    parser.add_argument("faults", nargs="*", metavar="FAULT", help=f"by default all: {'; '.join(FAULTS)}")
    parser.add_argument("--checkout", type=Path, default=REPOSITORY, help="whose daemon it is; default: this one's")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=60, help="how long a fault lasts")
    parser.add_argument("--kills", type=int, default=3, help="how often the daemon is killed in it")
    parser.add_argument("--patience", type=float, default=60, help="how long is waited afterwards")
    parser.add_argument("--at-once", type=int, default=AT_ONCE, help="daemons that run side by side")
    parser.add_argument("--short", action="store_true", help="fewer incidents")
    chosen = parser.parse_args()
    if unknown := [fault for fault in chosen.faults if fault not in FAULTS]:
        parser.error(f"{unknown[0]!r} is not one of {'; '.join(FAULTS)}")
    of = setting(chosen.seed, chosen.seconds, chosen.kills, chosen.patience, chosen.short)
    found, calm = played(chosen.faults or FAULTS, of, chosen.checkout.resolve(), chosen.at_once)
    bad = 0
    for one in (calm, *found):
        reasons = one.bad(None if one is calm else calm)
        bad += len(reasons)
        when = "never" if one.settled is None else f"{one.settled:.0f} s after it"
        print(f"{one.fault}: {len(reasons)} bad; all was right {when}", flush=True)
        for sink, said in reasons.items():
            print(f"  {sink}: {len(said)}: {'; '.join(said[:4])}", flush=True)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
