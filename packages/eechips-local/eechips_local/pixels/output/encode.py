"""Encode pixels as PNG, JPEG, NPY, GeoTIFF or ZIP: types of bands ("Exported bands must have compatible data types"),
nodata, transparency.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.io import MemoryFile

from eechips_local.evaluation.asset_model import PixelType
from eechips_local.pixels import types
from eechips_local.pixels.grids.pixel_grid import PixelGrid, parse_crs
from eechips_local.pixels.lazy_image import ImageBand, Pixels
from eechips_local.pixels.output.picture_files import write_png
from eechips_local.pixels.types import cast_values
from eechips_local.protocol.request_errors import InvalidError
from eechips_local.warning_filters import ignore


def dtype_of(kind: PixelType) -> np.dtype[Any]:
    """Return the narrowest numpy type that holds a band's values.

    Raises:
        InvalidError: for array bands, which no image format holds.
    """
    if kind.dimensions:
        raise InvalidError("Bands with array pixels cannot be written to an image file.")
    return types.dtype_of(kind)


def filled(band: ImageBand, pixels: Pixels) -> npt.NDArray[Any]:
    """Return a band's values in its own type, zero where masked: shape (height, width)."""
    values = cast_values(pixels.values, dtype_of(band.type))
    valid = pixels.valid
    return values if valid.all() else np.where(valid, values, values.dtype.type(0))


def _write(driver: str, arrays: Sequence[npt.NDArray[Any]], names: Sequence[str] = (), **options: Any) -> bytes:
    """Return a file of bands of one type in memory."""
    height, width = arrays[0].shape
    # Pictures have no place on Earth and need none; a transform of 1 is what readers assume where there is none.
    ignore(rasterio.errors.NotGeoreferencedWarning)
    with MemoryFile() as memory:
        with memory.open(
            driver=driver, width=width, height=height, count=len(arrays), dtype=arrays[0].dtype.name, **options
        ) as file:
            file.write(np.stack(arrays))
            for index, name in enumerate(names, 1):
                file.set_band_description(index, name)
        data: bytes = memory.read()
    return data


def _pictures(bands: Sequence[ImageBand], pixels: Sequence[Pixels], form: str) -> list[npt.NDArray[np.uint8]]:
    """Return bands as bytes: values outside 0 to 255 are clipped, not scaled."""
    if len(bands) not in (1, 3):
        raise InvalidError(f"Must specify visualization parameters: {form} images have 1 or 3 bands, not {len(bands)}.")
    return [_byte_values(p) for p in pixels]


def _byte_values(pixels: Pixels) -> npt.NDArray[np.uint8]:
    values: npt.NDArray[np.uint8] = cast_values(pixels.values, np.uint8)
    valid = pixels.valid
    return values if valid.all() else np.where(valid, values, np.uint8(0))


def png(bands: Sequence[ImageBand], pixels: Sequence[Pixels]) -> bytes:
    """Return a PNG of 1 or 3 bands; masked pixels are transparent."""
    arrays = _pictures(bands, pixels, "PNG")
    alpha = _alpha(pixels)
    return write_png(arrays if alpha is None else [*arrays, alpha])


def colours(bands: Sequence[ImageBand], pixels: Sequence[Pixels]) -> npt.NDArray[np.uint8]:
    """Return 1 or 3 bands as red, green, blue and opacity: shape (height, width, 4)."""
    arrays = _pictures(bands, pixels, "GIF")
    alpha = _alpha(pixels)
    opacity = np.full(arrays[0].shape, 255, dtype=np.uint8) if alpha is None else alpha
    return np.stack([*(arrays if len(arrays) == 3 else arrays * 3), opacity], axis=-1)


def _alpha(pixels: Sequence[Pixels]) -> npt.NDArray[np.uint8] | None:
    """Return the opacity from 0 to 255; None where all is opaque."""
    if all(p.mask.dtype == bool for p in pixels):
        valid = np.logical_and.reduce([p.mask for p in pixels])
        return None if valid.all() else valid.astype(np.uint8) * np.uint8(255)
    alpha = pixels[0].mask.astype(np.float64)
    for p in pixels[1:]:
        alpha = np.minimum(alpha, p.mask)
    opacity = np.floor(alpha * 255 + 0.5).astype(np.uint8)
    return None if (opacity == 255).all() else opacity


