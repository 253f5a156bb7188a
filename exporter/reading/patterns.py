"""Whether Rust's engine for regular expressions, which takes linear time whatever they are, knows a pattern."""

from __future__ import annotations

import re


def problem(pattern: str) -> str | None:
    """Why Rust's engine does not take a pattern, or None."""
    import polars as pl

    try:
        pl.Series([""]).str.contains(pattern)
    except pl.exceptions.PolarsError as error:
        text = str(error)
        if "size limit" in text:
            return "too large: what it repeats comes to more than 10 MB; repeat less, or shorter pieces"
        said = re.search(r"error: ([^\n]{1,200})\n", text.partition("regex parse error:")[2])
        return (
            f"not a regular expression that Rust knows (it has no look-around): {said[1] if said else 'unknown form'}"
        )
    except Exception as error:
        return f"not a regular expression that Rust knows: {type(error).__name__}"
    return None


def matches_empty(pattern: str) -> bool:
    """Whether a pattern that the engine knows matches the empty text."""
    import polars as pl

    return bool(pl.Series([""]).str.contains(pattern)[0])
