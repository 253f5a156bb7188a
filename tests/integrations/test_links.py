"""Links from a page to exactly the lines that it cites: what Kibana and Grafana are asked finds them, nothing else."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from exporter.config import parse
from exporter.model import Context, Evidence, Source, Wanted
from exporter.model.facts import Facts, Failing
from exporter.run.links import fact_urls, line_urls, texts_of
from exporter.web.pages import web_url
from integrations._links import rison
from integrations.elasticsearch import ElasticsearchSettings
from integrations.loki.settings import LokiOptions
from tests.fakes import logql
from tests.web.backend import shop_incident

AT = datetime(2026, 3, 14, 9, 26, 12, 345678, tzinfo=UTC)
WANTED = Wanted("payments", AT, AT + timedelta(minutes=5), ("could not connect to", 'it\'s "odd"!'), "4bf92f")
BASE = "https://kibana.example.org/s/shop"


def elasticsearch(**settings: object) -> ElasticsearchSettings:
    return ElasticsearchSettings.model_validate({"name": "shop", "hosts": ["https://es:9200"], **settings})


def loki(**settings: object) -> LokiOptions:
    class Loki(LokiOptions):
        def build(self, context: Context) -> Source:
            raise NotImplementedError

    return Loki.model_validate({"name": "shop", "url": "http://loki:3100", "query": '{app="shop"}', **settings})


def test_kibana_is_asked_for_the_service_the_texts_and_the_trace_within_the_time() -> None:
    url = elasticsearch(kibana_url=f"{BASE}/", data_view="logs-*").lines_url(WANTED)
    assert url
    assert web_url(url) == url
    place, _, state = url.partition("#/?")
    assert place == f"{BASE}/app/discover"
    said = unquote(state)
    assert "_g=(time:(from:'2026-03-14T09:26:12.344Z',to:'2026-03-14T09:31:12.346Z'))" in said
    assert "dataSource:(dataViewId:'logs-*',type:'dataView')" in said
    texts = 'query:\'"payments" and "could not connect to" and "it!\'s \\"odd\\"!!" and "4bf92f"\''
    assert texts in said
    assert "sort:!(!('@timestamp','asc'))" in said


def test_grafana_is_asked_in_the_words_of_its_data_source() -> None:
    own = {"grafana_url": "https://grafana.example.org", "grafana_datasource": "uid1"}
    pane = panes(elasticsearch(**own).lines_url(WANTED))
    assert pane["range"] == {"from": "1773480372344", "to": "1773480672346"}
    (query,) = pane["queries"]
    assert query["datasource"] == {"type": "elasticsearch", "uid": "uid1"}
    assert query["query"] == '"payments" AND "could not connect to" AND "it\'s \\"odd\\"!" AND "4bf92f"'
    (query,) = panes(loki(**own).lines_url(WANTED))["queries"]
    assert query["expr"] == '{app="shop"} |= "could not connect to" |= "it\'s \\"odd\\"!"'
    (query,) = panes(loki(**own, fields={"service": "app"}).lines_url(WANTED))["queries"]
    assert query["expr"].startswith('{app="shop",app="payments"}')


def panes(url: str | None) -> dict[str, Any]:
    assert url
    assert web_url(url) == url
    (pane,) = json.loads(parse_qs(urlsplit(url).query)["panes"][0]).values()
    found: dict[str, Any] = pane
    return found


def test_without_a_place_there_is_no_link_and_what_is_no_address_is_refused() -> None:
    assert elasticsearch().lines_url(WANTED) is None
    assert loki(grafana_url="https://grafana.example.org").lines_url(WANTED) is None
    for wrong in ("javascript:alert(1)", "kibana.example.org", "https://"):
        with pytest.raises(ValidationError, match="is not a URL"):
            elasticsearch(kibana_url=wrong)


LINES = (
    "could not connect to db-payments:5432 within 200 ms: connection refused",
    'level=warn msg="Token of u17 rejected: issued 10 s in the future"',
    '{"level":40,"msg":"Resolver 10.96.0.10 did not answer in 5 s"}',
    "HikariPool-1 - Connection is not available, request timed out after 5008ms (total=20, idle=0)",
    "über 3 Fehler\tim “Lager” \\x1b[31m",
    "x",
)


@pytest.mark.parametrize("body", LINES)
def test_what_is_looked_for_by_is_in_the_line_and_in_all_of_its_kind(body: str) -> None:
    template = re.sub(r"\d+", "<NUM>", body)
    texts = texts_of(Evidence("L1", "shop", "payments", AT, body, template=template))
    other = re.sub(r"\d+", "77", body)
    _, stages = logql.parse('{app="shop"}' + "".join(f" |= {json.dumps(text)}" for text in texts))
    for line in (body, other, json.dumps({"message": other})):
        assert logql.passes(stages, 0, line, {"app": "shop"}) is not None
    if texts:
        assert logql.passes(stages, 0, "GET /healthy 200", {"app": "shop"}) is None


@given(st.text(max_size=300), st.text(max_size=300))
def test_no_text_of_a_log_leaves_its_place_in_a_link(service: str, text: str) -> None:
    wanted = replace(WANTED, service=service.encode("utf-8", "replace").decode(), texts=(text,), trace="")
    url = elasticsearch(kibana_url=BASE).lines_url(replace(wanted, texts=(text.encode("utf-8", "replace").decode(),)))
    assert url
    assert url.startswith(f"{BASE}/app/discover#/?_g=(time:(")
    assert url.count("&") == 1
    assert not re.search(r"[<>\"\s]", url)


def test_a_string_ends_where_it_ends() -> None:
    assert rison({"q": "a'),filters:!(x"}) == "(q:'a!'),filters:!!(x')"


def test_the_page_of_an_incident_links_its_lines_and_its_facts() -> None:
    source = {"type": "elasticsearch", "name": "shop", "hosts": ["https://es:9200"], "kibana_url": BASE}
    config = parse({"sources": [source]})
    incident = shop_incident()
    assert line_urls(config, incident).keys() == {line.id for line in incident.evidence}
    fact = Failing("payments", "no", "", 17, 3, 0.0, AT, "L8f0c1d22a9")
    urls = fact_urls(config, replace(incident, facts=Facts(AT + timedelta(minutes=9), (fact,))))
    assert "to:'2026-03-14T09:35:12.346Z'" in unquote(urls["L8f0c1d22a9"])
    assert line_urls(parse({"sources": [{**source, "kibana_url": None}]}), incident) == {}
