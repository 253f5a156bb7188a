"""The daemon of any checkout as a process that can be killed, and told news through its state file alone."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from exporter.model import Write
from tests.servers.process import GUARD

REPOSITORY = Path(__file__).parent.parent.parent


class Daemon:
    """`log-anomaly-exporter run` over one state file; what it prints is kept over its restarts."""

    def __init__(self, folder: Path, configuration: Mapping[str, Any], checkout: Path = REPOSITORY) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.state = folder / "state.db"
        self.log = folder / "daemon.log"
        self._output = folder / "console.txt"
        self._checkout = checkout
        self._path = folder / "exporter.yml"
        self._path.write_text(json.dumps({**configuration, "state": str(self.state)}))
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        script = tomllib.loads((self._checkout / "pyproject.toml").read_text())["project"]["scripts"]
        module, function = script["log-anomaly-exporter"].split(":")
        code = f"import sys; from {module} import {function}; sys.exit({function}())"
        command = (sys.executable, "-P", "-c", code, "run", "-c", str(self._path))
        with self._output.open("ab") as output, self.log.open("ab") as log:
            self._process = subprocess.Popen(
                ("sh", "-c", GUARD, "sh", *command),
                cwd=self._checkout, env=self._surroundings(), stdin=subprocess.PIPE, stdout=output, stderr=log,
                start_new_session=True,
            )  # fmt: skip

    def _surroundings(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        return {**kept, "PYTHONPATH": str(self._checkout), "PYTHONDONTWRITEBYTECODE": "1", "NO_COLOR": "1", "TZ": "UTC"}

    def kill(self) -> None:
        """End it at once, as a power cut would."""
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        if self._process.stdin:
            self._process.stdin.close()
        self._process = None

    @property
    def ended(self) -> bool:
        """Whether it ended by itself, which it never should."""
        return self._process is not None and self._process.poll() is not None

    @property
    def printed(self) -> str:
        return self._output.read_text(errors="replace")

    @property
    def resident(self) -> int:
        """Bytes of memory."""
        if self._process is None:
            return 0
        pages = Path(f"/proc/{self._process.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    # --- Its state file --------------------------------------------------------------------------------

    @property
    def listens(self) -> bool:
        """Whether the state file is there with its tables."""
        return self.state.exists() and bool(self._read("SELECT 1 FROM sqlite_master WHERE name = 'deliveries'"))

    def tell(self, rows: Iterable[Write]) -> None:
        """Write rows in one transaction, as the daemon's own writer does."""
        with closing(sqlite3.connect(self.state, timeout=60)) as connection, connection:
            for row in rows:
                marks = ", ".join("?" * len(row.columns))
                names = ", ".join(row.columns)
                connection.executemany(f"INSERT OR REPLACE INTO {row.table} ({names}) VALUES ({marks})", row.rows)

    def reported(self, incident: str, revision: int) -> bool:
        """Whether it has written its report of a revision."""
        query = "SELECT 1 FROM news WHERE incident = ? AND revision = ? AND part = 0 AND report IS NOT NULL"
        return bool(self._read(query, incident, revision))

    def _read(self, query: str, *values: object) -> list[Any]:
        with closing(sqlite3.connect(self.state, timeout=60)) as connection:
            return connection.execute(query, values).fetchall()
