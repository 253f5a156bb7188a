"""What people do to incidents and rules; each act is one commit with its row in the log of acts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from pydantic import ValidationError

from exporter.config import explain
from exporter.incidents.alerts import closed, noted, unfixed
from exporter.incidents.matching import WHOLE_SERVICE
from exporter.incidents.rule_settings import LITERAL, MAX_RULES, PATTERN, RuleSettings
from exporter.incidents.rules import would_cover
from exporter.incidents.ruling import acknowledgement
from exporter.incidents.tracker import Told
from exporter.model import Act, Closing, ConfigError, Incident, PermanentError, Rule, Verb, Verdict
from exporter.model.questions import (
    MOST_SAID,
    HiddenIncident,
    IncidentRecord,
    Preview,
    Proposal,
    RuleRecord,
    RuleStory,
    Said,
    UnconfirmedError,
)
from exporter.run.alerts import tell
from exporter.run.assembly import Assembly
from exporter.state.file import Rows
from exporter.state.incidents import grouped_through, incident_list, incident_of, reports_of
from exporter.state.people import act_row, hidden_by, hidden_counts, rule_of, rule_row, rules_of
from exporter.wording.text import brief, storable
from exporter.wording.words import cause, title

LOOK_BACK = timedelta(days=14)
"""Of what a rule would have hidden."""

MOST_LOOKED_AT = 10_000
"""Incidents, the newest."""

NEWEST = 50
"""Things that a rule hid, of which its page tells."""

MAX_NAME = 200

SIGNS = (PATTERN, LITERAL)

WHICH_FAILURE_OR_NOT = frozenset({"transition", "gap", *WHOLE_SERVICE})
"""Kinds that say nothing of which failure it was."""

VERDICTS: Mapping[str, Verdict] = {"resolve": "resolved", "accept": "accepted", "reject": "rejected"}


class People:
    """The acts of people on one installation."""

    def __init__(self, assembly: Assembly) -> None:
        self._assembly = assembly
        self._state = assembly.state

    async def act(self, incident_id: str, verb: Verb, said: Said) -> bool:
        """Do it; False when there is no such incident. Raises PermanentError or UnconfirmedError."""
        said = self._safe(said)
        async with self._assembly.lock:
            incident = await incident_of(self._state, incident_id)
            if incident is None:
                return False
            now = self._assembly.clock.now()
            _refuse_past(said.until, now)
            rule = await self._rule_from(incident, verb, said)
            act = Act(verb, said.by, now, said.reason, incident.id, rule.name if rule else "")
            rows = [act_row(act), *([rule_row(rule)] if rule else [])]
            await tell(self._assembly, _told(incident, verb, said, now), *rows)
        return True

    async def _rule_from(self, incident: Incident, verb: Verb, said: Said) -> Rule | None:
        """The rule that accepting or rejecting an incident makes."""
        settings = rule_from(incident, verb, said.by, said.reason)
        if settings is None:
            return None
        now = await self._now()
        before = await rule_of(self._state, settings.name)
        stands = before is not None and before.removed_at is None
        # Where somebody said so before, it holds on until as is said now.
        rule = replace(settings.rule(before.since if before and stands else now), until=said.ends_at(now))
        await self._confirm(rule, said, but=incident.id)
        return rule

    async def _now(self) -> datetime:
        """From when on a new rule holds: what was grouped already stays as it was told."""
        grouped = await grouped_through(self._state)
        now = self._assembly.clock.now()
        return max(now, grouped) if grouped else now

    async def rules(self) -> list[RuleRecord]:
        return await rule_records(self._state)

    async def proposed(self, incident_id: str, proposal: Proposal) -> dict[str, Any] | None:
        """The settings of a rule that can be made of an incident."""
        incident = await incident_of(self._state, incident_id)
        found = rule_proposed(incident, proposal) if incident else None
        return found.model_dump(mode="json", exclude_defaults=True) if found else None

    async def preview(self, settings: Any) -> Preview:
        return await preview(self._state, read_settings(settings).rule(None), self._assembly.clock.now())

    async def add(self, settings: Any, said: Said) -> RuleRecord:
        said = self._safe(said)
        read, now = read_settings(settings), await self._now()
        by, reason = self._text(read.by, MAX_NAME), self._text(read.reason, MOST_SAID)
        rule = replace(read.rule(now), by=by or said.by, reason=reason or said.reason)
        rule = replace(rule, until=rule.until or said.ends_at(now))
        _refuse_past(rule.until, now)
        async with self._assembly.lock:
            standing = await rules_of(self._state)
            if any(one.name == rule.name for one in standing):
                raise PermanentError(f"there is a rule {rule.name!r} already: remove it, or choose another name")
            if len(standing) >= MAX_RULES:
                raise PermanentError(f"there are {MAX_RULES} rules already: remove some (`rules list`)")
            await self._confirm(rule, said)
            act = Act("add", said.by, self._assembly.clock.now(), rule.reason, rule=rule.name)
            await self._state.write([rule_row(rule), act_row(act)])
        return RuleRecord(rule)

    async def remove(self, name: str, said: Said) -> RuleRecord:
        said = self._safe(said)
        async with self._assembly.lock:
            rule = await rule_of(self._state, name)
            if rule is None or rule.removed_at:
                raise PermanentError(f"there is no rule {brief(name, 80)!r}; `rules list` prints their names")
            if rule.origin == "configuration":
                raise PermanentError(f"rule {rule.name} stands in exporter.yml: take it out there")
            removed = replace(rule, removed_at=await self._now(), removed_by=said.by)
            act = Act("remove", said.by, self._assembly.clock.now(), said.reason, rule=rule.name)
            await self._state.write([rule_row(removed), act_row(act)])
        return RuleRecord(removed, (await hidden_counts(self._state)).get(name, 0))

    async def _confirm(self, rule: Rule, said: Said, but: str = "") -> None:
        found = await preview(self._state, rule, self._assembly.clock.now(), but)
        if found.is_grave and not said.confirmed:
            raise UnconfirmedError(found)

    def _safe(self, said: Said) -> Said:
        return replace(said, by=self._text(said.by, MAX_NAME), reason=self._text(said.reason, MOST_SAID))

    def _text(self, text: str, limit: int) -> str:
        return self._assembly.redactor.redact(storable(text).strip())[:limit]


async def rule_records(rows: Rows) -> list[RuleRecord]:
    """Rules that stand, in order of their making."""
    counts = await hidden_counts(rows)
    return [RuleRecord(rule, counts.get(rule.name, 0)) for rule in await rules_of(rows)]


async def rule_story(rows: Rows, name: str) -> RuleStory | None:
    """The newest rule of a name, with what it hid."""
    rule = await rule_of(rows, name)
    if rule is None:
        return None
    firing = await incident_list(rows, "firing", MOST_LOOKED_AT) if rule.action == "mute" else []
    muted = [one for one in firing if one.withheld == "muted" and name in one.ruled_by]
    return RuleStory(
        RuleRecord(rule, (await hidden_counts(rows)).get(name, 0)),
        await grouped_through(rows),
        tuple(await hidden_by(rows, name, NEWEST)),
        tuple([await _hidden(rows, one) for one in muted[:NEWEST]]),
    )


async def preview(rows: Rows, rule: Rule, now: datetime, but: str = "") -> Preview:
    """What a rule would have hidden of the incidents of the last days, but for one."""
    since = now - LOOK_BACK
    found = await incident_list(rows, None, MOST_LOOKED_AT)
    among = [one for one in found if one.starts_at >= since and one.id != but]
    hidden = [await _hidden(rows, one) for one in among if would_cover(rule, one)]
    return Preview(rule, since, len(among), tuple(hidden))


async def _hidden(rows: Rows, incident: Incident) -> HiddenIncident:
    record = IncidentRecord(incident, await reports_of(rows, incident.id))
    return HiddenIncident(incident.id, incident.severity, incident.starts_at, title(record))


def read_settings(settings: Any) -> RuleSettings:
    """Raises ConfigError, which names each place that is wrong."""
    try:
        return RuleSettings.model_validate(settings)
    except ValidationError as error:
        raise ConfigError("\n".join(explain(error))) from error


def rule_from(incident: Incident, verb: Verb, by: str, reason: str) -> RuleSettings | None:
    """What accepting or rejecting an incident says: all that it was made of, or the failure that it was, is expected.

    None where nothing of it was seen in logs, and for other verbs.
    """
    telling = [one for one in incident.contributions if one.kind not in WHICH_FAILURE_OR_NOT]
    findings = telling if verb == "reject" and telling else list(incident.contributions)
    if verb not in ("accept", "reject") or not findings:
        return None
    return RuleSettings(
        name=f"{verb}-{incident.id}",
        do="expected",
        service=_each_once(one.service for one in findings),
        texts=_each_once(one.text for one in findings),
        kinds=_each_once(str(one.kind) for one in findings),
        by=by,
        reason=reason,
    )


def rule_proposed(incident: Incident, proposal: Proposal) -> RuleSettings | None:
    """A rule that can be made of an incident; None where nothing of it was seen in logs."""
    if proposal == "mute_service":
        return RuleSettings(name=f"mute-service-{incident.id}", do="mute", service=_each_once([cause(incident)]))
    if proposal == "mute":
        like = rule_from(incident, "reject", "", "")
        return like.model_copy(update={"name": f"mute-{incident.id}", "do": "mute"}) if like else None
    return rule_from(incident, proposal, "", "")


def _refuse_past(until: datetime | None, now: datetime) -> None:
    if until and until <= now:
        raise PermanentError(f"until: {until.isoformat()} is over already")


def _each_once(texts: Iterable[str]) -> tuple[str, ...] | None:
    # What logs say is no pattern, whatever it begins with.
    return tuple(dict.fromkeys(f"{LITERAL}{text}" if text[0] in SIGNS else text for text in texts if text)) or None


def _told(incident: Incident, verb: Verb, said: Said, now: datetime) -> Told:
    if verb == "ack":
        known = acknowledgement(incident, said.by, now, said.reason, said.ends_at(now))
        return noted(replace(incident, acknowledged=known, withheld=""), f"acknowledged by {said.by}", said.reason, now)
    if verb == "unfix":
        return unfixed(incident, said.by, said.reason, now)
    if verb == "note":
        return noted(incident, f"note by {said.by}", said.reason, now)
    fix = said.reason if verb == "resolve" else ""
    return closed(incident, Closing(VERDICTS[verb], said.by, now, said.reason), fix or None, now)
