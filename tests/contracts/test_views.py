"""What every view of detection owes, tested over the table of all of them; and that each debt is noticed."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, get_args

import numpy as np
import polars as pl
import pytest

from exporter.config import SINKS, resolve
from exporter.detection import Detection, DetectionSettings, views
from exporter.detection.look import Look
from exporter.detection.observation import Observation
from exporter.detection.past.comparison import Compared
from exporter.detection.past.index import OWN, Placed
from exporter.detection.past.source import Numbers, Past, Settled
from exporter.detection.rows import SHARED, Rows
from exporter.detection.together import Together
from exporter.detection.view import Measured, Reason, Sight, View
from exporter.detection.views.absence import Absence
from exporter.detection.views.deviations import Deviations
from exporter.detection.views.novelty import Novelty
from exporter.detection.views.sessions import Sessions
from exporter.detection.views.values import Values
from exporter.incidents.settings import IncidentSettings
from exporter.incidents.tracker import advance
from exporter.model import Anomaly, Contribution, ContributionKind, Incident, OwnKind, Write, to_json
from exporter.model.questions import IncidentRecord
from exporter.report import rules
from exporter.state.bodies import pack, unpack
from exporter.web.pages import incident_page
from exporter.wording import words as wordings
from tests import samples
from tests.contracts.warnings_view import WARNINGS, Warnings
from tests.detection.bench import MINUTE, Bench, Row, blocks, failing, shop
from tests.memory_source import START, at

CALM = 66
"""Minutes of an ordinary past: an hour is summed up, and nothing is fitted anew within the next ten."""


# --- What each view is for ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """What a view is for: after an ordinary past, something happens to a service, and what is said of it."""

    view: type[View]
    service: str
    kinds: frozenset[str]
    past: Callable[[], list[Row]]
    """The lines of the first CALM minutes."""
    news: Callable[[], list[Row]]
    """The lines of `minutes` minutes from then on."""
    minutes: int = 1
    others: frozenset[str] = frozenset()
    """Services that must be there too: of a source that says nothing, nobody in particular is silent."""

    def __str__(self) -> str:
        return f"{self.view.name}-{'-'.join(sorted(self.kinds))}"


def _after(change: Callable[[Row], Row | None], minutes: int = 1) -> Callable[[], list[Row]]:
    """The shop after CALM, with the lines of payments changed."""

    def lines() -> list[Row]:
        rows = shop(range(CALM, CALM + minutes))
        changed = ((change(row) if row["service"] == "payments" else row) for row in rows)
        return [row for row in changed if row is not None]

    return lines


def _calm() -> list[Row]:
    return shop(range(CALM))


def _quiet_start() -> list[Row]:
    return shop(range(CALM), skip=["payments"])


def _blocks() -> list[Row]:
    return blocks(4 * CALM - 20)


def _block(*steps: str) -> Callable[[], list[Row]]:
    """One more block with these steps, while another service has blocks of its own."""

    def lines() -> list[Row]:
        own = {"service": "store", "session": "odd"}
        odd = [
            {**own, "timestamp": at(60 * CALM + place), "body": body, "id": f"odd/{place}"}
            for place, body in enumerate(steps)
        ]
        return [*odd, *({**row, "service": "mirror"} for row in blocks(8, begin=CALM))]

    return lines


def _without_charge(row: Row) -> Row | None:
    return None if row["body"] == "card charged" else row


def _slowed(row: Row) -> Row:
    seconds = 4 if row["body"] == "card charged" else 2
    return {**row, "timestamp": row["timestamp"] + seconds * 10**9}


def _one_in_a_minute(row: Row) -> Row | None:
    return row if "-0/" in row["id"] else None


def _answered(minutes: range, code: int = 200, took: int = 20, outcome: str = "") -> list[Row]:
    """The shop, whose payments say how each charge ended: some in one way and some in another, or all in this one."""
    return [
        {**row, "body": f"charge answered with status {code} in {took + number % 7} ms, outcome {word}"}
        if row["body"] == "card charged"
        else row
        for number, row in enumerate(shop(minutes))
        for word in [outcome or ("approved" if number // 6 % 10 else "deferred")]
    ]


def _answering(**change: Any) -> Callable[[], list[Row]]:
    """The same for two minutes after CALM, with something else in what they say."""
    return lambda: _answered(range(CALM, CALM + 2), **change)


def _answers() -> list[Row]:
    return _answered(range(CALM))


CASES = [
    Case(Values, "payments", frozenset({"status"}), _answers, _answering(code=503), minutes=2),
    Case(Values, "payments", frozenset({"duration"}), _answers, _answering(took=900), minutes=2),
    Case(Values, "payments", frozenset({"value"}), _answers, _answering(outcome="deferred"), minutes=2),
    Case(Deviations, "payments", frozenset({"template", "transition"}), _calm, _after(_without_charge)),
    Case(Deviations, "payments", frozenset({"gap"}), _calm, _after(_slowed, 3), minutes=3),
    Case(Deviations, "payments", frozenset({"errors"}), _calm, _after(lambda row: {**row, "severity": 17})),
    Case(Novelty, "payments", frozenset({"new_template"}), _calm, lambda: failing(range(CALM, CALM + 1))),
    Case(Novelty, "payments", frozenset({"new_service"}), _quiet_start, _after(lambda row: row)),
    Case(
        Absence,
        "payments",
        frozenset({"silence"}),
        _calm,
        _after(lambda row: None, 6),
        minutes=6,
        others=frozenset({"orders"}),
    ),
    Case(
        Absence,
        "payments",
        frozenset({"volume"}),
        _calm,
        _after(_one_in_a_minute, 6),
        minutes=6,
        others=frozenset({"orders"}),
    ),
    Case(Absence, "", frozenset({"silence"}), _calm, list, minutes=3),
    Case(
        Sessions,
        "store",
        frozenset({"new_template"}),
        _blocks,
        _block("receiving block", "block stored", "checksum error, block corrupt"),
        minutes=4,
    ),
    Case(
        Sessions,
        "store",
        frozenset({"template"}),
        _blocks,
        _block("receiving block", *["block moved"] * 9, "block verified"),
        minutes=4,
    ),
]
"""For every kind of finding of every view, one in which the view gives it."""

OWN_CASE = Case(Warnings, "payments", frozenset({"warnings"}), _calm, _after(lambda row: {**row, "severity": 13}))


@contextmanager
def table(*more: type[View]) -> Iterator[None]:
    """The table of views with these entries more."""
    before = views.VIEWS
    views.VIEWS = (*before, *more)
    try:
        yield
    finally:
        views.VIEWS = before


@lru_cache
def _past(past: Callable[[], list[Row]], names: tuple[str, ...]) -> Bench:
    return Bench().run(past(), 0, CALM)


def ready(case: Case) -> Bench:
    """A detector that knows the past of the case, by all views of the table.

    Views of one name have the same past here, so that one that owes something need not begin anew.
    """
    bench = _past(case.past, tuple(view.name for view in views.VIEWS)).fork()
    if not {*views.VIEWS} <= {type(view) for view in bench.detector.views}:
        bench.restart()
    return bench


def run(case: Case, bench: Bench, restarts: Sequence[int] = ()) -> Bench:
    """The bench after what happens in the case, once it has settled."""
    return bench.run(case.news(), CALM, CALM + case.minutes + 2, restarts)


@lru_cache
def _plain(case: Case, entries: tuple[type[View], ...]) -> Bench:
    return run(case, ready(case))


def plain(case: Case) -> Bench:
    """What happens in the case, as it is."""
    return _plain(case, views.VIEWS)


def told(bench: Bench, case: Case) -> list[Anomaly]:
    """The anomalies of the service of the case, of its kinds only: other views may have added theirs."""
    out = []
    for anomaly in bench.found:
        own = tuple(replace(c, share=0.0) for c in anomaly.contributions if c.kind in case.kinds)
        if anomaly.service == case.service and own:
            out.append(replace(anomaly, contributions=own))
    return out


def _only(services: Collection[str]) -> Callable[[Observation], Observation]:
    """An observation without all others."""
    return lambda seen: _framed(seen, lambda frame: frame.filter(pl.col("service").is_in(services)))


def _backwards(seen: Observation) -> Observation:
    return _framed(seen, lambda frame: frame.reverse())


def _framed(seen: Observation, change: Callable[[pl.DataFrame], pl.DataFrame]) -> Observation:
    return replace(
        seen,
        services=change(seen.services),
        counts=change(seen.counts),
        transitions=change(seen.transitions),
        sessions=change(seen.sessions),
        values=change(seen.values),
    )


def _million(seen: Observation) -> Observation:
    """A million times as many lines."""
    many = pl.col("lines", "errors", "warnings") * 1_000_000
    services, counts = seen.services.with_columns(many), seen.counts.with_columns(pl.col("count") * 1_000_000)
    values = seen.values.with_columns(pl.col("x", "n") * 1_000_000)
    return replace(seen, services=services, counts=counts, values=values)


def _sampled(seen: Observation) -> Observation:
    """Of which a hundredth was read."""
    return replace(seen, sampled=0.01, transitions=seen.transitions.clear(), sessions=seen.sessions.clear())


# --- What every view owes ----------------------------------------------------------------------------


def sees_what_it_is_for(case: Case) -> None:
    assert case.kinds <= {*case.view.kinds, *case.view.own_kinds}, "gives a kind that it does not declare"
    seen = {finding.kind for anomaly in told(plain(case), case) for finding in anomaly.contributions}
    assert seen == case.kinds, "does not see what it is for"


def gives_finite_numbers(case: Case) -> None:
    """Also of a window with a million times as many lines, and of one of which a hundredth was read."""
    for twist in (lambda seen: seen, _million, _sampled):
        bench = ready(case)
        bench.twist = twist
        _watch(next(view for view in bench.detector.views if isinstance(view, case.view)))
        for anomaly in run(case, bench).found:
            assert 0 <= anomaly.score <= 1, "gives a score that is none"
            for finding in anomaly.contributions:
                numbers = (finding.observed, finding.expected, finding.share)
                assert np.isfinite(numbers).all(), "gives a number that is not finite"


def _watch(view: View) -> None:
    """Look at each number that a view gives, before anyone else does."""
    measure, judge = view.measure, view.judge

    def measured(look: Look, span: Sequence[Placed]) -> Measured:
        found = measure(look, span)
        assert found.rows.shape == (len(look.services), len(view.features)), "has not one row a service"
        assert np.isfinite(found.rows).all(), "gives a number that is not finite"
        assert (found.rows >= 0).all(), "gives a feature below 0"
        return found

    def judged(look: Look) -> Sight:
        found = judge(look)
        assert all(0 <= one.score <= 1 for one in found.opinions.values()), "gives a score that is none"
        return found

    vars(view).update(measure=measured, judge=judged)


def says_the_same_of_a_service_alone_and_among_others(case: Case) -> None:
    alone = ready(case)
    alone.twist = _only({case.service, *case.others})
    assert told(run(case, alone), case) == told(plain(case), case), "is swayed by other services"


def does_not_learn_when_it_only_looks(case: Case) -> None:
    curious = ready(case)
    curious.curious = True
    assert _state(run(case, curious)) == _state(plain(case)), "learns when it only looks"


def survives_restarts(case: Case) -> None:
    again = run(case, ready(case), range(CALM, CALM + case.minutes + 2))
    assert _state(again) == _state(plain(case)), "forgets in a restart"


def keeps_what_was_merged(case: Case) -> None:
    benches = [ready(case), ready(case)]
    for bench in benches:
        old, new = sorted(bench.miner.texts())[:2]
        bench.write(bench.detector.rename({old: new}))
    benches[1].restart()
    going_on, again = (run(case, bench) for bench in benches)
    assert _state(again) == _state(going_on), "forgets in a restart that templates were merged"


def _state(bench: Bench) -> tuple[list[Anomaly], Mapping[str, Any]]:
    return bench.found, bench.tables()


def does_not_care_in_which_order_services_are(case: Case) -> None:
    backwards = ready(case)
    backwards.twist = _backwards
    assert told(run(case, backwards), case) == told(plain(case), case), "depends on the order of services"


def has_words_in_every_sink_and_on_the_page(case: Case) -> None:
    for kind in (*case.view.kinds, *case.view.own_kinds):
        words = case.view.own_kinds.get(OwnKind(kind), "")
        assert words or kind in wordings.KINDS, f"has no words for {kind}"
        for place, shown in _shown(_incident(Contribution(kind, "card <*> declined", 9, 2, words=words))).items():
            assert "declined" in shown, f"{place} does not show what was found"
            assert words in shown, f"{place} does not say {words!r}"


def _incident(*findings: Contribution) -> Incident:
    return replace(samples.incident(), contributions=findings)


def _shown(incident: Incident) -> dict[str, str]:
    """An incident in every sink, and on the page that alerts link to."""
    report = rules.write(incident)
    news = samples.notification(incident, report=report)
    sinks = {name: resolve(reference).preview(news) for name, reference in SINKS.items()}
    page = incident_page(IncidentRecord(incident, (report,)), "/")
    return {name: json.dumps(to_json(sent), ensure_ascii=False) for name, sent in sinks.items()} | {"page": page}


def says_what_it_declares(case: Case) -> None:
    own = {kind: words for view in views.VIEWS for kind, words in view.own_kinds.items()}
    for finding in (finding for anomaly in plain(case).found for finding in anomaly.contributions):
        assert finding.kind in own or finding.kind in get_args(ContributionKind), f"does not declare {finding.kind}"
        assert finding.words == own.get(OwnKind(finding.kind), ""), f"leaves out the words of {finding.kind}"
        assert finding.text, f"does not say what is {finding.kind}"
        assert finding.unit, f"does not say what is counted of {finding.kind}"
    for name, feature in case.view.features.items():
        assert feature.unit > 0, f"the unit of {name} is not above 0"
        assert feature.words, f"has no words for {name}"


DEBTS: Sequence[Callable[[Case], None]] = (
    sees_what_it_is_for,
    gives_finite_numbers,
    says_the_same_of_a_service_alone_and_among_others,
    does_not_learn_when_it_only_looks,
    survives_restarts,
    keeps_what_was_merged,
    does_not_care_in_which_order_services_are,
    has_words_in_every_sink_and_on_the_page,
    says_what_it_declares,
)


@pytest.mark.parametrize("debt", DEBTS, ids=lambda debt: debt.__name__)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_view_pays_what_it_owes(case: Case, debt: Callable[[Case], None]) -> None:
    debt(case)


def test_no_view_and_no_kind_of_finding_is_left_out() -> None:
    given = {view: {*view.kinds, *view.own_kinds} for view in views.VIEWS}
    seen: dict[type[View], set[str]] = {}
    for case in CASES:
        seen.setdefault(case.view, set()).update(case.kinds)
    assert seen == given


NAMES: Mapping[str, Callable[[type[View]], Iterable[Any]]] = {
    "name": lambda view: [view.name],
    "features": lambda view: view.features,
    "codes": lambda view: view.codes,
    "own_kinds": lambda view: view.own_kinds,
    "tables": lambda view: [one.name for one in view.tables],
    "numbers": lambda view: view(_no_past()).numbers(),
}


def _no_past() -> Past:
    return Past("shop", DetectionSettings(), MINUTE, MINUTE, MINUTE, MINUTE)


@pytest.mark.parametrize("names", NAMES.values(), ids=NAMES.keys())
def test_no_two_views_use_the_same_name(names: Callable[[type[View]], Iterable[Any]]) -> None:
    with table(Warnings):
        used = [name for view in views.VIEWS for name in names(view)]
        assert sorted(used) == sorted(set(used))
        assert set(used).isdisjoint(Together(_no_past(), ()).numbers())


def test_codes_and_tables_of_a_view_are_apart_from_what_all_views_share() -> None:
    with table(Warnings):
        assert all(OWN <= code < 128 for view in views.VIEWS for code in view.codes)
        shared = {one.name for one in SHARED}
        assert all(one.name not in shared for view in views.VIEWS for one in view.tables)


# --- A view is one file and one entry ----------------------------------------------------------------


@pytest.mark.parametrize("debt", DEBTS, ids=lambda debt: debt.__name__)
def test_a_view_that_is_one_file_and_one_entry_pays_what_it_owes(debt: Callable[[Case], None]) -> None:
    with table(Warnings):
        debt(OWN_CASE)


def test_a_view_has_about_twenty_lines() -> None:
    assert len([line for line in inspect.getsource(Warnings).splitlines() if line.strip()]) <= 22


def test_what_a_view_of_its_own_finds_opens_an_incident_that_every_sink_and_the_page_can_tell() -> None:
    with table(Warnings):
        found = plain(OWN_CASE).found
    end = START + (CALM + 60) * MINUTE
    _, news = advance((), found, end, IncidentSettings(), threshold=0.1, labels={})
    assert news[0].change == "opened"
    assert [finding.kind for finding in news[0].incident.contributions] == [WARNINGS]
    for place, shown in _shown(news[0].incident).items():
        assert "more warnings" in shown, place
        assert "lines that warn" in shown, place


def test_rows_of_an_incident_keep_the_words_of_a_kind_that_no_view_knows_any_more() -> None:
    incident = _incident(Contribution(OwnKind("gone"), "lines that warn", 9, 2, words="more warnings"))
    read = unpack(Incident, pack(incident))
    assert read == incident
    assert wordings.reason(read.contributions[0]) == "more warnings: lines that warn (9 lines, expected 2)"


# --- Each debt is noticed ----------------------------------------------------------------------------


class Blind(Warnings):
    def measure(self, look: Look, span: Sequence[Placed]) -> Measured:
        found = super().measure(look, span)
        return replace(found, rows=np.zeros_like(found.rows))


NO_KINDS: Mapping[OwnKind, str] = {}
NO_WORDS = {WARNINGS: ""}


class Undeclared(Warnings):
    own_kinds = NO_KINDS

    def reasons(self, found: Compared, service: str) -> Iterator[Reason]:
        return Warnings(self.past).reasons(found, service)


class NotFinite(Warnings):
    def measure(self, look: Look, span: Sequence[Placed]) -> Measured:
        found = super().measure(look, span)
        return replace(found, rows=np.full_like(found.rows, np.nan))


class Swayed(Warnings):
    def measure(self, look: Look, span: Sequence[Placed]) -> Measured:
        found = super().measure(look, span)
        return replace(found, rows=found.rows / len(look.services))


class Curious(Warnings):
    looked = 0

    def judge(self, look: Look) -> Sight:
        self.looked += 1
        return Sight()

    def numbers(self) -> Numbers:
        return {"looked": self.looked}

    def load(self, rows: Rows, numbers: Numbers) -> None:
        self.looked = numbers.get("looked", 0)


class Forgetful(Warnings):
    learnt = 0

    def learn(self, settled: Settled) -> Detection:
        self.learnt += 1
        return Detection()

    def numbers(self) -> Numbers:
        return {"learnt_by_it": self.learnt}


class Unwritten(Warnings):
    merged = 0

    def rename(self, moves: Mapping[int, int]) -> tuple[Write, ...]:
        self.merged += len(moves)
        return ()

    def numbers(self) -> Numbers:
        return {"merged": self.merged}

    def load(self, rows: Rows, numbers: Numbers) -> None:
        self.merged = numbers.get("merged", 0)


class Alphabetic(Warnings):
    def measure(self, look: Look, span: Sequence[Placed]) -> Measured:
        found = super().measure(look, span)
        return replace(found, rows=found.rows[np.argsort(look.services)])


class Wordless(Warnings):
    own_kinds = NO_WORDS


class Mute(Warnings):
    def reasons(self, found: Compared, service: str) -> Iterator[Reason]:
        for reason in super().reasons(found, service):
            yield replace(reason, finding=replace(reason.finding, words=""))


@pytest.mark.parametrize(
    ("view", "debt", "reproach"),
    [
        (Blind, sees_what_it_is_for, "does not see"),
        (Undeclared, sees_what_it_is_for, "does not declare"),
        (NotFinite, gives_finite_numbers, "not finite"),
        (Swayed, says_the_same_of_a_service_alone_and_among_others, "swayed by other services"),
        (Curious, does_not_learn_when_it_only_looks, "learns when it only looks"),
        (Forgetful, survives_restarts, "forgets in a restart"),
        (Unwritten, keeps_what_was_merged, "forgets in a restart that templates were merged"),
        (Alphabetic, does_not_care_in_which_order_services_are, "depends on the order"),
        (Wordless, has_words_in_every_sink_and_on_the_page, "has no words for warnings"),
        (Mute, says_what_it_declares, "leaves out the words of warnings"),
    ],
)
def test_a_view_that_owes_something_is_refused(view: type[View], debt: Callable[[Case], None], reproach: str) -> None:
    with table(Warnings):
        ready(OWN_CASE)  # The past that it shares with the view that owes nothing.
    with table(view), pytest.raises(AssertionError, match=reproach):
        debt(replace(OWN_CASE, view=view))


def test_a_kind_whose_words_are_left_out_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(wordings.KINDS, "silence")
    case = next(case for case in CASES if case.view is Absence)
    with pytest.raises(AssertionError, match="has no words for silence"):
        has_words_in_every_sink_and_on_the_page(case)
