"""Find the windows of images that show a region, convert regions to polygons, and clip images to regions."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

import ee
import numpy as np
import shapely
import shapely.affinity
from shapely.geometry.base import BaseGeometry

from eechips.errors import RegionError
from eechips.geo.crs import unproject
from eechips.geo.grid import Grid, columns_around_earth
from eechips.geo.polygons import join_at_antimeridian, list_polygons, region_centre, wrap_at_antimeridian
from eechips.planning.areas.regions import AssetRegion, BoxRegion, FileRegion, Region, planar_geometry
from eechips.planning.areas.separate_regions import SeparateRegions
from eechips.planning.grid_alignment import GridAlignment, cover_region, pixel_span
from eechips.recipe import Unit

_ZONE = 6.0  # degrees: wider regions have no common UTM zone


class Overlap:
    """The windows of images that show a region of polygons in longitude and latitude."""

    def __init__(self, region: BaseGeometry, placement: GridAlignment) -> None:
        self._region, self._placement = join_at_antimeridian(region), placement
        west, _, east, _ = shapely.bounds(self._region).tolist()
        # All images of the region are on one base grid, also images of different UTM zones.
        self._place = region_centre(self._region) if east - west <= _ZONE else None
        self._known: dict[Grid, Grid | None] = {}
        shapely.prepare(self._region)

    def window(self, grid: Grid, *, is_bounded: bool = True) -> Grid | None:
        """Return the window of an image that covers its part of the region; None if there is none.

        On the image's own pixel grid the window lies within the image.

        Args:
            is_bounded: whether the grid has the image's size; else the image is assumed to show the whole region.

        Raises:
            RegionError: if the region is outside the area of the CRS.
        """
        if not is_bounded:
            return self._within(grid, self._region)
        if grid not in self._known:
            self._known[grid] = self._shared(grid)
        return self._known[grid]

    def _shared(self, grid: Grid) -> Grid | None:
        part = self._part(grid_outline(grid))
        if part.area == 0.0:
            return None
        part_grid = self._within(grid, part)
        if not self._placement.is_native:
            return part_grid
        return _trimmed(part_grid, self._placement.base_grid(grid, region_centre(part)), grid)

    def _part(self, shown: BaseGeometry | None) -> BaseGeometry:
        """Return the part of the region inside an outline; the whole region for None."""
        if shown is None:
            return self._region
        turned = [shapely.affinity.translate(shown, turn) for turn in (0.0, 360.0, -360.0)]
        if any(shapely.contains_properly(outline, self._region) for outline in turned):
            return self._region
        return shapely.union_all([shapely.intersection(self._region, outline) for outline in turned])

    def _within(self, grid: Grid, part: BaseGeometry) -> Grid:
        return cover_region(self._placement.base_grid(grid, self._place or region_centre(part)), part)


def _trimmed(window: Grid, base_grid: Grid, image: Grid) -> Grid | None:
    """Clip a window of a base grid to an image with the same axes; None if they do not overlap."""
    first = [round(place) for place in base_grid.pixel(*window.xy(0, 0))]
    last = [first[0] + window.width, first[1] + window.height]
    low, high = base_grid.pixel(*image.xy(0, 0)), base_grid.pixel(*image.xy(image.width, image.height))
    firsts, ends = zip(*map(pixel_span, zip(low, high, strict=True)), strict=True)
    column, row = map(max, first, firsts)
    end_column, end_row = map(min, last, ends)
    turn = columns_around_earth(image)
    if turn is not None:
        if ends[0] - firsts[0] >= turn:  # it goes around the Earth
            column, end_column = first[0], last[0]
        elif end_column <= column:
            step = turn * round((firsts[0] + ends[0] - first[0] - last[0]) / 2 / turn)
            column, end_column = max(first[0] + step, firsts[0]), min(last[0] + step, ends[0])
    if end_column <= column or end_row <= row:
        return None
    return base_grid.window(column, row, end_column - column, end_row - row)


_PIECES = 32  # segments of each edge of an image, which may be curved in longitude and latitude
_MARGIN = 2  # pixels: more than the curvature of such a segment
_STRAIGHT = 1.0  # metres: error of the server when it straightens edges

# Points along the edge of a rectangle, as fractions of its width and height.
_RING = shapely.get_coordinates(shapely.segmentize(shapely.box(0, 0, 1, 1), 1 / _PIECES))


def region_polygon(region: Region) -> BaseGeometry:
    """Return a region in longitude and latitude, with edges straight in that plane.

    A region of a table on the server is fetched; ``ee`` must be initialised in that case.

    Raises:
        RegionError: if the table or its features do not exist, or have no polygons.
    """
    if isinstance(region, BoxRegion):
        return region.polygon()
    if isinstance(region, (FileRegion, SeparateRegions)):
        return region.polygon
    # Edges of a table's polygons are geodesics.
    shape = shapely.geometry.shape(region.geometry().transform("EPSG:4326", _STRAIGHT).getInfo())
    polygons = list_polygons(shape if shape.is_valid else shapely.make_valid(shape))
    if not polygons:
        raise RegionError("the region has no polygons")
    return wrap_at_antimeridian(shapely.union_all(polygons))


def grid_outline(grid: Grid) -> BaseGeometry | None:
    """Return the outline of a grid in longitude and latitude, slightly enlarged.

    It is None for grids that contain a pole, cross the antimeridian, or exceed the area of their projection.
    """
    shares = _RING * (grid.width + 2 * _MARGIN, grid.height + 2 * _MARGIN) - _MARGIN
    lonlat = unproject(grid.crs, [grid.xy(column, row) for column, row in shares.tolist()])
    if not np.isfinite(lonlat).all() or np.ptp(lonlat[:, 0]) > 180.0:
        return None
    outline = shapely.Polygon(lonlat)
    return outline if outline.is_valid else None


@dataclass(frozen=True, slots=True)
class ClipArea:
    """A region as part of a template: hashable, and converted to a geometry without a request.

    Attributes:
        wkt: the polygons of a box or a file.
        table: asset, field and value of features on the server.
    """

    wkt: str | None = None
    table: tuple[str, str, str] | None = None

    @classmethod
    def of(cls, region: Region, unit: Unit | None = None) -> ClipArea:
        """Return the area of a region.

        Args:
            unit: which of several regions it is.
        """
        if isinstance(region, SeparateRegions) and unit is not None:
            return cls(wkt=shapely.to_wkt(region.polygon_of(unit["region"]), rounding_precision=-1))
        if isinstance(region, AssetRegion):
            return cls(table=(region.asset, region.field, region.value))
        return cls(wkt=shapely.to_wkt(region_polygon(region), rounding_precision=-1))

    def geometry(self) -> ee.Geometry:
        """Return the geometry on the server."""
        if self.table is None:
            return planar_geometry(shapely.from_wkt(self.wkt))
        asset, name, value = self.table
        same = [ee.Filter.eq(name, value)]
        with contextlib.suppress(ValueError):  # the column may contain numbers or text
            same.append(ee.Filter.eq(name, float(value)))
        geometry: ee.Geometry = ee.FeatureCollection(asset).filter(ee.Filter.Or(*same)).geometry()
        return geometry


def region_content(region: Region) -> dict[str, Any]:
    """Return the parameters of a region that results clipped to it depend on: of a file its content, wherever it is."""
    parameters = region.parameters
    return {name: parameters[name] for name in parameters if f"{name}_sha256" not in parameters}
