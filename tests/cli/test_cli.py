"""The commands as a person runs them: quick help, clear errors, documented exit codes, a clean stop."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from exporter.demo.shop import demo_shop, documents
from exporter.memory.moving import MARK
from exporter.model import TimeRange, to_json
from tests.contracts.test_stores import document
from tests.servers.process import PATIENCE, free_port, wait_until

COMMANDS = ["run", "analyze", "backtest", "check-config", "incidents", "templates", "redact", "simulate", "demo"]


def run(*arguments: str, text: str | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """The program in a process of its own."""
    command = [sys.executable, "-m", "exporter.cli.main", *arguments]
    surroundings = {**os.environ, **environment}
    return subprocess.run(command, input=text, capture_output=True, text=True, env=surroundings, check=False)


def configuration(folder: Path, **more: object) -> Path:
    path = folder / "exporter.yml"
    values = {"state": str(folder / "state.db"), "sources": [{"type": "simulator", "name": "shop"}], **more}
    path.write_text(json.dumps(values))
    return path


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_its_exit_codes(command: str) -> None:
    done = run(command, "--help")
    assert done.returncode == 0
    assert "exit codes:" in done.stdout
    assert len(done.stdout.splitlines()) > 8


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from exporter.cli.main import build_parser; build_parser().format_help();"
        "print([m for m in ('polars', 'numpy', 'pydantic', 'pyod', 'openai', 'grpc', 'aiohttp') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_no_command_at_all_prints_help_and_says_so_by_its_code() -> None:
    done = run()
    assert done.returncode == 2
    assert "COMMAND" in done.stdout


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sources: [{type: splunk, name: a}]", "sources.0.type: 'splunk' is not one of"),
        ("state: x", "sources: missing"),
        ("{", "not valid YAML"),
    ],
)
def test_a_wrong_configuration_is_one_clear_error_and_exit_code_two(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "exporter.yml"
    path.write_text(text)
    done = run("check-config", "-c", str(path))
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_the_effective_configuration_is_printed_with_secrets_masked(tmp_path: Path) -> None:
    sinks = [{"type": "slack", "channel": "C01", "token": "${SLACK}"}]
    done = run("check-config", "-c", str(configuration(tmp_path, sinks=sinks)), SLACK="xoxb-very-secret")
    assert done.returncode == 0
    assert "alarm_budget: 1/day" in done.stdout
    assert "very-secret" not in done.stdout + done.stderr


def test_a_server_that_cannot_be_reached_fails_the_check_with_a_remedy(tmp_path: Path) -> None:
    sinks = [{"type": "alertmanager", "urls": [f"http://127.0.0.1:{free_port()}"]}]
    done = run("check-config", "--connect", "-c", str(configuration(tmp_path, sinks=sinks)))
    assert done.returncode == 3
    assert "FAIL sinks.alertmanager" in done.stdout


def test_incidents_of_a_state_that_does_not_exist_yet_are_a_clear_error(tmp_path: Path) -> None:
    done = run("incidents", "list", "-c", str(configuration(tmp_path)))
    assert done.returncode == 1
    assert "does not exist yet" in done.stderr


def test_redact_shows_what_leaves_the_process() -> None:
    done = run("redact", text="password=hunter2secret mail a.b@example.org\n")
    assert done.returncode == 0
    assert "hunter2secret" not in done.stdout
    assert "a.b@example.org" not in done.stdout


def test_analyze_finds_what_is_unusual_in_a_file_and_its_code_can_say_so(tmp_path: Path) -> None:
    shop = demo_shop()
    first = shop.failures[0]
    page = shop.page(TimeRange(first.start - 3 * first.duration, first.end))
    path = tmp_path / "shop.ndjson"
    path.write_text("\n".join(documents(page)))
    done = run("analyze", str(path), "--fail-on-anomaly")
    assert done.returncode == 3, done.stderr
    assert "payments" in done.stdout
    assert "\x1b[" not in done.stdout
    assert run("analyze", str(path)).returncode == 0


def test_analyze_of_a_file_that_is_not_there_is_a_clear_error(tmp_path: Path) -> None:
    done = run("analyze", str(tmp_path / "absent.log"))
    assert done.returncode in (1, 2)
    assert "absent.log" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("analyze", "-", "--session", "order=("), "--session: not a regular expression"),
        (("simulate", "--rate", "0"), "'0' is not a number above 0"),
        (("simulate", "--rate", "-5"), "'-5' is not a number above 0"),
        (("incidents", "list", "-c", "exporter.yml", "--limit", "no"), "'no' is not a number above 0"),
    ],
)
def test_a_wrong_option_is_named_with_what_would_do(arguments: tuple[str, ...], message: str) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_the_daemon_stops_cleanly_on_sigterm_with_its_work_committed(tmp_path: Path) -> None:
    port = free_port()
    source = {"type": "simulator", "name": "shop", "services": 12, "start": "2020-01-01T00:00:00Z"}
    path = configuration(tmp_path, sources=[source], web={"listen": f"127.0.0.1:{port}"}, warmup={"history": "5m"})
    process = subprocess.Popen(
        [sys.executable, "-m", "exporter.cli.main", "run", "-c", str(path)], stderr=subprocess.PIPE
    )
    try:
        wait_until(lambda: _status(f"http://127.0.0.1:{port}/-/ready") == 200 or None, "the daemon is ready")
        assert _status(f"http://127.0.0.1:{port}/metrics") == 200
        assert _status(f"http://127.0.0.1:{port}/") == 200
        refused = run("run", "-c", str(path))
        assert refused.returncode == 1
        assert "in use by process" in refused.stderr
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 0
    finally:
        process.kill()
    assert process.stderr is not None
    assert b"Traceback" not in process.stderr.read()


def test_a_daemon_that_runs_takes_an_import_and_forgets_and_keeps_both_when_it_ends(tmp_path: Path) -> None:
    port = free_port()
    (tmp_path / "empty.log").touch()
    source = {"type": "file", "name": "shop", "path": str(tmp_path / "empty.log")}
    path = str(configuration(tmp_path, sources=[source], web={"listen": f"127.0.0.1:{port}"}))
    file = tmp_path / "memory.ndjson"
    many = [to_json(document(name, vector=(), installation="there")) for name in ("a", "b", "c")]
    file.write_text("".join(json.dumps({MARK: 1, **one}) + "\n" for one in many))
    process = subprocess.Popen([sys.executable, "-m", "exporter.cli.main", "run", "-c", path], stderr=subprocess.PIPE)
    try:
        wait_until(lambda: _status(f"http://127.0.0.1:{port}/-/ready") == 200 or None, "the daemon is ready")
        assert "3 are taken" in run("incidents", "import", str(file), "-c", path).stdout
        assert run("incidents", "forget", "there:b", "-c", path).returncode == 0
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 0
    finally:
        process.kill()
    kept = run("incidents", "export", "-c", path).stdout.splitlines()
    assert [json.loads(line)["id"] for line in kept] == ["a", "c"]
    assert "1 would be taken" in run("incidents", "import", "--dry-run", str(file), "-c", path).stdout
    assert "1 are taken, 2 are there already" in run("incidents", "import", str(file), "-c", path).stdout


def _status(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=PATIENCE) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0
