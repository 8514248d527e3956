"""``Image.glcmTexture``: statistics of how often values lie beside each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
import numpy.typing as npt

from eechips_local.functions.registration import function
from eechips_local.pixels.grids.pixel_grid import PixelGrid
from eechips_local.pixels.lazy_image import Image, Pixels, bands_from
from eechips_local.pixels.neighborhood import Margins, Neighborhood, cropped, row_blocks, shift
from eechips_local.pixels.pixelwise_rasters import both
from eechips_local.pixels.types import DOUBLE, dtype_of
from eechips_local.protocol.request_errors import InvalidError, MemoryLimitError
from eechips_local.values.kernel_weights import Kernel

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int32] | npt.NDArray[np.int64]
Offset = tuple[int, int]
"""Columns and rows."""

METRICS = (
    "asm", "contrast", "corr", "var", "idm", "savg", "svar", "sent", "ent", "dvar", "dent", "imcorr1", "imcorr2",
    "maxcorr", "diss", "inertia", "shade", "prom",
)  # fmt: skip
_DEFAULT: tuple[Offset, ...] = ((-1, -1), (0, -1), (1, -1), (-1, 0))
_MOST_SIZE = 64
_MOST_BITS = 30


def _offsets(kernel: Kernel | None) -> tuple[Offset, ...]:
    """Return the directions of a kernel, each once: opposite ones give the same matrix."""
    if kernel is None:
        return _DEFAULT
    weights = kernel.weights(1.0)
    offsets: list[Offset] = []
    for row, column in np.argwhere(weights.values != 0):
        offset = (int(column) - weights.x, int(row) - weights.y)
        if offset != (0, 0) and (-offset[0], -offset[1]) not in offsets:
            offsets.append(offset)
    if not offsets:
        raise InvalidError("The kernel must have a non-zero cell besides its centre.")
    return tuple(offsets)


@function("Image.glcmTexture")
def glcm_texture(image: Image, size: int, kernel: Kernel | None, average: bool) -> Image:
    """Return 18 textures of every band, from the co-occurrence matrices of the square of 2 * size + 1 pixels around
    each.

    The matrices count each pair of neighbours in both orders, as Haralick's do, and only pairs inside the square;
    logarithms are natural. Pixels are masked where any pixel of the square is.
    """
    if size < 1:
        raise InvalidError(f"The size must be positive; found {size}.")
    if size > _MOST_SIZE:
        raise MemoryLimitError()
    for band in image.bands:
        if band.type.dimensions or band.type.precision != "int" or dtype_of(band.type).itemsize > 4:
            raise InvalidError("Only 32-bit or smaller integer types are currently supported.")
    offsets = _offsets(kernel)
    if any(max(abs(x), abs(y)) > 2 * size for x, y in offsets):
        raise InvalidError("The offsets of the kernel reach beyond the neighborhood.")

    def compute(pixels: Sequence[Pixels], margins: Margins, grid: PixelGrid) -> list[Pixels]:
        textures: list[Pixels] = []
        for p in pixels:
            whole = _all_valid(p.valid, size, grid.shape)
            mask = both(cropped(p.mask, margins, grid.shape), whole)
            measured = [_measured(p.values, offset, size, grid.shape) for offset in offsets]
            layers = [sum(layer) / len(layer) for layer in zip(*measured, strict=True)] if average else chain(*measured)
            textures.extend(Pixels(layer, mask) for layer in layers)
        return textures

    raster = Neighborhood(image.bands, lambda _: Margins.around(size), compute)
    ends = [""] if average else [f"_{x}_{y}" for x, y in offsets]
    like = [replace(b, name=f"{b.name}_{m}{end}") for b in image.bands for end in ends for m in METRICS]
    return image.computed(bands_from(raster, like, kinds=DOUBLE))


def _all_valid(valid: npt.NDArray[np.bool_], size: int, shape: tuple[int, int]) -> npt.NDArray[np.bool_]:
    if valid.all():
        return np.ones(shape, dtype=bool)
    sums = np.pad(np.cumsum(np.cumsum(~valid, axis=0), axis=1), ((1, 0), (1, 0)))
    step = 2 * size + 1
    missing = sums[step:, step:] - sums[:-step, step:] - sums[step:, :-step] + sums[:-step, :-step]
    return np.asarray(missing == 0)


def _measured(values: npt.NDArray[np.generic], offset: Offset, size: int, shape: tuple[int, int]) -> list[Floats]:
    """Return all metrics of one direction on the grid, in the order of METRICS."""
    x, y = offset
    side = 2 * size + 1
    rows = range(max(0, -y), side - max(0, y))
    columns = range(max(0, -x), side - max(0, x))
    cells = [(row, column) for row in rows for column in columns]
    levels = _levels(values)
    codes = _codes(levels)
    parts: list[list[Floats]] = []
    for start, stop in row_blocks(shape[0], len(cells) * shape[1] * 12 * 8):
        block = (stop - start, shape[1])
        here = [(row + start, column) for row, column in cells]
        there = [(row + y, column + x) for row, column in here]
        first, other, codes_of_first, codes_of_other = (
            np.stack([shift(layer, *place, block) for place in places])
            for layer in (levels, codes)
            for places in (here, there)
        )
        low = float(values.min(initial=0))
        metrics = {**_metrics(first + low, other + low), **_entropies(first, other, codes_of_first, codes_of_other)}
        parts.append([metrics[name] for name in METRICS])
    return [np.concatenate(column) for column in zip(*parts, strict=True)]


def _levels(values: npt.NDArray[np.generic]) -> Integers:
    """Return values as integers from 0, in the narrowest type that holds the sum of two."""
    low, high = int(values.min(initial=0)), int(values.max(initial=0))
    levels = values.astype(np.int64) - low
    return levels.astype(np.int32) if (high - low).bit_length() < 30 else levels


def _codes(levels: Integers) -> Integers:
    """Return integers from 0, the same for equal ones, of which a pair fits into 62 bits."""
    if int(levels.max(initial=0)).bit_length() <= _MOST_BITS:
        return levels
    return np.unique(levels, return_inverse=True)[1].reshape(levels.shape).astype(np.int64)


def _metrics(a: Floats, b: Floats) -> Mapping[str, Floats]:
    """Return metrics of pairs that need no matrix (Haralick et al. 1973; Conners et al. 1984).

    Each has the shape (height, width).

    Sums over a matrix of shares are means over the pairs it counts. It counts each pair in both orders: means over
    sums and differences are those over one of them.

    Args:
        a: one value of each pair, shape (pairs, height, width).
        b: the other.
    """
    total, apart = a + b, np.abs(a - b)
    sums = total.mean(axis=0)
    mean = sums / 2
    a, b = a - mean, b - mean
    variance = (a * a + b * b).mean(axis=0) / 2
    covariance = (a * b).mean(axis=0)
    squared = apart * apart
    contrast = squared.mean(axis=0)
    flat = variance == 0
    total -= sums
    spread = total * total
    diss = apart.mean(axis=0)
    return {
        "contrast": contrast,
        # A constant neighbourhood goes with itself.
        "corr": np.where(flat, 1.0, covariance / np.where(flat, 1.0, variance)),
        "var": variance,
        "idm": (1.0 / (1.0 + squared)).mean(axis=0),
        "savg": sums,
        "svar": spread.mean(axis=0),
        "dvar": np.maximum(contrast - diss * diss, 0.0),
        "maxcorr": np.zeros(mean.shape),  # "not computed", in Earth Engine neither
        "diss": diss,
        "inertia": contrast,
        "shade": (spread * total).mean(axis=0),
        "prom": (spread * spread).mean(axis=0),
    }


def _entropies(levels: Integers, others: Integers, codes: Integers, other_codes: Integers) -> Mapping[str, Floats]:
    """Return metrics of the shares in the matrix (Haralick et al. 1973, f1, f8, f9, f11 to f13), shape (height, width).

    Args:
        levels: one value of each pair, from 0, shape (pairs, height, width).
        codes: numbers of the values, likewise.
    """
    count, height, width = levels.shape
    bits = int(max(codes.max(initial=0), other_codes.max(initial=0))).bit_length()
    low, high = np.minimum(codes, other_codes), np.maximum(codes, other_codes)
    # A pair of two values stands in two cells of the matrix, one of equal values twice in one: the last bit tells.
    if 2 * bits + 1 > 31:
        low, high = low.astype(np.int64), high.astype(np.int64)
    runs = _Runs.of(((low << bits | high) << 1) | (low == high))
    share = runs.counts * (1 + (runs.values & 1)) / (2.0 * count)
    asm = runs.sum(runs.counts * share) / count
    entropy = -runs.sum(runs.counts * np.log(share)) / count
    single = _Runs.of(np.concatenate([codes, other_codes])).entropy(2 * count)
    divided = np.where(single > 0, single, 1.0)
    metrics = {
        "asm": asm,
        "ent": entropy,
        "sent": _Runs.of(levels + others).entropy(count),
        "dent": _Runs.of(np.abs(levels - others)).entropy(count),
        # Matrices are symmetric: both marginal entropies are one, and HXY1 = HXY2 = twice that.
        "imcorr1": np.where(single > 0, (entropy - 2 * single) / divided, 0.0),
        "imcorr2": np.sqrt(np.maximum(0.0, 1 - np.exp(-2 * (2 * single - entropy)))),
    }
    return {name: metric.reshape(height, width) for name, metric in metrics.items()}


@dataclass(frozen=True, slots=True, eq=False)
class _Runs:
    """Equal numbers among those of each pixel.

    Attributes:
        values: the numbers, each once, pixel by pixel.
        counts: how often the pixel has each.
        first: position of the first of each pixel.
    """

    values: Integers
    counts: Integers
    first: Integers

    @classmethod
    def of(cls, numbers: Integers) -> _Runs:
        """Count numbers of shape (count, height, width)."""
        count = len(numbers)
        ordered = np.sort(np.ascontiguousarray(np.moveaxis(numbers, 0, -1)).reshape(-1, count), axis=1)
        fresh = np.ones(ordered.shape, dtype=bool)
        np.not_equal(ordered[:, 1:], ordered[:, :-1], out=fresh[:, 1:])
        starts = np.flatnonzero(fresh)
        of_each = np.count_nonzero(fresh, axis=1)
        return cls(ordered.ravel()[starts], np.diff(starts, append=ordered.size), np.cumsum(of_each) - of_each)

    def sum(self, terms: Floats) -> Floats:
        """Return the sum of terms, one for each number, over the numbers of each pixel."""
        sums: Floats = np.add.reduceat(terms, self.first)
        return sums

    def entropy(self, total: int) -> Floats:
        """Return the entropy of each pixel's numbers, of which there are so many."""
        shares = self.counts / total
        return -self.sum(shares * np.log(shares))
