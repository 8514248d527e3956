"""Find the pixels that regions take: their weights, ``maxPixels``, ``bestEffort`` and "Too many pixels in the region";
blocks and tiles to read.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely
from shapely.geometry.base import BaseGeometry

from eechips_local.evaluation.context import Context
from eechips_local.geometry.map_projection import Projection, transform_points
from eechips_local.geometry.planar_frame import projection_unit
from eechips_local.pixels.grids.area_fractions import cell_areas, centres_within, fractions
from eechips_local.pixels.grids.pixel_grid import PixelGrid
from eechips_local.pixels.grids.sampled_pixels import Indices
from eechips_local.protocol.request_errors import InvalidError
from eechips_local.values.values import Geometry

# Edge of the blocks that a large region is read in.
_BLOCK = 1024

# A block of which a region takes a lesser part is computed in tiles of this edge, without those that have none of it: a
# coast, a river or an archipelago takes a small part of its bounds.
_SPARSE = 0.25
_TILE = 256

# Edges of regions may lie so far from where they should, in pixels.
_EDGE_TOLERANCE = 1e-5

# Regions of no more pixels are remembered, so that the next image of a series finds them.
_REMEMBERED = 1 << 20

# The latest region of no more pixels is remembered once it is asked for again: 25 bytes a pixel.
_REMEMBERED_AGAIN = 10_000_000

# Polygons over no more pixels are compared with each of them.
_FEW_CELLS = 1 << 10

# Of many regions, as many as have this many pixels together are read together.
_TOGETHER = 1 << 22

_FIRST_FEATURES, _MOST_FEATURES = 64, 8192

# What is remembered of a region counts as so many pixels at least.
_LEAST_COVER = 64

# Pixels have whole numbers, and their centres halves, up to here.
_FARTHEST = 2.0**51

# Metres beyond which no map has a place: stereographic maps reach 1.4e11 m at 0.01 degrees from the opposite pole.
_OFF_MAP = 1e11


@dataclass(frozen=True, slots=True)
class Lattice:
    """The pixel lattice of a reduction.

    Attributes:
        projection: projection of the pixels.
        max_pixels: how many there may be.
        best_effort: use larger pixels where there are more.
    """

    projection: Projection
    max_pixels: int
    best_effort: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class RegionPixels:
    """The pixels of a region, with their weights.

    Attributes:
        columns: columns of the lattice, shape (n,); pixels come row by row.
        rows: likewise.
        fraction: part of each pixel's area that lies in the region, 1 for pixels that points and lines touch.
        centre: whether the pixel's centre lies in it, or a point or line touches the pixel.
    """

    columns: Indices
    rows: Indices
    fraction: npt.NDArray[np.float64]
    centre: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.columns)


NO_PIXELS = RegionPixels(*(np.zeros(0, dtype=np.int64),) * 2, np.zeros(0), np.zeros(0, dtype=bool))


@dataclass(frozen=True, slots=True, eq=False)
class PixelRegion:
    """A region in the pixel coordinates of a lattice.

    Attributes:
        shape: x counts columns, y rows.
        projection: projection of the lattice.
        column: column of the first pixel that its bounds touch.
        row: likewise.
        width: columns that its bounds touch.
        height: likewise.
    """

    shape: BaseGeometry
    projection: Projection
    column: int
    row: int
    width: int
    height: int

    @property
    def pixels(self) -> int:
        """Pixels that the bounds touch."""
        return self.width * self.height

    @property
    def area(self) -> int:
        """The area of the bounds in pixels, rounded.

        That is what is compared with ``maxPixels``: the globe at 100 m has 80300348117, says
        https://developers.google.com/earth-engine/guides/debugging, which is not the number of pixels that it touches.
        """
        if self.shape.is_empty:
            return 0
        left, top, right, bottom = self.shape.bounds
        return round(float((right - left) * (bottom - top)))

    @property
    def grid(self) -> PixelGrid:
        """The pixels that the bounds touch."""
        return self.projection.window(self.column, self.row, self.width, self.height)

    def blocks(self) -> Iterator[tuple[int, int, PixelGrid]]:
        """Yield the bounds in pieces: column and row of each, and its grid."""
        for row in range(self.row, self.row + self.height, _BLOCK):
            height = min(_BLOCK, self.row + self.height - row)
            for column in range(self.column, self.column + self.width, _BLOCK):
                width = min(_BLOCK, self.column + self.width - column)
                yield column, row, self.projection.window(column, row, width, height)

    def cover(self, column: int, row: int, grid: PixelGrid) -> RegionPixels:
        """Return the pixels of one of the blocks that the region takes."""
        shape = self.shape
        if grid.width * grid.height < self.pixels:
            if _holds(shape, shapely.box(column, row, column + grid.width, row + grid.height)):
                rows, columns = (part.ravel() for part in np.indices(grid.shape))
                return RegionPixels(columns + column, rows + row, np.ones(len(rows)), np.ones(len(rows), dtype=bool))
            around = shapely.box(column - 1, row - 1, column + grid.width + 1, row + grid.height + 1)
            shape = shapely.intersection(shape if shape.is_valid else shapely.make_valid(shape), around)
        shape = shapely.transform(shape, lambda xy: xy - (column, row))
        if shape.geom_type in ("Polygon", "MultiPolygon") and grid.width * grid.height <= _FEW_CELLS:
            return _few_cells(shape, column, row, grid)
        # Already in the block's own pixels: nothing is projected again.
        local = Geometry(shape, Projection(grid.crs, grid.transform))
        fraction, centre = fractions(local, grid), centres_within(shape, grid)
        if shapely.get_dimensions(shape) < 2:
            centre = fraction > 0
        elif shape.geom_type == "GeometryCollection":
            thin = [part for part in shapely.get_parts(shape) if shapely.get_dimensions(part) < 2]
            if thin:
                touched = Geometry(shapely.GeometryCollection(thin), local.projection)
                centre |= fractions(touched, grid) > 0
        rows, columns = np.nonzero((fraction > 0) | centre)
        return RegionPixels(columns + column, rows + row, fraction[rows, columns], centre[rows, columns])


def _holds(shape: BaseGeometry, block: BaseGeometry) -> bool:
    """Return whether a block lies in polygons, and nowhere at their edges."""
    if shape.geom_type not in ("Polygon", "MultiPolygon") or not shape.is_valid:
        return False
    shapely.prepare(shape)
    return bool(shapely.contains_properly(shape, block))


def _few_cells(shape: BaseGeometry, column: int, row: int, grid: PixelGrid) -> RegionPixels:
    """Return the pixels of a few that polygons in the block's own pixels take: every one is looked at, which is
    quicker.
    """
    if not shape.is_valid:
        shape = shapely.make_valid(shape)
    shapely.prepare(shape)
    rows, columns = (part.ravel() for part in np.indices(grid.shape))
    fraction = cell_areas(shape, grid.shape).ravel()
    # Of centres on an edge those count that GDAL burns: as if they lay a little to the left, and even less below.
    centre = shapely.contains_xy(shape, columns + (0.5 - 1e-9), rows + (0.5 + 1e-12))
    kept = (fraction > 0) | centre
    return RegionPixels(columns[kept] + column, rows[kept] + row, fraction[kept], centre[kept])


def region_on(geometry: Geometry, projection: Projection) -> PixelRegion:
    """Return a geometry as a region of a lattice.

    Raises:
        InvalidError: if it is unbounded.
    """
    if geometry.unbounded:
        raise InvalidError("The geometry must be bounded; specify a region.")
    shape = geometry.within(projection, _EDGE_TOLERANCE)
    if shape.is_empty:
        return PixelRegion(shape, projection, 0, 0, 0, 0)
    left, top, right, bottom = shape.bounds
    reach = max(map(abs, (left, top, right, bottom)))
    if not reach * projection_unit(projection) < _OFF_MAP:
        raise InvalidError("The region lies outside of what the projection can show.")
    if reach > _FARTHEST:
        raise InvalidError("The pixels of the projection are too small for the region.")
    column, row = math.floor(left + 1e-9), math.floor(top + 1e-9)
    width = max(math.ceil(right - 1e-9), column + 1) - column
    height = max(math.ceil(bottom - 1e-9), row + 1) - row
    return PixelRegion(shape, projection, column, row, width, height)


def too_many(pixel_count: int, allowed: int) -> InvalidError:
    """Return Earth Engine's refusal of a region with more than ``maxPixels``."""
    return InvalidError(
        f"Too many pixels in the region. Found {pixel_count}, but maxPixels allows only {allowed}.\n"
        "Ensure that you are not aggregating at a higher resolution than you intended; that is the most frequent "
        "cause of this error. If not, then you may set the 'maxPixels' argument to a limit suitable for your "
        "computation; set 'bestEffort' to true to aggregate at whatever scale results in 'maxPixels' total "
        "pixels; or both."
    )


