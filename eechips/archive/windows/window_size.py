"""Choose the size of windows: whole blocks of a raster, as many as fit into a memory budget."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from eechips.geo.grid import Window


@dataclass(frozen=True, slots=True)
class BlockLayout:
    """Layout of a raster's blocks (tiles or strips), in pixels. Blocks at the edges may reach beyond the raster."""

    width: int
    height: int
    block_width: int
    block_height: int

    @property
    def columns(self) -> int:
        """Number of block columns."""
        return math.ceil(self.width / self.block_width)

    @property
    def rows(self) -> int:
        """Number of block rows."""
        return math.ceil(self.height / self.block_height)

    @property
    def pixels(self) -> int:
        """Pixels of a block."""
        return self.block_width * self.block_height


def tile(blocks: BlockLayout, most: int, halo: int = 0) -> Iterator[Window]:
    """Yield windows of limited size that cover a raster once, in row-major order.

    There are as few windows as possible, and of these solutions the most nearly square one; all windows but those at
    the right and lower edges have the same size.

    Args:
        most: pixels of the blocks that a window is read from, whole blocks counted; at least
            ``min_window_pixels(blocks, halo)``.
        halo: pixels around a window that are read with it.

    Raises:
        ValueError: if ``most`` is too small.
    """
    across, down = _shape(blocks, most // blocks.pixels, halo)
    width, height = across * blocks.block_width, down * blocks.block_height
    for row in range(0, blocks.height, height):
        for column in range(0, blocks.width, width):
            yield Window(column, row, min(width, blocks.width - column), min(height, blocks.height - row))


def min_window_pixels(blocks: BlockLayout, halo: int = 0) -> int:
    """Return the pixels of the blocks that the smallest window is read from."""
    beside, below = _around(blocks, halo)
    return min(1 + beside, blocks.columns) * min(1 + below, blocks.rows) * blocks.pixels


def _around(blocks: BlockLayout, halo: int) -> tuple[int, int]:
    """Return the columns and rows of blocks that a halo adds to a window, both sides together."""
    return 2 * math.ceil(halo / blocks.block_width), 2 * math.ceil(halo / blocks.block_height)


def _shape(blocks: BlockLayout, most: int, halo: int) -> tuple[int, int]:
    """Return the columns and rows of blocks in a window."""
    beside, below = _around(blocks, halo)

    def shapes() -> Iterator[tuple[int, int]]:
        for down in range(1, min(most, blocks.rows) + 1):
            read = most // min(down + below, blocks.rows)  # columns that may be read
            across = blocks.columns if read >= blocks.columns else read - beside
            if across > 0:
                # The same number of windows with more equal sizes.
                yield _even(blocks.columns, across), _even(blocks.rows, down)

    def badness(shape: tuple[int, int]) -> tuple[int, int]:
        across, down = shape
        count = math.ceil(blocks.columns / across) * math.ceil(blocks.rows / down)
        return count, abs(across * blocks.block_width - down * blocks.block_height)

    best_shape = min(shapes(), key=badness, default=None)
    if best_shape is None:
        raise ValueError("a window must hold at least one block and its halo")
    return best_shape


def _even(length: int, most: int) -> int:
    """Return the smallest size of parts that needs no more parts than the largest size."""
    return math.ceil(length / math.ceil(length / most))


_BASE = 144_000_000
"""Bytes of a worker before it reads anything: Python, numpy, GDAL, PROJ and their libraries."""
_WRITING = 6
"""Copies of a result while its file is written and checked: array, filled array, GDAL's blocks, file, file as bytes,
and the decoded file."""
_MASKS = 3
"""Bytes of a pixel for the masks of a result: computed, written, and read back."""


@dataclass(frozen=True, slots=True)
class MemoryBudget:
    """Memory of a window. A process reads one window at a time, and GDAL reads with one thread.

    Attributes:
        stored: bytes of a pixel in the decoded blocks: of all bands if they are stored together, else of the bands that
            are read and of their mask.
        read: bytes of a pixel of the bands that are read.
        bands: number of bands that are read.
        made: bytes of a pixel of the result.
        working: bytes of a pixel for the computation.
    """

    stored: int
    read: int
    bands: int
    made: int
    working: int

    @property
    def cache(self) -> int:
        """Bytes of a pixel that GDAL's cache must hold, so that no block is read or decoded twice."""
        return self.stored + self.bands  # masks have one byte for each band

    @property
    def pixel(self) -> int:
        """Maximum bytes for a pixel of a window.

        Compressed blocks are at most as large as decoded ones.
        """
        return self._decoding + self._result

    @property
    def _decoding(self) -> int:
        return self.stored + self.cache

    @property
    def _result(self) -> int:
        return self.read + self.bands + self.working + _WRITING * self.made + _MASKS

    def max_pixels(self, memory: int) -> int:
        """Return the pixels that fit into the memory of a worker in bytes; may be 0."""
        return max(0, memory - _BASE) // self.pixel

    def required_memory(self, pixels: int, decoded: int | None = None) -> int:
        """Return the bytes that a worker needs for a window.

        Args:
            decoded: pixels of its blocks; None if it consists of whole blocks.
        """
        return _BASE + (pixels if decoded is None else decoded) * self._decoding + pixels * self._result

    @classmethod
    def of(
        cls, stored: int, dtype: str, bands: int, out_dtype: str, results: int, working: int | None = None
    ) -> MemoryBudget:
        """Return the budget of a recipe.

        Args:
            stored: bytes of a pixel in the decoded blocks.
            dtype: numpy name of the dtype of the pixels that are read.
            out_dtype: numpy name of the dtype of the result.
            working: bytes of a pixel for the computation; None for eight for each input and output band.
        """
        size = np.dtype(dtype).itemsize
        room = 8 * (bands + results) if working is None else working
        return cls(stored, bands * size, bands, results * np.dtype(out_dtype).itemsize, room)
