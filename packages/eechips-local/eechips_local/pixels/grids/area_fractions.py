"""Compute which pixels a geometry covers: the fraction of each, in 255 steps, or whether its centre lies inside."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely
from affine import Affine
from rasterio.features import rasterize
from shapely.geometry.base import BaseGeometry

from eechips_local.evaluation.asset_model import PixelWindow
from eechips_local.geometry.map_projection import Projection
from eechips_local.geometry.projected_shapes import columns_of_turn, repeated
from eechips_local.pixels.grids.pixel_grid import PixelGrid
from eechips_local.protocol.request_errors import InvalidError
from eechips_local.values.values import Geometry

Coverage = npt.NDArray[np.float64]

# How far a curved edge may lie from the straight pieces that approximate it, in pixels: where only the centres
# matter, and where areas do.
_CENTRE_TOLERANCE = 1e-4
_AREA_TOLERANCE = 1e-5
_ROUNDING = 1e-3
"""Part of a step of areas by which they may be rounded."""
_COUNTED, _BEYOND = 1 << 30, 1 << 20
"""Greatest coordinate in pixels that GDAL burns, and the margin around a grid to which larger shapes are clipped."""


def in_pixels(geometry: Geometry, grid: PixelGrid, tolerance: float = _CENTRE_TOLERANCE) -> BaseGeometry:
    """Return the geometry in the pixel coordinates (column, row) of a grid, exact to ``tolerance`` of a pixel.

    Where longitudes start again, it is everywhere on the grid where it has a place.
    """
    return _near(repeated(geometry.within(Projection(grid.crs, grid.transform), tolerance), grid), grid)


def _near(shape: BaseGeometry, grid: PixelGrid) -> BaseGeometry:
    """Clip a shape with coordinates that GDAL cannot count, of which it would burn nothing.

    Regions around the other pole of a polar map have such coordinates.
    """
    if shape.is_empty or not _COUNTED < max(map(abs, shape.bounds)) < math.inf:
        return shape
    return shapely.intersection(shape, shapely.box(-_BEYOND, -_BEYOND, grid.width + _BEYOND, grid.height + _BEYOND))


def centres_inside(geometry: Geometry, grid: PixelGrid) -> npt.NDArray[np.bool_]:
    """Return pixels whose centre lies in a geometry: shape (height, width)."""
    if geometry.unbounded:
        return np.ones(grid.shape, dtype=bool)
    return centres_within(in_pixels(geometry, grid, _CENTRE_TOLERANCE), grid)


def centres_within(shape: BaseGeometry, grid: PixelGrid) -> npt.NDArray[np.bool_]:
    """Return pixels whose centre lies in a shape in the grid's pixel coordinates: shape (height, width)."""
    # Snap away rounding, so that a rectangle made from the grid's own corners covers all of it.
    box = shapely.box(0.25, 0.25, grid.width - 0.25, grid.height - 0.25)
    shapely.prepare(shape)
    if shapely.contains(shape, box):
        return np.ones(grid.shape, dtype=bool)
    if not shapely.intersects(shape, box):
        return np.zeros(grid.shape, dtype=bool)
    return _burn(shape, grid, all_touched=False)


def _burn(shape: BaseGeometry, grid: PixelGrid, *, all_touched: bool) -> npt.NDArray[np.bool_]:
    burnt: npt.NDArray[Any] = rasterize(
        [(shape, 1)], out_shape=grid.shape, transform=Affine.identity(), all_touched=all_touched, dtype=np.uint8
    )
    return burnt.astype(bool)


def pixels_touched(
    geometry: Geometry, lattice: Projection, near: PixelWindow | None = None
) -> tuple[int, int, int, int]:
    """Return the first column, first row, columns and rows of the lattice that a geometry's bounds touch.

    Args:
        geometry: bounded.
        lattice: whose pixels.
        near: where longitudes start again, take the turn that lies closest to these pixels.
    """
    shape = geometry.within(lattice, _CENTRE_TOLERANCE)
    if shape.is_empty:
        return 0, 0, 0, 0
    left, top, right, bottom = shape.bounds
    if not all(map(math.isfinite, shape.bounds)):
        raise InvalidError("Unable to transform the geometry into the projection of the image.")
    turn = columns_of_turn(lattice)
    if near is not None and turn is not None:
        step = turn * round((near.column + near.width / 2.0 - (left + right) / 2.0) / turn)
        left, right = left + step, right + step
    column, row = math.floor(left + 1e-9), math.floor(top + 1e-9)
    return column, row, max(math.ceil(right - 1e-9), column + 1) - column, max(math.ceil(bottom - 1e-9), row + 1) - row


