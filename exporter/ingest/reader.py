"""Read a range of a source page by page, and reduce it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from exporter.ingest import reduction
from exporter.ingest.settings import ReductionSettings
from exporter.model import Reduced, Source, TimeRange


async def read_and_reduce(
    source: Source, time_range: TimeRange, settings: ReductionSettings, most: int | None = None
) -> Reduced:
    """All that is needed of a range, page by page, of `most` lines; the next page is fetched while one is reduced."""
    parts: list[Reduced] = []
    pending: asyncio.Task[Reduced] | None = None
    pages = source.query(time_range)
    try:
        async for page in pages:
            if pending:
                parts.append(await pending)
            kept = page if most is None else page.head(most)
            pending = asyncio.ensure_future(asyncio.to_thread(reduction.reduce, kept, settings))
            if most is not None:
                most -= kept.height
                if not most:
                    break
    finally:
        if isinstance(pages, AsyncGenerator):
            await pages.aclose()
    if pending:
        parts.append(await pending)
    return await asyncio.to_thread(reduction.merge, parts)
