"""The flow on one screen: poll each source, group over all of them, report, deliver; then what a model makes of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from exporter.delivery.deliver import Deliverer
from exporter.delivery.enrich import Enricher
from exporter.flow.group import Grouper
from exporter.flow.source import SourcePipeline
from exporter.incidents.tracker import Told
from exporter.model import Clock


@dataclass
class Flow:
    """The parts that a line goes through. What they have to do stands in the state file, so any of them can die.

    Without an enricher nothing is reported and so nothing delivered. Without `alarm_budget` (incidents a day) the
    threshold of incidents is not set from what warm-up found. What came and went in an outage longer than
    `digest_after` pages nobody.
    """

    clock: Clock
    sources: tuple[SourcePipeline, ...]
    grouper: Grouper
    enricher: Enricher | None = None
    deliverers: tuple[Deliverer, ...] = ()
    alarm_budget: float | None = None
    digest_after: timedelta | None = None


async def poll(flow: Flow, source: SourcePipeline) -> int:
    """Bring one source up to now, less its delay: what came late first, then what is new. Returns the lines read.

    Late lines are looked for once a window: what they change is grouped with the next.
    query -> reduce -> judge (mine, observe, detect) -> commit, window by window (`flow.source`, `flow.brain`).
    """
    now = flow.clock.now()
    await source.enter(now)
    until = source.due(now)
    if not await source.is_swept(until):
        await source.sweep(until)
    return await source.advance(until)


async def group(flow: Flow) -> list[Told]:
    """Anomalies to incidents, up to where all sources have been judged. Returns what there is to tell."""
    horizon = await judged_through(flow)
    if horizon is None:
        return []
    if flow.alarm_budget is not None:
        await flow.grouper.set_threshold(flow.alarm_budget)
    if flow.digest_after is not None:
        await flow.grouper.notice_outage(flow.clock.now(), flow.digest_after)
    return await flow.grouper.group(horizon)


async def enrich(flow: Flow) -> int:
    """The report of each revision that has none, with what memory knows of its like. Returns how many."""
    return await flow.enricher.enrich() if flow.enricher else 0


async def recall(flow: Flow) -> int:
    """What memory knew of it later, as another report of the same revision. Returns how many."""
    return await flow.enricher.late() if flow.enricher else 0


async def deliver(deliverer: Deliverer, gather: bool = True) -> int:
    """What one place has not had yet, and what must be repeated; with `gather`, a digest stays open for a while."""
    return await deliverer.deliver(gather)


async def narrate(flow: Flow) -> int:
    """What a model makes of each open incident, as another report of the same revision. Returns how many."""
    return await flow.enricher.narrate() if flow.enricher else 0


Poll = Callable[[Flow, SourcePipeline], Awaitable[object]]


async def once(flow: Flow, poll: Poll = poll) -> list[Told]:
    """All of it once, in order. The daemon runs the same functions as jobs of their own, each at its own pace."""
    for source in flow.sources:
        await poll(flow, source)
    told = await group(flow)
    await enrich(flow)
    await recall(flow)
    await deliver_to_all(flow)
    await narrate(flow)
    await deliver_to_all(flow)
    return told


async def deliver_to_all(flow: Flow) -> None:
    """No place waits for another."""
    await asyncio.gather(*(deliver(deliverer, gather=False) for deliverer in flow.deliverers))


async def judged_through(flow: Flow) -> datetime | None:
    """Up to when every source that is not stalled has been judged; None while the first warm-up lasts.

    What was read before it was complete, for the clock was ahead, counts when it was read again.
    """
    # What was learnt may be learnt anew while incidents go on: the threshold waits for all sources then, too.
    first = not await flow.grouper.has_threshold()
    ends = []
    for source in flow.sources:
        checkpoint = await source.checkpoint()
        warming = checkpoint is None or checkpoint.read_through < checkpoint.warm_until
        if source.stalled or (warming and not first):
            continue
        if checkpoint is None or warming or source.complete_through is None:
            return None
        ends.append(min(checkpoint.read_through, source.complete_through))
    return min(ends) if ends else None
