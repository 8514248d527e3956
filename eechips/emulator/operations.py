"""What the REST resources compute: values, pixels, tables. Each takes a request's JSON and gives a body."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from affine import Affine

from eechips.emulator import tables
from eechips.emulator.context import Context
from eechips.emulator.errors import InvalidError, LimitError, TypeMismatchError
from eechips.emulator.expression import Evaluator
from eechips.emulator.functions.image import choose
from eechips.emulator.functions.image_clip import clip_to_bounds_and_scale
from eechips.emulator.functions.visualization import visualize
from eechips.emulator.info import encode, feature_json
from eechips.emulator.pixels import encode as formats
from eechips.emulator.pixels.grid import Grid, UnknownCrsError, parse_crs
from eechips.emulator.pixels.image import Band, Image, Pixels, Render
from eechips.emulator.promotion import type_name
from eechips.emulator.values import Collection, Value

Request = Mapping[str, Any]

# Longest side of a thumbnail for which no size is given.
_DEFAULT_SIDE = 512


@dataclass(frozen=True, slots=True)
class Body:
    """A response body with its type."""

    content: bytes
    media_type: str = "application/json"


def json_body(value: Any) -> Body:
    """A JSON response."""
    return Body(json.dumps(value, separators=(",", ":"), allow_nan=False).encode())


def evaluate(request: Request, context: Context) -> Value:
    """The value of a request's expression."""
    expression = request.get("expression")
    if not isinstance(expression, Mapping):
        raise InvalidError("The request needs an expression.")
    return Evaluator(expression, context).evaluate()


def compute_value(request: Request, context: Context) -> Body:
    """``value:compute``."""
    return json_body({"result": encode(evaluate(request, context), context)})


def _image(request: Request, context: Context) -> Image:
    value = evaluate(request, context)
    if isinstance(value, Collection) and value.element == "Image":
        from eechips.emulator.functions.image_collection import mosaic

        value = mosaic(value)
    if not isinstance(value, Image):
        raise TypeMismatchError(f"Expected an Image; the expression is of type {type_name(value)}.")
    if not value.bands:
        raise InvalidError("The image has no bands.")
    wanted = request.get("bandIds") or ()
    return value.with_bands(choose(value, list(wanted))) if wanted else value


def _visualized(image: Image, options: Mapping[str, Any] | None) -> Image:
    """An image under the ``visualizationOptions`` of a request."""
    if not options:
        return image
    ranges: Sequence[Mapping[str, float]] = options.get("ranges") or ()
    return visualize(
        image,
        None,
        None,
        None,
        [r.get("min", 0) for r in ranges] or None,
        [r.get("max", 1) for r in ranges] or None,
        (options.get("gamma") or {}).get("value"),
        options.get("opacity"),
        options.get("paletteColors"),
        False,
    )


def _check_size(bands: Sequence[Band], grid: Grid, most_bytes: int, side: int) -> None:
    if grid.width > side or grid.height > side:
        raise LimitError(f"Pixel grid dimensions ({grid.width}x{grid.height}) must be less than or equal to {side}.")
    if grid.width < 1 or grid.height < 1:
        raise InvalidError(f"Pixel grid dimensions ({grid.width}x{grid.height}) must be greater than zero.")
    size = sum(formats.dtype_of(b.type).itemsize for b in bands) * grid.width * grid.height
    if size > most_bytes:
        raise LimitError(f"Total request size ({size} bytes) must be less than or equal to {most_bytes} bytes.")


def _own_grid(image: Image) -> Grid:
    grid = image.bands[0].grid
    if grid is None:
        raise InvalidError("Unable to find the bounds of an unbounded image; specify a region.")
    return grid


_PICTURES = {"PNG", "JPEG", "AUTO_JPEG_PNG"}
_MEDIA = {
    "PNG": "image/png",
    "JPEG": "image/jpeg",
    "GEO_TIFF": "image/tiff",
    "NPY": "application/octet-stream",
    "ZIPPED_GEO_TIFF": "application/zip",
    "ZIPPED_GEO_TIFF_PER_BAND": "application/zip",
}


