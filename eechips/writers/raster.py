"""Decoding images with GDAL, strictly."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
import rasterio
from rasterio.enums import ColorInterp
from rasterio.errors import NotGeoreferencedWarning, RasterioError, RasterioIOError
from rasterio.io import MemoryFile

from eechips.errors import ValidationError
from eechips.warning_filters import ignore
from eechips.writers.facts import MOST_DECODED

_MAX_OFFSET = 1e-3  # of a pixel, between a corner as asked and as it came: rounding, never a shift


@contextlib.contextmanager
def decoding(data: bytes, driver: str, **options: Any) -> Iterator[Any]:
    """Opens image bytes with one GDAL driver; whatever fails inside the block is a ValidationError.

    Args:
        data: the whole file.
        driver: GDAL's name for the format.
        **options: GDAL configuration options.
    """
    if not data:
        raise ValidationError(f"does not decode as {driver}: it is empty")
    ignore(NotGeoreferencedWarning)
    try:
        with rasterio.Env(**options), MemoryFile(data) as memory, memory.open(driver=driver) as source:
            check_size(source)
            yield source
    except (RasterioError, RasterioIOError, ValueError, MemoryError) as error:
        reason = str(error.__cause__ or error).strip()
        raise ValidationError(f"does not decode as {driver}: {reason[:200]}") from None


def check_size(source: Any, most: int = MOST_DECODED) -> None:
    """Refuse an image that would take more memory than any result: some kilobytes of PNG can be gigabytes of pixels.

    Args:
        source: dataset of rasterio.
        most: bytes of its pixels.

    Raises:
        ValueError: saying how large it is.
    """
    depth = sum(np.dtype(name).itemsize for name in source.dtypes)
    if source.height * source.width * depth > most:
        size = f"{source.width:,}x{source.height:,} pixels of {source.count} bands"
        raise ValueError(f"it has {size}: more than {most >> 30} GiB")


def encode_picture(bands: Any, driver: str, *, has_alpha: bool = False, **options: Any) -> bytes:
    """A picture, which knows no place on Earth.

    Args:
        bands: (bands, rows, columns).
        driver: GDAL's name for the format.
        has_alpha: whether the last band says how opaque a pixel is.
        **options: GDAL creation options.
    """
    count, height, width = bands.shape
    profile = {"driver": driver, "width": width, "height": height, "count": count, "dtype": bands.dtype, **options}
    ignore(NotGeoreferencedWarning)
    with MemoryFile() as memory:
        with memory.open(**profile) as target:
            target.write(bands)
            if has_alpha:
                target.colorinterp = (*target.colorinterp[:-1], ColorInterp.alpha)
        return bytes(memory.read())


def check_transform(expected: tuple[float, ...], found: tuple[float, ...], width: int, height: int) -> None:
    """Raises ValidationError unless two transforms put the corners of an image in the same places."""
    a, b, _, d, e, _ = expected
    determinant = abs(a * e - b * d)
    for column, row in ((0, 0), (width, 0), (0, height), (width, height)):
        dx = sum(v * k for v, k in zip(_difference(expected, found)[:3], (column, row, 1), strict=True))
        dy = sum(v * k for v, k in zip(_difference(expected, found)[3:], (column, row, 1), strict=True))
        # The offset in pixels: the inverse of the transform's linear part applied to (dx, dy).
        across, down = (e * dx - b * dy) / determinant, (a * dy - d * dx) / determinant
        if max(abs(across), abs(down)) > _MAX_OFFSET:
            raise ValidationError(
                f"the pixels lie elsewhere: transform {tuple(found)} came back, asked was {tuple(expected)}"
            )


def check_crs(expected: str, found: Any) -> None:
    """Raises ValidationError unless a rasterio CRS is the one asked for."""
    if found is None:
        raise ValidationError(f"no coordinate reference system came back, asked was {expected}")
    if not _same_crs(expected, found.to_wkt()):
        raise ValidationError(f"coordinate reference system {found.to_string()} came back, asked was {expected}")


@functools.lru_cache(maxsize=64)
def _same_crs(expected: str, found_wkt: str) -> bool:
    from pyproj import CRS
    from pyproj.exceptions import CRSError

    found = CRS.from_wkt(found_wkt)
    try:
        asked = CRS.from_user_input(_SR_ORG.get(expected, expected))
    except CRSError:
        return True  # a code that PROJ does not know cannot be compared; the transform still is
    return bool(asked.equals(found, ignore_axis_order=True)) or _parameters(asked) == _parameters(found)


def _parameters(crs: Any) -> dict[str, Any]:
    """The PROJ parameters that place pixels; names and metadata, which differ between writers, left out."""
    ignore(UserWarning, "You will likely lose important projection information")  # of names: that is the aim
    found: dict[str, Any] = crs.to_dict()
    return {k: v for k, v in found.items() if k not in ("type", "no_defs", "title")}


# Codes that Earth Engine uses and PROJ lacks. MODIS: sphere of 6,371,007.181 m,
# https://modis-land.gsfc.nasa.gov/MODLAND_grid.html.
_SR_ORG = {"SR-ORG:6974": "+proj=sinu +lon_0=0 +x_0=0 +y_0=0 +R=6371007.181 +units=m +no_defs"}


def _difference(first: tuple[float, ...], second: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(x - y for x, y in zip(first, second, strict=True))
