"""Scenes of Landsat: the Worldwide Reference System 2 of 233 paths and 248 rows.

Their middles follow from the orbit: inclination 98.2 degrees, 233 revolutions in 16 days, path 1 crossing the equator
southwards at 64.6 degrees west in row 60. That is within a fraction of a degree of the published centres:
https://www.usgs.gov/landsat-missions/landsat-shapefiles-and-kml-files
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np
import shapely
from affine import Affine

from eechips_local.demo import mercator, tessellation
from eechips_local.demo.painted_source import outline_around
from eechips_local.evaluation.model import Bounds
from eechips_local.pixels.pixel_grid import PixelGrid, transformer

PATHS, ROWS = 233, 248
_LAST_ROW = 120
"""Rows from 123 on are seen at night; no land lies below row 120 but Antarctica."""

_INCLINATION = math.radians(98.2)
_HALF_WIDTH, _HALF_HEIGHT = 92_500.0, 90_000.0
_PIXEL = 30


@dataclass(frozen=True, slots=True, order=True)
class WrsScene:
    """A path and a row, from 1."""

    path: int
    row: int

    @property
    def name(self) -> str:
        """As in the names of images: 034032."""
        return f"{self.path:03d}{self.row:03d}"


@lru_cache(maxsize=32768)
def middle(scene: WrsScene) -> tuple[float, float, float]:
    """Return longitude and latitude of a scene's middle, and how far its track leans west of south, degrees."""
    node = -64.6 - (scene.path - 1) * 360.0 / PATHS
    along = math.radians((scene.row - 60) * 360.0 / ROWS)
    latitude = math.degrees(math.asin(-math.sin(along) * math.sin(_INCLINATION)))
    inertial = math.degrees(math.atan2(math.cos(_INCLINATION) * math.sin(along), math.cos(along)))
    turned = math.degrees(along) / 360.0 * (360.0 * 16.0 / PATHS)
    longitude = node + inertial - turned
    longitude -= round(longitude / 360.0) * 360.0
    lean = math.degrees(math.asin(min(1.0, -math.cos(_INCLINATION) / math.cos(math.radians(latitude))))) + 3.6
    return round(longitude, 6), round(latitude, 6), round(lean, 6)


@lru_cache(maxsize=8192)
def corners(scene: WrsScene) -> tuple[str, tuple[tuple[float, float], ...]]:
    """Return CRS, and the corners of what is seen, clockwise from the north-west."""
    longitude, latitude, lean = middle(scene)
    zone = min(60, int((longitude + 180.0) // 6.0) + 1)
    crs = f"EPSG:{32600 + zone}"
    x, y = transformer("EPSG:4326", crs).transform(longitude, latitude)
    sine, cosine = math.sin(math.radians(lean)), math.cos(math.radians(lean))
    points = []
    for across, up in ((-1, 1), (1, 1), (1, -1), (-1, -1)):
        # The track leans, the lines that are scanned stand across it.
        dx, dy = across * _HALF_WIDTH, up * _HALF_HEIGHT
        points.append((round(x + dx * cosine + dy * sine, 1), round(y - dx * sine + dy * cosine, 1)))
    return crs, tuple(points)


@lru_cache(maxsize=8192)
def grid(scene: WrsScene) -> PixelGrid:
    """Return pixels of 30 m around what is seen; their middles are at multiples of 30 m."""
    crs, points = corners(scene)
    xs, ys = zip(*points, strict=True)
    left, right = math.floor(min(xs) / _PIXEL), math.ceil(max(xs) / _PIXEL)
    bottom, top = math.floor(min(ys) / _PIXEL), math.ceil(max(ys) / _PIXEL)
    corner = (left * _PIXEL - 15.0, top * _PIXEL + 15.0)
    return PixelGrid(crs, Affine(_PIXEL, 0.0, corner[0], 0.0, -_PIXEL, corner[1]), right - left + 1, top - bottom + 1)


@lru_cache(maxsize=8192)
def outline(scene: WrsScene) -> shapely.Polygon:
    """Return the outline of the scene in degrees; longitudes continue across the antimeridian."""
    return outline_around(*corners(scene), middle(scene)[0])


@cache
def _lands() -> tuple[tuple[WrsScene, ...], shapely.STRtree]:
    """Return all scenes by day that show land, and boxes around them in a tree."""
    candidate_scenes = [WrsScene(path, row) for path in range(1, PATHS + 1) for row in range(5, _LAST_ROW + 1)]
    centres = np.array([middle(scene)[:2] for scene in candidate_scenes])
    # A scene reaches 130 km from its middle: land that near shows at the middle's distance from the coast.
    unit = mercator.EQUATOR_UNIT * mercator.cosine_of(mercator.y_of(centres[:, 1]))
    inland = tessellation.inland(mercator.x_of(centres[:, 0]), mercator.y_of(centres[:, 1])) * unit
    kept = [scene for scene, metres in zip(candidate_scenes, inland, strict=True) if metres > -105_000.0]
    centres = np.array([middle(scene)[:2] for scene in kept])
    reach = 1.25
    wide = reach / np.maximum(0.1, np.cos(np.radians(np.minimum(82.6, np.abs(centres[:, 1]) + reach))))
    boxes = shapely.box(centres[:, 0] - wide, centres[:, 1] - reach, centres[:, 0] + wide, centres[:, 1] + reach)
    return tuple(kept), shapely.STRtree(boxes)


def known(scene: WrsScene) -> bool:
    """Return whether a scene exists and shows land."""
    return scene in set(_lands()[0])


def _box(west: float, south: float, east: float, north: float) -> shapely.Geometry:
    """Return a box, a line or a point: boxes without an area meet nothing in older versions of GEOS."""
    if west == east and south == north:
        return shapely.Point(west, south)
    if west == east or south == north:
        return shapely.LineString([(west, south), (east, north)])
    return shapely.box(west, south, east, north)


def scenes(bounds: Bounds | None) -> Iterator[WrsScene]:
    """Yield scenes with land that may meet the bounds, by path and row."""
    kept, tree = _lands()
    if bounds is None:
        yield from kept
        return
    west, south, east, north = bounds
    spans = [(west, east)] if west <= east else [(west, 180.0), (-180.0, east)]
    boxes = [_box(a + turn, south, b + turn, north) for a, b in spans for turn in (-360.0, 0.0, 360.0)]
    for number in np.unique(tree.query(boxes)[1]):
        shape = outline(kept[number])
        if any(shape.intersects(box) for box in boxes):
            yield kept[number]
