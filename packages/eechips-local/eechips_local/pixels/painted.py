"""Paint geometries onto images (``Image.paint``): which pixels polygons, outlines, lines and points cover."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely
from affine import Affine
from rasterio.features import rasterize
from shapely.geometry.base import BaseGeometry

from eechips_local.evaluation.asset_model import Bounds
from eechips_local.geometry.longitude_boxes import lonlat_bounds
from eechips_local.pixels.grids.area_fractions import centres_inside, in_pixels
from eechips_local.pixels.grids.pixel_grid import PixelGrid
from eechips_local.pixels.lazy_image import ImageBand, Mask, Pixels, Render
from eechips_local.values.values import Feature, Geometry

Features = Callable[[Bounds | None], Iterator[Feature]]
"""The features that may lie within bounds (None: anywhere), in the order in which they are painted."""

# How far a bent edge may lie from the straight pieces that approximate it, in pixels.
_TOLERANCE = 0.01
# A line without a width is drawn as wide as a pixel.
_HAIRLINE = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class Painted:
    """Bands with other values where geometries lie: ``Image.paint``.

    Attributes:
        inputs: what is painted upon.
        dtypes: data types of the results, band by band.
        features: what is painted, the last on top.
        color: the value of a feature, or None to leave it out.
        width: width of a feature's outline in pixels; None to fill it.
        reach: pixels by which features may reach into a grid from beside it.
    """

    inputs: Sequence[ImageBand]
    dtypes: tuple[np.dtype[Any], ...]
    features: Features
    color: Callable[[Feature], float | None]
    width: Callable[[Feature], float | None]
    reach: Callable[[], int]

    def read(self, bands: Sequence[int], grid: PixelGrid, render: Render) -> list[Pixels]:
        """Read the inputs and paints over them."""
        paint, painted = render.note(("paint", self, grid), lambda: self._paint(grid))
        under = render.read([self.inputs[b] for b in bands], grid)
        return [self._covered(b, below, paint, painted) for b, below in zip(bands, under, strict=True)]

    def _covered(self, band: int, below: Pixels, paint: npt.NDArray[np.float64], painted: Mask) -> Pixels:
        from eechips_local.pixels.types import cast_values

        dtype = self.dtypes[band]
        values = np.where(painted, cast_values(paint, dtype), cast_values(below.values, dtype))
        if below.mask.dtype == bool:
            return Pixels(values, below.mask | painted)
        return Pixels(values, np.where(painted, 1.0, below.mask))

    def _paint(self, grid: PixelGrid) -> tuple[npt.NDArray[np.float64], Mask]:
        paint, painted = np.zeros(grid.shape), np.zeros(grid.shape, dtype=bool)
        for feature in self.features(lonlat_bounds(grid.around(self.reach()))):
            value = self.color(feature)
            if value is None or feature.geometry is None:
                continue
            width = self.width(feature)
            where = _filled(feature.geometry, grid) if width is None else _outlined(feature.geometry, grid, width)
            paint[where] = value
            painted |= where
        return paint, painted


def _in_pixels(geometry: Geometry, grid: PixelGrid) -> BaseGeometry:
    return in_pixels(geometry, grid, _TOLERANCE)


def _filled(geometry: Geometry, grid: PixelGrid) -> npt.NDArray[np.bool_]:
    """Return pixels whose centre lies in a polygon, those that points lie in, and lines as wide as a pixel."""
    dimension = shapely.get_dimensions(geometry.shape)
    if geometry.unbounded or dimension == 2:
        return centres_inside(geometry, grid)
    shape = _in_pixels(geometry, grid)
    if dimension == 1:
        return _burnt(shapely.buffer(shape, _HAIRLINE / 2, cap_style="flat"), grid)
    covered = np.zeros(grid.shape, dtype=bool)
    columns, rows = np.floor(shapely.get_coordinates(shape).T + 1e-9)
    inside = (columns >= 0) & (columns < grid.width) & (rows >= 0) & (rows < grid.height)
    covered[rows[inside].astype(np.intp), columns[inside].astype(np.intp)] = True
    return covered


def _outlined(geometry: Geometry, grid: PixelGrid, width: float) -> npt.NDArray[np.bool_]:
    """Return pixels whose centre lies within half a width of a perimeter, a line or a point."""
    if geometry.unbounded or not width > 0:
        return np.zeros(grid.shape, dtype=bool)
    shape = _in_pixels(geometry, grid)
    line = shapely.boundary(shape) if shapely.get_dimensions(shape) == 2 else shape
    return _burnt(shapely.buffer(line, width / 2), grid)


def _burnt(shape: BaseGeometry, grid: PixelGrid) -> npt.NDArray[np.bool_]:
    if shape.is_empty or not shapely.intersects(shape, shapely.box(0, 0, grid.width, grid.height)):
        return np.zeros(grid.shape, dtype=bool)
    burnt: npt.NDArray[Any] = rasterize([(shape, 1)], out_shape=grid.shape, transform=Affine.identity(), dtype=np.uint8)
    return burnt.astype(bool)
