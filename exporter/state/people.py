"""What people said of incidents: their rules, the log of their acts, and what each rule has hidden."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from exporter.model import EPOCH, Act, HiddenRow, Rule, Write
from exporter.model.times import moment, seconds
from exporter.state.aside import readable
from exporter.state.bodies import pack
from exporter.state.file import Rows

_RULE = ("name", "made_at", "origin", "removed_at", "body")
_ACT = ("at", "incident", "rule", "body")
_HIDDEN = ("rule", "id", "at", "service", "said")


def rule_row(rule: Rule) -> Write:
    """A rule; one that was taken back stays on the record."""
    removed = seconds(rule.removed_at) if rule.removed_at else None
    row = (rule.name, seconds(rule.since or EPOCH), rule.origin, removed, pack(rule))
    return Write("rules", _RULE, (row,))


async def rules_of(rows: Rows, standing: bool = True) -> list[Rule]:
    """Rules in order of their making: those that nobody has taken back, or all."""
    where = "WHERE removed_at IS NULL" if standing else ""
    found = await rows.read(f"SELECT name, body FROM rules {where} ORDER BY made_at, name")
    return [rule for name, body in found if (rule := readable(rows, "rules", name, Rule, body)) is not None]


async def rules_since(rows: Rows, since: datetime | None) -> list[Rule]:
    """Rules that hold at any time after a moment, also those that were taken back since."""
    query = "SELECT name, body FROM rules WHERE removed_at IS NULL OR removed_at > ? ORDER BY made_at, name"
    found = await rows.read(query, (seconds(since or EPOCH),))
    rules = [rule for name, body in found if (rule := readable(rows, "rules", name, Rule, body)) is not None]
    return [rule for rule in rules if since is None or rule.ends_at is None or rule.ends_at > since]


async def rule_of(rows: Rows, name: str) -> Rule | None:
    """The newest rule of a name, which may have been taken back."""
    query = "SELECT body FROM rules WHERE name = ? ORDER BY removed_at IS NULL DESC, made_at DESC LIMIT 1"
    found = await rows.read(query, (name,))
    return readable(rows, "rules", name, Rule, found[0][0]) if found else None


def act_row(act: Act) -> Write:
    return Write("acts", _ACT, ((seconds(act.at), act.incident, act.rule, pack(act)),))


async def acts_of(rows: Rows, incident: str = "", limit: int = 10_000) -> list[Act]:
    """What people did, of one incident or of all, in order: the newest as many as the limit says."""
    where = "WHERE incident = ?" if incident else ""
    query = f"SELECT number, body FROM acts {where} ORDER BY number DESC LIMIT ?"
    found = await rows.read(query, (*([incident] if incident else []), limit))
    acts = [readable(rows, "acts", str(number), Act, body) for number, body in reversed(found)]
    return [act for act in acts if act is not None]


def hidden_rows(hidden: Iterable[HiddenRow]) -> list[Write]:
    """The same thing that is hidden again, since its window was read again, is one row."""
    rows = tuple((one.rule, one.id, seconds(one.at), one.service, one.said) for one in hidden)
    return [Write("hidden", _HIDDEN, rows)] if rows else []


async def hidden_by(rows: Rows, rule: str, limit: int) -> Sequence[HiddenRow]:
    """What a rule hid, the newest first."""
    query = f"SELECT {', '.join(_HIDDEN)} FROM hidden WHERE rule = ? ORDER BY at DESC, id LIMIT ?"
    found = await rows.read(query, (rule, limit))
    return [HiddenRow(name, identity, moment(at), service, said) for name, identity, at, service, said in found]


async def hidden_counts(rows: Rows) -> dict[str, int]:
    """How many things each rule hid, as far as that is kept."""
    found = await rows.read("SELECT rule, COUNT(*) FROM hidden GROUP BY rule")
    return {rule: int(count) for rule, count in found}
