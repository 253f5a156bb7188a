"""What can be said of a rule: in exporter.yml, on the command line and by web alike."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from pydantic import AwareDatetime, BeforeValidator, Field, field_validator, model_validator

from exporter.model import IncidentSeverity, Match, OneOrMore, Rule, RuleAction, Settings, Weekday, parse_moment
from exporter.reading.patterns import matches_empty, problem

MAX_RULES = 200
"""Rules that may stand at the same time: each is asked about every finding."""

PATTERN = "~"
"""Before a regular expression."""

LITERAL = "="
"""Before a text that begins with one of these signs itself."""

_HOURS = re.compile(r"([01]?\d|2[0-4]):([0-5]\d)\s*-\s*([01]?\d|2[0-4]):([0-5]\d)")


def _aware(value: object) -> object:
    # YAML has read a day or a time already, which says itself again.
    return parse_moment(str(value).strip())


Moment = Annotated[AwareDatetime, BeforeValidator(_aware)]


class RuleSettings(Settings):
    """Something that is not news: what it matches, and what then happens. All that is given must hold; of what has
    several, one. Texts are compared whole, without regard to case; after `~` stands a regular expression (of Rust),
    which is searched for."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$")
    """By which it is shown, counted and taken back."""
    do: RuleAction
    """`mute`: recorded and shown, and delivered nowhere; `expected`: neither opens an incident nor holds one open;
    `severity`: no more severe than `at_most`."""
    at_most: IncidentSeverity | None = None
    """The severity that what matches has at most; for `do: severity`."""
    source: str = Field(default="", max_length=500)
    """The name of a source."""
    service: OneOrMore | None = None
    """Names of services."""
    host: str = Field(default="", max_length=500)
    """A host or an instance, where lines have one: holds where all that is unusual is of such hosts."""
    kinds: OneOrMore | None = None
    """Kinds of findings, as they are shown or as JSON has them: `new kind of line`, `new_template`."""
    texts: OneOrMore | None = None
    """Texts or values of findings, as they are shown."""
    severities: tuple[IncidentSeverity, ...] = ()
    """Severities that it is about."""
    hours: str | None = None
    """From when to when of a day, such as `22:00-06:00`."""
    weekdays: tuple[Weekday, ...] = ()
    """Days of the week (`mon` to `sun`) on which the hours begin."""
    timezone: str = "UTC"
    """Of hours and weekdays, such as `Europe/Berlin`."""
    until: Moment | None = None
    """When it ends; without it goes on until it is taken back."""
    by: str = Field(default="", max_length=200)
    """Who says so."""
    reason: str = Field(default="", max_length=2_000)
    """Why it is not news."""

    @field_validator("source", "host")
    @classmethod
    def _pattern(cls, value: str) -> str:
        return _known(value)

    @field_validator("service", "kinds", "texts")
    @classmethod
    def _patterns(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if value and len(value) > 100:
            raise ValueError("more than 100 of them; a pattern may say more with less")
        return tuple(map(_known, value)) if value else value

    @field_validator("hours")
    @classmethod
    def _hours_of_a_day(cls, value: str | None) -> str | None:
        if value is not None and _minutes(value) is None:
            raise ValueError(f"{value!r} is not hours of a day, such as 22:00-06:00")
        return value

    @field_validator("timezone")
    @classmethod
    def _zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (KeyError, ValueError, OSError):
            raise ValueError(f"{value!r} is no time zone, such as Europe/Berlin") from None
        return value

    @model_validator(mode="after")
    def _says_something(self) -> RuleSettings:
        if (self.do == "severity") != (self.at_most is not None):
            raise ValueError("at_most and `do: severity` belong together")
        texts = (self.source, self.host, *(self.service or ()), *(self.kinds or ()), *(self.texts or ()))
        if not (any(map(_narrows, texts)) or self.hours or self.weekdays or self.severities):
            raise ValueError("it matches everything: name a service, a text, a severity or hours that it is about")
        return self

    def match(self) -> Match:
        return Match(
            source=self.source,
            services=self.service or (),
            host=self.host,
            kinds=self.kinds or (),
            texts=self.texts or (),
            severities=self.severities,
            hours=_minutes(self.hours) if self.hours else None,
            weekdays=self.weekdays,
            timezone=self.timezone,
        )

    def rule(self, since: datetime | None, **more: Any) -> Rule:
        """The rule that holds from a moment of event time on; None: ever since."""
        return Rule(
            name=self.name,
            action=self.do,
            match=self.match(),
            by=self.by,
            reason=self.reason,
            since=since,
            until=self.until,
            severity=self.at_most,
            **more,
        )


def _known(value: str) -> str:
    if value.startswith(PATTERN) and (wrong := problem(value[1:])):
        raise ValueError(f"{value[:80]!r}: {wrong}")
    return value


def _narrows(value: str) -> bool:
    return bool(value) and not (value.startswith(PATTERN) and matches_empty(value[1:]))


def _minutes(text: str) -> tuple[int, int] | None:
    """The first minute of the day, and the one after the last; None where they are none."""
    if not (found := _HOURS.fullmatch(text.strip())):
        return None
    first, last = int(found[1]) * 60 + int(found[2]), int(found[3]) * 60 + int(found[4])
    return (first, last) if first < 1440 and last <= 1440 and first != last else None
