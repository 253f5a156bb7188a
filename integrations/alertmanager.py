"""Tell incidents to Alertmanager as alerts: to every instance, again while they last, resolved at their end."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from exporter.model import (
    OWN_NAME,
    RULES,
    Check,
    Claim,
    Context,
    Duration,
    ExporterError,
    Incident,
    Notification,
    OneOrMore,
    PermanentError,
    Report,
    SinkSettings,
    TransientError,
    Unit,
    from_json,
    stable_key,
    to_json,
)
from exporter.wording import narrative, words
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
    urls: OneOrMore
    """Every instance of the cluster, not a load balancer before it; with a path where there is one."""
    tenant: str | None = None
    """Sent as X-Scope-OrgID, which Mimir and Cortex want."""
    resend: Duration = timedelta(seconds=60)
    """How often firing alerts are repeated; well below Alertmanager's resolve_timeout."""
    verify: bool = True
    """Ask whether the alert is listed: Alertmanager answers 200 even to alerts that its limits drop."""
    silence_on_ack: bool = False
    """Whether an incident that somebody acknowledges is silenced there, too, until it ends."""
    samples: Annotated[int, Unit("lines")] = Field(default=0, ge=0, le=5)
    """Redacted log lines to put into the description."""
    timeout: Duration = timedelta(seconds=10)
    """For one request; an instance that hangs holds up no other."""

    @field_validator("notices")
    @classmethod
    def _alerts_page(cls, value: bool) -> bool:
        if value:
            raise ValueError("an alert pages somebody, and a notice must not: set it at another sink")
        return value

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
        """The first instance; `places` has all."""
        return AlertmanagerSink(self, context, self.urls[0])

    def places(self, context: Context) -> tuple[AlertmanagerSink, ...]:
        return tuple(AlertmanagerSink(self, context, url) for url in dict.fromkeys(self.urls))

    @staticmethod
    def preview(notification: Notification) -> list[dict[str, Any]]:
        """What would be sent, with nothing sent before."""
        return alerts(notification, tell(notification, None), timedelta(minutes=1))


# --- From an incident to alerts -----------------------------------------------------------------------


@dataclass(frozen=True)
class Told:
    """What Alertmanager has been told of an incident: the receipt. Times are wall times.

    `starts` is when the alert was first posted; `resolved` is its end, and `retired` are the ends of label sets that
    the incident has left (by a key of the set), first told at `left`; `checked` is when it was last seen listed under
    the labels `seen`.
    """

    starts: datetime
    resolved: datetime | None = None
    retired: Mapping[str, datetime] | None = None
    left: Mapping[str, datetime] | None = None
    checked: datetime | None = None
    seen: str = ""
    silenced: bool = False
    """Whether we set a silence, which is to be taken back at the end."""


def tell(notification: Notification, before: Told | None) -> Told:
    """What will have been told once this notification is delivered.

    Ends come from the incident alone: an attempt that was stored, but not answered, is repeated with the same end.
    Alertmanager takes every other end for another alert.
    """
    incident, now = notification.incident, notification.now
    ends = (before.retired if before else None) or {}
    keys = [_key(labels) for labels, _ in _retired(incident)]
    unknown = before.starts if before else incident.starts_at
    retired = {_key(labels): ends.get(_key(labels), min(at or unknown, now)) for labels, at in _retired(incident)}
    # A release that knew no `left` had the time of its first attempt for an end.
    first = {**ends, **((before.left if before else None) or {})}
    left = {key: first.get(key, now) for key in keys}
    if incident.status == "resolved":
        resolved = (before.resolved if before else None) or min(incident.last_seen, now)
        known = before or Told(now)
        return Told(known.starts, resolved, retired, left, known.checked, silenced=known.silenced)
    if before is None or before.resolved is not None:
        # Alertmanager keeps the earlier start of alerts that overlap: a reopened incident is a new alert.
        return Told(now, None, retired, left)
    return replace(before, retired=retired, left=left)


def alerts(notification: Notification, told: Told, resend: timedelta, samples: int = 0) -> list[dict[str, Any]]:
    """The alerts to post: first the label sets that the incident has left, as resolved, then the incident's own."""
    incident, now = notification.incident, notification.now
    common: dict[str, Any] = {"annotations": texts(notification, samples)}
    if url := link(notification.url):
        common["generatorURL"] = url
    posts = []
    for labels, _ in _retired(incident):
        end, first = ((each or {}).get(_key(labels), now) for each in (told.retired, told.left))
        if now - first <= RESOLVED_FOR:
            posts.append({"labels": labels, **_lasted(told.starts, end, incident), **common})
    # A far end could not be shortened while the alert fires: of two ends, Alertmanager keeps the later.
    end = told.resolved or now + 4 * resend
    return [*posts, {"labels": label_set(incident.labels), **_lasted(told.starts, end, incident), **common}]


