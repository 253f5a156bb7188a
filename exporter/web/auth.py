"""Who may do what: bearer tokens, basic passwords and Grafana's signatures, compared in constant time."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

from aiohttp import web

from exporter.model import EPOCH
from exporter.web.settings import GrafanaSignatureSettings

REPLAY_WINDOW = timedelta(minutes=5)
"""How far the time of a signed request may be from ours: an older one may be a copy that somebody sends again."""


Tokens = Callable[[], tuple[str, ...]]
"""The tokens of now. Raises ConfigError where their file cannot be read."""


def require_write(request: web.Request, tokens: Tokens, basic: bool = False, own: str = "", where: str = "web") -> None:
    """Let a request with the token pass, else raise 401, or 403 when no token is configured at all.

    `own` is a token that nobody configured, for commands on this machine; `where` is the block of the settings.
    """
    if own and _carries(request, (own,), basic=False):
        return
    known = tokens()
    if not known:
        raise web.HTTPForbidden(
            text=f"This is shut, for no token is configured; set {where}.token_file or {where}.token."
        )
    if not _carries(request, known, basic):
        raise web.HTTPUnauthorized(
            text=f"Send the token of {where}.token_file as `Authorization: Bearer TOKEN`.",
            headers={"WWW-Authenticate": "Bearer"},
        )


def require_read(request: web.Request, read_tokens: Tokens, tokens: Tokens) -> None:
    """Let everybody pass where no read token is configured, else only who has one, or one that may write."""
    known = read_tokens()
    if known and not _carries(request, known, basic=True) and not _carries(request, tokens(), basic=True):
        raise web.HTTPUnauthorized(
            text="These pages ask for the read token: as a bearer token, or as the password of any user.",
            headers={"WWW-Authenticate": 'Basic realm="log-anomaly-exporter", charset="UTF-8"'},
        )


def claims(request: web.Request) -> bool:
    """Whether a request shows a token, right or wrong."""
    return "Authorization" in request.headers


def is_known(request: web.Request, tokens: Iterable[str]) -> bool:
    """Whether a request shows one of these tokens."""
    return claims(request) and _carries(request, tuple(tokens), basic=True)


def signed_by_grafana(
    request: web.Request, body: bytes, settings: GrafanaSignatureSettings | None, now: datetime
) -> bool:
    """Whether Grafana Alerting has signed these bytes, and, where it signs the time too, within REPLAY_WINDOW."""
    if settings is None:
        return False
    given = request.headers.get(settings.header, "").strip().lower()
    signed = body
    if settings.timestamp_header:
        stamp = request.headers.get(settings.timestamp_header, "")
        if not _is_recent(stamp, now):
            return False
        signed = stamp.encode() + b":" + body
    key = settings.key()
    return bool(key) and _equal(given, hmac.new(key, signed, hashlib.sha256).hexdigest())


def _is_recent(stamp: str, now: datetime) -> bool:
    try:
        return abs(now - (EPOCH + timedelta(seconds=int(stamp)))) <= REPLAY_WINDOW
    except (ValueError, OverflowError):
        return False


def _carries(request: web.Request, tokens: tuple[str, ...], basic: bool) -> bool:
    given = _token(request.headers.get("Authorization", ""), basic)
    # All are compared: how long it takes must not tell which one fitted.
    return sum(_equal(given, token) for token in tokens) > 0


def _token(authorization: str, basic: bool) -> str:
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if basic and scheme.lower() == "basic":
        try:
            return base64.b64decode(value.strip(), validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError):
            return ""
    return ""


def _equal(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), expected.encode("utf-8", "surrogateescape"))
