"""The kept library costs memory, so that it is loaded where a line looks as if it found something there, and once."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from exporter.ingest.redaction import library
from exporter.ingest.redaction.library import library as loaded

LOADED = "import sys; from exporter.cli.main import main; main(sys.argv[1:]); sys.exit('kingfisher_sdk' in sys.modules)"

ORDINARY = "2026-03-14T09:26:{second:02} ERROR request 7f3a9c0b1d2e4f56 of order 17: password policy, token expired\n"


@pytest.mark.parametrize("command", [["analyze", "log.txt"]])
def test_who_redacts_nothing_that_it_knows_does_not_load_it(command: list[str], tmp_path: Path) -> None:
    (tmp_path / "log.txt").write_text("".join(ORDINARY.format(second=second) for second in range(60)))
    done = subprocess.run([sys.executable, "-c", LOADED, *command], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_whoever_needs_it_shares_one() -> None:
    with ThreadPoolExecutor(4) as threads:
        assert len({id(one) for one in threads.map(lambda _: loaded(), range(8))}) == 1


@pytest.mark.parametrize("writable", [True, False])
def test_rules_that_are_compiled_already_are_taken_wherever_may_be_written(
    writable: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (ready := tmp_path / "ready").mkdir()
    (ready / "0.vscdb").write_bytes(b"compiled")
    place = tmp_path / "cache"
    if not writable:
        place.write_text("no folder")
    monkeypatch.setenv(library.COMPILED, str(ready))
    monkeypatch.setenv("XDG_CACHE_HOME", str(place))
    with library.compiled() as folder:
        assert (folder / "0.vscdb").read_bytes() == b"compiled"
        assert (folder / "0.vscdb").stat().st_uid == folder.stat().st_uid
        assert folder.is_relative_to(place) is writable
    assert folder.exists() is writable


@pytest.mark.parametrize(
    "text", ["hubspot heroku atlassian", "a short heroku: 7f3a9c0b1d", "request 7f3a9c0b1d2e4f56 failed"]
)
def test_common_words_and_short_runs_do_not_reach_it(text: str) -> None:
    assert not library.is_likely(text)
