"""A view as a newcomer writes one: this file, and an entry in the table that `test_views.py` makes for it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from exporter.detection.explanation import MIN_Z
from exporter.detection.look import Look
from exporter.detection.observation import Observation
from exporter.detection.past.comparison import Compared
from exporter.detection.past.index import Number, Placed
from exporter.detection.view import Feature, Measured, Reason, View
from exporter.model import Contribution, OwnKind

WARNINGS = OwnKind("warnings")
WORDS: Mapping[OwnKind, str] = {WARNINGS: "more warnings"}
CODE = 127
"""The last there is: views of the table take theirs from `index.OWN` on."""
FEATURES = {"warnings": Feature(2.5, "warns more than usual")}


class Warnings(View):
    """Lines that warn, among all lines of a service."""

    name = "warnings"
    own_kinds = WORDS
    features = FEATURES
    codes = (CODE,)

    def count(self, observation: Observation) -> Iterable[Number]:
        rows = observation.services.select("service", "warnings", "lines").iter_rows()
        return [((service, CODE, 0, 0), warnings, lines) for service, warnings, lines in rows]

    def measure(self, look: Look, span: Sequence[Placed]) -> Measured:
        found = look.compare(span, self.codes)
        return Measured(found.largest(look.services), lambda service: self.reasons(found, service))

    def reasons(self, found: Compared, service: str) -> Iterator[Reason]:
        for _, _, _, count, expected, z in found.of(service):
            if z >= MIN_Z:
                told = Contribution(WARNINGS, "lines that warn", count, expected, words=WORDS[WARNINGS])
                yield Reason(z, told)
