"""Detection: few false alarms, no labels, the same scores however they are computed, every score explained."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.detection import DetectionSettings, Detector, DetectorSettings, localise, views
from exporter.detection.explanation import explain_session
from exporter.detection.localisation import SCORES
from exporter.detection.observation import observe
from exporter.detection.past import index as base
from exporter.detection.past.index import frame
from exporter.detection.scoring.calibration import Calibration
from exporter.detection.scoring.contract import faults
from exporter.detection.scoring.session_views import Vector, vector
from exporter.detection.scoring.sessions import SessionModel
from exporter.detection.scoring.thresholds import consensus
from exporter.detection.settings import SESSION_DETECTORS, WINDOW_DETECTORS
from exporter.detection.together import Together
from exporter.detection.views.sessions import Sessions
from exporter.ingest.reduction import empty, merge, reduce, windows
from exporter.ingest.settings import ReductionSettings
from exporter.model import EPOCH, ConfigError, Severity, TimeRange
from tests.detection.bench import FIRST, LATE, MINUTE, QUICK, Bench, Row, blocks, failing, shop
from tests.memory_source import START, at, page

CALM = 60
FEATURES = sum(len(view.features) for view in views.VIEWS)


# --- Windows -----------------------------------------------------------------------------------------


def test_an_ordinary_shop_is_quiet() -> None:
    assert Bench().run(shop(range(CALM)), 0, CALM).found == []


@pytest.mark.parametrize("traces", [True, False])
def test_a_service_whose_steps_change_is_anomalous_with_or_without_traces(traces: bool) -> None:
    lines = shop(range(CALM), traces=traces) + failing(range(CALM, CALM + 3), traces=traces)
    found = Bench().run(lines, 0, CALM + 3).about("payments")
    assert found
    assert found[0].window == START + CALM * MINUTE
    assert found[0].severity >= Severity.ERROR
    assert "connection pool exhausted" in " ".join(c.text for c in found[0].contributions)


def test_an_anomaly_says_what_was_observed_against_what_was_expected_and_cites_lines() -> None:
    lines = shop(range(CALM)) + failing(range(CALM, CALM + 1))
    (first, *_) = Bench().run(lines, 0, CALM + 1).about("payments")
    new = next(c for c in first.contributions if c.kind == "new_template")
    assert new.observed > 5
    assert new.expected == 0
    assert set(new.evidence) <= {line.id for line in first.evidence}
    assert "pool exhausted" in first.evidence[0].body
    missing = [c for c in first.contributions if c.kind in ("template", "transition") and c.observed < c.expected]
    assert any("card charged" in c.text for c in missing)
    assert sum(c.share for c in first.contributions) == pytest.approx(1.0)
    assert first.detectors


def test_the_service_whose_own_steps_changed_is_ranked_first() -> None:
    lines = shop(range(CALM)) + failing(range(CALM, CALM + 2))
    bench = Bench().run(lines, 0, CALM + 2)
    frames = [(START + minute * MINUTE, frame) for minute, frame in bench.scores.items()]
    ranked = localise(frames, TimeRange(START + CALM * MINUTE, START + (CALM + 2) * MINUTE), MINUTE)
    assert ranked[0].service == "payments"
    assert "steps" in ranked[0].reason or "template" in ranked[0].reason or "errors" in ranked[0].reason
    assert sum(suspect.weight for suspect in ranked) == pytest.approx(1.0)


def slowed(minutes: range) -> list[Row]:
    return [
        {**row, "timestamp": row["timestamp"] + 2_000_000_000} if row["body"] == "card charged" else row
        for row in shop(minutes)
    ]


def test_a_service_that_becomes_slow_in_its_own_steps_is_ranked_first() -> None:
    lines = shop(range(CALM)) + slowed(range(CALM, CALM + 3))
    bench = Bench().run(lines, 0, CALM + 3)
    frames = [(START + minute * MINUTE, frame) for minute, frame in bench.scores.items()]
    ranked = localise(frames, TimeRange(START + CALM * MINUTE, START + (CALM + 3) * MINUTE), MINUTE)
    assert ranked[0].service == "payments"


def test_who_stands_beside_a_service_in_its_traces_is_its_neighbour() -> None:
    lines = shop(range(CALM)) + failing(range(CALM, CALM + 1))
    (first, *_) = Bench().run(lines, 0, CALM + 1).about("payments")
    assert first.neighbours == ("orders",)


def test_without_traces_who_is_named_or_names_it_is_its_neighbour() -> None:
    lines = shop(range(CALM), traces=False) + failing(range(CALM, CALM + 1), traces=False)
    said = [
        {**row, "body": "quote asked of payments"}
        if row["service"] == "orders" and row["body"] == "order stored"
        else row
        for row in lines
    ]
    (first, *_) = Bench().run(said, 0, CALM + 1).about("payments")
    assert first.neighbours == ("orders",)


def test_what_comes_less_often_makes_a_window_no_worse() -> None:
    """Warnings that become fewer, beside a new text that says nothing of a failure."""
    lines = [
        {**row, "severity": int(Severity.WARN)} if row["body"] == "card charged" else row
        for row in shop(range(CALM + 3))
    ]
    last = [row for row in lines if row["body"] == "card charged" and row["timestamp"] >= at(60 * CALM)]
    for row in last[3:]:
        row |= {"body": "paid at once", "severity": int(Severity.INFO)}
    found = Bench().run(lines, 0, CALM + 3).about("payments")
    assert found
    assert max(one.severity for one in found) == Severity.INFO


def test_a_service_counts_as_changed_from_half_of_its_strongest_window_on() -> None:
    frames = [
        (START + minute * MINUTE, pl.DataFrame([("payments", 0.9, strength, "slow")], schema=SCORES, orient="row"))
        for minute, strength in enumerate((0.1, 1.0, 1.8))
    ]
    [suspect] = localise(frames, TimeRange(START, START + 3 * MINUTE), MINUTE)
    assert suspect.first_seen == START + MINUTE


def test_a_window_counts_in_a_ranking_for_as_much_of_it_as_lies_inside() -> None:
    frames = [
        (START + minute * MINUTE, pl.DataFrame([(service, 0.9, strength, "slow")], schema=SCORES, orient="row"))
        for minute, (service, strength) in enumerate((("orders", 3.0), ("payments", 2.0)))
    ]
    ranked = localise(frames, TimeRange(START + MINUTE / 2, START + 2 * MINUTE), MINUTE)
    assert [suspect.service for suspect in ranked] == ["payments", "orders"]
    assert [suspect.weight for suspect in ranked] == pytest.approx([2.0 / 3.5, 1.5 / 3.5])


def test_nothing_is_anomalous_before_enough_was_seen_except_new_errors() -> None:
    lines = shop(range(8)) + failing(range(8, 10))
    assert Bench(DetectionSettings()).run(lines, 0, 10).found == []


def test_a_service_never_seen_before_is_one_piece_of_news() -> None:
    lines = shop(range(CALM), skip=["payments"]) + shop(range(CALM, CALM + 8))
    (news, *more) = Bench().run(lines, 0, CALM + 8).about("payments")
    assert [c.kind for c in news.contributions] == ["new_service"]
    assert news.score < news.threshold
    assert more == []


def test_a_preview_changes_nothing() -> None:
    bench = Bench().run(shop(range(20)), 0, 20)
    before = bench.tables()
    window = FIRST + 1200
    part = windows(merge([reduce(page(failing(range(20, 21))), ReductionSettings())]), MINUTE)[window]
    twice = [bench.preview(window, part) for _ in range(2)]
    assert twice[0].writes == ()
    assert twice[0].anomalies == twice[1].anomalies
    assert bench.tables() == before


# --- Absence -----------------------------------------------------------------------------------------


def test_the_silence_of_a_regular_service_is_told_when_its_windows_have_settled() -> None:
    lines = shop(range(CALM)) + shop(range(CALM, CALM + 12), skip=["payments"])
    found = Bench().run(lines, 0, CALM + 12).about("payments", "absence")
    assert found
    assert found[0].contributions[0].kind == "silence"
    assert found[0].reached >= found[0].ends_at + LATE
    assert [a.score for a in found] == sorted(a.score for a in found)


def test_a_gap_of_the_whole_source_is_told_once_and_is_no_silence_of_each_service() -> None:
    lines = shop(range(CALM)) + shop(range(CALM + 20, CALM + 30))
    found = Bench().run(lines, 0, CALM + 30).found
    assert [a.kind for a in found] == ["gap"]


def test_a_cron_job_is_not_missed_between_its_runs() -> None:
    chore = [
        {
            "timestamp": at(60 * minute + n),
            "service": "backup",
            "body": f"file {n} copied",
            "severity": 9,
            "id": f"{minute}/{n}",
        }
        for minute in range(0, 120, 15)
        for n in range(30)
    ]
    assert Bench().run(shop(range(120)) + chore, 0, 120).about("backup", "absence") == []


def test_a_service_that_stays_away_is_no_longer_missed_after_adopt_after() -> None:
    chosen = QUICK.model_copy(update={"adopt_after": timedelta(minutes=20)})
    lines = shop(range(CALM)) + shop(range(CALM, CALM + 60), skip=["payments"])
    found = Bench(chosen).run(lines, 0, CALM + 60).about("payments", "absence")
    assert found
    assert max(a.window for a in found) <= START + (CALM + 22) * MINUTE


def test_a_text_that_is_gone_for_good_is_no_longer_missed_after_adopt_after() -> None:
    chosen = QUICK.model_copy(update={"adopt_after": timedelta(hours=1)})
    gone = [
        {**row, "body": "shelf warmed", "id": f"{row['id']}/extra"}
        for row in shop(range(100))
        if row["service"] == "orders"
    ]
    lines = sorted(shop(range(200)) + gone, key=lambda row: row["timestamp"])
    bench = Bench(chosen)
    history, texts = bench.detector.past.history, bench.miner.texts

    def vanished() -> set[str]:
        found = history.vanished()
        templates = np.flatnonzero(found & (history.index.kind == base.TEMPLATE)) if found is not None else ()
        return {texts()[history.index.keys[place][2]] for place in templates}

    bench.run(lines, 0, 170)
    assert vanished() == set()
    bench.run(lines, 170, 200)
    assert vanished() == {"shelf warmed"}


def test_a_release_that_writes_other_texts_has_not_lost_the_old() -> None:
    chosen = QUICK.model_copy(update={"adopt_after": timedelta(hours=1)})
    lines = [
        {**row, "body": "payment captured by the new ledger"} if n >= 130 and row["body"] == "card charged" else row
        for n in range(150)
        for row in shop(range(n, n + 1), traces=False)
    ]
    assert Bench(chosen).run(lines, 0, 150).about("payments") == []


# --- Sessions ----------------------------------------------------------------------------------------


def test_a_session_with_a_rare_step_is_anomalous_and_explained() -> None:
    bench = Bench().run(blocks(200, bad=[190, 191]), 0, 60)
    assert {key for key, bad in bench.verdicts.items() if bad} == {"b0-190", "b0-191"}
    first = bench.about("store", "session")[0]
    assert first.session == "b0-190"
    assert first.score > first.threshold
    assert any("corrupt" in c.text for c in first.contributions[:2])


def test_a_session_that_comes_back_is_judged_again_as_the_same_session() -> None:
    late = {
        "timestamp": at(45 * 60),
        "service": "store",
        "body": "checksum error, block corrupt",
        "session": "b0-20",
        "id": "x",
    }
    bench = Bench().run([*blocks(200), late], 0, 60)
    assert bench.verdicts["b0-20"]
    assert sum(bench.verdicts.values()) == 1


def test_a_session_that_lost_its_last_lines_when_they_were_read_again_is_forgotten_like_others() -> None:
    lines = [
        {"timestamp": at(60 * minute), "service": "store", "body": "receiving block", "session": "b", "id": str(minute)}
        for minute in (0, 5)
    ]
    bench = Bench(idle=timedelta(minutes=10)).run(lines, 0, 6)
    window, nothing = FIRST + 5 * 60, empty()
    mined = bench.miner.mine(window, nothing)
    seen = observe("shop", window, MINUTE, nothing, mined)
    bench.keep(bench.detector.judge(seen, mined, nothing.exemplars))
    book = bench.view(Sessions).book
    book.max_age = timedelta(minutes=20)
    bench.run([], 6, 60)
    assert "b" in bench.verdicts
    assert not book.settled
    assert not bench.tables()["detection_sessions"]


def test_an_open_session_is_judged_as_incomplete_at_the_end() -> None:
    bench = Bench().run(blocks(160), 0, 40)
    still_open = set(bench.detector.finish().sessions["session"])
    assert still_open
    assert still_open.isdisjoint(bench.verdicts)


def pool() -> dict[Vector, int]:
    chance = np.random.default_rng(3)
    out: dict[Vector, int] = {}
    for _ in range(600):
        counts = {1: 3, 2: 1, 3: int(chance.integers(2, 5)), **({4: 1} if chance.random() < 0.1 else {})}
        out[vector(counts)] = out.get(vector(counts), 0) + 1
    return out


def test_a_vector_scores_the_same_alone_in_a_batch_and_among_its_copies() -> None:
    model = SessionModel.fit(pool(), QUICK)
    odd = vector({1: 3, 2: 1, 3: 3, 9: 5})
    everyone = [*model.pool, odd]
    together = model.strength(everyone)
    alone = np.array([model.strength([one])[0] for one in everyone])
    assert np.abs(together - alone).max() < 1e-9
    assert model.strength([odd] * 50)[7] == model.strength([odd])[0]


def test_a_template_never_seen_before_makes_a_session_anomalous() -> None:
    model = SessionModel.fit(pool(), QUICK)
    assert model.strength([vector({1: 3, 2: 1, 3: 3, 9: 1})])[0] > model.threshold
    assert model.strength([vector({1: 3, 2: 1, 3: 3})])[0] <= model.threshold


def test_the_template_that_differs_leads_the_explanation() -> None:
    model = SessionModel.fit(pool(), QUICK)
    texts = {1: "received", 2: "opened", 3: "stored", 4: "moved"}
    (first, *_) = explain_session(model, vector({1: 3, 2: 1, 3: 3, 9: 2}), {**texts, 9: "corrupt"}, None)
    assert (first.kind, first.text, first.observed, first.expected) == ("new_template", "corrupt", 2.0, 0.0)


# --- Restart -----------------------------------------------------------------------------------------


def everything() -> list[Row]:
    lines = shop(range(90)) + blocks(300, bad=[150, 280])
    return [
        row for row in lines if not (row["service"] == "payments" and at(70 * 60) <= row["timestamp"] < at(78 * 60))
    ]


_plain: list[Bench] = []


def plain() -> Bench:
    if not _plain:
        _plain.append(Bench().run(everything(), 0, 90))
    return _plain[0]


@given(st.sets(st.integers(1, 89), max_size=4))
@settings(max_examples=8, deadline=None)
def test_restarting_changes_nothing(restarts: set[int]) -> None:
    again = Bench().run(everything(), 0, 90, restarts)
    assert again.found == plain().found
    assert again.verdicts == plain().verdicts
    assert again.tables() == plain().tables()


def test_a_template_that_is_merged_takes_its_past_along() -> None:
    bench = Bench().run(everything(), 0, 30)
    history, book = bench.detector.past.history, bench.view(Sessions).book
    known = history.total().sum(axis=0).tolist()
    old, new = sorted(bench.miner.texts())[:2]
    bench.write(bench.detector.rename({old: new}))
    assert history.total().sum(axis=0).tolist() == known
    before, pools = frame(history.index, history.total()), dict(book.pool)
    bench.restart()
    history, book = bench.detector.past.history, bench.view(Sessions).book
    assert frame(history.index, history.total()).equals(before)
    assert book.pool == pools


# --- Thresholds and calibration ----------------------------------------------------------------------


def test_a_threshold_without_labels_separates_what_stands_apart() -> None:
    chance = np.random.default_rng(0)
    scores = np.concatenate([chance.gamma(2, 0.1, 2000), chance.uniform(3, 5, 40)])
    assert 1.0 < consensus(scores) <= 3.1


def test_one_in_a_hundred_is_called_so_about_once_in_a_hundred_times() -> None:
    chance = np.random.default_rng(1)
    known = Calibration.fit(chance.gamma(2, 1, 5000))
    share = float((known.p(chance.gamma(2, 1, 50_000)) <= 0.01).mean())
    assert 0.005 <= share <= 0.02


def test_a_score_never_falls_as_the_raw_score_rises() -> None:
    known = Calibration.fit(np.random.default_rng(2).gamma(2, 1, 500))
    scores = known.score(np.linspace(0, 50, 2000))
    assert (np.diff(scores) >= 0).all()
    assert scores.min() >= 0
    assert scores.max() < 1


# --- Every pair of view and detector -----------------------------------------------------------------


@pytest.mark.parametrize("features", [1, 7, 20])
@pytest.mark.parametrize("one", WINDOW_DETECTORS, ids=lambda one: one.type)
def test_our_detectors_keep_the_contract_however_many_features_views_have(one: DetectorSettings, features: int) -> None:
    assert faults(one, features) == []


@pytest.mark.parametrize("one", [*SESSION_DETECTORS, *WINDOW_DETECTORS], ids=lambda one: f"{one.type}-{one.view}")
def test_every_detector_that_we_use_keeps_the_contract(one: DetectorSettings) -> None:
    assert faults(one, FEATURES) == []


VIEWS = ("presence", "share", "counts", "deviations")
PYOD = ("GMM", "IForest", "INNE", "KNN", "LOF", "OCSVM", "PCA", "COPOD", "ECOD", "HBOS", "LODA")


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("kind", PYOD)
def test_a_detector_of_the_operator_is_used_or_refused_by_what_it_does(kind: str, view: Any) -> None:
    one = DetectorSettings(type=kind, view=view, options={"n_components": 0.9} if kind == "PCA" else {})
    problems = faults(one, FEATURES)
    place = "windows" if view == "deviations" else "sessions"
    chosen = DetectionSettings(**{place: (one,)})  # type: ignore[arg-type]
    if problems:
        with pytest.raises(ConfigError, match=kind):
            Detector("shop", chosen, MINUTE, LATE)
    else:
        Detector("shop", chosen, MINUTE, LATE)


def test_an_isolation_forest_is_blind_on_plain_counts_and_not_on_the_presence_of_rare_templates() -> None:
    assert any("blind" in problem for problem in faults(DetectorSettings(type="IForest", view="counts"), FEATURES))
    assert faults(DetectorSettings(type="IForest", view="presence"), FEATURES) == []


def test_a_detector_of_another_package_is_taken_by_its_full_name() -> None:
    assert (
        faults(
            DetectorSettings(type="pyod.models.knn:KNN", view="presence", options={"algorithm": "ball_tree"}), FEATURES
        )
        == []
    )


def test_a_copod_that_looks_at_its_neighbours_is_refused() -> None:
    problems = faults(DetectorSettings(type="pyod.models.copod:COPOD", view="counts"), FEATURES)
    assert any("other rows of the call" in problem for problem in problems)


def test_a_detector_that_does_not_exist_is_a_configuration_error_with_the_choices() -> None:
    with pytest.raises(ConfigError, match="take one of"):
        Detector("shop", DetectionSettings(sessions=(DetectorSettings(type="Knn", view="share"),)), MINUTE, LATE)


def test_a_pool_never_grows_beyond_its_limit_and_what_stays_is_chosen_by_hash() -> None:
    chosen = QUICK.model_copy(update={"pool": 100})
    bench = Bench(chosen).run(shop(range(CALM)), 0, CALM)
    assert len(bench.tables()["detection_pool"]) == 100
    assert Bench(chosen).run(shop(range(CALM)), 0, CALM, restarts=[17, 44]).tables() == bench.tables()


def test_what_is_kept_of_the_past_is_bounded() -> None:
    chosen = QUICK.model_copy(update={"history": timedelta(hours=2)})
    bench = Bench(chosen).run(shop(range(0, 300, 3)), 0, 300)
    hours = [row[1] for row in bench.tables()["detection_blocks"]]
    assert len(hours) <= 3
    assert (bench.detector.past.history.total() >= 0).all()
    pooled = bench.view(Together)
    assert len(pooled._ranked) == pooled.pooled
    assert EPOCH < START
