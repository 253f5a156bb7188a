"""The Alertmanager sink: what a real Alertmanager lists, for as long as it should."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from pydantic import ValidationError

from exporter.model import (
    Acknowledgement,
    Closing,
    Context,
    Incident,
    Notification,
    PermanentError,
    TransientError,
)
from integrations.alertmanager import (
    AlertmanagerSettings,
    AlertmanagerSink,
    Told,
    alerts,
    label_set,
    read_receipt,
    tell,
    texts,
)
from tests import samples
from tests.conftest import missing
from tests.fakes.serving import serving
from tests.servers import running
from tests.servers.process import PATIENCE, Server, Unavailable

RESEND = timedelta(seconds=60)
CLASSIC = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


def settings(*urls: str, **changes: Any) -> AlertmanagerSettings:
    return AlertmanagerSettings(type="alertmanager", urls=urls, **({"timeout": timedelta(seconds=PATIENCE)} | changes))


def wall() -> datetime:
    """Alertmanager resolves by its own clock, so what it is told must be of today."""
    return datetime.now(UTC)


def news(name: str, incident: Incident | None = None, **changes: Any) -> Notification:
    """News of an incident with labels that no other test uses."""
    told = incident or samples.incident()
    own = replace(
        told,
        labels=samples.labels(incident_id=name),
        retired_labels=tuple({**labels, "incident_id": name} for labels in told.retired_labels),
    )
    return samples.notification(own, **({"now": wall()} | changes))


async def listed(url: str, name: str) -> list[dict[str, Any]]:
    params = {"filter": f'incident_id="{name}"'}
    async with aiohttp.ClientSession() as session, session.get(f"{url}/api/v2/alerts", params=params) as response:
        found: list[dict[str, Any]] = await response.json()
        return found


@pytest.fixture
async def sink(alertmanager_url: str) -> AsyncIterator[AlertmanagerSink]:
    sink = settings(alertmanager_url).build(Context())
    yield sink
    await sink.close()


# --- The pure functions --------------------------------------------------------------------------------


def test_an_incident_becomes_an_alert() -> None:
    told = tell(samples.notification(), None)
    assert alerts(samples.notification(), told, RESEND) == [
        {
            "labels": {
                "alertname": "LogAnomaly",
                "service": "payments",
                "severity": "critical",
                "source": "log-anomaly-exporter",
                "incident_id": "3f9a1c0de47b2856",
            },
            "startsAt": "2026-03-14T09:35:12.000Z",
            "endsAt": "2026-03-14T09:39:12.000Z",
            "annotations": {
                "summary": "payments cannot reach its database; checkout and gateway fail with it",
                "description": """\
payments cannot reach its database; checkout and gateway fail with it

Most likely cause:
- payments (74%): first to change, and its errors name what the others miss
- checkout (19%): its errors repeat what payments answered
- gateway (7%): time-outs only, two minutes later

Observed against expected:
- new kind of line: could not connect to <*>: connection refused (184 lines, expected 0)
- errors: errors of payments (371 lines, expected 0.8)
- unusual order: charge requested → charge captured (0.04 of times, expected 0.97)
- silence: receipt <*> sent to <*> (0 lines, expected 38)

Seen before:
- the same failure as on 2026-03-02: payments: connections to db-payments refused (3rd time; \
connection refused; 1 line in common; fixed by: raised max_connections of db-payments from 100 to 300 (ann), came \
back after 11 d)

