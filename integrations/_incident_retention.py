"""What goes of the index of past incidents: what is too old, and what there is no room for."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from integrations._incident_requests import Requests


async def drop_old(requests: Requests, installation: str, since: datetime) -> int:
    """Delete what an installation remembers of incidents that began before. Returns how many are gone."""
    return await requests.delete(own(installation, {"range": {"starts_at": {"lt": since.isoformat()}}}))


async def drop_surplus(requests: Requests, installation: str, most: int) -> int:
    """Delete what an installation has beyond so many: the oldest, those with a fix last. Returns how many are gone."""
    fixed = {"constant_score": {"filter": {"exists": {"field": "fix"}}}}
    query = {"bool": {**own(installation)["bool"], "should": [fixed], "minimum_should_match": 0}}
    worst = [{"_score": "asc"}, {"starts_at": {"order": "asc", "unmapped_type": "date"}}]
    return await requests.delete(query, beyond=most, sort=worst)


def own(installation: str, *more: Mapping[str, Any]) -> dict[str, Any]:
    """What an installation wrote: the index is shared, and what an older release wrote says nothing of that."""
    return {"bool": {"filter": [{"term": {"installation": installation}}, *more]}}
