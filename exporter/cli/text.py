"""What commands print: inert, and in one line."""

from __future__ import annotations

from exporter.model import Incident


def incident_line(incident: Incident) -> str:
    """An incident on one line."""
    end = incident.ends_at.strftime("%H:%M") if incident.ends_at else "still firing"
    start = incident.starts_at.strftime("%Y-%m-%d %H:%M")
    services = ", ".join(inert(service) for service in incident.services[:4])
    return f"{incident.id}  {start} .. {end}  {incident.severity:8}  {services}"


def inert(text: str) -> str:
    """Text from logs, without what a terminal would obey."""
    return "".join(character if character.isprintable() else "�" for character in text)
