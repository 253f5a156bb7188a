"""A stand-in for the published base image, out of Debian's packages: for where no image can be pulled.

It proves what the Dockerfile does, not what the published base holds.
"""

from __future__ import annotations

import os
import platform
import shutil
import ssl
from pathlib import Path

from tests.image.process import Unavailable, output

PACKAGES = ("python3", "python3-venv", "python3-pip", "ca-certificates")
NOT_IN_AN_IMAGE = ("var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "usr/share/man", "usr/share/locale")
CERTIFICATES = "etc/ssl/certs/ca-certificates.crt"

ENVIRONMENT = {
    "PATH": "/usr/local/bin:/usr/local/sbin:/usr/bin:/usr/sbin:/bin:/sbin",
    # Those of this machine, for what it reaches the world through may have its own.
    "SSL_CERT_FILE": f"/{CERTIFICATES}",
    "PIP_CERT": f"/{CERTIFICATES}",
    "UV_SYSTEM_CERTS": "1",
}


def make(root: Path, tag: str) -> None:
    """Fill a directory with what `python:TAG`, such as 3.11-slim-bookworm, stands for. Raises Unavailable."""
    version, _, suite = tag.partition("-slim-")
    mirror = mirror_of(suite)
    if os.geteuid():
        raise Unavailable("debootstrap wants root")
    command = ["debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", suite, str(root), mirror]
    output(command)
    for name in NOT_IN_AN_IMAGE:
        shutil.rmtree(root / name, ignore_errors=True)
    python = root / f"usr/bin/python{version}"
    if not python.exists():
        raise Unavailable(f"Debian's {suite} has no Python {version}")
    for name in ("python", "python3"):
        (root / "usr/local/bin" / name).symlink_to(f"/usr/bin/python{version}")
    for mark in (root / "usr/lib").glob("python3*/EXTERNALLY-MANAGED"):
        mark.unlink()
    known = ssl.get_default_verify_paths().cafile
    if known:
        shutil.copyfile(known, root / CERTIFICATES)


def mirror_of(suite: str) -> str:
    """Where this machine has its own packages of a Debian release from. Raises Unavailable."""
    if platform.freedesktop_os_release().get("ID") != "debian":
        raise Unavailable("this machine is no Debian: it knows no mirror of it")
    named = output(["apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE)", "Created-By: Packages"])
    for line in named.splitlines():
        mirror, _, release = line.partition(" ")
        if release == suite:
            return mirror
    raise Unavailable(f"the package sources of this machine name no mirror of Debian's {suite}")
