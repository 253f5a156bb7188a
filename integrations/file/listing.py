"""Which files there are: those that the paths name, and what these have been rotated to."""

from __future__ import annotations

import fnmatch
import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from exporter.model import NO_MORE_FILES, TransientError, may_open
from exporter.reading.paths import odd
from exporter.wording.text import one_line
from integrations.file.content import stream_of
from integrations.file.settings import FileOptions


@dataclass(frozen=True)
class Listing:
    """The files that are there, in order of their names, and why what was named beside them is not read."""

    files: list[tuple[Path, os.stat_result]]
    left_out: dict[Path, str]

    @property
    def reasons(self) -> str:
        return "; ".join(f"{one_line(str(path))}: {reason}" for path, reason in list(self.left_out.items())[:3])


def listed(settings: FileOptions, rotated: bool = True) -> Listing:
    """The files that the paths name, each once; with what they have been rotated to. Raises TransientError."""
    found: dict[tuple[int, int], tuple[Path, os.stat_result]] = {}
    left_out: dict[Path, str] = {}
    for pattern in settings.path:
        for path in sorted({*_matching(pattern), *(filter(_readable, _generations(pattern)) if rotated else ())}):
            if any(path.match(excluded) for excluded in settings.exclude):
                continue
            if reason := odd(path):
                # A pattern may name folders beside files.
                left_out |= {} if path.is_dir() else {path: reason}
                continue
            try:
                stat = path.stat()
            except FileNotFoundError:
                continue
            except OSError as error:
                left_out[path] = f"{error.strerror}; let the user of this process read it"
                continue
            if _readable(path):
                found.setdefault((stat.st_dev, stat.st_ino), (path, stat))
            else:
                left_out[path] = "not readable; let the user of this process read it"
    if not may_open():
        # A directory that could not be opened looked empty, and its lines as if there were none.
        raise TransientError(f"{', '.join(settings.path)}: {NO_MORE_FILES}")
    return Listing(sorted(found.values(), key=lambda item: item[0]), left_out)


def unreadable(patterns: Sequence[str]) -> int:
    """How many files that these have been rotated to may not be read."""
    rotated = {path for pattern in patterns for path in _generations(pattern)}
    return sum(not _readable(path) for path in rotated)


def _matching(pattern: str) -> Iterator[Path]:
    path = Path(pattern).expanduser()
    if path.is_dir():
        for folder, folders, names in os.walk(path):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            yield from (Path(folder, name) for name in names if not name.startswith("."))
    elif path.exists():
        yield path
    else:
        yield from (Path(name) for name in glob.iglob(str(path), recursive=True))


def _generations(pattern: str) -> Iterator[Path]:
    """Files whose log a path or pattern names, or named: after a rotation they are all that is left of it."""
    path = Path(pattern).expanduser()
    if path.is_dir() or stream_of(path) != str(path):
        return
    # A date stands behind the name, or between it and its ending.
    for beginning in {path, path.with_name(path.stem)} if path.name == glob.escape(path.name) else {path}:
        for name in glob.iglob(f"{beginning}*", recursive=True):
            stream = Path(stream_of(Path(name)))
            if stream.name != Path(name).name and fnmatch.fnmatchcase(stream.name, path.name):
                yield Path(name)


def _readable(path: Path) -> bool:
    return os.access(path, os.R_OK)
