"""Pixels computed tile by tile, on tiles that every request shares."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from eechips_local.pixels.grids.pixel_grid import PixelGrid
from eechips_local.pixels.lazy_image import ImageBand, Pixels, Render
from eechips_local.pixels.neighborhood import Margins
from eechips_local.pixels.pixelwise_rasters import nowhere

TILE = 256
"""Edge of Earth Engine's tiles in pixels."""


def lattice_origin(grid: PixelGrid) -> tuple[int, int]:
    """Return column and row of a grid's first pixel, counted from where both coordinates of its CRS are 0."""
    origin = ~grid.transform
    return -round(origin.c), -round(origin.f)


@dataclass(frozen=True, slots=True)
class Tile:
    """A tile with its margins.

    Attributes:
        grid: the tile without margins.
        margins: pixels that are read beyond each side.
        column: column of its first pixel, from where both coordinates of the CRS are 0.
        row: likewise.
        check_time: raises where the request's time is over.
    """

    grid: PixelGrid
    margins: Margins
    column: int
    row: int
    check_time: Callable[[], None]


@dataclass(frozen=True, slots=True, eq=False)
class Tiled:
    """Bands computed from whole tiles, so that neighbouring requests agree.

    Tiles begin where both coordinates of the CRS are 0, in steps of ``side`` pixels.

    Attributes:
        inputs: what is read, with margins.
        side: edge of a tile in pixels.
        margin: pixels that are read beyond each side of a tile.
        function: from the inputs on the tile with its margins to all bands on the tile itself.
    """

    inputs: Sequence[ImageBand]
    side: int
    margin: int
    function: Callable[[Sequence[Pixels], Tile], Sequence[Pixels]]

    def read(self, bands: Sequence[int], grid: PixelGrid, render: Render) -> list[Pixels]:
        """Compute the tiles under the grid, each once, and cut the grid out of them."""
        if not grid.width or not grid.height:
            return [nowhere(grid) for _ in bands]
        left, top = lattice_origin(grid)
        parts: list[list[list[Pixels]]] = []
        for row in range(top - top % self.side, top + grid.height, self.side):
            line: list[list[Pixels]] = []
            for column in range(left - left % self.side, left + grid.width, self.side):
                tile = self._tile(grid, column - left, row - top, render)
                rows = slice(max(0, top - row), min(self.side, top + grid.height - row))
                columns = slice(max(0, left - column), min(self.side, left + grid.width - column))
                line.append([Pixels(tile[b].values[rows, columns], tile[b].mask[rows, columns]) for b in bands])
            parts.append(line)
        return [
            Pixels(
                np.block([[tile[i].values for tile in line] for line in parts]),
                np.block([[tile[i].mask for tile in line] for line in parts]),
            )
            for i in range(len(bands))
        ]

    def _tile(self, grid: PixelGrid, column: int, row: int, render: Render) -> Sequence[Pixels]:
        """Return all bands of the tile whose first pixel has this column and row of a grid."""
        window = grid.window(column, row, self.side, self.side)
        margins = Margins.around(self.margin)
        tile = Tile(window, margins, *lattice_origin(window), render.check_time)
        scale = window.transform[:2] + window.transform[3:5]

        def compute() -> Sequence[Pixels]:
            return self.function(render.read(self.inputs, margins.padded(window)), tile)

        tile_bands: Sequence[Pixels] = render.note(("tile", self, window.crs, scale, tile.column, tile.row), compute)
        return tile_bands
