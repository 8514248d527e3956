"""What an image has of a region: the window of its pixels."""

from __future__ import annotations

import shapely
import shapely.affinity
from shapely.geometry.base import BaseGeometry

from eechips.geo.grid import Grid
from eechips.planning.grid_alignment import Placement, cover, joined_at_antimeridian, span
from eechips.planning.outlines import middle, outline

_ZONE = 6.0  # degrees: a region that is wider has no UTM zone of its own


class Overlap:
    """The windows of images that show a region.

    Args:
        region: polygons in longitude and latitude.
        placement: how the pixels are to lie, resolved.
    """

    def __init__(self, region: BaseGeometry, placement: Placement) -> None:
        self._region, self._placement = joined_at_antimeridian(region), placement
        west, _, east, _ = shapely.bounds(self._region).tolist()
        # Images of one place lie on one lattice, also where they are of two zones.
        self._place = middle(self._region) if east - west <= _ZONE else None
        self._known: dict[Grid, Grid | None] = {}
        shapely.prepare(self._region)

    def window(self, grid: Grid, *, is_bounded: bool = True) -> Grid | None:
        """The window of an image that shows what it has of the region; None if that is nothing.

        On the image's own lattice it never reaches beyond the image.

        Args:
            grid: the image's pixels.
            is_bounded: whether they are all; else the image is taken to show the whole region.

        Raises:
            RegionError: if the CRS of the placement does not reach there.
        """
        if not is_bounded:
            return self._within(grid, self._region)
        if grid not in self._known:
            self._known[grid] = self._shared(grid)
        return self._known[grid]

    def _shared(self, grid: Grid) -> Grid | None:
        part = self._part(outline(grid))
        if part.area == 0.0:
            return None
        found = self._within(grid, part)
        if not self._placement.is_native:
            return found
        return _trimmed(found, self._placement.lattice(grid, middle(part)), grid)

    def _part(self, shown: BaseGeometry | None) -> BaseGeometry:
        """What an outline has of the region."""
        if shown is None:
            return self._region
        turned = [shapely.affinity.translate(shown, turn) for turn in (0.0, 360.0, -360.0)]
        if any(shapely.contains_properly(each, self._region) for each in turned):
            return self._region
        return shapely.union_all([shapely.intersection(self._region, each) for each in turned])

    def _within(self, grid: Grid, part: BaseGeometry) -> Grid:
        return cover(self._placement.lattice(grid, self._place or middle(part)), part)


def _trimmed(window: Grid, lattice: Grid, image: Grid) -> Grid | None:
    """What a window of a lattice has of an image whose axes are the lattice's; None if that is nothing."""
    first = [round(place) for place in lattice.pixel(*window.xy(0, 0))]
    last = [first[0] + window.width, first[1] + window.height]
    low, high = lattice.pixel(*image.xy(0, 0)), lattice.pixel(*image.xy(image.width, image.height))
    firsts, ends = zip(*map(span, zip(low, high, strict=True)), strict=True)
    column, row = map(max, first, firsts)
    end_column, end_row = map(min, last, ends)
    if end_column <= column or end_row <= row:
        return None
    return lattice.window(column, row, end_column - column, end_row - row)
