"""Lines that a source says are parts of one record: its first line holds the text of all."""

from __future__ import annotations

import polars as pl

MOST_LINES = 200
"""Lines of one record whose text is kept."""

_RECORD = ("stream", "record")


def is_part(page: pl.DataFrame) -> pl.Series:
    """Which lines are part of a record that begins above them in the same page."""
    if page["record"].null_count() == page.height:
        return pl.repeat(False, page.height, eager=True)
    firsts = page.filter(pl.col("record") == pl.col("sequence")).select(_RECORD).unique()
    parts = page.select(*_RECORD, "sequence").join(
        firsts.with_columns(known=pl.lit(True)), on=_RECORD, how="left", nulls_equal=True, maintain_order="left"
    )
    return (parts["known"] & (parts["record"] != parts["sequence"])).fill_null(False)


def with_parts(page: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    """The page, each record's text in its first line alone, and how many lines are of more text than is kept."""
    record = page["record"]
    if record.null_count() == len(record) or not (record != page["sequence"]).any():
        return page, 0
    part = is_part(page)
    parts = page.filter(part)
    texts = parts.group_by(_RECORD, maintain_order=True).agg(
        pl.col("body").head(MOST_LINES).str.join("\n").alias("tail"), pl.len().alias("lines")
    )
    more = page.join(texts, on=_RECORD, how="left", nulls_equal=True, maintain_order="left")
    whole = pl.concat_str("body", "tail", separator="\n", ignore_nulls=True)
    body = pl.when(part).then(pl.lit("")).when(pl.col("record") == pl.col("sequence")).then(whole)
    # Of a record that began before the page only a few lines are shown, too.
    others = int((record < 0).sum())
    cut = int((texts["lines"].cast(pl.Int64) - MOST_LINES).clip(lower_bound=0).sum()) + max(0, others - MOST_LINES)
    return page.with_columns(more.select(body.otherwise("body").alias("body"))["body"]), cut
