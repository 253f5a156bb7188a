"""Show incidents in Grafana: one annotation each, a region in time that is changed as the incident changes."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from exporter.model import (
    RULES,
    Check,
    Claim,
    Context,
    Duration,
    ExporterError,
    Incident,
    NoticeTold,
    Notification,
    PermanentError,
    Report,
    SinkSettings,
    TransientError,
    nanoseconds,
    stable_key,
)
from exporter.wording import narrative, words
from exporter.wording.text import brief, fill, link
from integrations._http import Client, HttpSettings, Refused, join

MAX_TEXT = 1_500
"""Bytes of an annotation's text: it is a tooltip."""

MAX_TAG = 60
MARKER = "log-anomaly"


class GrafanaSettings(HttpSettings, SinkSettings):
    """Incidents as annotations that every dashboard can query by tags.

    `token` or `token_file` is that of a service account with the role Editor, or with the permissions
    annotations:create, annotations:write and annotations:read.
    """

    type: Literal["grafana"]
    name: str = "grafana"
    url: str
    """Where Grafana is, with its path where it is served from one."""
    dashboard_uid: str | None = None
    """Put the annotations on one dashboard; by default they belong to the organisation."""
    panel_id: int | None = None
    """A panel of that dashboard, by its number."""
    tags: tuple[str, ...] = Field(default=(), max_length=1)
    """One tag of your own; the others are log-anomaly, lae_id:…, service:… and severity:…"""
    timeout: Duration = timedelta(seconds=10)

    @field_validator("url")
    @classmethod
    def _absolute(cls, value: str) -> str:
        if not re.fullmatch(r"https?://[^\s/?#]+[^\s?#]*", value):
            raise ValueError(f"{value!r} is not a base URL such as https://grafana.example.org")
        return value.rstrip("/")

    @model_validator(mode="after")
    def _consistent(self) -> GrafanaSettings:
        if self.panel_id is not None and self.dashboard_uid is None:
            raise ValueError("panel_id needs dashboard_uid: panels are numbered within a dashboard")
        return self

    def build(self, context: Context) -> GrafanaSink:
        return GrafanaSink(self)

    @staticmethod
    def preview(notification: Notification) -> dict[str, Any]:
        """What would be sent, with nothing sent before."""
        return annotation(notification)


# --- From an incident to an annotation ----------------------------------------------------------------


def annotation(notification: Notification, extra: Sequence[str] = ()) -> dict[str, Any]:
    """The annotation: a region of event time, our HTML, few short tags."""
    incident = notification.incident
    # Grafana takes 0 for now, and swaps a region that ends before it starts.
    start = max(_milliseconds(incident.starts_at), 1)
    return {
        "time": start,
        "timeEnd": max(_milliseconds(incident.last_seen), start),
        "tags": tags(incident, extra),
        "text": text(notification),
    }


def notice_annotation(told: NoticeTold, extra: Sequence[str] = ()) -> dict[str, Any]:
    """The annotation of a notice: a moment, not a region."""
    notice = told.notice
    own = [MARKER, identity(notice.id), _tag("service", notice.service), _tag("notice", notice.kind)]
    return {
        "time": max(_milliseconds(notice.at), 1),
        "tags": list(dict.fromkeys([*own, *(_tag(*tag.partition(":")[::2]) for tag in extra[:1])])),
        "text": _escaped(words.notice(notice), MAX_TEXT),
    }


def tags(incident: Incident, extra: Sequence[str] = ()) -> list[str]:
    """At most six; each at most 60 characters with at most one colon, for Grafana drops what follows a second."""
    own = [MARKER, identity(incident.id), _tag("service", words.cause(incident)), _tag("severity", incident.severity)]
    said = [mark] if (mark := words.mark(incident)) else []
    return list(dict.fromkeys([*own, *said, *(_tag(*tag.partition(":")[::2]) for tag in extra[:1])]))


def identity(incident_id: str) -> str:
    """The tag by which the incident's annotation is found again."""
    short = incident_id if re.fullmatch(r"[A-Za-z0-9_-]{1,40}", incident_id) else f"{stable_key(incident_id):016x}"
    return f"lae_id:{short}"


def _tag(key: str, value: str) -> str:
    key = brief(key.replace(":", "_"), 20)
    value = brief(value.replace(":", "_"), MAX_TAG - len(key) - 1)
    return f"{key}:{value}" if value else key


