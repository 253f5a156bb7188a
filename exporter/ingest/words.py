"""Of the words of a field so many are told apart in one window: the first by time and text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

import polars as pl

from exporter.model import MOST_WORDS, OTHER_WORD, Reduced, stable_key
from exporter.reading.beside import words_as_text


def bounded(window: Reduced, texts: Mapping[int, str]) -> Reduced:
    """A window whose lines say OTHER_WORD for words beyond those that are told apart.

    Which these are depends on what the window holds, not on how it was read.
    """
    first = window.lines.filter(pl.col("fields") != 0).group_by("fields").agg(pl.col("timestamp").min())
    if first.height <= MOST_WORDS:
        # No field can have more words than there are combinations.
        return window
    seen = sorted((moment, texts[key], key) for key, moment in first.rows() if key in texts)
    kept: dict[str, set[str]] = {}
    others: dict[int, str] = {}
    for _, text, key in seen:
        told = {field: _told(word, kept.setdefault(field, set())) for field, word in json.loads(text).items()}
        if OTHER_WORD in told.values() and (other := words_as_text(told)):
            others[key] = other
    if not others:
        return window
    moved = {key: stable_key(text) for key, text in others.items()}
    keys, new = (pl.Series("key", values, dtype=pl.UInt64) for values in (list(moved), list(moved.values())))
    replaced = pl.col("fields").replace_strict(keys, new, default=pl.col("fields"), return_dtype=pl.UInt64)
    names = pl.DataFrame([new, pl.Series("text", list(others.values()), dtype=pl.String)])
    return replace(
        window,
        lines=window.lines.with_columns(replaced),
        names=pl.concat([window.names, names]).unique("key", keep="any").sort("key"),
    )


def _told(word: str, kept: set[str]) -> str:
    if word not in kept and len(kept) >= MOST_WORDS:
        return OTHER_WORD
    kept.add(word)
    return word
