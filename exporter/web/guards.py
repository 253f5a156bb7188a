"""Who is answered, before anybody asks what: by which names we are called, and how often a token may be wrong."""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from exporter.web.settings import Guarded

FREE = 3
"""Wrong tokens from one address that cost nothing: a person mistypes."""

FIRST_WAIT, LONGEST_WAIT = 0.25, 8.0
"""Seconds: each wrong token of one address doubles what the next waits."""

FORGOTTEN_AFTER = 300.0
"""Seconds after its last wrong token that an address is as any other."""

MOST_ADDRESSES = 1_000
"""That are remembered; of more, those whose last wrong token is the oldest are forgotten."""


def is_our_name(host: str | None, access: Guarded) -> bool:
    """Whether a request that calls us so may be answered: any page of the web can let its name lead to our address.

    An address of IP is no such name, and what names nothing is no browser.

    >>> from exporter.web.settings import Access, WebSettings
    >>> ours = Access(WebSettings(hosts=("logs.corp",)), "https://anomalies.example.org/x")
    >>> [is_our_name(name, ours) for name in ("[::1]:9464", "localhost", "logs.corp:80", "anomalies.example.org.")]
    [True, True, True, True]
    >>> is_our_name("evil.example", ours)
    False
    """
    if not host:
        return True
    name = name_of(host)
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return name in {"localhost", name_of(urlsplit(access.external_url or "").netloc), *access.settings.hosts} - {""}
    return True


def name_of(host: str) -> str:
    """Without port and brackets, in small letters."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition("@")[2].partition(":")[0].lower().rstrip(".")


class WrongTokens:
    """Slows down whoever tries tokens: the answer to a wrong one comes later each time."""

    def __init__(
        self,
        passed: Callable[[], float] = time.monotonic,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._passed = passed
        self._pause = pause
        self._seen: OrderedDict[str, tuple[int, float]] = OrderedDict()

    async def wait(self, address: str) -> None:
        """After a wrong token of this address."""
        times = self._count(address)
        if times > FREE:
            await self._pause(min(FIRST_WAIT * 2 ** (times - FREE - 1), LONGEST_WAIT))

    def _count(self, address: str) -> int:
        now = self._passed()
        times, last = self._seen.pop(address, (0, now))
        times = times + 1 if now - last < FORGOTTEN_AFTER else 1
        self._seen[address] = times, now
        while len(self._seen) > MOST_ADDRESSES:
            self._seen.popitem(last=False)
        return times
