"""What logs of the field say of themselves is read right, but for what spans several lines."""

from __future__ import annotations

import pytest

from tests.field.__main__ import measured
from tests.field.cases import REPOSITORY, cases, folder

SEVERAL_LINES = ("03", "41a", "44")
"""Cases whose records span lines without saying so by quotes."""


def test_time_services_and_levels_are_read_right() -> None:
    where = folder()
    if where is None:
        pytest.skip("there are no logs of the field; LAE_SHARED_DATA names the data that they are beside")
    wanted = [case for case in cases(where) if case["command"] in ("analyze", "templates mine", "backtest")]
    verdicts = [
        verdict for verdict in measured(where, wanted, REPOSITORY) if not verdict.file.startswith(SEVERAL_LINES)
    ]
    wrong = [
        f"{verdict.file}: {name} {said}"
        for verdict in verdicts
        for name, said in verdict.facts.items()
        if said is not None and name in ("time", "last", "services", "levels", "encoding")
    ]
    assert wrong == []
