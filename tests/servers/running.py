"""Start Elasticsearch, Alertmanager, Loki and its fake on free ports, and wait until they serve."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.servers.builds import HERE, provision
from tests.servers.process import Server, Unavailable, answers, free_port, request

ALERTMANAGER_CONFIG = """\
route: {receiver: nobody, group_by: [...], group_wait: 0s, group_interval: 1s}
receivers: [{name: nobody}]
"""

TELLS = """\
route: {{receiver: somebody, group_by: [...], group_wait: 0s, group_interval: 1s}}
receivers: [{{name: somebody, webhook_configs: [{{url: "{url}", send_resolved: true}}]}}]
"""


def elasticsearch(home: Path, settings: Mapping[str, str] | None = None) -> Server:
    """One node with its data under `home`; not started yet."""
    folder = provision("elasticsearch").parent
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    java = ("java", "-Xmx512m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", f"-Djava.io.tmpdir={home}")
    node = ("-cp", f"{folder}:{folder / 'lib'}/*", "EsNode", str(home), str(port))
    more = tuple(f"{key}={value}" for key, value in (settings or {}).items())
    home.mkdir(parents=True, exist_ok=True)
    return Server(
        url,
        (*java, *node, *more),
        home / "server.log",
        lambda: answers(f"{url}/_cluster/health?wait_for_status=yellow&timeout=20s"),
        ends_with_stdin=True,
    )


def alertmanager(home: Path, *options: str) -> Server:
    """One Alertmanager that notifies nobody; not started yet."""
    return _alertmanager(home, free_port(), ("--cluster.listen-address=", *options))


def alertmanager_pair(home: Path, receiver: str | None = None) -> tuple[Server, Server]:
    """Two peers that gossip, and notify a webhook if there is a receiver; not started yet."""
    gossip = free_port(), free_port()
    peers = tuple(f"--cluster.peer=127.0.0.1:{port}" for port in gossip)
    quick = (
        "--cluster.gossip-interval=50ms",
        "--cluster.pushpull-interval=1s",
        "--cluster.settle-timeout=1s",
        "--cluster.peer-timeout=1s",
    )
    config = TELLS.format(url=receiver) if receiver else ALERTMANAGER_CONFIG
    first, second = (
        _alertmanager(
            home / f"peer-{port}", free_port(), (f"--cluster.listen-address=127.0.0.1:{port}", *peers, *quick), config
        )
        for port in gossip
    )
    return first, second


def clustered(url: str) -> bool | None:
    """Whether an Alertmanager knows its peer."""
    cluster = request(f"{url}/api/v2/status").json()["cluster"]
    return (cluster["status"] == "ready" and len(cluster["peers"]) == 2) or None


def _alertmanager(home: Path, port: int, options: tuple[str, ...], text: str = ALERTMANAGER_CONFIG) -> Server:
    program = provision("alertmanager")
    home.mkdir(parents=True, exist_ok=True)
    config = home / "alertmanager.yml"
    config.write_text(text)
    url = f"http://127.0.0.1:{port}"
    listen = f"--web.listen-address=127.0.0.1:{port}"
    command = (str(program), f"--config.file={config}", f"--storage.path={home / 'data'}", listen, *options)
    return Server(url, command, home / "server.log", lambda: answers(f"{url}/-/ready"))


# A real Loki is not built, for its licence is the AGPL; who has one has the tests of the source run over it too.
LOKIS = ("fake_loki", "real_loki") if os.environ.get("LOKI_URL") or shutil.which("loki") else ("fake_loki",)


def fake_loki(home: Path) -> Server:
    """Our stand-in for a Loki, with its lines under `home`; not started yet."""
    home.mkdir(parents=True, exist_ok=True)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    path = f"PYTHONPATH={HERE.parent.parent}"
    command = ("env", path, sys.executable, "-m", "tests.fakes.loki", str(port), str(home))
    return Server(url, command, home / "server.log", lambda: answers(f"{url}/ready"))


def real_loki(home: Path) -> Server:
    """One Loki with its chunks under `home` and one tenant; not started yet."""
    if not (program := shutil.which("loki")):
        raise Unavailable("no real Loki: none is on the PATH (LOKI_URL may name one that runs); over the fake alone")
    home.mkdir(parents=True, exist_ok=True)
    port = free_port()
    placeholders = {"@PORT@": str(port), "@GRPC_PORT@": str(free_port()), "@DIR@": str(home)}
    text = (HERE / "loki.yaml").read_text()
    for placeholder, value in placeholders.items():
        text = text.replace(placeholder, value)
    config = home / "loki.yaml"
    config.write_text(text)
    url = f"http://127.0.0.1:{port}"
    return Server(url, (program, f"-config.file={config}"), home / "server.log", lambda: answers(f"{url}/ready"))
