"""The OTLP sink: events that a real collector takes, and no belief in answers that took nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Literal

import pytest
from aiohttp import web
from pydantic import SecretStr, ValidationError

from exporter.model import Change, Context, PermanentError, TransientError, nanoseconds
from integrations._otlp_events import event
from integrations.otlp import OtlpSettings, OtlpSink, endpoint
from tests import samples
from tests.fakes.serving import serving
from tests.servers.collector import Collector

Protocol = Literal["http", "grpc"]
PROTOCOLS: tuple[Protocol, ...] = ("http", "grpc")


def settings(address: str, protocol: Protocol = "http", **changes: Any) -> OtlpSettings:
    options: dict[str, Any] = {"timeout": timedelta(seconds=5), "service_instance_id": "pod-7"}
    return OtlpSettings(type="otlp", endpoint=address, protocol=protocol, **(options | changes))


def sink_for(collector: Collector, protocol: Protocol, **changes: Any) -> OtlpSink:
    address = collector.http_endpoint if protocol == "http" else collector.grpc_endpoint
    return settings(address, protocol, **changes).build(Context())


# --- The pure function ---------------------------------------------------------------------------------


def test_an_event_carries_the_facts_of_the_incident() -> None:
    made = event(samples.notification())
    assert made.name == "log_anomaly.incident.opened"
    assert made.timestamp == nanoseconds(samples.at(7))
    assert made.severity_number == 17
    assert made.body == "payments cannot reach its database; checkout and gateway fail with it"
    assert dict(made.attributes) == {
        "event.id": "3f9a1c0de47b2856:4:0",
        "log_anomaly.change": "opened",
        "log_anomaly.incident.id": "3f9a1c0de47b2856",
        "log_anomaly.incident.revision": 4,
        "log_anomaly.incident.status": "firing",
        "log_anomaly.incident.severity": "critical",
        "log_anomaly.incident.score": 0.993,
        "log_anomaly.incident.fingerprint": "a41d77c2a41d77c2",
        "log_anomaly.incident.starts_at": "2026-03-14T09:26:00Z",
        "log_anomaly.incident.url": "https://anomalies.example.org/incidents/3f9a1c0de47b2856",
        "log_anomaly.incident.services": ("payments", "checkout", "gateway"),
        "log_anomaly.incident.sources": ("shop",),
        "log_anomaly.incident.reasons": (
            "new kind of line: could not connect to <*>: connection refused (184 lines, expected 0)",
            "errors: errors of payments (371 lines, expected 0.8)",
            "unusual order: charge requested → charge captured (0.04 of times, expected 0.97)",
            "silence: receipt <*> sent to <*> (0 lines, expected 38)",
        ),
        "log_anomaly.incident.evidence": ("L8f0c1d22a9", "L1b77ce0934", "L90ad3fe451"),
        "log_anomaly.service.name": "payments",
        "log_anomaly.report.writer": "rules",
        "log_anomaly.report.summary": "184 lines of a kind never seen before: could not connect to <*> "
        "Errors of payments rose from 0.8 to 371 a minute",
        "log_anomaly.report.similar": (
            "the same failure as on 2026-03-02: payments: connections to db-payments refused "
            "(3rd time; connection refused; 1 line in common; fixed by: raised max_connections of db-payments "
            "from 100 to 300 (ann), came back after 11 d)",
        ),
    }


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ("opened", "log_anomaly.incident.opened"),
        ("updated", "log_anomaly.incident.updated"),
        ("reported", "log_anomaly.incident.updated"),
        ("resolved", "log_anomaly.incident.resolved"),
        ("reopened", "log_anomaly.incident.reopened"),
    ],
)
def test_event_names_are_few_and_fixed(change: Change, name: str) -> None:
    assert event(samples.notification(change=change)).name == name


def test_a_resolved_incident_is_information() -> None:
    assert event(samples.notification(samples.resolved())).severity_number == 9


def test_the_event_of_a_storm_stays_small() -> None:
    made = event(samples.huge())
    assert len(made.attributes) < 64
    assert len(made.body) + sum(len(str(value)) for value in made.attributes.values()) < 20_000


@pytest.mark.parametrize(
    ("protocol", "given", "wanted"),
    [
        ("http", "http://otel:4318", "http://otel:4318/v1/logs"),
        ("http", "http://otel:4318/", "http://otel:4318/v1/logs"),
        ("http", "http://otel:4318/v1/logs", "http://otel:4318/v1/logs"),
        ("http", "https://gate/otlp", "https://gate/otlp/v1/logs"),
        ("grpc", "http://otel:4317/", "http://otel:4317"),
        ("grpc", "https://otel:4317/v1/logs", "https://otel:4317"),
    ],
)
def test_the_address_may_be_written_either_way(protocol: Protocol, given: str, wanted: str) -> None:
    assert endpoint(settings(given, protocol)) == wanted


@pytest.mark.parametrize("given", ["otel:4317", "grpc://otel:4317", "http://"])
def test_an_address_without_a_scheme_is_refused(given: str) -> None:
    with pytest.raises(ValidationError, match="not a URL with http"):
        settings(given)


# --- A real collector ----------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_collector_takes_each_change_as_an_event(collector: Collector, protocol: Protocol) -> None:
    sink = sink_for(collector, protocol, resource={"deployment.environment.name": "test"})
    told: tuple[Change, ...] = ("opened", "updated", "resolved", "reopened")
    for change in told:
        await sink.deliver(samples.notification(change=change))
    await sink.close()
    records = collector.wait_for(4)
    assert [record.event_name for record in records] == [f"log_anomaly.incident.{change}" for change in told]
    record = records[0]
    assert record.severity_number == 17
    assert record.time_unix_nano == nanoseconds(samples.at(7))
    assert record.body == "payments cannot reach its database; checkout and gateway fail with it"
    assert record.scope == "log_anomaly"
    assert record.attributes["log_anomaly.service.name"] == "payments"
    assert record.attributes["log_anomaly.incident.services"] == ["payments", "checkout", "gateway"]
    assert record.resource["service.name"] == "log-anomaly-exporter"
    assert record.resource["service.instance.id"] == "pod-7"
    assert record.resource["service.version"]
    assert record.resource["deployment.environment.name"] == "test"


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_repetition_has_the_same_event_id(collector: Collector, protocol: Protocol) -> None:
    sink = sink_for(collector, protocol)
    for _ in range(2):
        await sink.deliver(samples.notification())
    await sink.close()
    assert {record.attributes["event.id"] for record in collector.wait_for(2)} == {"3f9a1c0de47b2856:4:0"}


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_hostile_text_arrives_as_plain_text(collector: Collector, protocol: Protocol) -> None:
    sink = sink_for(collector, protocol)
    await sink.deliver(samples.hostile())
    await sink.close()
    (record,) = collector.wait_for(1)
    assert not set(record.body) & set("\x00\x1b\u202e\u200b")


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_what_the_collector_could_not_pass_on_is_tried_again(collector: Collector, protocol: Protocol) -> None:
    collector.refuse(503)
    # The SDK tries again by itself, for so long.
    hasty = sink_for(collector, protocol, timeout=timedelta(milliseconds=700))
    with pytest.raises(TransientError):
        await hasty.deliver(samples.notification())
    await hasty.close()
    collector.refuse(None)
    sink = sink_for(collector, protocol)
    await sink.deliver(samples.notification())
    await sink.close()
    assert len(collector.records()) == 1


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_what_the_backend_refuses_for_good_is_permanent(collector: Collector, protocol: Protocol) -> None:
    sink = sink_for(collector, protocol)
    collector.refuse(400)
    with pytest.raises(PermanentError, match="refuses log records"):
        await sink.deliver(samples.notification())
    await sink.close()


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_checking_leaves_nothing_behind(collector: Collector, protocol: Protocol) -> None:
    sink = sink_for(collector, protocol)
    (check,) = await sink.check()
    await sink.close()
    assert check.ok, check.detail
    assert collector.records() == []


# --- Receivers that lie --------------------------------------------------------------------------------


class Receiver:
    """Answers every request alike, after noting it."""

    def __init__(self) -> None:
        self.response = web.Response()
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        return app

    async def _answer(self, request: web.Request) -> web.Response:
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        self.paths.append(request.path)
        return web.Response(status=self.response.status, headers=self.response.headers.copy(), body=self.response.body)


@pytest.fixture
async def receiver() -> AsyncIterator[tuple[Receiver, str]]:
    fake = Receiver()
    async with serving(fake.app()) as url:
        yield fake, url


async def deliver(address: str, **changes: Any) -> None:
    sink = settings(address, **changes).build(Context())
    try:
        await sink.deliver(samples.notification())
    finally:
        await sink.close()


async def test_a_redirect_to_a_login_page_is_no_success(receiver: tuple[Receiver, str]) -> None:
    fake, url = receiver
    fake.response = web.Response(status=302, headers={"Location": "/login"})
    with pytest.raises(PermanentError, match="redirect"):
        await deliver(url)
    assert fake.paths == ["/v1/logs"]


async def test_a_page_with_status_200_is_no_success(receiver: tuple[Receiver, str]) -> None:
    fake, url = receiver
    fake.response = web.Response(text="<html>welcome</html>", content_type="text/html")
    with pytest.raises(TransientError, match="something else than OTLP; is a proxy"):
        await deliver(url)


async def test_a_partial_success_is_no_success(receiver: tuple[Receiver, str]) -> None:
    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse

    fake, url = receiver
    partial = ExportLogsServiceResponse()
    partial.partial_success.rejected_log_records = 1
    partial.partial_success.error_message = "too many attributes"
    fake.response = web.Response(body=partial.SerializeToString(), content_type="application/x-protobuf")
    with pytest.raises(PermanentError, match="refused 1 of our records: too many attributes"):
        await deliver(url)


@contextmanager
def grpc_receiver(code: str = "OK", rejected: int = 0) -> Iterator[str]:
    """A gRPC receiver that answers every export alike."""
    import grpc  # type: ignore[import-untyped]
    from opentelemetry.proto.collector.logs.v1 import logs_service_pb2, logs_service_pb2_grpc

    class Servicer(logs_service_pb2_grpc.LogsServiceServicer):
        def Export(self, request: Any, context: Any) -> Any:
            if code != "OK":
                context.abort(grpc.StatusCode[code], "says the receiver")
            response = logs_service_pb2.ExportLogsServiceResponse()
            response.partial_success.rejected_log_records = rejected
            response.partial_success.error_message = "too many attributes" if rejected else ""
            return response

    server = grpc.server(ThreadPoolExecutor(1))
    logs_service_pb2_grpc.add_LogsServiceServicer_to_server(Servicer(), server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.stop(0)


async def test_a_partial_success_over_grpc_is_no_success() -> None:
    refused = pytest.raises(PermanentError, match="refused 1 of our records: too many attributes")
    with grpc_receiver(rejected=1) as address, refused:
        await deliver(address, protocol="grpc")


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("UNAUTHENTICATED", PermanentError),
        ("INVALID_ARGUMENT", PermanentError),
        ("UNAVAILABLE", TransientError),
        ("RESOURCE_EXHAUSTED", TransientError),
    ],
)
async def test_what_grpc_receivers_say_decides_whether_to_try_again(code: str, kind: type[Exception]) -> None:
    with grpc_receiver(code) as address, pytest.raises(kind, match=f"{code} says the receiver"):
        await deliver(address, protocol="grpc", timeout=timedelta(seconds=3))


@pytest.mark.parametrize("status", [401, 403, 404])
async def test_refusals_are_permanent(receiver: tuple[Receiver, str], status: int) -> None:
    fake, url = receiver
    fake.response = web.Response(status=status)
    with pytest.raises(PermanentError, match=str(status)):
        await deliver(url)


@pytest.mark.parametrize(("asked", "wait"), [("40", 40), ("9" * 20, 3600), ("soon", None)])
async def test_being_asked_to_wait_is_passed_on(receiver: tuple[Receiver, str], asked: str, wait: float | None) -> None:
    fake, url = receiver
    fake.response = web.Response(status=429, headers={"Retry-After": asked})
    with pytest.raises(TransientError) as caught:
        await deliver(url)
    assert caught.value.retry_after == (None if wait is None else timedelta(seconds=wait))


async def test_secrets_are_sent_and_never_shown(receiver: tuple[Receiver, str]) -> None:
    fake, url = receiver
    fake.response = web.Response(status=401)
    with pytest.raises(PermanentError) as caught:
        await deliver(url, token=SecretStr("s3cret-token"), headers={"X-Tenant": SecretStr("s3cret-tenant")})
    assert fake.headers[0]["authorization"] == "Bearer s3cret-token"
    assert fake.headers[0]["x-tenant"] == "s3cret-tenant"
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_receiver_that_is_down_is_tried_again_and_holds_nobody_up(protocol: Protocol) -> None:
    with pytest.raises(TransientError):
        await deliver("http://127.0.0.1:9", protocol=protocol, timeout=timedelta(milliseconds=500))


async def test_a_missing_secret_file_is_tried_again(receiver: tuple[Receiver, str]) -> None:
    _, url = receiver
    with pytest.raises(TransientError, match="secret file"):
        await deliver(url, token_file="/nonexistent/token")
