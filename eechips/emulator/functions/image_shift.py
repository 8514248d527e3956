"""``ee.Image``: pixels moved to other places, without being resampled in between."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from affine import Affine

from eechips.emulator.functions.image_projection import projection_of
from eechips.emulator.functions.registration import function
from eechips.emulator.map_projection import WGS84, Projection, transform_shape
from eechips.emulator.model import PixelWindow
from eechips.emulator.pixels.lazy_image import Image, ImageBand, Pixels, Render
from eechips.emulator.pixels.location import locate
from eechips.emulator.pixels.pixel_grid import PixelGrid, metres_per_unit, parse_crs
from eechips.emulator.pixels.resampling import read_computed
from eechips.emulator.request_errors import InvalidError
from eechips.emulator.values import Geometry

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

        A grid of another CRS than the target's is read from a lattice in the target's, with pixels of its size.
        """
        chosen = [self.inputs[b] for b in bands]
        if parse_crs(grid.crs) == parse_crs(self.target.crs):
            return render.read(chosen, self._back(grid))
        location = locate(grid, self.target)
        lattice = Projection(self.target.crs, self.target.transform @ Affine.scale(location.scale or 1.0))
        whole = PixelGrid(lattice.crs, lattice.transform, 0, 0)

        def read(window: PixelWindow) -> list[Pixels]:
            under = whole.window(window.column, window.row, window.width, window.height)
            return render.read(chosen, self._back(under))

        return read_computed(read, len(chosen), locate(grid, lattice), grid.shape, "nearest")

    def _back(self, grid: PixelGrid) -> PixelGrid:
        step = self.source.transform @ ~self.target.transform
        return PixelGrid(self.source.crs, step @ grid.transform, grid.width, grid.height)


def _moved_bands(bands: Sequence[ImageBand], source: Projection, target: Projection) -> list[ImageBand]:
    raster = _Moved(tuple(bands), source, target)
    return [replace(band, raster=raster, index=index) for index, band in enumerate(bands)]


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
    return Geometry(
        transform_shape(shape, moved, WGS84, geodesic=False, tolerance=_TOLERANCE / metres_per_unit(WGS84.crs))
    )


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
