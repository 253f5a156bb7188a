"""The servers that other tests rely on really serve, keep apart what tests write, and die with the tests."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from tests import conftest
from tests.servers import builds
from tests.servers.browser import Browser, BrowserError, Navigated
from tests.servers.collector import Collector, value
from tests.servers.process import Server, Unavailable, request, wait_until

NOW = time.time_ns()


# --- Elasticsearch ------------------------------------------------------------------------------------


def _index(url: str, index: str, message: str) -> None:
    assert request(f"{url}/{index}/_doc?refresh=true", {"message": message}).status == 201


def _hits(url: str, index: str, text: str) -> int:
    found = request(f"{url}/{index}/_search", {"query": {"match": {"message": text}}}).json()
    count: int = found["hits"]["total"]["value"]
    return count


def test_elasticsearch_finds_what_was_indexed(elasticsearch_url: str, unique_name: str) -> None:
    _index(elasticsearch_url, unique_name, "disk full on /dev/sda")
    assert _hits(elasticsearch_url, unique_name, "disk") == 1


def test_elasticsearch_pages_through_a_point_in_time(elasticsearch_url: str, unique_name: str) -> None:
    for number in range(3):
        _index(elasticsearch_url, unique_name, f"line {number}")
    pit = request(f"{elasticsearch_url}/{unique_name}/_pit?keep_alive=1m", method="POST").json()["id"]
    page: dict[str, Any] = {"size": 2, "pit": {"id": pit, "keep_alive": "1m"}, "sort": [{"_shard_doc": "asc"}]}
    first = request(f"{elasticsearch_url}/_search", page).json()["hits"]["hits"]
    rest = request(f"{elasticsearch_url}/_search", {**page, "search_after": first[-1]["sort"]}).json()
    assert [len(first), len(rest["hits"]["hits"])] == [2, 1]


def test_an_elasticsearch_of_our_own_keeps_its_data_over_a_kill(elasticsearch_server: Server) -> None:
    _index(elasticsearch_server.url, "kept", "written before the power cut")
    elasticsearch_server.kill()
    with pytest.raises(OSError, match="refused"):
        request(elasticsearch_server.url)
    elasticsearch_server.start()
    assert _hits(elasticsearch_server.url, "kept", "power") == 1


# --- Alertmanager -------------------------------------------------------------------------------------


def _post_alert(url: str, name: str) -> None:
    assert request(f"{url}/api/v2/alerts", [{"labels": {"alertname": name}}]).status == 200


def _alerts(url: str, name: str) -> list[Any]:
    found: list[Any] = request(f"{url}/api/v2/alerts?filter=alertname%3D{name}").json()
    return found


def test_alertmanager_lists_a_posted_alert(alertmanager_url: str, unique_name: str) -> None:
    _post_alert(alertmanager_url, unique_name)
    [alert] = _alerts(alertmanager_url, unique_name)
    assert alert["status"]["state"] == "active"


def test_two_alertmanagers_share_a_silence(alertmanager_pair: list[str], unique_name: str) -> None:
    silence = {
        "matchers": [{"name": "alertname", "value": unique_name, "isRegex": False}],
        "startsAt": "2020-01-01T00:00:00Z",
        "endsAt": "2120-01-01T00:00:00Z",
        "createdBy": "test",
        "comment": "shared",
    }
    known = request(f"{alertmanager_pair[0]}/api/v2/silences", silence).json()["silenceID"]
    other = f"{alertmanager_pair[1]}/api/v2/silence/{known}"
    wait_until(lambda: request(other).status == 200 or None, "the silence's arrival at the peer")


# --- OpenTelemetry collector --------------------------------------------------------------------------


def _log_request(body: str) -> dict[str, Any]:
    record = {
        "timeUnixNano": str(NOW),
        "severityNumber": 17,
        "severityText": "ERROR",
        "eventName": "incident.opened",
        "body": {"stringValue": body},
        "attributes": [{"key": "lines", "value": {"intValue": "7"}}],
        "traceId": "0af7651916cd43dd8448eb211c80319c",
        "spanId": "b7ad6b7169203331",
    }
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]}
    return {"resourceLogs": [{"resource": resource, "scopeLogs": [{"logRecords": [record]}]}]}


def test_the_collector_accepts_a_log_record(collector: Collector) -> None:
    body = "hostile\nLogRecord #1\nBody: Str(forged)"
    assert request(f"{collector.http_endpoint}/v1/logs", _log_request(body)).status == 200
    [record] = collector.wait_for(1)
    assert (record.event_name, record.severity, record.severity_number) == ("incident.opened", "ERROR", 17)
    assert (record.body, record.time_unix_nano) == (body, NOW)
    assert (record.attributes, record.resource) == ({"lines": 7}, {"service.name": "shop"})
    assert record.trace_id == "0af7651916cd43dd8448eb211c80319c"


def test_the_collector_passes_on_that_its_backend_fails(collector: Collector) -> None:
    collector.refuse(503)
    assert request(f"{collector.http_endpoint}/v1/logs", _log_request("lost")).status == 503
    collector.refuse(None)
    assert request(f"{collector.http_endpoint}/v1/logs", _log_request("kept")).status == 200
    assert [record.body for record in collector.records()] == ["kept"]


def test_every_kind_of_otlp_value_is_read() -> None:
    pairs = {"values": [{"key": "a", "value": {"boolValue": True}}]}
    items = {"values": [{"intValue": "1"}, {"doubleValue": 0.5}, {"bytesValue": "AQI="}, {}]}
    assert value({"kvlistValue": pairs}) == {"a": True}
    assert value({"arrayValue": items}) == [1, 0.5, b"\x01\x02", None]


# --- Loki ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loki_url", ["fake_loki", "real_loki"], indirect=True)
def test_loki_returns_a_pushed_line(loki_url: str, unique_name: str) -> None:
    line = [str(NOW), "payment refused", {"trace_id": "0af7"}]
    pushed = request(f"{loki_url}/loki/api/v1/push", {"streams": [{"stream": {"app": unique_name}, "values": [line]}]})
    assert pushed.status == 204
    query = f"query=%7Bapp%3D%22{unique_name}%22%7D&start={NOW - 10**9}&end={NOW + 10**9}"
    found = request(f"{loki_url}/loki/api/v1/query_range?{query}").json()
    [stream] = found["data"]["result"]
    assert stream["values"] == [[str(NOW), "payment refused"]]


# --- Programs -----------------------------------------------------------------------------------------


def test_promtool_refuses_a_broken_rule(promtool: Path, tmp_path: Path) -> None:
    rules = tmp_path / "rules.yml"
    for expression, code in ("up == 0", 0), ("up ==", 1):
        rules.write_text(json.dumps({"groups": [{"name": "g", "rules": [{"alert": "A", "expr": expression}]}]}))
        done = subprocess.run([promtool, "check", "rules", rules], capture_output=True, check=False)
        assert done.returncode == code


def test_the_embedding_model_is_a_folder_on_this_machine(embedding_model: str) -> None:
    assert {"modules.json", "model.safetensors"} <= {path.name for path in Path(embedding_model).iterdir()}


PAGE = b"""<!doctype html><title>shop</title><link rel=icon href="data:,">
<p id=greeting>hello</p><input id=name oninput="greeting.textContent = 'hello ' + this.value">
<button onclick="console.error('broken', 7); alert('told')">press</button>
<script>document.title = 'scripted'</script><script src="/absent.js"></script>"""


class PageHandler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/" else 404)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(PAGE if self.path == "/" else b"")

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@pytest.fixture
def page_url() -> Any:
    with ThreadingHTTPServer(("127.0.0.1", 0), PageHandler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def test_the_browser_renders_a_data_page(browser: Browser, tmp_path: Path) -> None:
    browser.open("data:text/html,<title>t</title><p>rendered")
    assert (browser.text("p"), browser.evaluate("document.title")) == ("rendered", "t")
    assert browser.errors == []
    assert browser.screenshot(tmp_path / "page.png").read_bytes().startswith(b"\x89PNG")


def test_the_browser_reports_requests_errors_and_dialogs(browser: Browser, page_url: str) -> None:
    browser.open(page_url)
    assert {page_url, f"{page_url}absent.js"} <= set(browser.requested_urls)
    assert [error.url for error in browser.errors] == [f"{page_url}absent.js"]
    browser.fill("#name", "world")
    assert browser.text("#greeting") == "hello world"
    browser.click("button")
    assert browser.errors[-1].text == "broken 7"
    assert browser.dialogs == ["told"]
    with pytest.raises(BrowserError, match="nothing matches #absent"):
        browser.click("#absent")


def test_the_browser_can_do_without_javascript(browser: Browser, page_url: str) -> None:
    browser.javascript(enabled=False)
    browser.open(page_url)
    assert browser.evaluate("document.title") == "shop"
    browser.javascript(enabled=True)
    browser.open(page_url)
    assert browser.evaluate("document.title") == "scripted"


def test_the_browser_reaches_nothing_but_the_loopback(browser: Browser) -> None:
    with pytest.raises(BrowserError, match="ERR_NAME_NOT_RESOLVED"):
        browser.open("http://example.org/")


def test_the_browser_shows_a_page_as_asked(browser: Browser) -> None:
    browser.resize(375, 667)
    browser.prefer(color_scheme="dark")
    browser.open("data:text/html,<input id=a><input id=b>")
    assert browser.evaluate("[innerWidth, matchMedia('(prefers-color-scheme: dark)').matches]") == [375, True]
    browser.press("Tab")
    browser.press("Tab")
    assert browser.execute("return document.activeElement.id") == "b"


# --- How they come and go -----------------------------------------------------------------------------

CHILD = """
import sys, time
from pathlib import Path
from tests.servers.process import Server
server = Server("", ["sh", "-c", "sleep 300 & echo $! > child; echo $$ > parent; wait"], Path("log"),
                lambda: Path("parent").exists() or None).start()
