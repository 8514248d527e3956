"""How many pixels a window may have, for the memory that a worker may take: the whole process, not its pixels alone."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from eechips.errors import UsageError

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
class Budget:
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

    def most(self, memory: int) -> int:
        """Pixels that a window may have, so that a worker takes no more than so many bytes; perhaps none."""
        return max(0, memory - _BASE) // self.pixel

    def least(self, pixels: int) -> int:
        """Bytes that a worker needs for a window of so many pixels."""
        return _BASE + pixels * self.pixel

    @classmethod
    def of(cls, stored: int, dtype: str, bands: int, made: str, results: int, working: int | None = None) -> Budget:
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
