"""Our own metrics are exposed under the names and labels of the table, and nothing else can be counted."""

from __future__ import annotations

import ast
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from prometheus_client.parser import text_string_to_metric_families

from exporter.model import ConfigError, Telemetry
from exporter.telemetry import METRICS, PREFIX, PrometheusTelemetry, TelemetrySettings, exposed_names, reference

ROOT = Path(__file__).parents[1]


@pytest.fixture
def telemetry() -> Iterator[PrometheusTelemetry]:
    made = PrometheusTelemetry()
    yield made
    made.close()


def fill(telemetry: Telemetry) -> None:
    """Touch every metric once."""
    for name, spec in METRICS.items():
        labels = dict.fromkeys(spec.labels, "x")
        if spec.kind == "counter":
            telemetry.count(name, 1, **labels)
        elif spec.kind == "gauge":
            telemetry.gauge(name, 1, **labels)
        else:
            telemetry.observe(name, 1, **labels)


def test_it_is_the_telemetry_that_everybody_counts_through(telemetry: PrometheusTelemetry) -> None:
    shared: Telemetry = telemetry
    shared.count("source_lines_dropped", 5, source="shop", reason="absent_timestamp")
    shared.count("source_lines_dropped", source="shop", reason="absent_timestamp")
    name = "log_anomaly_exporter_source_lines_dropped_total"
    assert telemetry.value(name, source="shop", reason="absent_timestamp") == 6


def test_every_metric_of_the_table_is_exposed_under_its_name_with_its_labels_alone(
    telemetry: PrometheusTelemetry,
) -> None:
    fill(telemetry)
    families = list(text_string_to_metric_families(telemetry.exposition()))
    seen = {
        sample.name: set(sample.labels) - {"le"}
        for family in families
        for sample in family.samples
        if not sample.name.endswith("_created")
    }
    expected = {exposed: set(spec.labels) for name, spec in METRICS.items() for exposed in exposed_names(name)}
    assert seen == expected
    assert all(family.documentation for family in families)


def test_names_follow_the_conventions_of_prometheus() -> None:
    for name, spec in METRICS.items():
        assert not name.endswith(("_total", "_count", "_sum", "_bucket")), name
        assert not name.startswith(PREFIX), name
        assert "service" not in spec.labels, f"{name}: services come from logs and are not bounded"
        assert not {"job", "instance", "le"} & set(spec.labels), f"{name}: Prometheus sets these labels itself"
        assert (spec.unit == "s") <= name.endswith("_seconds"), name
        assert (spec.unit == "By") <= ("bytes" in name), name
        assert (spec.kind == "histogram") == bool(spec.buckets), name
        assert list(spec.buckets) == sorted(set(spec.buckets)), name


def test_buckets_are_those_of_the_table(telemetry: PrometheusTelemetry) -> None:
    telemetry.observe("source_poll_seconds", 0.3, source="shop")
    bucket = "log_anomaly_exporter_source_poll_seconds_bucket"
    assert telemetry.value(bucket, source="shop", le="0.25") == 0
    assert telemetry.value(bucket, source="shop", le="0.5") == 1
    assert telemetry.value(bucket, source="shop", le="10000.0") is None


@pytest.mark.parametrize(
    ("verb", "name", "labels"),
    [
        ("count", "no_such_metric", {}),
        ("count", "source_gaps", {}),
        ("count", "source_gaps", {"source": "shop", "service": "cart"}),
        ("count", "ready", {}),
        ("gauge", "source_gaps", {"source": "shop"}),
        ("observe", "llm_requests", {"outcome": "ok"}),
    ],
)
def test_what_the_table_does_not_know_is_refused(
    telemetry: PrometheusTelemetry, verb: str, name: str, labels: dict[str, str]
) -> None:
    with pytest.raises(KeyError):
        getattr(telemetry, verb)(name, 1, **labels)


def test_a_value_that_is_no_number_leaves_the_last_one(telemetry: PrometheusTelemetry) -> None:
    telemetry.gauge("anomaly_score_max", 0.5, source="shop")
    telemetry.gauge("anomaly_score_max", float("nan"), source="shop")
    telemetry.observe("llm_seconds", float("inf"))
    assert telemetry.value("log_anomaly_exporter_anomaly_score_max", source="shop") == 0.5
    assert telemetry.value("log_anomaly_exporter_llm_seconds_count") is None


def test_counters_are_there_at_zero_before_anything_happens(telemetry: PrometheusTelemetry) -> None:
    polls, deliveries = PREFIX + "source_polls_total", PREFIX + "deliveries_total"
    assert telemetry.value(PREFIX + "incidents_resolved_total") == 0
    assert telemetry.value(PREFIX + "llm_requests_total", outcome="ok") == 0
    assert telemetry.value(polls, source="shop", outcome="permanent") is None
    telemetry.announce(["shop"], ["slack"])
    telemetry.count("source_polls", source="shop", outcome="ok")
    telemetry.announce(["shop"], ["slack"])
    assert telemetry.value(polls, source="shop", outcome="permanent") == 0
    assert telemetry.value(polls, source="shop", outcome="ok") == 1
    assert telemetry.value(deliveries, sink="slack", outcome="abandoned") == 0
    assert telemetry.value(PREFIX + "source_gaps_total", source="shop") == 0


def test_the_version_that_runs_is_exposed(telemetry: PrometheusTelemetry) -> None:
    assert "log_anomaly_exporter_build_info{version=" in telemetry.exposition()


