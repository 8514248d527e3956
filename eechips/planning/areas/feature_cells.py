"""Divide a region into cells that hold as many features of a table as one page has.

A feature belongs to the cell that contains one point of it, its anchor: its first vertex, or the first vertex of its
part inside the region if that vertex lies outside. Cells include their western and southern edges; the eastern and
northern ones belong to the neighbours, except at the edges of the region's bounds. Every feature that meets the region
therefore belongs to exactly one cell, whatever cells the service returns it for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import ee
import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from eechips.client.table_rows import PAGE_SIZE
from eechips.errors import RequestError
from eechips.geo.ellipsoid import Booleans, Floats, Geometries
from eechips.geo.polygons import enlarge_bounds
from eechips.planning import planning_requests
from eechips.planning.areas.regions import planar_geometry

MOST_FEATURES = PAGE_SIZE
"""Features of a cell, unless it is the smallest: a page of ``table:computeFeatures``. Of further pages the service may
compute the earlier ones again."""

_MARGIN = 1e-6
"""Degrees, 0.1 m, that are requested around a cell: the service compares geometries within a margin of its own, and
may return coordinates that differ from the stored ones in the last digits."""
_SMALLEST = 1e-5  # degrees: cells of 1 m are not divided
_TOGETHER = 16  # cells that are counted in one request
_CURE = "a smaller `roi`, or fewer features by `where`"


@dataclass(frozen=True, slots=True)
class FeatureCell:
    """A box in longitude and latitude.

    Attributes:
        west: in degrees, -180 to 180; features on this edge belong to the cell.
        south: in degrees, likewise.
        east: in degrees; features on this edge belong to the cell only if ``has_east``.
        north: in degrees; likewise, if ``has_north``.
        has_east: whether no cell follows in the east.
        has_north: whether no cell follows in the north.
    """

    west: float
    south: float
    east: float
    north: float
    has_east: bool = True
    has_north: bool = True

    @property
    def is_smallest(self) -> bool:
        """Return whether the cell is not divided any more."""
        return max(self.east - self.west, self.north - self.south) < _SMALLEST

    def halves(self) -> tuple[FeatureCell, FeatureCell]:
        """Return the two halves of the longer side, the western or southern one first."""
        if self.east - self.west > self.north - self.south:
            middle = (self.west + self.east) / 2
            return replace(self, east=middle, has_east=False), replace(self, west=middle)
        middle = (self.south + self.north) / 2
        return replace(self, north=middle, has_north=False), replace(self, south=middle)

    def contains(self, points: Floats) -> Booleans:
        """Return which points (longitude and latitude, shape (n, 2)) belong to the cell."""
        x, y = points.T
        east = x <= self.east if self.has_east else x < self.east
        north = y <= self.north if self.has_north else y < self.north
        return np.asarray((x >= self.west) & east & (y >= self.south) & north, dtype=np.bool_)

    def geometry(self) -> ee.Geometry:
        """Return the box that is requested, which is slightly larger."""
        bounds = enlarge_bounds((self.west, self.south, self.east, self.north), _MARGIN)
        return planar_geometry(shapely.box(*bounds))

    def to_json(self) -> list[Any]:
        """Return the attributes in order, for :meth:`from_json`."""
        return [self.west, self.south, self.east, self.north, self.has_east, self.has_north]

    @classmethod
    def from_json(cls, value: Sequence[Any]) -> FeatureCell:
        """Read the value that ``to_json`` returned."""
        return cls(*value)


@dataclass(frozen=True, slots=True)
class TableCell:
    """A cell of a table.

    Attributes:
        path: numbers of the halves that led to it; sorting by it keeps neighbours together.
    """

    table: str
    cell: FeatureCell
    path: tuple[int, ...] = ()


def whole_cell(region: BaseGeometry) -> FeatureCell:
    """Return the cell of a region that is not divided: its bounds."""
    return FeatureCell(*region.bounds)


def divide_tables(
    tables: Sequence[str], region: BaseGeometry, collection: Callable[[str, FeatureCell], ee.FeatureCollection]
) -> Iterator[TableCell]:
    """Divide the cells of tables until each has at most ``MOST_FEATURES`` features; leave out those without any.

    The service counts the features of 16 cells in one request, each up to the first one too many. A cell whose count
    takes too long is divided.

    Args:
        tables: their ids.
        region: polygons in longitude and latitude; cells that do not meet it are left out.
        collection: returns the features of a table that meet a cell.

    Yields:
        The cells by table, neighbours together.

    Raises:
        ee.EEException, RequestError: if a request fails for another reason than its size.
    """
    shapely.prepare(region)
    pending = [TableCell(table, whole_cell(region)) for table in tables]
    cells_by_table: dict[str, list[TableCell]] = {table: [] for table in tables}
    while pending:
        counts = planning_requests.request_each(
            pending, lambda cells: _count(cells, collection), size=_TOGETHER, noun="cells", cure=_CURE
        )
        divided: list[TableCell] = []
        for table_cell, count in zip(pending, counts, strict=True):
            if count > MOST_FEATURES and not table_cell.cell.is_smallest:
                divided.extend(_halves(table_cell, region))
            elif count > 0:
                cells_by_table[table_cell.table].append(table_cell)
        pending = divided
    for table in tables:
        yield from sorted(cells_by_table[table], key=lambda table_cell: table_cell.path)


def anchors(geometries: Geometries, region: BaseGeometry) -> Floats:
    """Return a point of each geometry inside a region, which depends on nothing else.

    Args:
        geometries: in longitude and latitude, shape (n,).
        region: polygons within -180 to 180 degrees.

    Returns:
        Longitude and latitude, shape (n, 2); NaN for geometries outside of the region, without coordinates, or None.
    """
    anchor_points = np.full((len(geometries), 2), np.nan)
    coordinates, owner = shapely.get_coordinates(geometries, return_index=True)
    known, first = np.unique(owner, return_index=True)
    points = coordinates[first]
    beyond = np.abs(points[:, 0]) > 180.0
    points[beyond, 0] = (points[beyond, 0] + 180.0) % 360.0 - 180.0
    inside = shapely.intersects_xy(region, points)
    anchor_points[known[inside]] = points[inside]
    has_extent = shapely.get_num_coordinates(geometries) > 1
    west, south, east, north = region.bounds
    for index in known[~inside & has_extent[known]]:
        if (point := _first_vertex_inside(geometries[index], region)) is not None:
            anchor_points[index] = np.clip(point, (west, south), (east, north))
    return anchor_points


def _first_vertex_inside(geometry: BaseGeometry, region: BaseGeometry) -> Floats | None:
    """Return the first vertex of the part of a geometry inside a region; None if there is none."""
    valid = geometry if geometry.is_valid else shapely.make_valid(geometry)
    is_beyond = geometry.bounds[0] < -180.0 or geometry.bounds[2] > 180.0
    for turn in (0.0, -360.0, 360.0) if is_beyond else (0.0,):
        moved = shapely.transform(valid, lambda points, turn=turn: points + np.array((turn, 0.0))) if turn else valid
        vertices: Floats = shapely.get_coordinates(shapely.intersection(moved, region))
        if len(vertices):
            return np.asarray(vertices[0], dtype=np.float64)
    return None


def _count(cells: Sequence[TableCell], collection: Callable[[str, FeatureCell], ee.FeatureCollection]) -> list[int]:
    """Return the number of features of each cell, at most one more than a cell may have."""
    sizes: Any = ee.List(
        [collection(table_cell.table, table_cell.cell).limit(MOST_FEATURES + 1).size() for table_cell in cells]
    )
    try:
        return [int(size) for size in sizes.getInfo()]
    except (ee.EEException, RequestError) as error:
        if len(cells) > 1 or cells[0].cell.is_smallest or not planning_requests.is_too_large(error):
            raise
        return [MOST_FEATURES + 1]


def _halves(table_cell: TableCell, region: BaseGeometry) -> list[TableCell]:
    return [
        TableCell(table_cell.table, half, (*table_cell.path, number))
        for number, half in enumerate(table_cell.cell.halves())
        if shapely.dwithin(region, shapely.box(half.west, half.south, half.east, half.north), _MARGIN)
    ]
