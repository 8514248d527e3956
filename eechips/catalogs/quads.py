"""The grid of S2: quadrilaterals on the faces of a cube (https://s2geometry.io)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from shapely.geometry.base import BaseGeometry

from eechips.catalogs.areas import RADIUS, meets_more, stepped
from eechips.errors import UsageError

_LEVELS = 30
_SWAP = 1  # orientation of the curve: i and j are exchanged
# Of each orientation: which quarter the curve visits when (https://s2geometry.io/devguide/s2cell_hierarchy).
_POSITIONS = np.array([[0, 1, 3, 2], [0, 3, 1, 2], [2, 3, 1, 0], [2, 1, 3, 0]], dtype=np.uint64)
_TURNS = np.array([1, 0, 0, 3], dtype=np.int64)
_SPREAD = 1.6  # the largest cells have less than this times the mean area
_SHRINK = 0.5  # and no cell is as narrow as this times the mean edge
_METRES_PER_DEGREE = 111_320.0


@dataclass(frozen=True, slots=True)
class S2:
    """The cells of S2.

    Attributes:
        resolution: the level, 0 (85,000,000 km² a cell) to 30; 5 is 83,000 km².
    """

    resolution: int

    name = "s2"

    def __post_init__(self) -> None:
        if not 0 <= self.resolution <= _LEVELS:
            raise UsageError(f"S2 has levels from 0 to {_LEVELS}, not {self.resolution}")

    def most(self, metres: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
        """How many cells items can meet that are so large across: four at a corner, nine of two edges."""
        edge = _SHRINK * math.sqrt(self._area)
        return stepped(metres, (edge, 4), (2 * edge, 9))

    @property
    def _area(self) -> float:
        return 4 * math.pi * RADIUS**2 / float(6 * 4**self.resolution)

    def to_json(self) -> dict[str, Any]:
        """``{"name": "s2", "resolution": …}``."""
        return {"name": self.name, "resolution": self.resolution}

    def homes(self, longitudes: npt.NDArray[np.float64], latitudes: npt.NDArray[np.float64]) -> list[str]:
        """``s2-`` and the tokens of the cells; some tokens alone would be taken for numbers."""
        ids = cell_ids(longitudes, latitudes, self.resolution)
        return [f"s2-{f'{number:016x}'.rstrip('0')}" for number in ids.tolist()]

    def is_over(self, geometry: BaseGeometry, cells: int) -> bool:
        """Whether a geometry meets more than so many cells, about."""
        step = math.sqrt(self._area) / 4 / _METRES_PER_DEGREE
        return meets_more(geometry, cells, self.homes, largest=_SPREAD * self._area, step=step)


def cell_ids(
    longitudes: npt.NDArray[np.float64], latitudes: npt.NDArray[np.float64], level: int
) -> npt.NDArray[np.uint64]:
    """The 64-bit ids of the cells that places lie in, shape (n,)."""
    lon, lat = np.radians(longitudes), np.radians(latitudes)
    xyz = np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])
    axis = np.abs(xyz).argmax(axis=0)
    largest = np.take_along_axis(xyz, axis[None], axis=0)[0]
    face = axis + 3 * (largest < 0)
    x, y, z = xyz
    u = np.choose(face, [y, -x, -x, z, z, -y]) / largest
    v = np.choose(face, [z, z, -y, y, -x, -x]) / largest
    i, j = (_index(value) for value in (u, v))
    found = face.astype(np.uint64)
    orientation = face & _SWAP
    for bit in range(_LEVELS - 1, _LEVELS - 1 - level, -1):
        quarter = (((i >> bit) & 1) << 1) | ((j >> bit) & 1)
        position = _POSITIONS[orientation, quarter]
        found = (found << np.uint64(2)) | position
        orientation = orientation ^ _TURNS[position.astype(np.int64)]
    rest = 2 * (_LEVELS - level)
    ids: npt.NDArray[np.uint64] = ((found << np.uint64(1)) | np.uint64(1)) << np.uint64(rest)
    return ids


def _index(value: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """The row or column, of 2³⁰, of a coordinate -1 to 1 on a face: S2's quadratic projection."""
    root = 0.5 * np.sqrt(1 + 3 * np.abs(value))
    share = np.where(value >= 0, root, 1 - root)
    found: npt.NDArray[np.int64] = np.clip(np.floor(share * 2**_LEVELS), 0, 2**_LEVELS - 1).astype(np.int64)
    return found
