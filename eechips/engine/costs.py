"""Describe what a run costs: requests, bytes and time."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Estimate:
    """The requests and results of a run that has not started.

    Attributes:
        units: in the plan.
        requests: at least; repeats come on top.
        bytes: of files, roughly; None if the recipe does not say what it fetches before it runs.
        seconds: roughly, limited by the quota; None if there is none.
    """

    units: int
    requests: int
    bytes: int | None
    seconds: float | None


@dataclass(frozen=True, slots=True)
class Forecast:
    """The cost of the rest of a run, extrapolated from its first units.

    Attributes:
        tried: units that are through.
        left: units that are left; with those in the place of empty ones, if they are replaced at the rate so far.
        requests: HTTP requests, repeats included.
        bytes: of files.
        seconds: of time, with the slots that were learned, and no more requests a second than allowed.
        request_seconds: that requests are with the service, added up. It stands for compute, which the service does
            not tell: an EECU-second is one of a processor, and a request may use many processors, or wait.
        slots: requests in flight at once.
    """

    tried: int
    left: int
    requests: int
    bytes: int
    seconds: float
    request_seconds: float
    slots: int
