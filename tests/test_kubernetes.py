"""The manifests: valid, and the pod that they make answers at its address, also where a source is dead."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml

ROOT = Path(__file__).parent.parent
UNSHARE = ("unshare", "--net", "--user", "--map-root-user")


def test_the_manifests_are_what_kubernetes_takes() -> None:
    for document in yaml.safe_load_all((ROOT / "deploy/kubernetes.yml").read_text()):
        for version in ("1.30", kubernetes_validate.latest_version()):
            kubernetes_validate.validate(document, version, strict=True)


def test_a_pod_of_the_shortest_configuration_answers_at_its_address_with_its_only_source_dead(tmp_path: Path) -> None:
    if not shutil.which("unshare") or subprocess.run([*UNSHARE, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine lets nobody make a network namespace")
    readme = (ROOT / "README.md").read_text()
    shortest = re.search(r"shortest useful file.*?```yaml\n(.*?)```", readme, re.DOTALL)
    assert shortest
    (tmp_path / "exporter.yml").write_text(shortest[1])
    done = subprocess.run(
        [*UNSHARE, sys.executable, "-m", "tests.deployed", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "livenessProbe": 200,
        "readinessProbe": 200,
        "/-/warm": 503,
        "/": 200,
        "/metrics": 200,
        "/webhooks/alertmanager": 403,
        "/-/reload": 403,
        "code": 0,
    }, done.stderr
    for said in ("listening on http://0.0.0.0:9464", "webhooks, resolving and reloading by web are shut"):
        assert said in done.stderr
