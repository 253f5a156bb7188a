"""What cannot be read and was set aside: it is skipped, counted, and told with what to do about it."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

log = logging.getLogger(__name__)

MOST = 1_000
"""Things that are remembered one by one; of more, how many."""


@dataclass(frozen=True)
class SetAside:
    """One thing that cannot be read: of which kind (`news`, `incidents`, …), by which key, why, and what to do."""

    kind: str
    key: str
    reason: str
    remedy: str


class Aside:
    """All that was set aside since the start. What can be read again is read again: nothing is moved or changed."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], SetAside] = {}
        self._more: Counter[str] = Counter()

    def note(self, kind: str, key: str, error: Exception, remedy: str) -> None:
        """Remember it, and log it once."""
        if (kind, key) in self._found:
            return
        if len(self._found) >= MOST:
            self._more[kind] += 1
            return
        # Of what does not fit, pydantic quotes the values: they are foreign, and may be secret.
        reason = f"{type(error).__name__}: {error}" if not isinstance(error, ValueError) else "is not of its form"
        self._found[kind, key] = SetAside(kind, key[:200], reason[:300], remedy)
        log.warning("%s %s cannot be read and is skipped: %s; %s", kind, key[:200], reason[:300], remedy)

    def counts(self) -> Mapping[str, int]:
        """How many there are of each kind."""
        return Counter(kind for kind, _ in self._found) + self._more

    def all(self) -> tuple[SetAside, ...]:
        """Those that are remembered one by one, in the order in which they were found."""
        return tuple(self._found.values())
