"""A level means the same wherever it stands: in a document's field, in a line's field or header, as a number."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from exporter.ingest.reduction import reduce
from exporter.ingest.settings import ReductionSettings
from exporter.model import LEVELS, SYSLOG, Severity, page_schema
from integrations._documents import Decoder
from integrations.file import FileSettings

SETTINGS = ReductionSettings(redaction_key=b"0123456789abcdef")


def read(document: dict[str, Any], **settings: Any) -> int:
    """The severity of a line of a source, from the document that it is stored as."""
    decoder = Decoder(FileSettings(type="file", name="shop", path=("shop.ndjson",), **settings))
    document = {"@timestamp": "2026-03-01T12:00:00Z", **document}
    severity: int = reduce(decoder.page([document], ["1"]), SETTINGS).lines["severity"].item()
    return severity


def of_line(body: str) -> int:
    columns = {**dict.fromkeys(page_schema()), "id": "1", "timestamp": 0, "sequence": 0, "severity": 0, "body": body}
    severity: int = reduce(pl.DataFrame([columns], schema=page_schema()), SETTINGS).lines["severity"].item()
    return severity


@pytest.mark.parametrize("word", LEVELS)
def test_a_word_means_the_same_in_a_field_and_in_a_header(word: str) -> None:
    forms = [f"level={word} node seven left", f'{{"level": "{word}", "msg": "node seven left"}}']
    if len(word) > 1 and word not in ("log", "config"):
        forms += [f"12:00:00 [{word}] node seven left", f"12:00:00 {word.upper()} node seven left"]
    if word in ("warning", "error", "fatal"):
        forms += [f"{word[0].upper()}0301 12:00:00.000001       1 node.go:7] left"]
    read_as = {"field": read({"log.level": word.upper()}), **{form: of_line(form) for form in forms}}
    assert read_as == dict.fromkeys(read_as, LEVELS[word])


@pytest.mark.parametrize(
    ("number", "word"), list(enumerate(["emergency", "alert", "critical", "error", "warn", "notice", "info", "debug"]))
)
def test_a_number_of_syslog_means_what_its_word_means(number: int, word: str) -> None:
    code = {"log": {"syslog": {"severity": {"code": number}}}}
    elastic = {"fields": {"severity": "log.syslog.severity.code"}}
    assert {
        SYSLOG[number],
        read({"PRIORITY": number}),
        read({"PRIORITY": str(number), "level": None}),
        read(code, **elastic),
        read({"priority": 8 * 17 + number}, fields={"severity": "priority"}),
        of_line(f"<{8 * 17 + number}>Oct 11 22:14:15 host app[123]: node left"),
    } == {LEVELS[word]}


@pytest.mark.parametrize(
    ("document", "severity"),
    [
        ({"severity_number": 0}, 0),
        ({"severity_number": 3}, 3),
        ({"severity_number": 20}, 20),
        ({"severity": 5}, Severity.DEBUG),
        ({"level": 0}, 0),
        ({"level": 20}, Severity.DEBUG),
        ({"log.level": 20}, Severity.DEBUG),
        ({"log": {"level": "20"}}, Severity.DEBUG),
        ({"level": 60}, Severity.FATAL),
    ],
)
def test_any_other_number_is_opentelemetrys_or_that_of_loggers_of_node(document: dict[str, Any], severity: int) -> None:
    assert read(document) == severity


def test_a_field_that_names_no_level_leaves_it_to_the_next() -> None:
    assert of_line('{"level": "chatty", "severity": "error", "msg": "node seven left"}') == Severity.ERROR
