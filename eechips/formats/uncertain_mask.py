"""Find the pixels of a response without a mask that may be masked: their values may stand for masked pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from eechips.formats.chip_format import Expectation, UncertainMaskError


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
