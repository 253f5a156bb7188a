"""Dashboards and alert rules use only metrics and labels that the code defines and counts, and the rules do as said."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter.telemetry import METRICS, exposed_names

ROOT = Path(__file__).parents[1]
DASHBOARDS = sorted((ROOT / "dashboards").glob("*.json"))
RULES = sorted((ROOT / "alert_rules").glob("*.rules.yml"))
RULE_TESTS = sorted((ROOT / "alert_rules").glob("*_test.yml"))

NAMES = {exposed: name for name in METRICS for exposed in exposed_names(name)}
SET_BY_PROMETHEUS = {"job", "instance"}


def dashboard(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(path.read_text())
    return loaded


def panels(board: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for panel in board["panels"]:
        yield panel
        yield from panel.get("panels", ())


def rules() -> Iterator[tuple[str, dict[str, Any]]]:
    for path in RULES:
        for group in yaml.safe_load(path.read_text())["groups"]:
            for rule in group["rules"]:
                yield f"{path.name}: {rule['alert']}", rule


def expressions() -> Iterator[tuple[str, str]]:
    """(place, PromQL) of everything that is asked anywhere."""
    for path in DASHBOARDS:
        board = dashboard(path)
        for panel in panels(board):
            for target in panel.get("targets", ()):
                yield f"{path.name}: {panel['title']}", target["expr"]
        for variable in board["templating"]["list"]:
            if variable["type"] == "query":
                yield f"{path.name}: ${variable['name']}", variable["query"]["query"]
    for place, rule in rules():
        yield place, rule["expr"]


def selectors(expression: str) -> Iterator[tuple[str, set[str]]]:
    """(metric, labels that its matchers name)."""
    for name, matchers in re.findall(r"(log_anomaly_exporter_\w+)(?:\{([^}]*)\})?", expression):
        yield name, set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers))


def grouped(expression: str) -> set[str]:
    """The labels of every `by (...)`, `on (...)` and the like, and of label_values(…, label)."""
    lists = re.findall(r"\b(?:by|on|without|ignoring|group_left|group_right)\s*\(([^)]*)\)", expression)
    lists += re.findall(r"label_values\(.*,\s*(\w+)\)$", expression)
    return {label.strip() for names in lists for label in names.split(",") if label.strip()}


def allowed(name: str) -> set[str]:
    extra = {"le"} if name.endswith("_bucket") else set()
    return set(METRICS[NAMES[name]].labels) | SET_BY_PROMETHEUS | extra


def test_there_is_something_to_check() -> None:
    assert DASHBOARDS
    assert RULES
    assert RULE_TESTS
    assert len(list(expressions())) > 30


def test_every_metric_that_is_used_is_defined() -> None:
    unknown = [
        f"{place}: {name}" for place, asked in expressions() for name, _ in selectors(asked) if name not in NAMES
    ]
    assert not unknown, "\n".join(unknown)


def test_every_label_that_is_used_is_declared() -> None:
    wrong = []
    for place, asked in expressions():
        metrics = [(name, labels) for name, labels in selectors(asked) if name in NAMES]
        wrong += [
            f"{place}: {name} has no label {labels - allowed(name)}"
            for name, labels in metrics
            if labels - allowed(name)
        ]
        carried: set[str] = set().union(*(allowed(name) for name, _ in metrics))
        wrong += [f"{place}: nothing has the label {label}" for label in grouped(asked) - carried]
    assert not wrong, "\n".join(wrong)


def test_the_checks_above_would_find_a_mistake() -> None:
    expression = 'sum by (sorce, le) (rate(log_anomaly_exporter_source_poll_seconds_bucket{source=~"a|b", x!="1"}[5m]))'
    assert list(selectors(expression)) == [("log_anomaly_exporter_source_poll_seconds_bucket", {"source", "x"})]
    assert grouped(expression) == {"sorce", "le"}
    assert "log_anomaly_exporter_source_polls" not in NAMES
    assert "log_anomaly_exporter_source_polls_total" in NAMES


def test_every_metric_that_is_defined_is_counted_somewhere() -> None:
    """A metric that is defined and never set misleads: it stays at 0, and an alert on it cannot fire."""
    code = "\n".join(
        path.read_text() for folder in ("exporter", "integrations") for path in ROOT.glob(f"{folder}/**/*.py")
    )
    written = set(re.findall(r"\b(?:count|gauge|observe)\(\s*f?\"([\w{}]+)\"", code))
    patterns = [re.sub(r"\{\w+\}", r"\\w+", name) for name in written]  # f"incidents_{change}" counts several
    never = sorted(name for name in METRICS if not any(re.fullmatch(pattern, name) for pattern in patterns))
    assert not never, f"defined and never counted: {', '.join(never)}"


# --- Dashboards ----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.name)
def test_a_dashboard_is_classic_json_that_imports_anywhere(path: Path) -> None:
    board = dashboard(path)
    assert board["uid"] == path.stem
    assert "id" not in board
    assert "__inputs" not in board
    assert 39 <= board["schemaVersion"] <= 41
    assert "spec" not in board  # would be the newer resource format
    ids = [panel["id"] for panel in panels(board)]
    assert len(set(ids)) == len(ids)
    for panel in panels(board):
        if panel["type"] != "row":
            assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}, panel["title"]
            assert all(target["datasource"] == panel["datasource"] for target in panel["targets"])
            assert panel["description"], panel["title"]


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.name)
def test_panels_do_not_overlap_and_fill_the_width(path: Path) -> None:
    cells: dict[tuple[int, int], str] = {}
    for panel in panels(dashboard(path)):
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert (x, y) not in cells, f"{panel['title']} lies on {cells[x, y]}"
                cells[x, y] = panel["title"]
    assert len(cells) == 24 * (1 + max(y for _, y in cells))


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.name)
def test_legends_name_labels_that_the_query_keeps(path: Path) -> None:
    for panel in panels(dashboard(path)):
        for target in panel.get("targets", ()):
            assert set(re.findall(r"{{(\w+)}}", target["legendFormat"])) <= grouped(target["expr"]), panel["title"]


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.name)
def test_variables_that_are_used_are_there(path: Path) -> None:
    board = dashboard(path)
    known = {variable["name"] for variable in board["templating"]["list"]}
    assert next(v for v in board["templating"]["list"] if v["name"] == "datasource")["type"] == "datasource"
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(board["panels"])))
    assert {name for name in used if not name.startswith("__")} <= known


def test_incidents_appear_as_annotations_by_the_tag_that_we_write() -> None:
    from integrations.grafana import MARKER

    (query,) = [
        item
        for item in dashboard(ROOT / "dashboards" / "log-anomaly-exporter.json")["annotations"]["list"]
        if not item.get("builtIn")
    ]
    assert query["datasource"] == {"type": "grafana", "uid": "-- Grafana --"}
    assert query["target"] == {"type": "tags", "tags": [MARKER], "matchAny": False, "limit": 500}
    assert query["enable"]


# --- Rules ---------------------------------------------------------------------------------------


def promtool_run(promtool: Path, *arguments: str, cwd: Path) -> None:
    done = subprocess.run([str(promtool), *arguments], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", RULES, ids=lambda path: path.name)
def test_the_rules_are_valid(promtool: Path, path: Path) -> None:
    promtool_run(promtool, "check", "rules", "--lint-fatal", path.name, cwd=path.parent)


@pytest.mark.parametrize("path", RULE_TESTS, ids=lambda path: path.name)
def test_the_rules_fire_when_they_should_and_not_before(promtool: Path, path: Path) -> None:
    promtool_run(promtool, "test", "rules", path.name, cwd=path.parent)


def test_a_rule_that_says_something_else_fails_its_test(promtool: Path, tmp_path: Path) -> None:
    for path in (*RULES, *RULE_TESTS):
        shutil.copy(path, tmp_path)
    changed = tmp_path / RULES[0].name
    changed.write_text(changed.read_text().replace("source_stalled == 1", "source_stalled == 2"))
    with pytest.raises(AssertionError, match="LogAnomalyExporterSourceStalled"):
        promtool_run(promtool, "test", "rules", RULE_TESTS[0].name, cwd=tmp_path)


def test_every_rule_is_tested_and_says_what_to_do() -> None:
    tested = "".join(path.read_text() for path in RULE_TESTS)
    for place, rule in rules():
        assert rule["alert"].startswith("LogAnomalyExporter"), place
        assert rule["alert"] in tested or rule["alert"].removeprefix("LogAnomalyExporterSource") in tested, place
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}, place
        assert set(rule["annotations"]) == {"summary", "description"}, place


def test_rules_speak_only_of_labels_that_their_alerts_carry() -> None:
    for place, rule in rules():
        named = set(re.findall(r"\$labels\.(\w+)", " ".join(rule["annotations"].values())))
        kept = re.search(r"sum by \(([^)]*)\)", rule["expr"])
        if kept:
            carried = {label.strip() for label in kept[1].split(",")}
        else:
            carried = set().union(*(allowed(name) for name, _ in selectors(rule["expr"])))
        assert named <= carried, place
