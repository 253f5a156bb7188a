"""What is dropped is counted: a daemon whose limits act says so in its metrics, each with its reason."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from exporter.config import parse
from exporter.report.llm import write_with_llm
from exporter.report.rules import write
from exporter.run.assembly import assemble
from exporter.run.daemon import Daemon
from exporter.telemetry import PREFIX, PrometheusTelemetry
from tests import samples
from tests.report.test_model import REDACTOR, Scripted, answer, fact

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


class StoppedClock:
    def now(self) -> datetime:
        return NOW


async def test_what_limits_leave_out_is_counted_by_reason(tmp_path: Path) -> None:
    lines = [
        f"{NOW - number * SECOND:%Y-%m-%dT%H:%M:%SZ} {kind} number {number}"
        for number in range(600, 60, -1)
        for kind in ("order stored", "cart emptied", "mail sent")
    ]
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.log").write_text("\n".join(lines) + "\n")
    (tmp_path / "d.log").write_text("a line that says no time\n" * 3)
    settings = parse(
        {
            "state": str(tmp_path / "state.db"),
            "warmup": {"history": "10m"},
            "mining": {"max_templates": 2},
            "detection": {"max_entities": 1},
            "sources": [
                {"type": "file", "name": "logs", "path": f"{tmp_path}/*.log", "max_files": 3, "late_window": "1m"}
            ],
        }
    )
    telemetry = PrometheusTelemetry()
    assembly = assemble(settings, StoppedClock(), telemetry, sinks=[])
    try:
        daemon = Daemon(assembly, telemetry)
        await daemon.once()
        await daemon.housekeep()
        assembly.redactor.redact("ask jane.doe@example.org")
    finally:
        await assembly.close()
    said = telemetry.exposition()
    telemetry.close()
    for metric in (
        'source_lines_dropped_total{reason="max_files",source="logs"}',
        "source_unusable_lines{",
        "mining_limited_total{",
        "detection_limited_total{",
        'redactions_total{type="email"}',
    ):
        assert PREFIX + metric in said


async def test_claims_of_a_model_that_cite_nothing_are_counted() -> None:
    incident, telemetry = samples.incident(), PrometheusTelemetry()
    said = answer(fact("L1"), {"text": "It rained."})
    await write_with_llm(write(incident), incident, Scripted(said), REDACTOR, telemetry)
    assert f"{PREFIX}llm_claims_dropped_total{{" in telemetry.exposition()
    telemetry.close()
