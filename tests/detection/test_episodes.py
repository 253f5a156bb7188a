"""What is anomalous is followed until it is over: by the windows themselves, held against what was before."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from random import Random

import pytest

from exporter.detection.contrast import CALM, Course, Signs, signs_of, taught
from exporter.detection.past.presence import Spells
from exporter.detection.views import returning
from exporter.model import Severity
from exporter.wording import words
from tests.detection.bench import LATE, MINUTE, QUICK, Bench, Row, failing, shop
from tests.memory_source import START

KNOWN = 60
CHOSEN = QUICK.model_copy(update={"known_for": timedelta(minutes=KNOWN - 20)})


def bench(lines: Sequence[Row], end: int, restarts: Iterable[int] = ()) -> Bench:
    return Bench(CHOSEN).run(lines, 0, end, restarts)


def minute(number: int) -> datetime:
    return START + number * MINUTE


def test_a_failure_goes_on_until_its_windows_are_as_before() -> None:
    lines = shop(range(KNOWN)) + failing(range(KNOWN, KNOWN + 25)) + shop(range(KNOWN + 25, KNOWN + 50))
    found = bench(lines, KNOWN + 50)
    failed = [one for one in found.about("payments") if one.window >= minute(KNOWN)]
    assert all(one.lasts for one in failed if one.window < minute(KNOWN + 25))
    (calm,) = found.about("payments", "calm")
    assert calm.ends_at == minute(KNOWN + 25)
    assert calm.reached <= minute(KNOWN + 30)
    assert calm.gap == timedelta(0)
    # The last ten windows together still show it; it is over all the same.
    assert all(not one.shows and not one.lasts for one in failed if one.window > calm.reached)


def test_a_failure_of_one_window_is_over_when_that_is() -> None:
    lines = shop(range(KNOWN)) + failing(range(KNOWN, KNOWN + 1)) + shop(range(KNOWN + 1, KNOWN + 20))
    (calm,) = bench(lines, KNOWN + 20).about("payments", "calm")
    assert calm.ends_at == minute(KNOWN + 1)
    assert calm.gap > timedelta(0)


def test_a_service_that_is_hardly_known_is_not_followed() -> None:
    lines = shop(range(KNOWN)) + failing(range(KNOWN, KNOWN + 5)) + shop(range(KNOWN + 5, KNOWN + 15))
    found = Bench(QUICK).run(lines, 0, KNOWN + 15)
    assert found.about("payments")
    assert not any(one.lasts for one in found.about("payments"))
    assert found.about("payments", "calm") == []


def test_a_new_level_that_speaks_of_no_failure_is_over_after_adopt_after() -> None:
    more = [{**row, "id": f"{row['id']}/again"} for row in shop(range(KNOWN, KNOWN + 60)) if "charging" in row["body"]]
    chosen = CHOSEN.model_copy(update={"adopt_after": timedelta(minutes=30)})
    lines = shop(range(KNOWN + 60)) + [{**row, "id": f"{row['id']}/{n}"} for row in more for n in range(3)]
    found = Bench(chosen).run(lines, 0, KNOWN + 60)
    begun = [one.window for one in found.about("payments") if one.lasts]
    assert found.about("payments", "calm")[0].reached == begun[0] + 31 * MINUTE
    (notice,) = found.noticed
    assert (notice.kind, notice.service, notice.at) == ("adopted", "payments", begun[0])
    assert "charging card" in words.notice(notice)


def test_who_is_gone_for_good_is_no_longer_missed_and_that_is_noticed() -> None:
    chosen = CHOSEN.model_copy(update={"adopt_after": timedelta(minutes=30)})
    lines = shop(range(KNOWN)) + shop(range(KNOWN, KNOWN + 40), skip=["payments"])
    found = Bench(chosen).run(lines, 0, KNOWN + 40)
    (notice,) = found.noticed
    assert (notice.kind, notice.service, notice.at) == ("gone", "payments", minute(KNOWN))
    assert "is gone" in words.notice(notice)


def renamed(rows: Sequence[Row], to: str) -> list[Row]:
    """The lines of payments under another name, which stands in its texts, too."""
    own = [row for row in rows if row["service"] == "payments"]
    return [{**row, "id": f"{to}/{row['id']}", "service": to, "stream": to} for row in own]


def test_a_service_whose_texts_go_on_under_another_name_is_not_silent_but_renamed() -> None:
    after = range(KNOWN, KNOWN + 40)
    lines = shop(range(KNOWN)) + shop(after, skip=["payments"]) + renamed(shop(after), "payments-v2")
    found = Bench(CHOSEN).run(lines, 0, KNOWN + 40)
    (notice,) = found.noticed
    assert (notice.kind, notice.service, notice.at) == ("renamed", "payments", minute(KNOWN))
    assert words.notice(notice) == "payments: writes under the name payments-v2 from now on"
    assert not found.about("payments", "absence")


@pytest.mark.parametrize("traces", [True, False])
def test_lines_to_debug_that_are_switched_off_are_nothing_unusual(traces: bool) -> None:
    own = [row for row in shop(range(KNOWN), traces=traces) if row["service"] == "payments"]
    debug = [{**row, "id": f"{n}{row['id']}", "body": "8 idle", "severity": 5} for row in own for n in "abc"]
    lines = shop(range(KNOWN + 40), traces=traces) + debug
    found = bench(lines, KNOWN + 40, restarts=range(KNOWN, KNOWN + 40, 7) if traces else ())
    assert not [one for one in found.about("payments") if one.window >= minute(KNOWN)]
    assert not found.noticed


def test_a_service_that_writes_to_debug_alone_is_missed_when_it_is_silent() -> None:
    lines = shop(range(KNOWN + 40), skip=["payments"])
    debug = [{**row, "severity": 5} for row in shop(range(KNOWN)) if row["service"] == "payments"]
    assert bench(lines + debug, KNOWN + 40).about("payments", "absence")


def test_of_two_that_have_long_written_the_same_the_silent_one_is_missed() -> None:
    after = range(KNOWN, KNOWN + 40)
    both = shop(range(KNOWN + 40), skip=["payments"]) + renamed(shop(range(KNOWN + 40)), "payments-b")
    found = Bench(CHOSEN).run(both + [row for row in shop(range(KNOWN)) if row["service"] == "payments"], 0, KNOWN + 40)
    assert not found.noticed
    assert found.about("payments", "absence")[0].window == minute(after[0])


def test_a_failure_in_a_service_that_stays_odd_is_not_said_to_last_as_long_as_that() -> None:
    fails = KNOWN + 12
    more = [{**row, "id": f"{row['id']}/again"} for row in shop(range(KNOWN, fails + 10)) if "charging" in row["body"]]
    odd = shop(range(fails)) + [{**row, "id": f"{row['id']}/{n}"} for row in more for n in range(3)]
    found = bench(odd + failing(range(fails, fails + 2)) + shop(range(fails + 2, fails + 10)), fails + 5)
    lasting = {one.window: one.lasts for one in found.about("payments")}
    assert [lasting[minute(at)] for at in (fails - 1, fails, fails + 1)] == [True, False, False]


def test_a_failure_that_lasts_does_not_become_usual_and_is_found_when_it_comes_again() -> None:
    end = KNOWN + 60
    lines = shop(range(KNOWN)) + failing(range(KNOWN, end)) + shop(range(end, end + 30))
    lines += failing(range(end + 30, end + 33))
    once, often = bench(lines, end + 33), bench(lines, end + 33, restarts=range(KNOWN, end + 33, 7))
    found = {one.window: one.lasts for one in once.about("payments") if one.kind == "window"}
    assert all(found[minute(at)] for at in range(KNOWN, end))
    assert any(minute(at) in found for at in range(end + 30, end + 33))
    assert once.found == often.found
    assert once.tables() == often.tables()


def test_what_failed_once_is_a_failure_in_the_first_window_in_which_it_comes_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of a text that came in one burst, another is within its spread; so few windows of so many have it that it is no
    chance: as few as here for so many more."""
    monkeypatch.setattr(returning, "RARE", 0.1)
    again = KNOWN + 260
    lines = shop(range(KNOWN)) + failing(range(KNOWN, KNOWN + 2)) + shop(range(KNOWN + 2, again))
    lines += failing(range(again, again + 2)) + shop(range(again + 2, again + 4))
    found = {one.window: one for one in bench(lines, again + 4).about("payments") if one.kind == "window"}
    first = found[minute(again)]
    assert first.severity >= Severity.ERROR
    assert any("pool exhausted" in c.text and c.observed > 2 * c.expected for c in first.contributions)


