"""Drain, bounded: similarity by literal tokens, full leaves, and clusters that can leave the tree and return."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from drain3.drain import Drain, LogCluster, Node

from exporter.mining.masks import WILDCARD, is_word

SIMILARITY_DEPTH = 4
MAX_CHILDREN = 100
LEAF_MAX = 200
"""Clusters of a leaf; what fits none of them shares one more. A search looks at all of a leaf."""

MOST_TELLING = 16
"""Words at a position that tell lines apart, at most: more are names, whatever they say."""

Telling = Callable[[int, str], bool]
"""Whether the words of a position tell lines apart, now that another has come."""

MOST_PLACES = 16
"""Places of a cluster whose words are looked at."""


class Cluster(LogCluster):  # type: ignore[misc]
    """Lines of one structure: the generalised tokens, and for each position the few words seen, or None once open.

    Where Drain wrote a wildcard but few plain words have been seen, each combination is a template of its own.
    """

    def __init__(self, cluster_id: int, tokens: Sequence[str], kind: str, position: int) -> None:
        super().__init__(list(tokens), cluster_id)
        self.log_template_tokens = tuple(tokens)
        self.kind = kind  # live, overflow (of a full leaf), retired
        self.position = position
        self.leaf = ""
        self.variants: list[set[str] | None] = [{token} for token in tokens]
        self.templates: list[int] = []

    def pattern(self, tokens: Sequence[str]) -> tuple[str, ...]:
        """The template that tokens of this cluster have."""
        return tuple(WILDCARD if words is None else token for words, token in zip(self.variants, tokens, strict=True))

    def take(self, tokens: Sequence[str], most: int, telling: Telling) -> tuple[bool, list[int]]:
        """Take in a line's tokens. Returns whether anything changed, and the positions that opened.

        A position opens when it has had more than `most` words, unless its words tell lines apart: `telling` says so,
        of a position and the word that came.
        """
        generalised = tuple(
            old if old == new else WILDCARD for old, new in zip(self.log_template_tokens, tokens, strict=True)
        )
        changed = generalised != self.log_template_tokens
        self.log_template_tokens = generalised
        opened = []
        for position, token in enumerate(tokens):
            words = self.variants[position]
            if words is not None and token not in words:
                changed = True
                words.add(token)
                many = len(words) > most and (len(words) > MOST_TELLING or not telling(position, token))
                if many or not all(map(is_word, words)):
                    self.variants[position] = None
                    opened.append(position)
        return changed, opened

    def places(self) -> tuple[int, ...]:
        """Where more than one word has stood, the first few; whether each makes a template or not."""
        return tuple(place for place, token in enumerate(self.log_template_tokens) if token == WILDCARD)[:MOST_PLACES]

    def holds(self, tokens: Sequence[str]) -> bool:
        """Whether tokens would change nothing."""
        return all(words is None or token in words for words, token in zip(self.variants, tokens, strict=True))


class BoundedDrain(Drain):  # type: ignore[misc]
    """drain3's tree, its clusters kept by us.

    Equal placeholders neither help nor hurt the similarity; else a header of placeholders makes all lines alike.
    """

    def __init__(self, similarity: float) -> None:
        super().__init__(depth=SIMILARITY_DEPTH, sim_th=similarity, max_children=MAX_CHILDREN)

    def get_seq_distance(self, seq1: Sequence[str], seq2: Sequence[str], include_params: bool) -> tuple[float, int]:
        equal = compared = wild = 0
        for template, token in zip(seq1, seq2, strict=True):
            if template == token:
                if template[0] != "<":
                    equal += 1
                    compared += 1
                elif template == WILDCARD:
                    wild += 1
            else:
                compared += 1
                wild += template == WILDCARD
        if not compared:
            return 1.0, wild
        return (equal + wild if include_params else equal) / compared, wild

    def find(self, tokens: Sequence[str]) -> Cluster | None:
        """The most similar cluster, if one is similar enough."""
        found: Cluster | None = self.tree_search(self.root_node, list(tokens), self.sim_th, False)
        return found

    def find_exact(self, tokens: Sequence[str]) -> Cluster | None:
        """A cluster that the tokens fit without making it more general."""
        found: Cluster | None = self.tree_search(self.root_node, list(tokens), 1.0, True)
        return found

    def leaf_of(self, tokens: Sequence[str]) -> str:
        """Where a new cluster of these tokens goes: by its first token, or with all that have none of their own."""
        if len(tokens) < 2:
            return ""
        first = tokens[0]
        parent = self.root_node.key_to_child_node.get(str(len(tokens)))
        children = parent.key_to_child_node if parent else {}
        if first in children:
            return first
        room = self.max_children - (WILDCARD not in children)
        return WILDCARD if self.has_numbers(first) or len(children) >= room else first

    def full(self, tokens: Sequence[str]) -> bool:
        """Whether the leaf of these tokens takes no more."""
        parent = self.root_node.key_to_child_node.get(str(len(tokens)))
        node = parent.key_to_child_node.get(self.leaf_of(tokens)) if parent and len(tokens) > 1 else parent
        return node is not None and len(node.cluster_ids) >= LEAF_MAX

    def place(self, cluster: Cluster) -> None:
        """Put a cluster at the end of its leaf; the tree has nodes only for leaves with clusters."""
        self.id_to_cluster[cluster.cluster_id] = cluster
        parent = self.root_node.key_to_child_node.setdefault(str(len(cluster.log_template_tokens)), Node())
        node = parent.key_to_child_node.setdefault(cluster.leaf, Node()) if cluster.leaf else parent
        node.cluster_ids.append(cluster.cluster_id)

    def remove(self, cluster: Cluster) -> None:
        """Take a cluster out, and its leaf when that was its last."""
        del self.id_to_cluster[cluster.cluster_id]
        parents = self.root_node.key_to_child_node
        length = str(len(cluster.log_template_tokens))
        parent = parents[length]
        node = parent.key_to_child_node[cluster.leaf] if cluster.leaf else parent
        node.cluster_ids.remove(cluster.cluster_id)
        if cluster.leaf and not node.cluster_ids:
            del parent.key_to_child_node[cluster.leaf]
        if not parent.cluster_ids and not parent.key_to_child_node:
            del parents[length]


class Tree:
    """The clusters of one service: those in use, those retired, and the shared ones of full leaves."""

    def __init__(self, similarity: float) -> None:
        self.live = BoundedDrain(similarity)
        self.retired = BoundedDrain(similarity)
        self.overflow: dict[tuple[int, str], Cluster] = {}
        self.clusters: dict[int, Cluster] = {}

    def add(self, cluster: Cluster) -> None:
        """Put a cluster where its kind belongs; its leaf is known."""
        self.clusters[cluster.cluster_id] = cluster
        if cluster.kind == "overflow":
            self.overflow[len(cluster.log_template_tokens), cluster.leaf] = cluster
        else:
            (self.live if cluster.kind == "live" else self.retired).place(cluster)

    def move(self, cluster: Cluster, kind: str, position: int) -> None:
        """Retire a cluster, or bring it back."""
        (self.live if cluster.kind == "live" else self.retired).remove(cluster)
        cluster.kind, cluster.position = kind, position
        drain = self.live if kind == "live" else self.retired
        cluster.leaf = drain.leaf_of(cluster.log_template_tokens)
        drain.place(cluster)

    def forget(self, cluster: Cluster) -> None:
        """Drop a retired cluster for good."""
        self.retired.remove(cluster)
        del self.clusters[cluster.cluster_id]

    def in_use(self) -> Iterator[Cluster]:
        """The live clusters, oldest first."""
        yield from list(self.live.id_to_cluster.values())