What to do:
- Check that db-payments accepts connections
- See what fixed the similar incident of 2 March""",
                "cause": "payments",
                "services": "payments, checkout, gateway",
                "incident_url": "https://anomalies.example.org/incidents/3f9a1c0de47b2856",
                "revision": "4",
                "starts_at": "2026-03-14T09:26:00Z",
            },
            "generatorURL": "https://anomalies.example.org/incidents/3f9a1c0de47b2856",
        }
    ]


def test_only_what_the_labels_say_is_in_the_labels() -> None:
    first = alerts(samples.notification(), Told(samples.NOW), RESEND)[0]
    other = samples.incident(score=0.5, revision=9, services=("a", "b"), suspects=(), updated_at=samples.at(60))
    second = alerts(samples.notification(other), Told(samples.NOW), RESEND)[0]
    assert first["labels"] == second["labels"]
    assert first["annotations"] != second["annotations"]


def test_no_log_line_leaves_unless_it_is_asked_for() -> None:
    line = samples.evidence()[1].body
    assert line not in json.dumps(texts(samples.notification()))
    assert line in texts(samples.notification(), samples=2)["description"]


def test_labels_and_annotations_fit_every_alertmanager() -> None:
    hostile = {"service.name": samples.HOSTILE, "1st": "x", "": "y", "empty": "", "ключ": "z", "tab\t": "\x00"}
    for told in (samples.hostile(), samples.huge()):
        incident = replace(told.incident, labels={**told.incident.labels, **hostile})
        for alert in alerts(replace(told, incident=incident), Told(samples.NOW), RESEND):
            for name, value in {**alert["labels"], **alert["annotations"]}.items():
                assert CLASSIC.fullmatch(name)
                assert isinstance(value, str)
                assert value
                assert not set(value) & set("\x00\x1b\u202e\u200b")
            assert len(alert["annotations"]["summary"]) <= 200
            assert len(alert["annotations"]["description"]) <= 2_000
            assert all(len(value) <= 200 for value in alert["labels"].values())


def test_equal_labels_stay_equal_after_cleaning() -> None:
    labels = {"a.b": "1", "a_b": "2", "service": "x" * 500}
    assert label_set(labels) == label_set(dict(labels))
    assert label_set(labels)["a_b"] == "1"


@pytest.mark.parametrize("url", [None, "", "/incidents/1", "javascript:alert(1)", "ftp://x/y"])
def test_a_generator_url_is_absolute_or_absent(url: str | None) -> None:
    (alert,) = alerts(samples.notification(url=url), Told(samples.NOW), RESEND)
    assert "generatorURL" not in alert
    assert "incident_url" not in alert["annotations"]


def test_the_end_of_a_firing_alert_is_near_and_moves() -> None:
    told = tell(samples.notification(), None)
    later = samples.notification(now=samples.NOW + timedelta(minutes=5))
    (alert,) = alerts(later, tell(later, told), RESEND)
    assert (alert["startsAt"], alert["endsAt"]) == ("2026-03-14T09:35:12.000Z", "2026-03-14T09:44:12.000Z")


def test_the_end_of_a_resolved_alert_is_that_of_its_incident_in_each_attempt() -> None:
    opened = tell(samples.notification(), None)
    ends = set()
    for minutes in (20, 22, 24):
        # The receipt of an attempt that was stored and not answered is lost.
        attempt = samples.notification(samples.resolved(), now=samples.NOW + timedelta(minutes=minutes))
        (alert,) = alerts(attempt, tell(attempt, opened), RESEND)
        ends.add(alert["endsAt"])
    assert ends == {"2026-03-14T09:47:00.000Z"}


def test_what_ended_before_it_was_told_starts_before_it_ends() -> None:
    told = samples.notification(samples.resolved(), now=samples.NOW + timedelta(hours=2))
    (alert,) = alerts(told, tell(told, None), RESEND)
    assert (alert["startsAt"], alert["endsAt"]) == ("2026-03-14T09:26:00.000Z", "2026-03-14T09:47:00.000Z")


def test_a_reopened_incident_starts_again() -> None:
    told = tell(samples.notification(samples.resolved()), tell(samples.notification(), None))
    later = samples.notification(now=samples.NOW + timedelta(minutes=30))
    told = tell(later, told)
    assert told.resolved is None
    assert told.starts == later.now


def test_left_label_sets_are_resolved_for_five_minutes() -> None:
    escalated = samples.incident(
        retired_labels=(samples.labels(severity="warning"), samples.labels()), retired_at=(samples.at(5), samples.at(6))
    )
    first = samples.notification(escalated)
    told = tell(first, Told(samples.NOW - timedelta(minutes=3)))
    retired, own = alerts(first, told, RESEND)
    assert retired["labels"]["severity"] == "warning"
    assert retired["endsAt"] == "2026-03-14T09:31:00.000Z", "when it was left, in event time, in each attempt"
    assert own["labels"]["severity"] == "critical"
    later = samples.notification(escalated, now=samples.NOW + timedelta(minutes=4))
    again, _ = alerts(later, tell(later, told), RESEND)
    assert again["endsAt"] == retired["endsAt"]
    much_later = samples.notification(escalated, now=samples.NOW + timedelta(minutes=6))
    assert len(alerts(much_later, tell(much_later, told), RESEND)) == 1


def test_no_alert_ends_before_it_starts() -> None:
    told = Told(samples.NOW + timedelta(hours=1), resolved=samples.NOW)
    for alert in alerts(samples.notification(samples.resolved()), told, RESEND):
        assert alert["startsAt"] <= alert["endsAt"]


@pytest.mark.parametrize("receipt", [None, "", "{}", "garbage", "[]", '{"starts":5}', '{"starts":"x"}'])
def test_a_receipt_that_cannot_be_read_is_no_receipt(receipt: str | None) -> None:
    read_receipt(receipt)
    if receipt not in ('{"starts":5}',):
        assert read_receipt(receipt) is None


@pytest.mark.parametrize("url", ["alertmanager:9093", "http://", "http://am:9093?x=1", "http://am 1"])
def test_a_url_that_cannot_be_a_base_is_refused(url: str) -> None:
    with pytest.raises(ValidationError, match="not a base URL"):
        settings(url)


# --- A real Alertmanager -------------------------------------------------------------------------------


async def test_a_firing_incident_is_listed(alertmanager_url: str, sink: AlertmanagerSink, unique_name: str) -> None:
    receipt = await sink.deliver(news(unique_name))
    (alert,) = await listed(alertmanager_url, unique_name)
    assert alert["labels"] == samples.labels(incident_id=unique_name)
    assert alert["status"]["state"] in ("active", "unprocessed")
    assert alert["annotations"]["cause"] == "payments"
    assert alert["generatorURL"] == "https://anomalies.example.org/incidents/3f9a1c0de47b2856"
    told = read_receipt(receipt)
    assert told is not None
    assert told.checked is not None


async def test_the_analysis_of_somebody_elses_alert_is_not_one_more(
    alertmanager_url: str, sink: AlertmanagerSink, unique_name: str
) -> None:
    assert await sink.deliver(news(unique_name, samples.incident(trigger="alert HighLatency"))) is None
    assert await listed(alertmanager_url, unique_name) == []


async def test_an_update_changes_the_same_alert(
    alertmanager_url: str, sink: AlertmanagerSink, unique_name: str
) -> None:
    receipt = await sink.deliver(news(unique_name))
    await sink.deliver(news(unique_name, samples.incident(revision=5), receipt=receipt))
    (alert,) = await listed(alertmanager_url, unique_name)
    assert alert["annotations"]["revision"] == "5"


async def test_a_resolved_incident_is_listed_no_more(
    alertmanager_url: str, sink: AlertmanagerSink, unique_name: str
) -> None:
    receipt = await sink.deliver(news(unique_name))
    receipt = await sink.deliver(news(unique_name, samples.resolved(), receipt=receipt))
    assert await listed(alertmanager_url, unique_name) == []
    await sink.deliver(news(unique_name, samples.resolved(), receipt=receipt))
    assert await listed(alertmanager_url, unique_name) == []


async def test_a_reopened_incident_is_listed_again(
    alertmanager_url: str, sink: AlertmanagerSink, unique_name: str
) -> None:
    receipt = await sink.deliver(news(unique_name))
    receipt = await sink.deliver(news(unique_name, samples.resolved(), receipt=receipt))
    await sink.deliver(news(unique_name, samples.incident(reopened=1), receipt=receipt))
    assert len(await listed(alertmanager_url, unique_name)) == 1


async def silences(url: str, name: str) -> list[dict[str, Any]]:
    """Those of an incident that hold."""
    params = {"filter": f'incident_id="{name}"'}
    async with aiohttp.ClientSession() as session, session.get(f"{url}/api/v2/silences", params=params) as answer:
        return [one for one in await answer.json() if one["status"]["state"] != "expired"]


async def test_what_is_acknowledged_is_silenced_until_its_end_where_that_is_wanted(
    alertmanager_url: str, unique_name: str
) -> None:
    sink = settings(alertmanager_url, silence_on_ack=True).build(Context())
    taken = Acknowledgement("anna", samples.at(5), "critical", (), "on it")
    firing = samples.incident(id=unique_name)
    acknowledged = replace(firing, revision=5, acknowledged=taken)
    receipt = await sink.deliver(news(unique_name, firing))
    assert await silences(alertmanager_url, unique_name) == []
    receipt = await sink.deliver(news(unique_name, acknowledged, receipt=receipt))
    (silence,) = await silences(alertmanager_url, unique_name)
    assert silence["createdBy"] == "anna"
    assert "Acknowledged by anna" in silence["comment"]
    (alert,) = await listed(alertmanager_url, unique_name)
    assert alert["status"]["silencedBy"] == [silence["id"]]
    assert "Acknowledged by anna" in alert["annotations"]["people"]
    # Another instance was told of it, or the receipt was lost: it is found.
    receipt = await sink.deliver(news(unique_name, acknowledged))
    assert len(await silences(alertmanager_url, unique_name)) == 1
    ended = samples.resolved(id=unique_name, revision=6, acknowledged=taken)
    await sink.deliver(news(unique_name, ended, receipt=receipt))
    assert await silences(alertmanager_url, unique_name) == []
    await sink.close()


async def test_what_is_accepted_is_listed_no_more_and_its_silence_is_over(
    alertmanager_url: str, unique_name: str
) -> None:
    sink = settings(alertmanager_url, silence_on_ack=True).build(Context())
    taken = Acknowledgement("anna", samples.at(5), "critical")
    acknowledged = samples.incident(id=unique_name, acknowledged=taken)
    receipt = await sink.deliver(news(unique_name, acknowledged))
    assert len(await silences(alertmanager_url, unique_name)) == 1
    accepted = samples.resolved(id=unique_name, closed=Closing("accepted", "anna", samples.at(9), "a new release"))
    told = news(unique_name, accepted, receipt=receipt)
    await sink.deliver(told)
    assert await listed(alertmanager_url, unique_name) == []
    assert await silences(alertmanager_url, unique_name) == []
    assert texts(told)["people"] == "Accepted as normal by anna: a new release."
    await sink.close()


async def test_an_escalation_leaves_one_alert(alertmanager_url: str, sink: AlertmanagerSink, unique_name: str) -> None:
    mild = replace(
        news(unique_name), incident=samples.incident(labels=samples.labels(incident_id=unique_name, severity="warning"))
    )
    receipt = await sink.deliver(mild)
    assert [alert["labels"]["severity"] for alert in await listed(alertmanager_url, unique_name)] == ["warning"]
    escalated = samples.incident(retired_labels=(samples.labels(severity="warning"),))
    await sink.deliver(news(unique_name, escalated, receipt=receipt))
    assert [alert["labels"]["severity"] for alert in await listed(alertmanager_url, unique_name)] == ["critical"]


async def test_hostile_and_huge_incidents_are_taken(
    alertmanager_url: str, sink: AlertmanagerSink, unique_name: str
) -> None:
    for number, told in enumerate((samples.hostile(), samples.huge())):
        name = f"{unique_name}{number}"
        own = replace(told.incident, labels={**told.incident.labels, "incident_id": name, "a.b": "c"})
        await sink.deliver(replace(told, incident=own, now=wall()))
        (alert,) = await listed(alertmanager_url, name)
        assert alert["labels"]["a_b"] == "c"


async def test_a_repetition_of_the_same_news_makes_no_second_alert(
    alertmanager_url: str, sink: AlertmanagerSink, unique_name: str
) -> None:
    for _ in range(2):
        await sink.deliver(news(unique_name))
    assert len(await listed(alertmanager_url, unique_name)) == 1


async def test_every_instance_is_told(alertmanager_pair: list[str], unique_name: str) -> None:
    peers = settings(*alertmanager_pair).places(Context())
    assert len({sink.peer for sink in peers}) == 2
    for sink in peers:
        await sink.deliver(news(unique_name))
        await sink.close()
    for url in alertmanager_pair:
        assert len(await listed(url, unique_name)) == 1


def test_one_address_may_stand_without_a_list() -> None:
    read = AlertmanagerSettings.model_validate({"type": "alertmanager", "urls": "http://am:9093/"})
    assert read.urls == ("http://am:9093",)


def test_an_only_instance_needs_no_name_and_several_have_theirs_without_what_is_secret() -> None:
    assert settings("http://am-1:9093").build(Context()).peer == ""
    peers = settings("http://user:secret@am-1:9093/am", "http://am-2:9093", "http://am-2:9093").places(Context())
    assert [sink.peer for sink in peers] == ["am-1:9093/am", "am-2:9093"]


@pytest.fixture
def limited(tmp_path: Path) -> Iterator[Server]:
    """An Alertmanager of this test alone that keeps one alert of a name."""
    try:
        server = running.alertmanager(tmp_path, "--alerts.per-alertname-limit=1")
    except Unavailable as error:
        missing(error)
    with server:
        yield server


async def test_an_alert_that_a_limit_dropped_is_not_taken_for_told(limited: Server) -> None:
    sink = settings(limited.url).build(Context())
    await sink.deliver(news("first"))
    with pytest.raises(TransientError, match="per-alertname-limit"):
        await sink.deliver(news("second"))
    await sink.close()
    assert len(await listed(limited.url, "first")) == 1
    assert await listed(limited.url, "second") == []


async def test_a_repetition_brings_back_what_a_restart_forgot(limited: Server) -> None:
    sink = settings(limited.url).build(Context())
    receipt = await sink.deliver(news("mine"))
    limited.stop()
    with pytest.raises(TransientError):
        await sink.deliver(news("mine", receipt=receipt))
    limited.start()
    assert await listed(limited.url, "mine") == []
    await sink.deliver(news("mine", receipt=receipt))
    await sink.close()
    assert len(await listed(limited.url, "mine")) == 1


async def test_checking_a_real_alertmanager_leaves_nothing_behind(sink: AlertmanagerSink) -> None:
    (check,) = await sink.check()
    assert check.ok, check.detail


# --- An Alertmanager that misbehaves -------------------------------------------------------------------


class Misbehaving:
    """Takes alerts under a path and a tenant; refuses those with a label `bad`, and may drop all in silence."""

    def __init__(self) -> None:
        self.stored: list[dict[str, Any]] = []
        self.batches: list[int] = []
        self.tenants: set[str | None] = set()
        self.drops = False
        self.questions = 0
        self.question_status = 200

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/alertmanager/api/v2/alerts", self._post)
        app.router.add_get("/alertmanager/api/v2/alerts", self._get)
        return app

    async def _post(self, request: web.Request) -> web.Response:
        alerts = await request.json()
        self.batches.append(len(alerts))
        self.tenants.add(request.headers.get("X-Scope-OrgID"))
        good = [alert for alert in alerts if "bad" not in alert["labels"]]
        if not self.drops:
            self.stored += good
        # The valid alerts of a refused batch are stored all the same.
        return web.Response() if len(good) == len(alerts) else web.Response(status=400, text="invalid label set")

    async def _get(self, request: web.Request) -> web.Response:
        self.questions += 1
        return web.json_response(self.stored, status=self.question_status)


@pytest.fixture
async def misbehaving() -> AsyncIterator[tuple[Misbehaving, AlertmanagerSink]]:
    fake = Misbehaving()
    async with serving(fake.app()) as url:
        sink = settings(f"{url}/alertmanager/", tenant="team-a").build(Context())
        yield fake, sink
        await sink.close()


async def test_a_path_and_a_tenant_are_kept(misbehaving: tuple[Misbehaving, AlertmanagerSink]) -> None:
    fake, sink = misbehaving
    await sink.deliver(samples.notification())
    assert len(fake.stored) == 1
    assert fake.tenants == {"team-a"}


async def test_alerts_that_are_dropped_in_silence_are_noticed(
    misbehaving: tuple[Misbehaving, AlertmanagerSink],
) -> None:
    fake, sink = misbehaving
    fake.drops = True
    with pytest.raises(TransientError, match="per-alertname-limit"):
        await sink.deliver(samples.notification())


async def test_listing_is_asked_for_rarely(misbehaving: tuple[Misbehaving, AlertmanagerSink]) -> None:
    fake, sink = misbehaving
    receipt = None
    for minute in range(25):
        told = samples.notification(now=samples.NOW + timedelta(minutes=minute), receipt=receipt)
        receipt = await sink.deliver(told)
    assert fake.questions == 3


async def test_a_question_that_is_not_answered_fails_nothing(
    misbehaving: tuple[Misbehaving, AlertmanagerSink],
) -> None:
    fake, sink = misbehaving
    fake.question_status = 503
    assert await sink.deliver(samples.notification())


async def test_a_bad_neighbour_does_not_keep_an_alert_from_being_told(
    misbehaving: tuple[Misbehaving, AlertmanagerSink],
) -> None:
    fake, sink = misbehaving
    escalated = samples.incident(retired_labels=(samples.labels(bad="yes"),))
    await sink.deliver(samples.notification(escalated))
    assert fake.batches == [2, 1, 1]
    assert [alert["labels"] for alert in fake.stored][-1] == samples.labels()


async def test_a_refused_alert_is_a_permanent_error(misbehaving: tuple[Misbehaving, AlertmanagerSink]) -> None:
    _, sink = misbehaving
    with pytest.raises(PermanentError, match="invalid label set"):
        await sink.deliver(samples.notification(samples.incident(labels=samples.labels(bad="yes"))))


async def test_an_instance_that_is_down_is_tried_again_and_named() -> None:
    peers = settings("http://127.0.0.1:9", "http://127.0.0.1:19").places(Context())
    for sink, name in zip(peers, ("9", "19"), strict=True):
        with pytest.raises(TransientError, match=rf"127\.0\.0\.1:{name}: cannot be reached"):
            await sink.deliver(samples.notification())
        (check,) = await sink.check()
        await sink.close()
        assert not check.ok
