"""Slack's words for why it did not take a message, told apart; and its pace."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from exporter.model import Clock, NotYetError, PermanentError, TransientError
from exporter.wording.text import brief

POST_EVERY = timedelta(seconds=1)
"""What Slack allows for a channel."""

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
    word = brief(error, 80)
    if word in BUSY:
        return TransientError(f"sink {name}: Slack answers {word}")
    remedy = REMEDIES.get(word, "see the list of errors in Slack's documentation of chat.postMessage")
    more = f" (needed: {brief(needed, 80)})" if needed else ""
    return PermanentError(f"sink {name}: Slack answers {word}{more}: {remedy}")


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


def hold(name: str, wait: timedelta) -> None:
    if wait > timedelta():
        raise NotYetError(f"sink {name}: Slack's pace asks for {wait.total_seconds():g} s more", wait)
