"""Draw the points of ``FeatureCollection.randomPoints``: uniform on the sphere within a region."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import shapely
from shapely.geometry.base import BaseGeometry

from eechips_local.geometry.geodesy import spherical_distance
from eechips_local.geometry.geometry import leaves
from eechips_local.geometry.map_projection import WGS84
from eechips_local.geometry.planar_frame import recast
from eechips_local.protocol.request_errors import InvalidError
from eechips_local.values.randomness import random_words, uniform
from eechips_local.values.values import Geometry

Coordinates = npt.NDArray[np.float64]

# Points tried at a time. Part of the result's definition: never change it for speed alone.
_BATCH = 1024
# Boxes that may replace a polygon; more are faster for thin shapes only.
_MOST_BOXES = 4096
# Batches without a single point inside, after which a region is taken to be empty.
_MOST_MISSES = 1000


def random_points(region: Geometry, seed: int, max_error: float) -> Iterator[tuple[float, float]]:
    """Return longitudes and latitudes without end, uniform on the sphere within a region.

    Polygons are sampled by area on the sphere (longitude and the sine of latitude are uniform), lines by length,
    points with replacement; of a mixed collection only the parts of the highest dimension count. Points of a polygon
    come from ``random_words(seed, i)``, so the first n are the same for any number.

    Args:
        seed: any integer.
        max_error: how far edges may lie from their true place, in metres.

    Raises:
        InvalidError: if the region is empty.
    """
    shape = recast(region, WGS84, False, max(max_error, 1e-3)).shape if not region.unbounded else region.shape
    parts = leaves(shape)
    if not parts:
        raise InvalidError("Region must not be empty.")
    dimension = max(shapely.get_dimensions(part) for part in parts)
    kept = [part for part in parts if shapely.get_dimensions(part) == dimension]
    draw: Callable[[Coordinates], Coordinates]
    if dimension == 2:
        draw = _in_polygons(shapely.MultiPolygon(kept))
    elif dimension == 1:
        draw = _on_lines(kept)
    else:
        draw = _among(shapely.get_coordinates(kept))
    return _stream(draw, seed)


def _stream(draw: Callable[[Coordinates], Coordinates], seed: int) -> Iterator[tuple[float, float]]:
    start = misses = 0
    while misses < _MOST_MISSES:
        numbers = uniform(random_words(seed, np.arange(start, start + _BATCH)[:, None], np.arange(3)[None, :]))
        points = draw(numbers)
        points[:, 0] = (points[:, 0] + 180.0) % 360.0 - 180.0
        yield from ((float(x), float(y)) for x, y in points)
        misses = 0 if len(points) else misses + 1
        start += _BATCH
    raise InvalidError("The region is too thin: no point was found in it.")


def _in_polygons(shape: BaseGeometry) -> Callable[[Coordinates], Coordinates]:
    """Draw from boxes that cover a polygon, keeping what lies inside; fewer points come out than numbers go in."""
    if not shape.is_valid:
        shape = shapely.make_valid(shape)
    shapely.prepare(shape)
    boxes = _covering_boxes(shape)
    low, high = np.sin(np.radians(boxes[:, 1])), np.sin(np.radians(boxes[:, 3]))
    share = np.cumsum((boxes[:, 2] - boxes[:, 0]) * (high - low))
    if not share[-1] > 0:
        raise InvalidError("Region must not be empty.")

    def draw(numbers: Coordinates) -> Coordinates:
        box = np.minimum(np.searchsorted(share, numbers[:, 0] * share[-1], side="right"), len(boxes) - 1)
        x = boxes[box, 0] + numbers[:, 1] * (boxes[box, 2] - boxes[box, 0])
        y = np.degrees(np.arcsin(low[box] + numbers[:, 2] * (high[box] - low[box])))
        inside = shapely.contains_xy(shape, x, y)
        return np.column_stack([x[inside], y[inside]])

    return draw


def _covering_boxes(shape: BaseGeometry) -> npt.NDArray[np.float64]:
    """Return disjoint boxes (west, south, east, north) that cover a polygon, not much larger than it."""
    boxes = np.array([shape.bounds])
    area = shape.area
    inner: list[npt.NDArray[np.float64]] = []
    while True:
        shapes = shapely.box(*boxes.T)
        boxes, shapes = (part[shapely.intersects(shape, shapes)] for part in (boxes, shapes))
        whole = shapely.contains_properly(shape, shapes)
        inner.append(boxes[whole])
        boxes = boxes[~whole]
        outside = _extent(boxes) - (area - sum(map(_extent, inner)))
        if not len(boxes) or outside <= area or sum(map(len, inner)) + 4 * len(boxes) > _MOST_BOXES:
            return np.concatenate([*inner, boxes])
        boxes = _quarters(boxes)


def _extent(boxes: npt.NDArray[np.float64]) -> float:
    return float(((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).sum())


def _quarters(boxes: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    west, south, east, north = boxes.T
    x, y = (west + east) / 2, (south + north) / 2
    corners = [(west, south, x, y), (x, south, east, y), (west, y, x, north), (x, y, east, north)]
    return np.concatenate([np.column_stack(box) for box in corners])


def _on_lines(lines: list[BaseGeometry]) -> Callable[[Coordinates], Coordinates]:
    ends = [shapely.get_coordinates(line) for line in lines]
    first = np.concatenate([e[:-1] for e in ends])
    last = np.concatenate([e[1:] for e in ends])
    share = np.cumsum([spherical_distance(a, b) for a, b in zip(first, last, strict=True)])

    def draw(numbers: Coordinates) -> Coordinates:
        at = numbers[:, 0] * share[-1]
        edge = np.minimum(np.searchsorted(share, at, side="right"), len(share) - 1)
        points: Coordinates = first[edge] + (last[edge] - first[edge]) * numbers[:, 1:2]
        return points

    return draw


def _among(points: Coordinates) -> Callable[[Coordinates], Coordinates]:
    def draw(numbers: Coordinates) -> Coordinates:
        chosen: Coordinates = points[(numbers[:, 0] * len(points)).astype(np.intp)]
        return chosen

    return draw
