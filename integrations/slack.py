"""Tell incidents in Slack: with a bot token one message each, edited and answered in its thread; else a webhook."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SecretStr, model_validator

from exporter.model import (
    Check,
    Clock,
    ConfigError,
    Context,
    Duration,
    ExporterError,
    Incident,
    Notification,
    PermanentError,
    TransientError,
    from_json,
    read_secret,
    to_json,
)
from exporter.wording import text as _text
from integrations._http import Answer, Client, HttpSettings, Refused, join

MAX_BLOCKS_BYTES = 12_000
"""Slack refuses blocks of about 13,200 characters in all (measured by others; not documented)."""

MAX_HEADER = 150
MAX_SECTION = 2_800
MAX_PLAIN = 3_000
EVENT_TYPE = "log_anomaly_incident"
POST_EVERY = timedelta(seconds=1)
"""What Slack allows for a channel."""

EDIT_EVERY = timedelta(seconds=5)
"""Edits of one message that come faster are gathered into one."""

SIGNS = {"critical": "🔴", "warning": "🟠", "info": "🔵"}


class SlackSettings(HttpSettings):
    """Messages to a channel: a bot token with its channel, or an incoming webhook.

    `token` or `token_file` is the bot's (xoxb-…), with the scope chat:write; with channels:history too we find our
    messages again after a crash.
    """

    type: Literal["slack"]
    name: str = "slack"
    channel: str | None = None
    """Id of the channel, such as C0123ABC; the bot must be a member."""
    webhook_url: SecretStr | None = None
    webhook_url_file: Path | None = None
    """Address of an incoming webhook; it can neither edit nor answer, so each change that matters is a message."""
    samples: int = Field(default=3, ge=0, le=5)
    """Redacted log lines to show."""
    api_url: str = "https://slack.com/api"
    timeout: Duration = timedelta(seconds=8)

    @model_validator(mode="after")
    def _one_way(self) -> SlackSettings:
        bot, hook = bool(self.token or self.token_file), bool(self.webhook_url or self.webhook_url_file)
        if bot == hook:
            raise ValueError("give either token_file (or token) with channel, or webhook_url_file (or webhook_url)")
        if bot and not self.channel:
            raise ValueError("a bot token needs the channel to write to")
        if self.webhook_url and self.webhook_url_file:
            raise ValueError("give either webhook_url or webhook_url_file")
        if self.username:
            raise ValueError("Slack takes no username and password")
        return self

    def build(self, context: Context) -> SlackBot | SlackWebhook:
        bot = self.token or self.token_file
        return SlackBot(self, context) if bot else SlackWebhook(self, context)

    @staticmethod
    def preview(notification: Notification) -> dict[str, Any]:
        """What would be sent, with nothing sent before."""
        return message(notification)


# --- From an incident to a message --------------------------------------------------------------------


def message(notification: Notification, samples: int = 3, said: Sequence[str] = ()) -> dict[str, Any]:
    """Text for notifications and blocks for the channel; within Slack's limits, and without anything it would fetch."""
    return {
        "text": plain(notification, 300),
        "blocks": blocks(notification, samples, said),
        "unfurl_links": False,
        "unfurl_media": False,
        "parse": "none",
    }


def plain(notification: Notification, limit: int = MAX_PLAIN) -> str:
    """The message without blocks: for notifications, and where Slack refuses the blocks."""
    incident, report = notification.incident, notification.report
    lines = [f"{_status(incident)}: {_text.headline(incident, report)}"]
    lines += [f"• {_text.reason(item)}" for item in incident.contributions[:5]]
    address = _text.link(notification.url)
    tail = f"\n{address}" if address else ""
    return _text.fill("\n".join(lines), limit - len(escape(tail)), unlinked) + escape(tail)


def blocks(notification: Notification, samples: int = 3, said: Sequence[str] = ()) -> list[dict[str, Any]]:
    """What matters first; what does not fit the budget is left out. `said` is what changed since the last message."""
    incident, report = notification.incident, notification.report
    title = _text.truncate(f"{_sign(incident)} {_text.headline(incident, report)}", MAX_HEADER)
    head = {"type": "header", "text": {"type": "plain_text", "text": title, "emoji": False}}
    optional = [
        _section("What changed", said),
        _section(f"*{_status(incident)}* · most likely cause", _text.suspects(incident)),
        _section("Observed against expected", [_text.reason(item) for item in incident.contributions[:4]]),
        _section("Seen before", [_text.similar(past) for past in report.similar[:2]]),
        _section("What to do", [_text.brief(step.text, 240) for step in report.steps[:4]]),
        _lines(incident, samples),
    ]
    foot = {"type": "context", "elements": [{"type": "mrkdwn", "text": _foot(notification), "verbatim": True}]}
    kept: list[dict[str, Any]] = [head]
    for block in filter(None, optional):
        if size([*kept, block, foot]) <= MAX_BLOCKS_BYTES:
            kept.append(block)
    return [*kept, foot]