def fractions(geometry: Geometry, grid: PixelGrid) -> Coverage:
    """Return the weight of each pixel in a geometry, from 0 to 1: shape (height, width).

    Those of polygons are those of :func:`cell_areas`. Points and lines have no areas: each pixel that they touch counts
    as 1.
    """
    if geometry.unbounded:
        return np.ones(grid.shape)
    shape = _near(geometry.within(Projection(grid.crs, grid.transform), _AREA_TOLERANCE), grid)
    polygons = [p for p in _parts(shape) if p.geom_type == "Polygon" and not p.is_empty]
    others = [p for p in _parts(shape) if p.geom_type != "Polygon" and not p.is_empty]
    result = np.zeros(grid.shape)
    if polygons:
        result = _areas(shapely.union_all(polygons) if len(polygons) > 1 else polygons[0], grid)
    for point in (p for p in others if p.geom_type == "Point"):
        column, row = math.floor(point.x + 1e-9), math.floor(point.y + 1e-9)
        if 0 <= column < grid.width and 0 <= row < grid.height:
            result[row, column] = 1.0
    lines = [p for p in others if p.geom_type != "Point"]
    if lines:
        result = np.maximum(result, _burn(shapely.union_all(lines), grid, all_touched=True))
    return result


def _parts(shape: BaseGeometry) -> list[BaseGeometry]:
    parts = [shape]
    while any(hasattr(p, "geoms") for p in parts):
        parts = [q for p in parts for q in (p.geoms if hasattr(p, "geoms") else [p])]
    return parts


def _areas(shape: BaseGeometry, grid: PixelGrid) -> Coverage:
    if not shape.is_valid:  # without the lines that a spike leaves
        shape = shapely.union_all([p for p in _parts(shapely.make_valid(shape)) if p.geom_type == "Polygon"])
    return cell_areas(shape, grid.shape)


def cell_areas(shape: BaseGeometry, size: tuple[int, int]) -> Coverage:
    """Return the areas of the intersections of unit cells with polygons, as Earth Engine counts them: in 255 steps.

    A step is 1/256 of a cell, and a cell that is covered counts 255 of them. Sums that the service gave, of a known
    rectangle (https://imathworks.com/gis/calculate-categorical-image-area-based-on-frequency-histogram-in-google-earth-engine),
    are these to 4e-9 of an area and 3e-7 of a number of pixels; exact areas differ by 2e-5. Less than a step has no
    weight: https://developers.google.com/earth-engine/guides/reducers_weighting.

    Args:
        shape: the polygons, in pixels, valid.
        size: rows and columns of cells.
    """
    steps = np.floor(_exact_areas(shape, size) * 256.0 + _ROUNDING)
    return np.clip(steps, 0.0, 255.0) / 255.0


def _exact_areas(shape: BaseGeometry, size: tuple[int, int]) -> Coverage:
    """Add up along each row what lies right of the pieces into which the lines of the grid cut the edges."""
    height, width = size
    start, end, sign = _edges(shape)
    count = len(sign)
    cuts = [_cuts(start[:, axis], end[:, axis], limit) for axis, limit in ((0, width), (1, height))]
    edges = np.concatenate([np.arange(count), *(edge for edge, _ in cuts), np.arange(count)])
    parts = np.concatenate([np.zeros(count), *(part for _, part in cuts), np.ones(count)])
    order = np.lexsort((parts, edges))
    edges = edges[order]
    points = start[edges] + parts[order, None] * (end - start)[edges]
    same = edges[1:] == edges[:-1]
    middle = (points[1:] + points[:-1])[same] / 2.0
    fall = (points[1:, 1] - points[:-1, 1])[same] * sign[edges[1:][same]]
    column, row = np.floor(middle).astype(np.int64).T
    column = np.maximum(column, 0)
    here = (row >= 0) & (row < height) & (column < width)
    column, row, fall = column[here], row[here], fall[here]
    left = np.clip(middle[here, 0] - column, 0.0, 1.0)
    cells = row * (width + 1) + column
    sums = np.bincount(cells, fall * (1.0 - left), height * (width + 1))
    sums += np.bincount(cells + 1, fall * left, height * (width + 1))
    areas: Coverage = sums.reshape(height, width + 1).cumsum(axis=1)[:, :width]
    return areas


def _edges(shape: BaseGeometry) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the starts and ends of the edges of polygons, and the sign of each, by which holes are subtracted."""
    polygons = [part for part in _parts(shape) if part.geom_type == "Polygon"]
    rings, polygon = shapely.get_rings(polygons, return_index=True)
    is_outer = np.diff(polygon, prepend=-1) > 0
    sign = np.where(is_outer == shapely.is_ccw(rings), -1.0, 1.0)
    points, ring = shapely.get_coordinates(rings, return_index=True)
    is_edge = ring[1:] == ring[:-1]
    return points[:-1][is_edge], points[1:][is_edge], sign[ring[1:][is_edge]]


def _cuts(
    start: npt.NDArray[np.float64], end: npt.NDArray[np.float64], limit: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Return which edges cross whole numbers from 0 to a limit, and at which part of their length."""
    first = np.maximum(np.ceil(np.minimum(start, end)), 0.0)
    last = np.minimum(np.floor(np.maximum(start, end)), float(limit))
    counts = np.where(start == end, 0.0, np.maximum(last - first + 1.0, 0.0)).astype(np.int64)
    edges = np.repeat(np.arange(len(counts)), counts)
    whole = np.arange(len(edges)) - np.repeat(np.cumsum(counts) - counts, counts) + first[edges]
    return edges, (whole - start[edges]) / (end - start)[edges]
