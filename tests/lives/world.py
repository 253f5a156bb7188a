"""A made platform that logs: services of 1 to 60 lines a minute that call each other, heartbeats, jobs, a rhythm of
days and weeks, and what happens to it. The same seed makes the same lines."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import polars as pl

from tests.lives import words

Floats = npt.NDArray[np.float64]

MINUTE, HOUR, DAY = 60, 3600, 86_400
BEGIN = 20_500 * DAY - 2 * DAY
"""When every platform begins, a Saturday, in seconds since the epoch."""

DEBUG, INFO, WARN, ERROR = 5, 9, 13, 17

SCHEMA = {"timestamp": pl.Int64(), "service": pl.String(), "severity": pl.Int64(), "body": pl.String()}


@dataclass(frozen=True)
class Statement:
    """One text of a service. `rate`: lines a minute on average; `role`: what happens to it in which event."""

    service: str
    severity: int
    bodies: Sequence[str]
    rate: float
    role: str


@dataclass(frozen=True)
class Service:
    """rate: lines a minute on average. calls: the services that it calls; `period`: seconds between its heartbeats."""

    name: str
    rate: float
    calls: tuple[str, ...] = ()
    period: int = 0
    debug: bool = False


@dataclass(frozen=True)
class Event:
    """Something that happens to a service from `start` to `end`, in seconds since the platform began.

    kind: fails, known (fails with a text that it has now and then), signs (at `moments`), shift, replaced, renamed,
    debug_on, debug_off, format, silent; silent without a service is the whole source.
    share: of the calls that fail; of a shift the factor. `text` chooses what it says.
    """

    kind: str
    service: str
    start: float
    end: float = math.inf
    share: float = 0.4
    text: int = 0
    moments: tuple[float, ...] = ()


@dataclass
class World:
    """Services and what they say; `lines` makes what is logged between two moments."""

    seed: int
    services: tuple[Service, ...]
    events: tuple[Event, ...] = ()
    statements: list[Statement] = field(default_factory=list)

    def __post_init__(self) -> None:
        for service in self.services:
            self.statements += _statements(service, random.Random(f"{self.seed}/{service.name}"))
        self._usual = len(self.statements)
        for number, event in enumerate(self.events):
            self.statements += self._of_event(event, number)

    def callers(self, name: str) -> tuple[str, ...]:
        """The services that call a service."""
        return tuple(one.name for one in self.services if name in one.calls)

    def lines(self, start: int, end: int) -> pl.DataFrame:
        """Everything between two moments, in whole hours since the platform began, in order of time."""
        parts = [self._hour(hour) for hour in range(start // HOUR, end // HOUR)]
        return pl.concat(parts) if parts else pl.DataFrame(schema=SCHEMA)

    # --- What events add ---------------------------------------------------------------------------

    def _of_event(self, event: Event, number: int) -> list[Statement]:
        chance = random.Random(f"{self.seed}/{event.kind}/{event.service}/{event.text}")
        own = [one for one in self.statements if one.service == event.service]
        noun = words.NOUNS[event.text % len(words.NOUNS)]
        if event.kind in ("fails", "signs"):
            failing = words.FAILS[event.text % len(words.FAILS)]
            added = [(event.service, ERROR, words.variants(failing, noun, "", chance), f"{number}/fails")]
            if event.kind == "fails":
                for caller in self.callers(event.service):
                    said = words.variants(_peer(caller, self.seed), noun, event.service, chance)
                    added.append((caller, WARN, said, f"{number}/named"))
            return [Statement(service, level, bodies, 0.0, role) for service, level, bodies, role in added]
        if event.kind == "replaced":
            olds = [one for one in own if one.role.startswith("does")]
            return [
                Statement(one.service, one.severity, _again(one, self.seed), one.rate, f"{number}/instead/{one.role}")
                for one in olds[::2] + olds[1:2]
            ]
        if event.kind == "renamed":
            return [
                Statement(f"{event.service}-v2", one.severity, one.bodies, one.rate, f"{number}/instead/{one.role}")
                for one in own
            ]
        if event.kind == "format":
            return [
                Statement(one.service, one.severity, words.formatted(one.bodies, one.service), one.rate,
                          f"{number}/instead/{one.role}")
                for one in own
            ]  # fmt: skip
        if event.kind == "debug_on":
            return [
                Statement(event.service, DEBUG, words.variants(text, noun, "", chance), 0.0, f"{number}/debug")
                for text in words.DEBUGS[:3]
            ]
        return []

    # --- Lines -------------------------------------------------------------------------------------

    def _hour(self, hour: int) -> pl.DataFrame:
        chance = np.random.default_rng((self.seed, hour))
        minutes = hour * 60 + np.arange(60)
        rates_alone = np.array([0.0 if "/instead/" in one.role else one.rate for one in self.statements])
        rates = np.outer([_rhythm(minute * MINUTE) for minute in minutes.tolist()], rates_alone)
        self._jobs(rates, minutes)
        for number, event in enumerate(self.events):
            if event.start < (hour + 1) * HOUR and event.end > hour * HOUR:
                self._apply(event, number, rates, minutes)
        # What events add has a chance of its own: what is there without them is the same in every story of a seed.
        usual = self._drawn(rates[:, : self._usual], 0, hour, chance, self._beats(hour, chance))
        added = self._drawn(rates[:, self._usual :], self._usual, hour, np.random.default_rng((self.seed, hour, 1)), [])
        together: pl.DataFrame = pl.concat([usual, added])
        return together.sort("timestamp", maintain_order=True)

    def _drawn(
        self, rates: Floats, first: int, hour: int, chance: np.random.Generator, more: list[tuple[float, int]]
    ) -> pl.DataFrame:
        """Lines of the statements from `first` on, by chance, and some more."""
        counts = chance.poisson(np.maximum(rates, 0.0))
        minute, statement = np.nonzero(counts)
        times = counts[minute, statement]
        minute, statement = np.repeat(minute, times), np.repeat(statement, times) + first
        second = (hour * 60 + minute) * MINUTE + chance.random(len(minute)) * MINUTE
        second = np.concatenate([second, [at for at, _ in more]])
        statement = np.concatenate([statement, [which for _, which in more]]).astype(int)
        which = chance.integers(0, 48, len(second)).tolist()
        chosen = [(self.statements[place], w) for place, w in zip(statement.tolist(), which, strict=True)]
        return pl.DataFrame(
            {
                "timestamp": ((BEGIN + second) * 1e6).astype(np.int64) * 1000,
                "service": [one.service for one, _ in chosen],
                "severity": [one.severity for one, _ in chosen],
                "body": [one.bodies[w % len(one.bodies)] for one, w in chosen],
            },
            schema=SCHEMA,
        )

    def _jobs(self, rates: Floats, minutes: npt.NDArray[np.int64]) -> None:
        """A nightly job, and one an hour."""
        for place, one in enumerate(self.statements):
            if one.role == "nightly":
                rates[:, place] = np.where((minutes % 1440 >= 130) & (minutes % 1440 < 136), one.rate, 0.0)
            elif one.role == "hourly":
                rates[:, place] = np.where(minutes % 60 == 7, one.rate, 0.0)

    def _beats(self, hour: int, chance: np.random.Generator) -> list[tuple[float, int]]:
        """Heartbeats are regular to a few seconds."""
        out = []
        for service in self.services:
            if not service.period:
                continue
            place = next(i for i, one in enumerate(self.statements) if one.service == service.name)
            for number in range(-(-hour * HOUR // service.period), -(-(hour + 1) * HOUR // service.period)):
                at = number * service.period + 7 + chance.random() * 5
                quiet = any(e.kind == "silent" and e.service in ("", service.name) and e.start <= at < e.end
                            for e in self.events)  # fmt: skip
                if not quiet:
                    out.append((at, place))
        return out

    def _apply(self, event: Event, number: int, rates: Floats, minutes: npt.NDArray[np.int64]) -> None:
        """Change the rates of an hour by an event, each minute by the part of it in which it lasts."""
        begin = minutes * MINUTE
        part = np.clip((np.minimum(event.end, begin + MINUTE) - np.maximum(event.start, begin)) / MINUTE, 0.0, 1.0)
        own = {i: one.role for i, one in enumerate(self.statements) if one.service == event.service}
        added = {i: one.role for i, one in enumerate(self.statements) if one.role.startswith(f"{number}/")}
        if event.kind in ("fails", "known"):
            self._fail(event, part, rates, own, added)
        elif event.kind == "signs":
            for moment in event.moments:
                if minutes[0] <= moment // MINUTE <= minutes[-1]:
                    for place in added:
                        rates[int(moment // MINUTE - minutes[0]), place] += 3.0
        elif event.kind == "shift":
            place = next(i for i, role in own.items() if role == "does/0")
            rates[:, place] *= 1 + part * (event.share - 1)
        elif event.kind == "debug_on":
            calls = _of_role(rates, own, "does/0")
            for place in added:
                rates[:, place] += part * calls
        elif event.kind == "debug_off":
            for place in (i for i, role in own.items() if role == "debug"):
                rates[:, place] *= 1 - part
        elif event.kind == "silent":
            gone = [i for i, one in enumerate(self.statements) if event.service in ("", one.service)]
            rates[:, gone] *= (1 - part)[:, None]
        else:
            self._exchange(part, rates, minutes, own, added, number)

    def _fail(self, event: Event, part: Floats, rates: Floats, own: dict[int, str], added: dict[int, str]) -> None:
        calls = _of_role(rates, own, "does/0") + _of_role(rates, own, "does/1")
        failing = part * event.share
        for place, role in own.items():
            if role in ("does/0", "does/1"):
                rates[:, place] *= 1 - failing
            elif event.kind == "known" and role == "rare":
                rates[:, place] += failing * calls
        for place, role in added.items():
            named = role.endswith("named")
            rates[:, place] += failing * calls * (0.7 if named else 1.0)

    def _exchange(
        self,
        part: Floats,
        rates: Floats,
        minutes: npt.NDArray[np.int64],
        own: dict[int, str],
        added: dict[int, str],
        number: int,
    ) -> None:
        """The old texts go, and others come instead."""
        for place, role in own.items():
            if any(one == f"{number}/instead/{role}" for one in added.values()):
                rates[:, place] *= 1 - part
        rhythm = np.array([_rhythm(minute * MINUTE) for minute in minutes.tolist()])
        for place in added:
            rates[:, place] = part * rhythm * self.statements[place].rate


def _of_role(rates: Floats, own: dict[int, str], role: str) -> Floats:
    return np.asarray(sum(rates[:, place] for place, one in own.items() if one == role) + np.zeros(len(rates)))


def _rhythm(second: float) -> float:
    """Four times as much at two in the afternoon as at two at night, less at weekends."""
    weekend = (second // DAY) % 7 < 2
    return (1 + 0.6 * math.cos((second % DAY - 14 * HOUR) / DAY * 2 * math.pi)) * (0.6 if weekend else 1.0)


def _peer(caller: str, seed: int) -> str:
    return words.NAMES_PEER[random.Random(f"{seed}/{caller}/peer").randrange(len(words.NAMES_PEER))]


def _statements(service: Service, chance: random.Random) -> list[Statement]:
    if service.period:
        return [Statement(service.name, INFO, words.variants(words.BEATS_SAY, "", "", chance), 0.0, "beat")]
    noun = chance.choice(words.NOUNS)
    many = 2 if service.rate < 4 else chance.randint(4, 8)
    chosen = chance.sample(range(len(words.DOES)), many)
    shares = sorted((chance.random() + 0.15 for _ in chosen), reverse=True)
    out = [
        Statement(service.name, INFO, words.variants(words.DOES[text], noun, "", chance),
                  service.rate * share / sum(shares), f"does/{rank}")
        for rank, (text, share) in enumerate(zip(chosen, shares, strict=True))
    ]  # fmt: skip
    if service.rate >= 4:
        warn, fail = chance.choice(words.WARNS), chance.choice(words.FAILS)
        out.append(Statement(service.name, WARN, words.variants(warn, noun, "", chance), service.rate * 0.01, "warns"))
        out.append(
            Statement(service.name, ERROR, words.variants(fail, "item", "", chance), service.rate * 0.004, "rare")
        )
    if service.debug:
        for text in words.DEBUGS[:2]:
            said = words.variants(text, noun, "", chance)
            out.append(Statement(service.name, DEBUG, said, service.rate, "debug"))
    if service.name == "reporter":
        said = words.variants("report {id} written, {n} rows", noun, "", chance)
        out += [Statement(service.name, INFO, said, 25.0, "hourly")]
        out += [Statement(service.name, INFO, words.variants("night run: table {id} compacted", noun, "", chance), 40.0,
                          "nightly")]  # fmt: skip
    return out


def _again(one: Statement, seed: int) -> list[str]:
    chance = random.Random(f"{seed}/{one.service}/{one.role}/again")
    text = words.AGAIN[chance.randrange(len(words.AGAIN))]
    return words.variants(text, "item", "", chance)


def platform(seed: int, many: int = 11, debugged: int = 0) -> tuple[Service, ...]:
    """An edge that calls most of the others, services that call one or two each, small ones, and two heartbeats."""
    chance = random.Random(seed)
    names = chance.sample(words.NAMES, many)
    rates = [round(math.exp(chance.uniform(math.log(5), math.log(30))), 1) for _ in names]
    half = many // 2
    fronts, backs = names[:half], names[half:]
    edge = Service(chance.choice(words.EDGES), 45.0, tuple(fronts))
    calls = {front: (backs[number % len(backs)],) for number, front in enumerate(fronts)}
    inner = [
        Service(name, rate, calls.get(name, ()), debug=number < debugged)
        for number, (name, rate) in enumerate(zip(names, rates, strict=True))
    ]
    small = [Service("mailer", 3.0), Service("audit", 1.2), Service("reporter", 0.6)]
    beats = [Service(name, 0.1, period=600) for name in chance.sample(words.BEATS, 2)]
    return (edge, *inner, *small, *beats)
