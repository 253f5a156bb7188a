"""What the image looks like from inside: run in it, and on its own, for no package of ours is there to import.

Prints one JSON object.
"""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

PLACE = Path(sysconfig.get_paths()["purelib"])
NOT_NEEDED = ("pip", "setuptools", "pkg_resources", "wheel")
ENDINGS = (".h", ".hpp", ".pxd", ".a")


def size(path: Path) -> int:
    """Bytes of what is below a directory, on its own file system."""
    total, device = 0, path.stat().st_dev
    for folder, folders, names in os.walk(path):
        folders[:] = [name for name in folders if os.lstat(os.path.join(folder, name)).st_dev == device]
        total += sum(os.lstat(os.path.join(folder, name)).st_size for name in names)
    return total


def not_needed() -> Iterator[str]:
    """What only those need who develop the packages."""
    yield from (name for name in NOT_NEEDED if (PLACE / name).exists())
    for folder, folders, names in os.walk(PLACE):
        found = [name for name in folders if name in ("tests", "test")] + [n for n in names if n.endswith(ENDINGS)]
        yield from (os.path.relpath(os.path.join(folder, name), PLACE) for name in found)


def modules() -> list[str]:
    """What of ours cannot be imported, or of the detectors that a configuration may name."""
    failed = []
    for package in ("exporter", "integrations"):
        for module in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
            if module.name.endswith(".__main__"):
                continue
            try:
                importlib.import_module(module.name)
            except ImportError as error:
                # The extra that this image does not have.
                if error.name != "sentence_transformers":
                    failed.append(f"{module.name}: {error}")
    ensemble = importlib.import_module("exporter.detection.scoring.ensemble")
    for name in ensemble.PYOD:
        ensemble.detector_class(name)
    return failed


def writable() -> list[str]:
    """Places of the root that could be written to."""
    found = []
    for place in ("/", "/etc", "/opt/venv", "/usr/share/log-anomaly-exporter"):
        try:
            (Path(place) / "written").write_text("")
            found.append(place)
        except OSError:
            pass
    return found


def main() -> None:
    largest = sorted((size(path) if path.is_dir() else path.stat().st_size, path.name) for path in PLACE.iterdir())
    json.dump(
        {
            "user": os.getuid(),
            "writable": writable(),
            "bytes": size(Path("/")),
            "venv": size(Path(sys.prefix)),
            "largest": largest[:-11:-1],
            "not needed": sorted(not_needed())[:20],
            "failed": modules(),
        },
        sys.stdout,
    )


if __name__ == "__main__":
    main()
