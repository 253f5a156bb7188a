"""What a view is shown: one window of a source, beside all that came before it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import cached_property

import numpy as np

from exporter.detection.evidence import Lines
from exporter.detection.observation import Observation
from exporter.detection.past import index as base
from exporter.detection.past.comparison import Compared, Now, beside, compare
from exporter.detection.past.history import RECENT
from exporter.detection.past.index import Bools, Ints, Placed
from exporter.detection.past.neighbours import Neighbours
from exporter.detection.past.source import Past
from exporter.model import Severity, failure_in
from exporter.model.times import moment

SWITCHED_OFF = 5.0
"""Lines of a template to debug that are expected, from which it is no chance that none came."""


class Look:
    """A window as its views see it; looking at it changes nothing."""

    def __init__(
        self, past: Past, observation: Observation, lines: Lines, texts: Mapping[int, str], seasoned: bool
    ) -> None:
        self.past = past
        self.observation = observation
        self.lines = lines
        """The lines that may be cited."""
        self.texts = texts
        """The texts of templates, those of this window included."""
        self.seasoned = seasoned
        """Whether enough was learnt to call anything anomalous."""
        self.window = observation.window
        self.start = moment(observation.window)
        self.services: list[str] = observation.services["service"].to_list()
        self.placed = past.placed(observation)
        """The numbers of the window."""
        self.settled = observation.window <= past.settled
        """Whether it was judged and learnt from before; then it is only judged again."""
        self.before = past.pending.get(observation.window)
        """What the window held when it was judged before."""

    @cached_property
    def spans(self) -> tuple[Sequence[Placed], Sequence[Placed]]:
        """The window alone, and the RECENT windows that end with it: what is too little for one adds up."""
        return [self.placed], [*self.past.before(self.window), self.placed]

    @cached_property
    def pasts(self) -> list[Ints]:
        """What the window is compared with, as `History.pasts` has it."""
        return self.past.history.pasts(self.window)

    @cached_property
    def vanished(self) -> Bools | None:
        """By place, what is no longer missed, as `History.vanished` has it."""
        return self.past.history.vanished()

    @cached_property
    def together(self) -> Ints:
        """By place, the counts of the RECENT windows that end with it."""
        windows = self.spans[1]
        counts = np.zeros(len(self.past.history.index), np.int64)
        for one in windows:
            np.add.at(counts, one.places, one.count)
        return counts

    @cached_property
    def new_templates(self) -> Mapping[str, Mapping[int, tuple[int, int]]]:
        """Of each template that no settled window has, by service: its lines now, and in the RECENT windows."""
        index, total, placed = self.past.history.index, self.past.history.total(), self.placed
        news = (index.kind[placed.places] == base.TEMPLATE) & (total[placed.places, base.WINDOWS] == 0)
        out: dict[str, dict[int, tuple[int, int]]] = {}
        if news.any():
            for place, count in zip(placed.places[news].tolist(), placed.count[news].tolist(), strict=True):
                service, _, template, _ = index.keys[place]
                out.setdefault(service, {})[template] = (count, int(self.together[place]))
        return out

    @cached_property
    def harmless(self) -> Bools:
        """By place, new templates of the last windows of which neither level nor words speak of a failure."""
        index = self.past.history.index
        seen, out = np.zeros(len(index), np.bool_), np.zeros(len(index), np.bool_)
        for one in self.spans[1]:
            seen[one.places] = True
        keys = {place: index.keys[place] for place in self.past.history.young(np.flatnonzero(seen)).tolist()}
        if keys:
            new = {(service, template) for service, _, template, _ in keys.values()}
            pending = [one for start, one in sorted(self.past.pending.items()) if start < self.window]
            levels = _levels([*pending[-RECENT:], self.observation], new, self.texts)
            out[[place for place, key in keys.items() if levels.get(key[::2], 0) < Severity.WARN]] = True
        return out

    @cached_property
    def neighbours(self) -> Neighbours:
        """With whom each service is in touch."""
        return Neighbours(self.past)

    @cached_property
    def switched(self) -> Bools | None:
        """By place, the steps that lead through templates to debug of which none came for so long that it is no chance,
        or of which some come again after hours without any."""
        index, total = self.past.history.index, self.past.history.total()
        alive = total[:, base.WINDOWS] > 0
        debug = np.flatnonzero(index.of_debug(np.arange(len(index)), alive) & alive)
        if not debug.size:
            return None
        against, lately = index.against[debug], self.past.history.lately()
        rate = total[debug, base.SUM] / np.maximum(total[against, base.SUM], 1)
        count, exposure = np.zeros((2, len(index)), np.int64)
        off = np.zeros(len(debug), np.bool_)
        for one in reversed(self.spans[1]):
            np.add.at(count, one.places, one.count)
            volumes = index.kind[one.places] == base.EXPOSURE
            np.add.at(exposure, one.places[volumes], one.count[volumes])
            off |= (count[debug] == 0) & (rate * exposure[against] >= SWITCHED_OFF)
        on = np.zeros(len(debug), np.bool_)
        if lately is not None:
            on = (count[debug] > 0) & (lately[debug, base.SUM] == 0) & (lately[against, base.SUM] > 0)
        return beside(index, debug[off | on], alive | (count > 0)) if (off | on).any() else None

    def compare(self, span: Sequence[Placed], kinds: Collection[int]) -> Compared:
        """The numbers of these kinds in one of the spans, against the past."""
        index, pasts, harmless = self.past.history.index, self.pasts, self.harmless
        return compare(index, Now.of(index, span), pasts, kinds, harmless, self.vanished, self.switched)

    def levels(self, templates: Collection[tuple[str, int]]) -> dict[tuple[str, int], int]:
        """The severity of templates of services in this window, or what their words say."""
        return _levels([self.observation], templates, self.texts)


def _levels(
    observations: Sequence[Observation], templates: Collection[tuple[str, int]], texts: Mapping[int, str]
) -> dict[tuple[str, int], int]:
    """The severity of templates of services: the highest level of their lines, or what the words of their text say."""
    out = {key: failure_in(texts.get(key[1], "")) for key in templates}
    for counts in (one.counts for one in observations if out):
        for row in zip(*(counts[name].to_list() for name in ("service", "template", "severity")), strict=True):
            if row[:2] in out:
                out[row[:2]] = max(out[row[:2]], row[2])
    return out
