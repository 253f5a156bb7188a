"""Ask the code of any checkout, in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parent.parent
"""The checkout that is at work."""


def answers(driver: Path, tasks: Iterable[Mapping[str, Any]], checkout: Path, **environment: str) -> list[str]:
    """The lines that a driver prints: it is given the tasks as lines of JSON. Raises RuntimeError where it fails."""
    done = subprocess.run(
        [sys.executable, "-P", str(driver)],
        input="".join(f"{json.dumps(task)}\n" for task in tasks),
        capture_output=True,
        text=True,
        cwd=checkout,
        env={**os.environ, "PYTHONPATH": str(checkout), **environment},
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{checkout}: {done.stderr[-2000:]}")
    return done.stdout.splitlines()
