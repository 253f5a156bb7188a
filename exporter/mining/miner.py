"""Mine templates: each service's own bounded Drain tree over distinct shapes, with stable ids that survive merges.

One file and one class, since each step changes tree, ids and counts together, and rows must hold all three or none.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, ClassVar

import polars as pl

from exporter.ingest.shapes import frame_of
from exporter.mining import masks
from exporter.mining.counts import Row, TemplateCounts
from exporter.mining.distinct import Groups, Unknown, groups_of, unknown_of
from exporter.mining.masks import WILDCARD
from exporter.model import Reduced, SqlValue, Write, failure_in, stable_key

if TYPE_CHECKING:
    from exporter.mining.tree import Cluster, Tree
from exporter.mining.rows import (
    CLUSTER_COLUMNS,
    COUNT_COLUMNS,
    COUNTER_COLUMNS,
    SHAPE_COLUMNS,
    TEMPLATE_COLUMNS,
    Counters,
    position_of,
    signed,
    unsigned,
)
from exporter.mining.settings import MiningSettings
from exporter.mining.templates import OVERFLOW, OVERFLOW_TEXT, TEMPLATES_SCHEMA, Mined, Template
from exporter.mining.words import Group, Words

MAX_SHAPES = 20_000
"""Coarse shapes of a service whose template is remembered; the oldest is forgotten and found again by the tree."""

OFTEN = 20
"""Lines of a word in the last two hours from which it comes again and again, and is none of many names."""

SEEN_STEPS = 16
"""Into how many steps `template_retention` is cut: when a template was last seen is noted once in each."""


@dataclass
class _Entry:
    """A template as the miner keeps it; `survivor` is its own id until it is merged."""

    id: int
    service: str
    cluster: int
    tokens: tuple[str, ...]
    survivor: int
    first_seen: int
    seen: int
    example: str

    @cached_property
    def text(self) -> str:
        return " ".join(self.tokens)

    def open(self, tokens: tuple[str, ...]) -> None:
        """Become more general."""
        self.tokens = tokens
        self.__dict__.pop("text", None)


@dataclass
class _Service:
    """What is learnt of one service."""

    name: str
    tree: Tree
    shapes: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Shape to template and masked text, in the order in which they were learnt."""
    texts: dict[int, list[int]] = field(default_factory=dict)
    """Masked text to template, and how many shapes have it."""
    by_pattern: dict[tuple[int, tuple[str, ...]], int] = field(default_factory=dict)

    def remember(self, shape: int, masked: int, template: int) -> None:
        self.shapes[shape] = (template, masked)
        self.texts.setdefault(masked, [template, 0])[1] += 1

    def forget(self, shape: int) -> None:
        _, masked = self.shapes.pop(shape)
        self.texts[masked][1] -= 1
        if not self.texts[masked][1]:
            del self.texts[masked]


@dataclass
class _Changes:
    """What one call changed, by key, so that only that is written."""

    templates: set[int] = field(default_factory=set)
    clusters: dict[int, str] = field(default_factory=dict)
    shapes: list[tuple[str, int, int]] = field(default_factory=list)
    forgotten_shapes: list[tuple[str, int]] = field(default_factory=list)
    forgotten_clusters: list[int] = field(default_factory=list)
    forgotten_templates: list[int] = field(default_factory=list)
    counts: list[Row] = field(default_factory=list)
    forgotten_counts: list[tuple[str, int]] = field(default_factory=list)
    merged: list[int] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)


