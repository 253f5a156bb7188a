"""How documents of any shipper become pages: each by itself as among others, whatever its fields hold."""

from __future__ import annotations

import json
from typing import Any

import orjson
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.model import FieldMap, Severity, page_schema
from exporter.reading.instants import instant, parsed_alone
from exporter.reading.levels import severity
from exporter.reading.times import moments
from integrations._coverage import coverage
from integrations._documents import Decoder
from integrations._forms import lookup
from integrations.file import FileSettings

PATHS = sorted({path for name in FieldMap.model_fields for path in getattr(FieldMap(), name) or ()})
DECODER = Decoder(FileSettings(type="file", name="shop", path=("shop.ndjson",)))

values = st.one_of(
    st.sampled_from(["", "orders", "error", "2026-03-01T12:00:00.123456789Z", "2026-03-01 12:00:00", "1772366400"]),
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=5),
    st.lists(st.text(max_size=3), max_size=2),
    st.dictionaries(st.sampled_from(["message", "text", "k"]), st.text(max_size=3), max_size=2),
)


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    """Fields that shippers know, their keys nested or dotted at any place."""
    document: dict[str, Any] = {}
    for path in draw(st.lists(st.sampled_from(PATHS), max_size=6)):
        parts, here = path.split("."), document
        while len(parts) > 1 and (count := draw(st.integers(1, len(parts)))) < len(parts):
            inner = here.setdefault(".".join(parts[:count]), {})
            if not isinstance(inner, dict):
                break
            here, parts = inner, parts[count:]
        here[".".join(parts)] = draw(values)
    return document


@settings(max_examples=60, deadline=None)
@given(found=st.lists(documents(), min_size=1, max_size=12))
def test_a_document_reads_the_same_alone_as_among_others(found: list[dict[str, Any]]) -> None:
    ids = [str(number) for number in range(len(found))]
    together = DECODER.page(found, ids)
    assert dict(together.schema) == page_schema()
    alone = pl.concat([DECODER.page([document], [key]) for document, key in zip(found, ids, strict=True)])
    assert together.equals(alone)


@settings(max_examples=60, deadline=None)
@given(document=documents())
def test_the_first_path_that_says_something_wins(document: dict[str, Any]) -> None:
    line = DECODER.page([document], ["x"]).row(0, named=True)
    for name in ("trace", "host"):
        candidates = [lookup(document, path) for path in getattr(FieldMap(), name)]
        telling = [value for value in candidates if value not in (None, "") and not isinstance(value, dict)]
        if telling and isinstance(telling[0], str) and telling[0] in candidates[:1]:
            assert line[name] == telling[0]


@pytest.mark.parametrize(
    ("document", "body"),
    [
        ({"message": "m"}, "m"),
        ({"message": "", "log": "l"}, "l"),
        ({"log": {"message": "inner", "level": "info"}}, "inner"),
        ({"body": {"text": "t"}}, "t"),
        ({"body": {"order": 1, "état": "ok"}}, json.dumps({"order": 1, "état": "ok"}, ensure_ascii=False)),
        ({"event": {"original": "raw"}}, "raw"),
        ({"message": ["one"]}, "one"),
        ({"message": 5}, "5"),
        ({}, ""),
    ],
)
def test_the_message_is_found_wherever_it_is(document: dict[str, Any], body: str) -> None:
    assert DECODER.page([document], ["x"])["body"].to_list() == [body]


@pytest.mark.parametrize("path", ["message", "service", "level", "@timestamp", "trace_id"])
@pytest.mark.parametrize("inside", ['"x"', '"x","y"'])
def test_a_document_that_is_nested_as_deeply_as_can_be_is_a_line_like_others(path: str, inside: str) -> None:
    depth = 1020
    deep = orjson.loads(f'{{"{path}":{"[" * depth}{inside}{"]" * depth}}}')
    page = DECODER.page([deep, {"message": "next"}], ["1", "2"])
    assert page["body"].to_list()[1] == "next"


def test_documents_of_different_forms_keep_their_order() -> None:
    found = [{"message": str(n)} if n % 3 else {"log": {"message": str(n)}, "trace.id": f"t{n}"} for n in range(50)]
    page = DECODER.page(found, [str(n) for n in range(50)])
    assert page["body"].to_list() == [str(n) for n in range(50)]
    assert page["trace"].to_list() == [None if n % 3 else f"t{n}" for n in range(50)]


@pytest.mark.parametrize(
    ("value", "number"),
    [
        ("WARN", Severity.WARN), ("warning", Severity.WARN), ("[E]", Severity.ERROR), ("INFO2", Severity.INFO),
        (17, 17), (50, Severity.ERROR), (3, 3), ("3", 3), (None, 0), ("chatty", 0), (True, 0), (["error"], 17),
        ("²", 0),
    ],
)  # fmt: skip
def test_levels_are_understood_in_anybodys_spelling(value: Any, number: int) -> None:
    assert severity(value) == number