def test_what_looked_like_a_failure_at_first_and_is_a_release_is_said_to_be_none() -> None:
    lines = shop(range(KNOWN)) + failing(range(KNOWN, KNOWN + 1))
    for number, row in enumerate(shop(range(KNOWN + 1, KNOWN + 30))):
        if row["body"] == "charging card" and number % 40 == 0:
            lines.append({**row, "body": "connection pool exhausted, waited 30004 ms", "severity": 17})
        else:
            lines.append({**row, "body": "paid at once"} if row["body"] == "card charged" else row)
    once, often = bench(lines, KNOWN + 30), bench(lines, KNOWN + 30, restarts=range(KNOWN, KNOWN + 30, 3))
    first = next(one for one in once.about("payments") if one.window == minute(KNOWN))
    (calm,) = once.about("payments", "calm")
    assert (first.lasts, first.fails) == (True, True)
    assert calm.reached == minute(KNOWN + 10), "ten windows say what it is like"
    assert not any(one.fails for one in once.about("payments") if one.lasts and one.window >= calm.reached)
    assert once.found == often.found


def test_episodes_and_silences_are_what_their_rows_say() -> None:
    lines = shop(range(KNOWN)) + failing(range(KNOWN, KNOWN + 15))
    lines += shop(range(KNOWN + 15, KNOWN + 30), skip=["gateway"]) + shop(range(KNOWN + 30, KNOWN + 40))
    once, often = bench(lines, KNOWN + 40), bench(lines, KNOWN + 40, restarts=range(KNOWN, KNOWN + 40, 3))
    assert once.found == often.found
    assert once.tables() == often.tables()
    assert {one.kind for one in once.found} >= {"window", "calm", "absence", "spoke"}


