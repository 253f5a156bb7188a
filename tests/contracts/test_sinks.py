"""What every sink owes, tested over the table of all of them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiohttp import web
from pydantic import SecretStr, ValidationError

from exporter.model import (
    Context,
    Notice,
    NoticeSink,
    NoticeTold,
    Notification,
    PermanentError,
    Sink,
    TransientError,
)
from integrations._http import retry_after
from integrations.alertmanager import AlertmanagerSettings
from integrations.console import ConsoleSettings
from integrations.grafana import GrafanaSettings
from integrations.otlp import OtlpSettings
from integrations.slack import SlackSettings
from integrations.webhook import WebhookSettings
from tests import samples
from tests.fakes.serving import serving
from tests.servers.process import PATIENCE

SECRET = "s3cret-value"

Make = Callable[..., Any]


def _slack_webhook(url: str, **more: Any) -> SlackSettings:
    return SlackSettings(type="slack", webhook_url=SecretStr(f"{url}/services/{SECRET}"), **more)


def _slack_bot(url: str, **more: Any) -> SlackSettings:
    return SlackSettings(type="slack", token=SecretStr(SECRET), channel="C0123", api_url=f"{url}/api", **more)


OVER_HTTP: dict[str, Make] = {
    "alertmanager": lambda url, **more: AlertmanagerSettings(
        type="alertmanager", urls=(url,), token=SecretStr(SECRET), verify=False, **more
    ),
    "grafana": lambda url, **more: GrafanaSettings(type="grafana", url=url, token=SecretStr(SECRET), **more),
    "otlp": lambda url, **more: OtlpSettings(type="otlp", endpoint=url, token=SecretStr(SECRET), **more),
    "slack (bot)": _slack_bot,
    "slack (webhook)": _slack_webhook,
    "webhook": lambda url, **more: WebhookSettings(type="webhook", url=SecretStr(f"{url}/hook/{SECRET}"), **more),
}
ALL: dict[str, Make] = {**OVER_HTTP, "console": lambda url, **more: ConsoleSettings(type="console", **more)}


@dataclass
class Place:
    """A server that answers each sink as the real one would, unless a test says how it fails."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None
    hangs: asyncio.Event | None = None
    """Until it is set, nothing is answered."""
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    requests: list[tuple[str, str, bytes]] = field(default_factory=list)

    def app(self) -> web.Application:
        app = web.Application(client_max_size=1 << 20)
        app.router.add_route("*", "/{path:.*}", self._answer)
        return app

    async def _answer(self, request: web.Request) -> web.Response:
        self.requests.append((request.method, request.path, await request.read()))
        self.asked.set()
        if self.hangs:
            await self.hangs.wait()
        return web.Response(status=self.status, headers=self.headers, body=self._body(request))

    def _body(self, request: web.Request) -> bytes:
        if self.body is not None:
            return self.body
        if self.status != 200:
            return f"cannot {request.method} {request.path_qs}".encode()
        if request.path == "/v1/logs":
            return b""
        return b"[]" if request.method == "GET" else b'{"id": 1, "ok": true, "channel": "C0123", "ts": "1.1"}'


@pytest.fixture
async def place() -> AsyncIterator[tuple[Place, str]]:
    place = Place()
    async with serving(place.app()) as url:
        yield place, url


async def deliver(make: Make, url: str, news: Notification | None = None, seconds: float = PATIENCE) -> str | None:
    sink: Sink = make(url, timeout=timedelta(seconds=seconds)).build(Context(clock=samples.SteppedClock()))
    try:
        return await sink.deliver(news or samples.notification())
    finally:
        await sink.close()


over_http = pytest.mark.parametrize("make", OVER_HTTP.values(), ids=OVER_HTTP.keys())
every_sink = pytest.mark.parametrize("make", ALL.values(), ids=ALL.keys())


def test_no_sink_is_left_out() -> None:
    from exporter.config import SINKS, resolve

    covered = {type(make("http://127.0.0.1:9")) for make in ALL.values()}
    assert {resolve(reference) for reference in SINKS.values()} == covered


@every_sink
def test_a_sink_says_what_it_wants(make: Make) -> None:
    settings = make("http://127.0.0.1:9", name="mine")
    sink = settings.build(Context())
    assert isinstance(sink, Sink)
    assert sink.name == "mine"
    assert sink.wants in ("latest", "every")
    assert sink.resend is None or (sink.wants == "latest" and sink.resend > timedelta(0))
    assert make("http://127.0.0.1:9").name == settings.type


