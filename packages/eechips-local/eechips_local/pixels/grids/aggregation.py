"""Combine many small pixels into a large one: ``Image.reduceResolution``, its ``maxPixels`` and ``bestEffort``."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from affine import Affine

from eechips_local.geometry.map_projection import Projection
from eechips_local.pixels.grids.location import locate
from eechips_local.pixels.grids.pixel_grid import PixelGrid, parse_crs
from eechips_local.pixels.grids.resampling import window_of
from eechips_local.pixels.lazy_image import ImageBand, Pixels, Render
from eechips_local.pixels.neighborhood import row_blocks
from eechips_local.protocol.request_errors import InvalidError

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]

Aggregation = Callable[[Sequence[npt.NDArray[Any]], Sequence[Floats], npt.NDArray[np.bool_]], list[Pixels]]
"""From values and weights of the inputs, each of shape (n, height, width), and where they count, to the outputs."""

# Where the grids are askew, points along an edge of an input pixel, and at least along one of an output pixel, tell how
# much of the one the other covers.
_POINTS = 4
_LEAST_POINTS = 16


@dataclass(frozen=True, slots=True)
class _CellWeights:
    """Input pixels under output pixels: rows, columns and the part of the output that each covers, (n, h, w)."""

    rows: Indices
    columns: Indices
    parts: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Aggregated:
    """Bands that combine all pixels of their own lattice under each pixel of the output.

    Attributes:
        inputs: bands on one lattice.
        lattice: whose pixels are combined.
        calls: the inputs of each call of the aggregation, which gives ``outputs`` bands.
        outputs: bands for each call.
        aggregation: combines pixels.
        most: input pixels for each output pixel; more are an error, or start from a coarser level.
        best_effort: whether to start from a coarser level then.
    """

    inputs: Sequence[ImageBand]
    lattice: Projection
    calls: tuple[tuple[int, ...], ...]
    outputs: int
    aggregation: Aggregation
    most: int
    best_effort: bool

    def read(self, bands: Sequence[int], grid: PixelGrid, render: Render) -> list[Pixels]:
        """Read all input pixels under the grid, and combines them some rows at a time."""
        aggregated: Sequence[Pixels] = render.note(("aggregated", self, grid), lambda: self._aggregate(grid, render))
        return [aggregated[band] for band in bands]

    def _aggregate(self, grid: PixelGrid, render: Render) -> list[Pixels]:
        lattice = self._level(grid)
        blocks: list[list[Pixels]] = []
        points = _points(locate(grid, lattice).scale)
        for start, stop in row_blocks(grid.height, grid.width * (40 * points**2 + 24 * len(self.inputs))):
            rows = grid.window(0, start, grid.width, stop - start)
            blocks.append(self._block(rows, lattice, render))
        return [
            Pixels(np.concatenate([p.values for p in column]), np.concatenate([p.mask for p in column]))
            for column in zip(*blocks, strict=True)
        ]

    def _level(self, grid: PixelGrid) -> Projection:
        """Return the lattice, or a coarser one if it has too many pixels.

        Raises:
            InvalidError: if it has, without best effort.
        """
        scale = locate(grid, self.lattice).scale
        count = math.ceil(scale - 1e-6) ** 2
        if count <= self.most:
            return self.lattice
        if not self.best_effort:
            raise InvalidError(
                f"Too many input pixels per output pixel: {count} are needed, maxPixels is {self.most}. "
                "Use bestEffort or a larger maxPixels."
            )
        factor = 2 ** math.ceil(math.log2(scale / math.sqrt(self.most)))
        return self.lattice.scaled(factor)

    def _block(self, grid: PixelGrid, lattice: Projection, render: Render) -> list[Pixels]:
        step = ~lattice.transform @ grid.transform
        same = grid.crs == lattice.crs or parse_crs(grid.crs) == parse_crs(lattice.crs)
        cover = _aligned(grid, step) if same and step.b == step.d == 0 else _askew(grid, lattice)
        if cover is None:
            nothing = Pixels(np.zeros(grid.shape), np.zeros(grid.shape, dtype=bool))
            return [nothing] * (len(self.calls) * self.outputs)
        top, left = int(cover.rows.min()), int(cover.columns.min())
        width, height = int(cover.columns.max()) + 1 - left, int(cover.rows.max()) + 1 - top
        pixels = render.read(self.inputs, lattice.window(left, top, width, height))
        rows, columns = cover.rows - top, cover.columns - left
        block_pixels: list[Pixels] = []
        for call in self.calls:
            values = [pixels[i].values[rows, columns] for i in call]
            weights = [pixels[i].mask[rows, columns] * cover.parts for i in call]
            inside = np.logical_and.reduce([w > 0 for w in weights])
            block_pixels.extend(self.aggregation(values, weights, inside))
        return block_pixels


def _aligned(grid: PixelGrid, step: Affine) -> _CellWeights:
    """Return grids with parallel sides: parts are products of overlaps along columns and rows."""
    columns, across = _overlaps(step.a, step.c, grid.width)
    rows, down = _overlaps(step.e, step.f, grid.height)
    shape = (len(rows) * len(columns), grid.height, grid.width)
    return _CellWeights(
        np.broadcast_to(rows[:, None, :, None], (len(rows), len(columns), *grid.shape)).reshape(shape),
        np.broadcast_to(columns[None, :, None, :], (len(rows), len(columns), *grid.shape)).reshape(shape),
        (down[:, None, :, None] * across[None, :, None, :]).reshape(shape),
    )


def _overlaps(edge: float, start: float, count: int) -> tuple[Indices, Floats]:
    """Return input pixels along one axis under each output pixel, and what part of it each covers: shape (n, count)."""
    edges = start + edge * np.arange(count + 1)
    nearest = np.round(edges)
    edges = np.where(np.abs(edges - nearest) < 1e-6, nearest, edges)
    low, high = np.minimum(edges[:-1], edges[1:]), np.maximum(edges[:-1], edges[1:])
    first = np.floor(low).astype(np.intp)
    most = int((np.ceil(high).astype(np.intp) - first).max())
    index = first + np.arange(max(1, most))[:, None]
    parts = np.clip(np.minimum(high, index + 1) - np.maximum(low, index), 0, None) / (high - low)
    return index, parts


def _points(scale: float) -> int:
    """Return points along an edge of an output pixel that tell what covers it."""
    return max(_LEAST_POINTS, math.ceil(scale * _POINTS))


def _askew(grid: PixelGrid, lattice: Projection) -> _CellWeights | None:
    """Return other grids: the parts are counted on a fine net of points in each output pixel."""
    points = _points(locate(grid, lattice).scale)
    fine = PixelGrid(grid.crs, grid.transform @ Affine.scale(1 / points), grid.width * points, grid.height * points)
    location = locate(fine, lattice)
    window = window_of(location, None, 0)
    if window is None:
        return None
    columns, rows = np.broadcast_arrays(location.columns, location.rows)
    known = np.isfinite(columns) & np.isfinite(rows)
    key = np.where(known, (np.floor(rows) - window.row) * window.width + np.floor(columns) - window.column, -1).astype(
        np.intp
    )
    key = np.clip(key, -1, window.width * window.height - 1)
    keys = _by_pixel(key, grid, points)
    keys.sort(axis=0)
    index, parts = _counted(keys)
    return _CellWeights(index // window.width + window.row, index % window.width + window.column, parts / points**2)


def _by_pixel(values: Indices, grid: PixelGrid, points: int) -> Indices:
    """Return values on a fine grid as shape (points², height, width)."""
    cells = values.reshape(grid.height, points, grid.width, points).transpose(1, 3, 0, 2)
    return np.ascontiguousarray(cells.reshape(points * points, grid.height, grid.width))


def _counted(keys: Indices) -> tuple[Indices, Floats]:
    """Return distinct keys along the first axis, which is sorted, and how often each occurs; -1 counts as nothing."""
    new = np.ones(keys.shape, dtype=bool)
    new[1:] = keys[1:] != keys[:-1]
    rank = np.cumsum(new, axis=0) - 1
    depth = int(rank.max()) + 1
    index = np.zeros((depth, *keys.shape[1:]), dtype=np.intp)
    parts = np.zeros((depth, *keys.shape[1:]))
    rows, columns = np.indices(keys.shape[1:])
    for layer, key in zip(rank, keys, strict=True):
        index[layer, rows, columns] = np.maximum(key, 0)
        parts[layer, rows, columns] += key >= 0
    return index, parts
