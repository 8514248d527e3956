"""Find the images at places (the latest, or the nearest to a date), their pixel grids, and those that contribute pixels
to a chip.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import ee
import numpy as np

from eechips.errors import RegionError
from eechips.geo.crs import parse_crs, project, unproject
from eechips.geo.ellipsoid import Floats, great_circle
from eechips.geo.grid import Grid, nominal_scale, service_crs
from eechips.planning import planning_requests
from eechips.planning.grid_alignment import GridAlignment
from eechips.planning.imagery.expressions import LayerImages, box_around, chip_reach, grid_interior, sort_nearest_first
from eechips.planning.imagery.periods import DateMatch

POINTS_PER_REQUEST = 500
"""Points in one request."""

_COMPARED = 1000  # images whose pixel sizes are compared
_SCALE = "eechips_scale"  # a property that images have while their pixels are compared

_IDS_PER_REQUEST = 2000  # the server opens no image for its id, and sends some 100 bytes

# Images at a point that are sorted for the latest; of more, as Sentinel-2 has in a year, the latest dates come first.
_SORTED = 100
_LOOKED_AT = 16  # points whose images are counted
_WIDENING = 4  # factor by which an interval of dates grows for points without an image in it
_END_OF_TIME = 4_102_444_800_000  # 2100-01-01, in milliseconds since 1970

_CURE = "`start` and `end` that are nearer to each other"

_ZONE_MARGIN = 1.005
"""Factor that covers the distortion of UTM within its zones, and the difference of the sphere from the ellipsoid."""

Points = Sequence[tuple[float, float]]
"""Longitudes and latitudes in degrees."""

Moments = tuple[int, int, int]
"""A date, and the interval around it that images must be in (end exclusive), in milliseconds since 1970."""

_Rows = Sequence[tuple[float, ...]]


@dataclass(frozen=True, slots=True)
class PointImage:
    """An image at a place.

    Attributes:
        index: its ``system:index``.
        time: its ``system:time_start`` in milliseconds since 1970, or None.
    """

    index: str
    time: int | None


def find_images(
    collection: ee.ImageCollection, band: str, points: Points, moments: Sequence[Moments] | None = None
) -> Iterator[tuple[PointImage, Grid] | None]:
    """Find the latest image of a collection at each point, or the one nearest to a date; None if there is none.

    For the latest image of a collection with many images at a point, the server looks at the latest dates first, and at
    earlier ones only for points without an image there.

    Args:
        collection: filtered by date.
        band: name of the band whose grid is returned.
        points: longitudes and latitudes in degrees.
        moments: date and interval of each point; None for the latest image.

    Yields:
        The image, and CRS and transform of its band; without the size, which is not requested.
    """

    def describe(element: Any) -> ee.ComputedObject:
        image: Any = ee.Image(element)
        return ee.Dictionary({**_identity(image), "projection": image.select([band]).projection()})

    steps = [partial(_described, latest, describe) for latest in _searches(collection, points, moments)]
    for answer in _each(_rows(points, moments), steps, bool):
        yield (_image(answer[0]), _grid(answer[0]["projection"])) if answer else None


def find_nearest(
    collection: ee.ImageCollection, points: Points, moments: Sequence[Moments]
) -> Iterator[PointImage | None]:
    """Find the image of a collection nearest to a date at each point; None if there is none.

    Args:
        collection: all images.
        points: longitudes and latitudes in degrees.
        moments: date and interval of each point.
    """
    nearest = partial(_described, _latest(collection, is_paired=True), _pair)
    for answer in _each(_rows(points, moments), [nearest], size=_IDS_PER_REQUEST):
        yield _named(*answer[0]) if answer else None


def _pair(element: Any) -> ee.List:
    image: Any = ee.Image(element)
    return ee.List([image.get("system:index"), image.get("system:time_start")])


def buffer_bounds(
    points: Points,
    radius: float,
    size: tuple[int, int],
    collection: ee.ImageCollection | None = None,
    moments: Sequence[Moments] | None = None,
) -> Iterator[tuple[Grid, PointImage | None]]:
    """Compute the bounds of a buffer around each point on the server, and find the image under each point.

    Args:
        points: longitudes and latitudes in degrees.
        radius: radius of the buffer in metres.
        size: width and height in pixels.
        collection: whose images are found in the same request; None for no image.
        moments: as for :func:`find_images`.

    Yields:
        The bounds, divided into pixels; and the image, None if there is none, or none was requested.

    Raises:
        RegionError: if a pole is within the radius of a point.
    """

    def describe(latest: Callable[[Any], Any] | None, row: Any) -> Any:
        ring = ee.Geometry.Point(ee.List(row).slice(0, 2)).buffer(radius).bounds().coordinates()
        images = ee.List([]) if latest is None else latest(row).map(lambda element: _identity(ee.Image(element)))
        return ee.List([ring, images])

    searches = [None] if collection is None else _searches(collection, points, moments)
    width, height = size
    steps = [partial(describe, latest) for latest in searches]
    answers = _each(_rows(points, moments), steps, lambda answer: bool(answer[1]))
    for (longitude, latitude), ((ring,), images) in zip(points, answers, strict=True):
        xs, ys = zip(*ring, strict=True)
        west, south, east, north = min(xs), min(ys), max(xs), max(ys)
        if east - west >= 360.0:
            raise RegionError(
                f"the chip at longitude {longitude:g}, latitude {latitude:g} holds a pole, around which degrees make no"
                " grid: name a projected coordinate system (`crs`), such as EPSG:3995 or EPSG:3031"
            )
        if east - west > 180.0:  # over the antimeridian
            west, east = east, west + 360.0
        transform = ((east - west) / width, 0.0, west, 0.0, (south - north) / height, north)
        yield Grid("EPSG:4326", transform, width, height), _image(images[0]) if images else None


def _rows(points: Points, moments: Sequence[Moments] | None) -> _Rows:
    """Return points, with their dates if they have any."""
    return points if moments is None else [(*point, *when) for point, when in zip(points, moments, strict=True)]


def _latest(collection: ee.ImageCollection, *, is_paired: bool) -> Callable[[Any], Any]:
    """Return a server-side function that lists one image at a point: the latest, or the nearest to the point's date."""

    def find(row: Any) -> Any:
        values = ee.List(row)
        there = collection.filterBounds(ee.Geometry.Point(values.slice(0, 2)))
        if not is_paired:
            return there.sort("system:time_start", False).limit(1).toList(1)
        there = there.filterDate(ee.Date(values.get(3)), ee.Date(values.get(4)))
        return sort_nearest_first(there, values.getNumber(2)).limit(1).toList(1)

    return find


