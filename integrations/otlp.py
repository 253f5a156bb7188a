"""Tell each change of an incident as an OpenTelemetry event (a log record with an event name), over OTLP."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from exporter.model import (
    OWN_NAME,
    Check,
    ConfigError,
    Context,
    Duration,
    ExporterError,
    NoticeTold,
    Notification,
    PermanentError,
    SinkSettings,
    TransientError,
    audit,
)
from exporter.wording.text import brief
from integrations._http import HttpSettings, retry_after
from integrations._otlp_events import Event, event, notice_event

if TYPE_CHECKING:
    from opentelemetry.sdk._logs import ReadableLogRecord
    from opentelemetry.sdk._logs.export import LogRecordExporter

SCOPE = "log_anomaly"
GRACE = timedelta(seconds=1)
"""What the exporter's own deadline may be late by before we stop waiting for it."""

CHECK_TIMEOUT = timedelta(seconds=3)


class OtlpSettings(HttpSettings, SinkSettings):
    """Incident changes as log events, to any OTLP receiver. `headers` are gRPC's metadata, too."""

    type: Literal["otlp"]
    name: str = "otlp"
    endpoint: str
    """Base URL of the receiver, such as http://otel-collector:4318 (http) or http://otel-collector:4317 (grpc)."""
    protocol: Literal["http", "grpc"] = "http"
    """How the receiver is spoken to: OTLP over HTTP, or over gRPC."""
    compression: Literal["gzip", "none"] = "gzip"
    """Of what is sent."""
    timeout: Duration = timedelta(seconds=10)
    """For one delivery, the exporter's own repetitions included."""
    service_instance_id: str = Field(default_factory=lambda: os.environ.get("POD_NAME") or socket.gethostname())
    """Who sends; the same after a restart, else every restart makes a new series and a new stream. Default: the
    environment's POD_NAME, or the name of the host."""
    resource: dict[str, str] = Field(default_factory=dict)
    """More attributes of the resource, such as deployment.environment.name."""

    @field_validator("endpoint")
    @classmethod
    def _absolute(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{value!r} is not a URL with http:// or https://, such as http://otel-collector:4318")
        return value.rstrip("/")

    @model_validator(mode="after")
    def _possible(self) -> OtlpSettings:
        if self.protocol == "grpc" and self.tls.insecure_skip_verify:
            raise ValueError("gRPC always verifies; give tls.ca_file instead of tls.insecure_skip_verify")
        return self

    def build(self, context: Context) -> OtlpSink:
        return OtlpSink(self)

    @staticmethod
    def preview(notification: Notification) -> Event:
        """What would be sent, with nothing sent before."""
        return event(notification)


def endpoint(settings: OtlpSettings) -> str:
    """The address that the exporter wants: with the signal's path over HTTP, without any over gRPC."""
    if settings.protocol == "grpc":
        parts = urlsplit(settings.endpoint)
        return f"{parts.scheme}://{parts.netloc}"
    return settings.endpoint if settings.endpoint.endswith("/v1/logs") else f"{settings.endpoint}/v1/logs"


class OtlpSink:
    """Exports each event by itself and believes only an answer that took it: the SDK's queue loses what it holds."""

    wants: Literal["every"] = "every"
    resend = None
    peer = ""
    concurrency = 4

    def __init__(self, settings: OtlpSettings) -> None:
        self.name = settings.name
        self._settings = settings
        self._pool = ThreadPoolExecutor(self.concurrency, thread_name_prefix="otlp")
        self._attempts: set[Attempt] = set()

    async def deliver(self, notification: Notification) -> str | None:
        await self._export([event(notification)], self._settings.timeout)
        return None

    async def deliver_notice(self, told: NoticeTold) -> None:
        await self._export([notice_event(told)], self._settings.timeout)

    async def check(self) -> Sequence[Check]:
        subject = f"OTLP over {self._settings.protocol} at {_place(self._settings)}"
        try:
            # A request with no records is valid, and leaves nothing behind.
            await self._export([], min(self._settings.timeout, CHECK_TIMEOUT))
        except ExporterError as error:
            return [Check(subject, False, str(error), "see the receiver's address, its port and the credentials")]
        return [Check(subject, True, "takes log records")]

    async def close(self) -> None:
        """Ends what is under way; the delivery table still has it."""
        for attempt in self._attempts:
            attempt.stop()
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _export(self, events: Sequence[Event], timeout: timedelta) -> None:  # noqa: ASYNC109  # the thread's, too
        attempt = Attempt()
        self._attempts.add(attempt)
        settings = self._settings.model_copy(update={"timeout": timeout})
        work = asyncio.get_running_loop().run_in_executor(self._pool, _export, settings, events, attempt)
        deadline = (timeout + GRACE).total_seconds()
        try:
            taken = await asyncio.wait_for(work, deadline)
        except ConfigError as error:
            # Orchestrators rotate files of secrets: the next moment it may be there again.
            raise TransientError(f"sink {self.name}: {error}") from error
        except TimeoutError as error:
            attempt.stop()
            raise TransientError(
                f"sink {self.name}: no answer from {_place(self._settings)} within {deadline:g} s"
            ) from error
        finally:
            self._attempts.discard(attempt)
        judge(f"sink {self.name}: {_place(self._settings)}", taken, attempt)


def _place(settings: OtlpSettings) -> str:
    parts = urlsplit(settings.endpoint)
    return f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)


