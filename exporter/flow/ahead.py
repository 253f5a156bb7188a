"""Learn a source anew where more is learnt than has been: a clock was ahead, and found windows empty."""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime, timedelta

from exporter.flow.brain import BrainKeeper
from exporter.model import TimeRange, format_duration
from exporter.state.checkpoints import AHEAD, decided_until, decision_row
from exporter.state.file import State
from exporter.state.incidents import grouped_row, grouped_through
from exporter.state.learnt import unlearnt

log = logging.getLogger(__name__)

DOUBTED_FOR = timedelta(minutes=2)
"""A clock that says that what was learnt has not been yet is believed after so long: it may be wrong itself."""

DETAIL = "learnt from time that has not come yet"


async def is_certain(state: State, source: str, learnt_through: datetime, now: datetime) -> bool:
    """Whether the clock has said for long enough that what was learnt has not been yet. The first time is recorded."""
    since = await decided_until(state, source, AHEAD, learnt_through, DETAIL)
    if since is None or since > now:
        await state.write([decision_row(source, TimeRange(now, learnt_through), AHEAD, DETAIL, now)])
        told = "%s: learnt up to %s, which is ahead of now: waiting %s for the clock, then all is learnt anew"
        log.warning(told, source, learnt_through, format_duration(DOUBTED_FOR))
        return False
    return now - since >= DOUBTED_FOR


async def forget(state: State, source: str, keeper: BrainKeeper, lock: asyncio.Lock, now: datetime) -> None:
    """What cannot be told from what it should be: all that was learnt of a source, as at another fingerprint."""
    log.warning("%s: it was learnt from time that has not come yet: all is learnt anew", source)
    async with keeper.taken_back(), lock:
        writes = unlearnt(state, source)
        grouped = await grouped_through(state)
        if grouped is not None:
            writes.append(grouped_row(min(grouped, now)))
        await state.write(writes)
