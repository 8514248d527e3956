"""Describe what a run costs: requests, bytes and time."""

from __future__ import annotations

from dataclasses import dataclass

from eechips.engine.compute_sample import ComputeRange


@dataclass(frozen=True, slots=True)
class Estimate:
    """The requests and results of a run that has not started.

    Attributes:
        units: in the plan.
        requests: minimum, without retries.
        bytes: of files, approximately; None if the recipe cannot tell before it runs.
        seconds: approximately, limited by the quota; None if there is none.
    """

    units: int
    requests: int
    bytes: int | None
    seconds: float | None


@dataclass(frozen=True, slots=True)
class Forecast:
    """The cost of the rest of a run, extrapolated from its first units.

    Attributes:
        tried: units that are finished.
        left: units that are left, including replacements of empty units at the rate so far.
        requests: HTTP requests, including retries.
        bytes: of files.
        seconds: of time, with the learned slots and the allowed rate.
        request_seconds: total duration of the requests at the service.
        slots: requests in flight at once.
        compute: of the units that are left, by the profiles of those that were tried; None if none was profiled.
    """

    tried: int
    left: int
    requests: int
    bytes: int
    seconds: float
    request_seconds: float
    slots: int
    compute: ComputeRange | None = None
