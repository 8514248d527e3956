"""``Image.translate``, ``changeProj`` and ``displace``: pixels moved to other places, without being resampled in
between.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from affine import Affine

from eechips_local.evaluation.asset_model import PixelWindow
from eechips_local.functions.images.image_projection import projection_of
from eechips_local.functions.registration import function
from eechips_local.geometry.map_projection import WGS84, Projection
from eechips_local.pixels.grids.location import Location, centres_of, locate, locate_once
from eechips_local.pixels.grids.pixel_grid import PixelGrid, apply, metres_per_unit, parse_crs, transformer
from eechips_local.pixels.grids.reprojection import Reprojected, Resampled, held_by, level_factor, read_lattice
from eechips_local.pixels.grids.resampling import Method, read_computed
from eechips_local.pixels.lazy_image import Image, ImageBand, Pixels, Render, bands_from
from eechips_local.pixels.stored_image import Stored
from eechips_local.pixels.types import FLOAT
from eechips_local.protocol.request_errors import InvalidError, check_choice
from eechips_local.values.values import Geometry

Floats = npt.NDArray[np.float64]

_TOLERANCE = 1.0
"""Metres by which an outline may be off."""
_FARTHEST = 1e12
"""Units of a CRS beyond which nothing lies."""


@dataclass(frozen=True, slots=True, eq=False)
class _Moved:
    """Bands that show at some coordinates of one projection what lies at the same coordinates of another.

    Attributes:
        inputs: what is shown.
        source: where the inputs lie.
        target: where they appear.
    """

    inputs: Sequence[ImageBand]
    source: Projection
    target: Projection

    def read(self, bands: Sequence[int], grid: PixelGrid, render: Render) -> list[Pixels]:
        """Read the inputs on the grid that the output's becomes in the source projection.

        For a grid of another CRS than the target's they are computed on lattices in the target's, and taken from there.
        """
        chosen = [self.inputs[b] for b in bands]
        if parse_crs(grid.crs) == parse_crs(self.target.crs):
            return render.read(chosen, self._back(grid))
        alike: dict[tuple[Projection, Method], list[int]] = {}
        for position, band in enumerate(chosen):
            alike.setdefault((self._level(band, grid, render), _method_of(band)), []).append(position)
        pixels: dict[int, Pixels] = {}
        for (level, method), positions in alike.items():
            inputs = [chosen[position] for position in positions]
            pixels.update(zip(positions, self._resampled(inputs, level, method, grid, render), strict=True))
        return [pixels[position] for position in range(len(chosen))]

    def _level(self, band: ImageBand, grid: PixelGrid, render: Render) -> Projection:
        """Return the lattice to compute a band on: one that is the same for all windows of an output.

        That is the level of its own lattice, where it appears, as of an image that is not moved; else one of the target
        whose pixels are no larger than the output's.
        """
        if band.fixed and parse_crs(band.projection.crs) == parse_crs(self.source.crs):
            own = Projection(self.target.crs, self.step @ band.projection.transform)
            return own.scaled(level_factor(locate_once(own, grid, render).scale))
        scale = locate_once(self.target, grid, render).scale
        return self.target.scaled(2.0 ** math.floor(math.log2(scale)) if scale > 0.0 else 1.0)

    def _resampled(
        self, inputs: Sequence[ImageBand], level: Projection, method: Method, grid: PixelGrid, render: Render
    ) -> list[Pixels]:
        def back(window: PixelWindow) -> PixelGrid:
            return self._back(level.window(window.column, window.row, window.width, window.height))

        def held(window: PixelWindow) -> npt.NDArray[np.bool_]:
            return np.stack([held_by(band, back(window), render) for band in inputs])

        location = locate_once(level, grid, render)
        return read_computed(
            lambda window: render.read(inputs, back(window)), len(inputs), location, grid.shape, method, held
        )

    @property
    def step(self) -> Affine:
        """Return the transform from coordinates of the source to coordinates of the target."""
        step: Affine = self.target.transform @ ~self.source.transform
        return step

    def _back(self, grid: PixelGrid) -> PixelGrid:
        return PixelGrid(self.source.crs, ~self.step @ grid.transform, grid.width, grid.height)


def _method_of(band: ImageBand) -> Method:
    """Return how a band is interpolated between pixels of its lattice."""
    raster = band.raster
    return raster.method if isinstance(raster, (Stored, Reprojected, Resampled)) else "nearest"


def _moved_bands(bands: Sequence[ImageBand], source: Projection, target: Projection) -> list[ImageBand]:
    raster = _Moved(tuple(bands), source, target)
    return bands_from(raster, bands)


@function("Image.translate")
def translate(input: Image, x: float, y: float, units: str, proj: Projection | None) -> Image:
    """Return the image moved by metres, or by pixels of a projection; by default that of its first band."""
    if units not in ("meters", "pixels"):
        raise InvalidError(f"Unknown units '{units}'. Must be 'meters' or 'pixels'.")
    if not input.bands:
        return input
    along = proj if proj is not None else input.bands[0].projection
    if units == "pixels":
        step = along.transform @ Affine.translation(x, y) @ ~along.transform
    else:
        unit = metres_per_unit(along.crs)
        step = Affine.translation(x / unit, y / unit)
    if not all(abs(part) < _FARTHEST for part in step):
        raise InvalidError(f"The image cannot be translated by {x} and {y}.")
    source = Projection(along.crs)
    moved = _moved_bands(input.bands, source, Projection(along.crs, step))
    bands = [
        replace(band, projection=Projection(along.crs, step @ band.projection.transform))
        if band.projection.crs == along.crs
        else replace(band, extent=None)
        for band in moved
    ]
    return replace(input.with_bands(bands), footprint=_footprint(input.footprint, source, step))


def _footprint(footprint: Geometry | None, projection: Projection, step: Affine) -> Geometry | None:
    if footprint is None or footprint.unbounded:
        return footprint
    shape = footprint.within(projection, _TOLERANCE / metres_per_unit(projection.crs))
    moved = Projection(projection.crs, step)
    return Geometry(Geometry(shape, moved).within(WGS84, _TOLERANCE / metres_per_unit(WGS84.crs)))


@function("Image.changeProj")
def change_projection(input: Image, srcProj: Projection, dstProj: Projection) -> Image:
    """Return each pixel moved from its place in one projection to the same coordinates in another."""
    if input.bands:
        projection_of(input)
    moved = _moved_bands(input.bands, srcProj, dstProj)
    step = dstProj.transform @ ~srcProj.transform
    bands = [
        replace(band, projection=Projection(dstProj.crs, step @ band.projection.transform))
        if parse_crs(band.projection.crs) == parse_crs(srcProj.crs)
        else replace(band, projection=dstProj, extent=None)
        for band in moved
    ]
    return replace(input.with_bands(bands), footprint=None)


# Warps

_MODES: Mapping[str, Method] = {"nearest_neighbor": "nearest", "bilinear": "bilinear", "bicubic": "bicubic"}


@dataclass(frozen=True, slots=True, eq=False)
class _Displaced:
    """Bands that show what lies at some distance from each pixel.

    Attributes:
        inputs: what is shown.
        lattice: lattice of the inputs.
        displacement: metres to the right and upwards in ``crs``.
        crs: the CRS of the displacement.
        method: method of interpolation between pixels of the lattice.
        most: greatest metres along either axis; pixels with greater ones are masked.
    """

    inputs: Sequence[ImageBand]
    lattice: Projection
    displacement: tuple[ImageBand, ImageBand]
    crs: str
    method: Method
    most: float

    def read(self, bands: Sequence[int], grid: PixelGrid, render: Render) -> list[Pixels]:
        """Read the displacements on the grid, and the inputs on the level whose pixels are no larger than its own."""
        chosen = [self.inputs[b] for b in bands]
        shift = render.read(self.displacement, grid)
        scale = locate(grid, self.lattice).scale
        factor = level_factor(scale)
        level = self.lattice.scaled(factor)
        columns, rows = self._places(grid, level, shift)
        location = Location(columns, rows, scale / factor)
        # Others hardly read the same places: what led to these pixels is not kept.
        return read_lattice(chosen, level, location, grid, render.emptied("location"), self.method)

    def _places(self, grid: PixelGrid, level: Projection, shift: Sequence[Pixels]) -> tuple[Floats, Floats]:
        """Return columns and rows of the level that are shown at each pixel, NaN where there are none."""
        x, y = (p.values.astype(np.float64) for p in shift)
        known = shift[0].valid & shift[1].valid & (np.abs(x) <= self.most) & (np.abs(y) <= self.most)
        centres = np.meshgrid(centres_of(grid.width), centres_of(grid.height))
        here = transformer(grid.crs, self.crs).transform(*apply(grid.transform, *centres))
        unit = metres_per_unit(self.crs)
        moved = transformer(self.crs, level.crs).transform(here[0] + x / unit, here[1] + y / unit)
        places = apply(~level.transform, np.asarray(moved[0]), np.asarray(moved[1]))
        with np.errstate(invalid="ignore"):
            known &= np.isfinite(places[0]) & np.isfinite(places[1])
        return np.where(known, places[0], np.nan), np.where(known, places[1], np.nan)


@function("Image.displace")
def displace(image: Image, displacement: Image, mode: str, maxOffset: float | None) -> Image:
    """Return an image that shows at each pixel what lies at a displacement from it.

    https://developers.google.com/earth-engine/apidocs/ee-image-displace: the first band is added to the pixel's x, the
    second to its y, in metres in the projection of the displacement. Pixels are masked where it is masked or greater
    than ``maxOffset``. Bands keep their own projections, as https://developers.google.com/earth-engine/guides/register
    displaces images of SkySat whose bands have two.
    """
    check_choice("mode", mode, _MODES)
    if len(displacement.bands) < 2 or any(band.type.dimensions for band in displacement.bands[:2]):
        raise InvalidError("The displacement must have two scalar bands.")
    if maxOffset is not None and not maxOffset >= 0:
        raise InvalidError(f"The maxOffset must not be negative; found {maxOffset}.")
    method = _MODES[mode]
    if method != "nearest" and any(band.type.dimensions for band in image.bands):
        raise InvalidError(f"Arrays cannot be displaced by the mode '{mode}'.")
    first, second = displacement.bands[:2]
    most = math.inf if maxOffset is None else maxOffset
    alike: dict[Projection, list[ImageBand]] = {}
    for band in image.bands:
        alike.setdefault(band.projection, []).append(band)
    rasters = {
        lattice: _Displaced(inputs, lattice, (first, second), first.projection.crs, method, most)
        for lattice, inputs in alike.items()
    }
    bands = []
    for band in image.bands:
        kind = band.type if method == "nearest" or band.type.precision != "int" else FLOAT
        index = alike[band.projection].index(band)
        bands.append(replace(band, raster=rasters[band.projection], index=index, type=kind))
    return image.with_bands(bands)
