"""Patterns of users: in linear time where Rust knows them; others within bounds for one release, or not at all."""

from __future__ import annotations

import time

import pytest

from exporter.config import parse
from exporter.ingest.patterns import MAX_CHARS, TooLongError, only_python, users_pattern
from exporter.ingest.redaction import PLACEHOLDER, WITHHELD, Redactor
from exporter.ingest.settings import session_pattern
from exporter.model import ConfigError

KEY = b"0123456789abcdef"
SLOW = "a" * 40


def redacted(pattern: str, text: str) -> str:
    return PLACEHOLDER.sub("<>", Redactor(KEY, extra=[("own", pattern)]).redact(text))


@pytest.mark.parametrize(
    ("pattern", "text", "result"),
    [
        (r"CUST-(?P<s>\d+)", "CUST-12 and CUST-345.", "CUST-<> and CUST-<>."),
        (r"\bfoo\b", "xfoo foo foox", "xfoo <> foox"),
        (r"(?<=room )(?P<s>\d+)", "room 12, not 13", "room <>, not 13"),
        (r"(\w)\1\w*", "abc bbc", "abc <>"),
        (r"\<id\>", "<id> id", "<> id"),
        (r"id=(?P<s>\w+)|nothing", "id=12 nothing id=a", "id=<> <> id=<>"),
        # What is secret stands at two places of the match: all of it is hidden.
        (r"id=(?P<s>\w+)", "id=i", "<>"),
        (r"\p{Greek}+", "naïve αβγ", "naïve <>"),
        (r"x\ufdd0?", "x\ufdd0 x", "<>\ufdd0 <>"),
    ],
)
def test_a_pattern_hides_its_group_or_all_that_it_matches(pattern: str, text: str, result: str) -> None:
    assert redacted(pattern, text) == result


def test_what_takes_a_backtracking_engine_for_ever_takes_linear_time() -> None:
    begin = time.process_time()
    assert redacted(r"(a+)+b", SLOW) == SLOW
    assert time.process_time() - begin < 1


def test_what_only_python_knows_is_ended_when_it_takes_too_long_and_its_line_is_withheld() -> None:
    redactor = Redactor(KEY, extra=[("own", r"(?<!x)(a+)+b")])
    assert redactor.redact(SLOW) == WITHHELD
    assert PLACEHOLDER.sub("<>", redactor.redact("xx aab")) == "xx <>"
    assert redactor.redact("a" * (MAX_CHARS + 1)) == WITHHELD
    assert redactor.counts == {"failed": 2, "own": 1}


def test_a_text_that_takes_too_long_says_so() -> None:
    with pytest.raises(TooLongError):
        users_pattern(r"(?<!x)(a+)+b").spans(SLOW)


@pytest.mark.parametrize("pattern", [r"(?<=a)b", r"(a)\1", r"\<a", r"[[a]b]", r"\w{1000}"])
def test_patterns_that_rust_does_not_know_or_takes_otherwise_are_python_s(pattern: str) -> None:
    assert only_python(pattern)


def configured(**redaction: object) -> dict[str, object]:
    return {"sources": [{"name": "a", "type": "file", "path": "x.log", **redaction}]}


def test_what_the_next_release_refuses_is_said_at_start(caplog: pytest.LogCaptureFixture) -> None:
    parse({**configured(), "redaction": {"extra": [{"name": "a", "regex": "(?<=a)b"}, {"name": "b", "regex": "b"}]}})
    parse(configured(sessions={"pattern": r"(\w*)"}))
    first, second = (record.getMessage() for record in caplog.records)
    assert "redaction.extra.0.regex: not a regular expression that Rust knows (it has no look-around)" in first
    assert "sources.0.sessions.pattern: matches the empty text" in second
    assert all("the next" in text for text in (first, second))


def test_a_pattern_that_is_too_large_is_refused_as_that() -> None:
    with pytest.raises(ValueError, match="too large"):
        session_pattern(r"(\w{1000})")
    with pytest.raises(ConfigError, match="too large"):
        parse({**configured(), "mining": {"masks": {"extra": [{"name": "A", "regex": "a{1000}{1000}"}]}}})


@pytest.mark.parametrize("pattern", ["(", "[", "a{2,1}", "(" * 5_000 + ")" * 5_000])
def test_what_no_engine_knows_is_refused(pattern: str) -> None:
    with pytest.raises(ConfigError, match="not a regular expression"):
        parse({**configured(), "redaction": {"extra": [{"name": "a", "regex": pattern}]}})
