"""Every way to install that README names, as it names it, ends with a command that works."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from tests.install import ROOT, Environment, can_build, checkout, ways

VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
ALONE = {"PIP_NO_DEPS": "1", "PIP_NO_BUILD_ISOLATION": "0", "PIP_NO_INDEX": "1"}
"""Nothing is fetched: what it needs is here. In pip's own words `0` is what `--no-build-isolation` is."""


def test_readme_names_the_ways_that_are_tried() -> None:
    """`make evaluate ARGS=install` goes those that fetch something, `make image-test` builds the image."""
    assert [way.split()[0] for way in ways()] == ["pip", "pip", "pipx", "docker", "docker"]


@pytest.mark.skipif(not can_build(), reason="setuptools is older than the project wants: it would be fetched")
@pytest.mark.parametrize("way", [way for way in ways() if way.startswith("pip ")])
def test_a_checkout_installs_as_readme_says(tmp_path: Path, way: str) -> None:
    environment = Environment(tmp_path, bare=False)
    environment.run(way, checkout(tmp_path), **ALONE)
    assert environment.run("log-anomaly-exporter --version", tmp_path) == VERSION
    where = "import exporter.web, integrations; print(exporter.__file__, integrations.__file__)"
    found = environment.run(f'python -c "{where}"', tmp_path).split()
    assert all(Path(file).is_relative_to(tmp_path / "venv") for file in found)
    assert "exporter.yml" in environment.run("log-anomaly-exporter run --help", tmp_path)
