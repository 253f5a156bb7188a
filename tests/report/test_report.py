"""Reports say what the evidence shows."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from exporter.model import Past, Report
from exporter.report.rules import write
from tests import samples as given_samples

LINKS = (("logs in Kibana", "https://kibana.example.org/x"),)


def everything(report: Report) -> list[str]:
    claims = [*report.what_happened, *report.causes, *report.steps]
    return [report.headline, *(c.text for c in claims), *report.notes]


# --- The rules ----------------------------------------------------------------------------------------


def test_the_report_without_a_model_is_complete() -> None:
    report = write(given_samples.incident(), (given_samples.similar(),), LINKS)
    assert report.writer == "rules"
    assert report.headline == (
        "payments: new message “could not connect to …: connection refused”, 2 more services affected, since 09:26 UTC"
    )
    assert [c.text for c in report.what_happened] == [
        "Since 09:26 UTC on 2026-03-14, 3 services behave unlike their past: payments, checkout and gateway.",
        "It is the 3rd time; last on 2026-03-02 (91c2d0aa5b3e7f14), 12 d ago.",
        "payments: “could not connect to …: connection refused” was never seen before; 184 lines, at its strangest.",
        "payments: errors of payments: 371 lines, expected 0.8, at its strangest.",
        "receipt … sent to …: 0 lines where 38 were expected, at its strangest.",
        "the order of messages is unusual: “charge requested → charge captured”: 0.04 of times, expected 0.97, at its "
        "strangest.",
        "It began in payments; then came checkout 1 min later and gateway 2 min later.",
    ]
    assert [c.text.split(":")[0] for c in report.causes] == [
        "payments is the most likely cause",
        "checkout is a possible cause",
    ]
    assert report.steps[0].text == (
        "The same failure of 2026-03-02 (91c2d0aa5b3e7f14), was fixed by: raised max_connections of db-payments "
        "from 100 to 300 (ann), came back after 11 d"
    )
    steps = "\n".join(c.text for c in report.steps)
    assert "https://kibana.example.org/x" in steps
    assert "Follow trace 4bf92f3577b3" in steps
    assert "incidents resolve 3f9a1c0de47b2856 --fix TEXT -c FILE" in " ".join(report.notes), "it fits every incident"


def test_every_citation_exists() -> None:
    incident = given_samples.incident()
    known = {line.id for line in incident.evidence}
    report = write(incident)
    cited = [key for c in (*report.what_happened, *report.causes, *report.steps) for key in c.evidence]
    assert cited
    assert set(cited) <= known


def test_equal_incidents_get_equal_reports() -> None:
    assert write(given_samples.incident()) == write(given_samples.incident())


def test_a_resolved_incident_is_told_in_the_past() -> None:
    report = write(given_samples.resolved(fix="restarted"))
    assert report.what_happened[0].text.startswith("Between 09:26 UTC and 09:47 UTC on 2026-03-14, 3 services behaved")
    assert "--fix" not in "".join(report.notes)


def test_what_limits_the_evidence_is_said() -> None:
    incident = given_samples.incident(sampled=0.25, trigger="alert HighLatency", reopened=2, merged_into="abc")
    notes = " ".join(write(incident).notes)
    assert "only 25% of the lines were read" in notes
    assert "Opened by alert HighLatency" in notes
    assert "Reopened 2 times" in notes
    assert "Merged into incident abc" in notes


def test_an_alert_without_anything_in_the_logs_is_said_to_be_that() -> None:
    nothing: dict[str, Any] = dict.fromkeys(("contributions", "evidence", "suspects", "timeline"), ())
    report_of = given_samples.incident(**nothing, anomalies=0, trigger="alert Down")
    report = write(report_of)
    assert report.headline.startswith("payments: alert Down")
    [claim] = report.what_happened
    assert claim.text.endswith("alert Down fired. No logs around it could be compared with their past.")
    at = given_samples.START
    looked = (Past("shop", at - timedelta(minutes=10), at),)
    [claim] = write(replace(report_of, looked=looked, summary="no probe answers")).what_happened
    assert claim.text.endswith(
        "alert Down fired: “no probe answers”. Compared with their past, the logs of shop from 09:16 UTC to 09:26 UTC "
        "show nothing unusual."
    )
    assert report.causes == ()


def test_hostile_text_and_storms_stay_short_and_on_one_line() -> None:
    report = write(given_samples.huge().incident, (given_samples.similar(given_samples.HOSTILE),), LINKS)
    for text in everything(report):
        assert len(text) < 1500
        assert text.isprintable()
    assert len(report.what_happened) <= 12
