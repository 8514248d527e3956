"""``ImageCollection.getRegion``: every image's values at every pixel of a region."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import shapely

from eechips_local.evaluation.context import Context
from eechips_local.functions.image_projection import target_projection
from eechips_local.functions.registration import function
from eechips_local.geometry.map_projection import WGS84, Projection, transform_points
from eechips_local.pixels.expected_bands import ExpectedBands
from eechips_local.pixels.lazy_image import Image, Render
from eechips_local.pixels.region_pixels import covers, region_on
from eechips_local.pixels.sampled_pixels import gather, prefetch_pixels
from eechips_local.protocol.request_errors import InvalidError
from eechips_local.values.ordering import plain
from eechips_local.values.values import Collection, Geometry, Value

# https://developers.google.com/earth-engine/apidocs/ee-imagecollection-getregion
_MOST_VALUES = 1_048_576
_MOST_HELD = 64 << 20  # bytes of pixels that are kept for the next images
_AHEAD = 32  # images whose pixels are fetched together


@function("ImageCollection.getRegion")
def get_region(
    context: Context, collection: Collection, geometry: Geometry, scale: float | None, crs: Projection,
    crsTransform: list[float] | None,
) -> list[Value]:  # fmt: skip
    """Return a list of rows: the names of the columns, then id, longitude, latitude, time and the bands' values.

    There is a row for each pixel whose centre lies in the region and each image whose footprint it lies in, pixel by
    pixel; masked values are null.
    """
    projection = target_projection(crs, crsTransform, scale)
    images: list[Image] = list(collection)
    if not images or not images[0].bands:
        raise InvalidError("No bands in collection.")
    names, expected = images[0].band_names, ExpectedBands.of(images[0])
    for image in images:
        expected.check(image)
    columns, rows = _pixels_in(context, geometry, projection)
    if len(columns) * len(names) * len(images) > _MOST_VALUES:
        raise InvalidError(
            f"Too many values: {len(columns)} points x {len(names)} bands x {len(images)} images > {_MOST_VALUES}."
        )
    points = transform_points(np.column_stack([columns + 0.5, rows + 0.5]), projection, WGS84)
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


def _pixels_in(context: Context, geometry: Geometry, projection: Projection) -> list[npt.NDArray[np.int64]]:
    """Return columns and rows of the pixels whose centres lie in a region."""
    area = region_on(geometry, projection)
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
