"""Receive, assemble and validate GeoTIFF data: band names, grid, mask, share of valid pixels, nodata value.

Earth Engine writes masked pixels of a GeoTIFF as the lowest value of its type (0 for bytes) or minus infinity, and
declares this value as nodata; but valid pixels may have it, too. Requests therefore have the mask as a further band
(``MASK_BAND``: 1 valid, 0 masked, in the type of the data, since a GeoTIFF has one type), and :func:`receive` converts
it to the file's internal mask. Masked pixels become 0; all other values stay unchanged. A pixel is valid if it is valid
in all bands: there is one mask, as with GDAL's ``GMF_PER_DATASET``.

A file with several frames (:func:`stack`) needs a mask for each frame, which a GeoTIFF cannot have. Its masked pixels
have a nodata value that no valid pixel has: NaN, or of whole numbers 0, or else the greatest value that is free.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from affine import Affine

from eechips.errors import ValidationError
from eechips.formats.chip_format import ChipFormat, DecodedChip, EncodedFile, Expectation, FileMetadata, stacked_name
from eechips.formats.geotiff_writer import FileKind, writer_of
from eechips.formats.nodata_values import free_value
from eechips.formats.raster import certain_pixels, check_certain, check_crs, check_transform, decoding, paste_parts
from eechips.geo.grid import Part

_EPSG = re.compile(r"EPSG:\d+")
_NOWHERE = ((1.0, 0.0, 0.0, 0.0, 1.0, 0.0), (1.0, 0.0, 0.0, 0.0, -1.0, 0.0))
"""Transforms that GDAL returns for files without one."""


def receive(data: bytes, expectation: Expectation) -> EncodedFile:
    """Check a GeoTIFF from Earth Engine, and encode the file to save."""
    (chip,) = decode(data, [expectation])
    check_certain(chip.mask, expectation)
    return encode_chip(chip, expectation)


def decode(data: bytes, expectations: Sequence[Expectation]) -> list[DecodedChip]:
    """Check a GeoTIFF from Earth Engine, and return the pixels of the chips in it; masked ones are 0.

    The mask of a response that has none is that of the pixels that are valid beyond doubt.
    """
    with decoding(data, "GTiff") as source:
        # Before pixels are decoded: a response of a kilobyte can hold gigabytes of them.
        expectations[0].check_size(source.width, source.height)
        if len(expectations) == 1:
            expectations[0].check_bands(max(1, source.count - expectations[0].has_mask_band))
        pixels = source.read()
        band_names = tuple(name or f"B{i}" for i, name in enumerate(source.descriptions, start=1))
        has_names, crs, nodata = all(source.descriptions), source.crs, source.nodata
        transform = tuple(float(v) for v in tuple(source.transform)[:6])
        has_own_mask = not (expectations[0].has_mask_band or expectations[0].is_unmasked)
        mask = source.dataset_mask() != 0 if has_own_mask else None
    chips = []
    first = 0
    for number, expectation in enumerate(expectations):
        count = pixels.shape[0] if len(expectations) == 1 else len(expectation.bands or ()) + 1
        part = pixels[first : first + count]
        names = band_names[first : first + count]
        first += count
        if expectation.has_mask_band:
            if part.shape[0] < 2:
                raise ValidationError("the response lacks the requested mask band")
            # The service never masks this band; a masked pixel would have another value than 0 or 1.
            part, mask, names = part[:-1], part[-1] > 0, names[:-1]
            if nodata is not None:
                part[(part == nodata) & ~mask] = 0
        elif expectation.is_unmasked:
            mask = certain_pixels(part, nodata)
        assert mask is not None
        if expectation.bands is not None and len(expectation.bands) == len(names):
            wanted = expectation.bands
            if len(expectations) > 1:
                wanted = tuple(stacked_name(number, name) for name in wanted)
            if has_names and names != wanted:
                raise ValidationError(f"the response has the bands {', '.join(names)} instead of {', '.join(wanted)}")
            names = expectation.bands
        chip = DecodedChip(part, mask, names, crs, transform)
        _metadata(chip, expectation)
        # The requested transform, from which the response's may differ in the last bit.
        chips.append(replace(chip, transform=expectation.transform or transform))
    return chips


def encode_chip(chip: DecodedChip, expectation: Expectation) -> EncodedFile:
    """Encode the file of a chip."""
    metadata = _metadata(chip, expectation)
    return EncodedFile(encode(chip.values, chip.mask, chip.names, chip.crs, chip.transform), "tif", metadata)


def encode_empty(expectation: Expectation, types: Sequence[str]) -> EncodedFile | None:
    """Encode the file of a chip without a valid pixel; None if the types differ, or the CRS is no EPSG code."""
    fields, crs = expectation.empty_fields(types), expectation.crs or ""
    if len({dtype for _, dtype in fields}) != 1 or not _EPSG.fullmatch(crs) or expectation.transform is None:
        return None
    from rasterio.crs import CRS

    mask: Any = np.zeros((expectation.height, expectation.width), dtype=bool)
    values = np.zeros((len(fields), *mask.shape), dtype=fields[0][1])
    names = tuple(name for name, _ in fields)
    chip = DecodedChip(values, mask, names, CRS.from_string(crs), expectation.transform)
    return encode_chip(chip, expectation)


def assemble(parts: Sequence[Part[EncodedFile]], expectation: Expectation) -> EncodedFile:
    """Assemble one GeoTIFF from its parts: the same file as from a single request."""
    pixels, masks = [], []
    for part in parts:
        with decoding(part.content.data, "GTiff") as source:
            pixels.append(Part(part.window, source.read()))
            masks.append(Part(part.window, source.dataset_mask() != 0))
            if part is parts[0]:
                crs, transform, names = source.crs, source.transform, source.descriptions
    if expectation.transform is not None:  # parts in degrees beyond 180 lie 360 degrees west of their place
        transform = Affine(*expectation.transform)
    return encode_chip(DecodedChip(paste_parts(pixels), paste_parts(masks), names, crs, transform), expectation)


def validate(data: bytes, expectation: Expectation) -> FileMetadata:
    """Decode every block of a saved GeoTIFF, and return its metadata."""
    with decoding(data, "GTiff") as source:
        pixels, mask = source.read(), source.dataset_mask() != 0
        names = tuple(n or f"B{i}" for i, n in enumerate(source.descriptions, start=1))
        chip = DecodedChip(pixels, mask, names, source.crs, source.transform)
        # The other transform may be real: a raster with its corner at the origin and pixels of one unit.
        return _metadata(chip, expectation, _NOWHERE[:1])


def _metadata(
    chip: DecodedChip, expectation: Expectation, made_up: Sequence[tuple[float, ...]] = _NOWHERE
) -> FileMetadata:
    count, height, width = chip.values.shape
    expectation.check_size(width, height)
    expectation.check_bands(count)
    expectation.check_dtype(chip.values.dtype.name)
    if chip.crs is None:
        raise ValidationError("the response has no coordinate reference system")
    assert chip.transform is not None
    place = tuple(map(float, chip.transform[:6]))
    if place in made_up:
        raise ValidationError("the response has no transform")
    if expectation.crs is not None:
        check_crs(expectation.crs, chip.crs)
    if expectation.transform is not None:
        check_transform(expectation.transform, place, width, height)
    return FileMetadata(
        width=width,
        height=height,
        bands=chip.names,
        dtype=chip.values.dtype.name,
        crs=chip.crs.to_string(),
        transform=place,
        valid_fraction=float(np.count_nonzero(chip.mask) / chip.mask.size),
    )


def stack(frames: Sequence[EncodedFile], times: Sequence[str]) -> EncodedFile:
    """Join the frames of a time series to one GeoTIFF: band b of frame t is band t * bands + b of the file.

    The description of a band is its name and the time of its frame, as in ``B4 2020-05-03T17:53:12Z``. Types of 8 bits
    become 16 bits, since all 256 values may be data.
    """
    values, masks = [], []
    for frame in frames:
        with decoding(frame.data, "GTiff") as source:
            values.append(source.read())
            masks.append(source.dataset_mask() != 0)
            crs, transform = source.crs, source.transform
    if len({array.shape for array in values}) > 1:
        raise ValidationError("frames of a time series differ in size or bands")
    pixels, valid = np.stack(values), np.stack(masks)
    if pixels.dtype.kind in "iu" and pixels.dtype.itemsize == 1:
        pixels = pixels.astype(f"{pixels.dtype.kind}2")
    nodata = None if valid.all() else free_value(pixels[np.broadcast_to(valid[:, None], pixels.shape)])
    if nodata is not None:
        pixels = np.where(valid[:, None], pixels, np.asarray(nodata, pixels.dtype))
    first = frames[0].metadata
    bands = first.bands or tuple(f"B{number}" for number in range(1, pixels.shape[1] + 1))
    names = tuple(f"{band} {time}" for time in times for band in bands)
    data = encode(pixels.reshape(-1, *pixels.shape[2:]), None, names, crs, transform, nodata)
    fractions = tuple(float(np.count_nonzero(mask) / mask.size) for mask in valid)
    metadata = replace(first, dtype=pixels.dtype.name, valid_fraction=sum(fractions) / len(fractions))
    return EncodedFile(data, "tif", metadata, fractions)


def encode(
    pixels: Any, mask: Any, names: tuple[str, ...], crs: Any, transform: Any, nodata: float | None = None
) -> bytes:
    """Encode a GeoTIFF with lossless compression, and an internal mask or a nodata value.

    Args:
        pixels: (bands, rows, columns), of any type that GDAL has.
        mask: (rows, columns), boolean, true where valid; None for no mask.
        crs: rasterio CRS; None for none.
        transform: pixel corners to coordinates, an ``Affine`` or its first six values.
        nodata: value of masked pixels; None for none.
    """
    place = tuple(float(value) for value in tuple(transform)[:6])
    kind = FileKind(
        shape=pixels.shape,
        dtype=pixels.dtype.name,
        wkt="" if crs is None else crs.to_wkt(),
        crs=crs,
        names=names,
        nodata=math.nan if nodata is not None and math.isnan(nodata) else nodata,  # one object equals itself
        has_mask=mask is not None,
        is_north_up=place[1] == place[3] == 0 and place[4] < 0,
    )
    return writer_of(kind).write(pixels, mask, place)


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
    decode=decode,
    encode=encode_chip,
    encode_empty=encode_empty,
    assemble=assemble,
    validate=validate,
    stack=stack,
)
