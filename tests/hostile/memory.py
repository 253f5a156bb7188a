"""Small files and pipes that come to gigabytes, and how much memory a command takes over them."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

MEGABYTE = 1024 * 1024

MOST = 600
"""Megabytes that any command may take at its peak, whatever it reads."""

MOST_OF_SERVICES = 400
"""The same over 100,000 services."""


COMMAND = """
import os, sys
from pathlib import Path
from exporter.cli.main import main
tells = int(sys.argv.pop(1))
try:
    code = main()
finally:
    lines = Path("/proc/self/status").read_text().splitlines()
    os.write(tells, next(line for line in lines if line.startswith("VmHWM")).split()[1].encode())
sys.exit(code)
"""
"""A command, which says the most that it held itself: what `wait4` says of a child begins with what its parent had."""


@dataclass(frozen=True)
class Peak:
    """What a command came to."""

    code: int
    megabytes: int
    printed: str


def peak(arguments: Sequence[str | Path], fed: Iterator[bytes] | None = None) -> Peak:
    """Run a command to its end, and say how much memory it had at most."""
    told, tells = os.pipe()
    command = (sys.executable, "-c", COMMAND, str(tells), *map(str, arguments))
    given = subprocess.PIPE if fed else subprocess.DEVNULL
    process = subprocess.Popen(command, stdin=given, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, pass_fds=[tells])
    os.close(tells)
    for block in fed or ():
        if process.stdin:
            process.stdin.write(block)
    if process.stdin:
        process.stdin.close()
    printed = process.stdout.read().decode(errors="replace") if process.stdout else ""
    with os.fdopen(told) as kilobytes:
        return Peak(process.wait(), int(kilobytes.read()) // 1024, printed)


def packed(path: Path, block: bytes, times: int) -> Path:
    with gzip.open(path, "wb", 6) as file:
        for _ in range(times):
            file.write(block)
    return path


def one_line(folder: Path, size: int) -> Peak:
    return peak(["templates", "mine", packed(folder / "line.log.gz", b"a" * MEGABYTE, size)])


def many_lines(folder: Path, size: int) -> Peak:
    block = (b"2026-03-14T09:26:00Z INFO request done in 12 ms\n" * 22_000)[:MEGABYTE]
    return peak(["templates", "mine", packed(folder / "lines.log.gz", block, size // 4)])


def endless(folder: Path, size: int) -> Peak:
    return peak(["redact"], iter([b"a" * MEGABYTE] * size))


def parquet(path: Path, columns: str) -> Path:
    """Written by a process of its own: what a process has had at most counts for those that it starts, too."""
    code = f"from polars import DataFrame, repeat; import sys; DataFrame({{{columns}}}).write_parquet(sys.argv[1])"
    subprocess.run([sys.executable, "-c", code, str(path)], check=True)
    return path


def rows(folder: Path, size: int) -> Peak:
    height = size * 8_000
    columns = (
        f"'message': repeat('request done', {height}, eager=True), 'time': repeat(1773480000, {height}, eager=True)"
    )
    return peak(["analyze", parquet(folder / "rows.parquet", columns)])


def wide_rows(folder: Path, size: int) -> Peak:
    columns = f"'message': repeat('a' * 65_536, {size * 20}, eager=True)"
    return peak(["analyze", parquet(folder / "wide.parquet", columns)])


def short_lines(folder: Path, size: int) -> Peak:
    (folder / "short.log").write_bytes(b"a\n" * (size * 4_000))
    return peak(["analyze", folder / "short.log"])


def long_analysis(folder: Path, size: int) -> Peak:
    with (folder / "app.log").open("w") as log:
        for number in range(size * 3_000):
            log.write(
                f"2026-03-14T09:{number // 60_000 % 60:02}:{number // 1_000 % 60:02}Z INFO request {number} done\n"
            )
    return peak(["analyze", folder / "app.log"])


def services(folder: Path, size: int) -> Peak:
    with (folder / "services.ndjson").open("w") as log:
        for number in range(size * 300):
            at = f"2026-03-14T09:{number // 5_000 % 60:02}:{number // 84 % 60:02}Z"
            name = f"s{number % 100_000}"
            log.write(f'{{"@timestamp":"{at}","service.name":"{name}","message":"request done in {number % 97} ms"}}\n')
    return peak(["analyze", folder / "services.ndjson"])


INPUTS: dict[str, tuple[Callable[[Path, int], Peak], int]] = {
    "templates mine of one packed line": (one_line, MOST),
    "templates mine of packed lines": (many_lines, MOST),
    "redact of an endless line": (endless, MOST),
    "analyze of many rows of parquet": (rows, MOST),
    "analyze of long rows of parquet": (wide_rows, MOST),
    "analyze of short lines": (short_lines, MOST),
    "analyze of many lines": (long_analysis, MOST),
    "analyze of 100,000 services": (services, MOST_OF_SERVICES),
}
"""Each by what is read, at a size of which 1,000 stands for about a gigabyte, and the megabytes that it may take."""