def _searches(
    collection: ee.ImageCollection, points: Points, moments: Sequence[Moments] | None
) -> list[Callable[[Any], Any]]:
    """Return the functions of :func:`_latest` to try in turn, until a point has an image.

    One request counts the images at some points. If a point has many, the functions see intervals of dates that end
    with the latest image and widen, so that the first has some ``_SORTED`` images a point; the last sees all images.
    """
    whole = _latest(collection, is_paired=moments is not None)
    if moments is not None or len(points) <= _LOOKED_AT:
        return [whole]
    chosen = np.unique(np.linspace(0, len(points) - 1, _LOOKED_AT).astype(int)).tolist()

    def span(row: Any) -> Any:
        there = collection.filterBounds(ee.Geometry.Point(ee.List(row)))
        time = "system:time_start"
        return ee.List([there.size(), there.aggregate_min(time), there.aggregate_max(time)])

    def ask(some: Points) -> list[Any]:
        answers: Any = ee.List([list(point) for point in some]).map(span).getInfo()
        return list(answers)

    asked = [points[index] for index in chosen]
    answers = planning_requests.request_each(asked, ask, size=_LOOKED_AT, is_sample=True, cure=_CURE)
    spans = [answer for answer in answers if None not in answer]
    most, first, last = max(spans, default=(0, 0, 0))
    if most <= _SORTED:
        return [whole]
    last, width = max(answer[2] for answer in spans), (last - first) * _SORTED / most
    starts = []
    while width > 0 and last - width > first:
        starts.append(math.floor(last - width))
        width *= _WIDENING
    return [*(_latest(collection.filterDate(start, _END_OF_TIME), is_paired=False) for start in starts), whole]


