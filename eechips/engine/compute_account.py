"""Keep account of what a run's requests have cost the service, over all its resumptions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from typing import Any

from eechips.client.error_classification import quota_month
from eechips.engine.compute_sample import ComputeRange, ComputeSample


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
        sample: the profiled assignments.
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
        """Return what the run has used and will use.

        Args:
            left: units that are left.

        Returns:
            The compute; None if no unit was profiled.
        """
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