def _lasted(told: datetime, end: datetime, incident: Incident) -> dict[str, str]:
    """Of what ended before it was told, the start is the incident's own: none may be after its end."""
    start = told if told <= end else min(incident.starts_at, end)
    return {"startsAt": rfc3339(start), "endsAt": rfc3339(end)}


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
        "people": shorten(" ".join(f"{line}." for line in words.people(incident)), 400),
    }
    return {name: text for name, text in said.items() if text}


def description(incident: Incident, report: Report, samples: int) -> str:
    """What a person needs on a phone: cause, reasons in numbers, what helped before, first steps."""
    lines = [words.headline(incident, report, MAX_SUMMARY)]
    lines += words.people(incident)
    steps = _told(words.WHAT_TO_DO, report.steps[:3], 160)
    if report.writer != RULES:
        lines += _told(narrative.WHAT_HAPPENED, report.what_happened[:3])
        lines += [*_told(narrative.CAUSE, report.causes[:1]), *steps]
        lines += _told(narrative.NOT_KNOWN, report.not_known[:1])
    if incident.suspects:
        lines += ["", f"{words.LIKELY_CAUSE}:", *(f"- {line}" for line in words.suspects(incident))]
    if incident.contributions:
        lines += ["", f"{words.WHY}:", *(f"- {words.reason(c)}" for c in incident.contributions[:4])]
    if seen := words.seen_before(report, 2):
        lines += ["", f"{words.SEEN_BEFORE}:", *(f"- {said}" for said in seen)]
    if samples and incident.evidence:
        lines += ["", "Lines:", *(f"- {brief(e.body, 200)}" for e in incident.evidence[:samples])]
    if report.writer == RULES:
        lines += steps
    return shorten("\n".join(lines), MAX_DESCRIPTION)


def _told(title: str, claims: Sequence[Claim], limit: int = 230) -> list[str]:
    """Sentences of the report under their title."""
    return ["", f"{title}:", *(f"- {narrative.claim(one, limit)}" for one in claims)] if claims else []


def _retired(incident: Incident) -> list[tuple[dict[str, str], datetime | None]]:
    """Label sets that the incident has left, and when, if that is known: each once, and never the one that it has."""
    own = label_set(incident.labels)
    unknown = (None,) * (len(incident.retired_labels) - len(incident.retired_at))
    left = zip(map(label_set, incident.retired_labels), (*unknown, *incident.retired_at), strict=False)
    sets = {_key(labels): (labels, at) for labels, at in left if labels and labels != own}
    return list(sets.values())


def _key(labels: Mapping[str, str]) -> str:
    return f"{stable_key(repr(sorted(labels.items()))):016x}"


SILENCED_FOR = timedelta(days=30)
"""How long a silence holds whose incident nobody ends: we may be gone by then."""


def silence(notification: Notification) -> dict[str, Any]:
    """The silence of one incident, by who acknowledged it."""
    incident, taken = notification.incident, notification.incident.acknowledged
    by = brief(taken.by, MAX_LABEL) if taken else OWN_NAME
    end = notification.now + SILENCED_FOR
    end = min(end, taken.until) if taken and taken.until else end
    return {
        "matchers": [{"name": "incident_id", "value": incident.id, "isRegex": False, "isEqual": True}],
        "startsAt": rfc3339(notification.now),
        "endsAt": rfc3339(end),
        "createdBy": by,
        "comment": f"{OWN_NAME}: " + brief("; ".join(words.people(incident)), 400),
    }


# --- Delivery -----------------------------------------------------------------------------------------


