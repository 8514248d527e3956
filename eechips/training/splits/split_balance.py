"""Parse the ratios of splits, and assign blocks to splits so that each has its share.

:mod:`eechips.training.splits.split_groups` makes the blocks that keep splits apart in space.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from eechips.errors import UsageError
from eechips.training.splits.split_table import NONE

TRAIN = "train"
"""The usual name of the training split."""

_NAMES = {2: (TRAIN, "test"), 3: (TRAIN, "validation", "test")}
_MOST_PASSES = 20
_LEAST_GAIN = 1e-9
_ALL = "\0all"  # the stratum of everything
_WEIGHT = 20.0  # of all chips together, beside the strata


@dataclass(frozen=True, slots=True)
class Ratios:
    """Names of splits and the share of each.

    Attributes:
        names: in the order in which they were given.
        shares: above 0; they add up to 1.
    """

    names: tuple[str, ...]
    shares: tuple[float, ...]

    @classmethod
    def parse(cls, text: str | Sequence[float] | Mapping[str, float]) -> Ratios:
        """Parse ratios: ``0.7,0.15,0.15`` (train, validation, test), ``0.8,0.2`` (train, test), or ``a=5,b=3,c=1,d=1``.

        Raises:
            UsageError: if they are none of these, or a share is not above 0.
        """
        if isinstance(text, str):
            pairs = [part.rpartition("=") for part in text.split(",")]
            names = tuple(name.strip() for name, equals, _ in pairs if equals)
            values = [number.strip() for _, _, number in pairs]
        elif isinstance(text, Mapping):
            names, values = tuple(text), [str(value) for value in text.values()]
        else:
            names, values = (), [str(value) for value in text]
        try:
            weights = [float(value) for value in values]
        except ValueError:
            weights = []
        usual = names or _NAMES.get(len(values), ())
        if not weights or len(usual) != len(weights) or len(weights) < 2:
            raise UsageError(
                f"ratios {text!r} is not two or three numbers, as in 0.7,0.15,0.15, nor named ones, as in a=0.5,b=0.5"
            )
        if any(not (math.isfinite(weight) and weight > 0) for weight in weights):
            raise UsageError(f"ratios {text!r}: every share must be above 0")
        if len(set(usual)) < len(usual) or NONE in usual or "" in usual:
            raise UsageError(
                f"ratios {text!r}: names must differ, and '{NONE}' is reserved for chips that are left out"
            )
        return cls(tuple(usual), tuple(weight / sum(weights) for weight in weights))

    @property
    def training(self) -> str:
        """The name of the training split: ``train``, or else the first name."""
        return TRAIN if TRAIN in self.names else self.names[0]

    @property
    def smallest_first(self) -> tuple[str, ...]:
        """The names sorted by share; of equal shares, the last name first."""
        order = sorted(range(len(self.names)), key=lambda index: (self.shares[index], -index))
        return tuple(self.names[index] for index in order)


def assign(
    blocks: Sequence[str], strata: Sequence[Hashable], ratios: Ratios, seed: int, known: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Put whole blocks into splits, so that each split has its share of all chips and of every stratum.

    Blocks are taken in an order that depends on the seed and their names alone. Each goes to the split where it makes
    the sum of (count - wanted)² / wanted, over strata and splits, grow least; then blocks are moved as long as that
    makes it less. All chips together count for twenty strata, or strata of one chip would all end in the largest split.
    No split stays empty.

    Args:
        known: blocks that have a split already, and keep it.

    Returns:
        The split of every block.

    Raises:
        UsageError: if there are fewer blocks than splits.
    """
    contents: dict[str, Counter[Hashable]] = {}
    for block, stratum in zip(blocks, strata, strict=True):
        contents.setdefault(block, Counter()).update((stratum, _ALL))
    if len(contents) < len(ratios.names):
        raise UsageError(
            f"{len(contents)} {'block is' if len(contents) == 1 else 'blocks are'} too few for {len(ratios.names)}"
            " splits: use smaller blocks (`block_size`; for H3 a higher `resolution`), a column of more values, or"
            " fewer `ratios`"
        )
    held = {block: ratios.names.index(split) for block, split in (known or {}).items() if block in contents}
    free = sorted(contents.keys() - held.keys(), key=lambda block: hashlib.sha256(f"{seed}:{block}".encode()).digest())
    fill = _Fill(contents, ratios)
    for block, split in held.items():
        fill.put(block, split)
    for block in free:
        fill.put(block, fill.best(block))
    for _ in range(_MOST_PASSES):
        if not sum(fill.improve(block) for block in free):
            break
    fill.fill_empty(free)
    return {block: ratios.names[fill.places[block]] for block in contents}


class _Fill:
    """The contents of the splits, and their targets."""

    def __init__(self, contents: Mapping[str, Counter[Hashable]], ratios: Ratios) -> None:
        totals: Counter[Hashable] = Counter()
        for content in contents.values():
            totals.update(content)
        numbers = {stratum: number for number, stratum in enumerate(totals)}
        self._parts = {
            block: [(numbers[stratum], count) for stratum, count in content.items()]
            for block, content in contents.items()
        }
        self._weights = [_WEIGHT if stratum is _ALL else 1.0 for stratum in totals]
        self._wanted = [[share * total for total in totals.values()] for share in ratios.shares]
        self._counts = [[0] * len(totals) for _ in ratios.shares]
        self._blocks = [0] * len(ratios.shares)
        self._splits = range(len(ratios.shares))
        self.places: dict[str, int] = {}

    def put(self, block: str, split: int) -> None:
        """Put a block into a split, out of the one where it is."""
        before = self.places.get(block)
        for stratum, count in self._parts[block]:
            self._counts[split][stratum] += count
            if before is not None:
                self._counts[before][stratum] -= count
        self._blocks[split] += 1
        if before is not None:
            self._blocks[before] -= 1
        self.places[block] = split

    def best(self, block: str) -> int:
        """Return the split that a block without one suits best."""
        return min(self._splits, key=lambda split: (self._cost(block, split, 1), split))

    def improve(self, block: str) -> bool:
        """Move a block to where it suits better; returns whether there is such a place."""
        here = self.places[block]
        leaving = self._cost(block, here, -1)
        costs = [(leaving + self._cost(block, split, 1), split) for split in self._splits if split != here]
        cost, split = min(costs)
        if cost < -_LEAST_GAIN:
            self.put(block, split)
            return True
        return False

    def fill_empty(self, free: Iterable[str]) -> None:
        """Move a block into every split that has none, if there is one to spare."""
        candidates = list(free)
        for empty in self._splits:
            spare = [block for block in candidates if self._blocks[self.places[block]] > 1]
            if self._blocks[empty] == 0 and spare:
                self.put(min(spare, key=lambda block: self._change(block, empty)), empty)

    def _change(self, block: str, split: int) -> float:
        return self._cost(block, self.places[block], -1) + self._cost(block, split, 1)

    def _cost(self, block: str, split: int, sign: int) -> float:
        """Return the growth of the cost if a block is added to a split (1), or removed from it (-1)."""
        counts, wanted = self._counts[split], self._wanted[split]
        weights = self._weights
        return sum(weights[s] * n * (sign * 2 * (counts[s] - wanted[s]) + n) / wanted[s] for s, n in self._parts[block])
