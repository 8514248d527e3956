"""Scenes of Landsat: the Worldwide Reference System 2 of 233 paths and 248 rows, and what each sensor sees of them.

Their middles follow from the orbit, with the constants of the USGS's own converter of paths and rows to latitudes and
longitudes (ll2PathRow.java): inclination 98.2096 degrees, 233 revolutions in 16 days, path 1 crossing the equator
southwards at 64.6 degrees west in row 60. See https://landsat.usgs.gov/wrs-2-pathrow-latitudelongitude-converter
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np
import shapely
from affine import Affine

from eechips_local.demo.borders import tessellation
from eechips_local.demo.image_search import query_boxes
from eechips_local.demo.painting import drawing_cache, mercator
from eechips_local.demo.painting.painted_source import outline_around
from eechips_local.evaluation.asset_model import Bounds
from eechips_local.pixels.grids.pixel_grid import PixelGrid, transformer

PATHS, ROWS = 233, 248
_LAST_ROW = 120
"""Rows from 123 on are seen at night; no land lies below row 120 but Antarctica."""

_INCLINATION = math.radians(98.2096)
_FLATTENING = (6378137.0 / 6356752.3) ** 2
"""Tangent of the geodetic latitude over that of the geocentric one."""
_TURN = 16.0 / PATHS
"""Revolutions of the Earth below the orbit in the time of one of the satellite."""

_PIXEL = 30
_CORNER = 300
"""Metres of which the coordinates of the first and last pixel's middle are multiples in the product's metadata."""


@dataclass(frozen=True, slots=True)
class Swath:
    """What a sensor sees of a scene.

    Attributes:
        width: metres across the track.
        height: metres along it.
        is_steered: the sensor is turned so that its lines stand across the track over the turning Earth; else they
            stand across the orbit.
        margins: metres without data at the left and right, and at the top and bottom, of the product.
    """

    width: float
    height: float
    is_steered: bool
    margins: tuple[float, float]


# Means of the footprints and grids of Collection 2 products in stactools-packages/landsat and opendatacube/odc-stac.
OLI = Swath(186_700.0, 195_800.0, True, (2_300.0, 700.0))
TM = Swath(186_100.0, 182_000.0, False, (5_700.0, 1_900.0))
ETM = Swath(193_500.0, 181_900.0, False, (6_100.0, 1_400.0))


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
def middle(scene: WrsScene) -> tuple[float, float]:
    """Return longitude and geodetic latitude of a scene's middle."""
    node = -64.6 - (scene.path - 1) * 360.0 / PATHS
    along = math.radians((scene.row - 60) * 360.0 / ROWS)
    latitude = math.degrees(math.atan(math.tan(_geocentric(scene)) * _FLATTENING))
    inertial = math.degrees(math.atan2(math.cos(_INCLINATION) * math.sin(along), math.cos(along)))
    longitude = node + inertial - math.degrees(along) * _TURN
    longitude -= round(longitude / 360.0) * 360.0
    return round(longitude, 6), round(latitude, 6)


def _geocentric(scene: WrsScene) -> float:
    """Return the geocentric latitude of a scene's middle, radians."""
    along = math.radians((scene.row - 60) * 360.0 / ROWS)
    return math.asin(-math.sin(along) * math.sin(_INCLINATION))


@lru_cache(maxsize=32768)
def leans(scene: WrsScene) -> tuple[float, float]:
    """Return degrees by which the track leans west of south: over the turning Earth, and of the orbit in space."""
    cosine = math.cos(_geocentric(scene))
    west = min(1.0, -math.cos(_INCLINATION) / cosine)
    south = math.sqrt(1.0 - west * west)
    turning = math.atan2(west + cosine * _TURN, south)
    return round(math.degrees(turning), 6), round(math.degrees(math.atan2(west, south)), 6)


