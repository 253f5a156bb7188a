"""Each odd file gets its true reason, the others are read, and no code in a file reaches a terminal."""

from __future__ import annotations

import gzip
import logging
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import zstandard

from exporter.config import parse
from exporter.model import ConfigError, Context, TimeRange
from integrations.file import FileSettings
from tests import samples
from tests.servers.process import PATIENCE

CODE = "import sys; from exporter.cli.main import main; sys.exit(main())"
GOOD = b"2026-03-14T09:26:00Z INFO all is well\n"
START = datetime(2026, 3, 14, 9, tzinfo=UTC)


def run(arguments: Sequence[str | Path], folder: Path) -> subprocess.CompletedProcess[str]:
    command = (sys.executable, "-c", CODE, *map(str, arguments))
    return subprocess.run(
        command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False
    )


def odd(folder: Path, kind: str) -> Path:
    path = folder / "odd.log"
    if kind == "FIFO":
        os.mkfifo(path)
    elif kind == "device":
        return Path("/dev/null")
    elif kind == "loop of links":
        path.symlink_to(path.name)
    elif kind == "nowhere":
        path.symlink_to("absent")
    elif kind == "directory":
        path.mkdir()
    else:
        path.write_bytes(random.Random(0).randbytes(2_000_000))
    return path


REASONS = {
    "FIFO": "is a FIFO",
    "device": "is a device",
    "loop of links": "is a loop of links",
    "nowhere": "is a link that leads nowhere",
    "not text": "is not text",
    "directory": "holds no file to read",
}


@pytest.mark.parametrize("kind", REASONS)
def test_an_odd_file_is_refused_as_what_it_is(kind: str, tmp_path: Path) -> None:
    done = run(["analyze", odd(tmp_path, kind)], tmp_path)
    assert done.returncode == 2
    assert REASONS[kind] in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", [["templates", "mine"], ["redact"]])
@pytest.mark.parametrize("kind", ["FIFO", "device", "loop of links", "directory"])
def test_every_command_that_reads_a_file_says_what_it_is(command: list[str], kind: str, tmp_path: Path) -> None:
    done = run([*command, odd(tmp_path, kind)], tmp_path)
    assert done.returncode == 2
    assert REASONS[kind] in done.stderr or "is a directory" in done.stderr


@pytest.mark.parametrize("kind", ["FIFO", "device", "directory", "loop of links"])
def test_a_state_file_that_is_none_is_refused_before_anything_waits_for_it(kind: str, tmp_path: Path) -> None:
    sources = [{"name": "a", "type": "file", "path": "x.log"}]
    with pytest.raises(ConfigError, match=f"state: .*{REASONS[kind] if kind != 'directory' else 'is a directory'}"):
        parse({"state": str(odd(tmp_path, kind)), "sources": sources})


