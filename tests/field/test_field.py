"""What logs of the field say of themselves is read right."""

from __future__ import annotations

import pytest

from tests.field.__main__ import measured
from tests.field.cases import REPOSITORY, cases, folder

SLICE = ("01", "05", "09b", "10", "18a", "20", "24a", "31", "32", "39b", "53a", "55a")
"""A case of each kind; `python -m tests.field` goes through all of them."""


def test_time_services_and_levels_are_read_right() -> None:
    where = folder()
    if where is None:
        pytest.skip("there are no logs of the field; LAE_SHARED_DATA names the data that they are beside")
    verdicts = measured(where, cases(where, SLICE), REPOSITORY)
    wrong = [
        f"{verdict.file}: {name} {said}"
        for verdict in verdicts
        for name, said in verdict.facts.items()
        if said is not None and name in ("time", "last", "services", "levels", "encoding")
    ]
    assert wrong == []
