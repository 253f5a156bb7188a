"""Whether a failure that comes again has the signature that it had, and whether another kind ever has it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

from exporter.memory.signs import signature, signs_of
from tests.recall import driver
from tests.recall.cases import SHOPS, Incident, firsts_and_seconds
from tests.recall.shops import load


@dataclass(frozen=True)
class Signatures:
    """Of a shop: kinds that came twice, those told by one signature both times, and pairs of different kinds."""

    kinds: int
    equal: int
    pairs: int
    across: int
    wrong: tuple[str, ...]


def signatures(report: bool) -> Signatures:
    """Of the shop to tune on, or of that to report."""
    found = load(SHOPS[report])
    named = [(one["kind"], _signature(one)) for one in found if one["kind"]]
    crossed = [(a, b) for a, b in combinations(named, 2) if a[0] != b[0]]
    across = [f"{a[0]} and {b[0]}: {a[1]}" for a, b in crossed if a[1] == b[1] != ""]
    firsts, seconds = firsts_and_seconds(found)
    twice = sorted({one["kind"] for one in firsts if one["kind"]} & {one["kind"] for one in seconds})
    changed = [kind for kind in twice if not _of(kind, firsts) & _of(kind, seconds)]
    return Signatures(len(twice), len(twice) - len(changed), len(crossed), len(across), (*changed, *across))


def _of(kind: str, found: list[Incident]) -> set[str]:
    return {_signature(one) for one in found if one["kind"] == kind} - {""}


def _signature(told: Incident) -> str:
    return signature(signs_of(driver.incident(told, over=False)))
