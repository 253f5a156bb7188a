"""Print what was told of each case: `python -m tests.lives STORY SEED [CHECKOUT]`."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.checkouts import REPOSITORY
from tests.lives.judge import Judge
from tests.lives.play import play
from tests.lives.stories import STORIES

if __name__ == "__main__":
    name, seed, *checkout = sys.argv[1:]
    played = play(STORIES[name](int(seed)), Path(*checkout).resolve() if checkout else REPOSITORY)
    judge = Judge(played)
    for verdict in judge.verdicts():
        print(verdict)
    print(f"pages elsewhere: {judge.elsewhere}; {played.seconds:.0f} s of processor time")
