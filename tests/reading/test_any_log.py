"""Time, level, service and message of a line, as programs, shippers and runtimes write them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from exporter.ingest.reduction import reduce
from exporter.ingest.settings import ReductionSettings
from exporter.model import Severity
from exporter.reading.told import Told
from integrations.file import FileSettings

SETTINGS = ReductionSettings(redaction_key=b"0123456789abcdef")
NOON = "2026-11-17T12:00:00Z"
ERROR, WARN, INFO, DEBUG, FATAL = Severity.ERROR, Severity.WARN, Severity.INFO, Severity.DEBUG, Severity.FATAL


async def read(path: Path, content: str | bytes, told: Told | None = None, **settings: Any) -> list[dict[str, Any]]:
    """What is read of each record of a file: time, service, host, level, trace and message."""
    path.write_bytes(content.encode() if isinstance(content, str) else content)  # noqa: ASYNC240
    files = FileSettings(type="file", name="files", path=(str(path),), **settings)
    found: list[dict[str, Any]] = []
    async for page in files.read([str(path)], told):
        reduced = reduce(page.with_columns(pl.col("timestamp").fill_null(0)), SETTINGS)
        names = dict(reduced.names.select("key", "text").iter_rows())
        for line, body, timestamp in zip(reduced.lines.rows(named=True), page["body"], page["timestamp"], strict=True):
            if not line["continuation"]:
                at = datetime.fromtimestamp(timestamp / 1e9, UTC).isoformat() if timestamp else None
                told_of = {name: names.get(line[name]) for name in ("service", "host")}
                found.append({"at": at, "level": line["severity"], "body": body, **told_of})
    return found


def lines_of(template: str | dict[str, Any], many: int = 8) -> str:
    """Lines with the time of noon, of which %s is the second."""
    text = json.dumps(template, ensure_ascii=False) if isinstance(template, dict) else template
    return "".join(text.replace("%s", f"{second:02d}") + "\n" for second in range(many))


JOURNALD = {
    "__REALTIME_TIMESTAMP": "17949168%s000000",
    "PRIORITY": "3",
    "CONTAINER_NAME": "cart",
    "SYSLOG_IDENTIFIER": "8f3a11c2d4e5",
}


@pytest.mark.parametrize(
    ("line", "service", "level"),
    [
        ("cart-1  | 2026-11-17T12:00:%s.666649000Z INFO request done", "cart", INFO),
        ("\x1b[36mcart-1  | \x1b[0m2026-11-17T12:00:%sZ \x1b[31mERROR\x1b[0m request failed", "cart", ERROR),
        ("cart  | 2026-11-17T12:00:%sZ WARN request slow", "cart", WARN),
        ("shop_cart.2.x7k1p9q2w3e4r5t6y7u8i9o0a@node-3    | 2026-11-17T12:00:%sZ INFO request done", "shop_cart", INFO),
        ("cart-7d9f6c5b8-x2k4p app 2026-11-17T12:00:%sZ INFO request done", "cart", INFO),
        ("db-0 postgres 2026-11-17T12:00:%sZ INFO request done", "postgres", INFO),
        ("[pod/cart-7d9f6c5b8-x2k4p/cart] 2026-11-17T12:00:%sZ INFO request done", "cart", INFO),
        ("2026-11-17T12:00:%s.138603000Z 2026-11-17 13:00:%s,138 ERROR request failed", None, ERROR),
        ("2026-11-17T12:00:%s.138603Z stdout F level=error msg=failed", None, ERROR),
        ("<27>Nov 17 12:00:%s gw1 radiusd[811]: no answer", "radiusd", ERROR),
        ("134 <134>1 2026-11-17T13:00:%s+01:00 gw1 radiusd 603 ID3 - lease renewed", "radiusd", INFO),
        ("Nov 17 2026 12:00:%s FW-EDGE-2 : %ASA-1-105005: Lost Failover communications", None, FATAL),
        ("2026-11-17 12:00:%s,485 [错误] [支付服务] 调用银行网关失败", "支付服务", ERROR),
        ("17.11.2026 12:00:%s [ОШИБКА] Касса не отвечает", None, ERROR),
        ("17. November 2026 12:00:%s FEHLER Kasse antwortet nicht", None, ERROR),
        ("[Tue Nov 17 12:00:%s.051476 2026] [proxy:error] [pid 17011] AH00959: disabling worker", None, ERROR),
        ("[2026-11-17T12:00:%s.272+0000][5.272s][warning][gc,start] GC(1) Pause Full", None, WARN),
        ("2026-11-17T12:00:%s.097338+00:00 heroku[router]: at=error code=H12 status=503", None, ERROR),
        ("2026-11-17 13:00:%s.036 CET [1205] svc@stock FATAL:  remaining connection slots", None, FATAL),
        ("2026-11-17 07:00:%s EST svc LOG:  connection received", None, INFO),
        ("2026-11-17 15:00:%s.603 +03 E connection lost", None, ERROR),
        ("Tue Nov 17 13:00:%s CET 2026 [E] connection lost", None, ERROR),
        ("Tuesday, 17-Nov-26 12:00:%s UTC ERROR connection lost", None, ERROR),
        ("app[2026-11-17 12:00:%s] shop.ERROR: connection lost", None, ERROR),
        ({"@t": "2026-11-17T12:00:%sZ", "@mt": "Order {Id} lost", "Id": 7, "Application": "sdm"}, "sdm", INFO),
        ({"@t": "2026-11-17T12:00:%sZ", "@mt": "Order lost", "@l": "Error", "Application": "sdm"}, "sdm", ERROR),
        ({"t": {"$date": "2026-11-17T12:00:%s.010+00:00"}, "s": "E", "c": "REPL", "msg": "sync"}, None, ERROR),
        ({"EventTime": "2026-11-17 12:00:%s", "Severity": "ERROR", "Message": "An account failed"}, None, ERROR),
        ({"@timestamp": NOON, "log": {"level": "fehler"}, "winlog": {"provider_name": "SCM"}}, "SCM", ERROR),
        ({"time_iso8601": "2026-11-17T12:00:%s+00:00", "request": "GET /", "status": 200}, None, 0),
        ({"timestamp": 1794916800.5, "level": 3, "short_message": "no", "facility": "radiusd"}, "radiusd", ERROR),
        ({"time": 1794916800500, "level": 50, "name": "cart", "hostname": "n", "pid": 1, "msg": "no"}, "cart", ERROR),
        ({"wann": "2026-11-17T12:00:%s", "stufe": "Fehler", "was": "Kasse %s antwortet nicht"}, None, ERROR),
        ({"data": {"ctx": {"ts": "2026-11-17T12:00:%sZ", "level": "error", "service": "cart"}}}, "cart", ERROR),
        ({**JOURNALD, "MESSAGE": 'time="x" level=info msg="handled"'}, "cart", INFO),
        ({**JOURNALD, "MESSAGE": "no level at all"}, "cart", ERROR),
        ({**JOURNALD, "MESSAGE": list(b"\x1b[31mWARN\x1b[0m disk")}, "cart", WARN),
    ],
)  # fmt: skip
async def test_a_line_says_when_it_was_written_by_whom_and_how_bad_it_is(
    tmp_path: Path, line: str | dict[str, Any], service: str | None, level: int
) -> None:
    found = await read(tmp_path / "some.log", lines_of(line))
    assert len(found) == 8
    assert {(record["service"], record["level"]) for record in found} == {(service or "some", level)}
    assert {(record["at"] or "")[:17] for record in found} <= {"2026-11-17T12:00:", "2026-11-17T12:01:"}


async def test_records_that_come_several_at_once_are_records_each(tmp_path: Path) -> None:
    def record(second: int, level: str) -> dict[str, Any]:
        body = {"stringValue": f"item {second} viewed"}
        return {"timeUnixNano": f"{1794916800 + second}000000000", "severityText": level, "body": body}

    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": "cart"}}]}
    logs = [{"resource": resource, "scopeLogs": [{"logRecords": [record(0, "INFO"), record(1, "ERROR")]}]}]
    events = [{"id": "1", "timestamp": 1794916802000, "message": "[ERROR] cannot save"}]
    lines = [{"resourceLogs": logs}, {"logGroup": "/aws/lambda/pay", "logEvents": events}]
    found = await read(tmp_path / "batch.json", "".join(f"{json.dumps(line)}\n" for line in lines))
    assert [(record["service"], record["level"], record["body"]) for record in found] == [
        ("cart", INFO, "item 0 viewed"),
        ("cart", ERROR, "item 1 viewed"),
        ("pay", ERROR, "[ERROR] cannot save"),
    ]
    assert [record["at"][-14:-6] for record in found] == ["12:00:00", "12:00:01", "12:00:02"]


# --- Columns ------------------------------------------------------------------------------------------


async def test_columns_are_known_by_what_names_them(tmp_path: Path) -> None:
    w3c = "#Software: IIS\n#Fields: date time s-ip sc-status time-taken\n" + lines_of(
        "2026-11-17 12:00:%s 10.0.0.1 503 12"
    )
    found = await read(tmp_path / "w3c.log", w3c)
    assert [record["at"][-14:-6] for record in found] == [f"12:00:{second:02d}" for second in range(8)]
    assert found[0]["body"] == "2026-11-17 12:00:00 10.0.0.1 503 12"

    table = "seq;service;level;timestamp;message\n" + lines_of('7;cart;ERROR;2026-11-17 12:00:%s+00:00;"a; b ""c"" d"')
    found = await read(tmp_path / "table.csv", table)
    assert {(record["service"], record["level"], record["body"]) for record in found} == {("cart", ERROR, 'a; b "c" d')}
    assert len(found) == 8


async def test_a_quoted_text_spans_lines_and_a_quote_that_never_ends_swallows_nothing(tmp_path: Path) -> None:
    row = 'cart,ERROR,2026-11-17 12:00:%s,"first line\nsecond line"'
    found = await read(tmp_path / "table.csv", "service,level,time,message\n" + lines_of(row))
    assert [record["body"] for record in found] == ["first line\nsecond line"] * 8
    broken = 'cart,ERROR,2026-11-17 12:00:00,"never ends\n' + lines_of("cart,INFO,2026-11-17 12:00:%s,fine", 900)
    found = await read(tmp_path / "broken.csv", "service,level,time,message\n" + broken)
    assert sum(record["body"] == "fine" for record in found) == 900


async def test_postgres_writes_no_header(tmp_path: Path) -> None:
    row = (
        '2026-11-17 15:00:%s.603 +03,"svc","ledger",1224,"10.7.0.2:51224",6504c8.4c8,92,"SELECT",'
        '2026-11-17 08:40:11 +03,54/92,0,ERROR,40P01,"deadlock detected","Process 1 waits.\nProcess 2 waits.",'
        ',,,,,,,"app","client backend",,0'
    )
    found = await read(tmp_path / "pg.csv", lines_of(row))
    assert {(record["level"], record["body"]) for record in found} == {(ERROR, "deadlock detected")}
    assert found[0]["at"] == "2026-11-17T12:00:00.603000+00:00"


# --- Clocks -------------------------------------------------------------------------------------------


async def test_the_hour_that_a_clock_shows_twice_is_unfolded_by_the_order_of_lines(tmp_path: Path) -> None:
    shown = ["01:59:00", "02:10:00", "02:09:59", "02:59:00", "02:00:30", "02:50:30", "03:00:00"]
    text = "".join(f"2026-10-25 {clock} INFO till open\n" for clock in shown)
    found = await read(tmp_path / "till.log", text, timezone="Europe/Berlin")
    instants = [record["at"][8:19] for record in found]
    assert instants == [
        "24T23:59:00", "25T00:10:00", "25T00:09:59", "25T00:59:00", "25T01:00:30", "25T01:50:30", "25T02:00:00",
    ]  # fmt: skip


async def test_letters_of_several_zones_are_told_and_read_as_the_zone_that_is_set(tmp_path: Path) -> None:
    told = Told()
    found = await read(tmp_path / "a.log", lines_of("2026-11-17 12:00:%s IST INFO start"), told, timezone="Asia/Tokyo")
    assert found[0]["at"] == "2026-11-17T03:00:00+00:00"
    assert (dict(told.zones), told.timezone) == ({"IST": 8}, "Asia/Tokyo")


# --- Encodings ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("codec", "name", "word"),
    [
        ("utf-8", "utf-8", "ошибка"),
        ("utf-16", "utf-16 with BOM", "错误"),
        ("utf-16le", "utf-16le", "Größe"),
        ("gb18030", "gb18030", "调用银行网关失败，库存服务没有回答"),
        ("cp1251", "windows-1251", "Касса не отвечает, заказ не сохранён"),
        ("cp1252", "windows-1252", "Größe überschritten für die Straße"),
    ],
)
async def test_what_text_is_written_in_is_found_out(tmp_path: Path, codec: str, name: str, word: str) -> None:
    told = Told()
    text = lines_of("2026-11-17 12:00:%s INFO plain", 3000) + lines_of(f"2026-11-17 12:00:%s ERROR {word}", 40)
    found = await read(tmp_path / "some.log", text.encode(codec), told)
    assert told.encoding == name
    assert found[-1]["body"].endswith(f"ERROR {word}")
    assert len(found) == 3040


async def test_a_broken_letter_makes_no_other_encoding_of_a_text(tmp_path: Path) -> None:
    told = Told()
    text = lines_of("2026-11-17 12:00:%s INFO Größe").encode() + b"2026-11-17 12:00:09 INFO caf\xe9\n"
    assert len(await read(tmp_path / "some.log", text, told)) == 9
    assert (told.encoding, told.undecoded) == ("utf-8", 1)


async def test_where_things_come_from_is_told(tmp_path: Path) -> None:
    told = Told()
    await read(tmp_path / "some.ndjson", lines_of({"wann": "2026-11-17T12:00:%sZ", "level": "info", "msg": "x"}), told)
    shares = told.shares()
    assert told.chosen == {"timestamp": ("wann",)}
    assert shares["timestamp"] == {"wann": 1.0, "missing": 0.0}
    assert shares["severity"] == {"level": 1.0, "missing": 0.0}
    assert shares["trace"] == {"missing": 1.0}
