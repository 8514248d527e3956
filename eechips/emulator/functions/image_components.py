"""``Image.connectedPixelCount``: how many pixels of the same value hang together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from eechips.emulator.errors import InvalidError
from eechips.emulator.functions.registry import function
from eechips.emulator.model import PixelType
from eechips.emulator.pixels.grid import Grid
from eechips.emulator.pixels.image import Image, Pixels
from eechips.emulator.pixels.neighborhood import Margins, Neighborhood, cropped

Labels = npt.NDArray[np.intp]

_LARGEST = 1024
_SIDES = ((0, 1), (1, 0))
_CORNERS = ((1, 1), (1, -1))


@function("Image.connectedPixelCount")
def connected_pixel_count(input: Image, maxSize: int, eightConnected: bool) -> Image:
    """The number of connected pixels of the same value, itself included; at most ``maxSize``.

    A component that leaves the margin of ``maxSize`` pixels has at least as many, so counts are exact.
    """
    if not 1 <= maxSize <= _LARGEST:
        raise InvalidError(f"maxSize must be between 1 and {_LARGEST}; found {maxSize}.")
    if any(band.type.dimensions for band in input.bands):
        raise InvalidError("Array images have no connected pixels.")
    steps = (*_SIDES, *_CORNERS) if eightConnected else _SIDES

    def compute(pixels: Sequence[Pixels], margins: Margins, grid: Grid) -> list[Pixels]:
        found = []
        for p in pixels:
            labels = components(p.values, p.valid, steps)
            sizes = np.bincount(labels.ravel())[labels]
            counts = cropped(np.minimum(sizes, maxSize), margins, grid.shape)
            found.append(Pixels(counts, cropped(p.mask, margins, grid.shape)))
        return found

    raster = Neighborhood(input.bands, lambda _: Margins.around(maxSize), compute)
    kind = PixelType("int", 0, maxSize)
    return input.with_bands([replace(band, raster=raster, index=i, type=kind) for i, band in enumerate(input.bands)])


def components(values: npt.NDArray[Any], valid: npt.NDArray[np.bool_], steps: Sequence[tuple[int, int]]) -> Labels:
    """A label for each pixel, the same for those that are connected; shape (height, width).

    Trees of labels are hooked onto each other and flattened until no edge joins two of them (Shiloach and Vishkin
    1982), which takes about as many rounds as the logarithm of the number of pixels.

    Args:
        values: what connected pixels share.
        valid: pixels that may be connected at all.
        steps: offsets (rows, columns) of half of the neighbours.
    """
    numbers = np.arange(values.size).reshape(values.shape)
    ends = [_joined(values, valid, numbers, row, column) for row, column in steps]
    first = np.concatenate([a for a, _ in ends])
    second = np.concatenate([b for _, b in ends])
    parent = np.arange(values.size)
    while len(first):
        low, high = np.minimum(parent[first], parent[second]), np.maximum(parent[first], parent[second])
        np.minimum.at(parent, high, low)
        while True:
            flatter = parent[parent]
            if np.array_equal(flatter, parent):
                break
            parent = flatter
        apart = parent[first] != parent[second]
        first, second = first[apart], second[apart]
    return parent.reshape(values.shape)


def _joined(
    values: npt.NDArray[Any], valid: npt.NDArray[np.bool_], numbers: Labels, row: int, column: int
) -> tuple[Labels, Labels]:
    """Numbers of the pixels that are equal to their neighbour at an offset, and of those neighbours."""
    height, width = values.shape
    here = (slice(0, height - row), slice(max(0, -column), width - max(0, column)))
    there = (slice(row, height), slice(max(0, column), width - max(0, -column)))
    same = (values[here] == values[there]) & valid[here] & valid[there]
    return numbers[here][same], numbers[there][same]
