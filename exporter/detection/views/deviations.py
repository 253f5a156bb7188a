"""Deviations of a window: rates, transitions, gaps and errors against each service's own past."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

import numpy as np
import numpy.typing as npt

from exporter.detection.explanation import MIN_Z, TOP, Texts, text_of
from exporter.detection.look import Look
from exporter.detection.observation import BOUNDARY, GAP_STEPS
from exporter.detection.past import index as base
from exporter.detection.past.comparison import Compared, by_name, largest
from exporter.detection.past.index import Ints, Placed
from exporter.detection.view import Account, Feature, Measured, Opinion, Reason, Sight, View
from exporter.detection.views.novelty import NEW_TEMPLATE_SCORE
from exporter.detection.views.returning import Back, findings, returning
from exporter.model import Contribution

Floats = npt.NDArray[np.float64]

ORDINARY = 2.5
"""Of the strongest of many deviations: z-scores below this are ordinary."""

FEATURES = {
    "rate": Feature(ORDINARY, "writes far more of one template than usual"),
    "missing": Feature(ORDINARY, "writes far less of one template than usual"),
    "step": Feature(1.5, "the order of its steps changed"),
    "steps": Feature(1.0, "the order of its steps changed"),
    "errors": Feature(ORDINARY, "writes more errors than usual"),
    "slow": Feature(1.0, "became slow in its own steps"),
}
"""In standard deviations: strongest template rate; strongest shortfall of a template; strongest transitions; all
transitions together; error lines; gaps into and inside the service. Of means, less than of single ones is ordinary."""

KINDS = (base.TEMPLATE, base.EDGE, base.GAP, base.GAP_IN, base.GAP_OUT, base.ERRORS)
"""The numbers of a window that are compared with the past."""

TOP_STEPS = 4
"""A fault that ends a flow early shows in a few transitions at once: what is missing, and what came instead."""

STEP_EVIDENCE = 5
"""Transitions that must agree before their mean counts half. Like the other two chosen on TrainTicket, not finely."""

GAP_EVIDENCE = 30
"""Gaps that must agree before their mean counts half: one pause of a small service is no slowness."""

COUNTS_SHARE = 0.3
"""What a count says of its service beside order and pace: counts of lines and errors change in every caller too. At
0.5 average precision on TrainTicket falls, at 0 a job that no longer runs is not seen in the shop."""


def vectors(found: Compared, services: Sequence[str]) -> Floats:
    """FEATURES of these services, one row each."""
    index = found.index
    length = len(index.services)
    kind, number = index.kind[found.place], index.service[found.place]
    template, edge = kind == base.TEMPLATE, kind == base.EDGE
    own = (kind == base.GAP) | (kind == base.GAP_IN)
    squares = found.z[edge] ** 2
    steps = np.bincount(number[edge], squares, length) / (np.bincount(number[edge], minlength=length) + STEP_EVIDENCE)
    slow = np.bincount(number[own], found.z[own] * found.weight[own], length) / (
        np.bincount(number[own], found.weight[own], length) + GAP_EVIDENCE
    )
    table = np.stack(
        [
            largest(number[template], found.z[template], length),
            largest(number[template], -found.z[template], length),
            np.sqrt(_top(number[edge], squares, length)),
            np.sqrt(steps),
            largest(number[kind == base.ERRORS], found.z[kind == base.ERRORS], length),
            np.maximum(slow, 0.0),
        ],
        axis=1,
    )
    return by_name(index, table, services)


def _top(number: Ints, values: Floats, length: int) -> Floats:
    """The mean of the TOP_STEPS largest values of each service."""
    order = np.lexsort((-values, number))
    number, values = number[order], values[order]
    rank = np.arange(len(number)) - np.searchsorted(number, number)
    kept = rank < TOP_STEPS
    sums, numbers = np.bincount(number[kept], values[kept], length), np.bincount(number[kept], minlength=length)
    return np.asarray(sums / np.maximum(numbers, 1))


class Deviations(View):
    """What a service does, how often, in what order and at what pace, as far as it is not what it usually does."""

    name = "deviations"
    kinds = ("template", "transition", "gap", "errors")
    features = FEATURES

    def measure(self, look: Look, span: Sequence[Placed]) -> Measured:
        found = look.compare(span, KINDS)
        return Measured(vectors(found, look.services), lambda service: _reasons(found, service, look))

    def judge(self, look: Look) -> Sight:
        """What failed before and comes back is a finding, as it was when it was new."""
        back = returning(look) if look.seasoned else {}
        certain = {*findings(back)}
        return Sight(
            {
                service: Opinion(NEW_TEMPLATE_SCORE if service in certain else 0.0, partial(_again, look, own))
                for service, own in back.items()
            }
        )

    def headline(self, scaled: Floats) -> Floats:
        """Transitions that changed, a service slow throughout, or a count."""
        columns = dict(zip(FEATURES, scaled.T, strict=True))
        counts = np.maximum(np.maximum(columns["rate"], columns["missing"]), columns["errors"])
        return np.asarray(
            np.maximum(np.maximum((columns["step"] + columns["steps"]) / 2, columns["slow"]), COUNTS_SHARE * counts)
        )


def _again(look: Look, back: Sequence[Back]) -> Account:
    """What comes back."""
    reasons = [
        Reason(2.0 * one.together**0.5 + MIN_Z, _template(look.texts, one.template, 0, float(one.lines), one.expected))
        for one in back
    ]
    return Account(reasons, witnesses=("returning",))


def _reasons(found: Compared, service: str, look: Look) -> Iterator[Reason]:
    """The strangest deviations of a service, a few of each kind; what is new is told as new, by another view."""
    new = look.new_templates.get(service, {})
    told: dict[int, int] = {}
    for kind, a, b, count, expected, z in found.of(service):
        if abs(z) < MIN_Z or kind == base.GAP_OUT or (kind == base.TEMPLATE and a in new):
            continue
        told[kind] = told.get(kind, 0) + 1
        if told[kind] <= TOP:
            yield Reason(abs(z), _SAY[kind](look.texts, a, b, count, expected))


def _template(texts: Texts, a: int, b: int, count: float, expected: float) -> Contribution:
    return Contribution("template", text_of(texts, a), count, round(expected, 2), "lines", templates=(a,))


def _edge(texts: Texts, a: int, b: int, count: float, expected: float) -> Contribution:
    used = tuple(t for t in (a, b) if t != BOUNDARY)
    return Contribution("transition", _arrow(texts, a, b), count, round(expected, 2), "times", templates=used)


def _gap(texts: Texts, a: int, b: int, count: float, expected: float) -> Contribution:
    now, usual = (2 ** (level / GAP_STEPS) / 1000 for level in (count, expected))
    return Contribution("gap", _arrow(texts, a, b), round(now, 3), round(usual, 3), "ms", templates=(a, b))


def _error(texts: Texts, a: int, b: int, count: float, expected: float) -> Contribution:
    return Contribution("errors", "lines of level error", count, round(expected, 2), "lines")


def _arrow(texts: Texts, a: int, b: int) -> str:
    first = "(begin)" if a == BOUNDARY else text_of(texts, a)[:140]
    last = "(end)" if b == BOUNDARY else text_of(texts, b)[:140]
    return f"{first} -> {last}"


_SAY: Mapping[int, Callable[[Texts, int, int, float, float], Contribution]] = {
    base.TEMPLATE: _template,
    base.EDGE: _edge,
    base.GAP: _gap,
    base.GAP_IN: _gap,
    base.ERRORS: _error,
}
