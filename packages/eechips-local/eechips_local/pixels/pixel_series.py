"""Compute bands from the series of values that the images of a collection have at each pixel; each image needs a
``system:time_start``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from eechips_local.pixels.composite import Members, images_under
from eechips_local.pixels.grids.pixel_grid import PixelGrid
from eechips_local.pixels.lazy_image import Image, ImageBand, Pixels, Render
from eechips_local.protocol.request_errors import InvalidError

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

_STACK = 256 << 20
"""Bytes of stacked values that are held at a time."""
_EARLIEST, _LATEST = -62_135_596_800_000, 253_402_300_799_999
"""Beginning of the year 1 and end of the year 9999, in milliseconds since 1970."""
_MOST_KNOWN = 1 << 16
"""Results of equal series that are remembered."""


@dataclass(frozen=True, slots=True, eq=False)
class PixelSeries:
    """The values of one pixel.

    Attributes:
        times: milliseconds since 1970, ascending, or positions of images without dates, shape (images,).
        values: shape (bands, images); 0 where masked.
        valid: where the values are not masked and finite, likewise.
        others: values of further bands at the pixel, numbers or arrays.
    """

    times: Floats
    values: Floats
    valid: Flags
    others: tuple[Any, ...] = ()


Arrays = Sequence["npt.NDArray[Any] | None"]
"""An array for each output band; None where it is masked."""
Analysis = Callable[[PixelSeries], "Arrays | None"]
"""From a series to its output; None if all bands are masked."""


def times_of(images: Sequence[Image]) -> Floats:
    """Return ``system:time_start`` of images.

    Raises:
        InvalidError: if one has none.
    """
    times = [image.properties.get("system:time_start") for image in images]
    for image, time in zip(images, times, strict=True):
        name = image.id or image.properties.get("system:index", "")
        if not isinstance(time, (int, float)):
            raise InvalidError(f"Image '{name}' of the collection has no property 'system:time_start'.")
        if not _EARLIEST <= time <= _LATEST:
            raise InvalidError(f"The 'system:time_start' of image '{name}' must be in the years 1 to 9999.")
    return np.array(times, dtype=np.float64)


@dataclass(frozen=True, slots=True, eq=False)
class SeriesRaster:
    """Bands computed together from the series at each pixel.

    Attributes:
        members: the images.
        names: names of the bands of all images.
        analysis: called once for each pixel at which all of ``others`` are valid; equal series may share a call.
        outputs: number of output bands.
        others: further bands that the analysis needs.
        is_dated: whether images have dates, which sort them; else they are in the order of the collection.
    """

    members: Members
    names: tuple[str, ...]
    analysis: Analysis
    outputs: int
    others: tuple[ImageBand, ...] = ()
    is_dated: bool = True

    def read(self, bands: Sequence[int], grid: PixelGrid, render: Render) -> list[Pixels]:
        """Stack the images some rows at a time, and analyse pixel by pixel."""
        analysed: list[Pixels] = render.note(("series", self, grid), lambda: self._analyse(grid, render))
        return [analysed[band] for band in bands]

    def _analyse(self, grid: PixelGrid, render: Render) -> list[Pixels]:
        images = images_under(self.members, grid, render)
        times = times_of(images) if self.is_dated else np.arange(len(images), dtype=np.float64)
        order = np.argsort(times, kind="stable").tolist()
        images, times = [images[i] for i in order], times[order]
        per_row = max(1, len(images) * len(self.names) * grid.width * 16)
        rows = max(1, min(grid.height, _STACK // per_row))
        results: list[Arrays | None] = []
        known: dict[bytes, Arrays | None] = {}
        for row in range(0, grid.height, rows):
            part = grid.window(0, row, grid.width, min(rows, grid.height - row))
            results.extend(self._rows(images, times, part, render if rows >= grid.height else Render(), known))
        return [_assembled([None if r is None else r[band] for r in results], grid) for band in range(self.outputs)]

    def _rows(
        self, images: Sequence[Image], times: Floats, grid: PixelGrid, render: Render, known: dict[bytes, Arrays | None]
    ) -> list[Arrays | None]:
        size = grid.width * grid.height
        values, valid = self._stacked(images, grid, render)
        others = render.read(self.others, grid)
        there = np.ones(size, dtype=bool)
        for pixels in others:
            there &= pixels.valid.ravel()
        more = [p.values.reshape(size, *p.values.shape[2:]) for p in others]
        row_arrays: list[Arrays | None] = []
        for place in range(size):
            if not there[place]:
                row_arrays.append(None)
                continue
            extra = tuple(part[place] for part in more)
            key = values[place].tobytes() + valid[place].tobytes() + b"".join(np.asarray(e).tobytes() for e in extra)
            if key not in known:
                # Squares of huge values are infinite, as in Java.
                with np.errstate(all="ignore"):
                    result = self.analysis(PixelSeries(times, values[place], valid[place], extra))
                if len(known) < _MOST_KNOWN:
                    known[key] = result
                row_arrays.append(result)
            else:
                row_arrays.append(known[key])
        return row_arrays

    def _stacked(self, images: Sequence[Image], grid: PixelGrid, render: Render) -> tuple[Floats, Flags]:
        """Return the values of all pixels, and where they are valid: shape (pixels, bands, images)."""
        values = np.zeros((grid.width * grid.height, len(self.names), len(images)))
        valid = np.zeros(values.shape, dtype=bool)
        for position, layer in enumerate(render.read_each([image.bands for image in images], grid)):
            for band, (name, pixels) in enumerate(zip(self.names, layer, strict=False)):
                if pixels.values.ndim > 2 or pixels.values.dtype == object:
                    raise InvalidError(f"The bands of the collection must be scalar; band '{name}' holds arrays.")
                valid[:, band, position] = pixels.valid.ravel() & np.isfinite(pixels.values.ravel())
                values[:, band, position] = pixels.values.ravel()
        values[~valid] = 0
        return values, valid


def _assembled(arrays: Sequence[npt.NDArray[Any] | None], grid: PixelGrid) -> Pixels:
    """Return the arrays of all pixels, dense if they have one shape, else ragged."""
    mask = np.array([array is not None for array in arrays], dtype=bool).reshape(grid.shape)
    held = [array for array in arrays if array is not None]
    shapes = {array.shape for array in held}
    if len(shapes) <= 1:
        shape = shapes.pop() if shapes else ()
        empty = np.zeros(shape)
        stacked = np.stack([empty if array is None else array for array in arrays])
        return Pixels(stacked.reshape(*grid.shape, *shape), mask)
    ragged = np.empty(len(arrays), dtype=object)
    for place, array in enumerate(arrays):
        ragged[place] = array
    return Pixels(ragged.reshape(grid.shape), mask)
