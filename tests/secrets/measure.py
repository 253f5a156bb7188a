"""Plant samples in a whole daemon, keep all that leaves it, and look for them in there."""

from __future__ import annotations

import asyncio
import gzip
import html
import json
import os
import re
import sqlite3
import sys
import zlib
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import unquote

import polars as pl
import zstandard

from tests.fakes.grafana import GrafanaFake
from tests.fakes.llm import Request, completion, scripted
from tests.fakes.recording import Recorded, Recorder, recording
from tests.fakes.serving import serving
from tests.fakes.slack import SlackFake
from tests.secrets.makers import KINDS_FILE, Class, Kind, kinds
from tests.secrets.planting import Planted, Row, alike, places_of, planted

REPOSITORY = Path(__file__).parent.parent.parent
PLAYER = Path(__file__).parent / "player.py"

START = datetime(2026, 3, 14, tzinfo=UTC)
HISTORY = timedelta(hours=2)
APART = timedelta(minutes=20)
"""Between batches: an incident has ended before the next begins."""
GROUPS, SERVICES, LINES = 3, 6, 5
"""Services fail in turns, so that none comes back soon enough to reopen; lines of a service that one anomaly cites."""

QUIET = ("request served:", "order taken:", "page rendered:")

TOKEN = "a token of the pages only"


