"""``ImageCollection.mosaic``, ``reduce``, ``mean``, ``median`` and the like, ``toBands``: composites, their projection
and band names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

from eechips_local import reducers
from eechips_local.evaluation.asset_model import Bounds, PixelType, Query
from eechips_local.evaluation.context import Context
from eechips_local.functions.images.image_bands import unique_names
from eechips_local.functions.registration import Implementation, function
from eechips_local.geometry.longitude_boxes import globe_box
from eechips_local.geometry.map_projection import WGS84
from eechips_local.pixels.composite import Members, MosaicRaster, Reduced, Reduction
from eechips_local.pixels.expected_bands import ExpectedBands
from eechips_local.pixels.lazy_image import Image, ImageBand
from eechips_local.protocol.request_errors import LimitError
from eechips_local.reducers import Reducer, ReducerSample
from eechips_local.values.element_properties import BAND_TYPES, GEOMETRY
from eechips_local.values.values import Collection, Filter, Geometry

_MOST_BANDS = 5_000  # https://developers.google.com/earth-engine/apidocs/ee-imagecollection-tobands
# Images that are compared wherever they are: of a stored collection, and of what follows from its images.
_LOOKED_AT, _FOLLOWING_LOOKED_AT = 100, 1_000


def images_within(collection: Collection, bounds: Bounds | None) -> Collection:
    """Return the images whose footprint meets bounds (None: all); stored collections read only those."""
    return collection if bounds is None else collection.filtered(_within(bounds))


def is_known_to_fit(collection: Collection, expected: ExpectedBands) -> bool:
    """Return whether all images have the bands that are expected, as far as that is known without making them."""
    return expected.fits_all(collection.examples(frozenset({BAND_TYPES})))


def compared_images(collection: Collection) -> Iterator[Image]:
    """Return the images that are compared with the first one."""
    following = _FOLLOWING_LOOKED_AT if collection.is_searchable else None
    return islice(collection, _LOOKED_AT if collection.is_stored else following)


def members_of(collection: Collection, first: Image) -> Members:
    """Return the images of a collection under some bounds, which must be like the first of all.

    All images of a list are compared with the first one, as ``mosaic`` of the service also refuses those far from the
    pixels (github.com/forestdatapartnership/whisp/pull/248); of a stored collection, which may have a million, those
    under the bounds, and the first hundred where they are found fast; of what is mapped over one, the first thousand.
    None is made for this where examples, to one of which each image is alike, fit.
    """
    expected = ExpectedBands.of(first)

    @cache
    def check_others() -> None:
        if is_known_to_fit(collection, expected):
            return
        for image in compared_images(collection):
            expected.check(image)

    def members(bounds: Bounds | None) -> Iterator[Image]:
        if collection.is_listed_fast:
            check_others()
        return map(expected.check, images_within(collection, bounds))

    return members


def every_member_of(collection: Collection, first: Image) -> Members:
    """Return all images of a collection whatever the bounds, for series that have an element for each image."""
    expected = ExpectedBands.of(first)
    return lambda bounds: map(expected.check, collection)


def _within(bounds: Bounds) -> Filter:
    box = globe_box(bounds)

    def matches(image: Image) -> bool:
        footprint: Geometry | None = image.footprint
        return footprint is None or footprint.unbounded or bool(footprint.on_globe.intersects(box))

    return Filter(matches, lambda query: narrowed(query, bounds), fields=frozenset({GEOMETRY}))


def narrowed(query: Query, bounds: Bounds) -> Query:
    """Return a query with its bounds cut down to others, where that is one plain rectangle."""
    old = query.bounds
    if old is None:
        return replace(query, bounds=bounds)
    if old[0] > old[2] or bounds[0] > bounds[2]:
        return query
    west, south = max(old[0], bounds[0]), max(old[1], bounds[1])
    east, north = min(old[2], bounds[2]), min(old[3], bounds[3])
    if west > east or south > north:
        return query  # nothing can match both; the exact filters will say so
    return replace(query, bounds=(west, south, east, north))


def first_image(collection: Collection) -> Image | None:
    """Return the first image of a collection, or None."""
    return next(iter(collection), None)


def composite(raster: Any, names: Sequence[str], types: Sequence[PixelType]) -> Image:
    """Return an unbounded image in the default projection of composites."""
    return Image(
        tuple(
            ImageBand(name, kind, WGS84, raster, index, fixed=False)
            for index, (name, kind) in enumerate(zip(names, types, strict=True))
        )
    )


@function("ImageCollection.mosaic")
def mosaic(collection: Collection) -> Image:
    """Return the last image on top."""
    first = first_image(collection)
    if first is None:
        return Image(())
    names = [band.name for band in first.bands]
    return composite(MosaicRaster(members_of(collection, first)), names, [band.type for band in first.bands])


def reduction(reducer: Reducer) -> Reduction:
    """Return a reducer of one pixel's values as ``Reduced`` calls it."""

    def reduce(
        values: npt.NDArray[Any], weights: npt.NDArray[np.float64]
    ) -> list[tuple[npt.NDArray[Any], npt.NDArray[Any]]]:
        arrays = values.ndim - weights.ndim
        outputs = reducer.apply(ReducerSample(values, weights, weights > 0, None, arrays))
        return [(o.values, o.valid) for o in outputs]

    return reduce


