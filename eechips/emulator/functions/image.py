"""``ee.Image``: loading, bands, masks, projections and clipping."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from affine import Affine

from eechips.emulator.context import Context
from eechips.emulator.errors import InvalidError
from eechips.emulator.functions.registry import function
from eechips.emulator.model import ImageAsset, PixelType, Window
from eechips.emulator.pixels.compute import Clipped, PerPixel, both
from eechips.emulator.pixels.constant import constant_image
from eechips.emulator.pixels.coverage import pixels_touched
from eechips.emulator.pixels.image import Band, Image, Pixels
from eechips.emulator.pixels.resample import Method
from eechips.emulator.pixels.stored import Reprojected, Stored, stored_image
from eechips.emulator.projection import Projection
from eechips.emulator.values import Array, Collection, Date, Feature, Geometry, Value


@function("Image.load")
def load(context: Context, id: str, version: int) -> Image:
    """A stored image."""
    asset = context.note(("asset", id), lambda: context.store.get(id.strip("/")))
    if not isinstance(asset, ImageAsset):
        found = "not found (does not exist or caller does not have access)."
        raise InvalidError(
            f"Image asset '{id}' {found}" if asset is None else f"Asset '{id}' is not an Image."
        )
    return context.note(("image", id), lambda: stored_image(asset))


@function("Image.constant")
def constant(value: Value) -> Image:
    """An image that is the same everywhere: a number, an array, or a list of them as bands."""
    if isinstance(value, Image):
        return value
    values = value if isinstance(value, list) else [value]
    if not values or not all(isinstance(v, (bool, int, float, Array)) for v in values):
        raise InvalidError("Constant images are made from numbers, arrays, or lists of them.")
    return constant_image(values)


def choose(image: Image, selectors: Sequence[Any]) -> list[Band]:
    """The bands that selectors name: names, regular expressions or indices.

    Raises:
        InvalidError: if a selector matches nothing.
    """
    chosen: list[Band] = []
    by_name = {band.name: band for band in image.bands}
    for selector in selectors:
        if isinstance(selector, str):
            if selector in by_name:
                chosen.append(by_name[selector])
                continue
            try:
                pattern = re.compile(selector)
            except re.error as error:
                raise InvalidError(f"Invalid band pattern '{selector}': {error}.") from error
            matching = [band for band in image.bands if pattern.fullmatch(band.name)]
            if not matching:
                raise InvalidError(
                    f"Band pattern '{selector}' did not match any bands. "
                    f"Available bands: [{', '.join(by_name)}]"
                )
            chosen.extend(matching)
        elif isinstance(selector, (int, float)) and not isinstance(selector, bool):
            index = int(selector)
            if not -len(image.bands) <= index < len(image.bands):
                raise InvalidError(f"Band index {index} is out of range: the image has {len(image.bands)} bands.")
            chosen.append(image.bands[index])
        else:
            raise InvalidError(f"Band selectors are names, patterns or indices, not {selector!r}.")
    return chosen


def unique_names(names: Sequence[str], taken: Sequence[str] = ()) -> list[str]:
    """Names made unique by appending _1, _2, … as Earth Engine does."""
    used = set(taken)
    result = []
    for name in names:
        unique, count = name, 0
        while unique in used:
            count += 1
            unique = f"{name}_{count}"
        used.add(unique)
        result.append(unique)
    return result


@function("Image.select")
def select(input: Image, bandSelectors: list[Any], newNames: list[str] | None) -> Image:
    """Some of the bands, perhaps renamed."""
    chosen = choose(input, bandSelectors)
    if newNames is None:
        names = unique_names([band.name for band in chosen])
    elif len(newNames) != len(chosen):
        raise InvalidError(
            f"Image.select: The number of names ({len(newNames)}) must match the number of bands ({len(chosen)})."
        )
    else:
        names = newNames
    return input.with_bands([replace(band, name=name) for band, name in zip(chosen, names, strict=True)])


@function("Image.rename")
def rename(input: Image, names: list[str]) -> Image:
    """All bands under new names."""
    if len(names) != len(input.bands):
        raise InvalidError(
            f"The input image has {len(input.bands)} bands, but {len(names)} new names were given."
        )
    if len(set(names)) != len(names):
        raise InvalidError("Band names must be unique.")
    return input.with_bands([replace(band, name=name) for band, name in zip(input.bands, names, strict=True)])


@function("Image.addBands")
def add_bands(dstImg: Image, srcImg: Image, names: list[str] | None, overwrite: bool) -> Image:
    """The first image's bands, then those of the second."""
    added = choose(srcImg, names) if names is not None else list(srcImg.bands)
    present = {band.name: position for position, band in enumerate(dstImg.bands)}
    if overwrite:
        bands = list(dstImg.bands)
        for band in added:
            if band.name in present:
                bands[present[band.name]] = band
            else:
                bands.append(band)
        return dstImg.with_bands(bands)
    renamed = unique_names([band.name for band in added], list(present))
    return dstImg.with_bands(
        [*dstImg.bands, *(replace(band, name=name) for band, name in zip(added, renamed, strict=True))]
    )


