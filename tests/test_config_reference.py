"""What exporter.yml can say is printed from its settings: for editors, and as the page of every option."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from exporter.cli.main import main
from exporter.config import effective, parse
from exporter.config.retired import RETIRED
from exporter.config.schema import editors_schema, options
from exporter.model import ConfigError

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text().partition("```yaml\n")[2].partition("```")[0]
FILES = [*(ROOT / "deploy").rglob("exporter*.yml"), *(ROOT / "tests/data").rglob("*.yml")]
NO_AMOUNT = {"panel_id", "seed", "temperature"}
"""Numbers that count nothing."""

FULL = """
sources:
  - {type: elasticsearch, name: a, hosts: ["http://es:9200"], sessions: {field: order.id}, query: {term: {a: 1}}}
  - {type: loki, name: b, url: "http://loki:3100", query: '{app="a"}', headers: {X-Scope-OrgID: shop}}
  - {type: file, name: c, path: [a.log, b.log], group_by: host, max_lines_per_window: null}
  - {type: simulator, name: d}
memory: {type: elasticsearch, hosts: ["http://es:9200"], embedder: {type: sentence_transformers}}
llm: {type: openai, base_url: "http://localhost:8000/v1", model: m}
sinks:
  - {type: alertmanager, urls: ["http://am:9093"], tls: {ca_file: ca.pem}}
  - {type: console}
  - {type: grafana, url: "http://grafana:3000"}
  - {type: otlp, endpoint: "http://otel:4317", protocol: grpc}
  - {type: slack, webhook_url: "https://slack.example.org"}
  - {type: webhook, url: "https://hook.example.org"}
web: {grafana_signature: {secret: s}}
alarm_budget: 3/week
"""


@cache
def schema() -> Draft202012Validator:
    """As `config schema` prints it."""
    return Draft202012Validator(json.loads(json.dumps(editors_schema())))


def with_(text: str) -> str:
    """The shortest file with something more at its top."""
    return f"{README}{text}\n"


def blocks() -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Every option of every kind of block."""
    root = options()
    for kind, block in (("Config", root), *root["$defs"].items()):
        for name, option in block["properties"].items():
            yield kind, name, option


def test_the_page_of_every_option_is_what_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "docs"]) == 0
    page = ROOT / "docs/configuration.md"
    assert page.read_text() == capsys.readouterr().out, (
        "docs/configuration.md is not what the settings say now; write it anew with "
        "`.venv/bin/log-anomaly-exporter config docs > docs/configuration.md`"
    )


def test_every_option_is_described() -> None:
    assert [f"{kind}.{name}" for kind, name, option in blocks() if not option.get("description")] == []


def test_every_number_says_what_it_counts() -> None:
    silent = []
    for kind, name, option in blocks():
        ways = [option, *option.get("anyOf", ())]
        numbers = any(way.get("type") in ("integer", "number") for way in ways)
        if numbers and not any("x-unit" in way for way in ways) and name not in NO_AMOUNT:
            silent.append(f"{kind}.{name}")
    assert silent == []


def test_the_page_names_every_option() -> None:
    page = (ROOT / "docs/configuration.md").read_text()
    assert {name for _, name, _ in blocks()} - {"type"} <= set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE))


def test_no_retired_setting_is_still_an_option() -> None:
    names = {name for _, name, _ in blocks()}
    assert not {path.rpartition(".")[2] for path in RETIRED} & names


def test_the_schema_is_one_of_draft_2020_12(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "schema"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == schema().schema
    assert printed["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    Draft202012Validator.check_schema(printed)


def test_the_schema_accepts_every_configuration_that_we_show() -> None:
    assert len(FILES) >= 7
    for text in (README, FULL, *(file.read_text() for file in FILES)):
        schema().validate(yaml.safe_load(text))


def test_the_schema_accepts_the_effective_configuration() -> None:
    schema().validate(yaml.safe_load(effective(parse(yaml.safe_load(FULL)))))


@pytest.mark.parametrize(
    "text",
    [
        with_("readers: ${READERS}"),
        with_("warmup: {history: '${HISTORY}'}"),
        with_("alarm_budget: ${BUDGET}"),
        with_("mining: {multiline: '${MULTILINE}', similarity: '${SIMILARITY}'}"),
        with_("web:"),
        with_("alarm_budget: 2"),
        with_("redaction: {extra: [{name: order, regex: 'o-\\d+'}]}"),
        "sources: [{type: file, name: a, path: b, format: '${FORMAT}'}]",
    ],
)
def test_any_value_may_come_from_the_environment_and_a_block_may_be_empty(text: str) -> None:
    schema().validate(yaml.safe_load(text))


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "sources: []",
        "sources: [{name: a, path: b}]",
        "sources: [{type: files, name: a, path: b}]",
        "sources: [{type: file, name: a}]",
        "sources: [{type: file, path: b}]",
        "sources: [{type: file, name: a, path: b, url: c}]",
        "sources: [{type: file, name: a, path: b, window: 60}]",
        "sources: [{type: file, name: a, path: b, window: 1 minute}]",
        "sources: [{type: file, name: a, path: b, format: csv}]",
        "sources: [{type: file, name: a, path: b, sessions: {patern: x}}]",
        with_("alarm_budgett: 1/day"),
        with_("alarm_budget: often"),
        with_("readers: 0"),
        with_("memory: {type: redis}"),
        with_("memory: {embedder: {type: hashing}}"),
        with_("memory: {type: local, embedder: {type: hashing, size: 3}}"),
        with_("llm: {type: openai, model: m}"),
        with_("warmup: 5m"),
        with_("incidents: {for_: 5m}"),
    ],
)
def test_the_schema_refuses_what_is_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ES_API_KEY", "a key")
    raw = yaml.safe_load(text)
    assert not schema().is_valid(raw)
    with pytest.raises(ConfigError):
        parse(raw)
