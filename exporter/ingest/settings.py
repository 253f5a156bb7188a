"""What decides how lines are reduced."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Self

from pydantic import Field, field_validator

from exporter.ingest.redaction import RedactionSettings
from exporter.model import Duration, Settings, SourceSettings, Unit
from exporter.reading.patterns import problem


class LineSettings(Settings):
    """What of a line is looked at."""

    max_line_chars: Annotated[int, Unit("characters")] = Field(default=4_096, ge=64, le=65_536)
    """Characters of a line that are looked at."""
    multiline: bool = True
    """Whether a line may continue the one before it: frames of a stack trace are neither counted nor mined."""
    drop_stack_frames: bool = True
    """Whether a trace inside one record loses its frames first."""


class ReductionSettings(LineSettings):
    """What `reduce` needs to know of a source."""

    window: Duration = timedelta(seconds=60)
    session_pattern: str | None = None
    """Where the source gives no session: a regular expression; its first group is the key."""
    redaction: RedactionSettings = RedactionSettings()
    redaction_key: bytes = Field(default=b"", repr=False, exclude=True)
    """Of the installation; without one, a key of this process alone."""

    @field_validator("session_pattern")
    @classmethod
    def _compiles(cls, value: str | None) -> str | None:
        return session_pattern(value) if value is not None else None

    @classmethod
    def of(cls, source: SourceSettings, lines: LineSettings, redaction: RedactionSettings, key: bytes) -> Self:
        """What a source's, the miner's and the redactor's configuration say."""
        return cls(
            window=source.window,
            session_pattern=source.sessions.pattern if source.sessions else None,
            **{name: getattr(lines, name) for name in LineSettings.model_fields},
            redaction=redaction,
            redaction_key=key,
        )


def session_pattern(value: str) -> str:
    """The pattern, if it can find keys. Raises ValueError."""
    if reason := problem(value):
        raise ValueError(f"{reason}: {value[:200]!r}")
    return value
