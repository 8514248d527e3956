"""Choose the size of windows: whole blocks of a raster, as many as fit into a memory budget."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from eechips.errors import UsageError
from eechips.geo.grid import Window


@dataclass(frozen=True, slots=True)
class BlockLayout:
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


def tile(blocks: BlockLayout, most: int, halo: int = 0) -> Iterator[Window]:
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


def min_window_pixels(blocks: BlockLayout, halo: int = 0) -> int:
    """Pixels of the blocks that the least window is read from."""
    beside, below = _around(blocks, halo)
    return min(1 + beside, blocks.columns) * min(1 + below, blocks.rows) * blocks.pixels


def _around(blocks: BlockLayout, halo: int) -> tuple[int, int]:
    """Columns and rows of blocks that a halo adds to a window, on both sides together."""
    return 2 * math.ceil(halo / blocks.block_width), 2 * math.ceil(halo / blocks.block_height)


def _shape(blocks: BlockLayout, most: int, halo: int) -> tuple[int, int]:
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


_BASE = 144_000_000
"""Bytes of a worker before it reads anything: Python, numpy, GDAL, PROJ and the libraries that they load."""
_WRITING = 6
"""Copies of a result while its file is made and checked: array, values without data filled in, GDAL's blocks, file,
file as bytes, and what is decoded to check it."""
_MASKS = 3
"""Bytes of a pixel for masks of a result: made, written, and read again."""
_UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30}
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([KMG]i?B)?\s*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class MemoryBudget:
    """What a window costs. A process works at one window at a time, and GDAL reads with one thread.

    Attributes:
        stored: bytes of a pixel in the blocks that are decoded: of all bands if they are stored together, else of
            those that are read and of the one that masks them.
        read: bytes of a pixel of the bands that are read.
        bands: that are read.
        made: bytes of a pixel of the result.
        working: bytes of a pixel for what is computed between the two.
    """

    stored: int
    read: int
    bands: int
    made: int
    working: int

    @property
    def cache(self) -> int:
        """Bytes of a pixel that GDAL's cache must hold, so that no block is decoded, or asked for, twice."""
        return self.stored + self.bands  # of masks, a byte each

    @property
    def pixel(self) -> int:
        """Bytes that a pixel of a window takes at most.

        The blocks as they come are at most as many as decoded ones, or they would not be compressed.
        """
        reading = self.stored + self.cache + self.read + self.bands
        return reading + self.working + _WRITING * self.made + _MASKS

    def max_pixels(self, memory: int) -> int:
        """Pixels that a window may have, so that a worker takes no more than so many bytes; perhaps none."""
        return max(0, memory - _BASE) // self.pixel

    def required_memory(self, pixels: int) -> int:
        """Bytes that a worker needs for a window of so many pixels."""
        return _BASE + pixels * self.pixel

    @classmethod
    def of(
        cls, stored: int, dtype: str, bands: int, made: str, results: int, working: int | None = None
    ) -> MemoryBudget:
        """The budget of a recipe.

        Args:
            stored: bytes of a pixel in the blocks that are decoded.
            dtype: numpy name of the type of the pixels that are read.
            bands: that are read.
            made: numpy name of the type of the result.
            results: bands of the result.
            working: bytes of a pixel for what is computed; None for eight of every band that is read or made.
        """
        size = np.dtype(dtype).itemsize
        room = 8 * (bands + results) if working is None else working
        return cls(stored, bands * size, bands, results * np.dtype(made).itemsize, room)


def parse_memory(text: str | int) -> int:
    """Bytes of ``256MB``, ``1.5GiB`` or a plain number.

    Raises:
        UsageError: if it is no size.
    """
    found = _SIZE.fullmatch(str(text))
    if found is None:
        raise UsageError(f"{text!r} is no amount of memory: write it as 256MB or 1.5GiB")
    return round(float(found[1]) * _UNITS[(found[2] or "").upper()])
