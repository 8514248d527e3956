"""Decode the pixels of a chip, in any format, as an array, and join the frames of a time series to one array."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from eechips.errors import UsageError
from eechips.formats import CHIP_FORMATS, MASK_BAND, chip_format_of, npy, png
from eechips.formats.raster import decoding
from eechips.text.formatting import format_count
from eechips.text.timestamps import parse_timestamp


@dataclass(frozen=True, slots=True, eq=False)
class ChipPixels:
    """The pixels of a file.

    Attributes:
        values: (bands, rows, columns), as the file has them.
        valid: (rows, columns): false where a pixel is masked, and its values mean nothing.
        place: the file's own crs, of rasterio, and transform; None if it has no crs.
    """

    values: npt.NDArray[Any]
    valid: npt.NDArray[np.bool_]
    place: tuple[Any, tuple[float, ...]] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class BandPixels:
    """The pixels of one band of a file.

    Attributes:
        values: (rows, columns), in the band's own type.
        valid: (rows, columns): false where the band is masked or has its nodata value.
    """

    values: npt.NDArray[Any]
    valid: npt.NDArray[np.bool_]


def decode(data: bytes, suffix: str) -> ChipPixels:
    """Decode the pixels of a file without changing their values.

    PNG: colours without alpha, which is what says where they are valid. GeoTIFF: all bands, and the file's mask. JPEG
    has no mask: all is valid. NPY: a band for each field; the last field is the mask if it is one. Fields of different
    types become the smallest type that holds them all. Arrays without fields are (rows, columns) or (rows, columns,
    bands). Of a file with several frames, the bands of all frames follow one another, and a pixel is valid if it is in
    one of them; see :func:`decode_frames`.

    Raises:
        ValidationError: if it does not decode.
        UsageError: if files of this kind have no pixels.
    """
    if suffix == "png":
        values, alpha = png.decode(data)
        return ChipPixels(values, _all_valid(values) if alpha is None else alpha != 0)
    if suffix == "npy":
        return _of_array(npy.load(data))
    known = chip_format_of(suffix)
    if known is None or not known.gdal_driver:
        raise UsageError(f"files of type '{suffix}' have no pixels: chips are {', '.join(CHIP_FORMATS.names)}")
    with decoding(data, known.gdal_driver) as source:
        values = source.read()
        valid = source.dataset_mask() != 0 if known.has_mask else _all_valid(values)
        has_alpha = known.is_picture and len(values) in (2, 4)
        place = None if source.crs is None else (source.crs, tuple(source.transform)[:6])
        return ChipPixels(values[:-1] if has_alpha else values, valid, place)


def decode_frames(data: bytes, suffix: str, count: int) -> list[ChipPixels]:
    """Decode a file with several frames of a time series.

    Returns:
        The pixels of each frame. Masked pixels are 0, as in a file of one frame, whatever marks them in the file.

    Raises:
        ValidationError: if it does not decode.
        UsageError: if the number of its bands is no multiple of the number of frames.
    """
    bands = decode_bands(data, suffix)
    if not bands or len(bands) % count:
        raise UsageError(f"a file of {format_count(len(bands), 'band')} does not have {count} frames: it was changed")
    size = len(bands) // count
    return [_joined(bands[first : first + size]) for first in range(0, len(bands), size)]


def _joined(bands: Sequence[BandPixels]) -> ChipPixels:
    """Join the bands of a frame; a pixel is valid if it is valid in all of them."""
    valid: npt.NDArray[np.bool_] = np.all(np.stack([band.valid for band in bands]), axis=0)
    return ChipPixels(np.stack([np.where(valid, band.values, 0).astype(band.values.dtype) for band in bands]), valid)


def decode_bands(data: bytes, suffix: str) -> tuple[BandPixels, ...]:
    """Decode the pixels of a file band by band, each with its own type and mask.

    A GeoTIFF may have a nodata value or a mask for each band, and an array may have fields of different types;
    :func:`decode` joins both. NaN is not masked here.

    Raises:
        ValidationError: if it does not decode.
        UsageError: if files of this kind have no pixels.
    """
    known = chip_format_of(suffix)
    if suffix == "npy":
        array = npy.load(data)
        if array.dtype.names is not None and array.ndim == 3:
            return tuple(band for frame in array for band in _bands_of(frame))
        return _bands_of(array)
    if known is not None and known.gdal_driver and known.has_mask and not known.is_picture:
        with decoding(data, known.gdal_driver) as source:
            values, masks = source.read(), source.read_masks()
        return tuple(BandPixels(band, mask != 0) for band, mask in zip(values, masks, strict=True))
    pixels = decode(data, suffix)
    return tuple(BandPixels(band, pixels.valid) for band in pixels.values)


def _bands_of(array: npt.NDArray[Any]) -> tuple[BandPixels, ...]:
    pixels = _of_array(array)
    names = (array.dtype.names or ())[: len(pixels.values)]
    bands = [array[name] for name in names] if names else list(pixels.values)
    return tuple(BandPixels(band, pixels.valid) for band in bands)


def _of_array(array: npt.NDArray[Any]) -> ChipPixels:
    kinds = {array.dtype[name].kind for name in array.dtype.names} if array.dtype.names else {array.dtype.kind}
    if not array.size or not kinds <= set("biuf"):
        raise UsageError(f"an array of shape {array.shape} and type {array.dtype!s:.60} is not a chip")
    if array.dtype.names is not None:
        if array.ndim == 3 and len(array):
            frames = [_of_array(frame) for frame in array]
            valid: npt.NDArray[np.bool_] = np.any(np.stack([frame.valid for frame in frames]), axis=0)
            return ChipPixels(np.concatenate([frame.values for frame in frames]), valid)
        if array.ndim != 2 or array.dtype.names == (MASK_BAND,):
            raise UsageError(f"an array of {array.ndim} dimensions and {len(array.dtype.names)} fields is not a chip")
        *names, last = array.dtype.names
        if array.dtype[last] == np.bool_ or last == MASK_BAND:
            valid = array[last] != 0
        else:
            names.append(last)
            valid = np.ones(array.shape, dtype=np.bool_)
        return ChipPixels(np.stack([array[name] for name in names]), valid)
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3:
        raise UsageError(f"an array of {array.ndim} dimensions is not a chip: chips have rows, columns and bands")
    values = np.ascontiguousarray(np.moveaxis(array, -1, 0))
    return ChipPixels(values, _all_valid(values))


def _all_valid(values: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    return np.ones(values.shape[1:], dtype=np.bool_)


@dataclass(frozen=True, slots=True, eq=False)
class FramePixels:
    """The pixels of a time series.

    Attributes:
        values: (frames, bands, rows, columns).
        valid: (frames, rows, columns): false where a pixel is masked.
        times: (frames,): seconds since 1970, float64: of a frame's image, or of the start of its period; NaN for a
            frame without either.
    """

    values: npt.NDArray[Any]
    valid: npt.NDArray[np.bool_]
    times: npt.NDArray[np.float64]


def stack_frames(frames: Sequence[ChipPixels], times: Sequence[float]) -> FramePixels:
    """Join frames, in their order, to one array; a frame of another type is converted.

    Raises:
        UsageError: if frames differ in bands or size.
    """
    shapes = {frame.values.shape for frame in frames}
    if len(shapes) > 1:
        sizes = " and ".join("x".join(map(str, shape)) for shape in sorted(shapes))
        raise UsageError(f"frames of a sample differ in bands or size: {sizes} values")
    # A frame without a valid pixel may have the type of a constant: the others decide.
    types = [frame.values.dtype for frame in frames if frame.valid.any()] or [frames[0].values.dtype]
    dtype = np.result_type(*types)
    values = np.stack([frame.values.astype(dtype, copy=False) for frame in frames])
    return FramePixels(values, np.stack([frame.valid for frame in frames]), np.array(times, dtype=np.float64))


def decode_file(data: bytes, suffix: str, frames: Sequence[Mapping[str, Any]]) -> ChipPixels | FramePixels:
    """Decode a file, with all its frames if it has several.

    Raises:
        ValidationError: if it does not decode.
        UsageError: if it has another number of frames, or no pixels.
    """
    if not frames:
        return decode(data, suffix)
    return stack_frames(decode_frames(data, suffix, len(frames)), [frame_time(frame) for frame in frames])


def with_times(
    values: npt.NDArray[Any], valid: npt.NDArray[np.bool_], frames: Sequence[Mapping[str, Any]]
) -> FramePixels:
    """Return the pixels of frames that are one array already, with the time of each frame."""
    return FramePixels(values, valid, np.array([frame_time(frame) for frame in frames], dtype=np.float64))


def frame_time(facts: Mapping[str, Any]) -> float:
    """Return the time of a frame in seconds since 1970, from its ``dates`` or ``start``; NaN if it has none."""
    return seconds_of(next(iter(facts.get("dates") or ()), None) or facts.get("start"))


def seconds_of(text: str | None) -> float:
    """Return a recorded time in seconds since 1970; NaN if there is none, or it cannot be parsed."""
    moment = parse_timestamp(text) if text else None
    return float("nan") if moment is None else moment.timestamp()
