"""``FeatureCollection.randomPoints``, ``reduceToImage``, ``reduceColumns``, ``randomColumn``, ``union``, ``geometry``,
``bounds`` and ``makeArray``: points at random, features as pixels, columns of numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

import numpy as np
import shapely

from eechips_local.evaluation.asset_model import PixelType
from eechips_local.evaluation.context import Context
from eechips_local.evaluation.lazy_values import updated
from eechips_local.functions.registration import function
from eechips_local.functions.vectors.geometry_operations import bounds as geometry_bounds
from eechips_local.functions.vectors.geometry_operations import dissolve
from eechips_local.functions.vectors.random_points import random_points
from eechips_local.geometry.geometry import collection_geometry
from eechips_local.geometry.map_projection import WGS84, Projection
from eechips_local.pixels.lazy_image import Image, ImageBand
from eechips_local.pixels.vector_image import Rasterized
from eechips_local.protocol.request_errors import InvalidError, MemoryLimitError, check_choice
from eechips_local.reducers import Reducer, by_name, sample_of
from eechips_local.values.element_properties import property_of
from eechips_local.values.ordering import distinct_key, plain
from eechips_local.values.randomness import normal, random_words, text_position, uniform
from eechips_local.values.values import Array, Collection, ErrorMargin, Feature, Geometry, Value

# More would not fit into the memory of a request.
_MOST_POINTS = 5_000_000


@function("FeatureCollection.randomPoints")
def random_points_in(context: Context, region: Geometry, points: int, seed: int, maxError: ErrorMargin) -> Collection:
    """Return points that are uniform on the sphere within a region; their indices count from 0."""
    if points < 0:
        raise InvalidError(f"The number of points must not be negative; found {points}.")
    if points > _MOST_POINTS:
        raise MemoryLimitError()
    drawn = random_points(region, seed, maxError.value)

    def elements() -> Iterator[Feature]:
        for index, (x, y) in enumerate(islice(drawn, points)):
            if index % 1024 == 0:
                context.check_time()
            yield Feature(Geometry(shapely.Point(x, y), geodesic=True), {"system:index": str(index)})

    features = list(elements())
    return Collection.of("Feature", features)


@function("Collection.reduceToImage")
def reduce_to_image(collection: Collection, properties: list[str], reducer: Reducer) -> Image:
    """Return a reducer over properties of the features that meet each pixel; bands are named by its outputs."""
    if len(properties) != reducer.inputs:
        raise InvalidError(f"Need {reducer.inputs} properties for {reducer.text}, got {len(properties)}.")
    types = reducer.band_types([PixelType("double")] * len(properties))
    raster = Rasterized(collection, tuple(properties), reducer)
    return Image(
        tuple(
            ImageBand(name, kind, WGS84, raster, index, fixed=False)
            for index, (name, kind) in enumerate(zip(reducer.names, types, strict=True))
        )
    )


@function("Collection.geometry")
def geometry(collection: Collection, maxError: ErrorMargin) -> Geometry:
    """Return the geometries of all elements merged into one."""
    return collection_geometry(collection)


@function("Collection.bounds")
def bounds(collection: Collection, maxError: ErrorMargin, proj: Projection) -> Geometry:
    """Return the rectangle around the geometries of all elements."""
    return geometry_bounds(collection_geometry(collection), maxError, proj)


@function("Collection.reduceColumns")
def reduce_columns(
    context: Context, collection: Collection, reducer: Reducer, selectors: list[str], weightSelectors: list[str] | None
) -> Mapping[str, Value]:
    """Return a reducer over properties of the elements: its outputs by name."""
    if len(selectors) != reducer.inputs:
        raise InvalidError(f"Need {reducer.inputs} inputs for {reducer.text}, got {len(selectors)}.")
    weighted = [index for index, own in enumerate(reducer.weighted) if own]
    if weightSelectors is not None and len(weightSelectors) != len(weighted):
        raise InvalidError(
            f"The reducer needs {len(weighted)} weight selectors, but {len(weightSelectors)} were given."
        )
    rows: list[list[Value]] = [[] for _ in selectors]
    weights: list[list[Value]] = [[] for _ in selectors]
    for count, element in enumerate(collection):
        if count % 256 == 0:
            context.check_time()
        for row, name in zip(rows, selectors, strict=True):
            row.append(property_of(element, name))
        for row in weights:
            row.append(1.0)
        for index, name in zip(weighted, weightSelectors or (), strict=False):
            weights[index][-1] = property_of(element, name)
    return by_name(reducer, sample_of(rows, weights if weightSelectors is not None else None))


@function("Collection.randomColumn")
def random_column(
    context: Context, collection: Collection, columnName: str, seed: int, distribution: str, rowKeys: list[str]
) -> Collection:
    """Return a property with a random number of each element, from the seed and the values of its row keys."""
    check_choice("distribution", distribution, ("uniform", "normal"))

    def elements() -> Iterator[Any]:
        for count, element in enumerate(collection):
            if count % 256 == 0:
                context.check_time()
            key = text_position(repr([distinct_key(property_of(element, name)) for name in rowKeys]))
            if distribution == "uniform":
                number = float(uniform(random_words(seed, key))[0])
            else:
                first, second = random_words(seed, key, np.arange(2))
                number = float(normal(first, second))
            yield element.with_properties(updated(element.properties, {columnName: number}))

    return collection.derived(elements)


@function("Collection.union")
def union(collection: Collection, maxError: ErrorMargin | None) -> Collection:
    """Return one feature, whose geometry is that of all elements together, dissolved."""
    merged = dissolve(collection_geometry(collection), maxError, None)
    return Collection.of("Feature", [Feature(merged, {"system:index": "union_result"})])


@function("FeatureCollection.makeArray")
def make_array(collection: Collection, properties: list[str], name: str) -> Collection:
    """Return a property with an array of others; features that lack a number among those are dropped."""

    def elements() -> Iterator[Any]:
        for element in collection:
            values = [plain(property_of(element, selector)) for selector in properties]
            if all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values):
                yield element.with_properties(updated(element.properties, {name: Array(np.asarray(values))}))

    return collection.derived(elements)
