"""The web side over real HTTP: who may do what, what webhooks accept, and what a caller is told."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from pydantic import SecretStr, ValidationError

from exporter.model import ConfigError, StateError, TransientError, parse_duration, to_json
from exporter.model.questions import Health, HiddenIncident, Readiness, SourceProgress
from exporter.telemetry import PrometheusTelemetry
from exporter.web import GrafanaSignatureSettings, WebSettings
from exporter.web.app import create_app, start
from exporter.web.door import SECURITY_HEADERS
from exporter.web.settings import Access
from tests.contracts.test_stores import document
from tests.web.backend import START, MemoryBackend, resolved_record, shop_incident, shop_record

TOKEN = "correct-horse"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
ID = shop_incident().id


class Stopped:
    """A clock that stands still."""

    def now(self) -> datetime:
        return START


class Site:
    """A running web side, and a client of it."""

    def __init__(self, session: aiohttp.ClientSession, base: str, telemetry: PrometheusTelemetry) -> None:
        self._session = session
        self.base = base
        self._telemetry = telemetry

    async def get(self, path: str, **headers: str) -> tuple[int, str, dict[str, str]]:
        async with self._session.get(self.base + path, headers=headers, allow_redirects=False) as answer:
            return answer.status, await answer.text(), dict(answer.headers)

    async def post(self, path: str, body: Any = None, headers: dict[str, str] | None = None) -> tuple[int, Any]:
        data = body if isinstance(body, (bytes, str)) or body is None else json.dumps(body)
        sent = {"Content-Type": "application/json", **(headers or {})}
        async with self._session.post(self.base + path, data=data, headers=sent) as answer:
            return answer.status, json.loads(await answer.text())

    def requests(self, outcome: str, endpoint: str = "alertmanager") -> float | None:
        name = "log_anomaly_exporter_webhook_requests_total"
        return self._telemetry.value(name, endpoint=endpoint, outcome=outcome)

    def alerts(self, outcome: str) -> float | None:
        return self._telemetry.value("log_anomaly_exporter_webhook_alerts_total", outcome=outcome)


@asynccontextmanager
async def serving(backend: MemoryBackend, **settings: Any) -> AsyncIterator[Site]:
    given = WebSettings(**{"listen": "127.0.0.1:0", "token": SecretStr(TOKEN), **settings})
    telemetry = PrometheusTelemetry()
    runner = await start(create_app(given, backend, telemetry, Stopped()), given, telemetry)
    try:
        async with aiohttp.ClientSession() as session:
            yield Site(session, f"http://127.0.0.1:{runner.addresses[0][1]}", telemetry)
    finally:
        await runner.cleanup()
        telemetry.close()


def alert(name: str = "PaymentsDown", **fields: Any) -> dict[str, Any]:
    return {
        "status": "firing",
        "labels": {"alertname": name, "service": "payments"},
        "annotations": {"summary": "payments is down"},
        "startsAt": "2026-03-14T09:26:53.589793238Z",
        "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "http://prometheus/graph",
        "fingerprint": f"{len(name):016x}",
        **fields,
    }


def alertmanager(*alerts: dict[str, Any]) -> dict[str, Any]:
    """What Alertmanager 0.34 sends."""
    return {
        "version": "4",
        "groupKey": '{}/{severity="page"}:{alertname="PaymentsDown"}',
        "truncatedAlerts": 0,
        "status": "firing",
        "receiver": "log-anomaly\\.exporter",
        "groupLabels": {"alertname": "PaymentsDown"},
        "commonLabels": {},
        "commonAnnotations": {},
        "externalURL": "http://alertmanager",
        "notification_reason": "new",
        "routeLabels": {},
        "alerts": list(alerts),
    }


# --- Alertmanager's webhook ----------------------------------------------------------------------


async def test_a_firing_alert_is_handed_over_for_analysis() -> None:
    backend = MemoryBackend()
    async with serving(backend) as site:
        assert await site.post("/webhooks/alertmanager", alertmanager(alert()), BEARER) == (202, {"accepted": 1})
        assert site.requests("accepted") == 1
    (trigger,) = backend.alerts
    assert trigger.starts_at == datetime(2026, 3, 14, 9, 26, 53, 589793, UTC)
    assert trigger.ends_at is None
    assert trigger.labels["service"] == "payments"


async def test_of_more_alerts_than_there_is_room_for_the_rest_is_sent_again() -> None:
    backend = MemoryBackend(capacity=3)
    many = [alert(labels={"alertname": "Down", "service": f"s{number}"}) for number in range(5)]
    async with serving(backend) as site:
        status, answer = await site.post("/webhooks/alertmanager", alertmanager(*many), BEARER)
        assert (status, "3 alerts were taken" in answer["error"]) == (503, True)
        backend.capacity = 5
        assert await site.post("/webhooks/alertmanager", alertmanager(*many), BEARER) == (
            202,
            {"accepted": 2, "duplicate": 3},
        )


async def test_an_alert_is_known_by_its_labels_and_not_by_what_its_sender_calls_it() -> None:
    backend = MemoryBackend()
    same = [alert(labels={"alertname": "Down", "service": name}, fingerprint="0123") for name in ("cart", "orders")]
    renamed = {**same[0], "fingerprint": "4567"}
    async with serving(backend) as site:
        answer = await site.post("/webhooks/alertmanager", alertmanager(*same, renamed), BEARER)
        assert answer == (202, {"accepted": 2, "duplicate": 1})
    first, second = backend.alerts
    assert first.group == second.group != ""


async def test_what_began_long_ago_is_said() -> None:
    async with serving(MemoryBackend()) as site:
        old = alert(startsAt="2026-03-01T00:00:00Z")
        status, answer = await site.post("/webhooks/alertmanager", alertmanager(old, alert("New")), BEARER)
        assert (status, answer["accepted"]) == (202, 2)
        assert answer["note"] == "1 began more than a day ago: the logs of a day ago are looked at"


async def test_deployments_that_nobody_can_have_meant_are_refused() -> None:
    async with serving(MemoryBackend(capacity=1)) as site:
        change = {"service": "shop", "version": "1"}
        assert (await site.post("/webhooks/change", change, BEARER))[0] == 202
        assert (await site.post("/webhooks/change", change, BEARER))[0] == 503


async def test_the_same_alert_is_analysed_once() -> None:
    backend = MemoryBackend()
    async with serving(backend) as site:
        for _ in range(3):
            status, _ = await site.post("/webhooks/alertmanager", alertmanager(alert()), BEARER)
            assert status == 202
        resolved = alert(status="resolved", endsAt="2026-03-14T10:00:00Z")
        assert await site.post("/webhooks/alertmanager", alertmanager(resolved), BEARER) == (202, {"resolved": 1})
        assert (site.alerts("accepted"), site.alerts("duplicate")) == (1, 2)
    assert [trigger.status for trigger in backend.alerts] == ["firing", "resolved"]


async def test_what_grafana_alerting_sends_is_understood() -> None:
    payload = {
        "version": "1",
        "orgId": 1,
        "title": "[FIRING:1] PaymentsDown",
        "state": "alerting",
        "message": "…",
        "receiver": "exporter",
        "status": "firing",
        "alerts": [alert(values={"A": 1}, silenceURL="http://g/s", panelURL="", startsAt="2026-03-14T10:26:53+01:00")],
    }
    backend = MemoryBackend()
    async with serving(backend) as site:
        assert (await site.post("/webhooks/alertmanager", payload, BEARER))[0] == 202
    assert backend.alerts[0].starts_at == datetime(2026, 3, 14, 9, 26, 53, tzinfo=UTC)


async def test_our_own_alerts_are_dropped_and_counted() -> None:
    ours = alert(labels={"alertname": "LogAnomaly", "source": "log-anomaly-exporter"})
    backend = MemoryBackend()
    async with serving(backend) as site:
        answer = await site.post("/webhooks/alertmanager", alertmanager(ours, alert("Other")), BEARER)
        assert answer == (202, {"accepted": 1, "own": 1})
        assert site.alerts("own") == 1
    assert [trigger.labels["alertname"] for trigger in backend.alerts] == ["Other"]


async def test_when_overloaded_the_sender_is_told_to_try_again_and_nothing_is_lost() -> None:
    backend = MemoryBackend(capacity=1)
    both = alertmanager(alert("First"), alert("Number2"))
    async with serving(backend) as site:
        status, answer = await site.post("/webhooks/alertmanager", both, BEARER)
        assert status == 503
        assert "Try again" in answer["error"]
        assert site.requests("overloaded") == 1
        backend.capacity = 10
        assert (await site.post("/webhooks/alertmanager", both, BEARER))[0] == 202
    assert Counter(trigger.labels["alertname"] for trigger in backend.alerts) == {"First": 1, "Number2": 1}


@pytest.mark.parametrize(
    ("error", "expected"), [(StateError("/secret/path/state.db: disk full"), 503), (KeyError("secret"), 500)]
)
async def test_a_failure_of_ours_is_a_5xx_that_is_tried_again_and_says_nothing_of_the_inside(
    error: Exception, expected: int
) -> None:
    backend = MemoryBackend()
    backend.broken = error
    async with serving(backend) as site:
        status, answer = await site.post("/webhooks/alertmanager", alertmanager(alert()), BEARER)
        assert status == expected
        assert "secret" not in str(answer)
        assert site.requests("failed") == 1


@pytest.mark.parametrize(
    ("body", "place"),
    [
        (b"{", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"\xff\xfe", "not JSON"),
        ([], "body is not a JSON object"),
        ({"text": "custom template"}, "no list `alerts`"),
        ({"alerts": "none"}, "no list `alerts`"),
        ({"alerts": [1]}, "alerts[0] is not a JSON object"),
        (alertmanager(alert(), alert(labels={})), "alerts[1].labels is empty"),
        (alertmanager(alert(labels=["a"])), "alerts[0].labels is not a JSON object"),
        (alertmanager(alert(status="pending")), "alerts[0].status"),
        (alertmanager(alert(startsAt="yesterday <script>")), "alerts[0].startsAt is not an RFC 3339 time"),
        (alertmanager(alert(startsAt="2026-03-14T09:26:53")), "alerts[0].startsAt is not an RFC 3339 time"),
        (alertmanager(alert(startsAt=1741944413)), "alerts[0].startsAt is not an RFC 3339 time"),
        (alertmanager(alert(startsAt="0001-01-01T00:00:00Z")), "alerts[0].startsAt is the zero time"),
        (alertmanager(alert(startsAt="9999-12-31T23:59:59-14:00")), "alerts[0].startsAt"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
async def test_what_can_never_be_understood_is_a_400_that_names_the_place(body: Any, place: str) -> None:
    backend = MemoryBackend()
    async with serving(backend) as site:
        status, answer = await site.post("/webhooks/alertmanager", body, BEARER)
        assert status == 400
        assert place.lower() in answer["error"].lower()
        assert "<script>" not in answer["error"]
        assert site.requests("invalid") == 1
    assert not backend.alerts


async def test_odd_values_are_made_fit_to_keep() -> None:
    odd = alert(labels={"alertname": "x" * 9_000, "n": 5, "half": "\ud800"}, fingerprint=None, endsAt="")
    backend = MemoryBackend()
    async with serving(backend) as site:
        assert (await site.post("/webhooks/alertmanager", alertmanager(odd, odd), BEARER))[0] == 202
    (trigger,) = backend.alerts
    assert len(trigger.labels["alertname"]) == 2_000
    assert trigger.labels["n"] == "5"
    assert len(trigger.fingerprint) == 16
    "".join(trigger.labels.values()).encode()


async def test_a_body_of_many_megabytes_is_taken_and_one_beyond_the_limit_refused() -> None:
    large = alert(annotations={"description": "x" * 3_000_000})
    async with serving(MemoryBackend()) as site:
        assert (await site.post("/webhooks/alertmanager", alertmanager(large), BEARER))[0] == 202
    async with serving(MemoryBackend(), client_max_size=1_000_000) as site:
        assert (await site.post("/webhooks/alertmanager", alertmanager(large), BEARER))[0] == 413


# --- Who may do what -----------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/webhooks/alertmanager", "/webhooks/change", f"/api/incidents/{ID}/resolve"])
@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "Bearer "}])
async def test_writing_needs_the_token(path: str, headers: dict[str, str]) -> None:
    backend = MemoryBackend(shop_record())
    async with serving(backend) as site:
        status, _ = await site.post(path, alertmanager(alert()), headers)
        assert status == 401
    assert not backend.alerts
    assert not backend.changes
    assert backend.records[ID].incident.status == "firing"


async def test_without_a_token_writing_is_shut_and_the_answer_says_how_to_open_it() -> None:
    async with serving(MemoryBackend(), token=None) as site:
        for path in ("/webhooks/alertmanager", f"/api/incidents/{ID}/resolve"):
            status, answer = await site.post(path, alertmanager(alert()), {"Authorization": "Bearer "})
            assert status == 403
            assert "web.token_file" in answer["error"]


async def test_webhooks_are_open_when_the_configuration_says_so_and_resolving_is_not() -> None:
    async with serving(MemoryBackend(shop_record()), token=None, auth="none") as site:
        assert (await site.post("/webhooks/alertmanager", alertmanager(alert())))[0] == 202
        assert (await site.post(f"/api/incidents/{ID}/resolve"))[0] == 403


async def test_a_token_is_rotated_without_a_restart(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("old\n")
    async with serving(MemoryBackend(), token=None, token_file=file) as site:

        async def status(token: str) -> int:
            answer = await site.post("/webhooks/alertmanager", alertmanager(), {"Authorization": f"Bearer {token}"})
            return answer[0]

        assert (await status("old"), await status("new")) == (202, 401)
        file.write_text("new\nold\n")
        assert (await status("old"), await status("new")) == (202, 202)
        file.write_text("new\n")
        assert (await status("old"), await status("new")) == (401, 202)
        file.unlink()
        assert await status("new") == 503


async def test_alertmanager_may_use_basic_authentication_but_only_for_webhooks() -> None:
    basic = {"Authorization": "Basic " + base64.b64encode(f"am:{TOKEN}".encode()).decode()}
    async with serving(MemoryBackend(shop_record())) as site:
        assert (await site.post("/webhooks/alertmanager", alertmanager(alert()), basic))[0] == 202
        assert (await site.post(f"/api/incidents/{ID}/resolve", None, basic))[0] == 401


async def test_a_form_of_a_foreign_page_cannot_write() -> None:
    form = {**BEARER, "Content-Type": "text/plain"}
    async with serving(MemoryBackend(shop_record())) as site:
        assert (await site.post("/webhooks/alertmanager", alertmanager(alert()), form))[0] == 415
        assert (await site.post(f"/api/incidents/{ID}/resolve", {"fix": "x"}, form))[0] == 415


def signature(key: str, body: bytes, stamp: str | None = None) -> str:
    signed = body if stamp is None else stamp.encode() + b":" + body
    return hmac.new(key.encode(), signed, hashlib.sha256).hexdigest()


async def test_grafanas_signature_opens_its_webhook_and_a_wrong_one_does_not() -> None:
    signed = GrafanaSignatureSettings(secret=SecretStr("k"))
    body = json.dumps(alertmanager(alert())).encode()
    header = "X-Grafana-Alerting-Signature"
    async with serving(MemoryBackend(), grafana_signature=signed) as site:
        assert (await site.post("/webhooks/alertmanager", body, {header: signature("k", body)}))[0] == 202
        assert (await site.post("/webhooks/alertmanager", body + b" ", {header: signature("k", body)}))[0] == 401
        assert (await site.post("/webhooks/alertmanager", body, {header: signature("other", body)}))[0] == 401
        assert (await site.post("/webhooks/alertmanager", body, {header: ""}))[0] == 401
        assert (await site.post("/webhooks/change", body, {header: signature("k", body)}))[0] == 401
        assert (await site.post("/webhooks/alertmanager", body, BEARER))[0] == 202


@pytest.mark.parametrize(
    ("age", "status"), [("0s", 202), ("4m", 202), ("6m", 401), ("2d", 401)], ids=["now", "4m", "6m", "2d"]
)
async def test_an_old_signature_is_not_replayed(age: str, status: int) -> None:
    signed = GrafanaSignatureSettings(secret=SecretStr("k"), timestamp_header="X-Stamp")
    body = json.dumps(alertmanager(alert())).encode()
    stamp = str(int((START - parse_duration(age)).timestamp()))
    headers = {"X-Grafana-Alerting-Signature": signature("k", body, stamp), "X-Stamp": stamp}
    async with serving(MemoryBackend(), grafana_signature=signed) as site:
        assert (await site.post("/webhooks/alertmanager", body, headers))[0] == status
        headers["X-Stamp"] = "soon"
        assert (await site.post("/webhooks/alertmanager", body, headers))[0] == 401


async def test_a_read_token_shuts_pages_and_api_but_neither_metrics_nor_health() -> None:
    async with serving(MemoryBackend(shop_record()), read_token=SecretStr("look")) as site:
        for path in ("/", f"/incidents/{ID}", "/api/incidents", f"/api/incidents/{ID}", "/nowhere"):
            status, _, headers = await site.get(path)
            assert status == 401, path
            assert "Basic" in headers["WWW-Authenticate"], path
            for password in ("look", TOKEN):
                basic = "Basic " + base64.b64encode(f"me:{password}".encode()).decode()
                assert (await site.get(path, Authorization=basic))[0] in (200, 404), path
        for path in ("/metrics", "/-/healthy", "/-/ready", "/-/warm", "/static/style.css"):
            assert (await site.get(path))[0] == 200, path


@pytest.mark.parametrize("path", ["/metricsx", "/-/healthyx", "/static/../api/incidents", "/-/ready/../../"])
async def test_paths_that_look_like_open_ones_give_nothing_away(path: str) -> None:
    async with serving(MemoryBackend(shop_record()), read_token=SecretStr("look")) as site:
        status, text, _ = await site.get(path)
        assert status in (401, 403, 404)
        assert "payments" not in text


# --- Deployments ---------------------------------------------------------------------------------


async def test_a_deployment_is_remembered_with_its_time_or_now() -> None:
    backend = MemoryBackend()
    async with serving(backend) as site:
        change = {"service": "payments", "version": "2.9.0", "at": "2026-03-14T10:20:00+01:00", "actor": "ci"}
        assert (await site.post("/webhooks/change", change, BEARER))[0] == 202
        assert (await site.post("/webhooks/change", {"service": "cart", "version": "1"}, BEARER))[0] == 202
        assert site.requests("accepted", "change") == 2
    assert backend.changes == [
        ("payments", "2.9.0", datetime(2026, 3, 14, 9, 20, tzinfo=UTC)),
        ("cart", "1", START),
    ]


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"version": "1"}, "service is not a text"),
        ({"service": "cart", "version": 1}, "version is not a text"),
        ({"service": "c" * 201, "version": "1"}, "service is not a text"),
        ({"service": "cart", "version": "1", "at": "now"}, "at is not"),
        ({"service": "cart", "version": "1", "at": "0001-01-01T00:00:00Z"}, "at is not"),
    ],
)
async def test_a_deployment_that_makes_no_sense_is_refused(change: dict[str, Any], place: str) -> None:
    backend = MemoryBackend()
    async with serving(backend) as site:
        status, answer = await site.post("/webhooks/change", change, BEARER)
        assert status == 400
        assert place in answer["error"]
    assert not backend.changes


# --- API -----------------------------------------------------------------------------------------


async def test_the_api_lists_incidents_and_tells_everything_about_one() -> None:
    async with serving(MemoryBackend(shop_record(), resolved_record())) as site:
        listed = json.loads((await site.get("/api/incidents"))[1])["incidents"]
        assert [item["status"] for item in listed] == ["firing", "resolved"]
        assert listed[0]["headline"].startswith("payments:")
        firing = json.loads((await site.get("/api/incidents?status=firing&limit=1"))[1])["incidents"]
        assert [item["id"] for item in firing] == [ID]
        one = json.loads((await site.get(f"/api/incidents/{ID}"))[1])
    assert one["incident"]["starts_at"] == "2026-03-14T09:26:00Z"
    assert {report["writer"] for report in one["reports"]} == {"rules", "qwen3-8b"}
    assert one["deliveries"][0]["sink"] == "alertmanager"


@pytest.mark.parametrize("query", ["status=burning", "limit=0", "limit=-1", "limit=501", "limit=x", "limit=²"])
async def test_a_query_that_makes_no_sense_is_refused(query: str) -> None:
    async with serving(MemoryBackend()) as site:
        assert (await site.get(f"/api/incidents?{query}"))[0] == 400


async def test_an_incident_is_resolved_with_what_fixed_it() -> None:
    backend = MemoryBackend(shop_record())
    async with serving(backend) as site:
        status, answer = await site.post(f"/api/incidents/{ID}/resolve", {"fix": " raised max_connections "}, BEARER)
        assert status == 200
        assert answer["incident"]["status"] == "resolved"
    assert backend.records[ID].incident.fix == "raised max_connections"


async def test_an_incident_is_accepted_rejected_acknowledged_and_noted_by_who_says_so() -> None:
    backend = MemoryBackend(shop_record())
    async with serving(backend) as site:
        said = {"by": "anna", "reason": "a new release", "for": "7d"}
        assert (await site.post(f"/api/incidents/{ID}/accept", said, BEARER))[0] == 200
        assert (await site.post(f"/api/incidents/{ID}/reject", {"for": "ever"}, BEARER))[0] == 200
        assert (await site.post(f"/api/incidents/{ID}/ack", {"by": "ben", "note": "on it"}, BEARER))[0] == 200
        assert (await site.post(f"/api/incidents/{ID}/ack", {"for": "4h"}, BEARER))[0] == 200
        assert (await site.post(f"/api/incidents/{ID}/note", {"text": "the pool is small"}, BEARER))[0] == 200
        assert (await site.post(f"/api/incidents/{ID}/unfix", {"reason": "it came back"}, BEARER))[0] == 200
        for verb in ("accept", "reject", "ack", "note", "unfix"):
            assert (await site.post(f"/api/incidents/{ID}/{verb}", {"text": "x"}))[0] == 401
            body = {"text": "x"} if verb == "note" else None
            assert (await site.post(f"/api/incidents/unknown/{verb}", body, BEARER))[0] == 404
        assert (await site.post(f"/api/incidents/{ID}/forget", None, BEARER))[0] == 404
    assert [(verb, said.by, said.reason, said.lasting) for _, verb, said in backend.acts] == [
        ("accept", "anna", "a new release", timedelta(days=7)),
        ("reject", "the API", "", None),
        ("ack", "ben", "on it", None),
        ("ack", "the API", "", timedelta(hours=4)),
        ("note", "the API", "the pool is small", timedelta(days=90)),
        ("unfix", "the API", "it came back", timedelta(days=90)),
    ]


@pytest.mark.parametrize(
    ("verb", "body", "said"),
    [
        ("accept", {"until": "soon"}, "RFC 3339"),
        ("accept", {"for": "a week"}, "duration"),
        ("accept", {"for": "7d", "until": "2026-12-24"}, "exclude each other"),
        ("accept", {"confirmed": "yes"}, "true or false"),
        ("accept", {"text": "x"}, "not known here"),
        ("ack", {"reason": "x"}, "not known here"),
        ("ack", {"by": 1}, "by is not a text"),
        ("note", {}, "Say something"),
        ("note", {"text": "x" * 2_001}, "2,000 characters"),
    ],
)
async def test_an_act_that_cannot_be_read_changes_nothing_and_says_why(verb: str, body: Any, said: str) -> None:
    backend = MemoryBackend(shop_record())
    async with serving(backend) as site:
        status, answer = await site.post(f"/api/incidents/{ID}/{verb}", body, BEARER)
    assert (status, backend.acts) == (400, [])
    assert said in answer["error"]


async def test_rules_are_made_shown_tried_and_taken_back_by_the_api() -> None:
    backend = MemoryBackend(shop_record())
    quiet = {"name": "quiet", "do": "mute", "service": "mail"}
    async with serving(backend) as site:
        assert (await site.post("/api/rules", quiet))[0] == 401
        status, made = await site.post("/api/rules", quiet, BEARER)
        assert (status, made["name"], made["do"]) == (201, "quiet", "mute")
        listed = json.loads((await site.get("/api/rules"))[1])["rules"]
        assert [(rule["name"], rule["hidden"]) for rule in listed] == [("quiet", 0)]
        status, answer = await site.post("/api/rules", {"name": "all", "do": "mute"}, BEARER)
        assert (status, "matches everything" in answer["error"]) == (400, True)
        backend.hidden = (HiddenIncident(ID, "critical", START, "payments fails"),)
        status, answer = await site.post("/api/rules/preview", {**quiet, "name": "much"}, BEARER)
        assert (status, [one["headline"] for one in answer["hidden"]]) == (200, ["payments fails"])
        status, answer = await site.post("/api/rules", {**quiet, "name": "much"}, BEARER)
        assert (status, '"confirmed": true' in answer["error"], len(answer["hidden"])) == (409, True, 1)
        assert (await site.post("/api/rules", {**quiet, "name": "much", "confirmed": True}, BEARER))[0] == 201
        assert (await site.post("/api/rules/quiet/remove", {"by": "anna"}, BEARER))[0] == 200
        assert (await site.post("/api/rules/quiet/remove", None, BEARER))[0] == 400
    assert list(backend.made) == ["much"]


async def test_what_another_memory_held_is_taken_and_forgotten_again_by_the_api() -> None:
    backend = MemoryBackend()
    one = to_json(document("a", installation="there", vector=()))
    wrong: tuple[Any, ...] = (
        {"documents": [one] * 501},
        {"documents": [{**one, "starts_at": "2026-01-05T12:00:00"}]},
        {},
        [one],
    )
    async with serving(backend) as site:
        assert (await site.post("/api/memory", {"documents": [one]}))[0] == 401
        assert (await site.post("/api/memory/there:a/forget"))[0] == 401
        for body in wrong:
            assert (await site.post("/api/memory", body, BEARER))[0] == 400
        assert backend.remembered == {}
        assert await site.post("/api/memory", {"documents": [one]}, BEARER) == (200, {"written": 1})
        assert (await site.post("/api/memory/there:a/forget", {"by": "anna"}, BEARER))[0] == 400
        assert (await site.post("/api/memory/there:a/forget", None, BEARER))[0] == 200
        assert (await site.post("/api/memory/there:a/forget", None, BEARER))[0] == 404
    assert backend.remembered == {}


async def test_a_memory_that_does_not_answer_now_is_said_so_by_the_api() -> None:
    class Gone(MemoryBackend):
        async def forget(self, key: str) -> bool:
            raise TransientError("memory: no answer to delete within 10s")

    async with serving(Gone()) as site:
        status, answer = await site.post("/api/memory/there:a/forget", None, BEARER)
    assert (status, "no answer to delete" in answer["error"]) == (503, True)


async def test_resolving_needs_no_body_and_refuses_a_strange_one() -> None:
    backend = MemoryBackend(shop_record())
    async with serving(backend) as site:
        for body in ([1], {"fix": 1}, b"{", {"fix": "x" * 2_001}):
            assert (await site.post(f"/api/incidents/{ID}/resolve", body, BEARER))[0] == 400
        assert backend.records[ID].incident.status == "firing"
        assert (await site.post(f"/api/incidents/{ID}/resolve", None, BEARER))[0] == 200
        assert (await site.post("/api/incidents/unknown/resolve", None, BEARER))[0] == 404
    assert backend.records[ID].incident.fix is None


# --- Health, metrics, headers --------------------------------------------------------------------


async def test_health_and_readiness_say_what_is_wrong() -> None:
    backend = MemoryBackend()
    async with serving(backend) as site:
        assert (await site.get("/-/healthy"))[0] == 200
        assert (await site.get("/-/ready"))[0] == 200
        backend.healthy = Health(False, "the scheduler has not run for 5m")
        progress = SourceProgress("shop", "warming_up", 0.25, START, timedelta(hours=3))
        backend.is_ready = Readiness(False, ("shop is warming up",), (progress,))
        status, text, _ = await site.get("/-/healthy")
        assert (status, json.loads(text)["why"]) == (503, "the scheduler has not run for 5m")
        status, text, _ = await site.get("/-/warm")
        assert status == 503
        assert json.loads(text)["sources"][0]["progress"] == 0.25
        assert "shop is warming up" in (await site.get("/"))[1]


async def test_sources_that_learn_take_no_pod_away_and_a_state_that_refuses_does() -> None:
    backend = MemoryBackend()
    async with serving(backend) as site:
        assert (await site.get("/-/warm"))[0] == 200
        backend.is_ready = Readiness(False, ("shop: stalled: no route to host",))
        status, text, _ = await site.get("/-/ready")
        assert (status, json.loads(text)) == (200, {"ready": True, "warm": False, "reasons": []})
        backend.is_ready = Readiness(False, ("/var/lib/state.db: the disk is full",), serving=False)
        status, text, _ = await site.get("/-/ready")
        assert (status, json.loads(text)["ready"]) == (503, False)
        assert "/var/lib" not in text, "it names a path to whoever asks"


async def test_who_has_the_token_lets_the_configuration_be_read_again() -> None:
    backend = MemoryBackend()
    async with serving(backend) as site:
        assert (await site.post("/-/reload", headers={}))[0] == 401
        status, answer = await site.post("/-/reload", headers=BEARER)
        assert (status, answer, backend.reloads) == (200, {"reloaded": True}, 1)
        backend.broken = ConfigError("exporter.yml:3: alarm_budget: not a budget")
        status, answer = await site.post("/-/reload", headers=BEARER)
        assert status == 400
        assert "Nothing has changed: exporter.yml:3: alarm_budget" in answer["error"]


async def test_the_token_that_counts_is_that_of_the_configuration_that_is_in_use() -> None:
    settings = [WebSettings(listen="127.0.0.1:0", token=SecretStr("old"))]
    app = create_app(settings[0], MemoryBackend(shop_record()), access=lambda: Access(settings[-1]))
    runner = await start(app, settings[0])
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{runner.addresses[0][1]}") as client:
            path, old = f"/api/incidents/{ID}/resolve", {"Authorization": "Bearer old"}
            assert (await client.post(path, headers=old)).status == 200
            settings.append(WebSettings(listen="127.0.0.1:0", token=SecretStr("new")))
            assert (await client.post(path, headers=old)).status == 401
            assert (await client.post(path, headers={"Authorization": "Bearer new"})).status == 200
    finally:
        await runner.cleanup()


async def test_every_address_is_listened_on_where_no_host_is_given() -> None:
    runner = await start(create_app(WebSettings(), MemoryBackend()), WebSettings(listen=":0"))
    try:
        assert {address[0] for address in runner.addresses} <= {"0.0.0.0", "::"}
        async with aiohttp.ClientSession() as client:
            for host, port, *_ in runner.addresses:
                url = f"http://{'[::1]' if host == '::' else '127.0.0.1'}:{port}/-/healthy"
                assert (await client.get(url)).status == 200
    finally:
        await runner.cleanup()


def test_where_to_listen_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOG_ANOMALY_EXPORTER_LISTEN", ":9464")
    assert (WebSettings().listen, WebSettings(listen="127.0.0.1:1").listen) == (":9464", "127.0.0.1:1")
    monkeypatch.setenv("LOG_ANOMALY_EXPORTER_LISTEN", "9464")
    with pytest.raises(ValidationError, match="is not an address"):
        WebSettings()


async def test_metrics_are_what_prometheus_reads() -> None:
    async with serving(MemoryBackend()) as site:
        status, text, headers = await site.get("/metrics")
    assert status == 200
    assert headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert "log_anomaly_exporter_ready 1" in text


@pytest.mark.parametrize(
    "path", ["/", f"/incidents/{ID}", "/api/incidents", "/static/style.css", "/metrics", "/nowhere", "/api/nowhere"]
)
async def test_every_answer_carries_the_security_headers(path: str) -> None:
    async with serving(MemoryBackend(shop_record())) as site:
        _, _, headers = await site.get(path)
    assert SECURITY_HEADERS.items() <= headers.items()
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert headers["Cache-Control"] == ("max-age=3600" if "static" in path else "no-store")


async def test_an_unexpected_error_tells_the_reader_nothing_of_the_inside() -> None:
    backend = MemoryBackend()
    backend.broken = RuntimeError("/secret/path")
    async with serving(backend) as site:
        for path in ("/", "/api/incidents"):
            status, text, headers = await site.get(path)
            assert status == 500
            assert "secret" not in text
            assert headers["X-Content-Type-Options"] == "nosniff"


async def test_pages_link_relatively_so_that_they_work_under_a_path() -> None:
    async with serving(MemoryBackend(shop_record())) as site:
        for path, root in (("/", "./"), ("/incidents", "./"), (f"/incidents/{ID}", "../"), ("/a/b/c", "../../")):
            _, text, _ = await site.get(path)
            assert f'href="{root}static/style.css"' in text
            assert 'href="/' not in text


async def test_a_port_that_is_taken_is_said_with_its_remedy() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        settings = WebSettings(listen=f"127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(ConfigError, match=r"web\.listen: cannot listen on .* choose another"):
            await start(create_app(settings, MemoryBackend()), settings)


# --- Settings ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"listen": "9464"}, "is not an address"),
        ({"listen": "127.0.0.1:99999"}, "is not an address"),
        ({"listen": "::1:9464"}, "is not an address"),
        ({"token": "a", "token_file": "/b"}, "either token or token_file"),
        ({"read_token": "a", "read_token_file": "/b"}, "either read_token or read_token_file"),
        ({"grafana_signature": {}}, "either secret or secret_file"),
        ({"auth": "no"}, "'bearer' or 'none'"),
        ({"tokens": "a"}, "Extra inputs are not permitted"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        WebSettings.model_validate(settings)


def test_a_secret_is_not_shown() -> None:
    assert TOKEN not in repr(WebSettings(token=SecretStr(TOKEN)))


def test_the_settings_do_not_import_the_server() -> None:
    code = "import sys, exporter.web; sys.exit(any(name in sys.modules for name in ('aiohttp', 'jinja2')))"
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0


async def test_many_bodies_at_once_are_refused_with_a_503() -> None:
    async with serving(MemoryBackend()) as site:
        writers = [await _half_a_request(site.base) for _ in range(8)]
        await _until(lambda: site.post("/webhooks/alertmanager", alertmanager(alert()), BEARER), 503)
        for writer in writers:
            writer.close()
        await _until(lambda: site.post("/webhooks/alertmanager", alertmanager(alert()), BEARER), 202)


async def _half_a_request(base: str) -> Any:
    import asyncio

    host, port = base.removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        b"POST /webhooks/alertmanager HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Authorization: Bearer " + TOKEN.encode() + b"\r\nContent-Length: 1000\r\n\r\n{"
    )
    await writer.drain()
    return writer


async def _until(ask: Callable[[], Awaitable[tuple[int, Any]]], status: int) -> None:
    """Ask until the answer is `status`: the server takes notice of its connections in its own time."""
    for _ in range(1_000):
        if (await ask())[0] == status:
            return
    pytest.fail(f"never answered {status}")


async def test_an_address_that_does_not_exist_is_said_in_words() -> None:
    async with serving(MemoryBackend()) as site:
        status, text, _ = await site.get("/nowhere")
        assert status == 404
        assert "There is nothing at this address." in text
        status, text, headers = await site.get("/webhooks/change")
        assert (status, headers["Allow"]) == (405, "POST")
        assert json.loads(text) == {"error": "This address does not take requests of this kind."}
