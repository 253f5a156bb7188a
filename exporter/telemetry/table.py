"""The table of metrics: the only place where one is made.

Code counts by the short name of the table; Prometheus sees `log_anomaly_exporter_<name>`, with `_total` after counters.
Labels come from the configuration or from our own code, never from log text or a payload, so the number of series is
bounded: a service is never a label.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

PREFIX = "log_anomaly_exporter_"

Kind = Literal["counter", "gauge", "histogram"]

# Seconds. The SDK's own boundaries are meant for milliseconds.
FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
NETWORK = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


@dataclass(frozen=True)
class MetricSpec:
    """One metric: what kind it is, its unit (UCUM), what it says, its labels, and the boundaries of its buckets.

    `known` has the values of labels that are known beforehand: such a counter is there, at zero, from the start, so
    that the first increment is an increase that a rule can see.
    """

    kind: Kind
    unit: str
    description: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    known: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def _counter(description: str, *labels: str, unit: str = "", **known: tuple[str, ...]) -> MetricSpec:
    """Labels that are named with their values are `known`."""
    return MetricSpec("counter", unit, description, (*labels, *known), known=known)


def _gauge(description: str, *labels: str, unit: str = "") -> MetricSpec:
    return MetricSpec("gauge", unit, description, labels)


def _seconds(description: str, *labels: str, buckets: tuple[float, ...] = NETWORK) -> MetricSpec:
    return MetricSpec("histogram", "s", description, labels, buckets)


METRICS: Mapping[str, MetricSpec] = {
    # Process
    "build_info": _gauge("Always 1; the version that runs.", "version"),
    "ready": _gauge("1 when warm-up is done and no source is stalled, else 0; the reasons stand on /-/warm."),
    "config_last_reload_successful": _gauge("Whether the configuration that was read last is in use."),
    "config_last_reload_success_timestamp_seconds": _gauge("When the configuration that is in use was read.", unit="s"),
    "heartbeat_timestamp_seconds": _gauge("When the scheduler last ran its shortest job.", unit="s"),
    "job_runs": _counter("Runs of a job, by outcome.", "task", outcome=("ok", "failed")),
    "job_seconds": _seconds("How long a job ran.", "task"),
    "clock_jumps": _counter(
        "Times that the machine's clock was set: ahead, which is doubted at first; back from there, which is over; and "
        "those that were followed.",
        outcome=("doubted", "over", "followed"),
    ),
    # Sources
    "source_lines_read": _counter("Log lines that a source returned.", "source"),
    "source_records_without": _counter(
        "Records of these that name no `service`, `severity`, `trace` or `host`.", "source", "field"
    ),
    "source_lines_dropped": _counter("Lines that were read but not judged, by reason.", "source", "reason"),
    "source_windows_sampled": _counter(
        "Windows that had more lines than `max_lines_per_window`, of which a sample was read.", "source"
    ),
    "source_lines_left_out": _counter("Lines that were not read, in windows of which a sample was.", "source"),
    "source_requests": _counter("Requests to a log store, by outcome.", "source", "outcome"),
    "source_store_seconds": _seconds("How long a log store says that it took for one of our queries.", "source"),
    "source_unusable_lines": _gauge(
        "Lines at the source that are in no range, by reason: no timestamp, or an impossible one.", "source", "reason"
    ),
    "source_polls": _counter(
        "Polls of a source, by outcome.", "source", outcome=("ok", "empty", "transient", "permanent")
    ),
    "source_poll_seconds": _seconds("How long a poll took: read, reduce, judge, commit.", "source"),
    "source_poll_overruns": _counter("Polls that were due while the one before still ran.", "source"),
    "source_read_through_timestamp_seconds": _gauge("Event time up to which a source is judged.", "source", unit="s"),
    "source_settled_through_timestamp_seconds": _gauge(
        "Event time up to which late lines are no longer looked for.", "source", unit="s"
    ),
    "source_lag_seconds": _gauge("Now minus the time up to which the source is judged.", "source", unit="s"),
    "source_stalled": _gauge("1 while a source is stalled: it holds the others' incidents back no more.", "source"),
    "source_gaps": _counter("Ranges that were given up, unread, and recorded as gaps.", "source"),
    "source_gap_seconds": _counter("Event time inside the gaps that were given up.", "source", unit="s"),
    "source_late_windows": _counter("Windows that were read again because late lines had come.", "source"),
    "source_lines_late": _counter(
        "Lines that came after their window had been judged, which was done again.", "source"
    ),
    "source_lines_too_late": _counter(
        "Lines that came after `late_window`, up to four times as late: they are in no judgement.", "source"
    ),
    "source_lateness_seconds": _gauge(
        "How long after its own time a line could be read, by quantile (0.5, 0.99) of the last hour's lines, "
        "where they carry when they were ingested.",
        "source",
        "quantile",
        unit="s",
    ),
    "source_lines_ahead": _gauge(
        "Lines of the last hour that were ingested before their own time: a clock is ahead.", "source"
    ),
    # Judging
    "windows_judged": _counter("Windows that were judged.", "source"),
    "judge_seconds": _seconds("How long judging one window took.", "source", buckets=FAST),
    "templates_new": _counter("Templates that were seen for the first time.", "source"),
    "mining_limited": _counter("Times a limit of the miner acted, by reason.", "source", "reason"),
    "detection_limited": _counter("Times a limit of detection acted, by reason.", "source", "reason"),
    "warmup_progress_ratio": _gauge("How much of warm-up is done, from 0 to 1.", "source", unit="1"),
    # Anomalies and incidents
    "anomalies": _counter("Anomalies found, by kind.", "source", kind=("window", "session", "absence", "gap")),
    "anomaly_score_max": _gauge("The highest score of an anomaly in the last window; 0 when none.", "source"),
    "alarm_threshold": _gauge("Strength from which an incident opens, set from alarm_budget."),
    "incidents_open": _gauge("Incidents that are firing."),
    "incidents_opened": _counter("Incidents opened, by severity.", severity=("info", "warning", "critical")),
    "incidents_resolved": _counter("Incidents resolved."),
    "incidents_reopened": _counter("Incidents that came back and were reopened."),
    "rules_hidden": _counter(
        "What a rule of people hid: findings that it took out, revisions that were told to nobody.", "rule"
    ),
    "incidents_suppressed": _counter(
        "Anomalies that ended without becoming an incident: too weak, or too short, by reason.",
        reason=("weak", "short"),
    ),
    # Telling
    "deliveries": _counter(
        "Deliveries to a sink, by outcome.",
        "sink",
        outcome=("ok", "transient", "permanent", "abandoned", "unexpected"),
    ),
    "delivery_seconds": _seconds("How long a delivery took.", "sink"),
    "delivery_queue": _gauge(
        "Incidents whose newest state a sink has not had; `peer` is which of its instances.",
        "sink",
        "peer",
    ),
    "sink_up": _gauge("0 while a sink, or one of its instances, does not answer, else 1.", "sink", "peer"),
    "rows_set_aside": _gauge(
        "Rows and documents that cannot be read and are skipped, by kind; the page names them.",
        "kind",
    ),
    "layer_requests": _counter("Requests that a served layer answered, by route and status.", "route", "status"),
    "layer_seconds": _seconds("How long a served layer took for a request.", "route"),
    "reports": _counter("Reports written, by writer.", writer=("rules", "model")),
    # Model, memory, redaction
    "llm_requests": _counter(
        "Requests to the language model, by outcome.", outcome=("ok", "transient", "permanent", "invalid")
    ),
    "llm_tokens": _counter(
        "Tokens of the language model, by direction and model.", "model", direction=("input", "output")
    ),
    "llm_claims_dropped": _counter("Claims of the model that were dropped, by reason.", "reason"),
    "llm_pieces_removed": _counter(
        "Numbers, names, times, quotations, commands and links that were taken out of the model's words, by kind.",
        "reason",
    ),
    "llm_seconds": _seconds("How long a request to the language model took."),
    "memory_requests": _counter(
        "Requests to the incident store, by operation (put, nearest, matching, sharing, delete, prune) and outcome.",
        "operation",
        "outcome",
    ),
    "memory_documents_dropped": _counter(
        "Documents that memory dropped, by reason: no room, older than `retention`, or asked for.",
        reason=("room", "age", "asked"),
    ),
    "memory_seconds": _seconds("How long recall took.", "operation", buckets=FAST),
    "redactions": _counter("Secrets and personal data replaced, by type.", "type"),
    # Web
    "web_refused": _counter(
        "Requests and connections that were refused, by reason: a wrong token, a foreign name, no HTTP, too many.",
        reason=("token", "host", "malformed", "full"),
    ),
    "webhook_requests": _counter(
        "Webhook requests, by outcome.",
        endpoint=("alertmanager", "change"),
        outcome=("accepted", "overloaded", "invalid", "unauthorized", "failed"),
    ),
    "webhook_alerts": _counter(
        "Alerts that webhooks brought, by outcome.",
        outcome=("accepted", "duplicate", "own", "resolved", "overloaded"),
    ),
    # State
    "state_bytes": _gauge("Size of the state file and its write-ahead log.", unit="By"),
    "state_errors": _counter("Jobs that failed because the state file could not be read or written."),
}


def exposed_names(name: str) -> tuple[str, ...]:
    """The sample names under which Prometheus sees a metric of the table.

    >>> exposed_names("source_gaps")
    ('log_anomaly_exporter_source_gaps_total',)
    """
    spec = METRICS[name]
    unit = {"s": "seconds", "By": "bytes"}.get(spec.unit, "")
    full = PREFIX + (name if not unit or name.endswith(f"_{unit}") else f"{name}_{unit}")
    if spec.kind == "histogram":
        return (f"{full}_bucket", f"{full}_count", f"{full}_sum")
    return (f"{full}_total",) if spec.kind == "counter" else (full,)


def reference() -> str:
    """The page of all metrics, as Markdown."""
    lines = [
        "# Metrics",
        "",
        "Every metric of `/metrics`, as `python -m exporter.telemetry` prints them. Where the values of a label are",
        "known beforehand they are there at zero from the start, so that a rule sees the first increment.",
        "",
        "| metric | kind | labels | what it says |",
        "|---|---|---|---|",
    ]
    for name, spec in METRICS.items():
        labels = ", ".join(
            f"`{label}` ({', '.join(spec.known[label])})" if label in spec.known else f"`{label}`"
            for label in spec.labels
        )
        shown = exposed_names(name)[0].removesuffix("_bucket")
        lines.append(f"| `{shown}` | {spec.kind} | {labels} | {spec.description} |")
    return "\n".join([*lines, ""])
