"""What marks derived rows: were one of these to change by accident, every installation would learn anew."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest

from exporter.config import parse
from exporter.mining import masks
from exporter.mining.settings import MiningSettings
from exporter.mining.settings import fingerprint as mining_fingerprint
from exporter.run.learning import fingerprint

SHORTEST: dict[str, Any] = {
    "sources": [
        {
            "type": "elasticsearch",
            "name": "shop",
            "hosts": ["https://es:9200"],
            "api_key": "k",
            "index": "filebeat-*",
        }
    ],
    "sinks": [{"type": "alertmanager", "urls": ["http://alertmanager:9093"]}],
}
SETTLED: dict[str, Any] = {
    "sources": [
        {
            "type": "loki",
            "name": "l",
            "url": "http://loki:3100",
            "query": '{app="x"}',
            "sessions": {"pattern": r"order=(\w+)", "idle": "10m", "max_age": "24h"},
            "window": "2m",
        },
        {"type": "file", "name": "f", "path": "/var/log/*.log", "group_by": ["host"]},
    ]
}


def test_masks_and_mining_have_the_fingerprints_that_82d5d22_wrote() -> None:
    assert masks.fingerprint() == "78cd7055f3927729"
    assert mining_fingerprint(MiningSettings()) == "f559a0129f8e856d"


@pytest.mark.parametrize(("raw", "written"), [(SHORTEST, "bdbd5a7e2bb1b686"), (SETTLED, "7be3250c15ae5e56")])
def test_configurations_have_the_fingerprints_that_82d5d22_wrote(raw: dict[str, Any], written: str) -> None:
    assert fingerprint(parse(raw)) == written


def test_what_marks_derived_rows_is_the_same_in_every_process() -> None:
    code = (
        "from exporter.config import parse; from exporter.run.learning import fingerprint, learnt_with; "
        f"c = parse({SETTLED!r}); print(fingerprint(c), learnt_with(c))"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(said) == 1
