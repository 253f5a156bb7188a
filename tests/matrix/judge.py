"""Whether each place was told what it should: each incident or each change once, in its last state, none anew."""

from __future__ import annotations

import json
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from exporter.model import to_json
from tests.fakes.faulty import Exchange
from tests.fakes.recording import Recorded
from tests.fakes.slack import Message, SlackFake
from tests.matrix.places import PEERS, Places
from tests.matrix.story import SEEN_BEFORE, Step, Story

KILLED_WITHIN = 3.0
"""Seconds before a kill in which what was answered may not have been written down yet."""

NOW = 2.0
"""Seconds that an end may lie ahead of the request that says it: later is the term of a firing alert."""

REVISION = r"revision {}\b"


@dataclass
class Account:
    """What a place holds, and what is to be said against it.

    `lacks` may still come; `wrong` cannot be undone. `holds` is what a calm run of the same story must leave too.
    """

    lacks: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    holds: dict[str, Any] = field(default_factory=dict)

    def unlike(self, calm: Account) -> list[str]:
        """Where it differs from what a calm run leaves."""
        keys = sorted(self.holds.keys() | calm.holds.keys())
        return [
            f"{key} is not what a calm run leaves: {_difference(self.holds.get(key), calm.holds.get(key))}"
            for key in keys
            if self.holds.get(key) != calm.holds.get(key)
        ]

    def against(self, calm: Account | None) -> list[str]:
        """All that is to be said."""
        return [*self.lacks, *self.wrong, *(self.unlike(calm) if calm and not self.lacks else ())]


def _difference(left: Any, right: Any) -> str:
    """Where two values begin to differ."""
    one, other = (json.dumps(value, ensure_ascii=False, sort_keys=True) for value in (left, right))
    same = next((place for place, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), 0)
    return f"{one[max(same - 20, 0) : same + 60]!r}, not {other[max(same - 20, 0) : same + 60]!r}"


async def accounts(places: Places, told: Story, console: str, kills: Sequence[float]) -> dict[str, Account]:
    """What every place holds by now."""
    changes = [(record.attributes["event.id"], _record(record)) for record in places.records()]
    return {
        **{peer: alertmanager(await places.alerts(peer), told, places, peer) for peer in PEERS},
        "grafana": grafana(places, told),
        "slack bot": slack_bot(places.bot, told, Exchanges(places.proxies["slack bot"].exchanges, kills)),
        "slack webhook": slack_webhook(places.hook, told, Exchanges(places.proxies["slack webhook"].exchanges, kills)),
        "webhook": every_change(_posts(places.webhook.requests), told),
        "otlp": every_change(changes, told),
        "console": printed(console, told),
    }


# --- Places that hold a state -----------------------------------------------------------------------------


def alertmanager(firing: Sequence[Any], told: Story, places: Places, peer: str) -> Account:
    """Fires for what is open, under its labels, and for nothing else; an end is said once, and stays the end."""
    found = Account()
    named = {step.incident.id: step for step in told.open}
    for alert in firing:
        identity = alert["labels"]["incident_id"]
        kept = {name: alert[name] for name in ("labels", "annotations", "generatorURL")}
        found.holds.setdefault(identity, []).append(kept)
    for identity, alerts in found.holds.items():
        if identity not in named:
            found.lacks.append(f"{identity} fires, but is over")
        elif len(alerts) > 1 or alerts[0]["labels"] != named[identity].incident.labels:
            found.lacks.append(f"{identity} fires as {len(alerts)}, not once under its own labels")
        elif not shows(alerts[0]["annotations"], named[identity], revision=r'"revision": "{}"'):
            found.lacks.append(f"{identity} fires in an older state")
    found.lacks += [f"{identity} is open, but does not fire" for identity in named.keys() - found.holds.keys()]
    found.wrong += ends_moved(places.proxies[peer].exchanges, told)
    found.wrong += flickers(places.pager.requests, told)
    return found


