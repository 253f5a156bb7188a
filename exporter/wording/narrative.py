"""What a model made of an incident, in words: facts are ours, and what is its own begins with its mark."""

from __future__ import annotations

from exporter.model import RULES, Claim, Report
from exporter.wording.text import brief

WHAT_HAPPENED, CAUSE, NOT_KNOWN, LEFT_OUT = "What happened", "Cause", "Not known", "Also known, and not chosen"
"""Head the parts of what a model made of an incident."""


def claim(one: Claim, limit: int) -> str:
    """A sentence of a report on one line, about `limit` characters long; a model's own begins with its mark.

    >>> claim(Claim("The pool may be too small", mark="model's reading, not checked"), 100)
    "(model's reading, not checked) The pool may be too small"
    """
    return f"({one.mark}) {brief(one.text, limit)}" if one.mark else brief(one.text, limit)


def parts(report: Report) -> list[tuple[str, tuple[Claim, ...]]]:
    """What a model made of an incident, part by part, without the steps; nothing where no model wrote."""
    if report.writer == RULES:
        return []
    found = [(WHAT_HAPPENED, report.what_happened), (CAUSE, report.causes)]
    found += [(NOT_KNOWN, report.not_known), (LEFT_OUT, report.left_out)]
    return [(title, told) for title, told in found if told]


def cost(report: Report) -> str:
    """What a model's report cost; nothing where it cost nothing.

    >>> cost(Report("i", 1, "m", "h", (), calls=1, tokens=5210))
    '1 request, 5,210 tokens'
    """
    requests = "1 request" if report.calls == 1 else f"{report.calls:,} requests"
    return f"{requests}, {report.tokens:,} tokens" if report.calls else ""


def generated(report: Report) -> str:
    """Who wrote a report that the rules did not write; else nothing."""
    if report.writer == RULES:
        return ""
    spent = f" ({cost(report)})" if report.calls else ""
    return f"facts chosen by {brief(report.writer, 60)}{spent}, its own words marked"
