"""Define the plane on which the demo planet is drawn.

It is spherical Mercator with 2**25 units around the equator, x to the east and y to the south, both from the north-west
corner: zoom 17 of a web map. Conformal, so that relief looks the same in every direction; periodic in x, so that the
antimeridian is a place like any other; and a power of two, so that lattices of 2**k units are exact in float64. A unit
is 0.93 m at 39 degrees of latitude.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

BITS = 25
SIZE = 1 << BITS
"""Units around the equator."""

LIMIT = 85.0
"""Latitude beyond which there is nothing but sea."""

EQUATOR_UNIT = 2.0 * math.pi * 6_378_137.0 / SIZE
"""Metres in a unit at the equator; multiply by the cosine of the latitude elsewhere."""

# Positions are rounded to this part of a unit: the last bit of a sine differs between machines, this does not.
_SNAP = 4096.0


def snap(values: Floats) -> Floats:
    """Round positions in units, so that different mathematics libraries agree."""
    result: Floats = np.rint(values * _SNAP) * (1.0 / _SNAP)
    return result


def x_of(longitude: npt.ArrayLike) -> Floats:
    """Return units east of the antimeridian."""
    return snap((np.asarray(longitude, dtype=np.float64) + 180.0) * (SIZE / 360.0))


def y_of(latitude: npt.ArrayLike) -> Floats:
    """Return units south of 85.05° N; latitudes are held within ±``LIMIT``."""
    phi = np.radians(np.clip(np.asarray(latitude, dtype=np.float64), -LIMIT, LIMIT))
    return snap(SIZE / 2.0 - np.arcsinh(np.tan(phi)) * (SIZE / (2.0 * math.pi)))


def longitude_of(x: npt.ArrayLike) -> Floats:
    """Return degrees east, not wrapped."""
    return np.asarray(x, dtype=np.float64) * (360.0 / SIZE) - 180.0


def latitude_of(y: npt.ArrayLike) -> Floats:
    """Return degrees north, rounded to 1e-9."""
    angle = (SIZE / 2.0 - np.asarray(y, dtype=np.float64)) * (2.0 * math.pi / SIZE)
    result: Floats = np.rint(np.degrees(np.arctan(np.sinh(angle))) * 1e9) / 1e9
    return result


def cosine_of(y: npt.ArrayLike) -> Floats:
    """Return the cosine of the latitude: metres on the ground per metre at the equator. Rounded to 2**-20."""
    angle = (SIZE / 2.0 - np.asarray(y, dtype=np.float64)) * (2.0 * math.pi / SIZE)
    result: Floats = np.rint(1048576.0 / np.cosh(angle)) * (1.0 / 1048576.0)
    return result


@dataclass(frozen=True, slots=True)
class Rect:
    """A rectangle of square cells on the plane; cell (i, j) has its centre at ((i + 0.5) pitch, (j + 0.5) pitch).

    Attributes:
        pitch: units along the edge of a cell, a power of two.
        column: index of the first column, counted from the antimeridian; it may be negative.
        row: index of the first row.
        width: columns.
        height: rows.
    """

    pitch: int
    column: int
    row: int
    width: int
    height: int

    @property
    def x(self) -> Floats:
        """Centres of the columns in units, shape (width,)."""
        return (np.arange(self.column, self.column + self.width, dtype=np.float64) + 0.5) * self.pitch

    @property
    def y(self) -> Floats:
        """Centres of the rows in units, shape (height,)."""
        return (np.arange(self.row, self.row + self.height, dtype=np.float64) + 0.5) * self.pitch

    def grown(self, cells: int) -> Rect:
        """Return the rectangle with a margin on every side."""
        return Rect(self.pitch, self.column - cells, self.row - cells, self.width + 2 * cells, self.height + 2 * cells)
