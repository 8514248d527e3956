"""Export collections of pictures as videos: H.264 in MP4, or animated GIF.

See https://developers.google.com/earth-engine/reference/rest/v1/projects.video/export.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from eechips_local.evaluation.context import Context
from eechips_local.evaluation.value_requests import collection_of, elements
from eechips_local.exports.image_grids import MOST_PIXELS, Progress, blocks, image_grid, read_block
from eechips_local.exports.process_messages import ExportedFile, ExportJob
from eechips_local.pixels.grids.pixel_grid import PixelGrid
from eechips_local.pixels.lazy_image import Image
from eechips_local.pixels.output import encode as formats
from eechips_local.pixels.output.picture_files import write_gif
from eechips_local.protocol.field_checks import unwrapped_integer
from eechips_local.protocol.request_errors import InvalidError, LimitError

_MOST_FRAMES = 1000
_USUAL_PACE = 5.0
_QUALITY = "18"  # of x264: its difference to the frames is hardly visible
_OPAQUE = 128

Frame = npt.NDArray[np.uint8]
"""Red, green, blue and opacity: shape (height, width, 4)."""


def export_video(
    body: Mapping[str, Any], context: Context, job: ExportJob, report: Callable[[float], None]
) -> list[ExportedFile]:
    """``video:export``."""
    form = body["fileExportOptions"].get("fileFormat") or "MP4"
    form = "MP4" if form == "VIDEO_FILE_FORMAT_UNSPECIFIED" else form
    if form not in ("MP4", "GIF"):
        raise InvalidError(f"Unsupported file format: {form}.")
    options = body.get("videoOptions") or {}
    pace = float(options.get("framesPerSecond") or _USUAL_PACE)
    if not 0.1 <= pace <= 120.0:
        raise InvalidError(f"The frame rate must be between 0.1 and 120: {pace:g}.")
    images = _images(body, options, context)
    width, height = max(grid.width for _, grid in images), max(grid.height for _, grid in images)
    progress = Progress(len(images), report)

    def frames() -> Iterator[Frame]:
        for image, grid in images:
            yield _frame(image, grid, width, height, context)
            progress.step()

    name = f"video.{form.lower()}"
    if form == "GIF":
        (job.folder / name).write_bytes(write_gif(list(frames()), pace))
    else:
        _write_mp4(job.folder / name, frames(), width, height, pace)
    return [ExportedFile(name, None, f".{form.lower()}")]


def _images(body: Mapping[str, Any], options: Mapping[str, Any], context: Context) -> list[tuple[Image, PixelGrid]]:
    """Return the images of a video, and their grids.

    Raises:
        InvalidError: if there are none, or one is no picture.
        LimitError: if there are too many, or one is too large.
    """
    most_frames = int(options.get("maxFrames") or _MOST_FRAMES)
    most_pixels = unwrapped_integer(options.get("maxPixelsPerFrame"), MOST_PIXELS)
    frames: list[tuple[Image, PixelGrid]] = []
    for image in elements(collection_of(body, "Image", context), context):
        if len(image.bands) != 3:
            raise InvalidError(f"Exported videos need images with 3 bands (RGB); found one with {len(image.bands)}.")
        grid = image_grid({}, image)
        if grid.width * grid.height > most_pixels:
            raise LimitError(
                f"A frame has {grid.width * grid.height} pixels, which are more than maxPixels ({most_pixels})."
            )
        frames.append((image, grid))
        if len(frames) > most_frames:
            raise LimitError(f"The collection has more images than maxFrames ({most_frames}).")
    if not frames:
        raise InvalidError("The collection has no images.")
    return frames


def _frame(image: Image, grid: PixelGrid, width: int, height: int, context: Context) -> Frame:
    """Return the pixels of an image in a frame of the size of the largest; masked ones are transparent black."""
    frame: Frame = np.zeros((height, width, 4), dtype=np.uint8)
    for window, block in blocks(grid):
        rows = slice(window.row_off, window.row_off + window.height)
        columns = slice(window.col_off, window.col_off + window.width)
        frame[rows, columns] = formats.colours(image.bands, read_block(image.bands, block, context))
    frame[frame[..., 3] < _OPAQUE] = 0
    return frame


def _write_mp4(path: Path, frames: Iterator[Frame], width: int, height: int, pace: float) -> None:
    try:
        import av
    except ModuleNotFoundError as error:
        raise InvalidError(
            "Videos need PyAV where the local Earth Engine runs: pip install 'eechips-local[video]'"
        ) from error
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(pace).limit_denominator(1000))
        # H.264 has colours for each two by two pixels.
        stream.width, stream.height, stream.pix_fmt = width + width % 2, height + height % 2, "yuv420p"
        stream.options = {"crf": _QUALITY, "threads": "1"}
        for frame in frames:
            padded = np.zeros((stream.height, stream.width, 3), dtype=np.uint8)
            padded[:height, :width] = frame[..., :3]
            for packet in stream.encode(av.VideoFrame.from_ndarray(padded, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
