"""Sample incidents, reports and notifications for everybody's tests."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from exporter.model import (
    Claim,
    Contribution,
    Evidence,
    Incident,
    Notification,
    Report,
    SimilarIncident,
    Suspect,
    TimelineEntry,
)

START = datetime(2026, 3, 14, 9, 26, tzinfo=UTC)
"""When the sample incident began, in event time."""

NOW = datetime(2026, 3, 14, 9, 35, 12, tzinfo=UTC)
"""Wall time of the first notification."""

HOSTILE = (
    "<script>alert(1)</script><img src=http://evil.example/x.png> <!channel> <@U123> <http://evil.example|click> "
    "```rm -rf``` *bold* [red]markup[/red] \x1b[31mred\x1b[0m \x1b]0;title\x07 \u202egnp.exe \u200bzero \x00nul & \"'"
)
"""What an attacker writes into a log line in the hope that some sink takes it for its own markup."""


def at(minutes: float) -> datetime:
    """That many minutes after START."""
    return START + timedelta(minutes=minutes)


def labels(**changes: str) -> dict[str, str]:
    base = {
        "alertname": "LogAnomaly",
        "service": "payments",
        "severity": "critical",
        "source": "log-anomaly-exporter",
        "incident_id": "3f9a1c0de47b2856",
    }
    return base | changes


def evidence(text: str | None = None) -> tuple[Evidence, ...]:
    refused = text or "could not connect to db-payments:5432: connection refused"
    return (
        Evidence(
            "L8f0c1d22a9", "shop", "payments", at(0.2), refused, 17, host="payments-7d9f-x2", trace="4bf92f3577b3"
        ),
        Evidence("L1b77ce0934", "shop", "payments", at(0.4), text or "pool exhausted: 50 of 50 in use", 13),
        Evidence("L90ad3fe451", "shop", "checkout", at(1.1), text or "order=<id:5e1c> charge failed: payments 503", 17),
    )


def contributions(text: str | None = None) -> tuple[Contribution, ...]:
    cited = ("L8f0c1d22a9",)
    return (
        Contribution(
            "new_template",
            text or "could not connect to <*>: connection refused",
            184,
            0,
            share=0.46,
            since=at(0.2),
            evidence=cited,
        ),
        Contribution("errors", text or "errors of payments", 371, 0.8, share=0.27, evidence=cited),
        Contribution("transition", text or "charge requested → charge captured", 0.04, 0.97, "of times", share=0.14),
        Contribution("silence", text or "receipt <*> sent to <*>", 0, 38.2, share=0.13, since=at(3)),
    )


def incident(text: str | None = None, **changes: Any) -> Incident:
    """A firing incident of a shop: payments cannot reach its database, and others suffer.

    With `text`, every part of it that comes from logs reads so; `changes` replace fields.
    """
    service = text or "payments"
    base = Incident(
        id="3f9a1c0de47b2856",
        fingerprint="a41d77c2a41d77c2",
        revision=4,
        status="firing",
        severity="critical",
        score=0.993,
        service=service,
        services=(service, "checkout", "gateway"),
        sources=("shop",),
        starts_at=at(0),
        updated_at=at(7),
        ends_at=None,
        labels=labels(service=service),
        contributions=contributions(text),
        evidence=evidence(text),
        suspects=(
            Suspect(service, 0.74, text or "first to change, and its errors name what the others miss", at(0)),
            Suspect("checkout", 0.19, text or "its errors repeat what payments answered", at(1)),
            Suspect("gateway", 0.07, text or "time-outs only, two minutes later", at(2)),
        ),
        timeline=(
            TimelineEntry(
                at(0), text or "a kind of line that was never seen before appears", service, ("L8f0c1d22a9",)
            ),
            TimelineEntry(at(1), text or "errors rise from 1 to 92 a minute", "checkout", ("L90ad3fe451",)),
        ),
        anomalies=17,
    )
    return replace(base, **changes)


def resolved(**changes: Any) -> Incident:
    """The sample incident after its end."""
    base: dict[str, Any] = {"status": "resolved", "revision": 5, "updated_at": at(26), "ends_at": at(21)}
    return incident(**(base | changes))


def similar(text: str | None = None) -> SimilarIncident:
    return SimilarIncident(
        "91c2d0aa5b3e7f14",
        text or "payments: connections to db-payments refused",
        0.93,
        ("payments",),
        START - timedelta(days=12),
        START - timedelta(days=12, minutes=-40),
        fix=text or "raised max_connections of db-payments from 100 to 300",
        same_fingerprint=True,
        matched=("meaning", "words"),
        tier="same",
        times=3,
        kinds=("connection refused",),
        common=(text or "could not connect to db-payments: connection refused",),
        then=(text or "remaining connection slots are reserved",),
        came_back=timedelta(days=11),
        fixed_by=text or "ann",
    )


def report(text: str | None = None, **changes: Any) -> Report:
    """What the rules write about the sample incident."""
    base = Report(
        incident="3f9a1c0de47b2856",
        revision=4,
        writer="rules",
        headline=text or "payments cannot reach its database; checkout and gateway fail with it",
        what_happened=(
            Claim(text or "184 lines of a kind never seen before: could not connect to <*>", ("L8f0c1d22a9",)),
            Claim(text or "Errors of payments rose from 0.8 to 371 a minute", ("L8f0c1d22a9", "L90ad3fe451")),
        ),
        causes=(Claim(text or "payments is first to change and its errors name db-payments", ("L8f0c1d22a9",)),),
        steps=(
            Claim(text or "Check that db-payments accepts connections", ("L8f0c1d22a9",)),
            Claim(text or "See what fixed the similar incident of 2 March"),
        ),
        similar=(similar(text),),
    )
    return replace(base, **changes)


def notification(of: Incident | None = None, text: str | None = None, **changes: Any) -> Notification:
    """The news of an incident; `changes` replace fields of the notification."""
    told = of or incident(text)
    base = Notification(
        event_id=f"{told.id}:{told.revision}:0",
        change="opened" if told.status == "firing" else "resolved",
        incident=told,
        report=report(text, revision=told.revision),
        now=NOW,
        url=f"https://anomalies.example.org/incidents/{told.id}",
        source_links=(("logs in Kibana", "https://kibana.example.org/app/discover#/?from=2026-03-14T09:26:00Z"),),
    )
    return replace(base, **changes)


def huge() -> Notification:
    """A notification whose every list and text is as long as a storm can make it."""
    text = ("Ω<&>" * 3_000) + HOSTILE
    told = incident(
        text,
        services=tuple(f"service-{n}-{text[:200]}" for n in range(300)),
        contributions=contributions(text) * 25,
        evidence=evidence(text) * 30,
        suspects=incident(text).suspects * 50,
        retired_labels=tuple(labels(severity=level) for level in ("info", "warning")),
    )
    told_report = report(
        text,
        what_happened=report(text).what_happened * 30,
        steps=report(text).steps * 20,
        similar=(similar(text),) * 20,
    )
    return notification(told, text, report=told_report)


def hostile() -> Notification:
    """A notification whose every text from logs or models is an attack."""
    return notification(text=HOSTILE)


class SteppedClock:
    """A clock that moves when a test says so."""

    def __init__(self, now: datetime = NOW) -> None:
        self._now = now

    def now(self) -> datetime:
        return self._now

    def step(self, by: timedelta) -> datetime:
        self._now += by
        return self._now