@lru_cache(maxsize=8192)
def corners(scene: WrsScene, swath: Swath) -> tuple[str, tuple[tuple[float, float], ...]]:
    """Return CRS, and the corners of what is seen, clockwise from the north-west."""
    longitude, latitude = middle(scene)
    zone = min(60, int((longitude + 180.0) // 6.0) + 1)
    crs = f"EPSG:{32600 + zone}"
    x, y = transformer("EPSG:4326", crs).transform(longitude, latitude)
    # Degrees by which the north of the zone's grid lies east of the true north.
    from_middle = math.radians(longitude - (zone * 6.0 - 183.0))
    turned = math.degrees(math.atan(math.tan(from_middle) * math.sin(math.radians(latitude))))
    track, orbit = leans(scene)
    down, line = (math.radians(lean - turned) for lean in (track, track if swath.is_steered else orbit))
    points = []
    for across, up in ((-1, 1), (1, 1), (1, -1), (-1, -1)):
        # The track leans; the lines that are scanned stand across it, or across the orbit.
        right, back = across * swath.width / 2.0, up * swath.height / 2.0
        dx = right * math.cos(line) + back * math.sin(down)
        dy = back * math.cos(down) - right * math.sin(line)
        points.append((round(x + dx, 1), round(y + dy, 1)))
    return crs, tuple(points)


@lru_cache(maxsize=8192)
def grid(scene: WrsScene, swath: Swath) -> PixelGrid:
    """Return pixels of 30 m around what is seen, as large as the product's."""
    crs, points = corners(scene, swath)
    xs, ys = zip(*points, strict=True)
    wide, high = swath.margins
    left, right = math.floor((min(xs) - wide) / _CORNER), math.ceil((max(xs) + wide) / _CORNER)
    bottom, top = math.floor((min(ys) - high) / _CORNER), math.ceil((max(ys) + high) / _CORNER)
    corner = (left * _CORNER - _PIXEL / 2.0, top * _CORNER + _PIXEL / 2.0)
    step = _CORNER // _PIXEL
    return PixelGrid(
        crs,
        Affine(_PIXEL, 0.0, corner[0], 0.0, -_PIXEL, corner[1]),
        (right - left) * step + 1,
        (top - bottom) * step + 1,
    )


@lru_cache(maxsize=8192)
def outline(scene: WrsScene, swath: Swath) -> shapely.Polygon:
    """Return the outline of what is seen in degrees; longitudes continue across the antimeridian."""
    return outline_around(*corners(scene, swath), middle(scene)[0])


@cache
def lands() -> tuple[tuple[WrsScene, ...], shapely.STRtree]:
    """Return all scenes by day that show land, and boxes around them in a tree."""
    drawn = drawing_cache.kept("scenes", _find_lands)
    kept = tuple(WrsScene(path, row) for path, row in drawn["scenes"].tolist())
    centres = drawn["centres"]
    reach = 1.25
    wide = reach / np.maximum(0.1, np.cos(np.radians(np.minimum(82.6, np.abs(centres[:, 1]) + reach))))
    boxes = shapely.box(centres[:, 0] - wide, centres[:, 1] - reach, centres[:, 0] + wide, centres[:, 1] + reach)
    return kept, shapely.STRtree(boxes)


def _find_lands() -> drawing_cache.Arrays:
    """Return the scenes by day that show land: paths and rows, longitudes and latitudes of their middles."""
    candidates = [WrsScene(path, row) for path in range(1, PATHS + 1) for row in range(5, _LAST_ROW + 1)]
    scenes = np.array([(scene.path, scene.row) for scene in candidates], dtype=np.int16)
    centres = np.array([middle(scene) for scene in candidates])
    # A scene reaches 130 km from its middle: land that near shows at the middle's distance from the coast.
    unit = mercator.EQUATOR_UNIT * mercator.cosine_of(mercator.y_of(centres[:, 1]))
    inland = tessellation.inland(mercator.x_of(centres[:, 0]), mercator.y_of(centres[:, 1])) * unit
    is_kept = inland > -105_000.0
    return {"scenes": scenes[is_kept], "centres": centres[is_kept]}


@cache
def _known() -> frozenset[WrsScene]:
    return frozenset(lands()[0])


def known(scene: WrsScene) -> bool:
    """Return whether a scene exists and shows land."""
    return scene in _known()


def scenes(bounds: Bounds | None, swath: Swath) -> Iterator[WrsScene]:
    """Yield scenes with land of which a sensor may see the bounds, by path and row."""
    kept, tree = lands()
    if bounds is None:
        yield from kept
        return
    boxes = query_boxes(bounds)
    for number in np.unique(tree.query(boxes)[1]):
        shape = outline(kept[number], swath)
        if any(shape.intersects(box) for box in boxes):
            yield kept[number]
