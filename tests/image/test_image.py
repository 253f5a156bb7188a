"""The parts of what builds and tries the image that need no image: `make image-test` has the rest."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.image.base import mirror_of
from tests.image.process import ROOT, Unavailable


def test_where_nobody_can_build_it_says_so_and_fails_nobody(tmp_path: Path) -> None:
    environment = {"PATH": str(tmp_path), "HOME": str(tmp_path)}
    command = [sys.executable, "-m", "tests.image", "test"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("image: skipped: there is no docker; there is no podman; ")


def test_a_mirror_is_the_one_that_this_machine_has_its_own_packages_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = tmp_path / "apt-get"
    named.write_text("#!/bin/sh\necho https://one.example/debian/ stable\necho https://two.example/debian/ other\n")
    named.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr("platform.freedesktop_os_release", lambda: {"ID": "debian"})
    assert mirror_of("other") == "https://two.example/debian/"
    with pytest.raises(Unavailable, match="no mirror of Debian's third"):
        mirror_of("third")
