"""Define boxes of a cube, and divide them into requests; :mod:`eechips.cubes.cube_reader` joins small ones.

A box is a range of bands, of images, of rows and of columns. Its arrays have the axes (band, image, row, column).
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

Index = tuple[int, ...]
"""Band, image, row, column."""

_NAME = re.compile(r"b(\d+)-(\d+)_t(\d+)-(\d+)_y(\d+)-(\d+)_x(\d+)-(\d+)")
_BYTES = 5
"""Bytes of a value as Earth Engine counts them: a float32 and its mask; see
:meth:`eechips.geo.grid.Window.estimate_bytes`."""
_PIXEL_BYTES = 2
"""Bytes of a pixel that are counted for the mask of a chip."""
_MOST_LAYERS = 1_000
"""Bands of a response; the service takes 1,024, see :data:`eechips.client.chip_parts.PIXEL_LIMITS`."""
_MOST_SIDE = 32_768
_LEAST_SPREAD = 4 << 20
"""Bytes of the smallest of several requests for a box: the size of geedim's requests, which it sends 32 at a time
(https://github.com/leftfield-geospatial/geedim/blob/main/geedim/tile.py, version 2.0)."""
_USUAL_DEPTH = 48
"""Images of a request for part of a long series. More make its windows so small that maps need many requests."""


@dataclass(frozen=True, slots=True, order=True)
class Box:
    """A box of a cube.

    Attributes:
        start: first band, image, row and column.
        stop: those after the last.
    """

    start: Index
    stop: Index

    @property
    def shape(self) -> Index:
        """Bands, images, rows, columns."""
        return _minus(self.stop, self.start)

    @property
    def size(self) -> int:
        """Number of values."""
        return math.prod(self.shape)

    @property
    def slices(self) -> tuple[slice, ...]:
        """Slices of an array of the whole cube."""
        return tuple(map(slice, self.start, self.stop))

    @property
    def name(self) -> str:
        """Text that :meth:`parse` reads."""
        return "_".join(f"{axis}{a}-{b}" for axis, a, b in zip("btyx", self.start, self.stop, strict=True))

    @classmethod
    def parse(cls, name: str) -> Box | None:
        """Read the text of a box; return None for another text."""
        match = _NAME.fullmatch(name)
        if match is None:
            return None
        numbers = tuple(map(int, match.groups()))
        return cls(numbers[::2], numbers[1::2])

    def contains(self, other: Box) -> bool:
        """Return whether another box lies in this one."""
        return all(a <= c and d <= b for a, b, c, d in zip(self.start, self.stop, other.start, other.stop, strict=True))

    def overlaps(self, other: Box) -> bool:
        """Return whether another box has values of this one."""
        return all(a < d and c < b for a, b, c, d in zip(self.start, self.stop, other.start, other.stop, strict=True))

    def resized(self, axis: int, start: int, stop: int) -> Box:
        """Return a box with another range of an axis."""
        starts, stops = list(self.start), list(self.stop)
        starts[axis], stops[axis] = start, stop
        return Box(tuple(starts), tuple(stops))

    def from_start(self, outer: Box) -> Box:
        """Return this box as seen from the start of another one."""
        return Box(_minus(self.start, outer.start), _minus(self.stop, outer.start))


@dataclass(frozen=True, slots=True)
class BoxLimits:
    """Limits of one request.

    Attributes:
        bytes: uncompressed, as the service counts them.
        images: images at most; None for no limit of the user's.
    """

    bytes: int
    images: int | None = None
    rows: int | None = None
    columns: int | None = None

    @property
    def is_chosen(self) -> bool:
        """Whether the user chooses the shape of requests."""
        return (self.images, self.rows, self.columns) != (None, None, None)

    def accepts(self, shape: Index) -> bool:
        """Return whether a request may have a shape."""
        bands, images, rows, columns = shape
        return (
            bands * images <= _MOST_LAYERS
            and images <= (self.images or images)
            and rows <= min(self.rows or rows, _MOST_SIDE)
            and columns <= min(self.columns or columns, _MOST_SIDE)
            and rows * columns * (bands * images * _BYTES + _PIXEL_BYTES) <= self.bytes
        )


def request_shape(shape: Index, limits: BoxLimits) -> Index:
    """Return the shape of the requests that a box is divided into: as few as possible, of nearly equal size.

    Bands are divided only where a single pixel of all bands is too much. Fewer divisions of time are preferred.
    """
    if limits.accepts(shape):
        return shape
    best: tuple[float, Index] | None = None
    for bands, images in _depths(shape, limits):
        pixels = limits.bytes // (bands * images * _BYTES + _PIXEL_BYTES)
        for columns in _widths(shape[3], limits):
            rows = min(shape[2], limits.rows or shape[2], _MOST_SIDE, pixels // columns)
            if rows < 1:
                continue
            candidate = tuple(
                _even(whole, part) for whole, part in zip(shape, (bands, images, rows, columns), strict=True)
            )
            count = math.prod(math.ceil(whole / part) for whole, part in zip(shape, candidate, strict=True))
            ratio = max(candidate[2] / candidate[3], candidate[3] / candidate[2])
            cost = count + 1e-3 * math.ceil(shape[1] / images) + 1e-6 * ratio
            if best is None or cost < best[0]:
                best = cost, candidate
    return (1, 1, 1, 1) if best is None else best[1]


def spread_shape(shape: Index, slots: int) -> Index:
    """Return the shape of the requests for a box that one request can have, but several at a time have sooner.

    A response is computed and transferred by itself, so that its time grows with its size. Images are divided first, as
    each request computes all of its own.

    Args:
        slots: requests at most.
    """
    bands, images, rows, columns = shape
    most = min(slots, math.prod(shape) * _BYTES // _LEAST_SPREAD)
    if most < 2:
        return shape
    by_time = min(images, most)
    by_rows = min(rows, most // by_time)
    return bands, math.ceil(images / by_time), math.ceil(rows / by_rows), columns


def divide_box(box: Box, part: Index) -> Iterator[Box]:
    """Yield the parts of a box, the columns first; ``part`` is the largest shape of a part."""
    ranges = [range(start, stop, step) for start, stop, step in zip(box.start, box.stop, part, strict=True)]
    for start in itertools.product(*ranges):
        yield Box(start, tuple(min(a + step, most) for a, step, most in zip(start, part, box.stop, strict=True)))


def _depths(shape: Index, limits: BoxLimits) -> Iterator[tuple[int, int]]:
    """Yield numbers of bands and images that a request may have."""
    most = min(shape[1], limits.images or shape[1], _MOST_LAYERS)
    for bands in (shape[0], 1):
        if most * bands <= _MOST_LAYERS and most <= _USUAL_DEPTH:
            yield bands, most
        counts = {_even(shape[1], least) for least in range(1, min(most, _USUAL_DEPTH) + 1)}
        yield from ((bands, images) for images in sorted(counts, reverse=True) if bands * images <= _MOST_LAYERS)


def _widths(columns: int, limits: BoxLimits) -> Iterator[int]:
    most = min(columns, limits.columns or columns, _MOST_SIDE)
    width = most
    while width >= 1:
        yield width
        width //= 2


def _even(whole: int, part: int) -> int:
    """Return the largest of nearly equal parts of a length that are no longer than ``part``."""
    return math.ceil(whole / math.ceil(whole / part))


def _minus(index: Index, other: Index) -> Index:
    return tuple(a - o for a, o in zip(index, other, strict=True))
