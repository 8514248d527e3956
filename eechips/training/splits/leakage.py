"""Find leakage: chips of different splits that overlap, or are too close to each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from eechips.geo.ellipsoid import Booleans, Floats, Indices
from eechips.geo.grid import Grid
from eechips.training.splits.footprint_index import FootprintIndex
from eechips.training.splits.split_balance import Ratios
from eechips.training.splits.split_table import NONE

MOST_SHOWN = 20
"""Maximum number of pairs that are listed."""


@dataclass(frozen=True, slots=True)
class Leak:
    """Two chips of different splits that are too close to each other.

    Attributes:
        first: id of one unit.
        second: id of the other.
        splits: splits of both.
        metres: between their outlines, along the geodesic; 0 if they overlap.
    """

    first: str
    second: str
    splits: tuple[str, str]
    metres: float


@dataclass(frozen=True, slots=True)
class Leakage:
    """The leakage between splits.

    Attributes:
        chips: how many are too near to a chip of another split.
        pairs: pairs of outlines of which two chips are too near; chips in one place count once.
        nearest: the nearest pairs, at most ``MOST_SHOWN``, by distance and then by id.
        unmeasured: chips of unknown location, without crs and transform.
    """

    chips: int
    pairs: int
    nearest: tuple[Leak, ...]
    unmeasured: int

    def __bool__(self) -> bool:
        return self.chips > 0


class FootprintMap:
    """The footprints of all chips.

    Args:
        grids: grids of the files of every unit; none if its location is unknown.

    Raises:
        UsageError: if a CRS is unknown, or a grid reaches beyond what it can show.
    """

    def __init__(self, ids: Sequence[str], grids: Sequence[Sequence[Grid]]) -> None:
        self._ids = ids
        self._outlines = FootprintIndex([grid for own in grids for grid in own])
        # A row for every outline of a unit, by unit; most units have one.
        units = np.repeat(np.arange(len(ids)), [len(own) for own in grids])
        rows = np.unique(np.stack([units, self._outlines.numbers]), axis=1) if len(units) else np.empty((2, 0), int)
        self._units, self._numbers = rows
        self._first = np.full(len(ids), -1)
        self._first[units[::-1]] = self._outlines.numbers[::-1]

    @property
    def has_place(self) -> Booleans:
        """Return a mask of the units whose location is known."""
        return self._first >= 0

    @property
    def centres(self) -> Floats:
        """Return longitude and latitude in degrees of the centre of every unit's first file, (n, 2); NaN if unknown."""
        unit_centres = np.full((len(self._ids), 2), np.nan)
        unit_centres[self.has_place] = self._outlines.centres[self._first[self.has_place]]
        return unit_centres

    def check(self, splits: Sequence[str], metres: float) -> Leakage:
        """Find chips of different splits that overlap or are closer than a distance.

        Args:
            splits: splits of every unit; ``none`` is no split.
            metres: the distance; 0 for chips that overlap.
        """
        split_of = np.asarray(splits, dtype=object)
        names = sorted(set(splits) - {NONE})
        is_near, pairs, nearest = np.zeros(len(self._ids), dtype=bool), 0, list[Leak]()
        for index, name in enumerate(names):
            mine = split_of == name
            for other in names[index + 1 :]:
                theirs = split_of == other
                for some, others, apart in self._outlines.near(self._of(mine), self._of(theirs), metres):
                    pairs += len(some)
                    is_near |= (mine & self._having(some)) | (theirs & self._having(others))
                    nearest += self._leaks(some, others, apart, mine, theirs, (name, other))
                    nearest = sorted(nearest, key=lambda leak: (leak.metres, leak.first, leak.second))[:MOST_SHOWN]
        used = split_of != NONE
        return Leakage(int(is_near.sum()), pairs, tuple(nearest), int((used & ~self.has_place).sum()))

    def thinned(self, splits: Sequence[str], ratios: Ratios, metres: float, held: Booleans | None = None) -> list[str]:
        """Leave out chips until no two of different splits are too close to each other.

        Of two that are, the one goes whose split has the larger share; with equal shares, the split that was named
        first. A chip that goes takes no other with it.

        Args:
            splits: splits of every unit.
            metres: see :meth:`check`.
            held: units that stay, whatever is near them, (n,); None for none.

        Returns:
            The splits, ``none`` for what was left out.
        """
        split_of = np.asarray(splits, dtype=object)
        kept = np.zeros(len(self._ids), dtype=bool) if held is None else held.copy()
        for name in ratios.smallest_first:
            mine = (split_of == name) & ~kept
            others = kept & (split_of != name)
            for some, _, _ in self._outlines.near(self._of(mine), self._of(others), metres):
                split_of[mine & self._having(some)] = NONE
            kept |= split_of == name
        remaining_splits: list[str] = split_of.tolist()
        return remaining_splits

    def _of(self, units: Booleans) -> Indices:
        """Return the numbers of the outlines of some units."""
        return np.unique(self._numbers[units[self._units]])

    def _having(self, numbers: Indices) -> Booleans:
        """Return the units that have any of some outlines."""
        has_any = np.zeros(len(self._ids), dtype=bool)
        has_any[self._units[np.isin(self._numbers, numbers)]] = True
        return has_any

    def _leaks(
        self, some: Indices, others: Indices, apart: Floats, mine: Booleans, theirs: Booleans, names: tuple[str, str]
    ) -> list[Leak]:
        """Return the nearest pairs of footprints, each named by the first unit of either footprint."""
        leaks = []
        for index in np.lexsort((others, some, apart))[:MOST_SHOWN]:
            first, second = self._first_of(some[index], mine), self._first_of(others[index], theirs)
            leaks.append(Leak(self._ids[first], self._ids[second], names, float(apart[index])))
        return leaks

    def _first_of(self, number: int, among: Booleans) -> int:
        units = self._units[self._numbers == number]
        return int(units[among[units]][0])
