"""exporter.yml: short files suffice, mistakes are named with path, value and choices, and secrets are never shown."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any, get_args

import pytest

from exporter.cli.main import main
from exporter.config import EMBEDDERS, LLMS, MEMORIES, SINKS, SOURCES, effective, load, parse, resolve
from exporter.config.retired import RETIRED
from exporter.model import (
    ConfigError,
    EmbedderSettings,
    LLMSettings,
    MemorySettings,
    Settings,
    SinkSettings,
    SourceSettings,
    format_duration,
    parse_duration,
)
from integrations.console import ConsoleSettings
from integrations.file import FileSettings

SHORTEST: dict[str, Any] = {
    "sources": [{"type": "elasticsearch", "name": "shop", "hosts": ["http://localhost:9200"], "index": "logs-*"}],
    "sinks": [{"type": "console"}],
}


def with_(path: str, value: Any) -> dict[str, Any]:
    """The shortest file with one value set."""
    raw: dict[str, Any] = {**SHORTEST, "sources": [dict(SHORTEST["sources"][0])], "sinks": [{"type": "console"}]}
    place: Any = raw
    *parents, last = path.split(".")
    for part in parents:
        place = place[int(part)] if part.isdigit() else place.setdefault(part, {})
    place[int(last) if last.isdigit() else last] = value
    return raw


def test_one_source_and_one_sink_are_enough() -> None:
    config = parse(SHORTEST)
    assert config.warmup.history == timedelta(days=7)
    assert config.alarm_budget == 1.0
    assert config.sources[0].window == timedelta(seconds=60)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("sinks.0.type", "slak", "sinks.0.type: 'slak' is not one of 'alertmanager', 'console'"),
        ("sources.0.type", "splunk", "sources.0.type: 'splunk' is not one of 'elasticsearch', 'file', 'loki'"),
        ("sources.0.indx", "logs-*", "sources.0.indx: unknown key"),
        ("sources.0.window", "60", "sources.0.window: '60' is not a duration"),
        ("alarm_budgett", "1/day", "alarm_budgett: unknown key"),
        ("alarm_budget", "often", "alarm_budget: 'often' is not a budget"),
        ("external_url", "anomalies.example.org", "external_url: 'anomalies.example.org' is not an absolute"),
        ("warmup.history", -1, "warmup.history: -1 is not a duration"),
        ("incidents.for", "soon", "incidents.for: 'soon' is not a duration"),
        ("memory", {"type": "redis"}, "memory.type: 'redis' is not one of 'elasticsearch', 'local'"),
        ("llm", {"type": "oracle"}, "llm.type: 'oracle' is not one of 'openai'"),
        ("external_labels", {"1st": "x"}, "external_labels: '1st' is not a label name"),
        ("sources", [], "sources: missing; name at least one"),
        ("sources.0", "shop", "sources.0: must be a block of settings with a type that is one of 'elasticsearch'"),
        ("sources.0.type", None, "sources.0.type: missing; must be one of 'elasticsearch'"),
        ("sources.0.sessions", {"pattern": "order=("}, "sources.0.sessions.pattern: not a regular expression"),
        ("warmup", "5m", "warmup: '5m': must be a block of settings"),
        ("readers", 0, "readers: 0: "),
    ],
)
def test_a_mistake_is_named_with_its_path_and_the_choices(path: str, value: Any, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse(with_(path, value), "exporter.yml")
    assert message in str(error.value)
    assert str(error.value).startswith("exporter.yml: ")


def test_every_mistake_is_named_at_once() -> None:
    raw = with_("sinks.0.type", "slak")
    raw["sources"][0]["type"] = "splunk"
    with pytest.raises(ConfigError) as error:
        parse(raw)
    assert len(str(error.value).splitlines()) == 2


def test_two_sources_of_one_name_are_refused() -> None:
    raw = {**SHORTEST, "sources": SHORTEST["sources"] * 2}
    with pytest.raises(ConfigError, match="'shop' is taken"):
        parse(raw)


def test_the_environment_fills_in_secrets_which_are_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ES_API_KEY", "c2VjcmV0OnZlcnk=")
    config = parse(with_("sources.0.api_key", "${ES_API_KEY}"))
    assert "c2VjcmV0" not in effective(config)
    assert "c2VjcmV0" not in repr(config)


def test_a_variable_that_is_not_set_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_SUCH", raising=False)
    with pytest.raises(ConfigError, match=r"sources\.0\.api_key: the environment has no variable NO_SUCH"):
        parse(with_("sources.0.api_key", "${NO_SUCH}"))


def test_the_effective_configuration_can_be_read_again(tmp_path: Path) -> None:
    path = tmp_path / "exporter.yml"
    path.write_text(effective(parse(SHORTEST)))
    assert load(path).sources[0].name == "shop"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "holds no settings"),
        (b"- a\n- b\n", "holds no settings"),
        (b"state", "holds no settings"),
        (b"a: [", ":1: not valid YAML, at column 5: expected the node content"),
        (b"state: a\nretention: 2026-02-30\n", ":2: not valid YAML, at column 12: day is out of range"),
        (b"state: a\nweb: &w {web: *w}\n", ":2: not valid YAML, at column 6: a block holds itself"),
        (b"\xff\xfes", "not text in UTF-8, at byte 0"),
    ],
)
def test_a_file_that_is_no_configuration_is_refused(tmp_path: Path, text: bytes, message: str) -> None:
    path = tmp_path / "exporter.yml"
    path.write_bytes(text)
    with pytest.raises(ConfigError) as error:
        load(path)
    assert str(error.value).startswith(f"{path}:")
    assert message in str(error.value)


SEVERAL = """\
state: ${NO_SUCH}/state.db
alarm_budgett: 1/day
sources:
  - name: shop
    type: loki
    url: loki:3100
  - type: file
    name: shop
    path: shop.log
    sessions:
      pattern: order=(
      idle: 5
memory:
  type: local
  embedder:
    type: hashing
    dimensions: 1
readers: 0
state: ./state.db
sinks:
  - console
  - {type: alertmanager, urls: ["http://am:9093"],
     resend: 1s}
"""


def test_every_problem_is_told_with_its_line_in_the_order_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_SUCH", raising=False)
    told = refused(tmp_path, SEVERAL)
    assert [line.partition(": ")[0] for line in told] == [
        *("exporter.yml:2", "exporter.yml:4", "exporter.yml:6", "exporter.yml:12", "exporter.yml:17"),
        *("exporter.yml:18", "exporter.yml:19", "exporter.yml:21", "exporter.yml:23"),
    ]
    assert [line.split(": ")[1] for line in told] == [
        *("alarm_budgett", "sources.0.query", "sources.0.url", "sources.1.sessions.idle", "memory.embedder.dimensions"),
        *("readers", "state", "sinks.0", "sinks.1.resend"),
    ]
    assert told[6] == "exporter.yml:19: state: the key is there twice, first in line 1; keep one"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("state: a\n", "1: sources: missing; name at least one"),
        ("state: a\nsources: []\n", "2: sources: missing; name at least one"),
        ("# a comment\n\nstate: a\n", "3: sources: missing"),
        ("sources:\n  - {type: file, name: a}\n", "2: sources.0.path: missing"),
        ("sources:\n  -\n    type: file\n    name: a\n", "3: sources.0.path: missing"),
        (
            "sources:\n- type: file\n  name: a\n  path: b\n- type: file\n  path: b\n  name: a\n",
            "7: sources.1.name: 'a' is",
        ),
        ("sources: [{type: file, name: a,\n  path: b,\n  name: b}]\n", "3: sources.0.name: the key is there twice"),
        ("sources: [{type: file, name: a, path: b}]\n1: 2\n", "2: 1: unknown key"),
        ("sources: [{type: file, name: a, path: b}]\non: 1\nyes: 2\n", "3: True: the key is there twice"),
        ("x: &x\n  type: file\n  path: 3\nsources: [{<<: *x, name: a}]\n", "3: sources.0.path: 3: "),
        ("sources:\n - {type: file, name: a, path: b, page_size: '${N}'}\n", "2: sources.0.page_size: "),
        ("sources:\n - type: file\n   name: a\n   path:\n    - b\n    - ${NO_SUCH}\n", "6: sources.0.path.1: the env"),
    ],
)
def test_a_problem_has_the_line_of_its_key_or_of_the_block_that_lacks_it(
    text: str, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_SUCH", raising=False)
    monkeypatch.setenv("N", "many")
    told = refused(tmp_path, text)
    assert any(line.startswith(f"exporter.yml:{problem}") for line in told), told


def refused(folder: Path, text: str) -> list[str]:
    """The problems of a file, without its folder."""
    path = folder / "exporter.yml"
    path.write_text(text)
    with pytest.raises(ConfigError) as error:
        load(path)
    return [line.removeprefix(f"{folder}/") for line in str(error.value).splitlines()]


def test_yaml_means_what_it_meant_when_files_were_written(tmp_path: Path) -> None:
    """YAML 1.1, as PyYAML reads it: in YAML 1.2 these would be texts, and ten."""
    path = tmp_path / "exporter.yml"
    path.write_text(
        "sources: [{type: file, name: a, path: b, max_files: 1:30}]\n"
        "sinks: [{type: console, color: yes}]\n"
        "mining: {multiline: off, drop_stack_frames: No}\n"
        "redaction: {ip: on}\n"
        "readers: 010\n"
        "warmup: ~\n"
    )
    config = load(path)
    assert isinstance(config.sources[0], FileSettings)
    assert isinstance(config.sinks[0], ConsoleSettings)
    assert config.sources[0].max_files == 90
    assert config.sinks[0].color is True
    assert (config.mining.multiline, config.mining.drop_stack_frames, config.redaction.ip) == (False, False, True)
    assert config.readers == 8


def test_a_setting_that_lost_its_meaning_is_ignored_with_a_warning(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(RETIRED, "sources.*.batch", "set page_size")
    monkeypatch.setitem(RETIRED, "polling", "remove it")
    path = tmp_path / "exporter.yml"
    path.write_text(
        "sources:\n  - {type: file, name: a, path: b}\n  - {type: file, name: b, path: c,\n     batch: 9}\n"
    )
    batch = f"{path}:4: sources.1.batch: has no effect any more, and the next release refuses it: set page_size"
    assert load(path).sources[1].name == "b"
    assert caplog.messages == [batch]
    path.write_text(f'{path.read_text()}polling: {{every: "${{NO_SUCH}}"}}\n')
    assert main(["check-config", "-c", str(path)]) == 0
    shown = capsys.readouterr()
    polling = f"{path}:5: polling: has no effect any more, and the next release refuses it: remove it"
    assert [line for line in shown.err.splitlines() if "warning" in line] == [
        f"warning: {batch}",
        f"warning: {polling}",
    ]
    assert "batch" not in shown.out


def test_spans_that_an_installed_file_names_are_passed_over(caplog: pytest.LogCaptureFixture) -> None:
    pattern = r"(?P<span>\w+) (?P<body>.*)"
    source = {"type": "file", "name": "a", "path": "b", "fields": {"span": "span.id"}, "pattern": pattern}
    parse({"sources": [source]})
    assert [message.partition(": has no effect")[0] for message in caplog.messages] == [
        "configuration: sources.0.fields.span"
    ]


def test_a_block_without_any_setting_says_nothing() -> None:
    assert parse({**SHORTEST, "warmup": None, "web": None, "llm": None}) == parse(SHORTEST)


def test_what_yaml_merges_may_be_overridden(tmp_path: Path) -> None:
    path = tmp_path / "exporter.yml"
    base = "{type: file, name: a, path: b}"
    path.write_text(f"sources:\n  - &first {base}\n  - &second {{<<: *first, name: b}}\n  - {{<<: *second, name: c}}\n")
    assert [source.name for source in load(path).sources] == ["a", "b", "c"]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load(tmp_path / "absent.yml")


def test_mypy_knows_what_every_source_sink_memory_and_model_can_be_told() -> None:
    """An option that a base lacks is a mistake where it is used: were one of these `Any`, mypy would refuse this."""
    config = parse({**SHORTEST, "llm": {"type": "openai", "base_url": "http://localhost:8000/v1", "model": "m"}})
    with pytest.raises(AttributeError):
        _ = config.sources[0].no_such_option  # type: ignore[attr-defined]
    with pytest.raises(AttributeError):
        _ = config.sinks[0].no_such_option  # type: ignore[attr-defined]
    with pytest.raises(AttributeError):
        _ = config.memory.no_such_option  # type: ignore[attr-defined]
    with pytest.raises(AttributeError):
        _ = config.llm.no_such_option  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("table", "base"),
    [
        (SOURCES, SourceSettings),
        (SINKS, SinkSettings),
        (MEMORIES, MemorySettings),
        (EMBEDDERS, EmbedderSettings),
        (LLMS, LLMSettings),
    ],
)
def test_what_a_table_names_is_of_its_base_and_of_its_word(table: dict[str, str], base: type[Settings]) -> None:
    for kind, reference in table.items():
        settings = resolve(reference)
        assert issubclass(settings, base)
        assert get_args(settings.model_fields["type"].annotation) == (kind,)


@pytest.mark.parametrize("text", ["5m", "1h30m", "7d", "30s", "500ms", "1w"])
def test_durations_are_written_as_they_are_read(text: str) -> None:
    assert parse_duration(format_duration(parse_duration(text))) == parse_duration(text)
