"""Describe what a run costs: requests, bytes and time."""

from __future__ import annotations

from dataclasses import dataclass

from eechips.engine.compute_sample import ComputeRange


@dataclass(frozen=True, slots=True)
class PlanningCost:
    """What it costs to connect and to plan a run.

    Attributes:
        requests: requests of the whole plan, without repeats; approximately, if it is extrapolated.
        sent: those that were sent until now, by an estimate or a run.
        seconds: seconds of the whole plan, approximately; less for what the service has cached.
        compute: compute of the whole plan; None if the service does not report it.
        least_requests: at least, if the plan is extrapolated from its first units; None if it is not.
        most_requests: likewise, at most.
        least_seconds: likewise, seconds at least.
        most_seconds: likewise, seconds at most.
        tried: number of these first units; 0 if all are planned.
        first_seconds: seconds until the first further units can be fetched.
    """

    requests: int
    sent: int
    seconds: float
    compute: ComputeRange | None = None
    least_requests: int | None = None
    most_requests: int | None = None
    least_seconds: float | None = None
    most_seconds: float | None = None
    tried: int = 0
    first_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Estimate:
    """The requests and results of a run that has not started.

    Attributes:
        units: in the plan.
        requests: for results, if no chips share one and none is repeated.
        bytes: number of bytes of files, approximately; None if the recipe cannot tell before it runs.
        seconds: approximately, limited by the quota, planning included; None if there is none.
        least_requests: if all units do that can share a request.
        most_requests: if each chip whose stored image was read has to be computed as well, as it may be masked.
        planning: what it costs to plan; None if the recipe sends no requests to Earth Engine.
        compute: compute of planning and results; None if that is unknown.
        compute_source: where ``compute`` comes from, in words.
    """

    units: int
    requests: int
    bytes: int | None
    seconds: float | None
    least_requests: int | None = None
    most_requests: int | None = None
    planning: PlanningCost | None = None
    compute: ComputeRange | None = None
    compute_source: str = ""


@dataclass(frozen=True, slots=True)
class Forecast:
    """The cost of the rest of a run, extrapolated from its first units.

    Attributes:
        tried: units that are finished.
        left: units that are left, including replacements of empty units at the rate so far.
        requests: HTTP requests for results, including retries.
        bytes: number of bytes of files; None if no unit that was tried has one.
        seconds: time until all is planned and fetched, with the learned slots and the allowed rate.
        request_seconds: total duration of the requests at the service.
        slots: requests in flight at once.
        compute: compute of the units that are left, by the profiles of those that were tried; None if none was
            profiled.
        unplanned: units of ``left`` that are not planned yet.
        planning: cost of planning these, apart from ``requests`` and ``compute``; None if it is unknown, as an earlier
            command has planned the first units, or if all units are planned.
        least_requests: lower end of the 95% confidence range of ``requests``, where units share some.
        most_requests: upper end.
    """

    tried: int
    left: int
    requests: int
    bytes: int | None
    seconds: float
    request_seconds: float
    slots: int
    compute: ComputeRange | None = None
    unplanned: int = 0
    planning: PlanningCost | None = None
    least_requests: int | None = None
    most_requests: int | None = None