print("ready", flush=True)
time.sleep(300)
"""


def _alive(pid: int) -> bool:
    state = Path(f"/proc/{pid}/stat")
    return state.exists() and state.read_text().rpartition(")")[2].split()[0] != "Z"


def test_a_server_and_its_children_die_with_a_killed_test_run(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen([sys.executable, "-c", CHILD], cwd=tmp_path, env=environment, stdout=subprocess.PIPE) as run:
        assert run.stdout is not None
        assert run.stdout.readline() == b"ready\n"
        server, child = (int((tmp_path / name).read_text()) for name in ("parent", "child"))
        assert _alive(server)
        run.send_signal(signal.SIGKILL)
    wait_until(lambda: not (_alive(server) or _alive(child)) or None, "the death of the server")


def test_a_server_that_ends_by_itself_says_why(tmp_path: Path) -> None:
    server = Server("", ["sh", "-c", "echo no such flag; exit 1"], tmp_path / "log", lambda: None)
    with pytest.raises(RuntimeError, match="no such flag"):
        server.start()


@pytest.mark.parametrize(("ci", "outcome"), [(True, pytest.fail.Exception), (False, pytest.skip.Exception)])
def test_what_is_missing_fails_in_ci_and_skips_elsewhere(
    monkeypatch: pytest.MonkeyPatch, ci: bool, outcome: type[BaseException]
) -> None:
    monkeypatch.setattr(conftest, "CI", ci)
    with pytest.raises(outcome, match="no browser"):
        conftest.missing("no browser")


def test_a_slow_server_is_not_built_unasked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, changed in ("CACHE", tmp_path), ("CI", False):
        monkeypatch.setattr(builds, name, changed)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(Unavailable, match=r"-m tests.servers build collector` does it in about 2 minutes"):
        builds.provision("collector")


def test_a_server_is_built_once_and_a_failed_build_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made: list[Path] = []

    def make(work: Path, run: builds.Run) -> None:
        made.append(work)
        if len(made) == 1:
            run("sh", "-c", "echo network is down; exit 1")
        (work / "program").touch()

    monkeypatch.setattr(builds, "CACHE", tmp_path)
    monkeypatch.setitem(builds.BUILDS, "small", builds.Build("small", "1.0", "program", make))
    with pytest.raises(Unavailable, match="network is down"):
        builds.provision("small")
    assert not list(tmp_path.glob("*small-*/"))
    assert builds.provision("small") == builds.provision("small") == tmp_path / "small-1.0" / "program"
    assert len(made) == 2


def test_a_page_that_goes_away_while_it_is_asked_leaves_the_answer_to_the_next(
    browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = iter([True, False])

    def evaluate(_: Browser, expression: str) -> str:
        if next(gone):
            raise Navigated("Inspected target navigated or closed")
        return "there"

    monkeypatch.setattr(Browser, "evaluate", evaluate)
    assert browser.wait_for("location.pathname") == "there"
