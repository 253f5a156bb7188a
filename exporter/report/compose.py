"""Make a report of what a model chose and said: facts in our words with the numbers of now, its own words marked."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from exporter.model import READING, SUGGESTION, Claim, Report
from exporter.report.answer import Answer, Sentence
from exporter.report.catalogue import ASIDE, CAUSES, Catalogue, Known
from exporter.report.check import Checker
from exporter.report.rules import MAX_CITED, known_fixes

NO_CAUSE = "No cause is seen in the logs."

MAX_TOLD = 12
"""Facts and readings of one section."""

MAX_STEPS = 6
"""Suggestions of the model's."""

MAX_LEFT_OUT = 12
"""Facts that are listed because the model left them out, where it chose none the first few."""

FIRST = 3


def compose(report: Report, known: Catalogue, answer: Answer, checker: Checker, model: str) -> Report | None:
    """The report of the rules with what a model made of it; None where nothing is left of its answer.

    The headline, what is remembered and the notes stay those of the rules.
    """
    return _Composer(report, known, checker).report(answer, model)


@dataclass
class _Section:
    """What is told in one section: each fact once, in the order of the answer."""

    claims: list[Claim] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)

    def fact(self, one: Known) -> None:
        if one.key not in self.keys:
            self.keys.add(one.key)
            self.claims.append(Claim(one.text, one.evidence[:MAX_CITED]))

    def own(self, text: str, mark: str) -> None:
        if all(claim.text != text for claim in self.claims):
            self.claims.append(Claim(text, (), False, mark))


class _Composer:
    """Tells an answer section by section: what a section cannot take stands in what happened."""

    def __init__(self, report: Report, known: Catalogue, checker: Checker) -> None:
        self._report, self._known, self._checker = report, known, checker
        self._by_key = known.by_key
        self._happened, self._cause, self._steps, self._unknown = (_Section() for _ in range(4))

    def report(self, answer: Answer, model: str) -> Report | None:
        for sentence in answer.what_happened:
            self._tell(sentence, self._happened)
        for sentence in answer.cause or ():
            self._tell_cause(sentence)
        for sentence in answer.steps:
            self._suggest(sentence)
        for sentence in answer.not_known:
            self._tell_unknown(sentence)
        told = (self._happened, self._cause, self._steps, self._unknown)
        if not any(section.claims for section in told):
            return None
        return replace(
            self._report,
            writer=model,
            what_happened=tuple(self._happened.claims[:MAX_TOLD]),
            causes=self._causes(answer),
            steps=self._all_steps(),
            not_known=tuple(self._unknown.claims[:MAX_TOLD]),
            left_out=self._left_out(),
            dropped_claims=sum(answer.dropped.values()) + self._checker.dropped.total(),
        )

    def _facts(self, sentence: Sentence) -> list[Known]:
        return [self._by_key[key] for key in sentence.facts if key in self._by_key]

    def _tell(self, sentence: Sentence, section: _Section) -> None:
        for one in self._facts(sentence):
            section.fact(one)
        kept = self._checker.kept(sentence.text)
        if kept.text:
            section.own(kept.text, READING)
        for one in kept.facts if not kept.text else ():
            # Nothing is left but what its slots name.
            section.fact(one)

    def _tell_cause(self, sentence: Sentence) -> None:
        """Only what can be one is a cause; a reading stands beside it, and alone it is none."""
        chosen = self._facts(sentence)
        kept = self._checker.kept(sentence.text)
        causes = [one for one in (*chosen, *kept.facts) if one.sort in CAUSES]
        for one in causes:
            self._cause.fact(one)
        for one in chosen:
            if one not in causes:
                self._happened.fact(one)
        if kept.text and (causes or self._known.has_cause):
            (self._cause if causes else self._happened).own(kept.text, READING)
        elif kept.text:
            self._checker.dropped["no_cause"] += 1

    def _tell_unknown(self, sentence: Sentence) -> None:
        """What is known is not unknown; what could not be seen is."""
        kept = self._checker.kept(sentence.text)
        for one in (*self._facts(sentence), *(() if kept.text else kept.facts)):
            (self._unknown if one.sort == "unseen" else self._happened).fact(one)
        if kept.text:
            self._unknown.own(kept.text, READING)

    def _suggest(self, sentence: Sentence) -> None:
        """What people confirmed is among the steps already; any other fact is no step."""
        for one in self._facts(sentence):
            if one.sort != "fix":
                self._happened.fact(one)
        if text := self._checker.kept(sentence.text).text:
            self._steps.own(text, SUGGESTION)

    def _causes(self, answer: Answer) -> tuple[Claim, ...]:
        if self._cause.keys:
            return tuple(self._cause.claims[:MAX_TOLD])
        if answer.cause is None and self._known.has_cause:
            return self._report.causes
        return (Claim(NO_CAUSE),)

    def _all_steps(self) -> tuple[Claim, ...]:
        fixes = known_fixes(self._report.similar)
        ours = [step for step in self._report.steps if step not in fixes]
        return (*fixes, *self._steps.claims[:MAX_STEPS], *ours)

    def _left_out(self) -> tuple[Claim, ...]:
        """The facts that matter more than the least of those that were chosen."""
        ranked = [one for one in self._known.facts if one.sort not in ASIDE]
        chosen = self._happened.keys | self._cause.keys | self._unknown.keys
        last = max((place for place, one in enumerate(ranked) if one.key in chosen), default=FIRST)
        left = [one for one in ranked[:last] if one.key not in chosen]
        return tuple(Claim(one.text, one.evidence[:MAX_CITED]) for one in left[:MAX_LEFT_OUT])