@dataclass(frozen=True)
class Found:
    """What one run came to."""

    seed: int
    planted: Sequence[Planted]
    leaks: Sequence[Planted]
    changed: Sequence[Planted]
    unseen: int
    places: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Of each leak, by its mark, where it was seen."""

    def leaked(self, of: Class) -> list[str]:
        """Kinds of a class that leaked in any place."""
        return sorted({one.kind.name for one in self.leaks if one.kind.of == of})

    def where(self, kind: str) -> list[str]:
        """In which place it was planted, and where it was seen."""
        leaks = [one for one in self.leaks if one.kind.name == kind]
        return [f"{one.place} -> {' '.join(self.places[one.mark])}" for one in leaks]

    def asked(self, of: Class) -> int:
        return len({one.kind.name for one in self.planted if one.kind.of == of and one.secrets})

    @property
    def alike(self) -> list[Planted]:
        return [one for one in self.planted if not one.secrets]


def plant(
    seed: int, lines: int = 2, others: int = 1, most: int | None = None, file: Path = KINDS_FILE
) -> list[Planted]:
    """Each kind in some lines and in some other places, each look-alike in a line; of `most` kinds, if so many."""
    chance = Random(seed)
    chosen: list[Kind] = kinds(file)
    if most is not None:
        chosen = chance.sample(chosen, most)
    found: list[Planted] = []
    for kind in chosen:
        if kind.of != "alike":
            found += [planted(kind, chance, "line") for _ in range(lines)]
            places = places_of(kind)
            found += [planted(kind, chance, place) for place in chance.sample(places, min(others, len(places)))]
        if kind.look_alike != "-":
            found.append(alike(kind, chance))
    chance.shuffle(found)
    return found


def measure(seed: int, folder: Path, plants: Sequence[Planted], checkout: Path = REPOSITORY) -> Found:
    """Play them through a daemon of a checkout."""
    record = asyncio.run(_played(folder, plants, checkout, Random(seed)))
    needles = {one.mark: {*one.needles} for one in plants}
    wanted = {needle for some in needles.values() for needle in some} | {
        t for one in plants for t in (one.mark, one.text)
    }
    seen = {name: occurring(wanted, text) for name, text in record.items()}
    places = {
        mark: where for mark, some in needles.items() if (where := tuple(name for name in seen if some & seen[name]))
    }
    leaks = [one for one in plants if one.mark in places]
    told = seen["sinks"] | seen["pages"]
    shown = [one for one in plants if one.mark in told]
    changed = [one for one in shown if not one.secrets and one.text not in told]
    return Found(seed, plants, leaks, changed, len(plants) - len(shown), places)


def occurring(needles: Iterable[str], text: str) -> set[str]:
    """Which of many texts occur in a long one."""
    wanted = [*needles]
    found = pl.Series([text.encode("utf-8", "replace").decode()]).str.extract_many(wanted, overlapping=True).explode()
    return set(found.unique().drop_nulls())


def rows_of(plants: Sequence[Planted]) -> tuple[list[Row], datetime]:
    """Quiet lines of all services, in each batch the planted ones; and when all is over."""
    rows: list[Row] = []
    chance = Random(0)
    batch = SERVICES * LINES
    batches = [plants[at : at + batch] for at in range(0, len(plants), batch)]
    first = START + HISTORY + timedelta(minutes=8)
    end = first + APART * (len(batches) + 1)
    names = [f"shop-{chr(97 + group)}{chr(97 + number)}" for group in range(GROUPS) for number in range(SERVICES)]
    for minute in range(int((end - START) / timedelta(minutes=1))):
        at = START + timedelta(minutes=minute)
        for name in names:
            for place in range(chance.randint(1, 5)):
                rows.append(_row(at, 11 * place, name, 9, {"body": f"{QUIET[place % 3]} {minute} of {name}"}))
    for number, group in enumerate(batches):
        at = first + APART * number
        for place, one in enumerate(group):
            name = names[number % GROUPS * SERVICES + place % SERVICES]
            rows += [_row(at, 5 + 3 * (place // SERVICES) + n, name, 17, row) for n, row in enumerate(one.rows)]
    return rows, end


def _row(at: datetime, second: int, service: str, severity: int, row: Row) -> Row:
    nanoseconds = int((at + timedelta(seconds=second)).timestamp()) * 10**9
    return {"timestamp": nanoseconds, "service": service, "severity": severity, **row}


async def _played(folder: Path, plants: Sequence[Planted], checkout: Path, chance: Random) -> dict[str, str]:
    """The record of a run: by where it went, all text that left the process or was written."""
    rows, end = rows_of(plants)
    said = [one.text for one in plants if one.secrets and "\n" not in one.text]
    async with _places(said) as places:
        plan = {
            "folder": str(folder),
            "config": places.config(folder),
            "headers": {"Authorization": f"Bearer {TOKEN}"},
            "start": (START + HISTORY).isoformat(),
            "end": end.isoformat(),
            "rows": rows,
            "failures": [f"the server answers 503: {text}" for text in said[:3]],
            "alerts": [_alert(text, number) for number, text in enumerate(said[3:8])],
            "changes": [{"service": "shop-aa", "version": text} for text in said[8:10]],
            "fixes": said[10:20],
        }
        (folder / "plan.json").write_text(json.dumps(plan))
        environment = {**os.environ, "PYTHONPATH": str(checkout), "NO_COLOR": "1", "TZ": "UTC"}
        log, printed = folder / "log.txt", folder / "printed.txt"
        with log.open("wb") as errors, printed.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-P", str(PLAYER), str(folder / "plan.json"),
                cwd=folder, env=environment, stdout=output, stderr=errors,
            )  # fmt: skip
            code = await process.wait()
        if code:
            raise RuntimeError(f"the daemon ended with {code}: {log.read_text()[-2000:]}")
        return {
            "sinks": readable(places.sent(), printed.read_bytes()),
            "model": readable(places.asked()),
            "embedder": readable([(folder / "embedded.txt").read_bytes()]),
            "pages": readable([(folder / "pages.txt").read_bytes()]),
            "log": readable([log.read_bytes()]),
            "state": readable(_state(folder)),
        }


def _alert(text: str, number: int) -> dict[str, Any]:
    labels = {"alertname": f"Shop {text}", "service": f"shop-a{chr(97 + number)}", "note": text}
    return {
        "version": "4",
        "status": "firing",
        "alerts": [
            {
                "status": "firing",
                "labels": labels,
                "annotations": {"summary": text},
                "startsAt": (START + HISTORY + timedelta(minutes=9)).isoformat(),
                "endsAt": "0001-01-01T00:00:00Z",
                "fingerprint": f"{number:016x}",
                "generatorURL": "",
            }
        ],
    }


def _state(folder: Path) -> Iterator[bytes]:
    """The state file with all that lies beside it, as bytes and row by row: bodies may be compressed."""
    for path in folder.glob("state.db*"):
        yield path.read_bytes()
    with closing(sqlite3.connect(folder / "state.db")) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            for row in connection.execute(f'SELECT * FROM "{table}"'):
                for value in row:
                    if isinstance(value, bytes):
                        yield value
                    elif isinstance(value, str):
                        yield value.encode("utf-8", "replace")


def readable(parts: Iterable[bytes], *more: bytes) -> str:
    """All that can be read in there, however it is written."""
    texts: list[str] = []
    for part in (*parts, *more):
        for plain in _unpacked(part):
            text = plain.decode("utf-8", "replace")
            texts.append(text)
            if "\\" in text:
                texts.append(_unescaped(text))
                texts.append(_unescaped(_unescaped(text)))
            if "&" in text:
                texts.append(html.unescape(text))
            if "%" in text:
                texts.append(unquote(text))
    return "\n".join(texts)


_ESCAPE = re.compile(r'\\(?:u([0-9a-fA-F]{4})|(["\\/bfnrt]))')
_SIGNS = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}


def _unescaped(text: str) -> str:
    return _ESCAPE.sub(lambda match: chr(int(match[1], 16)) if match[1] else _SIGNS.get(match[2], match[2]), text)


def _unpacked(data: bytes) -> Iterator[bytes]:
    yield data
    try:
        if data[:2] == b"\x1f\x8b":
            yield gzip.decompress(data)
        elif data[:4] == b"\x28\xb5\x2f\xfd":
            yield zstandard.ZstdDecompressor().decompressobj().decompress(data)
        elif data[:1] == b"\x78":
            yield zlib.decompress(data)
    except (OSError, EOFError, zlib.error, zstandard.ZstdError):
        return


@dataclass
class _Places:
    """All that a daemon tells, and what came there."""

    urls: dict[str, str]
    requests: list[Recorded]
    recorders: list[Recorder]
    slack: SlackFake
    grafana: GrafanaFake
    llm: Any

    def config(self, folder: Path) -> dict[str, Any]:
        bot = {"token": self.slack.token, "channel": self.slack.channel, "api_url": f"{self.urls['slack']}/api"}
        return {
            "state": str(folder / "state.db"),
            "external_url": "https://anomalies.example.org",
            "sources": [
                {
                    "type": "elasticsearch",
                    "name": "planted",
                    "hosts": ["http://127.0.0.1:9"],
                    "query_offset": "0s",
                    "late_window": "2m",
                    "sessions": {"field": "session", "idle": "1m", "max_age": "10m"},
                    "link": "https://kibana.example.org/?from={start}&to={end}&q={service}",
                }
            ],
            "warmup": {"history": "2h"},
            "alarm_budget": "1000/day",
            "detection": {"min_windows": 30},
            "web": {"listen": "127.0.0.1:0", "token": TOKEN},
            "llm": {"type": "openai", "base_url": self.llm.url, "model": "fake", "api_key": "a key of the model"},
            "sinks": [
                {"type": "alertmanager", "urls": [self.urls["alertmanager"]]},
                {"type": "grafana", "url": self.urls["grafana"], "token": self.grafana.token},
                {"type": "slack", **bot},
                {"type": "webhook", "url": f"{self.urls['webhook']}/hook"},
                {"type": "otlp", "endpoint": self.urls["otlp"]},
                {"type": "console", "color": False, "width": 100},
            ],
        }

    def sent(self) -> list[bytes]:
        taken = [*self.requests, *(request for recorder in self.recorders for request in recorder.requests)]
        return [f"{request.path} {dict(request.headers)} ".encode() + b"\n" for request in taken] + [
            request.body for request in taken
        ]

    def asked(self) -> list[bytes]:
        return [json.dumps(request.body, ensure_ascii=False).encode() for request in self.llm.requests]


@asynccontextmanager
async def _places(said: Sequence[str]) -> AsyncIterator[_Places]:
    """The servers that a daemon is configured to talk to; the model's and a sink's answers repeat secrets."""
    slack, grafana = SlackFake(), GrafanaFake()
    alertmanager, webhook, otlp = Recorder(), Recorder(refuses_each=7), Recorder()
    requests: list[Recorded] = []
    numbers = count()

    def reply(_: Request) -> Any:
        from aiohttp import web

        text = said[next(numbers) % len(said)] if said else "nothing"
        claims = [{"text": f"it said {text}", "evidence": [], "quote": ""}]
        return web.json_response(completion(json.dumps({"what_happened": claims, "causes": claims, "steps": claims})))

    async with AsyncExitStack() as stack:
        urls = {
            "alertmanager": await stack.enter_async_context(serving(alertmanager.app())),
            "webhook": await stack.enter_async_context(serving(webhook.app())),
            "otlp": await stack.enter_async_context(serving(otlp.app())),
            "slack": await stack.enter_async_context(serving(recording(slack.app(), requests))),
            "grafana": await stack.enter_async_context(serving(recording(grafana.app(), requests))),
        }
        llm = await stack.enter_async_context(scripted(reply))
        yield _Places(urls, requests, [alertmanager, webhook, otlp], slack, grafana, llm)
