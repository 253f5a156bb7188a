"""Incidents in Slack's blocks: within its limits, and without anything that it would fetch."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from exporter.model import Digest, DigestLine, Incident, NoticeTold, Notification, Report
from exporter.wording import digests, impact, narrative, words
from exporter.wording.text import brief, fill, link, one_line, shorten, span, time_of_day

MAX_BLOCKS_BYTES = 12_000
"""Slack refuses blocks of about 13,200 characters in all (measured by others; not documented)."""

MAX_HEADER = 150

MAX_SECTION = 2_800

MAX_PLAIN = 3_000

MAX_LINK = 700
"""Characters of an address at the foot: three of the longest leave room for what the message is about."""

DIGEST_LINES = 8
"""Incidents of a digest in one section."""

MOST_TOLD, MOST_ASIDE, EACH = 10, 4, 5
"""Sentences of what a model made of it, those beside its story, and as many as stand in one section whole."""

SIGNS = {"critical": "🔴", "warning": "🟠", "info": "🔵"}


def message(notification: Notification, samples: int = 3, said: Sequence[str] = ()) -> dict[str, Any]:
    """Text for notifications and blocks for the channel; within Slack's limits, and without anything it would fetch."""
    return {
        "text": plain(notification, 300),
        "blocks": blocks(notification, samples, said),
        "unfurl_links": False,
        "unfurl_media": False,
        "parse": "none",
    }


def plain(notification: Notification, limit: int = MAX_PLAIN) -> str:
    """The message without blocks: for notifications, and where Slack refuses the blocks."""
    incident, report = notification.incident, notification.report
    lines = [f"{words.state(incident)}: {words.headline(incident, report)}"]
    lines += [f"• {words.reason(item)}" for item in incident.contributions[:5]]
    address = link(notification.url)
    tail = f"\n{address}" if address else ""
    return fill("\n".join(lines), limit - len(escape(tail)), unlinked) + escape(tail)


def digest_message(digest: Digest, only_changed: bool = False) -> dict[str, Any]:
    """A digest: how many of which kind, then as many lines as Slack takes, and how many more there are."""
    lines = tuple(line for line in digest.lines if line.changed or not only_changed)
    said = digests.title(replace(digest, again=only_changed), lines)
    links = f"<{url}|All incidents>" if (url := _link(digest.url or "")) else ""
    head = {"type": "header", "text": {"type": "plain_text", "text": shorten(f"📋 {said}", MAX_HEADER), "emoji": False}}
    shown = [_linked(one) for one in lines]
    kept: list[dict[str, Any]] = [head]
    for count in range(0, len(shown), DIGEST_LINES):
        block = markdown("\n".join(shown[count : count + DIGEST_LINES]))
        left = len(shown) - count - DIGEST_LINES
        foot = [_digest_foot(links, left)]
        if size([*kept, block, *foot]) > MAX_BLOCKS_BYTES:
            break
        kept.append(block)
    left = max(len(shown) - DIGEST_LINES * (len(kept) - 1), 0)
    text = fill("\n".join([said, *(digests.line(one) for one in lines[:5])]), 300, unlinked)
    return {
        "text": text,
        "blocks": [*kept, _digest_foot(links, left)],
        "unfurl_links": False,
        "unfurl_media": False,
        "parse": "none",
    }


def notice_message(told: NoticeTold) -> dict[str, Any]:
    """A notice: one line."""
    said = words.notice(told.notice)
    link = f" <{url}|All notices>" if (url := _link(told.url or "")) else ""
    return {
        "text": fill(said, 300, unlinked),
        "blocks": [markdown(f"ℹ️ {fill(said, MAX_SECTION - 100 - len(link), inert)}{link}")],
        "unfurl_links": False,
        "unfurl_media": False,
        "parse": "none",
    }


def _linked(one: DigestLine) -> str:
    text = fill(digests.line(one, 120), 220, inert)
    address = _link(one.url or "")
    sign = "✅" if one.status == "resolved" else SIGNS[one.severity]
    return f"{sign} {text}" + (f" <{address}|open>" if address else "")


def _digest_foot(links: str, left: int) -> dict[str, Any]:
    parts = [*([digests.more(left)] if left > 0 else []), *([links] if links else [])] or ["that is all of them"]
    return {"type": "context", "elements": [{"type": "mrkdwn", "text": " · ".join(parts), "verbatim": True}]}


def blocks(notification: Notification, samples: int = 3, said: Sequence[str] = ()) -> list[dict[str, Any]]:
    """What matters first; what does not fit the budget is left out. `said` is what changed since the last message."""
    incident, report = notification.incident, notification.report
    title = shorten(f"{_sign(incident)} {words.headline(incident, report)}", MAX_HEADER)
    head = {"type": "header", "text": {"type": "plain_text", "text": title, "emoji": False}}
    optional = [
        _section("What changed", said),
        _section(words.PEOPLE, words.people(incident)),
        *_narrated(report),
        _section(f"*{words.state(incident)}* · {words.LIKELY_CAUSE.lower()}", words.suspects(incident)),
        _section(words.WHY, [words.reason(item) for item in incident.contributions[:4]]),
        _section(words.SEEN_BEFORE, words.seen_before(report, 2)),
        _section(words.WHAT_TO_DO, [narrative.claim(step, 240) for step in report.steps[:4]]),
        _lines(incident, samples),
        _section(impact.COMPARED, [as_before] if (as_before := impact.unchanged(incident)) else []),
    ]
    foot = {"type": "context", "elements": [{"type": "mrkdwn", "text": _foot(notification), "verbatim": True}]}
    kept: list[dict[str, Any]] = [head]
    for block in filter(None, optional):
        if size([*kept, block, foot]) <= MAX_BLOCKS_BYTES:
            kept.append(block)
    return [*kept, foot]