def region_within(context: Context, geometry: Geometry, lattice: Lattice) -> PixelRegion:
    """Return a geometry as a region of a lattice, with larger pixels where ``best_effort`` needs them.

    Raises:
        InvalidError: if it takes more pixels than allowed.
    """
    projection = lattice.projection
    region = _noted_region(context, geometry, projection)
    while lattice.best_effort and region.pixels > lattice.max_pixels:
        projection = projection.scaled(2)
        region = _noted_region(context, geometry, projection)
    if region.area > lattice.max_pixels:
        raise too_many(region.area, lattice.max_pixels)
    return region


def _noted_region(context: Context, geometry: Geometry, projection: Projection) -> PixelRegion:
    """Return :func:`region_on`, made once for equal geometries: one inside a mapped function is created again for each
    element.
    """
    if geometry.unbounded:
        return region_on(geometry, projection)
    key = ("region", geometry.shape.wkb, geometry.projection, geometry.geodesic, projection)
    return context.note(key, lambda: region_on(geometry, projection))


def covers(context: Context, region: PixelRegion) -> Iterator[tuple[PixelGrid, int, int, RegionPixels]]:
    """Yield the blocks of which a region takes pixels: grid, column, row, and those pixels."""

    def touching() -> Iterator[tuple[PixelGrid, int, int, RegionPixels]]:
        for column, row, grid in region.blocks():
            context.check_time()
            cover = region.cover(column, row, grid)
            if len(cover):
                yield grid, column, row, cover

    if region.pixels > _REMEMBERED_AGAIN:
        return touching()
    if region.pixels > _REMEMBERED:
        latest: dict[PixelRegion, list[tuple[PixelGrid, int, int, RegionPixels]] | None]
        latest = context.note(("latest covers",), dict)
        if region not in latest:
            latest.clear()
            latest[region] = None
            return touching()
        known = latest[region]
        if known is None:
            known = latest[region] = list(touching())
        return iter(known)
    return iter(context.note(("covers", region), lambda: list(touching())))


