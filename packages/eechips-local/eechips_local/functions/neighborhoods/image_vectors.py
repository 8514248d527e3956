"""``Image.reduceToVectors``: connected pixels of one value as features; the forms of ``geometryType``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely
from affine import Affine
from rasterio.features import shapes
from shapely.geometry.base import BaseGeometry

from eechips_local.evaluation.context import Context
from eechips_local.functions.images.image_region import check_tile_scale, lattice_of, region_of
from eechips_local.functions.neighborhoods.image_components import CORNERS, SIDES, components
from eechips_local.functions.registration import function
from eechips_local.geometry.map_projection import WGS84, Projection
from eechips_local.geometry.planar_frame import recast
from eechips_local.pixels.grids.region_pixels import PixelRegion, cover_tiles, region_within
from eechips_local.pixels.lazy_image import Image, Pixels, Render
from eechips_local.pixels.pixelwise_rasters import nowhere
from eechips_local.pixels.types import type_text
from eechips_local.protocol.request_errors import InvalidError, MemoryLimitError, check_choice
from eechips_local.reducers import COUNT_EVERY, Reducer, ReducerSample
from eechips_local.reducers.reducer_samples import stacked
from eechips_local.values.values import Collection, Feature, Geometry, Value

# Metres by which the outlines of pixels may be off in longitude and latitude.
_TOLERANCE = 0.01
# More outlines than this, at a kilobyte each, would not fit into the memory of a request.
_MOST_SEGMENTS = 500_000
# Pixels that are looked at together.
_MOST_PIXELS = 1 << 26


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """Connected pixels of one label.

    Attributes:
        label: their value.
        shape: their outline, in pixels.
        pixels: flat indices, ascending.
    """

    label: int
    shape: BaseGeometry
    pixels: npt.NDArray[np.intp]


def segments(labels: npt.NDArray[Any], valid: npt.NDArray[np.bool_], *, eight: bool) -> list[Segment]:
    """Return connected pixels of equal labels, in the order of their first pixels, row by row.

    Args:
        labels: shape (height, width), of an integer dtype.
        valid: which pixels count.
        eight: whether pixels that share but a corner are connected.
    """
    if not valid.any():
        return []
    numbers = components(labels, valid, (*SIDES, *CORNERS) if eight else SIDES)
    flat = numbers.ravel()
    inside = np.flatnonzero(valid.ravel())
    firsts, codes = np.unique(flat[inside], return_inverse=True)
    if len(firsts) > _MOST_SEGMENTS:
        raise MemoryLimitError()
    order = np.argsort(codes, kind="stable")
    pieces = np.split(inside[order], np.cumsum(np.bincount(codes, minlength=len(firsts)))[:-1])
    outlines = shapes(numbers.astype(np.int32), mask=valid, connectivity=8 if eight else 4, transform=Affine.identity())
    outlines_by_first = {int(first): shapely.geometry.shape(outline) for outline, first in outlines}
    return [
        Segment(int(labels.ravel()[first]), outlines_by_first[int(first)], pixels)
        for first, pixels in zip(firsts, pieces, strict=True)
    ]


@dataclass(frozen=True, slots=True, eq=False)
class _SegmentReduction:
    """What is computed of the pixels of a segment: outputs of a reducer, or the number of pixels.

    Attributes:
        reducer: reducer of the bands after the first; None counts the pixels.
        groups: positions of its inputs, counted from the second band on, for each time that it is applied.
        labels: names of the outputs.
    """

    reducer: Reducer | None
    groups: Sequence[tuple[int, ...]]
    labels: Sequence[str]
    types: Sequence[str]

    @classmethod
    def of(cls, image: Image, reducer: Reducer | None) -> _SegmentReduction:
        """Return the reduction of an image by a reducer.

        Raises:
            InvalidError: if the image does not have the bands that it needs.
        """
        kinds, names = [band.type for band in image.bands], image.band_names[1:]
        count = len(names)
        if reducer is None or reducer.equals(COUNT_EVERY):
            if count:  # a script quotes this refusal
                raise InvalidError(f"Need 1+0 bands for Reducer.countEvery, image has {1 + count}.")
            return cls(None, (), COUNT_EVERY.names, COUNT_EVERY.column_types(kinds))
        if not count or reducer.inputs not in (1, count):
            raise InvalidError(f"Need 1+{reducer.inputs} bands for {reducer.text}, image has {1 + count}.")
        groups = [(index,) for index in range(count)] if reducer.inputs == 1 else [tuple(range(count))]
        labels = reducer.names if count == 1 else reducer.output_names(names, short=True)
        types = [kind for group in groups for kind in reducer.column_types([kinds[index + 1] for index in group])]
        return cls(reducer, groups, labels, types)

    def results(self, segment: Segment, pixels: Sequence[Pixels]) -> dict[str, Value]:
        """Return the outputs that are not null, by name."""
        if self.reducer is None:
            return {self.labels[0]: len(segment.pixels)}
        values, whole = stacked([p.values.reshape(-1)[segment.pixels] for p in pixels[1:]])
        masks = np.stack([p.mask.reshape(-1)[segment.pixels] for p in pixels[1:]]).astype(np.float64)
        sample = ReducerSample(values, masks, masks > 0, whole=whole)
        outputs = [v for group in self.groups for v in self.reducer.results(sample.select(group))]
        return {name: value for name, value in zip(self.labels, outputs, strict=True) if value is not None}


@function("Image.reduceToVectors", "Image.reduceToVectorsStreaming")
def reduce_to_vectors(
    context: Context, image: Image, reducer: Reducer | None, geometry: Geometry | None, scale: float | None,
    geometryType: str, eightConnected: bool, labelProperty: str | None, crs: Projection | None,
    crsTransform: list[float] | None, bestEffort: bool, maxPixels: int, tileScale: float,
    geometryInNativeProjection: bool,
) -> Collection:  # fmt: skip
    """Return a feature for each connected set of pixels with one value in the first band, with the other bands
    reduced.

    Features are named by the column and row of their last pixel on the lattice, and come in the order of their names.
    Rings are counter-clockwise from their westernmost vertex. Both as recorded (codes 5771323155, 23307892175,
    53118176314).
    """
    check_tile_scale(tileScale)
    check_choice("geometryType", geometryType, ("polygon", "bb", "centroid"))
    if not image.bands:
        raise InvalidError("Image has no bands.")
    if image.bands[0].type.precision != "int":
        raise InvalidError(f"The band '{image.bands[0].name}' must be of an integer type.")
    reduction = _SegmentReduction.of(image, reducer)
    lattice = lattice_of(image, scale, crs, crsTransform, maxPixels, best_effort=bestEffort)
    region = region_within(context, region_of(image, geometry), lattice)
    grid = region.grid
    if grid.width * grid.height > _MOST_PIXELS:
        raise MemoryLimitError()
    inside, pixels = _read(context, image, region)
    # As recorded: count is Long<0, 4294967295>, the label of bits Byte<0, 1>.
    columns = {**dict(zip(reduction.labels, reduction.types, strict=True)), "system:index": "String"}
    if labelProperty is not None:
        columns[labelProperty] = type_text(image.bands[0].type)

    def elements() -> Iterator[Feature]:
        pixel_segments = segments(pixels[0].values, inside & pixels[0].valid, eight=eightConnected)
        last = [divmod(int(segment.pixels[-1]), grid.width) for segment in pixel_segments]
        names = [f"{region.column + column:+d}{region.row + row:+d}" for row, column in last]
        for name, segment in sorted(zip(names, pixel_segments, strict=True), key=lambda named: named[0]):
            context.check_time()
            properties = reduction.results(segment, pixels)
            if labelProperty is not None:
                properties[labelProperty] = segment.label
            outline = _geometry(segment, grid.width, geometryType)
            placed = Geometry(outline, Projection(grid.crs, grid.transform))
            target = Projection(grid.crs) if geometryInNativeProjection else WGS84
            yield Feature(_turned(recast(placed, target, False, _TOLERANCE)), {**properties, "system:index": name})

    return Collection("Feature", lambda _: elements(), columns=columns)


def _read(context: Context, image: Image, region: PixelRegion) -> tuple[npt.NDArray[np.bool_], list[Pixels]]:
    """Return which pixels of a region's bounds have their centres in it, and the bands, masked where it has none."""
    shape = region.grid.shape
    inside = np.zeros(shape, dtype=bool)
    places: list[tuple[slice, slice]] = []
    pieces: list[list[Pixels]] = []
    held = 0  # bytes
    for grid, column, row, cover in cover_tiles(context, region):
        inside[cover.rows[cover.centre] - region.row, cover.columns[cover.centre] - region.column] = True
        top, left = row - region.row, column - region.column
        places.append((slice(top, top + grid.height), slice(left, left + grid.width)))
        pieces.append(Render(context.limits.memory - held, context.check_time).read(image.bands, grid))
        held += sum(pixels.values.nbytes + pixels.mask.nbytes for pixels in pieces[-1])
    if not pieces:
        return inside, [nowhere(region.grid) for _ in image.bands]
    return inside, [_joined(shape, places, band) for band in zip(*pieces, strict=True)]


def _joined(shape: tuple[int, int], places: Sequence[tuple[slice, slice]], pieces: Sequence[Pixels]) -> Pixels:
    """Return pieces of a band as one, masked between them."""
    values = np.zeros(shape + pieces[0].values.shape[2:], np.result_type(*(piece.values for piece in pieces)))
    mask = np.zeros(shape, np.result_type(*(piece.mask for piece in pieces)))
    for place, piece in zip(places, pieces, strict=True):
        values[place], mask[place] = piece.values, piece.mask
    return Pixels(values, mask)


def _turned(outline: Geometry) -> Geometry:
    """Return an outline whose rings begin with the least x, then the least y; shells are counter-clockwise."""
    return replace(outline, shape=shapely.reverse(shapely.normalize(outline.shape)))


def _geometry(segment: Segment, width: int, kind: str) -> BaseGeometry:
    if kind == "bb":
        return shapely.box(*segment.shape.bounds)
    if kind == "centroid":
        rows, columns = np.divmod(segment.pixels, width)
        return shapely.Point(columns.mean() + 0.5, rows.mean() + 0.5)
    return segment.shape
