"""What we bring with us may be brought: the licence of each package that an installation needs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent

ALLOWED = re.compile(
    r"(0BSD|Apache[- ](License|Software License|2\.0|License 2\.0)|Apache-2\.0( WITH LLVM-exception)?|BSD( License)?"
    r"|3-Clause BSD License|BSD-[23]-Clause|CC0-1\.0|ISC|MIT( License)?|MIT-CMU"
    r"|Mozilla Public License 2\.0 \(MPL 2\.0\)|MPL-2\.0|PSF-2\.0|Python Software Foundation License|Zlib)"
)
"""Permissive ones, and Mozilla's, which asks only for changes of its own files."""


def needed(name: str, seen: set[str]) -> Iterator[Distribution]:
    """A package and what it needs here, each once."""
    key = re.sub(r"[-_.]+", "-", name).lower()
    if key in seen:
        return
    seen.add(key)
    try:
        found = distribution(name)
    except PackageNotFoundError:
        return
    yield found
    for text in found.requires or []:
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield from needed(requirement.name, seen)


def licences(package: Distribution) -> list[str]:
    """All that a package says that it is under, and all of which hold."""
    said = package.metadata.json
    if expression := said.get("license_expression"):
        return [part.strip(" ()") for part in re.split(r"\b(?:AND|OR)\b", str(expression))]
    classified = [one for one in said.get("classifier", []) if one.startswith("License ::")]
    return [one.rpartition(" :: ")[2] for one in classified] or [str(said.get("license", "none")).strip()]


def test_every_package_that_we_need_may_be_passed_on() -> None:
    packages = list(needed("log-anomaly-exporter", set()))
    assert len(packages) > 50, "the packages that are needed were not found"
    odd = {p.metadata["Name"]: licences(p) for p in packages if not all(map(ALLOWED.fullmatch, licences(p)))}
    assert odd == {}


@pytest.mark.parametrize("licence", ["AGPL-3.0-only", "GNU General Public License v3 (GPLv3)", "SSPL-1.0", "none", ""])
def test_other_licences_are_not_allowed(licence: str) -> None:
    assert not ALLOWED.fullmatch(licence)


def test_every_version_that_is_chosen_comes_with_the_hashes_of_its_files() -> None:
    entries = re.split(r"^(?=\S)", (ROOT / "constraints.txt").read_text(), flags=re.MULTILINE)
    chosen = [entry for entry in entries if entry.strip()]
    assert len(chosen) > 100
    assert [entry.splitlines()[0] for entry in chosen if "--hash=sha256:" not in entry] == []
