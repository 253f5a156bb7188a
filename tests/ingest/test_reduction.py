"""What is left of log lines after reduction, and that pages, their order and their borders decide nothing."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from random import Random
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.ingest import reduction
from exporter.ingest.exemplars import MAX_BODY_CHARS
from exporter.ingest.reduction import merge, missing, reduce, windows
from exporter.ingest.settings import ReductionSettings
from exporter.ingest.shapes import CUT
from exporter.model import MOST_WORDS, OTHER_WORD, Reduced, page_schema, stable_key
from exporter.reading.fields import decode

MINUTE = timedelta(seconds=60)
KEY = b"0123456789abcdef"
SETTINGS = ReductionSettings(redaction_key=KEY)


def page(bodies: Sequence[str], **columns: Sequence[Any]) -> pl.DataFrame:
    """A page of lines one second apart, of one service and stream unless told otherwise."""
    size = len(bodies)
    given_columns: dict[str, Any] = {
        "id": [f"id{number:06d}" for number in range(size)],
        "timestamp": [number * 1_000_000_000 for number in range(size)],
        "sequence": [0] * size,
        "stream": ["stream"] * size,
        "service": ["shop"] * size,
        "severity": [0] * size,
        "body": list(bodies),
        **{name: list(values) for name, values in columns.items()},
    }
    return pl.DataFrame({name: given_columns.get(name, [None] * size) for name in page_schema()}, schema=page_schema())


def shape_texts(reduced: Reduced) -> list[str]:
    """The shape of each line in the order of time."""
    texts = dict(zip(reduced.shapes["shape"], reduced.shapes["text"], strict=True))
    return [texts.get(shape, "") for shape in reduced.lines.sort("timestamp")["shape"]]


def only_line(body: str, **columns: Any) -> dict[str, Any]:
    """The numbers of the only line of a page."""
    return reduce(page([body], **{name: [value] for name, value in columns.items()}), SETTINGS).lines.row(0, named=True)


# --- Messages --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "shape"),
    [
        ('{"level":"error","msg":"cannot reach db-7","trace_id":"ab12"}', "cannot reach db-0"),
        ('{"@timestamp":"2024-01-01","log.level":"warn","message":"slow"}', "slow"),
        ('{"log":"plain text 5\\n","stream":"stdout","time":"2024-01-01T00:00:00Z"}', "plain text 0"),
        ('{"log":"{\\"msg\\":\\"inner\\"}","stream":"stdout","time":"x"}', "inner"),
        ("2024-01-01T00:00:00.123456789Z stderr F out of memory", "out of memory"),
        ('2024-01-01T00:00:00.1Z stdout F {"msg":"wrapped twice"}', "wrapped twice"),
        ('ts=2024-01-01T00:00:00Z level=info msg="user \\"ann\\" came" took=5ms', 'user "ann" came'),
        ('{"b":1,"a":"two words","level":"info"}', 'a="two words" b=0'),
        ("{not json at all", "{not json at all"),
        ('{"msg": {"nested": "object"}}', "msg.nested=object"),
        ("key=value without a message", "key=value without a message"),
        ("", ""),
    ],
)
def test_the_message_is_found_in_what_runtimes_and_loggers_write(body: str, shape: str) -> None:
    assert shape_texts(reduce(page([body]), SETTINGS)) == [shape]


@pytest.mark.parametrize(
    ("body", "severity"),
    [
        ("2024-01-01 10:00:00,123 ERROR c.a.B: no route", 17),
        ("[Sun Dec 04 04:47:44 2005] [error] mod_jk child workerEnv", 17),
        ("ERROR:root:boom", 17),
        ("W0612 10:11:12.123456       1 reflector.go:123] slow", 13),
        ("<11>Oct 11 22:14:15 host app[123]: bad", 17),
        ('{"level":30,"msg":"pino"}', 9),
        ('{"severity":"CRITICAL","message":"x"}', 21),
        ("level=warn msg=careful", 13),
        ("nothing says how bad this is", 0),
    ],
)
def test_severity_is_read_from_the_line_where_the_source_gives_none(body: str, severity: int) -> None:
    assert only_line(body)["severity"] == severity


def test_the_severity_of_the_source_counts_more_than_the_text() -> None:
    assert only_line("2024-01-01 10:00:00 INFO fine", severity=17)["severity"] == 17


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ('10.0.0.1 "GET /cart HTTP/1.1" 503 0', 503),
        ("upstream returned status=404 for item", 404),
        ('{"msg":"done","status":201}', 201),
        ("process exited with code 137", 137),
        ("call of Charge done grpc.status_code=14 in 20 ms", 14),
        ("grpc-status: 0", 0),
        ("HttpServerErrorException: 500 Internal Server Error", 500),
        ("Response(status=1, msg=ok)", None),
        ("read 404 bytes", None),
    ],
)
def test_status_and_exit_codes_are_a_column(body: str, code: int | None) -> None:
    assert only_line(body)["code"] == code


@pytest.mark.parametrize(
    ("body", "seconds"),
    [
        ("query took 250ms", 0.25),
        ("finished in 1.5 seconds", 1.5),
        ("retry after 2 minutes", 120.0),
        ("request done duration=0.75 ok", 0.75),
        ('{"msg":"x","duration_ms":12}', 0.012),
        ('{"msg":"x","latency":"3s"}', 3.0),
        ("cache holds 512M of 40 items", None),
    ],
)
def test_durations_are_a_column_in_seconds(body: str, seconds: float | None) -> None:
    found = only_line(body)["duration"]
    assert found is None if seconds is None else found == pytest.approx(seconds)


def test_service_and_trace_come_from_the_line_where_the_source_gives_none() -> None:
    body = '{"msg":"x","service":"cart","trace_id":"t1"}'
    line = only_line(body, service=None, trace=None)
    assert (line["service"], line["trace"]) == (stable_key("cart"), stable_key("t1"))
    line = only_line(body, service="given", trace="own")
    assert (line["service"], line["trace"]) == (stable_key("given"), stable_key("own"))


@pytest.mark.parametrize(("pattern", "key"), [(r"order=(\w+)", "a7"), (r"order=\w+", "order=a7")])
def test_the_session_is_found_by_a_pattern(pattern: str, key: str) -> None:
    own = SETTINGS.model_copy(update={"session_pattern": pattern})
    reduced = reduce(page(["order=a7 placed", "no key"], session=[None, None]), own)
    assert reduced.lines["session"].to_list() == [stable_key(key), 0]
    assert key in reduced.names["text"].to_list()


def test_a_session_that_the_source_gives_is_kept() -> None:
    own = SETTINGS.model_copy(update={"session_pattern": r"order=(\w+)"})
    reduced = reduce(page(["order=a7", "order=a8"], session=["given", None]), own)
    assert reduced.lines["session"].to_list() == [stable_key("given"), stable_key("a8")]


def test_a_pattern_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="not a regular expression"):
        ReductionSettings(session_pattern="(unclosed")


def test_a_template_that_the_source_brings_is_taken_as_it_is() -> None:
    reduced = reduce(page(["user 7 came", "user 8 came", "other"], template=["user <id> came"] * 2 + [None]), SETTINGS)
    given_shapes = reduced.shapes.filter(pl.col("given"))
    assert given_shapes["text"].to_list() == ["user <id> came"]
    assert reduced.lines["shape"].n_unique() == 2


# --- Continuation lines ----------------------------------------------------------------------------

TRACE = [
    "2024-01-01 10:00:00 ERROR c.a.B: request failed",
    "java.lang.IllegalStateException: boom",
    "\tat com.example.Shop.buy(Shop.java:12)",
    "    at com.example.Shop.pay(Shop.java:99)",
    "Caused by: java.io.IOException: no disk",
    "\t... 12 more",
    "2024-01-01 10:00:01 INFO c.a.B: next request",
]


def test_frames_of_a_stack_trace_are_neither_counted_nor_mined() -> None:
    reduced = reduce(page(TRACE), SETTINGS)
    assert reduced.lines["continuation"].to_list() == [False, False, True, True, True, True, False]
    assert reduced.shapes.height == 3


def test_continuation_lines_are_shown_with_their_line() -> None:
    shown = windows(merge([reduce(page(TRACE), SETTINGS)]), MINUTE)[0].exemplars["body"].to_list()
    assert "\n".join(line.rstrip() for line in TRACE[1:6]) in shown
    assert len(shown) == 3


def test_a_record_that_is_a_document_of_its_own_continues_nothing() -> None:
    assert not only_line('{"message":"    indented, but whole"}')["continuation"]
    assert only_line('{"log":"\\tat com.example.Shop.buy(Shop.java:12)\\n","stream":"stderr"}')["continuation"]


def test_a_trace_inside_one_record_loses_its_frames() -> None:
    frames = [f"boom\n\tat a.B.m{number}(B.java:{number})\n\tat a.C.n(C.java:1)\nCaused by: x" for number in range(9)]
    assert set(shape_texts(reduce(page(frames), SETTINGS))) == {"boom\nCaused by: x"}


def test_continuation_lines_can_be_turned_off() -> None:
    own = SETTINGS.model_copy(update={"multiline": False})
    assert not reduce(page(TRACE), own).lines["continuation"].any()


# --- Texts -----------------------------------------------------------------------------------------


def test_secrets_are_in_neither_shapes_nor_exemplars() -> None:
    reduced = reduce(page(["login with password=hunterhunter failed for ann@example.org"]), SETTINGS)
    everything = repr([reduced.shapes.rows(), reduced.exemplars.rows()])
    assert "hunterhunter" not in everything
    assert "ann@example.org" not in everything


def test_the_first_three_lines_of_a_window_service_and_shape_are_kept() -> None:
    reduced = reduce(page([f"call {number} of one kind" for number in range(90)]), SETTINGS)
    kept = reduced.exemplars.sort("window", "timestamp")
    assert kept["window"].to_list() == [0, 0, 0, 60, 60, 60]
    assert kept["body"].to_list()[3] == "call 60 of one kind"


def test_long_lines_are_cut() -> None:
    reduced = reduce(page(["word " * 100_000, "é" * SETTINGS.max_line_chars]), SETTINGS)
    long, whole = sorted(reduced.shapes["text"].to_list(), reverse=False)
    assert len(long) == SETTINGS.max_line_chars + len(f" {CUT}")
    assert long.endswith(CUT)
    assert whole == "é" * SETTINGS.max_line_chars
    assert reduced.exemplars["body"].str.len_chars()[0] == MAX_BODY_CHARS


def test_lines_without_a_timestamp_are_dropped_and_counted() -> None:
    reduced = reduce(page(["a", "b", "c"], timestamp=[1, None, 2]), SETTINGS)
    assert reduced.lines.height == 2
    assert reduced.dropped == {"absent_timestamp": 1}


def test_nothing_comes_of_nothing() -> None:
    for reduced in (reduction.empty(), merge([]), reduce(page([]), SETTINGS), merge([reduction.empty()])):
        assert reduced.lines.height == reduced.exemplars.height == 0
        assert windows(reduced, MINUTE) == {}


def test_decoding_hostile_lines_raises_nothing() -> None:
    for body in (
        "{" * 100_000,
        "[" * 100_000,
        '{"a":' * 5_000,
        '{"msg":"\\ud800"}',
        "\x00{}",
        '{"msg":1e999}',
        "=" * 9_999,
    ):
        decode(body)
        reduce(page([body]), SETTINGS)


# --- Division --------------------------------------------------------------------------------------

LINES = [
    *TRACE,
    '{"level":"warn","msg":"disk 81% full","status":507}',
    "GET /cart/7 HTTP/1.1 200 in 12ms",
    "GET /cart/9 HTTP/1.1 500 in 3ms",
    "user ann logged in",
    "    at com.example.Shop.pay(Shop.java:99)",
    "token=abcdef0123456789abcdef",
    "",
]


def frames(reduced: Reduced) -> list[Any]:
    """Everything of a value, comparable."""
    parts = (reduced.lines, reduced.shapes, reduced.names, reduced.exemplars)
    return [*(part.rows() for part in parts), dict(reduced.exact), dict(reduced.dropped)]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 60), st.integers(1, 7))
def test_pages_their_order_and_their_borders_decide_nothing(seed: int, size: int, parts: int) -> None:
    random = Random(seed)
    whole = page(
        [random.choice(LINES) for _ in range(size)],
        timestamp=[random.choice([None, *(n * 500_000_000 for n in range(300))]) for _ in range(size)],
        sequence=[random.randrange(3) for _ in range(size)],
        stream=[random.choice(["one", "two", None]) for _ in range(size)],
        service=[random.choice(["shop", "cart", None]) for _ in range(size)],
        session=[random.choice(["s", None]) for _ in range(size)],
    )
    rows = list(range(size))
    random.shuffle(rows)
    pieces = [reduce(whole[rows[start::parts]], SETTINGS) for start in range(parts)]
    random.shuffle(pieces)
    divided = merge([merge(pieces[:2]), *pieces[2:]])
    at_once = merge([reduce(whole, SETTINGS)])
    assert frames(divided) == frames(at_once)
    one, other = windows(divided, MINUTE), windows(at_once, MINUTE)
    assert {key: frames(value) for key, value in one.items()} == {key: frames(value) for key, value in other.items()}


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3)), min_size=1, max_size=40), st.integers(1, 9))
def test_lines_that_are_sorted_piece_by_piece_have_the_order_of_all(moments: list[tuple[int, int]], piece: int) -> None:
    lines = reduce(
        page(
            [f"line {number % 7}" for number in range(len(moments))],
            timestamp=[moment for moment, _ in moments],
            sequence=[sequence for _, sequence in moments],
            stream=["one" if number % 3 else None for number in range(len(moments))],
        ),
        SETTINGS,
    ).lines
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reduction, "PIECE", piece)
        assert reduction.in_order(lines).equals(lines.sort(reduction.ORDER, nulls_last=True))


def test_windows_hold_each_line_once() -> None:
    reduced = merge([reduce(page([f"line {number}" for number in range(200)]), SETTINGS)])
    by_window = windows(reduced, MINUTE)
    assert list(by_window) == [0, 60, 120, 180]
    assert [part.lines.height for part in by_window.values()] == [60, 60, 60, 20]


def test_real_lines_reduce_to_few_shapes(shared_data: Any) -> None:
    bodies = pl.read_parquet(shared_data / "hdfs" / "events.parquet")["m_message"].head(50_000)
    reduced = reduce(page(bodies.to_list()), SETTINGS)
    assert reduced.shapes.height < 100
    assert not reduced.lines["continuation"].any()


def test_records_that_say_nothing_of_something_are_counted() -> None:
    page = pl.DataFrame(
        {"body": ["INFO order stored", "order stored", "\tat shop.Order.store(Order.java:7)"]}
    ).with_columns(pl.int_range(3).alias("timestamp"), service=pl.lit("shop"), stream=pl.lit("a"))
    columns = [pl.col(name) if name in page.columns else pl.lit(None).alias(name) for name in page_schema()]
    page = page.select(columns).with_columns(
        pl.col("severity", "sequence").fill_null(0), id=pl.int_range(3).cast(pl.String)
    )
    whole = page.cast(page_schema())  # type: ignore[arg-type]
    lines = reduce(whole, ReductionSettings(redaction_key=b"0123456789abcdef")).lines
    assert missing(lines) == {"service": 0, "severity": 1, "trace": 2, "host": 2}


def test_of_the_words_of_a_field_so_many_are_told_apart_however_a_window_is_read() -> None:
    words = [f'{{"action":"word-{number}","outcome":"ok"}}' for number in range(MOST_WORDS + 30)]
    whole = page(
        ["order stored"] * len(words), fields=words, timestamp=[10**9 + number for number in range(len(words))]
    )
    found = [
        windows(merge([reduce(whole[start : start + size], SETTINGS) for start in range(0, len(words), size)]), MINUTE)[
            0
        ]
        for size in (7, 80)
    ]
    assert found[0].lines.equals(found[1].lines)
    names = dict(found[0].names.rows())
    told = [names[key] for key in found[0].lines["fields"]]
    assert told[:MOST_WORDS] == words[:MOST_WORDS]
    assert set(told[MOST_WORDS:]) == {f'{{"action":"{OTHER_WORD}","outcome":"ok"}}'}
