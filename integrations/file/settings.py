"""What exporter.yml says about files."""

from __future__ import annotations

import re
from typing import Annotated, Literal

import polars as pl
from pydantic import Field, field_validator

from exporter.model import OneOrMore, RecordSourceSettings, Unit
from exporter.reading.encodings import UTF8, codec_of
from exporter.reading.patterns import problem

GROUPS = ("service", "severity", "timestamp", "trace", "session", "host", "body")
"""Columns that a pattern over lines of text can fill."""


class FileOptions(RecordSourceSettings):
    """What can be said of files, and of lines that nobody has parsed yet."""

    MAY_CHANGE = RecordSourceSettings.MAY_CHANGE | {"max_files"}

    type: Literal["file"] = "file"
    path: OneOrMore
    """Files, directories (with all below them) or patterns such as /var/log/shop/*.log; what a file has been rotated to
    belongs to it."""
    exclude: tuple[str, ...] = ()
    """Patterns of files that are left out, such as `*.bak`."""
    max_files: Annotated[int, Unit("files")] = Field(default=10_000, ge=1)
    """Of more, the newest are read."""
    format: Literal["auto", "text", "ndjson", "parquet"] = "auto"
    """What the files hold; `auto` tells by their first bytes."""
    service: str | None = None
    """The service of lines that name none; default: found in the name of the file."""
    pattern: str | None = None
    r"""A regular expression over lines of text with named groups: `\[(?P<service>\w+)\]`. Groups are service,
    severity, timestamp, trace, session, host and body."""
    encoding: str | None = None
    """What text is written in, such as windows-1252. Default: UTF-8, or what its bytes look like where that is none."""
    timezone: str = "UTC"
    """Of times that name none, such as Europe/Berlin."""

    @field_validator("timezone")
    @classmethod
    def _known(cls, value: str) -> str:
        try:
            pl.Series([None], dtype=pl.Datetime("ns")).dt.replace_time_zone(value)
        except pl.exceptions.PolarsError as error:
            raise ValueError(f"{value!r} is no time zone; write one such as UTC or Europe/Berlin") from error
        return value

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, value: str | None) -> str | None:
        try:
            return value if value is None or codec_of(value) != UTF8 else UTF8
        except LookupError as error:
            raise ValueError(f"{value!r} is no encoding; write one such as utf-8, windows-1252 or gb18030") from error

    @field_validator("pattern")
    @classmethod
    def _groups(cls, value: str | None) -> str | None:
        if value is None:
            return None
        if reason := problem(value):
            raise ValueError(f"{reason}: {value[:200]!r}")
        names = set(re.findall(r"\(\?P?<(\w+)>", value))
        # Earlier releases knew the group span and made nothing of it: a pattern that has it means what it meant.
        if not names or names - {*GROUPS, "span"}:
            raise ValueError(f"needs named groups out of {', '.join(GROUPS)}")
        return value
