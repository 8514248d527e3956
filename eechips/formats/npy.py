"""Receive, assemble and validate NumPy data: (rows, columns), one field per band, and a field ``mask``; count its share
of valid pixels.

Earth Engine writes masked pixels as 0, without a mask. Requests therefore have the mask as a further band
(``MASK_BAND``: 1 valid, 0 masked), which is saved as the last field, ``mask``, of type bool (named ``eechips_mask`` if
there is a band ``mask``). Values stay unchanged.

A file with several frames (:func:`stack`) has the shape (frames, rows, columns).
"""

from __future__ import annotations

import io
import tokenize
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from eechips.errors import ValidationError
from eechips.formats.chip_format import MASK_BAND, ChipFormat, DecodedChip, EncodedFile, Expectation, FileMetadata
from eechips.formats.raster import certain_pixels, check_certain, paste_parts
from eechips.geo.grid import Part

MAGIC = b"\x93NUMPY"
_NUMBERS = frozenset("biuf")  # kinds of types of pixels
_DAMAGES = (
    ValueError, EOFError, OSError, SyntaxError, TypeError, OverflowError, MemoryError, RecursionError,
    tokenize.TokenError,  # of a header that ends within its dictionary
)  # fmt: skip


def receive(data: bytes, expectation: Expectation) -> EncodedFile:
    """Check an array from Earth Engine, and encode the file to save."""
    if not (expectation.has_mask_band or expectation.is_unmasked):
        return EncodedFile(data, "npy", _metadata(_load_response(data), expectation))
    (chip,) = decode(data, [expectation])
    check_certain(chip.mask, expectation)
    return encode_chip(chip, expectation)


def decode(data: bytes, expectations: Sequence[Expectation]) -> list[DecodedChip]:
    """Check an array from Earth Engine, and return the bands of each of its chips as fields."""
    array = _load_response(data)
    field_names: tuple[str, ...] = array.dtype.names or ()
    chips = []
    first = 0
    for expectation in expectations:
        count = len(field_names) if len(expectations) == 1 else len(expectation.bands or ()) + 1
        names = field_names[first : first + count]
        first += count
        if expectation.is_unmasked:
            values = array
            mask = certain_pixels([array[name] for name in names])
        elif len(names) < 2:
            raise ValidationError("the response lacks the requested mask band")
        else:
            values, mask = array[list(names[:-1])], array[names[-1]] != 0
        if len(expectations) > 1:
            values = _renamed(values, expectation.bands or ())
        _metadata(values, expectation)
        chips.append(DecodedChip(values, mask, values.dtype.names or ()))
    return chips


def _load_response(data: bytes) -> np.ndarray[Any, Any]:
    """Return the array of a response: rows and columns, with a number for each band."""
    array = load(data)
    kinds = {array.dtype[name].kind for name in _fields(array)}
    if array.ndim != 2 or not kinds <= _NUMBERS:
        raise ValidationError(f"the response is an array of {array.dtype}, {array.shape}, not of pixels"[:300])
    return array


def _renamed(array: np.ndarray[Any, Any], names: Sequence[str]) -> np.ndarray[Any, Any]:
    """Return a structured array whose fields have other names."""
    renamed = np.empty(array.shape, [(new, array.dtype[old]) for new, old in zip(names, _fields(array), strict=True)])
    for new, old in zip(names, _fields(array), strict=True):
        renamed[new] = array[old]
    return renamed


def _fields(array: np.ndarray[Any, Any]) -> tuple[str, ...]:
    return array.dtype.names or ()


def from_geotiff(chip: DecodedChip) -> DecodedChip:
    """Return the pixels of a decoded GeoTIFF as those of a decoded array: one field for each band."""
    fields = np.empty(chip.values.shape[-2:], dtype=[(name, chip.values.dtype) for name in chip.names])
    for name, band in zip(chip.names, chip.values, strict=True):
        fields[name] = band
    return DecodedChip(fields, chip.mask, chip.names)


def encode_chip(chip: DecodedChip, expectation: Expectation) -> EncodedFile:
    """Encode the file of a chip."""
    mask_field = "mask" if "mask" not in chip.names else MASK_BAND
    fields: list[tuple[str, Any]] = [(name, chip.values.dtype[name]) for name in chip.names]
    final = np.empty(chip.values.shape, dtype=[*fields, (mask_field, np.bool_)])
    for name in chip.names:
        final[name] = chip.values[name]
    final[mask_field] = chip.mask
    return EncodedFile(encode(final), "npy", _metadata(final, expectation))


