"""What an operator may set about the flow."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

from exporter.model import Duration, Settings


class WarmupSettings(Settings):
    """What is learnt from the past before the first alarm."""

    history: Duration = timedelta(days=7)
    """How far back the past is read at first start."""
    budget: Duration = timedelta(minutes=10)
    """How long reading it may take. Where all of it would take longer, half goes to the windows nearest to now, and the
    rest to the same hour of earlier days, then to pieces between."""


@dataclass(frozen=True)
class Pace:
    """When a source is read: `query_offset` after the fact, again for `late_window`, at most `max_catch_up` later.

    Without `max_catch_up` everything is read, however long ago it was.
    """

    query_offset: timedelta = timedelta(0)
    late_window: timedelta = timedelta(0)
    max_catch_up: timedelta | None = None
    warmup: WarmupSettings = field(default_factory=WarmupSettings)
