"""Print the table of what detection reaches on labelled logs, beside the floors and plain baselines."""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import exporter  # noqa: F401 - sets the number of threads, before polars is imported
from tests.evaluate.data import shared_data


@dataclass(frozen=True)
class Figure:
    """One line of the table."""

    name: str
    value: str
    floor: str = ""
    reached: bool | None = None


def figure(name: str, value: float | None, floor: float, at_most: bool = False, form: str = ".3f") -> Figure:
    if value is None:
        return Figure(name, "none", f"{floor:{form}}", False)
    reached = value <= floor if at_most else value >= floor
    return Figure(name, f"{value:{form}}", f"{'<=' if at_most else '>='} {floor:{form}}", reached)


def hdfs_prequential(data: Path) -> Iterator[Figure]:
    from tests.evaluate.sessions import prequential

    found = prequential(data)
    for name, floor in (("f1", 0.93), ("precision", 0.88), ("recall", 0.96)):
        yield figure(f"HDFS prequential: {name}", found[name], floor)


def hdfs_halves(data: Path) -> Iterator[Figure]:
    from tests.evaluate import sessions

    known = sessions.load(data)
    count = len(known.vectors)
    temporal = sessions.judged(known, range(count // 2), range(count // 2, count))
    yield figure("HDFS first half, second half: F1", temporal["f1"], 0.90)
    f1 = [sessions.judged(known, train, test)["f1"] for train, test in sessions.halves(count, 10)]
    yield figure("HDFS ten random halves: mean F1", float(np.mean(f1)), 0.92)
    yield figure("HDFS ten random halves: least F1", min(f1), 0.83)
    yield figure("HDFS explanation: hit@3", sessions.explained(known), 0.85)
    for name, found in sessions.baselines(known).items():
        value = f"{found['f1']:.3f} / {found['precision']:.3f} / {found['recall']:.3f}"
        yield Figure(f"  baseline, second half, F1/P/R: {name}", value)


def train_ticket(data: Path) -> Iterator[Figure]:
    from tests.evaluate.windows import train_ticket as measure

    found = measure(data)
    for name, floor in (("as@1", 0.90), ("as@3", 0.95), ("as@5", 0.96)):
        yield figure(f"TrainTicket localisation: {name}", found["localisation"][name], floor)
    yield figure("TrainTicket average precision", found["average_precision"], 0.38)
    yield figure("TrainTicket median delay, seconds", found["median_delay_seconds"], 75, at_most=True, form=".0f")
    yield Figure("TrainTicket recall of faults by incidents", f"{found['recall']:.3f}")
    yield from openings("TrainTicket", found)


def openings(name: str, found: Mapping[str, Any]) -> Iterator[Figure]:
    """What opened, and where: one incident that never ends would overlap everything."""
    yield Figure(f"{name}: share within which one opened", f"{found['found']:.3f}")
    yield Figure(f"{name}: false openings a day", f"{found['false_openings_per_day']:.2f}")
    for key in ("pages", "escalations", "notices", "told_after_seconds"):
        yield Figure(f"{name}: {key.replace('_', ' ')}", "none" if found[key] is None else f"{found[key]:.0f}")


def train_ticket_moved(data: Path) -> Iterator[Figure]:
    from tests.evaluate.windows import train_ticket_moved as measure

    found = measure(data)
    for name in ("as@1", "as@3", "as@5"):
        values = [one["localisation"][name] for one in found]
        yield Figure(f"TrainTicket, moved by 10 to 50 s: {name}", f"{np.mean(values):.3f} ({min(values):.3f} least)")
    values = [one["average_precision"] for one in found]
    yield Figure("TrainTicket, moved: average precision", f"{np.mean(values):.3f} ({min(values):.3f} least)")


def calibration(data: Path) -> Iterator[Figure]:
    from tests.evaluate.windows import calibration as measure

    share = measure()
    yield Figure("calibration, nothing changes: nominal 1 %", f"{share:.2%}", "0.5 to 2 %", 0.005 <= share <= 0.02)


def speed(data: Path) -> Iterator[Figure]:
    from exporter.detection import DetectionSettings
    from exporter.detection.scoring.session_views import vector
    from exporter.detection.scoring.sessions import SessionModel

    SessionModel.fit({vector({1: 1}): 50, vector({1: 2}): 50}, DetectionSettings())
    chance = np.random.default_rng(0)
    counts = chance.poisson(chance.gamma(0.5, 2, 64), (10_000, 64))
    pool = {vector({template: int(n) for template, n in enumerate(row, 1)}): 1 for row in counts}
    begin = time.process_time()
    # A fit scores its pool, for threshold and calibration.
    SessionModel.fit(pool, DetectionSettings())
    yield figure("10,000 vectors of 64, CPU seconds", time.process_time() - begin, 3.0, at_most=True, form=".1f")


def shop(data: Path, seed: int = 0) -> Iterator[Figure]:
    from tests.evaluate.windows import simulator

    found = simulator(12, 14, seed, rate=3.0)
    yield figure("shop of 12, 14 days, 20 kinds: recall", found["recall"], 0.95)
    yield figure("shop of 12: false incidents a day", found["false_incidents_per_day"], 0.5, at_most=True)
    yield Figure("shop of 12: cause ranked first", f"{found['localisation'].get('as@1', 0):.3f}")
    yield Figure("shop of 12: cause first in its incident", f"{found['diagnosis'].get('as@1', 0):.3f}")
    yield from openings("shop of 12", found)
    if found["missed"]:
        yield Figure("shop of 12: missed", ", ".join(found["missed"]))


def analyses(data: Path) -> Iterator[Figure]:
    from tests.evaluate.analyses import everyone, shop_analysed

    found = {kind: asyncio.run(shop_analysed(kind, service)) for kind, service in everyone()}
    name = "analyze, a shop's failure in 95 minutes: service among five, of 20"
    yield figure(name, sum(one.named for one in found.values()), 18, form=".0f")
    near = sum(one.off is not None and one.off < timedelta(minutes=6) for one in found.values())
    yield figure("  first finding within six minutes of its start", near, 16, form=".0f")
    missed = ", ".join(kind for kind, one in found.items() if not one.named)
    yield Figure("  not named", missed or "none")


def large_shop(data: Path, days: int = 4) -> Iterator[Figure]:
    from tests.evaluate.windows import simulator

    # Few lines a second of each service: what counts here is how many services there are.
    found = simulator(200, days, rate=10.0)
    name = f"shop of 200, {days} days: false incidents a day"
    yield figure(name, found["false_incidents_per_day"], 1.0, at_most=True)
    yield Figure(f"shop of 200, {days} days: recall", f"{found['recall']:.3f}")


def size(data: Path) -> Iterator[Figure]:
    from tests.evaluate.size import measure

    (kept, seconds), (_, without) = (measure(services=1000, templates=30, days=14, values=one) for one in (True, False))
    yield figure("1,000 services of 30 templates, 14 days: GB kept", kept / 1e9, 2.0, at_most=True, form=".2f")
    yield Figure("1,000 services: CPU seconds to judge a window", f"{seconds:.2f}")
    name = "1,000 services: against lines without status and duration"
    yield figure(name, seconds / without, 1.4, at_most=True, form=".2f")
    few, _ = measure(services=200, templates=30, days=14)
    yield Figure("200 services of 30 templates, 14 days: MB kept", f"{few / 1e6:.0f}")


def end_to_end(data: Path) -> Iterator[Figure]:
    from tests.end_to_end import hdfs, running_servers, train_ticket
    from tests.servers.process import Unavailable

    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        try:
            servers = stack.enter_context(running_servers(Path(folder)))
        except Unavailable as error:
            yield Figure("end to end", f"skipped: {error}")
            return
        f1 = asyncio.run(hdfs(data, servers.named(), Path(folder, "hdfs")))["f1"]
        yield Figure("HDFS by way of Elasticsearch: F1", f"{f1:.3f}", "> 0.850", f1 > 0.85)
        day = asyncio.run(train_ticket(data, servers.named(), Path(folder, "train-ticket")))
        yield figure("TrainTicket, alerts: faults shown", len(day.shown), 5, form=".0f")
        yield figure("TrainTicket, alerts: as@3 of these", day.among_three, 0.6)
        for name, holds in (
            ("every incident an alert", day.told_alike),
            ("all resolved", day.over),
            ("a backtest finds the same", day.replays),
        ):
            yield Figure(f"TrainTicket, alerts: {name}", "yes" if holds else "no", "yes", holds)


def stops(data: Path) -> Iterator[Figure]:
    from tests.stops import MODEL, NEEDS_MODEL, QUICK, SLOW, stopped

    times = 30
    without = NEEDS_MODEL if importlib.util.find_spec(MODEL) is None else ()
    for ways in (QUICK, *([way] for way in SLOW if way not in without)):
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            found = [stop for one in pool.map(stopped, range(1, times + 1), [ways] * times) for stop in one]
        for way in ways:
            bad = times - sum(stop.clean for stop in found if stop.way == way)
            yield Figure(f"stop: {way}: of {times} otherwise than documented", f"{bad}", "<= 0", not bad)
        for came_to in dict.fromkeys(stop.came_to for stop in found if not stop.clean):
            yield Figure("  came to", came_to)
    for way in without:
        yield Figure(f"stop: {way}", "no model")


def delivery(data: Path) -> Iterator[Figure]:
    from tests.fakes.faulty import FAULTS
    from tests.matrix.places import SINKS
    from tests.matrix.play import played, setting

    for told, checkout in _checkouts():
        # The first story is the one that delivery was tuned on.
        for seed, seconds, patience in ((1, 60, 90), (2, 30, 60)):
            found, calm = played(FAULTS, setting(seed, seconds, 3, patience), checkout)
            cells = f"bad cells of {len(SINKS)}, story {seed}"
            for one in (calm, *found):
                bad = one.bad(None if one is calm else calm)
                value = f"{len(bad)} ({', '.join(bad)})" if bad else "0"
                floor, reached = ("<= 0", not bad) if not told else ("", None)
                yield Figure(f"{told}delivery, {one.fault}: {cells}", value, floor, reached)
            times = ", ".join("never" if one.settled is None else f"{one.settled:.0f}" for one in (calm, *found))
            yield Figure(f"{told}delivery, seconds after each fault until all was right", times)


def burst(data: Path) -> Iterator[Figure]:
    from tests.matrix.burst import burst as measure
    from tests.matrix.places import SINKS

    for told, checkout in _checkouts():
        found = measure(1000, 300, checkout)
        value = f"{len(found.bad)} ({', '.join(found.bad)})" if found.bad else "0"
        floor, reached = ("<= 0", not found.bad) if not told else ("", None)
        yield Figure(f"{told}burst of 1,000 incidents: bad places of {len(SINKS)}", value, floor, reached)
        yield Figure(
            f"{told}  seconds until all was right", "never" if found.settled is None else f"{found.settled:.0f}"
        )
        grown = figure(f"{told}  memory of the daemon grew by, MB", found.grown / 1e6, 64, at_most=True, form=".0f")
        yield Figure(grown.name, grown.value) if told else grown


def lives(data: Path, story: str) -> Iterator[Figure]:
    """The lives of incidents on made platforms, which nothing was chosen on."""
    from tests.lives.figures import reported

    for told, checkout in _checkouts():
        for seed, row in reported(story, checkout):
            name = f"{told}lives, {seed}: {row.name}"
            if row.goal is None or told:
                yield Figure(name, "none" if row.value is None else f"{row.value:g}")
            else:
                yield figure(name, row.value, row.goal, row.at_most, "g")


def lives_shop(data: Path) -> Iterator[Figure]:
    """Twenty failures in four days of a shop that releases, with two seeds."""
    from tests.evaluate.windows import simulator

    seeds = (0, 1)
    with ProcessPoolExecutor(os.cpu_count(), multiprocessing.get_context("spawn")) as pool:
        both = list(pool.map(partial(simulator, 12, 7, rate=3.0), seeds))
    for seed, found in zip(seeds, both, strict=True):
        name = f"shop of 12, 4 days, seed {seed}"
        yield figure(f"{name}: found", found["found"], 1.0, form=".2f")
        yield figure("  false openings a day", found["false_openings_per_day"], 0.25, at_most=True, form=".2f")
        yield figure("  pages and escalations", found["pages"] + found["escalations"], 26, at_most=True, form=".0f")
        yield figure("  told after, seconds", found["told_after_seconds"], 115, at_most=True, form=".0f")


def month(data: Path) -> Iterator[Figure]:
    from tests.evaluate.month import grown, keep

    kept = asyncio.run(keep([10, 20, 30]))
    for one in kept:
        yield Figure(f"month, day {one.day}: bytes of the state file", f"{one.bytes:,}")
        for table, rows in one.rows.items():
            yield Figure(f"  {table}", f"{rows:,}")
    yield figure("month: file on day 30 against day 20", kept[2].bytes / kept[1].bytes, 1.1, at_most=True)
    for table, (before, after) in grown(kept[1], kept[2]).items():
        yield Figure(f"month: rows of {table} on day 20, 30", f"{before:,}, {after:,}", "<= 1.1", False)


def secrets(data: Path) -> Iterator[Figure]:
    """What must not leave the process is drawn anew, planted in a whole daemon, and looked for in all that left it.

    Of the kinds of a second set, which the rules were not written from, a few may leak.
    """
    from tests.secrets.makers import APART_FILE, KINDS_FILE

    seed = int(os.environ.get("LAE_SEED") or time.time())
    yield Figure("secrets: seed (LAE_SEED repeats it)", f"{seed}")
    for of_file, file, most in (("", KINDS_FILE, 0.0), (" apart", APART_FILE, 0.05)):
        for told, checkout in _checkouts():
            yield from _secrets(seed, file, checkout, told, of_file, most)


def _secrets(seed: int, file: Path, checkout: Path, told: str, of_file: str, most: float) -> Iterator[Figure]:
    from tests.secrets.makers import CLASSES
    from tests.secrets.measure import measure, plant

    plants = plant(seed, file=file)
    with tempfile.TemporaryDirectory() as folder:
        found = measure(seed, Path(folder), plants, checkout)
    for of in CLASSES[:3]:
        name, leaked = f"{told}secrets{of_file}, {of}: kinds of {found.asked(of)} that leak", found.leaked(of)
        allowed = most * found.asked(of)
        yield Figure(name, f"{len(leaked)}") if told else figure(name, len(leaked), allowed, at_most=True, form=".0f")
        for kind in leaked if not told else ():
            yield Figure(f"  {kind}", ", ".join(found.where(kind)))
    share = len(found.changed) / len(found.alike)
    name = f"{told}secrets{of_file}: look-alikes of {len(found.alike)} that change"
    value = f"{len(found.changed)} ({share:.1%})"
    yield Figure(name, value) if told else Figure(name, value, "<= 0", not found.changed)
    for one in found.changed if not told else ():
        yield Figure(f"  {one.kind.name}", one.text[:100])
    yield Figure(f"{told}  of {len(plants)} planted lines cited by no incident", f"{found.unseen}")


VALUE_SEEDS, TUNED_ON = (13, 14), (11, 12)
"""What is told by value is reported on logs of the first seeds; tried out was it on those of the others."""


def values(data: Path) -> Iterator[Figure]:
    """Failures that show only in a value; `LAE_VALUE_SEEDS` names other seeds."""
    from tests.values.logs import FULL, TENTH, make
    from tests.values.told import backtested

    seeds = [int(seed) for seed in os.environ.get("LAE_VALUE_SEEDS", "").split()] or VALUE_SEEDS
    for told, checkout in _checkouts():
        for name, faults, rate, least in (("", FULL, 20.0, 8), (", a tenth", TENTH, 200.0, 6)):
            for seed in seeds:
                with tempfile.TemporaryDirectory() as folder:
                    found = backtested(make(Path(folder), seed, faults, rate), checkout)
                said = f"{told}values{name}, seed {seed}: "
                yield _unless(told, figure(f"{said}found of {len(faults)}", len(found.found), least, form=".0f"))
                if found.missed:
                    missed = ", ".join(f"{one.fault.log} {one.fault.kind}" for one in found.missed)
                    yield Figure(f"{told}  missed", missed)
                most = figure(f"{said}false openings", len(found.false), 1, at_most=True, form=".0f")
                yield _unless(told or name, most)
                for key in ("pages", "escalations", "notices", "told_after_seconds"):
                    yield Figure(f"{told}  {key}", str(found.metrics.get(key, "unknown")))


def pairs(data: Path) -> Iterator[Figure]:
    """Pairs of a good and a bad line, of words that stand nowhere in the product."""
    from tests.values.apart import told_apart
    from tests.values.pairs import pairs as made

    for told, checkout in _checkouts():
        for seed in VALUE_SEEDS:
            given = made(data, seed)
            number = sum(told_apart(given, checkout))
            yield _unless(told, figure(f"{told}pairs told apart of {len(given)}, seed {seed}", number, 58, form=".0f"))


def story(data: Path) -> Iterator[Figure]:
    """What is told of failures that happen twice; `LAE_STORY_SEEDS` names other seeds."""
    from tests.story.cases import REPORTED, TUNED_ON
    from tests.story.figures import haste_figures, shop_figures, train_ticket_figures

    seeds = [int(seed) for seed in os.environ.get("LAE_STORY_SEEDS", "").split()] or REPORTED
    yield Figure("story: seeds tuned on, reported", f"{', '.join(map(str, TUNED_ON))}; {', '.join(map(str, seeds))}")
    for told, checkout in _checkouts():
        for seed in seeds:
            for row in shop_figures(seed, checkout):
                yield _unless(told, _figure_of(f"{told}story, seed {seed}: {row.name}", row))
        for row in train_ticket_figures(data, checkout):
            yield _unless(told, _figure_of(f"{told}story, TrainTicket: {row.name}", row))
    for row in haste_figures():
        yield _figure_of(row.name, row)


def faithful(data: Path) -> Iterator[Figure]:
    """Answers that a model might give: whether its own words can be taken for what was checked, in any place."""
    from tests.faithful.figures import rows, verdicts

    for told, checkout in _checkouts():
        for row in rows(verdicts(checkout)):
            yield _unless(told, _figure_of(f"{told}{row.name}", row))


def _figure_of(name: str, row: Any) -> Figure:
    if row.goal is None:
        return Figure(name, row.value if isinstance(row.value, str) else f"{row.value:g}")
    return figure(name, row.value, row.goal, row.at_most, "g")


def _unless(other: str, one: Figure) -> Figure:
    """The figure without a floor where it is of something else."""
    return Figure(one.name, one.value) if other else one


def loghub(data: Path) -> Iterator[Figure]:
    """LogHub's files as they are published, in the folder that `LAE_LOGHUB` names."""
    from tests.evaluate.published import hdfs_files, mined, sessions

    folder = os.environ.get("LAE_LOGHUB")
    if not folder:
        yield Figure("LogHub as published", "LAE_LOGHUB names no folder")
        return
    if files := hdfs_files(Path(folder)):
        found = sessions(*files)
        for name, value in found.items():
            yield Figure(f"HDFS.log prequential: {name}", f"{value:.3f}" if isinstance(value, float) else str(value))
    scores = list(mined(Path(folder)))
    for system, grouping, f1 in scores:
        yield Figure(f"{system}, 2k: GA / FGA", f"{grouping:.3f} / {f1:.3f}")
    if scores:
        means = [float(np.mean([score[part] for score in scores])) for part in (1, 2)]
        yield Figure(f"LogHub 2k, {len(scores)} systems: GA / FGA", f"{means[0]:.3f} / {means[1]:.3f}")


def _checkouts() -> Iterator[tuple[str, Path]]:
    """This checkout, and an old one beside it if LAE_OLD_CHECKOUT names it; with what its lines begin with."""
    from tests.matrix.daemon import REPOSITORY

    yield "", REPOSITORY
    if old := os.environ.get("LAE_OLD_CHECKOUT"):
        yield "  old: ", Path(old).resolve()


def state(data: Path) -> Iterator[Figure]:
    """Whatever is wrong with a state file, a sentence says it: found with seeds below 100, reported with others."""
    from tests.damage import COMMANDS, DAMAGES, everything_opened

    seeds = range(100, 112)
    cells = [(damage, seed) for damage in DAMAGES for seed in seeds]
    with ProcessPoolExecutor(os.cpu_count(), mp_context=multiprocessing.get_context("spawn")) as pool:
        found = [one for opened in pool.map(everything_opened, cells) for one in opened]
    for damage in DAMAGES:
        wrong = [one for one in found if one.damage == damage and one.wrong]
        name = f"state file, {damage.replace('_', ' ')}: of {len(seeds) * len(COMMANDS)} commands with a traceback"
        yield figure(name, len(wrong), 0, at_most=True, form=".0f")
        for one in wrong[:3]:
            yield Figure(f"  seed {one.seed}, {one.command}", one.wrong.strip().splitlines()[-1][:200])


def install(data: Path) -> Iterator[Figure]:
    """What README says of installing, into environments with nothing in them; what is needed is fetched."""
    from tests.install import Environment, checkout, ways

    for way in (way for way in ways() if not way.startswith("docker")):
        with tempfile.TemporaryDirectory() as folder:
            environment, began = Environment(Path(folder), bare=True), time.monotonic()
            if way.startswith("pipx"):
                environment.run("pip install pipx", Path(folder))
            environment.run(way, checkout(Path(folder)))
            shown = environment.run("log-anomaly-exporter analyze --help", Path(folder))
            yield Figure(f"install: {way[:48]}", f"{time.monotonic() - began:.0f} s", "works", "FILE" in shown)


def kills(data: Path) -> Iterator[Figure]:
    """A daemon that is killed while lines come late, beside a calm one."""
    from tests.kills import Story, killed

    for story in (Story(seed=7, minutes=80, kills=30), Story(seed=8, minutes=40, kills=15)):
        with tempfile.TemporaryDirectory() as folder:
            found = asyncio.run(killed(story, Path(folder)))
        name = f"{story.kills} kills, story {story.seed}"
        unlike = ", ".join(found.unlike) or "nothing"
        yield Figure(f"{name}: unlike a calm run", unlike, "nothing", not found.unlike)
        wrongly = ", ".join(found.wrongly_told) or "nothing"
        yield Figure(f"{name}: told wrongly", wrongly, "nothing", not found.wrongly_told)
        yield Figure(f"  of {found.incidents} incidents, windows judged again", f"{found.read_again}")
        yield Figure("  told, and told again with the same id", f"{found.told}, {found.repeated}")


def people(data: Path) -> Iterator[Figure]:
    """Two weeks in which people make rules, take them back, accept, reject and acknowledge: tuned on seed 1."""
    from tests.people.judge import wrong
    from tests.people.weeks import live, weeks

    async def lived(folder: Path, seed: int) -> tuple[int, list[str]]:
        async with weeks(folder) as (world, places):
            await live(world, days=14, rules=12, seed=seed)
            return len(await world.incidents()), await wrong(world, places)

    for seed in (2, 3):
        with tempfile.TemporaryDirectory() as folder:
            incidents, found = asyncio.run(lived(Path(folder), seed))
        name = f"people, two weeks, twelve rules, seed {seed}: of {incidents} incidents wrong in a place"
        yield figure(name, len(found), 0, at_most=True, form=".0f")
        for one in found[:5]:
            yield Figure(f"  {one}", "")


def hostile(data: Path) -> Iterator[Figure]:
    """Functions that meet foreign text, with hostile ones of up to 256,000 characters: how their time grows."""
    from tests.hostile.memory import INPUTS
    from tests.hostile.search import table
    from tests.hostile.slope import MOST

    for name, (measure, most) in INPUTS.items():
        with tempfile.TemporaryDirectory() as folder:
            yield figure(f"MB at most, {name}", measure(Path(folder), 1_000).megabytes, most, at_most=True, form=".0f")
    for row, found in table(seconds=10, seed=2):
        slowest = max(found, key=lambda one: one.per_character)
        name = f"hostile: {row}: slope over {len(found)} texts"
        yield figure(name, found[0].slope, MOST, at_most=True, form=".2f")
        yield Figure("  dearest, microseconds a character", f"{slowest.per_character * 1e6:.2f}")
        for one in found[:3]:
            if not one.linear:
                yield Figure(f"  {one}", "")


def fuzz(data: Path) -> Iterator[Figure]:
    """The tests of `tests/hostile/test_fuzz.py` with many more examples."""
    yield from _tested("fuzz: parsers of which {:,} examples find a traceback", "LAE_FUZZ_EXAMPLES", 3_000, FUZZED)


def rows(data: Path) -> Iterator[Figure]:
    """The tests that the same rows come of any division of time, lateness, restart and kill, with more examples."""
    yield from _tested("rows: properties of which {:,} examples find an exception", "LAE_CASES", 60, DIVIDED)


FUZZED = ("tests/hostile/test_fuzz.py",)
DIVIDED = tuple(f"tests/flow/test_{name}.py" for name in ("invariant", "late_arrivals", "late_incidents"))


def _tested(name: str, variable: str, examples: int, files: Sequence[str]) -> Iterator[Figure]:
    """Tests of properties, with so many examples each."""
    command = [sys.executable, "-m", "pytest", "-q", *files]
    surroundings = {**os.environ, variable: str(examples)}
    done = subprocess.run(command, env=surroundings, stdout=subprocess.PIPE, text=True, check=False)
    failed = [line for line in done.stdout.splitlines() if line.startswith("FAILED")]
    yield Figure(name.format(examples), str(len(failed)), "<= 0", not failed and not done.returncode)
    for line in failed:
        yield Figure(f"  {line}", "")


def flood(data: Path) -> Iterator[Figure]:
    """A port that is held by more connections than the process may open files."""
    from tests.web.flood import flooded

    with tempfile.TemporaryDirectory() as folder:
        found = flooded(Path(folder), connections=1_125, seconds=47)
    name = "flood: 1,125 silent connections for 47 s"
    yield figure(f"{name}: slowest answer of health, seconds", found.slowest_health, 5.0, at_most=True)
    yield figure("  polls meanwhile", found.polls, 20, form=".0f")
    yield figure("  kilobytes written to the log", found.logged / 1000, 20, at_most=True, form=".1f")
    yield Figure("  exit code at SIGTERM", str(found.code), "0", found.code == 0)


def page(data: Path) -> Iterator[Figure]:
    """Pages of each kind of failure on a phone: what is on the first screen, how large they are, how fast."""
    from tests.web.measure import SEED, looked

    found = looked()
    whole = [one for one in found if not one.wrong]
    name = f"page, seed {SEED}: of {len(found)} kinds the first screen holds all"
    yield figure(name, len(whole), len(found), form=".0f")
    for one in found:
        if one.wrong:
            yield Figure(f"  {one.kind}", "; ".join(one.wrong)[:200])
    yield figure("page: kilobytes of the largest", max(one.size for one in found) / 1000, 300, True, ".0f")
    yield figure(
        "page: milliseconds of the slowest, processor time", 1000 * max(one.seconds for one in found), 300, True, ".0f"
    )


LIVES = ("long", "pairs", "changes", "silences", "ends")
"""Stories of `tests/lives`; `lives` is all of them."""


def recall(data: Path) -> Iterator[Figure]:
    """Past incidents that are the same failure in other words, and new failures that no past one is like."""
    from tests.recall.measure import cases, measured, model, told
    from tests.recall.signatures import signatures
    from tests.recall.size import size

    again = signatures(report=True)
    yield figure(f"signature equal, of {again.kinds} kinds that came again", again.equal / again.kinds, 0.8, form=".2f")
    yield figure(
        f"signature equal, of {again.pairs} pairs of different kinds", again.across, 0, at_most=True, form=".0f"
    )
    cost = size()
    yield figure("10,000 documents: processor time of a recall, p95, ms", 1000 * cost["p95_seconds"], 20, True, ".0f")
    yield figure("  of the first one after a start, s", cost["first_seconds"], 1, True, ".2f")
    yield figure("  memory that they take, MB", cost["bytes"] / 1e6, 100, True, ".0f")
    yield figure("  processor time of importing them, s", cost["import_seconds"], 60, True, ".0f")
    asked = cases(report=True)
    for old, checkout in _checkouts():
        for path in ("", model()) if model() else ("",):
            told_by = f"{old}{'MiniLM' if path else 'no model'}"
            for name, tally in measured(asked, path, checkout).items():
                found: list[tuple[str, float, float, str, bool]] = []
                if name in RECALLED:
                    found = [(f"{name}: recall@3", tally.among / tally.asked, RECALLED[name][bool(path)], ".2f", False)]
                elif name.startswith("unseen"):
                    found = [
                        (f"{name}: told as the same", tally.same / tally.asked, SAME.get(name, 0.02), ".3f", True),
                        (f"{name}: shown", tally.any / tally.asked, 0.10, ".3f", True),
                    ]
                for what, value, floor, form, most in found:
                    line = figure(f"{told_by}, {what} of {tally.asked}", value, floor, most, form)
                    yield Figure(line.name, line.value) if old else line
        for name, value in told(checkout).items():
            floor, most = STORIES[name]
            line = figure(f"{old}{name}", value, floor, most, ".2f")
            yield Figure(line.name, line.value) if old else line


RECALLED = {
    "hand-written": (0.85, 0.92),
    "shop": (0.85, 0.92),
    "shop, reworded": (0.85, 0.92),
    "same lines": (1.0, 1.0),
}
"""Least recall@3 without a model, and with one."""

SAME = {"unseen, hand-written": 0.0}
"""How often something may be told as the same failure, where not 2 %."""

STORIES = {
    "fixes": (0.95, False),
    "rejected": (0.0, True),
    "two causes": (0.9, False),
    "one of two causes": (0.1, True),
}
"""What is to be reached in stories, and whether at most."""


def layers(_: Path) -> Iterator[Figure]:
    """Three processes beside one, each killed once, on the demo's two failures; and a memory under load."""
    from tests.layers.apart import in_rooms
    from tests.layers.load import load

    outcome = in_rooms("demo", kills=True)
    for what in outcome.unlike:
        yield Figure("  three processes beside one", what)
    none = partial(figure, at_most=True, form=".0f")
    yield none("three processes beside one: what differs", len(outcome.unlike), 0)
    yield figure("incidents that were compared", outcome.incidents, 2, form=".0f")
    yield figure("processes killed while a failure went on", len(outcome.killed), 3, form=".0f")
    yield none("told again after a kill, under the same id", outcome.repeated, 1)
    yield Figure("each in namespaces of its own", "yes" if outcome.apart else "no")
    found = load()
    yield figure("documents of a served memory", found["documents"], 10_000, form=".0f")
    yield figure("of 300 recalls found no room at once", found["refused"], 0, at_most=True, form=".0f")
    yield none("processor time of a recall there, ms", found["cpu_seconds_a_recall"] * 1000, 60)
    yield Figure("20 recalls a second of five daemons: p50, p95", _milliseconds(found, "p50_seconds", "p95_seconds"))
    yield Figure("memory of it, empty and with these", _megabytes(found, "memory_bytes_empty", "memory_bytes"))
    yield Figure("disk of it; memory of a writer of reports", _megabytes(found, "memory_disk_bytes", "report_bytes"))


def _milliseconds(found: Mapping[str, float], *names: str) -> str:
    return ", ".join(f"{found[name] * 1000:.0f} ms" for name in names)


def _megabytes(found: Mapping[str, float], *names: str) -> str:
    return ", ".join(f"{found[name] / 1e6:.0f} MB" for name in names)


PARTS: dict[str, Callable[[Path], Iterator[Figure]]] = {
    "speed": speed,
    "hdfs-halves": hdfs_halves,
    "hdfs-prequential": hdfs_prequential,
    "train-ticket": train_ticket,
    "train-ticket-moved": train_ticket_moved,
    "calibration": calibration,
    "shop": shop,
    "second-shop": partial(shop, seed=1),
    "analyze": analyses,
    "large-shop": large_shop,
    "long-large-shop": partial(large_shop, days=14),
    "size": size,
    "end-to-end": end_to_end,
    "stops": stops,
    "state": state,
    "kills": kills,
    "install": install,
    "delivery": delivery,
    "burst": burst,
    "month": month,
    "values": values,
    "pairs": pairs,
    "story": story,
    "faithful": faithful,
    "loghub": loghub,
    "lives-shop": lives_shop,
    **{f"lives-{story}": partial(lives, story=story) for story in LIVES},
    "people": people,
    "hostile": hostile,
    "fuzz": fuzz,
    "rows": rows,
    "flood": flood,
    "page": page,
    "recall": recall,
    "layers": layers,
    "secrets": secrets,
}
WITHOUT_DATA = (
    *("speed", "calibration", "shop", "second-shop", "analyze", "large-shop", "long-large-shop", "size", "stops"),
    *(
        "delivery",
        "burst",
        "state",
        "kills",
        "install",
        "month",
        "hostile",
        "fuzz",
        "rows",
        "flood",
        "page",
        "values",
        "loghub",
        "recall",
        "layers",
        "secrets",
        "people",
        "story",
        "faithful",
    ),
    *("lives-shop", *(f"lives-{story}" for story in LIVES)),
)
ON_REQUEST = ("shop", "second-shop", "long-large-shop")
"""Too long for the whole: 14 days of a shop take half an hour of processor time, of 200 services three times as
long."""
LONGEST_FIRST = ("lives-shop", "large-shop", "calibration", "hdfs-prequential", "size")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.evaluate", description=__doc__)
    parser.add_argument(
        "parts",
        nargs="*",
        choices=[*PARTS, "lives", []],
        help=f"which parts; by default all but {', '.join(ON_REQUEST)}",
    )
    chosen = parser.parse_args().parts or [part for part in PARTS if part not in ON_REQUEST]
    if "lives" in chosen:
        chosen = [part for part in chosen if part != "lives"] + ["lives-shop", *(f"lives-{story}" for story in LIVES)]
    data = shared_data()
    if len(chosen) == 1:
        return run(chosen[0], data)
    # The long parts are processes of their own side by side; what measures time comes after them, alone.
    timed = [part for part in ("speed", "stops", "delivery", "burst", "hostile") if part in chosen]
    order = sorted(
        set(chosen) - set(timed), key=lambda part: (part not in LONGEST_FIRST, [*LONGEST_FIRST, *PARTS].index(part))
    )
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        codes = list(pool.map(alone, order))
    codes += [alone(part) for part in timed]
    return max(codes)


def alone(part: str) -> int:
    """A part in a process of its own; its lines are printed when it is done."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.evaluate", part], stdout=subprocess.PIPE, text=True, check=False
    )
    print(done.stdout, end="", flush=True)
    return done.returncode


def run(part: str, data: Path | None) -> int:
    """Print the lines of a part; 1 when a floor is missed."""
    if data is None and part not in WITHOUT_DATA:
        print(f"{part}: skipped, for there are no labelled logs; LAE_SHARED_DATA names their place", flush=True)
        return 0
    begin, missed = time.monotonic(), 0
    for one in PARTS[part](data or Path()):
        mark = {True: "reached", False: "MISSED", None: ""}[one.reached]
        missed += one.reached is False
        print(f"{one.name:58} {one.value:>22}  {one.floor:12} {mark}", flush=True)
    print(f"  ({part}: {time.monotonic() - begin:.0f} s)", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
