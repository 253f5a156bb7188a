"""Many incidents at once: what each place is told of them, and what memory the daemon takes for it."""

from __future__ import annotations

import asyncio
import re
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from string import ascii_lowercase
from typing import Any

from tests.matrix.daemon import REPOSITORY, Daemon
from tests.matrix.judge import Account, accounts, blocks
from tests.matrix.places import Places, places
from tests.matrix.play import LINGER, begin, configuration, listening, right
from tests.matrix.story import Kind, Life, Story, life

WITHIN = 60.0
"""Seconds in which they open, in event time."""

LOOKS_EVERY = 3.0

RESEND = "60s"
"""As it is by default: who repeats a thousand alerts more often has other worries."""

DIGESTS = ("slack bot", "slack webhook", "console")
"""Places where a person reads: they get one digest."""


@dataclass(frozen=True)
class Burst:
    """What each place held in the end, seconds until all were right, and bytes that memory grew by meanwhile."""

    accounts: Mapping[str, Account]
    settled: float | None
    grown: int

    @property
    def bad(self) -> dict[str, list[str]]:
        found = {sink: account.against(None) for sink, account in self.accounts.items()}
        return {sink: reasons for sink, reasons in found.items() if reasons}


def burst(number: int, patience: float, checkout: Path = REPOSITORY) -> Burst:
    """Tell a daemon so many incidents at once, of which each third is over already."""
    with tempfile.TemporaryDirectory(prefix="burst-") as folder:
        return asyncio.run(_burst(number, patience, Path(folder), checkout))


async def _burst(number: int, patience: float, folder: Path, checkout: Path) -> Burst:
    base = datetime.now(UTC).replace(microsecond=0)
    # What is loaded when it is needed first is no growth.
    first = Story((life(0, "the-first", ("open",), (0,), base),), 0)
    lives = tuple(_one(index, base + timedelta(seconds=index * WITHIN // number)) for index in range(number))
    async with places(folder) as told:
        daemon = Daemon(folder, _configuration(told, folder), checkout)
        daemon.start()
        try:
            await listening(daemon)
            await begin(first, told, daemon)
            return await _measured(told, daemon, first, lives, patience)
        finally:
            daemon.kill()


def _configuration(told: Places, folder: Path) -> dict[str, Any]:
    whole = configuration(told, folder)
    sinks = [{**sink, "resend": RESEND} if sink["type"] == "alertmanager" else sink for sink in whole["sinks"]]
    return {**whole, "sinks": sinks}


def _one(index: int, at: datetime) -> Life:
    kinds: tuple[Kind, ...] = ("open", "resolve") if index % 3 == 0 else ("open",)
    # Names that only differ in a number are alike to memory.
    name = "".join(ascii_lowercase[index // 26**place % 26] for place in range(3))
    return life(1, f"service-{name}", kinds, range(len(kinds)), at)


async def _measured(told: Places, daemon: Daemon, first: Story, lives: Sequence[Life], patience: float) -> Burst:
    whole = replace(first, lives=(*first.lives, *lives))
    before, began = daemon.resident, time.monotonic()
    peak = before
    await asyncio.to_thread(daemon.tell, [row for of in lives for step in of for row in step.rows])

    async def look() -> dict[str, Account]:
        nonlocal peak
        peak = max(peak, daemon.resident)
        found = await accounts(told, whole, daemon.printed, ())
        return {**found, **_digests(told, daemon.printed, first, lives)}

    settled = await right(look, began + patience, LOOKS_EVERY)
    await asyncio.sleep(LINGER)
    return Burst(await look(), settled - began if settled else None, peak - before)


def _digests(told: Places, console: str, first: Story, lives: Sequence[Life]) -> dict[str, Account]:
    [known] = first.ids
    bot, hook = (
        [text for text in (f"{message.text}\n{message.blocks}" for message in slack.messages) if known not in text]
        for slack in (told.bot, told.hook)
    )
    ids = {of[0].incident.id for of in lives}
    single = [text for event_id, text in blocks(console, Story(tuple(lives), 0)) if event_id.partition(":")[0] in ids]
    # What is left of a console without the incident that was told before.
    rest = console.partition(f"/incidents/{known}")[2]
    return {
        "slack bot": digest(bot, lives),
        "slack webhook": digest(hook, lives),
        "console": digest([rest] if rest.strip() and not single else single, lives),
    }


def digest(texts: Sequence[str], lives: Sequence[Life]) -> Account:
    """One text that lists the incidents, as many as fit, and says how many more there are."""
    found = Account()
    services = {of[0].incident.service for of in lives}
    listed = [services.intersection(re.findall(r"service-[a-z]{3}", text)) for text in texts]
    if len(texts) > 1:
        found.wrong.append(f"{len(texts)} messages, not one digest")
    elif not texts or not listed[0]:
        found.lacks.append("no digest lists them")
    elif (more := len(services) - len(listed[0])) and not re.search(rf"\b({more}|{more:,})\b", texts[0]):
        found.lacks.append(f"the digest does not say that there are {more} more than the {len(listed[0])} it lists")
    return found
