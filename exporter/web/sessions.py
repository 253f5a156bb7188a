"""Who has signed in on the pages: a cookie that only this server can have made, worth as much as the token behind it.

Nothing is kept of it here: it holds as long as that token is among the configured ones, and for LASTS at most.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import urlsplit

from aiohttp import web

from exporter.model import Clock, ConfigError
from exporter.model.times import seconds
from exporter.web.settings import Access
from exporter.wording.text import brief

COOKIE = "log-anomaly-exporter"
LASTS = timedelta(hours=12)
MAX_NAME = 80
MAX_COOKIE = 1_000
"""Characters of a cookie that is read."""


@dataclass(frozen=True)
class Session:
    """Somebody who has signed in: the name that they gave, and what every form of theirs must carry."""

    by: str
    form: str


class Sessions:
    """Makes and reads cookies."""

    def __init__(self, access: Callable[[], Access], clock: Clock) -> None:
        self._access = access
        self._clock = clock

    def opened(self, token: str, by: str) -> str | None:
        """The cookie of who knows a token; None for who does not. Raises ConfigError where no token can be read."""
        now = seconds(self._clock.now())
        payload = base64.urlsafe_b64encode(json.dumps([brief(by, MAX_NAME), now]).encode()).decode()
        known = [one for one in self._access().settings.tokens() if _same(one, token)]
        return f"{payload}.{_signed(known[0], 'session', payload)}" if known else None

    def of(self, request: web.Request) -> Session | None:
        """Who asks, where a cookie says so that holds now."""
        payload, _, signature = request.cookies.get(COOKIE, "")[:MAX_COOKIE].partition(".")
        if not signature:
            return None
        try:
            tokens = self._access().settings.tokens()
        except ConfigError:
            return None
        # All are compared, as where a token is shown.
        known = [one for one in tokens if _same(_signed(one, "session", payload), signature)]
        if not known:
            return None
        try:
            by, since = json.loads(base64.urlsafe_b64decode(payload))
        except (ValueError, binascii.Error):
            return None
        over = seconds(self._clock.now()) - since >= LASTS // timedelta(seconds=1)
        return None if over else Session(by, _signed(known[0], "form", payload))

    def give(self, request: web.Request, response: web.StreamResponse, cookie: str) -> None:
        """Let the browser keep it: for no script, no other site, and over TLS only where it came so."""
        response.set_cookie(
            COOKIE,
            cookie,
            max_age=LASTS // timedelta(seconds=1),
            path=self._path,
            secure=request.secure or request.headers.get("X-Forwarded-Proto", "").lower() == "https",
            httponly=True,
            samesite="Strict",
        )

    def take(self, response: web.StreamResponse) -> None:
        response.del_cookie(COOKIE, path=self._path)

    @property
    def _path(self) -> str:
        """Of the address that people reach us by, which may be below that of others."""
        return urlsplit(self._access().external_url or "").path.rstrip("/") + "/"

    def require(self, request: web.Request, form: str) -> Session:
        """Who sent a form of ours. Raises 403 for a form that another page may have sent, or that was not signed in."""
        self.require_ours(request)
        session = self.of(request)
        if session is None or not _same(session.form, form):
            raise web.HTTPForbidden(text="You are signed out by now: go back, reload the page and sign in again.")
        return session

    def require_ours(self, request: web.Request) -> None:
        """Raise 403 unless a page of ours sent this, as every browser says of a form."""
        said = request.headers.get("Sec-Fetch-Site", "same-origin")
        origin = urlsplit(request.headers.get("Origin", "")).netloc.lower()
        ours = {request.host.lower(), urlsplit(self._access().external_url or "").netloc.lower()}
        if said != "same-origin" or not origin or origin not in ours:
            raise web.HTTPForbidden(text="This form was sent by another page, or through a proxy: set external_url.")


def _signed(token: str, what: str, payload: str) -> str:
    return hmac.new(token.encode(), f"{what}\0{payload}".encode(), hashlib.sha256).hexdigest()


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode("utf-8", "surrogateescape"), other.encode("utf-8", "surrogateescape"))