class AlertmanagerSink:
    """Posts to one instance: each of a cluster is told for itself, and what one of them does delays no other."""

    wants: Literal["latest"] = "latest"
    concurrency = 8

    def __init__(self, settings: AlertmanagerSettings, context: Context, url: str) -> None:
        self.name = settings.name
        self.peer = peer(url) if len(set(settings.urls)) > 1 else ""
        self.resend: timedelta | None = settings.resend
        self._settings = settings
        self._url = url
        self._place = f"sink {settings.name}: {peer(url)}"
        self._headers = {"X-Scope-OrgID": settings.tenant} if settings.tenant else {}
        self._client = Client(settings, self._place)

    async def deliver(self, notification: Notification) -> str | None:
        if notification.incident.alerted and not notification.receipt:
            # Somebody else's alert pages by itself: its analysis is not one more.
            return None
        before = read_receipt(notification.receipt)
        told = tell(notification, before)
        posts = alerts(notification, told, self._settings.resend, self._settings.samples)
        await self._post(posts)
        if self._settings.verify and notification.incident.status == "firing":
            told = await self._verified(notification, told, posts[-1]["labels"])
        return write_receipt(replace(told, silenced=await self._silenced(notification, told)))

    async def _silenced(self, notification: Notification, told: Told) -> bool:
        """Whether there is a silence of ours, which is set when somebody acknowledges and ends with the incident."""
        incident = notification.incident
        wanted = self._settings.silence_on_ack and incident.status == "firing" and incident.acknowledged is not None
        if wanted == told.silenced:
            return wanted
        # One instance tells the others of it: it may be there already.
        ours = await self._silences(incident.id)
        if wanted and not ours:
            await self._client.request("POST", self._api("silences"), json=silence(notification), headers=self._headers)
        for identity in () if wanted else ours:
            await self._client.request("DELETE", self._api(f"silence/{identity}"), headers=self._headers)
        return wanted

    async def _silences(self, incident_id: str) -> list[str]:
        """Ids of the silences of an incident that hold and that we have set."""
        params = [("filter", f"incident_id={_quoted(incident_id)}")]
        answer = await self._client.request("GET", self._api("silences"), params=params, headers=self._headers)
        try:
            found = [(str(one["id"]), one["status"]["state"], one["comment"]) for one in answer.json()]
        except (ValueError, KeyError, TypeError) as error:
            raise TransientError(f"{self._place} does not say which silences there are") from error
        return [identity for identity, state, comment in found if state != "expired" and comment.startswith(OWN_NAME)]

    def _api(self, path: str) -> str:
        return join(self._url, f"api/v2/{path}")

    async def _post(self, posts: Sequence[dict[str, Any]]) -> None:
        try:
            await self._send(posts)
        except Refused as refused:
            if refused.answer.status != 400 or len(posts) == 1:
                raise
        else:
            return
        # Valid alerts of a refused batch may be stored: one by one says which is the bad one.
        for post in posts[:-1]:
            try:
                await self._send([post])
            except Refused as refused:
                log.warning("The end of an alert that was replaced is refused: %s", refused)
        await self._send(posts[-1:])

    async def _send(self, posts: Sequence[dict[str, Any]]) -> None:
        await self._client.request("POST", self._api("alerts"), json=list(posts), headers=self._headers)

    async def _verified(self, notification: Notification, told: Told, labels: Mapping[str, str]) -> Told:
        """Asks once after each new label set, and now and then, whether the alert is listed."""
        fresh = told.seen == _key(labels) and told.checked is not None
        if fresh and told.checked and notification.now - told.checked < VERIFY_EVERY * self._settings.resend:
            return told
        listed = await self._lists(labels)
        if listed:
            return replace(told, checked=notification.now, seen=_key(labels))
        if listed is False:
            raise TransientError(
                f"{self._place} answered 200 but does not list the alert; see its log, and --alerts.per-alertname-limit"
            )
        return told

    async def _lists(self, labels: Mapping[str, str]) -> bool | None:
        """None when it could not be asked: it limits concurrent questions, and posting went well."""
        filters = [("filter", f"{name}={_quoted(value)}") for name, value in labels.items()]
        try:
            answer = await self._client.request("GET", self._api("alerts"), params=filters, headers=self._headers)
            found = answer.json()
            return any(alert.get("labels") == dict(labels) for alert in found)
        except (TransientError, PermanentError, ValueError, AttributeError, TypeError):
            return None

    async def check(self) -> Sequence[Check]:
        subject = f"Alertmanager at {self._url}"
        try:
            # An empty list is a valid request, proves the right to post, and leaves nothing behind.
            await self._send([])
        except ExporterError as error:
            remedy = "see `urls`: the base address, with the path before /api/v2 if any"
            return [Check(subject, False, str(error), remedy)]
        return [Check(subject, True, "takes alerts")]

    async def close(self) -> None:
        await self._client.close()


def peer(url: str) -> str:
    """An instance as rows and metrics name it: its address without what may be secret in it.

    >>> peer("https://user:password@am-1:9093/alertmanager")
    'am-1:9093/alertmanager'
    """
    parts = urlsplit(url)
    return f"{parts.netloc.rpartition('@')[2]}{parts.path}"


def read_receipt(receipt: str | None) -> Told | None:
    """What an earlier delivery returned; None when there was none."""
    try:
        told = from_json(Told, unpack(receipt))
    except ValueError:
        return None
    return told if isinstance(told, Told) else None


def write_receipt(told: Told) -> str:
    return pack(to_json(told))


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
