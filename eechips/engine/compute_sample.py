"""Estimate the compute of units from those whose requests were profiled."""

from __future__ import annotations

import math
from dataclasses import dataclass

_T = (12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23, 2.20, 2.18, 2.16, 2.14, 2.13, 2.12, 2.11, 2.10, 2.09)
"""97.5% quantiles of Student's t distribution with 1, 2, … degrees of freedom."""
_NORMAL = 1.96


@dataclass(frozen=True, slots=True)
class ComputeRange:
    """An estimated compute.

    Attributes:
        seconds: EECU-seconds.
        low: lower end of the 95% confidence range; equal to ``seconds`` if nothing is estimated, None if unknown.
        high: upper end.
    """

    seconds: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class ComputeSample:
    """Sums over profiled assignments: units, or several that share requests.

    The mean of a unit is a ratio of two sums over assignments, as in cluster sampling (Cochran, Sampling Techniques,
    1977, chapter 6): assignments are drawn with equal probability, whatever their number of units.

    Attributes:
        assignments: number of them.
        units: in these.
        seconds: EECU-seconds of these.
        seconds_squared: sum over assignments.
        units_squared: sum over assignments.
        products: sum over assignments of units times seconds.
    """

    assignments: int = 0
    units: int = 0
    seconds: float = 0.0
    seconds_squared: float = 0.0
    units_squared: float = 0.0
    products: float = 0.0

    def add(self, units: int, seconds: float) -> ComputeSample:
        """Return the sums with a further assignment."""
        return ComputeSample(
            self.assignments + 1,
            self.units + units,
            self.seconds + seconds,
            self.seconds_squared + seconds**2,
            self.units_squared + units**2,
            self.products + units * seconds,
        )

    @property
    def mean(self) -> float | None:
        """EECU-seconds of a unit; None if no unit was profiled."""
        return self.seconds / self.units if self.units else None

    @property
    def spread(self) -> float | None:
        """Standard deviation of a unit's EECU-seconds; None for fewer than two assignments.

        Of assignments of several units it is that of the assignment, divided by the root of its units.
        """
        variance = self._variance
        return None if variance is None else math.sqrt(variance * self.assignments / self.units)

    def estimate(self, units: int) -> ComputeRange | None:
        """Estimate the compute of units that were not profiled; None if no unit was.

        The range includes the error of the mean, and how much the units themselves differ.
        """
        mean, variance = self.mean, self._variance
        if mean is None:
            return None
        if not units:
            return ComputeRange(0.0, 0.0, 0.0)
        if variance is None:
            return ComputeRange(units * mean, None, None)
        of_mean = units * math.sqrt(variance * self.assignments) / self.units
        of_units = math.sqrt(units * variance * self.assignments / self.units)
        margin = self._quantile * math.hypot(of_mean, of_units)
        return ComputeRange(units * mean, max(0.0, units * mean - margin), units * mean + margin)

    @property
    def _variance(self) -> float | None:
        """Variance of an assignment's EECU-seconds around what its number of units lets expect."""
        mean = self.mean
        if mean is None or self.assignments < 2:
            return None
        squares = self.seconds_squared - 2 * mean * self.products + mean**2 * self.units_squared
        return max(0.0, squares) / (self.assignments - 1)

    @property
    def _quantile(self) -> float:
        freedom = self.assignments - 1
        return _T[freedom - 1] if freedom <= len(_T) else _NORMAL
