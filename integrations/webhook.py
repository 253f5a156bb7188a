"""Post each change of an incident as JSON to any address, signed if wanted, with a key that repetitions share."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from pydantic import SecretStr, field_validator, model_validator

from exporter.model import (
    Check,
    ConfigError,
    Context,
    Duration,
    NoticeTold,
    Notification,
    PermanentError,
    SinkSettings,
    TransientError,
    read_secret,
)
from exporter.wording.text import conceal
from integrations._events import body_of, notice_payload, payload
from integrations._http import Client, HttpSettings


class WebhookSettings(HttpSettings, SinkSettings):
    """Every change of every incident, as JSON."""

    type: Literal["webhook"]
    name: str = "webhook"
    url: SecretStr | None = None
    """Where to post to; it may hold a secret, so it is never shown."""
    url_file: Path | None = None
    """File that holds this address; read at each use."""
    secret: SecretStr | None = None
    """Signs the body: `X-Log-Anomaly-Signature` is the hex HMAC-SHA256 of timestamp, a colon and the raw body."""
    secret_file: Path | None = None
    """File that holds this secret; read at each use."""
    timeout: Duration = timedelta(seconds=10)

    @model_validator(mode="after")
    def _one_of_each(self) -> WebhookSettings:
        if bool(self.url) == bool(self.url_file):
            raise ValueError("give either url or url_file")
        if self.secret and self.secret_file:
            raise ValueError("secret and secret_file are both given; keep one")
        return self

    @field_validator("url")
    @classmethod
    def _absolute(cls, value: SecretStr | None) -> SecretStr | None:
        if value and not re.fullmatch(r"https?://[^\s/?#]+\S*", value.get_secret_value()):
            raise ValueError("not an absolute http(s) URL")
        return value

    def build(self, context: Context) -> WebhookSink:
        return WebhookSink(self)

    @staticmethod
    def preview(notification: Notification) -> dict[str, Any]:
        """What would be sent, with nothing sent before."""
        return payload(notification)


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """What a receiver computes too, before it believes the body.

    >>> signature("secret", "1773480912", b"{}")[:16]
    '30f3ffe331d665b0'
    """
    return hmac.new(secret.encode(), timestamp.encode() + b":" + body, hashlib.sha256).hexdigest()


class WebhookSink:
    """Posts every change; a repetition has the same `Idempotency-Key`, so a receiver can drop it."""

    wants: Literal["every"] = "every"
    resend = None
    peer = ""
    concurrency = 8

    def __init__(self, settings: WebhookSettings) -> None:
        self.name = settings.name
        self._settings = settings
        self._client = Client(settings, f"sink {settings.name}")

    async def deliver(self, notification: Notification) -> str | None:
        await self._post(body_of(payload(notification)), notification.event_id, notification.now)
        return None

    async def deliver_notice(self, told: NoticeTold) -> None:
        await self._post(body_of(notice_payload(told)), told.event_id, told.now)

    async def _post(self, body: bytes, event_id: str, now: datetime) -> None:
        url = ""
        try:
            url = self._url()
            await self._client.request("POST", url, data=body, headers=self._headers(body, event_id, now))
        except ConfigError as error:
            # Orchestrators rotate files of secrets: the next moment it may be there again.
            raise TransientError(f"sink {self.name}: {error}") from error
        except TransientError as error:
            raise TransientError(conceal(str(error), url), error.retry_after) from None
        except PermanentError as error:
            raise PermanentError(conceal(str(error), url)) from None

    def _url(self) -> str:
        return read_secret(self._settings.url, self._settings.url_file) or ""

    def _headers(self, body: bytes, event_id: str, now: datetime) -> dict[str, str]:
        headers = {"Content-Type": "application/json", "Idempotency-Key": event_id}
        if secret := read_secret(self._settings.secret, self._settings.secret_file):
            timestamp = str(int(now.timestamp()))
            headers["X-Log-Anomaly-Timestamp"] = timestamp
            headers["X-Log-Anomaly-Signature"] = signature(secret, timestamp, body)
        return headers

    async def check(self) -> Sequence[Check]:
        """The address is read, not called: whatever is behind it would take a probe for news."""
        try:
            self._url()
            read_secret(self._settings.secret, self._settings.secret_file)
        except ConfigError as error:
            return [Check("webhook", False, str(error))]
        return [Check("webhook", True, "is configured; it is not called before there is news")]

    async def close(self) -> None:
        await self._client.close()
