"""The file source: every form, growth and rotation, and no line twice or lost."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import sys
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.model import (
    ConfigError,
    Context,
    Severity,
    TimeRange,
    TransientError,
    from_nanoseconds,
    nanoseconds,
    page_schema,
)
from exporter.reading.times import recognise
from integrations.file import FileSettings, index, listing
from integrations.file import content as contents
from integrations.file import pages as kept
from integrations.file.content import kind_of, owner_of, stream_of
from integrations.file.once import read_pages
from integrations.file.source import FileSource

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
RANGE = TimeRange(NOON, NOON + HOUR)


class Clock:
    def now(self) -> datetime:
        return NOON + HOUR


def source(path: Path | str, **values: Any) -> FileSource:
    return FileSettings(name="shop", path=(str(path),), **values).build(Context(clock=Clock()))


def stamp(seconds: float) -> str:
    return (NOON + timedelta(seconds=seconds)).strftime("%Y-%m-%d %H:%M:%S.%f")


def text(numbers: Iterable[int]) -> str:
    return "".join(f"{stamp(n)} INFO request {n} served\n" for n in numbers)


async def read(found: FileSource, time_range: TimeRange = RANGE) -> pl.DataFrame:
    pages = [page async for page in found.query(time_range)]
    return pl.concat(pages).sort("timestamp", "sequence") if pages else pl.DataFrame(schema=page_schema())


async def all_of(*paths: Path | str, **values: Any) -> pl.DataFrame:
    names = [str(path) for path in paths]
    pages = [page async for page in read_pages(names, FileSettings(name="files", path=tuple(names), **values))]
    return pl.concat(pages) if pages else pl.DataFrame(schema=page_schema())


def of_a_gone_writer(path: Path) -> None:
    """As if nobody had written to the file for long."""
    os.utime(path, (NOON.timestamp(), NOON.timestamp()))


# --- Times ------------------------------------------------------------------------------------------------

TIMES = {
    "2026-03-01T13:00:00.5+01:00 INFO x": 0.5,
    "2026-03-01 12:00:00,123 - INFO x": 0.123,
    "2026-03-01 12:00:00.123 UTC [12] LOG: x": 0.123,
    "2026/03/01 12:00:01 [error] 31#31: x": 1,
    '10.0.0.1 - - [01/Mar/2026:13:00:02 +0100] "GET / HTTP/1.1" 200 12': 2,
    "[Sun Mar 01 12:00:03.250000 2026] [core:error] x": 3.25,
    "1772366404 x": 4,
    "1772366404123 x": 4.123,
    "level=info ts=1772366405.5 msg=x": 5.5,
    'level=info ts=2026-03-01T12:00:05Z msg="x y"': 5,
    "I0301 12:00:06.000000       1 main.go:12] x": 6,
    "<13>Mar  1 12:00:07 node-1 sshd[24200]: x": 7,
    "260301 120008 148 INFO dfs.DataNode: x": 8,
    "26/03/01 12:00:09 INFO executor.Backend: x": 9,
    "03-01 12:00:10.500  1702  2395 D PowerManager: x": 10.5,
    "20260301-12:00:11:606|Step_LSC|x": 11,
    "01-Mar-2026 12:00:12.000 INFO [main] x": 12,
    "1234:M 01 Mar 2026 12:00:13.100 * x": 13.1,
    "Mar 01, 2026 12:00:14 PM org.apache.Foo x": 14,
    "01.03.2026 12:00:15 x": 15,
    "3/1/2026, 12:00:16 PM x": 16,
    "- 1772366417 2026.03.01 R02-M1 x": 17,
    "[20260301T120018Z] x": 18,
}


@pytest.mark.parametrize("line", TIMES)
def test_the_time_that_a_line_begins_with_is_found(line: str) -> None:
    lines = pl.Series([line])
    found = recognise(lines, NOON + HOUR)
    assert found is not None
    assert found.times(lines, NOON + HOUR).to_list() == [nanoseconds(NOON + timedelta(seconds=TIMES[line]))]


def test_a_time_without_a_year_is_the_last_one_that_was() -> None:
    lines = pl.Series(["Dec 31 23:59:59 a b: x", "Jan  1 00:00:01 a b: y"])
    found = recognise(lines, datetime(2026, 1, 1, tzinfo=UTC))
    assert found is not None
    years = [from_nanoseconds(value).year for value in found.times(lines, datetime(2026, 1, 1, tzinfo=UTC))]
    assert years == [2025, 2026]


def test_days_come_before_months_where_only_that_makes_sense() -> None:
    lines = pl.Series(["13/03/2026 12:00:00 x", "01/04/2026 12:00:00 x", "30/04/2026 12:00:00 x"])
    found = recognise(lines, NOON)
    assert found is not None
    assert [from_nanoseconds(value).month for value in found.times(lines, NOON)] == [3, 4, 4]


def written_at(path: Path, moment: datetime) -> None:
    os.utime(path, (moment.timestamp(), moment.timestamp()))


async def test_a_time_of_day_is_of_the_day_on_which_the_file_was_written_or_of_one_before(tmp_path: Path) -> None:
    path = tmp_path / "app.log"
    lines = [
        "22:00:00.5 INFO a",
        "  continued",
        "02:00:00,25 INFO b",
        "01:59:59 INFO late",
        "23:59:59 INFO c",
        "00:00:05 INFO d",
    ]
    path.write_text("\n".join(lines) + "\n")
    written_at(path, NOON - 11 * HOUR)
    whole = TimeRange(NOON - 10 * 24 * HOUR, NOON + HOUR)
    for found in (await read(source(path), whole), await all_of(path)):
        at = [from_nanoseconds(value).strftime("%d %H:%M:%S") for value in found.sort("sequence")["timestamp"]]
        assert at == ["27 22:00:00", "27 22:00:00", "28 02:00:00", "28 01:59:59", "28 23:59:59", "01 00:00:05"]


async def test_a_log_without_dates_grows_over_days_of_silence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "CACHED_PAGES", 0)
    path = tmp_path / "app.log"
    whole = TimeRange(NOON - 10 * 24 * HOUR, NOON + HOUR)
    path.write_text("18:00:00 INFO friday\n")
    written_at(path, NOON - 42 * HOUR)
    shop = source(path)
    await read(shop, whole)
    for added, moment in (("09:00:00 INFO sunday\n", NOON - 3 * HOUR), ("11:30:00 INFO later\n", NOON)):
        with path.open("a") as file:
            file.write(added)
        written_at(path, moment)
        found = await read(shop, whole)
    at = [from_nanoseconds(value).strftime("%d %H:%M") for value in found["timestamp"]]
    assert at == ["27 18:00", "01 09:00", "01 11:30"]
    assert sum((await shop.count(whole, HOUR)).values()) == 3


async def test_clocks_without_a_date_are_those_of_the_configured_zone(tmp_path: Path) -> None:
    path = tmp_path / "app.log"
    path.write_text("13:00:00 INFO a\n")
    written_at(path, NOON + timedelta(minutes=5))
    assert (await read(source(path, timezone="Europe/Berlin")))["timestamp"].to_list() == [nanoseconds(NOON)]


def test_lines_without_any_time_are_not_given_one() -> None:
    assert recognise(pl.Series(["hello world", "there is 1 of 12 things", "10.0.0.1:8080 up"]), NOON) is None


async def test_times_without_a_zone_are_of_the_zone_that_is_configured(tmp_path: Path) -> None:
    path = tmp_path / "orders.log"
    path.write_text("2026-03-01 13:00:00 x\n2026-03-01T12:00:01Z y\n")
    lines = await read(source(path, timezone="Europe/Berlin"))
    assert [value - nanoseconds(NOON) for value in lines["timestamp"]] == [0, 10**9]


@pytest.mark.parametrize("system", ["Apache", "BGL", "HDFS", "Hadoop", "HealthApp", "Linux", "Mac", "OpenSSH", "Spark", "Windows", "Zookeeper"])  # noqa: E501  # fmt: skip
def test_times_of_real_systems_are_found_in_every_line(system: str, shared_data: Path) -> None:
    lines = pl.read_parquet(shared_data / "loghub" / "loghub_2k.parquet").filter(pl.col("system") == system)["raw"]
    found = recognise(lines, NOON)
    assert found is not None
    assert found.times(lines, NOON).null_count() == 0


# --- Forms ------------------------------------------------------------------------------------------------


async def test_lines_of_text_become_a_page(tmp_path: Path) -> None:
    path = tmp_path / "orders.log"
    path.write_text(text(range(3)))
    lines = await read(source(path))
    assert dict(lines.schema) == page_schema()
    assert lines["body"].to_list() == text(range(3)).splitlines()
    assert [value - nanoseconds(NOON) for value in lines["timestamp"]] == [0, 10**9, 2 * 10**9]
    assert lines["sequence"].to_list() == [1, 2, 3]
    assert set(lines["service"]) == {"orders"}
    assert lines["id"].n_unique() == 3


async def test_a_line_without_a_time_has_that_of_the_line_before(tmp_path: Path) -> None:
    trace = f"{stamp(1)} ERROR boom\njava.lang.Error: x\n\tat a.b(C.java:1)\n\n{stamp(2)} INFO on\n"
    path = tmp_path / "orders.log"
    path.write_text("banner\n" + trace)
    shop = source(path)
    lines = await read(shop)
    assert [(value - nanoseconds(NOON)) // 10**9 for value in lines["timestamp"]] == [1, 1, 1, 2]
    assert lines["sequence"].to_list() == [2, 3, 4, 6]
    assert await shop.unusable() == {"absent_timestamp": 1}


async def test_programs_of_a_syslog_are_its_services(tmp_path: Path) -> None:
    path = tmp_path / "syslog"
    path.write_text("Mar  1 12:00:01 node-1 sshd(pam_unix)[12]: hello\nMar  1 12:00:02 node-1 postfix/smtpd[3]: bye\n")
    os.utime(path, ((NOON + HOUR).timestamp(),) * 2)
    lines = await read(source(path))
    assert lines["service"].to_list() == ["sshd", "smtpd"]
    assert set(lines["host"]) == {"node-1"}


async def test_a_pattern_says_where_the_service_stands(tmp_path: Path) -> None:
    path = tmp_path / "all.log"
    path.write_text(f"{stamp(1)} ERROR [orders] no stock\n{stamp(2)} INFO [cart] ok\n{stamp(3)} nothing\n")
    lines = await read(source(path, pattern=r"(?P<severity>[A-Z]+) \[(?P<service>[\w-]+)\] (?P<body>.*)"))
    assert lines["service"].to_list() == ["orders", "cart", "all"]
    assert lines["severity"].to_list() == [Severity.ERROR, Severity.INFO, 0]
    assert lines["body"].to_list() == ["no stock", "ok", f"{stamp(3)} nothing"]


async def test_documents_are_read_by_the_usual_fields(tmp_path: Path) -> None:
    path = tmp_path / "shop.log"
    documents = [
        {"@timestamp": stamp(1), "message": "a", "service": {"name": "orders"}, "log.level": "error", "trace_id": "t"},
        {"time": (NOON.timestamp() + 2) * 1000, "msg": "b", "level": 40},
        {"ts": stamp(3), "unknown": "words"},
    ]
    lines_of = [json.dumps(document) for document in documents]
    path.write_text("\n".join([*lines_of, "panic: runtime error", "", '{"message": "no time"}']) + "\n")
    shop = source(path)
    lines = await read(shop)
    assert lines["body"].to_list() == ["a", "b", lines_of[2], "panic: runtime error"]
    assert lines["service"].to_list() == ["orders", "shop", "shop", "shop"]
    assert lines["severity"].to_list() == [Severity.ERROR, Severity.WARN, 0, 0]
    assert lines["trace"].to_list() == ["t", None, None, None]
    assert await shop.unusable() == {"absent_timestamp": 1}


async def test_lines_of_docker_are_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "pods" / "orders-json.log"
    path.parent.mkdir()
    path.write_text(json.dumps({"log": "hello\n", "stream": "stdout", "time": "2026-03-01T12:00:01.5Z"}) + "\n")
    assert (await read(source(path)))["body"].to_list() == ["hello"]


async def test_columns_of_parquet_are_mapped(tmp_path: Path) -> None:
    path = tmp_path / "orders.parquet"
    moments = [NOON.replace(tzinfo=None) + timedelta(seconds=n) for n in range(50_000)]
    pl.DataFrame(
        {
            "when": moments,
            "text": [f"line {n}" for n in range(50_000)],
            "level": ["INFO", "ERROR"] * 25_000,
            "k8s": [{"app": "cart", "pod": "cart-1"}] * 50_000,
        }
    ).write_parquet(path)
    fields = {"timestamp": "when", "body": "text", "service": "k8s.app", "host": "k8s.pod"}
    shop = source(path, fields=fields)
    lines = await read(shop)
    assert lines.height == 3600
    assert lines.row(1, named=True) | {"id": "", "stream": ""} == {
        **dict.fromkeys(page_schema()),
        "id": "",
        "timestamp": nanoseconds(NOON) + 10**9,
        "sequence": 1,
        "stream": "",
        "service": "cart",
        "severity": Severity.ERROR,
        "body": "line 1",
        "host": "cart-1",
    }
    assert sum((await shop.count(TimeRange(NOON, NOON + 24 * HOUR), HOUR)).values()) == 50_000


async def test_real_logs_in_parquet_are_read_whole(shared_data: Path) -> None:
    path = shared_data / "trainticket" / "normal_2023-01-29.parquet"
    lines = await all_of(path)
    assert lines.height == 2489
    assert lines["timestamp"].null_count() == 0
    assert lines["trace"].null_count() < 2489
    hdfs = await all_of(
        shared_data / "hdfs" / "events.parquet",
        fields={"timestamp": "m_timestamp", "body": "m_message"},
        sessions={"field": "seq_id"},
    )
    assert hdfs.height == 222_579
    assert hdfs["session"].n_unique() == 11_501


@pytest.mark.parametrize("packing", ["plain", "gzip", "zstd"])
async def test_packed_files_are_read_as_they_were(packing: str, tmp_path: Path) -> None:
    data = text(range(3000)).encode()
    name = {"plain": "orders.log", "gzip": "orders.log.gz", "zstd": "orders.log.zst"}[packing]
    packed = {"plain": data, "gzip": gzip.compress(data), "zstd": zstandard.ZstdCompressor().compress(data)}[packing]
    (tmp_path / name).write_bytes(packed)
    shop = source(tmp_path)
    assert (await read(shop))["body"].to_list() == data.decode().splitlines()
    assert sum((await shop.count(RANGE, HOUR)).values()) == 3000
    assert (await read(shop, TimeRange(NOON + HOUR / 2, NOON + HOUR))).height == 1200


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"PAR1....", "parquet"),
        (b'{"a": 1}\n{"b": 2}\n', "ndjson"),
        (b"{ not json\n", "text"),
        (b"\x7fELF\x00\x01", "binary"),
        (b"\x00\x00\x00hello\n", "text"),
        (b"\xff\xfeh\x00", "binary"),
    ],
)
def test_forms_are_told_apart_by_what_a_file_begins_with(head: bytes, kind: str) -> None:
    assert kind_of(head) == kind


@pytest.mark.parametrize(
    ("path", "stream", "service"),
    [
        ("/var/log/orders.log", "/var/log/orders.log", "orders"),
        ("/var/log/orders.log.1", "/var/log/orders.log", "orders"),
        ("/var/log/orders.log-20260301.gz", "/var/log/orders.log", "orders"),
        ("/var/log/orders.2026-03-01.3.log", "/var/log/orders.log", "orders"),
        ("/var/log/node-1.log", "/var/log/node-1.log", "node-1"),
        ("/var/log/nginx/error.log.2", "/var/log/nginx/error.log", "nginx"),
        ("/var/log/pods/shop_cart-7f-x_1b/main/0.log", "/var/log/pods/shop_cart-7f-x_1b/main/0.log", "main"),
        (f"/var/log/containers/cart-7f_shop_main-{'a' * 64}.log", None, "main"),
    ],
)
def test_names_of_files_say_whose_log_it_is(path: str, stream: str | None, service: str) -> None:
    assert stream_of(Path(path)) == (stream or path)
    assert owner_of(Path(path))[0] == service


# --- Documents and text in one file ---------------------------------------------------------------------


def document(second: float, body: str) -> str:
    return json.dumps({"time": f"{NOON + timedelta(seconds=second):%Y-%m-%dT%H:%M:%S.%fZ}", "msg": body}) + "\n"


TRACE = "Traceback (most recent call last):\n" + "".join(f'  File "x.py", line {n}\n' for n in range(60))
BANNER = "".join(f"=== starting, step {n} ===\n" for n in range(60))


@pytest.mark.parametrize("stray", [TRACE, BANNER, f"{stamp(0.5)} INFO starting\n", "{ half a document\n"])
@pytest.mark.parametrize("where", ["first", "between"])
async def test_lines_of_text_among_documents_leave_the_documents_what_they_are(
    stray: str, where: str, tmp_path: Path
) -> None:
    documents = [document(n, f"order {n} taken") for n in range(20)]
    documents.insert(0 if where == "first" else 10, stray)
    path = tmp_path / "orders.log"
    path.write_text("".join(documents))
    shop = source(path)
    found = await read(shop)
    assert [body for body in found["body"] if body.startswith("order")] == [f"order {n} taken" for n in range(20)]
    strays = found.filter(~pl.col("body").str.starts_with("order"))
    own = stray.startswith("2026")
    if where == "between" or own:
        assert strays["body"].to_list() == stray.splitlines()
        second = 0.5 if own else 9
        assert set(strays["timestamp"]) == {nanoseconds(NOON + timedelta(seconds=second))}
    else:
        assert strays.is_empty()
        assert await shop.unusable() == {"absent_timestamp": stray.count("\n")}
    assert sum((await shop.count(RANGE, HOUR)).values()) == found.height


async def test_documents_that_follow_a_long_banner_later_are_documents(tmp_path: Path) -> None:
    path = tmp_path / "orders.log"
    path.write_text(BANNER * 10 + document(0, "order 0 taken"))
    shop = source(path)
    await read(shop)
    with path.open("a") as file:
        file.write(
            document(1, "order 1 taken") + "panic: order lost at 2020-01-01T00:00:00Z\n" + document(2, "order 2")
        )
    found = await read(shop)
    assert found["body"].to_list() == [
        "order 0 taken",
        "order 1 taken",
        "panic: order lost at 2020-01-01T00:00:00Z",
        "order 2",
    ]


async def test_documents_in_a_log_of_text_continue_it_unless_they_have_a_time(tmp_path: Path) -> None:
    path = tmp_path / "orders.log"
    path.write_text(f'{stamp(0)} INFO request\n{{"order": 1}}\n{stamp(1)} INFO response\n{document(2, "taken")}')
    found = await read(source(path))
    assert found["body"].to_list() == [f"{stamp(0)} INFO request", '{"order": 1}', f"{stamp(1)} INFO response", "taken"]


@settings(max_examples=60, deadline=None)
@given(
    first=st.sampled_from("dt"),
    kinds=st.lists(st.sampled_from("dtcju"), min_size=1, max_size=60),
    block=st.sampled_from([60, 300, 2 * 1024 * 1024]),
)
async def test_however_documents_and_text_alternate_index_and_pages_agree(
    tmp_path_factory: pytest.TempPathFactory, first: str, kinds: list[str], block: int
) -> None:
    path = tmp_path_factory.mktemp("logs") / "orders.log"
    make = {
        "d": lambda n: document(n, f"order {n} taken"),
        "t": lambda n: f"{stamp(n)} INFO request {n}\n",
        "c": lambda n: f"   at line {n} since 2020-01-01T00:00:00Z\n",
        "j": lambda n: f'{{"payload": {n}}}\n',
        "u": lambda n: f'{{"unfinished": {n}\n',
    }
    kinds = [first, *kinds]
    lines = [make[kind](number) for number, kind in enumerate(kinds)]
    shop = source(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(contents, "BLOCK", block)
        patch.setattr(index, "BLOCK", block)
        for end in (len(lines) // 2, len(lines)):
            path.write_text("".join(lines[:end]))
            await read(shop)
        for shop_now in (shop, source(path)):
            found = await read(shop_now)
            assert found["sequence"].is_sorted()
            assert found["id"].n_unique() == found.height
            assert found.filter(pl.col("timestamp") < nanoseconds(NOON)).is_empty()
            missing = (await shop_now.unusable()).get("absent_timestamp", 0)
            if found.height:
                assert found.height + missing == len(lines)
            assert sum((await shop_now.count(RANGE, HOUR)).values()) == found.height
            timed = [line for kind, line in zip(kinds, lines, strict=True) if kind in "dt"]
            assert found.filter(pl.col("body").str.contains("order|request")).height == len(timed)


async def test_text_that_is_configured_stays_text(tmp_path: Path) -> None:
    path = tmp_path / "orders.log"
    path.write_text(document(0, "order 0 taken"))
    assert (await read(source(path, format="text")))["body"].to_list() == [document(0, "order 0 taken").rstrip()]


# --- Growth and rotation ----------------------------------------------------------------------------------


async def test_what_is_added_is_read_next_time(tmp_path: Path) -> None:
    path = tmp_path / "orders.log"
    path.write_text(text(range(10)))
    shop = source(path)
    first = await read(shop)
    with path.open("a") as file:
        file.write(text(range(10, 20)))
    second = await read(shop)
    assert second.height == 20
    assert second["id"][:10].to_list() == first["id"].to_list()
    assert await shop.count(RANGE, timedelta(seconds=10)) == {NOON: 10, NOON + timedelta(seconds=10): 10}


async def test_half_a_line_waits_for_its_other_half(tmp_path: Path) -> None:
    path = tmp_path / "orders.log"
    path.write_text(text(range(2)) + f"{stamp(2)} INFO requ")
    shop = source(path)
    assert (await read(shop)).height == 2
    with path.open("a") as file:
        file.write("est 2 served\n")
    assert (await read(shop))["body"].to_list() == text(range(3)).splitlines()


async def test_the_last_line_of_a_writer_that_has_gone_needs_no_line_break(tmp_path: Path) -> None:
    path = tmp_path / "orders.log"
    path.write_text(text(range(3)).rstrip("\n"))
    shop = source(path)
    assert (await read(shop)).height == 2
    of_a_gone_writer(path)
    assert (await read(shop)).height == 3


@pytest.mark.parametrize("way", ["renamed", "copied and cut", "packed", "packed while the copy is there"])
async def test_rotation_changes_neither_lines_nor_their_ids(way: str, tmp_path: Path) -> None:
    path, rotated = tmp_path / "orders.log", tmp_path / "orders.log.1"
    path.write_text(text(range(10)))
    shop = source(tmp_path)
    before = await read(shop)
    if way == "copied and cut":
        shutil.copy(path, rotated)
        path.write_text("")
    else:
        path.rename(rotated)
    if way.startswith("packed"):
        (tmp_path / "orders.log.1.gz").write_bytes(gzip.compress(rotated.read_bytes()))
        if way == "packed":
            rotated.unlink()
    path.write_text(text(range(10, 15)))
    for shop_now in (shop, source(tmp_path)):
        after = await read(shop_now)
        assert after["body"].to_list() == text(range(15)).splitlines()
        assert after["id"][:10].to_list() == before["id"].to_list()
        assert after["id"].n_unique() == 15
        assert set(after["stream"]) == {str(path)}


@pytest.mark.parametrize("way", ["renamed", "cut", "packed", "at once"])
async def test_files_that_begin_with_the_same_banner_are_told_apart(way: str, tmp_path: Path) -> None:
    path, rotated = tmp_path / "orders.log", tmp_path / "orders.log.1"
    banner = f"{stamp(0)} built by ci\n" + ("=" * 300 + "\n") * 5
    older, newer = text(range(1, 30)), text(range(50, 60))
    expected = [banner, older, banner, newer]
    path.write_text(banner + older)
    shop = source(path)
    if way != "at once":
        await read(shop)
    if way == "cut":
        expected = [banner, newer]
    elif way == "packed":
        (tmp_path / "orders.log.1.gz").write_bytes(gzip.compress(path.read_bytes()))
    else:
        path.rename(rotated)
    path.write_text(banner)
    if way != "at once":
        await read(shop)
    for size in range(1, 11):
        path.write_text(banner + text(range(50, 50 + size)))
        if way != "at once":
            await read(shop)
    for shop_now in (shop, source(path)):
        found = await read(shop_now)
        assert sorted(found["body"]) == sorted("".join(expected).splitlines())
        assert found["id"].n_unique() == found.height
        assert sum((await shop_now.count(RANGE, HOUR)).values()) == found.height


async def test_a_file_that_is_cut_and_written_anew_is_another_file(tmp_path: Path) -> None:
    path = tmp_path / "orders.log"
    path.write_text(text(range(10)))
    shop = source(path)
    await read(shop)
    path.write_text(text(range(20, 60)))
    assert (await read(shop))["body"].to_list() == text(range(20, 60)).splitlines()


@pytest.mark.parametrize("path", ["app.log", "*.log"])
async def test_rotated_generations_belong_to_the_path_of_their_log(path: str, tmp_path: Path) -> None:
    (tmp_path / "app.log.2.zst").write_bytes(zstandard.compress(text(range(5)).encode()))
    (tmp_path / "app.log-20260301.gz").write_bytes(gzip.compress(text(range(5, 10)).encode()))
    (tmp_path / "app-2026-03-01.log").write_text(text(range(10, 15)))
    (tmp_path / "app.log.1").write_text(text(range(15, 20)))
    (tmp_path / "app.log").write_text(text(range(20, 25)))
    (tmp_path / "app.log.swp").write_text(text(range(30, 40)))
    (tmp_path / "app.logs").write_text(text(range(30, 40)))
    found = await read(source(tmp_path / path))
    assert found["body"].to_list() == text(range(25)).splitlines()
    assert set(found["stream"]) == {str(tmp_path / "app.log")}


async def test_a_generation_that_may_not_be_read_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "app.log.1").write_text(text(range(5)))
    (tmp_path / "app.log").write_text(text(range(5, 9)))
    monkeypatch.setattr(listing, "_readable", lambda path: path.name != "app.log.1")
    shop = source(tmp_path / "app.log")
    assert (await read(shop)).height == 4
    assert await shop.unusable() == {"unreadable_file": 1}


async def test_a_rotated_generation_that_is_named_is_read_alone(tmp_path: Path) -> None:
    (tmp_path / "app.log.1").write_text(text(range(5)))
    (tmp_path / "app.log").write_text(text(range(5, 9)))
    assert (await read(source(tmp_path / "app.log.1"))).height == 5
    assert (await all_of(tmp_path / "app.log")).height == 4, "who analyses a file means that file"


@pytest.mark.parametrize("name", ["app.log", "*.log"])
async def test_the_moment_after_a_rename_is_no_failure_and_loses_nothing(name: str, tmp_path: Path) -> None:
    path = tmp_path / "app.log"
    path.write_text(text(range(10)))
    shop = source(tmp_path / name)
    before = await read(shop)
    with path.open("a") as file:
        file.write(text(range(10, 12)))
    path.rename(tmp_path / "app.log.1")
    between = await read(shop)
    assert between["body"].to_list() == text(range(12)).splitlines()
    assert between["id"][:10].to_list() == before["id"].to_list()
    path.write_text(text(range(12, 15)))
    assert (await read(shop))["body"].to_list() == text(range(15)).splitlines()


async def test_a_log_that_nobody_has_written_yet_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "app.log"
    shop = source(path)
    with pytest.raises(TransientError, match="waited for"):
        await read(shop)
    (check,) = await shop.check()
    assert not check.ok
    assert "waited for" in check.detail
    path.write_text(text(range(3)))
    assert (await read(shop)).height == 3


@settings(max_examples=40, deadline=None)
@given(data=st.data())
async def test_however_a_log_is_written_rotated_and_polled_each_line_is_there_once(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("logs")
    path = folder / "orders.log"
    path.touch()
    shop = source(folder)
    block = data.draw(st.sampled_from([60, 200, 2 * 1024 * 1024]))
    rotations, written, content = 0, 0, ""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(contents, "BLOCK", block)
        patch.setattr(index, "BLOCK", block)
        for step in data.draw(st.lists(st.sampled_from(["write", "half", "poll", "rename", "copy"]), max_size=12)):
            if step in ("write", "half"):
                lines = data.draw(st.integers(1, 12))
                added = "".join(
                    f"{stamp(n // 3)} INFO line {n}\n" + ("  continued\n" if n % 5 == 0 else "")
                    for n in range(written, written + lines)
                )
                written, content = written + lines, content + added
                cut = len(added) // 2 if step == "half" else len(added)
                with path.open("a") as file:
                    file.write(added[:cut])
                if step == "half":
                    await read(shop)
                    with path.open("a") as file:
                        file.write(added[cut:])
            elif step == "poll" and content:
                await shop.count(RANGE, timedelta(minutes=1))
                await read(shop)
            elif step in ("rename", "copy") and path.stat().st_size:
                for number in range(rotations, 0, -1):
                    (folder / f"orders.log.{number}").rename(folder / f"orders.log.{number + 1}")
                rotations += 1
                if step == "rename":
                    path.rename(folder / "orders.log.1")
                else:
                    shutil.copy(path, folder / "orders.log.1")
                path.write_text("")
        for shop_now in (shop, source(folder)):
            found = await read(shop_now)
            assert sorted(found["body"]) == sorted(content.splitlines())
            assert found["id"].n_unique() == found.height
            counts = await shop_now.count(RANGE, timedelta(seconds=10))
            assert sum(counts.values()) == found.height


# --- Input that is wrong ----------------------------------------------------------------------------------


async def test_long_and_binary_lines_break_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contents, "BLOCK", 1 << 16)
    monkeypatch.setattr(contents, "LONGEST_LINE", 1 << 18)
    path = tmp_path / "orders.log"
    long = f"{stamp(1)} ".encode() + b"x" * 100_000 + b"\n"
    endless = f"{stamp(2)} ".encode() + b"y" * 1_000_000 + b"\n"
    path.write_bytes(text([0]).encode() + long + endless + b"\xff\x00\xfe\x01\n" + text([3]).encode())
    shop = source(path)
    for _ in range(2):
        lines = await read(shop)
        assert [(value - nanoseconds(NOON)) // 10**9 for value in lines["timestamp"]] == [0, 1, 2, 2, 3]
        assert max(lines["body"].str.len_chars()) == 65_536
        assert lines["sequence"].to_list() == [1, 2, 3, 4, 5]
        shop = source(path)


async def test_a_stack_trace_that_is_longer_than_a_block_keeps_its_time(tmp_path: Path) -> None:
    path = tmp_path / "orders.log"
    trace = "".join(f"    at com.shop.Orders.take(Orders.java:{n})\n" for n in range(70_000))
    path.write_text(text([0]) + trace + text([1]))
    shop = source(path)
    for shop_now in (shop, source(path)):
        found = await read(shop_now)
        assert found.height == 70_002
        assert found["timestamp"].n_unique() == 2
        assert await shop_now.count(RANGE, timedelta(seconds=1)) == {NOON: 70_001, NOON + timedelta(seconds=1): 1}


async def test_binary_files_between_the_logs_are_counted(tmp_path: Path) -> None:
    (tmp_path / "orders.log").write_text(text(range(3)))
    (tmp_path / "wtmp").write_bytes(b"\x07\x00\x00\x01" * 100)
    (tmp_path / "words").write_text("no time at all\n")
    shop = source(tmp_path)
    assert (await read(shop)).height == 3
    assert await shop.unusable() == {"binary_file": 1, "file_without_times": 1}


async def test_lines_with_impossible_times_are_counted_and_never_read(tmp_path: Path) -> None:
    path = tmp_path / "orders.log"
    path.write_text(f"0001-01-01 00:00:00 a\n{stamp(1)} b\n2099-01-01 00:00:00 c\n")
    shop = source(path)
    assert (await read(shop))["body"].to_list() == [f"{stamp(1)} b"]
    unusable = await shop.unusable()
    assert unusable["in_the_future"] == 1
    assert unusable["absent_timestamp"] == 1


async def test_a_packed_file_that_was_cut_off_gives_what_it_has(tmp_path: Path) -> None:
    path = tmp_path / "orders.log.gz"
    whole = gzip.compress(text(range(20_000)).encode())
    path.write_bytes(whole[: len(whole) // 2])
    of_a_gone_writer(path)
    shop = source(path)
    assert 0 < (await read(shop, TimeRange(NOON, NOON + 24 * HOUR))).height < 20_000
    assert (await shop.unusable())["truncated_file"] == 1


async def test_a_binary_line_in_a_log_is_data(tmp_path: Path) -> None:
    path = tmp_path / "orders.log"
    hole = b"\x00" * 3000
    lines = [
        text([0]).encode(),
        b"\x00\x01\x02\xff\n",
        stamp(1).encode() + b" lost " + hole + b" found\n",
        text([2]).encode(),
    ]
    path.write_bytes(b"".join(lines))
    found = await read(source(path))
    assert found.height == 4
    assert found["body"][2] == f"{stamp(1)} lost \ufffd found"
    assert "\x00" not in "".join(found["body"])


@pytest.mark.parametrize(
    "data",
    [b"\x7fELF\x02\x01\x01\x00" + b"\x00\x10x" * 500, b"\xfd7zXZ\x00\x00" + bytes(range(256)), b"PK\x03\x04\x14"],
)
async def test_what_is_really_binary_is_refused_and_counted(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "orders.log").write_bytes(data)
    shop = source(tmp_path)
    assert (await read(shop)).is_empty()
    assert await shop.unusable() == {"binary_file": 1}


async def test_a_parquet_file_that_is_being_written_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "orders.parquet"
    frame = pl.DataFrame({"timestamp": [nanoseconds(NOON)] * 50, "message": ["m"] * 50})
    frame.write_parquet(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    shop = source(tmp_path)
    with pytest.raises(TransientError, match="still being written"):
        await read(shop)
    path.write_bytes(whole)
    assert (await read(shop)).height == 50


async def test_a_parquet_file_whose_writer_has_gone_is_counted_and_holds_nobody_up(tmp_path: Path) -> None:
    path = tmp_path / "orders.parquet"
    path.write_bytes(b"PAR1 and then nothing")
    of_a_gone_writer(path)
    (tmp_path / "payments.log").write_text(text(range(3)))
    shop = source(tmp_path)
    assert (await read(shop)).height == 3
    assert await shop.unusable() == {"truncated_file": 1}


async def test_a_path_that_matches_nothing_says_so(tmp_path: Path) -> None:
    shop = source(tmp_path / "*.log")
    with pytest.raises(TransientError, match="no file matches"):
        await read(shop)
    assert not (await shop.check())[0].ok


async def test_our_own_log_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "log-anomaly-exporter.log").write_text(text(range(3)))
    (tmp_path / "orders.log").write_text(text(range(4)))
    shop = source(tmp_path)
    assert (await read(shop)).height == 4
    assert sum((await shop.count(RANGE, HOUR)).values()) == 4


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"timezone": "Mars/Olympus"}, "no time zone"),
        ({"pattern": "(?P<color>x)"}, "named groups out of"),
        ({"pattern": "(?=x)"}, "no look-around"),
        ({"path": ()}, "at least 1"),
        ({"fields": {"colour": "x"}}, "Extra inputs"),
    ],
)
def test_settings_that_cannot_work_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FileSettings(**{"name": "shop", "path": ("x",), **values})


async def test_a_check_says_how_the_newest_file_is_understood(tmp_path: Path) -> None:
    (tmp_path / "orders.log").write_text(text(range(3)))
    checks = await source(tmp_path).check()
    assert all(check.ok for check in checks)
    assert "text, times are spaced, service orders" in checks[1].detail


async def test_a_check_says_as_what_times_without_a_zone_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text("2026-03-01 12:00:01 IST started\n2026-03-01 12:00:02 IST order stored\n")
    told = [check.detail for check in await source(tmp_path, timezone="Asia/Kolkata").check()]
    assert "IST is the zone of several places: its times are read as Asia/Kolkata; `timezone` says another" in told
    (tmp_path / "a.log").write_text("2026-03-01 12:00:01 started\n2026-03-01 12:00:02 order stored\n")
    told = [check.detail for check in await source(tmp_path).check()]
    assert told[-1].startswith("the times of its first lines name no zone: they are read as UTC")


async def test_a_file_that_another_takes_the_place_of_is_read_by_what_that_is(tmp_path: Path) -> None:
    """Of another encoding, of other columns, of other fields."""
    path = tmp_path / "a.log"
    path.write_text(text(range(3)))
    found = source(path)
    assert (await read(found)).height == 3
    others = (
        (
            f"Größe {stamp(9)} geändert\n{stamp(10)} ERROR Köln antwortet nicht\n".encode("utf-16"),
            "Köln antwortet nicht",
        ),
        (f"time;level;message\n{stamp(11)};ERROR;Kasse 7 antwortet nicht\n".encode(), "antwortet nicht"),
        (f'{{"time": "{stamp(12)}", "msg": "Kasse 8 ist wieder da"}}\n'.encode(), "Kasse 8 ist wieder da"),
    )
    for content, body in others:
        path.write_bytes(content)
        assert body in (await read(found))["body"][-1]
    await found.close()


# --- One shot ---------------------------------------------------------------------------------------------


async def test_lines_are_called_by_file_and_number_in_one_shot(tmp_path: Path) -> None:
    path = tmp_path / "orders.log"
    path.write_text("no time here\n" + text(range(2)).rstrip("\n"))
    lines = await all_of(path)
    assert lines["id"].to_list() == [f"{path}:{n}" for n in (1, 2, 3)]
    assert lines["timestamp"].null_count() == 1


@pytest.mark.parametrize("form", ["text", "parquet"])
async def test_a_source_that_is_closed_sends_home_who_reads_or_indexes(form: str, tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    if form == "text":
        path.write_text(text(range(100)))
    else:
        pl.DataFrame({"timestamp": [nanoseconds(NOON)] * 9, "message": ["m"] * 9}).write_parquet(path)
    of_a_gone_writer(path)
    indexed, fresh = source(path), source(path)
    assert await indexed.count(RANGE, HOUR)
    for found in (indexed, fresh):
        await found.close()
        with pytest.raises(TransientError, match="was closed"):
            await read(found)


@pytest.mark.parametrize("form", ["text", "gzip", "parquet", "empty"])
async def test_standard_input_takes_every_form(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = text(range(5000)).encode()
    if form == "gzip":
        data = gzip.compress(data)
    if form == "parquet":
        frame = pl.DataFrame({"timestamp": [nanoseconds(NOON)] * 5000, "message": ["m"] * 5000})
        frame.write_parquet(tmp_path / "x")
        data = (tmp_path / "x").read_bytes()
    if form == "empty":
        data = b""
    (tmp_path / "piped").write_bytes(data)
    with (tmp_path / "piped").open() as piped:
        monkeypatch.setattr(sys, "stdin", piped)
        lines = await all_of("-")
    assert lines.height == (0 if form == "empty" else 5000)


async def test_nothing_to_read_in_one_shot_is_the_callers_mistake(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        await all_of(tmp_path / "missing.log")
    (tmp_path / "a.out").write_bytes(b"\x7fELF\x00\x00")
    with pytest.raises(ConfigError, match="is not text"):
        await all_of(tmp_path / "a.out")


async def test_a_directory_without_files_is_not_called_missing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no file to read"):
        [page async for page in read_pages([str(tmp_path)], FileSettings(name="files", path=(str(tmp_path),)))]


async def test_one_json_array_is_refused_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "array.json"
    path.write_text('[\n  {"message": "a"},\n  {"message": "b"}\n]\n')
    with pytest.raises(ConfigError, match=r"one JSON array; give NDJSON.*jq"):
        await all_of(path)


async def test_what_is_missing_of_packed_files_and_what_is_no_text_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    packed = gzip.compress("".join(f"2026-03-01 12:00:00 request {n * n}\n" for n in range(5_000)).encode())
    (tmp_path / "cut.log.gz").write_bytes(packed[: len(packed) // 2])
    (tmp_path / "core.log").write_bytes(bytes(range(256)) * 64)
    assert (await all_of(tmp_path)).height > 100
    said = sorted(record.message.removeprefix(f"{tmp_path}/") for record in caplog.records)
    assert said == ["core.log: is not text; left out", "cut.log.gz: its end is missing; what there is of it was read"]
