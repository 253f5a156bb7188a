"""Remember and recall with the code of the checkout that it is started in: `python -P driver.py`, a task a line.

It may use only what every checkout has: memory, the local store, the embedders and the values of the model.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from importlib import import_module
from typing import Any

PLACES = {
    "Memory": ("exporter.memory.recall", "exporter.memory"),
    "HashingEmbedder": ("exporter.memory.embedding", "exporter.embedding"),
    "LocalIncidentsSettings": ("integrations.local_incidents",),
    "SentenceTransformersSettings": ("integrations.sentence_transformers",),
    "Context": ("exporter.model",),
    "Incident": ("exporter.model",),
    "Contribution": ("exporter.model",),
    "Evidence": ("exporter.model",),
    "Facts": ("exporter.model.facts",),
    "from_json": ("exporter.model",),
    "State": ("exporter.state.file", "exporter.state"),
    "Closing": ("exporter.model",),
    "write": ("exporter.report.rules", "exporter.report"),
}
"""Where things are or were, the newest place first."""


def find(name: str) -> Any:
    """What a checkout has under this name, wherever it has it."""
    for module in PLACES[name]:
        with contextlib.suppress(ModuleNotFoundError, AttributeError):
            return getattr(import_module(module), name)
    raise SystemExit(f"{name} is in none of {', '.join(PLACES[name])}: say in {__file__} where it is now")


PATIENCE = timedelta(minutes=10)
"""For models and stores: what is measured is what is recalled, on a machine that may have other work."""


class Remembering:
    """An embedder that is asked for each text once: the same documents are put into many memories."""

    def __init__(self, embedder: Any) -> None:
        self._embedder = embedder
        self._known: dict[str, Any] = {}
        self.model = embedder.model

    def __getattr__(self, name: str) -> Any:
        return getattr(self._embedder, name)

    def embed(self, texts: Sequence[str]) -> list[Any]:
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        self._known.update(zip(new, self._embedder.embed(new) if new else (), strict=True))
        return [self._known[text] for text in texts]


def embedder(model: str) -> Any:
    """The hashing one, or a model that a folder holds."""
    if not model:
        return find("HashingEmbedder")()
    built = Remembering(find("SentenceTransformersSettings")(type="sentence_transformers", model=model).build())
    built.embed(["what is loaded now keeps nobody waiting"])
    return built


def incident(told: Mapping[str, Any], over: bool) -> Any:
    """An incident of the model of this checkout."""
    start, end = _moment(told["starts_at"]), _moment(told["ends_at"] or told["starts_at"])
    values = {
        "id": told["id"],
        "fingerprint": told["fingerprint"],
        "revision": 1,
        "status": "resolved" if over else "firing",
        "severity": told["severity"],
        "score": 0.99,
        "service": told["service"],
        "services": tuple(told["services"]),
        "sources": ("all",),
        "starts_at": start,
        "updated_at": end if over else start,
        "ends_at": end if over else None,
        "labels": {},
        "contributions": tuple(_made("Contribution", one) for one in told["contributions"]),
        "evidence": tuple(
            _made("Evidence", {**one, "timestamp": _moment(one["timestamp"])}) for one in told["evidence"]
        ),
        "anomalies": 3,
        "fix": told.get("fix"),
    }
    if told.get("facts") and "facts" in {field.name for field in dataclasses.fields(find("Incident"))}:
        values["facts"] = find("from_json")(find("Facts"), told["facts"])
    if told.get("rejected") and "closed" in {field.name for field in dataclasses.fields(find("Incident"))}:
        values["closed"] = find("Closing")("rejected", "somebody", end)
    return find("Incident")(**values)


def _made(name: str, values: Mapping[str, Any]) -> Any:
    known = {field.name for field in dataclasses.fields(find(name))}
    return find(name)(**{key: value for key, value in values.items() if key in known})


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


async def asked(task: Mapping[str, Any], embeds: Any, folder: str) -> dict[str, Any]:
    """What is shown for each query, and processor time: of the whole of it, and of each recall."""
    from pathlib import Path
    from tempfile import TemporaryDirectory

    with TemporaryDirectory(dir=folder or None) as place:
        state = find("State")(Path(place, "state.db"))
        store = find("LocalIncidentsSettings")().build(find("Context")(documents=state))
        memory = find("Memory")(store, embeds, store_timeout=PATIENCE, embed_timeout=PATIENCE)
        for one in task["documents"]:
            made = incident(one, over=True)
            await memory.remember(made, find("write")(made))
        shown, seconds = [], []
        for one in task["queries"]:
            made = incident(one, over=False)
            began = time.process_time()
            found = await memory.recall(made)
            seconds.append(time.process_time() - began)
            shown.append([_told(similar) for similar in found])
        await memory.close()
        state.close()
    return {"shown": shown, "seconds": seconds}


def _told(similar: Any) -> dict[str, Any]:
    tier, rivals = getattr(similar, "tier", "same"), getattr(similar, "rivals", ())
    return {"id": similar.id, "tier": tier, "similarity": similar.similarity, "fix": similar.fix, "rivals": rivals}


def main() -> None:
    """Answer each task, one JSON a line; the first line says which model embeds."""
    # Where another checkout is installed for editing, its finder would fill what this one lacks.
    sys.meta_path[:] = [finder for finder in sys.meta_path if "editable" not in repr(finder).lower()]
    embeds = None
    for line in sys.stdin:
        task = json.loads(line)
        if embeds is None:
            embeds = embedder(task["model"])
        sys.stdout.write(json.dumps(asyncio.run(asked(task, embeds, ""))) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
