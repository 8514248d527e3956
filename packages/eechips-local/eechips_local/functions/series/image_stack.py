"""``ImageCollection.qualityMosaic``, ``toArray``, ``toArrayPerBand``, ``cast``, ``combine`` and
``Image.linkCollection``: images of a collection put together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from eechips_local.evaluation.asset_model import PixelType
from eechips_local.evaluation.lazy_values import updated, without
from eechips_local.functions.images.image_bands import add_bands, choose
from eechips_local.functions.images.image_math import cast_band
from eechips_local.functions.registration import function
from eechips_local.functions.series.image_collections import (
    compared_images,
    composite,
    first_image,
    is_known_to_fit,
    members_of,
)
from eechips_local.geometry.map_projection import WGS84
from eechips_local.pixels.composite import Reduced
from eechips_local.pixels.expected_bands import ExpectedBands
from eechips_local.pixels.grids.pixel_grid import PixelGrid
from eechips_local.pixels.lazy_image import Image, ImageBand, Pixels
from eechips_local.pixels.pixelwise_rasters import Generated, PerPixel
from eechips_local.pixels.types import dtype_of, named_type, union_type
from eechips_local.protocol.request_errors import InvalidError
from eechips_local.values.element_properties import property_of
from eechips_local.values.ordering import distinct_key
from eechips_local.values.ragged_arrays import by_number, grouped
from eechips_local.values.value_json import BANDS
from eechips_local.values.values import Collection, Filter, Value

Stack = npt.NDArray[Any]


@function("ImageCollection.qualityMosaic")
def quality_mosaic(collection: Collection, qualityBand: str) -> Image:
    """Return at each pixel all bands of the image whose quality band is greatest there, the last of several.

    Of two images that are as near to the median, a test of Google's land cover toolkit, which runs against the service,
    has the last (google/earthengine-community@c2ee36c9, toolkits/landcover/test/int/composites.int.test.js).
    """
    first = first_image(collection)
    if first is None:
        return Image(())
    names = [band.name for band in first.bands]
    if qualityBand not in names:
        raise InvalidError(
            f"Band pattern '{qualityBand}' did not match any bands. Available bands: [{', '.join(names)}]"
        )
    quality = names.index(qualityBand)

    def best(values: Stack, weights: Stack) -> list[tuple[Stack, Stack]]:
        there = weights[0] > 0
        if not len(there):
            return [(np.zeros(there.shape[1:]), np.zeros(there.shape[1:], dtype=bool))]
        rank = np.where(there, values[0], -np.inf)
        where = len(rank) - 1 - rank[::-1].argmax(axis=0)[None]
        # Infinitely bad, but there: better than none.
        where = np.where(np.take_along_axis(there, where, axis=0), where, there.argmax(axis=0)[None])
        is_there = np.take_along_axis(there, where, axis=0)[0]
        at = where.reshape(where.shape + (1,) * (values[1].ndim - where.ndim))
        masks = np.where(is_there, np.take_along_axis(weights[1], where, axis=0)[0], 0.0)
        return [(np.take_along_axis(values[1], at, axis=0)[0], masks)]

    def typed(dtype: np.dtype[Any]) -> Callable[[Sequence[Pixels]], Pixels]:
        return lambda pixels: Pixels(pixels[0].values.astype(dtype, copy=False), pixels[0].mask)

    types = [band.type for band in first.bands]
    # A call for each band: of a band that is asked for alone, no other but that of quality is read.
    reduced = Reduced(members_of(collection, first), tuple((quality, band) for band in range(len(names))), best, 1)
    inputs = tuple((ImageBand("", kind, WGS84, reduced, band, fixed=False),) for band, kind in enumerate(types))
    return composite(PerPixel(inputs, tuple(typed(dtype_of(kind)) for kind in types)), names, types)


def _stacked(
    collection: Collection,
    first: Image,
    calls: Sequence[Sequence[int]],
    like: Sequence[ImageBand],
    axis: int,
    stack: Callable[[Stack, Stack], tuple[Stack, Stack, Stack]],
    *,
    needs_all: bool,
) -> Image:
    """Return an image of arrays, each made from the bands of a call over all images.

    Args:
        calls: positions of the bands that go into each array.
        like: name and type of each result.
        axis: along which arrays may end earlier than others.
        stack: gives arrays of one shape, shape (height, width, …), how far they go along the axis, and the mask.
        needs_all: whether images that are masked at a pixel mask it.
    """

    def reduction(values: Stack, weights: Stack) -> list[tuple[Stack, Stack]]:
        if values.dtype == object:
            raise InvalidError("The arrays of the images differ in shape.")
        arrays, lengths, mask = stack(values, weights)
        groups = by_number(lengths[..., None], mask > 0)
        if list(groups) in ([], [arrays.shape[2 + axis : 3 + axis]]):
            return [(arrays, mask)]
        cut = grouped([Pixels(arrays, mask)], groups, shortened)
        return [(cut.values, cut.mask)]

    def shortened(pixels: Sequence[Pixels], key: Any) -> Pixels:
        return Pixels(pixels[0].values[(slice(None),) * (2 + axis) + (slice(key[0]),)], pixels[0].mask)

    reduced = Reduced(members_of(collection, first), tuple(map(tuple, calls)), reduction, 1, needs_all)
    return composite(reduced, [b.name for b in like], [b.type for b in like])


@function("ImageCollection.toArrayPerBand")
def to_array_per_band(collection: Collection, axis: int, dropMasked: bool) -> Image:
    """Return each band as an array along an axis, in the order of the images.

    Pixels are masked where any image is, or have the arrays of the valid images only (``dropMasked``).
    """
    first = first_image(collection)
    if first is None:
        return Image(())
    least = min((band.type.dimensions for band in first.bands), default=0)
    if not 0 <= axis <= least:
        raise InvalidError(f"The axis must be between 0 and {least}, the least dimension of any band; found {axis}.")

    def stack(values: Stack, weights: Stack) -> tuple[Stack, Stack, Stack]:
        layers, masks = values[0], weights[0]
        counts = np.full(masks.shape[1:], len(layers))
        if dropMasked:
            layers, counts, mask = _valid_first(layers, masks)
        else:
            mask = masks.min(axis=0, initial=1.0 if len(masks) else 0.0)
        dimensions = layers.ndim - 3
        if axis == dimensions:
            return np.moveaxis(layers, 0, 2 + axis), counts, mask
        size = layers.shape[3 + axis]
        joined = np.concatenate(list(layers), axis=2 + axis) if len(layers) else layers.reshape(layers.shape[1:])
        return joined, counts * size, mask

    like = [replace(b, type=replace(b.type, dimensions=max(b.type.dimensions, axis + 1))) for b in first.bands]
    return _stacked(
        collection, first, [[band] for band in range(len(like))], like, axis, stack, needs_all=not dropMasked
    )


@function("ImageCollection.toArray")
def to_array(collection: Collection) -> Image:
    """Return arrays of the images that are valid in all bands (axis 0) by bands (axis 1).

    Types may differ, and their union is that of the arrays, as the reference says: the Open Earth Engine Library fits
    polynomials to constants, which differ from image to image (codes 21332149597, 24270366060).
    """
    first = first_image(collection)
    if first is None:
        return Image(())
    if not first.bands:
        raise InvalidError("The images have no bands.")
    if any(band.type.dimensions for band in first.bands):
        raise InvalidError("Bands must have scalar values, not array values.")

    def stack(values: Stack, weights: Stack) -> tuple[Stack, Stack, Stack]:
        layers, counts, mask = _valid_first(np.moveaxis(values, 0, 3), weights.min(axis=0))
        return np.moveaxis(layers, 0, 2), counts, mask

    first = _widened(first, collection)
    kind = replace(union_type(*(band.type for band in first.bands)), dimensions=2)
    like = replace(first.bands[0], name="array", type=kind)
    return _stacked(collection, first, [range(len(first.bands))], [like], 0, stack, needs_all=False)


def _widened(first: Image, collection: Collection) -> Image:
    """Return the first image, with types that hold the bands of the images that are compared with it."""
    if not collection.is_listed_fast or is_known_to_fit(collection, ExpectedBands.of(first)):
        return first
    types = [band.type for band in first.bands]
    for image in compared_images(collection):
        types = [union_type(kind, band.type) for kind, band in zip(types, image.bands, strict=False)]
        if len(types) != len(first.bands):
            return first  # refused where pixels are read
    return first.with_bands([replace(b, type=kind) for b, kind in zip(first.bands, types, strict=True)])


def _valid_first(layers: Stack, masks: Stack) -> tuple[Stack, Stack, Stack]:
    """Return the layers that are valid at each pixel, in their order, before the others; their number; the least
    mask.
    """
    order = np.argsort(masks <= 0, axis=0, kind="stable")
    chosen = np.take_along_axis(layers, order.reshape(order.shape + (1,) * (layers.ndim - order.ndim)), axis=0)
    counts = (masks > 0).sum(axis=0)
    least = np.where(masks > 0, masks, 1.0).min(axis=0, initial=1.0)
    return chosen, counts, np.where(counts > 0, least, 0.0)


def _masked(grid: PixelGrid, band: int) -> Pixels:
    return Pixels(np.zeros(grid.shape, dtype=np.uint8), np.zeros(grid.shape, dtype=bool))


def transparent_band(name: str, kind: PixelType) -> ImageBand:
    """Return a band that is masked everywhere."""
    return ImageBand(name, kind, WGS84, Generated(_masked), fixed=False)


def _keeps(name: str) -> bool:
    """Say whether a property stays as it is, although bands change."""
    return name not in BANDS


@function("ImageCollection.cast")
def cast(collection: Collection, bandTypes: Mapping[str, Value], bandOrder: list[str]) -> Collection:
    """Return the images with their bands in an order and of given types; bands that an image lacks are transparent."""
    types = {name: named_type(kind) for name, kind in bandTypes.items()}
    if sorted(bandOrder) != sorted(types):
        raise InvalidError("The bandOrder must list the keys of bandTypes.")

    def casted(images: Iterable[Image]) -> Iterator[Image]:
        for image in images:
            bands = {band.name: band for band in image.bands}
            unknown = [name for name in bands if name not in types]
            if unknown:
                raise InvalidError(f"bandTypes must include all bands of the images; '{unknown[0]}' is missing.")
            yield image.with_bands(
                [
                    cast_band(bands[name], types[name]) if name in bands else transparent_band(name, types[name])
                    for name in bandOrder
                ]
            )

    return collection.transformed(casted, _keeps)


@function("ImageCollection.combine")
def combine(primary: Collection, secondary: Collection, overwrite: bool) -> Collection:
    """Return the images of the first collection with the bands of those of the second that have the same index."""

    def combined(images: Iterable[Image]) -> Iterator[Image]:
        others = {image.properties.get("system:index"): image for image in reversed(list(secondary))}
        for image in images:
            other = others.get(image.properties.get("system:index"))
            if other is not None:
                yield add_bands(image, other, None, overwrite)

    return primary.transformed(combined, _keeps)


@function("Image.linkCollection")
def link_collection(
    input: Image, imageCollection: Collection, linkedBands: Value, linkedProperties: Value, matchPropertyName: str
) -> Image:
    """Return the image with bands and properties of the image of a collection that has the same value of a property.

    Where no image matches, new and updated bands are masked, and properties null.
    """
    bands, properties = _names(linkedBands, "linkedBands"), _names(linkedProperties, "linkedProperties")
    match = _matching(imageCollection, matchPropertyName, property_of(input, matchPropertyName))
    linked = input
    if bands:
        if match is not None:
            source = match.with_bands(choose(match, bands))
        else:
            first = first_image(imageCollection)
            known = {band.name: band.type for band in first.bands} if first is not None else {}
            missing = PixelType("double")
            source = Image(tuple(transparent_band(name, known.get(name, missing)) for name in bands))
        linked = add_bands(input, source, None, True)
    if properties:
        linked_values = {name: None if match is None else property_of(match, name) for name in properties}
        kept = without(linked.properties, linked_values)
        linked = linked.with_properties(updated(kept, {n: v for n, v in linked_values.items() if v is not None}))
    return linked


def _names(value: Value, argument: str) -> list[str]:
    names = [value] if isinstance(value, str) else [] if value is None else value
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InvalidError(f"The argument '{argument}' must be a name or a list of names.")
    return names


def _matching(collection: Collection, name: str, value: Value) -> Image | None:
    if value is None:
        return None
    key = distinct_key(value)
    same = Filter(
        lambda image: distinct_key(property_of(image, name)) == key,
        lambda query: replace(query, equals={**query.equals, name: value}),
        fields=frozenset({name}),
    )
    return first_image(collection.filtered(same))
