"""Print what is told of each failure of a seed: `python -m tests.story SEED [CHECKOUT]`."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.checkouts import REPOSITORY
from tests.story.cases import cases
from tests.story.judge import verdicts
from tests.story.play import play
from tests.story.recount import recounted

if __name__ == "__main__":
    seed, *checkout = sys.argv[1:]
    for case in cases(int(seed)):
        played = play(case, Path(*checkout).resolve() if checkout else REPOSITORY)
        for verdict in verdicts(played):
            print(verdict, flush=True)
        for told in played.told:
            for one in recounted(played.lines, told):
                if one.wrong:
                    print(f"{one.said} said, {one.true} counted: {one.text}", flush=True)
