"""When incidents are told as a digest instead of one by one, and how anything is told."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta

Ask = Callable[[Callable[[], Awaitable[str | None]]], Awaitable[str | None]]
"""Makes a delivery: with its deadline, counted."""


@dataclass(frozen=True)
class DigestRules:
    """At most `above` incidents a minute are told one by one to people; `after` is how long an outage of ours may last
    before what came and went in it pages nobody.
    """

    above: int = 10
    after: timedelta = timedelta(hours=6)