def text(notification: Notification) -> str:
    """HTML of our own making: foreign text is escaped whole, then stand only `<b>`, `<br>` and `<a>`."""
    incident, report = notification.incident, notification.report
    foot = [f"score {incident.score:.2f}, revision {incident.revision}"]
    if url := link(notification.url):
        foot.append(f'<a href="{html.escape(url)}" target="_blank" rel="noopener">Open incident</a>')
    title = f"<b>{words.state(incident)}: {_escaped(words.headline(incident, report), 400)}</b>"
    body = [
        *(_escaped(line, 260) for line in words.people(incident)),
        *_narrated(report),
        *(f"Cause: {_escaped(line, 240)}" for line in words.suspects(incident, 1)),
        *(_escaped(words.reason(item), 260) for item in incident.contributions[:3]),
        *(f"{words.SEEN_BEFORE}: {_escaped(said, 320)}" for said in words.seen_before(report, 1)),
    ]
    end = " · ".join(foot)
    kept = [title]
    for line in body:
        if _bytes("<br>".join([*kept, line, end])) <= MAX_TEXT:
            kept.append(line)
    return "<br>".join([*kept, end])


def _narrated(report: Report) -> list[str]:
    """What a model made of it, as far as a tooltip has room: of each part first what stands at its head."""
    if report.writer == RULES:
        return []
    suggested = [step for step in report.steps if step.mark][:1]
    told = report.what_happened
    heads = [(narrative.WHAT_HAPPENED, told[:2]), (narrative.CAUSE, report.causes[:1]), (words.WHAT_TO_DO, suggested)]
    rest = [(narrative.WHAT_HAPPENED, told[2:4]), (narrative.NOT_KNOWN, report.not_known[:1])]
    return [f"{title}: {_claim(one)}" for title, part in (*heads, *rest) for one in part]


def _claim(one: Claim) -> str:
    """A sentence; its mark is ours, and escaped it would not be read as it is."""
    text = _escaped(one.text, 220)
    return f"({one.mark}) {text}" if one.mark else text


def _escaped(value: str, limit: int) -> str:
    return fill(value, limit, html.escape, _bytes)


def _bytes(value: str) -> int:
    return len(value.encode())


def _milliseconds(moment: datetime) -> int:
    return nanoseconds(moment) // 1_000_000


# --- Delivery -----------------------------------------------------------------------------------------


class GrafanaSink:
    """Keeps one annotation an incident. Its receipt is the annotation's id."""

    wants: Literal["latest"] = "latest"
    resend = None
    peer = ""
    concurrency = 8

    def __init__(self, settings: GrafanaSettings) -> None:
        self.name = settings.name
        self._settings = settings
        self._base = join(settings.url, "api/annotations")
        self._client = Client(settings, f"sink {settings.name}: {settings.url}")

    async def deliver(self, notification: Notification) -> str | None:
        body = annotation(notification, self._settings.tags)
        known = notification.receipt
        if known and known.isdigit() and await self._patch(known, body):
            return known
        # Grafana has no idempotency key: without a receipt, or after an answer that never came, we look first.
        found = await self._find(notification.incident.id)
        if found and await self._patch(found, body):
            return found
        return await self._create(body)

    async def deliver_notice(self, told: NoticeTold) -> None:
        body = notice_annotation(told, self._settings.tags)
        # An attempt whose answer never came may have been taken.
        found = await self._find(told.notice.id)
        if not (found and await self._patch(found, body)):
            await self._create(body)

    async def _patch(self, annotation_id: str, body: dict[str, Any]) -> bool:
        """Whether it was still there."""
        try:
            await self._client.request("PATCH", f"{self._base}/{annotation_id}", json=body)
        except Refused as refused:
            if refused.answer.status != 404:
                raise
            return False
        return True

    async def _find(self, incident_id: str) -> str | None:
        """The incident's oldest annotation."""
        params = [("tags", identity(incident_id)), ("type", "annotation"), ("limit", "10")]
        answer = await self._client.request("GET", self._base, params=params)
        try:
            ids = [int(row["id"]) for row in answer.json()]
        except (ValueError, KeyError, TypeError) as error:
            raise PermanentError(
                f"sink {self.name}: {self._settings.url} does not answer like Grafana; see `url`"
            ) from error
        return str(min(ids)) if ids else None

    async def _create(self, body: dict[str, Any]) -> str:
        place = {"dashboardUID": self._settings.dashboard_uid, "panelId": self._settings.panel_id}
        whole = body | {key: value for key, value in place.items() if value is not None}
        answer = await self._client.request("POST", self._base, json=whole)
        try:
            return str(int(answer.json()["id"]))
        except (ValueError, KeyError, TypeError) as error:
            # It may have been stored: the next attempt looks for it by its tag.
            raise TransientError(
                f"sink {self.name}: {self._settings.url} answered without the annotation's id"
            ) from error

    async def check(self) -> Sequence[Check]:
        subject = f"Grafana annotations at {self._settings.url}"
        try:
            await self._find("check")
        except ExporterError as error:
            return [Check(subject, False, str(error), "give a service account token with the role Editor")]
        return [Check(subject, True, "can be read; the right to write shows with the first incident")]

    async def close(self) -> None:
        await self._client.close()