def judge(place: str, taken: bool, attempt: Attempt) -> None:
    """Raise what the answer deserves. The SDK takes a redirect, and a partial success, for success."""
    status, detail = attempt.status, brief(attempt.detail, 300)
    said = f"{status} {detail}".strip() if status else detail or "no answer"
    if attempt.rejected:
        raise PermanentError(f"{place} refused {attempt.rejected} of our records: {detail or 'no reason given'}")
    if isinstance(status, int) and 300 <= status < 400:
        raise PermanentError(f"{place} answers {status}, a redirect: give the address where it leads")
    if taken and attempt.foreign:
        raise TransientError(f"{place} answers with something else than OTLP; is a proxy in between?")
    if taken:
        return
    if status in PERMANENT or (isinstance(status, int) and 400 <= status < 500 and status not in (408, 429)):
        raise PermanentError(f"{place} refuses log records: {said}; see the address, the path and the credentials")
    raise TransientError(f"{place} did not take the event: {said}", attempt.retry_after)


PERMANENT = frozenset(
    {"UNAUTHENTICATED", "PERMISSION_DENIED", "INVALID_ARGUMENT", "UNIMPLEMENTED", "NOT_FOUND", "FAILED_PRECONDITION"}
)
"""gRPC codes that the protocol does not want repeated."""


# --- The adapter: all that touches OpenTelemetry's unstable modules -----------------------------------


@dataclass(eq=False)
class Attempt:
    """What the last answer was, which the exporters keep to themselves, and a way to end their repetitions."""

    status: int | str | None = None
    detail: str = ""
    rejected: int = 0
    retry_after: timedelta | None = None
    foreign: bool = False
    stopped: bool = False
    ends: list[Callable[[], object]] = field(default_factory=list)

    def stop(self) -> None:
        self.stopped = True
        for end in self.ends:
            end()

    def answer(self, status: int | str, detail: str = "", wait: timedelta | None = None) -> None:
        self.status, self.detail, self.retry_after = status, detail, wait


def _export(settings: OtlpSettings, events: Sequence[Event], attempt: Attempt) -> bool:
    """Blocks for at most `timeout`. A new exporter each time: secrets and certificates are read when used."""
    from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
    from opentelemetry.sdk._logs.export import LogRecordExportResult

    if attempt.stopped:
        return False
    exporter = _grpc_exporter(settings, attempt) if settings.protocol == "grpc" else _http_exporter(settings, attempt)
    stopped: list[bool] = []

    def stop_once() -> None:
        if not stopped:
            stopped.append(True)
            exporter.shutdown()  # type: ignore[no-untyped-call]

    attempt.ends.append(stop_once)
    try:
        records = [_record(e, settings) for e in events]
        if records:
            audit(f"sink {settings.name}", encode_logs(records).SerializeToString())
        return exporter.export(records) is LogRecordExportResult.SUCCESS
    finally:
        stop_once()


def _record(event: Event, settings: OtlpSettings) -> ReadableLogRecord:
    from opentelemetry._logs import LogRecord, SeverityNumber
    from opentelemetry.sdk._logs import ReadableLogRecord
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope

    record = LogRecord(
        timestamp=event.timestamp,
        observed_timestamp=event.observed,
        severity_number=SeverityNumber(event.severity_number),
        body=event.body,
        attributes=dict(event.attributes),
        event_name=event.name,
    )
    return ReadableLogRecord(
        log_record=record, resource=_resource(settings), instrumentation_scope=InstrumentationScope(SCOPE, _version())
    )


