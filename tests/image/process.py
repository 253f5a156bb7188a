"""Programs that others are asked to run, and what they say when they cannot."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "log-anomaly-exporter"
ROOT = Path(__file__).parent.parent.parent


class Unavailable(Exception):
    """This machine cannot build or run an image; the message says why."""


def output(command: Sequence[str], environment: Mapping[str, str] | None = None) -> str:
    """What a program prints. Raises Unavailable, with its last words, where it fails or is not there."""
    if shutil.which(command[0]) is None:
        raise Unavailable(f"there is no {command[0]}")
    given = {**os.environ, **(environment or {})}
    done = subprocess.run(command, env=given, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or "it says nothing").splitlines()
        raise Unavailable(f"{command[0]} fails: {said[-1][:300]}")
    return done.stdout.strip()


def shown(command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
    """Run a program that says what it does. Raises CalledProcessError."""
    subprocess.run(command, env={**os.environ, **(environment or {})}, check=True)
