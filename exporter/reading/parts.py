"""Put records together that a runtime has split: CRI marks all parts but the last, Docker ends these with no line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl

_CRI = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+(?:Z|[+-][0-9]{2}:[0-9]{2}) (?:stdout|stderr) [PF] "

_DOCKER, _OF_DOCKER = '{"log":"', r'^\{"log":"(?:[^"\\]|\\.)*","stream":"(?:stdout|stderr)"'
_ENDED = r'^\{"log":"(?:[^"\\]|\\.)*\\n"'

MOST_PARTS = 1_000
"""Lines behind the first one among which the other parts of its record are looked for."""

MOST_CHARS = 1_000_000
"""Of a record that is put together; of more the rest is left out."""


def joined(lines: pl.Series, numbers: pl.Series) -> tuple[pl.Series, pl.Series, dict[str, int]]:
    """Lines and their numbers, each record that was split whole in its first line; by reason, what is left out."""
    chains = [chain for chain, _ in _chains(lines) if len(chain) > 1]
    if not chains:
        return lines, numbers, {}
    texts: dict[int, str] = {}
    cut = 0
    for chain in chains:
        pieces, size = [], 0
        for piece in _pieces(lines.gather(chain).to_list()):
            size += len(piece)
            if size > MOST_CHARS:
                cut += 1
            else:
                pieces.append(piece)
        texts[chain[0]] = "".join(pieces)
    kept = np.ones(len(lines), np.bool_)
    kept[[row for chain in chains for row in chain[1:]]] = False
    rows = pl.Series(np.flatnonzero(kept))
    whole = lines.clone().scatter([*texts], [*texts.values()])
    return whole.gather(rows), numbers.gather(rows), {"long_record": cut} if cut else {}


def begins_last(lines: pl.Series) -> int | None:
    """The first row of a record that was split and has no end yet."""
    return next((chain[0] for chain, ends in _chains(lines) if not ends), None)


def _chains(lines: pl.Series) -> Iterator[tuple[list[int], bool]]:
    """The rows of the parts of each record that was split, and whether nothing that follows can be one more."""
    if not lines.str.contains(r"^(?:\{\"log\":\"|[0-9T:.Z+-]{20,40} std(?:out|err) P )").any():
        return
    names = ("stdout", "stderr")
    of_docker, of_cri = lines.str.extract(r'","stream":"(stdout|stderr)"'), lines.str.extract(r" (stdout|stderr) [PF] ")
    heads = pl.when(lines.str.starts_with(_DOCKER)).then(of_docker).when(lines.str.contains(_CRI)).then(of_cri)
    goes_on = lines.str.contains(r"^[0-9T:.Z+-]{20,40} std(?:out|err) P ") | (
        lines.str.starts_with(_DOCKER) & lines.str.contains(_OF_DOCKER) & ~lines.str.contains(_ENDED)
    )
    first = goes_on.arg_true().to_list()
    if not first:
        return
    streams = pl.select(heads).to_series().to_list()
    partial = goes_on.to_list()
    taken: set[int] = set()
    for row in first:
        if row in taken or streams[row] not in names:
            continue
        chain, ends = _chain(row, streams, partial)
        taken.update(chain)
        yield chain, ends


def _chain(first: int, streams: Sequence[str | None], partial: Sequence[bool]) -> tuple[list[int], bool]:
    chain = [first]
    for row in range(first + 1, min(len(streams), first + MOST_PARTS)):
        if streams[row] is None:
            return chain, True
        if streams[row] == streams[first]:
            chain.append(row)
            if not partial[row]:
                return chain, True
    return chain, len(streams) >= first + MOST_PARTS


def _pieces(parts: Sequence[str]) -> Iterator[str]:
    """What of each part is text of the record, with what stood in front of the first and behind the last."""
    last = len(parts) - 1
    for number, part in enumerate(parts):
        start, end = 0, len(part)
        if part.startswith(_DOCKER):
            start = len(_DOCKER) if number else 0
            end = part.rindex('","stream":"') if number < last else end
        elif number:
            start = part.index(" ", part.index(" std") + 1) + 3
        yield part[start:end]