def size(value: Sequence[Mapping[str, Any]]) -> int:
    """Bytes of the blocks as they are sent."""
    return len(json.dumps(value))


def escape(text: str) -> str:
    """Slack's three: with them escaped, no mention, link or command is left.

    >>> escape("<!channel> & <@U1>")
    '&lt;!channel&gt; &amp; &lt;@U1&gt;'
    """
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def inert(text: str) -> str:
    """Escaped, and with a zero-width space beside the marks of Slack's formatting: log text shows as it is.

    An underscore inside a word formats nothing, so names stay what people can copy.
    """
    return re.sub(r"([*~`]|(?<![^\W_])_|_(?![^\W_]))", "\u200b\\1\u200b", escape(text))


def unlinked(text: str) -> str:
    """Inert, and with no address that Slack would make a link of: plain text has no `verbatim`."""
    return inert(text).replace("://", ":\u200b//")


def fenced(text: str) -> str:
    """Escaped for a code fence, which it cannot end."""
    return escape(text).replace("`", "\u200b`")


def changes(incident: Incident, before: Mapping[str, Any]) -> list[str]:
    """What is worth a message since the last one: the sentences of it. A first message is told by itself."""
    now = state(incident)
    said = []
    if before["status"] != now["status"]:
        resolved = incident.status == "resolved"
        lasted = _text.duration(incident.last_seen - incident.starts_at)
        said.append(f"Resolved after {lasted}." if resolved else "It is back: reopened.")
    if before["severity"] != now["severity"]:
        said.append(f"Severity changed from {before['severity']} to {now['severity']}.")
    if before["cause"] != now["cause"]:
        said.append(f"The most likely cause is now {now['cause']}, no longer {before['cause']}.")
    if added := [name for name in now["services"] if name not in before["services"]]:
        said.append(f"Now also affected: {', '.join(added)}.")
    if now["fix"] and before.get("fix") != now["fix"]:
        said.append(f"Fixed by: {now['fix']}")
    return said


def state(incident: Incident) -> dict[str, Any]:
    """What `changes` compares."""
    return {
        "status": incident.status,
        "severity": incident.severity,
        "cause": _text.brief(_text.cause(incident), 80),
        "services": [_text.brief(name, 80) for name in incident.services[:20]],
        "fix": _text.brief(incident.fix or "", 300),
    }


