"""Errors of the disk and of SQLite as sentences that name the remedy."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from exporter.model import NO_MORE_FILES, StateError, is_at_limit, may_open


class StateDamagedError(StateError):
    """The file cannot be read as it should be: its given rows may be saved."""


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn what the disk and SQLite raise into a StateError."""
    try:
        yield
    except (sqlite3.Error, OSError, OverflowError, UnicodeDecodeError) as error:
        kind = StateDamagedError if is_damage(error) else StateError
        raise kind(f"state file {path}: {_reason(error)}") from error


def is_damage(error: Exception) -> bool:
    # Names in a file whose bytes are wrong are no text.
    text = str(error).lower()
    damaged = isinstance(error, sqlite3.DatabaseError) and "malformed" in text and "json" not in text
    return damaged or isinstance(error, UnicodeDecodeError)


def _reason(error: Exception) -> str:
    text = str(error).lower()
    if "interrupted" in text:
        return "was closed while it was read"
    if "locked" in text:
        return "another program holds it (a shell of sqlite3, a copy that is being made); end that"
    if "closed database" in text:
        return "is closed"
    if "full" in text or "no space" in text or getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
        return "the disk is full; free some space, nothing already accepted is lost"
    # SQLite does not say why it was unable to.
    if is_at_limit(error) or ("unable to open" in text and not may_open()):
        return NO_MORE_FILES
    if "readonly" in text or "read-only" in text or "unable to open" in text or "permission" in text:
        return f"cannot be written ({error}); make its directory writable by user {os.getuid()}"
    if is_damage(error) or "not a database" in text:
        return (
            "is damaged, or no state file; restore a copy (`state restore FILE`), or move it away and start again: "
            "what is learnt is learnt anew"
        )
    if "no such table" in text or "no such column" in text or "has no column" in text:
        return f"{error}: it is not as this release made it; restore a copy (`state restore FILE`)"
    if isinstance(error, OverflowError):
        return f"holds a number that is out of range ({error}); restore a copy (`state restore FILE`)"
    return f"{error}; give a `state:` path in a directory that this process may write"
