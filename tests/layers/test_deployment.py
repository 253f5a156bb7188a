"""The manifests and the compose file of three layers: valid, and each configured for its neighbours."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml

from exporter.cli.main import build_parser
from exporter.config import Config, load

LAYERS = Path(__file__).parents[2] / "deploy/layers"
COMPOSE: Mapping[str, Any] = yaml.safe_load((LAYERS / "compose.yaml").read_text())
MANIFESTS: list[Mapping[str, Any]] = list(yaml.safe_load_all((LAYERS / "kubernetes.yml").read_text()))
NAMES = ("daemon", "memory", "report")
IN_THE_IMAGE = ["run", "-c", "/etc/log-anomaly-exporter/exporter.yml"]


def configured(name: str) -> Config:
    return load(LAYERS / f"exporter-{name}.yml")


def containers() -> dict[str, Mapping[str, Any]]:
    found = {}
    for one in MANIFESTS:
        if one["kind"] == "Deployment":
            (container,) = one["spec"]["template"]["spec"]["containers"]
            found[container["name"]] = container
    return found


def test_the_manifests_are_what_kubernetes_takes() -> None:
    for document in MANIFESTS:
        for version in ("1.30", kubernetes_validate.latest_version()):
            kubernetes_validate.validate(document, version, strict=True)


@pytest.mark.parametrize("name", NAMES)
def test_each_layer_is_started_by_a_command_that_there_is(name: str) -> None:
    for command in (containers()[name]["args"], COMPOSE["services"][name].get("command", IN_THE_IMAGE)):
        options = build_parser().parse_args(command)
        assert str(options.config) == "/etc/log-anomaly-exporter/exporter.yml"
        assert command[:-2] == (["run"] if name == "daemon" else ["serve", name])


def test_the_daemon_asks_its_neighbours_by_the_names_that_they_have_with_the_token_that_they_want() -> None:
    daemon = configured("daemon")
    services = {one["metadata"]["name"] for one in MANIFESTS if one["kind"] == "Service"}
    for name, asked in (("memory", daemon.memory), ("report", daemon.report)):
        assert asked is not None
        assert asked.type == "remote"
        url, token = asked.model_dump()["url"], asked.model_dump()["token_file"]
        assert url == f"http://{name}:9464"
        assert name in services
        assert name in COMPOSE["services"]
        assert getattr(configured(name).serve, name).token_file == token == Path("/run/secrets/token")


@pytest.mark.parametrize("name", NAMES)
def test_what_a_container_mounts_exists_and_only_what_it_keeps_is_a_volume(name: str) -> None:
    mounts = COMPOSE["services"][name]["volumes"]
    assert f"./exporter-{name}.yml:/etc/log-anomaly-exporter/exporter.yml:ro" in mounts
    assert (LAYERS / f"exporter-{name}.yml").is_file()
    keeps = any("/var/lib/log-anomaly-exporter" in mount for mount in mounts)
    kept = any(one["mountPath"] == "/var/lib/log-anomaly-exporter" for one in containers()[name]["volumeMounts"])
    assert keeps == kept == (name != "report")


def test_nobody_but_the_daemon_sees_the_logs_and_memory_sees_nobody_else() -> None:
    services = COMPOSE["services"]
    assert [name for name in NAMES if any("/logs" in mount for mount in services[name]["volumes"])] == ["daemon"]
    shared = {name: set(services[name]["networks"]) for name in NAMES}
    assert shared["memory"] == {"memory"}
    assert not shared["memory"] & shared["report"]
    assert COMPOSE["networks"]["memory"]["internal"]


def test_two_never_run_on_one_state_file() -> None:
    for one in MANIFESTS:
        if one["kind"] == "Deployment" and "report" not in one["metadata"]["name"]:
            assert (one["spec"]["replicas"], one["spec"]["strategy"]["type"]) == (1, "Recreate")
