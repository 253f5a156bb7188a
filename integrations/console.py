"""Incidents on standard output: for people, as `exporter.wording.terminal` says it, or as NDJSON for programs."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from datetime import timedelta
from typing import IO, Annotated, Any, Literal

from pydantic import Field

from exporter.model import (
    Check,
    Context,
    Digest,
    NoticeTold,
    Notification,
    PermanentError,
    SinkSettings,
    TransientError,
    Unit,
)
from exporter.wording.terminal import render, render_digest, render_notice
from integrations._events import notice_payload, payload


class ConsoleSettings(SinkSettings):
    """Incidents on standard output: for people who try things, or for the next program of a pipe."""

    type: Literal["console"]
    name: str = "console"
    color: bool | None = None
    """Colours; by default where standard output is a terminal and NO_COLOR is not set."""
    width: Annotated[int, Unit("columns")] | None = Field(default=None, ge=40, le=400)
    """Columns; by default those of the terminal, or 100."""
    format: Literal["text", "ndjson"] = "text"
    """`ndjson`: each change as a line of JSON, with the whole incident, its facts and its report, as webhooks are sent
    it; never as a digest."""

    def build(self, context: Context) -> ConsoleSink | NdjsonSink:
        return NdjsonSink(self) if self.format == "ndjson" else ConsoleSink(self)

    @staticmethod
    def preview(notification: Notification) -> str:
        """What would be sent, with nothing sent before."""
        return render(notification.incident, notification.report, notification.url)


class Printing:
    """Standard output, or what stands for it."""

    resend = None
    peer = ""
    concurrency = 1

    def __init__(self, settings: ConsoleSettings, output: IO[str] | None = None) -> None:
        self.name = settings.name
        self._settings = settings
        self._output = output

    @property
    def _stream(self) -> IO[str]:
        return self._output or sys.stdout

    async def _print(self, text: str) -> None:
        # A terminal that somebody has stopped (Ctrl-S) blocks its writer.
        await asyncio.to_thread(self._write, text + "\n")

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except BrokenPipeError as error:
            raise PermanentError(f"sink {self.name}: nobody reads standard output any more") from error
        except (OSError, ValueError) as error:
            raise TransientError(f"sink {self.name}: standard output cannot be written: {error}") from error

    async def check(self) -> Sequence[Check]:
        return [Check("standard output", not self._stream.closed, "is written to")]

    async def close(self) -> None:
        """Nothing is held."""


class ConsoleSink(Printing):
    """Prints each change of each incident for people."""

    wants: Literal["every"] = "every"
    digest_every = timedelta(minutes=5)

    async def deliver(self, notification: Notification) -> str | None:
        color, width = self._settings.color, self._settings.width
        await self._print(
            render(
                notification.incident,
                notification.report,
                notification.url,
                color=color,
                width=width,
                output=self._stream,
                short=notification.change == "resolved",
            )
        )
        return None

    async def deliver_digest(self, digest: Digest) -> str | None:
        await self._print(render_digest(digest, self._stream))
        return None

    async def deliver_notice(self, told: NoticeTold) -> None:
        await self._print(render_notice(told, self._stream))


class NdjsonSink(Printing):
    """Prints each change of each incident for programs, a line of JSON each."""

    wants: Literal["every"] = "every"

    async def deliver(self, notification: Notification) -> str | None:
        await self._print(line_of(payload(notification)))
        return None

    async def deliver_notice(self, told: NoticeTold) -> None:
        await self._print(line_of(notice_payload(told)))


def line_of(value: dict[str, Any]) -> str:
    """JSON of ASCII alone: no byte of it can be a command to a terminal, or end the line."""
    return json.dumps(value, separators=(",", ":"))