@every_sink
def test_a_key_that_is_not_known_is_refused(make: Make) -> None:
    with pytest.raises(ValidationError, match=r"(?i)extra"):
        make("http://127.0.0.1:9", colour="blue")


@every_sink
def test_settings_show_no_secret(make: Make) -> None:
    settings = make("http://127.0.0.1:9")
    assert SECRET not in repr(settings) + str(settings) + settings.model_dump_json()


@over_http
async def test_a_delivery_succeeds_and_its_receipt_is_short(make: Make, place: tuple[Place, str]) -> None:
    receipt = await deliver(make, place[1], samples.huge())
    assert receipt is None or 0 < len(receipt) <= 4_000


@over_http
async def test_news_told_again_is_told_in_the_same_words(make: Make, place: tuple[Place, str]) -> None:
    server, url = place
    told = []
    for _ in range(2):
        server.requests.clear()
        await deliver(make, url)
        told.append(list(server.requests))
    assert told[0] == told[1]


@over_http
async def test_a_place_that_is_down_is_tried_again(make: Make) -> None:
    with pytest.raises(TransientError) as caught:
        await deliver(make, "http://127.0.0.1:9", seconds=0.5)
    assert SECRET not in str(caught.value)


@over_http
async def test_a_place_that_hangs_holds_nobody_up(make: Make, place: tuple[Place, str]) -> None:
    place[0].hangs = asyncio.Event()
    with pytest.raises(TransientError):
        await deliver(make, place[1], seconds=0.3)


@over_http
@pytest.mark.parametrize("status", [429, 502, 503, 504])
async def test_what_may_pass_is_tried_again(make: Make, place: tuple[Place, str], status: int) -> None:
    place[0].status, place[0].headers = status, {"Retry-After": "17"}
    with pytest.raises(TransientError) as caught:
        # The SDK of OpenTelemetry tries again by itself, for so long.
        await deliver(make, place[1], seconds=3)
    assert caught.value.retry_after == timedelta(seconds=17)


@pytest.mark.parametrize(
    ("value", "wait"),
    [
        ("Sun, 01 Mar 2026 12:00:09 GMT", timedelta(seconds=9)),
        ("Sun, 01 Mar 2026 12:00:09 -0000", timedelta(seconds=9)),
        ("9" * 5000, None),
        ("²", None),
        ("soon", None),
    ],
)
def test_however_a_server_says_when_to_try_again_it_is_no_failure_of_ours(value: str, wait: timedelta | None) -> None:
    assert retry_after({"Retry-After": value}, datetime(2026, 3, 1, 12, tzinfo=UTC)) == wait


@over_http
@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
async def test_what_will_not_pass_is_permanent(make: Make, place: tuple[Place, str], status: int) -> None:
    server, url = place
    server.status = status
    with pytest.raises(PermanentError) as caught:
        await deliver(make, url)
    assert str(status) in str(caught.value)
    assert SECRET not in str(caught.value)


@over_http
async def test_a_redirect_is_not_followed(make: Make, place: tuple[Place, str]) -> None:
    server, url = place
    server.status, server.headers = 307, {"Location": "/elsewhere"}
    with pytest.raises(PermanentError):
        await deliver(make, url)
    assert "/elsewhere" not in [path for _, path, _ in server.requests]


@over_http
@pytest.mark.parametrize(
    "body", [b"", b"null", b"[]", b"{}", b"[[1]]", b'"x"', b"\xff\xfe", b"<html></html>", b'{"id": "x", "ok": true}']
)
async def test_an_answer_that_makes_no_sense_is_an_error_of_ours_or_none(
    make: Make, place: tuple[Place, str], body: bytes
) -> None:
    place[0].body = body
    with contextlib.suppress(TransientError, PermanentError):
        await deliver(make, place[1])


@over_http
@pytest.mark.parametrize("receipt", ["", "0", "null", "[1]", '{"starts": []}', '{"channel": 1}', "x" * 10_000])
async def test_a_receipt_of_somebody_else_does_no_harm(make: Make, place: tuple[Place, str], receipt: str) -> None:
    await deliver(make, place[1], samples.notification(receipt=receipt))


