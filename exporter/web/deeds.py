"""What people do from the page of an incident: each verb with its words, and how long what it says may hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from exporter.model import Verb
from exporter.model.questions import Proposal

SHORT = ("1h", "4h", "1d", "7d")
LONG = ("7d", "30d", "90d", "ever")

LASTING: Mapping[str, tuple[str, timedelta | None]] = {
    "1h": ("1 hour", timedelta(hours=1)),
    "4h": ("4 hours", timedelta(hours=4)),
    "1d": ("1 day", timedelta(days=1)),
    "7d": ("7 days", timedelta(days=7)),
    "30d": ("30 days", timedelta(days=30)),
    "90d": ("90 days", timedelta(days=90)),
    "ever": ("until it is taken back", None),
}


@dataclass(frozen=True)
class Deed:
    """One verb. `asks` is above the text that somebody writes, `needed` whether there must be one; `lasts` are the
    choices of how long it holds, the first one chosen; `proposals` the rules that it may make, the first one chosen.
    """

    name: str
    button: str
    explains: str
    asks: str
    needed: bool = False
    verb: Verb | None = None
    lasts: tuple[str, ...] = ()
    proposals: tuple[Proposal, ...] = ()


@dataclass(frozen=True)
class Filled:
    """A form as somebody filled it in, and what is wrong with it."""

    text: str = ""
    lasts: str = ""
    proposal: str = ""
    confirmed: bool = False
    wrong: str = ""


DEEDS: Mapping[str, Deed] = {
    "ack": Deed(
        "Acknowledge",
        "Acknowledge",
        "Says that you look after it. Nothing more of it is delivered as long as that holds, unless it gets worse or "
        "spreads; it stays open, and ends by itself.",
        "Note (not needed)",
        verb="ack",
        lasts=("ever", "1h", "4h", "1d"),
    ),
    "resolve": Deed(
        "Resolve",
        "Resolve",
        "Ends it here and in every place that was told of it. What fixed it is remembered, and told with the next one "
        "like it.",
        "What fixed it?",
        verb="resolve",
    ),
    "mute": Deed(
        "Mute",
        "Mute",
        "What matches is recorded and shown here, and delivered nowhere for a while. What is learnt does not change.",
        "Why?",
        lasts=SHORT,
        proposals=("mute", "mute_service"),
    ),
    "reject": Deed(
        "Reject",
        "Reject",
        "It was no problem. It ends everywhere, and a rule says that this failure is expected: it opens no incident.",
        "Why?",
        verb="reject",
        lasts=LONG,
        proposals=("reject",),
    ),
    "accept": Deed(
        "Accept",
        "Accept",
        "It is normal now. It ends everywhere, and a rule says that all that it was made of is expected.",
        "Why?",
        verb="accept",
        lasts=LONG,
        proposals=("accept",),
    ),
    "note": Deed(
        "Note",
        "Add the note",
        "Stands on the timeline, with your name, and is told to the places that were told of the incident.",
        "Note",
        needed=True,
        verb="note",
    ),
}
"""By the verb in the address, in the order in which the page offers them."""

OF_PROPOSAL: Mapping[Proposal, str] = {
    "mute": "this failure, by its lines",
    "mute_service": "all of the service",
    "reject": "this failure, by its lines",
    "accept": "all that it was made of",
}
