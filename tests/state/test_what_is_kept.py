"""What the state file keeps: all of it has an end, whatever comes day by day."""

from __future__ import annotations

from datetime import timedelta

import pytest

from exporter.state import retention
from tests.evaluate.month import grown, keep


async def test_a_state_file_does_not_grow_once_what_is_kept_has_reached_its_age(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    day = timedelta(days=1)
    for name in ("ANOMALIES_KEPT", "NEWS_KEPT", "TRIGGERS_KEPT"):
        monkeypatch.setattr(retention, name, day)
    earlier, later = await keep([4, 5], rate=0.2, window="30m", retention=day)
    assert earlier.rows["incidents"]
    assert earlier.rows["anomalies"]
    # Templates end by their number, which a few days do not reach.
    assert {table for table in grown(earlier, later) if not table.startswith("mining_")} == set()
    assert later.bytes <= 1.1 * earlier.bytes