# --- The contrast -------------------------------------------------------------------------------------


def test_what_came_is_the_sign_and_what_it_pushed_aside_is_none() -> None:
    signs = signs_of({1: 500, 2: 500}, [{1: 300, 2: 10, 3: 290}])
    assert signs is not None
    assert signs.templates == {3}


def test_of_what_came_with_a_failure_only_what_speaks_of_it_is_its_sign() -> None:
    signs = signs_of({1: 500, 2: 500}, [{1: 200, 3: 90, 4: 60}], failing={4})
    assert signs is not None
    assert [sorted(each) for each in (signs.templates, signs.changed)] == [[4], [3, 4]]
    level = signs_of({1: 500, 2: 500}, [{1: 300, 3: 290, 4: 30}], failing={4})
    assert level is not None
    assert level.templates == {3, 4}
    released = {1: 30, 3: 30}
    assert signs.ratio(released) < 0 < signs.ratio({**released, 4: 6})


def test_a_failure_that_begins_with_a_release_is_over_when_it_is_though_the_new_texts_stay() -> None:
    lines = shop(range(KNOWN)) + failing(range(KNOWN, KNOWN + 20)) + shop(range(KNOWN + 20, KNOWN + 45))
    released = [
        {**row, "body": "asking the bank"}
        if row["body"] == "charging card" and row["timestamp"] >= int(minute(KNOWN).timestamp()) * 10**9
        else row
        for row in lines
    ]
    found = bench(released, KNOWN + 45)
    (calm,) = found.about("payments", "calm")
    assert calm.ends_at == minute(KNOWN + 20)


def test_one_new_line_that_speaks_of_a_failure_is_a_sign_and_one_that_does_not_is_none() -> None:
    before, windows = {1: 500.0}, [{1: 20, 2: 1}]
    assert signs_of(before, windows) is None
    assert signs_of(before, windows, news={2}) is not None


def test_what_stays_away_is_a_sign_where_nothing_came() -> None:
    signs = signs_of({1: 500, 2: 500}, [{1: 100}])
    assert signs is not None
    assert signs.ratio({1: 100}) > 0 > signs.ratio({1: 50, 2: 50})


def test_lines_of_other_templates_speak_neither_for_nor_against() -> None:
    signs = Signs(frozenset({2}), 0.01, 0.4, frozenset({1, 2}))
    assert signs.ratio({1: 6, 2: 4, 9: 500}) == signs.ratio({1: 6, 2: 4})


def test_where_it_ended_among_its_first_windows_the_others_do_not_say_what_it_was_like() -> None:
    first = [(0, {1: 10, 2: 10}), *((60 * n, {1: 20}) for n in range(1, 8))]
    signs, course = taught({1: 1000.0}, first)
    assert signs is not None
    assert signs.during > 0.4
    assert course.shown == 0
    assert course.over


