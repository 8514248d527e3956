"""``Geometry.fromS2CellId`` and ``fromS2CellToken``: polygons of cells of S2, Google's division of the sphere."""

from __future__ import annotations

import math

from eechips_local.functions.registration import function
from eechips_local.functions.vectors.geometry_constructors import polygon
from eechips_local.protocol.request_errors import InvalidError
from eechips_local.values.values import Geometry

# Tables of the Hilbert curve: places (column, row) of the four quarters of a cell in each orientation, and what each
# quarter does to it (http://s2geometry.io/devguide/s2cell_hierarchy; s2coords.cc).
_QUARTERS = (
    ((0, 0), (0, 1), (1, 1), (1, 0)),
    ((0, 0), (1, 0), (1, 1), (0, 1)),
    ((1, 1), (1, 0), (0, 0), (0, 1)),
    ((1, 1), (0, 1), (0, 0), (1, 0)),
)
_TURNS = (1, 0, 0, 3)
_LEVELS = 30


def _stretched(part: float) -> float:
    """Return the coordinate from -1 to 1 on a cube's face of a part of its edge: quadratic, as S2 has it."""
    return (4 * part * part - 1) / 3 if part >= 0.5 else (1 - 4 * (1 - part) ** 2) / 3


def _on_sphere(face: int, u: float, v: float) -> tuple[float, float]:
    """Return longitude and latitude of a point on a face of the cube."""
    x, y, z = (
        (1.0, u, v), (-u, 1.0, v), (-u, -v, 1.0), (-1.0, -v, -u), (v, -1.0, -u), (v, u, -1.0),
    )[face]  # fmt: skip
    return math.degrees(math.atan2(y, x)), math.degrees(math.atan2(z, math.hypot(x, y)))


def cell_corners(cell: int) -> list[tuple[float, float]]:
    """Return longitude and latitude of the four corners of a cell of S2, counterclockwise.

    Raises:
        InvalidError: if the id is none.
    """
    face, lowest = cell >> 61, cell & -cell
    zeros = lowest.bit_length() - 1
    if not 0 < cell < 1 << 64 or face > 5 or zeros % 2 or zeros > 2 * _LEVELS:
        raise InvalidError(f"Invalid S2 cell id: {cell}.")
    level = _LEVELS - zeros // 2
    column, row, orientation = 0, 0, face & 1
    for depth in range(1, level + 1):
        quarter = cell >> (61 - 2 * depth) & 3
        across, up = _QUARTERS[orientation][quarter]
        column, row = 2 * column + across, 2 * row + up
        orientation ^= _TURNS[quarter]
    size = 1 << level
    low, high = (
        (_stretched(column / size), _stretched(row / size)),
        (_stretched((column + 1) / size), _stretched((row + 1) / size)),
    )
    return [_on_sphere(face, u, v) for u, v in (low, (high[0], low[1]), high, (low[0], high[1]))]


@function("Geometry.fromS2CellId", "Geometry.s2Cell")
def from_cell_id(cellId: int) -> Geometry:
    """Return the polygon of a cell with geodesic edges; ids from 2⁶³ on may be given as negative numbers."""
    return _polygon(cellId if cellId >= 0 else cellId + (1 << 64))


@function("Geometry.fromS2CellToken")
def from_cell_token(cellToken: str) -> Geometry:
    """Return the polygon of a cell from its id in 16 hexadecimal digits, with or without "0x" before them."""
    digits = cellToken.lower().removeprefix("0x")
    if len(digits) != 16 or not set(digits) <= set("0123456789abcdef"):
        raise InvalidError(
            f"Invalid S2 cell token '{cellToken[:40]}': it must have 16 hexadecimal digits, with trailing zeros."
        )
    return _polygon(int(digits, 16))


def _polygon(cell: int) -> Geometry:
    return polygon([[list(corner) for corner in cell_corners(cell)]], None, True, None, True)
