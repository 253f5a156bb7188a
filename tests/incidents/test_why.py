"""Why an incident opened, or did not, can always be answered, and the answer is true of a replay."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.cli.main import main
from exporter.incidents.settings import IncidentSettings
from exporter.incidents.tracker import advance
from exporter.model import Anomaly, Incident, NearMiss, Past
from exporter.model.questions import IncidentRecord
from exporter.state.bodies import pack, unpack
from exporter.state.file import State
from exporter.state.incidents import incident_row, near_miss_row, near_misses
from exporter.state.retention import NEAR_MISSES_KEPT, drop_old_rows
from exporter.web.pages import incident_page
from exporter.wording.why import why_it_did_not_open, why_it_opened
from tests.incidents.test_incidents import MINUTE, START, anomaly

SECOND = timedelta(seconds=1)


def past(source: str, at: datetime) -> Past | None:
    return Past(source, at - timedelta(days=7), at) if source == "shop" else None


def judged(
    anomalies: list[Anomaly], threshold: float = 2.0, needed: timedelta = timedelta(0), services: int = 1
) -> tuple[list[Incident], list[NearMiss]]:
    """Incidents as they were told last, and what ended without becoming one."""
    near: list[NearMiss] = []
    settings = IncidentSettings(**{"for": needed})
    _, told = advance(
        (), anomalies, START + 600 * MINUTE, settings, threshold, {}, services=services, past=past, missed=near.append
    )
    return list({item.incident.id: item.incident for item in told}.values()), near


def told_as_rows(found: Incident) -> Incident:
    """What is left of it after years in the state file."""
    kept = unpack(Incident, pack(found))
    assert isinstance(kept, Incident)
    return kept


def test_an_incident_keeps_what_opened_it_after_it_has_ended_and_after_a_recalibration() -> None:
    views = replace(anomaly(0), detectors=("knn", "copod"))
    (found,), near = judged([views, anomaly(1), anomaly(3, service="payments", score=0.99)], threshold=2.5, services=5)
    assert near == []
    kept = told_as_rows(found)
    assert kept.status == "resolved"
    assert kept.opening is not None
    assert (kept.opening.threshold, kept.opening.among) == (2.5, 5)
    assert kept.opening.strength == pytest.approx(3.0)
    assert [share.service for share in kept.opening.shares] == ["orders"]
    assert kept.opening.shares[0].windows == (START,)
    assert kept.opening.shares[0].views == ("knn", "copod")
    assert [past.source for past in kept.opening.past] == ["shop"]
    text = "\n".join(why_it_opened(kept))
    assert "a strength of 3.00 against a threshold of 2.50" in text
    assert "orders (shop) brought 3.00, in the windows of 00:00:00; knn and copod agreed." in text
    assert "pool exhausted (40 lines, expected 1)" in text
    assert "between 2026-02-22 00:00 and 2026-03-01 00:00 UTC" in text


@given(st.dictionaries(st.integers(0, 12), st.sampled_from([0.95, 0.99, 0.999]), min_size=1), st.integers(1, 50))
def test_what_would_have_kept_it_from_opening_is_true_of_a_replay(scores: dict[int, float], services: int) -> None:
    """Of one service: whom a window of several joins may depend on which of their clusters is an incident already."""
    anomalies = [anomaly(minute, score=score) for minute, score in sorted(scores.items())]
    found, _ = judged(anomalies, services=services)
    for incident in found:
        assert incident.peak is not None
        assert incident.held is not None
        above, _ = judged(anomalies, incident.peak + 1e-6, services=services)
        longer, _ = judged(anomalies, 2.0, incident.held + SECOND, services)
        assert incident.id not in {other.id for other in (*above, *longer)}
        at, _ = judged(anomalies, incident.peak, services=services)
        as_long, _ = judged(anomalies, 2.0, incident.held, services)
        assert incident.id in {other.id for other in at}
        assert incident.id in {other.id for other in as_long}


def test_an_alert_and_an_older_release_say_what_they_know() -> None:
    (found,), _ = judged([anomaly(0), anomaly(1)])
    old = replace(found, opening=None, peak=None)
    assert why_it_opened(old)[0].startswith("It was opened by a release that did not keep its strength")
    assert "pool exhausted (40 lines, expected 1)" in why_it_opened(old)[-1]
    assert why_it_opened(replace(old, trigger="alert HighLatency"))[0].startswith(
        "It was opened by alert HighLatency, whatever the strength"
    )


def test_what_stays_weak_and_what_ends_too_soon_are_kept_with_their_account() -> None:
    weak, short = judged([anomaly(0, score=0.95)])[1], judged([anomaly(0)], needed=5 * MINUTE)[1]
    assert [near.reason for near in (*weak, *short)] == ["weak", "short"]
    assert "below the threshold of 2.00" in why_it_did_not_open(weak[0])[0]
    assert "it had lasted 1 min, and `incidents.for` asked for 5 min" in why_it_did_not_open(short[0])[0]


def test_the_page_says_why_and_foreign_text_in_it_is_inert() -> None:
    (found,), _ = judged([anomaly(0, service="<b>orders</b>"), anomaly(1, service="<b>orders</b>")])
    page = incident_page(IncidentRecord(found, ()), "/")
    assert "Why it opened" in page
    assert "a strength of 3.00 against a threshold of 2.00" in page
    assert "<b>orders" not in page
    assert "It was opened by a release" in incident_page(IncidentRecord(replace(found, opening=None), ()), "/")


async def test_only_the_strongest_near_misses_are_kept(tmp_path: Path) -> None:
    ((near,),) = [judged([anomaly(0, score=0.95)])[1]]
    state = State(tmp_path / "state.db")
    strengths = [number / 100 for number in range(NEAR_MISSES_KEPT + 50)]
    await state.write(
        near_miss_row(replace(near, id=f"n{number}", opening=replace(near.opening, strength=strength)))
        for number, strength in enumerate(strengths)
    )
    now = START + timedelta(days=1)
    await drop_old_rows(state, now, now, timedelta(days=400))
    kept = await near_misses(state, 1000)
    assert [found.opening.strength for found in kept] == strengths[: -NEAR_MISSES_KEPT - 1 : -1]
    await drop_old_rows(state, now, now + timedelta(days=31), timedelta(days=400))
    assert await near_misses(state, 1000) == []
    state.close()


def test_the_command_line_explains_what_opened_and_what_came_near(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (found,), _ = judged([anomaly(0), anomaly(1)])
    (near,) = judged([anomaly(0, score=0.95)])[1]
    config = tmp_path / "exporter.yml"
    config.write_text(f"state: {tmp_path / 'state.db'}\nsources: [{{type: simulator, name: shop}}]\n")
    state = State(tmp_path / "state.db")
    state.write_now([incident_row(found, found.updated_at), near_miss_row(near)])
    state.close()
    assert main(["incidents", "explain", found.id, "-c", str(config)]) == 0
    assert "a strength of 3.00 against a threshold of 2.00" in capsys.readouterr().out
    assert main(["incidents", "explain", found.id, "-c", str(config), "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["opening"]["threshold"] == 2.0
    assert main(["incidents", "near", "-c", str(config)]) == 0
    assert "Its strength came to 1.30" in capsys.readouterr().out
    assert main(["incidents", "near", "-c", str(config), "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["reason"] == "weak"
    assert main(["incidents", "explain", "nothing", "-c", str(config)]) == 1
