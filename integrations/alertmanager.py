"""Tell incidents to Alertmanager as alerts: to every instance, again while they last, resolved at their end."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from exporter.model import (
    Check,
    Context,
    Duration,
    ExporterError,
    Incident,
    Notification,
    PermanentError,
    Report,
    SinkSettings,
    TransientError,
    Unit,
    from_json,
    stable_key,
    to_json,
)
from exporter.wording import words
from exporter.wording.text import brief, link, rfc3339, shorten
from integrations._http import Client, HttpSettings, Refused, join
from integrations._receipts import pack, unpack

log = logging.getLogger(__name__)

RESOLVED_FOR = timedelta(minutes=5)
"""How long Alertmanager expects resolved alerts to be repeated."""

VERIFY_EVERY = 10
"""Repetitions after which we ask again whether Alertmanager still lists the alert."""

MAX_SUMMARY = 200
MAX_DESCRIPTION = 2_000
MAX_LABEL = 200


class AlertmanagerSettings(HttpSettings, SinkSettings):
    """Alerts to Alertmanager, Mimir or Cortex (API v2)."""

    type: Literal["alertmanager"]
    name: str = "alertmanager"
    urls: tuple[str, ...] = Field(min_length=1)
    """Every instance of the cluster, not a load balancer before it; with a path where there is one."""
    tenant: str | None = None
    """Sent as X-Scope-OrgID, which Mimir and Cortex want."""
    resend: Duration = timedelta(seconds=60)
    """How often firing alerts are repeated; well below Alertmanager's resolve_timeout."""
    verify: bool = True
    """Ask whether the alert is listed: Alertmanager answers 200 even to alerts that its limits drop."""
    samples: Annotated[int, Unit("lines")] = Field(default=0, ge=0, le=5)
    """Redacted log lines to put into the description."""
    timeout: Duration = timedelta(seconds=10)
    """For one request; an instance that hangs holds up the others for no longer."""

    @field_validator("urls")
    @classmethod
    def _absolute(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for url in value:
            if not re.fullmatch(r"https?://[^\s/?#]+[^\s?#]*", url):
                raise ValueError(f"{url!r} is not a base URL such as http://alertmanager:9093")
        return tuple(url.rstrip("/") for url in value)

    @field_validator("resend")
    @classmethod
    def _positive(cls, value: timedelta) -> timedelta:
        if value < timedelta(seconds=5):
            raise ValueError("alerts cannot be repeated more often than every 5s")
        return value

    def build(self, context: Context) -> AlertmanagerSink:
        return AlertmanagerSink(self, context)

    @staticmethod
    def preview(notification: Notification) -> list[dict[str, Any]]:
        """What would be sent, with nothing sent before."""
        return alerts(notification, tell(notification, None), timedelta(minutes=1))


# --- From an incident to alerts -----------------------------------------------------------------------


@dataclass(frozen=True)
class Told:
    """What Alertmanager has been told of an incident: the receipt. Times are wall times.

    `starts` is when the alert was first posted; `resolved` when its end was, and `retired` when that of label sets
    that the incident has left (by a key of the set); `checked` when it was last seen listed under the labels `seen`.
    """

    starts: datetime
    resolved: datetime | None = None
    retired: Mapping[str, datetime] | None = None
    checked: datetime | None = None
    seen: str = ""


def tell(notification: Notification, before: Told | None) -> Told:
    """What will have been told once this notification is delivered."""
    incident, now = notification.incident, notification.now
    ends = dict((before.retired if before else None) or {})
    retired = {key: ends.get(key, now) for key in map(_key, _retired(incident))}
    if incident.status == "resolved":
        resolved = (before.resolved if before else None) or now
        return Told(before.starts if before else now, resolved, retired, before.checked if before else None)
    if before is None or before.resolved is not None:
        # Alertmanager keeps the earlier start of alerts that overlap: a reopened incident is a new alert.
        return Told(now, None, retired)
    return replace(before, retired=retired)


def alerts(notification: Notification, told: Told, resend: timedelta, samples: int = 0) -> list[dict[str, Any]]:
    """The alerts to post: first the label sets that the incident has left, as resolved, then the incident's own."""
    incident, now = notification.incident, notification.now
    common: dict[str, Any] = {"annotations": texts(notification, samples)}
    if url := link(notification.url):
        common["generatorURL"] = url
    posts = []
    for labels in _retired(incident):
        end = (told.retired or {}).get(_key(labels), now)
        if now - end <= RESOLVED_FOR:
            posts.append(
                {"labels": labels, "startsAt": rfc3339(min(told.starts, end)), "endsAt": rfc3339(end), **common}
            )
    # A far end could not be shortened while the alert fires: of two ends, Alertmanager keeps the later.
    end = told.resolved or now + 4 * resend
    own = {"startsAt": rfc3339(min(told.starts, end)), "endsAt": rfc3339(end)}
    return [*posts, {"labels": label_set(incident.labels), **own, **common}]


def label_set(labels: Mapping[str, str]) -> dict[str, str]:
    """Labels that every Alertmanager takes: classic names, and no value that it would remove.

    >>> label_set({"service.name": "shop", "1st": "x", "empty": ""})
    {'service_name': 'shop', '_1st': 'x'}
    """
    clean: dict[str, str] = {}
    for name, value in labels.items():
        if text := brief(str(value), MAX_LABEL):
            clean.setdefault(_name(name), text)
    return clean


def _name(name: str) -> str:
    safe = re.sub(r"[^a-zA-Z0-9_]", "_", name) or "_"
    return f"_{safe}" if safe[0].isdigit() else safe


def texts(notification: Notification, samples: int = 0) -> dict[str, str]:
    """The annotations: short and plain; they may change without making another alert."""
    incident, report = notification.incident, notification.report
    said = {
        "summary": words.headline(incident, report, MAX_SUMMARY),
        "description": description(incident, report, samples),
        "cause": brief(words.cause(incident), MAX_LABEL),
        "services": shorten(", ".join(brief(name, 60) for name in incident.services[:20]), 400),
        "incident_url": link(notification.url) or "",
        "revision": str(incident.revision),
        "starts_at": str(to_json(incident.starts_at)),
    }
    return {name: text for name, text in said.items() if text}


def description(incident: Incident, report: Report, samples: int) -> str:
    """What a person needs on a phone: cause, reasons in numbers, what helped before, first steps."""
    lines = [words.headline(incident, report, MAX_SUMMARY)]
    if incident.suspects:
        lines += ["", f"{words.LIKELY_CAUSE}:", *(f"- {line}" for line in words.suspects(incident))]
    if incident.contributions:
        lines += ["", f"{words.WHY}:", *(f"- {words.reason(c)}" for c in incident.contributions[:4])]
    if report.similar:
        lines += ["", f"{words.SEEN_BEFORE}:", *(f"- {words.similar(past)}" for past in report.similar[:2])]
    if samples and incident.evidence:
        lines += ["", "Lines:", *(f"- {brief(e.body, 200)}" for e in incident.evidence[:samples])]
    if report.steps:
        lines += ["", f"{words.WHAT_TO_DO}:", *(f"- {brief(step.text, 200)}" for step in report.steps[:3])]
    return shorten("\n".join(lines), MAX_DESCRIPTION)


def _retired(incident: Incident) -> list[dict[str, str]]:
    """Label sets that the incident has left, each once, and never the one that it has."""
    own = label_set(incident.labels)
    sets = {_key(labels): labels for labels in map(label_set, incident.retired_labels) if labels and labels != own}
    return list(sets.values())


def _key(labels: Mapping[str, str]) -> str:
    return f"{stable_key(repr(sorted(labels.items()))):016x}"


# --- Delivery -----------------------------------------------------------------------------------------


class AlertmanagerSink:
    """Posts to every instance: one that takes the alerts is enough, the others get them with the next repetition."""

    wants: Literal["latest"] = "latest"

    def __init__(self, settings: AlertmanagerSettings, context: Context) -> None:
        self.name = settings.name
        self.resend: timedelta | None = settings.resend
        self._settings = settings
        self._clock = context.clock
        self._headers = {"X-Scope-OrgID": settings.tenant} if settings.tenant else {}
        self._clients = {url: Client(settings, f"sink {settings.name}: {url}") for url in settings.urls}

    async def deliver(self, notification: Notification) -> str | None:
        before = read_receipt(notification.receipt)
        told = tell(notification, before)
        posts = alerts(notification, told, self._settings.resend, self._settings.samples)
        took = await self._post_to_all(posts)
        if self._settings.verify and notification.incident.status == "firing":
            told = await self._verified(notification, told, posts[-1]["labels"], took)
        return write_receipt(told)

    async def _post_to_all(self, posts: Sequence[dict[str, Any]]) -> list[str]:
        """The instances that took the incident's own alert; raises when there is none."""
        urls = self._settings.urls
        results = await asyncio.gather(*(self._post(url, posts) for url in urls), return_exceptions=True)
        took = [url for url, result in zip(urls, results, strict=True) if result is None]
        failures = [result for result in results if result is not None]
        for failure in failures:
            if not isinstance(failure, (TransientError, PermanentError)):
                raise failure
        if failures and took:
            log.warning("An Alertmanager did not take an alert, another did: %s", failures[0])
        if not took:
            raise _worst(failures)
        return took

    async def _post(self, url: str, posts: Sequence[dict[str, Any]]) -> None:
        try:
            await self._send(url, posts)
        except Refused as refused:
            if refused.answer.status != 400 or len(posts) == 1:
                raise
        else:
            return
        # Valid alerts of a refused batch may be stored: one by one says which is the bad one.
        for post in posts[:-1]:
            try:
                await self._send(url, [post])
            except Refused as refused:
                log.warning("The end of an alert that was replaced is refused: %s", refused)
        await self._send(url, posts[-1:])

    async def _send(self, url: str, posts: Sequence[dict[str, Any]]) -> None:
        await self._clients[url].request("POST", join(url, "api/v2/alerts"), json=list(posts), headers=self._headers)

    async def _verified(
        self, notification: Notification, told: Told, labels: Mapping[str, str], took: Sequence[str]
    ) -> Told:
        """Asks once after each new label set, and now and then, whether the alert is listed."""
        fresh = told.seen == _key(labels) and told.checked is not None
        if fresh and told.checked and notification.now - told.checked < VERIFY_EVERY * self._settings.resend:
            return told
        listed = [await self._lists(url, labels) for url in took]
        if True in listed:
            return replace(told, checked=notification.now, seen=_key(labels))
        if False in listed:
            raise TransientError(
                f"sink {self.name}: {took[listed.index(False)]} answered 200 but does not list the alert; "
                "see its log, and --alerts.per-alertname-limit"
            )
        return told

    async def _lists(self, url: str, labels: Mapping[str, str]) -> bool | None:
        """None when it could not be asked: it limits concurrent questions, and posting went well."""
        filters = [("filter", f"{name}={_quoted(value)}") for name, value in labels.items()]
        try:
            place = join(url, "api/v2/alerts")
            answer = await self._clients[url].request("GET", place, params=filters, headers=self._headers)
            found = answer.json()
            return any(alert.get("labels") == dict(labels) for alert in found)
        except (TransientError, PermanentError, ValueError, AttributeError, TypeError):
            return None

    async def check(self) -> Sequence[Check]:
        return list(await asyncio.gather(*(self._check(url) for url in self._settings.urls)))

    async def _check(self, url: str) -> Check:
        subject = f"Alertmanager at {url}"
        try:
            # An empty list is a valid request, proves the right to post, and leaves nothing behind.
            await self._send(url, [])
        except ExporterError as error:
            return Check(
                subject, False, str(error), "see `urls`: the base address, with the path before /api/v2 if any"
            )
        return Check(subject, True, "takes alerts")

    async def close(self) -> None:
        for client in self._clients.values():
            await client.close()


def read_receipt(receipt: str | None) -> Told | None:
    """What an earlier delivery returned; None when there was none."""
    try:
        told = from_json(Told, unpack(receipt))
    except ValueError:
        return None
    return told if isinstance(told, Told) else None


def write_receipt(told: Told) -> str:
    return pack(to_json(told))


def _worst(failures: Sequence[BaseException]) -> TransientError | PermanentError:
    """One that may pass, if there is one: then trying again is right."""
    transient = [failure for failure in failures if isinstance(failure, TransientError)]
    if not transient:
        return PermanentError("; ".join(str(failure) for failure in failures))
    waits = [failure.retry_after for failure in transient if failure.retry_after]
    return TransientError("; ".join(str(failure) for failure in failures), max(waits, default=None))


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
