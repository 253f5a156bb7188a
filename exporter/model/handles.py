"""Whether this process may open one more file: where not, libraries take a directory for empty, or a file for gone."""

from __future__ import annotations

import errno
import os

NO_MORE_FILES = "this process may open no more files; raise its limit (`ulimit -n`, LimitNOFILE=)"


def is_at_limit(error: BaseException) -> bool:
    """Whether an error says so."""
    return isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE)


def may_open() -> bool:
    """Whether it may now."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        return not is_at_limit(error)
    return True
