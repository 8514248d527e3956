"""Define limits, shares and permits of the quota of a run; recognise the restricted mode in a response.

:mod:`eechips.client.quota.throttle` enforces them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from eechips.client.compute_profiles import PROFILE_RESPONSE_HEADER
from eechips.web.retry_after import parse_retry_after

_QUOTA_STATUS = "x-earth-engine-quota-status"
_RESTRICTED = "parallelism_restricted=true"
"""Value of the header when the compute of a project for the month is used up
(https://developers.google.com/earth-engine/guides/noncommercial_tiers#restricted_mode)."""


@dataclass(frozen=True, slots=True)
class QuotaLimits:
    """Limits of what a run may use.

    Attributes:
        in_flight: permits at most; the learned limit stays below.
        start: permits at the beginning; None if no earlier run has learned it.
        is_known: whether the service is known to accept ``in_flight`` requests; otherwise it is only a bound.
        rate: requests a second, and sixty times as many a minute; None for no limit.
        requests: requests in all; None for no limit.
        received: bytes of responses in all, after which no request is sent; None for no limit.
        learns: whether rejections change the number of permits; False where another throttle, which manages the
            shares of a quota, does that.
    """

    in_flight: int
    start: int | None = None
    is_known: bool = True
    rate: float | None = None
    requests: int | None = None
    received: int | None = None
    learns: bool = True


@dataclass(frozen=True, slots=True)
class QuotaShare:
    """Share of a quota for a process on another machine.

    Attributes:
        slots: requests in flight.
        rate: requests a second; None for no limit.
        rejected: requests of the process that were rejected, as far as was known when the share was made.
    """

    slots: int
    rate: float | None
    rejected: int


@dataclass(frozen=True, slots=True)
class UsageDelta:
    """Requests of a process on another machine since its last message, and its state.

    Attributes:
        sent: requests, repeats included.
        rejected: requests with the response 429.
        received: bytes of responses.
        in_flight: requests that are with the service now.
        slots: permits that it may use now.
    """

    sent: int
    rejected: int
    received: int
    in_flight: int
    slots: int
    is_restricted: bool


@dataclass(frozen=True, slots=True)
class QuotaUse:
    """Use of the quota by a run.

    Attributes:
        limit: permits that it may use now.
        held: permits in use now, including permits of requests that wait for the rate.
        peak: most permits in use at once since the previous measurement.
        in_flight: requests that are with the service now.
        sent: requests since the beginning.
        rejected: requests with the response 429 since the beginning.
    """

    limit: int
    held: int
    peak: int
    in_flight: int
    sent: int
    rejected: int
    is_restricted: bool


def announces_restriction(headers: Mapping[str, str]) -> bool:
    """Return whether a response announces the restricted mode; names of headers are in lower case."""
    return _RESTRICTED in headers.get(_QUOTA_STATUS, "")


@dataclass(slots=True)
class Permit:
    """Outcome of a request, from which the throttle learns. The holder of the permit fills it in.

    Attributes:
        status: HTTP status; None if there was no response.
        retry_after: seconds to wait, according to the response.
        is_restricted: whether the response announces the restricted mode.
        received: bytes.
        is_unreachable: whether the service could not be reached at all.
        is_unused: whether no request was sent; the permit does not count as one.
        profile: id of the profile that the response names; None if it names none.
    """

    status: int | None = None
    retry_after: float | None = None
    is_restricted: bool = False
    received: int = 0
    is_unreachable: bool = False
    is_unused: bool = False
    profile: str | None = None

    def record_response(self, status: int, headers: Mapping[str, str]) -> None:
        """Record a response of the service; names of headers are in lower case."""
        self.status = status
        self.is_restricted = announces_restriction(headers)
        self.retry_after = parse_retry_after(headers) if status in (429, 503) else None
        self.profile = headers.get(PROFILE_RESPONSE_HEADER)