def ends_moved(exchanges: Iterable[Exchange], told: Story) -> list[str]:
    """Ends of one alert that were said anew, though it neither fired in between nor ended so often."""
    ended = Counter(step.incident.id for step in told.steps if step.change == "resolved")
    ends: dict[str, set[str]] = defaultdict(set)
    wrong = []
    for exchange in exchanges:
        if exchange.method != "POST" or not exchange.body.startswith(b"["):
            continue
        for alert in json.loads(exchange.body):
            key = json.dumps(alert["labels"], sort_keys=True)
            if datetime.fromisoformat(alert["endsAt"]).timestamp() > exchange.began + NOW:
                ends.pop(key, None)
                continue
            if alert["endsAt"] in ends[key]:
                continue
            ends[key].add(alert["endsAt"])
            if len(ends[key]) > max(ended[alert["labels"]["incident_id"]], 1):
                wrong.append(f"{alert['labels']['incident_id']} was ended again, at another time")
    return wrong


def flickers(notified: Iterable[Recorded], told: Story) -> list[str]:
    """Alerts that somebody was paged for after having been told of their last end."""
    over = _over(told)
    ended: set[str] = set()
    wrong = []
    for request in notified:
        for alert in request.json()["alerts"]:
            key = json.dumps(alert["labels"], sort_keys=True)
            if int(alert["annotations"]["revision"]) < over.get(key, sys.maxsize):
                continue
            if alert["status"] == "resolved":
                ended.add(key)
            elif key in ended:
                wrong.append(f"{alert['labels']['incident_id']} fired anew after its end")
    return wrong


def _over(told: Story) -> dict[str, int]:
    """The label sets that fire no more, each with the revision that ended it: of incidents or of a severity."""
    over: dict[str, int] = {}
    for step in told.steps:
        incident = step.incident
        for labels in incident.retired_labels:
            over.setdefault(json.dumps(labels, sort_keys=True), incident.revision)
        own = json.dumps(incident.labels, sort_keys=True)
        if incident.status == "firing":
            over.pop(own, None)
        else:
            over.setdefault(own, incident.revision)
    return over


def grafana(places: Places, told: Story) -> Account:
    """One annotation an incident."""
    found = Account()
    for annotation in places.grafana.annotations.values():
        identity = next(tag for tag in annotation.tags if tag.startswith("lae_id:")).removeprefix("lae_id:")
        kept = {"from": annotation.time, "to": annotation.time_end, "text": annotation.text, "tags": annotation.tags}
        found.holds.setdefault(identity, []).append(kept)
    return _once_in_last_state(found, told)


def slack_bot(slack: SlackFake, told: Story, exchanges: Exchanges) -> Account:
    """One message an incident; no answer in its thread twice."""
    found = Account()
    for message in slack.parents:
        found.holds.setdefault(_about(message), []).append({"text": message.text, "blocks": message.blocks})
    found = _once_in_last_state(found, told)
    found.wrong += exchanges.repeated("chat.postMessage", lambda body: "thread_ts" in body)
    return found


def _once_in_last_state(found: Account, told: Story) -> Account:
    for identity, step in told.ends.items():
        copies = found.holds.get(identity, [])
        if not any(shows(copy, step) for copy in copies):
            found.lacks.append(f"{identity} is not there in its last state")
        if len(copies) > 1:
            found.wrong.append(f"{identity} is there {len(copies)} times")
    return found


def slack_webhook(slack: SlackFake, told: Story, exchanges: Exchanges) -> Account:
    """What was said last of each incident is its last state; nothing was said twice that was known to have come."""
    found = Account()
    last = {_about(message): message for message in slack.messages}
    # The second report of a revision is no message of its own: how the last one cites memory is not asked.
    found.holds = {identity: {"text": message.text} for identity, message in last.items()}
    for identity, step in told.ends.items():
        said = last.get(identity)
        if said is None or not _of_revision(said.blocks, step):
            found.lacks.append(f"what was said last of {identity} is not its last state")
    found.wrong += exchanges.repeated(slack.webhook_path)
    return found


