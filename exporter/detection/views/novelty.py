"""What was never there before: templates that speak of a failure, and whole services."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial

import polars as pl

from exporter.detection.explanation import MIN_Z, text_of
from exporter.detection.look import Look
from exporter.detection.view import Account, Opinion, Reason, Sight, View
from exporter.model import Anomaly, Contribution, Severity

NEW_TEMPLATE_SCORE = 0.9995
"""Score of a window with an error-worded template that its service never wrote before: one in two thousand; or with
one that warns, once it does so again and again.

Measured on TrainTicket: 18 such events in 131 minutes of faults in 27 services, 5 of them at the true cause."""

AGAIN = 5
"""Lines of a new template that warns, in the RECENT windows, from which it is more than an oddity."""

NEW_SERVICE_SCORE = 0.9
"""A service never seen before is one piece of news, and no failure."""

MIN_WINDOWS = 3
"""Windows of a service from which a template can be new to it; fewer where fewer make it known."""


class Novelty(View):
    """A service never seen before is one piece of news; of a known one, templates that no settled window has."""

    name = "novelty"
    kinds = ("new_template", "new_service")

    def judge(self, look: Look) -> Sight:
        known = {service: self.past.services.windows(service) for service in look.services}
        new = {service: own for service, own in look.new_templates.items() if known[service]}
        levels = look.levels({(service, template) for service, own in new.items() for template in own})
        enough = min(MIN_WINDOWS, self.past.settings.min_service_windows)
        opinions = {}
        for service, own in new.items():
            telling = any(_telling(levels[service, template], lines) for template, (_, lines) in own.items())
            failing = telling and look.seasoned and known[service] >= enough
            opinions[service] = Opinion(NEW_TEMPLATE_SCORE if failing else 0.0, _account(look, own))
        return Sight(opinions, tuple(self._new_services(look, known)))

    def _new_services(self, look: Look, known: Mapping[str, int]) -> Iterator[Anomaly]:
        for service, windows in known.items():
            if windows == 0 and look.seasoned and not self.past.spoke_before(service, look.window):
                yield self._new_service(look, service)

    def _new_service(self, look: Look, service: str) -> Anomaly:
        total = look.observation.services.filter(pl.col("service") == service)["lines"].sum()
        reason = Contribution("new_service", service, float(total), 0.0, "lines", 1.0, look.start)
        return Anomaly(
            source=self.past.source,
            service=service,
            window=look.start,
            duration=self.past.duration,
            kind="window",
            score=NEW_SERVICE_SCORE,
            threshold=self.past.settings.window_score,
            severity=int(Severity.INFO),
            contributions=(reason,),
            reached=look.start + self.past.duration,
            evidence=look.lines.of(service, ())[:2],
            detectors=("new_service",),
            hosts=look.lines.hosts(service),
            sampled=look.observation.sampled,
        )


def _telling(level: int, lines: int) -> bool:
    """Whether a new template of this severity, with so many lines, is a finding by itself."""
    return level >= Severity.ERROR or (level >= Severity.WARN and lines >= AGAIN)


def _account(look: Look, new: Mapping[int, tuple[int, int]]) -> Callable[[], Account]:
    """Every new template of a service is a reason, also where only others are a failure."""
    return partial(_told, look, new)


def _told(look: Look, new: Mapping[int, tuple[int, int]]) -> Account:
    reasons = [
        Reason(
            2.0 * count**0.5 + MIN_Z,
            Contribution("new_template", text_of(look.texts, template), float(count), 0.0, templates=(template,)),
        )
        for template, (count, _) in new.items()
    ]
    return Account(reasons, witnesses=("new_template",))
