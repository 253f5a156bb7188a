"""Read the configuration again while the daemon runs: as a whole or not at all, and what did not change goes on."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from typing import Protocol

from exporter.config import Config
from exporter.model import ConfigError, ExporterError, Telemetry
from exporter.run.assembly import Assembly, assemble_again, secret_files
from exporter.run.learning import learn_anew

log = logging.getLogger(__name__)

Load = Callable[[], Config]
"""Reads exporter.yml. Raises ConfigError."""


class Running(Protocol):
    """Who runs the jobs of an assembly."""

    assembly: Assembly

    def use(self, assembly: Assembly) -> None: ...

    async def pause(self) -> None: ...

    def resume(self) -> None: ...


class Reloader:
    """Lets a daemon go on with what its configuration says now. Without `load` it cannot be read again."""

    def __init__(self, daemon: Running, telemetry: Telemetry, load: Load | None) -> None:
        self._daemon = daemon
        self._telemetry = telemetry
        self._load = load
        self._one_at_a_time = asyncio.Lock()
        self._begun: set[asyncio.Task[None]] = set()
        self._measure(True)

    def begin(self) -> None:
        """Reload when there is time; what is wrong is told to the log."""
        task = asyncio.create_task(self._try())
        self._begun.add(task)
        task.add_done_callback(self._begun.discard)

    def cancel(self) -> None:
        for task in self._begun:
            task.cancel()

    async def _try(self) -> None:
        with contextlib.suppress(ExporterError):
            await self.reload()

    async def reload(self) -> None:
        """Raises ConfigError where anything is wrong in it: then all goes on as before."""
        if self._load is None:
            raise ConfigError("there is no configuration to read again")
        async with self._one_at_a_time:
            try:
                config = await asyncio.to_thread(read_again, self._load, self._daemon.assembly.config)
                await self._go_on_with(await assemble_again(self._daemon.assembly, config))
            except ExporterError as error:
                log.error("the configuration was not read again, all goes on as before: %s", error)
                self._measure(False)
                raise
            self._measure(True)

    async def _go_on_with(self, assembly: Assembly) -> None:
        before = self._daemon.assembly
        try:
            await self._daemon.pause()
            await asyncio.to_thread(learn_anew, assembly.state, assembly.config)
        except BaseException:
            await assembly.part_from(before)
            raise
        else:
            self._daemon.use(assembly)
            await before.part_from(assembly)
            log.info("the configuration was read again: %s", changes(before.config, assembly.config))
        finally:
            self._daemon.resume()

    def _measure(self, well: bool) -> None:
        self._telemetry.gauge("config_last_reload_successful", float(well))
        if well:
            self._telemetry.gauge("config_last_reload_success_timestamp_seconds", time.time())


def read_again(load: Load, current: Config) -> Config:
    """What exporter.yml says now, with what can only change at a start as it is. Raises ConfigError.

    A secret file that cannot be read is an error, though nothing uses it yet.
    """
    config = load()
    unreadable = []
    for file in secret_files(config):
        try:
            file.read_bytes()
        except OSError as error:
            unreadable.append(f"secret file {file}: {error.strerror}; make it readable by this process")
    if unreadable:
        raise ConfigError("\n".join(unreadable))
    return _with_fixed(config, current)


def _with_fixed(config: Config, current: Config) -> Config:
    web = {"listen": current.web.listen, "client_max_size": current.web.client_max_size}
    waiting = [f"web.{name}" for name, value in web.items() if getattr(config.web, name) != value]
    fixed = {"state": current.state, "telemetry": current.telemetry}
    waiting += [name for name, value in fixed.items() if getattr(config, name) != value]
    if waiting:
        log.warning("reload: %s can only change at a start: as before until then", ", ".join(waiting))
    return config.model_copy(update={**fixed, "web": config.web.model_copy(update=web)})


def changes(before: Config, now: Config) -> str:
    """What a configuration says otherwise than the one before, for the log: names, no values.

    >>> from exporter.config import parse
    >>> source = {"type": "file", "name": "shop", "path": "/var/log/*.log"}
    >>> changes(parse({"sources": [source]}), parse({"sources": [{**source, "window": "5m"}], "alarm_budget": 2}))
    'alarm_budget, source shop'
    """
    others = type(now).model_fields.keys() - {"sources", "sinks"}
    names = sorted(name for name in others if getattr(before, name) != getattr(now, name))
    for kind, was, became in (("source", before.sources, now.sources), ("sink", before.sinks, now.sinks)):
        old, new = {one.name: one for one in was}, {one.name: one for one in became}
        names += [f"{kind} {name}" for name in sorted(old.keys() | new.keys()) if old.get(name) != new.get(name)]
    return ", ".join(names) or "nothing in it has changed"
