"""Receive, assemble and validate GeoTIFF data with band names, a grid, and a mask.

Earth Engine writes masked pixels of a GeoTIFF as the least value of its type (0 of bytes) or minus infinity, which the
file names as nodata, and which valid pixels may have as well. So the request carries the mask as one more band
(``MASK_BAND``: 1 valid, 0 masked, in the type of the data, because a GeoTIFF has one type), and :func:`receive` turns
it into the file's internal mask. Below it nodata becomes 0; all other values are byte for byte those that came. A pixel
is valid if all bands are: one mask serves all, as in GDAL's ``GMF_PER_DATASET``; a zero that stands for nothing is
never taken for a value.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from eechips.errors import ValidationError
from eechips.formats.interface import ChipFormat, EncodedFile, Expectation, FileMetadata
from eechips.formats.raster import check_crs, check_transform, decoding, paste_parts
from eechips.geo.grid import Part

_MAX_STRIP = 512  # pixels a side: larger images are tiled, so that windows can be read

_NOWHERE = ((1.0, 0.0, 0.0, 0.0, 1.0, 0.0), (1.0, 0.0, 0.0, 0.0, -1.0, 0.0))
"""The transforms that GDAL makes up where a tag is missing."""


def receive(data: bytes, expectation: Expectation) -> EncodedFile:
    """Check a GeoTIFF that came back and make the file to save.

    Args:
        data: what came back.
        expectation: what was asked for.

    Raises:
        ValidationError: if it is not whole, or not of the size, bands, type or grid asked for.
    """
    with decoding(data, "GTiff") as source:
        pixels = source.read()
        crs, transform, nodata = source.crs, source.transform, source.nodata
        names = _names(source, pixels.shape[0], expectation)
        mask = None if expectation.has_mask_band else source.dataset_mask() != 0
    if expectation.has_mask_band:
        if pixels.shape[0] < 2:
            raise ValidationError("the mask band that was asked for did not come back")
        # The service masks the band itself nowhere, but another type's least value would not be 0.
        pixels, mask = pixels[:-1], pixels[-1] > 0
        if nodata is not None:
            pixels[(pixels == nodata) & ~mask] = 0
    assert mask is not None
    metadata = _metadata(pixels, mask, names, crs, transform, expectation)
    return EncodedFile(encode(pixels, mask, names, crs, transform), "tif", metadata)


def assemble(parts: Sequence[Part[EncodedFile]], expectation: Expectation) -> EncodedFile:
    """Return one GeoTIFF of those of its parts: the very file that a single request would have given.

    Args:
        parts: what ``receive`` made of each, the first one at column 0 and row 0.
        expectation: what was asked for as a whole.

    Raises:
        ValidationError: if they are not parts of one image, or that is not as expected.
    """
    pixels, masks = [], []
    for part in parts:
        with decoding(part.content.data, "GTiff") as source:
            pixels.append(Part(part.window, source.read()))
            masks.append(Part(part.window, source.dataset_mask() != 0))
            if part is parts[0]:
                crs, transform, names = source.crs, source.transform, source.descriptions
    whole, mask = paste_parts(pixels), paste_parts(masks)
    metadata = _metadata(whole, mask, names, crs, transform, expectation)
    return EncodedFile(encode(whole, mask, names, crs, transform), "tif", metadata)


def validate(data: bytes, expectation: Expectation) -> FileMetadata:
    """Return the metadata of a saved GeoTIFF, every block decoded.

    Raises:
        ValidationError: if it is not whole, or not as expected.
    """
    with decoding(data, "GTiff") as source:
        pixels, mask = source.read(), source.dataset_mask() != 0
        names = tuple(n or f"B{i}" for i, n in enumerate(source.descriptions, start=1))
        # The other one is that of a raster whose corner is the origin, and whose pixels are one unit.
        return _metadata(pixels, mask, names, source.crs, source.transform, expectation, _NOWHERE[:1])


def _names(source: Any, count: int, expectation: Expectation) -> tuple[str, ...]:
    data_count = count - expectation.has_mask_band
    found = source.descriptions[:data_count]
    if expectation.bands is not None and len(expectation.bands) == data_count:
        if all(found) and tuple(found) != expectation.bands:
            raise ValidationError(f"bands {', '.join(found)} came back, asked were {', '.join(expectation.bands)}")
        return expectation.bands
    return tuple(name or f"B{i}" for i, name in enumerate(found, start=1))


def _metadata(
    pixels: Any,
    mask: Any,
    names: tuple[str, ...],
    crs: Any,
    transform: Any,
    expectation: Expectation,
    made_up: Sequence[tuple[float, ...]] = _NOWHERE,
) -> FileMetadata:
    count, height, width = pixels.shape
    expectation.check_size(width, height)
    expectation.check_bands(count)
    expectation.check_dtype(pixels.dtype.name)
    if crs is None:
        raise ValidationError("no coordinate reference system came back")
    if tuple(transform)[:6] in made_up:
        raise ValidationError("no transform came back")
    if expectation.crs is not None:
        check_crs(expectation.crs, crs)
    if expectation.transform is not None:
        check_transform(expectation.transform, tuple(transform)[:6], width, height)
    return FileMetadata(
        width=width,
        height=height,
        bands=names,
        dtype=pixels.dtype.name,
        crs=crs.to_string(),
        transform=tuple(float(v) for v in tuple(transform)[:6]),
        valid_fraction=float(np.count_nonzero(mask) / mask.size),
    )


def encode(pixels: Any, mask: Any, names: tuple[str, ...], crs: Any, transform: Any) -> bytes:
    """Encode a GeoTIFF with an internal mask, compressed without loss.

    Args:
        pixels: (bands, rows, columns), of any type that GDAL has.
        mask: (rows, columns), true where valid.
        names: of the bands.
        crs: rasterio CRS.
        transform: affine, pixel corners to coordinates.
    """
    import rasterio
    from rasterio.io import MemoryFile

    count, height, width = pixels.shape
    profile: dict[str, Any] = {
        "driver": "GTiff",
        "width": width,
        "height": height,
        "count": count,
        "dtype": pixels.dtype,
        "crs": crs,
        "transform": transform,
        "interleave": "band",
        "compress": "deflate",
        "predictor": {"f": 3, "c": 1}.get(pixels.dtype.kind, 2),
    }
    if max(width, height) > _MAX_STRIP:
        profile |= {"tiled": True, "blockxsize": 256, "blockysize": 256}
    else:
        profile |= {"blockysize": height}
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), MemoryFile() as memory:
        with memory.open(**profile) as target:
            target.write(pixels)
            target.write_mask(mask)
            target.descriptions = names
        return bytes(memory.read())


GEOTIFF = ChipFormat(
    name="tif",
    suffixes=("tif", "tiff"),
    magic=(b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),  # TIFF 6.0 and BigTIFF, in both byte orders
    media_type="image/tiff; application=geotiff",
    is_picture=False,
    has_mask=True,
    request_format="tif",
    part_format="tif",
    gdal_driver="GTiff",
    compression=0.7,
    receive=receive,
    assemble=assemble,
    validate=validate,
)
