"""The table of kinds of fault says what it should of lines, and takes time in proportion to them."""

from __future__ import annotations

import re

from exporter.model import faults
from exporter.model.faults import entries, fault_in, fault_named, literals

ENTRIES = entries()
HITS = [(one["id"], line) for one in ENTRIES for line in one.get("hits", ())]
UNLIKE = [(one["id"], line) for one in ENTRIES for line in one.get("unlike", ())]


def _told(line: str) -> str:
    found = fault_in(line)
    return found.id if found else ""


def test_a_line_of_a_kind_is_told_as_that_kind() -> None:
    assert [(kind, _told(line), line) for kind, line in HITS if _told(line) != kind] == []


def test_a_look_alike_is_not_told_as_the_kind() -> None:
    assert [(kind, line) for kind, line in UNLIKE if _told(line) == kind] == []


def test_each_kind_has_words_a_role_and_an_example() -> None:
    assert len({one["id"] for one in ENTRIES}) == len(ENTRIES)
    for one in ENTRIES:
        assert one["say"]
        assert one["role"] in ("cause", "strain", "peer", "wrapper")
        assert one["hits"]
        assert fault_named(one["id"]) is not None


def test_no_pattern_repeats_without_a_bound() -> None:
    unbounded = re.compile(r"(?<!\\)(?:[*+]|\{\d+,\})")
    for one in ENTRIES:
        for pattern in one["patterns"]:
            outside = re.sub(r"\[[^\]]*\]", "[]", pattern)
            loose = [at for at in unbounded.finditer(outside) if outside[at.start() - 1] != " "]
            assert not loose, f"{one['id']}: {pattern}"


def test_what_is_looked_for_first_stands_in_whatever_the_pattern_matches() -> None:
    for _, line in HITS:
        for one in ENTRIES:
            for pattern in one["patterns"]:
                for alternative, literal in zip(faults._alternatives(pattern), literals(pattern), strict=True):
                    if faults._compiled(alternative).search(line):
                        assert literal in line.lower(), pattern


def test_a_kind_of_a_newer_release_is_unknown() -> None:
    assert fault_named("gremlins") is None
