"""How commands on this machine reach the daemon that holds a state file: its address, and a token of this run."""

from __future__ import annotations

import json
import logging
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from exporter.state.place import PRIVATE

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Contact:
    """Who can read the file that holds it may do what the token of the configuration allows."""

    url: str
    token: str


def new_token() -> str:
    return secrets.token_urlsafe(24)


@contextmanager
def reachable(state: Path, contact: Contact) -> Iterator[None]:
    """While the block runs, say beside the state file how to reach the daemon; without room, do without."""
    path = _path(state)
    try:
        path.unlink(missing_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE)
        with open(descriptor, "w") as file:
            json.dump(asdict(contact), file)
    except OSError as error:
        log.warning("%s: %s; `incidents resolve` needs web.token_file meanwhile", path, error.strerror)
    try:
        yield
    finally:
        with suppress(OSError):
            path.unlink(missing_ok=True)


def contact_of(state: Path) -> Contact | None:
    """How to reach the daemon that holds a state file; None where it does not say, or not to us."""
    try:
        found = json.loads(_path(state).read_text())
        return Contact(str(found["url"]), str(found["token"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _path(state: Path) -> Path:
    return state.with_name(f"{state.name}.daemon")
