"""What people and webhooks may ask of an installation: show, resolve, analyse an alert, note a change."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import reduce
from typing import Any, Literal

from exporter.memory.moving import redacted
from exporter.model import (
    RULES,
    Facts,
    Incident,
    IncidentDocument,
    IncidentStatus,
    Notice,
    PermanentError,
    Release,
    Report,
    Verb,
)
from exporter.model.questions import (
    AlertTrigger,
    Asked,
    DeliveryStatus,
    IncidentRecord,
    Preview,
    Proposal,
    RuleRecord,
    RuleStory,
    Said,
    TakenAlert,
)
from exporter.model.times import moment
from exporter.report.llm import without_model
from exporter.run.alerts import Alerts
from exporter.run.assembly import Assembly, told_of
from exporter.run.links import fact_urls, line_urls
from exporter.run.people import People, rule_story
from exporter.state.checkpoints import release_count, release_row
from exporter.state.deliveries import Delivery, deliveries_of
from exporter.state.incidents import grouped_through, incident_list, incident_of, reports_of
from exporter.state.notices import notices
from exporter.state.questions import questions_of
from exporter.wording.words import title

MOST_LOOKED_AT = 2_000
"""Incidents, the newest, among which somebody looks for some."""

TOLD_ANEW = timedelta(hours=6)
"""Of an incident that has gone on for longer the page shows what was told last: it has too many windows to look at each
time that somebody does."""

MAX_RELEASES = 50_000
"""Deployments that are remembered, `retention` long: some hundred a day."""


class Operations:
    """Requests on one assembly; everything that it changes goes through the rows."""

    def __init__(self, assembly: Assembly) -> None:
        self.assembly = assembly
        self._state = assembly.state

    async def list_incidents(self, status: IncidentStatus | None, limit: int) -> Sequence[IncidentRecord]:
        """The newest first, with their reports."""
        found = await incident_list(self._state, status, limit)
        return [IncidentRecord(incident, await reports_of(self._state, incident.id)) for incident in found]

    async def find(self, asked: Asked, limit: int) -> Sequence[IncidentRecord]:
        """Those that somebody looks for, the newest first, with their reports."""
        since = self.assembly.clock.now() - asked.within if asked.within else None
        found = []
        for incident in await incident_list(self._state, asked.status, MOST_LOOKED_AT):
            if not is_asked(incident, asked, since):
                continue
            record = IncidentRecord(incident, await reports_of(self._state, incident.id))
            if says(record, asked.words):
                found.append(record)
            if len(found) == limit:
                break
        return found

    async def notices(self, limit: int) -> Sequence[Notice]:
        """What pages nobody, the newest first."""
        return await notices(self._state, limit)

    async def incident(self, incident_id: str) -> IncidentRecord | None:
        """One incident with its reports and how far each sink is with it."""
        incident = await incident_of(self._state, incident_id)
        if incident is None:
            return None
        return IncidentRecord(
            incident,
            await self._reports(incident),
            tuple(map(_delivery_status, await deliveries_of(self._state, incident.id))),
            self.assembly.links(incident),
            line_urls(self.assembly.config, incident),
            fact_urls(self.assembly.config, incident),
            await self._now(incident),
        )

    async def _now(self, incident: Incident) -> Facts | None:
        """What is known of it by now, where it goes on and that is more than was told."""
        through = await grouped_through(self._state)
        if incident.facts is None or incident.status != "firing" or through is None:
            return None
        if through <= incident.facts.until or through - incident.starts_at > TOLD_ANEW:
            return None
        given = (incident.sources, incident.starts_at, incident.suspects, incident.contributions, through)
        found = await asyncio.to_thread(told_of, self._state, self.assembly.pipelines, *given)
        return found.facts

    async def _reports(self, incident: Incident) -> tuple[Report, ...]:
        """The newest of each writer; that of the rules says why there is none of a model on this revision."""
        reports = await reports_of(self._state, incident.id)
        failed = [q for q in await questions_of(self._state, incident.id) if q.revision == incident.revision]
        return tuple(
            reduce(lambda report, question: without_model(report, question.error), failed, report)
            if report.writer == RULES
            else report
            for report in reports
        )

    async def resolve(self, incident_id: str, fix: str | None) -> IncidentRecord | None:
        """Close it by hand and remember what fixed it; None when there is no such incident."""
        return await self.act(incident_id, "resolve", Said("", fix or ""))

    async def act(self, incident_id: str, verb: Verb, said: Said) -> IncidentRecord | None:
        """Do to an incident what somebody says; None when there is no such incident."""
        done = await People(self.assembly).act(incident_id, verb, said)
        return await self.incident(incident_id) if done else None

    async def rules(self) -> Sequence[RuleRecord]:
        """Rules that stand, in order of their making."""
        return await People(self.assembly).rules()

    async def rule(self, name: str) -> RuleStory | None:
        """The newest rule of a name, with what it hid."""
        return await rule_story(self._state, name)

    async def proposed(self, incident_id: str, proposal: Proposal) -> Any:
        """The settings of a rule that can be made of an incident."""
        return await People(self.assembly).proposed(incident_id, proposal)

    async def preview(self, settings: Any) -> Preview:
        """What a rule of these settings would have hidden."""
        return await People(self.assembly).preview(settings)

    async def add_rule(self, settings: Any, said: Said) -> RuleRecord:
        """Make a rule."""
        return await People(self.assembly).add(settings, said)

    async def remove_rule(self, name: str, said: Said) -> RuleRecord:
        """Take a rule back."""
        return await People(self.assembly).remove(name, said)

    async def remember(self, documents: Sequence[IncidentDocument]) -> int:
        """Put what another memory held into ours, redacted by our rules."""
        if not all(document.id and document.installation for document in documents):
            raise PermanentError("one says not which incident of which installation it is")
        redact = self.assembly.redactor.redact
        ours = await asyncio.to_thread(lambda: [redacted(document, redact) for document in documents])
        return await self.assembly.memory.remember_all(ours)

    async def forget(self, key: str) -> bool:
        """Delete what memory holds of an incident; the incident itself stays."""
        return await self.assembly.memory.forget(key)

    async def take(self, alerts: Sequence[AlertTrigger]) -> list[TakenAlert]:
        """Keep alerts, durably, until their logs are analysed."""
        return await Alerts(self.assembly).take([self._without_secrets(alert) for alert in alerts])

    def _without_secrets(self, alert: AlertTrigger) -> AlertTrigger:
        """Labels and annotations are foreign text, which is kept and told."""
        labels, annotations = map(self._redacted, (alert.labels, alert.annotations))
        return replace(alert, labels=labels, annotations=annotations)

    def _redacted(self, texts: Mapping[str, str]) -> dict[str, str]:
        """Name and value together, for a name may say what its value is."""
        redact = self.assembly.redactor.redact_all
        values = redact([f"{name}={value}" for name, value in texts.items()])
        return {name: value.partition("=")[2] for name, value in zip(redact([*texts]), values, strict=True)}

    async def analyze_waiting(self) -> int:
        """Analyse the alerts that wait. Returns how many were done; one whose logs cannot be read yet waits on."""
        return await Alerts(self.assembly).analyze_waiting()

    async def change(self, service: str, version: str, at: datetime) -> bool:
        """Remember that a version of a service was deployed; it stands on the timeline of what follows.

        False where so many are remembered that no more are: a sender has gone wild.
        """
        if await release_count(self._state) >= MAX_RELEASES:
            return False
        service, version = self.assembly.redactor.redact_all([service, version])
        await self._state.write([release_row(Release(service[:200], version[:200], at))])
        return True


def is_asked(incident: Incident, asked: Asked, since: datetime | None) -> bool:
    """Whether an incident is one of those that somebody looks for, but for the words."""
    return (
        asked.severity in (None, incident.severity)
        and (not asked.service or asked.service in incident.services)
        and (since is None or incident.last_seen >= since)
    )


def says(record: IncidentRecord, words: str) -> bool:
    """Whether all words, in any case, stand in what is told of an incident."""
    incident = record.incident
    failing = incident.facts.failing if incident.facts else ()
    told = (title(record), incident.id, *incident.services, incident.fix or "", *(one.words for one in failing))
    text = "\n".join((*told, *(finding.text for finding in incident.contributions))).casefold()
    return all(word in text for word in words.casefold().split())


def _delivery_status(delivery: Delivery) -> DeliveryStatus:
    outcome: Literal["delivered", "pending", "failed"] = "failed" if delivery.error else "delivered"
    at = moment(delivery.delivered_at) if delivery.delivered_at else None
    error = delivery.error
    return DeliveryStatus(delivery.sink, outcome, delivery.revision, at, delivery.attempts, error, delivery.peer)
