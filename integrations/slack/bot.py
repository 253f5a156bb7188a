"""With a bot token: one message an incident, edited as it changes and answered in its thread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from exporter.model import (
    Check,
    Context,
    Digest,
    ExporterError,
    NoticeTold,
    Notification,
    NotYetError,
    PermanentError,
    TransientError,
    from_json,
    to_json,
)
from exporter.wording.text import brief, fill
from integrations._http import Client, join
from integrations._receipts import pack, unpack
from integrations.slack.errors import FORMAT, GONE, Pace, SlackError, failure, hold
from integrations.slack.message import (
    MAX_SECTION,
    changes,
    digest_message,
    inert,
    markdown,
    message,
    notice_message,
    plain,
    state,
)
from integrations.slack.settings import SlackOptions

EVENT_TYPE = "log_anomaly_incident"

EDIT_EVERY = timedelta(seconds=5)
"""Edits of one message that come faster are gathered into one."""


@dataclass(frozen=True)
class Posted:
    """Where an incident's message is, and what it said: the receipt. `edited` is wall time."""

    channel: str
    ts: str
    edited: datetime
    said: Mapping[str, Any]


class SlackBot:
    """One message an incident, edited as it changes; what matters is also said in its thread."""

    wants: Literal["latest"] = "latest"
    resend = None
    peer = ""
    concurrency = 1
    digest_every = timedelta(minutes=1)

    def __init__(self, settings: SlackOptions, context: Context) -> None:
        self.name = settings.name
        self._settings = settings
        self._pace = Pace(context.clock)
        self._client = Client(settings, f"sink {settings.name}")

    async def deliver(self, notification: Notification) -> str | None:
        posted = read_receipt(notification.receipt)
        if posted is None and (notification.in_doubt or notification.receipt):
            posted = await self._find(notification.incident.id, notification.now)
        if posted is None:
            return write_receipt(await self._open(notification))
        # An earlier release said less.
        known = posted.said and posted.said.keys() <= state(notification.incident).keys()
        said = changes(notification.incident, posted.said) if known else []
        since = notification.now - posted.edited
        wait = max(EDIT_EVERY - since, timedelta()) if since >= timedelta() else timedelta()
        # Both limits are asked before the first call: a half-told change would be told again.
        hold(self.name, max(wait, self._pace.wait() if said else timedelta()))
        try:
            await self._edit(notification, posted)
            if said:
                await self._reply(notification, posted, said)
        except SlackError as refused:
            if refused.error not in GONE:
                raise failure(self.name, refused.error) from refused
            return write_receipt(await self._open(notification))
        return write_receipt(Posted(posted.channel, posted.ts, notification.now, state(notification.incident)))

    async def _open(self, notification: Notification) -> Posted:
        hold(self.name, self._pace.wait())
        self._pace.took()
        try:
            answer = await self._say("chat.postMessage", notification, {"channel": self._settings.channel})
        except SlackError as refused:
            raise failure(self.name, refused.error) from refused
        return self._where(answer, notification.now, state(notification.incident))

    async def _edit(self, notification: Notification, posted: Posted) -> None:
        await self._say("chat.update", notification, {"channel": posted.channel, "ts": posted.ts})

    async def _reply(self, notification: Notification, posted: Posted, said: Sequence[str]) -> None:
        self._pace.took()
        text = fill("\n".join(said), MAX_SECTION, inert)
        await self._call(
            "chat.postMessage",
            {
                "channel": posted.channel,
                # Always the message itself: a reply to a reply leaves the thread.
                "thread_ts": posted.ts,
                "text": text,
                "blocks": [markdown(text)],
                "unfurl_links": False,
                "unfurl_media": False,
                "metadata": _metadata_of(notification),
            },
        )

    async def _say(self, method: str, notification: Notification, where: Mapping[str, Any]) -> dict[str, Any]:
        """The message in blocks; as plain text when Slack cannot take them."""
        whole = {
            **message(notification, self._settings.samples),
            "metadata": _metadata_of(notification),
            **where,
        }
        try:
            return await self._call(method, whole)
        except SlackError as refused:
            if refused.error not in FORMAT:
                raise
        # An edit keeps the old blocks unless it is given none.
        bare = {"text": plain(notification), "blocks": [], "unfurl_links": False, "unfurl_media": False, **where}
        return await self._call(method, bare)

    async def _find(self, identity: str, now: datetime) -> Posted | None:
        """Our message of an incident or digest in the channel; None when it is not there, or nobody may look.

        Raises TransientError while it cannot be known: a message too many would be told for ever.
        """
        params = [("channel", str(self._settings.channel)), ("include_all_metadata", "true"), ("limit", "100")]
        try:
            answer = await self._call("conversations.history", None, params)
        except SlackError as refused:
            said = failure(self.name, refused.error)
            if isinstance(said, TransientError):
                raise said from refused
            return None
        except PermanentError:
            # Without the scope it may be told twice, with the same event id; not telling it would be worse.
            return None
        except TransientError as error:
            # Reading has a limit of its own, which holds up only what has to be looked for.
            raise NotYetError(str(error), error.retry_after or EDIT_EVERY) from error
        for item in answer.get("messages") or ():
            if _identity(item) == identity:
                return Posted(str(self._settings.channel), str(item["ts"]), now - EDIT_EVERY, {})
        return None

    async def deliver_digest(self, digest: Digest) -> str | None:
        """One message, edited as the digest changes."""
        posted = read_receipt(digest.receipt)
        if posted is None and digest.in_doubt:
            posted = await self._find(digest.id, digest.now)
        told = {**digest_message(digest), "metadata": _metadata(digest.id, digest.event_id)}
        try:
            if posted is not None:
                await self._call("chat.update", {**told, "channel": posted.channel, "ts": posted.ts})
                return digest.receipt or write_receipt(posted)
            hold(self.name, self._pace.wait())
            self._pace.took()
            answer = await self._call("chat.postMessage", {**told, "channel": self._settings.channel})
        except SlackError as refused:
            raise failure(self.name, refused.error) from refused
        return write_receipt(self._where(answer, digest.now, {}))

    async def deliver_notice(self, told: NoticeTold) -> None:
        hold(self.name, self._pace.wait())
        self._pace.took()
        said = {**notice_message(told), "metadata": _metadata(told.notice.id, told.event_id)}
        try:
            await self._call("chat.postMessage", {**said, "channel": self._settings.channel})
        except SlackError as refused:
            raise failure(self.name, refused.error) from refused

    def _where(self, answer: Mapping[str, Any], now: datetime, said: Mapping[str, Any]) -> Posted:
        if not answer.get("channel") or not answer.get("ts"):
            # It may be in the channel: the next attempt looks for it there.
            raise TransientError(f"sink {self.name}: Slack answers without saying where the message is")
        return Posted(str(answer["channel"]), str(answer["ts"]), now, said)

    async def _call(
        self, method: str, body: Mapping[str, Any] | None, params: Sequence[tuple[str, str]] = ()
    ) -> dict[str, Any]:
        verb, url = "GET" if body is None else "POST", join(self._settings.api_url, method)
        try:
            answer = await self._client.request(verb, url, json=body, params=params)
        except TransientError as error:
            # Reading has a limit of its own, which must not hold up what is to be told.
            if body is not None:
                self._pace.pause(error.retry_after or timedelta())
            raise
        value = answer.json()
        if not isinstance(value, dict) or not value.get("ok"):
            error_name = str(value.get("error", "no error named")) if isinstance(value, dict) else "no object"
            if error_name == "missing_scope":
                raise failure(self.name, error_name, str(value.get("needed", "")))
            raise SlackError(error_name)
        return value

    async def check(self) -> Sequence[Check]:
        subject = "Slack bot token"
        try:
            answer = await self._call("auth.test", {})
        except SlackError as refused:
            return [Check(subject, False, str(failure(self.name, refused.error)))]
        except ExporterError as error:
            return [Check(subject, False, str(error), "see token_file and the way to slack.com")]
        who = f"{brief(str(answer.get('user', '')), 80)} in {brief(str(answer.get('team', '')), 80)}"
        return [Check(subject, True, f"is {who}")]

    async def close(self) -> None:
        await self._client.close()


def read_receipt(receipt: str | None) -> Posted | None:
    """Where the message is; None when nothing was posted yet."""
    try:
        posted = from_json(Posted, unpack(receipt))
    except ValueError:
        return None
    return posted if isinstance(posted, Posted) else None


def write_receipt(posted: Posted) -> str:
    return pack(to_json(posted))


def _metadata(identity: str, event_id: str) -> dict[str, Any]:
    """By which a message is found again: that of an incident, or of a digest."""
    return {"event_type": EVENT_TYPE, "event_payload": {"incident_id": identity, "event_id": event_id}}


def _metadata_of(notification: Notification) -> dict[str, Any]:
    return _metadata(notification.incident.id, notification.event_id)


def _identity(message: object) -> str | None:
    """Whose message it is; None for those of others, whatever they are."""
    try:
        metadata = message["metadata"]  # type: ignore[index]
        return str(metadata["event_payload"]["incident_id"]) if metadata["event_type"] == EVENT_TYPE else None
    except (KeyError, TypeError):
        return None