@function("Image.bandNames")
def band_names(image: Image) -> list[str]:
    """Names of the bands."""
    return [band.name for band in image.bands]


@function("Image.bandTypes")
def band_types(image: Image) -> dict[str, PixelType]:
    """Types of the bands by name."""
    return {band.name: band.type for band in image.bands}


def projection_of(image: Image) -> Projection:
    """The one default projection of an image's bands.

    Raises:
        InvalidError: if it has no bands or they differ.
    """
    if not image.bands:
        raise InvalidError("The image has no bands.")
    found = {band.projection for band in image.bands}
    if len(found) > 1:
        raise InvalidError(
            "The bands of the specified image contains different projections. Use Image.select to pick a single band."
        )
    return image.bands[0].projection


@function("Image.projection")
def projection(image: Image) -> Projection:
    """The default projection."""
    return projection_of(image)


def target_projection(crs: Projection, transform: list[float] | None, scale: float | None) -> Projection:
    """The projection that a crs with a transform or a scale stands for.

    Raises:
        InvalidError: if both are given, or the transform is not six numbers.
    """
    if transform is not None:
        if scale is not None:
            raise InvalidError("Cannot specify both crsTransform and scale.")
        if len(transform) != 6:
            raise InvalidError("A crsTransform must be a list of 6 numbers.")
        return Projection(crs.crs, Affine(*transform))
    if scale is not None:
        if not scale > 0:
            raise InvalidError(f"The scale must be greater than zero; found {scale}.")
        return crs.at_scale(scale)
    return crs


@function("Image.reproject")
def reproject(image: Image, crs: Projection, crsTransform: list[float] | None, scale: float | None) -> Image:
    """The image computed on the pixels of a projection."""
    target = target_projection(crs, crsTransform, scale)
    raster = Reprojected(image.bands, target)
    return image.with_bands(
        [
            replace(
                band, raster=raster, index=index, projection=target, extent=_extent_in(image.footprint, target),
                fixed=True,
            )
            for index, band in enumerate(image.bands)
        ]
    )  # fmt: skip


def _extent_in(footprint: Geometry | None, lattice: Projection) -> Window | None:
    if footprint is None or footprint.unbounded:
        return None
    return Window(*pixels_touched(footprint, lattice))


@function("Image.setDefaultProjection")
def set_default_projection(
    image: Image, crs: Projection, crsTransform: list[float] | None, scale: float | None
) -> Image:
    """Another default projection; no pixel is touched."""
    target = target_projection(crs, crsTransform, scale)
    extent = _extent_in(image.footprint, target)
    return image.with_bands([replace(b, projection=target, extent=extent, fixed=True) for b in image.bands])


@function("Image.resample")
def resample(image: Image, mode: str) -> Image:
    """Bilinear or bicubic interpolation instead of the nearest neighbour, where the inputs are read."""
    methods: Mapping[str, Method] = {"bilinear": "bilinear", "bicubic": "bicubic"}
    if mode not in methods:
        raise InvalidError(f"Unknown resampling mode '{mode}'. Must be one of 'bilinear' and 'bicubic'.")
    return image.with_bands([_interpolated(band, methods[mode]) for band in image.bands])


def _interpolated(band: Band, method: Method) -> Band:
    kind = band.type if band.type.precision != "int" else PixelType("float")
    if isinstance(band.raster, (Stored, Reprojected)):
        return replace(band, raster=replace(band.raster, method=method), type=kind)
    if not band.fixed:
        return band
    return replace(band, raster=Reprojected((band,), band.projection, method), index=0, type=kind)


def clipped(image: Image, geometry: Geometry) -> Image:
    """The image masked outside a geometry, with its extent and footprint reduced to that."""
    if geometry.unbounded:
        return image
    raster = Clipped(image.bands, geometry)
    bands = [
        replace(band, raster=raster, index=index, extent=_clip_extent(band, geometry))
        for index, band in enumerate(image.bands)
    ]
    footprint = geometry
    if image.footprint is not None and not image.footprint.unbounded:
        footprint = Geometry(image.footprint.lonlat.intersection(geometry.lonlat))
    return replace(image, bands=tuple(bands), footprint=footprint)


