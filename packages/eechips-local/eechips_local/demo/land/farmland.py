"""Draw fields, roads and houses on the survey grid.

Sections are 2,048 units wide (1.9 km at 39 degrees; real ones have 1.6 km), quarters 1,024, the blocks of a field or
town 128 and the lots of houses 32. Everything is decided by hashes of these squares' numbers and by the characters of
the land at the middle of the quarter, so a square looks the same from every window.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eechips_local.demo import land_character
from eechips_local.demo.painting import noise
from eechips_local.demo.painting.mercator import Floats, Rect

Field32 = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]

COARSEST = 128
"""Units above which single fields are no longer drawn."""

_BLOCK = 128
_QUARTER = 1024
_SECTION = 2048
_LOT = 32
_TOWN = 8192
_RADIUS = 0.2322
"""Square of the radius of a watered circle in quarters."""


@dataclass(frozen=True)
class SurveyBlocks:
    """Squares of 128 units that a rectangle touches, and what stands on each; arrays of shape (rows, columns).

    Attributes:
        across: how many of the rectangle's columns lie in each.
        down: likewise, rows.
        tilled: whole blocks under the plough.
        circle: blocks of a quarter that is watered in a circle.
        tone: brightness of crop and soil.
        field: number of the field that each is part of.
        along: 1 where rows run north to south, 0 where they run east to west.
        houses: density of houses, 0 to 1.
    """

    columns: Integers
    rows: Integers
    across: Integers
    down: Integers
    tilled: Floats
    circle: Floats
    tone: Floats
    field: npt.NDArray[np.uint32]
    along: Floats
    houses: Floats

    def spread(self, values: Floats | Integers) -> Field32:
        """Return values of blocks at the rectangle's cells."""
        lines = np.repeat(values.astype(np.float32), self.across, axis=1)
        return np.repeat(lines, self.down, axis=0)


def blocks(rect: Rect) -> SurveyBlocks:
    """Return the blocks of a rectangle."""
    columns, across = _cells(rect.column, rect.width, rect.pitch, _BLOCK)
    rows, down = _cells(rect.row, rect.height, rect.pitch, _BLOCK)
    crop, pivot, town = _characters(columns, rows, ("crop", "pivot", "town"))
    qi, qj = (columns >> 3)[None, :], (rows >> 3)[:, None]
    chance, watered, divided, settled = noise.random(qi, qj, np.array([501, 502, 503, 507]).reshape(-1, 1, 1))
    farmed = chance < crop
    circle = farmed & (watered < pivot)
    shape = np.floor(divided * 6.0).astype(np.int64)
    fx, fy = (columns & 7)[None, :], (rows & 7)[:, None]
    # How a quarter is divided: whole, halves, quarters, strips; a circle is whole or halved.
    parts = np.select(
        [shape == 1, shape == 2, (shape == 3) & ~circle, (shape == 4) & ~circle, (shape == 5) & ~circle],
        [fx >> 2, fy >> 2, (fx >> 2) + 2 * (fy >> 2), fx + 0 * fy, (fy >> 1) + 0 * fx],
        default=0,
    )
    field = noise.hashed(qi * 16 + parts, qj, 504)
    bright, turned = noise.random(field, 0, np.array([508, 509]).reshape(-1, 1, 1))
    houses = _towns(columns, rows, town)
    stead = farmed & ~circle & (fx == 0) & (fy == 7) & (settled < 0.16)
    houses = np.maximum(houses, np.where(stead, 0.38, 0.0))
    return SurveyBlocks(
        columns=columns,
        rows=rows,
        across=across,
        down=down,
        tilled=(farmed & ~circle & (houses <= 0.0)) * 1.0,
        circle=(circle & (houses <= 0.0)) * 1.0,
        tone=0.86 + 0.26 * bright,
        field=field,
        along=(turned < 0.5).astype(np.float64),
        houses=houses,
    )


def _characters(columns: Integers, rows: Integers, names: Sequence[str]) -> list[Floats]:
    """Return characters of the land in blocks: those at the middle of their quarters."""
    quarters_i, to_i = np.unique(columns >> 3, return_inverse=True)
    quarters_j, to_j = np.unique(rows >> 3, return_inverse=True)
    land = land_character.characters_at((quarters_i + 0.5) * _QUARTER, (quarters_j + 0.5) * _QUARTER, _QUARTER)
    blocks = np.ix_(to_j, to_i)
    return [land[land_character.CHARACTERS.index(name)][blocks] for name in names]


