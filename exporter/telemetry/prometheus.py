"""Count through OpenTelemetry what the table names, and expose it to Prometheus."""

from __future__ import annotations

import contextlib
import math
import os
import socket
import threading
from collections.abc import Iterable, Iterator, Mapping
from itertools import product
from typing import TYPE_CHECKING, Any

from exporter.model import OWN_NAME, Note, nothing_noted
from exporter.telemetry.pushing import pushing_reader, tracer_of
from exporter.telemetry.settings import TelemetrySettings, product_version
from exporter.telemetry.table import METRICS, PREFIX, Kind, MetricSpec

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.export import MetricReader
    from prometheus_client import Metric


class PrometheusTelemetry:
    """Counts and measures into a registry of its own; `exposition` is what /metrics answers.

    A name or a set of labels that the table does not know is a KeyError: a mistake in code, not in data.

    >>> telemetry = PrometheusTelemetry()
    >>> telemetry.count("source_lines_read", 3, source="shop")
    >>> telemetry.value("log_anomaly_exporter_source_lines_read_total", source="shop")
    3.0
    """

    content_type = "text/plain; version=0.0.4; charset=utf-8"

    def __init__(self, settings: TelemetrySettings | None = None) -> None:
        # Imported here, for `--help` and one-shot commands need none of it.
        from opentelemetry.exporter.prometheus import PrometheusMetricReader
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.resources import Resource
        from prometheus_client import CollectorRegistry

        settings = settings or TelemetrySettings()
        self._registry = CollectorRegistry()
        self._scraping = threading.Lock()
        # By default the instance id is random: new series at each start.
        resource = Resource.create(
            {
                "service.name": OWN_NAME,
                "service.version": product_version(),
                "service.instance.id": os.environ.get("POD_NAME") or socket.gethostname(),
            }
        )
        readers: list[MetricReader] = [
            PrometheusMetricReader(
                prefix=PREFIX.rstrip("_"), disable_target_info=True, scope_info_enabled=False, registry=self._registry
            )
        ]
        if settings.otlp_endpoint:
            readers.append(pushing_reader(settings))
        self._meters = MeterProvider(metric_readers=readers, resource=resource, shutdown_on_exit=False)
        meter = self._meters.get_meter(OWN_NAME, product_version())
        self._instruments: dict[str, Any] = {name: _instrument(meter, name, spec) for name, spec in METRICS.items()}
        self._tracer, self._spans = tracer_of(settings, resource)
        self.gauge("build_info", 1, version=product_version())
        self._announced: set[tuple[str, str]] = set()
        self._gone: set[tuple[str, str]] = set()
        self.announce((), ())

    def announce(self, sources: Iterable[str], sinks: Iterable[str]) -> None:
        """Show the counters of these sources and sinks, at zero, before anything has happened to them; and no more
        those of which it was announced before that they are there, for their gauges would stand still for ever."""
        given = {"source": tuple(sources), "sink": tuple(sinks)}
        there = {(label, value) for label, values in given.items() for value in values}
        self._gone = (self._gone | self._announced) - there
        self._announced = there
        for name, spec in METRICS.items():
            values = [spec.known.get(label) or given.get(label, ()) for label in spec.labels]
            if spec.kind == "counter":
                for labels in product(*values):
                    self.count(name, 0, **dict(zip(spec.labels, labels, strict=True)))

    def count(self, name: str, amount: int = 1, **labels: str) -> None:
        self._known("counter", name, labels).add(amount, labels)

    def gauge(self, name: str, value: float, **labels: str) -> None:
        instrument = self._known("gauge", name, labels)
        if math.isfinite(value):
            instrument.set(value, labels)

    def observe(self, name: str, value: float, **labels: str) -> None:
        instrument = self._known("histogram", name, labels)
        if math.isfinite(value):
            instrument.record(value, labels)

    @contextlib.contextmanager
    def span(self, name: str, outgoing: bool = False, **attributes: str | int) -> Iterator[Note]:
        """Trace a piece of work, such as `poll shop`; does nothing unless traces are pushed."""
        if self._tracer is None:
            yield nothing_noted
            return
        from opentelemetry.trace import SpanKind

        kind = SpanKind.CLIENT if outgoing else SpanKind.INTERNAL
        with self._tracer.start_as_current_span(name, kind=kind, attributes=attributes) as span:
            yield span.set_attributes

    def exposition(self) -> str:
        """All metrics in Prometheus' text format; safe to call from any thread."""
        from prometheus_client import generate_latest

        with self._scraping:
            return generate_latest(self).decode()

    def collect(self) -> Iterator[Metric]:
        """As the registry does it, without those that are gone: the SDK forgets nothing."""
        for family in self._registry.collect():
            if self._gone:
                family.samples = [one for one in family.samples if self._gone.isdisjoint(one.labels.items())]
            yield family

    def value(self, exposed_name: str, **labels: str) -> float | None:
        """The value of one exposed sample, or None when there is none. For tests."""
        with self._scraping:
            found = self._registry.get_sample_value(exposed_name, labels)
        return None if found is None else float(found)

    def close(self) -> None:
        """Push what is left and stop. It may block for as long as a push may take: call it off the event loop."""
        self._meters.shutdown()
        if self._spans is not None:
            self._spans.shutdown()

    def _known(self, kind: Kind, name: str, labels: Mapping[str, str]) -> Any:
        spec = METRICS[name]
        if spec.kind != kind:
            raise KeyError(f"{name} is a {spec.kind}, not a {kind}")
        if set(labels) != set(spec.labels):
            raise KeyError(f"{name} has the labels {sorted(spec.labels)}, not {sorted(labels)}")
        return self._instruments[name]


def _instrument(meter: Any, name: str, spec: MetricSpec) -> Any:
    if spec.kind == "counter":
        return meter.create_counter(name, spec.unit, spec.description)
    if spec.kind == "gauge":
        return meter.create_gauge(name, spec.unit, spec.description)
    return meter.create_histogram(
        name, spec.unit, spec.description, explicit_bucket_boundaries_advisory=list(spec.buckets)
    )
