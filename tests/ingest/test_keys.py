"""What is secret because of what stands beside it, where it is taken from there: keys of sessions, words of fields."""

from __future__ import annotations

import json

import pytest

from exporter.ingest.reduction import reduce
from exporter.ingest.settings import ReductionSettings
from tests.ingest.test_reduction import KEY, page

SECRET = "q7Zk2mX9vB4tL8nW3cR6yP1d"


@pytest.mark.parametrize(("pattern", "name"), [(r"JSESSIONID=(\w+)", "JSESSIONID="), (r"(?i)sid[=:] ?(\w+)", "sid: ")])
def test_a_key_that_lets_somebody_in_is_hidden_and_still_tells_sessions_apart(pattern: str, name: str) -> None:
    bodies = [f"request with {name}{key} served" for key in (SECRET, SECRET, SECRET[::-1])]
    found = reduce(page(bodies), ReductionSettings(session_pattern=pattern, redaction_key=KEY))
    assert not any(SECRET in text or SECRET[::-1] in text for text in found.names["text"])
    first, second, third = found.lines.sort("timestamp")["session"]
    assert first == second != third


def test_the_key_of_an_order_is_told_as_it_is() -> None:
    found = reduce(page([f"order={SECRET} paid"]), ReductionSettings(session_pattern=r"order=(\w+)", redaction_key=KEY))
    assert SECRET in found.names["text"].to_list()


@pytest.mark.parametrize(
    "words",
    [
        {"cookie": f"sid={SECRET}; lang=en", "result": "failed"},
        {"token": f'a"{SECRET}', "result": "failed"},
        {"password": f"\\{SECRET}\\", "result": "failed"},
    ],
)
def test_words_of_fields_lose_what_is_secret_and_stay_what_they_are(words: dict[str, str]) -> None:
    found = reduce(page(["paid"], fields=[json.dumps(words)]), ReductionSettings(redaction_key=KEY))
    (kept,) = [json.loads(text) for text in found.names["text"] if text.startswith("{")]
    assert SECRET not in json.dumps(kept)
    assert kept["result"] == "failed"
