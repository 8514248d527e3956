"""Receive, assemble and validate GeoTIFF data with band names, a grid, and a mask.

Earth Engine writes masked pixels of a GeoTIFF as the lowest value of its type (0 for bytes) or minus infinity, and
declares this value as nodata; but valid pixels may have it, too. Requests therefore have the mask as a further band
(``MASK_BAND``: 1 valid, 0 masked, in the type of the data, since a GeoTIFF has one type), and :func:`receive` converts
it to the file's internal mask. Masked pixels become 0; all other values stay unchanged. A pixel is valid if it is valid
in all bands: there is one mask, as with GDAL's ``GMF_PER_DATASET``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from eechips.errors import ValidationError
from eechips.formats.interface import ChipFormat, EncodedFile, Expectation, FileMetadata
from eechips.formats.raster import check_crs, check_transform, decoding, paste_parts
from eechips.geo.grid import Part

_MAX_STRIP = 512  # pixels a side: larger images are tiled for reading of windows

_NOWHERE = ((1.0, 0.0, 0.0, 0.0, 1.0, 0.0), (1.0, 0.0, 0.0, 0.0, -1.0, 0.0))
"""Transforms that GDAL returns for files without one."""


def receive(data: bytes, expectation: Expectation) -> EncodedFile:
    """Check a GeoTIFF from Earth Engine, and encode the file to save.

    Args:
        data: body of the response.
        expectation: requested properties.

    Raises:
        ValidationError: if it is truncated or damaged, or has another size, bands, type or grid than requested.
    """
    with decoding(data, "GTiff") as source:
        pixels = source.read()
        crs, transform, nodata = source.crs, source.transform, source.nodata
        names = _names(source, pixels.shape[0], expectation)
        mask = None if expectation.has_mask_band else source.dataset_mask() != 0
    if expectation.has_mask_band:
        if pixels.shape[0] < 2:
            raise ValidationError("the response lacks the requested mask band")
        # The service never masks this band; a masked pixel would have another value than 0 or 1.
        pixels, mask = pixels[:-1], pixels[-1] > 0
        if nodata is not None:
            pixels[(pixels == nodata) & ~mask] = 0
    assert mask is not None
    metadata = _metadata(pixels, mask, names, crs, transform, expectation)
    return EncodedFile(encode(pixels, mask, names, crs, transform), "tif", metadata)


def assemble(parts: Sequence[Part[EncodedFile]], expectation: Expectation) -> EncodedFile:
    """Assemble one GeoTIFF from its parts: the same file as from a single request.

    Args:
        parts: results of ``receive``, the first at column 0 and row 0.
        expectation: requested properties of the whole.

    Raises:
        ValidationError: if they are not parts of one image, or the image is not as expected.
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
    """Decode every block of a saved GeoTIFF, and return its metadata.

    Raises:
        ValidationError: if it is truncated or damaged, or not as expected.
    """
    with decoding(data, "GTiff") as source:
        pixels, mask = source.read(), source.dataset_mask() != 0
        names = tuple(n or f"B{i}" for i, n in enumerate(source.descriptions, start=1))
        # The other transform may be real: a raster with its corner at the origin and pixels of one unit.
        return _metadata(pixels, mask, names, source.crs, source.transform, expectation, _NOWHERE[:1])


def _names(source: Any, count: int, expectation: Expectation) -> tuple[str, ...]:
    data_count = count - expectation.has_mask_band
    found = source.descriptions[:data_count]
    if expectation.bands is not None and len(expectation.bands) == data_count:
        if all(found) and tuple(found) != expectation.bands:
            raise ValidationError(
                f"the response has the bands {', '.join(found)} instead of {', '.join(expectation.bands)}"
            )
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
        raise ValidationError("the response has no coordinate reference system")
    if tuple(transform)[:6] in made_up:
        raise ValidationError("the response has no transform")
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
    """Encode a GeoTIFF with an internal mask and lossless compression.

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
