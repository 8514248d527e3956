"""Compute statistics of the valid pixels of a band over many files, in memory that does not grow with their number.

Integers of up to 16 bits are counted by value, so that all of their statistics are exact: sums are sums of Python
integers. Other types have mean and variance by pairwise merging (Chan, Golub and LeVeque 1979, "Updating Formulae and a
Pairwise Algorithm for Computing Sample Variances", http://i.stanford.edu/pub/cstr/reports/cs/tr/79/773/CS-TR-79-773.pdf)
in 64-bit floats. Their percentiles need a second pass: the first counts values by the upper 16 bits of their 32-bit
floats in order, the second counts those in the few bins that contain the percentiles by 12 bits more. Values are then
known to 20 binary digits: to a relative error of 2⁻¹⁹, and integers below 2²⁰ exactly.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from eechips.errors import UsageError
from eechips.training.quality.chip_pixels import BandPixels

PERCENTILES = (1, 2, 5, 25, 50, 75, 95, 98, 99)
"""Percentiles that are computed, interpolated linearly between two values as by ``numpy.percentile``."""

Counts = npt.NDArray[np.int64]

_KEY_BITS = 28  # of a value's key: sign, 8 bits of exponent, 19 of mantissa
_FINE_BITS = 12  # of these, counted in the second pass
_SIGN = np.uint32(1 << 31)
_DROPPED = np.uint32((1 << (32 - _KEY_BITS)) - 1)  # bits of the mantissa
_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True, slots=True)
class BandStatistics:
    """Statistics of a band in the files of a split.

    Attributes:
        valid: number of valid ones: not masked, not nodata, finite. All statistics are of these.
        min: the least value; None if no pixel is valid, as in what follows.
        max: the greatest value.
        std: standard deviation of the population (divided by n).
        percentiles: by percent: see :data:`PERCENTILES`.
    """

    pixels: int
    valid: int
    min: float | None
    max: float | None
    mean: float | None
    std: float | None
    percentiles: Mapping[int, float | None]


@dataclass(slots=True)
class Histogram:
    """Counts of consecutive integers.

    Attributes:
        low: the integer of the first count.
        counts: counts of ``low``, ``low`` + 1, …
    """

    low: int = 0
    counts: Counts = field(default_factory=lambda: np.empty(0, np.int64))

    @classmethod
    def of(cls, numbers: npt.NDArray[Any]) -> Histogram:
        """Count integers."""
        if not numbers.size:
            return cls()
        low = int(numbers.min())
        return cls(low, np.bincount((numbers.astype(np.int64) - low).ravel()))

    def add(self, other: Histogram) -> None:
        """Add the counts of another histogram."""
        if not len(other.counts):
            return
        if not len(self.counts):
            self.low, self.counts = other.low, other.counts.astype(np.int64)
            return
        low = min(self.low, other.low)
        end = max(self.low + len(self.counts), other.low + len(other.counts))
        if end - low > len(self.counts):
            wider = np.zeros(end - low, np.int64)
            wider[self.low - low :][: len(self.counts)] = self.counts
            self.low, self.counts = low, wider
        self.counts[other.low - self.low :][: len(other.counts)] += other.counts

    @property
    def items(self) -> tuple[Counts, Counts]:
        """The integers that have been counted, in order, and their counts."""
        there = np.flatnonzero(self.counts)
        return there + self.low, self.counts[there]


@dataclass(slots=True)
class BandTotals:
    """What statistics of a band need of its files; totals of files can be added.

    Attributes:
        mean: mean of the values; of integers that are counted by value it is not used.
        squares: sum of squared differences from the mean.
        coarse: counts of the values, or of the upper bits of their keys.
        fine: result of the second pass: counts of the lower bits of keys, by their upper bits.
    """

    dtype: np.dtype[Any]
    pixels: int = 0
    valid: int = 0
    least: Any = None
    greatest: Any = None
    mean: float = 0.0
    squares: float = 0.0
    coarse: Histogram = field(default_factory=Histogram)
    fine: dict[int, Counts] = field(default_factory=dict)

    @classmethod
    def of(cls, band: BandPixels) -> BandTotals:
        """Compute the totals of a band of one file."""
        known = _known(band)
        totals = cls(known.dtype, band.valid.size, known.size)
        if not known.size:
            return totals
        totals.least, totals.greatest = known.min().item(), known.max().item()
        if totals.is_counted:
            totals.coarse = Histogram.of(known)
            return totals
        values = known.astype(np.float64)
        totals.mean = float(values.mean())
        totals.squares = float(((values - totals.mean) ** 2).sum())
        totals.coarse = Histogram.of(_keys(known) >> _FINE_BITS)
        return totals

    @property
    def is_counted(self) -> bool:
        """Return whether values are counted one by one: integers of up to 16 bits."""
        return self.dtype.kind in "iu" and self.dtype.itemsize <= 2

    def add(self, other: BandTotals) -> None:
        """Add the totals of other files.

        Raises:
            UsageError: if one has integers of up to 16 bits and the other has not.
        """
        if self.is_counted != other.is_counted:
            raise UsageError(f"some files have the type {self.dtype}, others {other.dtype}")
        self.dtype = np.result_type(self.dtype, other.dtype)
        both = self.valid + other.valid
        if other.valid:
            away = other.mean - self.mean
            self.squares += other.squares + away * away * self.valid * other.valid / both
            self.mean += away * other.valid / both
            self.least = other.least if self.least is None else min(self.least, other.least)
            self.greatest = other.greatest if self.greatest is None else max(self.greatest, other.greatest)
        self.pixels += other.pixels
        self.valid = both
        self.coarse.add(other.coarse)
        for upper, counts in other.fine.items():
            self.fine[upper] = self.fine[upper] + counts if upper in self.fine else counts.copy()

    def wanted_bins(self) -> frozenset[int]:
        """Return the upper bits of the keys of all percentiles, which the second pass looks for."""
        if self.is_counted or not self.valid:
            return frozenset()
        uppers, counts = self.coarse.items
        return frozenset(int(upper) for q in PERCENTILES for upper in _neighbours(uppers, counts, q)[:2])

    def add_fine(self, upper: int, counts: Counts) -> None:
        """Add counts of the lower bits of keys with given upper bits, from the second pass."""
        if upper in self.fine:
            self.fine[upper] += counts
        else:
            self.fine[upper] = counts.copy()

    def statistics(self) -> BandStatistics:
        """Compute the statistics. The counts of a second pass must have been added before."""
        if not self.valid:
            return BandStatistics(self.pixels, 0, None, None, None, None, dict.fromkeys(PERCENTILES))
        if self.is_counted:
            values, counts = self.coarse.items
            mean, std = _exact_moments(values, counts)
            points = values.astype(np.float64)
        else:
            mean, std = self.mean, math.sqrt(self.squares / self.valid)
            points, counts = self._refined()
        percentiles = {q: _percentile(points, counts, q) for q in PERCENTILES}
        if not self.is_counted:  # a key is a value without its last digits
            percentiles = {q: min(max(value, self.least), self.greatest) for q, value in percentiles.items()}
        return BandStatistics(self.pixels, self.valid, self.least, self.greatest, mean, std, percentiles)

    def _refined(self) -> tuple[npt.NDArray[np.float64], Counts]:
        """Return values and their counts, in order; values that no percentile needs are joined."""
        keys, counts = [], []
        for upper, count in zip(*self.coarse.items, strict=True):
            fine = self.fine.get(int(upper))
            lower = np.array([0]) if fine is None else np.flatnonzero(fine)
            keys.append((int(upper) << _FINE_BITS) + lower)
            counts.append(np.array([count]) if fine is None else fine[lower])
        return _values(np.concatenate(keys)), np.concatenate(counts)


def count_fine(band: BandPixels, bins: frozenset[int]) -> dict[int, Counts]:
    """Count the lower bits of the keys of a band's valid values, for keys with some upper bits.

    Returns:
        Counts of the 4096 possible lower bits, by upper bits; bins without values are left out.
    """
    keys = _keys(_known(band))
    uppers = keys >> _FINE_BITS
    counts = {}
    for upper in sorted(bins):
        lower = keys[uppers == upper] & ((1 << _FINE_BITS) - 1)
        if lower.size:
            counts[upper] = np.bincount(lower, minlength=1 << _FINE_BITS)
    return counts


def _known(band: BandPixels) -> npt.NDArray[Any]:
    """Return the valid values of a band, (n,)."""
    known: npt.NDArray[Any] = band.values[band.valid]
    if known.dtype.kind == "b":
        return known.astype(np.uint8)
    return known[np.isfinite(known)] if known.dtype.kind == "f" else known


def _keys(values: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Return integers of ``_KEY_BITS`` bits that are in the order of the values.

    The bits of a positive IEEE 754 float are in its order as an integer, those of a negative one in the reverse order.
    """
    if values.dtype.kind == "f" and values.dtype.itemsize > 4:
        values = np.clip(values, -_LARGEST, _LARGEST)
    bits = (values.astype(np.float32) + np.float32(0)).view(np.uint32) & ~_DROPPED  # no negative zero
    ordered = np.where(bits & _SIGN, ~bits, bits | _SIGN)
    return ordered.astype(np.int64) >> (32 - _KEY_BITS)


