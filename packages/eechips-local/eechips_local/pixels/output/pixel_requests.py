"""Render thumbnails, downloads, ``computePixels``, ``getPixels`` and map tiles: grids, regions, formats, greatest sizes
("Pixel grid dimensions", "Total request size").
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import shapely
from affine import Affine
from shapely.geometry import shape as shape_of

from eechips_local.evaluation.context import Context
from eechips_local.evaluation.expression_evaluator import Evaluator
from eechips_local.evaluation.type_conversion import type_name
from eechips_local.functions.images.image_bands import choose
from eechips_local.functions.images.image_visualization import visualize
from eechips_local.functions.series.image_collections import mosaic
from eechips_local.geometry.map_projection import Projection
from eechips_local.pixels.grids.area_fractions import pixels_touched
from eechips_local.pixels.grids.pixel_grid import PixelGrid, UnknownCrsError, named_crs
from eechips_local.pixels.grids.sampled_pixels import reads_many
from eechips_local.pixels.lazy_image import Image, ImageBand, Mask, Pixels, Render
from eechips_local.pixels.output import encode as formats
from eechips_local.pixels.types import cast_values
from eechips_local.protocol.field_checks import check_integer, message_of
from eechips_local.protocol.messages import ServiceRequest, ServiceResponse, encode_json
from eechips_local.protocol.request_errors import InvalidError, LimitError, TypeMismatchError
from eechips_local.protocol.routes.resources import find_image
from eechips_local.values.values import Collection, Geometry, Value

# Edge of the blocks of large grids, in pixels; of composites, as of their regions.
_BLOCK, _BLOCK_OF_MANY = 1024, 512
# Web Mercator's world, as map tiles divide it.
_MERCATOR = "EPSG:3857"
_HALF_WORLD = math.pi * 6_378_137.0
_TILE = 256
DEEPEST_ZOOM = 30
_POSITION = message_of(x=check_integer, y=check_integer, zoom=check_integer)

PICTURES = ("PNG", "JPEG", "AUTO_JPEG_PNG")
_ZIPPED = ("ZIPPED_GEO_TIFF", "ZIPPED_GEO_TIFF_PER_BAND")
_MEDIA = {"PNG": "image/png", "JPEG": "image/jpeg", "GEO_TIFF": "image/tiff", "NPY": "application/octet-stream"}


def file_format(body: Mapping[str, Any], allowed: Sequence[str]) -> str:
    """Return the requested file format.

    Raises:
        InvalidError: if the method does not offer it: TFRecords are for exports, ZIP archives for downloads
            (https://developers.google.com/earth-engine/reference/rest/v1/ImageFileFormat).
    """
    form = str(body.get("fileFormat") or "AUTO_JPEG_PNG")
    if form == "IMAGE_FILE_FORMAT_UNSPECIFIED":
        form = "AUTO_JPEG_PNG"
    if form not in allowed:
        raise InvalidError(f"Unsupported file format: {form}.")
    return form


def image_of(value: Value, body: Mapping[str, Any]) -> Image:
    """Return a value as an image, with the bands that a request selects.

    Raises:
        TypeMismatchError: if it is neither an image nor a collection of images.
        InvalidError: if it has no bands, or not those.
    """
    if isinstance(value, Collection) and value.element == "Image":
        value = mosaic(value)
    if not isinstance(value, Image):
        raise TypeMismatchError(f"Expected an Image; the expression is of type {type_name(value)}.")
    if not value.bands:
        raise InvalidError("Image has no bands.")
    wanted = body.get("bandIds")
    return value.with_bands(choose(value, list(wanted))) if wanted else value


def _visualized(image: Image, options: Mapping[str, Any] | None) -> Image:
    """Return an image under the ``visualizationOptions`` of a request; as it is if there are none."""
    return _drawn(image, options) if options else image


def _drawn(image: Image, options: Mapping[str, Any]) -> Image:
    ranges = options.get("ranges") or ()
    lows, highs = [r.get("min") or 0 for r in ranges], [r.get("max", 1) for r in ranges]
    return visualize(
        image, None, None, None, lows or None, highs or None,
        _unwrapped(options.get("gamma")), _unwrapped(options.get("opacity")), options.get("paletteColors") or None,
        False,
    )  # fmt: skip


def _unwrapped(number: Any) -> float | None:
    return number.get("value") if isinstance(number, Mapping) else number


def _check_size(bands: Sequence[ImageBand], grid: PixelGrid, most_bytes: int, side: int) -> None:
    """Reject more pixels than a request may have.

    A pixel counts with the bytes of its value and one for its mask: that is how the figures in Earth Engine's
    messages come about (https://github.com/google/Xee/issues/50: 48 x 512 x 256 doubles are 56,623,104 bytes).
    """
    if grid.width > side or grid.height > side:
        raise LimitError(f"Pixel grid dimensions ({grid.width}x{grid.height}) must be less than or equal to {side}.")
    if grid.width < 1 or grid.height < 1:
        raise InvalidError(f"Pixel grid dimensions ({grid.width}x{grid.height}) must be greater than zero.")
    size = sum(formats.dtype_of(b.type).itemsize + 1 for b in bands) * grid.width * grid.height
    if size > most_bytes:
        raise LimitError(f"Total request size ({size} bytes) must be less than or equal to {most_bytes} bytes.")


def check_download(bands: Sequence[ImageBand], grid: PixelGrid, context: Context) -> None:
    """Reject more pixels than a thumbnail or download may have."""
    _check_size(bands, grid, context.limits.thumbnail_bytes, context.limits.thumbnail_side)


def own_grid(image: Image) -> PixelGrid:
    """Return the grid of an image's first band.

    Raises:
        InvalidError: if the image is unbounded.
    """
    grid = image.bands[0].grid
    if grid is None:
        raise InvalidError("Unable to find the bounds of an unbounded image; specify a region.")
    return grid


def encode_pixels(bands: Sequence[ImageBand], pixels: Sequence[Pixels], grid: PixelGrid, form: str) -> ServiceResponse:
    """Return pixels in a file format, as a response."""
    media_type = _MEDIA.get(form, "")
    if form == "PNG":
        content = formats.png(bands, pixels)
    elif form == "JPEG":
        content = formats.jpeg(bands, pixels)
    elif form == "AUTO_JPEG_PNG":
        content = formats.auto(bands, pixels)
        media_type = _MEDIA["PNG" if content.startswith(b"\x89PNG") else "JPEG"]
    elif form == "NPY":
        content = formats.npy(bands, pixels)
    else:
        content, media_type = formats.geotiff(bands, pixels, grid), _MEDIA["GEO_TIFF"]
    return ServiceResponse(content, media_type, pixels=grid.width * grid.height, bands=len(bands))


def read_bands(bands: Sequence[ImageBand], grid: PixelGrid, context: Context) -> list[Pixels]:
    """Read bands on a grid, block by block where it is large: each block frees what it computed."""
    budget = context.limits.memory
    edge = _BLOCK_OF_MANY if reads_many(bands) else _BLOCK
    if grid.width * grid.height <= edge * edge:
        return Render(budget, context.check_time).read(bands, grid)
    values = [np.zeros(grid.shape, formats.dtype_of(band.type)) for band in bands]
    masks: list[Mask] = [np.zeros(grid.shape, dtype=bool) for _ in bands]
    for row, column in product(range(0, grid.height, edge), range(0, grid.width, edge)):
        block = grid.window(column, row, min(edge, grid.width - column), min(edge, grid.height - row))
        place = (slice(row, row + block.height), slice(column, column + block.width))
        for index, pixels in enumerate(Render(budget, context.check_time).read(bands, block)):
            values[index][place] = cast_values(pixels.values, values[index].dtype)
            if pixels.mask.dtype != bool and masks[index].dtype == bool:
                masks[index] = masks[index].astype(np.float64)
            masks[index][place] = pixels.mask
    return [Pixels(v, m) for v, m in zip(values, masks, strict=True)]


# Thumbnails and downloads


def check_thumbnail(request: ServiceRequest, context: Context) -> ServiceResponse:
    """``thumbnails:create``: the size is checked at once, as Earth Engine does. Reads no pixel.

    Pictures are, too: github.com/KMarkert/cartoee/issues/4 and github.com/tylere/AGU2017/issues/1 show how the service
    refuses to create them.
    """
    body = request.body
    form = file_format(body, (*PICTURES, *_MEDIA, *_ZIPPED))
    image = image_of(Evaluator(body["expression"], context).evaluate(), body)
    if form in PICTURES:
        image = _visualized(image, body.get("visualizationOptions"))
    parts = [image.with_bands([b]) for b in image.bands] if form == "ZIPPED_GEO_TIFF_PER_BAND" else [image]
    for part in parts:
        check_download(part.bands, thumbnail_grid(body, part), context)
    return encode_json({})


def thumbnail_pixels(request: ServiceRequest, context: Context) -> ServiceResponse:
    """``thumbnails:getPixels``: what a thumbnail or download URL gives, from the request that created it."""
    body = request.body
    form = file_format(body, (*PICTURES, *_MEDIA, *_ZIPPED))
    image = image_of(Evaluator(body["expression"], context).evaluate(), body)
    if form in PICTURES:
        image = _visualized(image, body.get("visualizationOptions"))
    if form in _ZIPPED:
        return _archive(body, image, form, context)
    grid = thumbnail_grid(body, image)
    check_download(image.bands, grid, context)
    encoded = encode_pixels(image.bands, read_bands(image.bands, grid, context), grid, form)
    ending = {"GEO_TIFF": "tif", "NPY": "npy"}.get(form)
    return encoded if ending is None else replace(encoded, filename=f"{_prefix(body, image)}.{ending}")


def thumbnail_grid(body: Mapping[str, Any], image: Image) -> PixelGrid:
    """Return the grid that a request asks for, or the image's own."""
    return pixel_grid(body["grid"], image) if "grid" in body else own_grid(image)


def _prefix(body: Mapping[str, Any], image: Image) -> str:
    return str(body.get("filenamePrefix") or image.properties.get("system:index") or "download")


def _plain(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in name)


def _archive(body: Mapping[str, Any], image: Image, form: str, context: Context) -> ServiceResponse:
    """Return GeoTIFFs in a ZIP archive: one of all bands, or one of each on its own grid."""
    prefix = _plain(_prefix(body, image))
    parts = {prefix: image}
    if form == "ZIPPED_GEO_TIFF_PER_BAND":
        parts = {f"{prefix}.{_plain(band.name)}": image.with_bands([band]) for band in image.bands}
    files = []
    for name, part in parts.items():
        grid = thumbnail_grid(body, part)
        check_download(part.bands, grid, context)
        pixels = read_bands(part.bands, grid, context)
        files.append((f"{name}.tif", formats.geotiff(part.bands, pixels, grid)))
    return ServiceResponse(formats.zipped(files), "application/zip", f"{prefix}.zip")


# computePixels and getPixels


def compute_pixels(request: ServiceRequest, context: Context) -> ServiceResponse:
    """``image:computePixels``, and ``assets:getPixels`` of a stored image."""
    body, limits = request.body, context.limits
    form = file_format(body, (*PICTURES, *_MEDIA))
    is_stored = "expression" not in body
    value = find_image(request.name, context) if is_stored else Evaluator(body["expression"], context).evaluate()
    image = _visualized(image_of(value, body), body.get("visualizationOptions"))
    if len(image.bands) > limits.bands:
        raise LimitError(f"The number of bands ({len(image.bands)}) must be less than or equal to {limits.bands}.")
    grid = pixel_grid(body.get("grid"), image, _region(body.get("region")))
    _check_size(image.bands, grid, limits.pixels_bytes, limits.pixels_side)
    if form == "GEO_TIFF":
        formats.common_dtype(image.bands)  # raises for several types
    return encode_pixels(image.bands, read_bands(image.bands, grid, context), grid, form)


def _region(geojson: Mapping[str, Any] | None) -> Geometry | None:
    if geojson is None:
        return None
    try:
        shape = shape_of(geojson)
        valid = not shape.is_empty and bool(np.isfinite(shapely.get_coordinates(shape)).all())
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, shapely.errors.ShapelyError):
        valid = False
    if not valid:
        raise InvalidError("Invalid region: a GeoJSON geometry is expected.")
    return Geometry(shape)


_TERMS = ("scaleX", "shearX", "translateX", "shearY", "scaleY", "translateY")


def pixel_grid(asked: Mapping[str, Any] | None, image: Image, region: Geometry | None = None) -> PixelGrid:
    """Return the grid of a request's PixelGrid; what is left out is taken from the image's own.

    See https://developers.google.com/earth-engine/reference/rest/v1/PixelGrid.

    Args:
        asked: the message, already checked.
        image: whose first band gives what it does not say.
        region: whose bounding box it covers.

    Raises:
        InvalidError: if it is malformed, or left out and the image unbounded.
    """
    asked = asked or {}
    own = image.bands[0].projection
    named = asked.get("crsCode") or asked.get("crsWkt")
    crs = str(named or own.crs)
    try:
        if named:
            named_crs(crs)
    except UnknownCrsError as error:
        raise InvalidError(str(error)) from error
    terms = asked.get("affineTransform")
    transform = own.transform if terms is None else Affine(*(float(terms.get(term) or 0) for term in _TERMS))
    if transform.is_degenerate:
        raise InvalidError("Invalid pixel grid: the affine transform cannot be inverted.")
    dimensions = asked.get("dimensions") or {}
    width, height = int(dimensions.get("width") or 0), int(dimensions.get("height") or 0)
    if region is not None:
        return _around(region, PixelGrid(crs, transform, width, height), is_sized=bool(dimensions))
    if dimensions:
        return PixelGrid(crs, transform, width, height)
    whole = own_grid(image)
    return whole if not asked else replace(whole, crs=crs, transform=transform if terms else whole.transform)


def _around(region: Geometry, grid: PixelGrid, *, is_sized: bool) -> PixelGrid:
    """Return the pixels of a grid that the bounding box of a region touches, rescaled to the grid's size if it has one.

    See https://developers.google.com/earth-engine/reference/rest/v1/projects.assets/getPixels.

    Raises:
        InvalidError: if the region has no bounding box in the projection.
    """
    try:
        touched = grid.window(*pixels_touched(region, Projection(grid.crs, grid.transform)))
    except (OverflowError, ValueError) as error:  # its bounds are infinite or none in this projection
        raise InvalidError("Invalid region: it does not lie within the projection.") from error
    if not is_sized or touched.width < 1:
        return touched
    if min(grid.width, grid.height) < 1:
        return grid  # which is refused
    scale = Affine.scale(touched.width / grid.width, touched.height / grid.height)
    return replace(touched, transform=touched.transform * scale, width=grid.width, height=grid.height)


# Maps


def check_map(request: ServiceRequest, context: Context) -> ServiceResponse:
    """``maps:create``: the image must be one that can be looked at. Reads no pixel."""
    file_format(request.body, PICTURES)
    _layer(request.body, context)
    return encode_json({})


def _layer(body: Mapping[str, Any], context: Context) -> Image:
    """Return the image of a map layer, from the request that created it.

    Without options the first three bands are drawn, or the first where there are fewer, and stretched by their types:
    https://developers.google.com/earth-engine/guides/image_visualization. ``Image.randomVisualizer`` puts the colours
    before the bands of its input.
    """
    image = image_of(Evaluator(body["expression"], context).evaluate(), body)
    return _drawn(image, body.get("visualizationOptions") or {})


def map_tile(request: ServiceRequest, context: Context) -> ServiceResponse:
    """``maps.tiles:get``: 256 x 256 pixels of Web Mercator, from the request that created the map.

    Tiles are those of https://wiki.openstreetmap.org/wiki/Slippy_map_tilenames: (0, 0) is the north-west one.
    """
    form = file_format(request.body, PICTURES)
    position = {name: request.query[name] for name in ("x", "y", "zoom")}
    _POSITION(position, "")
    x, y, zoom = map(int, position.values())
    count = 2**zoom if 0 <= zoom <= DEEPEST_ZOOM else 0
    if not (0 <= x < count and 0 <= y < count):
        raise InvalidError(f"Invalid tile coordinates: zoom {zoom}, x {x}, y {y}.")
    image = _layer(request.body, context)
    grid = tile_grid(zoom, x, y)
    return encode_pixels(image.bands, read_bands(image.bands, grid, context), grid, form)


def tile_grid(zoom: int, x: int, y: int) -> PixelGrid:
    """Return the pixels of a map tile."""
    edge = 2 * _HALF_WORLD / 2**zoom / _TILE
    transform = Affine(edge, 0, -_HALF_WORLD + x * _TILE * edge, 0, -edge, _HALF_WORLD - y * _TILE * edge)
    return PixelGrid(_MERCATOR, transform, _TILE, _TILE)