def cover_tiles(context: Context, region: PixelRegion) -> Iterator[tuple[PixelGrid, int, int, RegionPixels]]:
    """Yield the parts of a region's bounds to compute, as :func:`covers`: sparse blocks as tiles."""
    for grid, column, row, cover in covers(context, region):
        if len(cover) > _SPARSE * grid.width * grid.height:
            yield grid, column, row, cover
            continue
        tiles = (cover.rows - row) // _TILE * _BLOCK + (cover.columns - column) // _TILE
        order = np.argsort(tiles, kind="stable")
        for part in np.split(order, np.flatnonzero(np.diff(tiles[order])) + 1):
            own = RegionPixels(cover.columns[part], cover.rows[part], cover.fraction[part], cover.centre[part])
            left, top = int(own.columns.min()), int(own.rows[0])
            width, height = int(own.columns.max()) - left + 1, int(own.rows[-1]) - top + 1
            yield grid.window(left - column, top - row, width, height), left, top, own


def chunks(
    context: Context, geometries: Iterable[Geometry | None], lattice: Lattice
) -> Iterator[list[PixelRegion | RegionPixels]]:
    """Yield regions a chunk at a time: the pixels that each takes, or the region itself where those are very many.

    Chunks grow, so that the first few results do not wait for thousands.

    Raises:
        InvalidError: if a region takes more pixels than allowed.
    """
    waiting = iter(geometries)
    size = _FIRST_FEATURES
    while batch := list(islice(waiting, size)):
        context.check_time()
        yield from _chunk(context, batch, lattice)
        size = min(2 * size, _MOST_FEATURES)


