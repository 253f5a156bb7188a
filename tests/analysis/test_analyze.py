"""One shot over logs: what is unusual in them, why, and nothing where there is nothing."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from exporter.analysis.analyze import analyze
from exporter.analysis.findings import Analysis, AnalyzeSettings
from exporter.analysis.text import render
from exporter.model import ConfigError, nanoseconds, page_schema, to_json
from tests.evaluate.analyses import NOON, shop_analysed

SECOND = 1_000_000_000


def lines(
    bodies: Sequence[str], times: Sequence[float] | None, service: str = "app", severity: int | Sequence[int] = 9
) -> pl.DataFrame:
    """A page of lines, so many seconds after noon; without times, they have none."""
    count = len(bodies)
    columns = {
        "id": [f"{service}.log:{number + 1}" for number in range(count)],
        "timestamp": None if times is None else [nanoseconds(NOON) + round(at * SECOND) for at in times],
        "sequence": list(range(count)),
        "stream": f"{service}.log",
        "service": service,
        "severity": severity if isinstance(severity, int) else list(severity),
        "body": list(bodies),
    }
    frame = pl.DataFrame({"id": columns["id"]}).with_columns(
        **{
            name: pl.Series(value) if isinstance(value, list) else pl.lit(value)
            for name, value in columns.items()
            if name != "id"
        }
    )
    absent = [pl.lit(None).alias(name) for name in page_schema() if name not in frame.columns]
    return frame.with_columns(*absent).select(*page_schema()).cast(page_schema())  # type: ignore[arg-type]


def steady(minutes: int = 60, per_minute: int = 30, service: str = "app", seed: int = 0) -> pl.DataFrame:
    """An hour of a service that does what it always does."""
    chance = np.random.default_rng(seed)
    amount = minutes * per_minute
    times = np.sort(chance.uniform(0, 60 * minutes, amount))
    kinds = chance.integers(0, 3, amount)
    words = ["request {} served in {} ms", "cache hit for item {} after {} ms", "user {} logged in, {} sessions open"]
    numbers = chance.integers(1, 500, (amount, 2))
    bodies = [words[kind].format(*pair) for kind, pair in zip(kinds.tolist(), numbers.tolist(), strict=True)]
    return lines(bodies, times.tolist(), service)


def joined(*parts: pl.DataFrame) -> pl.DataFrame:
    return pl.concat(parts).sort("timestamp")


async def analysed(*pages: pl.DataFrame, settings: AnalyzeSettings | None = None) -> Analysis:
    async def read() -> AsyncIterator[pl.DataFrame]:
        for page in pages:
            yield page

    return await analyze(read(), settings)


async def test_logs_in_which_nothing_happens_are_called_usual() -> None:
    analysis = await analysed(joined(steady(), steady(service="db", seed=50)))
    assert not analysis.unusual
    assert "Nothing unusual was found." in render(analysis)


async def test_the_overview_says_what_was_read() -> None:
    overview = (await analysed(joined(steady(), steady(service="db", per_minute=5)))).overview
    assert overview.lines == 60 * 35
    assert [service.service for service in overview.services] == ["app", "db"]
    assert overview.templates == 6
    assert overview.window == timedelta(seconds=30)
    assert overview.start is not None
    assert overview.start - NOON < timedelta(minutes=1)


async def test_what_is_told_beside_another_is_not_told_again_for_another_reason() -> None:
    times = np.sort(np.random.default_rng(0).uniform(2400, 2900, 150)).tolist()
    failed = lines([f"pool exhausted, waited {n} ms" for n in range(150)], times, "app", 17)
    cause = lines(["java.sql.SQLTransientException: timeout"] * 150, [at + 0.1 for at in times], "app", 0)
    findings = (await analysed(joined(steady(), failed, cause))).findings
    told = [text for finding in findings for text in (finding.text, *finding.also)]
    assert len(told) == len(set(told)) >= 2


async def test_an_error_that_is_new_is_told_with_its_lines_and_where_they_stand() -> None:
    broken = lines([f"connection to db lost, attempt {n}" for n in range(12)], range(2400, 2520, 10), "app", 17)
    analysis = await analysed(joined(steady(), broken))
    finding = analysis.findings[0]
    assert (finding.kind, finding.service, finding.observed, finding.expected) == ("new", "app", 12, 0)
    assert finding.since == NOON + timedelta(minutes=40)
    assert [example.place for example in finding.examples] == ["app.log:1", "app.log:2", "app.log:3"]
    assert finding.examples[0].body == "connection to db lost, attempt 0"
    assert "new kind of line" in render(analysis)


async def test_a_burst_is_told_with_what_was_expected() -> None:
    more = lines([f"request {n} served in 3 ms" for n in range(400)], np.linspace(1800, 1890, 400).tolist())
    finding = (await analysed(joined(steady(), more))).findings[0]
    assert finding.kind in ("burst", "volume")
    assert finding.observed > 400
    assert finding.expected < 150
    assert finding.since is not None
    assert abs(finding.since - (NOON + timedelta(minutes=30))) < timedelta(minutes=1)


async def test_silence_of_a_service_is_told_and_when() -> None:
    quiet = (nanoseconds(NOON) + 1800 * SECOND, nanoseconds(NOON) + 2400 * SECOND)
    db = steady(service="db", seed=9).filter(~pl.col("timestamp").is_between(*quiet))
    findings = (await analysed(joined(steady(), db))).findings
    assert [(finding.kind, finding.service) for finding in findings[:1]] == [("silence", "db")]
    assert findings[0].since is not None
    assert abs(findings[0].since - (NOON + timedelta(minutes=30))) <= timedelta(minutes=1)
    assert findings[0].observed == 0


async def test_a_stretch_without_any_line_is_a_gap_and_told_once() -> None:
    quiet = (nanoseconds(NOON) + 1800 * SECOND, nanoseconds(NOON) + 2400 * SECOND)
    both = joined(steady(), steady(service="db", seed=9)).filter(~pl.col("timestamp").is_between(*quiet))
    findings = (await analysed(both)).findings
    assert findings[0].kind == "gap"
    assert [finding.kind for finding in findings].count("silence") == 0


async def test_slower_lines_are_told_in_seconds() -> None:
    times = np.arange(0, 3600, 2.0)
    took = np.where((times > 2000) & (times < 2300), 900, 20) + (times % 7)
    page = lines([f"query done in {ms:.0f} ms" for ms in took], times.tolist())
    finding = next(f for f in (await analysed(page)).findings if f.kind == "slow")
    assert finding.unit == "seconds"
    assert finding.observed == pytest.approx(0.9, rel=0.1)
    assert finding.expected == pytest.approx(0.023, rel=0.3)


async def test_answers_that_begin_to_fail_are_told_although_their_template_is_the_same() -> None:
    times = np.arange(0, 3600, 1.0)
    status = np.where((times > 2000) & (times < 2200) & (times % 2 == 0), 503, 200)
    page = lines([f'"GET /items HTTP/1.1" {code} 512' for code in status], times.tolist())
    assert "errors" in {finding.kind for finding in (await analysed(page)).findings}


async def test_answers_that_fail_to_the_end_do_not_pass_for_usual() -> None:
    times = np.arange(0, 3600, 1.0) // 2 * 2
    status = np.where((times > 2300) & (np.arange(3600) % 5 == 0), 502, 200)
    page = lines([f'"GET /items HTTP/1.1" {code} 512' for code in status], times.tolist())
    (finding,) = (await analysed(page)).findings
    assert finding.kind == "errors"
    assert finding.observed == pytest.approx(260, abs=5)
    assert finding.since
    assert abs((finding.since - NOON).total_seconds() - 2300) <= 60
    assert finding.examples
    assert all(" 502 " in example.body for example in finding.examples)


async def test_a_word_that_decides_is_told_as_the_daemon_tells_it() -> None:
    times = np.arange(0, 3600, 2.0)
    ended = np.where((times > 2000) & (times < 2300) & (times % 4 == 0), "declined", "accepted")
    page = lines([f"payment {n} ended outcome={end}" for n, end in enumerate(ended)], times.tolist())
    finding = (await analysed(page)).findings[0]
    assert "declined" in finding.text
    assert "never before" in finding.reason
    assert all("declined" in example.body for example in finding.examples)
    assert finding.since
    assert abs((finding.since - NOON).total_seconds() - 2000) <= 60


async def test_a_release_that_writes_otherwise_is_one_finding() -> None:
    """What every kind of line of a service turns into is told once, not once for each."""
    old, new = steady(minutes=40), steady(minutes=20, seed=3)
    new = new.with_columns(
        pl.col("timestamp") + 2400 * SECOND,
        pl.col("body")
        .str.replace("request (.*) served in (.*) ms", "served id=$1 ms=$2")
        .str.replace("user", "person"),
    )
    findings = (await analysed(joined(old, new))).findings
    assert len(findings) == 1
    assert findings[0].also


async def test_of_the_part_that_is_learnt_from_it_says_so_and_tells_rare_failures_only() -> None:
    early = lines([f"lease {n} lost" for n in range(2)], [300, 310], severity=17)
    analysis = await analysed(joined(steady(), early))
    assert [(finding.kind, finding.text) for finding in analysis.findings] == [("failure", "lease <NUM> lost")]
    assert analysis.findings[0].examples[0].body == "lease 0 lost"
    assert any("12:15 UTC is what the rest is compared with" in note for note in analysis.notes)


async def test_errors_that_grow_with_the_traffic_are_usual() -> None:
    times = np.concatenate([np.arange(0, 2300, 2.0), np.arange(2300, 3600, 0.1)])
    status = np.where(np.arange(len(times)) % 10 == 0, 502, 200)
    page = lines([f'"GET /items HTTP/1.1" {code} 512' for code in status], times.tolist())
    assert "errors" not in {finding.kind for finding in (await analysed(page)).findings}


async def test_a_rare_failure_is_told_even_in_a_short_file() -> None:
    bodies = [f"step {n} done" for n in range(20)] + ["out of memory: killed process 77"]
    analysis = await analysed(lines(bodies, range(21), severity=[9] * 20 + [21]))
    assert [(finding.kind, finding.service) for finding in analysis.findings] == [("failure", "app")]
    assert "too short to say what is usual" in render(analysis)


async def test_failures_that_come_all_the_time_are_a_note() -> None:
    kinds = ["disk", "socket", "parser", "quota", "lease", "cursor", "handle", "token"]
    times = [60 + 420 * n + 3 * k for k, _ in enumerate(kinds) for n in range(1)] + [100 + 11 * k for k in range(8)]
    rare = lines([f"{kind} could not be opened" for kind in kinds * 2], times, severity=17)
    analysis = await analysed(joined(steady(per_minute=100), rare))
    assert not [finding for finding in analysis.findings if finding.kind == "failure"]
    assert any("kinds of failures came a few times each" in note for note in analysis.notes)


async def test_without_time_stamps_the_order_of_the_lines_stands_for_time() -> None:
    bodies = [f"job {n} done" for n in range(3000)]
    bodies[2000:2100] = [f"job {n} crashed: no such table" for n in range(100)]
    analysis = await analysed(lines(bodies, None, severity=[17 if "crashed" in body else 9 for body in bodies]))
    assert analysis.overview.by_position
    assert analysis.findings[0].text.startswith("job <NUM> crashed")
    text = render(analysis)
    assert "no time stamp" in text
    assert "1970" not in text


async def test_lines_without_a_time_stamp_among_others_are_counted() -> None:
    page = pl.concat([steady(), lines(["no time"] * 7, None)])
    analysis = await analysed(page)
    assert analysis.overview.dropped == {"absent_timestamp": 7}
    assert any("7 lines had no time stamp" in note for note in analysis.notes)


async def test_lines_of_an_impossible_year_are_counted_and_stretch_nothing() -> None:
    page = pl.concat([steady(), lines(["old", "older"], [-2e9, -1.9e9])])
    overview = (await analysed(page)).overview
    assert overview.dropped == {"impossible_timestamp": 2}
    assert overview.start is not None
    assert overview.start >= NOON


async def test_no_lines_at_all_are_said_to_be_none() -> None:
    analysis = await analysed()
    assert not analysis.unusual
    assert "There are no lines." in render(analysis)


async def test_lines_over_the_limit_are_counted_and_not_read() -> None:
    analysis = await analysed(steady(), settings=AnalyzeSettings(max_lines=1000))
    assert analysis.overview.lines == 1000
    assert analysis.overview.dropped["max_lines"] == 800


async def test_pages_of_any_size_give_the_same_findings() -> None:
    broken = lines([f"lease {n} lost" for n in range(30)], range(2400, 2700, 10), severity=17)
    page = joined(steady(), broken)
    whole, parts = [await analysed(*pages) for pages in ([page], list(page.iter_slices(137)))]
    assert whole == parts


async def test_a_chosen_window_is_used() -> None:
    analysis = await analysed(steady(), settings=AnalyzeSettings(window=timedelta(minutes=2)))
    assert analysis.overview.window == timedelta(minutes=2)


async def test_a_window_that_makes_too_many_is_refused() -> None:
    far = lines(["much later"], [40_000_000])
    times = np.arange(0, 30_000, 1.0)
    page = pl.concat([lines([f"step {n:.0f}" for n in times], times.tolist()), far])
    with pytest.raises(ConfigError, match="choose a longer one"):
        await analysed(page, settings=AnalyzeSettings(window=timedelta(seconds=1)))


async def test_logs_with_holes_are_compared_where_they_are() -> None:
    """Two hours of logs, a week apart: the hole is not silence, and what happens in the second is found."""
    week = 7 * 24 * 3600
    later = steady(seed=4).with_columns(pl.col("timestamp") + week * SECOND)
    analysis = await analysed(joined(steady(), later))
    assert not analysis.unusual
    assert analysis.overview.window is not None
    assert analysis.overview.window <= timedelta(minutes=2)
    broken = lines([f"lease {n} lost" for n in range(40)], [week + 2000 + 10 * n for n in range(40)], severity=17)
    assert (await analysed(joined(steady(), later, broken))).findings[0].text == "lease <NUM> lost"


async def test_the_strongest_come_first_and_no_more_than_asked_for() -> None:
    parts = [steady()]
    for number, word in enumerate(["lock", "lease", "queue", "socket"]):
        times = np.linspace(2000 + 300 * number, 2100 + 300 * number, 10 * (number + 1)).tolist()
        parts.append(lines([f"{word} {n} was lost" for n in range(len(times))], times, f"s{number}", 17))
        parts.append(steady(service=f"s{number}", seed=number + 20))
    analysis = await analysed(joined(*parts), settings=AnalyzeSettings(top=2))
    assert len(analysis.findings) == 2
    assert analysis.findings[0].score >= analysis.findings[1].score
    assert any("more findings are weaker" in note for note in analysis.notes)


async def test_log_text_cannot_drive_the_terminal() -> None:
    evil = lines([f"\x1b]0;owned\x07 failed \x1b[2J{n}" for n in range(20)], range(2400, 2600, 10), "a\x1b[31mpp", 17)
    text = render(await analysed(joined(steady(service="a\x1b[31mpp"), evil)))
    assert "\x1b" not in text
    assert "\x07" not in text


async def test_secrets_do_not_appear() -> None:
    secret = lines([f"login failed, password=hunter{n}2x" for n in range(20)], range(2400, 2600, 10), severity=17)
    analysis = await analysed(joined(steady(), secret))
    assert analysis.unusual
    assert "hunter" not in render(analysis)


async def test_color_is_used_only_when_asked_for() -> None:
    broken = lines([f"lease {n} lost" for n in range(30)], range(2400, 2700, 10), severity=17)
    analysis = await analysed(joined(steady(), broken))
    assert "\x1b[" not in render(analysis)
    assert "\x1b[31m" in render(analysis, color=True)


async def test_the_analysis_is_plain_json() -> None:
    broken = lines([f"lease {n} lost" for n in range(30)], range(2400, 2700, 10), severity=17)
    data = json.loads(json.dumps(to_json(await analysed(joined(steady(), broken)))))
    assert data["overview"]["lines"] == 1830
    assert data["findings"][0]["since"] == "2025-03-03T12:40:00Z"


async def test_sessions_unlike_the_others_are_told() -> None:
    """Five hundred orders, three of which are written off instead of paid."""
    bodies, times = [], []
    for order in range(500):
        steps = ["placed", "reserved", "paid", "shipped"] if order not in (300, 350, 420) else ["placed", "written off"]
        for number, step in enumerate(steps):
            bodies.append(f"order=A{order} was {step}")
            times.append(7.0 * order + number)
    settings = AnalyzeSettings(session_pattern=r"order=(\w+)")
    pairs = sorted(zip(times, bodies, strict=True))
    page = lines([body for _, body in pairs], [at for at, _ in pairs])
    findings = (await analysed(page, settings=settings)).findings
    assert "written off" in " ".join(finding.text for finding in findings)


@pytest.mark.parametrize(
    ("kind", "service"),
    [
        # Of all kinds, `make evaluate ARGS=analyze`.
        ("pool_exhausted", "payments"),
        ("slow_downstream", "inventory"),
    ],
)
async def test_a_failure_of_the_simulated_shop_is_found_and_its_cause_named(kind: str, service: str) -> None:
    found = await shop_analysed(kind, service)
    assert found.named
    assert found.off is not None
    assert found.off < timedelta(minutes=6)
