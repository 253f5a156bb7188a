"""Install as README says, each way into an environment of its own, from a copy of what is checked out."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ROOT = Path(__file__).parent.parent
NEEDED = ("exporter", "integrations", "pyproject.toml", "constraints.txt", "README.md", "LICENSE")


def ways() -> list[str]:
    """The lines of README that install something, without their comments."""
    text = (ROOT / "README.md").read_text().partition("\n## Install\n")[2].partition("\n## ")[0]
    return [line.partition("  #")[0].strip() for line in re.findall(r"^    (.+)$", text, re.MULTILINE)]


def can_build() -> bool:
    """Whether what builds the project is here, and need not be fetched."""
    try:
        return int(version("setuptools").split(".")[0]) >= 77
    except PackageNotFoundError:
        return False


def checkout(folder: Path) -> Path:
    """A copy, for to build leaves something behind."""
    copy = folder / "checkout"
    copy.mkdir()
    for name in NEEDED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, copy / name)
    return copy


class Environment:
    """A virtual environment whose programs are found first, and the home of somebody who has nothing else."""

    def __init__(self, folder: Path, *, bare: bool) -> None:
        """Without `bare` it has what this process has, so that nothing is looked for elsewhere."""
        self.home = folder
        self._bin = folder / "venv" / "bin"
        whole = () if bare else ("--without-pip",)
        subprocess.run([sys.executable, "-m", "venv", *whole, str(folder / "venv")], check=True)
        if not bare:
            self._share()

    def _share(self) -> None:
        (purelib,) = (self._bin.parent / "lib").glob("python*/site-packages")
        (purelib / "shared.pth").write_text(sysconfig.get_paths()["purelib"])
        pip = self._bin / "pip"
        pip.write_text(f'#!/bin/sh\nexec "{self._bin}/python" -m pip "$@"\n')
        pip.chmod(0o755)

    def run(self, line: str, cwd: Path, **more: str) -> str:
        """What a command prints. Raises AssertionError with its last words."""
        done = subprocess.run(
            ["sh", "-ec", line], cwd=cwd, env=self._variables(more), capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise AssertionError(f"{line}: {done.stdout[-1000:]}{done.stderr[-2000:]}")
        return done.stdout.strip()

    def _variables(self, more: Mapping[str, str]) -> Mapping[str, str]:
        path = os.pathsep.join((str(self._bin), str(self.home / ".local/bin"), os.environ["PATH"]))
        kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
        return {**kept, "HOME": str(self.home), "PATH": path, **more}
