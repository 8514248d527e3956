"""``Image.mask``, ``updateMask``, ``selfMask`` and ``unmask``: masks, from 0 (masked) to 1 (valid)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from eechips_local.evaluation.asset_model import PixelType
from eechips_local.functions.images.image_math import matched, spread
from eechips_local.functions.registration import function
from eechips_local.pixels.lazy_image import Image, ImageBand, Mask, Pixels, bands_from
from eechips_local.pixels.pixelwise_rasters import (
    Clipped,
    PerPixel,
    PixelFunction,
    both,
    constant_image,
    expanded,
    mapped,
)
from eechips_local.pixels.types import bounds_of, union_type
from eechips_local.values.values import Geometry


@function("Image.mask")
def mask(image: Image, mask: Image | None) -> Image:
    """Return the mask as an image, or the image under another mask: pixels that it uncovers are zero."""
    if mask is None:
        return image.with_bands(mapped(image.bands, _mask_of, lambda _: PixelType("float", 0, 1)))
    masks = spread(mask, len(image.bands), "mask")
    functions = tuple(_covered(_nearest_to_zero(band.type)) for band in image.bands)
    raster = PerPixel(tuple(zip(image.bands, masks, strict=True)), functions)
    return image.with_bands(bands_from(raster, image.bands))


def _nearest_to_zero(kind: PixelType) -> float:
    ends = bounds_of(kind)
    return 0 if ends is None else min(max(0, ends[0]), ends[1])


def _covered(zero: float) -> PixelFunction:
    def cover(pixels: Sequence[Pixels]) -> Pixels:
        old, new = pixels
        wanted = as_mask(new)
        uncovered = (wanted > 0) & ~old.valid
        if not uncovered.any():
            return Pixels(old.values, wanted)
        filler = old.values.dtype.type(zero)
        return Pixels(np.where(expanded(uncovered, old.values.ndim), filler, old.values), wanted)

    return cover


def _mask_of(pixels: Sequence[Pixels]) -> Pixels:
    mask = pixels[0].mask
    values = mask.astype(np.uint8) if mask.dtype == bool else mask.astype(np.float32)
    return Pixels(values, np.broadcast_to(np.True_, mask.shape))


def as_mask(pixels: Pixels) -> Mask:
    """Return the values of a band as a mask: kept within 0 and 1, and 0 where the band is masked itself.

    An array pixel is valid where any of its elements is not zero.
    """
    values: Any = pixels.values
    if values.ndim > 2:
        values = (values != 0).reshape(*values.shape[:2], -1).any(axis=-1)
    if values.dtype.kind in "biu":
        return both(values > 0, pixels.mask)
    clipped = np.clip(np.nan_to_num(values), 0, 1)
    yes = clipped > 0
    return both(yes if (clipped[yes] == 1).all() else clipped, pixels.mask)


@function("Image.updateMask")
def update_mask(image: Image, mask: Image) -> Image:
    """Return the image under another mask where its own is not zero: the other replaces fractions (apidocs)."""
    masks = spread(mask, len(image.bands), "mask")
    raster = PerPixel(tuple(zip(image.bands, masks, strict=True)), (_updated,) * len(image.bands))
    return image.with_bands(bands_from(raster, image.bands))


def _updated(pixels: Sequence[Pixels]) -> Pixels:
    old, new = pixels
    return Pixels(old.values, both(as_mask(new), old.valid))


@function("Image.selfMask")
def self_mask(image: Image) -> Image:
    """Return the image, masked where it is zero."""
    return image.with_bands(mapped(image.bands, lambda pixels: _updated([pixels[0], pixels[0]])))


@function("Image.unmask")
def unmask(input: Image, value: Image | None, sameFootprint: bool) -> Image:
    """Return the image with a value where it is masked; by default only within its footprint.

    A value for an image without bands is refused, as operators refuse it (code 70311455079).
    """
    if value is not None and not input.bands:
        matched(input, value)
    filler = value if value is not None else constant_image([0])
    fillers = spread(filler, len(input.bands), "value")
    bounded = input.footprint is not None and not input.footprint.unbounded
    inside = fillers
    if sameFootprint and bounded:
        raster = Clipped(fillers, input.footprint)  # type: ignore[arg-type]
        inside = tuple(bands_from(raster, fillers))
    filled = PerPixel(tuple(zip(input.bands, inside, strict=True)), (_fill,) * len(input.bands))
    kinds = [union_type(band.type, filler.type) for band, filler in zip(input.bands, fillers, strict=True)]
    bands = bands_from(filled, input.bands, kinds=kinds)
    if sameFootprint or not bounded:
        return input.with_bands(bands)
    wider = [_widened(band, other) for band, other in zip(bands, fillers, strict=True)]
    return replace(input, bands=tuple(wider), footprint=_union(input.footprint, filler.footprint))


def _fill(pixels: Sequence[Pixels]) -> Pixels:
    from eechips_local.pixels.composite import underlay

    return underlay(pixels[0], pixels[1])


def _widened(band: ImageBand, other: ImageBand) -> ImageBand:
    """Return a band that also holds data where another does; unbounded unless both lie on one lattice."""
    if other.extent is None or band.extent is None or other.projection != band.projection:
        return replace(band, extent=None)
    a, b = band.extent, other.extent
    left, top = min(a.column, b.column), min(a.row, b.row)
    right = max(a.column + a.width, b.column + b.width)
    bottom = max(a.row + a.height, b.row + b.height)
    return replace(band, extent=replace(a, column=left, row=top, width=right - left, height=bottom - top))


def _union(first: Geometry | None, second: Geometry | None) -> Geometry | None:
    if first is None or second is None or first.unbounded or second.unbounded:
        return second if first is not None and not first.unbounded else first
    return Geometry(first.on_globe.union(second.on_globe))
