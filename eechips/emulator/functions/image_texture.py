"""``Image.glcmTexture``: statistics of how often values lie beside each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain

import numpy as np
import numpy.typing as npt

from eechips.emulator.functions.registration import function
from eechips.emulator.pixels.compute import both
from eechips.emulator.pixels.lazy_image import Image, Pixels
from eechips.emulator.pixels.neighborhood import Margins, Neighborhood, cropped, row_blocks, shift
from eechips.emulator.pixels.pixel_grid import PixelGrid
from eechips.emulator.pixels.types import DOUBLE, dtype_of
from eechips.emulator.request_errors import InvalidError, LimitError
from eechips.emulator.values import Kernel

Floats = npt.NDArray[np.float64]
Offset = tuple[int, int]
"""Columns and rows."""

METRICS = (
    "asm", "contrast", "corr", "var", "idm", "savg", "svar", "sent", "ent", "dvar", "dent", "imcorr1", "imcorr2",
    "maxcorr", "diss", "inertia", "shade", "prom",
)  # fmt: skip
_DEFAULT: tuple[Offset, ...] = ((-1, -1), (0, -1), (1, -1), (-1, 0))
_MOST_SIZE = 64


def _offsets(kernel: Kernel | None) -> tuple[Offset, ...]:
    """Return the directions of a kernel, each once: opposite ones give the same matrix."""
    if kernel is None:
        return _DEFAULT
    weights = kernel.weights(1.0)
    found: list[Offset] = []
    for row, column in np.argwhere(weights.values != 0):
        offset = (int(column) - weights.x, int(row) - weights.y)
        if offset != (0, 0) and (-offset[0], -offset[1]) not in found:
            found.append(offset)
    if not found:
        raise InvalidError("The kernel must have a non-zero cell besides its centre.")
    return tuple(found)


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
        raise LimitError("User memory limit exceeded.")
    for band in image.bands:
        if band.type.dimensions or band.type.precision != "int" or dtype_of(band.type).itemsize > 4:
            raise InvalidError("Only 32-bit or smaller integer types are currently supported.")
    offsets = _offsets(kernel)
    if any(max(abs(x), abs(y)) > 2 * size for x, y in offsets):
        raise InvalidError("The offsets of the kernel reach beyond the neighborhood.")

    def compute(pixels: Sequence[Pixels], margins: Margins, grid: PixelGrid) -> list[Pixels]:
        found: list[Pixels] = []
        for p in pixels:
            whole = _all_valid(p.valid, size, grid.shape)
            mask = both(cropped(p.mask, margins, grid.shape), whole)
            measured = [_measured(p.values, offset, size, grid.shape) for offset in offsets]
            layers = [sum(layer) / len(layer) for layer in zip(*measured, strict=True)] if average else chain(*measured)
            found.extend(Pixels(layer, mask) for layer in layers)
        return found

    raster = Neighborhood(image.bands, lambda _: Margins.around(size), compute)
    ends = [""] if average else [f"_{x}_{y}" for x, y in offsets]
    names = [(b, f"{b.name}_{metric}{end}") for b in image.bands for end in ends for metric in METRICS]
    return image.computed([replace(b, name=n, type=DOUBLE, raster=raster, index=i) for i, (b, n) in enumerate(names)])


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
    parts: list[list[Floats]] = []
    for start, stop in row_blocks(shape[0], len(cells) * shape[1] * 16 * 8):
        block = (stop - start, shape[1])
        first = np.stack([shift(values, row + start, column, block) for row, column in cells]).astype(np.float64)
        other = np.stack([shift(values, row + y + start, column + x, block) for row, column in cells]).astype(
            np.float64
        )
        found = _metrics(np.concatenate([first, other]), np.concatenate([other, first]))
        parts.append([found[name] for name in METRICS])
    return [np.concatenate(column) for column in zip(*parts, strict=True)]


def _metrics(a: Floats, b: Floats) -> Mapping[str, Floats]:
    """Return metrics of pairs (Haralick et al. 1973, f1 to f14; Conners et al. 1984), shape (pairs, height, width)
    each.

    Sums over a matrix of shares are means over the pairs it counts.
    """
    total, apart = a + b, np.abs(a - b)
    mean = a.mean(axis=0)
    variance = ((a - mean) ** 2).mean(axis=0)
    covariance = ((a - mean) * (b - mean)).mean(axis=0)
    joint = _shares(a * _spread(b) + b)
    entropy, single = -np.log(joint).mean(axis=0), -np.log(_shares(a)).mean(axis=0)
    contrast = (apart**2).mean(axis=0)
    sums = total.mean(axis=0)
    flat = variance == 0
    divided = np.where(single > 0, single, 1.0)
    return {
        "asm": joint.mean(axis=0),
        "contrast": contrast,
        # A constant neighbourhood goes with itself.
        "corr": np.where(flat, 1.0, covariance / np.where(flat, 1.0, variance)),
        "var": variance,
        "idm": (1.0 / (1.0 + apart**2)).mean(axis=0),
        "savg": sums,
        "svar": ((total - sums) ** 2).mean(axis=0),
        "sent": -np.log(_shares(total)).mean(axis=0),
        "ent": entropy,
        "dvar": apart.var(axis=0),
        "dent": -np.log(_shares(apart)).mean(axis=0),
        # Matrices are symmetric: both marginal entropies are one, and HXY1 = HXY2 = twice that.
        "imcorr1": np.where(single > 0, (entropy - 2 * single) / divided, 0.0),
        "imcorr2": np.sqrt(np.maximum(0.0, 1 - np.exp(-2 * (2 * single - entropy)))),
        "maxcorr": np.zeros(mean.shape),  # "not computed", in Earth Engine neither
        "diss": apart.mean(axis=0),
        "inertia": contrast,
        "shade": ((total - 2 * mean) ** 3).mean(axis=0),
        "prom": ((total - 2 * mean) ** 4).mean(axis=0),
    }


def _spread(values: Floats) -> float:
    """Return more than the difference of any two values, so that pairs get codes of their own."""
    return float(2.0 ** np.ceil(np.log2(np.abs(values).max(initial=0.0) * 2 + 2)))


def _shares(codes: Floats) -> Floats:
    """Return for each of the codes along the first axis the share of those that are equal to it."""
    order = np.argsort(codes, axis=0, kind="stable")
    ordered = np.take_along_axis(codes, order, axis=0)
    count = len(codes)
    position = np.arange(count, dtype=np.float64).reshape(-1, *[1] * (codes.ndim - 1))
    fresh = np.ones(codes.shape, dtype=bool)
    fresh[1:] = ordered[1:] != ordered[:-1]
    first = np.maximum.accumulate(np.where(fresh, position, 0.0), axis=0)
    last = np.ones(codes.shape, dtype=bool)
    last[:-1] = fresh[1:]
    end = np.minimum.accumulate(np.where(last, position, np.inf)[::-1], axis=0)[::-1]
    shares = np.empty(codes.shape)
    np.put_along_axis(shares, order, (end - first + 1) / count, axis=0)
    return shares
