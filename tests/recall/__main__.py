"""Print how past incidents are recalled: `python -m tests.recall [--tune] [--without-model] [--wrong]`."""

from __future__ import annotations

import argparse
from pathlib import Path

from tests.checkouts import REPOSITORY
from tests.recall.measure import cases, measured, model
from tests.recall.signatures import signatures


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.recall", description=__doc__)
    parser.add_argument("--tune", action="store_true", help="the half to tune on, not that to report")
    parser.add_argument("--checkout", type=Path, default=REPOSITORY, metavar="DIR", help="default: this one")
    parser.add_argument("--without-model", action="store_true")
    parser.add_argument("--wrong", action="store_true", help="name what went wrong")
    options = parser.parse_args()
    asked = cases(report=not options.tune)
    if options.checkout == REPOSITORY:
        same = signatures(report=not options.tune)
        print(f"signatures: equal in {same.equal} of {same.kinds} kinds that came again, ", end="")
        print(f"and in {same.across} of {same.pairs} pairs of different kinds", flush=True)
        for line in same.wrong if options.wrong else ():
            print(f"      {line}")
    for path in [""] if options.without_model else ["", model()]:
        print("with the model" if path else "without a model")
        for name, tally in measured(asked, path, options.checkout.resolve()).items():
            seen = f"recall@1 {tally.first / tally.asked:.2f}, @3 {tally.among / tally.asked:.2f}; "
            print(
                f"  {name:<30} {tally.asked:>4}  {'' if name.startswith('unseen') else seen}"
                f"told as the same {tally.same / tally.asked:.3f}, shown {tally.any / tally.asked:.3f}",
                flush=True,
            )
            if options.wrong:
                for line in tally.wrong:
                    print(f"      {line}")


if __name__ == "__main__":
    main()
