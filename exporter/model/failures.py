"""The words that speak of a failure, and how bad it then is: the one list for whoever reads lines or templates."""

from __future__ import annotations

import re
from collections.abc import Mapping

from exporter.model.logs import Severity

WORDS: Mapping[Severity, str] = {
    Severity.FATAL: "fatal, panic, panicked, oom, oomkill*, out of memory*, segfault, segmentation fault, core dumped, "
    "kernel bug",
    Severity.ERROR: "*error, *errors, *exception*, *traceback*, *stack trace*, *fail, fails, *failed, failing, "
    "*failure, failures, cannot, could not, unable, *refused, *denied, *rejected, *unreachable, *unavailable, "
    "*timed out, time out, time outs, abort, *aborted, aborting, crash, crashed, crashes, crashing, crashloopbackoff, "
    "killed, corrupt, corrupted, corruption, deadlock, deadlocked, overflow, overflowed, exhausted, lost",
    Severity.WARN: "warn, warning, retry, retrying, slow, degraded, deprecated, missing, invalid, unexpected",
}
"""In small letters. A star stands for the rest of a longer word, as in ECONNREFUSED; a line may leave out a blank."""


def failure_in(text: str) -> int:
    """The severity of the worst failure of which a text speaks; 0 when it speaks of none.

    >>> failure_in("OOMKilled"), failure_in("connection refused"), failure_in("retrying"), failure_in("order stored")
    (21, 17, 13, 0)
    """
    return next((int(severity) for severity, words in _PATTERNS if words.search(text)), 0)


def _pattern(words: str) -> re.Pattern[str]:
    forms = "|".join(word.replace("*", r"\w*").replace(" ", " ?") for word in words.split(", "))
    return re.compile(rf"(?i)\b(?:{forms})\b")


_PATTERNS = [(severity, _pattern(words)) for severity, words in WORDS.items()]
