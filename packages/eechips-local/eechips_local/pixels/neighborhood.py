"""Compute pixels from those around them: which margins are read, sums and extremes of neighbours, how many cells a
kernel may have.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from eechips_local.pixels.grids.pixel_grid import PixelGrid
from eechips_local.pixels.lazy_image import ImageBand, Pixels, Render
from eechips_local.protocol.request_errors import MemoryLimitError
from eechips_local.values.kernel_weights import Weights

# Bytes of neighbours that are held at once.
_STACK = 64 << 20
# Pixels of one band that may be read with the margins of a neighbourhood.
_MAX_PADDED = 1 << 27
# Cells of a kernel that are visited one by one: a disc with a radius of about 100 pixels.
_MOST_TAPS = 1 << 15


@dataclass(frozen=True, slots=True)
class Margins:
    """Pixels that are needed beyond each side of a grid."""

    left: int
    top: int
    right: int
    bottom: int

    @classmethod
    def of(cls, weights: Weights) -> Margins:
        """Return the reach of a kernel's weights."""
        height, width = weights.values.shape
        return cls(weights.x, weights.y, width - 1 - weights.x, height - 1 - weights.y)

    @classmethod
    def around(cls, size: int) -> Margins:
        """Return the same on all sides."""
        return cls(size, size, size, size)

    def padded(self, grid: PixelGrid) -> PixelGrid:
        """Return a grid with these margins.

        Raises:
            LimitError: if it is too large to be read at once.
        """
        width, height = grid.width + self.left + self.right, grid.height + self.top + self.bottom
        if width * height > _MAX_PADDED:
            raise MemoryLimitError()
        return grid.window(-self.left, -self.top, width, height)


def cropped(values: npt.NDArray[Any], margins: Margins, shape: tuple[int, int]) -> npt.NDArray[Any]:
    """Return the part of an array of a padded grid that lies on the grid itself."""
    return values[margins.top : margins.top + shape[0], margins.left : margins.left + shape[1]]


@dataclass(frozen=True, slots=True, eq=False)
class Neighborhood:
    """Bands computed from the surroundings of each pixel.

    Attributes:
        inputs: what is read, with margins.
        margins: how far, given the edge of a pixel in metres.
        function: from the inputs on the padded grid, the margins and the grid to all bands.
    """

    inputs: Sequence[ImageBand]
    margins: Callable[[float], Margins]
    function: Callable[[Sequence[Pixels], Margins, PixelGrid], Sequence[Pixels]]

    def read(self, bands: Sequence[int], grid: PixelGrid, render: Render) -> list[Pixels]:
        """Read the inputs once, and compute all bands."""
        computed: Sequence[Pixels] = render.note(("neighborhood", self, grid), lambda: self._compute(grid, render))
        return [computed[band] for band in bands]

    def _compute(self, grid: PixelGrid, render: Render) -> Sequence[Pixels]:
        margins = self.margins(grid.nominal_scale)
        return self.function(render.read(self.inputs, margins.padded(grid)), margins, grid)


def shift(values: npt.NDArray[Any], row: int, column: int, shape: tuple[int, int]) -> npt.NDArray[Any]:
    """Return the window of a padded array that starts at a row and column: each pixel's neighbour at one offset."""
    return values[row : row + shape[0], column : column + shape[1]]


def pairs_at(row: int, column: int, shape: tuple[int, ...]) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Return slices of the pixels that have a neighbour at an offset, and of these neighbours."""
    height, width = shape
    here = slice(max(0, -row), height - max(0, row)), slice(max(0, -column), width - max(0, column))
    there = slice(max(0, row), height - max(0, -row)), slice(max(0, column), width - max(0, -column))
    return here, there


def taps(weights: Weights) -> list[tuple[int, int, float]]:
    """Return row, column and weight of the cells of a kernel that are not zero, row by row.

    Raises:
        LimitError: if there are too many to be looked at one by one.
    """
    rows, columns = np.nonzero(weights.values)
    if len(rows) > _MOST_TAPS:
        raise MemoryLimitError()
    return [(int(r), int(c), float(weights.values[r, c])) for r, c in zip(rows, columns, strict=True)]


def row_blocks(height: int, bytes_per_row: int) -> Iterator[tuple[int, int]]:
    """Yield first and last row (exclusive) of blocks small enough to be stacked."""
    rows = max(1, _STACK // max(1, bytes_per_row))
    for start in range(0, height, rows):
        yield start, min(height, start + rows)


def stacked(
    pixels: Pixels, cells: Sequence[tuple[int, int, float]], start: int, stop: int, width: int
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Return values and masks of all neighbours of some rows: shape (cells, stop - start, width)."""
    shape = (stop - start, width)
    values = np.stack([shift(pixels.values, row + start, column, shape) for row, column, _ in cells])
    masks = np.stack([shift(pixels.mask, row + start, column, shape) for row, column, _ in cells])
    return values, masks


def weighted_sum(values: npt.NDArray[Any], weights: Weights, shape: tuple[int, int]) -> npt.NDArray[np.float64]:
    """Return the sum of the neighbours of each pixel times their weights.

    Runs of equal weights in a row of the kernel are put together from tables of the sums of 1, 2, 4, … neighbours in a
    row, so that discs and squares cost about as much as their height, not their area. Differences of sums along whole
    rows would be cheaper, but an infinite or very large value would spoil all pixels to its right.
    """
    tables = [values.astype(np.float64)]
    total = np.zeros(shape)
    for row, line in enumerate(weights.values):
        for start, stop, weight in _runs(line):
            run = np.zeros(shape)
            level = 0
            while start < stop:
                if level == len(tables):
                    last, half = tables[-1], 1 << (level - 1)
                    tables.append(last[:, :-half] + last[:, half:])
                if (stop - start) >> level & 1:
                    run += shift(tables[level], row, start, shape)
                    start += 1 << level
                level += 1
            total += weight * run
    return total


def extreme(
    pick: Callable[[npt.NDArray[Any], npt.NDArray[Any]], npt.NDArray[Any]],
    values: npt.NDArray[Any],
    weights: Weights,
    shape: tuple[int, int],
) -> npt.NDArray[Any]:
    """Return the greatest (or least) neighbour of each pixel among the cells of a kernel that are not zero.

    Runs of cells are taken from tables of the extremes of 1, 2, 4, … neighbours in a row.

    Args:
        pick: np.maximum or np.minimum.
        values: values of the padded grid.
        weights: only which of them are zero matters.
        shape: shape of the result.
    """
    tables = [values]
    extremes: npt.NDArray[Any] | None = None
    for row, line in enumerate(weights.values):
        for start, stop, _ in _runs((line != 0).astype(np.float64)):
            level = (stop - start).bit_length() - 1
            while len(tables) <= level:
                last, half = tables[-1], 1 << (len(tables) - 1)
                tables.append(pick(last[:, :-half], last[:, half:]))
            table = tables[level]
            best = pick(shift(table, row, start, shape), shift(table, row, stop - (1 << level), shape))
            extremes = best if extremes is None else pick(extremes, best)
    return np.zeros(shape, dtype=values.dtype) if extremes is None else extremes


def _runs(line: npt.NDArray[np.float64]) -> Iterator[tuple[int, int, float]]:
    """Yield first and last cell (exclusive) and weight of the runs of equal weights that are not zero."""
    edges = np.flatnonzero(np.diff(line)) + 1
    for start, stop in zip([0, *edges], [*edges, len(line)], strict=True):
        if line[start] != 0:
            yield int(start), int(stop), float(line[start])
