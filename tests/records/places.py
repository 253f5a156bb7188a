# ruff: noqa: E501 - lines of logs are as long as they are
"""Lines with a status or a duration at a place of their own, records with fields beside their message, and what is
right of each."""

from __future__ import annotations

from typing import Any

TIMED: tuple[tuple[str, str, int | None, float | None], ...] = (
    # name, line, status or exit code, seconds
    (
        "nginx combined",
        '10.0.0.1 - - [17/Nov/2026:06:00:01 +0000] "GET /cart?from=now-5m HTTP/1.1" 200 612 "-" "curl/8.4"',
        200,
        None,
    ),
    (
        "nginx with its request time",
        '10.0.0.1 - - [17/Nov/2026:06:00:01 +0000] "GET /cart HTTP/1.1" 502 612 "-" "curl/8.4" 0.123',
        502,
        0.123,
    ),
    (
        "nginx with named times",
        '10.0.0.1 - - [17/Nov/2026:06:00:01 +0000] "GET /cart HTTP/2.0" 504 0 "-" "x 5s" rt=5.004 uct="0.1" urt="5.0"',
        504,
        5.004,
    ),
    (
        "ingress-nginx",
        '10.0.0.1 - - [17/Nov/2026:06:00:01 +0000] "GET /cart HTTP/1.1" 200 612 "-" "curl/8.4" 291 0.045 '
        "[shop-cart-80] [] 10.1.0.7:8080 612 0.044 200 c0ffee00c0ffee00c0ffee00c0ffee00",
        200,
        0.045,
    ),
    ("apache common", '10.0.0.1 - frank [17/Nov/2026:06:00:01 +0000] "GET /a HTTP/1.0" 404 209', 404, None),
    (
        "apache with %D",
        '10.0.0.1 - - [17/Nov/2026:06:00:01 +0000] "GET /a HTTP/1.1" 200 2326 "http://a/?t=9s" "Mozilla/5.0" 48211',
        200,
        0.048211,
    ),
    (
        "apache with a virtual host and %D",
        'shop.test:443 10.0.0.1 - - [17/Nov/2026:06:00:01 +0000] "POST /a HTTP/1.1" 503 299 "-" "curl/8.4" 30000512',
        503,
        30.000512,
    ),
    (
        "haproxy http",
        "Nov 17 06:00:01 lb haproxy[14]: 10.0.0.1:51 [17/Nov/2026:06:00:01.009] web~ shop/app1 0/0/1/123/125 503 217 "
        '- - ---- 9/9/0/0/0 0/0 "GET /cart HTTP/1.1"',
        503,
        0.125,
    ),
    (
        "haproxy tcp",
        "Nov 17 06:00:01 lb haproxy[14]: 10.0.0.1:51 [17/Nov/2026:06:00:01.009] db db/pg1 1/2/5007 212 -- 9/9/0/0/0 0/0",
        None,
        5.007,
    ),
    (
        "alb",
        "https 2026-11-17T06:00:01.186641Z app/shop/50dc 10.0.0.1:2817 10.1.0.1:80 0.086 1.048 0.037 502 502 0 57 "
        '"GET https://shop.test:443/?from=now-5m HTTP/1.1" "curl/8.4" ECDHE TLSv1.2 arn:x "Root=1-58" "-" "-" 0',
        502,
        1.048,
    ),
    (
        "elb",
        "2026-11-17T06:00:01.945958Z shop 10.0.0.1:2817 10.1.0.1:80 0.000073 0.001048 0.000057 200 200 0 29 "
        '"GET http://shop.test:80/ HTTP/1.1" "curl/8.4" - -',
        200,
        0.001048,
    ),
    (
        "heroku router",
        '2026-11-17T06:00:01.2+00:00 heroku[router]: at=error code=H12 desc="Request timeout" method=GET path="/a" '
        "dyno=web.1 connect=1ms service=30000ms status=503 bytes=0",
        503,
        30.0,
    ),
    (
        "envoy",
        '[2026-11-17T06:00:01.310Z] "GET /cart HTTP/1.1" 503 UF 0 91 1234 - "-" "curl/8.4" "6f4d" "shop" "10.1.0.1:80"',
        503,
        1.234,
    ),
    (
        "traefik",
        '10.0.0.1 - - [17/Nov/2026:06:00:01 +0000] "GET /cart HTTP/1.1" 200 17 "-" "-" 14 "shop@docker" '
        '"http://10.1.0.1:80" 37ms',
        200,
        0.037,
    ),
    ("squid", "1794895201.123   5120 10.0.0.1 TCP_MISS/503 1234 GET http://a/b - HIER_DIRECT/10.1.0.1 text/html", 503, 5.12),
    ("g1", "[2026-11-17T06:00:01.272+0000][5.272s][info][gc] GC(1) Pause Young (Normal) 24M->4M(256M) 3.456ms", None, 0.003456),
    ("g1, uptime alone", "[5.272s][info][gc,start] GC(1) Pause Young (Normal) (G1 Evacuation Pause)", None, None),
    (
        "parallel collector of Java 8",
        "2026-11-17T06:00:01.123+0000: 912.456: [Full GC (Ergonomics) [PSYoungGen: 512K->0K(76K)] 900K->700K(990K), "
        "1.2345678 secs] [Times: user=4.10 sys=0.02, real=1.23 secs]",
        None,
        1.2345678,
    ),
    ("postgres", "2026-11-17 06:00:01.646 UTC [7] LOG:  duration: 44.703 ms  statement: SELECT pg_sleep(5)", None, 0.044703),
    (
        "elasticsearch slow log",
        "[2026-11-17T06:00:01,123][WARN ][i.s.s.query] [n1] [shop][0] took[5.1s], took_millis[5123], total_hits[7 hits]",
        None,
        5.1,
    ),
    (
        "mysql slow log",
        "# Time: 2026-11-17T06:00:01.397029Z\n# Query_time: 2.759098  Lock_time: 0.000078 Rows_sent: 1\n"
        "SET timestamp=1794895201;\nSELECT 1;",
        None,
        2.759098,
    ),
    ("mongodb text", "2026-11-17T06:00:01.123+0000 I COMMAND [conn7] command shop.$cmd find locks:{} protocol:op_msg 5123ms", None, 5.123),
    ("rails", "2026-11-17 06:00:01 Completed 500 Internal Server Error in 1234ms (ActiveRecord: 12.3ms)", 500, 1.234),
    ("a URL", "2026-11-17 06:00:01 INFO proxied /api/query?from=now-5m&step=30s&duration=7 ok", None, None),
    ("an uptime", "2026-11-17 06:00:01 INFO heartbeat, uptime 86400s, up 3 days", None, None),
    ("a span that was waited for", "2026-11-17 06:00:01 WARN lock held by 7 for 60s", None, None),
    ("a timeout", "2026-11-17 06:00:01 INFO pool ready timeout=30s idle_timeout=10m interval=5s", None, None),
    ("kubernetes", 'I1117 06:00:01.123456 1 httplog.go:132] "HTTP" verb="GET" latency="12.5ms" resp=429', 429, 0.0125),
    ("gin", "[GIN] 2026/11/17 - 06:00:01 | 500 |    1.2345ms |       10.0.0.1 | GET      \"/cart\"", 500, 0.0012345),
    ("uvicorn", '2026-11-17 06:00:01 INFO: 10.0.0.1:51 - "GET /cart HTTP/1.1" 503 Service Unavailable', 503, None),
    ("morgan dev", "2026-11-17 06:00:01 GET /cart 500 12.345 ms - 17", 500, 0.012345),
    ("systemd", "Nov 17 06:00:01 n systemd[1]: shop.service: Main process exited, code=exited, status=137/n/a", 137, None),
)  # fmt: skip

