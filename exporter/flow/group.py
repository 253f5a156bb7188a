"""Over all sources: anomalies in the order of event time become incidents."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import pairwise

from exporter.incidents.ahead import taken_back
from exporter.incidents.alerts import carried_on
from exporter.incidents.clusters import MIN_STRENGTH, Cluster
from exporter.incidents.rule_settings import RuleSettings
from exporter.incidents.rules import Hidden, Rules
from exporter.incidents.ruling import Ruling
from exporter.incidents.settings import IncidentSettings
from exporter.incidents.standing import Standing, names, recorded, renamed
from exporter.incidents.threshold import alarm_threshold
from exporter.incidents.tracker import RELEASE_BEFORE, Localise, Pasts, Tell, Told, advance
from exporter.model import EPOCH, HiddenRow, Incident, NearMiss, NoTelemetry, Past, Telemetry, TimeRange, Write, floor
from exporter.state.aside import readable
from exporter.state.checkpoints import learnt, learnt_from, releases, starts, warm_until
from exporter.state.file import State
from exporter.state.incidents import (
    Calibration,
    calibration,
    calibration_rows,
    clusters_of,
    grouped_row,
    grouped_through,
    incident_of,
    incident_row,
    near_miss_row,
    pending_row,
    without_cluster,
    without_near_misses,
)
from exporter.state.news import news_row
from exporter.state.outages import last_outage, outage_row
from exporter.state.people import hidden_rows, rule_row, rules_of, rules_since
from exporter.state.regroup import (
    Before,
    grouping_before,
    grouping_step_row,
    regroup_from,
    regrouped_row,
    ungrouped_row,
    without_grouping_steps,
    without_grouping_steps_from,
)
from exporter.state.windows import anomalies_of_warmup, anomalies_reached, services_known
from exporter.wording.text import brief

log = logging.getLogger(__name__)

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
SECOND = timedelta(seconds=1)

MAX_SAID = 200
"""Characters that say what a rule has hidden."""

COLD_SHARE = 1 / 3
"""Share of warm-up in which so much is new that its anomalies say nothing about the days to come."""

FEW_SERVICES = 10
"""Services that a source is taken to have until warm-up has seen more."""


@dataclass(frozen=True)
class Step:
    """Clusters taken from one moment to another, and what came of it."""

    since: datetime | None
    before: Mapping[str, Cluster]
    after: Mapping[str, Cluster]
    told: tuple[Told, ...]
    missed: tuple[NearMiss, ...]
    hidden: tuple[Hidden, ...] = ()
    """What rules of people took out of what became known."""
    services: int = 1


@dataclass(frozen=True)
class Again:
    """What is grouped again since windows were read again: how it stood before, and what is to be told of it."""

    before: Before
    step: Step
    told: tuple[Told, ...]


def as_told(step: Step, now: Mapping[str, Incident], told: Collection[Incident]) -> tuple[Step, dict[str, Incident]]:
    """A step, and the incidents at its end, by the ids that were told; what others said of them stays."""
    ids = {key: one for key, one in names(now, told).items() if one not in step.after}
    last = {one.id: one for one in told}
    after: dict[str, Cluster] = {}
    for key, cluster in step.after.items():
        identity = ids.get(key, key)
        named = renamed(cluster, identity)
        after[identity] = carried_on(named, last[identity]) if identity in last else named
    news = {ids.get(key, key): replace(one, id=ids.get(key, key)) for key, one in now.items()}
    news |= {key: one.incident for key, one in after.items() if one.incident}
    events = tuple(item for item in step.told if item.incident.id not in ids)
    return replace(step, after=after, told=events), news


class Grouper:
    """Anomalies of all sources to incidents, in order of event time."""

    def __init__(
        self,
        state: State,
        settings: IncidentSettings,
        labels: Mapping[str, str],
        windows: Mapping[str, timedelta],
        settling: Mapping[str, timedelta],
        localise: Localise | None = None,
        lock: asyncio.Lock | None = None,
        telemetry: Telemetry | None = None,
        rules: Sequence[RuleSettings] = (),
        tell: Tell | None = None,
    ) -> None:
        self._state = state
        self._tell = tell
        self._configured: Sequence[RuleSettings] | None = rules
        self._settings = settings
        self._windows = windows
        self._settling = settling
        self._labels = labels
        self._localise = localise
        self._lock = lock or asyncio.Lock()
        self._telemetry = telemetry or NoTelemetry()

    async def notice_outage(self, now: datetime, after: timedelta) -> None:
        """Put on record that what is grouped next happened long ago: it waits for its end before anybody is paged."""
        since = await grouped_through(self._state)
        known = await last_outage(self._state)
        if since is not None and now - since > after and (known is None or known.end <= since):
            await self._state.write([outage_row(TimeRange(since, now))])
            log.warning("nothing was grouped since %s: what came and went since then is told as a digest", since)

    async def group(self, horizon: datetime) -> list[Told]:
        """Take in all that has become known up to `horizon`, and commit. Returns what there is to tell."""
        async with self._lock:
            since = await grouped_through(self._state)
            if since is not None and horizon <= since:
                return []
            rules = await self._rules(since)
            stored = {cluster.id: cluster for cluster in await clusters_of(self._state, Cluster)}
            begun, unreal = taken_back(stored.values(), horizon)
            ruling = Ruling(rules)
            said = Standing(ruled=ruling)
            again = await self._again(begun, since, said, ruling)
            clusters, steps = (again.step.after if again else begun), []
            await self._know(said, (item.incident.id for item in unreal))
            told = [*map(said.tell, unreal), *(again.told if again else ())]
            for start, until in pairwise([since, *self._stops(since, horizon, rules)]):
                steps.append(await self._step(clusters, start, until or horizon, rules))
                told += await self._say(steps[-1], until or horizon, said, ruling)
                clusters = steps[-1].after
            await self._know(said, changed(stored, clusters))
            taken = ([again.step] if again else []) + steps
            kept = [row for item in told for row in _kept_from(said.last[item.incident.id], item.at)]
            rows = [
                *cluster_rows(stored, clusters, said.last, {item.incident.id for item in told}),
                *(news_row(item.incident, item.change, item.at) for item in told),
                *hidden_rows(_hidden(one) for step in taken for one in step.hidden),
                *hidden_rows(kept),
                await without_grouping_steps(self._state, horizon - self._longest),
                *(await again_rows(self._state, again) if again else ()),
                *(row for step in taken for row in step_rows(step)),
            ]
            await self._state.write([*rows, grouped_row(horizon)])
        hidden = [one.rule for step in steps for one in step.hidden]
        for rule in (*hidden, *(row.rule for row in kept)):
            self._telemetry.count("rules_hidden", rule=rule)
        for near in (miss for step in steps for miss in step.missed):
            self._telemetry.count("incidents_suppressed", reason=near.reason)
        for item in told:
            self._count(item.change, item.incident.severity)
            log.debug("incident %s %s: %s", item.incident.id, item.change, item.incident.service)
        return told

    @property
    def _longest(self) -> timedelta:
        """After so long the windows of all sources are settled."""
        return max(self._settling.values(), default=timedelta(0))

    async def _rules(self, since: datetime | None) -> Rules:
        """The rules of people that hold from where it may be grouped again; first those that are configured now."""
        if self._configured is not None:
            await self._state.write(await configured_rows(self._state, self._configured, since))
            self._configured = None
        return Rules(await rules_since(self._state, since - self._longest - HOUR if since else None))

    def _stops(self, since: datetime | None, horizon: datetime, rules: Rules) -> list[datetime]:
        """Up to where windows are settled first: so what may be grouped again is no more than what may change. And
        where rules begin or end, whatever is grouped together."""
        settled = horizon - self._longest
        first = [settled] if (since is None or since < settled) and settled < horizon else []
        return sorted({*first, horizon, *(rules.borders(since, horizon) if since else ())})

    async def _say(self, step: Step, until: datetime, said: Standing, ruling: Ruling) -> list[Told]:
        """What a step has to tell, and what rules that begin or end at its end make of what is open then."""
        ruling.took(step.hidden)
        open_then = step.after.values() if ruling.changes_at(until) else ()
        looks = [
            Told(one.incident, "updated", until, shares=one.shares(step.services))
            for one in open_then
            if one.incident and one.status == "firing"
        ]
        await self._know(said, (item.incident.id for item in (*step.told, *looks)))
        told = [said.tell(item) for item in step.told]
        return [*told, *(news for item in looks if (news := said.look(item)))]

    async def _step(
        self, clusters: Mapping[str, Cluster], since: datetime | None, until: datetime, rules: Rules
    ) -> Step:
        """Take in what became known between two moments, but for what people have said is expected."""
        known = await anomalies_reached(self._state, since, until)
        anomalies, hidden = rules.expected(known)
        first = min([until, *(c.starts_at for c in clusters.values()), *(a.window for a in anomalies)])
        found = await calibration(self._state)
        missed: list[NearMiss] = []
        alive, told = await asyncio.to_thread(
            advance,
            clusters.values(),
            anomalies,
            until,
            self._settings,
            found.threshold if found else MIN_STRENGTH,
            self._labels,
            self._localise,
            await releases(self._state, TimeRange(first - RELEASE_BEFORE, until)),
            found.services if found else 1,
            await self._pasts(),
            missed.append,
            self._tell,
            {source: until for source, until in (await warm_until(self._state)).items() if source in self._windows},
        )
        services = found.services if found else 1
        return Step(since, clusters, alive, tuple(told), tuple(missed), tuple(hidden), services)

    async def _again(
        self, stored: Mapping[str, Cluster], since: datetime | None, said: Standing, ruling: Ruling
    ) -> Again | None:
        """Group again what windows that were read again have changed, up to where it was grouped and told before.

        What it now says is told as changes of what was told then; what was not told then is told as it comes.
        """
        reached = await regroup_from(self._state)
        if reached is None or since is None:
            return None
        before = await grouping_before(self._state, reached)
        read = {key: self._cluster(key, body) for key, body in before.clusters.items()}
        start = {key: one for key, one in {**stored, **read}.items() if one is not None}
        step = await self._step(start, before.since, since, ruling.rules)
        ruling.took(step.hidden)
        now = {item.incident.id: item.incident for item in step.told}
        now |= {key: one.incident for key, one in step.after.items() if one.incident}
        await self._know(said, {*stored, *read, *now})
        # What had ended before, and was only forgotten since, is as it was told.
        over = {key for key, one in start.items() if one.incident and key not in now}
        step, now = as_told(step, now, [one for key, one in said.last.items() if key not in over])
        known = sorted(said.last.keys() - over)
        told = [news for key in known if (news := said.correct(now.get(key), key, since))]
        told += [said.tell(item) for item in step.told if item.incident.id not in known]
        return Again(before, step, tuple(told))

    def _cluster(self, identity: str, body: str) -> Cluster | None:
        found: Cluster | None = readable(self._state, "undo", identity, Cluster, body) if body else None
        return found

    async def _know(self, said: Standing, ids: Iterable[str]) -> None:
        for identity in sorted(set(ids) - said.last.keys()):
            told = await incident_of(self._state, identity)
            if told is not None:
                said.last[identity] = told

    async def _pasts(self) -> Pasts:
        """What a source is compared with at a moment: from where it was begun to what had settled by then.

        Of event time alone: not of how far anything had been read when it was grouped.
        """
        began = await starts(self._state)

        def past(source: str, at: datetime) -> Past | None:
            settled = at - self._settling.get(source, timedelta(0))
            return Past(source, began[source], max(settled, began[source])) if source in began else None

        return past

    def _count(self, change: str, severity: str) -> None:
        if change == "opened":
            self._telemetry.count("incidents_opened", severity=severity)
        elif change in ("resolved", "reopened"):
            self._telemetry.count(f"incidents_{change}")

    async def has_threshold(self) -> bool:
        """Whether warm-up has set the threshold of incidents."""
        return await calibration(self._state) is not None

    async def set_threshold(self, budget: float) -> None:
        """Set it once warm-up is over, and anew when a source has learnt since, or another budget is configured."""
        known = await calibration(self._state)
        if known is None or not known.holds(repr(budget), self._windows, await learnt(self._state)):
            await self.calibrate(budget)

    async def calibrate(self, budget: float) -> float:
        """Set the threshold of incidents from what warm-up would have opened, at most `budget` a day.

        Its first part says nothing about later: there everything was still new.
        """
        usual, days = await self._representative()
        since = {source: usual.get(source, EPOCH) for source in self._windows}
        quiet = await anomalies_of_warmup(self._state, since)
        known = await self._known_services()
        tests = sum(services * (timedelta(days=1) / self._windows[name]) for name, services in known.items())
        services = sum(known.values())
        threshold = alarm_threshold(quiet, days, budget, self._settings, tests, services)
        spans = {source: span for source, span in (await learnt(self._state)).items() if source in self._windows}
        found = Calibration(threshold, services, repr(budget), spans)
        # What was grouped by another threshold stays as it was told.
        await self._state.write([ungrouped_row(), regrouped_row(), *calibration_rows(found)])
        log.info("an incident opens from strength %.1f, for a budget of %g a day", threshold, budget)
        return threshold

    async def _representative(self) -> tuple[dict[str, datetime], float]:
        """From when on the warm-up of each source shows what is usual, and how many days of it were read."""
        usual, longest = {}, timedelta(0)
        for source, spans in (await learnt_from(self._state)).items():
            if source not in self._windows:
                continue
            total = sum((span.duration for span in spans), timedelta(0))
            left = total * COLD_SHARE
            for span in spans:
                if span.duration >= left:
                    usual[source] = floor(span.start + left, SECOND)
                    break
                left -= span.duration
            longest = max(longest, total * (1 - COLD_SHARE))
        return usual, longest / DAY

    async def _known_services(self) -> dict[str, int]:
        """Services of each source, as far as warm-up has seen them."""
        known = await services_known(self._state)
        return {name: max(known.get(name, 0), FEW_SERVICES) for name in self._windows}


def changed(before: Mapping[str, Cluster], after: Mapping[str, Cluster]) -> list[str]:
    """Clusters that are not what they were, or were not or are no more."""
    return sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))


def step_rows(step: Step) -> list[Write]:
    """What a step missed, and what it has to be taken back to."""
    before = {key: step.before.get(key) for key in changed(step.before, step.after)}
    kept = grouping_step_row(step.since, before, (near.id for near in step.missed))
    return [kept, *map(near_miss_row, step.missed)]


async def again_rows(state: State, again: Again) -> list[Write]:
    """What was noted of the steps that are done again is forgotten."""
    steps = await without_grouping_steps_from(state, again.before.since)
    return [regrouped_row(), steps, without_near_misses(again.before.missed)]


async def configured_rows(state: State, rules: Iterable[RuleSettings], since: datetime | None) -> list[Write]:
    """Rules of the configuration hold from where it was grouped when they were read first, and end likewise."""
    wanted = {rule.name: rule.rule(since, origin="configuration") for rule in rules}
    known = {rule.name: rule for rule in await rules_of(state) if rule.origin == "configuration"}
    same = {name for name, rule in known.items() if name in wanted and replace(wanted[name], since=rule.since) == rule}
    gone = [replace(rule, removed_at=since or EPOCH) for name, rule in known.items() if name not in same]
    return [*map(rule_row, gone), *(rule_row(rule) for name, rule in wanted.items() if name not in same)]


def _hidden(found: Hidden) -> HiddenRow:
    """An anomaly that a rule took out: its first reason says what it was."""
    one = found.anomaly
    said = brief(one.contributions[0].text if one.contributions else one.kind, MAX_SAID)
    return HiddenRow(found.rule, one.id, one.window, one.service, said)


def _kept_from(incident: Incident, at: datetime) -> list[HiddenRow]:
    """A revision that rules keep from being delivered."""
    return [
        HiddenRow(name, f"{incident.id}:{incident.revision}", at, incident.service, f"incident {incident.id}")
        for name in incident.ruled_by
        if incident.withheld == "muted"
    ]


def cluster_rows(
    before: Mapping[str, Cluster],
    after: Mapping[str, Cluster],
    told: Mapping[str, Incident],
    news: Collection[str] = (),
) -> list[Write]:
    """Rows of the clusters that changed, or of which there is news; one that became no incident leaves no trace, an
    incident stays.

    What began and ended, or only ended, in one step is in `after` no more: its last revision is what was told last.
    """
    writes = [
        _cluster_row(cluster, told.get(key))
        for key, cluster in after.items()
        if before.get(key) != cluster or key in news
    ]
    for key in sorted((before.keys() | told.keys()) - after.keys()):
        incident = told.get(key) or (before[key].incident if key in before else None)
        writes.append(incident_row(incident, incident.last_seen) if incident else without_cluster(key))
    return writes


def _cluster_row(cluster: Cluster, told: Incident | None) -> Write:
    incident = recorded(cluster.incident, told, cluster.last_seen) if cluster.incident else told
    if incident:
        return incident_row(incident, cluster.last_seen, cluster)
    return pending_row(cluster.id, cluster.members[0].service, cluster.starts_at, cluster.last_seen, cluster)
