"""Grids of cells for partitions: H3, S2, MGRS, UTM, and polygons of a GeoJSON file; the number of cells that an item
may meet.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely
from shapely.geometry.base import BaseGeometry

from eechips.errors import UsageError
from eechips.geo.h3_cells import list_cells, load_h3
from eechips.geo.mgrs_cells import locate_squares, locate_zones
from eechips.geo.polygons import EARTH_RADIUS, spherical_area
from eechips.geo.s2_cells import LEVELS, cell_ids, cell_tokens
from eechips.storage import safe_component

GLOBAL_CELL = "global"
"""Replaces a cell for items that meet many cells, and for items in none."""

UNBOUNDED_CELLS = 1_000_000_000
"""A bound for an unknown number of cells."""

_MOST_POINTS = 200_000

LocateCells = Callable[[npt.NDArray[np.float64], npt.NDArray[np.float64]], list[str]]
"""Return the cells of points, given longitudes and latitudes."""


def look_up_steps(metres: npt.NDArray[np.float64], *steps: tuple[float, int]) -> npt.NDArray[np.int64]:
    """Return for each diameter the number of the first step above it; ``UNBOUNDED_CELLS`` beyond the last."""
    numbers = np.array([*(number for _, number in steps), UNBOUNDED_CELLS])
    return numbers[np.searchsorted([reach for reach, _ in steps], metres, side="right")]


def exceeds_cells(geometry: BaseGeometry, cells: int, locate: LocateCells, *, largest: float, step: float) -> bool:
    """Return whether a geometry meets more than a number of cells, sampled at points inside it and on its edge.

    Cells that are only just touched may be missed.

    Args:
        geometry: in longitude and latitude (EPSG:4326).
        locate: returns the cells of points.
        largest: upper bound of the area of a cell, in square metres.
        step: between points, in degrees.
    """
    if spherical_area(geometry) / 2 > cells * largest:
        return True
    west, south, east, north = geometry.bounds
    parts = shapely.get_parts(shapely.get_parts(geometry))
    long = parts[shapely.length(parts) > 0]  # GEOS cannot segmentize parts without length
    points = np.concatenate(
        [shapely.get_coordinates(geometry), shapely.get_coordinates(shapely.segmentize(long, step))]
    )
    columns, rows = np.arange(west, east, step), np.arange(south, north, step)
    if 0 < len(columns) * len(rows) < _MOST_POINTS:
        x, y = (axis.ravel() for axis in np.meshgrid(columns, rows))
        inside = shapely.intersects_xy(geometry, x, y)
        points = np.concatenate([points, np.column_stack([x[inside], y[inside]])])
    return len(set(locate(points[:, 0], points[:, 1]))) > cells


_H3_SPREAD = 2.0  # the largest cells have less than twice the mean area (https://h3geo.org/docs/core-library/restable)
_H3_SHRINK = 0.65  # and no edge is as short as this times the mean edge


@dataclass(frozen=True)
class H3:
    """Hexagons of H3 (https://h3geo.org).

    Attributes:
        resolution: 0 (4,250,000 km² a cell) to 15; 2 is 86,800 km², 3 is 12,400 km².
    """

    resolution: int

    name = "h3"

    def __post_init__(self) -> None:
        if not 0 <= self.resolution <= 15:
            raise UsageError(f"the resolution of H3 must be 0 to 15, not {self.resolution}")

    def max_cells(self, metres: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
        """Return how many hexagons items of these diameters can meet.

        A shape of diameter d fits into a disc of radius d / √3. Of any four hexagons two are not neighbours, and are an
        edge apart; a disc smaller than the incircle of a hexagon meets 7 at most, one of 1.3 edges 10.
        """
        edge = _H3_SHRINK * float(load_h3().average_hexagon_edge_length(self.resolution, unit="m"))
        return look_up_steps(metres, (edge, 3), (1.5 * edge, 7), (2.25 * edge, 10))

    def locate(self, longitudes: npt.NDArray[np.float64], latitudes: npt.NDArray[np.float64]) -> list[str]:
        """Return the hexagons, or pentagons, of points."""
        cell, resolution = load_h3().latlng_to_cell, self.resolution
        return [cell(y, x, resolution) for x, y in zip(longitudes.tolist(), latitudes.tolist(), strict=True)]

    def exceeds(self, geometry: BaseGeometry, cells: int) -> bool:
        """Return whether a geometry meets more hexagons; edges are straight in longitude and latitude."""
        h3 = load_h3()
        largest = _H3_SPREAD * h3.average_hexagon_area(self.resolution, unit="m^2")
        if spherical_area(geometry) / 2 > cells * largest:  # without listing cells: there may be billions
            return True
        hexagons: set[str] = set()
        for part in shapely.get_parts(shapely.get_parts(geometry)):
            hexagons.update(self.cells(part))
            if len(hexagons) > cells:
                return True
        return False

    def cells(self, part: BaseGeometry) -> set[str]:
        """Return the hexagons that a point, a line or a polygon meets."""
        return list_cells(part, self.resolution)


_S2_SPREAD = 1.6  # the largest cells have less than this times the mean area
_S2_SHRINK = 0.5  # and no cell is as narrow as this times the mean edge
_METRES_PER_DEGREE = 111_320.0


@dataclass(frozen=True, slots=True)
class S2:
    """Cells of S2.

    Attributes:
        resolution: level, 0 (85,000,000 km² a cell) to 30; 5 is 83,000 km².
    """

    resolution: int

    name = "s2"

    def __post_init__(self) -> None:
        if not 0 <= self.resolution <= LEVELS:
            raise UsageError(f"the level of S2 must be 0 to {LEVELS}, not {self.resolution}")

    def max_cells(self, metres: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
        """Return how many cells items of these diameters can meet: four at a corner, nine for two edges."""
        edge = _S2_SHRINK * math.sqrt(self._area)
        return look_up_steps(metres, (edge, 4), (2 * edge, 9))

    @property
    def _area(self) -> float:
        return 4 * math.pi * EARTH_RADIUS**2 / float(6 * 4**self.resolution)

    def locate(self, longitudes: npt.NDArray[np.float64], latitudes: npt.NDArray[np.float64]) -> list[str]:
        """Return ``s2-`` and the cell tokens of points; some tokens alone look like numbers."""
        return [f"s2-{token}" for token in cell_tokens(cell_ids(longitudes, latitudes, self.resolution))]

    def exceeds(self, geometry: BaseGeometry, cells: int) -> bool:
        """Return whether a geometry meets more cells, by sampling."""
        step = math.sqrt(self._area) / 4 / _METRES_PER_DEGREE
        return exceeds_cells(geometry, cells, self.locate, largest=_S2_SPREAD * self._area, step=step)


_REACH = 5_000.0  # metres: a smaller shape meets six cells at most, where zones meet


class _UtmCells:
    """Cells that are not larger than a zone of UTM."""

    def max_cells(self, metres: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
        """Return how many cells items of these diameters can meet."""
        return look_up_steps(metres, (_REACH, 6))


@dataclass(frozen=True)
class Mgrs(_UtmCells):
    """Squares of 100 km of the Military Grid Reference System, such as ``13TDE``, as Sentinel-2 uses them."""

    name = "mgrs"

    def locate(self, longitudes: npt.NDArray[np.float64], latitudes: npt.NDArray[np.float64]) -> list[str]:
        """Return the squares of points; ``north`` and ``south`` beyond the zones of UTM."""
        return locate_squares(longitudes, latitudes)

    def exceeds(self, geometry: BaseGeometry, cells: int) -> bool:
        """Return whether a geometry meets more squares, by sampling."""
        return exceeds_cells(geometry, cells, self.locate, largest=1.05e10, step=0.2)


@dataclass(frozen=True)
class Utm(_UtmCells):
    """Zones of UTM, with the exceptions for Norway and Svalbard: ``13N``, ``13S``; ``N`` and ``S`` around the poles."""

    name = "utm"

    def locate(self, longitudes: npt.NDArray[np.float64], latitudes: npt.NDArray[np.float64]) -> list[str]:
        """Return the zones of points."""
        zone, is_north = locate_zones(longitudes, latitudes)
        pairs = zip(zone.tolist(), is_north.tolist(), strict=True)
        return [f"{number or ''}{'N' if north else 'S'}" for number, north in pairs]

    def exceeds(self, geometry: BaseGeometry, cells: int) -> bool:
        """Return whether a geometry meets more zones, by sampling."""
        return exceeds_cells(geometry, cells, self.locate, largest=8e12, step=0.5)


_MOST = 10_000


@dataclass(frozen=True)
class Tiles:
    """Named polygons.

    Attributes:
        tiles: name and WKT in longitude and latitude of each; the first of several that contain a point counts.
    """

    tiles: tuple[tuple[str, str], ...]

    name = "tiles"

    @classmethod
    def read(cls, path: Path) -> Tiles:
        """Read the polygons of a GeoJSON file, named by ``id``, or by the property ``id`` or ``name``.

        Raises:
            UsageError: if there are none, too many, or some without a unique name.
        """
        try:
            features = json.loads(path.read_text(encoding="utf-8"))["features"]
            tiles = [(_name(feature), shapely.to_wkt(_shape(feature), rounding_precision=-1)) for feature in features]
        except OSError as error:
            raise UsageError(f"{path} cannot be read: {error.strerror or error}") from error
        except (ValueError, KeyError, TypeError, AttributeError, shapely.errors.GEOSException) as error:
            raise UsageError(f"{path} is not a GeoJSON file of polygons: {error}") from error
        names = [name for name, _ in tiles]
        if not tiles or len(tiles) > _MOST:
            raise UsageError(f"{path} has {len(tiles):,} tiles; it may have 1 to {_MOST:,}")
        if not all(names) or len(set(names)) < len(names):
            raise UsageError(f"{path}: every tile needs a unique name: an id, or a property id or name")
        return cls(tuple(tiles))

    def max_cells(self, metres: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
        """Return ``UNBOUNDED_CELLS``: the number of tiles that items can meet is unknown."""
        return np.full(len(metres), UNBOUNDED_CELLS)

    def locate(self, longitudes: npt.NDArray[np.float64], latitudes: npt.NDArray[np.float64]) -> list[str]:
        """Return the tiles of points, ``global`` for points in none."""
        points, tiles = self._tree.query(shapely.points(longitudes, latitudes), predicate="intersects")
        first = np.full(len(longitudes), len(self.tiles))
        np.minimum.at(first, points, tiles)
        names = [*(name for name, _ in self.tiles), GLOBAL_CELL]
        return [names[number] for number in first.tolist()]

    def exceeds(self, geometry: BaseGeometry, cells: int) -> bool:
        """Return whether a geometry meets more tiles."""
        return len(self._tree.query(geometry, predicate="intersects")) > cells

    @functools.cached_property
    def _tree(self) -> shapely.STRtree:
        return shapely.STRtree(shapely.from_wkt([wkt for _, wkt in self.tiles]))


def _name(feature: Any) -> str:
    properties = feature.get("properties") or {}
    name = next((v for v in (feature.get("id"), properties.get("id"), properties.get("name")) if v is not None), "")
    return safe_component(name) if name != "" else ""


def _shape(feature: Any) -> BaseGeometry:
    shape = shapely.from_geojson(json.dumps(feature["geometry"]))
    if shape.geom_type not in ("Polygon", "MultiPolygon"):
        raise ValueError(f"a tile is a {shape.geom_type}, not a polygon")
    return shape
