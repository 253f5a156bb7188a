"""One line in our own log for everything that leaves the process: when, where to, how much, what was redacted in it."""

from __future__ import annotations

import logging
import re
from collections import Counter
from typing import Any

from exporter.model.rows import dumps

log = logging.getLogger("exporter.audit")

MAX_LOOKED_AT = 1 << 20
"""Characters in which placeholders are counted."""

_PLACEHOLDER = re.compile(r"<([a-z][a-z0-9_-]{1,30}):[0-9a-f]{4,16}>")


def audit(where: str, content: Any) -> None:
    """Note that `content` (text, bytes, or what is sent as JSON) leaves to a place; it is not written itself.

    What was redacted shows in it: a placeholder for each secret, which says its kind.
    """
    if not log.isEnabledFor(logging.INFO):
        return
    text = content if isinstance(content, (str, bytes)) else dumps(content)
    size = len(text.encode("utf-8", "replace") if isinstance(text, str) else text)
    shown = text[:MAX_LOOKED_AT].decode("utf-8", "replace") if isinstance(text, bytes) else text[:MAX_LOOKED_AT]
    log.info("left to %s: %d bytes, redacted: %s", where, size, _said(placeholders(shown)))


def placeholders(text: str) -> Counter[str]:
    """How many secrets of each kind were replaced in a text.

    >>> placeholders("<email:3fa9c1> asked <email:77aa01> for <token:5e1c00>")
    Counter({'email': 2, 'token': 1})
    """
    return Counter(match[1] for match in _PLACEHOLDER.finditer(text))


def _said(found: Counter[str]) -> str:
    return ", ".join(f"{amount} {kind}" for kind, amount in sorted(found.items())) or "nothing"
