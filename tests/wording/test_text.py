"""Foreign text is harmless wherever it is shown; numbers, durations and moments read the same everywhere."""

from __future__ import annotations

import html
import unicodedata
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, strategies

from exporter.wording import text

EVERYTHING = strategies.text(max_size=300)
NASTY = strategies.text(
    alphabet="ab \x1b[]0m;\x07\u202e\u200b\n\r\x9b\x00\u2028\xa0\ud800\ue000\u0378\u3164\ufe0f\U000e0041\U000e0101",
    max_size=80,
)


@given(EVERYTHING | NASTY)
def test_every_character_of_a_clean_text_shows(given_text: str) -> None:
    made = text.clean(given_text)
    assert made.replace("\n", "").replace("\t", "").isprintable()
    assert not set(made) & set("\u3164\ufe0f\U000e0101"), "printable by Python's word, and yet not seen"
    assert text.clean(made) == made


@given(EVERYTHING | NASTY, strategies.integers(1, 60))
def test_a_brief_text_is_one_line_within_its_limit(given_text: str, limit: int) -> None:
    made = text.brief(given_text, limit)
    assert len(made) <= limit
    assert made.isprintable()
    assert text.brief(made, limit) == made


@pytest.mark.parametrize(
    ("given_text", "shown"),
    [
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b(B\x1b[mreset", "reset"),
        ("\x1b]0;a title\x07body", "body"),
        ("\x1b]8;;http://evil.example\x1b\\click", "click"),
        ("\x9b31mred", "red"),
        ("\x1b[31", ""),
        ("nul\x00bell\x07", "nul bell"),
        ("pass\u200bword\u202e", "password"),
        ("no\u00a0break\u3000wide\u2028line", "no break wide line"),
        ("half \ud800 pair", "half \ufffd pair"),
        ("Grüße, 日本語, עברית ✅", "Grüße, 日本語, עברית ✅"),
        ("Traceback\r\n  File a\n", "Traceback File a"),
    ],
)
def test_what_a_terminal_would_obey_or_an_eye_would_miss_is_gone(given_text: str, shown: str) -> None:
    assert text.one_line(given_text) == shown


def test_line_breaks_and_tabs_stay_where_several_lines_are_shown() -> None:
    assert text.clean("a\r\n\tb\n") == "a\n\tb\n"


def test_what_hides_or_reorders_text_can_be_written_out() -> None:
    made = text.visible("a\u202eb\x1bc\u200bd\U000e0041e\u3164f\u0378")
    assert made == "a⟨U+202E⟩b␛c⟨U+200B⟩d⟨U+E0041⟩e⟨U+3164⟩f⟨U+0378⟩"
    assert text.visible("tab\tand\nline, 日本語 ⚠\ufe0f") == "tab\tand\nline, 日本語 ⚠\ufe0f"


@given(EVERYTHING | NASTY)
def test_nothing_hides_in_what_is_written_out(given_text: str) -> None:
    made = text.visible(given_text)
    kinds = {unicodedata.category(character) for character in made if character not in "\n\t"}
    assert not kinds & {"Cc", "Cf", "Cn", "Cs", "Zl", "Zp"}
    assert text.visible(made) == made


@given(EVERYTHING, strategies.integers(1, 60))
def test_escaped_text_fits_and_can_be_read_back(given_text: str, limit: int) -> None:
    made = text.fill(given_text, limit, html.escape)
    assert len(made) <= limit
    assert html.escape(html.unescape(made)) == made, "no entity was cut in two"


def test_links_and_mentions_are_removed_from_what_a_model_says() -> None:
    said = "see https://a.b/c, www.evil.com/x <http://e.x|click> ![i](javascript:alert) <!here> <@U1> @everyone"
    removed = text.without_links(f"{said} mailto:a@b.c")
    for trace in ("http", "evil", "javascript", "<!here>", "<@U1>", "@everyone", "mailto"):
        assert trace not in removed


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://x/incidents/1", "https://x/incidents/1"),
        ("http://[::1]:8080/a?b=c#d", "http://[::1]:8080/a?b=c#d"),
        ('https://x/a b"<>|', "https://x/a%20b%22%3C%3E%7C"),
        ("javascript:alert(1)", None),
        ("java\nscript:alert(1)", None),
        ("//x/y", None),
        ("https://", None),
        ("http://[", None),
        ("https://x\u202ey/", None),
        ("https://x/" + "y" * 3_000, None),
        (None, None),
    ],
)
def test_a_link_is_absolute_and_harmless_or_absent(url: str | None, kept: str | None) -> None:
    assert text.link(url) == kept


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0, "0"),
        (1234, "1,234"),
        (1234.5, "1,234"),
        (38.2, "38"),
        (9.96, "10.0"),
        (2.5, "2.5"),
        (0.5, "0.5"),
        (0.999, "1"),
        (0.0333, "0.033"),
        (1e-7, "0.0000001"),
        (1e-300, "0"),
        (-3.25, "-3.2"),
        (float("inf"), "?"),
    ],
)
def test_a_number_has_the_digits_that_a_person_compares(value: float, said: str) -> None:
    assert text.number(value) == said


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (timedelta(), "0 s"),
        (timedelta(milliseconds=300), "300 ms"),
        (timedelta(seconds=90), "1 min 30 s"),
        (timedelta(hours=1, seconds=30), "1 h"),
        (timedelta(days=2, hours=3, minutes=4), "2 d 3 h"),
        (-timedelta(seconds=5), "0 s"),
    ],
)
def test_a_duration_has_its_two_largest_units(value: timedelta, said: str) -> None:
    assert text.duration(value) == said


def test_moments_are_said_in_utc() -> None:
    moment = datetime(2026, 3, 15, 1, 26, 7, 250_000, tzinfo=timezone(timedelta(hours=2)))
    assert (text.day(moment), text.time_of_day(moment)) == ("2026-03-14", "23:26:07")
    assert (text.clock(moment), text.clock(moment.replace(second=0))) == ("23:26:07 UTC", "23:26 UTC")
    assert (text.minute(moment), text.second(moment)) == ("2026-03-14 23:26", "2026-03-14 23:26:07")
    assert text.rfc3339(moment) == "2026-03-14T23:26:07.250Z"


@pytest.mark.parametrize(
    ("minutes", "said"),
    [
        (None, "since 2026-03-14 23:26 UTC"),
        (0, "2026-03-14 23:26 UTC"),
        (7, "2026-03-14 23:26–23:33 UTC"),
        (60, "2026-03-14 23:26–2026-03-15 00:26 UTC"),
    ],
)
def test_a_span_names_its_day_once(minutes: int | None, said: str) -> None:
    start = datetime(2026, 3, 14, 23, 26, tzinfo=UTC)
    assert text.span(start, None if minutes is None else start + timedelta(minutes=minutes)) == said


def test_a_list_says_how_many_it_leaves_out() -> None:
    assert text.listed([]) == ""
    assert text.listed(["a"]) == "a"
    assert text.listed(["a", "b\x1b[31m", "c"]) == "a, b and c"
    assert text.listed([str(n) for n in range(8)], 2) == "0, 1 and 6 more"