def _clip_extent(band: Band, geometry: Geometry) -> Window:
    column, row, width, height = pixels_touched(geometry, band.projection)
    extent = band.extent
    if extent is None:
        return Window(column, row, width, height)
    left, top = max(column, extent.column), max(row, extent.row)
    right = min(column + width, extent.column + extent.width)
    bottom = min(row + height, extent.row + extent.height)
    return Window(left, top, max(right - left, 0), max(bottom - top, 0))


@function("Image.clip")
def clip(input: Image, geometry: Value) -> Image:
    """The image masked outside a geometry or a feature's geometry."""
    return clipped(input, as_geometry(geometry))


@function("Image.clipToCollection")
def clip_to_collection(input: Image, collection: Value) -> Image:
    """The image masked outside all of a collection's geometries."""
    return clipped(input, as_geometry(collection))


def as_geometry(value: Value) -> Geometry:
    """The geometry of a geometry, feature or collection.

    Raises:
        InvalidError: if it has none.
    """
    from eechips.emulator.geometry import collection_geometry

    if isinstance(value, Geometry):
        return value
    if isinstance(value, Feature) and value.geometry is not None:
        return value.geometry
    if isinstance(value, Collection):
        return collection_geometry(value)
    if isinstance(value, Image) and value.footprint is not None:
        return value.footprint
    raise InvalidError("Expected a Geometry, Feature or FeatureCollection.")


@function("Image.clipToBoundsAndScale")
def clip_to_bounds_and_scale(
    input: Image,
    geometry: Geometry | None,
    width: int | None,
    height: int | None,
    maxDimension: int | None,
    scale: float | None,
) -> Image:
    """The image on the bounding box of a geometry in its own projection, at a size or a scale."""
    if maxDimension is not None and (width is not None or height is not None):
        raise InvalidError("Cannot specify both maxDimension and width or height.")
    if scale is not None and not scale > 0:
        raise InvalidError(f"The scale must be greater than zero; found {scale}.")
    for size in (width, height, maxDimension):
        if size is not None and size <= 0:
            raise InvalidError("Pixel grid dimensions must be positive.")
    region = geometry if geometry is not None else input.footprint
    if region is None or region.unbounded:
        raise InvalidError("Unable to find the bounds of an unbounded image; specify a region.")
    inside = clipped(input, region) if geometry is not None else input
    bands = [
        _resized(original, band, region, width, height, maxDimension, scale)
        for original, band in zip(input.bands, inside.bands, strict=True)
    ]
    return inside.with_bands([replace(b, raster=o.raster, index=o.index) for b, o in zip(bands, input.bands, strict=True)])


def _resized(
    original: Band,
    band: Band,
    region: Geometry,
    width: int | None,
    height: int | None,
    longest: int | None,
    scale: float | None,
) -> Band:
    lattice = original.projection
    left, top, right, bottom = _snapped_bounds(region, lattice)
    across, down = right - left, bottom - top
    upwards = lattice.transform.e > 0  # rows of the default projection of composites go up
    if scale is not None:
        edge = scale / lattice.nominal_scale
        columns, rows = max(1, round(across / edge)), max(1, round(down / edge))
        step_x = step_y = edge
    else:
        columns, rows = _dimensions(across, down, width, height, longest)
        step_x, step_y = across / columns, down / rows
    corner = Affine.translation(left, bottom if upwards else top)
    step = Affine.scale(step_x, -step_y if upwards else step_y)
    transform = lattice.transform * corner * step
    return replace(
        band, projection=Projection(lattice.crs, transform), extent=Window(0, 0, columns, rows), fixed=True
    )


def _snapped_bounds(region: Geometry, lattice: Projection) -> tuple[float, float, float, float]:
    """Bounds in pixels, freed of rounding where they are whole numbers."""
    bounds = region.within(lattice, 0.01).bounds
    left, top, right, bottom = (float(round(v)) if abs(v - round(v)) < 1e-6 else v for v in bounds)
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
    if height is not None:
        return max(1, round(height * across / down)), height
    return max(1, round(across)), max(1, round(down))


@function("Image.mask")
def mask(image: Image, mask: Image | None) -> Image:
    """The mask as an image, or the image under another mask."""
    if mask is None:
        functions = tuple(_mask_of for _ in image.bands)
        raster = PerPixel(tuple((b,) for b in image.bands), functions)
        kind = PixelType("float", 0, 1)
        return image.with_bands([replace(b, raster=raster, index=i, type=kind) for i, b in enumerate(image.bands)])
    return _masked(image, mask, keep=False)


