"""Print what of records of several lines, fields and durations is read right: `python -m tests.records`."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.records.measure import every


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        results = list(every(Path(folder)))
    for name, problems in results:
        print(f"  {name:<38} {'; '.join(problems) or 'right'}")
    print(f"right {sum(not problems for _, problems in results)} of {len(results)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
