"""What an operator may set about the flow."""

from __future__ import annotations

from datetime import timedelta

from exporter.model import Duration, Settings


class WarmupSettings(Settings):
    """What is learnt from the past before the first alarm."""

    history: Duration = timedelta(days=7)
    """How far back the past is read at first start."""
    budget: Duration = timedelta(minutes=10)
    """How long reading it may take. Where all of it would take longer, half goes to the windows nearest to now, and the
    rest to the same hour of earlier days, then to pieces between."""
