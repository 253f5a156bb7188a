"""Values of lines: a code, a duration, a word or a kind of line has another share of its place than it usually has."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import numpy.typing as npt
import polars as pl

from exporter.detection import valued
from exporter.detection.explanation import text_of
from exporter.detection.look import Look
from exporter.detection.observation import Observation
from exporter.detection.past import index as base
from exporter.detection.past.history import HOUR
from exporter.detection.past.index import Bools, Ints, Placed
from exporter.detection.past.places import passed, varying, without
from exporter.detection.past.source import Past, Settled
from exporter.detection.scoring.calibration import MIN_P
from exporter.detection.scoring.shares import Sums, Usual, tail
from exporter.detection.view import Account, Detection, Opinion, Reason, Sight, View
from exporter.model import Contribution, Notice, Severity, failure_in, stable_key

Floats = npt.NDArray[np.float64]

UNLIKELY = 1e-4
"""What is less likely at its place is told, and so not learnt: else a failure would be usual when it comes again."""

ADOPT_HOURS, ADOPT_LEAST = 6, 4
"""The median level of so many hours, if so many of them are known, is the new normal where it is higher."""

RECURS_DAYS = 2
"""Earlier days that must have had this hour before what recurs at it is no news."""

MIN_PLACE_WINDOWS = 10
"""Windows in which a place had lines before its shares mean anything."""

SLOWER = 2
"""Doublings beyond what one in ten and one in a hundred lines take: ordinary bursts slow down by four, and an edge so
far away is not passed by all when all become slower."""

LINES_A_VALUE = 20
"""Lines for each word that was seen at a place, on average, from which it is one of words that tell something apart."""

MOST_PASSING = 0.05
"""Share of the windows of its words that may be of words seen in one window only: others come and go, as names do."""

EXCHANGED = 0.9
"""Share of a new word from which it stands instead of the old ones, and not beside them: a release writes otherwise."""

NOTABLE = 1e-5
"""What is less likely among all services is noticed, though it is no failure."""

VIEWS = 2
"""Each place is judged alone and over the last windows."""


@dataclass(frozen=True)
class Tested:
    """Numbers of a window that were judged, one row each: lines with a value, and of how many lines.

    p: how likely so many are, of the window and of the last windows together. `usual` is the share expected.
    """

    place: Ints
    service: Ints
    x: Floats
    n: Floats
    usual: Floats
    known: Floats
    """Lines of the past that had it."""
    alone: Floats
    together: Floats
    refused: Bools
    """Requests that were refused (4xx) say something of who asks: they are noticed, and no failure."""

    @property
    def p(self) -> Floats:
        """The less likely of both counts."""
        return np.minimum(self.alone, self.together)


class Values(View):
    """Shares of codes, durations, words and kinds of lines, of each family of templates and of the service."""

    name = "values"
    kinds = ("status", "duration", "value")

    def __init__(self, past: Past) -> None:
        super().__init__(past)
        self._last: tuple[Look, Tested] | None = None

    # --- A window that may still change ------------------------------------------------------------

    def judge(self, look: Look) -> Sight:
        tested = self._tested(look)
        self._last = look, tested
        opinions = {}
        chance, failing = tested.p, np.flatnonzero(~tested.refused)
        failing = failing[np.argsort(tested.service[failing], kind="stable")]
        numbers, first = np.unique(tested.service[failing], return_index=True)
        for number, own in zip(numbers.tolist(), np.split(failing, first[1:]), strict=False):
            service = self.past.history.index.services[number]
            # Of so many tests one is as unlikely by chance (Bonferroni), and the other views look, too.
            p = 2 * VIEWS * len(own) * chance[own]
            told = own[p <= 1 - self.past.settings.window_score]
            if len(told):
                still = (
                    not look.seasoned or self.past.services.windows(service) < self.past.settings.min_service_windows
                )
                score = 0.0 if still else float(round(1.0 - min(max(float(p.min()), MIN_P), 1.0), 9))
                opinions[service] = Opinion(score, partial(self._account, look, tested, told))
        return Sight(opinions)

    def note(self, look: Look, observation: Observation) -> Observation:
        """Mark what is unlikely: when the window settles, it is not learnt."""
        if self._last is None or self._last[0] is not look:
            return observation
        tested, values = self._last[1], observation.values
        index = self.past.history.index
        for flag, p in ((valued.UNLIKELY, tested.alone), (valued.UNLIKELY_OF_TEN, tested.together)):
            rows = tested.place[p < UNLIKELY].tolist()
            if rows:
                values = valued.flagged(values, [_group(index.keys[place]) for place in rows], flag)
        if noticed := self._refused(look, tested):
            values = valued.flagged(values, [_group(index.keys[tested.place[row]]) for row in noticed], valued.NOTICED)
        return replace(observation, values=values)

    def take(self, look: Look, sight: Sight) -> Detection:
        if self._last is None or self._last[0] is not look or look.settled:
            return Detection()
        tested = self._last[1]
        refused = self._refused(look, tested)
        if not refused:
            return Detection()
        before = [one for start, one in self.past.pending.items() if look.window - HOUR <= start < look.window]
        told = {group for one in before for group in _groups(one.values, valued.NOTICED)}
        index = self.past.history.index
        fresh = [row for row in refused if _group(index.keys[tested.place[row]]) not in told]
        return Detection(notices=tuple(self._notice(look, tested, row) for row in fresh))

    def _refused(self, look: Look, tested: Tested) -> list[int]:
        """Of whole services, shares of refused requests that are as unlikely as a failure would have to be."""
        if not look.seasoned:
            return []
        whole = self.past.history.index.first[tested.place] == valued.SERVICE
        unlikely = 2 * VIEWS * tested.p * len(look.services) < NOTABLE
        return np.flatnonzero(tested.refused & whole & unlikely).tolist()

    def _notice(self, look: Look, tested: Tested, row: int) -> Notice:
        finding, _ = self._finding(look, tested, row, 0, "")
        service = self.past.history.index.services[int(tested.service[row])]
        key = stable_key(f"refused/{self.past.source}/{service}/{look.start.isoformat()}")
        return Notice(f"N{key:016x}"[:12], "refused", self.past.source, service, look.start, (finding,))

    def _tested(self, look: Look) -> Tested:
        history = self.past.history
        # What is looked up of the past may bring numbers that the index has not had: only then is it as long as it is.
        span, floor = look.spans[1], self._level(look.window)
        index, total, placed = history.index, history.total(), look.placed
        new = _new_families(look)
        now = without(index, new, np.bincount(placed.places, placed.count, len(index)).astype(float))
        candidates = np.unique(placed.places[_is_value(index.kind[placed.places])])
        sums, whole = total[candidates].astype(float), total[index.against[candidates]].astype(float)
        telling = self._telling(look, candidates, total)
        for row, before in self._beside(look, candidates, whole).items():
            whole[row], telling[row] = before, True
        judged = (whole[:, base.WINDOWS] >= MIN_PLACE_WINDOWS) & telling
        place, sums, whole = candidates[judged], sums[judged], whole[judged]
        past = Sums(
            n=whole[:, base.SUM],
            nn=whole[:, base.SQUARES],
            x=sums[:, base.SUM],
            xx=sums[:, base.SQUARES],
            xn=sums[:, base.CROSS],
            had=sums[:, base.WINDOWS],
        )
        usual = Usual.of(past, _long(floor, len(index))[place])
        x, n = now[place], now[index.against[place]]
        alone = tail(x, n, usual.mean, usual.spread)
        last = [without(index, new, self._learnt(one)) for one in span]
        tens, lines = self._together(last, place, usual)
        together = tail(tens, lines, usual.mean, usual.spread)
        # A window that ends what was unusual says nothing of it.
        together[x <= n * usual.mean] = 1.0
        alone[~self._alone(place, total)] = 1.0
        edges = passed(index, total[:, base.SUM])
        alone[self._as_fast(place, now, edges)] = 1.0
        together[self._as_fast(place, np.sum(last, axis=0), edges)] = 1.0
        words = index.kind[place] == base.VALUED + 2 * valued.WORDS + 1
        fresh: Ints = np.flatnonzero(words & (past.x == 0))
        if len(fresh):
            released = fresh[self._released(look, place[fresh], (x > EXCHANGED * n)[fresh])]
            alone[released] = together[released] = 1.0
        refused = (index.kind[place] == base.VALUED + 2 * valued.CODES + 1) & (index.second[place] == valued.REFUSED)
        return Tested(place, index.service[place], x, n, usual.mean, past.x, alone, together, np.asarray(refused))

    def _released(self, look: Look, places: Ints, exchanged: Bools) -> Bools:
        """Which of these new words are of a release, and no failure: lines are written otherwise where one stands
        instead of all others (`exchanged`), or where kinds of lines that are new brought it to the whole service."""
        known = _words_of(look)
        out = np.zeros(len(places), np.bool_)
        for number, place in enumerate(places.tolist()):
            key = self.past.history.index.keys[place]
            template, text = known.get(key, (0, ""))
            brought = key[2] == valued.SERVICE and template in look.new_templates.get(key[0], {})
            out[number] = (exchanged[number] or brought) and not failure_in(_bare(text))
        return out

    def _beside(self, look: Look, candidates: Ints, whole: Floats) -> dict[int, Ints]:
        """Of new words at places that are none yet, for one word stood there always: the sums of all lines before."""
        index, total = self.past.history.index, self.past.history.total()
        words = index.kind[candidates] == base.VALUED + 2 * valued.WORDS + 1
        out: dict[int, Ints] = {}
        for row in np.flatnonzero(words & (whole[:, base.WINDOWS] < MIN_PLACE_WINDOWS)).tolist():
            service, _, family, value = index.keys[candidates[row]]
            new = look.new_templates.get(service, {})
            templates = self._templates(look, service, family, value >> 32)
            if templates.get(value & 0xFFFFFFFF) in new:
                olds = [(service, base.TEMPLATE, one, 0) for one in set(templates.values()) - new.keys()]
                known = [place for key in olds if (place := index.place(key)) is not None]
                out[row] = total[[*known, candidates[row]]].sum(axis=0)
        return out

    def _templates(self, look: Look, service: str, family: int, place: int) -> dict[int, int]:
        """The template of each word at a place of this window."""
        values = look.observation.values
        group = (service, family, valued.WORDS, place)
        own = values.filter(*(pl.col(name) == one for name, one in zip(valued.GROUP, group, strict=True)))
        return dict(own.select("value", "template").iter_rows())

    def _learnt(self, one: Placed) -> Floats:
        """By place, the lines of a window, whether they are learnt from or not."""
        index = self.past.history.index
        return np.asarray(np.bincount(index.learnt[one.places], one.count, len(index)), float)

    def _together(self, last: Sequence[Floats], place: Ints, usual: Usual) -> tuple[Floats, Floats]:
        """Lines with each value and of its place in the last windows, each window bounded."""
        index = self.past.history.index
        tens, lines = np.zeros(len(place)), np.zeros(len(place))
        for count in last:
            x, n = count[place], count[index.against[place]]
            tens += usual.bounded(x, n)
            lines += n
        return tens, lines

    def _level(self, window: int) -> Floats:
        """By place, what the mean is at least: the level that was adopted, and what recurs at this hour."""
        history = self.past.history
        lately, like = history.last_hours(ADOPT_HOURS), history.hours_like(window)
        floors = [history.level(lately, ADOPT_LEAST), history.level(like, RECURS_DAYS)]
        floor = np.zeros(max(map(len, floors)))
        for one in floors:
            floor[: len(one)] = np.maximum(floor[: len(one)], one)
        return floor

    def _telling(self, look: Look, places: Ints, total: Ints) -> Bools:
        """Which numbers mean something where they rise."""
        index = self.past.history.index
        kind, value = index.kind[places] - base.VALUED, index.second[places] & 0xFFFFFFFF
        codes = (kind == 2 * valued.CODES + 1) & np.isin(value, (valued.NOT_ZERO, valued.REFUSED, valued.BROKEN))
        times = (kind == 2 * valued.TIMES + 1) & np.isin(value, range(valued.EDGES))
        edges = self._edges(total)
        far = np.any(value[:, None] == edges[index.against[places]], axis=1)
        words = (kind == 2 * valued.WORDS + 1) & self._deciding(total)[index.against[places]]
        failing = {key for key, (_, text) in _words_of(look).items() if failure_in(_bare(text))}
        spoken = np.array([index.keys[place] in failing for place in places.tolist()], np.bool_)
        words &= varying(index, total)[index.against[places]] | spoken
        return np.asarray(codes | (times & far) | words)

    def _alone(self, places: Ints, total: Ints) -> Bools:
        """Which are judged in one window: of durations only what is beyond nearly all of the past."""
        index = self.past.history.index
        times = index.kind[places] == base.VALUED + 2 * valued.TIMES + 1
        last = self._edges(total)[index.against[places], 2]
        return np.asarray(~times | ((index.second[places] & 0xFFFFFFFF) >= last))

    def _as_fast(self, place: Ints, counts: Floats, usual: Ints) -> Bools:
        """Which of these are durations of lines that, by the quantile that is told of them, take no longer than usual:
        what is unusual of them could not be told in a true sentence. `usual` is that of the past (`passed`)."""
        index = self.past.history.index
        times = index.kind[place] == base.VALUED + 2 * valued.TIMES + 1
        group = index.against[place]
        return np.asarray(times & (passed(index, counts)[group] <= usual[group]))

    def _edges(self, total: Ints) -> Ints:
        """By place of all lines that have a duration, the edges at which it is judged: above half of the past, and far
        above nine of ten and ninety-nine of a hundred."""
        index = self.past.history.index
        rows: Ints = np.flatnonzero(index.kind == base.VALUED + 2 * valued.TIMES + 1)
        edge, group = index.second[rows] & 0xFFFFFFFF, index.against[rows]
        share = total[rows, base.SUM] / np.maximum(total[group, base.SUM], 1)
        highest = np.zeros(len(index), np.int64)
        np.maximum.at(highest, group, np.where(total[rows, base.WINDOWS] > 0, edge + 1, 0))
        out = np.stack([highest] * 3, axis=1)
        for column, (most, beyond) in enumerate(((0.5, 0), (0.1, SLOWER), (0.01, SLOWER))):
            chosen = share <= most
            np.minimum.at(out[:, column], group[chosen], edge[chosen])
            out[:, column] += beyond
        return out

    def _deciding(self, total: Ints) -> Bools:
        """By place of all lines of words: whether they are few, come again, and so tell lines apart."""
        index = self.past.history.index
        rows: Ints = np.flatnonzero(index.kind == base.VALUED + 2 * valued.WORDS + 1)
        had, group = total[rows, base.WINDOWS], index.against[rows]
        length = len(index)
        words = np.bincount(group[had > 0], minlength=length)
        passing = np.bincount(group[had == 1], minlength=length)
        windows = np.bincount(group, had, length)
        lines = total[:, base.SUM]
        return np.asarray(
            (words > 0)
            & (words <= valued.MOST_WORDS)
            & (lines >= LINES_A_VALUE * words)
            & (passing <= MOST_PASSING * windows)
        )

    # --- Why ---------------------------------------------------------------------------------------

    def _account(self, look: Look, tested: Tested, rows: Ints) -> Account:
        reasons = list(self._reasons(look, tested, rows))
        severity = max((level for _, level in reasons), default=0)
        return Account([reason for reason, _ in reasons], witnesses=("values",), severity=severity)

    def _reasons(self, look: Look, tested: Tested, rows: Ints) -> Iterator[tuple[Reason, int]]:
        index = self.past.history.index
        said = _said(look.observation.values, index.services[int(tested.service[rows[0]])])
        for row in rows[np.argsort(tested.p[rows], kind="stable")].tolist():
            key = index.keys[tested.place[row]]
            template, word = said.get(key, (0, ""))
            finding, level = self._finding(look, tested, row, template, word)
            size = float(np.sqrt(-2 * np.log(max(tested.p[row], 1e-300))))
            yield Reason(size, finding), level

    def _finding(self, look: Look, tested: Tested, row: int, template: int, word: str) -> tuple[Contribution, int]:
        key = self.past.history.index.keys[tested.place[row]]
        sort, value = (key[1] - base.VALUED) // 2, key[3] & 0xFFFFFFFF
        whole = key[2] == valued.SERVICE and sort in (valued.CODES, valued.TIMES)
        text = valued.ALL_LINES if whole else text_of(look.texts, template)
        x, n = float(tested.x[row]), float(tested.n[row])
        expected = round(float(tested.usual[row] * n), 3) if tested.known[row] else 0.0
        lines: Callable[..., Contribution] = partial(
            Contribution, observed=x, expected=expected, templates=(template,) if template else (), among=int(n)
        )
        if sort == valued.CODES:
            name = {valued.BROKEN: "status 5xx", valued.REFUSED: "status 4xx"}.get(value, "code other than 0")
            return lines("status", f"{name} of {text}"), int(Severity.ERROR)
        if sort == valued.TIMES:
            span = look.spans[int(tested.together[row] < tested.alone[row])]
            return self._slow(span, key, template, text), int(Severity.WARN)
        return lines("value", f"{word} in {text}"), failure_in(_bare(word))

    def _slow(self, span: Sequence[Placed], key: base.Key, template: int, text: str) -> Contribution:
        """The 95 % quantile of durations, now and before, by the edges that one in twenty passes."""
        index, total = self.past.history.index, self.past.history.total()
        group = index.against[index.place(key)]
        counts = np.sum([self._learnt(one) for one in span], axis=0), total[:, base.SUM]
        now, usual = (float(2 ** (passed(index, each)[group] + 0.5) / 1000) for each in counts)
        return Contribution("duration", text, now, usual, "s", templates=(template,) if template else ())

    # --- A window that has settled -----------------------------------------------------------------

    def withhold(self, settled: Settled, later: Sequence[Observation]) -> Observation | None:
        """What was told of a window, alone or among those that followed, is marked to be left out of the past."""
        if settled.observation is None or settled.observation.values.is_empty():
            return None
        own = settled.observation.values
        told = _groups(own, valued.UNLIKELY | valued.UNLIKELY_OF_TEN)
        told |= {group for one in later for group in _groups(one.values, valued.UNLIKELY_OF_TEN)}
        if not told:
            return None
        return replace(settled.observation, values=valued.flagged(own, sorted(told), valued.LEFT))


def _new_families(look: Look) -> set[tuple[str, int]]:
    """Kinds of lines that are new and speak of no failure: most are a release, and take their own time."""
    index = look.past.history.index
    fresh = {index.keys[place][::2] for place in np.flatnonzero(look.harmless).tolist()}
    values = look.observation.values
    timed = (pl.col("kind") == valued.TIMES) & (pl.col("value") == valued.ALL) & (pl.col("family") != valued.SERVICE)
    rows = values.filter(timed).select("service", "family", "template").iter_rows() if fresh else ()
    return {(service, family) for service, family, template in rows if (service, template) in fresh}


def _words_of(look: Look) -> dict[base.Key, tuple[int, str]]:
    """Of each word of the window, the oldest template that has it, and how it is said."""
    said = look.observation.values.filter((pl.col("kind") == valued.WORDS) & (pl.col("value") != valued.ALL))
    kind = base.VALUED + 2 * valued.WORDS + 1
    columns = said.select("service", "family", "place", "value", "template", "said").iter_rows()
    return {
        (service, kind, family, (place << 32) | value): (template, text)
        for service, family, place, value, template, text in columns
    }


def _bare(said: str) -> str:
    """A word without the key that it stands at."""
    return said.partition(": ")[2] or said


def _long(values: Floats, length: int) -> Floats:
    """With zeros for the places that came since."""
    return np.concatenate([values, np.zeros(length - len(values))])


def _is_value(kind: Ints) -> Bools:
    return np.asarray((kind >= base.VALUED) & (kind < base.LEFT_OUT) & ((kind - base.VALUED) % 2 == 1))


def _group(key: base.Key) -> tuple[str, int, int, int]:
    """Of a number, what it is a share of, as the values of a window name it."""
    service, kind, first, second = key
    sort = (kind - base.VALUED) // 2
    return service, first, sort, second >> 32


def _groups(values: pl.DataFrame, flags: int) -> set[tuple[str, int, int, int]]:
    marked = values.filter((pl.col("flags") & flags) != 0)
    return set(marked.select(valued.GROUP).iter_rows()) if len(marked) else set()


def _said(values: pl.DataFrame, service: str) -> dict[base.Key, tuple[int, str]]:
    """Of a service, a template of each number, and how its word is said."""
    out: dict[base.Key, tuple[int, str]] = {}
    columns = ("family", "kind", "place", "value", "template", "said")
    own = values.filter((pl.col("service") == service) & (pl.col("value") != valued.ALL))
    for family, sort, place, value, template, said in own.select(columns).iter_rows():
        out[service, base.VALUED + 2 * sort + 1, family, (place << 32) | value] = template, said
    return out
