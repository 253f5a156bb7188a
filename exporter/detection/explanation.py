"""Say why a score is high, in numbers: what was observed against what was expected, strongest first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import numpy as np

from exporter.detection.scoring.session_views import Vector, vector
from exporter.detection.scoring.sessions import SessionModel
from exporter.model import Contribution, ContributionKind

SHORTLIST = 10
"""Templates that are left out one by one to see what the score owes to them."""

TOP = 5
"""Contributions that are told of one anomaly."""

MIN_Z = 2.5
"""Standard deviations below which nothing is told as unusual."""

MAX_TEXT = 300
"""Characters of a template that are told."""

Texts = Mapping[int, str]


def text_of(texts: Texts, template: int) -> str:
    return texts.get(template, f"template {template}")[:MAX_TEXT]


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
