"""The kinds of failures of the simulated shop: what each does to the service that causes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from exporter.demo.shop.catalogue import GO, NODE, PLATFORMS, Seen, Statement, as_json, logfmt, statement


@dataclass(frozen=True)
class Failure:
    """Something that goes wrong in one service for a while; the services that call it show it too."""

    kind: str
    service: str
    start: datetime
    duration: timedelta

    @property
    def end(self) -> datetime:
        return self.start + self.duration


@dataclass(frozen=True)
class Effect:
    """What a failure does to its service while it lasts.

    fails: share of the calls to it that fail, after `hold`, with `errors` in its own log, as `seen` by the caller.
    muted: a call that fails leaves nothing else in the service's log.
    silent: nor does the service log anything in the background.
    delayed: share of the calls that take `delay` longer; queued work waits `backlog` longer.
    outgoing: the calls that it makes fail, instead of those that it gets.
    lines: what it logs beside requests, and how often a minute.
    instances: how many of its instances are hit; None for all.
    growing: everything of this grows from nothing to its full size.
    traffic: factor on the requests that enter the shop; `rush` on those of one flow.
    """

    fails: float = 0.0
    errors: tuple[Statement, ...] = ()
    seen: Seen = "error"
    hold: timedelta = timedelta(0)
    muted: bool = False
    silent: bool = False
    delayed: float = 0.0
    delay: timedelta = timedelta(0)
    backlog: timedelta = timedelta(0)
    outgoing: bool = False
    lines: Mapping[Statement, float] = field(default_factory=dict)
    instances: int | None = None
    growing: bool = False
    traffic: float = 1.0
    rush: Mapping[str, float] = field(default_factory=dict)
    repeats: int = 0
    misses: bool = False
    no_jobs: bool = False
    skew: timedelta = timedelta(0)
    released: bool = False
    killed: bool = False
    restarted: bool = False


Say = Callable[[str], Statement]


def say(service: str) -> Say:
    """How a service words a statement, in the style of its platform."""
    platform = PLATFORMS[service]

    def speak(written: str) -> Statement:
        if platform is GO:
            mark, text = written.split(" ", 1)
            quoted = text.replace('"', "'")
            return statement(service, logfmt(f'{mark} component=core msg="{quoted}"'))
        return statement(service, as_json(written) if platform is NODE else written)

    return speak


def _seconds(value: float) -> timedelta:
    return timedelta(seconds=value)


def _pool_exhausted(say: Say) -> Effect:
    return Effect(
        fails=0.45,
        errors=(
            say(
                "E HikariPool-1 - Connection is not available, request timed out after {ms}ms "
                "(total=20, active=20, idle=0, waiting={n})"
            ),
            say("E Could not open transaction for {order}: no connection to the database within 5000 ms"),
        ),
        hold=_seconds(5),
        delayed=0.8,
        delay=_seconds(2.5),
        lines={
            say("W HikariPool-1 - Pool stats (total=20, active=20, idle=0, waiting={n})"): 4,
            say("W Connection leak detection triggered for conn{few} on thread http-nio-8080-exec-{few}"): 1.5,
        },
    )


def _slow_downstream(say: Say) -> Effect:
    return Effect(delayed=0.75, delay=_seconds(2), lines={say("W Statement took {ms} ms, plan changed to seq scan"): 2})


def _dependency_down(say: Say) -> Effect:
    return Effect(
        fails=1.0,
        seen="refused",
        muted=True,
        silent=True,
        lines={say("F Could not open data directory /var/lib/{word}: input/output error, exiting"): 0.8},
        restarted=True,
    )


def _bad_deploy(say: Say) -> Effect:
    return Effect(
        fails=0.2,
        errors=(say("E Could not map field '{word}Type' of request {hex}: no such column"),),
        released=True,
    )


def _memory_leak(say: Say) -> Effect:
    return Effect(
        fails=0.25,
        seen="timeout",
        hold=_seconds(5),
        delayed=0.6,
        delay=_seconds(1.2),
        lines={
            say("W Heap is {mb} MB of 1024 MB after full collection, paused {ms} ms"): 6,
            say("E Allocation of {big} bytes failed"): 1.5,
        },
        growing=True,
        killed=True,
    )


def _disk_full(say: Say) -> Effect:
    return Effect(
        fails=0.35,
        errors=(say("E Could not extend file base/16384/{big}: No space left on device"),),
        lines={say("W Volume /var/lib/data is 9{few} percent full"): 2},
    )


def _certificate_expired(say: Say) -> Effect:
    return Effect(
        fails=0.7,
        errors=(say("W TLS handshake with {ip} failed: remote error: bad certificate"),),
        seen="tls",
        muted=True,
    )


def _dns_failures(say: Say) -> Effect:
    return Effect(fails=0.5, seen="dns", outgoing=True, lines={say("W Resolver 10.96.0.10 did not answer in 5 s"): 3})


def _queue_backlog(say: Say) -> Effect:
    return Effect(
        backlog=_seconds(900),
        lines={
            say("W Queue holds {big} messages, the oldest waits since {n} s"): 3,
            say("W Consumer {few} rebalanced, partition {few} revoked"): 1,
        },
        growing=True,
    )


def _retry_storm(say: Say) -> Effect:
    return Effect(
        repeats=4,
        delayed=0.5,
        delay=_seconds(0.8),
        lines={say("W Retrying request {hex}, attempt {few} of 10, no back-off configured"): 30},
    )


def _cache_stampede(say: Say) -> Effect:
    return Effect(
        misses=True,
        delayed=0.6,
        delay=_seconds(0.7),
        lines={say("W {n} requests wait for the same key {word}, recomputing"): 6},
    )


def _config_error(say: Say) -> Effect:
    return Effect(
        fails=0.4,
        errors=(say("E Invalid value '15 minutes' for setting {word}.ttl: a number of seconds is expected"),),
        lines={say("W Configuration revision {hex} has {few} errors, using what is left"): 1},
    )


def _auth_burst(say: Say) -> Effect:
    return Effect(
        rush={"wrong password": 120.0},
        lines={say("W Account of {user} locked after {few} failed attempts"): 8},
    )


def _deadlock(_: Say) -> Effect:
    return Effect(fails=1.0, seen="timeout", hold=_seconds(5), muted=True, silent=True, restarted=True)


def _instance_lost(_: Say) -> Effect:
    return Effect(fails=1.0, seen="reset", muted=True, silent=True, instances=1)


def _clock_skew(say: Say) -> Effect:
    return Effect(
        fails=0.25,
        errors=(say("W Token of {user} rejected: issued {n} s in the future"),),
        instances=1,
        skew=_seconds(240),
    )


def _data_corruption(say: Say) -> Effect:
    return Effect(
        lines={
            say("W Checksum of page {big} of {table} does not match, row skipped"): 5,
            say("E Record {hex} has a null in column {word}_id that must not be null"): 3,
        }
    )


def _third_party_errors(say: Say) -> Effect:
    return Effect(
        fails=0.55,
        errors=(say("E Provider {word}-pay answered 503 Service Unavailable after {ms} ms, gave up on {order}"),),
        hold=_seconds(0.9),
        lines={say("W Provider {word}-pay answered 429 Too Many Requests, waiting {few} s"): 3},
    )


def _jobs_missing(say: Say) -> Effect:
    return Effect(no_jobs=True)


def _traffic_drop(say: Say) -> Effect:
    return Effect(traffic=0.04)


KINDS: Mapping[str, tuple[Callable[[Say], Effect], tuple[str, ...], timedelta]] = {
    "pool_exhausted": (_pool_exhausted, ("payments", "orders"), timedelta(minutes=25)),
    "slow_downstream": (_slow_downstream, ("inventory", "catalog", "users"), timedelta(minutes=25)),
    "dependency_down": (_dependency_down, ("users", "inventory", "cart"), timedelta(minutes=15)),
    "bad_deploy": (_bad_deploy, ("orders", "cart", "search"), timedelta(minutes=30)),
    "memory_leak": (_memory_leak, ("catalog", "search", "inventory"), timedelta(minutes=40)),
    "disk_full": (_disk_full, ("postgres-proxy",), timedelta(minutes=30)),
    "certificate_expired": (_certificate_expired, ("payments", "shipping", "users"), timedelta(minutes=35)),
    "dns_failures": (_dns_failures, ("cart", "orders", "search"), timedelta(minutes=20)),
    "queue_backlog": (_queue_backlog, ("shipping",), timedelta(minutes=45)),
    "retry_storm": (_retry_storm, ("orders", "cart"), timedelta(minutes=20)),
    "cache_stampede": (_cache_stampede, ("catalog",), timedelta(minutes=20)),
    "config_error": (_config_error, ("inventory", "shipping", "users"), timedelta(minutes=20)),
    "auth_burst": (_auth_burst, ("users",), timedelta(minutes=20)),
    "deadlock": (_deadlock, ("search", "inventory"), timedelta(minutes=20)),
    "instance_lost": (_instance_lost, ("cart", "catalog", "orders"), timedelta(minutes=20)),
    "clock_skew": (_clock_skew, ("users",), timedelta(minutes=40)),
    "data_corruption": (_data_corruption, ("inventory", "orders"), timedelta(minutes=40)),
    "third_party_errors": (_third_party_errors, ("payments", "shipping"), timedelta(minutes=25)),
    "jobs_missing": (_jobs_missing, ("cron",), timedelta(minutes=60)),
    "traffic_drop": (_traffic_drop, ("gateway",), timedelta(minutes=20)),
}
"""The kinds: what they do, the services that may cause them, and how long they last."""


def effect_of(kind: str, service: str) -> Effect:
    """What a kind of failure does to a service of the shop (its name without the number of the shop)."""
    return KINDS[kind][0](say(service))
