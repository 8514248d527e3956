"""Export maps: a pyramid of tiles, as web maps read them.

See https://developers.google.com/earth-engine/guides/exporting_map_tiles. Tiles are objects ``PATH/ZOOM/X/Y`` without a
suffix. The pages that Earth Engine adds to look at them load Google's maps, and are left out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import shapely

from eechips_local.evaluation.context import Context
from eechips_local.evaluation.expression_evaluator import Evaluator
from eechips_local.exports.image_grids import Progress, read_block
from eechips_local.exports.process_messages import ExportedFile, ExportJob
from eechips_local.geometry.map_projection import Projection
from eechips_local.pixels.lazy_image import Image
from eechips_local.pixels.output.pixel_requests import DEEPEST_ZOOM, PICTURES, encode_pixels, image_of, tile_grid
from eechips_local.protocol.request_errors import InvalidError, LimitError
from eechips_local.values.values import Geometry

_SCALE = 2 * math.pi * 6_378_137.0 / 256
"""Metres of a pixel at the equator at zoom 0."""
_MOST_TILES = 1_000_000
_SNAP = 1e-9  # of a tile: bounds this close to an edge lie on it


def export_map(
    body: Mapping[str, Any], context: Context, job: ExportJob, report: Callable[[float], None]
) -> list[ExportedFile]:
    """``map:export``."""
    form = body["tileExportOptions"].get("fileFormat") or "AUTO_JPEG_PNG"
    form = "AUTO_JPEG_PNG" if form == "IMAGE_FILE_FORMAT_UNSPECIFIED" else form
    if form not in PICTURES:
        raise InvalidError(f"Unsupported file format: {form}.")
    image = image_of(Evaluator(body["expression"], context).evaluate(), {})
    options = body.get("tileOptions") or {}
    bounds = _bounds(image)
    zooms = _zooms(options)
    count = sum(len(xs) * len(ys) for xs, ys in (_tiles(bounds, zoom) for zoom in zooms))
    if count > _MOST_TILES:
        raise LimitError(f"The map has {count} tiles; the local Earth Engine exports {_MOST_TILES} at most.")
    progress = Progress(count, report)
    exported_files = []
    for zoom, x, y in _all_tiles(bounds, zooms):
        grid = tile_grid(zoom, x, y)
        pixels = read_block(image.bands, grid, context)
        if any(p.valid.any() for p in pixels) or not options.get("skipEmpty"):
            staged = f"{zoom}-{x}-{y}"
            (job.folder / staged).write_bytes(encode_pixels(image.bands, pixels, grid, form).content)
            exported_files.append(ExportedFile(staged, f"{zoom}/{x}/{y}", ""))
        progress.step()
    return exported_files


def _bounds(image: Image) -> tuple[float, float, float, float]:
    """Return the bounds of an image in tiles of zoom 0: least x and y, greatest x and y, each from 0 to 1.

    Raises:
        InvalidError: if the image is unbounded.
    """
    grid = image.bands[0].grid
    if grid is None:
        raise InvalidError("Unable to export unbounded image.")
    outline = Geometry(shapely.box(0, 0, grid.width, grid.height), Projection(grid.crs, grid.transform))
    world = tile_grid(0, 0, 0)
    bounds = outline.within(Projection(world.crs, world.transform), 0.01).bounds
    if not all(map(math.isfinite, bounds)):
        raise InvalidError("Unable to find the bounds of the image in the projection of the map.")
    left, top, right, bottom = (min(max(edge / world.width, 0.0), 1.0) for edge in bounds)
    return left, top, right, bottom


def _zooms(options: Mapping[str, Any]) -> range:
    """Return the zoom levels of a map.

    Raises:
        InvalidError: if they are not given, or out of range.
    """
    start = int(options.get("startZoom") or 0)
    scale, end = options.get("scale"), options.get("endZoom")
    if (scale is None) == (end is None):
        raise InvalidError("Exactly one of maxZoom and scale must be specified.")
    if scale is not None:
        if not float(scale) > 0:
            raise InvalidError(f"The scale must be greater than zero; found {scale}.")
        end = max(0, round(math.log2(_SCALE / float(scale))))
    last = int(end or 0)
    if not 0 <= start <= last <= DEEPEST_ZOOM:
        raise InvalidError(f"Invalid zoom levels: {start} to {last}.")
    return range(start, last + 1)


def _tiles(bounds: tuple[float, float, float, float], zoom: int) -> tuple[range, range]:
    count = 2**zoom
    left, top, right, bottom = (edge * count for edge in bounds)

    def within(low: float, high: float) -> range:
        first = min(math.floor(low + _SNAP), count - 1)
        return range(first, max(first + 1, min(count, math.ceil(high - _SNAP))))

    return within(left, right), within(top, bottom)


def _all_tiles(bounds: tuple[float, float, float, float], zooms: range) -> Iterator[tuple[int, int, int]]:
    for zoom in zooms:
        xs, ys = _tiles(bounds, zoom)
        yield from ((zoom, x, y) for x in xs for y in ys)
