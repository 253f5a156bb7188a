"""Say where the newest documents of a source keep time, level, service and message, and what is missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from exporter.model import Check, RecordSourceSettings
from exporter.reading.choice import chosen
from exporter.reading.levels import level_in
from exporter.reading.told import TEXT, Told
from exporter.wording.text import percent
from integrations._choosing import open_columns
from integrations._documents import Decoder

NEWEST = 200
"""Documents that are looked at."""


def coverage(settings: RecordSourceSettings, documents: Sequence[Mapping[str, Any]], zone: str = "UTC") -> list[Check]:
    """What is told of the fields of some documents; nothing where there are none."""
    if not documents:
        return []
    told = Told()
    found = chosen(documents, open_columns(settings))
    page = Decoder(settings, zone, found, told).page(documents, [str(number) for number in range(len(documents))])
    silent = page.filter(page["severity"] == 0)["body"]
    told.note("severity", TEXT, sum(level_in(body) > 0 for body in silent))
    checks = [Check("fields", True, f"of the newest {len(documents)} documents: {said(told)}")]
    for column, places in found.items():
        written = f"`fields: {{{column}: {places[0]}}}`"
        checks.append(Check("fields", True, f"{column} is read by what stands there; {written} would settle it"))
    return checks


def said(told: Told) -> str:
    """Where columns come from, in one line.

    >>> told = Told(records=4)
    >>> told.note("severity", "level", 3)
    >>> said(told)
    'severity from level (75%); without timestamp, service, body, trace, host'
    """
    there, missing = [], []
    for column, shares in told.shares().items():
        places = [f"{place} ({percent(share)})" for place, share in shares.items() if place != "missing"]
        if places:
            there.append(f"{column} from {', '.join(places[:3])}")
        else:
            missing.append(column)
    return "; ".join([*there, *([f"without {', '.join(missing)}"] if missing else [])])
