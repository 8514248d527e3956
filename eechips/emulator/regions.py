"""Reductions of an image over a region."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from eechips.emulator.context import Context
from eechips.emulator.errors import InvalidError
from eechips.emulator.pixels.coverage import centres_inside, fractions, pixels_touched
from eechips.emulator.pixels.grid import Grid
from eechips.emulator.pixels.image import Image, Render
from eechips.emulator.projection import Projection
from eechips.emulator.reducers import Output, Reducer, Sample
from eechips.emulator.values import Geometry, Value

# Pixels that are read at a time.
_BLOCK = 1024


@dataclass(frozen=True, slots=True)
class Lattice:
    """The pixels that a reduction looks at.

    Attributes:
        projection: of the pixels.
        max_pixels: how many there may be.
        best_effort: use larger pixels where there are more.
    """

    projection: Projection
    max_pixels: int
    best_effort: bool = False


def covering_grid(geometry: Geometry, lattice: Lattice) -> Grid:
    """The pixels of a lattice that a region's bounds touch.

    Raises:
        InvalidError: if they are too many.
    """
    if geometry.unbounded:
        raise InvalidError("The geometry must be bounded; specify a region.")
    projection = lattice.projection
    column, row, width, height = pixels_touched(geometry, projection)
    while lattice.best_effort and width * height > lattice.max_pixels:
        projection = Projection(projection.crs, projection.transform * projection.transform.scale(2))
        column, row, width, height = pixels_touched(geometry, projection)
    if width * height > lattice.max_pixels:
        raise InvalidError(
            f"Too many pixels in the region. Found {width * height}, but maxPixels allows only {lattice.max_pixels}.\n"
            "Ensure that you are not aggregating at a higher resolution than you intended; that is the most frequent "
            "cause of this error. If not, then you may set the 'maxPixels' argument to a limit suitable for your "
            "computation; set 'bestEffort' to true to aggregate at whatever scale results in 'maxPixels' total "
            "pixels; or both."
        )
    return Grid(projection.crs, projection.transform, 0, 0).window(column, row, width, height)


def blocks(grid: Grid) -> Iterator[Grid]:
    """A grid in pieces that are read one at a time."""
    for row in range(0, grid.height, _BLOCK):
        for column in range(0, grid.width, _BLOCK):
            yield grid.window(column, row, min(_BLOCK, grid.width - column), min(_BLOCK, grid.height - row))


@dataclass(frozen=True, slots=True, eq=False)
class _Cover:
    """How a region covers a block: fractions and centres of the pixels that it touches."""

    rows: npt.NDArray[np.intp]
    columns: npt.NDArray[np.intp]
    fraction: npt.NDArray[np.float64]
    centre: npt.NDArray[np.bool_]


def _cover(geometry: Geometry, grid: Grid) -> _Cover:
    """Exact fractions of area. Earth Engine says that it leaves out pixels with less than about 0.5% inside
    (https://developers.google.com/earth-engine/guides/reducers_weighting), without saying how it measures them.
    """
    fraction = fractions(geometry, grid)
    centre = centres_inside(geometry, grid)
    if geometry.shape.geom_type in ("Point", "MultiPoint", "LineString", "MultiLineString", "LinearRing"):
        centre = fraction > 0
    rows, columns = np.nonzero((fraction > 0) | centre)
    return _Cover(rows, columns, fraction[rows, columns], centre[rows, columns])


def sample_region(context: Context, image: Image, geometry: Geometry, lattice: Lattice) -> list[Sample]:
    """The pixels of each band under a region, one Sample a band."""
    grid = covering_grid(geometry, lattice)
    values: list[list[Any]] = [[] for _ in image.bands]
    weights: list[list[Any]] = [[] for _ in image.bands]
    inside: list[list[Any]] = [[] for _ in image.bands]
    for block in blocks(grid):
        context.check_time()
        cover = context.note(("cover", geometry, block), lambda block=block: _cover(geometry, block))  # type: ignore[misc]
        if not len(cover.rows):
            continue
        render = Render(context.limits.memory)
        for index, pixels in enumerate(render.read(image.bands, block)):
            mask = pixels.mask[cover.rows, cover.columns]
            values[index].append(pixels.values[cover.rows, cover.columns])
            weights[index].append(cover.fraction * mask)
            inside[index].append(cover.centre & (mask > 0))
    return [
        Sample(
            (np.concatenate(values[i]) if values[i] else np.zeros(0))[None],
            np.concatenate(weights[i]) if weights[i] else np.zeros(0),
            np.concatenate(inside[i]) if inside[i] else np.zeros(0, dtype=bool),
        )
        for i in range(len(image.bands))
    ]


def together(samples: Sequence[Sample]) -> Sample:
    """Samples of several bands as the inputs of one reducer: a pixel counts where all bands are valid."""
    weights = np.min([s.weights for s in samples], axis=0)
    inside = np.all([s.inside for s in samples], axis=0)
    return Sample(np.concatenate([s.values for s in samples]), weights, inside)


def number(output: Output) -> Value:
    """An output over a whole region as a plain value: null where there is none."""
    if not np.all(output.valid):
        return None
    value = output.values
    return value.item() if isinstance(value, (np.ndarray, np.generic)) else value


def reduce_region(
    context: Context, image: Image, reducer: Reducer, geometry: Geometry, lattice: Lattice
) -> Mapping[str, Value]:
    """The reducer's outputs over the image's bands, by name."""
    names = [band.name for band in image.bands]
    reducer.check_inputs(len(names))
    samples = sample_region(context, image, geometry, lattice)
    groups = [[s] for s in samples] if reducer.inputs == 1 else [samples]
    outputs = [number(output) for group in groups for output in reducer.apply(together(group))]
    return dict(zip(reducer.output_names(names, short=True), outputs, strict=True))
