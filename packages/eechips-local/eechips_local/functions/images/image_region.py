"""``Image.reduceRegion``, ``reduceRegions`` and ``reduce``: which region, scale and projection count, ``tileScale``,
names and types of outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import tee

import numpy as np

from eechips_local.evaluation.context import Context
from eechips_local.evaluation.graph_nodes import complete_error
from eechips_local.evaluation.lazy_values import updated
from eechips_local.functions.images.image_projection import projection_of, target_projection
from eechips_local.functions.registration import function
from eechips_local.geometry.map_projection import WGS84, Projection
from eechips_local.pixels.grids.region_pixels import Lattice
from eechips_local.pixels.grids.region_reduction import reduce_region, reduce_regions
from eechips_local.pixels.lazy_image import Image, ImageBand, Pixels
from eechips_local.pixels.pixelwise_rasters import PerPixel
from eechips_local.pixels.types import LONG, union_type
from eechips_local.protocol.request_errors import InvalidError
from eechips_local.reducers import Reducer, ReducerSample
from eechips_local.values.element_properties import geometry_of
from eechips_local.values.values import Collection, Feature, Geometry, Value

_TILE_SCALES = (0.1, 16.0)


def lattice_of(
    image: Image, scale: float | None, crs: Projection | None, transform: list[float] | None, max_pixels: int,
    *, best_effort: bool = False,
) -> Lattice:  # fmt: skip
    """Return the requested lattice of an aggregation, or that of the image's first band."""
    if crs is None and image.bands:
        projection = target_projection(image.bands[0].projection, transform, scale)
    elif crs is None:
        projection = projection_of(image)
    else:
        projection = target_projection(crs, transform, scale)
    return Lattice(projection, max_pixels, best_effort)


def _aggregated_on(
    image: Image, scale: float | None, crs: Projection | None, transform: list[float] | None, max_pixels: int,
    *, best_effort: bool = False,
) -> Lattice:  # fmt: skip
    """Return the lattice of a reduction over regions.

    Raises:
        InvalidError: if none is requested, and the image has the default projection of composites and constants
            (https://developers.google.com/earth-engine/guides/projections#the-default-projection), or if a crs comes
            without a scale, a transform and one of its own (Google's release notes of 28 August 2014;
            the words are ours).
    """
    if scale is None and transform is None:
        if crs == WGS84 if crs is not None else image.bands and not image.bands[0].fixed:
            raise InvalidError(
                "The default WGS84 projection is invalid for aggregations. Specify a scale or crs & crs_transform."
            )
        if crs is not None and crs.transform == WGS84.transform:
            raise InvalidError("Specify a scale or crs_transform with the crs.")
    return lattice_of(image, scale, crs, transform, max_pixels, best_effort=best_effort)


def region_of(image: Image, geometry: Geometry | None) -> Geometry:
    """Return the region of an aggregation: as given, else the image's footprint.

    Raises:
        InvalidError: if neither is bounded.
    """
    region = geometry if geometry is not None else image.footprint
    if region is None or region.unbounded:
        raise InvalidError("Provide 'geometry' parameter when aggregating over an unbounded image.")
    return region


def check_tile_scale(scale: float, name: str | None = None) -> None:
    """Refuse what the service refuses of ``Image.reduceRegion``.

    Scripts of users quote its message, and an older one of "1 to 16". Other aggregations, which have the same argument,
    are taken to have the same limits.

    Args:
        scale: the argument.
        name: what the message calls the function, if not by its name.
    """
    if not _TILE_SCALES[0] <= scale <= _TILE_SCALES[1]:
        message = "Valid tileScales are 0.1 to 16."
        raise InvalidError(message) if name is None else complete_error(InvalidError(f"{name}: {message}"))