def test_two_in_one_process_share_nothing(telemetry: PrometheusTelemetry) -> None:
    other = PrometheusTelemetry()
    other.count("incidents_resolved")
    assert telemetry.value("log_anomaly_exporter_incidents_resolved_total") == 0
    other.close()


def test_scrapes_from_many_threads_are_whole(telemetry: PrometheusTelemetry) -> None:
    fill(telemetry)
    answers: list[str] = []
    threads = [threading.Thread(target=lambda: answers.append(telemetry.exposition())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(answers)) == 1
    assert len(answers) == 8


def test_a_span_without_a_receiver_costs_nothing_and_lets_errors_through(telemetry: PrometheusTelemetry) -> None:
    with pytest.raises(ValueError, match="inside"), telemetry.span("poll shop", source="shop"):
        raise ValueError("inside")


class Receiver(HTTPServer):
    """Keeps what is posted to it."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), ReceiverHandler)
        self.posts: list[tuple[str, str | None, bytes]] = []


class ReceiverHandler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        import gzip

        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        self.server.posts.append((self.path, self.headers.get("Authorization"), body))
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_our_own_metrics_and_traces_are_pushed_where_configured(tmp_path: Path) -> None:
    secret = tmp_path / "authorization"
    secret.write_text("Bearer s3cret\n")
    receiver = Receiver()
    thread = threading.Thread(target=receiver.serve_forever, daemon=True)
    thread.start()
    telemetry = PrometheusTelemetry(
        TelemetrySettings(otlp_endpoint=f"http://127.0.0.1:{receiver.server_port}/", authorization_file=secret)
    )
    telemetry.count("source_gaps", source="shop")
    with telemetry.span("poll shop", source="shop"):
        pass
    telemetry.close()
    receiver.shutdown()
    receiver.server_close()
    assert {(path, auth) for path, auth, _ in receiver.posts} == {
        ("/v1/metrics", "Bearer s3cret"),
        ("/v1/traces", "Bearer s3cret"),
    }
    bodies = {path: body for path, _, body in receiver.posts}
    metrics = ExportMetricsServiceRequest.FromString(bodies["/v1/metrics"])
    assert "source_gaps" in str(metrics)
    resource = {item.key: item.value.string_value for item in metrics.resource_metrics[0].resource.attributes}
    assert resource["service.name"] == "log-anomaly-exporter"
    spans = ExportTraceServiceRequest.FromString(bodies["/v1/traces"])
    assert spans.resource_spans[0].scope_spans[0].spans[0].name == "poll shop"


def test_two_authorizations_are_refused(tmp_path: Path) -> None:
    secret = tmp_path / "authorization"
    secret.write_text("Bearer a")
    settings = TelemetrySettings.model_validate(
        {
            "otlp_endpoint": "http://127.0.0.1:1",
            "authorization_file": str(secret),
            "headers": {"authorization": "Bearer b"},
        }
    )
    with pytest.raises(ConfigError, match="give one"):
        PrometheusTelemetry(settings)


def counted_in_code() -> Iterator[tuple[str, str, str, frozenset[str] | None]]:
    """(place, verb, name, labels) of each call on a telemetry in our code; labels None when not written out."""
    for path in [*ROOT.glob("exporter/**/*.py"), *ROOT.glob("integrations/*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            # `telemetry.count(...)`, or `count(...)` where that was taken from a telemetry before.
            receiver, _, verb = ast.unparse(node.func).rpartition(".")
            if verb not in {"count", "gauge", "observe"} or not (receiver.endswith("telemetry") or not receiver):
                continue
            if not (node.args and isinstance(node.args[0], ast.Constant) and isinstance(node.args[0].value, str)):
                continue
            names = [keyword.arg for keyword in node.keywords if keyword.arg not in {"amount", "value"}]
            labels = None if None in names else frozenset(name for name in names if name)
            place = f"{path.relative_to(ROOT)}:{node.lineno}"
            yield place, verb, node.args[0].value, labels


def test_code_counts_only_what_the_table_knows() -> None:
    kinds = {"count": "counter", "gauge": "gauge", "observe": "histogram"}
    wrong = []
    for place, verb, name, labels in counted_in_code():
        spec = METRICS.get(name)
        if spec is None:
            wrong.append(f"{place}: {name} is not in the table")
        elif spec.kind != kinds[verb]:
            wrong.append(f"{place}: {name} is a {spec.kind}")
        elif labels is not None and labels != set(spec.labels):
            wrong.append(f"{place}: {name} has the labels {spec.labels}")
    assert not wrong, "\n".join(wrong)


def test_importing_the_table_does_not_import_opentelemetry() -> None:
    code = "import sys, exporter.telemetry; sys.exit(any(name.startswith('opentelemetry') for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_the_page_of_metrics_is_what_the_table_says() -> None:
    page = (ROOT / "docs" / "metrics.md").read_text()
    assert page == reference(), "run: python -m exporter.telemetry > docs/metrics.md"


def test_each_metric_of_the_table_is_set_by_the_product() -> None:
    sources = (file for top in ("exporter", "integrations") for file in (ROOT / top).rglob("*.py"))
    product = "\n".join(file.read_text() for file in sources if file.name != "table.py")
    own = {"build_info"}
    assert [name for name in METRICS if name not in own and f'"{name}"' not in product] == [
        "incidents_resolved",
        "incidents_reopened",
    ], "these two are put together from the change"
