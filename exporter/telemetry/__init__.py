"""Our own metrics and traces: one table of names, counted through OpenTelemetry, exposed to Prometheus."""

from exporter.telemetry.prometheus import PrometheusTelemetry
from exporter.telemetry.settings import TelemetrySettings, product_version
from exporter.telemetry.table import METRICS, PREFIX, MetricSpec, exposed_names, reference

__all__ = [
    "METRICS",
    "PREFIX",
    "MetricSpec",
    "PrometheusTelemetry",
    "TelemetrySettings",
    "exposed_names",
    "product_version",
    "reference",
]