def _values(keys: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return the values of keys; a key stands for its value that is nearest to 0."""
    ordered = (keys << (32 - _KEY_BITS)).astype(np.uint32)
    bits = np.where(ordered & _SIGN, ordered ^ _SIGN, ~ordered & ~_DROPPED)
    return bits.view(np.float32).astype(np.float64)


def _exact_moments(values: Counts, counts: Counts) -> tuple[float, float]:
    """Return mean and standard deviation of counted integers, from sums without rounding."""
    pairs = list(zip(values.tolist(), counts.tolist(), strict=True))
    n = sum(count for _, count in pairs)
    total = sum(value * count for value, count in pairs)
    square = sum(value * value * count for value, count in pairs)
    return total / n, math.sqrt((n * square - total * total) / (n * n))


def _neighbours(values: npt.NDArray[Any], counts: Counts, q: int) -> tuple[Any, Any, float]:
    """Return the two values between which a percentile lies, and the share of the second."""
    ends = np.cumsum(counts)
    n = int(ends[-1])
    rank, rest = divmod(q * (n - 1), 100)
    below = values[np.searchsorted(ends, rank, side="right")]
    above = values[np.searchsorted(ends, min(rank + 1, n - 1), side="right")]
    return below, above, rest / 100


def _percentile(values: npt.NDArray[np.float64], counts: Counts, q: int) -> float:
    below, above, share = _neighbours(values, counts, q)
    return float(below + (above - below) * share)
