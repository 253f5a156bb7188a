"""Hide secrets that a shipper has split: records of container runtimes that come in parts of so many bytes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import polars as pl

from exporter.ingest.redaction import Redactor

_DOCKER = '{"log":"'

_CRI = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+(?:Z|[+-][0-9]{2}:?[0-9]{2}) (?:stdout|stderr) P "
"""How the runtimes of Kubernetes begin a part that goes on."""

_WHOLE, _WHOLE_ALONE = '\\n",', r"\\n\"\}\s*$"
"""In what Docker writes of a record that it has not split."""

FULL = 16_384
"""Bytes of a part that Docker, and who copied it, makes of a longer record."""

_AROUND = 4_096
"""Characters on each side of a border that are looked at."""

# What is no text of the record.
_HEAD = re.compile(r"\d{4}-\d\d-\d\dT[0-9:.]+(?:Z|[+-]\d\d:?\d\d) (?:stdout|stderr) [FP] |\{\"log\":\"")
_TAIL = re.compile(r"\"(?:,\"(?:stream|time|attrs)\":.*)?\}\s*\Z")


# How a record of its own begins: what follows a part of so many bytes need not be the rest of it.
_RECORD = re.compile(
    r"\s*(?:[\[{<(]|\d{1,4}[-:/.]\d{1,2}[-:/.]|[A-Z][a-z]{2},? +\d|[A-Z]\d{4} |(?i:trace|debug|info|warn|error)\b)"
)


def without_split_secrets(page: pl.DataFrame, redactor: Redactor) -> pl.DataFrame:
    """The page; where a record goes on in the next of its stream, without the secrets that both have a part of."""
    rows = _partial(page["body"])
    if rows.is_empty():
        return page
    changed: dict[int, str] = {}
    bodies = page["body"]
    for left, right in _borders(page, rows):
        before, after = changed.get(left, bodies[left]), changed.get(right, bodies[right])
        if _HEAD.match(before) or not _RECORD.match(after):
            changed[left], changed[right] = _hidden(before, after, redactor)
    return page.with_columns(bodies.scatter([*changed], [*changed.values()])) if changed else page


def _partial(bodies: pl.Series) -> pl.Series:
    """The rows of what may be parts that go on."""
    body = pl.col("body")
    full, of_docker = body.str.len_bytes() == FULL, body.str.starts_with(_DOCKER)
    # What nearly no line has is looked for first.
    rows = bodies.to_frame().select((full | of_docker | body.str.contains(" P ", literal=True)).arg_true()).to_series()
    if rows.is_empty():
        return rows
    whole = of_docker & (body.str.contains(_WHOLE, literal=True) | body.str.contains(_WHOLE_ALONE))
    return rows.filter(
        bodies.gather(rows).to_frame().select((full | of_docker | body.str.contains(_CRI)) & ~whole).to_series()
    )


def _borders(page: pl.DataFrame, partial: pl.Series) -> Iterator[tuple[int, int]]:
    """Parts and those that follow them in their stream."""
    placed = page.select("stream", "timestamp", "sequence").with_row_index("row")
    streams = placed["stream"].gather(partial).unique()
    ordered = placed.filter(pl.col("stream").is_in(streams.implode(), nulls_equal=True)).sort(
        "stream", "timestamp", "sequence", "row"
    )
    following = ordered.select(
        "row",
        pl.col("row").shift(-1).alias("next"),
        pl.col("stream").eq_missing(pl.col("stream").shift(-1)).alias("same"),
    ).filter(pl.col("row").is_in(partial.implode()) & pl.col("same") & pl.col("next").is_not_null())
    yield from following.select("row", "next").iter_rows()


def _hidden(left: str, right: str, redactor: Redactor) -> tuple[str, str]:
    """Two parts side by side without what is secret in both together."""
    tail, head = _TAIL.search(left) if left.startswith(_DOCKER) else None, _HEAD.match(right)
    end, start = tail.start() if tail else len(left), head.end() if head else 0
    first, last = max(0, end - _AROUND), start + _AROUND
    border = end - first
    joined = left[first:end] + right[start:last]
    spans = [(one.start, one.end, one.type) for one in redactor.secrets(joined)]
    before = _replaced(joined, 0, border, spans, redactor)
    after = _replaced(joined, border, len(joined), spans, redactor)
    return left[:first] + before + left[end:], right[:start] + after + right[last:]


def _replaced(text: str, start: int, end: int, spans: Sequence[tuple[int, int, str]], redactor: Redactor) -> str:
    """A part of a text, with a placeholder of the whole secret wherever one reaches into it."""
    parts: list[str] = []
    at = start
    for first, last, kind in spans:
        if first < end and last > start:
            parts += (text[at : max(first, at)], redactor.placeholder(kind, text[first:last]))
            at = min(last, end)
    return "".join((*parts, text[at:end]))
