"""Read the outlines of a run's region, for the map, and draw its polygons on pictures of its chips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from eechips.geo.crs import is_usable, parse_crs, project
from eechips.geo.ellipsoid import Booleans, Floats
from eechips.geo.footprints import footprints
from eechips.geo.grid import Grid
from eechips.manifest.export import recorded_grid
from eechips.manifest.pictures.chip_pictures import RenderedChip
from eechips.manifest.region_file import find_region_file, read_region_file, read_region_polygons, tell_missing_file
from eechips.manifest.run import Run
from eechips.manifest.sqlite.ledger import LEDGER_NAME, Ledger
from eechips.manifest.sqlite.ledger_queries import read_file_grids

Ring = list[tuple[float, float]]
"""Longitudes and latitudes in degrees; the last place equals the first."""

_PRECISION = 1e-3  # precision of corners as a share of the region's extent
_DIGITS = 6  # of degrees: 0.1 m


def region_rings(folder: Path, info: Mapping[str, Any]) -> list[Ring]:
    """Return the rings of a run's region: outlines, and holes in them.

    The result is empty for a table on the server. It is empty, and a warning says so, for a file that was removed or
    changed after the run was planned, and for another user's run whose file lies elsewhere.
    """
    parameters = info.get("parameters") or {}
    for name in ("roi", "bbox", "region"):
        if (box := _box(parameters.get(name))) is not None:
            west, south, east, north = box
            return [[(west, south), (east, south), (east, north), (west, north), (west, south)]]
    if find_region_file(folder, info) is None:
        tell_missing_file(folder, info)
        return []
    return _rings(folder, info)


def _box(value: Any) -> tuple[float, float, float, float] | None:
    """Return west, south, east and north of a value; an east beyond 180 is across the antimeridian."""
    parts = value.split(",") if isinstance(value, str) else value if isinstance(value, list) else []
    try:
        numbers = [float(part) for part in parts]
    except (TypeError, ValueError):
        return None
    if len(numbers) != 4:
        return None
    west, south, east, north = numbers
    if east < west and east >= -180 and west <= 180:
        east += 360.0
    is_box = -540 <= west < east <= 540 and -90 <= south < north <= 90
    return (west, south, east, north) if is_box else None


def _rings(folder: Path, info: Mapping[str, Any]) -> list[Ring]:
    """Return the rings of the union of a file's polygons."""
    whole = read_region_file(folder, info)
    if whole is None:
        return []
    west, south, east, north = shapely.bounds(whole).tolist()
    simple = shapely.simplify(whole, _PRECISION * max(east - west, north - south))
    rings = shapely.get_rings(shapely.get_parts(simple))
    return [[(round(x, _DIGITS), round(y, _DIGITS)) for x, y in ring.coords] for ring in rings]


_PIECES = 16  # of an edge across a chip, which projections bend


@dataclass(frozen=True, slots=True, eq=False)
class RegionOutlines:
    """The polygons of a run's region, and where its files lie.

    Attributes:
        tree: tree of the polygons, in longitude and latitude.
        places: CRS, transform as JSON, width and height of the files in pixels, by their paths below the run's folder,
            as the manifest has them.
    """

    tree: shapely.STRtree
    places: dict[str, tuple[str, str, int, int]]

    @classmethod
    def of(cls, run: Run) -> RegionOutlines | None:
        """Read the polygons of a run's vector file; None for a run without one."""
        polygons = read_region_polygons(run.path, run.info)
        if not len(polygons):
            return None
        with Ledger(run.path / LEDGER_NAME, readonly=True) as ledger:
            places = {row[0]: row[1:] for row in read_file_grids(ledger.database)}
        return cls(shapely.STRtree(polygons), places)

    def draw(self, chip: RenderedChip, file: str) -> RenderedChip:
        """Return a chip with the outlines that cross it; the chip itself if there are none, or its place is unknown."""
        place = self.places.get(file)
        grid = None if place is None else recorded_grid(*place)
        if grid is None or not is_usable(grid.crs):
            return chip
        lines = self._lines(grid)
        return replace(chip, outline=_rasterized(lines, grid, chip.valid.shape)) if lines else chip

    def _lines(self, grid: Grid) -> list[BaseGeometry]:
        """Return the outlines near a grid, in its CRS."""
        (footprint,) = footprints([grid])
        lines: list[BaseGeometry] = []
        for part in () if footprint is None else shapely.get_parts(footprint):
            west, south, east, north = shapely.bounds(part)
            margin = max(east - west, north - south) / 2
            around = shapely.box(west - margin, south - margin, east + margin, north + margin)
            for number in self.tree.query(part, predicate="intersects"):
                near = shapely.intersection(shapely.boundary(self.tree.geometries[number]), around)
                fine = shapely.segmentize(near, margin / _PIECES)
                lines += [line for line in shapely.get_parts(fine) if line.length > 0]
        if not lines or parse_crs(grid.crs).is_geographic:
            return lines
        return [shapely.transform(line, lambda xy: project(grid.crs, xy)) for line in lines]


def _rasterized(lines: Sequence[BaseGeometry], grid: Grid, shape: tuple[int, ...]) -> Booleans:
    """Return the pixels of a picture of a grid that lines in its CRS cross."""
    from rasterio.features import rasterize

    height, width = shape
    a, b, c, d, e, f = (~grid.affine)[:6]
    size = [width / grid.width, height / grid.height]

    def to_pixels(xy: Floats) -> Floats:
        x, y = xy.T
        return np.column_stack([a * x + b * y + c, d * x + e * y + f]) * size

    moved = [shapely.transform(line, to_pixels) for line in lines]
    drawn: Booleans = rasterize(moved, out_shape=(height, width), dtype="uint8").astype(np.bool_)
    return drawn
