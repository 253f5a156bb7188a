"""The real daemon, while it reads lines that were written to hold it up: it answers, and it obeys."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from exporter.model import floor
from tests.hostile.inputs import some
from tests.servers.process import free_port

LINES = 1_000
"""So many that a window of them, of 65,000 characters each, is judged for longer than a stop may take."""

SECONDS = 8.0


def processor_time(process: subprocess.Popen[bytes]) -> float:
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def configured(folder: Path, port: int) -> Path:
    """One window of hostile lines, of which as much is looked at as can be set."""
    texts = some(5)
    start = floor(datetime.now(UTC), timedelta(minutes=1)) - timedelta(minutes=5)
    with (folder / "app.log").open("w", errors="replace") as log:
        for number in range(LINES):
            at = (start + timedelta(milliseconds=number)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
            body = next(texts).of(65_000).replace("\n", " ")
            log.write(f"{at} {body}\n")
    configuration = {
        "state": str(folder / "state.db"),
        "web": {"listen": f"127.0.0.1:{port}"},
        "sources": [{"name": "shop", "type": "file", "path": str(folder / "app.log")}],
        "mining": {"max_line_chars": 65_536},
        "warmup": {"history": "1h"},
    }
    path = folder / "exporter.yml"
    path.write_text(json.dumps(configuration))
    return path


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="asks the system for the processor time of a process")
def test_whatever_is_read_the_daemon_answers_and_obeys(tmp_path: Path) -> None:
    port = free_port()
    code = "import sys; from exporter.cli.main import main; sys.exit(main())"
    command = (sys.executable, "-c", code, "run", "-c", str(configured(tmp_path, port)))
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, stderr=log, stdout=subprocess.DEVNULL)
    try:
        answered, longest = 0, 0.0
        while processor_time(process) < 5 and process.poll() is None:
            before = processor_time(process)
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/-/healthy", timeout=300) as answer:
                    answer.read()
            except OSError:
                assert not answered
                continue
            answered, longest = answered + 1, max(longest, processor_time(process) - before)
        assert answered > 10
        assert longest < 2, "the loop has its turn"
        before = processor_time(process)
        process.send_signal(signal.SIGTERM)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0
        assert usage.ru_utime + usage.ru_stime - before < SECONDS
    finally:
        process.kill()
        process.wait()
    assert "Traceback" not in (tmp_path / "log").read_text()
