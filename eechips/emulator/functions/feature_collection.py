"""``ee.FeatureCollection``: points at random, features as pixels, columns of numbers."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import shapely

from eechips.emulator.context import Context
from eechips.emulator.errors import InvalidError, LimitError
from eechips.emulator.functions.geometry import bounds as geometry_bounds
from eechips.emulator.functions.registry import function
from eechips.emulator.geometry import collection_geometry
from eechips.emulator.model import PixelType
from eechips.emulator.pixels.image import Band, Image
from eechips.emulator.projection import WGS84, Projection
from eechips.emulator.random_points import random_points
from eechips.emulator.reducers import Reducer
from eechips.emulator.values import Collection, ErrorMargin, Feature, Geometry
from eechips.emulator.vector_image import Burnt

# More would not fit into the memory of a request.
_MOST_POINTS = 5_000_000


@function("FeatureCollection.randomPoints")
def random_points_in(context: Context, region: Geometry, points: int, seed: int, maxError: ErrorMargin) -> Collection:
    """Points that are uniform on the sphere within a region; their indices count from 0."""
    if points < 0:
        raise InvalidError(f"The number of points must not be negative; found {points}.")
    if points > _MOST_POINTS:
        raise LimitError("User memory limit exceeded.")
    drawn = random_points(region, seed, maxError.value)

    def elements() -> Iterator[Feature]:
        for index, (x, y) in enumerate(islice(drawn, points)):
            if index % 1024 == 0:
                context.check_time()
            yield Feature(Geometry(shapely.Point(x, y), geodesic=True), {"system:index": str(index)})

    made = list(elements())
    return Collection.of("Feature", made)


@function("Collection.reduceToImage")
def reduce_to_image(collection: Collection, properties: list[str], reducer: Reducer) -> Image:
    """A reducer over properties of the features that meet each pixel; bands are named by its outputs."""
    if len(properties) != reducer.inputs:
        raise InvalidError(f"Need {reducer.inputs} properties for the reducer, but {len(properties)} were given.")
    types = reducer.band_types([PixelType("double")] * len(properties))
    raster = Burnt(collection, tuple(properties), reducer)
    return Image(
        tuple(
            Band(name, kind, WGS84, raster, index, fixed=False)
            for index, (name, kind) in enumerate(zip(reducer.names, types, strict=True))
        )
    )


@function("Collection.geometry")
def geometry(collection: Collection, maxError: ErrorMargin) -> Geometry:
    """The geometries of all elements merged into one."""
    return collection_geometry(collection)


@function("Collection.bounds")
def bounds(collection: Collection, maxError: ErrorMargin, proj: Projection) -> Geometry:
    """The rectangle around the geometries of all elements."""
    return geometry_bounds(collection_geometry(collection), maxError, proj)
