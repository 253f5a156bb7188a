"""The console sink: readable on a terminal, quiet elsewhere, and inert whatever the logs say."""

from __future__ import annotations

import io

import pytest

from exporter.model import Context, PermanentError
from exporter.wording.terminal import render
from integrations.console import ConsoleSettings, ConsoleSink
from tests import samples

GOLDEN = """\
 CRITICAL  payments cannot reach its database; checkout and gateway fail with it
2026-03-14 09:26–09:33 UTC, 7 min · payments, checkout and gateway · score 0.99

Observed against expected
  observed  expected            what
       184         0  lines     new kind of line: could not connect to <*>: connection refused
       371       0.8  lines     errors: errors of payments
      0.04      0.97  of times  unusual order: charge requested → charge captured
         0        38  lines     silence: receipt <*> sent to <*>

Most likely cause
  74%  payments  █████████  first to change, and its errors name what the others miss
  19%  checkout  ██         its errors repeat what payments answered
   7%  gateway   █          time-outs only, two minutes later

Evidence
  [L8f0c1d22a9]  09:26:12  payments  could not connect to db-payments:5432: connection refused
  [L1b77ce0934]  09:26:24  payments  pool exhausted: 50 of 50 in use
  [L90ad3fe451]  09:27:06  checkout  order=<id:5e1c> charge failed: payments 503

Seen before
  the same failure as on 2026-03-02 · payments: connections to db-payments refused · 3rd time ·
  connection refused · 1 line in common
  → fixed by: raised max_connections of db-payments from 100 to 300 (ann), came back after 11 d
  [91c2d0aa5b3e7f14]

What to do
  1. Check that db-payments accepts connections [L8f0c1d22a9]
  2. See what fixed the similar incident of 2 March

incident 3f9a1c0de47b2856 · revision 4
https://anomalies.example.org/incidents/3f9a1c0de47b2856"""


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)


def shown(**options: object) -> str:
    news = samples.notification()
    return render(news.incident, news.report, news.url, width=100, **options)  # type: ignore[arg-type]


def test_an_incident_reads_as_people_need_it() -> None:
    assert shown(color=False) == GOLDEN


def test_colours_are_for_terminals_only() -> None:
    assert "\x1b[" in shown(output=Terminal())
    assert "\x1b[" not in shown(output=io.StringIO())


def test_no_color_and_dumb_terminals_are_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[" not in shown(output=Terminal())
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert "\x1b[" not in shown(output=Terminal())


def test_colours_change_no_text() -> None:
    import re

    coloured = re.sub(r"\x1b\[[0-9;]*m", "", shown(color=True))
    assert [line.rstrip() for line in coloured.splitlines()] == GOLDEN.splitlines()


def test_log_text_is_inert() -> None:
    news = samples.hostile()
    text = render(news.incident, news.report, news.url, color=False)
    assert "[red]markup[/red]" in text
    assert not set(text) & set("\x00\x07\x1b\u202e\u200b")
    assert "\nred" not in text, "the escape sequence went, its text stayed on the line"


def test_a_storm_stays_short() -> None:
    news = samples.huge()
    text = render(news.incident, news.report, news.url, color=False, width=100)
    assert len(text.splitlines()) < 100
    assert max(len(line) for line in text.splitlines()) <= 100


def test_a_resolved_incident_says_so() -> None:
    assert render(samples.resolved(), samples.report(), color=False).startswith(" RESOLVED ")


def test_generated_text_is_named_as_such() -> None:
    text = render(samples.incident(), samples.report(writer="qwen3-8b"), color=False)
    assert "facts chosen by qwen3-8b, its own words marked" in text
    assert "payments is first to change and its errors name db-payments" in text


def test_an_incident_with_nothing_but_a_name_is_shown() -> None:
    bare = samples.incident(contributions=(), evidence=(), suspects=(), timeline=(), ends_at=samples.at(0))
    report = samples.report(headline="", what_happened=(), causes=(), steps=(), similar=())
    assert render(bare, report, color=False).startswith(" CRITICAL  Unusual logs of payments")


def test_an_old_terminal_gets_question_marks() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    text = render(samples.incident(), samples.report(), output=stream)
    assert text.isascii()
    assert "?" in text


async def test_each_change_is_printed_once() -> None:
    output = io.StringIO()
    sink = ConsoleSink(ConsoleSettings(type="console", width=100), output)
    assert await sink.deliver(samples.notification()) is None
    assert output.getvalue() == GOLDEN + "\n"


async def test_the_end_of_an_incident_is_told_shortly() -> None:
    output = io.StringIO()
    await ConsoleSink(ConsoleSettings(type="console", width=100), output).deliver(
        samples.notification(samples.resolved())
    )
    assert output.getvalue().startswith(" RESOLVED  payments cannot reach its database")
    assert len(output.getvalue().splitlines()) == 5


async def test_a_closed_pipe_is_a_permanent_error() -> None:
    class Broken(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    sink = ConsoleSink(ConsoleSettings(type="console"), Broken())
    with pytest.raises(PermanentError, match="nobody reads"):
        await sink.deliver(samples.notification())


def test_the_settings_build_the_sink() -> None:
    sink = ConsoleSettings(type="console", name="here").build(Context())
    assert (sink.name, sink.wants, sink.resend) == ("here", "every", None)