def _described(latest: Callable[[Any], Any], describe: Callable[[Any], Any], row: Any) -> Any:
    return latest(row).map(describe)


def _identity(image: Any) -> dict[str, Any]:
    return {"index": image.get("system:index"), "time": image.get("system:time_start")}


def _each(
    rows: _Rows,
    steps: Sequence[Callable[[Any], Any]],
    is_found: Callable[[Any], bool] = bool,
    *,
    size: int = POINTS_PER_REQUEST,
) -> Iterator[Any]:
    """Yield the server's result for each point; a request has some hundred points.

    Args:
        rows: the points, with their dates if they have any.
        steps: server-side functions of a row. Each is called for the points for which those before found nothing.
        is_found: whether a result ends the search of its point.
        size: points of a request, at most.
    """

    def ask(some: _Rows) -> list[Any]:
        answers: list[Any] = [None] * len(some)
        left: Sequence[int] = range(len(some))
        for function in steps:
            received: Any = ee.List([list(some[index]) for index in left]).map(function).getInfo()
            for index, answer in zip(left, received, strict=True):
                answers[index] = answer
            left = [index for index in left if not is_found(answers[index])]
            if not left:
                break
        return answers

    return planning_requests.request_each(rows, ask, size=size, cure=_CURE)


def fetch_coarsest_grid(images: ee.ImageCollection, band: str, native: Grid) -> Grid:
    """Return a pixel grid with pixels as large as the largest of some images. One request.

    Args:
        images: images of which the first thousand are compared; they all have the band.
        native: its grid in the first image.
    """

    def measured(image: Any) -> Any:
        return image.set(_SCALE, image.select([band]).projection().nominalScale())

    compared = images.limit(_COMPARED).map(measured)
    answer: Any = ee.List([compared.aggregate_first(_SCALE), compared.aggregate_max(_SCALE)]).getInfo()
    first, coarsest = answer
    a, b, c, d, e, f = native.transform
    factor = coarsest / first
    return replace(native, transform=(a * factor, b * factor, c, d * factor, e * factor, f))


def chip_reaches(placement: GridAlignment, native: Grid, points: Floats, size: tuple[int, int]) -> Floats:
    """Return the distance from each chip's place to its farthest corner, in metres on the sphere, shape (n,).

    Two chips do not overlap if the distance of their places exceeds the sum of their reaches. Images of a collection
    may be on other pixel grids, such as other UTM zones; their pixels are assumed to be no larger.

    Args:
        native: the grid of an image, with the largest pixels of all images.
        points: longitudes and latitudes in degrees, (n, 2).
        size: width and height of a chip in pixels.
    """
    is_zoned = placement.crs == "utm" or (placement.is_native and parse_crs(native.crs).utm_zone is not None)
    if is_zoned:  # UTM's scale factor is at least 0.9996
        scale = nominal_scale(native) if placement.scale is None else placement.scale
        metres = scale * math.hypot(size[0] + 1, size[1] + 1) / 2.0
        return np.full(len(points), metres * _ZONE_MARGIN)
    base_grid = placement.base_grid(native, (float(points[0, 0]), float(points[0, 1])))
    a, b, _, d, e, _ = base_grid.transform
    centres = project(base_grid.crs, points)
    half = [
        (i * (size[0] + 1) / 2.0, j * (size[1] + 1) / 2.0) for i in (-1, 1) for j in (-1, 1)
    ]  # a pixel for snapping
    corners = [unproject(base_grid.crs, centres + np.array([a * x + b * y, d * x + e * y])) for x, y in half]
    far = np.max([great_circle(points, corner) for corner in corners], axis=0)
    # A corner outside the area of the CRS: the distance follows from the size of the pixels.
    nominal = nominal_scale(base_grid) * math.hypot(size[0] + 1, size[1] + 1) / 2.0
    return np.where(np.isfinite(far), far, nominal)


