"""Where the state file lies: who may read it, and that one process alone holds it."""

from __future__ import annotations

import fcntl
import logging
import os
import sqlite3
import stat
from contextlib import closing, suppress
from pathlib import Path
from typing import TextIO

from exporter.model import StateError

log = logging.getLogger(__name__)

PRIVATE = 0o600
PRIVATE_DIRECTORY = 0o700

BESIDE = ("-wal", "-shm", "-journal")
"""What SQLite keeps beside a file."""


class StateInUse(StateError):
    """Another process holds the state file."""


class Held:
    """A state file that this process holds: the lock is on the file itself, whatever names lead to it.

    It is one of flock(2), which SQLite's own locks do not touch; they would be lost with any descriptor of the file
    that is closed, so this one is closed last. The lock file beside it is that of the first releases, and is held so
    that none of them runs at the same time.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        make_directory(path.parent)
        self._beside = _lock_beside(path)
        try:
            self._descriptor = _locked(path)
        except BaseException:
            self._beside.close()
            raise

    def in_place(self) -> bool:
        """Whether the file that is held still is what its name leads to."""
        own = os.fstat(self._descriptor)
        try:
            found = self._path.stat()
        except OSError:
            return False
        return (own.st_dev, own.st_ino) == (found.st_dev, found.st_ino)

    def again(self) -> None:
        """Hold what the name leads to now, after the file was replaced by us."""
        descriptor = _locked(self._path)
        os.close(self._descriptor)
        self._descriptor = descriptor

    def close(self) -> None:
        """May be called again."""
        if not self._beside.closed:
            os.close(self._descriptor)
            self._beside.close()


def make_directory(directory: Path) -> None:
    """Make it for ourselves alone; one that is there stays as it is. Warns where others may write into it."""
    if not directory.exists():
        directory.mkdir(mode=PRIVATE_DIRECTORY, parents=True, exist_ok=True)
    if directory.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        log.warning("others may write into %s, where the state file is: they may replace it", directory.absolute())


def make_private(path: Path) -> None:
    """Nobody but its owner may read a file, and what lies beside it: secrets may have slipped through redaction."""
    for name in (path, *(path.with_name(path.name + ending) for ending in BESIDE)):
        with suppress(FileNotFoundError):
            if stat.S_IMODE(name.stat().st_mode) & 0o077:
                name.chmod(PRIVATE)


def copied(source: sqlite3.Connection, target: Path) -> None:
    """All of a file, its write-ahead log included, as one file. The copy has its name only once it is whole."""
    part = target.with_name(f"{target.name}.part")
    part.unlink(missing_ok=True)
    part.touch(mode=PRIVATE)
    with closing(sqlite3.connect(part)) as copy:
        source.backup(copy)
        copy.execute("PRAGMA journal_mode = DELETE")
    part.replace(target)


def write_private(path: Path, text: str) -> None:
    """Write a file that nobody but its owner may read."""
    path.touch(mode=PRIVATE)
    path.chmod(PRIVATE)
    path.write_text(text)


def without_companions(path: Path) -> None:
    """Remove what SQLite left beside a file that is replaced: it belongs to the old one."""
    for ending in BESIDE:
        path.with_name(path.name + ending).unlink(missing_ok=True)


def _locked(path: Path) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, PRIVATE)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise StateError(f"state file {path} is no regular file; give another `state:` path")
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise in_use(path, "") from error
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _lock_beside(path: Path) -> TextIO:
    """The kernel releases it with the process."""
    name = path.with_name(path.name + ".lock")
    file = os.fdopen(os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE), "r+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = file.read().strip()
        file.close()
        raise in_use(path, holder) from error
    make_private(name)
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return file


def in_use(path: Path, holder: str) -> StateInUse:
    who = f"process {holder}" if holder.isdigit() else "another process"
    return StateInUse(f"state file {path} is in use by {who}: stop it, or give another `state:` path")
