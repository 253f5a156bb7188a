"""What an operator may set about how anomalies become incidents."""

from __future__ import annotations

from datetime import timedelta

from pydantic import Field

from exporter.model import Duration, Settings


class IncidentSettings(Settings):
    """How anomalies become incidents."""

    for_: Duration = Field(default=timedelta(0), alias="for")
    """How long anomalies must go on before an incident opens, as in Prometheus."""
    keep_firing_for: Duration = timedelta(minutes=5)
    """How long an incident stays open after its last anomaly."""
    reopen_within: Duration = timedelta(minutes=30)
    """The same service failing again this soon after the end reopens the incident."""
    join_within: Duration = timedelta(minutes=5)
    """Anomalies of another service join an incident that began at most this long before or after, but for what fails by
    other texts and did not begin in the same minute; later ones only when they share a trace with it or a failing text,
    when one names the other, or when they are of the one host that all of it is of."""
