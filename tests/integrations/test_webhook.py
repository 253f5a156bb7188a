"""The webhook sink: the whole story as JSON, signed, with one key for every repetition."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from pydantic import SecretStr, ValidationError

from exporter.model import Context, Incident, PermanentError, Report, TransientError, from_json
from integrations._events import payload
from integrations.webhook import WebhookSettings, WebhookSink
from tests import samples
from tests.fakes.serving import serving
from tests.servers.process import PATIENCE


class Receiver:
    """Keeps what it is sent; answers with `status`."""

    def __init__(self) -> None:
        self.status = 200
        self.answer_headers: dict[str, str] = {}
        self.echo_path = False
        self.bodies: list[bytes] = []
        self.headers: list[dict[str, str]] = []

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/hook/{secret}", self._take)
        return app

    async def _take(self, request: web.Request) -> web.Response:
        self.bodies.append(await request.read())
        self.headers.append(dict(request.headers))
        text = f"Cannot POST {request.path_qs}" if self.echo_path else ""
        return web.Response(status=self.status, headers=self.answer_headers, text=text)


@pytest.fixture
async def receiver() -> AsyncIterator[tuple[Receiver, str]]:
    fake = Receiver()
    async with serving(fake.app()) as url:
        yield fake, f"{url}/hook/s3cret?key=t0ken"


def settings(url: str, **changes: Any) -> WebhookSettings:
    options: dict[str, Any] = {"timeout": timedelta(seconds=PATIENCE)}
    return WebhookSettings(type="webhook", url=SecretStr(url), **(options | changes))


@pytest.fixture
async def sink(receiver: tuple[Receiver, str]) -> AsyncIterator[WebhookSink]:
    sink = settings(receiver[1], secret=SecretStr("shared"), headers={"X-Team": SecretStr("shop")}).build(Context())
    yield sink
    await sink.close()


def test_the_payload_holds_everything_and_can_be_read_back() -> None:
    news = samples.notification()
    made = json.loads(json.dumps(payload(news)))
    assert {key: value for key, value in made.items() if key not in ("incident", "report")} == {
        "version": "1",
        "event_id": "3f9a1c0de47b2856:4:0",
        "change": "opened",
        "at": "2026-03-14T09:33:00Z",
        "url": "https://anomalies.example.org/incidents/3f9a1c0de47b2856",
        "source_links": [
            {
                "title": "logs in Kibana",
                "url": "https://kibana.example.org/app/discover#/?from=2026-03-14T09:26:00Z",
            }
        ],
        "truncated": False,
    }
    assert from_json(Incident, made["incident"]) == news.incident
    assert from_json(Report, made["report"]) == news.report


async def test_a_receiver_can_tell_who_sent_it(receiver: tuple[Receiver, str], sink: WebhookSink) -> None:
    fake, _ = receiver
    await sink.deliver(samples.notification())
    (headers,) = fake.headers
    signed = headers["X-Log-Anomaly-Timestamp"].encode() + b":" + fake.bodies[0]
    assert headers["X-Log-Anomaly-Signature"] == hmac.new(b"shared", signed, hashlib.sha256).hexdigest()
    assert headers["X-Log-Anomaly-Timestamp"] == str(int(samples.NOW.timestamp()))
    assert headers["X-Team"] == "shop"
    assert headers["Content-Type"] == "application/json"


async def test_without_a_secret_nothing_is_signed(receiver: tuple[Receiver, str]) -> None:
    fake, url = receiver
    sink = settings(url).build(Context())
    await sink.deliver(samples.notification())
    await sink.close()
    assert "X-Log-Anomaly-Signature" not in fake.headers[0]


async def test_repetitions_share_a_key(receiver: tuple[Receiver, str], sink: WebhookSink) -> None:
    fake, _ = receiver
    fake.status = 503
    with pytest.raises(TransientError):
        await sink.deliver(samples.notification())
    fake.status = 200
    await sink.deliver(samples.notification(now=samples.NOW + timedelta(minutes=1)))
    assert {headers["Idempotency-Key"] for headers in fake.headers} == {"3f9a1c0de47b2856:4:0"}
    assert fake.bodies[0] == fake.bodies[1]


@pytest.mark.parametrize(
    ("status", "kind"),
    [(302, PermanentError), (400, PermanentError), (410, PermanentError), (500, TransientError), (429, TransientError)],
)
async def test_the_address_is_never_shown(
    receiver: tuple[Receiver, str], sink: WebhookSink, status: int, kind: type[Exception]
) -> None:
    fake, _ = receiver
    fake.status, fake.echo_path = status, True
    with pytest.raises(kind, match=str(status)) as caught:
        await sink.deliver(samples.notification())
    assert "s3cret" not in str(caught.value)
    assert "t0ken" not in str(caught.value)


async def test_being_asked_to_wait_is_passed_on(receiver: tuple[Receiver, str], sink: WebhookSink) -> None:
    fake, _ = receiver
    fake.status, fake.answer_headers = 429, {"Retry-After": "12"}
    with pytest.raises(TransientError) as caught:
        await sink.deliver(samples.notification())
    assert caught.value.retry_after == timedelta(seconds=12)


async def test_the_files_of_address_and_secret_are_read_at_each_use(
    receiver: tuple[Receiver, str], tmp_path: Path
) -> None:
    fake, url = receiver
    file = tmp_path / "url"
    sink = WebhookSettings(type="webhook", url_file=file).build(Context())
    assert not (await sink.check())[0].ok
    with pytest.raises(TransientError, match="secret file"):
        await sink.deliver(samples.notification())
    file.write_text(url + "\n")
    assert (await sink.check())[0].ok
    await sink.deliver(samples.notification())
    await sink.close()
    assert len(fake.bodies) == 1


async def test_checking_calls_nobody(receiver: tuple[Receiver, str], sink: WebhookSink) -> None:
    (check,) = await sink.check()
    assert check.ok
    assert receiver[0].bodies == []


async def test_hostile_and_huge_incidents_are_valid_json(receiver: tuple[Receiver, str], sink: WebhookSink) -> None:
    fake, _ = receiver
    for news in (samples.hostile(), samples.huge()):
        await sink.deliver(news)
        made = json.loads(fake.bodies[-1])
        assert made["event_id"] == news.event_id
        assert made["truncated"] == (len(fake.bodies) == 2)
        assert len(fake.bodies[-1]) <= 900_000


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "either url or url_file"),
        ({"url": "ftp://x/y"}, "not an absolute"),
        ({"url": "http://x/y", "secret": "a", "secret_file": "b"}, "keep one"),
    ],
)
def test_settings_that_cannot_work_are_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        WebhookSettings(type="webhook", **given)
