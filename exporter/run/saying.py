"""What the log says of an installation: what is watched at a start, and of each source when it has learnt."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from exporter.config import Config
from exporter.flow.source import SourcePipeline
from exporter.model import SinkSettings, SourceSettings
from exporter.run.assembly import Assembly
from exporter.state.checkpoints import Checkpoint, learnt_from
from exporter.state.incidents import firing_count
from exporter.state.windows import lines_a_minute, services_known
from exporter.telemetry import product_version
from exporter.wording.text import duration, listed, number, percent


async def started(assembly: Assembly) -> str:
    """What runs, on which file, with how much at hand."""
    config, state = assembly.config, assembly.state
    firing = await firing_count(state)
    return (
        f"log-anomaly-exporter {product_version()}, state file {state.path.absolute()}, {firing} open incident"
        f"{'' if firing == 1 else 's'}; reads {_named('source', config.sources)}; "
        f"tells {_named('sink', config.sinks)}; "
        f"memory {config.memory.type}; {_model(config)}; budget {config.alarm_budget:g} incidents a day"
    )


async def ready(assembly: Assembly, pipeline: SourcePipeline, checkpoint: Checkpoint) -> str:
    """What is known of a source now that it may alarm."""
    spans = (await learnt_from(assembly.state)).get(pipeline.name, [])
    read = sum((span.duration for span in spans), timedelta(0))
    history = assembly.config.warmup.history
    services = (await services_known(assembly.state)).get(pipeline.name, 0)
    rate = await lines_a_minute(assembly.state, pipeline.name, checkpoint.read_through, pipeline.window)
    learnt = f"learnt from {duration(read)}, {percent(min(read / history, 1.0))} of the {duration(history)} before it"
    return (
        f"{pipeline.name}: watched: {number(services)} service{'' if services == 1 else 's'}, about {number(rate)} "
        f"lines a minute; {learnt if read else 'nothing was there to learn from'}"
        + (f"; {pipeline.learning}" if pipeline.learning else "")
    )


def _named(kind: str, items: Sequence[SourceSettings | SinkSettings]) -> str:
    names = [f"{item.name} ({item.type})" for item in items]
    return listed(names) if names else f"no {kind}"


def _model(config: Config) -> str:
    if config.report is not None:
        return f"reports {config.report.type}"
    return f"model {getattr(config.llm, 'model', config.llm.type)}" if config.llm else "no model"
