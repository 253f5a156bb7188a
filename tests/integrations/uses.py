"""Each kind of integration, built from its settings and used once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from exporter.model import Context, SinkSettings, SourceSettings, TimeRange
from tests import samples

DAY = TimeRange(datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 2, tzinfo=UTC))


async def count(settings: SourceSettings) -> None:
    source = settings.build(Context())
    try:
        await source.count(DAY, timedelta(hours=1))
    finally:
        await source.close()


async def deliver(settings: SinkSettings, text: str | None = None) -> None:
    """Tell of the sample incident, of which one line says `text`."""
    (sink,) = settings.places(Context())
    try:
        await sink.deliver(samples.notification(text=text))
    finally:
        await sink.close()
