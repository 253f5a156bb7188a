"""Whether each place holds each incident once, and as it was told last."""

from __future__ import annotations

from collections import Counter

from exporter.state.news import newest_news
from tests.fakes.slack import Message
from tests.people.weeks import Places, Weeks


async def wrong(lived: Weeks, places: Places) -> list[str]:
    """What is not as it should be, in any place."""
    found: list[str] = []
    state = lived.assembly.state
    tags = Counter(tag for one in places.grafana.annotations.values() for tag in one.tags if tag.startswith("lae_id:"))
    messages = Counter(map(_of, places.slack.parents))
    events = Counter(request.json()["event_id"] for request in places.webhook.requests)
    rows = await state.read("SELECT incident, revision, part, body FROM news ORDER BY number")
    told = {f"{incident}:{revision}:{part}" for incident, revision, part, body in rows if '"withheld":""' in body}
    found += [
        f"webhook: {event} came {events[event]} times"
        for event in sorted(told | set(events))
        if events[event] != (event in told)
    ]
    for incident in await lived.incidents():
        news = await newest_news(state, incident.id)
        wanted = 1 if news else 0
        if tags[f"lae_id:{incident.id}"] != wanted:
            found.append(f"grafana: {incident.id} stands {tags[f'lae_id:{incident.id}']} times, not {wanted}")
        if messages[incident.id] != wanted:
            found.append(f"slack: {incident.id} stands {messages[incident.id]} times, not {wanted}")
        if news is None:
            continue
        state_word = "Resolved" if news.incident.status == "resolved" else news.incident.severity.capitalize()
        annotation = next(one for one in places.grafana.annotations.values() if f"lae_id:{incident.id}" in one.tags)
        if f"<b>{state_word}: " not in annotation.text:
            found.append(f"grafana: {incident.id} is not {state_word}: {annotation.text[:60]}")
        message = next(
            one for one in places.slack.parents if one.metadata["event_payload"]["incident_id"] == incident.id
        )
        if not message.text.startswith(f"{state_word}: "):
            found.append(f"slack: {incident.id} is not {state_word}: {message.text[:60]}")
        closed = news.incident.closed
        if closed and closed.verdict in ("accepted", "rejected") and closed.verdict not in annotation.tags:
            found.append(f"grafana: {incident.id} has no tag {closed.verdict}")
    return found


def _of(message: Message) -> str:
    return str(message.metadata["event_payload"]["incident_id"])
