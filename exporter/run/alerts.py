"""Alerts that somebody else raised: kept at once, analysed when the logs around them can be read, and ended."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from exporter.flow.source import SourcePipeline
from exporter.incidents.alerts import Fired, from_alerts, resolved_by_hand, with_alerts
from exporter.incidents.clusters import Cluster
from exporter.incidents.rules import Rules
from exporter.incidents.ruling import Ruling
from exporter.incidents.standing import Standing
from exporter.incidents.tracker import Told
from exporter.model import Anomaly, Incident, Past, Severity, TimeRange, Write, floor, stable_key
from exporter.model.questions import AlertTrigger, TakenAlert
from exporter.reading.owners import owner_of
from exporter.run.assembly import Assembly
from exporter.state.incidents import cluster_of, incident_list, incident_of, incident_row
from exporter.state.news import news_row
from exporter.state.people import rules_since
from exporter.state.triggers import belonging, fired, known_triggers, trigger_row, waiting, waiting_count

MAX_WAITING_ALERTS = 2_000
"""Alerts that may wait for their analysis; more are refused, and Alertmanager sends them again."""

MAX_TAKEN = 1_000
"""New alerts that are taken of one request."""

MAX_ANALYSES_AT_ONCE = 20
"""Analyses in one run; those whose logs cannot be read yet do not count, and hold nobody back."""

BEFORE_ALERT = timedelta(minutes=10)
AFTER_ALERT = timedelta(minutes=5)

OLDEST = timedelta(days=1)
"""What fired longer ago is looked at where it is known of by now: the logs of long ago are dear and say little."""

MOST_FIRING = 1_000
"""Open incidents, the newest, that an alert may belong to."""

MINUTE = timedelta(minutes=1)

SUMMARIES = ("summary", "message", "description")
"""Annotations in which an alert says what it is about, the first that there is."""

MAX_SUMMARY = 300


@dataclass(frozen=True)
class Firing:
    """One alert, and the moment at which it is looked at."""

    alert: AlertTrigger
    received_at: datetime
    name: str
    service: str
    at: datetime
    summary: str = ""

    @property
    def fired(self) -> Fired:
        return Fired(self.name, self.service, self.at, self.summary)


async def tell(assembly: Assembly, told: Told, *rows: Write) -> None:
    """Commit a revision that no anomaly made, as rules have it; the cluster, if it is still open, carries it on."""
    ruling = Ruling(Rules(await rules_since(assembly.state, told.at)))
    told, incident = ruling(told, await incident_of(assembly.state, told.incident.id))
    cluster = await cluster_of(assembly.state, incident.id, Cluster)
    if cluster:
        cluster = replace(
            cluster,
            status=incident.status,
            incident=incident,
            ends_at=incident.ends_at,
            timeline=incident.timeline,
        )
    row = incident_row(incident, incident.updated_at, cluster)
    await assembly.state.write([row, news_row(told.incident, told.change, told.at), *rows])


class Alerts:
    """The alerts of one installation; all that is known of them stands in rows."""

    def __init__(self, assembly: Assembly) -> None:
        self._assembly = assembly
        self._state = assembly.state
        self._read: dict[tuple[str, TimeRange], Sequence[Anomaly]] = {}
        """What was found in the ranges that were looked at: alerts that come together ask for the same."""

    async def take(self, alerts: Sequence[AlertTrigger]) -> list[TakenAlert]:
        """Keep alerts, durably, until their logs are analysed: as many as there is room for."""
        known = await known_triggers(self._state, alerts)
        room = min(MAX_TAKEN, MAX_WAITING_ALERTS - await waiting_count(self._state))
        outcomes: list[TakenAlert] = []
        rows: list[Write] = []
        for alert in alerts:
            if alert.identity in known:
                outcomes.append("duplicate")
            elif len(rows) >= room:
                outcomes.append("overloaded")
            else:
                known.add(alert.identity)
                rows.append(trigger_row(alert, self._assembly.clock.now(), done=False))
                outcomes.append("accepted")
        await self._state.write(rows)
        return outcomes

    async def analyze_waiting(self) -> int:
        """Analyse the alerts that wait, together those of one group and time. Returns how many were done."""
        waits = await waiting(self._state)
        done = analyses = 0
        for together in _groups(self._firing(alert, at) for alert, at in waits if alert.status == "firing"):
            if analyses == MAX_ANALYSES_AT_ONCE:
                break
            if await self._analyze(together):
                analyses += 1
                done += len(together)
        ended = [(alert, at) for alert, at in waits if alert.status == "resolved"]
        return done + (await self._end(ended) if ended else 0)

    def _firing(self, alert: AlertTrigger, received_at: datetime) -> Firing:
        # What came before it began was sent by a clock that is ahead: it is about now.
        at = max(min(alert.starts_at, received_at), received_at - OLDEST)
        name = self._assembly.redactor.redact(alert.labels.get("alertname", "alert"))[:200]
        said = next((text for key in SUMMARIES if (text := alert.annotations.get(key))), "")
        summary = self._assembly.redactor.redact(said)[:MAX_SUMMARY]
        return Firing(alert, received_at, name, self._assembly.redactor.redact(owner_of(alert.labels)), at, summary)

    async def _analyze(self, together: Sequence[Firing]) -> bool:
        """False while the logs around the alerts, which are of one time, cannot be read yet."""
        found = await self._around(max(one.at for one in together))
        if found is None:
            return False
        async with self._assembly.lock:
            firing = await incident_list(self._state, "firing", MOST_FIRING)
            own: list[Firing] = []
            for service, like in _by_service(together).items():
                incident = next((one for one in firing if service and service in one.services), None)
                if incident is None:
                    own += like
                else:
                    told = await self._join(incident, like)
                    firing = [told if one is incident else one for one in firing]
            if own:
                await self._open(own, found)
        return True

    async def _join(self, incident: Incident, like: Sequence[Firing]) -> Incident:
        """Alerts belong to the incident that is open on their own service, and to no other."""
        done = [trigger_row(one.alert, one.received_at, done=True) for one in like]
        told = with_alerts(incident, [one.fired for one in like])
        await tell(self._assembly, told, *done)
        return told.incident

    async def _open(self, own: Sequence[Firing], found: Sequence[Anomaly]) -> None:
        """An incident of their own, with what the logs show: of their services, or, for alerts often name their service
        otherwise than its logs do, of what fails at that time."""
        services = {one.service for one in own}
        shown = [anomaly for anomaly in found if anomaly.contributions]
        related = [a for a in shown if a.service in services] or [a for a in shown if a.severity >= Severity.WARN]
        identity = _incident_of(own)
        labels = self._assembly.config.external_labels
        fired = [one.fired for one in own]
        at = max(one.at for one in own)
        spans = [(one.name, await _span(one, at)) for one in self._assembly.pipelines]
        looked = [Past(name, span.start, span.end) for name, span in spans if span]
        # It may fire on for longer than that it was heard of is remembered.
        said = Standing(await incident_of(self._state, identity))
        done = [trigger_row(replace(one.alert, incident=identity), one.received_at, done=True) for one in own]
        await tell(self._assembly, said.tell(from_alerts(identity, fired, related, labels, looked)), *done)

    async def _around(self, at: datetime) -> list[Anomaly] | None:
        """What is unusual in the windows around a moment; None while that moment's own have not been read."""
        found: list[Anomaly] = []
        for pipeline in self._assembly.pipelines:
            span = await _span(pipeline, at)
            if span is None:
                return None
            if (pipeline.name, span) not in self._read:
                self._read[pipeline.name, span] = await pipeline.preview(span)
            found += self._read[pipeline.name, span]
        return found

    async def _end(self, ended: Sequence[tuple[AlertTrigger, datetime]]) -> int:
        """What alerts alone had opened ends with the last of them. One whose alert still waits, waits with it."""
        done = 0
        for alert, received_at in ended:
            before = await fired(self._state, alert)
            if before and not before.done:
                continue
            async with self._assembly.lock:
                incident_id = before.alert.incident if before else ""
                await self._resolve(alert, incident_id, trigger_row(alert, received_at, done=True))
            done += 1
        return done

    async def _resolve(self, alert: AlertTrigger, incident_id: str, done: Write) -> None:
        """The end and what follows from it are one commit: else a crash between them would leave it open for ever."""
        incident = await incident_of(self._state, incident_id or _incident_before(alert))
        if incident is None or incident.status != "firing" or await belonging(self._state, incident.id, alert):
            await self._state.write([done])
            return
        told = resolved_by_hand(incident, None, alert.ends_at or self._assembly.clock.now())
        await tell(self._assembly, told, done)