def _mask_of(pixels: Sequence[Pixels]) -> Pixels:
    mask = pixels[0].mask
    values = mask.astype(np.uint8) if mask.dtype == bool else mask.astype(np.float32)
    return Pixels(values, np.broadcast_to(np.True_, mask.shape))


@function("Image.updateMask")
def update_mask(image: Image, mask: Image) -> Image:
    """The image, masked further."""
    return _masked(image, mask, keep=True)


@function("Image.selfMask")
def self_mask(image: Image) -> Image:
    """The image, masked where it is zero."""
    return _masked(image, image, keep=True)


def _masked(image: Image, mask: Image, *, keep: bool) -> Image:
    if len(mask.bands) not in (1, len(image.bands)):
        raise InvalidError(
            f"The mask must have one band or as many as the image ({len(image.bands)}); it has {len(mask.bands)}."
        )
    masks = mask.bands * len(image.bands) if len(mask.bands) == 1 else mask.bands

    def under(pixels: Sequence[Pixels]) -> Pixels:
        values, new = pixels
        wanted = both(_as_mask(new.values), new.mask)
        return Pixels(values.values, both(values.mask, wanted) if keep else wanted)

    raster = PerPixel(tuple(zip(image.bands, masks, strict=True)), tuple(under for _ in image.bands))
    return image.with_bands([replace(b, raster=raster, index=i) for i, b in enumerate(image.bands)])


def _as_mask(values: Any) -> Any:
    """Mask values of any type: whole numbers are yes or no, fractions stay, all within 0 and 1."""
    if values.dtype.kind in "biu":
        return values != 0
    clipped_values = np.clip(np.nan_to_num(values), 0, 1)
    return clipped_values > 0 if np.isin(clipped_values, (0, 1)).all() else clipped_values


@function("Image.unmask")
def unmask(input: Image, value: Image | None, sameFootprint: bool) -> Image:
    """The image with a value where it is masked; by default only within its footprint."""
    filler = value if value is not None else constant_image([0])
    if len(filler.bands) not in (1, len(input.bands)):
        raise InvalidError("The value must have one band or as many as the image.")
    fillers = filler.bands * len(input.bands) if len(filler.bands) == 1 else filler.bands
    inside: tuple[Band, ...] = fillers
    if sameFootprint and input.footprint is not None and not input.footprint.unbounded:
        raster = Clipped(fillers, input.footprint)
        inside = tuple(replace(band, raster=raster, index=i) for i, band in enumerate(fillers))

    def fill(pixels: Sequence[Pixels]) -> Pixels:
        from eechips.emulator.pixels.composite import underlay

        return underlay(pixels[0], pixels[1])

    filled = PerPixel(tuple(zip(input.bands, inside, strict=True)), tuple(fill for _ in input.bands))
    return input.with_bands(
        [
            replace(band, raster=filled, index=i, type=union_type(band.type, fillers[i].type))
            for i, band in enumerate(input.bands)
        ]
    )


def union_type(first: PixelType, second: PixelType) -> PixelType:
    """The narrowest type that holds the values of two."""
    order = ("int", "float", "double")
    precision = first.precision if order.index(first.precision) >= order.index(second.precision) else second.precision
    if precision != "int" or None in (first.minimum, second.minimum, first.maximum, second.maximum):
        return PixelType(precision, dimensions=max(first.dimensions, second.dimensions))
    low = min(first.minimum, second.minimum)  # type: ignore[type-var]
    high = max(first.maximum, second.maximum)  # type: ignore[type-var]
    return PixelType("int", low, high, max(first.dimensions, second.dimensions))


@function("Image.geometry")
def geometry(feature: Image | Feature, maxError: Any, proj: Any, geodesics: Any) -> Geometry | None:
    """The footprint."""
    return feature.footprint if isinstance(feature, Image) else feature.geometry


@function("Image.date")
def date(image: Image) -> Date:
    """``system:time_start``."""
    start = image.properties.get("system:time_start")
    if start is None:
        raise InvalidError("The image has no 'system:time_start' property.")
    return start if isinstance(start, Date) else Date(float(start))


@function("Image.metadata")
def metadata(image: Image, property: str, name: str | None) -> Image:
    """A property's value as a constant image."""
    value = image.properties.get(property)
    if isinstance(value, Date):
        value = value.milliseconds
    if not isinstance(value, (int, float)):
        raise InvalidError(f"The property '{property}' is not a number.")
    return replace(constant_image([value], [name or property]), footprint=image.footprint)