def thumbnail_pixels(request: Request, context: Context) -> Body:
    """``thumbnails:getPixels``: what a thumbnail or download URL gives, from the request that created it."""
    form = _form(request)
    image = _image(request, context)
    if form in _PICTURES:
        image = _visualized(image, request.get("visualizationOptions"))
        grid = _own_grid(image)
        if not _sized(request):
            image = _shrunk(image, grid)
    limits = context.limits
    if form == "ZIPPED_GEO_TIFF_PER_BAND":
        return _per_band(request, image, context)
    grid = _own_grid(image)
    _check_size(image.bands, grid, limits.thumbnail_bytes, limits.thumbnail_side)
    return _render(image, grid, form, request, context)


def check_thumbnail(request: Request, context: Context) -> Body:
    """``thumbnails:create`` of a download: its size is checked at once, as Earth Engine does. Reads no pixel."""
    form = _form(request)
    if form not in _PICTURES:
        image = _image(request, context)
        parts = [image.with_bands([b]) for b in image.bands] if form == "ZIPPED_GEO_TIFF_PER_BAND" else [image]
        for part in parts:
            _check_size(part.bands, _own_grid(part), context.limits.thumbnail_bytes, context.limits.thumbnail_side)
    return json_body({})


def _sized(request: Request) -> bool:
    """Whether the outermost step of the expression sets the size, as the client does where one is given."""
    expression = request["expression"]
    node = expression["values"][expression["result"]]
    for _ in range(3):
        call = node.get("functionInvocationValue") or {}
        name = call.get("functionName")
        if name == "Image.clipToBoundsAndScale":
            return True
        if name != "Image.visualize":
            return False
        inner = call.get("arguments", {}).get("image", {})
        node = expression["values"].get(inner["valueReference"], {}) if "valueReference" in inner else inner
    return False


def _shrunk(image: Image, grid: Grid) -> Image:
    """An image without a size of its own, at most 512 pixels on its longest side."""
    if max(grid.width, grid.height) <= _DEFAULT_SIDE:
        return image
    return clip_to_bounds_and_scale(image, None, None, None, _DEFAULT_SIDE, None)


def _form(request: Request) -> str:
    form = str(request.get("fileFormat") or "AUTO_JPEG_PNG")
    if form not in _PICTURES and form not in _MEDIA:
        raise InvalidError(f"Unsupported file format: {form}.")
    return form


def _render(image: Image, grid: Grid, form: str, request: Request, context: Context) -> Body:
    pixels = _read(image.bands, grid, context)
    if form == "PNG":
        return Body(formats.png(image.bands, pixels), _MEDIA[form])
    if form == "JPEG":
        return Body(formats.jpeg(image.bands, pixels), _MEDIA[form])
    if form == "AUTO_JPEG_PNG":
        content = formats.auto(image.bands, pixels)
        return Body(content, _MEDIA["PNG" if content.startswith(b"\x89PNG") else "JPEG"])
    if form == "NPY":
        return Body(formats.npy(image.bands, pixels), _MEDIA[form])
    tiff = formats.geotiff(image.bands, pixels, grid)
    if form == "ZIPPED_GEO_TIFF":
        return Body(formats.zipped([(f"{_prefix(request, image)}.tif", tiff)]), _MEDIA[form])
    if form == "ZIPPED_GEO_TIFF_PER_BAND":
        return _per_band(request, image, context)
    return Body(tiff, _MEDIA["GEO_TIFF"])


def _read(bands: Sequence[Band], grid: Grid, context: Context) -> list[Pixels]:
    context.check_time()
    return Render(context.limits.memory).read(bands, grid)


def _prefix(request: Request, image: Image) -> str:
    name = request.get("filenamePrefix") or image.properties.get("system:index") or "download"
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in str(name))


def _per_band(request: Request, image: Image, context: Context) -> Body:
    limits = context.limits
    files = []
    for band in image.bands:
        grid = _own_grid(image.with_bands([band]))
        _check_size([band], grid, limits.thumbnail_bytes, limits.thumbnail_side)
        data = formats.geotiff([band], _read([band], grid, context), grid)
        files.append((f"{_prefix(request, image)}.{band.name}.tif", data))
    return Body(formats.zipped(files), _MEDIA["ZIPPED_GEO_TIFF_PER_BAND"])


