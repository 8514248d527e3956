"""Cobweb: a tree of clusters that samples enter one after another, for numbers.

Douglas Fisher (1987): Knowledge acquisition via incremental conceptual clustering. Machine Learning 2, 139-172.
John Gennari, Pat Langley and Douglas Fisher (1990): Models of incremental concept formation. Artificial Intelligence
40, 11-61, for numbers: their standard deviation is at least the acuity.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from eechips_local.algorithms.classification import Floats

_UTILITY = 1 / (2 * np.sqrt(np.pi))  # Gennari, Langley and Fisher (1990), section 4.2


@dataclass(slots=True, eq=False)
class Moments:
    """Number, sum and sum of squares of samples.

    Attributes:
        total: sum of each input.
        squares: sum of the squares of each input.
    """

    count: int
    total: Floats
    squares: Floats

    @classmethod
    def of(cls, sample: Floats) -> Moments:
        """Return those of one sample."""
        return cls(1, sample.copy(), sample**2)

    def __add__(self, other: Moments) -> Moments:
        """Return those of both samples together."""
        return Moments(self.count + other.count, self.total + other.total, self.squares + other.squares)

    def score(self, acuity: float) -> float:
        """Return the sum over the inputs of the inverse standard deviation, which is at least the acuity."""
        return float(_score(self.count, self.total, self.squares, acuity))


def _score(count: int, total: Floats, squares: Floats, acuity: float) -> Floats:
    """Return the sum along the last axis of the inverse standard deviations."""
    variance = np.maximum(squares / count - (total / count) ** 2, 0)
    score: Floats = (1 / np.maximum(np.sqrt(variance), acuity)).sum(axis=-1)
    return score


def category_utility(parent: Moments, children: Iterable[Moments], acuity: float) -> float:
    """Return how much better values are foretold in clusters than in all samples together, by cluster.

    Args:
        parent: moments of all samples.
        children: moments of each cluster.
        acuity: least standard deviation.
    """
    parts = list(children)
    base = parent.score(acuity)
    gain = sum(part.count / parent.count * (part.score(acuity) - base) for part in parts)
    return float(_UTILITY * gain / len(parts))


@dataclass(slots=True, eq=False)
class Node:
    """A cluster.

    Attributes:
        moments: moments of its samples.
        children: clusters within it; none if it is a leaf.
        number: number of the cluster, in the order of the tree from above.
    """

    moments: Moments
    children: list[Node] = field(default_factory=list)
    number: int = 0

    def __iter__(self) -> Iterator[Node]:
        """Iterate over the node and all below it, from above."""
        waiting = [self]
        while waiting:
            node = waiting.pop()
            yield node
            waiting += reversed(node.children)


@dataclass(frozen=True, slots=True)
class Cobweb:
    """A tree of clusters.

    Attributes:
        root: cluster of all samples.
        acuity: least standard deviation.
    """

    root: Node
    acuity: float

    @classmethod
    def fit(cls, samples: Floats, acuity: float, cutoff: float, seed: int) -> Cobweb:
        """Let samples enter a tree, in a random order.

        Args:
            samples: shape (samples, inputs).
            acuity: least standard deviation of an input in a cluster, in its units.
            cutoff: least category utility for which a leaf is divided.
        """
        order = np.random.RandomState(seed % 2**32).permutation(len(samples))
        root = Node(Moments.of(samples[order[0]]))
        for number in order[1:]:
            _enter(root, Moments.of(samples[number]), acuity, cutoff)
        for number, node in enumerate(root):
            node.number = number
        return cls(root, acuity)

    def predict(self, values: Floats) -> npt.NDArray[np.int64]:
        """Return the number of the cluster of each value, of shape (values, inputs): the last that is a good host."""
        labels = np.empty(len(values), dtype=np.int64)
        waiting = [(self.root, np.arange(len(values)))]
        while waiting:
            node, chosen = waiting.pop()
            labels[chosen] = node.number
            if not node.children or not len(chosen):
                continue
            host = self._hosts(node, values[chosen])
            waiting += [(child, chosen[host == number]) for number, child in enumerate(node.children)]
        return labels

    def _hosts(self, node: Node, values: Floats) -> npt.NDArray[np.int64]:
        """Return the child that each value enters; the number of children if it would be a cluster of its own."""
        children = [child.moments for child in node.children]
        counts = [moments.count for moments in children]
        alone = [moments.score(self.acuity) for moments in children]
        total = node.moments.count + 1
        base = _score(total, node.moments.total + values, node.moments.squares + values**2, self.acuity)
        held = sum(count * score for count, score in zip(counts, alone, strict=True))
        utilities = []
        for moments, count, score in zip(children, counts, alone, strict=True):
            joined = _score(count + 1, moments.total + values, moments.squares + values**2, self.acuity)
            gain = (held - count * score + (count + 1) * joined) / total - base
            utilities.append(gain / len(children))
        new = values.shape[1] / self.acuity
        utilities.append(((held + new) / total - base) / (len(children) + 1))
        hosts: npt.NDArray[np.int64] = np.argmax(np.stack(utilities), axis=0)
        return hosts


def _enter(root: Node, sample: Moments, acuity: float, cutoff: float) -> None:
    """Let a sample enter a tree: at each node the best child, a new one, or one after a merge or a split."""
    node = root
    while node.children:
        node.moments += sample
        node = _host(node, sample, acuity)
        if node.moments is sample:
            return
    node.children = [Node(node.moments), Node(sample)]
    node.moments = node.moments + sample
    if category_utility(node.moments, [child.moments for child in node.children], acuity) < cutoff:
        node.children = []


def _host(node: Node, sample: Moments, acuity: float) -> Node:
    """Return the child of a node that a sample enters, after the children were changed for it."""
    while True:
        parts = [child.moments for child in node.children]
        utilities = [
            category_utility(node.moments, _replaced(parts, number, sample), acuity) for number in range(len(parts))
        ]
        ranked = sorted(range(len(parts)), key=lambda number: -utilities[number])
        best = node.children[ranked[0]]
        most = utilities[ranked[0]]
        alone = category_utility(node.moments, [*parts, sample], acuity)
        merged = split = -np.inf
        if len(parts) > 2:
            others = [part for number, part in enumerate(parts) if number not in ranked[:2]]
            both = parts[ranked[0]] + parts[ranked[1]] + sample
            merged = category_utility(node.moments, [*others, both], acuity)
        if best.children:
            others = [part for number, part in enumerate(parts) if number != ranked[0]]
            below = [child.moments for child in best.children]
            split = max(
                category_utility(node.moments, [*others, *_replaced(below, number, sample)], acuity)
                for number in range(len(below))
            )
        greatest = max(most, alone, merged, split)
        if greatest == most:
            return best
        if greatest == alone:
            node.children.append(Node(sample))
            return node.children[-1]
        rest = [child for child in node.children if child is not best]
        if greatest == merged:
            second = node.children[ranked[1]]
            union = Node(best.moments + second.moments, [best, second])
            node.children = [*(child for child in rest if child is not second), union]
            return union
        node.children = [*rest, *best.children]


def _replaced(parts: list[Moments], number: int, sample: Moments) -> list[Moments]:
    return [part + sample if position == number else part for position, part in enumerate(parts)]
