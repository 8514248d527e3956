"""Draw the outlines of a run's polygons, such as fields, on pictures of its chips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import shapely
from shapely.geometry.base import BaseGeometry

from eechips.geo.crs import is_usable, parse_crs, project
from eechips.geo.footprints import footprints
from eechips.geo.grid import Grid
from eechips.manifest.chip_pictures import RenderedChip
from eechips.manifest.ledger import LEDGER_NAME, Ledger
from eechips.manifest.ledger_queries import read_file_grids
from eechips.manifest.region_file import read_region_polygons
from eechips.manifest.run import Run
from eechips.reports.unit_locations import recorded_grid

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


def _rasterized(lines: Sequence[BaseGeometry], grid: Grid, shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    """Return the pixels of a picture of a grid that lines in its CRS cross."""
    from rasterio.features import rasterize

    height, width = shape
    a, b, c, d, e, f = (~grid.affine)[:6]
    size = [width / grid.width, height / grid.height]

    def to_pixels(xy: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        x, y = xy.T
        return np.column_stack([a * x + b * y + c, d * x + e * y + f]) * size

    moved = [shapely.transform(line, to_pixels) for line in lines]
    drawn: npt.NDArray[np.bool_] = rasterize(moved, out_shape=(height, width), dtype="uint8").astype(np.bool_)
    return drawn