def _grid(projection: dict[str, Any]) -> Grid:
    a, b, c, d, e, f = projection["transform"]
    return Grid(projection.get("crs") or projection["wkt"], (a, b, c, d, e, f), 1, 1)


def _image(answer: dict[str, Any]) -> PointImage:
    return _named(answer["index"], answer.get("time"))


def _named(index: str, time: float | None) -> PointImage:
    return PointImage(index, None if time is None else int(time))


_PIXELS = 1 << 22  # of the chips in one request
_MOST_CHIPS = 500


@dataclass(frozen=True, slots=True)
class ChipFootprint:
    """The properties of a chip that determine its images.

    Attributes:
        coordinates: coordinates of its place, longitude and latitude in degrees.
        source: ``system:index`` of the image on top; None for the latest, or the nearest to the date.
        date_match: date and interval of its images; None for all images.
    """

    grid: Grid
    coordinates: tuple[float, float]
    source: str | None = None
    date_match: DateMatch | None = None


def find_contributors(images: LayerImages, chips: Sequence[ChipFootprint]) -> Iterator[tuple[PointImage, ...]]:
    """Yield for each chip the images that contribute at least one pixel in one band, by time.

    The server mosaics the numbers of the images, with their masks, like the images themselves, and counts them on the
    chip's pixel grid. This costs about as much as the chips, but responses are small. Hundreds of small chips, or some
    dozen of 256 pixels, share a request.

    Args:
        chips: all with a date, or all without.
    """
    size = max((chip.grid.width * chip.grid.height for chip in chips), default=1)
    step = max(1, min(_MOST_CHIPS, _PIXELS // size))
    cure = "a run without `provenance`, or `start` and `end` that are nearer to each other"
    return planning_requests.request_each(chips, partial(_ask, images), size=step, noun="chips", cure=cure)


def _ask(images: LayerImages, chips: Sequence[ChipFootprint]) -> list[tuple[PointImage, ...]]:
    """Send one request."""
    answers: Any = ee.List([_contributing(images, chip) for chip in chips]).getInfo()
    contributors = []
    for names, times in answers:
        shown = map(_named, names, times)
        contributors.append(
            tuple(sorted(shown, key=lambda image: (image.time is not None, image.time or 0, image.index)))
        )
    return contributors


def _contributing(images: LayerImages, chip: ChipFootprint) -> Any:
    """Return the names and times of the images of a chip as two server-side lists."""
    box = box_around(chip.coordinates, chip_reach(chip.grid))
    date_match = chip.date_match
    there = (
        images.over(box)
        if date_match is None
        else images.near(box, date_match.moment, date_match.first, date_match.last)
    )
    names = there.aggregate_array("system:index")

    def numbered(element: Any) -> Any:
        image = ee.Image(element)
        number = ee.Image.constant(names.indexOf(image.get("system:index"))).toInt32()
        return images.select(image).multiply(0).toInt32().add(number)

    numbers: Any = there.map(numbered).mosaic()
    if chip.source is not None:
        top = there.filter(ee.Filter.eq("system:index", chip.source)).map(numbered)
        numbers = ee.ImageCollection([numbers, top.mosaic()]).mosaic()
    grid = chip.grid
    projection = ee.Projection(service_crs(grid.crs), list(grid.transform))
    counted = ee.Image(numbers).reduceRegion(
        reducer=ee.Reducer.frequencyHistogram(), geometry=grid_interior(grid), crs=projection, maxPixels=1e9
    )
    keys = counted.values().map(lambda histogram: ee.Dictionary(histogram).keys()).flatten().distinct()
    positions = keys.map(lambda key: ee.Number.parse(key).int())
    shown = positions.map(lambda position: names.get(ee.Number(position)))
    times = there.toList(1_000_000).map(lambda image: ee.Image(image).get("system:time_start"))
    return ee.List([shown, positions.map(lambda position: times.get(ee.Number(position)))])