def _groups(firing: Iterable[Firing]) -> list[list[Firing]]:
    """Those of one group and minute together, in the order in which they came."""
    found: dict[tuple[str, datetime], list[Firing]] = {}
    for one in firing:
        found.setdefault((one.alert.group or one.alert.fingerprint, floor(one.at, MINUTE)), []).append(one)
    return list(found.values())


def _by_service(together: Sequence[Firing]) -> dict[str, list[Firing]]:
    found: dict[str, list[Firing]] = {}
    for one in together:
        found.setdefault(one.service, []).append(one)
    return found


async def _span(pipeline: SourcePipeline, at: datetime) -> TimeRange | None:
    """The windows around a moment that have been read; None while its own window has not been."""
    checkpoint = await pipeline.checkpoint()
    if checkpoint is None or checkpoint.read_through < floor(at, pipeline.window) + pipeline.window:
        return None
    start = floor(at - BEFORE_ALERT, pipeline.window)
    end = min(floor(at + AFTER_ALERT, pipeline.window), checkpoint.read_through)
    return TimeRange(start, max(end, start))


def _incident_of(own: Sequence[Firing]) -> str:
    """The id of the incident that alerts open: of one the same as ever, of several that of the group and time."""
    first = own[0].alert
    if not first.group:
        return _incident_id(first.fingerprint, first.starts_at)
    return _incident_id(first.group, floor(own[0].at, MINUTE))


def _incident_before(alert: AlertTrigger) -> str:
    """The id that an alert's incident had when senders' fingerprints were its identity."""
    return _incident_id(alert.sent_as or alert.fingerprint, alert.starts_at)


def _incident_id(identity: str, at: datetime) -> str:
    return f"a{stable_key(f'{identity}/{at.isoformat()}'):016x}"[:12]
