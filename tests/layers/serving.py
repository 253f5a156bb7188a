"""Serve a layer in this process for the length of a test, and the settings of who asks it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from pydantic import SecretStr

from exporter.memory.recall import Memory
from exporter.model import ReportWriter, SystemClock
from exporter.model.layers import LayerService
from exporter.run.serving import MemoryService, ReportService
from exporter.telemetry import PrometheusTelemetry
from exporter.web.layers import serve_layer
from exporter.web.settings import Guarded, MemoryServiceSettings, ReportServiceSettings
from integrations.remote_memory import RemoteMemorySettings
from integrations.remote_report import RemoteReportSettings
from tests.servers.process import PATIENCE

TOKEN = "a token of this layer"


@asynccontextmanager
async def served(
    service: LayerService, telemetry: PrometheusTelemetry | None = None, **options: Any
) -> AsyncIterator[str]:
    """The address of a layer, on a free port."""
    kind = MemoryServiceSettings if service.name == "memory" else ReportServiceSettings
    settings = kind(**{"listen": "127.0.0.1:0", "token": SecretStr(TOKEN), **options})
    async with serve_layer(service, lambda: Guarded(settings), telemetry or PrometheusTelemetry()) as url:
        yield url


@asynccontextmanager
async def served_memory(memory: Memory, **options: Any) -> AsyncIterator[RemoteMemorySettings]:
    """What somebody is told who asks a memory."""
    telemetry = PrometheusTelemetry()
    service = MemoryService(memory, str, telemetry, SystemClock())
    async with served(service, telemetry, **options) as url:
        yield RemoteMemorySettings(type="remote", url=url, token=SecretStr(TOKEN), timeout=timedelta(seconds=PATIENCE))
    await memory.close()


@asynccontextmanager
async def served_reports(writer: ReportWriter | None, **options: Any) -> AsyncIterator[RemoteReportSettings]:
    """What somebody is told who asks for reports."""
    telemetry = PrometheusTelemetry()
    async with served(ReportService(writer, str, telemetry), telemetry, **options) as url:
        yield RemoteReportSettings(type="remote", url=url, token=SecretStr(TOKEN), timeout=timedelta(seconds=PATIENCE))
