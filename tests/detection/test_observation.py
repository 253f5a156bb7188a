"""What one window is counted as: templates, transitions, gaps, sessions."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.detection import observation
from exporter.detection.observation import BOUNDARY, GAP_STEPS, Observation, observe, survivors
from exporter.ingest.reduction import merge, reduce, windows
from exporter.ingest.settings import ReductionSettings
from exporter.mining.miner import Miner
from exporter.mining.settings import MiningSettings
from exporter.model import Reduced
from tests.memory_source import START, at, page

MINUTE = timedelta(minutes=1)
WINDOW = int(START.timestamp())


def reduced(rows: list[dict[str, Any]]) -> Reduced:
    return windows(merge([reduce(page(rows), ReductionSettings())]), MINUTE)[WINDOW]


def observed(rows: list[dict[str, Any]]) -> tuple[Observation, dict[str, int]]:
    """The observation of the first window, and template ids by text."""
    part = reduced(rows)
    mined = Miner("shop", MiningSettings()).mine(WINDOW, part)
    ids = {text: template for template, text in mined.texts.items()}
    return observe("shop", WINDOW, MINUTE, part, mined), ids


def line(second: float, service: str, body: str, **rest: Any) -> dict[str, Any]:
    return {"timestamp": at(second), "service": service, "body": body, "stream": service, **rest}


CHECKOUT = [
    line(1.0, "gateway", "order received", trace="t1", session="o1", severity=9),
    line(1.5, "payments", "card charged", trace="t1", session="o1", severity=9),
    line(1.6, "payments", "receipt written", trace="t1", session="o1", severity=9),
    line(3.0, "gateway", "order received", trace="t2", session="o2", severity=9),
    line(3.2, "payments", "card refused by issuer", trace="t2", session="o2", severity=17),
]


def rows_of(frame: pl.DataFrame, **wanted: Any) -> list[dict[str, Any]]:
    return frame.filter([pl.col(name) == value for name, value in wanted.items()]).to_dicts()


def test_lines_errors_and_traces_are_counted_by_service() -> None:
    seen, _ = observed(CHECKOUT)
    assert seen.services.to_dicts() == [
        {"service": "gateway", "lines": 2, "errors": 0, "warnings": 0, "traces": 2},
        {"service": "payments", "lines": 3, "errors": 1, "warnings": 0, "traces": 2},
    ]


def test_the_order_of_steps_is_counted_within_a_service_and_begins_and_ends_at_the_boundary() -> None:
    seen, ids = observed(CHECKOUT)
    charged, written = ids["card charged"], ids["receipt written"]
    own = rows_of(seen.transitions, service="payments", kind="self")
    steps = {(row["previous"], row["next"]): row["count"] for row in own}
    refused = ids["card refused by issuer"]
    assert steps == {
        (BOUNDARY, charged): 1,
        (charged, written): 1,
        (written, BOUNDARY): 1,
        (BOUNDARY, refused): 1,
        (refused, BOUNDARY): 1,
    }


def test_gaps_inside_a_service_and_across_services_are_told_apart() -> None:
    seen, ids = observed(CHECKOUT)
    (inside,) = rows_of(seen.transitions, service="payments", kind="gap")
    assert inside["previous"] == ids["card charged"]
    assert abs(2 ** (inside["gap"] / GAP_STEPS) - 100_000) < 3_000, "a tenth of a second, in microseconds"
    assert {row["next"] for row in rows_of(seen.transitions, service="gateway", kind="out")} == {
        row["next"] for row in rows_of(seen.transitions, service="payments", kind="in")
    }


def test_a_session_has_one_part_with_its_templates_and_times() -> None:
    seen, ids = observed(CHECKOUT)
    part = rows_of(seen.sessions, session="o1")
    assert {(row["service"], row["template"]) for row in part} == {
        ("gateway", ids["order received"]),
        ("payments", ids["card charged"]),
        ("payments", ids["receipt written"]),
    }
    assert min(row["first"] for row in part) == at(1.0)
    assert max(row["last"] for row in part) == at(1.6)


def test_continuation_lines_are_not_counted() -> None:
    trace = line(2.0, "gateway", "    at com.shop.Gateway.handle(Gateway.java:42)")
    seen, _ = observed([*CHECKOUT, trace])
    assert rows_of(seen.services, service="gateway")[0]["lines"] == 2


def test_lines_without_a_trace_have_counts_and_no_transitions() -> None:
    seen, _ = observed([{**row, "trace": None} for row in CHECKOUT])
    assert seen.transitions.is_empty()
    assert seen.counts["count"].sum() == len(CHECKOUT)


def test_of_a_sampled_window_lines_are_estimated_and_there_are_no_transitions_nor_sessions() -> None:
    part = reduced(CHECKOUT)
    mined = Miner("shop", MiningSettings()).mine(WINDOW, part)
    seen = observe("shop", WINDOW, MINUTE, replace(part, sampled={WINDOW: 0.1}), mined)
    whole = observe("shop", WINDOW, MINUTE, part, mined)
    assert seen.sampled == 0.1
    assert seen.transitions.is_empty()
    assert seen.sessions.is_empty()
    assert seen.services["lines"].to_list() == [10 * lines for lines in whole.services["lines"]]
    assert seen.counts["count"].to_list() == [10 * lines for lines in whole.counts["count"]]


def test_lines_that_we_leave_out_do_not_make_a_window_a_sample() -> None:
    part = reduced(CHECKOUT)
    mined = Miner("shop", MiningSettings()).mine(WINDOW, part)
    seen = observe("shop", WINDOW, MINUTE, replace(part, exact={WINDOW: 50}), mined)
    assert seen.sampled == 1.0
    assert not seen.transitions.is_empty()


def test_bytes_give_back_the_same_observation_and_are_the_same_bytes() -> None:
    seen, _ = observed(CHECKOUT)
    back = Observation.from_bytes("shop", seen.to_bytes())
    assert (back.window, back.duration, back.sampled) == (seen.window, seen.duration, seen.sampled)
    for name in ("services", "counts", "transitions", "sessions"):
        assert getattr(back, name).equals(getattr(seen, name)), name
    assert back.to_bytes() == seen.to_bytes()


@given(
    st.lists(st.tuples(st.integers(0, 6), st.integers(0, 3), st.integers(0, 9)), min_size=1, max_size=60),
    st.integers(1, 9),
)
def test_traces_that_are_counted_part_by_part_give_the_numbers_of_all(
    told: list[tuple[int, int, int]], piece: int
) -> None:
    rows = [
        line(0.7 * second + 0.01 * number, f"service {service}", f"step {number % 2} done", trace=f"t{trace}")
        for number, (trace, service, second) in enumerate(told)
    ]
    whole, _ = observed(rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(observation, "PIECE", piece)
        assert observed(rows)[0].to_bytes() == whole.to_bytes()


@given(st.permutations(CHECKOUT))
def test_the_order_in_which_lines_arrive_changes_nothing(rows: list[dict[str, Any]]) -> None:
    numbered = [{**row, "id": row["body"] + str(row["timestamp"]), "sequence": 0} for row in rows]
    known = [{**row, "id": row["body"] + str(row["timestamp"]), "sequence": 0} for row in CHECKOUT]
    assert observed(numbered)[0].to_bytes() == observed(known)[0].to_bytes()


def test_counts_of_merged_templates_move_to_the_survivor() -> None:
    seen, ids = observed(CHECKOUT)
    charged, refused = ids["card charged"], ids["card refused by issuer"]
    moved = seen.rename([(refused, charged)])
    assert rows_of(moved.counts, service="payments", template=charged)[0]["count"] == 2
    assert rows_of(moved.counts, template=refused) == []
    assert moved.counts["count"].sum() == seen.counts["count"].sum()
    assert rows_of(moved.transitions, previous=refused) == []


def test_chains_of_merges_are_followed_to_their_end() -> None:
    assert survivors([(1, 2), (3, 2), (2, 4)]) == {1: 4, 3: 4, 2: 4}
