"""What stands beside the code fits the code: image, compose file, examples, licence."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter.config import Config, parse
from integrations.elasticsearch import ElasticsearchSettings
from tests import samples

ROOT = Path(__file__).parent.parent
COMPOSE: Mapping[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES: Mapping[str, Any] = COMPOSE["services"]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def instructions() -> list[tuple[str, str]]:
    """The instructions of the Dockerfile, in order, their lines joined."""
    text = re.sub(r"^\s*#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    joined = text.replace("\\\n", " ")
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in joined.splitlines()) if word]


def stages() -> list[list[tuple[str, str]]]:
    found: list[list[tuple[str, str]]] = []
    for instruction in instructions():
        if instruction[0] == "FROM":
            found.append([])
        if found:
            found[-1].append(instruction)
    return found


def configuration(path: str, monkeypatch: pytest.MonkeyPatch) -> Config:
    """An example as the exporter reads it, with secrets in the environment."""
    text = (ROOT / path).read_text()
    for name in re.findall(r"\$\{(\w+)\}", text):
        monkeypatch.setenv(name, "secret")
    return parse(yaml.safe_load(text), path)


# --- Image ------------------------------------------------------------------------------------------------


def test_the_image_is_built_in_one_stage_and_run_in_another() -> None:
    build, run = stages()
    assert build[0][1].endswith("AS build")
    assert any(word == "COPY" and "--from=build /opt/venv" in rest for word, rest in run)
    assert not any(word == "RUN" and "pip" in rest for word, rest in run)


def test_every_installation_takes_the_locked_versions() -> None:
    installs = [rest for word, rest in instructions() if word == "RUN" and "pip install" in rest]
    assert len(installs) == 3
    assert all("constraints.txt" in rest for rest in installs)


def test_the_image_does_not_run_as_root() -> None:
    users = [rest for word, rest in stages()[-1] if word == "USER"]
    assert users == ["10001:10001"]
    # A number, so that Kubernetes can see that it is not root.
    assert all(part.isdigit() and int(part) > 0 for part in users[0].split(":"))


def test_the_variant_with_embeddings_is_an_extra_that_exists() -> None:
    assert ("ARG", "EXTRA=") in stages()[0]
    assert any("--extra ${EXTRA}" in rest for _, rest in stages()[0])
    assert "embeddings" in PROJECT["optional-dependencies"]
    assert "EXTRA=embeddings" in (ROOT / "Dockerfile").read_text()


def test_the_python_of_the_image_is_one_that_the_project_supports() -> None:
    version = next(rest for word, rest in instructions() if word == "ARG" and rest.startswith("PYTHON="))
    major, minor = map(int, re.findall(r"\d+", version)[:2])
    assert (major, minor) >= (3, 11)
    assert PROJECT["requires-python"] == ">=3.11"


def test_what_is_copied_exists_and_is_sent_to_the_engine() -> None:
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = [
        name
        for word, rest in instructions()
        if word == "COPY" and not rest.startswith("--from")
        for name in rest.split()[:-1]
    ]
    assert copied
    assert all((ROOT / name).exists() for name in copied)
    assert set(copied) == allowed


def test_the_image_starts_the_command_that_the_project_installs() -> None:
    found = {word: json.loads(rest) for word, rest in stages()[-1] if word in ("ENTRYPOINT", "CMD")}
    assert found["ENTRYPOINT"] == list(PROJECT["scripts"])
    assert found["CMD"][0] == "run"


def test_the_image_says_whether_it_is_healthy() -> None:
    check = next(rest for word, rest in stages()[-1] if word == "HEALTHCHECK")
    exposed = next(rest for word, rest in stages()[-1] if word == "EXPOSE")
    assert f"http://127.0.0.1:{exposed}/-/healthy" in check
    assert "/-/healthy" in "".join(path.read_text() for path in (ROOT / "exporter" / "web").glob("*.py"))


# --- Compose ----------------------------------------------------------------------------------------------


def test_compose_has_every_part() -> None:
    assert {"elasticsearch", "alertmanager", "grafana", "exporter", "logs"} <= set(SERVICES)


def mounts() -> Iterator[tuple[str, str, str]]:
    for service, settings in SERVICES.items():
        for mount in settings.get("volumes", ()):
            source, target = mount.split(":")[:2]
            yield service, source, target


def test_what_compose_mounts_exists() -> None:
    for _, source, _ in mounts():
        exists = (ROOT / source).exists() if source.startswith(".") else source in COMPOSE["volumes"]
        assert exists, source


def test_what_compose_waits_for_exists() -> None:
    for settings in SERVICES.values():
        for name, condition in settings.get("depends_on", {}).items():
            assert name in SERVICES
            if condition["condition"] == "service_healthy":
                assert "healthcheck" in SERVICES[name]


def test_images_have_versions() -> None:
    for settings in SERVICES.values():
        assert re.search(r":(v?\d+\.\d+\.\d+|local)$", settings["image"]), settings["image"]


def test_ports_are_open_on_the_loopback_only() -> None:
    for settings in SERVICES.values():
        assert all(port.startswith("127.0.0.1:") for port in settings.get("ports", ()))


def test_our_containers_are_confined() -> None:
    own = [settings for settings in SERVICES.values() if settings["image"].startswith("log-anomaly-exporter")]
    assert len(own) == 3
    for settings in own:
        assert settings["read_only"] is True
        assert settings["cap_drop"] == ["ALL"]


def test_the_server_is_of_the_version_that_the_client_is_made_for() -> None:
    server = re.search(r":(\d+\.\d+)\.", SERVICES["elasticsearch"]["image"])
    client = re.search(r"^elasticsearch==(\d+\.\d+)\.", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert server is not None
    assert client is not None
    assert server[1] == client[1] == "8.19"


def test_the_exporter_of_compose_is_configured_for_its_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    config = configuration("deploy/compose/exporter.yml", monkeypatch)
    text = (ROOT / "deploy/compose/exporter.yml").read_text()
    hosts = set(re.findall(r"http://([a-z]+):\d+", text)) - {"localhost"}
    assert hosts == {"elasticsearch", "alertmanager", "grafana"}
    state = next(target for service, source, target in mounts() if source == "state")
    assert config.state.parent == Path(state)
    port = config.web.listen.rpartition(":")[2]
    assert f"127.0.0.1:{port}:{port}" in SERVICES["exporter"]["ports"]
    for variable in re.findall(r"\$\{(\w+)\}", text):
        assert variable in SERVICES["exporter"]["environment"]


def test_the_generators_write_where_the_exporter_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    (source,) = configuration("deploy/compose/exporter.yml", monkeypatch).sources
    assert isinstance(source, ElasticsearchSettings)
    for name in ("history", "logs"):
        command = SERVICES[name]["command"]
        assert command[0] == "simulate"
        assert "--elasticsearch=http://elasticsearch:9200" in command
        assert f"--index={source.index}" in command


@pytest.mark.parametrize("name", ["history", "logs"])
def test_the_generators_commands_are_ones_that_exist(name: str) -> None:
    from exporter.cli.main import build_parser

    options = build_parser().parse_args(SERVICES[name]["command"])
    assert options.elasticsearch == "http://elasticsearch:9200"


def test_prometheus_scrapes_the_exporter_and_loads_its_rules() -> None:
    prometheus = yaml.safe_load((ROOT / "deploy/compose/prometheus.yml").read_text())
    targets = [t for job in prometheus["scrape_configs"] for c in job["static_configs"] for t in c["targets"]]
    assert targets == ["exporter:9464"]
    mounted = {target for service, _, target in mounts() if service == "prometheus"}
    (pattern,) = prometheus["rule_files"]
    assert any(Path(target).match(pattern) for target in mounted)


def test_grafana_finds_the_dashboard_and_what_it_shows() -> None:
    mounted = {target: source for service, source, target in mounts() if service == "grafana"}
    (provider,) = yaml.safe_load((ROOT / "deploy/compose/grafana/dashboards.yml").read_text())["providers"]
    folder = ROOT / mounted[provider["options"]["path"]]
    home = Path(SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert (folder / home.name).is_file()
    sources = yaml.safe_load((ROOT / "deploy/compose/grafana/datasources.yml").read_text())["datasources"]
    assert "prometheus" in {source["type"] for source in sources}
    for source in sources:
        assert re.match(r"http://([a-z]+):", source["url"])[1] in SERVICES  # type: ignore[index]


def test_alertmanager_has_the_receivers_that_it_routes_to() -> None:
    alertmanager = yaml.safe_load((ROOT / "deploy/compose/alertmanager.yml").read_text())
    assert alertmanager["route"]["receiver"] in {receiver["name"] for receiver in alertmanager["receivers"]}


# --- Examples ---------------------------------------------------------------------------------------------


def test_the_example_is_a_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    config = configuration("deploy/exporter.example.yml", monkeypatch)
    assert config.sources
    assert config.sinks


def test_the_unit_stops_later_than_the_daemon() -> None:
    unit = (ROOT / "deploy/log-anomaly-exporter.service").read_text()
    assert int(re.search(r"TimeoutStopSec=(\d+)", unit)[1]) > 10  # type: ignore[index]
    assert re.search(r"ExecStart=\S+/log-anomaly-exporter run -c ", unit)


def test_the_deployment_never_runs_two_on_one_state() -> None:
    deployment, *others = yaml.safe_load_all((ROOT / "deploy/kubernetes.yml").read_text())
    spec = deployment["spec"]
    assert (spec["replicas"], spec["strategy"]["type"]) == (1, "Recreate")
    (container,) = spec["template"]["spec"]["containers"]
    assert container["livenessProbe"]["httpGet"]["path"] == "/-/healthy"
    assert container["readinessProbe"]["httpGet"]["path"] == "/-/ready"
    assert spec["template"]["spec"]["securityContext"]["runAsNonRoot"] is True
    assert {other["kind"] for other in others} == {"PersistentVolumeClaim", "Service"}
    volumes = {volume["name"] for volume in spec["template"]["spec"]["volumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == volumes


# --- Licence ----------------------------------------------------------------------------------------------


def test_the_licence_is_the_plain_text_of_the_one_that_is_named() -> None:
    text = (ROOT / "LICENSE").read_text()
    assert PROJECT["license"] == "Apache-2.0"
    assert re.search(r"Apache License\s+Version 2\.0, January 2004", text)
    assert "END OF TERMS AND CONDITIONS" in text
    assert len(text.encode()) == 11358


def test_compose_groups_alerts_by_a_label_that_they_have() -> None:
    route = yaml.safe_load((ROOT / "deploy/compose/alertmanager.yml").read_text())["route"]
    assert set(route["group_by"]) <= set(samples.incident().labels)