class Miner:
    """The templates of one source. What is in memory is what its rows say: `load` makes the same miner again.

    One class, for the reason that the module gives.
    """

    tables: ClassVar[tuple[str, ...]] = (
        "mining_templates",
        "mining_clusters",
        "mining_shapes",
        "mining_counts",
        "mining_counters",
    )

    def __init__(self, source: str, settings: MiningSettings) -> None:
        self.source = source
        self.settings = settings
        self._clear()

    def _clear(self) -> None:
        self._services: dict[str, _Service] = {}
        self._entries: dict[int, _Entry] = {}
        self._ids = Counters(template=0, cluster=0, position=0, retired=0)
        self._counts = TemplateCounts()
        self._changes = _Changes()
        self._names: dict[int, str] = {}
        self._words = Words(self.settings)

    # --- Rows -------------------------------------------------------------------------------------

    def load(self, rows: Mapping[str, Sequence[tuple[SqlValue, ...]]]) -> None:
        """Become the miner that wrote the rows."""
        self._clear()
        for row in rows.get("mining_templates", ()):
            self._load_template(*row[1:])
        for row in sorted(rows.get("mining_clusters", ()), key=position_of):
            self._load_cluster(*row[1:])
        for row in sorted(rows.get("mining_shapes", ()), key=position_of):
            self._load_shape(*row[1:])
        self._counts.load(row[1:] for row in rows.get("mining_counts", ()))  # type: ignore[misc]
        for row in rows.get("mining_counters", ()):
            self._load_counters(*row[1:])
        for entry in self._entries.values():
            if entry.survivor == entry.id:
                self._attach(entry)

    def _load_template(self, *row: Any) -> None:
        key, service, cluster, text, survivor, first_seen, seen, example = row
        tokens = tuple(text.split(" "))
        self._entries[key] = _Entry(key, service, cluster, tokens, survivor, first_seen, seen, example)

    def _load_cluster(self, *row: Any) -> None:
        from exporter.mining.tree import Cluster

        key, service, position, leaf, kind, tokens, variants = row
        cluster = Cluster(key, tokens.split(" "), kind, position)
        cluster.leaf = leaf
        cluster.variants = [None if words is None else set(words) for words in json.loads(variants)]
        self._service(service).tree.add(cluster)

    def _load_counters(self, *row: Any) -> None:
        self._ids = Counters(*row)

    def _load_shape(self, *row: Any) -> None:
        service, shape, _, masked, template = row
        self._service(service).remember(unsigned(shape), unsigned(masked), template)

    def _attach(self, entry: _Entry) -> None:
        """Let a template be found by its pattern; those of retired clusters wait for their cluster."""
        service = self._service(entry.service)
        cluster = service.tree.clusters.get(entry.cluster)
        if cluster is not None:
            cluster.templates.append(entry.id)
        if cluster is None or cluster.kind != "retired":
            service.by_pattern[entry.cluster, entry.tokens] = entry.id

    def _service(self, name: str) -> _Service:
        service = self._services.get(name)
        if service is None:
            from exporter.mining.tree import Tree

            service = self._services[name] = _Service(name, Tree(self.settings.similarity))
        return service

    # --- Asking -----------------------------------------------------------------------------------

    def texts(self) -> dict[int, str]:
        """The text of every id that was ever given; a merged one has its survivor's."""
        texts = {key: self._entries[self._find(key)].text for key in self._entries}
        return {OVERFLOW: OVERFLOW_TEXT, **texts}

    def survivors(self) -> dict[int, int]:
        """Every id that was ever given, and what it became: itself, unless it was merged."""
        return {OVERFLOW: OVERFLOW, **{key: self._find(key) for key in self._entries}}

    def _find(self, key: int) -> int:
        while key > 0 and self._entries[key].survivor != key:
            key = self._entries[key].survivor
        return key

    # --- Mining -----------------------------------------------------------------------------------

    def mine(self, window: int, reduced: Reduced, learn: bool = True) -> Mined:
        """The template of each shape of a window. Without `learn` nothing changes: what has none gets an id below 0."""
        groups = groups_of(reduced.lines)
        names = self._names_of(set(groups.services), reduced.names)
        owners = [names.get(service, "") for service in groups.services]
        known = self._known(owners, groups.shapes)
        unknown = unknown_of(reduced, owners, groups, [at for at, key in enumerate(known) if key is None])
        found, passing = self._learn(window, unknown) if learn else self._look(unknown)
        ids = [
            self._find(found[owner, shape] if key is None else key)
            for owner, shape, key in zip(owners, groups.shapes, known, strict=True)
        ]
        if learn:
            self._note(window, ids, groups.sizes)
        changes, self._changes = self._changes, _Changes()
        used = sorted(set(ids))
        # A template that was opened has another text, whether or not it is in this window.
        opened = (key for key in changes.templates if key in self._entries and self._find(key) == key)
        told = sorted({*used, *opened})
        new = [self._template(key) for key in used if key > 0 and self._entries[key].first_seen == window]
        return Mined(
            frame_of(TEMPLATES_SCHEMA, groups.services, groups.shapes, ids),
            (*new, *passing.values()),
            tuple((key, self._find(key)) for key in changes.merged),
            {key: passing[key].text if key < 0 else self._text(key) for key in told},
            writes=self._writes(changes) if learn else (),
            dropped=dict(sorted(changes.dropped.items())),
            families={key: -self._entries[key].cluster or key for key in used if key > 0},
            words=self._words.of(list(self._groups(groups, ids)), reduced.shapes),
        )

    def _groups(self, groups: Groups, ids: Sequence[int]) -> Iterator[Group]:
        """What the lines of a window are, but of those whose template is no cluster's or of many kinds."""
        for service, shape, key, lines in zip(groups.services, groups.shapes, ids, groups.sizes, strict=True):
            if key <= 0:
                continue
            entry = self._entries[key]
            cluster = self._services[entry.service].tree.clusters.get(entry.cluster)
            if cluster and cluster.kind == "live":
                yield Group(service, shape, cluster, lines, key)

    def _names_of(self, services: set[int], names: pl.DataFrame) -> dict[int, str]:
        unknown = services - self._names.keys()
        if unknown:
            rows = names.filter(pl.col("key").is_in(pl.Series(list(unknown), dtype=pl.UInt64).implode()))
            self._names.update(dict(zip(rows["key"].to_list(), rows["text"].to_list(), strict=True)))
        return self._names

    def _known(self, owners: Sequence[str], shapes: Sequence[int]) -> list[int | None]:
        """The template of each shape that has one; those of a service stand together."""
        known: list[int | None] = []
        owner, templates = None, {}
        for name, shape in zip(owners, shapes, strict=True):
            if name != owner:
                owner, templates = name, self._services[name].shapes if name in self._services else {}
            entry = templates.get(shape)
            known.append(entry[0] if entry else None)
        return known

    def _text(self, key: int) -> str:
        return self._entries[key].text if key else OVERFLOW_TEXT

    def _template(self, key: int) -> Template:
        entry = self._entries[key]
        return Template(key, entry.service, entry.text)

    def _note(self, window: int, ids: Sequence[int], sizes: Sequence[int]) -> None:
        """How often templates were seen, and when first and last, the latter in steps."""
        step = self._step()
        seen = window // step * step
        counts = dict.fromkeys(ids, 0)
        for key, size in zip(ids, sizes, strict=True):
            counts[key] += size
        for key in counts.keys() - {OVERFLOW}:
            entry = self._entries[key]
            if entry.seen < seen or entry.first_seen > window:
                entry.seen, entry.first_seen = max(entry.seen, seen), min(entry.first_seen, window)
                self._changes.templates.add(key)
        self._changes.counts, self._changes.forgotten_counts = self._counts.put(window, counts)

    def _step(self) -> int:
        return max(60, self.settings.template_retention // timedelta(seconds=SEEN_STEPS))

    # --- Looking, without a change ----------------------------------------------------------------

    def _look(self, shapes: Sequence[Unknown]) -> tuple[dict[tuple[str, int], int], dict[int, Template]]:
        """Templates that shapes would have; what has none is told apart by its masked text."""
        found = {(shape.service, shape.key): OVERFLOW for shape in shapes}
        passing: dict[tuple[str, str], int] = {}
        for shape, tokens in self._admitted(shapes):
            key = self._look_up(shape, tokens)
            if key is None:
                key = passing.setdefault((shape.service, " ".join(tokens)), -1 - len(passing))
            found[shape.service, shape.key] = key
        return found, {key: Template(key, name, text) for (name, text), key in passing.items()}

    def _look_up(self, shape: Unknown, tokens: tuple[str, ...]) -> int | None:
        service = self._services.get(shape.service)
        if service is None:
            return None
        if shape.given:
            return service.by_pattern.get((0, tokens))
        if same := service.texts.get(_masked_key(tokens)):
            return same[0]
        cluster = service.tree.live.find(tokens) or service.tree.retired.find_exact(tokens)
        if cluster is None or not cluster.holds(tokens):
            return None
        pattern = cluster.pattern(tokens)
        return next((key for key in cluster.templates if self._entries[key].tokens == pattern), None)

    def _admitted(self, shapes: Sequence[Unknown]) -> list[tuple[Unknown, tuple[str, ...]]]:
        """The shapes that the budget of their service admits, in the fixed order, with their tokens."""
        ordered = sorted(shapes, key=lambda shape: (shape.service, shape.first, shape.text, shape.key))
        taken: Counter[str] = Counter()
        admitted = []
        for shape in ordered:
            taken[shape.service] += 1
            if taken[shape.service] <= self.settings.novelty_budget:
                admitted.append(shape)
        if len(admitted) < len(ordered):
            self._changes.dropped["novelty_budget"] += len(ordered) - len(admitted)
        if not admitted:
            return []
        texts = masks.masked([shape.text for shape in admitted], self.settings.masks, self.settings.keep_keys)
        return [(shape, self._tokens(shape, text)) for shape, text in zip(admitted, texts, strict=True)]

    def _tokens(self, shape: Unknown, masked: str) -> tuple[str, ...]:
        tokens = shape.text.split() if shape.given else masks.tokens_of(masked, self.settings.max_tokens)
        return tuple(tokens) or ("<EMPTY>",)

    # --- Learning ---------------------------------------------------------------------------------

    def _learn(self, window: int, shapes: Sequence[Unknown]) -> tuple[dict[tuple[str, int], int], dict[int, Template]]:
        found = {(shape.service, shape.key): OVERFLOW for shape in shapes}
        for shape, tokens in self._admitted(shapes):
            service = self._service(shape.service)
            masked = _masked_key(tokens)
            same = service.texts.get(masked) if not shape.given else None
            key = same[0] if same else self._learn_tokens(service, shape, tokens, window)
            found[shape.service, shape.key] = key
            if key != OVERFLOW:
                service.remember(shape.key, masked, key)
                self._changes.shapes.append((shape.service, shape.key, self._ids.next_position()))
        for name in {shape.service for shape in shapes}:
            self._forget_shapes(self._service(name))
        return found, {}

    def _telling(self, cluster: Cluster, position: int, word: str) -> bool:
        """Whether a word that came speaks of a failure, or the few others at its position have come again and again: in
        earlier windows, for in one many names may come so often."""
        if not self.settings.variants:
            return False
        lines = Counter[str]()
        for key in cluster.templates:
            entry = self._entries[key]
            lines[entry.tokens[position]] += self._counts.lately(key)
        if failure_in(word):
            return True
        others = [number for other, number in lines.items() if other != word and not failure_in(other)]
        return len(others) <= self.settings.variants and min(others, default=0) >= OFTEN

    def _learn_tokens(self, service: _Service, shape: Unknown, tokens: tuple[str, ...], window: int) -> int:
        if shape.given:
            return self._id_of(service, None, tokens, window, shape.example)
        cluster = service.tree.live.find(tokens) or self._revived(service, tokens)
        if cluster is None:
            cluster = self._created(service, tokens)
            if cluster is None:
                return OVERFLOW
        else:
            telling = partial(self._telling, cluster)
            changed, opened = cluster.take(tokens, self.settings.variants, telling)
            if opened:
                self._open(service, cluster, opened)
            if changed:
                self._changes.clusters[cluster.cluster_id] = service.name
        return self._id_of(service, cluster, cluster.pattern(tokens), window, shape.example)

    def _id_of(
        self, service: _Service, cluster: Cluster | None, pattern: tuple[str, ...], window: int, example: str
    ) -> int:
        """The id of a pattern of a cluster, a new one if need be and the limit allows."""
        number = cluster.cluster_id if cluster else 0
        key = service.by_pattern.get((number, pattern))
        if key is not None:
            return key
        if self._at_limit(service):
            return OVERFLOW
        key = self._ids.next_template()
        self._entries[key] = _Entry(key, service.name, number, pattern, key, window, 0, example)
        service.by_pattern[number, pattern] = key
        if cluster:
            cluster.templates.append(key)
        self._changes.templates.add(key)
        return key

    def _at_limit(self, service: _Service) -> bool:
        if len(service.by_pattern) < self.settings.max_templates:
            return False
        self._changes.dropped["max_templates"] += 1
        return True

    def _created(self, service: _Service, tokens: tuple[str, ...]) -> Cluster | None:
        """A new cluster of these tokens; in a full leaf the one that takes the rest."""
        from exporter.mining.tree import Cluster

        tree = service.tree
        leaf = tree.live.leaf_of(tokens)
        full = tree.live.full(tokens)
        if full:
            self._changes.dropped["full_leaf"] += 1
            if shared := tree.overflow.get((len(tokens), leaf)):
                return shared
        if self._at_limit(service):
            return None
        kept = (leaf if leaf not in ("", WILDCARD) else WILDCARD, *(WILDCARD,) * (len(tokens) - 1)) if full else tokens
        cluster = Cluster(self._ids.next_cluster(), kept, "overflow" if full else "live", self._ids.next_position())
        cluster.leaf = leaf
        if full:
            cluster.variants = [None if token == WILDCARD else {token} for token in kept]
        tree.add(cluster)
        self._changes.clusters[cluster.cluster_id] = service.name
        return cluster

    def _open(self, service: _Service, cluster: Cluster, opened: Sequence[int]) -> None:
        """Positions have seen too many words: templates that differed only there become the oldest of them."""
        survivors: dict[tuple[str, ...], int] = {}
        for key in cluster.templates:
            entry = self._entries[key]
            service.by_pattern.pop((cluster.cluster_id, entry.tokens), None)
            tokens = list(entry.tokens)
            for position in opened:
                tokens[position] = WILDCARD
            entry.open(tuple(tokens))
            entry.survivor = survivors.setdefault(entry.tokens, key)
            self._changes.templates.add(key)
            if entry.survivor != key:
                self._merge(entry)
        cluster.templates = list(survivors.values())
        service.by_pattern.update({(cluster.cluster_id, tokens): key for tokens, key in survivors.items()})

    def _merge(self, entry: _Entry) -> None:
        survivor = self._entries[entry.survivor]
        survivor.first_seen = min(survivor.first_seen, entry.first_seen)
        survivor.seen = max(survivor.seen, entry.seen)
        self._changes.merged.append(entry.id)

    def _forget_shapes(self, service: _Service) -> None:
        surplus = len(service.shapes) - MAX_SHAPES
        for shape in list(service.shapes)[: max(0, surplus)]:
            service.forget(shape)
            self._changes.forgotten_shapes.append((service.name, shape))

    # --- Retiring ---------------------------------------------------------------------------------

    def retire(self, window: int) -> tuple[Write, ...]:
        """Take out of the tree what nobody has seen for `template_retention` before this window."""
        step = self._step()
        if window // step <= self._ids.retired:
            return ()
        self._ids.retired = window // step
        before = self._ids.retired * step - self.settings.template_retention // timedelta(seconds=1) - step
        for _, service in sorted(self._services.items()):
            self._retire(service, before)
            self._forget_retired(service)
        self._changes.forgotten_counts = self._counts.prune(before)
        changes, self._changes = self._changes, _Changes()
        return self._writes(changes) or (self._counters_row(),)

    def _retire(self, service: _Service, before: int) -> None:
        """Clusters none of whose templates was seen since, and the shapes that led to them."""
        unseen = [
            cluster
            for cluster in service.tree.in_use()
            if all(self._entries[key].seen < before for key in cluster.templates)
        ]
        for cluster in unseen:
            service.tree.move(cluster, "retired", self._ids.next_position())
            self._changes.clusters[cluster.cluster_id] = service.name
            for key in cluster.templates:
                service.by_pattern.pop((cluster.cluster_id, self._entries[key].tokens), None)
        numbers = {cluster.cluster_id for cluster in unseen}
        own = [shape for shape, (key, _) in service.shapes.items() if self._entries[key].cluster in numbers]
        for shape in own:
            service.forget(shape)
            self._changes.forgotten_shapes.append((service.name, shape))

    def _revived(self, service: _Service, tokens: tuple[str, ...]) -> Cluster | None:
        """A retired cluster that the tokens fit comes back, with its ids."""
        cluster = service.tree.retired.find_exact(tokens)
        if cluster is None or self._at_limit(service):
            return None
        service.tree.move(cluster, "live", self._ids.next_position())
        self._changes.clusters[cluster.cluster_id] = service.name
        for key in cluster.templates:
            service.by_pattern[cluster.cluster_id, self._entries[key].tokens] = key
        return cluster

    def _forget_retired(self, service: _Service) -> None:
        """More are retired than could ever be in use: the longest retired are gone for good."""
        retired = list(service.tree.retired.id_to_cluster.values())
        surplus = retired[: max(0, len(retired) - self.settings.max_templates)]
        for cluster in surplus:
            service.tree.forget(cluster)
            self._changes.clusters.pop(cluster.cluster_id, None)
            self._changes.forgotten_clusters.append(cluster.cluster_id)
        numbers = {cluster.cluster_id for cluster in surplus}
        gone = [key for key, entry in self._entries.items() if entry.cluster in numbers] if surplus else []
        for key in gone:
            del self._entries[key]
            self._changes.templates.discard(key)
        self._changes.forgotten_templates += gone

    # --- Writes -----------------------------------------------------------------------------------

    def _writes(self, changes: _Changes) -> tuple[Write, ...]:
        """Rows of what changed, in the order of their keys."""
        some = tuple(
            Write(table, columns, tuple(rows), delete) for table, columns, rows, delete in self._rows(changes) if rows
        )
        return (*some, self._counters_row()) if some else ()

    def _rows(self, changes: _Changes) -> Iterator[tuple[str, tuple[str, ...], list[tuple[SqlValue, ...]], bool]]:
        """Table, columns and rows of each kind of change; whether they go."""
        own = self.source
        kept = [shape for shape in changes.shapes if shape[1] in self._services[shape[0]].shapes]
        clusters = [self._cluster_row(*item) for item in sorted(changes.clusters.items())]
        yield (
            "mining_templates",
            TEMPLATE_COLUMNS,
            [self._template_row(key) for key in sorted(changes.templates)],
            False,
        )
        yield "mining_clusters", CLUSTER_COLUMNS, clusters, False
        yield "mining_shapes", SHAPE_COLUMNS, [self._shape_row(*shape) for shape in kept], False
        yield "mining_counts", COUNT_COLUMNS, [(own, *row) for row in changes.counts], False
        gone = [(own, name, signed(key)) for name, key in changes.forgotten_shapes]
        yield "mining_shapes", SHAPE_COLUMNS[:3], list(gone), True
        yield "mining_counts", COUNT_COLUMNS[:3], [(own, *key) for key in changes.forgotten_counts], True
        yield "mining_clusters", CLUSTER_COLUMNS[:2], [(own, key) for key in changes.forgotten_clusters], True
        yield "mining_templates", TEMPLATE_COLUMNS[:2], [(own, key) for key in changes.forgotten_templates], True

    def _template_row(self, key: int) -> tuple[SqlValue, ...]:
        entry = self._entries[key]
        return (
            *(self.source, key, entry.service, entry.cluster, entry.text),
            *(entry.survivor, entry.first_seen, entry.seen, entry.example),
        )

    def _cluster_row(self, key: int, service: str) -> tuple[SqlValue, ...]:
        cluster = self._services[service].tree.clusters[key]
        variants = [None if words is None else sorted(words) for words in cluster.variants]
        return (
            *(self.source, key, service, cluster.position, cluster.leaf, cluster.kind),
            " ".join(cluster.log_template_tokens),
            json.dumps(variants, ensure_ascii=False, separators=(",", ":")),
        )

    def _shape_row(self, service: str, shape: int, position: int) -> tuple[SqlValue, ...]:
        template, masked = self._services[service].shapes[shape]
        return self.source, service, signed(shape), position, signed(masked), template

    def _counters_row(self) -> Write:
        ids = self._ids
        row = (self.source, ids.template, ids.cluster, ids.position, ids.retired)
        return Write("mining_counters", COUNTER_COLUMNS, (row,))


def _masked_key(tokens: Sequence[str]) -> int:
    return stable_key(" ".join(tokens))
