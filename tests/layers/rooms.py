"""Places in which processes see their own files and addresses alone: namespaces, or, where there are none, folders.

With namespaces each room has cables to those that it may speak to, and the folders of others are covered.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from tests.servers.process import free_port

LOOPBACK = "127.0.0.1"


def can_part() -> bool:
    """Whether this process may make network and mount namespaces, and join them by cables."""
    if not all(map(shutil.which, ("ip", "unshare", "nsenter", "mount"))):
        return False
    tried = "ip link add t0 type veth peer name t1 && ip link del t0"
    command = ["unshare", "--net", "--mount", "sh", "-c", tried]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@dataclass
class Room:
    """Where one process lives: its folder, and its addresses by who asks."""

    name: str
    folder: Path
    holder: subprocess.Popen[bytes] | None = None
    """Holds the namespaces while processes in them come and go."""
    addresses: dict[str, str] = field(default_factory=dict)
    port: int = 9464

    def inside(self, command: Sequence[str]) -> list[str]:
        """The command, in this room."""
        if self.holder is None:
            return list(command)
        here = f"PYTHONPATH={Path.cwd()}"
        return ["nsenter", "-t", str(self.holder.pid), "-n", "-m", "--", "env", here, *command]

    def run(self, *command: str) -> None:
        subprocess.run(self.inside(command), check=True, capture_output=True)

    def start(self, command: Sequence[str], output: int | IO[bytes], errors: IO[bytes]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self.inside(command), stdout=output, stderr=errors, cwd=Path.cwd())

    def url(self, asker: str) -> str:
        """How somebody reaches what listens here."""
        return f"http://{self.addresses.get(asker, LOOPBACK)}:{self.port}"


@contextmanager
def rooms(
    folder: Path, names: Sequence[str], cables: Sequence[tuple[str, str]], apart: bool
) -> Iterator[dict[str, Room]]:
    """A room for each name, with cables between some of them; the last of the names is where we are ourselves."""
    with ExitStack() as stack:
        made = {name: Room(name, folder / name) for name in names}
        for name, room in made.items():
            room.folder.mkdir(parents=True, exist_ok=True)
            if apart and name != names[-1]:
                room.holder = subprocess.Popen(["unshare", "--net", "--mount", "sleep", "infinity"])
                stack.callback(_end, room.holder)
            elif not apart:
                room.port = free_port()
        if apart:
            for room in made.values():
                _wait_for(room)
            for number, (one, other) in enumerate(cables):
                _join(made[one], made[other], number)
            for room in made.values():
                _cover(room, [other.folder for other in made.values() if other is not room])
        yield made


def _wait_for(room: Room) -> None:
    """Until its namespaces are its own: before that it is in ours."""
    if room.holder is None:
        return
    ours = Path("/proc/self/ns/mnt").readlink()
    while Path(f"/proc/{room.holder.pid}/ns/mnt").readlink() == ours:
        if room.holder.poll() is not None:
            raise RuntimeError("a namespace cannot be made")
    room.run("ip", "link", "set", "lo", "up")


def _join(one: Room, other: Room, number: int) -> None:
    """A cable, at whose ends both have an address for the other."""
    ends = [(f"lae{number}a", one, other, 1), (f"lae{number}b", other, one, 2)]
    subprocess.run(["ip", "link", "add", ends[0][0], "type", "veth", "peer", "name", ends[1][0]], check=True)
    for name, own, peer, last in ends:
        if own.holder is not None:
            subprocess.run(["ip", "link", "set", name, "netns", str(own.holder.pid)], check=True)
        address = f"10.77.{number}.{last}"
        own.run("ip", "addr", "add", f"{address}/30", "dev", name)
        own.run("ip", "link", "set", name, "up")
        own.addresses[peer.name] = address


def _cover(room: Room, folders: Sequence[Path]) -> None:
    if room.holder is not None:
        for folder in folders:
            room.run("mount", "-t", "tmpfs", "none", str(folder))


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
