"""LogQL as far as sources speak it: selectors, filters of lines and labels, and sums of counts; anything else is refused."""  # noqa: E501

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache

Labels = Mapping[str, str]
Matcher = tuple[str, str, str]
"""A label, an operator and a value."""
Stage = tuple[str, str, str]
"""As a matcher; without a label it is a filter of lines."""

STRING = r'"(?:[^"\\]|\\.)*"|`[^`]*`'
MATCHER = re.compile(rf"\s*([A-Za-z_]\w*)\s*(=~|!~|!=|=)\s*({STRING})\s*")
STAGE = re.compile(rf"\s*(?:(\|=|!=|\|~|!~)\s*({STRING})|\|\s*label_format\s+(\w+)\s*=\s*({STRING})|\|\s*(\w+)\s*(=~|!~|!=|=)\s*({STRING}))")  # fmt: skip  # noqa: E501
METRIC = re.compile(r"sum\(count_over_time\((.*)\[(\w+)\]\)\)$", re.DOTALL)
DURATION = re.compile(r"(\d+)(ms|s|m|h|d)")
NANOSECONDS = {"ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9, "d": 86_400 * 10**9}

STAMP = re.compile(r"\{\{\s*__timestamp__\s*\|\s*unixEpochNanos\s*\}\}")
"""The one template that is known: the time of the line."""

BEYOND_RE2 = re.compile(r"\(\?(?:<?[=!]|>|\(|P=)|\\[1-9]|[*+?}]\+")
"""What Python's expressions can do and RE2's cannot: looking around, references, possessive repetition."""

ESCAPED = re.compile(r"\\[^1-9]")

MAX_QUERY = 128 * 1024
"""Characters of a query."""


class BadQuery(Exception):
    """What the server says of a question that it cannot answer, as text with status 400."""


def metric(query: str) -> tuple[str, int]:
    """The log query inside, and the range in nanoseconds."""
    match = METRIC.match(query.strip())
    if not match:
        raise BadQuery("parse error at line 1, col 1: syntax error: unexpected IDENTIFIER")
    duration = sum(int(n) * NANOSECONDS[unit] for n, unit in DURATION.findall(match[2]))
    if DURATION.sub("", match[2]) or not duration:
        raise BadQuery(f'parse error at line 1, col 50: not a valid duration string: "{match[2]}"')
    return match[1].strip(), duration


def parse(query: str) -> tuple[list[Matcher], list[Stage]]:
    """Matchers of the selector, then stages. Raises BadQuery."""
    text = query.strip()
    if len(text) > MAX_QUERY:
        raise BadQuery(f"parse error : input size too long ({len(text)} > {MAX_QUERY})")
    matchers, end = _selector(text)
    stages = _stages(text, end)
    for _, operator, value in (*matchers, *stages):
        if operator in ("=~", "!~", "|~"):
            expression(value)
    return matchers, stages


def _selector(text: str) -> tuple[list[Matcher], int]:
    """The matchers, and where the brace after them ends."""
    if not text.startswith("{"):
        raise BadQuery("parse error at line 1, col 1: syntax error: unexpected IDENTIFIER")
    at, matchers = 1, []
    while match := MATCHER.match(text, at):
        matchers.append((match[1], match[2], _string(match[3])))
        at = match.end()
        if text[at : at + 1] != ",":
            break
        at += 1
    if text[at : at + 1] != "}" or text[at - 1] == ",":
        raise BadQuery(f"parse error at line 1, col {at + 1}: syntax error: unexpected $end, expecting }} or ,")
    if not any(_excludes_empty(matcher) for matcher in matchers):
        words = "queries require at least one regexp or equality matcher that does not have an empty-compatible value"
        raise BadQuery(f"parse error : {words}")
    return matchers, at + 1


def _stages(text: str, at: int) -> list[Stage]:
    stages = []
    while at < len(text):
        stage = STAGE.match(text, at)
        if not stage:
            raise BadQuery(f"parse error at line 1, col {at + 1}: syntax error: unexpected IDENTIFIER")
        filtered, value, formatted, template, label, operator, wanted = stage.groups()
        if filtered:
            stages.append(("", filtered, _string(value)))
        elif formatted and STAMP.fullmatch(_string(template)):
            stages.append((formatted, "label_format", ""))
        elif formatted:
            raise BadQuery(f"parse error : invalid template for label '{formatted}': {template}")
        else:
            stages.append((label, operator, _string(wanted)))
        at = stage.end()
    return stages


def _string(text: str) -> str:
    if text.startswith("`"):
        return text[1:-1]
    try:
        return str(json.loads(text))
    except ValueError as error:
        raise BadQuery(f"parse error at line 1, col 1: invalid char escape in {text}") from error


@lru_cache(maxsize=1000)
def expression(pattern: str) -> re.Pattern[str]:
    """A regular expression as RE2 takes it."""
    try:
        if beyond := BEYOND_RE2.search(ESCAPED.sub("", pattern)):
            raise re.error(f"invalid or unsupported Perl syntax: `{beyond[0]}`")
        return re.compile(pattern)
    except re.error as error:
        raise BadQuery(f"parse error : error parsing regexp: {error}") from error


def selects(matchers: Sequence[Matcher], labels: Labels) -> bool:
    return all(_holds(matcher, labels) for matcher in matchers)


def passes(stages: Sequence[Stage], timestamp: int, text: str, labels: Labels) -> Labels | None:
    """The labels that the stages add to a line, or None if one of them drops it."""
    added: dict[str, str] = {}
    for name, operator, value in stages:
        if operator == "label_format":
            added[name] = str(timestamp)
        elif not (_holds((name, operator, value), {**labels, **added}) if name else _filter(operator, value, text)):
            return None
    return added


def _excludes_empty(matcher: Matcher) -> bool:
    return matcher[1] in ("=", "=~") and not _holds(matcher, {})


def _holds(matcher: Matcher, labels: Labels) -> bool:
    name, operator, wanted = matcher
    value = labels.get(name, "")
    equal = expression(wanted).fullmatch(value) is not None if operator.endswith("~") else value == wanted
    return equal != operator.startswith("!")


def _filter(operator: str, wanted: str, text: str) -> bool:
    found = expression(wanted).search(text) is not None if operator.endswith("~") else wanted in text
    return found != operator.startswith("!")
