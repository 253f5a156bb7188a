"""The same incidents as another company would log them: services renamed, statements in other words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from exporter.model.faults import fault_in

SERVICES = {
    "payments": "pay-core",
    "orders": "purchase",
    "inventory": "warehouse-stock",
    "catalog": "assortment",
    "users": "identity",
    "cart": "trolley",
    "search": "finder",
    "shipping": "parcel-desk",
    "gateway": "front-door",
    "postgres-proxy": "db-relay",
    "cron": "timer",
    "notifications": "messenger",
    "reviews": "opinions",
}

PHRASES = {
    "Connection is not available, request timed out after": "no free connection in pool after waiting",
    "Could not open transaction for": "Beginning a unit of work failed for",
    "no connection to the database within": "database connection not obtained within",
    "Pool stats": "Pool state",
    "Connection leak detection triggered": "A borrowed connection was never returned",
    "Statement took": "Slow SQL, needed",
    "plan changed to seq scan": "optimizer chose a full table scan",
    "Could not open data directory": "Opening the data directory failed",
    "input/output error, exiting": "I/O error, giving up",
    "Could not map field": "Mapping failed for attribute",
    "no such column": "column does not exist",
    "after full collection, paused": "used after full GC, stopped for",
    "Allocation of": "Cannot allocate memory,",
    "Killed: out of memory": "OOM killer ended the process",
    "Could not extend file": "Growing the relation failed for",
    "No space left on device": "disk full (ENOSPC)",
    "TLS handshake with": "SSL negotiation with",
    "remote error: bad certificate": "certificate has expired",
    "no such host": "name or service not known",
    "Resolver": "Nameserver",
    "did not answer in": "gave no reply within",
    "Queue holds": "Backlog of",
    "the oldest waits since": "oldest entry is aged",
    "rebalanced": "joined the group anew",
    "Retrying request": "Trying again call",
    "no back-off configured": "without any delay",
    "requests wait for the same key": "callers blocked on one cache key",
    "recomputing": "building it anew",
    "Invalid value": "Bad setting",
    "a number of seconds is expected": "expected an integer count of seconds",
    "Configuration revision": "Config version",
    "Account of": "Login of",
    "failed attempts": "wrong passwords",
    "timed out": "exceeded its deadline",
    "connection reset by peer": "peer closed the socket",
    "connection refused": "nothing listens there (ECONNREFUSED)",
    "Token of": "JWT of",
    "rejected: issued": "not accepted, iat lies",
    "in the future": "ahead of our clock",
    "Checksum of page": "CRC of block",
    "does not match, row skipped": "mismatch, tuple ignored",
    "has a null in column": "lacks a value for field",
    "that must not be null": "which is NOT NULL",
    "Provider": "Partner",
    "answered 503 Service Unavailable": "returned HTTP 503",
    "answered 429 Too Many Requests": "throttles us (HTTP 429)",
    "gave up on": "abandoned",
    "failed": "did not succeed",
    "could not be placed, rolled back": "was not accepted, undone",
}
"""Longer phrases stand for whole statements; what is not here stays as it is."""

_SERVICE = re.compile(r"(?<![\w-])(" + "|".join(map(re.escape, sorted(SERVICES, key=len, reverse=True))) + r")(?![\w])")
_PHRASE = re.compile("|".join(map(re.escape, sorted(PHRASES, key=len, reverse=True))))


def reworded(incident: Mapping[str, Any]) -> dict[str, Any]:
    """The incident with other names and words, under another id."""

    def told(value: Any) -> Any:
        if isinstance(value, str):
            return _SERVICE.sub(lambda found: SERVICES[found[1]], _PHRASE.sub(lambda found: PHRASES[found[0]], value))
        if isinstance(value, list):
            return [told(item) for item in value]
        if isinstance(value, dict):
            return {
                key: item if key in ("kind", "id", "unit", "timestamp") else told(item) for key, item in value.items()
            }
        return value

    return {
        key: value if key in ("kind", "starts_at", "ends_at") else told(value) for key, value in incident.items()
    } | {
        "id": f"{incident['id']}-reworded",
        "fingerprint": f"{incident['fingerprint']}-reworded",
        "facts": _known_anew(told(incident.get("facts"))),
    }


def _known_anew(facts: Any) -> Any:
    """Facts with the kinds of fault that the new words are of."""
    for failing in facts["failing"] if facts else ():
        fault = fault_in(failing["words"])
        failing["kind"] = fault.id if fault else ""
    return facts
