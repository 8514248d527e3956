"""``Image.reduceRegion``, ``reduceRegions`` and ``reduce``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from eechips.emulator.context import Context
from eechips.emulator.errors import InvalidError
from eechips.emulator.functions.image import projection_of, target_projection
from eechips.emulator.functions.image_collection import output_type
from eechips.emulator.functions.registry import function
from eechips.emulator.pixels.compute import PerPixel
from eechips.emulator.pixels.image import Band, Image, Pixels
from eechips.emulator.projection import Projection
from eechips.emulator.reducers import Reducer, Sample
from eechips.emulator.regions import Lattice, reduce_region
from eechips.emulator.values import Collection, Feature, Geometry, Value


def lattice_of(
    image: Image, scale: float | None, crs: Projection | None, transform: list[float] | None, max_pixels: int,
    *, best_effort: bool = False,
) -> Lattice:  # fmt: skip
    """The pixels that an aggregation is made on: as asked for, else those of the image's first band."""
    if crs is None and image.bands:
        native = image.bands[0].projection
        if transform is not None:
            raise InvalidError("A crsTransform needs a crs.")
        projection = native if scale is None else target_projection(native, None, scale)
    elif crs is None:
        projection = projection_of(image)
    else:
        projection = target_projection(crs, transform, scale)
    return Lattice(projection, max_pixels, best_effort)


def region_of(image: Image, geometry: Geometry | None) -> Geometry:
    """The region of an aggregation: as given, else the image's footprint.

    Raises:
        InvalidError: if neither is bounded.
    """
    region = geometry if geometry is not None else image.footprint
    if region is None or region.unbounded:
        raise InvalidError("The image is unbounded; specify a geometry.")
    return region


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
    """A reducer over all pixels of a region."""
    lattice = lattice_of(image, scale, crs, crsTransform, maxPixels, best_effort=bestEffort)
    return reduce_region(context, image, reducer, region_of(image, geometry), lattice)


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
    """A reducer over each feature, its outputs added to the feature's properties."""
    lattice = lattice_of(image, scale, crs, crsTransform, maxPixelsPerRegion or 2**53)
    names = [band.name for band in image.bands]
    # With one band and one input the properties are named by the reducer's outputs alone.
    only = len(names) == 1 and reducer.inputs == 1

    def elements() -> Iterator[Feature]:
        for feature in collection:
            context.check_time()
            outputs: Mapping[str, Value] = {}
            if feature.geometry is not None and not feature.geometry.shape.is_empty:
                outputs = reduce_region(context, image, reducer, feature.geometry, lattice)
            if only and outputs:
                outputs = dict(zip(reducer.names, outputs.values(), strict=True))
            found = {name: value for name, value in outputs.items() if value is not None}
            yield feature.with_properties({**feature.properties, **found})

    return collection.derived(elements, "Feature")


@function("Image.reduce")
def reduce(image: Image, reducer: Reducer) -> Image:
    """A reducer over the bands of each pixel."""
    if not reducer.scalar:
        raise InvalidError("The reducer's outputs are not numbers.")
    if not image.bands:
        return image

    def outputs(pixels: Sequence[Pixels], which: int) -> Pixels:
        if reducer.inputs == 1:
            values = np.stack([p.values for p in pixels])[None]
            weights = np.stack([p.mask for p in pixels]).astype(np.float64)
        else:
            values = np.stack([p.values for p in pixels])[:, None]
            weights = np.min([p.mask for p in pixels], axis=0)[None].astype(np.float64)
        found = reducer.apply(Sample(values, weights, weights > 0))[which]
        return Pixels(found.values, found.valid)

    if reducer.inputs != 1:
        reducer.check_inputs(len(image.bands))

    def chosen(which: int) -> Any:
        return lambda pixels: outputs(pixels, which)

    raster = PerPixel(
        tuple(tuple(image.bands) for _ in reducer.names), tuple(chosen(i) for i in range(len(reducer.names)))
    )
    first = image.bands[0]
    kinds = [band.type for band in image.bands]
    return image.computed(
        [
            Band(name, output_type(reducer, name, kinds), first.projection, raster, i, first.extent, first.fixed)
            for i, name in enumerate(reducer.names)
        ]
    )