def _narrated(report: Report) -> list[dict[str, Any] | None]:
    """What a model made of it: each fact whole, for its number stands at its end."""
    found = []
    for title, told in narrative.parts(report):
        shown = told[: MOST_ASIDE if title in (narrative.NOT_KNOWN, narrative.LEFT_OUT) else MOST_TOLD]
        lines = [narrative.claim(one, 460) for one in shown]
        found += [_section(title, lines[start : start + EACH]) for start in range(0, len(lines), EACH)]
    return found


def size(value: Sequence[Mapping[str, Any]]) -> int:
    """Bytes of the blocks as they are sent."""
    return len(json.dumps(value))


def escape(text: str) -> str:
    """Slack's three: with them escaped, no mention, link or command is left.

    >>> escape("<!channel> & <@U1>")
    '&lt;!channel&gt; &amp; &lt;@U1&gt;'
    """
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def inert(text: str) -> str:
    """Escaped, and with a zero-width space beside the marks of Slack's formatting: log text shows as it is.

    An underscore inside a word formats nothing, so names stay what people can copy.
    """
    return re.sub(r"([*~`]|(?<![^\W_])_|_(?![^\W_]))", "\u200b\\1\u200b", escape(text))


def unlinked(text: str) -> str:
    """Inert, and with no address that Slack would make a link of: plain text has no `verbatim`."""
    return inert(text).replace("://", ":\u200b//")


def fenced(text: str) -> str:
    """Escaped for a code fence, which it cannot end."""
    return escape(text).replace("`", "\u200b`")


def changes(incident: Incident, before: Mapping[str, Any]) -> list[str]:
    """What is worth a message since the last one: the sentences of it. A first message is told by itself."""
    now = state(incident)
    said = []
    if before["status"] != now["status"]:
        resolved = incident.status == "resolved"
        said.append(f"Resolved after {words.lasted(incident)}." if resolved else "It is back: reopened.")
    if before["severity"] != now["severity"]:
        said.append(f"Severity changed from {before['severity']} to {now['severity']}.")
    if before["cause"] != now["cause"]:
        said.append(f"The most likely cause is now {now['cause']}, no longer {before['cause']}.")
    if added := [name for name in now["services"] if name not in before["services"]]:
        said.append(f"Now also affected: {', '.join(added)}.")
    said += [line for line in now["people"] if line not in before.get("people", ())]
    if now["fix"] and before.get("fix") != now["fix"]:
        said.append(f"Fixed by: {now['fix']}")
    return said


def state(incident: Incident) -> dict[str, Any]:
    """What `changes` compares."""
    return {
        "status": incident.status,
        "severity": incident.severity,
        "cause": brief(words.cause(incident), 80),
        "services": [brief(name, 80) for name in incident.services[:20]],
        "fix": brief(incident.fix or "", 300),
        "people": words.people(incident),
    }


def _section(title: str, lines: Sequence[str]) -> dict[str, Any] | None:
    if not lines:
        return None
    heading = title if title.startswith("*") else f"*{title}*"
    each = max((MAX_SECTION - len(heading)) // len(lines) - 8, 40)
    text = "\n".join([heading, *(f"• {fill(line, each, inert)}" for line in lines)])
    return markdown(text)


def markdown(text: str) -> dict[str, Any]:
    # Verbatim: an address in a log line does not become a link.
    return {"type": "section", "text": {"type": "mrkdwn", "text": text, "verbatim": True}}


def _lines(incident: Incident, samples: int) -> dict[str, Any] | None:
    if not samples or not incident.evidence:
        return None
    each = (MAX_SECTION - 40) // samples - 2
    lines = [
        fill(f"{time_of_day(e.timestamp)} {one_line(e.service)}  {brief(e.body, 600)}", each, fenced)
        for e in incident.evidence[:samples]
    ]
    text = "\n".join(lines)
    return markdown(f"*Lines*\n```\n{text}\n```")


def _foot(notification: Notification) -> str:
    incident, report = notification.incident, notification.report
    links = [("Open incident", notification.url or ""), *notification.source_links[:3]]
    parts = [f"<{url}|{inert(brief(name, 60))}>" for name, raw in links if (url := _link(raw))]
    parts.append(span(incident.starts_at, None))
    parts.append(f"incident {inert(brief(incident.id, 40))}, revision {incident.revision}")
    if generated := narrative.generated(report):
        parts.append(inert(generated))
    return " · ".join(parts)


def _link(url: str) -> str | None:
    # Inside <…> an ampersand is written as an entity, like everywhere in Slack's text.
    safe = link(url)
    return escape(safe) if safe and len(safe) <= MAX_LINK else None


def _sign(incident: Incident) -> str:
    return "✅" if incident.status == "resolved" else SIGNS[incident.severity]
