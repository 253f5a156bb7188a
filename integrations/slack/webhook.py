"""One message for each change that matters, to an incoming webhook."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Literal

from exporter.model import (
    Check,
    ConfigError,
    Context,
    Digest,
    NoticeTold,
    Notification,
    PermanentError,
    TransientError,
    read_secret,
)
from exporter.wording.text import brief, conceal
from integrations._http import Answer, Client, Refused
from integrations._receipts import pack, unpack
from integrations.slack.errors import FORMAT, Pace, SlackError, failure, hold
from integrations.slack.message import changes, digest_message, message, notice_message, plain, state
from integrations.slack.settings import SlackOptions


class SlackWebhook:
    """One message for each change that matters: an incoming webhook can do no more."""

    wants: Literal["every"] = "every"
    resend = None
    peer = ""
    concurrency = 1
    digest_every = timedelta(minutes=5)

    def __init__(self, settings: SlackOptions, context: Context) -> None:
        self.name = settings.name
        self._settings = settings
        self._pace = Pace(context.clock)
        self._client = Client(settings, f"sink {settings.name}")

    async def deliver(self, notification: Notification) -> str | None:
        before = unpack(notification.receipt)
        if before.keys() != state(notification.incident).keys():
            before = {}
        said = changes(notification.incident, before) if before else ()
        if before and not said:
            return None
        hold(self.name, self._pace.wait())
        body = message(notification, self._settings.samples, said)
        self._pace.took()
        try:
            await self._post(body)
        except SlackError as refused:
            if refused.error not in FORMAT:
                raise failure(self.name, refused.error) from refused
            await self._post_plain(notification)
        return pack(state(notification.incident))

    async def deliver_digest(self, digest: Digest) -> str | None:
        """A message with all lines, then one for what has changed: it cannot be edited."""
        await self._say(digest_message(digest, only_changed=digest.again))
        return None

    async def deliver_notice(self, told: NoticeTold) -> None:
        await self._say(notice_message(told))

    async def _say(self, body: Mapping[str, Any]) -> None:
        hold(self.name, self._pace.wait())
        self._pace.took()
        try:
            await self._post(body)
        except SlackError as refused:
            raise failure(self.name, refused.error) from refused

    async def _post_plain(self, notification: Notification) -> None:
        try:
            await self._post({"text": plain(notification), "unfurl_links": False, "unfurl_media": False})
        except SlackError as refused:
            raise failure(self.name, refused.error) from refused

    async def _post(self, body: Mapping[str, Any]) -> None:
        url = ""
        try:
            url = read_secret(self._settings.webhook_url, self._settings.webhook_url_file) or ""
            await self._client.request("POST", url, json=body)
        except ConfigError as error:
            # Orchestrators rotate files of secrets: the next moment it may be there again.
            raise TransientError(f"sink {self.name}: {error}") from error
        except TransientError as error:
            self._pace.pause(error.retry_after or timedelta())
            raise TransientError(conceal(str(error), url), error.retry_after) from None
        except Refused as refused:
            raise _worded(refused.answer, url) from None
        except PermanentError as error:
            raise PermanentError(conceal(str(error), url)) from None

    async def check(self) -> Sequence[Check]:
        """The webhook is not called: it would write into the channel."""
        try:
            url = read_secret(self._settings.webhook_url, self._settings.webhook_url_file) or ""
        except ConfigError as error:
            return [Check("Slack webhook", False, str(error))]
        ok = url.startswith("https://")
        return [Check("Slack webhook", ok, "is configured; it is not called before there is news")]

    async def close(self) -> None:
        await self._client.close()


def _worded(answer: Answer, url: str) -> SlackError | PermanentError:
    """Webhooks say what is wrong in one word of plain text; anything else is not Slack."""
    word = answer.text().strip()
    if re.fullmatch(r"[a-z_]{3,60}", word):
        return SlackError(word)
    said = conceal(brief(word, 200), url)
    return PermanentError(f"the Slack webhook answers {answer.status}: {said}; see webhook_url_file")
