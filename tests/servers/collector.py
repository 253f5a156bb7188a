"""An OpenTelemetry collector, and the log records that it accepted."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.servers.builds import provision
from tests.servers.process import Server, free_port, listening, wait_until

# What it accepts goes on to us as OTLP in JSON, which is exact; its debug output, for people, is in its log.
# Without a queue it answers the sender only after we have the records.
CONFIG = """\
receivers:
  otlp:
    protocols:
      grpc: {{endpoint: "127.0.0.1:{grpc}"}}
      http: {{endpoint: "127.0.0.1:{http}"}}
exporters:
  debug: {{verbosity: detailed}}
  otlphttp:
    endpoint: "http://127.0.0.1:{sink}"
    encoding: json
    compression: none
    sending_queue: {{enabled: false}}
    retry_on_failure: {{enabled: false}}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines:
    logs: {{receivers: [otlp], exporters: [debug, otlphttp]}}
    traces: {{receivers: [otlp], exporters: [debug, otlphttp]}}
    metrics: {{receivers: [otlp], exporters: [debug, otlphttp]}}
"""


@dataclass(frozen=True)
class Record:
    """One accepted log record, with its resource's attributes."""

    event_name: str
    severity: str
    severity_number: int
    body: Any
    attributes: Mapping[str, Any]
    resource: Mapping[str, Any]
    scope: str
    time_unix_nano: int
    trace_id: str
    span_id: str


class Collector:
    """Where to send OTLP, and what has arrived since the test began."""

    def __init__(self, grpc_endpoint: str, http_endpoint: str, sink: Sink) -> None:
        self.grpc_endpoint = grpc_endpoint
        self.http_endpoint = http_endpoint
        self._sink = sink

    def records(self) -> list[Record]:
        return [record for payload in self._sink.payloads("logs") for record in log_records(payload)]

    def wait_for(self, count: int) -> list[Record]:
        """The records, once there are `count` of them or more."""

        def enough() -> list[Record] | None:
            found = self.records()
            return found if len(found) >= count else None

        return wait_until(enough, f"the arrival of {count} log records")

    def payloads(self, signal: str) -> list[Any]:
        """Accepted export requests of `logs`, `traces` or `metrics`, as OTLP in JSON."""
        return self._sink.payloads(signal)

    def refuse(self, status: int | None) -> None:
        """Let the collector's own backend fail with this HTTP status, which it passes on; None: accept again."""
        self._sink.status = status or 200

    def clear(self) -> None:
        self._sink.clear()


class Sink(ThreadingHTTPServer):
    """The collector's backend."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), SinkHandler)
        self.status = 200
        self._lock = threading.Lock()
        self._payloads: list[tuple[str, Any]] = []

    def take(self, signal: str, payload: Any) -> int:
        with self._lock:
            if self.status == 200:
                self._payloads.append((signal, payload))
            return self.status

    def payloads(self, signal: str) -> list[Any]:
        with self._lock:
            return [payload for kind, payload in self._payloads if kind == signal]

    def clear(self) -> None:
        with self._lock:
            self.status = 200
            self._payloads.clear()


class SinkHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Sink

    def do_POST(self) -> None:
        payload = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        status = self.server.take(self.path.rpartition("/")[2], payload)
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: pytest shows what failed."""


@contextmanager
def running_collector(home: Path) -> Iterator[Collector]:
    program = provision("collector")
    sink, grpc, http = Sink(), free_port(), free_port()
    threading.Thread(target=sink.serve_forever, daemon=True).start()
    config = home / "collector.yaml"
    config.write_text(CONFIG.format(grpc=grpc, http=http, sink=sink.server_port))
    server = Server(
        f"http://127.0.0.1:{http}",
        (str(program), f"--config=file:{config}"),
        home / "server.log",
        lambda: listening(grpc) and listening(http),
    )
    try:
        with server:
            yield Collector(f"http://127.0.0.1:{grpc}", server.url, sink)
    finally:
        sink.shutdown()
        sink.server_close()


def log_records(payload: Mapping[str, Any]) -> list[Record]:
    """The records of one export request."""
    return [
        Record(
            event_name=record.get("eventName", ""),
            severity=record.get("severityText", ""),
            severity_number=record.get("severityNumber", 0),
            body=value(record.get("body", {})),
            attributes=attributes(record.get("attributes", ())),
            resource=attributes(of_resource.get("resource", {}).get("attributes", ())),
            scope=of_scope.get("scope", {}).get("name", ""),
            time_unix_nano=int(record.get("timeUnixNano", 0)),
            trace_id=record.get("traceId", ""),
            span_id=record.get("spanId", ""),
        )
        for of_resource in payload["resourceLogs"]
        for of_scope in of_resource["scopeLogs"]
        for record in of_scope["logRecords"]
    ]


def attributes(pairs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {pair["key"]: value(pair["value"]) for pair in pairs}


def value(any_value: Mapping[str, Any]) -> Any:
    """OTLP's AnyValue as Python has it; 64-bit integers travel as text."""
    for kind, inner in any_value.items():
        match kind:
            case "intValue":
                return int(inner)
            case "bytesValue":
                return base64.b64decode(inner)
            case "arrayValue":
                return [value(item) for item in inner.get("values", ())]
            case "kvlistValue":
                return attributes(inner.get("values", ()))
            case _:
                return inner
    return None
