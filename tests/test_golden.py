"""The replay against an old checkout: what differs is found, is shown where it differs, and is not hidden by noise."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.golden.__main__ import main
from tests.golden.differences import ABSENT, MACHINE, Difference, differences, normalised, told

REPOSITORY = Path(__file__).parent.parent


def test_equal_values_do_not_differ() -> None:
    value = {"rows": {"news": {"a/1": {"body": {"id": "a", "score": 0.5}}}}, "console": ["x", "", "y"]}
    assert list(differences(value, value)) == []


def test_a_difference_is_named_by_its_place() -> None:
    old = {"sent": {"webhook": [{"body": {"incident": {"severity": "warning"}}}]}}
    new = {"sent": {"webhook": [{"body": {"incident": {"severity": "critical"}}}]}}
    place = "sent.webhook.0.body.incident.severity"
    assert list(differences(old, new)) == [Difference(place, "warning", "critical")]


def test_what_only_one_has_is_a_difference_also_where_it_is_null() -> None:
    found = list(differences({"a": None}, {"b": None}))
    assert found == [Difference("a", None, ABSENT), Difference("b", ABSENT, None)]


def test_values_of_other_types_differ() -> None:
    assert [d.place for d in differences({"n": 1, "ok": 1}, {"n": 1.0, "ok": True})] == ["n", "ok"]


def test_an_item_more_is_one_difference_and_not_one_for_each_that_follows() -> None:
    assert list(differences(["a", "b", "c"], ["a", "x", "b", "c"])) == [Difference("1", ABSENT, "x")]
    assert list(differences(["a", "x", "b", "c"], ["a", "b", "c"])) == [Difference("1", "x", ABSENT)]


def test_long_texts_are_shown_around_the_place_where_they_differ() -> None:
    text = str(Difference("page", "a" * 1000 + "old" + "b" * 1000, "a" * 1000 + "new" + "b" * 1000))
    assert "aold" in text
    assert "anew" in text
    assert len(text) < 500


def test_each_section_says_how_much_differs_and_shows_the_first_few() -> None:
    found = [Difference(f"rows.news.{number}.at", number, -number) for number in range(1, 10)]
    lines = list(told("shop", found, most=2))
    assert lines[0] == "shop: rows.news: 9 differences"
    assert lines[-1] == "  … and 7 more"
    assert len(lines) == 4


def test_ports_and_durations_are_of_the_machine_and_nothing_else_is() -> None:
    old = {"http://127.0.0.1:4011/x": "1h of history hold 3 lines; all are read, in about 1m2s"}
    new = {"http://127.0.0.1:5022/x": "1h of history hold 3 lines; all are read, in about 9s"}
    assert list(differences(normalised(old, MACHINE), normalised(new, MACHINE))) == []
    changed = {"http://127.0.0.1:5022/x": "1h of history hold 4 lines; all are read, in about 9s"}
    assert len(list(differences(normalised(old, MACHINE), normalised(changed, MACHINE)))) == 1


def test_two_checkouts_are_compared_each_with_its_own_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("exporter", "integrations"):
        shutil.copytree(REPOSITORY / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    command = [str(tmp_path), "--part", "fingerprints"]
    assert main(command) == 0
    assert "nothing differs" in capsys.readouterr().out
    config = tmp_path / "exporter" / "config" / "settings.py"
    default = "stall_after: Duration = timedelta(minutes=10)"
    assert default in config.read_text()
    config.write_text(config.read_text().replace(default, default.replace("10", "20")))
    assert main(command) == 3
    printed = capsys.readouterr().out
    assert 'old: "stall_after: 20m"' in printed
    assert 'new: "stall_after: 10m"' in printed
    assert main([*command, "--expect", "^effective"]) == 0
    assert "2 differences as expected" in capsys.readouterr().out


def test_a_checkout_that_is_not_there_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["no-such-revision", "--part", "fingerprints"]) == 1
    assert "neither a directory nor a revision" in capsys.readouterr().err