def _cells(first: int, count: int, pitch: int, size: int) -> tuple[Integers, Integers]:
    """Return numbers of the squares of ``size`` units that cells ``first``, … touch, and how many cells lie in each."""
    per = size // pitch
    numbers = np.arange(first // per, (first + count - 1) // per + 1)
    starts = np.maximum(numbers * per, first)
    ends = np.minimum((numbers + 1) * per, first + count)
    return numbers, ends - starts


def _towns(columns: Integers, rows: Integers, density: Floats) -> Floats:
    """Return the density of houses in blocks: towns lie anywhere in squares of 8,192 units, some of them large."""
    houses = np.zeros((len(rows), len(columns)))
    per = _TOWN // _BLOCK
    squares_i = np.arange(int(columns[0]) // per - 1, int(columns[-1]) // per + 2)
    squares_j = np.arange(int(rows[0]) // per - 1, int(rows[-1]) // per + 2)
    # Whether there is a town, where in its square it lies, how large it is.
    draws = noise.random(squares_i[:, None, None] + np.arange(4), squares_j[:, None], 521)
    if not (draws[..., 0] <= 0.34).any():
        return houses
    for ti, of_column in zip(squares_i.tolist(), draws, strict=True):
        for tj, draw in zip(squares_j.tolist(), of_column.tolist(), strict=True):
            if draw[0] > 0.34:
                continue
            x, y = (ti + 0.2 + 0.6 * draw[1]) * per, (tj + 0.2 + 0.6 * draw[2]) * per
            radius = 3.0 + 22.0 * draw[3] * draw[3] * draw[3]
            # No block beyond the radius is part of the town.
            near = (_around(rows, y, radius), _around(columns, x, radius))
            dx, dy = columns[None, near[1]] + 0.5 - x, rows[near[0], None] + 0.5 - y
            if not dx.size or not dy.size:
                continue
            ragged = noise.random(columns[None, near[1]], rows[near[0], None], 525)
            inside = radius - np.sqrt(dx * dx + dy * dy) - 0.45 * radius * ragged
            exists = draw[0] < 0.34 * density[near]
            town = np.where(exists, np.clip(inside * 0.25 + 0.25, 0.0, 1.0) * (inside > 0.0), 0.0)
            houses[near] = np.maximum(houses[near], town)
    return houses


_MOST = 2048
"""Units above which single towns are no longer drawn."""
_EXPECTED = 0.016
"""Density of houses over many blocks where the land is fully settled."""


def _around(numbers: Integers, middle: float, radius: float) -> slice:
    """Return which of consecutive numbers of blocks lie within a radius of a place, or one block beyond."""
    first = int(np.floor(middle - radius)) - 1 - int(numbers[0])
    last = int(np.ceil(middle + radius)) + 1 - int(numbers[0])
    return slice(max(0, first), max(0, min(len(numbers), last + 1)))


def settlement(rect: Rect) -> Floats:
    """Return the mean density of houses in towns, 0 to 1, by cell at any pitch; single farms are left out."""
    if rect.pitch > _MOST:
        town = land_character.CHARACTERS.index("town")
        density = land_character.characters_at(rect.x, rect.y, rect.pitch)[town]
        expected: Floats = np.clip(density, 0.0, 1.0) * _EXPECTED
        return expected
    columns, across = _cells(rect.column, rect.width, rect.pitch, max(_BLOCK, rect.pitch))
    rows, down = _cells(rect.row, rect.height, rect.pitch, max(_BLOCK, rect.pitch))
    per = max(1, rect.pitch // _BLOCK)
    columns = np.arange(columns[0] * per, (columns[-1] + 1) * per)
    rows = np.arange(rows[0] * per, (rows[-1] + 1) * per)
    houses = _towns(columns, rows, *_characters(columns, rows, ("town",)))
    means: Floats = houses.reshape(len(rows) // per, per, len(columns) // per, per).mean(axis=(1, 3))
    return np.repeat(np.repeat(means, across, axis=1), down, axis=0) if per == 1 else means


def circles(rect: Rect) -> tuple[npt.NDArray[np.bool_], Field32]:
    """Return the cells of watered circles, and the square of the distance to the middle of the quarter, in
    quarters.
    """
    x = (rect.x * (1.0 / _QUARTER)).astype(np.float64)
    y = (rect.y * (1.0 / _QUARTER)).astype(np.float64)
    fx, fy = (x - np.floor(x) - 0.5).astype(np.float32), (y - np.floor(y) - 0.5).astype(np.float32)
    square = (fx * fx)[None, :] + (fy * fy)[:, None]
    return square < np.float32(_RADIUS), square


def headlands(rect: Rect) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Return columns and rows within four units of the edge of a quarter, which the plough leaves."""
    return tuple(  # type: ignore[return-value]
        np.abs(p * (1.0 / _QUARTER) - np.rint(p * (1.0 / _QUARTER))) * _QUARTER < 5.0 for p in (rect.x, rect.y)
    )


def streaks(rect: Rect) -> tuple[Field32, Field32]:
    """Trace of machines along columns and along rows, about ±1."""
    result = []
    for first, count, seed in ((rect.column, rect.width, 531), (rect.row, rect.height, 532)):
        place = (np.arange(first, first + count) + 0.5) * rect.pitch
        total = np.zeros(count)
        for size, weight in ((2.0, 0.5), (4.0, 0.6), (16.0, 0.5)):
            if size >= rect.pitch:
                total += (noise.random(np.floor(place / size).astype(np.int64), int(size), seed) - 0.5) * weight
        track = place * (1.0 / 24.0)
        lines = np.abs(track - np.floor(track) - 0.5) < 0.05
        result.append((total - np.where(lines & (rect.pitch <= 2), 0.55, 0.0)).astype(np.float32))
    return result[0], result[1]


def roads(rect: Rect) -> Field32 | None:
    """Return the share of each cell that is road on the survey grid; None where there is none."""
    share: Field32 | None = None
    for axis, (first, count, other, length) in enumerate(
        ((rect.column, rect.width, rect.row, rect.height), (rect.row, rect.height, rect.column, rect.width))
    ):
        place = (np.arange(first, first + count) + 0.5) * rect.pitch
        low = int(place[0] - rect.pitch - 8) // _SECTION
        high = int(place[-1] + rect.pitch + 8) // _SECTION + 1
        pieces, spans = _cells(other, length, rect.pitch, _SECTION)
        for line in range(low, high + 1):
            half = 4.6 if noise.random(line, axis, 541)[0] < 0.15 else 3.2
            cover = _overlap(np.abs(place - line * _SECTION), half, rect.pitch)
            touched = np.flatnonzero(cover)
            if len(touched) == 0:
                continue
            along = (pieces.astype(np.float64) + 0.5) * _SECTION
            at = np.array([line * float(_SECTION)], dtype=np.float64)
            here = (
                land_character.characters_at(at, along, _SECTION)
                if axis == 0
                else land_character.characters_at(along, at, _SECTION)
            )
            crop, town = (here[land_character.CHARACTERS.index(name)].ravel() for name in ("crop", "town"))
            exists = noise.random(line, pieces, 542 + axis) < np.minimum(1.0, 1.15 * crop + 0.35 * town - 0.06)
            if not exists.any():
                continue
            if share is None:
                share = np.zeros((rect.height, rect.width), dtype=np.float32)
            piece = np.outer(np.repeat(exists, spans), cover[touched]).astype(np.float32)
            part = slice(int(touched[0]), int(touched[-1]) + 1)
            view = share[:, part] if axis == 0 else share[part].T
            np.maximum(view, piece, out=view)
    return share


def _overlap(distance: Floats, half: float, pitch: float) -> Floats:
    """Return the share of cells at a distance that a stripe of a half width covers."""
    edge = 0.5 * pitch
    covered = np.minimum(half, distance + edge) - np.maximum(-half, distance - edge)
    share: Floats = np.maximum(0.0, covered) * (1.0 / pitch)
    return share


def town(rect: Rect, land: SurveyBlocks) -> tuple[Field32, Field32, Field32]:
    """Return streets, roofs (shares of cells) and the brightness of roofs; only for pitches of at most 8 units."""
    houses = land.spread(land.houses)
    streets = []
    for place in (rect.x, rect.y):
        at = place * (1.0 / _BLOCK)
        streets.append(_overlap(np.abs(at - np.rint(at)) * _BLOCK, 4.5, rect.pitch).astype(np.float32))
    street = np.maximum(streets[0][None, :], streets[1][:, None]) * (houses > 0.2)
    columns, across = _cells(rect.column, rect.width, rect.pitch, _LOT)
    rows, down = _cells(rect.row, rect.height, rect.pitch, _LOT)
    i, j = columns[None, :], rows[:, None]

    def spread(values: Floats) -> Field32:
        return np.repeat(np.repeat(values.astype(np.float32), across, axis=1), down, axis=0)

    fx = (rect.x - np.repeat(columns, across) * float(_LOT)).astype(np.float32)[None, :]
    fy = (rect.y - np.repeat(rows, down) * float(_LOT)).astype(np.float32)[:, None]
    wide, deep = 4.6 + 3.6 * noise.random(i, j, 551), 3.8 + 3.0 * noise.random(i, j, 552)
    turned = noise.random(i, j, 553) < 0.4
    half_x, half_y = np.where(turned, deep, wide), np.where(turned, wide, deep)
    middle_x, middle_y = 14.0 + 4.0 * noise.random(i, j, 554), 14.0 + 4.0 * noise.random(i, j, 555)
    stands = noise.random(i, j, 556)
    dx, dy = np.abs(fx - spread(middle_x)) - spread(half_x), np.abs(fy - spread(middle_y)) - spread(half_y)
    inside = np.clip(np.float32(0.5) - np.maximum(dx, dy) * np.float32(1.0 / rect.pitch), 0.0, 1.0)
    roof = inside * (spread(stands) < houses * np.float32(0.95))
    tone = spread(0.30 + 0.75 * noise.random(i, j, 557))
    # The half of a gabled roof that faces the sun is brighter.
    tone *= np.where(fy - spread(middle_y) > 0.0, np.float32(1.12), np.float32(0.9))
    return street, roof, tone
