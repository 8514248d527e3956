"""Keep account of the compute of a run, and estimate that of units from those whose requests were profiled.

The measured compute of units is kept for estimates of later runs that are alike: a file of a few hundred bytes in the
user's cache folder for each kind of run: command, datasets and bands. Runs work without it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from typing import Any

from eechips.client.error_classification import quota_month
from eechips.storage.cached_records import load_record, save_record

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

    @property
    def ends(self) -> tuple[float, float]:
        """Both ends; ``seconds`` in place of one that is unknown."""
        return self.seconds if self.low is None else self.low, self.seconds if self.high is None else self.high

    def __add__(self, other: ComputeRange) -> ComputeRange:
        low, high = (
            None if own is None or its is None else own + its
            for own, its in ((self.low, other.low), (self.high, other.high))
        )
        return ComputeRange(self.seconds + other.seconds, low, high)


@dataclass(frozen=True, slots=True)
class ComputeSample:
    """Sums over a random sample of assignments: units, or several that share requests.

    The mean of a unit is a ratio of two sums over assignments, as in cluster sampling (Cochran, Sampling Techniques,
    1977, chapter 6): assignments are drawn with equal probability, whatever their number of units.

    Attributes:
        units: in these.
        seconds: EECU-seconds of these; or another amount, such as bytes.
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

    @classmethod
    def of(cls, amounts: Sequence[float], units: Sequence[int] | None = None) -> ComputeSample:
        """Return the sums of an amount of each assignment, and of its units; None if each has one."""
        pairs = list(zip([1] * len(amounts) if units is None else units, amounts, strict=True))
        squares = [(amount**2, count**2, count * amount) for count, amount in pairs]
        return cls(
            len(pairs), *(sum(column) for column in zip(*pairs, strict=True)), *map(sum, zip(*squares, strict=True))
        )

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
        if not self.units or self.assignments < 2:
            return None
        # Of an assignment around what its units let expect. Multiplied out, whole numbers have no error of rounding;
        # of fractions that are alike, a spread below a millionth of their mean may remain.
        products = self.units * (self.units * self.seconds_squared - 2 * self.seconds * self.products)
        squares = max(0.0, (products + self.seconds**2 * self.units_squared) / self.units**2)
        return math.sqrt(squares / (self.assignments - 1) * self.assignments / self.units)

    @property
    def mean_margin(self) -> float:
        """Half the width of the 95% confidence range of the mean; 0 for fewer than two assignments."""
        return self._quantile * (self.spread or 0.0) / math.sqrt(self.units or 1)

    def margin(self, units: int) -> float:
        """Return half the width of the 95% confidence range of a sum over further units; 0 if it is unknown.

        It includes the error of the mean, and how much the units themselves differ.
        """
        return math.hypot(units * self.mean_margin, math.sqrt(units) * self._quantile * (self.spread or 0.0))

    def estimate(self, units: int) -> ComputeRange | None:
        """Estimate the compute of units that were not profiled; None if no unit was."""
        if self.mean is None:
            return None
        seconds, margin = units * self.mean, self.margin(units)
        if units and self.assignments < 2:
            return ComputeRange(seconds, None, None)
        return ComputeRange(seconds, max(0.0, seconds - margin), seconds + margin)

    @property
    def _quantile(self) -> float:
        """97.5% quantile of Student's t distribution."""
        freedom = max(1, self.assignments - 1)
        return _T[freedom - 1] if freedom <= len(_T) else _NORMAL


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
        return self._total([self._month(now)])

    def total(self, left: int = 0) -> ComputeRange | None:
        """Return what the run has used and will use; None if no unit was profiled."""
        return self._total(self.months.values(), left)

    def summarize(self) -> dict[str, Any] | None:
        """Return the compute so far for run.json; None if it is unknown.

        The ends of the 95% confidence range are ``low`` and ``high``.
        """
        used = self.total()
        if used is None or not self.months:
            return None
        months = {month: self._total([account]) for month, account in sorted(self.months.items())}
        return {
            "eecu_seconds": used.seconds,
            "low": used.low,
            "high": used.high,
            "planning_eecu_seconds": self.planning_eecu_seconds,
            "profiled_units": self.sample.units,
            "months": {month: compute.seconds for month, compute in months.items() if compute is not None},
        }

    def _total(self, months: Iterable[MonthAccount], left: int = 0) -> ComputeRange | None:
        seconds, unprofiled = 0.0, left
        for month in months:
            seconds, unprofiled = seconds + month.eecu_seconds, unprofiled + month.unprofiled
        rest = self.sample.estimate(unprofiled)
        if rest is None and unprofiled:
            return None
        return ComputeRange(seconds, seconds, seconds) + (rest or ComputeRange(0.0, 0.0, 0.0))

    def _month(self, now: datetime) -> MonthAccount:
        return self.months.setdefault(quota_month(now), MonthAccount())


FOLDER = "costs"
_FACTOR = 2.0
"""Factor by which the compute of like requests differs: caches, and numbers of images at a place
(https://developers.google.com/earth-engine/guides/computation_overview#stability_and_predictability). Assumed."""


@dataclass(frozen=True, slots=True)
class RecordedCompute:
    """Compute of the units of an earlier run.

    Attributes:
        pixels: number of pixels of a unit; 0 if it has none.
        seen: when, ISO 8601, UTC.
    """

    sample: ComputeSample
    pixels: int
    seen: str

    def estimate(self, units: int, pixels: int) -> ComputeRange | None:
        """Estimate the compute of units that are alike: half to twice the range that the sample gives.

        With other numbers of pixels, the range is from compute that does not depend on them to such that is
        proportional to them.

        Args:
            pixels: number of pixels of one; 0 if it has none.
        """
        compute = self.sample.estimate(units)
        if compute is None:
            return None
        ratio = pixels / self.pixels if pixels and self.pixels else 1.0
        low, high = compute.ends
        return ComputeRange(
            compute.seconds * math.sqrt(ratio), low * min(1.0, ratio) / _FACTOR, high * max(1.0, ratio) * _FACTOR
        )


def load_recorded_compute(endpoint: str, kind: str) -> RecordedCompute | None:
    """Load the compute of earlier units; None if there is none, or it is damaged."""
    record = load_record(FOLDER, endpoint, kind)
    try:
        sums = {figure.name: float(record["sample"][figure.name]) for figure in fields(ComputeSample)}
        if not all(math.isfinite(figure) and figure >= 0.0 for figure in sums.values()):
            return None
        assignments, units = int(sums.pop("assignments")), int(sums.pop("units"))
        return RecordedCompute(ComputeSample(assignments, units, **sums), int(record["pixels"]), str(record["seen"]))
    except (ValueError, KeyError, TypeError, OverflowError):
        return None


def save_recorded_compute(endpoint: str, kind: str, recorded: RecordedCompute) -> bool:
    """Store the compute of the units of a run, in place of that of an earlier one; return whether it was stored."""
    return save_record(FOLDER, endpoint, kind, {"kind": kind, **asdict(recorded)})
