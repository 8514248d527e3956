"""Choose places on a grid: in regular rows, at the centres of cells of Major TOM, H3, S2 or MGRS, or of polygons."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import shapely
from shapely.geometry.base import BaseGeometry

from eechips.errors import RegionError, UsageError
from eechips.geo.crs import find_column
from eechips.geo.ellipsoid import Floats
from eechips.geo.h3_cells import list_cells, load_h3
from eechips.geo.mgrs_cells import list_squares
from eechips.geo.polygons import EARTH_RADIUS, join_at_antimeridian, list_polygons, spherical_area, wrap_longitudes
from eechips.geo.s2_cells import LEVELS, cell_tokens
from eechips.geo.s2_cells import list_cells as list_s2_cells
from eechips.geo.vector_paths import is_vector_file
from eechips.planning.place_tables import Places, json_columns, read_places
from eechips.planning.sampling.sample_places import SamplePlace
from eechips.text.formatting import format_count, parse_distance

REGULAR = "regular"
MAJOR_TOM = "majortom"
H3 = "h3"
S2 = "s2"
MGRS = "mgrs"

CELL_FIELDS = ("grid_code", "grid_cell", "cell", "cell_id", "id", "fid", "name", "code")
"""Default names of the column that identifies the polygons of a file, in order of precedence."""

_log = logging.getLogger(__name__)

_EQUATOR_RADIUS = 6_378_137.0  # metres, of Major TOM's sphere
_LEAST_EDGE = 100.0  # metres
_MOST_CELLS = 10_000_000
_MOST_PLACES = 10_000_000  # of regular rows
_SQUARES = (100_000, 10_000, 1_000)  # edges in metres
_H3_SPREAD = 2.0  # the smallest cells have more than the mean area divided by this
_S2_SPREAD = 1.7  # likewise: kAvgArea, 4 π / 6, and kMinArea, 8 √2 / 9, of s2metrics.cc
_DIGITS = 9  # decimals of coordinates
_ROUNDING = 1e-9  # of a column


class PlaceCells(Protocol):
    """A grid of places."""

    @property
    def needs_region(self) -> bool:
        """Whether the cells are only those in a region; otherwise there is a list of them."""

    @property
    def parameters(self) -> dict[str, Any]:
        """Return the JSON value that identifies the cells."""

    def list_places(self, region: BaseGeometry) -> list[SamplePlace]:
        """Return the centres that lie in a region, in longitude and latitude.

        Units have ``grid_code``, the code of the cell with that of its grid, and ``grid_cell``, its code alone; of a
        regular grid, which begins in the region, they have ``row`` and ``column``.

        Raises:
            RegionError: if there are none, or too many.
        """


@dataclass(frozen=True)
class RegularGrid:
    """Places in rows from west to east, at the same distance between and along rows.

    See :func:`regular_points`.

    Attributes:
        metres: distance between places.
    """

    metres: float

    needs_region = True

    @property
    def parameters(self) -> dict[str, Any]:
        """``{"cells": "regular:10km"}``."""
        return {"cells": f"{REGULAR}:{self.metres / 1000:.12g}km"}

    def list_places(self, region: BaseGeometry) -> list[SamplePlace]:
        """Return the places that lie in a region, by row and column."""
        points, places = regular_points(region, self.metres)
        return [
            SamplePlace((lon, lat), {"row": row, "column": column})
            for (lon, lat), (row, column) in zip(points.round(_DIGITS).tolist(), places.tolist(), strict=True)
        ]


@dataclass(frozen=True)
class MajorTomGrid:
    """The grid of Major TOM (Francis and Czerkawski 2024, https://arxiv.org/abs/2402.12095, section 3).

    Rows are π R / D, rounded up, from pole to pole, on a sphere of the Earth's radius at the equator. Each row has
    2 π R cos(latitude of its lower edge) / D columns, rounded up. The equator is the lower edge of row 0U, the meridian
    of Greenwich the left edge of columns 0R; rows are counted up and down, columns to the right and to the left. In a
    row with an odd number of columns, one cell crosses the antimeridian; with an even number, the cell that begins
    there is the leftmost one. (The authors' program, https://github.com/ESA-PhiLab/Major-TOM, majortom/grid.py, lets
    the last digit of a float decide, and names it as the rightmost one in some rows.)

    Attributes:
        metres: D, the distance between grid points.
    """

    metres: float

    needs_region = True

    @property
    def parameters(self) -> dict[str, Any]:
        """``{"cells": "majortom:10km"}``."""
        return {"cells": f"{MAJOR_TOM}:{self.metres / 1000:g}km"}

    @property
    def row_count(self) -> int:
        """The number of rows from pole to pole."""
        return math.ceil(math.pi * _EQUATOR_RADIUS / self.metres)

    def column_counts(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return the number of columns of rows, which are counted from the equator northwards."""
        latitudes = np.radians(rows * (180.0 / self.row_count))
        counts = np.ceil(2.0 * math.pi * _EQUATOR_RADIUS * np.cos(latitudes) / self.metres)
        columns: npt.NDArray[np.int64] = np.maximum(counts, 1).astype(np.int64)
        return columns

    def list_places(self, region: BaseGeometry) -> list[SamplePlace]:
        """Return the centres of cells in a region, from north to south and from west to east."""
        joined = join_at_antimeridian(region)
        west, south, east, north = shapely.bounds(joined).tolist()
        height = 180.0 / self.row_count
        rows = np.arange(math.floor(north / height), math.ceil(south / height) - 2, -1)
        rows = rows[np.abs((rows + 0.5) * height) < 90.0]
        counts = self.column_counts(rows)
        widths = 360.0 / counts
        first = np.ceil(west / widths - 0.5 - _ROUNDING).astype(np.int64)
        last = np.minimum(np.floor(east / widths - 0.5 + _ROUNDING).astype(np.int64), first + counts - 1)
        _check_count(float(np.maximum(last - first + 1, 0).sum()))
        shapely.prepare(joined)
        return [place for row in zip(rows, counts, first, last, strict=True) for place in self._of_row(joined, *row)]

    def _of_row(self, region: BaseGeometry, row: int, count: int, first: int, last: int) -> Iterator[SamplePlace]:
        columns = np.arange(first, last + 1)
        longitudes = ((columns + 0.5) * (360.0 / count)).round(_DIGITS)  # a centre may lie on the antimeridian
        latitude = (row + 0.5) * (180.0 / self.row_count)
        inside = shapely.intersects_xy(region, longitudes, np.full(len(columns), latitude))
        numbers = (columns[inside] + count // 2) % count - count // 2
        lon = wrap_longitudes(longitudes[inside]).round(_DIGITS).tolist()
        for longitude, column in zip(lon, numbers.tolist(), strict=True):
            cell = f"{_name(int(row), 'UD')}_{_name(column, 'RL')}"
            # The code of the STAC extension Grid, 1.2.0: https://github.com/stac-extensions/grid#major-tom-grid
            code = f"MAJORTOM-{self.metres / 1000:g}-{cell}"
            yield SamplePlace((longitude, round(latitude, _DIGITS)), {"grid_code": code, "grid_cell": cell})


@dataclass(frozen=True)
class GlobalGrid:
    """Cells of H3 (https://h3geo.org), of S2 (https://s2geometry.io), or of the Military Grid Reference System.

    Squares of 100 km of the latter are tiles of Sentinel-2 without their margins.

    Attributes:
        kind: ``h3``, ``s2`` or ``mgrs``.
        size: resolution of H3, 0 to 15: 6 has cells of 36 km² on average; or level of S2, 0 to 30: 13 has cells of 1.3
            km² on average; or edge of a square in metres: 100,000, 10,000 or 1,000.
    """

    kind: str
    size: int

    needs_region = True

    @property
    def parameters(self) -> dict[str, Any]:
        """``{"cells": "h3:6"}``, or ``{"cells": "mgrs:10km"}``."""
        size = f"{self.size // 1000}km" if self.kind == MGRS else str(self.size)
        return {"cells": f"{self.kind}:{size}"}

    def list_places(self, region: BaseGeometry) -> list[SamplePlace]:
        """Return the centres of cells in a region: by index or id, or by zone, from north to south and west to east."""
        list_cells = {H3: _list_hexagons, S2: _list_s2_cells, MGRS: _list_squares}[self.kind]
        names, centres = list_cells(region, self.size)
        return [
            SamplePlace((lon, lat), {"grid_code": f"{self.kind.upper()}-{name}", "grid_cell": name})
            for name, (lon, lat) in zip(names, centres.round(_DIGITS).tolist(), strict=True)
        ]


def _list_hexagons(region: BaseGeometry, resolution: int) -> tuple[list[str], Floats]:
    h3 = load_h3()
    _check_count(spherical_area(region) / float(h3.average_hexagon_area(resolution, unit="m^2")) * _H3_SPREAD)
    cells = sorted(set().union(*(list_cells(part, resolution) for part in list_polygons(region))))
    centres = np.array([h3.cell_to_latlng(cell) for cell in cells]).reshape(-1, 2)[:, ::-1]
    shapely.prepare(region)
    inside = shapely.intersects_xy(region, *centres.T)
    return [cell for cell, is_in in zip(cells, inside.tolist(), strict=True) if is_in], centres[inside]


def _list_s2_cells(region: BaseGeometry, level: int) -> tuple[list[str], Floats]:
    _check_count(spherical_area(region) / (4 * math.pi * EARTH_RADIUS**2 / (6 * 4**level)) * _S2_SPREAD)
    ids, centres = list_s2_cells(region, level)
    return cell_tokens(ids), centres


def _list_squares(region: BaseGeometry, edge: int) -> tuple[list[str], Floats]:
    _check_count(spherical_area(region) / edge**2)
    return list_squares(region, edge)


@dataclass(frozen=True)
class FileGrid:
    """The polygons of a file.

    Attributes:
        cell_field: column with their ids; None if there is none: rows are numbered from 1.
    """

    places: Places = field(repr=False)
    cell_field: str | None

    needs_region = False

    @property
    def parameters(self) -> dict[str, Any]:
        """``{"cells": path, "cells_sha256": …}``."""
        column = {} if self.cell_field is None else {"cell_field": self.cell_field}
        return {"cells": str(self.places.path), "cells_sha256": self.places.sha256, **column, **self.places.reading}

    def list_places(self, region: BaseGeometry) -> list[SamplePlace]:
        """Return the centroids of polygons that lie in a region, in the order of the file."""
        table = self.places.table
        column = None if self.cell_field is None else table.column(self.cell_field).to_pylist()
        columns = json_columns(table)
        shapely.prepare(region)
        cell_places = []
        for row, polygon in enumerate(self.places.geometries):
            if polygon is None:
                continue
            centre = join_at_antimeridian(polygon).centroid
            point = (round(wrap_longitudes(centre.x), _DIGITS), round(centre.y, _DIGITS))
            if shapely.intersects_xy(region, *point):
                code = str(row + 1) if column is None else str(column[row])
                properties = {name: values[row] for name, values in columns.items()}
                cell_places.append(SamplePlace(point, {"grid_code": code, "grid_cell": code, "properties": properties}))
        return cell_places


def parse_cells(text: str | Path, cell_field: str | None = None, *, crs: str | None = None) -> PlaceCells:
    """Parse the cells of a sample.

    Args:
        text: ``regular:10km``, ``majortom:10km``, ``h3:6``, ``s2:13``, ``mgrs:10km``, or the path of a file of
            polygons.
        cell_field: column of the file that identifies its polygons; None for the first of ``CELL_FIELDS``.
        crs: CRS of a file that does not say it.

    Raises:
        UsageError: if the text is none of these, or a distance or resolution is out of range.
        RegionError: if the file cannot be read, holds no polygons, or ids are missing or repeated.
    """
    kind, colon, size = str(text).partition(":")
    parsers: dict[str, Callable[[str], PlaceCells]] = {
        REGULAR: lambda distance: RegularGrid(parse_distance("`cells` regular:", distance)),
        MAJOR_TOM: _parse_major_tom,
        H3: lambda resolution: _parse_level(H3, resolution, "resolution", 15, "h3:6"),
        S2: lambda level: _parse_level(S2, level, "level", LEVELS, "s2:13"),
        MGRS: _parse_mgrs,
    }
    parse = parsers.get(kind.lower())
    if parse is not None and colon and not Path(text).exists():
        if cell_field is not None:
            raise UsageError("`columns` is for a file of `cells`")
        return parse(size)
    path = Path(text)
    if not is_vector_file(path):
        raise UsageError(
            f"`cells` {str(text)!r} is none of regular:10km, majortom:10km, h3:6, s2:13, mgrs:10km, or a file of"
            " polygons"
        )
    places = read_places(path, crs=crs, only="polygons")
    if without := len(places) - len(places.known):
        _log.warning("%s: %s without geometry left out", path, format_count(without, "feature"))
    if cell_field is None:
        cell_field = find_column(places.table.column_names, CELL_FIELDS)
    if cell_field is not None:
        places.check_unique(cell_field)
    return FileGrid(places, cell_field)


def _parse_major_tom(size: str) -> MajorTomGrid:
    metres = parse_distance("`cells` majortom:", size)
    if not _LEAST_EDGE <= metres <= math.pi * _EQUATOR_RADIUS:
        raise UsageError(f"`cells` majortom:{size}: the distance must be 100m to 20000km")
    return MajorTomGrid(metres)


def _parse_level(kind: str, text: str, noun: str, most: int, usual: str) -> GlobalGrid:
    if not text.isdecimal() or not 0 <= int(text) <= most:
        raise UsageError(f"`cells` {kind}:{text}: the {noun} must be 0 to {most}, as in {usual}")
    return GlobalGrid(kind, int(text))


def _parse_mgrs(size: str) -> GlobalGrid:
    metres = parse_distance("`cells` mgrs:", size)
    if metres not in _SQUARES:
        raise UsageError(f"`cells` mgrs:{size}: squares have edges of 100km, 10km or 1km")
    return GlobalGrid(MGRS, int(metres))


def _name(number: int, letters: str) -> str:
    """Return the name of a row or a column: ``451U`` or ``946L``."""
    return f"{abs(number)}{letters[number < 0]}"


def _check_count(count: float) -> None:
    if count > _MOST_CELLS:
        raise RegionError(f"the region has more than {_MOST_CELLS:,} cells: use larger `cells` or a smaller `roi`")


def regular_points(region: BaseGeometry, spacing: float) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Return places in rows from west to east inside a region, at the same distance between and along rows.

    The rows are parallels, counted from the middle of the region's bounds; in each row, places are counted from the
    middle meridian. They form a square grid in the sinusoidal projection of that meridian, which preserves areas, so
    that each place represents the same area. Columns are vertical near the middle meridian, and slanted away from it.

    Args:
        region: polygons in longitude and latitude; parts on both sides of the antimeridian are one region.
        spacing: metres on the sphere that has the Earth's area.

    Returns:
        Longitudes and latitudes in degrees, (n, 2), by row from north to south; and the row and column of each place,
        (n, 2), counted from 0 in the middle, rows southwards and columns eastwards.

    Raises:
        RegionError: if there is no place, or more than ten million.
    """
    joined = join_at_antimeridian(region)
    west, south, east, north = shapely.bounds(joined).tolist()
    step = math.degrees(spacing / EARTH_RADIUS)
    middle, centre = (west + east) / 2.0, (south + north) / 2.0
    rows = np.arange(math.ceil((centre - north) / step), math.floor((centre - south) / step) + 1)
    latitudes = centre - rows * step
    steps = step / np.maximum(np.cos(np.radians(latitudes)), 1e-12)
    reach = np.floor(np.minimum((east - west) / 2.0, 180.0 - steps / 2.0) / steps).clip(0).astype(int)
    count = int((2 * reach + 1).sum())
    if count > _MOST_PLACES:
        raise RegionError(f"{count:,} places a distance of {spacing:g} m apart are more than {_MOST_PLACES:,}")
    places = [np.arange(-n, n + 1) for n in reach]
    columns = np.concatenate(places) if places else np.empty(0, dtype=int)
    index = np.repeat(np.arange(len(rows)), 2 * reach + 1)
    lon, lat = middle + columns * steps[index], latitudes[index]
    shapely.prepare(joined)
    inside = shapely.intersects_xy(joined, lon, lat)
    if not inside.any():
        raise RegionError(f"no place of a grid of {spacing:g} m lies in the region: take a smaller distance in `cells`")
    points = np.column_stack([wrap_longitudes(lon[inside]), lat[inside]])
    return points, np.column_stack([rows[index], columns])[inside]
