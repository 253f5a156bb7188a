"""Who can build the image and run it here: docker, podman, or buildah, which needs no service."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from tests.image import base
from tests.image.process import CACHE, ROOT, Unavailable, output, shown

NAME = "log-anomaly-exporter:test"
USER = "10001:10001"
STATE = "/var/lib/log-anomaly-exporter"
LISTENS = 9464
CONFIGURATION = "/etc/log-anomaly-exporter/exporter.yml"

STORE = CACHE / "image-1"
"""What buildah keeps: the base and the last image. Another number where the stand-in is made otherwise."""

CONFINED = f"""
root=$1 configuration=$2
shift 2
mount --bind "$root" "$root"
mount --rbind /proc "$root/proc"
mount --rbind /dev "$root/dev"
for place in /tmp {STATE}; do mount -t tmpfs -o mode=1777 tmpfs "$root$place"; done
if [ -n "$configuration" ]; then install -D -m 644 "$configuration" "$root{CONFIGURATION}"; fi
mount -o remount,bind,ro "$root"
exec chroot --userspec={USER} "$root" env -i "$@"
"""
"""What `docker run --read-only` does for a root: nothing of it can be written but what is mounted there."""


class Engine(Protocol):
    """Builds the image of the Dockerfile, and runs it as `USER` with a root that it cannot write to."""

    name: str

    def build(self) -> None: ...

    def command(
        self, *arguments: str, program: str = "", configuration: Path | None = None, port: int = 0
    ) -> list[str]:
        """What runs it in the foreground, with other arguments than its own, or another program.

        The configuration is where the image looks for it; the port of this machine leads to the one that it listens on.
        """

    def close(self) -> None: ...


def base_name() -> str:
    """Of the image that the Dockerfile begins with."""
    found = re.search(r"^ARG PYTHON=(\S+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    if found is None:
        raise ValueError("the Dockerfile names no base")
    return f"python:{found[1]}"


class Service:
    """docker or podman: what both understand."""

    def __init__(self, name: str) -> None:
        self.name = name
        output([name, "info"])
        if not output([name, "images", "--quiet", base_name()]):
            output([name, "pull", base_name()])

    def build(self) -> None:
        shown([self.name, "build", "--tag", NAME, str(ROOT)])

    def command(
        self, *arguments: str, program: str = "", configuration: Path | None = None, port: int = 0
    ) -> list[str]:
        confined = ["--user", USER, "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
        places = [part for place in ("/tmp", STATE) for part in ("--tmpfs", f"{place}:mode=1777")]
        given = ["--volume", f"{configuration}:{CONFIGURATION}:ro"] if configuration else []
        reached = ["--publish", f"127.0.0.1:{port}:{LISTENS}"] if port else []
        instead = ["--entrypoint", program] if program else []
        return [self.name, "run", "--rm", *confined, *places, *given, *reached, *instead, NAME, *arguments]

    def close(self) -> None:
        pass


class Buildah:
    """buildah in a store of its own; what it built runs in a changed root, in the network of this machine."""

    name = "buildah"

    def __init__(self) -> None:
        if os.geteuid():
            raise Unavailable("buildah is used as root only")
        output(["buildah", "--version"])
        STORE.mkdir(parents=True, exist_ok=True)
        self._driver = _driver()
        self._root = Path()
        self._image: Mapping[str, Any] = {}
        self.close()
        if not self._ask("images", "--quiet", "--filter", f"reference={base_name()}"):
            self._get_base()

    def build(self) -> None:
        # Of Docker's form, for the other one has no HEALTHCHECK.
        options = ("--pull-never", "--format", "docker", "--tag", NAME)
        shown(self._command("build", *options, str(ROOT)), self._environment)
        self._image = json.loads(self._ask("inspect", "--type", "image", NAME))["OCIv1"]["config"]
        self._root = Path(self._ask("mount", self._ask("from", "--pull-never", NAME)))

    def command(
        self, *arguments: str, program: str = "", configuration: Path | None = None, port: int = 0
    ) -> list[str]:
        of = self._image
        started = [program] if program else of["Entrypoint"]
        # There is no port but those of this machine: the same address, another port.
        variables = [each.replace(f":{LISTENS}", f":{port}") if port else each for each in of["Env"]]
        inside = ["--chdir", of["WorkingDir"], *variables, *started, *arguments]
        apart = ["unshare", "--mount", "--propagation", "private", "sh", "-euc", CONFINED, "sh"]
        return [*apart, str(self._root), str(configuration or ""), *inside]

    def close(self) -> None:
        self._ask("rm", "--all")
        # What had the name before.
        self._ask("rmi", "--prune")

    @property
    def _environment(self) -> Mapping[str, str]:
        return {"BUILDAH_ISOLATION": "chroot", "STORAGE_DRIVER": self._driver}

    def _command(self, *arguments: str) -> list[str]:
        return ["buildah", "--root", str(STORE / self._driver), "--runroot", str(STORE / "run"), *arguments]

    def _ask(self, *arguments: str) -> str:
        return output(self._command(*arguments), self._environment)

    def _get_base(self) -> None:
        try:
            self._ask("pull", "--quiet", base_name())
            return
        except Unavailable as error:
            print(f"{error}; Debian's packages stand in for it", flush=True)
        container = self._ask("from", "scratch")
        base.make(Path(self._ask("mount", container)), base_name().rpartition(":")[2])
        variables = [part for pair in base.ENVIRONMENT.items() for part in ("--env", "=".join(pair))]
        self._ask("config", *variables, container)
        self._ask("commit", "--quiet", "--rm", container, base_name())


def _driver() -> str:
    """How layers are kept: one over the other where the kernel lets us, else as copies, which takes longer."""
    with tempfile.TemporaryDirectory(dir=STORE) as name:
        lower, upper, work, merged = (Path(name, each) for each in ("lower", "upper", "work", "merged"))
        for directory in (lower, upper, work, merged):
            directory.mkdir()
        over = f"lowerdir={lower},upperdir={upper},workdir={work}"
        mounted = ["mount", "-t", "overlay", "overlay", "-o", over, str(merged)]
        # In a namespace of its own, where it goes with the command.
        can = subprocess.run(["unshare", "--mount", *mounted], capture_output=True, check=False).returncode == 0
    return "overlay" if can else "vfs"


@contextmanager
def engine() -> Iterator[Engine]:
    """The first that can. Raises Unavailable with what each says."""
    said = []
    for make in (lambda: Service("docker"), lambda: Service("podman"), Buildah):
        try:
            found: Engine = make()
        except Unavailable as error:
            said.append(str(error))
            continue
        try:
            yield found
        finally:
            found.close()
        return
    raise Unavailable("; ".join(said))
