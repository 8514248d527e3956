"""Normalize means of vectors that have length 1 in each pixel, such as embeddings.

The mean of vectors of length 1 is shorter. It is divided by its length, as the producers of the satellite embeddings do
for coarser pixels: https://developers.google.com/earth-engine/guides/aef_on_gcs_readme
"""

from __future__ import annotations

import logging

import numpy as np
import numpy.typing as npt

from eechips.datasets import Dataset
from eechips.planning.imagery.band_selection import BandSelection

_log = logging.getLogger(__name__)


def vector_bands(record: Dataset | None, selection: BandSelection) -> tuple[str, ...]:
    """Return the bands of a selection that are a vector of length 1 in each pixel.

    Args:
        record: record of the dataset, if it has one.

    Returns:
        The bands of the vector, as they are stored; empty if the dataset has no such vector, or the selection only a
        part of it, whose length varies from pixel to pixel.
    """
    if record is None or not record.is_unit_vector or selection.quantization is not None:
        return ()
    stored = set(selection.names) - {computed_band.name for computed_band in selection.computed}
    return record.default_bands if stored.issuperset(record.default_bands) else ()


def warn_of_partial_vector(record: Dataset | None, selection: BandSelection) -> None:
    """Log a warning if a selection has some bands of a vector: their means are not normalized."""
    if record is None or not record.is_unit_vector or vector_bands(record, selection):
        return
    _log.warning(
        "means are not normalized to length 1: that takes all %d bands of %s, and %s selected",
        len(record.default_bands),
        record.alias,
        f"{len(selection.names)} are" if len(selection.names) > 1 else "1 is",
    )


def normalize(vectors: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return vectors divided by their length.

    The result for a vector depends on no other vector, and on no machine: squares are added in the order of the bands.

    Args:
        vectors: shape (rows, bands); NaN where a value is missing.

    Returns:
        Array of the same shape; NaN for a vector with a missing value, and for a vector of length 0, which has no
        direction.
    """
    squares = np.zeros(len(vectors))
    for column in vectors.T:
        squares += column * column
    lengths = np.sqrt(squares)
    lengths[lengths == 0] = np.nan
    return vectors / lengths[:, None]
