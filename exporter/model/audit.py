"""One line in our own log for everything that leaves the process: when, where to, how much, what was redacted in it."""

from __future__ import annotations

import logging
import re
from collections import Counter

log = logging.getLogger("exporter.audit")

MAX_LOOKED_AT = 1 << 20
"""Bytes in which placeholders are counted."""

_PLACEHOLDER = re.compile(r"(?:<|&lt;)([a-z][a-z0-9_-]{1,30}):[0-9a-f]{4,16}(?:>|&gt;)")
"""Also as places that take markup are sent it."""


def audit(where: str, content: bytes) -> None:
    """Note that `content`, before it is compressed, leaves to a place; it is not written itself.

    What was redacted shows in it: a placeholder for each secret, which says its kind. What a source is asked for its
    lines is not noted: it holds nothing of them, and warm-up asks thousands of times.
    """
    if log.isEnabledFor(logging.INFO):
        found = placeholders(content[:MAX_LOOKED_AT].decode("utf-8", "replace"))
        log.info("left to %s: %d bytes, redacted: %s", where, len(content), said(found))


def placeholders(text: str) -> Counter[str]:
    """How many secrets of each kind were replaced in a text.

    >>> placeholders("<email:3fa9c1> asked <email:77aa01> for <token:5e1c00>")
    Counter({'email': 2, 'token': 1})
    """
    return Counter(match[1] for match in _PLACEHOLDER.finditer(text))


def said(found: Counter[str]) -> str:
    """What was redacted, in words.

    >>> said(Counter(token=1, email=2))
    '2 email, 1 token'
    """
    return ", ".join(f"{amount} {kind}" for kind, amount in sorted(found.items())) or "nothing"
