"""Quarter quadrangles of NAIP's photographs, and the states with which they are flown.

Quads of 7.5 minutes are numbered 01 to 64 within each square degree, which is named after its south-eastern corner;
each has four quarters of 3.75 minutes.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np
import shapely

from eechips_local.demo.borders import state_outlines
from eechips_local.evaluation.asset_model import Bounds
from eechips_local.geometry.longitude_boxes import box_meets

_QUARTERS = ("ne", "nw", "se", "sw")
_QUARTER = 0.0625
_REACH = 0.01
"""Degrees by which an image may reach beyond its quarter quad, at the most."""


@dataclass(frozen=True, slots=True, order=True)
class Quarter:
    """A quarter quad.

    Attributes:
        latitude: latitude of the southern edge of the square degree.
        longitude: degrees west of its eastern edge.
        quad: 1 to 64, row by row from the north-west.
        quarter: "ne", "nw", "se" or "sw".
    """

    latitude: int
    longitude: int
    quad: int
    quarter: str

    @property
    def bounds(self) -> Bounds:
        """Without collar."""
        row, column = divmod(self.quad - 1, 8)
        north = self.latitude + 1 - row * 0.125 - (_QUARTER if self.quarter[0] == "s" else 0.0)
        west = -self.longitude - 1 + column * 0.125 + (_QUARTER if self.quarter[1] == "e" else 0.0)
        return west, north - _QUARTER, west + _QUARTER, north

    @property
    def zone(self) -> int:
        """UTM zone of its middle."""
        west, _, east, _ = self.bounds
        return math.floor(((west + east) / 2.0 + 180.0) / 6.0) + 1

    @property
    def name(self) -> str:
        """As in the names of images: quad and quarter."""
        return f"{self.latitude:02d}{self.longitude:03d}{self.quad:02d}_{self.quarter}"


@lru_cache(maxsize=1024)
def states_of_quarters(latitude: int, longitude: int) -> Mapping[tuple[int, str], tuple[int, ...]]:
    """Return numbers of the states that each quarter quad of a square degree counts as, by quad and quarter.

    Quads on a border are flown with both states; what lies outside of all of them belongs to that of the degree.
    """
    main = state_outlines.degrees()[(latitude, longitude)]
    quarters = [Quarter(latitude, longitude, quad, name) for quad in range(1, 65) for name in _QUARTERS]
    boxes = shapely.box(*np.array([quarter.bounds for quarter in quarters]).T)
    touched: dict[int, list[int]] = {}
    for box, state in zip(*_tree().query(boxes, predicate="dwithin", distance=_REACH), strict=True):
        touched.setdefault(int(box), []).append(int(state))
    return {
        (quarter.quad, quarter.quarter): tuple(sorted(touched.get(n, [main]), key=lambda state: (state != main, state)))
        for n, quarter in enumerate(quarters)
    }


@cache
def count_quarters() -> Mapping[tuple[int, ...], int]:
    """Return the number of quarter quads that count as the same states, by their numbers."""
    degrees = state_outlines.degrees()
    return Counter(states for place in degrees for states in states_of_quarters(*place).values())


@cache
def _tree() -> shapely.STRtree:
    return shapely.STRtree(list(state_outlines.states().values()))


@cache
def _squares() -> Mapping[tuple[int, int], None]:
    """Return the square degrees that have photographs, (latitude, degrees west), in their order."""
    return dict.fromkeys(sorted(state_outlines.degrees()))


@lru_cache(maxsize=256)
def _squares_of(states: frozenset[int]) -> Mapping[tuple[int, int], None]:
    """Return the square degrees that photographs of some states may reach, in their order."""
    outlines, main = list(state_outlines.states().values()), state_outlines.degrees()
    boxes = [shapely.box(*outlines[state].bounds).buffer(_REACH) for state in states]
    near = (s for s in _squares() if any(shapely.box(-s[1] - 1, s[0], -s[1], s[0] + 1).intersects(b) for b in boxes))
    return dict.fromkeys(sorted({*near, *(square for square in _squares() if main[square] in states)}))


def _near(bounds: Bounds | None, states: set[int]) -> Iterable[tuple[int, int]]:
    """Return square degrees of some states that may meet bounds, in their order."""
    known = _squares_of(frozenset(states))
    if bounds is None:
        return known
    west, south, east, north = bounds
    if west > east:
        return [(j, i) for j, i in known if box_meets((-i - 1.0, float(j), float(-i), j + 1.0), bounds)]
    latitudes = range(max(0, math.ceil(south) - 1), min(90, math.floor(north)) + 1)
    longitudes = range(max(0, math.ceil(-east) - 1), min(180, math.floor(-west)) + 1)
    return [(j, i) for j in latitudes for i in longitudes if (j, i) in known]


def quarters_in(bounds: Bounds | None, states: set[int]) -> Iterator[Quarter]:
    """Yield quarter quads, of some states, that may meet the bounds; in the order of their names."""
    if bounds is not None:
        bounds = (bounds[0] - _REACH, bounds[1] - _REACH, bounds[2] + _REACH, bounds[3] + _REACH)
    for latitude, longitude in _near(bounds, states):
        if bounds is None:
            rows, columns = range(16), range(16)
        else:
            west, north = -longitude - 1.0, latitude + 1.0
            rows = _span(north - bounds[3], north - bounds[1])
            columns = range(16) if bounds[0] > bounds[2] else _span(bounds[0] - west, bounds[2] - west)
        quarters = []
        for row in rows:
            for column in columns:
                quad = (row // 2) * 8 + column // 2 + 1
                quarters.append((quad, "ns"[row % 2] + "we"[column % 2]))
        for quad, quarter in sorted(quarters):
            yield Quarter(latitude, longitude, quad, quarter)


def _span(first: float, last: float) -> range:
    """Return rows or columns of quarter quads from ``first`` to ``last`` degrees within their square degree."""
    return range(max(0, math.floor(first / _QUARTER)), min(15, math.floor(last / _QUARTER)) + 1)
