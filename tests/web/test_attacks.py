"""What others do to the web side: hold it, fill it, call it by foreign names, guess, and send what is no HTTP."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import resource
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from pydantic import SecretStr, ValidationError

from exporter.telemetry import PrometheusTelemetry
from exporter.web import WebSettings, server
from exporter.web.app import create_app, start
from exporter.web.door import SECURITY_HEADERS
from exporter.web.guards import FORGOTTEN_AFTER, FREE, LONGEST_WAIT, MOST_ADDRESSES, WrongTokens
from exporter.web.settings import Access
from tests.web.backend import MemoryBackend, shop_incident, shop_record
from tests.web.test_web import alert, alertmanager

ID = shop_incident().id
TOKEN = {"Authorization": "Bearer right"}


class Place:
    """A running web side, and ways to reach it that no client library offers."""

    def __init__(self, port: int, telemetry: PrometheusTelemetry, client: aiohttp.ClientSession) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.client = client
        self._telemetry = telemetry

    def refused(self, reason: str) -> float | None:
        return self._telemetry.value("log_anomaly_exporter_web_refused_total", reason=reason)

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def send(self, raw: bytes) -> bytes:
        """All that is answered to these bytes until the connection is closed."""
        reader, writer = await self.connect()
        try:
            writer.write(raw)
            return await asyncio.wait_for(reader.read(), 60)
        finally:
            writer.close()


@asynccontextmanager
async def serving(access: Access | None = None, **settings: Any) -> AsyncIterator[Place]:
    own = WebSettings(**{"listen": "127.0.0.1:0", "token": SecretStr("right"), **settings})
    telemetry = PrometheusTelemetry()
    app = create_app(own, MemoryBackend(shop_record()), telemetry, access=lambda: access or Access(own))
    runner = await start(app, own, telemetry)
    try:
        async with aiohttp.ClientSession() as client:
            yield Place(runner.addresses[0][1], telemetry, client)
    finally:
        await runner.cleanup()


# --- Connections ---


async def test_silent_connections_neither_pile_up_nor_keep_a_health_check_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MAX_CONNECTIONS", 16)
    async with serving() as place:
        silent = [await place.connect() for _ in range(80)]
        for _ in range(3):
            async with aiohttp.ClientSession() as other:
                assert (await other.get(f"{place.url}/-/healthy")).status == 200
        closed = [await asyncio.wait_for(reader.read(), 60) for reader, _ in silent[:60]]
        assert closed == [b""] * 60, "those that came first made no room"
        assert (place.refused("full") or 0) >= 60
        for _, writer in silent:
            writer.close()


def test_connections_leave_files_to_sources_and_to_the_state(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 4096))
    assert server.most_connections() == 64
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1_000_000, 1_000_000))
    assert server.most_connections() == server.MAX_CONNECTIONS


@pytest.mark.parametrize("said", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: localhost\r\nX-A: "])
async def test_who_does_not_say_what_he_wants_is_closed(monkeypatch: pytest.MonkeyPatch, said: bytes) -> None:
    monkeypatch.setattr(server, "IDLE", 0.05)
    async with serving() as place:
        assert await place.send(said) == b""


async def test_a_connection_that_is_kept_for_nothing_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "IDLE", 0.05)
    async with serving() as place:
        answer = await place.send(b"GET /-/healthy HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200 OK")


async def test_a_body_that_does_not_come_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exporter.web.bodies.TIMEOUT", 0.05)
    head = b"Host: localhost\r\nAuthorization: Bearer right\r\nContent-Type: application/json\r\n"
    async with serving() as place:
        for path in (f"/api/incidents/{ID}/resolve", "/webhooks/alertmanager", "/webhooks/change"):
            answer = await place.send(f"POST {path} HTTP/1.1\r\n".encode() + head + b'Content-Length: 99\r\n\r\n{"a"')
            assert answer.startswith(b"HTTP/1.1 408 "), path


# --- Bodies ---


def bomb(size: int) -> bytes:
    return gzip.compress(b" " * size, 9)


@pytest.mark.parametrize("path", ["/webhooks/alertmanager", "/webhooks/change", f"/api/incidents/{ID}/resolve"])
async def test_a_compressed_body_without_a_token_is_refused_unread(path: str) -> None:
    packed = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    async with serving() as place, place.client.post(place.url + path, data=bomb(50_000_000), headers=packed) as answer:
        assert answer.status == 401
        assert answer.headers["Connection"] == "close"
    async with serving(auth="none") as place:
        answer = await place.client.post(f"{place.url}/webhooks/change", data=bomb(1_000), headers=packed)
        assert answer.status == 415, "nobody needs a token here, so nobody has shown one"


async def test_a_compressed_body_is_inflated_up_to_the_limit() -> None:
    packed = {"Content-Encoding": "gzip", "Content-Type": "application/json", **TOKEN}
    async with serving(client_max_size=100_000) as place:
        url = f"{place.url}/webhooks/alertmanager"
        good = gzip.compress(json.dumps(alertmanager(alert())).encode())
        assert (await place.client.post(url, data=good, headers=packed)).status == 202
        assert (await place.client.post(url, data=bomb(50_000_000), headers=packed)).status == 413
        assert (await place.client.post(url, data=good[:-9], headers=packed)).status == 400
        assert (await place.client.post(url, data=b"{}", headers=packed)).status == 400
        unknown = {**packed, "Content-Encoding": "br"}
        assert (await place.client.post(url, data=b"{}", headers=unknown)).status == 415


# --- Names ---


async def test_a_foreign_name_is_refused_where_a_browser_could_be_made_to_ask() -> None:
    async with serving() as place:
        evil = {"Host": "evil.example"}
        for path in ("/", f"/incidents/{ID}", "/api/incidents", "/static/style.css"):
            async with place.client.get(place.url + path, headers=evil) as answer:
                assert answer.status == 421, path
                assert "web.hosts" in await answer.text()
                assert "payments" not in await answer.text()
        assert place.refused("host") == 4
        for path in ("/-/healthy", "/-/ready", "/-/warm", "/metrics"):
            assert (await place.client.get(place.url + path, headers=evil)).status == 200, path
        assert (await place.client.get(place.url, headers={**evil, **TOKEN})).status == 200


async def test_our_own_names_are_answered() -> None:
    own = WebSettings(listen="127.0.0.1:0", hosts=("logs.corp", "logs"))
    async with serving(Access(own, "https://anomalies.example.org/exporter")) as place:
        for name in ("localhost:9464", "LOCALHOST", "127.0.0.1", "[::1]:9464", "10.1.2.3:9464", "logs", "Logs.Corp."):
            assert (await place.client.get(place.url, headers={"Host": name})).status == 200, name
        named = {"Host": "anomalies.example.org"}
        assert (await place.client.get(place.url, headers=named)).status == 200
        answer = await place.send(b"GET / HTTP/1.0\r\n\r\n")
        assert answer.startswith(b"HTTP/1.0 200 "), "what names nothing is no browser"


@pytest.mark.parametrize("name", ["http://logs.corp", "logs.corp:9464", "logs corp", "*.corp", ""])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(ValidationError, match="is not a name"):
        WebSettings(hosts=(name,))


async def test_a_page_that_everybody_can_read_says_so(caplog: pytest.LogCaptureFixture) -> None:
    anywhere = WebSettings(listen=":9464")
    async with serving(Access(anywhere)) as place:
        assert "Whoever reaches this address can read this." in await (await place.client.get(place.url)).text()
    shut = WebSettings(listen=":9464", read_token=SecretStr("look"))
    assert not Access(shut).open_to_all
    assert not Access(WebSettings(listen="127.0.0.1:9464")).open_to_all
    runner = await start(create_app(anywhere, MemoryBackend()), WebSettings(listen=":0"))
    await runner.cleanup()
    assert "can read every incident: set web.read_token_file" in caplog.text


# --- What is no HTTP, and errors ---


@pytest.mark.parametrize(
    "raw",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\nAuthorization: Bearer s3cret\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer s3cret\r\n broken\r\nX\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"a" * 20_000 + b"\r\n\r\n",
        b"POST /webhooks/change HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\nzz\r\n",
    ],
)
async def test_what_is_no_request_is_counted_answered_in_our_form_and_written_nowhere(
    raw: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        async with serving() as place:
            answer = (await place.send(raw)).decode()
            assert place.refused("malformed") == 1
    head, _, body = answer.partition("\r\n\r\n")
    assert head.startswith(("HTTP/1.1 400 ", "HTTP/1.0 400 "))
    assert json.loads(body) == {"error": "This is no request that can be read."}
    for name, value in {**SECURITY_HEADERS, "Server": "log-anomaly-exporter", "Cache-Control": "no-store"}.items():
        assert f"{name}: {value}" in head
    said = [one.message for one in caplog.records if one.levelno >= logging.INFO]
    assert [message for message in said if "listening" not in message and "web.token_file" not in message] == []
    assert "s3cret" not in caplog.text


@pytest.mark.parametrize("path", ["/", "/nowhere", "/metrics", "/static/style.css", "/api/incidents?limit=0"])
async def test_no_answer_says_what_we_are_made_of(path: str) -> None:
    async with serving() as place, place.client.get(place.url + path) as answer:
        assert answer.headers["Server"] == "log-anomaly-exporter"
        assert "aiohttp" not in str(answer.headers) + await answer.text()


async def test_a_token_file_that_is_gone_is_one_line_in_the_log_and_no_failure_for_readers(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    look = {"Authorization": "Bearer look"}
    async with serving(token=None, token_file=tmp_path / "gone", read_token=SecretStr("look")) as place:
        assert (await place.client.get(place.url, headers=look)).status == 200
        for _ in range(3):
            answer = await place.client.post(f"{place.url}/webhooks/change", headers=TOKEN, json={})
            assert answer.status == 503
            assert str(tmp_path) not in await answer.text()
        assert (await place.client.get(place.url, headers={"Authorization": "Bearer odd"})).status == 503
    assert caplog.text.count("gone: No such file") == 1
    assert "Traceback" not in caplog.text


# --- Guessing ---


class Clock:
    def __init__(self) -> None:
        self.now = 0.0
        self.waited: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def pause(self, seconds: float) -> None:
        self.waited.append(seconds)


async def test_who_tries_tokens_waits_longer_each_time_and_nobody_else() -> None:
    clock = Clock()
    tokens = WrongTokens(clock, clock.pause)
    for _ in range(FREE + 9):
        await tokens.wait("10.0.0.1")
    assert len(clock.waited) == 9
    assert clock.waited[:4] == [0.25, 0.5, 1.0, 2.0]
    assert clock.waited[-1] == LONGEST_WAIT
    await tokens.wait("10.0.0.2")
    assert len(clock.waited) == 9
    clock.now += FORGOTTEN_AFTER
    await tokens.wait("10.0.0.1")
    assert len(clock.waited) == 9, "it was not forgotten"


async def test_however_many_addresses_try_few_are_remembered() -> None:
    clock = Clock()
    tokens = WrongTokens(clock, clock.pause)
    for number in range(MOST_ADDRESSES + 5):
        await tokens.wait(str(number))
    assert len(tokens._seen) == MOST_ADDRESSES


async def test_a_wrong_token_is_counted_and_a_missing_one_is_not() -> None:
    async with serving() as place:
        url = f"{place.url}/api/incidents/{ID}/resolve"
        assert (await place.client.post(url)).status == 401
        assert place.refused("token") == 0
        assert (await place.client.post(url, headers={"Authorization": "Bearer wrong"})).status == 401
        assert place.refused("token") == 1
        assert (await place.client.post(url, headers=TOKEN)).status == 200
