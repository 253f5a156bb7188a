"""The settings of our own telemetry, and the version that it names."""

from __future__ import annotations

from datetime import timedelta
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr

from exporter.model import OWN_NAME, ClientSettings, Duration


class TelemetrySettings(ClientSettings):
    """Our own telemetry; `/metrics` is always there, OTLP only when an endpoint is given."""

    otlp_endpoint: str | None = None
    """Base URL of an OTLP receiver to push our own metrics and traces to, such as `http://otel-collector:4318`."""
    protocol: Literal["http", "grpc"] = "http"
    """How the receiver is spoken to: OTLP over HTTP, or over gRPC."""
    headers: dict[str, SecretStr] = Field(default_factory=dict)
    """Sent with every push."""
    authorization_file: Path | None = None
    """File that holds the value of the header `Authorization`."""
    interval: Duration = timedelta(seconds=60)
    """How often metrics are pushed."""
    timeout: Duration = timedelta(seconds=10)
    """Of one push."""
    traces: bool = True
    """Whether traces of our own work are pushed, too."""


def product_version() -> str:
    """The installed version; 0 when run from a tree that is not installed."""
    try:
        return version(OWN_NAME)
    except PackageNotFoundError:
        return "0"