def encode_empty(expectation: Expectation, types: Sequence[str]) -> EncodedFile | None:
    """Encode the file of a chip without a valid pixel; None if the bands or their types are not known."""
    fields = expectation.empty_fields(types)
    if not fields:
        return None
    shape = expectation.height, expectation.width
    chip = DecodedChip(np.zeros(shape, dtype=fields), np.zeros(shape, dtype=bool), tuple(name for name, _ in fields))
    return encode_chip(chip, expectation)


def assemble(parts: Sequence[Part[EncodedFile]], expectation: Expectation) -> EncodedFile:
    """Assemble one array from its parts: the same file as from a single request."""
    whole = paste_parts([Part(part.window, load(part.content.data)) for part in parts])
    return EncodedFile(encode(whole), "npy", _metadata(whole, expectation))


def stack(frames: Sequence[EncodedFile], times: Sequence[str]) -> EncodedFile:
    """Join the frames of a time series to one array of shape (frames, rows, columns), with the fields of each."""
    arrays = [load(frame.data) for frame in frames]
    if len({(array.shape, array.dtype) for array in arrays}) > 1:
        raise ValidationError("frames of a time series differ in size, bands or types")
    fractions = tuple(frame.metadata.valid_fraction or 0.0 for frame in frames)
    metadata = replace(frames[0].metadata, valid_fraction=sum(fractions) / len(fractions))
    return EncodedFile(encode(np.stack(arrays)), "npy", metadata, fractions)


def validate(data: bytes, expectation: Expectation) -> FileMetadata:
    """Decode a saved array, and return its metadata."""
    return _metadata(load(data), expectation)


def encode(array: np.ndarray[Any, Any]) -> bytes:
    """Return an array as a ``.npy`` file; raise ValidationError if it holds Python objects."""
    if array.dtype.hasobject:
        raise ValidationError("an array of Python objects cannot be saved")
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def load(data: bytes) -> np.ndarray[Any, Any]:
    """Return the array of a file.

    Raises:
        ValidationError: if it is truncated or damaged, or contains Python objects.
    """
    if not data.startswith(MAGIC):
        raise ValidationError(f"not a NumPy array: it begins with {data[:8]!r}")
    buffer = io.BytesIO(data)
    try:
        array: np.ndarray[Any, Any] = np.load(buffer, allow_pickle=False)
    except _DAMAGES as error:
        raise ValidationError(f"truncated or damaged array: {str(error)[:200]}") from None
    if buffer.tell() != len(data):
        raise ValidationError(f"{len(data) - buffer.tell()} bytes follow the array")
    return array


def map_array(path: Path) -> np.ndarray[Any, Any]:
    """Return the array of a file, which is read where it is used.

    Raises:
        ValueError: if the file is damaged, or contains Python objects.
        OSError: if it cannot be read.
    """
    try:
        array: np.ndarray[Any, Any] = np.load(path, allow_pickle=False, mmap_mode="r")
    except OSError:
        raise
    except _DAMAGES as error:
        raise ValueError(f"{path} is a damaged array: {str(error)[:200]}") from None
    return array


def _metadata(array: np.ndarray[Any, Any], expectation: Expectation) -> FileMetadata:
    if array.dtype.names is None:
        height, width = (array.shape[0], array.shape[1]) if array.ndim >= 2 else (None, None)
        return FileMetadata(width=width, height=height, dtype=array.dtype.name)
    if array.ndim not in (2, 3):
        raise ValidationError(f"the response is an array of {array.ndim} dimensions, not of rows and columns")
    height, width = array.shape[-2:]
    mask_field = array.dtype.names[-1] if array.dtype[array.dtype.names[-1]] == np.bool_ else None
    bands = tuple(n for n in array.dtype.names if n != mask_field)
    expectation.check_size(width, height)
    expectation.check_bands(len(bands))
    if expectation.bands is not None and bands != expectation.bands:
        raise ValidationError(
            f"the response has the bands {', '.join(bands)} instead of {', '.join(expectation.bands)}"
        )
    types = {array.dtype[name].name for name in bands}
    for name in sorted(types):
        expectation.check_dtype(name)
    valid = None if mask_field is None else float(np.count_nonzero(array[mask_field]) / array.size)
    dtype = types.pop() if len(types) == 1 else ",".join(array.dtype[name].name for name in bands)
    return FileMetadata(width=width, height=height, bands=bands, dtype=dtype, valid_fraction=valid)


NPY = ChipFormat(
    name="npy",
    suffixes=("npy",),
    magic=(MAGIC,),
    media_type="application/x-npy",
    is_picture=False,
    has_mask=True,
    request_format="npy",
    part_format="npy",
    receive=receive,
    decode=decode,
    encode=encode_chip,
    encode_empty=encode_empty,
    assemble=assemble,
    validate=validate,
    stack=stack,
)
