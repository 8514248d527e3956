"""Join the frames of a time series to one array."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from eechips.errors import UsageError
from eechips.text.timestamps import parse_timestamp
from eechips.training.chip_pixels import ChipPixels, decode, decode_frames


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

    Args:
        frames: frames of one series; all with equal bands and size.
        times: time of each, seconds since 1970, NaN if unknown.

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

    Args:
        data: content of the file.
        suffix: suffix of its name, without the dot.
        frames: see :attr:`eechips.training.sample.SampleFile.frames`.

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
    """Return the time of a frame in seconds since 1970; NaN if it has none.

    Args:
        facts: entries of its file: ``dates`` and ``start``, as in ``layers.parquet``.
    """
    text = next(iter(facts.get("dates") or ()), None) or facts.get("start")
    moment = parse_timestamp(text) if text else None
    return float("nan") if moment is None else moment.timestamp()
