"""What must be told of each kind of failure, written from its lines; and the shops in which each kind happens twice.

An expectation names the service that the headline is about, the words that must stand in it, and the line that decides.
They were written before the code that writes headlines, and change only with a reason, which stands beside the change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np

from exporter.demo.shop import Shop
from exporter.demo.shop.failures import KINDS, Failure

TUNED_ON, REPORTED = (0,), (2,)
"""Seeds of the shops: tried out was the telling on the first, and it is reported on the others."""

HEALTHY = timedelta(hours=36)
AGAIN = timedelta(hours=30)
"""From the first time that something fails to the second."""
LINES_A_SECOND = 4.0
TOGETHER = 10
"""Kinds that fail in one shop, one after the other."""


@dataclass(frozen=True)
class Expected:
    """Of one kind: `words`, patterns of which the headline must have one; `line`, one of which the decisive line has.

    Where nothing is written because something does not happen, `line` is empty: then `missing` says so in the text.
    """

    words: Sequence[str]
    line: Sequence[str]
    fix: str
    missing: Sequence[str] = ()


EXPECTED: Mapping[str, Expected] = {
    "pool_exhausted": Expected(
        ["pool.{0,20}exhausted", "not available"],
        [r"HikariPool-1 - Connection is not available"],
        "raised the pool from 20 to 60 connections",
    ),
    "slow_downstream": Expected(
        ["statement took", "seq scan", "instead of"],
        [r"Statement took \d+ ms, plan changed"],
        "analysed the tables again",
    ),
    "dependency_down": Expected(
        ["input/output error"], [r"Could not open data directory"], "moved the volume to another disk"
    ),
    "bad_deploy": Expected(["no such column"], [r"Could not map field"], "rolled the release back"),
    "memory_leak": Expected(
        ["memory", "allocation"],
        [r"Killed: out of memory", r"Allocation of \d+ bytes failed"],
        "turned the cache off that was never emptied",
    ),
    "disk_full": Expected(["no space", "disk full"], [r"No space left on device"], "removed old segments of the log"),
    "certificate_expired": Expected(
        ["certificate"],
        [r"bad certificate", r"certificate expired", r"certificate has expired"],
        "renewed the certificate",
    ),
    "dns_failures": Expected(
        ["resol", "no such host", "dns", "EAI_AGAIN"],
        [r"Resolver .* did not answer", r"name resolution", r"EAI_AGAIN", r"no such host"],
        "restarted the resolver",
    ),
    "queue_backlog": Expected(["queue"], [r"Queue holds \d+ messages"], "added four consumers"),
    "retry_storm": Expected(["retry"], [r"Retrying request"], "configured a back-off"),
    "cache_stampede": Expected(["same key"], [r"requests wait for the same key"], "let one request fill the cache"),
    "config_error": Expected(
        ["invalid value", "15 minutes"], [r"Invalid value '15 minutes' for setting"], "wrote the setting in seconds"
    ),
    "auth_burst": Expected(
        ["locked", "bad credentials"],
        [r"locked after \d+ failed", r"bad credentials"],
        "blocked the network of the bots",
    ),
    "deadlock": Expected(
        ["timed? ?out", "timeout", "deadline exceeded", "stopped", "silent"],
        [r"deadline exceeded", r"timed out", r"timeout of \d+ ms exceeded"],
        "restarted the instances that hung",
    ),
    "instance_lost": Expected(
        ["reset", "hang ?up", "stopped", "silent"],
        [r"reset by peer", r"Connection reset", r"hang up"],
        "replaced the node",
    ),
    "clock_skew": Expected(["in the future"], [r"issued \d+ s in the future"], "set the clock of the node"),
    "data_corruption": Expected(
        ["checksum", "null"], [r"Checksum of page", r"has a null in column"], "restored the table from the backup"
    ),
    "third_party_errors": Expected(
        ["provider.*(503|429|unavailable|too many)"],
        [r"Provider .* answered (503|429)"],
        "switched to the other provider",
    ),
    "jobs_missing": Expected(
        ["(job|tick|cron|run).*(none|stopped|missing|silent)"],
        [],
        "started the scheduler again",
        ["stopped", "none for", "expected", "silent", "instead of"],
    ),
    "traffic_drop": Expected(
        ["(request|GET|POST|line)s?.*(instead of|fewer|less)", "fewer .*(request|GET|POST|HTTP|line)"],
        [],
        "took back the entry of the DNS",
        ["stopped", "fewer", "expected", "instead of"],
    ),
}
"""By kind, as `KINDS` of the shop has them."""


@dataclass(frozen=True)
class Case:
    """A shop in which some kinds happen twice; `split` is when everything of the first time is over and resolved."""

    seed: int
    shop: Shop
    split: datetime


def cases(seed: int) -> list[Case]:
    """Every kind, in shops of TOGETHER kinds each: other services, hours and values with each seed."""
    chance = np.random.default_rng([seed, 26])
    kinds = [str(kind) for kind in chance.permutation(list(KINDS))]
    return [
        _case(seed * 10 + number, kinds[first : first + TOGETHER])
        for number, first in enumerate(range(0, len(kinds), TOGETHER))
    ]


def case_of(kinds: Sequence[str], seed: int, healthy: timedelta = HEALTHY) -> Case:
    """A shop in which these kinds happen twice."""
    return _case(seed, kinds, healthy)


def _case(seed: int, kinds: Sequence[str], healthy: timedelta = HEALTHY) -> Case:
    chance = np.random.default_rng([seed, 27])
    start = datetime(2025, 3, 3, tzinfo=UTC) + timedelta(hours=int(chance.integers(24)))
    pause = AGAIN / len(kinds)
    failures = []
    for number, kind in enumerate(kinds):
        _, candidates, lasts = KINDS[kind]
        room = (pause - lasts - timedelta(minutes=90)) // timedelta(seconds=1)
        first = start + healthy + number * pause + timedelta(seconds=1800 + int(chance.integers(max(1, room))))
        service = candidates[int(chance.integers(len(candidates)))]
        failures += [Failure(kind, service, first, lasts), Failure(kind, service, first + AGAIN, lasts)]
    days = (healthy + 2 * AGAIN) / timedelta(days=1)
    shop = Shop(seed=seed, start=start, days=days, rate=LINES_A_SECOND, failures=failures)
    return Case(seed, shop, start + healthy + AGAIN)


@dataclass(frozen=True)
class Labelled:
    """What must be told of a fault of the TrainTicket day: patterns of which its headline must have one.

    Of most exceptions that were thrown in travel, route and price no line of the service says anything: there only the
    service is asked for, which is said by no pattern.
    """

    service: str
    kind: str
    words: Sequence[str] = ()


TRAIN_TICKET = (
    Labelled("ts-contacts-service", "return", ["no contacts", "contactsId"]),
    Labelled("ts-basic-service", "return", ["get route by ids failed", "no instances available"]),
    Labelled("ts-basic-service", "exception", ["price exception", "no instances available"]),
    Labelled("ts-food-service", "return", ["get food request failed", "no instances available"]),
    Labelled("ts-verification-code-service", "return", ["code not found", "no instances available"]),
    Labelled("ts-travel-service", "exception"),
    Labelled("ts-travel2-service", "exception"),
    Labelled("ts-route-service", "exception"),
    Labelled("ts-price-service", "exception"),
    Labelled("ts-contacts-service", "cpu_contention"),
    Labelled("ts-verification-code-service", "cpu_contention"),
    Labelled("ts-food-service", "cpu_contention"),
    Labelled("ts-preserve-service", "cpu_contention"),
)
"""Every service and kind of fault of the day, in the order in which they come first."""
