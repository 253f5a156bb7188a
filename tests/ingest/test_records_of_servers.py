"""The message of records of database servers, of Samba, and of JSON behind what syslog writes."""

from __future__ import annotations

from datetime import UTC, datetime

import polars as pl
import pytest

from exporter.ingest.messages import find_messages
from exporter.model import Severity, nanoseconds
from exporter.reading.times import recognise

SAID = {
    "Tue Nov 17 06:50:20 2026\nORA-1652: unable to extend temp segment\n": "ORA-1652: unable to extend temp segment",
    "2026-11-17T06:50:20.1+01:00\nErrors in file /u01/a.trc:\nORA-00600: internal error": (
        "Errors in file /u01/a.trc:\nORA-00600: internal error"
    ),
    "[2026/11/17 06:50:20.1,  0] ../source3/smbd/service.c:1120(make_connection)\n  failed to open": "failed to open",
}


@pytest.mark.parametrize("record", SAID)
def test_the_first_line_that_says_something_is_the_message(record: str) -> None:
    assert find_messages(pl.Series([record])).text.item().rstrip() == SAID[record]


@pytest.mark.parametrize(
    "head", ["shop[123]: ", "web-1 shop: ", "Nov 17 06:50:01 web-1 shop[1]: ", "2026-11-17T06:50:01+01:00 w shop: "]
)
def test_json_behind_what_syslog_writes_is_read(head: str) -> None:
    found = find_messages(pl.Series([head + '{"level":"error","msg":"payment failed"}', head + "{not json"]))
    assert found.text.to_list() == ["payment failed", head + "{not json"]
    assert found.rows == (0,)
    assert found.fields[0].severity == Severity.ERROR


@pytest.mark.parametrize(
    ("line", "hour"), [("2026-11-17-06.30.01.5+060 I1E1 LEVEL: Info", 5), ("2026-11-17 06:30:01 ICT INFO x", -1)]
)
def test_zones_in_minutes_and_of_the_east_are_known(line: str, hour: int) -> None:
    reference = datetime(2026, 11, 18, tzinfo=UTC)
    stamp = recognise(pl.Series([line] * 30), reference)
    assert stamp is not None
    (time,) = stamp.times(pl.Series([line]), reference)
    minute = nanoseconds(datetime(2026, 11, 17, tzinfo=UTC)) + (hour * 60 + 30) * 60 * 10**9
    assert time // (60 * 10**9) == minute // (60 * 10**9)
