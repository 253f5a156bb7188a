"""What the services of the made platform are called, and how they word what they do and what fails."""

from __future__ import annotations

import random
from collections.abc import Sequence

NAMES = (
    "bookings", "tariffs", "vouchers", "ledger", "identity", "geocoder", "routing", "fleet", "quotes", "invoices",
    "claims", "uploads", "thumbnails", "search", "profiles", "loyalty", "partners", "exports", "imports", "schedules",
    "seats", "refunds", "balances", "contracts", "meters", "readings", "alarms", "campaigns", "surveys", "archive",
)  # fmt: skip
EDGES = ("gateway", "edge", "frontdoor", "public-api")
SMALL = ("mailer", "audit", "reporter", "janitor")
BEATS = ("watchdog", "lease-keeper", "probe")

NOUNS = (
    "document", "ticket", "position", "policy", "voucher", "shipment", "session", "contract", "account", "device",
    "parcel", "booking", "statement", "profile", "meter", "itinerary", "balance", "receipt", "segment", "catalogue",
)  # fmt: skip
DOES = (
    "{noun} {id} accepted for customer {n}",
    "stored {noun} {id} in {ms} ms",
    "found {n} {noun}s for query {id}",
    "{noun} {id} moved to state READY after {ms} ms",
    "cache hit for {noun} {id}",
    "published event {noun}.changed id={id} partition={few}",
    "GET /v1/{noun}s/{id} 200 {ms} ms",
    "loaded {noun} {id} with {few} positions",
    "validated {noun} {id}: {few} rules applied",
    "worker {few} took {noun} {id} from the queue",
    "price of {noun} {id} is {n}.{few}0 EUR",
    "renewed lock on {noun} {id} for {few}0 s",
    "merged {few} changes into {noun} {id}",
    "notified subscriber {n} about {noun} {id}",
)
AGAIN = (
    "{noun} {id} was taken in, customer={n}",
    "wrote {noun} {id} to the store ({ms} ms)",
    "query {id} matched {n} {noun} entries",
    "state of {noun} {id} is READY now, took {ms} ms",
    "{noun} {id} came from the cache",
    "event {noun}-changed for {id} sent to partition {few}",
    "handled GET /v1/{noun}s/{id} status=200 elapsed={ms}ms",
    "{noun} {id} read: positions={few}",
    "rules checked on {noun} {id}: {few}",
    "queue gave {noun} {id} to worker {few}",
    "{noun} {id} costs {n}.{few}0 EUR",
    "lock of {noun} {id} extended by {few}0 s",
    "{noun} {id}: {few} changes merged",
    "subscriber {n} was told of {noun} {id}",
)
"""The same in the words of the next release."""

FAILS = (
    "could not store {noun} {id}: deadlock detected by the database",
    "request {id} failed: connection pool exhausted, {few} waiting",
    "cannot read {noun} {id}: unexpected end of stream",
    "transaction {id} rolled back: duplicate key in {noun}s",
    "timeout after {ms} ms while locking {noun} {id}",
    "unhandled exception for {noun} {id}: NullPointerException at Handler.java:{few}",
    "no space left on device while writing {noun} {id}",
    "certificate of the broker has expired, {noun} {id} is not sent",
    "schema mismatch in {noun} {id}: column version_{few} does not exist",
    "permission denied for {noun} {id}: role is missing",
    "checksum of {noun} {id} is wrong, refused",
    "out of memory in worker {few}: {noun} {id} dropped",
    "invalid token for {noun} {id}: signature does not verify",
    "leader of partition {few} is not available, {noun} {id} postponed",
)
NAMES_PEER = (
    "call to {peer} failed with status 503 for {noun} {id}",
    "upstream {peer} answered 500 to request {id}",
    "giving up on {peer} after 3 attempts, {noun} {id}",
    "{peer}: bad gateway while fetching {noun} {id}",
)
DEBUGS = (
    "enter handle({noun}={id}, thread={few})",
    "leave handle({noun}={id}) in {ms} ms",
    "sql: select * from {noun}s where id = {id}",
    "header x-request-id={id} x-shard={few}",
)
BEATS_SAY = "heartbeat number {n} sent"
WARNS = ("slow answer for {noun} {id}: {ms} ms", "retrying {noun} {id}, attempt {few}")


def variants(text: str, noun: str, peer: str, chance: random.Random, many: int = 48) -> list[str]:
    """A text with so many different values."""
    out = []
    for _ in range(many):
        values = {"n": chance.randint(100, 99_999), "ms": chance.randint(1, 900), "few": chance.randint(1, 9)}
        out.append(text.format(noun=noun, peer=peer, id=f"{chance.getrandbits(48):012x}", **values))
    return out


def formatted(bodies: Sequence[str], component: str) -> list[str]:
    """As another logger writes them."""
    return [f'component={component} thread=main msg="{body}"' for body in bodies]
