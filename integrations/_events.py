"""What machines are told of an incident or a notice, as JSON: a webhook's body, a line of NDJSON."""

from __future__ import annotations

from typing import Any

from exporter.model import NoticeTold, Notification, dumps, to_json
from exporter.wording import words
from exporter.wording.text import shorten

VERSION = "1"

MAX_BODY = 900_000
"""Bytes; many receivers refuse more than 1 MiB."""

CUTS = ((4_000, 100), (1_000, 30), (200, 10))
"""Characters of a text and items of a list, tried in turn on a body that is too large."""


def payload(notification: Notification) -> dict[str, Any]:
    """The whole incident and its report, as `incidents show --format json` prints them."""
    whole = {
        "version": VERSION,
        "event_id": notification.event_id,
        "change": notification.change,
        "at": to_json(notification.incident.updated_at),
        "url": notification.url,
        "source_links": [{"title": title, "url": url} for title, url in notification.source_links],
        "incident": to_json(notification.incident),
        "report": to_json(notification.report),
        "truncated": False,
    }
    for characters, items in CUTS:
        if len(body_of(whole)) <= MAX_BODY:
            break
        whole = _cut(whole, characters, items) | {"truncated": True}
    return whole


def notice_payload(told: NoticeTold) -> dict[str, Any]:
    """A notice, as `incidents notices --format json` prints it, and in words."""
    return {
        "version": VERSION,
        "event_id": told.event_id,
        "change": "noticed",
        "at": to_json(told.notice.at),
        "url": told.url,
        "text": words.notice(told.notice),
        "notice": to_json(told.notice),
    }


def body_of(value: dict[str, Any]) -> bytes:
    """As it is sent: compact JSON."""
    return dumps(value).encode("utf-8", "replace")


def _cut(value: Any, characters: int, items: int) -> Any:
    if isinstance(value, str):
        return shorten(value, characters)
    if isinstance(value, list):
        return [_cut(item, characters, items) for item in value[:items]]
    if isinstance(value, dict):
        return {key: _cut(item, characters, items) for key, item in value.items()}
    return value