def reduced(collection: Collection, reducer: Reducer, *, short: bool) -> Image:
    """Return the reduction of a collection at each pixel."""
    first = first_image(collection)
    if first is None or not first.bands:
        return Image(())
    bands = [band.name for band in first.bands]
    groups = reducer.groups(len(bands))
    names = reducer.output_names(bands, short=short)
    kinds = [band.type for band in first.bands]
    types = [kind for group in groups for kind in reducer.band_types([kinds[i] for i in group])]
    raster = Reduced(members_of(collection, first), tuple(map(tuple, groups)), reduction(reducer), len(reducer.names))
    return composite(raster, names, types)


@function("ImageCollection.reduce")
def reduce(collection: Collection, reducer: Reducer, parallelScale: float) -> Image:
    """Return bands named <band>_<output>."""
    return reduced(collection, reducer, short=False)


def _shorthand(name: str, reducer: Reducer) -> Implementation:
    reducer = replace(reducer, description={"type": f"Reducer.{name}"})

    def call(collection: Collection) -> Image:
        return reduced(collection, reducer, short=True)

    return Implementation(call)


FUNCTIONS: Mapping[str, Implementation] = {
    "reduce.min": _shorthand("min", reducers.MIN),
    "reduce.max": _shorthand("max", reducers.MAX),
    "reduce.mean": _shorthand("mean", reducers.MEAN),
    "reduce.median": _shorthand("median", reducers.MEDIAN),
    "reduce.mode": _shorthand("mode", reducers.MODE),
    "reduce.sum": _shorthand("sum", reducers.SUM),
    "reduce.product": _shorthand("product", reducers.PRODUCT),
    "reduce.count": _shorthand("count", reducers.COUNT),
    "reduce.and": _shorthand("allNonZero", reducers.ALL),
    "reduce.or": _shorthand("anyNonZero", reducers.ANY),
}


@function("ImageCollection.toBands")
def to_bands(context: Context, collection: Collection) -> Image:
    """Return all bands of all images, named <index>_<band>.

    They can be aggregated without a scale even where those of composites cannot: the tests of geetools, which run
    against the service, do so (tests/test_ImageCollection.py, ``test_reduce_interval``).
    """
    bands: list[ImageBand] = []
    names: list[str] = []
    for position, image in enumerate(context.counted(collection)):
        index = image.properties.get("system:index", str(position))
        bands.extend(image.bands)
        if len(bands) > _MOST_BANDS:
            raise LimitError(f"The maximum number of bands is {_MOST_BANDS}.")
        names.extend(f"{index}_{band.name}" for band in image.bands)
    unique = unique_names(names)
    return Image(tuple(replace(band, name=name, fixed=True) for band, name in zip(bands, unique, strict=True)))
