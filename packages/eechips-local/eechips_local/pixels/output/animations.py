"""Render collections as filmstrips and animated GIFs: frame rates, sizes and limits of ``getFilmstripThumbURL`` and
``getVideoThumbURL``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np

from eechips_local.evaluation.context import Context
from eechips_local.evaluation.expression_evaluator import Evaluator
from eechips_local.evaluation.type_conversion import type_name
from eechips_local.functions.images.image_clip import clip_to_bounds_and_scale
from eechips_local.pixels.grids.pixel_grid import PixelGrid
from eechips_local.pixels.lazy_image import Image, Pixels, Render
from eechips_local.pixels.output import encode as formats
from eechips_local.pixels.output.picture_files import write_gif
from eechips_local.pixels.output.pixel_requests import (
    PICTURES,
    check_download,
    encode_pixels,
    file_format,
    own_grid,
    read_bands,
    thumbnail_grid,
)
from eechips_local.protocol.messages import ServiceRequest, ServiceResponse
from eechips_local.protocol.picture_sizes import size_arguments
from eechips_local.protocol.request_errors import InvalidError, LimitError, TypeMismatchError
from eechips_local.values.values import Collection

# Longest side of the images of an animation for which no size is given.
_DEFAULT_SIDE = 512


# The same of the places that the frames of an animation are drawn of, one after the other.
_PLACE = 256


# Pixels of an animation, of all images: https://developers.google.com/earth-engine/reference/rest/v1/projects.videoThumbnails/create
_MOST_ANIMATED = 512 * 512 * 100


def _shrunk(image: Image) -> Image:
    """Return an image without a size of its own, at most 512 pixels on its longest side."""
    grid = own_grid(image)
    if max(grid.width, grid.height) <= _DEFAULT_SIDE:
        return image
    return clip_to_bounds_and_scale(image, None, None, None, _DEFAULT_SIDE, None)


def filmstrip_pixels(request: ServiceRequest, context: Context) -> ServiceResponse:
    """``filmstripThumbnails:getPixels``: the images of a collection in one picture, below or beside each other."""
    form = file_format(request.body, PICTURES)
    return _strip(_frames(request.body, context), form, request.body.get("orientation") == "HORIZONTAL", context)


def video_pixels(request: ServiceRequest, context: Context) -> ServiceResponse:
    """``videoThumbnails:getPixels``: the images of a collection as an animated GIF, one after the other.

    Defaults are those of https://developers.google.com/earth-engine/reference/rest/v1/projects.videoThumbnails.
    """
    if request.body.get("fileFormat") not in (None, "GIF", "VIDEO_FILE_FORMAT_UNSPECIFIED"):
        raise InvalidError(f"Unsupported file format: {request.body['fileFormat']}.")
    options = request.body.get("videoOptions") or {}
    pace = float(options.get("framesPerSecond") or 5.0)
    if not 0.1 <= pace <= 120.0:
        raise InvalidError(f"The frame rate must be between 0.1 and 120: {pace:g}.")
    frames = _frames(request.body, context)
    if len(frames) > int(options.get("maxFrames") or 1000):
        raise LimitError(f"The collection has {len(frames)} images, which are more than maxFrames.")
    if max(grid.width * grid.height for _, grid in frames) > int(options.get("maxPixelsPerFrame") or 100_000_000):
        raise LimitError("A frame has more pixels than maxPixelsPerFrame.")
    width, height = max(grid.width for _, grid in frames), max(grid.height for _, grid in frames)
    first, grid = frames[0]
    if (total := width * height * len(frames)) > _MOST_ANIMATED:
        raise LimitError(f"Total request size ({total} pixels) must be less than or equal to {_MOST_ANIMATED} pixels.")
    check_download(first.bands, replace(grid, width=width, height=height), context)
    pictures = [np.zeros((height, width, 4), dtype=np.uint8) for _ in frames]
    # Place by place, so that what the frames have in common there is still at hand.
    for row, column in product(range(0, height, _PLACE), range(0, width, _PLACE)):
        for picture, (image, grid) in zip(pictures, frames, strict=True):
            across, down = min(_PLACE, grid.width - column), min(_PLACE, grid.height - row)
            if across > 0 and down > 0:
                block = grid.window(column, row, across, down)
                pixels = read_bands(image.bands, block, context)
                picture[row : row + down, column : column + across] = formats.colours(image.bands, pixels)
    return ServiceResponse(write_gif(pictures, pace), "image/gif")


def _frames(body: Mapping[str, Any], context: Context) -> list[tuple[Image, PixelGrid]]:
    """Return the images of a collection, and where the pixels of each lie."""
    value = Evaluator(body["expression"], context).evaluate()
    if not isinstance(value, Collection) or value.element != "Image":
        raise TypeMismatchError(f"Expected an ImageCollection; the expression is of type {type_name(value)}.")
    frames: list[tuple[Image, PixelGrid]] = []
    has_size = "grid" in body or bool(size_arguments(body["expression"]))
    for image in context.counted(value):
        if not image.bands:
            raise InvalidError("Image has no bands.")
        frame = image if has_size or image.bands[0].grid is None else _shrunk(image)
        frames.append((frame, thumbnail_grid(body, frame)))
    if not frames:
        raise InvalidError("The collection has no images.")
    return frames


def _strip(frames: Sequence[tuple[Image, PixelGrid]], form: str, beside: bool, context: Context) -> ServiceResponse:
    across = max(grid.height if beside else grid.width for _, grid in frames)
    along = sum(grid.width if beside else grid.height for _, grid in frames)
    first, grid = frames[0]
    whole = replace(grid, width=along if beside else across, height=across if beside else along)
    check_download(first.bands, whole, context)
    count = len(first.bands)
    values = np.zeros((count, *whole.shape))
    mask = np.zeros((count, *whole.shape))
    start = 0
    for image, grid in frames:
        if len(image.bands) != count:
            raise InvalidError("All images of a filmstrip must have the same number of bands.")
        end = start + (grid.width if beside else grid.height)
        part = (slice(0, grid.height), slice(start, end)) if beside else (slice(start, end), slice(0, grid.width))
        for band, pixels in enumerate(Render(context.limits.memory, context.check_time).read(image.bands, grid)):
            values[band][part], mask[band][part] = pixels.values, pixels.mask
        start = end
    return encode_pixels(first.bands, [Pixels(v, m) for v, m in zip(values, mask, strict=True)], whole, form)
