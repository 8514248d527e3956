"""Export images as TFRecord files of patches, with the "mixer" that says where these lie.

See https://developers.google.com/earth-engine/guides/tfrecord#exporting_images.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from eechips_local.evaluation.context import Context
from eechips_local.exports.image_grids import read_block
from eechips_local.exports.process_messages import ExportedFile, ExportJob
from eechips_local.exports.tf_records import RecordFiles, Values, example
from eechips_local.pixels.grids.pixel_grid import PixelGrid
from eechips_local.pixels.lazy_image import Image, ImageBand, Pixels
from eechips_local.pixels.output import encode as formats
from eechips_local.pixels.types import cast_values
from eechips_local.protocol.field_checks import unwrapped_integer
from eechips_local.protocol.request_errors import InvalidError

_PATCH = 256
_MOST_FILE_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class PatchOptions:
    """Options of TfRecordImageExportOptions that patches depend on.

    Attributes:
        width: width of patches without margins, in pixels.
        height: likewise.
        margin: pixels left and right of a patch, and above and below: half of the kernel size.
        default: value of masked pixels.
        is_collapsed: whether all bands make one feature.
        most_masked: greatest share of masked pixels in a patch that is written.
    """

    width: int
    height: int
    margin: tuple[int, int]
    default: float
    is_collapsed: bool
    most_masked: float


def parse_options(options: Mapping[str, Any]) -> PatchOptions:
    """Return the options of a request.

    Raises:
        InvalidError: if they are out of range, or not supported.
    """
    for name in ("tensorDepths", "sequenceData"):
        if options.get(name):
            raise InvalidError(
                f"The local Earth Engine does not export TFRecord images with {name}: it writes bands of numbers, not"
                " of arrays. Use arrayFlatten, and leave it out."
            )
    size, kernel = options.get("tileDimensions") or {}, options.get("marginDimensions") or {}
    width, height = int(size.get("width") or _PATCH), int(size.get("height") or _PATCH)
    across, down = int(kernel.get("width") or 0), int(kernel.get("height") or 0)
    if min(width, height) < 1 or min(across, down) < 0:
        raise InvalidError("Invalid patchDimensions or kernelSize: dimensions must be greater than zero.")
    ratio = options.get("maxMaskedRatio")
    most_masked = ratio.get("value") if isinstance(ratio, Mapping) else ratio
    return PatchOptions(
        width,
        height,
        (across // 2, down // 2),
        float(options.get("defaultValue") or 0.0),
        bool(options.get("collapseBands")),
        1.0 if most_masked is None else float(most_masked),
    )


def export_patches(
    image: Image,
    grid: PixelGrid,
    options: Mapping[str, Any],
    context: Context,
    job: ExportJob,
    report: Callable[[float], None],
) -> list[ExportedFile]:
    """Write the patches of an image, row by row. Those at the right and lower edge that are not whole are left out."""
    patches = parse_options(options)
    columns, rows = grid.width // patches.width, grid.height // patches.height
    if not columns or not rows:
        raise InvalidError(
            f"The image ({grid.width}x{grid.height}) is smaller than one patch ({patches.width}x{patches.height})."
        )
    types = [formats.dtype_of(band.type) for band in image.bands]
    is_compressed = bool(options.get("compress"))
    most_bytes = unwrapped_integer(options.get("maxSizeBytes"), _MOST_FILE_BYTES)
    (left, above), written = patches.margin, 0
    with RecordFiles(job.folder, is_compressed=is_compressed, most_bytes=most_bytes) as files:
        for index in range(rows * columns):
            row, column = divmod(index, columns)
            block = grid.window(
                column * patches.width - left, row * patches.height - above,
                patches.width + 2 * left, patches.height + 2 * above,
            )  # fmt: skip
            pixels = read_block(image.bands, block, context)
            if _masked_share(pixels) <= patches.most_masked:
                files.write(example(_features(image.bands, types, pixels, patches)))
                written += 1
            report((index + 1) / (rows * columns))
    ending = ".tfrecord.gz" if is_compressed else ".tfrecord"
    exported_files = [ExportedFile(name, f"{number:05d}", ending) for number, name in enumerate(files.names)]
    if patches.most_masked == 1.0:
        exported_files.append(_write_mixer(job, grid, patches, written))
    return exported_files


def _write_mixer(job: ExportJob, grid: PixelGrid, patches: PatchOptions, written: int) -> ExportedFile:
    """Write what clients need to put the patches together."""
    mixer = {
        "projection": {"crs": grid.crs, "affine": {"doubleMatrix": list(grid.transform)[:6]}},
        "patchDimensions": [patches.width, patches.height],
        "patchesPerRow": grid.width // patches.width,
        "totalPatches": written,
    }
    (job.folder / "mixer.json").write_text(json.dumps(mixer), encoding="utf-8")
    return ExportedFile("mixer.json", "mixer", ".json")


def _whole(pixels: Pixels) -> npt.NDArray[np.bool_]:
    """Return which pixels are not masked, not even in part."""
    is_unmasked: npt.NDArray[np.bool_] = pixels.mask if pixels.mask.dtype == bool else pixels.mask >= 1
    return is_unmasked


def _masked_share(pixels: Sequence[Pixels]) -> float:
    return 1.0 - float(np.logical_and.reduce([_whole(p) for p in pixels]).mean())


def _features(
    bands: Sequence[ImageBand], types: Sequence[np.dtype[Any]], pixels: Sequence[Pixels], options: PatchOptions
) -> Mapping[str, Values]:
    arrays = [
        np.where(_whole(p), cast_values(p.values, kind), _default(options.default, kind))
        for p, kind in zip(pixels, types, strict=True)
    ]
    if options.is_collapsed:
        return {bands[0].name: _values(np.stack(arrays))}
    return {band.name: _values(array) for band, array in zip(bands, arrays, strict=True)}


def _default(value: float, kind: np.dtype[Any]) -> Any:
    """Return the value of masked pixels in a band's type: without its fraction, within the range."""
    if kind.kind == "f":
        return kind.type(value)
    limits = np.iinfo(kind)
    return kind.type(min(max(int(value), int(limits.min)), int(limits.max)))


def _values(array: npt.NDArray[Any]) -> Values:
    """Return pixels as the values of a feature: bytes of byte bands, int64 of other integers, else floats."""
    return array.tobytes() if array.dtype == np.uint8 else array
