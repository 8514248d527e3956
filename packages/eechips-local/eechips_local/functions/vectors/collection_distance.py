"""``FeatureCollection.distance``: metres from each pixel to the nearest feature, masked beyond ``searchRadius``."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import shapely
from pyproj import Geod
from shapely.affinity import scale, translate
from shapely.geometry.base import BaseGeometry

from eechips_local.functions.registration import function
from eechips_local.geometry.longitude_boxes import eastward, lonlat_bounds, on_circle
from eechips_local.geometry.map_projection import WGS84
from eechips_local.geometry.shapes import leaves
from eechips_local.pixels.grids.location import centres_of
from eechips_local.pixels.grids.pixel_grid import PixelGrid, transformer
from eechips_local.pixels.lazy_image import Image, ImageBand, Pixels, Render
from eechips_local.pixels.types import DOUBLE
from eechips_local.pixels.vector_image import outlined, within_bounds
from eechips_local.protocol.request_errors import InvalidError
from eechips_local.values.values import Collection

Floats = npt.NDArray[np.float64]

_EARTH = Geod(ellps="WGS84")
_DEGREE = 110_000.0  # metres: less than any degree of latitude has
_MOST_SQUEEZE = 0.005  # relative change of the length of a degree of longitude within one search


@dataclass(frozen=True, slots=True, eq=False)
class _Distance:
    """Metres from the centres of pixels to the nearest point, line, or edge of a polygon.

    The nearest place is sought where a degree of longitude is as long as at the pixel's latitude, and the distance
    to it measured on the ellipsoid.
    """

    collection: Collection
    radius: float

    def read(self, bands: Sequence[int], grid: PixelGrid, render: Render) -> list[Pixels]:
        """Look for features within the radius of the grid."""
        distance_pixels: Pixels = render.note(("distance", self, grid), lambda: self._measured(grid))
        return [distance_pixels for _ in bands]

    def _measured(self, grid: PixelGrid) -> Pixels:
        columns, rows = np.meshgrid(centres_of(grid.width), centres_of(grid.height))
        t = grid.transform
        x, y = t.a * columns + t.b * rows + t.c, t.d * columns + t.e * rows + t.f
        lon, lat = (np.asarray(v).ravel() for v in transformer(grid.crs, WGS84.crs).transform(x, y))
        lon = (lon + 180.0) % 360.0 - 180.0
        edges = list(self._edges(grid, self._turns(lon, lat)))
        distance = np.full(lon.size, np.inf)
        for some in _belts(lat) if edges else ():
            squeeze = math.cos(math.radians(float(lat[some].mean())))
            near = [scale(edge, squeeze, 1.0, origin=(0, 0)) for edge in edges]
            tree = shapely.STRtree(near)
            points = shapely.points(lon[some] * squeeze, lat[some])
            best = tree.nearest(points)
            lines = shapely.shortest_line(points, np.asarray(near, dtype=object)[best])
            ends = shapely.get_coordinates(shapely.get_point(lines, -1))
            distance[some] = _EARTH.inv(lon[some], lat[some], ends[:, 0] / squeeze, ends[:, 1])[2]
        close = (distance <= self.radius).reshape(grid.shape)
        return Pixels(np.where(close, distance.reshape(grid.shape), 0.0), close)

    def _turns(self, lon: Floats, lat: Floats) -> Sequence[float]:
        """Return degrees by which features are also looked for, as pixels are near those beyond 180 degrees."""
        known = np.isfinite(lon) & np.isfinite(lat)
        steepest = math.radians(min(float(np.abs(lat[known]).max(initial=0.0)), 89.9))
        reach = self.radius / _DEGREE / math.cos(steepest)
        return (-360.0, 0.0, 360.0) if np.abs(lon[known]).max(initial=0.0) + reach > 180.0 else (0.0,)

    def _edges(self, grid: PixelGrid, turns: Sequence[float]) -> Iterator[BaseGeometry]:
        for element in features_near(self.collection, grid, self.radius):
            geometry = outlined(element).geometry
            if geometry is None or geometry.unbounded:
                continue
            for leaf in leaves(geometry.on_globe):
                if not leaf.is_empty:
                    edge = leaf.boundary if leaf.geom_type == "Polygon" else leaf
                    yield from (translate(edge, turn) for turn in turns)


def features_near(features: Collection, grid: PixelGrid, radius: float) -> Collection:
    """Return the features that may lie within some metres of a grid; all features if bounds do not tell."""
    bounds = lonlat_bounds(grid)
    if bounds is None:
        return features
    west, south, east, north = eastward(bounds)
    up = radius / _DEGREE
    steepest = min(max(abs(south), abs(north)) + up, 89.9)
    side = up / math.cos(math.radians(steepest))
    return features.filtered(within_bounds(on_circle((west - side, south - up, east + side, north + up))))


def _belts(lat: Floats) -> Iterator[npt.NDArray[np.intp]]:
    """Yield indices of points in belts of latitude narrow enough for one search, without those that have no place."""
    known = np.flatnonzero(np.isfinite(lat))
    if not len(known):
        return
    steepness = math.tan(math.radians(min(85.0, float(np.abs(lat[known]).max()))))
    width = max(0.02, math.degrees(_MOST_SQUEEZE / max(0.05, steepness)))
    numbers = np.floor(lat[known] / width)
    for number in np.unique(numbers):
        yield known[numbers == number]


@function("Collection.distance")
def distance(features: Collection, searchRadius: float, maxError: float) -> Image:
    """Return the distance in metres from each pixel's centre to the nearest feature, masked beyond a radius."""
    if not searchRadius > 0 or not math.isfinite(searchRadius):
        raise InvalidError(f"The searchRadius must be positive; found {searchRadius}.")
    if not maxError >= 0:
        raise InvalidError(f"The maxError must not be negative; found {maxError}.")
    return Image((ImageBand("distance", DOUBLE, WGS84, _Distance(features, searchRadius), fixed=False),))
