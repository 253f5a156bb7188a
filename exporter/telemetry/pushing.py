"""Push our own metrics and traces over OTLP, where an endpoint is given."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from exporter.model import OWN_NAME, ConfigError, audit, read_secret
from exporter.telemetry.settings import TelemetrySettings, product_version

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.export import MetricReader
    from opentelemetry.trace import Tracer


def pushing_reader(settings: TelemetrySettings) -> MetricReader:
    from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
    from opentelemetry.sdk.metrics.export import MetricExporter, PeriodicExportingMetricReader

    exporter: MetricExporter
    if settings.protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GrpcExporter

        exporter = _audited(GrpcExporter, encode_metrics, settings)(**_grpc_options(settings))
    else:
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as HttpExporter

        exporter = _audited(HttpExporter, encode_metrics, settings)(**_http_options(settings, "metrics"))
    return PeriodicExportingMetricReader(
        exporter,
        export_interval_millis=settings.interval.total_seconds() * 1000,
        export_timeout_millis=settings.timeout.total_seconds() * 1000,
    )


def tracer_of(settings: TelemetrySettings, resource: Any) -> tuple[Tracer | None, Any]:
    """A tracer and the provider to shut down; both None when no traces are pushed."""
    if not settings.otlp_endpoint or not settings.traces:
        return None, None
    from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter

    exporter: SpanExporter
    if settings.protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter

        exporter = _audited(GrpcExporter, encode_spans, settings)(**_grpc_options(settings))
    else:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter

        exporter = _audited(HttpExporter, encode_spans, settings)(**_http_options(settings, "traces"))
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider.get_tracer(OWN_NAME, product_version()), provider


def _audited(kind: type, encode: Callable[[Any], Any], settings: TelemetrySettings) -> Any:
    """An exporter that notes what it pushes; the SDK encodes it once more."""
    parts = urlsplit(settings.otlp_endpoint or "")
    place = f"telemetry: {parts.netloc.rpartition('@')[2]}"

    class Audited(kind):  # type: ignore[misc]
        def export(self, batch: Any, *args: Any, **options: Any) -> Any:
            audit(place, encode(batch).SerializeToString())
            return super().export(batch, *args, **options)

    return Audited


def _http_options(settings: TelemetrySettings, signal: str) -> dict[str, Any]:
    base = (settings.otlp_endpoint or "").rstrip("/")
    for known in ("/v1/metrics", "/v1/traces"):
        base = base.removesuffix(known)
    return {
        "endpoint": f"{base}/v1/{signal}",
        "headers": _headers(settings),
        "timeout": settings.timeout.total_seconds(),
        "session": _session(settings),
    }


def _session(settings: TelemetrySettings) -> Any:
    import requests

    session = requests.Session()
    session.trust_env = bool(settings.trust_env)
    return session


def _grpc_options(settings: TelemetrySettings) -> dict[str, Any]:
    endpoint = settings.otlp_endpoint or ""
    return {
        "endpoint": endpoint,
        "insecure": not endpoint.startswith("https://"),
        # gRPC refuses header names that are not lower case.
        "headers": {name.lower(): value for name, value in _headers(settings).items()},
        "timeout": settings.timeout.total_seconds(),
        "channel_options": (("grpc.enable_http_proxy", int(bool(settings.trust_env))),),
    }


def _headers(settings: TelemetrySettings) -> dict[str, str]:
    headers = {name: value.get_secret_value() for name, value in settings.headers.items()}
    authorization = read_secret(None, settings.authorization_file)
    if authorization is not None:
        if any(name.lower() == "authorization" for name in headers):
            raise ConfigError("telemetry: Authorization is in headers and in authorization_file; give one of them")
        headers["Authorization"] = authorization
    return headers
