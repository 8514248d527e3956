"""Where the pixels of chips lie: on the grid of the image that they are taken from, or in bounds around a point."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import ee

from eechips.grid import Grid
from eechips.planning import service
from eechips.planning.lattice import lattice_of, rescaled
from eechips.planning.projection import project, utm_crs

POINTS_PER_REQUEST = 500
"""Points that are asked about in one request."""

Points = Sequence[tuple[float, float]]
"""Longitudes and latitudes in degrees."""


@dataclass(frozen=True, slots=True)
class Source:
    """The image under a point.

    Attributes:
        index: its ``system:index``.
        time: its ``system:time_start`` in milliseconds since 1970, or None.
        grid: its first band's pixels: CRS and transform (the size is not asked for).
    """

    index: str
    time: int | None
    grid: Grid


def sources(collection: ee.ImageCollection, band: str, points: Points) -> Iterator[Source | None]:
    """The latest image of a collection that contains each point; None where there is none.

    Args:
        collection: already narrowed to the dates that count.
        band: whose projection is meant.
        points: where.
    """

    def describe(element: Any) -> ee.ComputedObject:
        image: Any = ee.Image(element)
        return ee.Dictionary(
            {
                "index": image.get("system:index"),
                "time": image.get("system:time_start"),
                "projection": image.select([band]).projection(),
            }
        )

    def latest(point: Any) -> Any:
        there = collection.filterBounds(ee.Geometry.Point(ee.List(point)))
        return there.sort("system:time_start", False).limit(1).toList(1).map(describe)

    for answer in _each(points, latest):
        yield _source(answer[0]) if answer else None


def around(points: Points, radius: float, size: tuple[int, int]) -> Iterator[Grid]:
    """The bounds of a buffer around each point, as the server makes them, divided into pixels.

    Args:
        points: where.
        radius: of the buffer in metres.
        size: width and height in pixels.
    """

    def bounds(point: Any) -> Any:
        return ee.Geometry.Point(ee.List(point)).buffer(radius).bounds().coordinates()

    width, height = size
    for (ring,) in _each(points, bounds):
        xs, ys = zip(*ring, strict=True)
        west, south, east, north = min(xs), min(ys), max(xs), max(ys)
        if east - west > 180.0:  # over the antimeridian
            west, east = east, west + 360.0
        yield Grid("EPSG:4326", ((east - west) / width, 0.0, west, 0.0, (south - north) / height, north), width, height)


def _each(points: Points, function: Callable[[Any], Any]) -> Iterator[Any]:
    """What the server makes of each point, some hundred a request."""
    for start in range(0, len(points), POINTS_PER_REQUEST):
        yield from _ask(points[start : start + POINTS_PER_REQUEST], function)


def _ask(points: Points, function: Callable[[Any], Any]) -> list[Any]:
    """One request; in halves where the server finds that too much at once."""
    try:
        answers: Any = ee.List([list(point) for point in points]).map(function).getInfo()
    except ee.EEException as error:
        if len(points) == 1 or not service.is_too_large(error):
            raise
        half = len(points) // 2
        return [*_ask(points[:half], function), *_ask(points[half:], function)]
    return list(answers)


def snap(grid: Grid, point: tuple[float, float], size: tuple[int, int], scale: float | None = None) -> Grid:
    """The chip of a size around a point on a source's grid.

    Args:
        grid: of the source.
        point: longitude and latitude in degrees.
        size: width and height in pixels.
        scale: edge of a pixel in metres, where it is not to be the source's own: origin and axes stay.
    """
    grid = rescaled(grid, scale)
    x, y = project(grid.crs, [point])[0].tolist()
    return grid.snap_around(x, y, size)


def utm_grid(point: tuple[float, float], scale: float) -> Grid:
    """A grid for a point that no image contains: its UTM zone, pixel corners at multiples of the scale."""
    return lattice_of(utm_crs(*point), scale)


def _source(answer: dict[str, Any]) -> Source:
    projection = answer["projection"]
    a, b, c, d, e, f = projection["transform"]
    crs = projection.get("crs") or projection["wkt"]
    time = answer.get("time")
    return Source(answer["index"], None if time is None else int(time), Grid(crs, (a, b, c, d, e, f), 1, 1))
