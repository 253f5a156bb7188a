"""What the services of the simulated shop log: their statements, and the requests that run through them.

A statement is written `"I text"`: a letter for its severity, optionally how often it is reached in per cent
(`"W30 text"`), and the text, in which `{word}` stands for a value (exporter/demo/shop/values.py).

One file, for it is one table.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from typing import Literal

from exporter.model import Severity

LETTERS = {
    "D": Severity.DEBUG,
    "I": Severity.INFO,
    "W": Severity.WARN,
    "E": Severity.ERROR,
    "F": Severity.FATAL,
}

Seen = Literal["error", "timeout", "refused", "reset", "tls", "dns"]
"""How a caller learns that a call has failed."""


@dataclass(frozen=True)
class Statement:
    """One logging statement of a service: where it stands in the code, not what it printed."""

    service: str
    severity: int
    text: str
    chance: float = 1.0


@cache
def statement(service: str, written: str) -> Statement:
    """Read the short form.

    >>> statement("cart", "W30 cart {user} is stale")
    Statement(service='cart', severity=<Severity.WARN: 13>, text='cart {user} is stale', chance=0.3)
    """
    match = re.fullmatch(r"([DIWEF])(\d*) (.*)", written, re.DOTALL)
    if match is None:
        raise ValueError(f"{written!r} is no statement: write it like 'I text' or 'W30 text'")
    return Statement(service, LETTERS[match[1]], match[3], int(match[2] or 100) / 100)


@dataclass(frozen=True)
class Platform:
    """What a service logs because of what it is written in. `every` gives the mean pause of a background statement
    in seconds for one instance; `now_and_then` how often a day a harmless oddity happens in a service."""

    every: Mapping[str, float]
    now_and_then: Mapping[str, float]
    start: Sequence[str]
    stop: Sequence[str]
    unexpected: Sequence[str]
    failed: Mapping[Seen, str]
    slow: str
    gave_up: str


JVM = Platform(
    every={
        "D GC(3) Pause Young (Normal) (G1 Evacuation Pause) {mb}M->{mb}M({mb}M) {tiny}ms": 40,
        "D HikariPool-1 - Pool stats (total=20, active={few}, idle=1{few}, waiting=0)": 30,
        "D Health check passed in {tiny} ms": 30,
        "I Flushed {n} metrics to the collector in {tiny} ms": 60,
        "D Fetching config from server at http://config:8888, nothing has changed": 300,
        "I Committed offset {big} of partition {few}": 50,
    },
    now_and_then={
        "W HikariPool-1 - Thread starvation or clock leap detected (housekeeper delta={ms}ms).": 0.5,
        "W Slow query took {ms} ms: SELECT * FROM {table} WHERE id = ?": 6,
        "W Could not flush metrics, attempt {few} of 5: the collector did not answer": 2,
        "W Ignoring unknown header X-{word}-{word} from {ip}": 0.7,
        "W Parameter '{word}' of request {hex} is deprecated and will be removed in API version {few}": 0.7,
    },
    start=(
        "I Starting {service} v{version} using Java 21 on {pod} with PID {few}",
        'I The following 1 profile is active: "production"',
        "I Tomcat initialized with port 8080 (http)",
        "I HikariPool-1 - Starting...",
        "I HikariPool-1 - Start completed.",
        "I Started {service} in {seconds} seconds (process running for {seconds})",
    ),
    stop=(
        "I Commencing graceful shutdown. Waiting for active requests to complete",
        "I Graceful shutdown complete",
        "I HikariPool-1 - Shutdown completed.",
    ),
    unexpected=(
        "E Unhandled exception for request {hex}\njava.lang.IllegalStateException: no transition from {word} to {word}"
        "\n\tat com.shop.Flow.move(Flow.java:{n})\n\tat com.shop.Flow.run(Flow.java:{n})"
        "\n\tat java.base/java.lang.Thread.run(Thread.java:1583)",
    ),
    failed={
        "error": "W Call to {peer} failed after {ms} ms: 503 Service Unavailable",
        "timeout": "W Call to {peer} failed after {ms} ms: java.net.SocketTimeoutException: Read timed out",
        "refused": "W Call to {peer} failed: java.net.ConnectException: Connection refused: {peer}/{ip}:8080",
        "reset": "W Call to {peer} failed after {ms} ms: java.net.SocketException: Connection reset",
        "tls": "W Call to {peer} failed: javax.net.ssl.SSLHandshakeException: PKIX path validation failed: "
        "certificate expired on {date}",
        "dns": "W Call to {peer} failed: java.net.UnknownHostException: {peer}: Temporary failure in name resolution",
    },
    slow="W Slow call to {peer}: {ms} ms",
    gave_up="E Request {hex} to {service} failed with status 500 after {ms} ms",
)


def logfmt(written: str) -> str:
    """`W30 key=value` as a Go service writes it: `W30 level=warn key=value`."""
    mark, text = written.split(" ", 1)
    level = {"D": "debug", "I": "info", "W": "warn", "E": "error", "F": "fatal"}[mark[0]]
    return f"{mark} level={level} {text}"


GO = Platform(
    every={
        logfmt('D component=runtime msg="gc cycle" pause={tiny}ms heap={mb}MB'): 40,
        logfmt('D component=health msg="probe answered" took={tiny}ms'): 30,
        logfmt('I component=metrics msg="pushed series" count={n} took={tiny}ms'): 60,
        logfmt('D component=discovery msg="endpoints unchanged" endpoints={few}'): 120,
        logfmt('I component=pool msg="reaped idle connections" count={few}'): 180,
        logfmt('D component=config msg="no new revision" revision={hex}'): 300,
    },
    now_and_then={
        logfmt('W component=http msg="client went away" client={ip} path=/api/{word}'): 5,
        logfmt('W component=metrics msg="push failed, will retry" attempt={few}'): 2,
        logfmt('W component=http msg="unknown user agent" agent="{agent}"'): 3,
        logfmt('W component=http msg="deprecated field" field={word}_{word} client={ip}'): 0.7,
        logfmt('W component=runtime msg="long gc pause" pause={ms}ms'): 2,
    },
    start=tuple(
        map(
            logfmt,
            (
                'I msg="starting" service={service} version={version} pod={pod} pid=1',
                'I component=config msg="configuration loaded" revision={hex}',
                'I component=discovery msg="registered" endpoints={few}',
                'I component=pool msg="connections warmed up" count={few} took={tiny}ms',
                'I component=http msg="listening" addr=:8080',
                'I msg="ready" took={seconds}s',
            ),
        )
    ),
    stop=tuple(
        map(
            logfmt,
            (
                'I msg="received signal, draining" signal=terminated',
                'I component=http msg="listener closed" open_requests={few}',
                'I msg="stopped"',
            ),
        )
    ),
    unexpected=(
        logfmt('E component=http msg="panic recovered" request={hex} err="index out of range [{few}] of {few}"'),
    ),
    failed={
        "error": logfmt('W component=client msg="call failed" peer={peer} status=503 took={ms}ms'),
        "timeout": logfmt('W component=client msg="call failed: deadline exceeded" peer={peer} took={ms}ms'),
        "refused": logfmt('W component=client msg="dial failed: connection refused" peer={peer}:8080'),
        "reset": logfmt('W component=client msg="connection reset by peer" peer={peer} took={ms}ms'),
        "tls": logfmt('W component=client msg="x509: certificate has expired" peer={peer} expired={date}'),
        "dns": logfmt('W component=client msg="lookup failed: no such host" peer={peer}'),
    },
    slow=logfmt('W component=client msg="slow call" peer={peer} took={ms}ms'),
    gave_up=logfmt('E component=http msg="request failed" request={hex} status=500 took={ms}ms'),
)


def as_json(written: str) -> str:
    """`W text` as a Node service writes it: a JSON object with its message in `msg`."""
    mark, text = written.split(" ", 1)
    level = {"D": 20, "I": 30, "W": 40, "E": 50, "F": 60}[mark[0]]
    return f'{mark} {{"level":{level},"pid":1,"hostname":"{{pod}}","msg":"{text}"}}'


NODE = Platform(
    every={
        as_json("D event loop delay {tiny} ms, heap {mb} MB"): 40,
        as_json("D readiness probe answered in {tiny} ms"): 30,
        as_json("I pushed {n} metrics"): 60,
        as_json("D redis pool: {few} open, {few} idle"): 60,
        as_json("I reloaded feature flags, revision {hex}"): 300,
        as_json("D swept {n} expired entries"): 180,
    },
    now_and_then={
        as_json("W event loop was blocked for {ms} ms"): 3,
        as_json("W redis connection was closed by peer, reconnecting"): 1,
        as_json("W could not push metrics, attempt {few}"): 2,
        as_json("W unknown client version {word}/{few} from {ip}"): 1,
        as_json("W (node:1) DeprecationWarning: {word}.{word}() is deprecated"): 0.5,
    },
    start=(
        as_json("I starting {service} {version}"),
        as_json("I feature flags loaded, revision {hex}"),
        as_json("I connected to redis in {tiny} ms"),
        as_json("I registered {few} routes"),
        as_json("I server listening at http://0.0.0.0:8080"),
        as_json("I ready after {seconds} s"),
    ),
    stop=(
        as_json("I SIGTERM received, closing server"),
        as_json("I waiting for {few} open requests"),
        as_json("I bye"),
    ),
    unexpected=(as_json("E TypeError: Cannot read properties of undefined (reading '{word}') in request {hex}"),),
    failed={
        "error": as_json("W request to {peer} failed: 503 Service Unavailable after {ms} ms"),
        "timeout": as_json("W request to {peer} failed: timeout of {ms} ms exceeded"),
        "refused": as_json("W request to {peer} failed: connect ECONNREFUSED {ip}:8080"),
        "reset": as_json("W request to {peer} failed: socket hang up (ECONNRESET) after {ms} ms"),
        "tls": as_json("W request to {peer} failed: certificate has expired (CERT_HAS_EXPIRED) on {date}"),
        "dns": as_json("W request to {peer} failed: getaddrinfo EAI_AGAIN {peer}"),
    },
    slow=as_json("W request to {peer} took {ms} ms"),
    gave_up=as_json("E request {hex} failed with 500 after {ms} ms"),
)

NGINX = Platform(
    every={
        "D upstream health: all of {few} peers up": 30,
        "I worker {few} handled {n} connections": 60,
        "D keepalive pool of {few} connections reused {n} times": 60,
        "D geo database is current": 600,
        "I rotated access log, {n} entries": 300,
        "D rate limiter: {n} buckets in use": 60,
    },
    now_and_then={
        'W client {ip} sent invalid header line: "{word}\\x00{word}"': 4,
        "W client {ip} closed connection while waiting for request": 8,
        "W a client request body is buffered to a temporary file /var/cache/{hex}": 5,
        'W no handler for "{word}/{few}" sent by {ip}, agent "{agent}"': 2,
        "W SSL_do_handshake() failed (SSL: unsupported protocol) while handshaking with {ip}": 3,
    },
    start=(
        "I gateway {version} starting on {pod}",
        "I using the epoll event method",
        "I loaded {few} routes, revision {hex}",
        "I start worker processes",
        "I resolved {few} upstreams in {tiny} ms",
        "I ready for connections after {seconds} s",
    ),
    stop=("I signal 15 received, shutting down gracefully", "I drained {few} connections", "I exit"),
    unexpected=("E worker caught a Lua error: route.lua:{n}: attempt to index a nil value (field '{word}')",),
    failed={
        "error": "W upstream {peer} answered 503 after {ms} ms",
        "timeout": "W upstream {peer} timed out (110: Connection timed out) after {ms} ms",
        "refused": "W connect() to {peer} failed (111: Connection refused), upstream {ip}:8080",
        "reset": "W recv() from {peer} failed (104: Connection reset by peer) after {ms} ms",
        "tls": "W SSL certificate verify error: (10: certificate has expired on {date}) from upstream {peer}",
        "dns": "W {peer} could not be resolved (3: Host not found)",
    },
    slow="W upstream {peer} is slow: {ms} ms",
    gave_up="E request {hex} ends with 502 Bad Gateway after {ms} ms",
)

PLATFORMS: Mapping[str, Platform] = {
    "gateway": NGINX,
    "users": GO,
    "catalog": GO,
    "search": GO,
    "cart": NODE,
    "orders": JVM,
    "payments": JVM,
    "inventory": JVM,
    "shipping": JVM,
    "notifications": NODE,
    "postgres-proxy": GO,
    "cron": GO,
}
"""The twelve services of a shop; further shops have the same twelve with a number behind the name."""

REPLICAS: Mapping[str, int] = {"gateway": 3, "orders": 3, "catalog": 3, "cron": 1, "notifications": 1}
"""Instances of a service; two where it is not named."""

ON_DEMAND = "notifications"
"""The service that is scaled to zero when there is nothing to send."""


# --- Requests -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Call:
    """One operation of a service: what it logs before and after the calls that it makes.

    `work` is the median of its own time; `chance` how often the caller makes the call at all. An optional call may
    fail without failing its caller; `after` postpones it (work that is queued).
    """

    service: str
    before: tuple[Statement, ...] = ()
    calls: tuple[Call, ...] = ()
    after: tuple[Statement, ...] = ()
    failing: tuple[Statement, ...] = ()
    work: timedelta = timedelta(milliseconds=8)
    chance: float = 1.0
    optional: bool = False
    queued: timedelta = timedelta(0)


def _call(
    service: str,
    before: Sequence[str] = (),
    calls: Sequence[Call] = (),
    after: Sequence[str] = (),
    failing: Sequence[str] = (),
    ms: float = 8,
    chance: float = 1.0,
    optional: bool = False,
    queued: float = 0,
) -> Call:
    def read(written: Sequence[str]) -> tuple[Statement, ...]:
        return tuple(statement(service, text) for text in written)

    return Call(
        service,
        read(before),
        tuple(calls),
        read(after),
        read(failing or [PLATFORMS[service].gave_up]),
        timedelta(milliseconds=ms),
        chance,
        optional,
        timedelta(seconds=queued),
    )


def _http(method: str, path: str, calls: Sequence[Call], status: int = 200, ms: float = 3) -> Call:
    line = '{{ip}} - - "{method} {path} HTTP/1.1" {status} {{n}} {{ms}}ms "{{agent}}"'
    return _call(
        "gateway",
        ["D35 route {hex} matched " + path.split("/{")[0]],
        calls,
        ["I " + line.format(method=method, path=path, status=status)],
        [PLATFORMS["gateway"].gave_up, "E " + line.format(method=method, path=path, status=502)],
        ms=ms,
    )


def _sql(verb: str, table: str, ms: float = 4, chance: float = 1.0) -> Call:
    return _call(
        "postgres-proxy",
        [logfmt(f"D20 component=session msg=checkout db={table} conn={{few}}")],
        (),
        [logfmt(f'I component=query msg="{verb} done" table={table} rows={{few}} took={{ms}}ms')],
        ms=ms,
        chance=chance,
    )


_PRICES = _call(
    "catalog",
    [logfmt('D component=cache msg="price lookup" sku={sku}')],
    [_sql("select", "prices", chance=0.15)],
    [logfmt('D component=cache msg="price served" sku={sku} took={ms}ms')],
    ms=3,
)
_STOCK = _call(
    "inventory",
    ["D Checking stock of {sku}"],
    [_sql("select", "stock", chance=0.5)],
    ["I Stock of {sku} is {n} in warehouse {few}"],
    ms=6,
)
_SESSION = _call(
    "users",
    [logfmt('D component=session msg="token verified" user={user} took={tiny}ms')],
    [_sql("select", "sessions", chance=0.2)],
    ms=2,
)
_EMAIL = _call(
    "notifications",
    [as_json("I queued mail for {user}")],
    (),
    [as_json("D rendered template {word} in {tiny} ms"), as_json("I sent mail {hex} in {ms} ms")],
    ms=60,
    optional=True,
    queued=1.5,
)
_CHARGE = _call(
    "payments",
    ["I Charging order {order} with {amount} EUR", "D Fraud score of {order} is 0.{few}"],
    [_sql("insert", "transactions", ms=6)],
    ["I40 Card of {user} needed a second factor", "I Payment of {order} captured by provider in {ms} ms, ref {hex}"],
    ms=90,
)
_RESERVE = _call(
    "inventory",
    ["I Reserving {few} of {sku} for {order}"],
    [_sql("update", "stock", ms=6)],
    ["W1 Stock of {sku} is low: {few} left", "I Reservation {hex} holds for 900 s"],
    ms=10,
)
_SHIP = _call(
    "shipping",
    ["I Creating shipment for {order}"],
    [_sql("insert", "shipments")],
    ["I Label {hex} printed at carrier {word} in {ms} ms", "D Parcel of {order} weighs {n} g"],
    ms=70,
    optional=True,
    queued=3,
)


@dataclass(frozen=True)
class Flow:
    """A kind of request: how often people make it (`weight`), or when it is made by the clock."""

    name: str
    root: Call
    weight: float = 0.0
    every: timedelta | None = None
    offset: timedelta = field(default=timedelta(0))


FLOWS: tuple[Flow, ...] = (
    Flow(
        "browse",
        _http(
            "GET",
            "/api/items?page={few}",
            [
                _call(
                    "catalog",
                    [logfmt('D30 component=cache msg="page miss" page={few}')],
                    [_sql("select", "items", ms=7, chance=0.3)],
                    [logfmt('I component=list msg="listed items" count={few} took={ms}ms')],
                    ms=9,
                )
            ],
        ),
        weight=26,
    ),
    Flow("item", _http("GET", "/api/items/{sku}", [_PRICES, _STOCK]), weight=20),
    Flow(
        "search",
        _http(
            "GET",
            "/api/search?q={word}",
            [
                _call(
                    "search",
                    [logfmt('D component=query msg="parsed" terms={few}')],
                    [_PRICES],
                    [
                        logfmt('D25 component=index msg="segment skipped" segment={hex}'),
                        logfmt('I component=query msg="answered" hits={n} took={ms}ms'),
                        logfmt('I6 component=query msg="no hits" query={word}'),
                    ],
                    ms=22,
                )
            ],
        ),
        weight=14,
    ),
    Flow(
        "login",
        _http(
            "POST",
            "/api/login",
            [
                _call(
                    "users",
                    [logfmt('D component=auth msg="checking password" user={user}')],
                    [_sql("select", "users")],
                    [logfmt('I component=auth msg="logged in" user={user} client={ip} took={ms}ms')],
                    ms=45,
                )
            ],
        ),
        weight=5,
    ),
    Flow(
        "wrong password",
        _http(
            "POST",
            "/api/login",
            [
                _call(
                    "users",
                    [logfmt('D component=auth msg="checking password" user={user}')],
                    [_sql("select", "users")],
                    [logfmt('W component=auth msg="bad credentials" user={user} client={ip}')],
                    ms=45,
                )
            ],
            status=401,
        ),
        weight=0.4,
    ),
    Flow(
        "profile",
        _http(
            "GET",
            "/api/me",
            [
                _SESSION,
                _call(
                    "users",
                    [],
                    [_sql("select", "profiles", chance=0.4)],
                    [logfmt('I component=profile msg="profile read" user={user} took={ms}ms')],
                ),
            ],
        ),
        weight=6,
    ),
    Flow(
        "add to cart",
        _http(
            "POST",
            "/api/cart/items",
            [
                _SESSION,
                _call(
                    "cart",
                    [as_json("D loading cart of {user}")],
                    [_PRICES, _STOCK],
                    [as_json("I added {few} of {sku} to cart of {user}"), as_json("D cart saved in {ms} ms")],
                    ms=7,
                ),
            ],
            status=201,
        ),
        weight=7,
    ),
    Flow(
        "view cart",
        _http(
            "GET",
            "/api/cart",
            [
                _SESSION,
                _call(
                    "cart",
                    [as_json("D loading cart of {user}")],
                    [_PRICES],
                    [as_json("I cart of {user} has {few} items, {amount} EUR"), as_json("D4 dropped stale item {sku}")],
                    ms=6,
                ),
            ],
        ),
        weight=8,
    ),
    Flow(
        "checkout",
        _http(
            "POST",
            "/api/orders",
            [
                _SESSION,
                _call(
                    "orders",
                    ["I Placing order {order} for {user}", "D Validated address of {user}"],
                    [
                        _call("cart", [as_json("D checking out cart of {user}")], ms=4),
                        _RESERVE,
                        _CHARGE,
                        _sql("insert", "orders", ms=6),
                        _SHIP,
                        _EMAIL,
                    ],
                    [
                        "D3 Applied voucher {word} to {order}",
                        "I Order {order} placed, total {amount} EUR, took {ms} ms",
                    ],
                    [
                        "E Order {order} could not be placed, rolled back after {ms} ms",
                        "W50 Released reservation of {sku} for {order}",
                    ],
                    ms=12,
                ),
            ],
            status=201,
        ),
        weight=4,
    ),
    Flow(
        "order status",
        _http(
            "GET",
            "/api/orders/{order}",
            [
                _SESSION,
                _call(
                    "orders",
                    [],
                    [_sql("select", "orders")],
                    ["I Order {order} is in state {word}", "D15 Order {order} served from replica"],
                ),
            ],
        ),
        weight=4,
    ),
    Flow(
        "refund",
        _http(
            "POST",
            "/api/orders/{order}/refund",
            [
                _call(
                    "orders",
                    ["I Refund of {order} requested by {user}"],
                    [
                        _call(
                            "payments",
                            ["I Refunding {amount} EUR of {order}"],
                            [_sql("update", "transactions")],
                            ["I Refund of {order} accepted by provider, ref {hex}"],
                            ms=120,
                        ),
                        _EMAIL,
                    ],
                    ["I Refund of {order} done in {ms} ms"],
                )
            ],
        ),
        weight=0.3,
    ),
    Flow(
        "tracking",
        _http(
            "GET",
            "/api/shipments/{order}",
            [
                _call(
                    "shipping",
                    ["D Looking up parcel of {order}"],
                    [_sql("select", "shipments")],
                    ["I Parcel of {order} is at {word}", "D20 Carrier cache hit for {order}"],
                    ms=10,
                )
            ],
        ),
        weight=3,
    ),
    Flow(
        "provider callback",
        _http(
            "POST",
            "/hooks/payments",
            [
                _call(
                    "payments",
                    ["D Verifying signature of callback {hex}"],
                    [_sql("update", "transactions")],
                    ["I Callback for {order}: settled", "I3 Callback for {order} was a repetition, ignored"],
                    ms=15,
                )
            ],
            status=204,
        ),
        weight=2,
    ),
    Flow("not found", _http("GET", "/{word}.php", [], status=404), weight=0.8),
    Flow(
        "tick",
        _call("cron", [logfmt('I component=scheduler msg="tick" due={few} took={tiny}ms')], ms=2),
        every=timedelta(seconds=30),
    ),
    Flow(
        "settle payments",
        _call(
            "cron",
            [logfmt('I component=job msg="started" job=settle-payments run={hex}')],
            [
                _call(
                    "payments",
                    ["I Settlement run {hex} started"],
                    [_sql("select", "transactions", ms=40), _sql("update", "transactions", ms=25)],
                    ["I Settled {n} transactions in {ms} ms"],
                    ms=300,
                )
            ],
            [logfmt('I component=job msg="finished" job=settle-payments run={hex} took={ms}ms')],
            [logfmt('E component=job msg="failed" job=settle-payments run={hex} took={ms}ms')],
            ms=5,
        ),
        every=timedelta(minutes=5),
        offset=timedelta(seconds=7),
    ),
    Flow(
        "sync stock",
        _call(
            "cron",
            [logfmt('I component=job msg="started" job=sync-stock run={hex}')],
            [
                _call(
                    "inventory",
                    ["I Stock synchronisation {hex} started", "D Read {n} rows from warehouse {few}"],
                    [_sql("select", "stock", ms=80), _sql("update", "stock", ms=40)],
                    ["I Stock synchronised: {n} changed, {few} unknown"],
                    ms=900,
                )
            ],
            [logfmt('I component=job msg="finished" job=sync-stock run={hex} took={ms}ms')],
            [logfmt('E component=job msg="failed" job=sync-stock run={hex} took={ms}ms')],
            ms=5,
        ),
        every=timedelta(minutes=15),
        offset=timedelta(seconds=31),
    ),
    Flow(
        "expire sessions",
        _call(
            "cron",
            [logfmt('I component=job msg="started" job=expire-sessions run={hex}')],
            [
                _call(
                    "users",
                    [],
                    [_sql("delete", "sessions", ms=60)],
                    [logfmt('I component=session msg="expired sessions" count={n} took={ms}ms')],
                    ms=100,
                )
            ],
            [logfmt('I component=job msg="finished" job=expire-sessions run={hex} took={ms}ms')],
            ms=5,
        ),
        every=timedelta(minutes=10),
        offset=timedelta(seconds=48),
    ),
    Flow(
        "reindex",
        _call(
            "cron",
            [logfmt('I component=job msg="started" job=reindex run={hex}')],
            [
                _call(
                    "search",
                    [logfmt('I component=index msg="rebuild started" generation={hex}')],
                    [_call("catalog", [logfmt('I component=export msg="exported items" count={n} took={ms}ms')])],
                    [
                        logfmt('D component=index msg="merged segments" count={few}'),
                        logfmt('I component=index msg="rebuild finished" documents={n} took={ms}ms'),
                    ],
                    ms=8000,
                )
            ],
            [logfmt('I component=job msg="finished" job=reindex run={hex} took={ms}ms')],
            ms=5,
        ),
        every=timedelta(hours=1),
        offset=timedelta(minutes=12),
    ),
    Flow(
        "nightly backup",
        _call(
            "cron",
            [logfmt('I component=job msg="started" job=backup run={hex}')],
            [
                _call(
                    "postgres-proxy",
                    [logfmt('I component=backup msg="base backup started" label={hex}')],
                    (),
                    [
                        logfmt('I component=backup msg="uploaded" bytes={big} took={ms}ms'),
                        logfmt('I component=backup msg="pruned old backups" count={few}'),
                    ],
                    ms=40000,
                )
            ],
            [logfmt('I component=job msg="finished" job=backup run={hex} took={ms}ms')],
            ms=5,
        ),
        every=timedelta(days=1),
        offset=timedelta(hours=2, minutes=5),
    ),
    Flow(
        "daily report",
        _call(
            "cron",
            [logfmt('I component=job msg="started" job=daily-report run={hex}')],
            [
                _call(
                    "orders",
                    ["I Report of yesterday requested"],
                    [_sql("select", "orders", ms=900)],
                    ["I Report has {n} orders, {amount} EUR"],
                    ms=2000,
                ),
                _EMAIL,
            ],
            [logfmt('I component=job msg="finished" job=daily-report run={hex} took={ms}ms')],
            ms=5,
        ),
        every=timedelta(days=1),
        offset=timedelta(hours=6, minutes=30),
    ),
)

DIGEST = _call(
    ON_DEMAND,
    [as_json("D rendered digest for {user} in {tiny} ms")],
    (),
    [as_json("I sent digest {hex} to {user} in {ms} ms"), as_json("W2 mailbox of {user} is full, will try later")],
    ms=80,
)
"""What the service on demand does while it is up."""

NEWS: Mapping[str, Sequence[str]] = {
    "JVM": (
        "I Feature '{word}' answered from the new code path in {tiny} ms",
        "D Request {hex} uses schema version {few}",
        "I Audit: {user} touched {order}",
        "D Circuit breaker of {word} is closed after {n} calls",
        "I Idempotency key {hex} stored",
        "D Locale of {user} resolved to {word}",
    ),
    "GO": tuple(
        map(
            logfmt,
            (
                'I component=trace msg="sampled request" request={hex} took={tiny}ms',
                'D component=http msg="response compressed" bytes={n}',
                'I component=flags msg="variant chosen" variant={word} user={user}',
                'D component=cache msg="second level hit" key={hex}',
                'I component=quota msg="quota charged" user={user} units={few}',
                'D component=http msg="http2 stream reused" stream={few}',
            ),
        )
    ),
    "NODE": tuple(
        map(
            as_json,
            (
                "I experiment {word} shows variant {few} to {user}",
                "D merged {few} updates of {user}",
                "I wrote outbox entry {hex}",
                "D schema {few} accepted payload of {n} bytes",
                "I recommendation for {user} served in {tiny} ms",
                "D deduplicated event {hex}",
            ),
        )
    ),
    "NGINX": (
        "I request {hex} assigned to bucket {word}",
        "D response of {n} bytes compressed with zstd",
        "I bot score of {ip} is {few}",
        "D early hint sent for {word}.js",
        "I edge cache stored {sku} for 30 s",
        "D header X-{word} added to {hex}",
    ),
}
"""Statements that releases bring into a service, one after another, by platform."""

ODDITIES: tuple[str, ...] = tuple(
    f"{letter} {text}"
    for letter, text in (
        ("W", "Leap second table expires in {n} days"),
        ("W", "Plugin {word} asked for an unknown capability, ignored"),
        ("I", "Operator {user} opened a maintenance shell"),
        ("I", "Heap dump requested by {user} written to /tmp/{hex}"),
        ("W", "License of component {word} will be renewed in {few} days"),
        ("I", "Log level of {word} set to DEBUG for 5 minutes"),
        ("I", "Feature flag {word} switched on for {few} percent"),
        ("W", "Time zone database is older than {n} days"),
        ("E", "Could not parse Accept-Language '{word};q={few}' of {ip}, using default"),
        ("E", "Failed to read optional file /etc/shop/{word}.override: no such file"),
        ("W", "Entropy pool was empty for {ms} ms"),
        ("I", "Connection string rotated, generation {few}"),
        ("W", "Skipped malformed row {n} of import {hex}"),
        ("E", "Image of {sku} could not be resized: unsupported colour profile"),
        ("I", "Read replica {few} promoted for tests"),
        ("W", "Unexpected content type text/{word} from {ip}"),
    )
)
"""Things that any service logs once in a while, and that mean nothing."""