def test_the_end_of_what_most_windows_showed_is_no_pause_and_of_what_few_did_may_be_one() -> None:
    def ended(shows: str) -> Course:
        course = Course(0, 0)
        for number, one in enumerate(shows):
            course = course.after(60 * number, 3.0 if one == "x" else -0.5)
        return course

    assert ended("xx.xx.xx.xx").steady
    assert ended("x...x...xxx").steady
    assert not ended("x..x..x..xx").steady
    assert not ended("xx").steady


def test_the_longer_it_lasts_the_more_calm_it_takes() -> None:
    short, long = (Course(0, 0, seen=seen) for seen in (10, 1000))

    def calm(course: Course) -> int:
        for number in range(1, 100):
            course = course.after(60 * number, -1.0)
            if course.over:
                return number
        raise AssertionError("is never over")

    assert CALM <= calm(short) < calm(long)


# --- Silence ------------------------------------------------------------------------------------------


def test_a_silence_is_told_once_while_it_lasts_and_that_it_is_over_when_the_first_line_is_read() -> None:
    lines = shop(range(KNOWN)) + shop(range(KNOWN, KNOWN + 20), skip=["payments"]) + shop(range(KNOWN + 20, KNOWN + 30))
    found = bench(lines, KNOWN + 30)
    (silent,), (spoke,) = found.about("payments", "absence"), found.about("payments", "spoke")
    assert silent.lasts
    assert silent.window == minute(KNOWN)
    assert silent.reached == minute(KNOWN + 3) + LATE
    assert (spoke.ends_at, spoke.reached) == (minute(KNOWN + 20), minute(KNOWN + 21))


def test_nothing_from_the_whole_source_is_one_silence() -> None:
    lines = shop(range(KNOWN)) + shop(range(KNOWN + 20, KNOWN + 30))
    found = bench(lines, KNOWN + 30)
    (silent,) = [one for one in found.found if one.kind == "absence"]
    assert silent.contributions[0].text == "nothing arrives from shop any more"
    assert [(one.service, one.reached) for one in found.found if one.kind == "spoke"] == [("shop", minute(KNOWN + 21))]


def spells(*lengths: int) -> Spells:
    """Of a service that has so many windows with lines, and paused for so many lines."""
    found = Spells()
    for number, length in enumerate(lengths):
        found = found.silent(float(length)).spoken(number + 1)
    return found


def test_a_heartbeat_is_missed_by_its_own_pauses() -> None:
    known = Spells()
    for number in range(288):
        for _ in range(9):
            known = known.silent(0.1)
        known = known.spoken(number + 1)
    assert not known.silent(1.5).too_long(288, 2.0, 0.1)
    assert known.silent(3.0).too_long(288, 2.0, 0.1)


def test_one_long_outage_leaves_a_service_watched() -> None:
    for known in (spells(), spells(2, 1, 3, 2000)):
        assert not known.silent(12.0).too_long(1440, 1.0, 20.0)
        assert known.silent(40.0).too_long(1440, 1.0, 20.0)


def test_a_service_that_speaks_in_bursts_is_missed_by_the_pauses_between_them_and_not_by_those_in_them() -> None:
    """Thirty pauses of some 150 lines, beside two thousand windows that follow each other."""
    known, chance = Spells(), Random(7)
    for number in range(2000):
        if number % 66 == 65:
            known = known.silent(chance.expovariate(1 / 150))
        known = known.spoken(number + 1)
    assert not known.silent(900.0).too_long(2000, 3.0, 3.0)
    assert known.silent(4000.0).too_long(2000, 3.0, 3.0)


def test_what_was_told_as_too_long_is_not_learnt_from() -> None:
    told = spells(1).silent(500.0)
    assert told.spoken(2).counts != spells(1).counts
    assert told.__class__(**{**told.__dict__, "since": 60}).spoken(2).counts == spells(1).counts


@pytest.mark.parametrize("number", [30_000])
def test_what_is_known_of_pauses_is_bounded(number: int) -> None:
    known = Spells()
    for length in range(1, number):
        known = known.silent(length / 7).spoken(length)
    assert sum(known.counts.values()) <= 20_001
    assert len(known.counts) < 200
