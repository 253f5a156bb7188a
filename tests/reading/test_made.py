"""What is right of logs of many kinds, which was written down before they were read, is what is read."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from exporter.ingest.reduction import reduce
from exporter.ingest.settings import ReductionSettings
from exporter.reading.told import Told
from integrations.file import FileSettings
from tests.field.cases import level_of
from tests.field.made import made, written

CASES = {case["file"]: case for case in made() if case["command"] == "analyze"}

SETTINGS = ReductionSettings(redaction_key=b"0123456789abcdef")


@pytest.mark.parametrize("name", CASES)
async def test_what_is_right_of_a_log_is_what_is_read(tmp_path: Path, name: str) -> None:
    case, told = CASES[name], Told()
    right, path = case["facts"], written(case, tmp_path)
    records: list[dict[str, Any]] = []
    async for page in FileSettings(name="made", path=(str(path),)).read([str(path)], told):
        lines = reduce(page.with_columns(pl.col("timestamp").fill_null(0)), SETTINGS).lines
        records += [
            {"level": level_of(abs(level)), **record}
            for level, record in zip(lines["severity"], page.rows(named=True), strict=True)
        ]
    assert len(records) == right["records"]
    assert told.encoding == right["encoding"]
    if right["first_time"]:
        times = [record["timestamp"] for record in records]
        read = (
            pl.Series([min(times), max(times)]).cast(pl.Datetime("ns")).dt.strftime("%Y-%m-%dT%H:%M:%S%.9f").to_list()
        )
        for text, which in zip(read, ("first_time", "last_time"), strict=True):
            assert text.startswith(right[which][:-1])
    if right["services"] is not None:
        assert {record["service"] for record in records} == set(right["services"])
    if right["levels"] is not None:
        assert Counter(record["level"] for record in records if record["level"]) == right["levels"]
    for number, message in right["messages"].items():
        # Its error may stand below.
        assert records[number - 1]["body"].partition("\n")[0] == message
