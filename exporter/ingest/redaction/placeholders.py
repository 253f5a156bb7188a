"""What stands where something was hidden."""

from __future__ import annotations

import re
from hashlib import blake2b

PLACEHOLDER = re.compile(r"<[a-z][a-z0-9_]{0,31}:[0-9a-f]{6}>")

WITHHELD = "[line withheld: redaction failed]"
"""Stands for a line that could not be redacted: fail closed."""


def placeholder(key: bytes, name: str, secret: str) -> str:
    """Equal values of an installation get equal placeholders, by a keyed hash."""
    value = secret.encode("utf-8", "surrogatepass")
    return f"<{name}:{blake2b(value, key=key, digest_size=3).hexdigest()}>"
