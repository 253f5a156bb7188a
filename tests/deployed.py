"""The daemon as the manifest of Kubernetes starts it, in a network namespace of its own, probed as a kubelet does.

Run by `tests/test_kubernetes.py` inside `unshare`: `python -m tests.deployed FOLDER` prints what the probes answered.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import socket
import struct
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parent.parent
POD = "10.1.2.3"
PATIENCE = 60.0

_SIOCSIFADDR, _SIOCSIFNETMASK, _SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8916, 0x891C, 0x8913, 0x8914, 1


def main(folder: Path) -> None:
    deployment = next(yaml.safe_load_all((ROOT / "deploy/kubernetes.yml").read_text()))
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    _up("lo", "127.0.0.1")
    _up("lo:1", POD)
    names = {"HOME": str(folder), "PATH": os.environ["PATH"], "ES_API_KEY": "a key", **_image()}
    arguments = [argument.replace("/etc/log-anomaly-exporter", str(folder)) for argument in container["args"]]
    process = subprocess.Popen([sys.executable, "-m", "exporter.cli.main", *arguments], env=names, cwd=folder)
    (port,) = [one["containerPort"] for one in container["ports"] if one["name"] == "http"]
    try:
        found = {kind: _probe(container[kind]["httpGet"], port) for kind in ("livenessProbe", "readinessProbe")}
        found |= {path: _ask("GET", path, port) for path in ("/-/warm", "/", "/metrics")}
        found |= {path: _ask("POST", path, port) for path in ("/webhooks/alertmanager", "/-/reload")}
        process.terminate()
        found["code"] = process.wait(PATIENCE)
    finally:
        process.kill()
    print(json.dumps(found))


def _image() -> dict[str, str]:
    """The variables that the image sets and that say something to us."""
    text = (ROOT / "Dockerfile").read_text()
    return dict(re.findall(r"\b(LOG_ANOMALY_EXPORTER_\w+)=(\S+)", text))


def _up(interface: str, address: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        name = interface.encode().ljust(16, b"\0")
        for request, value in ((_SIOCSIFADDR, address), (_SIOCSIFNETMASK, "255.0.0.0")):
            packed = struct.pack("16sHH4s8x", name, socket.AF_INET, 0, socket.inet_aton(value))
            fcntl.ioctl(asked, request, packed)
        (flags,) = struct.unpack_from("h", fcntl.ioctl(asked, _SIOCGIFFLAGS, name + bytes(16)), 16)
        fcntl.ioctl(asked, _SIOCSIFFLAGS, name + struct.pack("h14x", flags | _IFF_UP))


def _probe(get: Any, port: int) -> int:
    """The first answer of 200, as a kubelet waits for it, or the last one that there was."""
    until, status = time.monotonic() + PATIENCE, 0
    while status != 200 and time.monotonic() < until:
        status = _ask("GET", get["path"], port)
        time.sleep(0.1)
    return status


def _ask(method: str, path: str, port: int) -> int:
    request = urllib.request.Request(f"http://{POD}:{port}{path}", method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


if __name__ == "__main__":
    main(Path(sys.argv[1]))