def _chunk(
    context: Context, batch: list[Geometry | None], lattice: Lattice
) -> Iterator[list[PixelRegion | RegionPixels]]:
    points = _points(batch, lattice.projection)
    regions: list[PixelRegion | RegionPixels] = []
    pixels = 0
    for index, geometry in enumerate(batch):
        item: PixelRegion | RegionPixels = points[index] if index in points else _covered(context, geometry, lattice)
        regions.append(item)
        pixels += len(item) if isinstance(item, RegionPixels) else 0
        if pixels > _TOGETHER:
            yield regions
            regions, pixels = [], 0
    if regions:
        yield regions


def _points(batch: Sequence[Geometry | None], projection: Projection) -> Mapping[int, RegionPixels]:
    """Return the pixels under those geometries that are single points, all moved to the lattice at once; none where the
    projection shows no such place.
    """
    sources: dict[Projection, list[int]] = {}
    for index, geometry in enumerate(batch):
        if geometry is not None and geometry.shape.geom_type == "Point" and not geometry.shape.is_empty:
            sources.setdefault(geometry.projection, []).append(index)
    whole, there = np.ones(1), np.ones(1, dtype=bool)
    pixels_by_index: dict[int, RegionPixels] = {}
    for source, indices in sources.items():
        coordinates = shapely.get_coordinates([g.shape for g in (batch[i] for i in indices) if g is not None])
        moved = transform_points(coordinates, source, projection)
        shown: npt.NDArray[np.bool_] = np.all(np.abs(moved) * projection_unit(projection) < _OFF_MAP, axis=1)
        pixels = np.floor(np.where(shown[:, None], moved, 0) + 1e-9).astype(np.int64)
        for index, place, is_shown in zip(indices, pixels, shown, strict=True):
            pixels_by_index[index] = RegionPixels(place[:1], place[1:], whole, there) if is_shown else NO_PIXELS
    return pixels_by_index


class _RegionCache:
    """Cache of the pixels of regions on one lattice: a series needs them for every image."""

    def __init__(self) -> None:
        self._known: dict[tuple[Any, ...], RegionPixels] = {}
        self._pixels = 0

    def find(self, geometry: Geometry, lattice: Lattice) -> PixelRegion | RegionPixels:
        """Return the pixels that a geometry takes, or the region itself where those are very many."""
        key = (geometry.shape.wkb, geometry.projection, geometry.geodesic)
        if key in self._known:
            return self._known[key]
        region = region_on(geometry, lattice.projection)
        if region.area > lattice.max_pixels:
            raise too_many(region.area, lattice.max_pixels)
        if region.pixels > _BLOCK * _BLOCK:
            return region
        cover = region.cover(region.column, region.row, region.grid)
        size = max(len(cover), _LEAST_COVER)
        if self._pixels + size <= _TOGETHER:
            self._known[key] = cover
            self._pixels += size
        return cover


def _covered(context: Context, geometry: Geometry | None, lattice: Lattice) -> PixelRegion | RegionPixels:
    if geometry is None or geometry.shape.is_empty:
        return NO_PIXELS
    context.check_time()
    if geometry.unbounded:
        return region_on(geometry, lattice.projection)
    return context.note(("covers", lattice.projection, lattice.max_pixels), _RegionCache).find(geometry, lattice)