def jpeg(bands: Sequence[ImageBand], pixels: Sequence[Pixels]) -> bytes:
    """Return a JPEG of 1 or 3 bands; masked pixels are black."""
    return _write("JPEG", _pictures(bands, pixels, "JPEG"), QUALITY=90)


def auto(bands: Sequence[ImageBand], pixels: Sequence[Pixels]) -> bytes:
    """Return a JPEG where every pixel is opaque, else a PNG."""
    return jpeg(bands, pixels) if _alpha(pixels) is None else png(bands, pixels)


def npy(bands: Sequence[ImageBand], pixels: Sequence[Pixels]) -> bytes:
    """Return a numpy file of one structured array (height, width) with a field for each band."""
    arrays = [filled(b, p) for b, p in zip(bands, pixels, strict=True)]
    fields = np.dtype([(band.name, array.dtype) for band, array in zip(bands, arrays, strict=True)])
    table = np.zeros(arrays[0].shape, dtype=fields)
    # By place: numpy gives a field without a name one of its own.
    for name, array in zip(fields.names or (), arrays, strict=True):
        table[name] = array
    buffer = io.BytesIO()
    np.save(buffer, table, allow_pickle=False)
    return buffer.getvalue()


def geotiff(bands: Sequence[ImageBand], pixels: Sequence[Pixels], grid: PixelGrid) -> bytes:
    """Return a GeoTIFF with crs, transform and band names; masked pixels have the value that the file names as nodata.

    That is the least value of an integer type, so 0 of unsigned ones, and minus infinity of floats: what geedim, whose
    tests run against the service, found out (geedim/image.py, ``_nodata_vals``). 64-bit integers have none: there the
    masked pixels are zero. A fourth band of bytes is not declared as opacity, which GDAL's default is.

    Bands of several types have the type that holds them all: MMEarth (https://github.com/vishalned/MMEarth-data,
    ``ee_utils/ee_data.py`` and ``utils/convert_to_h5.py``) read a million downloads of floats with bytes. The type that
    the service chooses is not documented.
    """
    common = dtype_of(types.union_type(*(band.type for band in bands)))
    named = default_nodata(common)
    nodata = common.type(named or 0)
    layers = [np.where(p.valid, cast_values(p.values, common), nodata) for p in pixels]
    return _write(
        "GTiff", layers, [band.name for band in bands],
        crs=crs_wkt(grid.crs), transform=grid.transform, compress="lzw", nodata=named, alpha="NO",
    )  # fmt: skip


GDAL_NAMES = {
    "uint8": "Byte", "int8": "Int8", "uint16": "UInt16", "int16": "Int16", "uint32": "UInt32", "int32": "Int32",
    "int64": "Int64", "float32": "Float32", "float64": "Float64",
}  # fmt: skip
"""GDAL's names of the types of GeoTIFFs."""


def common_dtype(bands: Sequence[ImageBand]) -> np.dtype[Any]:
    """Return the type that all bands have.

    Raises:
        InvalidError: if there are several, as exports are refused (github.com/gee-community/geemap/issues/87). Whether
            the service also refuses ``computePixels`` is not known; here it does.
    """
    dtypes = [dtype_of(band.type) for band in bands]
    other = next((dtype for dtype in dtypes if dtype != dtypes[0]), None)
    if other is not None:
        raise InvalidError(
            "Exported bands must have compatible data types; found inconsistent types: "
            f"{GDAL_NAMES[dtypes[0].name]} and {GDAL_NAMES[other.name]}."
        )
    return dtypes[0]


def default_nodata(dtype: np.dtype[Any]) -> float | int | None:
    """Return the value that GeoTIFFs of a type name as nodata; None for 64-bit integers, which have none."""
    if dtype == np.int64:
        return None
    return float("-inf") if dtype.kind == "f" else int(np.iinfo(dtype).min)


@lru_cache(maxsize=64)
def crs_wkt(crs: str) -> str:
    """Return the WKT of a CRS."""
    return str(parse_crs(crs).to_wkt())


def zipped(files: Sequence[tuple[str, bytes]]) -> bytes:
    """Return a ZIP archive of named files, always the same bytes for the same files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, data in files:
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data)
    return buffer.getvalue()