def compute_pixels(request: Request, context: Context) -> Body:
    """``image:computePixels``."""
    form = _form(request)
    image = _visualized(_image(request, context), request.get("visualizationOptions"))
    limits = context.limits
    grid = pixel_grid(request.get("grid"), image)
    if len(image.bands) > limits.bands:
        raise LimitError(f"The number of bands ({len(image.bands)}) must be less than or equal to {limits.bands}.")
    _check_size(image.bands, grid, limits.pixels_bytes, limits.pixels_side)
    return _render(image, grid, form, request, context)


def pixel_grid(asked: Mapping[str, Any] | None, image: Image) -> Grid:
    """The grid of a request's PixelGrid; what is left out is taken from the image's own.

    See https://developers.google.com/earth-engine/reference/rest/v1/PixelGrid.

    Raises:
        InvalidError: if it is malformed, or left out and the image unbounded.
    """
    if not asked:
        return _own_grid(image)
    crs = asked.get("crsCode") or asked.get("crsWkt")
    affine = asked.get("affineTransform")
    dimensions = asked.get("dimensions")
    own = image.bands[0]
    if crs is None:
        crs = own.projection.crs
    try:
        parse_crs(str(crs))
    except UnknownCrsError as error:
        raise InvalidError(str(error)) from error
    try:
        if affine is None:
            transform = own.projection.transform
        else:
            terms = ("scaleX", "shearX", "translateX", "shearY", "scaleY", "translateY")
            transform = Affine(*(float(affine.get(term, 0)) for term in terms))
        if dimensions is None:
            return replace(_own_grid(image), crs=str(crs), transform=transform)
        return Grid(str(crs), transform, int(dimensions["width"]), int(dimensions["height"]))
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise InvalidError(f"Invalid pixel grid: {error}.") from error


def _features(request: Request, context: Context) -> Collection:
    value = evaluate(request, context)
    if not isinstance(value, Collection) or value.element != "Feature":
        raise TypeMismatchError(f"Expected a FeatureCollection; the expression is of type {type_name(value)}.")
    return value


def _page(collection: Collection, request: Request) -> tuple[list[Any], str | None]:
    """One page of a collection's elements, and the token of the next."""
    size = int(request.get("pageSize") or 1000)
    if size < 1:
        raise InvalidError("The pageSize must be positive.")
    token = str(request.get("pageToken") or "0")
    if not token.isdecimal():
        raise InvalidError("Invalid page token.")
    offset = int(token)
    found = list(islice(iter(collection), offset, offset + size + 1))
    return found[:size], str(offset + size) if len(found) > size else None


def compute_features(request: Request, context: Context) -> Body:
    """``table:computeFeatures``: one page, GeoJSON in longitude and latitude with planar edges."""
    features, token = _page(_features(request, context), request)
    found: dict[str, Any] = {"type": "FeatureCollection"}
    found["features"] = [feature_json(tables.planar(f), context) for f in features]
    if token is not None:
        found["nextPageToken"] = token
    return json_body(found)


def compute_images(request: Request, context: Context) -> Body:
    """``imageCollection:computeImages``: one page."""
    value = evaluate(request, context)
    if not isinstance(value, Collection) or value.element != "Image":
        raise TypeMismatchError(f"Expected an ImageCollection; the expression is of type {type_name(value)}.")
    images, token = _page(value, request)
    found: dict[str, Any] = {"images": [encode(image, context) for image in images]}
    if token is not None:
        found["nextPageToken"] = token
    return json_body(found)


def table_features(request: Request, context: Context) -> Body:
    """``tables:getFeatures``: what a table download URL gives, from the request that created it."""
    form = str(request.get("fileFormat") or "CSV")
    collection = _features(request, context)
    selectors = list(request.get("selectors") or ()) or None
    if form == "CSV":
        return Body(tables.csv(collection, selectors, context), "text/csv")
    if form == "GEO_JSON":
        return Body(tables.geojson(collection, selectors, context), "application/json")
    raise InvalidError(f"Unsupported table format: {form}.")