@pytest.mark.parametrize(
    ("document", "number"),
    [
        ({"PRIORITY": "3"}, -Severity.ERROR),
        ({"PRIORITY": "6"}, -Severity.INFO),
        ({"PRIORITY": 4}, -Severity.WARN),
        ({"level": 20}, Severity.DEBUG),
        ({"level": "20"}, Severity.DEBUG),
        ({"level": 10}, Severity.TRACE),
        ({"level": 30}, Severity.INFO),
        ({"level": "warn"}, Severity.WARN),
        ({"level": ["error"]}, Severity.ERROR),
        ({"severity_number": 20}, 20),
    ],
)
def test_the_field_of_a_level_says_what_its_number_means(document: dict[str, Any], number: int) -> None:
    assert DECODER.page([document, {"message": "x"}, document], ["1", "2", "3"])["severity"].to_list() == [
        number,
        0,
        number,
    ]
    assert DECODER.page([document], ["1"])["severity"].to_list() == [number]


@pytest.mark.parametrize(
    ("value", "nanoseconds"),
    [
        ("2026-03-01T12:00:00Z", 1772366400 * 10**9),
        ("2026-03-01T13:00:00.123456789+01:00", 1772366400 * 10**9 + 123456789),
        (1772366400, 1772366400 * 10**9),
        (1772366400123, 1772366400123 * 10**6),
        ("1772366400.5", 1772366400 * 10**9 + 5 * 10**8),
        ("0001-01-01T00:00:00Z", None),
        ("2600-01-01T00:00:00Z", None),
        ("2611-03-23 00:00:00", None),
        (20_000_000_000, None),
        ("yesterday", None),
        (float("nan"), None),
        (True, None),
    ],
)
def test_times_are_understood_in_any_usual_form(value: Any, nanoseconds: int | None) -> None:
    assert instant(value) == nanoseconds
    assert DECODER.page([{"@timestamp": value}], ["x"])["timestamp"].to_list() == [nanoseconds]


def test_what_is_too_long_for_a_time_is_not_kept() -> None:
    before = parsed_alone.cache_info().currsize
    found = [{"@timestamp": f"{number} is no time {'x' * 1000}"} for number in range(10)]
    assert DECODER.page(found, [str(n) for n in range(10)])["timestamp"].null_count() == 10
    assert parsed_alone.cache_info().currsize == before


def test_times_that_do_not_fit_are_none_in_columns_too() -> None:
    assert moments(pl.Series(["2600-01-01T00:00:00Z", "2026-03-01T12:00:00Z"])).to_list() == [None, 1772366400 * 10**9]
    assert moments(pl.Series([20_000_000_000, 1772366400])).to_list() == [None, 1772366400 * 10**9]


def test_where_documents_keep_what_is_told_with_what_would_settle_it() -> None:
    at = "2026-03-01T12:00:00Z"
    found = [{"@timestamp": at, "data": {"text": f"order {n} stored", "level": "error"}} for n in range(8)]
    settings = FileSettings(type="file", name="shop", path=("shop.ndjson",))
    first, *better = coverage(settings, found)
    assert first.detail == (
        "of the newest 8 documents: timestamp from @timestamp (100%); severity from data.level (100%); "
        "body from data.text (100%); without service, trace, host"
    )
    assert {check.detail.partition("`")[2] for check in better} == {
        "fields: {severity: data.level}` would settle it",
        "fields: {body: data.text}` would settle it",
    }
    assert coverage(settings, []) == []


@pytest.mark.parametrize(
    ("document", "service", "severity"),
    [
        ({"message": "x", "level": 3, "short_message": "x", "facility": "radiusd"}, "radiusd", Severity.ERROR),
        ({"message": "x", "severity": 4, "facility": 3, "program": "radiusd"}, "radiusd", Severity.WARN),
        ({"Message": "x", "Severity": "ERROR", "SERVICE": "cart"}, "cart", Severity.ERROR),
        ({"message": "x", "service": "8f3a11c2d4e5", "container": {"name": "cart"}}, "cart", 0),
        ({"message": "x", "service_name": "8f3a11c2d4e5", "program": "cart"}, "cart", 0),
        ({"message": "x", "service": "8f3a11c2d4e5"}, "8f3a11c2d4e5", 0),
        ({"@message": "x", "@log_group": "/aws/lambda/cart"}, "cart", 0),
        ({"message": "<27>1 2026-03-01T12:00:00Z gw radiusd 1 - - x"}, "radiusd", -Severity.ERROR),
    ],
)
def test_who_wrote_it_and_how_bad_it_is_stands_where_shippers_put_it(
    document: dict[str, Any], service: str, severity: int
) -> None:
    row = DECODER.page([document], ["1"]).row(0, named=True)
    assert (row["service"], row["severity"], row["body"]) == (service, severity, "x")
