"""Follow what is anomalous until it is over: what a service was like before is fixed when it begins."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import timedelta
from functools import cached_property
from typing import Any

import numpy as np

from exporter.detection.contrast import SEVERE, TAUGHT, Course, Lines, Signs, taught
from exporter.detection.explanation import text_of
from exporter.detection.leaving import without
from exporter.detection.look import Look
from exporter.detection.past import index as base
from exporter.detection.past.history import RECENT
from exporter.detection.past.index import Placed
from exporter.detection.past.source import Past, Settled
from exporter.detection.rows import EPISODES, Rows, integer
from exporter.detection.view import Detection
from exporter.model import Anomaly, Contribution, Notice, Severity, Write, stable_key
from exporter.model.times import moment

LEAST = 50.0
"""Lines of what is usual that are counted at least beside those of the minutes before."""

MAX_SIGNS = 3
"""Templates that are told of what is usual now."""

BEFORE, FIRST, COURSE = range(3)
"""Parts of an episode, a row each: the first never changes, the second only while it is taught, the third always."""


@dataclass(frozen=True)
class Episode:
    """A service that is not as it was. Moments are the starts of windows, in seconds.

    before: lines of each template in the minutes before it, and as many again of all that is usual.
    first: the first windows that have lines. failing: their templates that speak of a failure; news: the new of these.
    spoke: the last window that had lines.
    told: whether it was told that it lasts; failed: and that something of it speaks of a failure. ended: the window at
    which it was over; 0 while it goes on.
    """

    since: int
    before: Lines
    first: tuple[tuple[int, Lines], ...] = ()
    failing: frozenset[int] = frozenset()
    news: frozenset[int] = frozenset()
    course: Course = field(default_factory=lambda: Course(0, 0))
    spoke: int = 0
    told: bool = False
    failed: bool = False
    ended: int = 0

    @cached_property
    def signs(self) -> Signs | None:
        """What tells it from before."""
        return taught(self.before, self.first, self.news, self.failing)[0] if self.first else None

    @property
    def fails(self) -> bool:
        """Whether what came speaks of a failure: such a state is never the new normal by itself."""
        signs = self.signs.changed if self.signs else frozenset()
        came = [(template, count) for _, lines in self.first for template, count in lines.items() if template in signs]
        failing = sum(count for template, count in came if template in self.failing)
        return failing > 0 and failing >= SEVERE * sum(count for _, count in came)

    @property
    def is_no_failure(self) -> bool:
        """Whether it was told as a failure, and proved to be a change beside which something failed."""
        return self.failed and not self.ended and len(self.first) >= TAUGHT and not self.fails

    @property
    def differs(self) -> Sequence[tuple[int, float, float]]:
        """The templates that are its signs, the strongest first: their lines in its first windows, and as before."""
        lines: dict[int, float] = {}
        for _, window in self.first:
            lines = {template: lines.get(template, 0) + window.get(template, 0) for template in {*lines, *window}}
        share = sum(lines.values()) / max(sum(self.before.values()), 1.0)
        signs = self.signs.changed if self.signs else frozenset()
        found = [(one, float(lines.get(one, 0)), round(self.before.get(one, 0.0) * share, 2)) for one in signs]
        return sorted(found, key=lambda row: (-abs(row[1] - row[2]), row[0]))

    @property
    def shows(self) -> bool:
        """Whether its last window shows it."""
        return self.course.shown == self.spoke

    def after(self, window: int, now: Lines, failing: frozenset[int], news: frozenset[int]) -> Episode:
        """With one more window of the service that has lines, and which of its templates speak of a failure."""
        if len(self.first) < TAUGHT:
            failing, news = self.failing | failing, self.news | news
            more = replace(self, spoke=window, first=(*self.first, (window, now)), failing=failing, news=news)
            return replace(more, course=taught(more.before, more.first, news, failing)[1])
        course = self.course.after(window, self.signs.ratio(now)) if self.signs else self.course
        return self.having(spoke=window, course=course)

    def having(self, **changes: Any) -> Episode:
        """With other numbers and the same signs, which take a while to find."""
        more = replace(self, **changes)
        more.__dict__["signs"] = self.signs
        return more

    def returned(self) -> Episode:
        """It goes on after it was thought to be over."""
        course = replace(self.course, evidence=0.0, below=0)
        return self.having(course=course, ended=0, told=False, failed=False)

    def renamed(self, moves: Mapping[int, int]) -> Episode:
        """Merged templates are one."""
        first = tuple((start, _merged(lines, moves)) for start, lines in self.first)
        failing, news = (frozenset(moves.get(one, one) for one in known) for known in (self.failing, self.news))
        return replace(self, before=_merged(self.before, moves), first=first, failing=failing, news=news)

    def changed(self, old: Episode | None) -> Iterator[tuple[int, str]]:
        """The bodies of its rows, by part, as far as they are not those of an older state of it."""
        if old is None or old.before is not self.before or old.since != self.since:
            yield BEFORE, _dumps({"since": self.since, "before": self.before})
        if old is None or old.first is not self.first or old.failing != self.failing or old.news != self.news:
            yield FIRST, _dumps({"first": self.first, "failing": sorted(self.failing), "news": sorted(self.news)})
        own = ("spoke", "told", "failed", "ended")
        yield COURSE, _dumps({"course": asdict(self.course), **{name: getattr(self, name) for name in own}})

    def learnt_before(self, window: int) -> frozenset[int]:
        """Of what it is known by, the templates that it had before a window."""
        earlier = {template for start, lines in self.first if start < window for template in lines}
        return self.signs.templates & earlier if self.signs else frozenset()

    @classmethod
    def of(cls, parts: Sequence[str]) -> Episode:
        """As its rows say."""
        body: dict[str, Any] = {}
        for part in parts:
            body |= json.loads(part)
        first = tuple((start, _lines(lines)) for start, lines in body["first"])
        whole = {"before": _lines(body["before"]), "first": first}
        whole |= {name: frozenset(body[name]) for name in ("failing", "news")}
        return cls(**{**body, **whole, "course": Course(**body["course"])})


class Episodes:
    """What goes on in the services of a source."""

    def __init__(self, past: Past) -> None:
        self._past = past
        self._open: dict[str, Episode] = {}
        """By service, also what was over only lately: the last windows together still show it."""

    def take(self, look: Look, found: Sequence[Anomaly]) -> Detection:
        """A window that was read: its anomalies, each with whether it shows what it belongs to and whether that lasts;
        and what is over now, or usual from now on. With the rows of what changed."""
        if look.settled:
            return Detection(tuple(found))
        before = dict(self._open)
        loud = {one.service: one for one in found if one.kind == "window" and one.service in look.services}
        for service in sorted({*self._open, *loud}):
            self._follow(look, service, loud.get(service))
        marked = [self._marked(look, one) if one is loud.get(one.service) else one for one in found]
        ending = [(name, one) for name, one in sorted(self._open.items()) if self._ends(look, one)]
        usual = [self._adopted(look, name, one) for name, one in ending if one.told and self._is_normal(look, one)]
        over = [self._over(look, name) for name, _ in ending]
        changes = [self._only_changed(look, name, one) for name, one in sorted(self._open.items()) if one.is_no_failure]
        anomalies = (*marked, *(one for one in over if one), *changes)
        return Detection(anomalies, writes=self._rows(before), notices=tuple(usual))

    def withheld(self, settled: Settled) -> Settled:
        """A window as it is learnt from: without what tells failures that last in it from before, so that they do not
        become usual, and are found when they come again. Each of its templates is learnt from one window, for of what
        was never seen one stray line would be told; more of them would make it usual, and what it pushes aside rare.
        How strange these windows were is not learnt."""
        lasting = {
            service: one
            for service, one in sorted(self._open.items())
            if one.since <= settled.window <= one.course.shown and one.signs and one.fails
        }
        signs = {service: one.learnt_before(settled.window) for service, one in lasting.items()}
        if settled.observation is None or not lasting:
            return settled
        return replace(settled, observation=without(settled.observation, signs), failing=frozenset(lasting))

    def _follow(self, look: Look, service: str, anomaly: Anomaly | None) -> None:
        """Begin an episode, or go on with one."""
        known, now = self._open.get(service), self._lines(look, service)
        if known is not None and known.ended:
            known = self._back(look, service, known, now, anomaly)
        if known is None and anomaly is not None and self._may_begin(look, service):
            known = Episode(look.window, self._before(look, service))
        if known is not None and not known.ended and now:
            self._open[service] = known.after(look.window, now, *self._failing(look, service, now))

    def _back(self, look: Look, service: str, ended: Episode, now: Lines, anomaly: Anomaly | None) -> Episode | None:
        """What was over goes on; or it stays over, and is forgotten, or another begins."""
        if self._is_gone(look, ended):
            # What it is known by is left out of its windows until they are learnt from.
            if ended.course.shown <= self._past.settled:
                del self._open[service]
            return None
        shows = ended.signs is not None and now and ended.signs.ratio(now) > 0
        if anomaly is not None and shows:
            return ended.returned()
        if anomaly is not None and not _echoes(anomaly):
            del self._open[service]
            return None
        return ended

    def _is_gone(self, look: Look, one: Episode) -> bool:
        """Whether it has been over for so long that the last windows together show nothing of it."""
        return one.ended > 0 and look.window >= one.ended + (RECENT - 1) * self._past.step

    def _may_begin(self, look: Look, service: str) -> bool:
        return look.seasoned and self._past.services.is_known(service, self._past.settings.known_for)

    def _marked(self, look: Look, anomaly: Anomaly) -> Anomaly:
        """Whether it shows what it belongs to, and whether that lasts."""
        known = self._open.get(anomaly.service)
        if known is None or known.signs is None or self._is_gone(look, known):
            return anomaly
        if known.ended:
            return replace(anomaly, shows=False)
        speaks = anomaly.severity >= Severity.WARN
        # Whether it is a failure is known when what it is like is.
        may_fail = known.fails or len(known.first) < TAUGHT
        failed = known.failed or (may_fail and (known.fails or speaks))
        self._open[anomaly.service] = known.having(told=True, failed=failed)
        # A failure of a service that stays odd ends by itself, and not when that does.
        return replace(anomaly, shows=known.shows, lasts=known.fails or not speaks, fails=may_fail)

    def _ends(self, look: Look, one: Episode) -> bool:
        """Whether it is over: as before, silent for long, without a sign to know it by, or the new normal."""
        if one.ended:
            return False
        if one.signs is None:
            return len(one.first) >= TAUGHT
        adopted = self._past.settings.adopt_after // timedelta(seconds=1)
        return one.course.over or self._is_normal(look, one) or look.window - one.spoke >= adopted

    def _is_normal(self, look: Look, one: Episode) -> bool:
        """Whether it has lasted for so long, without a word of failure, that it is a new level."""
        return look.window - one.since >= self._past.settings.adopt_after // timedelta(seconds=1) and not one.fails

    def _over(self, look: Look, service: str) -> Anomaly | None:
        """Say when it ended."""
        one = self._open.pop(service)
        if one.signs is not None and not self._is_normal(look, one):
            self._open[service] = one.having(ended=look.window)
        return self._calm(look, service, one) if one.told else None

    def _only_changed(self, look: Look, service: str, one: Episode) -> Anomaly:
        """Say that a failure is over, though the service stays as it is: its first windows looked like one. That it is
        as before is said once more when it is."""
        self._open[service] = one.having(failed=False)
        return self._calm(look, service, one)

    def _calm(self, look: Look, service: str, one: Episode) -> Anomaly:
        gap = 0 if one.course.steady else max(one.course.gap, 1)
        return Anomaly(
            source=self._past.source,
            service=service,
            window=moment(one.course.shown),
            duration=self._past.duration,
            kind="calm",
            score=0.0,
            threshold=self._past.settings.window_score,
            severity=0,
            contributions=(),
            reached=look.start + self._past.duration,
            gap=timedelta(seconds=gap),
        )

    def _adopted(self, look: Look, service: str, one: Episode) -> Notice:
        """What is usual from now on."""
        findings = tuple(
            Contribution("template", text_of(look.texts, template), now, usual, templates=(template,))
            for template, now, usual in one.differs[:MAX_SIGNS]
        )
        key = stable_key(f"adopted/{self._past.source}/{service}/{one.since}")
        return Notice(f"N{key:016x}"[:12], "adopted", self._past.source, service, moment(one.since), findings)

    def _lines(self, look: Look, service: str) -> dict[int, int]:
        return _templates(look.past.history.index, look.placed, service)

    def _failing(self, look: Look, service: str, now: Lines) -> tuple[frozenset[int], frozenset[int]]:
        """The templates of a window that speak of a failure, and the new of these."""
        levels = look.levels({(service, template) for template in now})
        failing = frozenset(template for (_, template), level in levels.items() if level >= Severity.WARN)
        return failing, failing & look.new_templates.get(service, {}).keys()

    def _before(self, look: Look, service: str) -> Lines:
        """The minutes before, and as much of all that is usual."""
        history = self._past.history
        index, total = history.index, history.total()
        number = index.number(service)
        own = np.flatnonzero((index.service == number) & (index.kind == base.TEMPLATE))
        sums = {int(index.first[place]): float(total[place, base.SUM]) for place in own.tolist()}
        near: dict[int, float] = {}
        for one in self._past.before(look.window):
            for template, count in _templates(index, one, service).items():
                near[template] = near.get(template, 0.0) + count
        lines, whole = max(sum(near.values()), LEAST), sum(sums.values()) or 1.0
        mixed = {t: round(near.get(t, 0.0) + sums.get(t, 0.0) / whole * lines, 6) for t in sorted({*near, *sums})}
        return {template: count for template, count in mixed.items() if count}

    # --- Rows --------------------------------------------------------------------------------------

    def _rows(self, before: Mapping[str, Episode]) -> tuple[Write, ...]:
        """What differs from before; an episode that is forgotten leaves none."""
        put, gone = [], []
        for service in sorted(self._open.keys() | before.keys()):
            old, new = before.get(service), self._open.get(service)
            if new is None:
                gone += [(service, part) for part in (BEFORE, FIRST, COURSE)]
            elif new is not old:
                put += [(service, part, body) for part, body in new.changed(old)]
        source = self._past.source
        return (*EPISODES.put(source, put), *EPISODES.delete(source, gone))

    def rename(self, moves: Mapping[int, int]) -> tuple[Write, ...]:
        """Templates (keys) were merged into others (values)."""
        before = dict(self._open)
        self._open = {service: one.renamed(moves) for service, one in self._open.items()}
        return self._rows(before)

    def load(self, rows: Rows) -> None:
        """Rows as they were written."""
        found: dict[str, dict[int, str]] = {}
        for _, service, part, body in rows.get(EPISODES.name, ()):
            found.setdefault(str(service), {})[integer(part)] = str(body)
        self._open = {name: Episode.of([parts[part] for part in sorted(parts)]) for name, parts in found.items()}


def _echoes(anomaly: Anomaly) -> bool:
    """Whether only the last windows together are strange, or nothing by itself, and not this one."""
    return all(one.since is not None and one.since < anomaly.window for one in anomaly.contributions)


def _templates(index: base.Index, placed: Placed, service: str) -> dict[int, int]:
    """Lines of each template of a service in a window."""
    number = index.number(service)
    own = (index.service[placed.places] == number) & (index.kind[placed.places] == base.TEMPLATE)
    out: dict[int, int] = {}
    for template, count in zip(index.first[placed.places[own]].tolist(), placed.count[own].tolist(), strict=True):
        out[template] = out.get(template, 0) + count
    return out


def _merged(lines: Lines, moves: Mapping[int, int]) -> Lines:
    out: dict[int, float] = {}
    for template, count in lines.items():
        survivor = moves.get(template, template)
        out[survivor] = out.get(survivor, 0) + count
    return out


def _lines(body: Mapping[str, Any]) -> Lines:
    return {int(template): count for template, count in body.items()}


def _dumps(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))
