"""Parse and write decision trees of ``ee.Classifier.decisionTree`` in the text format of R's ``rpart``, limit their
nodes and depth, and compute their votes.

A line is a node: number, split, samples, loss, value, optionally probabilities in parentheses, and ``*`` at a leaf::

    1) root 150 100 0 (0.33 0.33 0.33)
      2) petal_length< 2.45 50 0 0 (1 0 0) *
      3) petal_length>=2.45 100 50 1 (0 0.5 0.5) *

The split is the condition on which the node is entered. The children of node k are 2k and 2k + 1
(https://github.com/haifengl/smile/issues/455). Lines that do not begin with a number and a parenthesis are headings.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from eechips_local.protocol.request_errors import InvalidError, MemoryLimitError

Floats = npt.NDArray[np.float64]

_NODE = re.compile(r"\s*(\d{1,1300})\)\s*(.*?)\s*(\*?)\s*")
_NUMBER = r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?"
_ROOT = re.compile(rf"root\s+({_NUMBER})\s+({_NUMBER})\s+({_NUMBER})(?:\s*\(.*\))?")
_SPLIT = re.compile(rf"(.+?)\s*(<=|>=|<|>)\s*({_NUMBER})\s+({_NUMBER})\s+({_NUMBER})\s+({_NUMBER})(?:\s*\(.*\))?")
_MOST_NODES = 4_000_000
_VOTES = 1 << 23
"""Values of trees that are held at a time."""
_MOST_DEPTH = 4096


@dataclass(frozen=True, slots=True)
class _Line:
    """A node as it is written: input, operator and threshold of its split (none of the root), and its value."""

    name: str
    operator: str
    threshold: float
    value: float


@dataclass(frozen=True, slots=True, eq=False)
class DecisionTree:
    """A tree of comparisons.

    Attributes:
        inputs: for each node, the position of its input among the names of the ensemble; 0 of leaves.
        limits: for each node, what the input is compared with: below it, ``below`` is next, else ``others``.
        below: for each node, the next node; of leaves, themselves.
        others: likewise.
        values: for each node, its value.
        depth: number of comparisons on the longest way.
    """

    inputs: npt.NDArray[np.intp]
    limits: Floats
    below: npt.NDArray[np.intp]
    others: npt.NDArray[np.intp]
    values: Floats
    depth: int

    @property
    def leaf_values(self) -> Floats:
        """Values of the leaves."""
        return np.asarray(self.values[self.below == np.arange(len(self.below))])

    def predict(self, samples: Floats) -> Floats:
        """Return the value of the leaf that each sample of shape (samples, inputs) reaches."""
        rows = np.arange(len(samples))
        node = np.zeros(len(samples), dtype=np.intp)
        for _ in range(self.depth):
            is_below = samples[rows, self.inputs[node]] < self.limits[node]
            node = np.where(is_below, self.below[node], self.others[node])
        return self.values[node]


@dataclass(frozen=True, slots=True, eq=False)
class TreeEnsemble:
    """Trees, and the names of their inputs in the order in which the trees use them."""

    names: tuple[str, ...]
    trees: tuple[DecisionTree, ...]

    @property
    def leaf_values(self) -> Floats:
        """The different values of all leaves, in ascending order."""
        return np.unique(np.concatenate([tree.leaf_values for tree in self.trees]))

    def votes(self, samples: Floats) -> Floats:
        """Return what each tree gives for samples of shape (samples, inputs): shape (samples, trees)."""
        return np.stack([tree.predict(samples) for tree in self.trees], axis=1)

    def reduce(self, samples: Floats, function: Callable[[Floats], Floats]) -> Floats:
        """Return a function of the votes, which are computed for some samples at a time."""
        step = max(1, _VOTES // len(self.trees))
        starts = range(0, max(len(samples), 1), step)
        return np.concatenate([function(self.votes(samples[start : start + step])) for start in starts])


def most_frequent(votes: Floats) -> Floats:
    """Return the most frequent value of each row, the least of several."""
    ordered = np.sort(votes, axis=1)
    place = np.arange(ordered.shape[1])
    starts = np.ones(ordered.shape, dtype=bool)
    starts[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    length = place - np.maximum.accumulate(np.where(starts, place, 0), axis=1)
    return np.take_along_axis(ordered, length.argmax(axis=1)[:, None], axis=1)[:, 0]


def parse_trees(texts: Sequence[str]) -> TreeEnsemble:
    """Return the trees of texts; each may contain several, which begin with a node 1.

    Nodes stand in the order of R's text: each, then all below its first child, then all below its second. A node
    without the star of a leaf has children, so that another one after it is refused in the service's words
    (github.com/gee-community/geemap/issues/2106 and 2297).

    Raises:
        InvalidError: if a text contains no tree, a node cannot be read or stands at a wrong place, a node has one child
            only, or no tree has any.
        LimitError: if there are more than four million nodes.
    """
    written: list[dict[int, _Line]] = []
    count = 0
    for position, text in enumerate(texts):
        before = len(written)
        expected: list[int] = []
        for line_number, line in enumerate(text.splitlines(), 1):
            matched = _NODE.fullmatch(line)
            if matched is None:
                continue
            number, rest, star = int(matched[1]), matched[2], bool(matched[3])
            count += 1
            if count > _MOST_NODES:
                raise MemoryLimitError()
            wanted = expected.pop() if expected else 1
            if number != wanted:
                raise InvalidError(f"Error parsing line {line_number}: expected {wanted}, got {number}.")
            if number == 1:
                written.append({})
            if not star:
                expected += [2 * number + 1, 2 * number]
            written[-1][number] = _line(position, number, rest)
        if len(written) == before:
            raise InvalidError(f"Decision tree {position} has no node; expected lines such as '1) root 100 20 1'.")
    names = tuple(dict.fromkeys(line.name for tree in written for line in tree.values() if line.name))
    if not names:
        raise InvalidError("The decision trees have no splits, so that they need no inputs.")
    places = {name: place for place, name in enumerate(names)}
    return TreeEnsemble(names, tuple(_tree(tree, places) for tree in written))


def _line(position: int, number: int, rest: str) -> _Line:
    if number == 1:
        matched = _ROOT.fullmatch(rest)
        if matched is not None:
            return _Line("", "", 0.0, float(matched[3]))
    else:
        matched = _SPLIT.fullmatch(rest)
        if matched is not None:
            return _Line(matched[1], matched[2], float(matched[3]), float(matched[6]))
    wanted = "root 100 20 1" if number == 1 else "name <= 0.5 100 20 1"
    raise InvalidError(
        f"Decision tree {position}: node {number} cannot be read: '{rest[:100]}'. Expected split, samples, loss and a "
        f"value that is a number, such as '{wanted}'."
    )


def _tree(lines: Mapping[int, _Line], places: Mapping[str, int]) -> DecisionTree:
    """Return a tree whose nodes are numbered in a row."""
    order = {number: index for index, number in enumerate(sorted(lines))}
    depth = max(lines).bit_length() - 1
    if depth > _MOST_DEPTH:
        raise InvalidError(f"A decision tree must not be deeper than {_MOST_DEPTH} nodes; found node {max(lines)}.")
    size = len(order)
    inputs, below, others = np.zeros(size, dtype=np.intp), np.arange(size), np.arange(size)
    limits = np.zeros(size)
    for number, index in order.items():
        first, second = lines.get(2 * number), lines.get(2 * number + 1)
        if first is None and second is None:
            continue
        if first is None or second is None:
            raise InvalidError(f"Node {number} of a decision tree has one child; it must have none or two.")
        if first.name != second.name:
            raise InvalidError(f"The children of node {number} of a decision tree split by different inputs.")
        inputs[index] = places[first.name]
        # The first child's condition decides: x <= t is x < the next number above t.
        up = first.operator in ("<=", ">")
        limits[index] = math.nextafter(first.threshold, math.inf) if up else first.threshold
        ways = (order[2 * number], order[2 * number + 1])
        below[index], others[index] = ways if first.operator.startswith("<") else ways[::-1]
    values = np.array([lines[number].value for number in order])
    return DecisionTree(inputs, limits, below, others, values, depth)


def tree_text(tree: Any, names: Sequence[str], classes: npt.NDArray[Any] | None) -> str:
    """Return a tree of scikit-learn as text that ``ee.Classifier.decisionTree`` reads.

    Args:
        tree: structure of a fitted estimator, its ``tree_``.
        names: names of the inputs.
        classes: labels of the classes; None of a tree of numbers, whose loss is the sum of squares.
    """
    sizes = tree.n_node_samples.tolist()
    if classes is None:
        losses = (tree.impurity * tree.weighted_n_node_samples).tolist()
        values, shares = tree.value[:, 0, 0].tolist(), None
    else:
        parts = tree.value[:, 0, :] / tree.value[:, 0, :].sum(axis=1, keepdims=True)
        losses = ((1.0 - parts.max(axis=1)) * tree.n_node_samples).round().astype(np.int64).tolist()
        values, shares = classes[parts.argmax(axis=1)].tolist(), parts.tolist()
    features, limits = tree.feature.tolist(), tree.threshold.tolist()
    first, second = tree.children_left.tolist(), tree.children_right.tolist()
    lines = []
    pending = [(0, 1, "root")]
    while pending:
        node, number, split = pending.pop()
        line = f"{number}) {split} {sizes[node]} {losses[node]!r} {values[node]!r}"
        if shares is not None:
            line += f" ({' '.join(f'{share:.5g}' for share in shares[node])})"
        if first[node] < 0:
            lines.append(line + " *")
            continue
        lines.append(line)
        name, limit = names[features[node]], limits[node]
        pending.append((second[node], 2 * number + 1, f"{name} > {limit!r}"))
        pending.append((first[node], 2 * number, f"{name} <= {limit!r}"))
    return "\n".join(lines) + "\n"
