# ruff: noqa: E501 - lines of logs are as long as they are
"""Records of several lines in the words of some twenty runtimes and servers, and what is right of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

FATAL, ERROR, WARN, INFO, DEBUG, NONE = 21, 17, 13, 9, 5, 0


@dataclass(frozen=True)
class Said:
    """What one record says: its level, what its message holds, the second of its time, and what must be kept with it."""

    level: int
    message: str
    second: int | None
    kept: str = ""


@dataclass(frozen=True)
class Case:
    """Some records as text, in their order, and what each says. A record is repeated with other seconds."""

    name: str
    records: Sequence[tuple[str, Said]]

    def text(self, rounds: int) -> str:
        """All of them, so many times: `{S}` is the second of a record, `{N}` a number that grows."""
        parts = []
        for turn in range(rounds):
            for place, (text, _) in enumerate(self.records):
                number = turn * len(self.records) + place
                parts.append(text.replace("{S}", f"{number % 60:02d}").replace("{N}", str(number)))
        return "\n".join(parts) + "\n"


def _told(text: str, level: int, message: str, kept: str = "", timed: bool = True) -> tuple[str, Said]:
    return text, Said(level, message, 0 if timed else None, kept)


FINE = "2026-11-17 06:00:{S},120 INFO order {N} stored"

PYTHON = _told(
    "2026-11-17 06:00:{S},883 ERROR shop.order order {N} failed\n"
    "Traceback (most recent call last):\n"
    '  File "/app/rates.py", line 12, in rate\n'
    "    return table[kind]\n"
    "           ~~~~~^^^^^^\n"
    "KeyError: 'gold'\n"
    "\n"
    "The above exception was the direct cause of the following exception:\n"
    "\n"
    "Traceback (most recent call last):\n"
    '  File "/app/order.py", line 31, in price\n'
    "    rate = rates.rate(order.kind)\n"
    "shop.errors.NoRateError: no rate for gold",
    ERROR,
    "order",
    "NoRateError",
)

GUNICORN = _told(
    "[2026-11-17 06:00:{S} +0000] [7] [ERROR] Exception in worker process\n"
    "Traceback (most recent call last):\n"
    '  File "/app/wsgi.py", line 3, in <module>\n'
    "    import missing\n"
    "ModuleNotFoundError: No module named 'missing'",
    ERROR,
    "Exception in worker process",
    "ModuleNotFoundError",
)

LOGBACK = _told(
    "2026-11-17T06:00:{S}.138Z ERROR 1 --- [exec-3] c.a.OrderDao : statement failed\n"
    "org.springframework.dao.DataAccessResourceFailureException: select o.id\n"
    "from orders o\n"
    "where o.state = ?; nested exception is java.sql.SQLTransientConnectionException\n"
    "\tat com.acme.OrderDao.find(OrderDao.java:77)\n"
    "\tSuppressed: java.io.IOException: close failed\n"
    "\t\tat com.acme.Pool.close(Pool.java:9)\n"
    "\t\t... 3 common frames omitted\n"
    "Caused by: java.sql.SQLTransientConnectionException: pool-1 - Connection is not available\n"
    "\t... 12 common frames omitted",
    ERROR,
    "statement failed",
    "Connection is not available",
)

JUL = _told(
    "Nov 17, 2026 6:00:{S} AM com.acme.shop.Order price\nSEVERE: no rate for order {N}",
    ERROR,
    "no rate for order",
)

CATALINA = _told(
    "17-Nov-2026 06:00:{S}.553 SEVERE [main] org.apache.catalina.core.StandardContext.startInternal Error during start\n"
    " org.apache.catalina.LifecycleException: Failed to start component\n"
    "\t\tat org.apache.catalina.util.LifecycleBase.handle(LifecycleBase.java:440)\n"
    "\t\tat java.base/java.lang.Thread.run(Thread.java:833)",
    ERROR,
    "Error during start",
    "Failed to start component",
)

SPRING_BANNER = _told(
    "2026-11-17 06:00:{S}.138 ERROR 1 --- [main] o.s.b.d.LoggingFailureAnalysisReporter :\n"
    "\n"
    "***************************\n"
    "APPLICATION FAILED TO START\n"
    "***************************\n"
    "\n"
    "Description:\n"
    "\n"
    "Web server failed to start. Port 8080 was already in use.",
    ERROR,
    "LoggingFailureAnalysisReporter",
    "Port 8080 was already in use",
)

RUST = _told(
    "2026-11-17T06:00:{S}.454982Z ERROR shop::order: order {N} failed\n"
    "thread 'tokio-runtime-worker' panicked at src/order.rs:31:9:\n"
    "index out of bounds: the len is 3 but the index is 5\n"
    "stack backtrace:\n"
    "   0: rust_begin_unwind\n"
    "             at /rustc/82e1608dfa/library/std/src/panicking.rs:652:5\n"
    "   1: shop::order::price\n"
    "             at ./src/order.rs:31:9\n"
    "note: Some details are omitted, run with `RUST_BACKTRACE=full` for a verbose backtrace.",
    ERROR,
    "failed",
    "index out of bounds",
)

ZAP = _told(
    '2026-11-17T06:00:{S}.454Z\tERROR\tserver/main.go:33\tcharge failed\t{"order": {N}}\n'
    "main.charge\n"
    "\t/app/server/main.go:33\n"
    "main.main\n"
    "\t/app/server/main.go:12\n"
    "runtime.main\n"
    "\t/usr/local/go/src/runtime/proc.go:250",
    ERROR,
    "charge failed",
    "proc.go:250",
)

ELIXIR = _told(
    "06:00:{S}.123 [error] GenServer #PID<0.512.0> terminating\n"
    "** (RuntimeError) no rate\n"
    "    (shop 0.1.0) lib/shop/order.ex:31: Shop.Order.price/1\n"
    "    (stdlib 5.0) gen_server.erl:1123: :gen_server.try_handle_info/3\n"
    "Last message: :tick\n"
    "State: %{orders: 3}",
    ERROR,
    "terminating",
    "no rate",
)

ERLANG = _told(
    "2026-11-17 06:00:{S}.123456+00:00 [error] <0.512.0> ** Generic server shop terminating\n"
    "2026-11-17 06:00:{S}.123456+00:00 [error] <0.512.0> ** Last message in was tick",
    ERROR,
    "Generic server",
)

RUBY = _told(
    "E, [2026-11-17T06:00:{S}.123456 #12] ERROR -- : order {N} failed: undefined method `rate' for nil (NoMethodError)\n"
    "/app/lib/order.rb:31:in `price'\n"
    "/app/lib/order.rb:12:in `block in create'\n"
    "/usr/local/lib/ruby/3.2.0/monitor.rb:202:in `synchronize'",
    ERROR,
    "undefined method",
    "synchronize",
)

NODE = _told(
    "2026-11-17T06:00:{S}.120Z [ERROR] order {N} failed\n"
    "/app/order.js:31\n"
    "    throw new RangeError('no rate')\n"
    "    ^\n"
    "\n"
    "RangeError: no rate\n"
    "    at price (/app/order.js:31:11)\n"
    "    at node:internal/main/run_main_module:23:47 {\n"
    "  [cause]: Error: connect ECONNREFUSED 127.0.0.1:5432\n"
    "      at TCPConnectWrap.afterConnect (node:net:1494:16)\n"
    "}\n"
    "\n"
    "Node.js v20.11.0",
    ERROR,
    "failed",
    "ECONNREFUSED",
)

SERILOG = _told(
    "2026-11-17 06:00:{S}.123 +00:00 [ERR] Cannot reserve stock for order {N}\n"
    "System.AggregateException: One or more errors occurred. (no rate)\n"
    " ---> System.InvalidOperationException: no rate\n"
    "   at Shop.Rates.Of(String kind) in /src/Rates.cs:line 12\n"
    "   --- End of inner exception stack trace ---\n"
    "   at Shop.Order.Price() in /src/Order.cs:line 31",
    ERROR,
    "Cannot reserve stock",
    "no rate",
)

ASPNET_TIMED = _told(
    "2026-11-17 06:00:{S} fail: Shop.Orders.Checkout[7]\n"
    "      Cannot charge order {N}\n"
    "      System.TimeoutException: The operation has timed out.\n"
    "         at Shop.Orders.Checkout.Charge() in /src/Checkout.cs:line 12",
    ERROR,
    "Cannot charge order",
    "timed out",
)

PHP = _told(
    "[17-Nov-2026 06:00:{S} UTC] PHP Fatal error:  Uncaught RuntimeException: no rate in /app/order.php:31\n"
    "Stack trace:\n"
    "#0 /app/main.php(12): price()\n"
    "#1 {main}\n"
    "  thrown in /app/order.php on line 31",
    FATAL,
    "no rate",
    "thrown in",
)

PERL = _told(
    "2026/11/17 06:00:{S} [error] 7#7: *{N} FastCGI sent in stderr: no rate at /app/order.pl line 31.\n"
    "\tShop::price('gold') called at /app/main.pl line 12\n"
    "\tmain::serve() called at /app/main.pl line 3",
    ERROR,
    "no rate",
    "main::serve",
)

ORACLE = _told(
    "2026-11-17T06:00:{S}.123456+00:00\n"
    "Thread 1 advanced to log sequence {N} (LGWR switch),  current SCN: 77{N}\n"
    "  Current log# 2 seq# {N} mem# 0: /u01/oradata/redo02.log",
    NONE,
    "advanced to log sequence",
    "redo02.log",
)

DB2 = _told(
    "2026-11-17-06.00.{S}.123456+000 I{N}E500             LEVEL: Error\n"
    "PID     : 4242                 TID : 1400    PROC : db2sysc 0\n"
    "INSTANCE: db2inst1             NODE : 000    DB   : SHOP\n"
    "FUNCTION: DB2 UDB, data protection services, sqlpgResSpace, probe:2860\n"
    "MESSAGE : ADM1823E  The active log is full\n",
    ERROR,
    "The active log is full",
    "sqlpgResSpace",
)

POSTGRES = _told(
    '2026-11-17 06:00:{S}.036 UTC [1205] app@shop ERROR:  duplicate key value violates unique constraint "orders_pkey"\n'
    "2026-11-17 06:00:{S}.036 UTC [1205] app@shop DETAIL:  Key (id)=({N}) already exists.\n"
    "2026-11-17 06:00:{S}.036 UTC [1205] app@shop CONTEXT:  PL/pgSQL function store() line 3\n"
    "2026-11-17 06:00:{S}.036 UTC [1205] app@shop STATEMENT:  INSERT INTO orders (id)\n"
    "\tVALUES ({N})",
    ERROR,
    "duplicate key value",
    "already exists",
)

MARIADB_SLOW = _told(
    "# Time: 261117  6:00:{S}\n"
    "# User@Host: app[app] @ web [10.9.0.4]\n"
    "# Thread_id: 7  Schema: shop  QC_hit: No\n"
    "# Query_time: 2.500000  Lock_time: 0.000020  Rows_sent: 1  Rows_examined: 90000\n"
    "use shop;\n"
    "SET timestamp=17948952{S};\n"
    "DELETE FROM carts\n"
    "WHERE touched < {N};",
    NONE,
    "DELETE FROM carts",
    "Rows_examined",
)

MARIADB_SLOW_SAME_SECOND = (
    "# User@Host: app[app] @ web [10.9.0.5]\n"
    "# Query_time: 1.500000  Lock_time: 0.000020  Rows_sent: 1  Rows_examined: 90000\n"
    "SET timestamp=17948952{S};\n"
    "SELECT id FROM carts WHERE owner = {N};",
    Said(NONE, "SELECT id FROM carts", None),
)

AUDITD = _told(
    'type=SYSCALL msg=audit(17948952{S}.123:{N}): arch=c000003e syscall=257 success=no exit=-13 comm="cat"\n'
    'type=CWD msg=audit(17948952{S}.123:{N}): cwd="/root"\n'
    'type=PATH msg=audit(17948952{S}.123:{N}): item=0 name="/etc/shadow" nametype=NORMAL',
    NONE,
    "SYSCALL",
    "/etc/shadow",
)

WEBLOGIC = _told(
    "####<Nov 17, 2026 6:00:{S} AM UTC> <Error> <JDBC> <node1> <srv1> <[ACTIVE] ExecuteThread> <BEA-001112> "
    "<Test of pool shop failed\n"
    "java.sql.SQLException: ORA-12514\n"
    "\tat oracle.jdbc.driver.T4CConnection.logon(T4CConnection.java:420)>",
    ERROR,
    "Test of pool shop failed",
    "ORA-12514",
)

KOTLIN_INNER_TIME = [
    (FINE, Said(INFO, "stored", 0)),
    (
        "2026-11-17 06:00:{S},883 ERROR order {N} failed\njava.lang.IllegalStateException: no rate\n"
        "\tat com.acme.Rate.of(Rate.kt:12)",
        Said(ERROR, "failed", 0, "no rate"),
    ),
    ("2026-11-17 06:00:{S},884 WARN Caused by: a timeout upstream", Said(WARN, "a timeout upstream", 0)),
]
"""`Caused by` with a time and a level of its own is a record of its own."""

KERNEL = [
    ("Nov 17 06:00:{S} node1 kernel: BUG: unable to handle page fault", Said(NONE, "unable to handle", 0)),
    ("Nov 17 06:00:{S} node1 kernel: Call Trace:", Said(NONE, "Call Trace", 0)),
    ("Nov 17 06:00:{S} node1 kernel:  ? __die+0x23/0x70", Said(NONE, "__die", 0)),
]
"""Lines of syslog are records each, whatever they are indented by."""

BARE = [
    ("listening on 8080", Said(NONE, "listening", None)),
    ("order {N} stored", Said(NONE, "stored", None)),
    ("cache warm after {N} keys", Said(NONE, "cache warm", None)),
]
"""Without times and without traces, a line is a record."""

PANIC_ALONE = [
    (FINE, Said(INFO, "stored", 0)),
    (FINE, Said(INFO, "stored", 0)),
    (
        "panic: assignment to entry in nil map\n\ngoroutine 1 [running]:\nmain.main()\n\t/app/main.go:12 +0x88\n"
        "exit status 2",
        Said(FATAL, "assignment to entry in nil map", None, "goroutine 1"),
    ),
]
"""What ends a program is no part of the calm line before it."""

TWO_FORMS = [
    (FINE, Said(INFO, "stored", 0)),
    ('10.0.0.1 - - [17/Nov/2026:06:00:{S} +0000] "GET /cart HTTP/1.1" 200 12', Said(NONE, "GET /cart", 0)),
]
"""Lines with a time in another form than most are records too."""

PRETTY = _told(
    '{\n  "time": "2026-11-17T06:00:{S}Z",\n  "level": "error",\n  "service": "cart",\n  "message": "order {N} failed"\n}',
    ERROR,
    "failed",
)


def _with_calm(record: tuple[str, Said]) -> list[tuple[str, Said]]:
    return [(FINE, Said(INFO, "stored", 0)), record, (FINE, Said(INFO, "stored", 0))]


CASES = (
    Case("python, chained", _with_calm(PYTHON)),
    Case("gunicorn", [GUNICORN, GUNICORN]),
    Case("logback with a statement", _with_calm(LOGBACK)),
    Case("java.util.logging", [JUL, JUL]),
    Case("catalina", [CATALINA, CATALINA]),
    Case("spring, failed to start", _with_calm(SPRING_BANNER)),
    Case("rust panic", [RUST, RUST]),
    Case("zap", [ZAP, ZAP]),
    Case("elixir", [ELIXIR, ELIXIR]),
    Case("erlang", [(line, ERLANG[1]) for line in ERLANG[0].split("\n")[:1]]),
    Case("ruby logger", [RUBY, RUBY]),
    Case("node", [NODE, NODE]),
    Case("serilog text", [SERILOG, SERILOG]),
    Case("aspnet with times", [ASPNET_TIMED, ASPNET_TIMED]),
    Case("php error log", [PHP, PHP]),
    Case("perl", [PERL, PERL]),
    Case("oracle alert log", [ORACLE, ORACLE]),
    Case("db2diag", [DB2, DB2]),
    Case("postgres, error", [POSTGRES, POSTGRES]),
    Case("mariadb slow log", [MARIADB_SLOW, MARIADB_SLOW_SAME_SECOND]),
    Case("auditd", [AUDITD, AUDITD]),
    Case("weblogic", [WEBLOGIC, WEBLOGIC]),
    Case("caused by, with a time", KOTLIN_INNER_TIME),
    Case("kernel by syslog", KERNEL),
    Case("without times", BARE),
    Case("panic of a calm program", PANIC_ALONE),
    Case("two forms of time", TWO_FORMS),
    Case("pretty printed JSON", [PRETTY, PRETTY]),
)
