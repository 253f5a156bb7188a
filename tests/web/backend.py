"""A daemon's answers for tests of the web side: incidents in memory, and what was handed over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from exporter.model import (
    READING,
    Claim,
    Contribution,
    Evidence,
    HiddenRow,
    Incident,
    IncidentDocument,
    IncidentStatus,
    Match,
    NearMiss,
    Notice,
    Opening,
    PermanentError,
    Report,
    Rule,
    SimilarIncident,
    Suspect,
    TimelineEntry,
    Verb,
)
from exporter.model.facts import Facts, Failing, Impact, Places, Series, Start
from exporter.model.questions import (
    AlertTrigger,
    Asked,
    DeliveryStatus,
    Health,
    HiddenIncident,
    IncidentRecord,
    LeftOut,
    Overview,
    Preview,
    Proposal,
    Readiness,
    RuleRecord,
    RuleStory,
    Said,
    SourceProgress,
    TakenAlert,
    UnconfirmedError,
    Watched,
)
from exporter.run.operations import is_asked, says
from exporter.run.people import read_settings

START = datetime(2026, 3, 14, 9, 26, tzinfo=UTC)
HOSTILE = '"><script>alert(1)</script>'


class MemoryBackend:
    """Holds what a test puts in, and remembers what the web side handed over. `capacity` alerts fit in its queue."""

    def __init__(self, *records: IncidentRecord, capacity: int = 1_000) -> None:
        self.noticed: list[Notice] = []
        self.records = {record.incident.id: record for record in records}
        self.capacity = capacity
        self.alerts: list[AlertTrigger] = []
        self.changes: list[tuple[str, str, datetime]] = []
        self.acts: list[tuple[str, Verb, Said]] = []
        self.made: dict[str, RuleRecord] = {}
        self.stories: dict[str, RuleStory] = {}
        self.hidden: tuple[HiddenIncident, ...] = ()
        self.remembered: dict[str, IncidentDocument] = {}
        self.reloads = 0
        self.healthy = Health(True)
        self.is_ready = Readiness(True, (), (SourceProgress("shop", "ready", read_through=START),))
        self.broken: Exception | None = None
        self.seen = overview()

    async def list_incidents(self, status: IncidentStatus | None, limit: int) -> Sequence[IncidentRecord]:
        if self.broken:
            raise self.broken
        wanted = [record for record in self.records.values() if status in (None, record.incident.status)]
        return sorted(wanted, key=lambda record: record.incident.starts_at, reverse=True)[:limit]

    async def find(self, asked: Asked, limit: int) -> Sequence[IncidentRecord]:
        found = await self.list_incidents(asked.status, len(self.records) + 1)
        return [one for one in found if is_asked(one.incident, asked, None) and says(one, asked.words)][:limit]

    async def overview(self) -> Overview:
        return self.seen

    async def notices(self, limit: int) -> Sequence[Notice]:
        return self.noticed[:limit]

    async def incident(self, incident_id: str) -> IncidentRecord | None:
        return self.records.get(incident_id)

    async def act(self, incident_id: str, verb: Verb, said: Said) -> IncidentRecord | None:
        record = self.records.get(incident_id)
        if record is None:
            return None
        self.acts.append((incident_id, verb, said))
        fix = said.reason or None
        closed = replace(record.incident, status="resolved", ends_at=record.incident.updated_at, fix=fix)
        if verb not in ("ack", "note"):
            self.records[incident_id] = replace(record, incident=closed)
        return self.records[incident_id]

    async def remember(self, documents: Sequence[IncidentDocument]) -> int:
        self.remembered |= {document.key: document for document in documents}
        return len(documents)

    async def forget(self, key: str) -> bool:
        return self.remembered.pop(key, None) is not None

    async def rules(self) -> Sequence[RuleRecord]:
        return list(self.made.values())

    async def rule(self, name: str) -> RuleStory | None:
        return self.stories.get(name) or (RuleStory(self.made[name]) if name in self.made else None)

    async def proposed(self, incident_id: str, proposal: Proposal) -> Any:
        return {"name": f"{proposal}-{incident_id}", "do": "mute", "service": "payments"}

    async def preview(self, settings: Any) -> Preview:
        return Preview(read_settings(settings).rule(None), START, 1, self.hidden)

    async def add_rule(self, settings: Any, said: Said) -> RuleRecord:
        preview = await self.preview(settings)
        if preview.is_grave and not said.confirmed:
            raise UnconfirmedError(preview)
        self.made[preview.rule.name] = RuleRecord(preview.rule)
        return self.made[preview.rule.name]

    async def remove_rule(self, name: str, said: Said) -> RuleRecord:
        if name not in self.made:
            raise PermanentError(f"there is no rule {name!r}")
        return self.made.pop(name)

    async def reload(self) -> None:
        if self.broken:
            raise self.broken
        self.reloads += 1

    async def health(self) -> Health:
        return self.healthy

    async def readiness(self) -> Readiness:
        return self.is_ready

    async def take(self, alerts: Sequence[AlertTrigger]) -> list[TakenAlert]:
        if self.broken:
            raise self.broken
        return [self._take(alert) for alert in alerts]

    def _take(self, alert: AlertTrigger) -> TakenAlert:
        if alert.identity in {known.identity for known in self.alerts}:
            return "duplicate"
        if len(self.alerts) >= self.capacity:
            return "overloaded"
        self.alerts.append(alert)
        return "accepted"

    async def change(self, service: str, version: str, at: datetime) -> bool:
        if len(self.changes) >= self.capacity:
            return False
        self.changes.append((service, version, at))
        return True

    def metrics(self) -> str:
        return "# TYPE log_anomaly_exporter_ready gauge\nlog_anomaly_exporter_ready 1\n"


def at(minutes: float) -> datetime:
    return START + timedelta(minutes=minutes)


def evidence() -> tuple[Evidence, ...]:
    refused = (
        "could not connect to db-payments:5432: connection refused\n"
        "Traceback (most recent call last):\n"
        '  File "/app/ledger.py", line 214, in charge\n'
        "    connection = await pool.acquire(timeout=2.0)\n"
        "asyncpg.exceptions.TooManyConnectionsError: remaining connection slots are reserved"
    )
    return (
        Evidence("L8f0c1d22a9", "shop", "payments", at(0.2), refused, 17, "", "payments-7d9f-x2", "4bf92f3577b34da6"),
        Evidence("L1b77ce0934", "shop", "payments", at(0.4), "pool exhausted: 50 of 50 in use, 212 waiting", 13),
        Evidence("L90ad3fe451", "shop", "checkout", at(1.1), "order=<id:5e1c> charge failed: payments 503", 17),
        Evidence("Lc2e8841f07", "shop", "gateway", at(1.9), '"POST /api/checkout HTTP/1.1" 502 0 30.002', 9),
    )


def shop_incident() -> Incident:
    """A firing incident: the payments database runs out of connections, and others suffer."""
    return Incident(
        id="3f9a1c0de47b2856",
        fingerprint="a41d77c2",
        revision=4,
        status="firing",
        severity="critical",
        score=0.993,
        service="payments",
        services=("payments", "checkout", "gateway"),
        sources=("shop",),
        starts_at=at(0),
        updated_at=at(7),
        ends_at=None,
        labels={"alertname": "LogAnomaly", "service": "payments", "severity": "critical"},
        contributions=(
            Contribution(
                "new_template",
                "could not connect to <*>: connection refused",
                184,
                0,
                share=0.46,
                since=at(0.2),
                evidence=("L8f0c1d22a9",),
            ),
            Contribution("errors", "errors of payments", 371, 0.8, share=0.27, evidence=("L8f0c1d22a9", "L90ad3fe451")),
            Contribution("template", "order=<*> charge failed: payments <*>", 92, 1.4, share=0.14, since=at(1.1)),
            Contribution("transition", "charge requested → charge captured", 0.04, 0.97, unit="of times", share=0.08),
            Contribution("silence", "receipt <*> sent to <*>", 0, 38.2, share=0.05, since=at(3)),
        ),
        evidence=evidence(),
        suspects=(
            Suspect(
                "payments", 0.74, "First to change, and its own errors name the database it could not reach", at(0)
            ),
            Suspect("checkout", 0.19, "Its errors repeat what payments answered", at(1)),
            Suspect("gateway", 0.07, "Time-outs only, two minutes later", at(2)),
        ),
        timeline=(
            TimelineEntry(at(0), "A kind of line that was never seen before appears", "payments", ("L8f0c1d22a9",)),
            TimelineEntry(at(0.4), "The connection pool is exhausted", "payments", ("L1b77ce0934",)),
            TimelineEntry(at(1), "Errors rise from 1 to 92 a minute", "checkout", ("L90ad3fe451",)),
            TimelineEntry(at(2), "Requests time out after 30 s", "gateway", ("Lc2e8841f07",)),
            TimelineEntry(at(3), "Receipts are no longer sent", "payments"),
        ),
        anomalies=17,
        facts=shop_facts(),
    )


def overview() -> Overview:
    """Two services, one of which stood out; a near miss, and something that was left out."""
    opening = Opening(at(-300), 4.2, 6.22, timedelta(minutes=3), timedelta(0), 12)
    near = NearMiss(
        *("near1", "search", ("search",), at(-303), at(-300), "weak", opening),
        contributions=(Contribution("errors", "errors of search", 9, 0.5, share=1.0),),
    )
    quiet, loud = (0.1,) * 24, (*(0.0,) * 23, 9.7)
    return Overview(
        until=at(7),
        threshold=6.22,
        budget=1.0,
        watched=(
            Watched("shop", "cart", 24, 55_248, at(-10_000), at(6), quiet),
            Watched("shop", "payments", 31, 80_110, at(-10_000), at(6), loud),
        ),
        near=(near,),
        left_out=(LeftOut("lines that were read and not judged", "shop", "too_old", 12),),
    )


def shop_facts() -> Facts:
    """What is known of it by its seventh minute."""
    refused = "could not connect to db-payments:5432: connection refused"
    return Facts(
        until=at(7),
        failing=(
            Failing("payments", refused, "refused", 17, 184, 0.0, at(0.2), "L8f0c1d22a9", score=9.0),
            Failing("checkout", "charge failed: payments 503", "", 17, 92, 1.4, at(1.1), "L90ad3fe451", score=5.0),
        ),
        impact=Impact("gateway", 52, 100, at(0)),
        starts=(Start("payments", "2.4.1", at(-3)),),
        places=(Places("host", "payments", (("node-3", 180, 9_000), ("node-1", 4, 8_800), ("node-2", 0, 9_100)), 2),),
        series=(
            Series("lines", "payments", at(-60), 60, (*[0] * 20, None, *[0] * 39, 12, 25, 31, 30, 29, 30, 27), 0.0),
            Series("failed", "gateway", at(-60), 60, (*[0, 1] * 30, 3, 6, 8, 9, 9, 9, 8), 0.5),
        ),
    )


def shop_reports(incident: Incident) -> tuple[Report, ...]:
    past = SimilarIncident(
        "91c2d0aa5b3e7f14",
        "payments: connections to db-payments refused",
        0.93,
        ("payments", "checkout"),
        at(-20_000),
        at(-19_960),
        "Raised max_connections of db-payments to 200 and restarted pgbouncer",
        True,
        ("meaning", "words"),
        "same",
        3,
        ("connection refused",),
        ("could not connect to <host>: connection refused",),
    )
    older = SimilarIncident("5d10be7742fa0c98", "checkout: time-outs of payments", 0.58, ("checkout",), at(-52_000))
    rules = Report(
        incident.id,
        incident.revision,
        "rules",
        "payments: connections to db-payments:5432 are refused, checkout and gateway fail with it",
        (
            Claim(
                "From 09:26 on, payments writes a line never seen before, 184 times in 7 minutes: "
                "“could not connect to db-payments:5432: connection refused”.",
                ("L8f0c1d22a9",),
            ),
            Claim(
                "Errors of payments rose to 371 where 0.8 were expected.",
                ("L8f0c1d22a9", "L1b77ce0934"),
            ),
            Claim("checkout followed after one minute, gateway after two.", ("L90ad3fe451", "Lc2e8841f07")),
        ),
        (Claim("payments changed first, and the others repeat its failure.", ("L8f0c1d22a9",)),),
        (
            Claim("Look at db-payments: how many connections are open, and who holds them.", ("L1b77ce0934",)),
            Claim("Try what fixed the like of it before: raise max_connections, restart pgbouncer."),
        ),
        (past, older),
    )
    model = Report(
        incident.id,
        incident.revision - 1,
        "qwen3-8b",
        "The payments database has no free connection slots",
        (
            Claim("payments cannot get a database connection; its pool of 50 is fully in use.", ("L1b77ce0934",)),
            Claim("Customers see failing checkouts (HTTP 502 after 30 s).", ("Lc2e8841f07",)),
        ),
        (
            Claim("The server refuses new sessions: its remaining slots are reserved.", ("L8f0c1d22a9",)),
            Claim("A deployment of payments may have raised the pool size.", mark=READING),
        ),
        (Claim("Compare the pool size with max_connections of db-payments.", ("L1b77ce0934",)),),
        dropped_claims=1,
    )
    return rules, model


def shop_record() -> IncidentRecord:
    incident = shop_incident()
    return IncidentRecord(
        incident,
        shop_reports(incident),
        (
            DeliveryStatus("alertmanager", "delivered", 4, at(7.2), 1),
            DeliveryStatus("slack", "pending", 3, at(5.1), 3, "429, again in 20 s"),
            DeliveryStatus("otlp", "failed", 2, at(3.0), 1, "401: the collector refuses the token of otlp.token_file"),
        ),
        (("shop", "https://kibana.example.org/app/discover#/?_g=(time:(from:'2026-03-14T09:16:00Z',to:'now'))"),),
    )


def resolved_record() -> IncidentRecord:
    base = shop_incident()
    incident = replace(
        base,
        id="91c2d0aa5b3e7f14",
        status="resolved",
        severity="warning",
        score=0.94,
        service="search",
        services=("search",),
        starts_at=at(-1_900),
        updated_at=at(-1_860),
        ends_at=at(-1_860),
        fix="Rolled back search to 2.8.1",
        reopened=1,
    )
    report = Report(incident.id, 4, "rules", "search: index shards are not allocated", (Claim("Shards fail."),))
    return IncidentRecord(incident, (report,))


def rule_story(**said: Any) -> RuleStory:
    """A mute that hid an incident in two revisions, and a line; that incident goes on."""
    match = Match(services=("orders",), texts=(f"pool exhausted {HOSTILE}",))
    rule = Rule("mute-9a", "mute", match, "anna", "deploying", at(-30), at(210))
    hidden = (
        HiddenRow("mute-9a", "9a:4", at(6), "orders", "incident 9a"),
        HiddenRow("mute-9a", "9a:3", at(3), "orders", "incident 9a"),
        HiddenRow("mute-9a", "w1", at(1), "orders", f"pool exhausted {HOSTILE}"),
    )
    muted = (HiddenIncident("9a", "critical", at(1), f"orders: connection pool exhausted {HOSTILE}"),)
    return RuleStory(RuleRecord(replace(rule, **said), 3), at(7), hidden, muted)
