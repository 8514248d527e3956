"""Keep account of the compute of a run, and estimate that of units from those whose requests were profiled."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from typing import Any

from eechips.client.error_classification import quota_month

_T = (12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23, 2.20, 2.18, 2.16, 2.14, 2.13, 2.12, 2.11, 2.10, 2.09)
"""97.5% quantiles of Student's t distribution with 1, 2, … degrees of freedom."""
_NORMAL = 1.96


def student_quantile(freedom: int) -> float:
    """Return the 97.5% quantile of Student's t distribution with degrees of freedom from 1."""
    return _T[freedom - 1] if freedom <= len(_T) else _NORMAL


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

    def times(self, factor: float) -> ComputeRange:
        """Return the compute of a multiple of the work."""
        low, high = (None if end is None else factor * end for end in (self.low, self.high))
        return ComputeRange(factor * self.seconds, low, high)


@dataclass(frozen=True, slots=True)
class ComputeSample:
    """Sums over profiled assignments: units, or several that share requests.

    The mean of a unit is a ratio of two sums over assignments, as in cluster sampling (Cochran, Sampling Techniques,
    1977, chapter 6): assignments are drawn with equal probability, whatever their number of units.

    Attributes:
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
        margin = student_quantile(self.assignments - 1) * math.hypot(of_mean, of_units)
        return ComputeRange(units * mean, max(0.0, units * mean - margin), units * mean + margin)

    @property
    def _variance(self) -> float | None:
        """Variance of an assignment's EECU-seconds around what its number of units lets expect."""
        mean = self.mean
        if mean is None or self.assignments < 2:
            return None
        squares = self.seconds_squared - 2 * mean * self.products + mean**2 * self.units_squared
        return max(0.0, squares) / (self.assignments - 1)


@dataclass(slots=True)
class MonthAccount:
    """The compute of a month.

    Attributes:
        eecu_seconds: EECU seconds of profiled requests.
        unprofiled: units whose requests were not profiled.
    """

    eecu_seconds: float = 0.0
    unprofiled: int = 0


@dataclass(slots=True)
class ComputeAccount:
    """The compute of a run. The ledger stores it.

    Attributes:
        months: by month, such as ``2026-11``; see :func:`eechips.client.error_classification.quota_month`.
        planning_eecu_seconds: EECU seconds of the planning of the planner's requests, all of which are profiled.
    """

    sample: ComputeSample = field(default_factory=ComputeSample)
    months: dict[str, MonthAccount] = field(default_factory=dict)
    planning_eecu_seconds: float = 0.0

    @classmethod
    def from_json(cls, stored: Mapping[str, Any] | None) -> ComputeAccount:
        """Return a stored account; an empty one if there is none."""
        if not stored:
            return cls()
        sample = stored["sample"]
        return cls(
            ComputeSample(**{attribute.name: sample[attribute.name] for attribute in fields(ComputeSample)}),
            {month: MonthAccount(**values) for month, values in stored["months"].items()},
            stored["planning_eecu_seconds"],
        )

    def to_json(self) -> dict[str, Any]:
        """Return the account as JSON."""
        return asdict(self)

    def add_profiled(self, now: datetime, units: int, seconds: float) -> None:
        """Add an assignment whose requests were profiled."""
        self._month(now).eecu_seconds += seconds
        self.sample = self.sample.add(units, seconds)

    def add_unprofiled(self, now: datetime, units: int) -> None:
        """Add units whose requests were not profiled."""
        self._month(now).unprofiled += units

    def add_planning(self, now: datetime, seconds: float) -> None:
        """Add requests of the planner."""
        self._month(now).eecu_seconds += seconds
        self.planning_eecu_seconds += seconds

    def add_exports(self, now: datetime, seconds: float) -> None:
        """Add batch tasks."""
        self._month(now).eecu_seconds += seconds

    def spent_in_month(self, now: datetime) -> ComputeRange | None:
        """Return what the run has used this month; None if no unit was profiled and some were fetched."""
        return self._total(self._month(now), 0)

    def total(self, left: int = 0) -> ComputeRange | None:
        """Return what the run has used and will use; None if no unit was profiled."""
        whole = MonthAccount(
            sum(month.eecu_seconds for month in self.months.values()),
            sum(month.unprofiled for month in self.months.values()),
        )
        return self._total(whole, left)

    def summarize(self) -> dict[str, Any] | None:
        """Return the compute so far for run.json; None if it is unknown.

        The ends of the 95% confidence range are ``low`` and ``high``.
        """
        used = self.total()
        if used is None or not self.months:
            return None
        months = {month: self._total(account, 0) for month, account in sorted(self.months.items())}
        return {
            "eecu_seconds": used.seconds,
            "low": used.low,
            "high": used.high,
            "planning_eecu_seconds": self.planning_eecu_seconds,
            "profiled_units": self.sample.units,
            "months": {
                month: month_compute.seconds for month, month_compute in months.items() if month_compute is not None
            },
        }

    def _total(self, account: MonthAccount, left: int) -> ComputeRange | None:
        rest = self.sample.estimate(account.unprofiled + left)
        known = account.eecu_seconds
        if rest is None:
            return ComputeRange(known, known, known) if not account.unprofiled + left else None
        low, high = (None if end is None else known + end for end in (rest.low, rest.high))
        return ComputeRange(known + rest.seconds, low, high)

    def _month(self, now: datetime) -> MonthAccount:
        return self.months.setdefault(quota_month(now), MonthAccount())
