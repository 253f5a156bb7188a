"""What an operator may set about mining, and the mark of what decides its templates."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated

from pydantic import Field, field_validator

from exporter.ingest.settings import LineSettings
from exporter.mining import masks
from exporter.mining.masks import KEEP_KEYS, MaskSettings
from exporter.model import Duration, Unit, stable_key

FORM = 2
"""Raised when rows or the way from a shape to a template change their meaning."""


class MiningSettings(LineSettings):
    """How lines become templates, and the limits of a service. Drain's own settings are fixed: they are measured."""

    masks: MaskSettings = MaskSettings()
    """What is masked beyond and instead of the built-in masks."""
    keep_keys: tuple[str, ...] = KEEP_KEYS
    """Keys whose value stays in `key=value`, because it tells statements apart."""
    similarity: Annotated[float, Unit("share")] = Field(default=0.6, gt=0, le=1)
    """Share of equal words from which two lines are one template."""
    variants: Annotated[int, Unit("words")] = Field(default=3, ge=0, le=20)
    """Words at one place that are kept as templates of their own; with one more they become one. 0: none."""
    max_templates: Annotated[int, Unit("templates")] = Field(default=5_000, ge=1, le=100_000)
    """Templates of a service."""
    novelty_budget: Annotated[int, Unit("shapes")] = Field(default=2_000, ge=1, le=100_000)
    """New shapes of a service that are learnt in one window; the others wait for the next."""
    max_tokens: Annotated[int, Unit("tokens")] = Field(default=128, ge=8, le=1_024)
    """Tokens of a line that are looked at."""
    template_retention: Duration = timedelta(days=30)
    """A template that is unseen for so long leaves the tree; it comes back under its id."""

    @field_validator("keep_keys")
    @classmethod
    def _names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if unfit := [name for name in value if not re.fullmatch(r"[\w.-]+", name)]:
            raise ValueError(f"{unfit[0]!r} is not a key: letters, digits, _, . and - only")
        return value

    @field_validator("template_retention")
    @classmethod
    def _at_least(cls, value: timedelta) -> timedelta:
        if value < timedelta(hours=1):
            raise ValueError("must be 1h or more")
        return value


def fingerprint(settings: MiningSettings) -> str:
    """Of everything that decides which line has which template: with another one, templates are mined anew."""
    own = settings.model_dump_json()
    return f"{stable_key(f'{FORM}/{masks.fingerprint()}/{own}'):016x}"
