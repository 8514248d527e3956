"""Decide which pixels mosaics have: of one region, of the whole of an image, or of each of several regions."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import ee
import shapely
from shapely.geometry.base import BaseGeometry

from eechips.errors import RegionError, UsageError
from eechips.geo.grid import Grid, Window, wrap_longitude
from eechips.geo.polygons import join_at_antimeridian, region_centre
from eechips.planning import asset_metadata
from eechips.planning.areas.region_images import RegionScenes, find_region_scenes, place_region, warn_of_missing
from eechips.planning.areas.region_overlaps import Overlap, grid_outline
from eechips.planning.areas.separate_regions import SeparateRegions
from eechips.planning.grid_alignment import GridAlignment, cover_region
from eechips.planning.imagery import point_images
from eechips.planning.imagery.inventory import Scene, SceneQuery
from eechips.planning.request_windows import Tiling, project_region

_CLOSE = Fraction(1, 1000)  # of a pixel: maximum shift of a corner by rounding


@dataclass(frozen=True, slots=True)
class MosaicPlace:
    """The pixels of a mosaic.

    Attributes:
        base_grid: CRS and transform of the source's pixels; pixel 0, 0 is the corner of a block.
        grid: the mosaic: a window of the base grid.
        polygon: the region in longitude and latitude, joined at the antimeridian; None for the whole of an image.
        region: id of one of several regions; None for the only one.
    """

    base_grid: Grid
    grid: Grid
    polygon: BaseGeometry | None
    region: str | int | float | None = None

    def windows(self, tiling: Tiling, *, is_clipped: bool) -> Iterator[tuple[Window, list[Any] | None]]:
        """Yield windows, and the polygons to clip them to; None for those inside the region.

        Args:
            is_clipped: leave out windows outside the region. The polygons are coordinates of a GeoJSON MultiPolygon in
                the CRS of the mosaic.
        """
        if not is_clipped or self.polygon is None:
            yield from ((window, None) for window in tiling)
            return
        clip = project_region(self.grid, self.polygon)
        shapely.prepare(clip)
        for window in tiling:
            whole = self.grid.window(window.column, window.row, window.width, window.height)
            outline = _outline(whole.window(-1, -1, whole.width + 2, whole.height + 2))
            if clip.contains(outline):
                yield window, None
            elif clip.intersects(outline):
                east = wrap_longitude(whole).transform[2] - whole.transform[2]
                yield window, _coordinates(shapely.intersection(clip, outline), east)


def place_whole(
    about: asset_metadata.AssetMetadata,
    band: asset_metadata.Band,
    images: ee.ImageCollection | None,
    polygon: BaseGeometry | None,
    alignment: GridAlignment,
) -> MosaicPlace:
    """Return the pixels of one mosaic.

    Args:
        band: the stored band whose pixels are native.
        images: its images; None for a single image.
        polygon: the region, joined at the antimeridian; None for the whole of a single image.

    Raises:
        RegionError: if the region does not meet the image, or is outside the area of the CRS.
        UsageError: if the image has no bounds, and there is no region.
    """
    placement, native = alignment.resolved(), band.grid
    if images is not None and alignment.is_native and polygon is not None:
        # The grid of the latest image in the middle of the region.
        latest = next(iter(point_images.find_images(images, band.name, [region_centre(polygon)])))
        native = native if latest is None else latest[1]
    has_end = images is None and native.width * native.height > 1  # one pixel: size unknown
    if polygon is None and has_end and placement.is_native:
        base_grid = placement.base_grid(native, (0.0, 0.0))  # the place is ignored
        return MosaicPlace(base_grid, _covering(base_grid, native), None)
    region = polygon or (grid_outline(native) if has_end else None)
    if region is None:
        raise UsageError(f"{about.id} is not bounded in longitude and latitude: give `roi`")
    base_grid = placement.base_grid(native, region_centre(region))
    grid = Overlap(region, placement).window(native) if has_end else cover_region(base_grid, region)
    if grid is None:
        raise RegionError(f"the region does not meet {about.id}: give one that does, as W,S,E,N in degrees")
    return MosaicPlace(base_grid, grid, polygon)


def place_regions(
    about: asset_metadata.AssetMetadata,
    band: asset_metadata.Band,
    images: ee.ImageCollection | None,
    regions: SeparateRegions,
    alignment: GridAlignment,
) -> Iterator[MosaicPlace]:
    """Yield the pixels of the mosaic of each region; regions that no image shows are left out, which is logged.

    Args:
        band: the stored band whose pixels are native.
        images: its images; None for a single image.

    Raises:
        RegionError: if a region is outside the area of the CRS.
    """
    placement = alignment.resolved()
    scenes = (
        _place_in_image(band, regions, placement)
        if images is None
        else find_region_scenes(SceneQuery(images, about.id, band.name), regions, placement)
    )
    for scene in scenes:
        polygon = regions.polygon_of(scene.region)
        base_grid = placement.base_grid(scene.native, region_centre(polygon))
        yield MosaicPlace(base_grid, scene.grid, join_at_antimeridian(polygon), scene.region)


def _place_in_image(
    band: asset_metadata.Band, regions: SeparateRegions, placement: GridAlignment
) -> Iterator[RegionScenes]:
    """Yield the grid of each region that a single image meets, as of an image of a collection."""
    image = Scene("", None, band.grid, is_bounded=band.grid.width * band.grid.height > 1, is_stored=True)
    missing = []
    for region in regions.zones.ids:
        placed = place_region(regions, region, [image], placement)
        if placed is None:
            missing.append(region)
        else:
            yield placed
    warn_of_missing(missing)


def _covering(base_grid: Grid, grid: Grid) -> Grid:
    """Return the window of a base grid that contains a grid with parallel axes and a corner at the origin."""
    corners = [base_grid.pixel(*grid.xy(*corner)) for corner in ((0, 0), (grid.width, grid.height))]
    (left, right), (top, bottom) = map(sorted, zip(*corners, strict=True))
    width, height = math.ceil(right - left - _CLOSE), math.ceil(bottom - top - _CLOSE)
    return base_grid.window(round(left), round(top), width, height)


def _outline(grid: Grid) -> BaseGeometry:
    """Return the outline of a grid in its CRS."""
    corners = (0, 0), (grid.width, 0), (grid.width, grid.height), (0, grid.height)
    return shapely.Polygon([grid.xy(*corner) for corner in corners])


def _coordinates(polygons: BaseGeometry, east: float) -> list[Any]:
    """Return the coordinates of polygons as in a GeoJSON MultiPolygon, moved along x."""
    parts = [part for part in shapely.get_parts(polygons) if part.geom_type == "Polygon"]
    return [[[[x + east, y] for x, y in ring.coords] for ring in (part.exterior, *part.interiors)] for part in parts]