DOCUMENTS: tuple[tuple[str, dict[str, Any], dict[str, Any]], ...] = (
    # name, document, what is right: code, duration, place, words (some of the fields), body (pieces), instance, version
    (
        "ecs",
        {
            "@timestamp": "2026-11-17T06:00:01Z",
            "message": "GET /cart",
            "http": {"response": {"status_code": 503}, "request": {"method": "GET"}},
            "event": {"duration": 1_500_000_000, "outcome": "failure"},
            "error": {"type": "TimeoutError", "message": "no answer from db", "stack_trace": "TimeoutError\n\tat a.b"},
            "service": {"name": "cart", "version": "1.4.2", "node": {"name": "cart-7"}},
        },
        {
            "code": 503,
            "duration": 1.5,
            "place": "event.duration",
            "words": {"event.outcome": "failure", "http.request.method": "GET"},
            "body": ("GET /cart", "TimeoutError", "no answer from db", "at a.b"),
            "instance": "cart-7",
            "version": "1.4.2",
        },
    ),
    (
        "otel",
        {
            "@timestamp": "2026-11-17T06:00:01Z",
            "body": {"text": "charge failed"},
            "attributes": {"exception.type": "IOError", "exception.message": "refused", "http.status_code": 500},
            "resource": {"attributes": {"service.name": "pay", "service.version": "7", "service.instance.id": "pay-1"}},
        },
        {
            "code": 500,
            "body": ("charge failed", "IOError", "refused"),
            "instance": "pay-1",
            "version": "7",
        },
    ),
    (
        "pino",
        {
            "time": 1794895201000,
            "level": 50,
            "msg": "request errored",
            "res": {"statusCode": 500},
            "responseTime": 1234,
            "err": {"type": "TypeError", "message": "x is not a function", "stack": "TypeError: x\n    at a.js:1"},
        },
        {
            "code": 500,
            "duration": 1.234,
            "place": "responseTime",
            "body": ("request errored", "TypeError", "x is not a function"),
        },
    ),
    (
        "a field that is called as its unit",
        {"time": "2026-11-17T06:00:01Z", "msg": "job done", "took_ms": 250, "outcome": "ok"},
        {"duration": 0.25, "place": "took_ms", "words": {"outcome": "ok"}, "body": ("job done",)},
    ),
    (
        "python-json-logger",
        {
            "asctime": "2026-11-17 06:00:01",
            "levelname": "ERROR",
            "message": "cannot save",
            "exc_info": "Traceback (most recent call last):\n  File \"a.py\", line 1\nOSError: [Errno 28] No space left",
        },
        {"body": ("cannot save", "No space left")},
    ),
    (
        "an error as text",
        {"ts": "2026-11-17T06:00:01Z", "level": "error", "msg": "cannot save", "error": "disk full", "exit_code": 3},
        {"code": 3, "body": ("cannot save", "disk full")},
    ),
    (
        "a gRPC call of OpenTelemetry",
        {"timestamp": "2026-11-17T06:00:01Z", "body": "call done", "attributes": {"rpc.grpc.status_code": 14}},
        {"code": 14},
    ),
    (
        "nginx in JSON",
        {
            "time_iso8601": "2026-11-17T06:00:01+00:00",
            "request": "GET /q?from=now-5m HTTP/1.1",
            "status": 504,
            "request_time": 60.001,
            "upstream_response_time": "60.000",
        },
        {"code": 504, "duration": 60.001, "place": "request_time"},
    ),
    (
        "envoy in JSON",
        {"start_time": "2026-11-17T06:00:01Z", "path": "/a", "response_code": 503, "duration": 1500, "method": "GET"},
        {"code": 503, "duration": 1.5, "place": "duration"},
    ),
    (
        "caddy",
        {"ts": 1794895201.1, "level": "info", "msg": "handled request", "duration": 0.0021, "status": 200, "size": 12},
        {"code": 200, "duration": 0.0021, "place": "duration"},
    ),
    (
        "an uptime is no duration",
        {"time": "2026-11-17T06:00:01Z", "msg": "alive", "uptime": 86400, "uptime_ms": 86400000, "timeout_ms": 500},
        {"duration": None, "body": ("alive",)},
    ),
    (
        "mongodb",
        {
            "t": {"$date": "2026-11-17T06:00:01.010+00:00"},
            "s": "I",
            "c": "COMMAND",
            "msg": "Slow query",
            "attr": {"ns": "shop.orders", "durationMillis": 5123, "errName": "MaxTimeMSExpired", "ok": 0},
        },
        {
            "duration": 5.123,
            "place": "attr.durationMillis",
            "words": {"c": "COMMAND", "attr.errName": "MaxTimeMSExpired"},
            "body": ("Slow query",),
        },
    ),
    (
        "iis by columns",
        {"@timestamp": "2026-11-17 06:00:01", "sc-status": "503", "cs-method": "GET", "time-taken": "12"},
        {"code": 503, "duration": 0.012, "place": "time-taken"},
    ),
)  # fmt: skip
"""Each stands eight times in a file, with other seconds; `words` are among those that are kept."""
