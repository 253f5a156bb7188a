"""Views of session vectors: what a detector sees of the counts of templates."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Vector = tuple[tuple[int, int], ...]
"""Templates and their counts, ascending by template."""


def vector(counts: Mapping[int, int]) -> Vector:
    return tuple(sorted((template, count) for template, count in counts.items() if count > 0))


@dataclass(frozen=True)
class Columns:
    """The templates of a pool in fixed order; templates that it never saw share one more column."""

    templates: tuple[int, ...]

    @classmethod
    def of(cls, vectors: Sequence[Vector]) -> Columns:
        return cls(tuple(sorted({template for vector in vectors for template, _ in vector})))

    def matrix(self, vectors: Sequence[Vector]) -> Floats:
        """One row a vector, one column a template, unseen ones summed in the last."""
        places = {template: index for index, template in enumerate(self.templates)}
        unseen = len(self.templates)
        out = np.zeros((len(vectors), unseen + 1))
        rows = [row for row, vector in enumerate(vectors) for _ in vector]
        columns = [places.get(template, unseen) for vector in vectors for template, _ in vector]
        np.add.at(out, (rows, columns), [float(count) for vector in vectors for _, count in vector])
        return out


@dataclass(frozen=True)
class Presence:
    """Which rare templates are there. Presence is strong evidence, absence is weak: truncated sessions are common."""

    weights: Floats

    @classmethod
    def fit(cls, counts: Floats, weights: Floats) -> Presence:
        seen = (weights[:, None] * (counts > 0)).sum(axis=0)
        # A template in 44 % of the sessions weighs nothing; an unseen one as if half a session had it.
        share = np.maximum(seen, 0.5) / weights.sum()
        return cls(np.maximum(0.0, 1 / np.sqrt(share) - 1.5))

    def view(self, counts: Floats) -> Floats:
        """The weight of each template that is there; in the last column that of the rarest one.

        Unseen templates have no past, so that a detector that splits or scales columns by their past is blind to a
        column of their own: the rarest of all is something that every row has.
        """
        present = (counts > 0) * self.weights
        present[:, -1] = present.max(axis=1)
        return np.asarray(present)


@dataclass(frozen=True)
class Scaled:
    """Standardised columns of a transformed matrix."""

    mean: Floats
    deviation: Floats
    transform: str

    @classmethod
    def fit(cls, counts: Floats, weights: Floats, transform: str) -> Scaled:
        values = _TRANSFORMS[transform](counts)
        total = weights.sum()
        mean = (weights[:, None] * values).sum(axis=0) / total
        variance = (weights[:, None] * (values - mean) ** 2).sum(axis=0) / total
        # As if one row in n had it: a constant column must not make the least change infinite.
        floor = np.sqrt(1 / total * (1 - 1 / total)) if transform == "counts" else 0.1 / np.sqrt(total)
        return cls(mean, np.maximum(np.sqrt(variance), floor), transform)

    def view(self, counts: Floats) -> Floats:
        return np.asarray((_TRANSFORMS[self.transform](counts) - self.mean) / self.deviation)


def _share(counts: Floats) -> Floats:
    return np.asarray(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1.0))


def _log(counts: Floats) -> Floats:
    return np.asarray(np.log1p(counts))


_TRANSFORMS: dict[str, Callable[[Floats], Floats]] = {"share": _share, "counts": _log}


def fit_view(name: str, counts: Floats, weights: Floats) -> Presence | Scaled:
    """The view of this name, fitted on a pool whose rows stand for `weights` sessions each."""
    return Presence.fit(counts, weights) if name == "presence" else Scaled.fit(counts, weights, name)
