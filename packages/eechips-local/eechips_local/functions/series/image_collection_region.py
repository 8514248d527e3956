"""``ImageCollection.getRegion``: every image's values at every pixel of a region, as rows; at most 1,048,576 values."""

from __future__ import annotations

import math
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely

from eechips_local.evaluation.context import Context
from eechips_local.functions.conditions.filter_geometry import narrow_to
from eechips_local.functions.images.image_projection import target_projection
from eechips_local.functions.registration import function
from eechips_local.geometry.map_projection import WGS84, Projection, transform_points
from eechips_local.pixels.expected_bands import ExpectedBands
from eechips_local.pixels.grids.region_pixels import PixelRegion, covers, region_on
from eechips_local.pixels.grids.sampled_pixels import gather, prefetch_pixels
from eechips_local.pixels.lazy_image import Image, Render
from eechips_local.protocol.request_errors import InvalidError
from eechips_local.values.ordering import plain
from eechips_local.values.values import Collection, Filter, Geometry, Value

_MOST_VALUES = 1_048_576
_MOST_COUNTED = 5000  # images that are counted for a refusal
_REACH = 0.01  # degrees around the pixels in which images are looked for
_MOST_HELD = 64 << 20  # bytes of pixels that are kept for the next images
_AHEAD = 32  # images whose pixels are fetched together


@function("ImageCollection.getRegion")
def get_region(
    context: Context, collection: Collection, geometry: Geometry, scale: float | None, crs: Projection,
    crsTransform: list[float] | None,
) -> list[Value]:  # fmt: skip
    """Return a list of rows: the names of the columns, then id, longitude, latitude, time and the bands' values.

    There is a row for each pixel whose centre lies in the region and each image whose footprint it lies in, pixel by
    pixel; masked values are null. Images elsewhere are not looked at: there are rows "for each image that intersects
    each pixel", and at most 1,048,576 values (https://developers.google.com/earth-engine/apidocs/ee-imagecollection-getregion).
    """
    projection = target_projection(crs, crsTransform, scale)
    first: Image | None = next(iter(collection), None)
    if first is None or not first.bands:
        raise InvalidError("No bands in collection.")
    names, expected = first.band_names, ExpectedBands.of(first)
    area = region_on(geometry, projection)
    if (least := _least_pixels(area)) > _MOST_VALUES:  # it would take hours to list them
        raise _too_many(least, len(names), collection)
    columns, rows = _pixels_in(context, area)
    points = transform_points(np.column_stack([columns + 0.5, rows + 0.5]), projection, WGS84)
    near, images = _near(collection, points), list[Image]()
    for image in near:
        expected.check(image)
        images.append(image)
        if len(columns) * len(names) * len(images) > _MOST_VALUES:
            raise _too_many(len(columns), len(names), near)
    # Images of a series often are computed from those before them.
    render = Render(context.limits.memory)
    series: list[list[list[Value] | None]] = []
    for position, image in enumerate(images):
        context.check_time()
        if position % _AHEAD == 0 and len(columns):
            ahead = [band for other in images[position : position + _AHEAD] for band in other.bands]
            prefetch_pixels(ahead, projection, columns, rows)
        if render.held > _MOST_HELD:
            render = Render(context.limits.memory)
        values = [_plain(band) for band in gather(context, image.bands, projection, columns, rows, render)]
        start = plain(image.properties.get("system:time_start"))
        index = image.properties.get("system:index")
        series.append(
            [
                [index, float(x), float(y), start, *(band[i] for band in values)] if there else None
                for i, ((x, y), there) in enumerate(zip(points, _within(image, points), strict=True))
            ]
        )
    table: list[Value] = [["id", "longitude", "latitude", "time", *names]]
    table.extend(row for pixel in zip(*series, strict=True) for row in pixel if row is not None)
    return table


def _least_pixels(area: PixelRegion) -> int:
    """Return about how many pixels polygons or lines have at least."""
    is_line = shapely.get_dimensions(area.shape) == 1
    return round(float(area.shape.length) / math.sqrt(2.0) if is_line else float(area.shape.area))


def _near(collection: Collection, points: npt.NDArray[np.float64]) -> Collection:
    """Return the images of a collection; stored images that are far from all points are left out."""
    if not len(points) or not np.isfinite(points).all():
        return collection
    (west, south), (east, north) = points.min(axis=0) - _REACH, points.max(axis=0) + _REACH
    if west < -180.0 or east > 180.0 or east - west > 180.0:
        return collection
    narrow = narrow_to((float(west), float(south), float(east), float(north)))
    return collection.filtered(Filter(lambda _: True, narrow, fields=frozenset({".geo"})))


def _too_many(pixels: int, bands: int, images: Collection) -> InvalidError:
    """Return Earth Engine's refusal of too many values; it does not count all images of a planet."""
    known = images.known_count
    count = sum(1 for _ in islice(images, _MOST_COUNTED)) if known is None else known
    return InvalidError(f"Too many values: {pixels} points x {bands} bands x {count} images > {_MOST_VALUES}.")


def _pixels_in(context: Context, area: PixelRegion) -> list[npt.NDArray[np.int64]]:
    """Return columns and rows of the pixels whose centres lie in a region."""
    parts = [(cover.columns[cover.centre], cover.rows[cover.centre]) for _, _, _, cover in covers(context, area)]
    nothing = np.zeros(0, dtype=np.int64)
    return [np.concatenate([nothing, *(part[i] for part in parts)]) for i in (0, 1)]


def _plain(band: Any) -> list[Value]:
    return [value if there else None for value, there in zip(band.values.tolist(), band.mask > 0, strict=True)]


def _within(image: Image, points: Any) -> list[bool]:
    """Return whether each point lies in an image's footprint."""
    if image.footprint is None or image.footprint.unbounded:
        return [True] * len(points)
    is_within: list[bool] = shapely.intersects_xy(
        image.footprint.on_globe, (points[:, 0] + 180.0) % 360.0 - 180.0, points[:, 1]
    ).tolist()
    return is_within
