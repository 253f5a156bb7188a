"""What stands at a path where a file should: whoever named it is told why it is not read."""

from __future__ import annotations

import errno
import stat
from pathlib import Path

_KINDS = (
    (stat.S_ISDIR, "is a directory"),
    (stat.S_ISFIFO, "is a FIFO (a named pipe)"),
    (stat.S_ISCHR, "is a device"),
    (stat.S_ISBLK, "is a device"),
    (stat.S_ISSOCK, "is a socket"),
)


def odd(path: Path) -> str | None:
    """What a path leads to that is no ordinary file, or why it leads nowhere; None where a file is there, or nothing.

    >>> odd(Path("/dev/null")), odd(Path("/no/such/file"))
    ('is a device, not a file', None)
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return "is a link that leads nowhere" if path.is_symlink() else None
    except PermissionError:
        # Whoever opens it is told.
        return None
    except (OSError, ValueError) as error:
        return (
            "is a loop of links" if isinstance(error, OSError) and error.errno == errno.ELOOP else f"cannot be: {error}"
        )
    return next((f"{kind}, not a file" for is_kind, kind in _KINDS if is_kind(mode)), None)
