"""Choose the log lines that an anomaly cites, from the exemplars of its window."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import polars as pl

from exporter.model import Contribution, Evidence, Severity, evidence_id, failure_in, from_nanoseconds, stable_key

if TYPE_CHECKING:
    from exporter.mining.templates import Mined

MAX_EVIDENCE = 6
MAX_HOSTS = 5
_PLACES = {"template": pl.Int64(), "place": pl.Int64()}
MAX_TRACES = 20


def evidence_of(source: str, row: Mapping[str, Any], texts: Mapping[int, str]) -> Evidence:
    """An exemplar with its `template` as a line that may be cited; `texts` are those of the templates."""
    return Evidence(
        id=evidence_id(source, row["id"]),
        source=source,
        service=row["service"],
        timestamp=from_nanoseconds(row["timestamp"]),
        body=row["body"],
        severity=row["severity"] or 0,
        template=texts.get(row["template"], ""),
        host=row["host"] or "",
        trace=row["trace"] or "",
        template_id=row["template"],
    )


class Lines:
    """Exemplars of one window: what anomalies cite."""

    def __init__(self, source: str, exemplars: pl.DataFrame, mined: Mined) -> None:
        self._source = source
        self._texts = mined.texts
        self._exemplars = exemplars
        self._templates = mined.templates

    @cached_property
    def _frame(self) -> pl.DataFrame:
        """The exemplars with their templates: of most windows nobody asks for one."""
        ids = self._templates.select("shape", "template", "service").unique()
        names = self._exemplars["service"]
        keys = pl.Series("key", [stable_key(name) if name else 0 for name in names], pl.UInt64())
        keyed = self._exemplars.with_columns(keys)
        joined = keyed.join(ids, left_on=("key", "shape"), right_on=("service", "shape"), how="left")
        return joined.sort("timestamp", "id")

    def of(self, service: str, templates: Iterable[int], strict: bool = False) -> tuple[Evidence, ...]:
        """Lines of these templates, the first of each first; of any when there are none."""
        own = self._frame.filter(pl.col("service") == service)
        wanted = list(dict.fromkeys(templates))
        chosen = own.filter(pl.col("template").is_in(wanted))
        if chosen.is_empty() and not strict:
            chosen = own
        # The first line of each template before the second of any, templates in the order of what they explain.
        places = pl.DataFrame({"template": wanted, "place": range(len(wanted))}, schema=_PLACES)
        rank = pl.int_range(pl.len()).over("template")
        order = chosen.with_columns(rank.alias("rank")).join(places, on="template", how="left")
        order = order.sort("rank", "place", "timestamp", "id", nulls_last=True).head(MAX_EVIDENCE)
        return tuple(evidence_of(self._source, row, self._texts) for row in order.iter_rows(named=True))

    def severity(self, template: int) -> int:
        """Of a template of this window: the level of its lines, or the words of its text."""
        levels: list[int] = self._frame.filter(pl.col("template") == template)["severity"].drop_nulls().to_list()
        return max([*levels, failure_in(self._texts.get(template, ""))])

    def highest(self, service: str, templates: Sequence[int]) -> int:
        return max((self.severity(template) for template in templates), default=int(Severity.INFO))

    def hosts(self, service: str) -> tuple[str, ...]:
        return self._distinct(service, "host", MAX_HOSTS)

    def traces(self, service: str) -> tuple[str, ...]:
        return self._distinct(service, "trace", MAX_TRACES)

    def _distinct(self, service: str, column: str, limit: int) -> tuple[str, ...]:
        own = self._frame.filter((pl.col("service") == service) & (pl.col(column).fill_null("") != ""))
        return tuple(own[column].unique(maintain_order=True).head(limit).to_list())


def cited(reason: Contribution, evidence: Sequence[Evidence]) -> Contribution:
    """A reason with the lines of its templates."""
    shown = tuple(line.id for line in evidence if line.template_id in reason.templates)
    return replace(reason, evidence=shown)
