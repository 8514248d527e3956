"""Compute the cloud cover of a chip from its own quality bands."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from eechips.datasets.quality_bands import HALF, BitField, MaskSource, list_mask_sources
from eechips.training.chip_pixels import ChipPixels

_CLOUDY = ("cloud", "cirrus", "mixed")
"""Kinds of pixels that count as cloud; shadows do not."""

_BITS: tuple[tuple[MaskSource, BitField], ...] = tuple(
    (source, bits)
    for source in list_mask_sources()
    for kind in source.kinds
    if kind.name in _CLOUDY
    for bits in kind.values
    if isinstance(bits, BitField) and HALF not in bits.band
)
_SCORES = {source.score.band: source.score for source in list_mask_sources() if source.score is not None}
_QUALITY = frozenset({bits.band for _, bits in _BITS} | set(_SCORES))


def is_quality(band: str) -> bool:
    """Return whether a band describes the quality of others."""
    return band in _QUALITY


def cloud_share(pixels: ChipPixels, bands: Sequence[str], sources: Iterable[str]) -> float | None:
    """Return the share of valid pixels that are cloud.

    Args:
        pixels: of the file.
        bands: names of its bands.
        sources: ids of the images that it shows, or of their collections.

    Returns:
        0 to 1; None if none of the bands is a quality band of one of the sources, or no pixel is valid.
    """
    cloudy: npt.NDArray[np.bool_] | None = None
    collections = {name for source in sources for name in (source, source.rpartition("/")[0])}
    for band, values in zip(bands, pixels.values, strict=True):
        if band not in _QUALITY:
            continue
        found = _cloudy(band, values, collections)
        if found is not None:
            cloudy = found if cloudy is None else cloudy | found
    if cloudy is None or not pixels.valid.any():
        return None
    return float(cloudy[pixels.valid].mean())


def _cloudy(band: str, values: npt.NDArray[np.generic], collections: set[str]) -> npt.NDArray[np.bool_] | None:
    """Return the cloudy pixels by one band; None if the meaning of the band is unknown."""
    if band in _SCORES:
        found: npt.NDArray[np.bool_] = np.asarray(values, dtype=float) < _SCORES[band].threshold
        return found
    meant = [bits for source, bits in _BITS if bits.band == band and any(map(source.matches, collections))]
    if not meant or not np.all(np.isfinite(np.asarray(values, dtype=float))):
        return None
    numbers = np.asarray(values).astype(np.int64)
    cloudy = np.zeros(numbers.shape, dtype=bool)
    for bits in meant:
        cloudy |= np.isin((numbers >> bits.first) & ((1 << (bits.last - bits.first + 1)) - 1), bits.values)
    return cloudy
