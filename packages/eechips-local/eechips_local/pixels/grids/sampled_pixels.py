"""Read pixels of a lattice, wherever they are: near ones together in a window, far ones on their own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

from eechips_local.evaluation.context import Context
from eechips_local.geometry.map_projection import Projection
from eechips_local.pixels.lazy_image import ImageBand, Pixels, Render
from eechips_local.pixels.series_render import series_render

Indices = npt.NDArray[np.int64]

# Windows of which stored pixels are fetched together.
_AHEAD = 64

# What the call of a read costs, in pixels that could be read instead; and the most that one call may read.
_CALL, _WINDOW = 1 << 14, 1 << 20
# The same of a composite: what is kept of a place must still be there when the next image asks for it.
_WINDOW_OF_MANY = 1 << 18


@dataclass(frozen=True, slots=True, eq=False)
class SampledBand:
    """Pixels of one band in a region.

    Attributes:
        values: shape (n,), or (n, …) for array bands.
        mask: shape (n,), bool or from 0 to 1.
    """

    values: npt.NDArray[Any]
    mask: npt.NDArray[Any]


def _pixels_at(pixels: Sequence[Pixels], rows: Indices, columns: Indices) -> list[SampledBand]:
    """Return the pixels of some bands at rows and columns."""
    return [SampledBand(p.values[rows, columns], p.mask[rows, columns]) for p in pixels]


def gather(
    context: Context,
    bands: Sequence[ImageBand],
    projection: Projection,
    columns: Indices,
    rows: Indices,
    render: Render | None = None,
) -> list[SampledBand]:
    """Return pixels of a lattice, wherever they are: near ones are read together, far ones on their own.

    Args:
        context: evaluation.
        bands: bands to read.
        projection: projection of the lattice.
        columns: columns of the pixels, shape (n,).
        rows: likewise.
        render: computation that keeps what it reads for the next call; None for :func:`series_render`.
    """
    if not len(columns):
        return [SampledBand(np.zeros(0), np.zeros(0, dtype=bool)) for _ in bands]
    order: list[Indices] = []
    parts: list[list[SampledBand]] = []
    most = _WINDOW_OF_MANY if reads_many(bands) else _WINDOW
    windows = [(some, *_extent(columns[some], rows[some])) for some in _windows(columns, rows, most)]
    for position, (some, left, top, width, height) in enumerate(windows):
        context.check_time()
        if position % _AHEAD == 0 and len(windows) > 1:
            for _, *place in windows[position : position + _AHEAD]:
                Render().prefetch(bands, projection.window(*place))
        grid = projection.window(left, top, width, height)
        own = series_render(context, grid) if render is None else render
        pixels = own.read(bands, grid)
        parts.append(_pixels_at(pixels, rows[some] - top, columns[some] - left))
        order.append(some)
    back = np.argsort(np.concatenate(order), kind="stable")
    return [
        SampledBand(
            np.concatenate([part[band].values for part in parts])[back],
            np.concatenate([part[band].mask for part in parts])[back],
        )
        for band in range(len(bands))
    ]


def prefetch_pixels(bands: Sequence[ImageBand], projection: Projection, columns: Indices, rows: Indices) -> None:
    """Begin to fetch stored pixels of a lattice that :func:`gather` will read; of many windows the first few."""
    for some in islice(_windows(columns, rows, _WINDOW), _AHEAD):
        Render().prefetch(bands, projection.window(*_extent(columns[some], rows[some])))


def _extent(columns: Indices, rows: Indices) -> tuple[int, int, int, int]:
    """Return the first column and row of pixels, and how many columns and rows they reach over."""
    left, top = int(columns.min()), int(rows.min())
    return left, top, int(columns.max()) - left + 1, int(rows.max()) - top + 1


def reads_many(bands: Sequence[ImageBand]) -> bool:
    """Return whether bands are composites of images, or computed from one pixel by pixel."""
    waiting, seen = list(bands), set[tuple[int, int]]()
    while waiting:
        band = waiting.pop()
        raster: Any = band.raster
        if (id(raster), band.index) in seen:
            continue
        seen.add((id(raster), band.index))
        if hasattr(raster, "members"):
            return True
        waiting.extend(raster.inputs_of(band.index) if hasattr(raster, "inputs_of") else ())
    return False


def _windows(columns: Indices, rows: Indices, most: int) -> Iterator[Indices]:
    """Yield pixels in groups to be read with one call each: quarters of a group where that costs less than the
    whole, or where it has more than ``most`` pixels.
    """
    waiting = [np.arange(len(columns))]
    while waiting:
        some = waiting.pop()
        area = _area(columns, rows, some)
        if area <= _CALL:
            yield some
            continue
        x, y = columns[some], rows[some]
        quarter = (x > (x.min() + x.max()) // 2) * 2 + (y > (y.min() + y.max()) // 2)
        quarters = [some[quarter == q] for q in range(4)]
        quarters = [q for q in quarters if len(q)]
        if area <= most and sum(_CALL + _area(columns, rows, q) for q in quarters) >= _CALL + area:
            yield some
        else:
            waiting.extend(reversed(quarters))


def _area(columns: Indices, rows: Indices, some: Indices) -> int:
    x, y = columns[some], rows[some]
    return int(x.max() - x.min() + 1) * int(y.max() - y.min() + 1)
