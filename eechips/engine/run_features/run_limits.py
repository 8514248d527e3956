"""Stop a run when its budget of requests, bytes or minutes is spent; that of compute: ``compute_budget.py``."""

from __future__ import annotations

import time
from collections.abc import Callable

from eechips.engine.run_context import RunFeature, StopReason
from eechips.text.formatting import format_duration


class BudgetLimit(RunFeature):
    """Start no further unit once the throttle may send no request, or the time is over."""

    def __init__(self, deadline: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._deadline, self._clock = deadline, clock

    def stop_reason(self) -> StopReason | None:
        """Return which limit is reached, or will be before the service allows the next request."""
        throttle, now = self.run.throttle, self._clock()
        if throttle.is_spent:
            return StopReason("budget exhausted", "Stopping: the limit of requests or bytes is reached.")
        if now >= self._deadline:
            text = "Stopping: the time limit is reached; finishing the requests in flight."
            return StopReason("time limit reached", text)
        if now + throttle.asked_left > self._deadline:
            wait = format_duration(throttle.asked_left)
            text = f"Stopping: Earth Engine asks to wait {wait}, longer than the time limit allows."
            return StopReason("time limit reached", text)
        return None
