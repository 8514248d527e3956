"""``Image.clip``, ``clipToCollection`` and ``clipToBoundsAndScale``: clipping, to an outline or to a grid."""

from __future__ import annotations

import math
from dataclasses import replace

import shapely
from affine import Affine

from eechips_local.evaluation.asset_model import PixelWindow
from eechips_local.evaluation.type_conversion import outline_of
from eechips_local.functions.registration import function
from eechips_local.geometry.map_projection import Projection
from eechips_local.geometry.projected_shapes import columns_of_turn
from eechips_local.pixels.grids.area_fractions import pixels_touched
from eechips_local.pixels.lazy_image import Image, ImageBand
from eechips_local.pixels.pixelwise_rasters import Clipped
from eechips_local.protocol.request_errors import InvalidError
from eechips_local.values.values import Geometry, Value

# Bounds this close to an edge between pixels lie on it, but for rounding.
_SNAP = 1e-6
_UNBOUNDED = "The geometry for image clipping must be bounded."


def clipped(image: Image, geometry: Geometry) -> Image:
    """Return the image masked outside a geometry, with its extent and footprint reduced to that."""
    if geometry.unbounded:
        return image
    raster = Clipped(image.bands, geometry)
    bands = [
        replace(band, raster=raster, index=index, extent=_clip_extent(band, geometry))
        for index, band in enumerate(image.bands)
    ]
    footprint = replace(clipped_footprint(image, geometry), geodesic_ring=None)
    return replace(image, bands=tuple(bands), footprint=footprint)


def clipped_footprint(image: Image, geometry: Geometry) -> Geometry:
    """Return the part of an image's footprint within a geometry."""
    if image.footprint is None or image.footprint.unbounded:
        return geometry
    ours, theirs = image.footprint.on_globe, geometry.on_globe
    if shapely.contains_properly(ours, theirs):
        return geometry
    return Geometry(ours.intersection(theirs))


def _clip_extent(band: ImageBand, geometry: Geometry) -> PixelWindow:
    extent = band.extent
    column, row, width, height = pixels_touched(geometry, band.projection, extent)
    if extent is None:
        return PixelWindow(column, row, width, height)
    turn = columns_of_turn(band.projection)
    if turn is not None and extent.width >= math.floor(turn):  # it goes around the Earth
        extent = replace(extent, column=column, width=width)
    left, top = max(column, extent.column), max(row, extent.row)
    right = min(column + width, extent.column + extent.width)
    bottom = min(row + height, extent.row + extent.height)
    return PixelWindow(left, top, max(right - left, 0), max(bottom - top, 0))


@function("Image.clip")
def clip(input: Image, geometry: Value) -> Image:
    """Return the image masked outside a geometry or a feature's geometry, which must not be empty."""
    outline = as_geometry(geometry)
    if not outline.unbounded and outline.shape.is_empty:
        raise InvalidError("The geometry for image clipping must not be empty.")
    return clipped(input, outline)


@function("Image.clipToCollection")
def clip_to_collection(input: Image, collection: Value) -> Image:
    """Return the image masked outside all of a collection's geometries."""
    return clipped(input, as_geometry(collection))


def as_geometry(value: Value) -> Geometry:
    """Return the geometry of a geometry, feature or collection.

    Raises:
        InvalidError: if it has none.
    """
    outline = outline_of(value)
    if outline is None:
        raise InvalidError("Expected a Geometry, Feature or FeatureCollection.")
    return outline


_DEFAULT_TRANSFORM = Affine(1.0, 0.0, 0.0, 0.0, -1.0, 0.0)
"""Of the client's requests that have a crs and no transform."""


@function("Image.clipToBoundsAndScale")
def clip_to_bounds_and_scale(
    input: Image,
    geometry: Geometry | None,
    width: int | None,
    height: int | None,
    maxDimension: int | None,
    scale: float | None,
) -> Image:
    """Return the image on the bounding box of a geometry in its own projection, at a size or a scale.

    The signature of ``Image.clipToBoundsAndScale`` says which arguments exclude each other; the messages are ours.

    Bands without a projection of their own get that of the first band that has one: with the masked bands of a
    Sentinel-2 image of 2020, geedim finds no smaller pixels in the result than those of its other bands
    (tests/test_image.py, ``test_prepare_for_export``).
    """
    if maxDimension is not None and (width is not None or height is not None):
        raise InvalidError("Cannot specify both maxDimension and width or height.")
    if scale is not None and (maxDimension is not None or width is not None or height is not None):
        raise InvalidError("Cannot specify both scale and maxDimension, width or height.")
    if (width is None) != (height is None):
        raise InvalidError("Must specify both width and height, or neither.")
    if scale is not None and not scale > 0:
        raise InvalidError(f"The scale must be greater than zero; found {scale}.")
    for size in (width, height, maxDimension):
        if size is not None and size <= 0:
            raise InvalidError("Pixel grid dimensions must be positive.")
    if geometry is not None and geometry.unbounded:
        raise InvalidError(_UNBOUNDED)
    first = next((band for band in input.bands if band.fixed), None)
    placed = [
        band if band.fixed or first is None else replace(band, projection=first.projection, extent=first.extent)
        for band in input.bands
    ]
    bands = [
        _resized(band, geometry or _own_bounds(band, input), width, height, maxDimension, scale) for band in placed
    ]
    footprint = input.footprint if geometry is None or not bands else _grid_footprint(input, geometry, bands[0])
    return replace(input, bands=tuple(bands), footprint=footprint)


