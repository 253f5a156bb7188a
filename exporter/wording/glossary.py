"""The words of pages and messages that need saying what they mean, each once; printed as docs/glossary.md.

python -m exporter.wording.glossary > docs/glossary.md
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Term:
    """A word, by what it is called in addresses (`id`), and what it means."""

    id: str
    name: str
    means: str


GLOSSARY: tuple[Term, ...] = (
    Term(
        "incident",
        "Incident",
        "What is unusual at the same time, in services that have to do with each other, and strong enough to tell "
        "somebody. Its id never changes; each change that a reader would see is a new revision.",
    ),
    Term(
        "notice",
        "Notice",
        "What is worth knowing and pages nobody: a release, a burst of refused requests.",
    ),
    Term(
        "template",
        "Kind of line (template)",
        "Lines of one service that differ only in numbers, names and other values. Where values were, the text has "
        "a mark such as <NUM> or <*>.",
    ),
    Term(
        "window",
        "Window",
        "The time that is judged at once, a minute where nothing else is configured.",
    ),
    Term(
        "expected",
        "Expected, usual",
        "What the same service wrote in windows before, from the hour before up to the whole history that was "
        "learnt; each number says which.",
    ),
    Term(
        "strength",
        "Strength",
        "How unlikely it is that what was seen came by chance, in powers of ten, added up over the strongest "
        "windows: by chance alone one window in a hundred has a strength of 2, one in a thousand 3.",
    ),
    Term(
        "threshold",
        "Threshold",
        "The strength from which an incident opens. It is set from what warm-up saw, so that as many false alarms "
        "are left as the budget allows.",
    ),
    Term(
        "budget",
        "Budget (alarm_budget)",
        "How many false alarms a day you want to bear for the whole installation.",
    ),
    Term(
        "near-miss",
        "Near miss",
        "What came near to the threshold, or reached it and ended too soon, and opened nothing.",
    ),
    Term(
        "severity",
        "Severity",
        "Critical: lines of the worst level, or errors in three services and more. Warning: errors. Info: neither.",
    ),
    Term(
        "share",
        "Share of score",
        "How much of what made it unusual one finding explains; together at most the whole.",
    ),
    Term(
        "suspect",
        "Ranked services",
        "How likely each service is the cause: its own evidence counts first, what its callers complain of points "
        "to it. The percents are parts of one whole, of which the less likely are left out.",
    ),
    Term(
        "fact",
        "Fact",
        "A number or a moment that code has computed from the lines, with the time up to which it counts. A model "
        "may select and connect facts; what it adds is marked as its own.",
    ),
    Term(
        "evidence",
        "Evidence",
        "Log lines that are kept with an incident, redacted and cut. Each has a short id, by which sentences cite it.",
    ),
    Term(
        "unverified",
        "Unverified",
        "A sentence of the model that cites no line, or says what its lines do not show.",
    ),
    Term(
        "same",
        "The same failure as, may be related",
        "What memory knows of past incidents: the same failure by what it consists of, or one that has something "
        "in common; what fixed it is told with it.",
    ),
    Term(
        "fingerprint",
        "Fingerprint",
        "Which kind of failure an incident is, by its service and most telling kinds of lines: incidents of one "
        "fingerprint are the same failure again.",
    ),
    Term(
        "firing",
        "Firing, resolved",
        "It goes on, or is over: by itself when nothing unusual was seen for a while, or because somebody said so. "
        "The same failure soon after reopens it.",
    ),
    Term(
        "acknowledge",
        "Acknowledge",
        "Somebody looks after it. Nothing more of it is delivered as long as that holds, unless it gets worse or "
        "spreads.",
    ),
    Term(
        "mute",
        "Mute",
        "A rule by which what matches is recorded and shown, and delivered nowhere, for a while.",
    ),
    Term(
        "reject",
        "Reject, accept",
        "It was no problem, or it is normal now. It ends everywhere, and a rule says that its failure, or all that "
        "it was made of, is expected. What is learnt does not change: to take the rule back restores what was.",
    ),
    Term(
        "warm-up",
        "Warm-up",
        "Learning from the history that the log store has, before anything is told.",
    ),
    Term(
        "gap",
        "Gap",
        "A time of which nothing could be read; the page says where that is in an incident.",
    ),
    Term(
        "late",
        "Late lines",
        "Lines that came to the store after their window was read: it is read again.",
    ),
)
"""In the order in which a reader meets them."""


def page() -> str:
    """All of them in Markdown."""
    head = (
        "# Glossary\n\nWhat the words of pages and messages mean. Printed by `python -m exporter.wording.glossary`.\n"
    )
    return head + "".join(f'\n## <a id="{one.id}"></a>{_plain(one.name)}\n\n{_plain(one.means)}\n' for one in GLOSSARY)


def _plain(text: str) -> str:
    return text.replace("<", "\\<")


if __name__ == "__main__":
    print(page(), end="")