def _resource(settings: OtlpSettings) -> Any:
    from opentelemetry.sdk.resources import Resource

    named = {
        "service.name": OWN_NAME,
        "service.version": _version(),
        "service.instance.id": settings.service_instance_id,
    }
    return Resource.create({**settings.resource, **named})


@cache
def _version() -> str:
    try:
        return version(OWN_NAME)
    except PackageNotFoundError:
        return "0"


def _headers(settings: OtlpSettings) -> dict[str, str]:
    # gRPC takes lower-case names only.
    return {name.lower(): value for name, value in settings.request_headers().items()}


def _http_exporter(settings: OtlpSettings, attempt: Attempt) -> LogRecordExporter:
    import requests
    from opentelemetry.exporter.otlp.proto.http import Compression
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter

    class Session(requests.Session):
        """Notes the answer; follows no redirect, for our credentials would travel."""

        def request(self, *args: Any, **kwargs: Any) -> requests.Response:
            attempt.status, attempt.detail = None, ""
            if settings.tls.insecure_skip_verify:
                kwargs["verify"] = False
            try:
                response = super().request(*args, **kwargs | {"allow_redirects": False})
            except requests.RequestException as error:
                trust = isinstance(error, requests.exceptions.SSLError)
                attempt.detail = type(error).__name__ + ("; see tls.ca_file" if trust else "")
                raise
            attempt.answer(response.status_code, response.reason, retry_after(response.headers))
            if response.ok:
                _note_rejected(response.content, attempt)
            return response

    session = Session()
    session.trust_env = bool(settings.trust_env)
    return OTLPLogExporter(
        endpoint=endpoint(settings),
        certificate_file=str(settings.tls.ca_file) if settings.tls.ca_file else None,
        client_certificate_file=str(settings.tls.cert_file) if settings.tls.cert_file else None,
        client_key_file=str(settings.tls.key_file) if settings.tls.key_file else None,
        headers=_headers(settings),
        timeout=settings.timeout.total_seconds(),
        compression=Compression.Gzip if settings.compression == "gzip" else Compression.NoCompression,
        session=session,
    )


def _note_rejected(content: bytes, attempt: Attempt) -> None:
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse

    try:
        partial = ExportLogsServiceResponse.FromString(content).partial_success
    except DecodeError:
        # A page of a proxy, whatever its status: the receiver behind it has nothing.
        attempt.foreign = True
        return
    attempt.rejected = partial.rejected_log_records
    attempt.detail = partial.error_message


def _grpc_exporter(settings: OtlpSettings, attempt: Attempt) -> LogRecordExporter:
    import grpc  # type: ignore[import-untyped]
    from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter

    class Exporter(OTLPLogExporter):
        """Notes the answer of each call."""

        def _initialize_channel_and_stub(self) -> None:
            super()._initialize_channel_and_stub()  # type: ignore[no-untyped-call]
            stub: Any = self._client
            call = stub.Export

            def noted(**kwargs: Any) -> Any:
                try:
                    response = call(**kwargs)
                except grpc.RpcError as error:
                    attempt.answer(error.code().name, error.details() or "")
                    raise
                attempt.answer("OK", response.partial_success.error_message)
                attempt.rejected = response.partial_success.rejected_log_records
                return response

            stub.Export = noted

    secure = settings.endpoint.startswith("https://")
    return Exporter(
        endpoint=endpoint(settings),
        insecure=not secure,
        credentials=_credentials(settings) if secure else None,
        headers=_headers(settings) or None,
        timeout=settings.timeout.total_seconds(),
        compression=grpc.Compression.Gzip if settings.compression == "gzip" else grpc.Compression.NoCompression,
        channel_options=(("grpc.enable_http_proxy", int(bool(settings.trust_env))),),  # type: ignore[arg-type]
    )


def _credentials(settings: OtlpSettings) -> Any:
    import grpc

    def read(path: Path | None) -> bytes | None:
        try:
            return path.read_bytes() if path else None
        except OSError as error:
            raise ConfigError(f"{path}: {error.strerror}; make it readable by this process") from error

    return grpc.ssl_channel_credentials(
        read(settings.tls.ca_file), read(settings.tls.key_file), read(settings.tls.cert_file)
    )