def _grid_footprint(image: Image, region: Geometry, band: ImageBand) -> Geometry:
    """Return the part of an image's footprint on the new grid of a band, in the projection of the grid.

    geedim's tests compare footprints of exported images with bounds in their CRS (tests/test_cli.py,
    ``test_prepare_export_collection_buffer``).
    """
    assert band.extent is not None
    pixels = shapely.box(0, 0, band.extent.width, band.extent.height)
    whole = image.footprint
    if whole is not None and not whole.unbounded and not shapely.contains_properly(whole.on_globe, region.on_globe):
        pixels = pixels.intersection(whole.within(band.projection, 0.01))
    return Geometry(pixels, band.projection)


def _own_bounds(band: ImageBand, image: Image) -> Geometry:
    """Return the extent of a band, on whose pixels it stays; an image of unbounded bands has that of its outline.

    The client sets a default transform for a request that has a crs and no transform: pixels of one degree or metre
    that "later operations can alter" (``Image._apply_crs_and_affine`` of earthengine-api 1.7.50). An extent in whole
    degrees is not one that the request has asked for, so the outline counts. It does of composites, whose pixels have
    one degree: Sentinel2GlobalLULC is clipped to 0.02 degrees and exported at a scale of 10 without a region, and has
    tiles of 224 x 224 pixels (https://doi.org/10.1038/s41597-022-01775-8; its exporter.py).

    Raises:
        InvalidError: if there is neither.
    """
    is_outlined = image.footprint is not None and not image.footprint.unbounded
    is_default = band.projection.transform in (_DEFAULT_TRANSFORM, Affine.identity())
    if band.extent is not None and not (is_outlined and is_default):
        e = band.extent
        return Geometry(shapely.box(e.column, e.row, e.column + e.width, e.row + e.height), band.projection)
    if image.footprint is None or image.footprint.unbounded:
        raise InvalidError(_UNBOUNDED)
    return image.footprint


def _resized(
    band: ImageBand, region: Geometry, width: int | None, height: int | None, longest: int | None, scale: float | None
) -> ImageBand:
    """Return a band on the bounds of a region.

    With a size, the pixels divide the bounds exactly. Else they are those of the band's own lattice, at its own or
    another scale, that meet the bounds: so a region that is not aligned gives one row or column more.
    """
    lattice = band.projection
    # Rows of the default projection of composites go up, those of files go down. A region in the pixels of the band's
    # own lattice, as the client makes it of a crs_transform, keeps their direction.
    is_own = region.projection == lattice and lattice.transform != Affine.identity()
    if lattice.transform.e > 0 and not is_own:
        lattice = lattice.scaled(1, -1)
    if scale is not None:
        lattice = lattice.at_scale(scale)
    left, top, right, bottom = _snapped_bounds(region, lattice)
    if width is None and height is None and longest is None:
        left, top = math.floor(left), math.floor(top)
        columns, rows = max(1, math.ceil(right - left)), max(1, math.ceil(bottom - top))
        step = Affine.identity()
    else:
        left, right = _opened(left, right)
        top, bottom = _opened(top, bottom)
        columns, rows = _dimensions(right - left, bottom - top, width, height, longest)
        step = Affine.scale((right - left) / columns, (bottom - top) / rows)
    transform = lattice.transform @ Affine.translation(left, top) @ step
    return replace(
        band, projection=Projection(lattice.crs, transform), extent=PixelWindow(0, 0, columns, rows), fixed=True
    )


def _opened(low: float, high: float) -> tuple[float, float]:
    """Return the pixel that a point lies in; anything that has an extent as it is."""
    return (low, high) if high > low else (math.floor(low), math.floor(low) + 1)


def _snapped_bounds(region: Geometry, lattice: Projection) -> tuple[float, float, float, float]:
    """Return bounds in pixels, freed of rounding where they are whole numbers.

    Raises:
        InvalidError: if the region is empty or cannot be projected.
    """
    bounds = region.within(lattice, 0.01).bounds
    if not all(map(math.isfinite, bounds)):
        raise InvalidError("Unable to find the bounds of the geometry in the projection of the image.")
    left, top, right, bottom = (float(round(v)) if abs(v - round(v)) < _SNAP else v for v in bounds)
    return left, top, right, bottom


def _dimensions(
    across: float, down: float, width: int | None, height: int | None, longest: int | None
) -> tuple[int, int]:
    if width is not None and height is not None:
        return width, height
    if longest is not None:
        width, height = (longest, None) if across >= down else (None, longest)
    if width is not None:
        return width, max(1, round(width * down / across))
    assert height is not None
    return max(1, round(height * across / down)), height