@function("Image.reduceRegion")
def reduce_over_region(
    context: Context,
    image: Image,
    reducer: Reducer,
    geometry: Geometry | None,
    scale: float | None,
    crs: Projection | None,
    crsTransform: list[float] | None,
    bestEffort: bool,
    maxPixels: int,
    tileScale: float,
) -> Mapping[str, Value]:
    """Return a reducer over all pixels of a region; nothing of an image without bands, as scripts rely on."""
    check_tile_scale(tileScale, "ReduceRegion.AggregationContainer")
    if not image.bands:
        return {}
    region = region_of(image, geometry)
    lattice = _aggregated_on(image, scale, crs, crsTransform, maxPixels, best_effort=bestEffort)
    return reduce_region(context, image, reducer, region, lattice)


@function("Image.reduceRegions")
def reduce_over_regions(
    context: Context,
    image: Image,
    collection: Collection,
    reducer: Reducer,
    scale: float | None,
    crs: Projection | None,
    crsTransform: list[float] | None,
    tileScale: float,
    maxPixelsPerRegion: int | None,
) -> Collection:
    """Return a reducer over each feature, its outputs added to the feature's properties."""
    check_tile_scale(tileScale)
    bands, kinds = [band.name for band in image.bands], [band.type for band in image.bands]
    if not bands:  # two scripts quote it; github.com/r-spatial/rgee/issues/153 has an older message
        raise InvalidError("Image has no bands.")
    reducer.check_inputs(len(bands))
    lattice = _aggregated_on(image, scale, crs, crsTransform, maxPixelsPerRegion or 2**53)
    # With one band and one input the properties are named by the reducer's outputs alone.
    only = len(bands) == 1 and reducer.inputs == 1
    names = list(reducer.names) if only else reducer.output_names(bands, short=True)

    def elements() -> Iterator[Feature]:
        features, again = tee(collection)
        results = reduce_regions(context, image, reducer, (geometry_of(f) for f in again), lattice)
        for feature, values in zip(features, results, strict=True):
            output_values = {name: value for name, value in zip(names, values, strict=True) if value is not None}
            yield Feature(geometry_of(feature), updated(feature.properties, output_values))

    types = [kind for group in reducer.groups(len(bands)) for kind in reducer.column_types([kinds[i] for i in group])]
    return collection.derived(elements, "Feature", dict(zip(names, types, strict=True)))


@function("Image.reduce")
def reduce(image: Image, reducer: Reducer) -> Image:
    """Return a reducer of one input over the bands of each pixel; bands are named by its outputs.

    Sums of integers are integers: bitwise operations, which refuse floating bands, take them in a dozen public scripts
    that draw chessboards (codes 10965642601, 16850467718, 34252616824).
    """
    if reducer.inputs != 1:
        raise InvalidError(f"The reducer must have a single input; it has {reducer.inputs}.")
    if not image.bands:  # as openforis/sepal's classificationOutputBands.mjs quotes it
        raise InvalidError("Unable to reduce an image with 0 bands.")
    source = union_type(*(band.type for band in image.bands))
    types = reducer.band_types([source])
    if source.precision == "int":
        types = [LONG if spec.kind == "sum" else kind for spec, kind in zip(reducer.outputs, types, strict=True)]

    def outputs(pixels: Sequence[Pixels], which: int) -> Pixels:
        values = np.stack([p.values for p in pixels])[None]
        weights = np.stack([p.mask for p in pixels]).astype(np.float64)
        output = reducer.apply(ReducerSample(values, weights, weights > 0, None, values.ndim - 1 - weights.ndim))[which]
        return Pixels(output.values, output.valid)

    def chosen(which: int) -> Callable[[Sequence[Pixels]], Pixels]:
        return lambda pixels: outputs(pixels, which)

    raster = PerPixel(
        tuple(tuple(image.bands) for _ in reducer.names), tuple(chosen(i) for i in range(len(reducer.names)))
    )
    first = image.bands[0]
    return image.computed(
        [
            ImageBand(name, kind, first.projection, raster, i, first.extent, first.fixed)
            for i, (name, kind) in enumerate(zip(reducer.names, types, strict=True))
        ]
    )