@pytest.mark.parametrize("kind", ["FIFO", "loop of links", "nowhere", "not text"])
async def test_one_odd_file_among_good_ones_is_said_and_the_others_are_read(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    odd(tmp_path, kind)
    (tmp_path / "good.log").write_bytes(GOOD)
    caplog.set_level(logging.WARNING)
    done = run(["analyze", tmp_path / "*.log"], tmp_path)
    assert done.returncode == 0
    assert "1 line," in done.stdout
    assert REASONS[kind] in done.stderr
    source = FileSettings(name="files", path=(str(tmp_path / "*.log"),)).build(Context(clock=samples.SteppedClock()))
    for _ in range(2):
        pages = [page async for page in source.query(TimeRange(START, START + timedelta(hours=1)))]
    assert [body for page in pages for body in page["body"]] == [GOOD.decode().strip()]
    assert len(caplog.messages) == (0 if kind == "not text" else 1)
    await source.close()


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
@pytest.mark.parametrize("command", [["templates", "mine"], ["redact"]])
def test_what_is_packed_and_cut_or_damaged_is_said(
    command: list[str], pack: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    whole = pack(random.Random(0).randbytes(9_000))
    for name, data in (("cut", whole[:6_000]), ("damaged", whole[:3_000] + b"\xff" * 99 + whole[3_099:])):
        (tmp_path / name).write_bytes(data)
        done = run([*command, tmp_path / name], tmp_path)
        assert "Traceback" not in done.stderr
        if done.returncode:
            assert "its end is missing, or it is damaged" in done.stderr


def test_nul_bytes_inside_lines_are_text(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_bytes(b"2026-03-14T09:26:00Z INFO a\x00b\x00c\n" * 400)
    assert "400 lines" in run(["analyze", path], tmp_path).stdout


def test_what_has_an_impossible_time_is_told_as_that(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_bytes(b"1970-01-01T00:00:05Z INFO the clock is not set\n" * 5 + GOOD)
    assert "5 lines have an impossible time, before 1990" in run(["analyze", path], tmp_path).stderr


def test_no_name_of_a_file_sends_codes_to_a_terminal(tmp_path: Path) -> None:
    names = [b"\x1b]0;owned\x07.log", b"\x9b31m\xff.log", "\x9b31m.log".encode()]
    for name in names:
        Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), name))).write_bytes(GOOD * 3)
    os.mkfifo(tmp_path / "\x1b[31mfifo.log")
    for command, path in (("analyze", tmp_path), ("analyze", tmp_path / "\x1b[31mfifo.log"), ("redact", "\x1b[31mno")):
        done = run([command, path], tmp_path)
        assert "\x1b" not in done.stdout + done.stderr
        assert "\x9b" not in done.stdout + done.stderr
        assert "Traceback" not in done.stderr


def test_redact_shows_codes_as_signs_where_a_terminal_reads_them(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_bytes(b"a\x1b[31m\x9bb\n")
    ours, theirs = os.openpty()
    with subprocess.Popen([sys.executable, "-c", CODE, "redact", str(tmp_path / "a.log")], stdout=theirs) as process:
        process.wait()
    os.close(theirs)
    shown = os.read(ours, 1_000)
    os.close(ours)
    assert b"\x1b" not in shown
    assert "␛[31m" in shown.decode()


@pytest.mark.parametrize("command", [["redact"], ["templates", "mine", "-"], ["analyze", "-"]])
def test_an_interruption_ends_a_command_with_its_code(command: list[str], tmp_path: Path) -> None:
    process = subprocess.Popen(
        (sys.executable, "-c", CODE, *command), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    assert process.stdin
    # Until it is at work: more is taken than a pipe holds.
    for _ in range(200):
        process.stdin.write(b"2026-03-14T09:26:00Z INFO a 12 b 13 c\n" * 3_000)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate()
    assert process.returncode == 130
    assert b"Traceback" not in said


def test_an_interruption_that_another_thread_is_given_ends_a_command_all_the_same() -> None:
    """As one that comes in the moment in which the main thread begins to wait: nothing else wakes it."""
    code = f"""
import signal, threading
from pathlib import Path
from integrations.file import once

def to_this_thread(self, buffer, read=once._Typed.readinto):
    once._Typed.readinto = read
    while "S" not in Path("/proc/self/stat").read_text().rpartition(")")[2].split()[0]:
        pass
    signal.pthread_kill(threading.get_ident(), signal.SIGINT)
    return read(self, buffer)

once._Typed.readinto = to_this_thread
{CODE}"""
    reading, writing = os.pipe()
    process = subprocess.Popen((sys.executable, "-c", code, "analyze", "-"), stdin=reading, stderr=subprocess.PIPE)
    _, said = process.communicate(timeout=PATIENCE)
    os.close(reading)
    os.close(writing)
    assert process.returncode == 130
    assert b"Traceback" not in said


def test_too_little_memory_is_a_sentence(tmp_path: Path) -> None:
    code = (
        "import exporter.ingest.redaction as r; r.Redactor.of = lambda *_: (_ for _ in ()).throw(MemoryError); " + CODE
    )
    done = subprocess.run([sys.executable, "-c", code, "redact", "x"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "error: there is not enough memory for this; give it less to read, or more memory\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_what_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_bytes(GOOD)
    with Path("/dev/full").open("wb") as full:
        command = (sys.executable, "-c", CODE, "redact", str(tmp_path / "a.log"))
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "error: No space left on device\n")
