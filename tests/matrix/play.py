"""One cell of faults: a story told to a daemon while all that it tells fails, kills in between, and what came of it."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

from tests.fakes.faulty import Fault
from tests.matrix.daemon import REPOSITORY, Daemon
from tests.matrix.judge import Account, accounts
from tests.matrix.places import EXTERNAL_URL, RESEND, SINKS, Places, places
from tests.matrix.story import LEAD, Life, Step, Story, story
from tests.servers.process import PATIENCE, free_port

LOOKS_EVERY = 0.25
"""Seconds between two looks at the places."""

LINGER = RESEND + 1.0
"""Seconds for which nothing more may go wrong once all is right: what is repeated comes at least once in them."""

SHORT_LINGER = 2.0

AT_ONCE = 4
"""Daemons that run side by side: most of the time they wait."""

KILLS_AFTER = 0.1, 0.9
"""The part of a fault's time in which the daemon is killed."""


@dataclass(frozen=True)
class Setting:
    """What is played: which story, for how many seconds of fault with how many kills, and how long is waited then."""

    seed: int
    seconds: float
    kills: int
    patience: float
    base: datetime
    short: bool = False

    @property
    def story(self) -> Story:
        return story(self.seed, self.seconds, self.base, self.short)


@dataclass(frozen=True)
class Played:
    """What each place held in the end, and how many seconds after the fault all were right; None if never."""

    fault: Fault
    accounts: Mapping[str, Account]
    settled: float | None

    def bad(self, calm: Played | None) -> dict[str, list[str]]:
        """The cells that are not as they should be, and why."""
        found = {sink: self.accounts[sink].against(calm.accounts[sink] if calm else None) for sink in SINKS}
        return {sink: reasons for sink, reasons in found.items() if reasons}


def setting(seed: int, seconds: float, kills: int, patience: float, short: bool = False) -> Setting:
    """Event time is now: how old news are is for delivery to judge."""
    return Setting(seed, seconds, kills, patience, datetime.now(UTC).replace(microsecond=0), short)


async def play(fault: Fault, of: Setting, folder: Path, checkout: Path = REPOSITORY) -> Played:
    """Tell the story under a fault, "calm" without any kill, and wait until all is right or patience ends."""
    async with places(folder) as told:
        daemon = Daemon(folder, configuration(told, folder), checkout)
        daemon.start()
        try:
            await listening(daemon)
            return await _play(fault, of, told, daemon)
        finally:
            daemon.kill()


def configuration(told: Places, folder: Path) -> dict[str, Any]:
    """Of a daemon that reads nothing: all that it tells it finds in its state file."""
    lines = folder / "empty.log"
    lines.touch()
    return {
        "external_url": EXTERNAL_URL,
        "web": {"listen": f"127.0.0.1:{free_port()}"},
        "sources": [{"type": "file", "name": "nothing", "path": str(lines)}],
        "sinks": told.sinks(),
    }


async def listening(daemon: Daemon) -> None:
    """Wait for the state file of a daemon that was started for the first time."""
    deadline = time.monotonic() + PATIENCE
    while not daemon.listens:
        if daemon.ended or time.monotonic() > deadline:
            raise RuntimeError(f"the daemon does not start:\n{daemon.log.read_text()[-2000:]}")
        await asyncio.sleep(LOOKS_EVERY)


async def _play(fault: Fault, of: Setting, told: Places, daemon: Daemon) -> Played:
    await begin(of.story.prologue, told, daemon)
    began = time.monotonic()
    lives = [asyncio.create_task(_tell(life, daemon, began)) for life in of.story.lives[1:]]
    await asyncio.sleep(LEAD)
    await told.become(fault)
    kills = await _kills(of, daemon, began) if fault != "calm" else []
    await _until(began + LEAD + of.seconds)
    await told.become("calm")
    over = time.monotonic()
    await asyncio.gather(*lives)

    async def look() -> dict[str, Account]:
        return await accounts(told, of.story, daemon.printed, kills)

    settled = await right(look, over + of.patience)
    await asyncio.sleep(SHORT_LINGER if of.short else LINGER)
    return Played(fault, await look(), settled - over if settled else None)


async def begin(prologue: Story, told: Places, daemon: Daemon) -> None:
    """Until every place has been told by a daemon that was started for the first time."""
    await asyncio.to_thread(daemon.tell, [row for step in prologue.steps for row in step.rows])
    deadline = time.monotonic() + PATIENCE
    if await right(lambda: accounts(told, prologue, daemon.printed, ()), deadline) is None:
        raise RuntimeError(f"the daemon tells nobody:\n{daemon.log.read_text()[-2000:]}")


async def _tell(life: Life, daemon: Daemon, began: float) -> None:
    for step in life:
        await _until(began + step.after)
        if step.part:
            await _reported(step, daemon)
        await asyncio.to_thread(daemon.tell, step.rows)


async def _reported(step: Step, daemon: Daemon) -> None:
    """The second report of a revision follows the first."""
    while True:
        if await asyncio.to_thread(daemon.reported, step.incident.id, step.incident.revision):
            return
        await asyncio.sleep(LOOKS_EVERY)


async def _kills(of: Setting, daemon: Daemon, began: float) -> list[float]:
    """Kill the daemon at moments that the seed chooses, and start it again; gives when."""
    chance = Random(of.seed)
    first, last = (LEAD + share * of.seconds for share in KILLS_AFTER)
    slot = (last - first) / of.kills
    kills = []
    for number in range(of.kills):
        await _until(began + first + slot * (number + chance.random()))
        kills.append(time.time())
        await asyncio.to_thread(daemon.kill)
        daemon.start()
    return kills


async def _until(moment: float) -> None:
    await asyncio.sleep(max(moment - time.monotonic(), 0))


async def right(
    look: Callable[[], Awaitable[Mapping[str, Account]]], deadline: float, every: float = LOOKS_EVERY
) -> float | None:
    """When no place lacked anything any more."""
    while time.monotonic() < deadline:
        if not any(account.lacks for account in (await look()).values()):
            return time.monotonic()
        await asyncio.sleep(every)
    return None


async def matrix(
    faults: Sequence[Fault], of: Setting, folder: Path, checkout: Path = REPOSITORY, at_once: int = AT_ONCE
) -> tuple[list[Played], Played]:
    """The story under each of the faults, and what a calm run of it leaves."""
    free = asyncio.Semaphore(at_once)

    async def one(fault: Fault) -> Played:
        async with free:
            own = folder / fault.replace(", ", "-").replace(" ", "-")
            own.mkdir(parents=True)
            return await play(fault, of, own, checkout)

    calm, *found = await asyncio.gather(*(one(fault) for fault in ("calm", *faults)))
    return found, calm


def played(
    faults: Sequence[Fault], of: Setting, checkout: Path = REPOSITORY, at_once: int = AT_ONCE
) -> tuple[list[Played], Played]:
    """`matrix`, for those who have no event loop and no folder."""
    with tempfile.TemporaryDirectory(prefix="matrix-") as folder:
        return asyncio.run(matrix(faults, of, Path(folder), checkout, at_once))
