"""Decode and encode images with GDAL, bound their decoded size, join parts, compare transform and CRS with the request,
and find pixels that may be masked.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import io
import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from eechips.errors import UsageError, ValidationError
from eechips.formats.chip_format import MAX_DECODED_BYTES, Expectation, UncertainMaskError
from eechips.geo.grid import Part
from eechips.geo.untrusted_rasters import check_references, check_texts
from eechips.processes.warning_filters import ignore_warning
from eechips.text.formatting import format_count


def import_rasterio() -> None:
    """Import the package rasterio; call this in a function of threads before it imports modules of rasterio.

    Python lets a thread import a module of a package that another thread has imported in part. Modules of rasterio
    import each other in a circle, so that two such threads wait for each other, and one of them gets a
    ``_DeadlockError``. A thread that imports the package itself waits until all of it is imported.
    """
    importlib.import_module("rasterio")


_NAME_IN_MEMORY = re.compile(r"'?(/vsimem/[\w./-]+|[0-9a-f]{8}-[0-9a-f-]{27}\.\w*)'?[:,]? *")
COMPLEX = {"complex_int16": "complex64"}
"""Numpy's names of GDAL's types that numpy lacks, as they are read."""
_MOST_BLOCK = 1 << 22
"""Pixels of a block, if the image has fewer: GDAL decodes whole blocks, whatever they have beyond the image."""


@contextlib.contextmanager
def decoding(data: bytes, driver: str, **options: Any) -> Iterator[Any]:
    """Open image bytes with one GDAL driver; turn errors of GDAL inside the block into ValidationError.

    Args:
        driver: GDAL's name for the format.
        **options: GDAL configuration options.
    """
    import_rasterio()
    import rasterio
    from rasterio.errors import NodataShadowWarning, NotGeoreferencedWarning, RasterioError, RasterioIOError
    from rasterio.io import MemoryFile

    if not data:
        raise ValidationError(f"does not decode as {driver}: it is empty")
    ignore_warning(NotGeoreferencedWarning)
    ignore_warning(NodataShadowWarning)
    try:
        check_texts(io.BytesIO(data))
        with rasterio.Env(**options), MemoryFile(data) as memory, memory.open(driver=driver) as source:
            check_references(source)
            check_size(source)
            yield source
    except (RasterioError, RasterioIOError, ValueError, MemoryError) as error:
        reason = _NAME_IN_MEMORY.sub("", str(error.__cause__ or error)).strip()
        raise ValidationError(f"does not decode as {driver}: {reason[:200]}") from None


def check_size(source: Any, most: int = MAX_DECODED_BYTES) -> None:
    """Check the size of an image before it is decoded: kilobytes of PNG can hold gigabytes of pixels.

    Args:
        source: dataset of rasterio.
        most: bytes of its pixels.

    Raises:
        ValueError: if it is too large; the message has the size.
    """
    depth = sum(np.dtype(COMPLEX.get(name, name)).itemsize for name in source.dtypes)
    if source.height * source.width * depth > most:
        size = f"{source.width:,}x{source.height:,} pixels of {format_count(source.count, 'band')}"
        raise ValueError(f"it has {size}: more than {most >> 30} GiB")
    rows, columns = source.block_shapes[0]
    if rows * columns > max(source.height * source.width, _MOST_BLOCK):
        raise ValueError(f"it has blocks of {columns:,}x{rows:,} pixels, and {source.width:,}x{source.height:,} pixels")


def encode_picture(bands: Any, driver: str, *, has_alpha: bool = False, **options: Any) -> bytes:
    """Encode a picture without georeference.

    Args:
        bands: (bands, rows, columns).
        driver: GDAL's name for the format.
        has_alpha: whether the last band is the opacity.
        **options: GDAL creation options.
    """
    import_rasterio()
    from rasterio.enums import ColorInterp
    from rasterio.errors import NotGeoreferencedWarning
    from rasterio.io import MemoryFile

    count, height, width = bands.shape
    profile = {"driver": driver, "width": width, "height": height, "count": count, "dtype": bands.dtype, **options}
    ignore_warning(NotGeoreferencedWarning)
    with MemoryFile() as memory:
        with memory.open(**profile) as target:
            target.write(bands)
            if has_alpha:
                target.colorinterp = (*target.colorinterp[:-1], ColorInterp.alpha)
        return bytes(memory.read())


def paste_parts(parts: Sequence[Part[Any]]) -> Any:
    """Join the arrays of an image's parts.

    Args:
        parts: arrays of shape (…, rows, columns), of one type and with equal leading axes, and their windows, which
            tile a rectangle that begins at column 0 and row 0.

    Returns:
        The array of the rectangle, (…, rows, columns).

    Raises:
        ValidationError: if types or leading axes differ.
        ValueError: if the windows do not tile a rectangle.
    """
    windows = [part.window for part in parts]
    width = max(window.column + window.width for window in windows)
    height = max(window.row + window.height for window in windows)
    if sum(window.pixels for window in windows) != width * height:
        raise ValueError(f"the parts do not tile {width}x{height} pixels")
    kinds = {(part.content.dtype, part.content.shape[:-2]) for part in parts}
    if len(kinds) != 1:
        kinds_text = " and ".join(sorted(f"{dtype} {list(leading)}" for dtype, leading in kinds))
        raise ValidationError(f"the parts of one image have different types or bands: {kinds_text}")
    ((dtype, leading),) = kinds
    whole = np.empty((*leading, height, width), dtype)
    for part in parts:
        whole[(..., *part.window.slices)] = part.content
    return whole


def certain_pixels(bands: Sequence[Any], nodata: float | None = None) -> Any:
    """Return which pixels of a response without a mask are valid beyond doubt.

    Args:
        bands: pixels of each, (rows, columns).
        nodata: value of masked pixels that the file declares; None for none.

    Returns:
        (rows, columns), false where a value may stand for a masked pixel.
    """
    certain = np.ones(bands[0].shape, dtype=bool)
    for band in bands:
        is_float = band.dtype.kind not in "iu"
        doubtful = {
            0,
            None if nodata is None else band.dtype.type(nodata),
            *(() if is_float else (np.iinfo(band.dtype).min,)),
        }
        if is_float:
            certain &= np.isfinite(band)
        for value in doubtful - {None}:
            certain &= band != value
    return certain


def check_certain(mask: Any, expectation: Expectation) -> None:
    """Raise UncertainMaskError if a response without a mask has a pixel in doubt; shape (rows, columns)."""
    if expectation.is_unmasked and not mask.all():
        raise UncertainMaskError("a pixel may be masked")


_MAX_OFFSET = 1e-3  # of a pixel, between a requested corner and that of the response: allows rounding only


def check_transform(expected: tuple[float, ...], actual: tuple[float, ...], width: int, height: int) -> None:
    """Raise ValidationError unless two transforms place the corners of an image within 0.001 pixels of each other."""
    if expected == actual:
        return
    a, b, _, d, e, _ = expected
    determinant = abs(a * e - b * d)
    differences = [x - y for x, y in zip(expected, actual, strict=True)]
    for column, row in ((0, 0), (width, 0), (0, height), (width, height)):
        dx = sum(v * k for v, k in zip(differences[:3], (column, row, 1), strict=True))
        dy = sum(v * k for v, k in zip(differences[3:], (column, row, 1), strict=True))
        # The offset in pixels: the inverse of the transform's linear part applied to (dx, dy).
        across, down = (e * dx - b * dy) / determinant, (a * dy - d * dx) / determinant
        if max(abs(across), abs(down)) > _MAX_OFFSET:
            raise ValidationError(f"the transform is {tuple(actual)} instead of {tuple(expected)}")


def check_crs(expected: str, actual: Any) -> None:
    """Raise ValidationError unless a rasterio CRS is the requested one."""
    if actual is None:
        raise ValidationError(f"there is no coordinate reference system, but {expected} was expected")
    if not _same_crs(expected, actual.to_wkt()):
        raise ValidationError(f"the coordinate reference system is {actual.to_string()} instead of {expected}")


@functools.lru_cache(maxsize=64)
def _same_crs(expected: str, found_wkt: str) -> bool:
    from pyproj import CRS

    from eechips.geo.crs import parse_crs

    actual = CRS.from_wkt(found_wkt)
    try:
        asked = parse_crs(expected)
    except UsageError:
        return True  # a code that PROJ does not know cannot be compared; the transform still is
    return bool(asked.equals(actual, ignore_axis_order=True)) or _parameters(asked) == _parameters(actual)


def _parameters(crs: Any) -> dict[str, Any]:
    """Return the PROJ parameters that place pixels, without names and metadata, which differ between writers."""
    ignore_warning(UserWarning, "You will likely lose important projection information")  # of names: that is the aim
    parameters: dict[str, Any] = crs.to_dict()
    return {k: v for k, v in parameters.items() if k not in ("type", "no_defs", "title")}
