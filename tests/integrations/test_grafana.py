"""The Grafana sink: one annotation an incident, whatever goes wrong on the way."""

from __future__ import annotations

import html.parser
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from exporter.model import Context, PermanentError, TransientError
from integrations.grafana import GrafanaSettings, GrafanaSink, annotation, identity, tags, text
from tests import samples
from tests.fakes.grafana import GrafanaFake, parse_tags
from tests.fakes.serving import serving


@pytest.fixture
async def grafana() -> AsyncIterator[tuple[GrafanaFake, str]]:
    fake = GrafanaFake()
    async with serving(fake.app()) as url:
        yield fake, url


def settings(url: str, **changes: Any) -> GrafanaSettings:
    options: dict[str, Any] = {"token": SecretStr("glsa_fake"), "timeout": timedelta(seconds=2)}
    return GrafanaSettings(type="grafana", url=url, **(options | changes))


@pytest.fixture
async def sink(grafana: tuple[GrafanaFake, str]) -> AsyncIterator[GrafanaSink]:
    sink = settings(grafana[1]).build(Context())
    yield sink
    await sink.close()


class Tags(html.parser.HTMLParser):
    """What elements a browser would see."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))


# --- The pure function ---------------------------------------------------------------------------------


def test_an_incident_becomes_a_region_of_event_time() -> None:
    assert annotation(samples.notification()) == {
        "time": 1773480360000,
        "timeEnd": 1773480780000,
        "tags": ["log-anomaly", "lae_id:3f9a1c0de47b2856", "service:payments", "severity:critical"],
        "text": "<b>Critical: payments cannot reach its database; checkout and gateway fail with it</b><br>"
        "Cause: payments (74%): first to change, and its errors name what the others miss<br>"
        "new kind of line: could not connect to &lt;*&gt;: connection refused (184 lines, expected 0)<br>"
        "errors: errors of payments (371 lines, expected 0.8)<br>"
        "unusual order: charge requested → charge captured (0.04 of times, expected 0.97)<br>"
        "Seen before: the same failure as on 2026-03-02: payments: connections to db-payments refused "
        "(3rd time; connection refused; 1 line in common; fixed by: raised max_connections of db-payments "
        "from 100 to 300 (ann), came back after 11 d)<br>"
        'score 0.99, revision 4 · <a href="https://anomalies.example.org/incidents/3f9a1c0de47b2856" '
        'target="_blank" rel="noopener">Open incident</a>',
    }


def test_a_resolved_incident_ends_where_its_anomalies_ended() -> None:
    made = annotation(samples.notification(samples.resolved()))
    assert (made["time"], made["timeEnd"]) == (1773480360000, 1773481620000)
    assert made["text"].startswith("<b>Resolved: ")


def test_log_text_is_text_and_only_our_own_elements_are_elements() -> None:
    for news in (samples.hostile(), samples.huge()):
        seen = Tags()
        seen.feed(text(news))
        assert {tag for tag, _ in seen.elements} <= {"b", "br", "a"}
        assert [attributes["href"] for tag, attributes in seen.elements if tag == "a"] == [news.url]


def test_a_tooltip_stays_small_in_a_storm() -> None:
    assert len(text(samples.huge()).encode()) <= 1_500


def test_no_escape_is_cut_in_two() -> None:
    made = text(samples.notification(report=samples.report(headline="<" * 500)))
    assert made.replace("&lt;", "").count("&") == made.count("&") - made.count("&lt;")
    assert "&l…" not in made
    assert "&…" not in made


def test_a_dangerous_link_is_left_out() -> None:
    assert "<a " not in text(samples.notification(url="javascript:alert(1)"))
    assert '"><script>' not in text(samples.notification(url='https://x/"><script>'))


def test_tags_survive_grafana_as_they_are() -> None:
    for service in ("payments", "image:repo:tag", "x" * 300, "  spaced  out ", "a,b", samples.HOSTILE, "Ω" * 200):
        incident = samples.incident(suspects=(), service=service, id="shop/pay:2026-03-14T09:26:00+00:00" * 4)
        made = tags(incident, ["env:prod:eu", "second"])
        assert made == parse_tags(made)
        assert len(made) == 5
        assert all(len(tag) <= 60 and tag.count(":") <= 1 for tag in made)


def test_an_incident_is_found_by_a_tag_of_its_own() -> None:
    assert identity("3f9a1c0de47b2856") == "lae_id:3f9a1c0de47b2856"
    assert identity("a:b") != identity("a:c")


def test_a_panel_needs_its_dashboard() -> None:
    with pytest.raises(ValidationError, match="panel_id needs dashboard_uid"):
        settings("http://grafana", panel_id=3)


# --- Over HTTP -----------------------------------------------------------------------------------------


async def test_one_annotation_follows_the_incident(grafana: tuple[GrafanaFake, str], sink: GrafanaSink) -> None:
    fake, _ = grafana
    receipt = await sink.deliver(samples.notification())
    later = samples.notification(samples.resolved(), receipt=receipt)
    assert await sink.deliver(later) == receipt
    (kept,) = fake.annotations.values()
    assert kept.time_end == 1773481620000
    assert kept.text.startswith("<b>Resolved")
    assert fake.requests[-1] == f"PATCH /api/annotations/{receipt}"


@pytest.mark.parametrize("mishap", ["stored_then_timeout", "stored_then_500"])
async def test_an_unclear_failure_does_not_tell_it_twice(grafana: tuple[GrafanaFake, str], mishap: Any) -> None:
    fake, url = grafana
    sink = settings(url, timeout=timedelta(seconds=1)).build(Context())
    await sink.deliver(samples.notification(samples.incident(id="another")))
    # The first request looks whether it is there; the second stores it and does not say so.
    fake.mishaps = [None, mishap]
    with pytest.raises(TransientError):
        await sink.deliver(samples.notification())
    assert await sink.deliver(samples.notification()) == "2"
    await sink.close()
    assert len(fake.annotations) == 2


async def test_an_annotation_that_somebody_deleted_is_made_again(
    grafana: tuple[GrafanaFake, str], sink: GrafanaSink
) -> None:
    fake, _ = grafana
    receipt = await sink.deliver(samples.notification())
    fake.annotations.clear()
    assert await sink.deliver(samples.notification(receipt=receipt)) != receipt
    assert len(fake.annotations) == 1


async def test_a_foreign_receipt_does_no_harm(grafana: tuple[GrafanaFake, str], sink: GrafanaSink) -> None:
    fake, _ = grafana
    assert await sink.deliver(samples.notification(receipt="../../users/1")) == "1"
    assert all(request.split()[1].startswith("/api/annotations") for request in fake.requests)


async def test_grafana_under_a_path_is_found() -> None:
    fake = GrafanaFake(prefix="/tools/grafana")
    async with serving(fake.app()) as url:
        sink = settings(f"{url}/tools/grafana/").build(Context())
        await sink.deliver(samples.notification())
        await sink.close()
    assert len(fake.annotations) == 1


async def test_an_annotation_can_belong_to_a_panel(grafana: tuple[GrafanaFake, str]) -> None:
    fake, url = grafana
    sink = settings(url, dashboard_uid="shop", panel_id=4, tags=("env:prod",)).build(Context())
    await sink.deliver(samples.notification())
    await sink.close()
    (kept,) = fake.annotations.values()
    assert (kept.dashboard_uid, kept.panel_id) == ("shop", 4)
    assert "env:prod" in kept.tags


async def test_a_storm_is_accepted(grafana: tuple[GrafanaFake, str], sink: GrafanaSink) -> None:
    assert await sink.deliver(samples.huge()) == "1"


async def test_a_wrong_token_is_permanent_and_named(grafana: tuple[GrafanaFake, str]) -> None:
    sink = settings(grafana[1], token=SecretStr("glsa_wrong")).build(Context())
    with pytest.raises(PermanentError, match="401") as caught:
        await sink.deliver(samples.notification())
    (check,) = await sink.check()
    await sink.close()
    assert "glsa_wrong" not in str(caught.value)
    assert not check.ok
    assert "Editor" in check.remedy


async def test_a_missing_permission_is_permanent(grafana: tuple[GrafanaFake, str], sink: GrafanaSink) -> None:
    grafana[0].scopes = {"annotations:read"}
    with pytest.raises(PermanentError, match="403"):
        await sink.deliver(samples.notification())


async def test_a_failing_grafana_is_tried_again(grafana: tuple[GrafanaFake, str], sink: GrafanaSink) -> None:
    fake, _ = grafana
    fake.mishaps = ["500"]
    with pytest.raises(TransientError):
        await sink.deliver(samples.notification())
    fake.mishaps = ["429"]
    with pytest.raises(TransientError) as caught:
        await sink.deliver(samples.notification())
    assert caught.value.retry_after == timedelta(seconds=7)


async def test_a_login_page_is_not_followed(grafana: tuple[GrafanaFake, str], sink: GrafanaSink) -> None:
    fake, _ = grafana
    fake.mishaps = ["login_page"]
    with pytest.raises(PermanentError):
        await sink.deliver(samples.notification())
    assert len(fake.requests) == 1


async def test_checking_writes_nothing(grafana: tuple[GrafanaFake, str], sink: GrafanaSink) -> None:
    (check,) = await sink.check()
    assert check.ok
    assert grafana[0].annotations == {}


async def test_the_token_file_is_read_at_each_use(grafana: tuple[GrafanaFake, str], tmp_path: Any) -> None:
    fake, url = grafana
    file = tmp_path / "token"
    file.write_text("old\n")
    sink = settings(url, token=None, token_file=file).build(Context())
    with pytest.raises(PermanentError):
        await sink.deliver(samples.notification())
    file.write_text("glsa_fake\n")
    await sink.deliver(replace(samples.notification(), event_id="again"))
    await sink.close()
    assert len(fake.annotations) == 1
