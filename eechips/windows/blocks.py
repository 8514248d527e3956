"""The blocks in which a raster is stored, and windows of whole blocks: every block is in exactly one window."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from eechips.geo.grid import Window


@dataclass(frozen=True, slots=True)
class Blocks:
    """How a raster is stored. Blocks at its right and lower edges may reach beyond it.

    Attributes:
        width: of the raster, pixels.
        height: of the raster, pixels.
        block_width: of a tile or strip, pixels.
        block_height: of a tile or strip, pixels.
    """

    width: int
    height: int
    block_width: int
    block_height: int

    @property
    def columns(self) -> int:
        """Blocks side by side."""
        return math.ceil(self.width / self.block_width)

    @property
    def rows(self) -> int:
        """Blocks one below another."""
        return math.ceil(self.height / self.block_height)

    @property
    def pixels(self) -> int:
        """Of a block."""
        return self.block_width * self.block_height


def tile(blocks: Blocks, most: int, halo: int = 0) -> Iterator[Window]:
    """Windows that hold so many pixels at most and cover a raster once, in row-major order.

    There are as few as can be, and of these the most nearly square; all but those at the right and lower edges are of
    one size.

    Args:
        blocks: of the raster.
        most: pixels of the blocks that a window is read from, of their whole area; at least ``least(blocks, halo)``.
        halo: pixels around a window that are read with it.

    Raises:
        ValueError: if it takes more pixels.
    """
    across, down = _shape(blocks, most // blocks.pixels, halo)
    width, height = across * blocks.block_width, down * blocks.block_height
    for row in range(0, blocks.height, height):
        for column in range(0, blocks.width, width):
            yield Window(column, row, min(width, blocks.width - column), min(height, blocks.height - row))


def least(blocks: Blocks, halo: int = 0) -> int:
    """Pixels of the blocks that the least window is read from."""
    beside, below = _around(blocks, halo)
    return min(1 + beside, blocks.columns) * min(1 + below, blocks.rows) * blocks.pixels


def _around(blocks: Blocks, halo: int) -> tuple[int, int]:
    """Columns and rows of blocks that a halo adds to a window, on both sides together."""
    return 2 * math.ceil(halo / blocks.block_width), 2 * math.ceil(halo / blocks.block_height)


def _shape(blocks: Blocks, most: int, halo: int) -> tuple[int, int]:
    """Columns and rows of blocks in a window."""
    beside, below = _around(blocks, halo)

    def shapes() -> Iterator[tuple[int, int]]:
        for down in range(1, min(most, blocks.rows) + 1):
            read = most // min(down + below, blocks.rows)  # columns that may be
            across = blocks.columns if read >= blocks.columns else read - beside
            if across > 0:
                # As many windows, of more equal sizes.
                yield _even(blocks.columns, across), _even(blocks.rows, down)

    def badness(shape: tuple[int, int]) -> tuple[int, int]:
        across, down = shape
        count = math.ceil(blocks.columns / across) * math.ceil(blocks.rows / down)
        return count, abs(across * blocks.block_width - down * blocks.block_height)

    found = min(shapes(), key=badness, default=None)
    if found is None:
        raise ValueError("a window must hold at least one block, and what lies around it")
    return found


def _even(length: int, most: int) -> int:
    """The least size of parts of which there are as few as of the greatest."""
    return math.ceil(length / math.ceil(length / most))
