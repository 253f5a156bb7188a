"""Say why a score is high, in numbers: what was observed against what was expected, strongest first."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

import numpy as np

from exporter.detection.observation import BOUNDARY, GAP_STEPS
from exporter.detection.past import index as base
from exporter.detection.scoring.session_views import Vector, vector
from exporter.detection.views.sessions import SessionModel
from exporter.model import Contribution, ContributionKind, Severity

SHORTLIST = 10
"""Templates that are left out one by one to see what the score owes to them."""

TOP = 5
"""Contributions that are told of one anomaly."""

MIN_Z = 2.5
MAX_TEXT = 300

Texts = Mapping[int, str]


def text_of(texts: Texts, template: int) -> str:
    return texts.get(template, f"template {template}")[:MAX_TEXT]


_FATAL = re.compile(r"(?i)\b(fatal|panic|out of memory|oom|segfault|core dumped|kernel bug)\b")
_ERROR = re.compile(
    r"(?i)(exception|traceback|stack ?trace|\b(error|errors|fail|fails|failed|failing|failure|refused|denied"
    r"|unreachable|timed? ?out|abort|aborted|crash|crashed|corrupt|corrupted|unavailable|exhausted|rejected|lost"
    r"|cannot|could not|unable)\b)"
)
_WARN = re.compile(r"(?i)\b(warn|warning|retry|retrying|slow|degraded|deprecated|missing|invalid|unexpected|denied)\b")


def worded(text: str) -> int:
    """The severity that the words of a template suggest; 0 when they suggest none."""
    for pattern, severity in ((_FATAL, Severity.FATAL), (_ERROR, Severity.ERROR), (_WARN, Severity.WARN)):
        if pattern.search(text):
            return int(severity)
    return 0


def explain_session(model: SessionModel, one: Vector, texts: Texts, since: datetime | None) -> tuple[Contribution, ...]:
    """Templates in which a session differs from the most alike ordinary one, ordered by what the score owes to them."""
    counts, expected = dict(one), dict(model.nearest(one))
    differing = sorted(t for t in {*counts, *expected} if counts.get(t, 0) != expected.get(t, 0))
    shortlist = _strongest(model, one, differing)
    strength = float(model.strength([one])[0])
    variants = [vector({**counts, template: expected.get(template, 0)}) for template in shortlist]
    drops = strength - model.strength(variants) if variants else np.zeros(0)
    known = set(model.columns.templates)
    reasons = []
    for group in _alike(shortlist, drops, counts, expected):
        template = group[0]
        text = " | ".join(text_of(texts, t) for t in group)[:MAX_TEXT]
        kind: ContributionKind = "template" if template in known else "new_template"
        drop = max(float(drops[shortlist.index(t)]) for t in group)
        reasons.append((drop, kind, text, counts.get(template, 0), expected.get(template, 0), tuple(group)))
    total = sum(max(reason[0], 0.0) for reason in reasons) or 1.0
    reasons.sort(key=lambda reason: (-reason[0], reason[2]))
    return tuple(
        Contribution(kind, text, float(seen), float(usual), "lines", max(drop, 0.0) / total, since, group)
        for drop, kind, text, seen, usual, group in reasons[:TOP]
    )


def _strongest(model: SessionModel, one: Vector, differing: Sequence[int]) -> list[int]:
    """The differing templates whose dimensions weigh most, over all views."""
    places = {template: index for index, template in enumerate(model.columns.templates)}
    rows = model.columns.matrix([one])
    weight = np.zeros(rows.shape[1])
    for member in model.ensemble.members:
        dimensions = getattr(member.detector, "dimensions", None)
        parts = dimensions(member.view(rows))[0] if dimensions else member.view(rows)[0] ** 2
        weight += parts / (np.linalg.norm(parts) + 1e-12)
    unseen = len(model.columns.templates)
    ranked = sorted(differing, key=lambda t: (-round(float(weight[places.get(t, unseen)]), 9), t))
    return ranked[:SHORTLIST]


def _alike(
    shortlist: Sequence[int], drops: np.ndarray, counts: Mapping[int, int], expected: Mapping[int, int]
) -> list[list[int]]:
    """Templates with the same deviation that move the score alike have one cause."""
    groups: dict[tuple[int, int, float], list[int]] = {}
    for template, drop in zip(shortlist, drops, strict=True):
        key = (counts.get(template, 0), expected.get(template, 0), round(float(drop), 3))
        groups.setdefault(key, []).append(template)
    return list(groups.values())


def explain_window(
    deviations: Iterable[tuple[int, int, int, float, float, float]],
    texts: Texts,
    new: Mapping[int, int],
    since: datetime | None,
) -> tuple[Contribution, ...]:
    """Deviations of one service (kind, a, b, count, expected, z), strongest first; `new` are its templates never seen
    before."""
    reasons: list[tuple[float, Contribution]] = [
        (
            2.0 * count**0.5 + MIN_Z,
            Contribution("new_template", text_of(texts, template), float(count), 0.0, "lines", 0.0, since, (template,)),
        )
        for template, count in new.items()
    ]
    told: dict[int, int] = {}
    for kind, a, b, count, expected, z in deviations:
        if abs(z) < MIN_Z or kind == base.GAP_OUT or (kind == base.TEMPLATE and a in new):
            continue
        told[kind] = told.get(kind, 0) + 1
        if told[kind] <= TOP:
            reasons.append((abs(z), _SAY[kind](texts, a, b, count, expected, since)))
    reasons.sort(key=lambda reason: (-round(reason[0], 6), reason[1].kind, reason[1].text))
    total = sum(size for size, _ in reasons[:TOP]) or 1.0
    return tuple(_shared(reason, size / total) for size, reason in reasons[:TOP])


def _shared(reason: Contribution, share: float) -> Contribution:
    return replace(reason, share=share)


Say = Callable[[Texts, int, int, float, float, "datetime | None"], Contribution]


def _template(texts: Texts, a: int, b: int, count: float, expected: float, since: datetime | None) -> Contribution:
    return Contribution("template", text_of(texts, a), count, round(expected, 2), "lines", 0.0, since, (a,))


def _edge(texts: Texts, a: int, b: int, count: float, expected: float, since: datetime | None) -> Contribution:
    used = tuple(t for t in (a, b) if t != BOUNDARY)
    return Contribution("transition", _arrow(texts, a, b), count, round(expected, 2), "times", 0.0, since, used)


def _gap(texts: Texts, a: int, b: int, count: float, expected: float, since: datetime | None) -> Contribution:
    now, usual = (2 ** (level / GAP_STEPS) / 1000 for level in (count, expected))
    return Contribution("gap", _arrow(texts, a, b), round(now, 3), round(usual, 3), "ms", 0.0, since, (a, b))


def _error(texts: Texts, a: int, b: int, count: float, expected: float, since: datetime | None) -> Contribution:
    return Contribution("errors", "lines of level error", count, round(expected, 2), "lines", 0.0, since)


def _arrow(texts: Texts, a: int, b: int) -> str:
    first = "(begin)" if a == BOUNDARY else text_of(texts, a)[:140]
    last = "(end)" if b == BOUNDARY else text_of(texts, b)[:140]
    return f"{first} -> {last}"


_SAY: Mapping[int, Say] = {
    base.TEMPLATE: _template,
    base.EDGE: _edge,
    base.GAP: _gap,
    base.GAP_IN: _gap,
    base.ERRORS: _error,
}
