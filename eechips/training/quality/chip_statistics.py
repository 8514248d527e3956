"""Compute statistics of one file: values, masks, share of clouds, offset from the planned grid, and two fingerprints
(digest and perceptual hash) to find duplicates.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from eechips.datasets.quality_bands import HALF, BitField, MaskSource, list_mask_sources
from eechips.errors import ValidationError
from eechips.formats.raster import check_crs
from eechips.training.quality.chip_pixels import ChipPixels, decode
from eechips.training.quality.class_weights import MOST_KINDS
from eechips.training.sample import SampleFile

HASH_EDGE = 8
"""Bits of a perceptual hash in each row and column: 64 for differences to the right, 64 for those downwards."""

_LEAST_BITS = 6  # of each half that must differ from the others: else there is too little to tell pictures apart by


@dataclass(frozen=True, slots=True, kw_only=True)
class ChipStatistics:
    """Statistics of a file's pixels; all None if it does not decode, or has no pixels.

    Quality bands, such as ``SCL`` or ``QA_PIXEL``, tell of clouds; they count for nothing else.

    Attributes:
        width: columns of pixels that were decoded.
        min: the least valid value of all bands; None if none is valid.
        std: standard deviation of these, of the population.
        valid_fraction: share of pixels that are not masked.
        black: share of valid pixels that are 0 in every band.
        saturated: share of valid pixels that have the greatest number of their type in some band; None for floats.
        kinds: how many different values there are, up to 41; None with several bands, or floats.
        is_constant: whether every band has one value at most.
        cloud_fraction: share of valid pixels that a quality band calls cloudy; None if there is no such band.
        offset: pixels, at most, between the corners by the file's own transform and by the manifest's; None if the
            file says nothing of its place; infinite with another crs.
        pixels: sha256 of type, shape, values and mask, hexadecimal.
        dhash: difference hash of 128 bits, hexadecimal; None where there is too little to see.
    """

    width: int | None = None
    height: int | None = None
    min: float | None = None
    max: float | None = None
    mean: float | None = None
    std: float | None = None
    valid_fraction: float | None = None
    black: float | None = None
    saturated: float | None = None
    kinds: int | None = None
    is_constant: bool | None = None
    cloud_fraction: float | None = None
    offset: float | None = None
    pixels: str | None = None
    dhash: str | None = None


def compute_statistics(data: bytes, file: SampleFile, datasets: Sequence[str]) -> ChipStatistics:
    """Compute the statistics of a file.

    Args:
        datasets: ids of the run's datasets, which define quality bands if the file names no source.

    Raises:
        ValidationError: if it does not decode.
        UsageError: if files of its kind have no pixels.
    """
    pixels = decode(data, file.suffix)
    bands = file.bands if file.bands is not None and len(file.bands) == len(pixels.values) else None
    shown = [index for index in range(len(pixels.values)) if bands is None or not is_quality(bands[index])]
    values = pixels.values[shown] if shown else pixels.values
    valid = pixels.valid
    if np.issubdtype(values.dtype, np.floating):
        valid = valid & np.isfinite(values).all(axis=0)
    known = values.reshape(len(values), -1) if valid.all() else values[:, valid]
    height, width = valid.shape
    clouds = None if bands is None else cloud_share(pixels, bands, (*file.sources, *datasets))
    return ChipStatistics(
        width=width,
        height=height,
        **_statistics(known),
        valid_fraction=float(np.count_nonzero(valid) / valid.size),
        cloud_fraction=clouds,
        offset=_offset(pixels, file),
        pixels=_digest(pixels),
        dhash=_dhash(values, valid),
    )


def _statistics(known: npt.NDArray[Any]) -> dict[str, Any]:
    """Compute statistics of the valid values, of shape (bands, n)."""
    if not known.size:
        return {"black": 0.0, "saturated": 0.0, "is_constant": True}
    is_integer = np.issubdtype(known.dtype, np.integer)
    lows, highs = known.min(axis=1), known.max(axis=1)
    low, high = lows.min(), highs.max()
    most = np.iinfo(known.dtype).max if is_integer else None
    is_black = (low <= 0 <= high) and (lows <= 0).all()  # else no pixel can be 0 in every band
    mean, std = _moments(known)
    return {
        "min": float(low),
        "max": float(high),
        "mean": mean,
        "std": std,
        "black": float((known == 0).all(axis=0).mean()) if is_black else 0.0,
        "saturated": None if most is None else float((known == most).any(axis=0).mean()) if high == most else 0.0,
        "kinds": min(len(np.unique(known)), MOST_KINDS + 1) if is_integer and len(known) == 1 else None,
        "is_constant": bool((lows == highs).all()),
    }


def _moments(known: npt.NDArray[Any]) -> tuple[float, float]:
    """Compute mean and standard deviation; of small integers by counting, which is several times as fast."""
    if known.dtype not in (np.uint8, np.uint16):
        return float(known.mean(dtype=np.float64)), float(known.std(dtype=np.float64))
    counts = np.bincount(known.ravel())
    values = np.arange(len(counts), dtype=np.float64)
    mean = float(counts @ values) / known.size
    return mean, float(np.sqrt(counts @ (values - mean) ** 2 / known.size))


def _digest(pixels: ChipPixels) -> str:
    """Return the sha256 of the valid pixels, independent of compression and of masked values."""
    digest = hashlib.sha256(f"{pixels.values.dtype.str}{pixels.values.shape}".encode())
    is_whole = bool(pixels.valid.all())
    for band in pixels.values:
        shown = band if is_whole else np.where(pixels.valid, band, np.zeros((), band.dtype))
        digest.update(np.ascontiguousarray(shown).data)
    digest.update(np.packbits(pixels.valid).data)
    return digest.hexdigest()


def _dhash(values: npt.NDArray[Any], valid: npt.NDArray[np.bool_]) -> str | None:
    """Return whether brightness grows from each cell of a coarse picture to the next one to the right, and below.

    A picture of 9x9 cells, each the mean of its valid pixels (those without any have the mean of all), of all bands.
    https://www.hackerfactor.com/blog/index.php?/archives/529-Kind-of-Like-That.html has the differences to the right.
    """
    if min(valid.shape) <= HASH_EDGE or not valid.any():
        return None
    rows, columns = (np.linspace(0, size, HASH_EDGE + 2).astype(int)[:-1] for size in valid.shape)

    def summed(part: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        by_row = np.add.reduceat(part, rows, axis=0, dtype=np.float64)
        return np.asarray(np.add.reduceat(by_row, columns, axis=1))

    is_whole = bool(valid.all())
    sums = np.sum([summed(band if is_whole else np.where(valid, band, 0)) for band in values], axis=0)
    counts = summed(valid)
    cells = np.where(counts > 0, sums / np.maximum(counts, 1), sums.sum() / counts.sum())
    across = cells[:HASH_EDGE, 1:] > cells[:HASH_EDGE, :-1]
    down = cells[1:, :HASH_EDGE] > cells[:-1, :HASH_EDGE]
    for half in (across, down):
        if min(np.count_nonzero(half), half.size - np.count_nonzero(half)) < _LEAST_BITS:
            return None
    return np.packbits(np.concatenate([across.ravel(), down.ravel()])).tobytes().hex()


def _offset(pixels: ChipPixels, file: SampleFile) -> float | None:
    """Return the distance between a GeoTIFF's grid and the manifest's, in pixels."""
    if file.suffix not in ("tif", "tiff") or file.crs is None or file.transform is None or pixels.place is None:
        return None
    crs, own = pixels.place
    try:
        check_crs(file.crs, crs)
    except ValidationError:
        return float("inf")
    height, width = pixels.valid.shape
    return offset(file.transform, own, width, height)


def offset(one: Sequence[float], other: Sequence[float], width: int, height: int) -> float:
    """Return the largest distance between the corners of an image by two transforms, in pixels of the first."""
    a, b, c, d, e, f = one
    linear = np.linalg.inv(np.array([[a, b], [d, e]]))
    corners = np.array([[0, 0, 1], [width, 0, 1], [0, height, 1], [width, height, 1]])
    steps = np.array([[a, b, c], [d, e, f]]) - np.array(other, dtype=float).reshape(2, 3)
    return float(np.abs(corners @ steps.T @ linear.T).max())


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
        sources: ids of the images that it shows, or of their collections.

    Returns:
        0 to 1; None if none of the bands is a quality band of one of the sources, or no pixel is valid.
    """
    cloudy: npt.NDArray[np.bool_] | None = None
    collections = {name for source in sources for name in (source, source.rpartition("/")[0])}
    for band, values in zip(bands, pixels.values, strict=True):
        if band not in _QUALITY:
            continue
        band_cloudy = _cloudy(band, values, collections)
        if band_cloudy is not None:
            cloudy = band_cloudy if cloudy is None else cloudy | band_cloudy
    if cloudy is None or not pixels.valid.any():
        return None
    return float(cloudy[pixels.valid].mean())


def _cloudy(band: str, values: npt.NDArray[np.generic], collections: set[str]) -> npt.NDArray[np.bool_] | None:
    """Return the cloudy pixels by one band; None if the meaning of the band is unknown."""
    if band in _SCORES:
        return np.asarray(values, dtype=float) < _SCORES[band].threshold
    meant = [bits for source, bits in _BITS if bits.band == band and any(map(source.matches, collections))]
    if not meant or not np.all(np.isfinite(np.asarray(values, dtype=float))):
        return None
    numbers = np.asarray(values).astype(np.int64)
    cloudy = np.zeros(numbers.shape, dtype=bool)
    for bits in meant:
        cloudy |= np.isin((numbers >> bits.first) & ((1 << (bits.last - bits.first + 1)) - 1), bits.values)
    return cloudy
