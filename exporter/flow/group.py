"""Over all sources: anomalies in the order of event time become incidents."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from exporter.incidents.clusters import MIN_STRENGTH, Cluster, Release
from exporter.incidents.settings import IncidentSettings
from exporter.incidents.threshold import alarm_threshold
from exporter.incidents.tracker import RELEASE_BEFORE, Localise, Told, advance
from exporter.model import Anomaly, Incident, TimeRange, Write, loads
from exporter.model.times import moment, seconds
from exporter.state.bodies import pack, unpack
from exporter.state.file import Rows, State, meta_write

COLD_SHARE = 1 / 3
"""Share of warm-up in which so much is new that its anomalies say nothing about the days to come."""

FEW_SERVICES = 10
"""Services that a source is taken to have until warm-up has seen more."""


async def known_releases(state: Rows, span: TimeRange) -> list[Release]:
    """Deployments that we were told of, from as long before a range as they stand on timelines to its end."""
    query = "SELECT service, version, at FROM changes WHERE at >= ? AND at < ? ORDER BY at, service"
    rows = await state.read(query, (seconds(span.start - RELEASE_BEFORE), seconds(span.end)))
    return [Release(service, version, moment(at)) for service, version, at in rows]


async def grouped_through(state: Rows) -> datetime | None:
    """How far anomalies have been grouped, in event time."""
    value = await state.meta("grouped_through")
    return moment(int(value)) if value is not None else None


class Grouper:
    """Anomalies of all sources to incidents, in order of event time."""

    def __init__(
        self,
        state: State,
        settings: IncidentSettings,
        labels: Mapping[str, str],
        windows: Mapping[str, timedelta],
        localise: Localise | None = None,
        lock: asyncio.Lock | None = None,
    ) -> None:
        self._state = state
        self._settings = settings
        self._windows = windows
        self._labels = labels
        self._localise = localise
        self._lock = lock or asyncio.Lock()

    async def group(self, horizon: datetime) -> list[Told]:
        """Take in all that has become known up to `horizon`, and commit. Returns what there is to tell."""
        async with self._lock:
            since = await grouped_through(self._state)
            if since is not None and horizon <= since:
                return []
            anomalies = await self._anomalies(since, horizon)
            clusters = await self._clusters()
            first = min([horizon, *(c.starts_at for c in clusters.values()), *(a.window for a in anomalies)])
            releases = await known_releases(self._state, TimeRange(first, horizon))
            alive, told = await asyncio.to_thread(
                advance,
                clusters.values(),
                anomalies,
                horizon,
                self._settings,
                await self._threshold(),
                self._labels,
                self._localise,
                releases,
                await self._services(),
            )
            writes = [*cluster_writes(clusters, alive, told), *map(news, told)]
            await self._state.write([*writes, meta_write("grouped_through", str(seconds(horizon)))])
            return told

    async def _anomalies(self, since: datetime | None, until: datetime) -> list[Anomaly]:
        query = "SELECT body FROM anomalies WHERE reached > ? AND reached <= ? AND quiet = 0"
        rows = await self._state.read(query, (seconds(since) if since else -1, seconds(until)))
        return [loads(Anomaly, body) for (body,) in rows]

    async def _clusters(self) -> dict[str, Cluster]:
        rows = await self._state.read("SELECT cluster FROM incidents WHERE cluster != ''")
        clusters = [unpack(Cluster, body) for (body,) in rows]
        return {cluster.id: cluster for cluster in clusters}

    async def _threshold(self) -> float:
        value = await self._state.meta("alarm_threshold")
        return float(value) if value is not None else MIN_STRENGTH

    async def _services(self) -> int:
        """How many services there are among which some are always unusual, as warm-up has seen them."""
        return int(await self._state.meta("alarm_services") or 1)

    async def calibrate(self, budget: float) -> float:
        """Set the threshold of incidents from what warm-up would have opened, at most `budget` a day.

        Its first part says nothing about later: there everything was still new.
        """
        cold_until, days = await self._representative()
        query = "SELECT body FROM anomalies WHERE quiet = 1 AND reached > ? ORDER BY reached, source, id"
        quiet = [loads(Anomaly, body) for (body,) in await self._state.read(query, (cold_until,))]
        known = await self._known_services()
        tests = sum(services * (timedelta(days=1) / self._windows[name]) for name, services in known.items())
        services = sum(known.values())
        threshold = alarm_threshold(quiet, days, budget, self._settings, tests, services)
        found = {"alarm_threshold": repr(threshold), "alarm_services": str(services), "alarm_budget": repr(budget)}
        await self._state.write([meta_write(key, value) for key, value in found.items()])
        return threshold

    async def _representative(self) -> tuple[int, float]:
        """From when on (seconds since the epoch) warm-up shows what is usual, and how many days of it were read."""
        spans = await self._state.read("SELECT source, start, end FROM decisions WHERE kind = 'warmup' ORDER BY start")
        spans = spans or await self._state.read("SELECT source, started_at, warm_until FROM checkpoints")
        cold_until, longest = 0, 0.0
        for name in {source for source, _, _ in spans}:
            own = [(start, end) for source, start, end in spans if source == name]
            total = sum(end - start for start, end in own)
            left = total * COLD_SHARE
            for start, end in own:
                if end - start >= left:
                    cold_until = max(cold_until, int(start + left))
                    break
                left -= end - start
            longest = max(longest, total * (1 - COLD_SHARE))
        return cold_until, longest / 86400

    async def _known_services(self) -> dict[str, int]:
        """Services of each source, as far as warm-up has seen them."""
        rows = await self._state.read("SELECT source, COUNT(*) FROM detection_services GROUP BY source")
        known = {str(source): int(count or 0) for source, count in rows}
        return {name: max(known.get(name, 0), FEW_SERVICES) for name in self._windows}


def cluster_writes(before: Mapping[str, Cluster], after: Mapping[str, Cluster], told: Sequence[Told]) -> list[Write]:
    """Rows of the clusters that changed; one that became no incident leaves no trace, an incident stays.

    What began and ended, or only ended, in one step is in `after` no more: its last revision is what was told last.
    """
    writes = [_incident_row(cluster, pack(cluster)) for key, cluster in after.items() if before.get(key) != cluster]
    last = {item.incident.id: item.incident for item in told}
    for key in sorted((before.keys() | last.keys()) - after.keys()):
        incident = last.get(key) or before[key].incident
        gone = Write("incidents", ("id",), ((key,),), delete=True)
        writes.append(incident_row(incident, seconds(incident.last_seen)) if incident else gone)
    return writes


_INCIDENT_COLUMNS = ("id", "status", "revision", "service", "starts_at", "updated_at", "body", "cluster")


def incident_row(incident: Incident, updated_at: int, cluster: str = "") -> Write:
    """The row of an incident; `cluster` is empty once no anomaly can join it any more."""
    times = (seconds(incident.starts_at), updated_at)
    row = (incident.id, incident.status, incident.revision, incident.service, *times, pack(incident), cluster)
    return Write("incidents", _INCIDENT_COLUMNS, (row,))


def _incident_row(cluster: Cluster, text: str) -> Write:
    incident = cluster.incident
    row = (
        cluster.id,
        cluster.status,
        incident.revision if incident else 0,
        incident.service if incident else cluster.members[0].service,
        seconds(cluster.starts_at),
        seconds(cluster.last_seen),
        pack(incident) if incident else "",
        text,
    )
    return Write("incidents", _INCIDENT_COLUMNS, (row,))


def news(told: Told) -> Write:
    """The row from which reports and deliveries of this revision are made."""
    incident = told.incident
    names = ("incident", "revision", "part", "change", "at", "body")
    return Write("news", names, ((incident.id, incident.revision, 0, told.change, seconds(told.at), pack(incident)),))


async def incident_list(state: Rows, status: str | None = None, limit: int = 100) -> list[Incident]:
    """Incidents, the newest first."""
    query = "SELECT body FROM incidents WHERE body != ''" + (" AND status = ?" if status else "")
    rows = await state.read(f"{query} ORDER BY starts_at DESC LIMIT ?", (*([status] if status else []), limit))
    return [unpack(Incident, body) for (body,) in rows]
