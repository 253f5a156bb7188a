"""`python -m tests.image build` builds the image, `test` tries it as well; both say why where nobody here can."""

from __future__ import annotations

import argparse
import sys
import time

from tests.image.engines import engine
from tests.image.process import Unavailable
from tests.image.trial import tried


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.image", description=__doc__)
    parser.add_argument("verb", choices=["build", "test"])
    verb = parser.parse_args().verb
    began = time.monotonic()
    try:
        with engine() as found:
            found.build()
            print(f"image: built by {found.name} after {time.monotonic() - began:.0f} s", flush=True)
            wrong = tried(found) if verb == "test" else []
    except Unavailable as error:
        print(f"image: skipped: {error}")
        return 0
    for one in wrong:
        print(f"image: {one}")
    print(f"image: {'FAILED' if wrong else 'done'} after {time.monotonic() - began:.0f} s")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