def _about(message: Message) -> str:
    """The incident that a message leads to."""
    found = re.search(r"/incidents/(\w+)", f"{message.text} {message.blocks}")
    return found[1] if found else message.text


@dataclass(frozen=True)
class Exchanges:
    """What was sent to a place, and when its sender was killed."""

    all: Sequence[Exchange]
    kills: Sequence[float]

    def repeated(self, path: str, which: Callable[[Any], bool] = lambda body: True) -> list[str]:
        """Messages that came again although their sender had the answer, and time to write it down."""
        had: set[bytes] = set()
        wrong = []
        for exchange in self.all:
            if not exchange.stored or not exchange.path.endswith(path) or not which(json.loads(exchange.body)):
                continue
            if exchange.body in had:
                wrong.append(f"a message was posted twice: {json.loads(exchange.body)['text'][:60]!r}")
            if not self._lost(exchange):
                had.add(exchange.body)
        return wrong

    def _lost(self, exchange: Exchange) -> bool:
        """Whether its sender may not know that it came."""
        return not exchange.answered or any(
            exchange.began <= kill <= exchange.ended + KILLED_WITHIN for kill in self.kills
        )


def shows(kept: Any, step: Step, revision: str = REVISION) -> bool:
    """Whether a text shows a state: its revision, and of the two reports of one the second by what it alone cites."""
    cites = SEEN_BEFORE.headline in json.dumps(kept, ensure_ascii=False)
    return _of_revision(kept, step, revision) and cites == (step.part > 0)


def _of_revision(kept: Any, step: Step, revision: str = REVISION) -> bool:
    text = json.dumps(kept, ensure_ascii=False)
    return re.search(revision.format(step.incident.revision), text) is not None


# --- Places that hold changes -----------------------------------------------------------------------------


def every_change(changes: Iterable[tuple[str, Any]], told: Story) -> Account:
    """Each change under its id, the same whenever it came; the last one of an incident is its last state."""
    found = Account()
    last: dict[str, str] = {}
    for event_id, change in changes:
        if found.holds.setdefault(event_id, change) != change:
            found.wrong.append(f"{event_id} came again, and said something else")
        last[event_id.partition(":")[0]] = event_id
    due = {step.event_id for step in told.steps}
    found.lacks += [f"{event_id} is missing" for event_id in sorted(due - found.holds.keys())]
    found.wrong += [f"{event_id} never happened" for event_id in sorted(found.holds.keys() - due)]
    for identity, step in told.ends.items():
        if identity in last and last[identity] != step.event_id and not found.lacks:
            found.wrong.append(f"the last that came of {identity} is {last[identity]}, not {step.event_id}")
    return found


def _posts(requests: Iterable[Recorded]) -> list[tuple[str, Any]]:
    return [(request.headers["Idempotency-Key"], request.json()) for request in requests]


def _record(record: Any) -> Any:
    return {
        "name": record.event_name,
        "body": record.body,
        "at": record.time_unix_nano,
        "attributes": to_json(record.attributes),
    }


def printed(console: str, told: Story) -> Account:
    """As `every_change`; a terminal shows incident and revision, and by what it cites which report it is."""
    return every_change(blocks(console, told), told)


FOOT = re.compile(r"^incident (?P<id>\S+) · revision (?P<revision>\d+)")
HEAD = re.compile(r"^ (RESOLVED|CRITICAL|WARNING|INFO) ")


def blocks(console: str, told: Story) -> Iterable[tuple[str, Any]]:
    """Each incident as it was printed, whole; what a kill cut off has no foot."""
    parts = Counter((step.incident.id, step.incident.revision) for step in told.steps)
    block: list[str] = []
    for line in console.splitlines():
        if HEAD.match(line):
            block = []
        block.append(line)
        if foot := FOOT.match(line):
            identity, revision = foot["id"], int(foot["revision"])
            text = "\n".join(block)
            second = SEEN_BEFORE.headline in text and parts[identity, revision] > 1
            yield f"{identity}:{revision}:{int(second)}", text
            block = []