@every_sink
async def test_hostile_and_bare_incidents_can_be_told(
    make: Make, place: tuple[Place, str], capsys: pytest.CaptureFixture[str]
) -> None:
    bare = samples.incident(contributions=(), evidence=(), suspects=(), timeline=(), services=())
    report = samples.report(headline="", what_happened=(), causes=(), steps=(), similar=())
    for news in (samples.hostile(), samples.notification(bare, report=report, url=None, source_links=())):
        sink = make(place[1]).build(Context(clock=samples.SteppedClock()))
        await sink.deliver(news)
        await sink.close()


@every_sink
async def test_a_notice_is_told_as_harmlessly_as_an_incident_or_refused_beforehand(
    make: Make, place: tuple[Place, str], capsys: pytest.CaptureFixture[str]
) -> None:
    server, url = place
    if make is OVER_HTTP["alertmanager"]:
        with pytest.raises(ValidationError, match="pages somebody"):
            make(url, notices=True)
        return
    for service, version in (("cart", "1.4"), (samples.HOSTILE * 50, samples.HOSTILE), ("", "")):
        sink = make(url, notices=True).build(Context(clock=samples.SteppedClock()))
        assert isinstance(sink, NoticeSink)
        notice = Notice("N1", "release", "shop", service, samples.NOW, deployed=version)
        await sink.deliver_notice(NoticeTold("N1:1", notice, samples.NOW, "https://anomalies.example.org/"))
        await sink.close()
    said = capsys.readouterr().out + "".join(body.decode(errors="replace") for _, _, body in server.requests)
    assert "version 1.4 was deployed" in said
    assert all(len(body) < 20_000 for _, _, body in server.requests)


@over_http
async def test_a_delivery_that_is_given_up_leaves_the_sink_usable(make: Make, place: tuple[Place, str]) -> None:
    server, url = place
    clock = samples.SteppedClock()
    sink = make(url, timeout=timedelta(seconds=PATIENCE)).build(Context(clock=clock))
    server.hangs = asyncio.Event()
    given_up = asyncio.ensure_future(sink.deliver(samples.notification()))
    # A sink that fails before it asks is to fail here, too, not to be waited for.
    asked = asyncio.ensure_future(server.asked.wait())
    await asyncio.wait([asked, given_up], return_when=asyncio.FIRST_COMPLETED)
    asked.cancel()
    given_up.cancel()
    await asyncio.wait([given_up])
    assert given_up.cancelled()
    server.hangs.set()
    await sink.deliver(samples.notification(now=clock.step(timedelta(seconds=30))))
    await sink.close()


@every_sink
async def test_closing_twice_or_unused_is_fine(make: Make) -> None:
    sink = make("http://127.0.0.1:9").build(Context())
    await sink.close()
    await sink.close()


@every_sink
async def test_checking_tells_and_never_raises(make: Make) -> None:
    sink = make("http://127.0.0.1:9").build(Context())
    checks = await sink.check()
    await sink.close()
    assert checks
    for check in checks:
        assert check.subject
        assert check.detail
        assert SECRET not in repr(check)


@pytest.mark.parametrize("kind", ["alertmanager", "grafana", "otlp", "slack (bot)"])
async def test_checking_finds_a_place_that_is_down(kind: str) -> None:
    sink = OVER_HTTP[kind]("http://127.0.0.1:9", timeout=timedelta(milliseconds=500)).build(Context())
    checks = await sink.check()
    await sink.close()
    assert [check.ok for check in checks] == [False]


@over_http
async def test_a_secret_that_cannot_be_read_now_is_tried_again(make: Make, place: tuple[Place, str]) -> None:
    files = {
        "SlackSettings": {"webhook_url_file": "/nonexistent", "webhook_url": None, "token": None, "channel": None},
        "WebhookSettings": {"url_file": "/nonexistent", "url": None},
    }
    settings = make(place[1])
    changes = files.get(type(settings).__name__, {"token_file": "/nonexistent", "token": None})
    given = {name: getattr(settings, name) for name in settings.model_fields_set} | changes
    sink = type(settings)(**given).build(Context(clock=samples.SteppedClock()))
    with pytest.raises(TransientError, match="/nonexistent"):
        await sink.deliver(samples.notification())
    await sink.close()


@over_http
async def test_a_page_of_a_proxy_is_no_answer_whatever_its_status(make: Make, place: tuple[Place, str]) -> None:
    place[0].body = b"\n<!DOCTYPE html><html><body>We are back soon</body></html>"
    with pytest.raises(TransientError):
        await deliver(make, place[1])