def _section(title: str, lines: Sequence[str]) -> dict[str, Any] | None:
    if not lines:
        return None
    heading = title if title.startswith("*") else f"*{title}*"
    each = max((MAX_SECTION - len(heading)) // len(lines) - 8, 40)
    text = "\n".join([heading, *(f"• {_text.fill(line, each, inert)}" for line in lines)])
    return _markdown(text)


def _markdown(text: str) -> dict[str, Any]:
    # Verbatim: an address in a log line does not become a link.
    return {"type": "section", "text": {"type": "mrkdwn", "text": text, "verbatim": True}}


def _lines(incident: Incident, samples: int) -> dict[str, Any] | None:
    if not samples or not incident.evidence:
        return None
    each = (MAX_SECTION - 40) // samples - 2
    lines = [
        _text.fill(f"{e.timestamp:%H:%M:%S} {_text.one_line(e.service)}  {_text.brief(e.body, 600)}", each, fenced)
        for e in incident.evidence[:samples]
    ]
    text = "\n".join(lines)
    return _markdown(f"*Lines*\n```\n{text}\n```")


def _foot(notification: Notification) -> str:
    incident, report = notification.incident, notification.report
    links = [("Open incident", notification.url or ""), *notification.source_links[:3]]
    parts = [f"<{url}|{inert(_text.brief(name, 60))}>" for name, raw in links if (url := _link(raw))]
    parts.append(f"since {incident.starts_at:%Y-%m-%d %H:%M} UTC")
    parts.append(f"incident {inert(_text.brief(incident.id, 40))}, revision {incident.revision}")
    if report.writer != "rules":
        parts.append(f"text generated by {inert(_text.brief(report.writer, 60))}, may be wrong")
    return " · ".join(parts)


def _link(url: str) -> str | None:
    # Inside <…> an ampersand is written as an entity, like everywhere in Slack's text.
    safe = _text.link(url)
    return escape(safe) if safe and len(safe) <= 700 else None


def _sign(incident: Incident) -> str:
    return "✅" if incident.status == "resolved" else SIGNS[incident.severity]


def _status(incident: Incident) -> str:
    return "Resolved" if incident.status == "resolved" else incident.severity.capitalize()


# --- Errors -------------------------------------------------------------------------------------------

REMEDIES: Mapping[str, str] = {
    "not_in_channel": "invite the bot to the channel",
    "channel_not_found": "give the channel's id, and invite the bot if the channel is private",
    "is_archived": "the channel is archived; name another",
    "missing_scope": "add the scope chat:write to the app and install it again",
    "invalid_auth": "the token is not valid; see token_file",
    "not_authed": "the token is missing; see token_file",
    "token_revoked": "the token was revoked; install the app again",
    "token_expired": "the token has expired; install the app again",
    "account_inactive": "the bot's account was deactivated; install the app again",
    "no_service": "the webhook was removed; make another",
    "channel_is_archived": "the channel is archived; make a webhook for another",
    "action_prohibited": "an administrator forbids posting there",
}
FORMAT = frozenset(
    {
        "invalid_blocks",
        "invalid_blocks_format",
        "msg_blocks_too_long",
        "msg_too_long",
        "too_many_attachments",
        "invalid_metadata_format",
        "metadata_too_large",
        "metadata_must_be_sent_from_app",
        "invalid_payload",
    }
)
"""What plain, short text answers."""

GONE = frozenset({"message_not_found", "cant_update_message", "edit_window_closed", "thread_not_found"})
BUSY = frozenset(
    {
        "ratelimited",
        "rate_limited",
        "message_limit_exceeded",
        "internal_error",
        "fatal_error",
        "service_unavailable",
        "request_timeout",
        "team_added_to_org",
        "rollup_error",
    }
)


class SlackError(Exception):
    """Slack's word for why it did not take a message."""

    def __init__(self, error: str) -> None:
        super().__init__(error)
        self.error = error


def failure(name: str, error: str, needed: str = "") -> TransientError | PermanentError:
    """What an error of Slack's means for us."""
    word = _text.brief(error, 80)
    if word in BUSY:
        return TransientError(f"sink {name}: Slack answers {word}")
    remedy = REMEDIES.get(word, "see the list of errors in Slack's documentation of chat.postMessage")
    more = f" (needed: {_text.brief(needed, 80)})" if needed else ""
    return PermanentError(f"sink {name}: Slack answers {word}{more}: {remedy}")


# --- Delivery -----------------------------------------------------------------------------------------


class Pace:
    """At most one post a second to a channel. It never sleeps: it says how long to wait."""

    def __init__(self, clock: Clock, every: timedelta = POST_EVERY) -> None:
        self._clock = clock
        self._every = every
        self._next: datetime | None = None

    def wait(self) -> timedelta:
        left = self._next - self._clock.now() if self._next else timedelta()
        return max(left, timedelta())

    def took(self) -> None:
        self._next = self._clock.now() + self._every

    def pause(self, wait: timedelta) -> None:
        """Slack asked for it: nobody posts until then."""
        until = self._clock.now() + wait
        self._next = max(until, self._next) if self._next else until


class SlackWebhook:
    """One message for each change that matters: an incoming webhook can do no more."""

    wants: Literal["every"] = "every"
    resend = None

    def __init__(self, settings: SlackSettings, context: Context) -> None:
        self.name = settings.name
        self._settings = settings
        self._pace = Pace(context.clock)
        self._client = Client(settings, f"sink {settings.name}")

    async def deliver(self, notification: Notification) -> str | None:
        before = _text.unpack(notification.receipt)
        if before.keys() != state(notification.incident).keys():
            before = {}
        said = changes(notification.incident, before) if before else ()
        if before and not said:
            return None
        _hold(self.name, self._pace.wait())
        body = message(notification, self._settings.samples, said)
        self._pace.took()
        try:
            await self._post(body)
        except SlackError as refused:
            if refused.error not in FORMAT:
                raise failure(self.name, refused.error) from refused
            await self._post_plain(notification)
        return _text.pack(state(notification.incident))

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
            raise TransientError(_text.conceal(str(error), url), error.retry_after) from None
        except Refused as refused:
            raise _worded(refused.answer, url) from None
        except PermanentError as error:
            raise PermanentError(_text.conceal(str(error), url)) from None

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

    def __init__(self, settings: SlackSettings, context: Context) -> None:
        self.name = settings.name
        self._settings = settings
        self._clock = context.clock
        self._pace = Pace(context.clock)
        self._client = Client(settings, f"sink {settings.name}")

    async def deliver(self, notification: Notification) -> str | None:
        posted = read_receipt(notification.receipt) or await self._find(notification)
        if posted is None:
            return write_receipt(await self._open(notification))
        known = posted.said.keys() == state(notification.incident).keys()
        said = changes(notification.incident, posted.said) if known else []
        since = notification.now - posted.edited
        wait = max(EDIT_EVERY - since, timedelta()) if since >= timedelta() else timedelta()
        # Both limits are asked before the first call: a half-told change would be told again.
        _hold(self.name, max(wait, self._pace.wait() if said else timedelta()))
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
        _hold(self.name, self._pace.wait())
        self._pace.took()
        try:
            answer = await self._say("chat.postMessage", notification, {"channel": self._settings.channel})
        except SlackError as refused:
            raise failure(self.name, refused.error) from refused
        if not answer.get("channel") or not answer.get("ts"):
            # It may be in the channel: the next attempt looks for it there.
            raise TransientError(f"sink {self.name}: Slack answers without saying where the message is")
        return Posted(str(answer["channel"]), str(answer["ts"]), notification.now, state(notification.incident))

    async def _edit(self, notification: Notification, posted: Posted) -> None:
        await self._say("chat.update", notification, {"channel": posted.channel, "ts": posted.ts})

    async def _reply(self, notification: Notification, posted: Posted, said: Sequence[str]) -> None:
        self._pace.took()
        text = _text.fill("\n".join(said), MAX_SECTION, inert)
        await self._call(
            "chat.postMessage",
            {
                "channel": posted.channel,
                # Always the message itself: a reply to a reply leaves the thread.
                "thread_ts": posted.ts,
                "text": text,
                "blocks": [_markdown(text)],
                "unfurl_links": False,
                "unfurl_media": False,
                "metadata": _metadata(notification),
            },
        )

    async def _say(self, method: str, notification: Notification, where: Mapping[str, Any]) -> dict[str, Any]:
        """The message in blocks; as plain text when Slack cannot take them."""
        whole = {**message(notification, self._settings.samples), "metadata": _metadata(notification), **where}
        try:
            return await self._call(method, whole)
        except SlackError as refused:
            if refused.error not in FORMAT:
                raise
        # An edit keeps the old blocks unless it is given none.
        bare = {"text": plain(notification), "blocks": [], "unfurl_links": False, "unfurl_media": False, **where}
        return await self._call(method, bare)

    async def _find(self, notification: Notification) -> Posted | None:
        """Our message of this incident in the channel, where we may read it: an answer may have been lost."""
        params = [("channel", str(self._settings.channel)), ("include_all_metadata", "true"), ("limit", "100")]
        try:
            answer = await self._call("conversations.history", None, params)
            for item in answer.get("messages", ()):
                metadata = item.get("metadata") or {}
                mine = metadata.get("event_type") == EVENT_TYPE
                if mine and metadata.get("event_payload", {}).get("incident_id") == notification.incident.id:
                    edited = notification.now - EDIT_EVERY
                    return Posted(str(self._settings.channel), str(item["ts"]), edited, {})
        except (SlackError, ExporterError, AttributeError, TypeError, KeyError):
            # Without the scope we may tell it twice, with the same event id; not telling it would be worse.
            return None
        return None

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
        who = f"{_text.brief(str(answer.get('user', '')), 80)} in {_text.brief(str(answer.get('team', '')), 80)}"
        return [Check(subject, True, f"is {who}")]

    async def close(self) -> None:
        await self._client.close()


def read_receipt(receipt: str | None) -> Posted | None:
    """Where the message is; None when nothing was posted yet."""
    try:
        posted = from_json(Posted, _text.unpack(receipt))
    except ValueError:
        return None
    return posted if isinstance(posted, Posted) else None


def write_receipt(posted: Posted) -> str:
    return _text.pack(to_json(posted))


def _worded(answer: Answer, url: str) -> SlackError | PermanentError:
    """Webhooks say what is wrong in one word of plain text; anything else is not Slack."""
    word = answer.text().strip()
    if re.fullmatch(r"[a-z_]{3,60}", word):
        return SlackError(word)
    said = _text.conceal(_text.brief(word, 200), url)
    return PermanentError(f"the Slack webhook answers {answer.status}: {said}; see webhook_url_file")


def _metadata(notification: Notification) -> dict[str, Any]:
    payload = {
        "incident_id": notification.incident.id,
        "revision": notification.incident.revision,
        "event_id": notification.event_id,
    }
    return {"event_type": EVENT_TYPE, "event_payload": payload}


def _hold(name: str, wait: timedelta) -> None:
    if wait > timedelta():
        raise TransientError(f"sink {name}: Slack's pace asks for {wait.total_seconds():g} s more", wait)
