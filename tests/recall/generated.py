"""New incidents of kinds that no past one has, made from a grammar: causes in several wordings, beside usual symptoms.

None of their causes is in pairs.yaml, distractors.yaml, unseen.yaml or in the shop.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

CAUSES: dict[str, tuple[str, ...]] = {
    "encoding": (
        "column name holds mojibake: MÃ¼ller instead of Müller",
        "text of partner arrives as latin-1, stored as utf-8, umlauts broken",
        "character set of table {word} differs from that of the client",
    ),
    "currency": (
        "amount {n} booked in EUR instead of USD",
        "currency of account {n} differs from currency of {word}",
        "minor units of JPY treated as cents",
    ),
    "sorting": (
        "page {n} of list {word} repeats entries of page {m}",
        "order of {word} differs between two pages of the same listing",
        "cursor of {word} skips {n} entries",
    ),
    "address": (
        "postcode {n} unknown for country NL, {word} returned to sender",
        "street without house number taken as valid for {word}",
        "geocoder places {word} in the sea",
    ),
    "consent": (
        "tracking started before consent of visitor {n}",
        "consent banner of {word} hidden by stylesheet",
        "opt-out of user {n} ignored by {word}",
    ),
    "campaign": (
        "discount of {n} percent applied to {word} without campaign",
        "voucher {word} used {n} times, once allowed",
        "campaign {word} starts one day early",
    ),
    "sensor": (
        "temperature of freezer {n} rises to -{m} degrees",
        "sensor {word} reports the same value for {n} min",
        "door of cold store {n} open since {m} min",
    ),
    "video": (
        "transcoder writes black frames for {word}",
        "keyframe distance of {n} s breaks seeking in {word}",
        "audio of {word} ahead of picture by {n} ms",
    ),
    "tenant": (
        "record {n} of tenant {word} visible to tenant {m}",
        "tenant filter missing in listing {word}",
        "report of tenant {m} sent to {word}",
    ),
    "experiment": (
        "variant B of {word} shown to all visitors",
        "assignment of visitor {n} changes with each request",
        "experiment {word} has {n} percent too few visitors in control",
    ),
    "holiday": (
        "delivery promised for public holiday, {word}",
        "calendar of region {word} has no holidays for next year",
        "shift plan {n} ignores closing day",
    ),
    "pagination": (
        "crawler follows endless calendar of {word}, {n} pages",
        "sitemap {word} lists {n} gone pages",
        "robots file of {word} forbids everything",
    ),
    "printing": (
        "label printer {word} prints page {n} twice",
        "paper tray {n} of {word} is empty",
        "label width {n} mm does not fit {word}",
    ),
    "translation": (
        "text {word}.title shown as key in pt-BR",
        "translation of {word} older than source by {n} days",
        "plural form of {word} wrong for {n}",
    ),
    "scoring": (
        "fraud score of all orders is {n} since model {word}",
        "threshold {n} of {word} lets everything pass",
        "feature {word} constant for {n} min",
    ),
    "inheritance": (
        "role {word} inherits from itself",
        "group {n} has no owner, {word} orphaned",
        "membership of {n} users in {word} counted twice",
    ),
    "timezone": (
        "meeting {n} moved by one hour at daylight saving change",
        "report {word} covers 25 hours of one day",
        "cron of {word} ran twice between 2 and 3",
    ),
    "charging": (
        "charging station {n} offers {m} kW to a car of 11 kW",
        "meter {word} counts backwards",
        "tariff {word} applied to station {n} of another operator",
    ),
    "mapping": (
        "tile {n}/{m} of map {word} is blank",
        "polygon of zone {word} crosses itself",
        "zone {n} overlaps zone {m}",
    ),
    "voice": (
        "echo on call {n}, jitter {m} ms",
        "caller of queue {word} hears no music",
        "transcript of call {n} in the wrong language",
    ),
    "ranking": (
        "advertisement {word} shown above all results",
        "relevance of query {word} falls to {n} percent",
        "item {n} ranked first for every query",
    ),
    "insurance": (
        "policy {n} begins before it was signed",
        "premium of {word} computed for age {m}",
        "claim {n} assigned to closed case {word}",
    ),
    "inventory-date": (
        "best-before date of lot {n} lies in the past of {word}",
        "lot {n} received before it was produced",
        "serial number {n} of {word} sold twice",
    ),
    "game": (
        "match {n} has {m} players, 10 allowed",
        "leaderboard {word} lists score {n} above maximum",
        "inventory of player {n} cloned by trade {word}",
    ),
}

SYMPTOMS = (
    "request {n} failed with status 500",
    "GET /{word}/{n} -> 500 in {m} ms",
    "job {word} failed, attempt 3 of 5",
    "unhandled exception while handling {word}",
    "error while processing {word} {n}",
    "retrying {word} in {m} s",
    "could not finish {word} {n}",
    "warning: {word} incomplete",
)

WORDS = (
    "summer",
    "north",
    "basic",
    "alpha",
    "shoes",
    "daily",
    "retail",
    "blue",
    "partner",
    "archive",
    "garden",
    "metro",
)


def unseen(services: Sequence[str], seed: int, each: int = 10) -> Iterator[tuple[str, str, list[str]]]:
    """Cause, service and lines: the services are those that have a past."""
    chance = random.Random(seed)
    for cause, wordings in CAUSES.items():
        for _ in range(each):
            told = chance.sample(wordings, chance.choice((1, 2)))
            symptoms = chance.sample(SYMPTOMS, chance.choice((0, 1, 2)))
            yield cause, chance.choice(services), [_filled(text, chance) for text in (*told, *symptoms)]


def _filled(text: str, chance: random.Random) -> str:
    word, n, m = chance.choice(WORDS), chance.randint(2, 9_000), chance.randint(2, 90)
    return text.format(word=word, n=n, m=m)
