"""Incidents on standard output, for people who try things: what is printed is `exporter.wording.terminal`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from datetime import timedelta
from typing import IO, Annotated, Literal

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


class ConsoleSettings(SinkSettings):
    """Incidents on standard output, for people who try things."""

    type: Literal["console"]
    name: str = "console"
    color: bool | None = None
    """Colours; by default where standard output is a terminal and NO_COLOR is not set."""
    width: Annotated[int, Unit("columns")] | None = Field(default=None, ge=40, le=400)
    """Columns; by default those of the terminal, or 100."""

    def build(self, context: Context) -> ConsoleSink:
        return ConsoleSink(self)

    @staticmethod
    def preview(notification: Notification) -> str:
        """What would be sent, with nothing sent before."""
        return render(notification.incident, notification.report, notification.url)


class ConsoleSink:
    """Prints each change of each incident."""

    wants: Literal["every"] = "every"
    resend = None
    peer = ""
    concurrency = 1
    digest_every = timedelta(minutes=5)

    def __init__(self, settings: ConsoleSettings, output: IO[str] | None = None) -> None:
        self.name = settings.name
        self._settings = settings
        self._output = output

    async def deliver(self, notification: Notification) -> str | None:
        color, width = self._settings.color, self._settings.width
        text = render(
            notification.incident,
            notification.report,
            notification.url,
            color=color,
            width=width,
            output=self._stream,
            short=notification.change == "resolved",
        )
        # A terminal that somebody has stopped (Ctrl-S) blocks its writer.
        await asyncio.to_thread(self._print, text + "\n")
        return None

    async def deliver_digest(self, digest: Digest) -> str | None:
        await asyncio.to_thread(self._print, render_digest(digest, self._stream) + "\n")
        return None

    async def deliver_notice(self, told: NoticeTold) -> None:
        await asyncio.to_thread(self._print, render_notice(told, self._stream) + "\n")

    @property
    def _stream(self) -> IO[str]:
        return self._output or sys.stdout

    def _print(self, text: str) -> None:
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
