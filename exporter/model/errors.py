"""The errors that a person may have to read."""

from __future__ import annotations

from datetime import timedelta


class ExporterError(Exception):
    """Base of every error that a person may have to read: it names the place and the remedy."""


class ConfigError(ExporterError):
    """What the operator wrote cannot work; the message says where, why, and what would."""


class TransientError(ExporterError):
    """Trying again later may succeed: a time-out, 429, 5xx, a partial answer."""

    def __init__(self, message: str, retry_after: timedelta | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class NotYetError(TransientError):
    """Nothing failed and nothing was sent: the place wants no more than so much at a time, or must be asked first."""


class PermanentError(ExporterError):
    """Trying again would fail the same way: 401, 404, a payload that is refused."""


class TooLongError(PermanentError):
    """A model takes less at once than it was given; a shorter question may be answered."""


class WriterFailedError(ExporterError):
    """There is no report of a model's: why, and how long it asked to be left alone.

    `answered` is true when it did answer: asked the same again, it would most likely say the same. `passing` is true
    where the place failed, and not the question.
    """

    def __init__(
        self, why: str, retry_after: timedelta | None = None, answered: bool = False, passing: bool = False
    ) -> None:
        super().__init__(why)
        self.retry_after = retry_after
        self.answered = answered
        self.passing = passing


class StateError(ExporterError):
    """The state file cannot be used: locked, read-only, full, or of a newer version."""
