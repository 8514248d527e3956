"""Describe what a run costs, compare its compute with what a noncommercial project has in a month, and decide when that
needs a confirmation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from eechips.client.error_classification import next_renewal
from eechips.engine.costs.compute_sample import ComputeRange, ComputeSample
from eechips.manifest.data_source import ArchiveTraffic
from eechips.text.formatting import format_bytes, format_compute, format_count, format_duration


@dataclass(frozen=True, slots=True)
class PlanningCost:
    """What it costs to connect and to plan a run.

    Attributes:
        requests: requests of the whole plan, without repeats; approximately, if it is extrapolated.
        sent: those that were sent until now, by an estimate or a run.
        seconds: seconds of the whole plan, approximately; less for what the service has cached.
        compute: compute of the whole plan; None if the service does not report it.
        least_seconds: at least, if the plan is extrapolated from some of its units; None if it is not.
        most_seconds: likewise, at most.
        tried: number of these units; 0 if all are planned.
        first_seconds: seconds until the first further units can be fetched.
    """

    requests: int
    sent: int
    seconds: float
    compute: ComputeRange | None = None
    least_seconds: float | None = None
    most_seconds: float | None = None
    tried: int = 0
    first_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Estimate:
    """The requests and results of a run that has not started.

    Attributes:
        requests: for results, if no chips share one and none is repeated.
        bytes: number of bytes of files, approximately; None if the recipe cannot tell before it runs.
        least_bytes: the same if the pixels are compressed well; None if there is no range.
        most_bytes: the same if they are not; None if there is no range.
        seconds: approximately, limited by the quota, planning included; None if there is none.
        least_requests: if all units do that can share a request.
        most_requests: if each chip whose stored image was read has to be computed as well, as it may be masked, and
            each table is empty, whose size is requested as well.
        repeats: results that take more than ``requests``, in words.
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
    repeats: frozenset[str] = frozenset()
    least_bytes: int | None = None
    most_bytes: int | None = None

    def __repr__(self) -> str:
        size = "unknown size" if self.bytes is None else f"about {format_bytes(self.bytes)}"
        time = "unknown time" if self.seconds is None else f"about {format_duration(self.seconds)}"
        counts = f"{format_count(self.units, 'unit')}, {format_count(self.requests, 'request')}"
        return f"<eechips estimate: {counts}, {size}, {time}>"


@dataclass(frozen=True, slots=True)
class ArchiveForecast:
    """What the rest of a run takes from open archives.

    Attributes:
        mean: expected, if the units share as few blocks of files as those that were tried.
        most: upper end of its 95% confidence range; None if fewer than two units were tried.
        shared_bytes: bytes if all pixels of the blocks are used, by this unit or that; approximately.
    """

    mean: ArchiveTraffic
    most: ArchiveTraffic | None
    shared_bytes: int

    def describe(self) -> str:
        """Return it as a text."""
        most = self.most if self.most != self.mean else None
        confidence = "" if most is None else f" (95%: up to {most.describe()})"
        shared = format_bytes(self.shared_bytes)
        return f"about {self.mean.describe()}{confidence}. About {shared} if units share all blocks of files"


@dataclass(frozen=True, slots=True)
class Forecast:
    """The cost of the rest of a run, extrapolated from the units that were tried.

    Attributes:
        tried: units that are finished.
        left: units that are left, including replacements of empty units at the rate so far.
        requests: HTTP requests for results, including retries.
        bytes: number of bytes of files; None if no unit that was tried has one.
        least_bytes: lower end of the 95% confidence range of ``bytes``; None if it is unknown.
        most_bytes: upper end.
        seconds: time until all is planned and fetched, with the learned slots and the allowed rate.
        request_seconds: total duration of the requests at the service.
        slots: requests in flight at once.
        compute: compute of the units that are left, by the profiles of those that were tried; None if none was
            profiled.
        unplanned: units of ``left`` that are not planned yet.
        planning: cost of planning these, apart from ``requests`` and ``compute``; None if it is unknown, as an earlier
            command has planned the tried units, or if all units are planned.
        least_requests: lower end of the 95% confidence range of ``requests``.
        most_requests: upper end.
        shares_requests: whether units that are near each other share requests.
        archives: what is taken from open archives; None if it is unknown, or nothing is.
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
    shares_requests: bool = False
    archives: ArchiveForecast | None = None
    least_bytes: int | None = None
    most_bytes: int | None = None


TIER_HOURS: Mapping[str, int] = {"community": 150, "contributor": 1_000, "partner": 100_000}
"""EECU-hours a month (https://developers.google.com/earth-engine/guides/noncommercial_tiers, read 2026-11).

The API does not name the tier of a project; its page in the Cloud Console does. Commercial projects have no such quota.
"""
DEFAULT_TIER = "community"
"""Tier of a project that has chosen none (same page)."""
_MUCH = 0.1
"""Share of the month from which on a run needs a confirmation."""


def describe_compute(compute: ComputeRange) -> str:
    """Return an estimated compute with its range as a text."""
    text = format_compute(compute.seconds)
    if compute.low == compute.high == compute.seconds:
        return text
    if compute.low is None or compute.high is None:
        return f"about {text}"
    ends = _ends(compute.low, compute.high, format_compute)
    if ends == text:
        return f"about {text}"
    if ends.count("EECU") == 1:  # the unit of all three
        ends = ends[: ends.rindex(" ")]
    return f"about {text} (95%: {ends})"


def is_much(compute: ComputeRange | None) -> bool:
    """Return whether a run may use more than a tenth of a month of the default tier; not if that is unknown."""
    return compute is not None and (compute.high or compute.seconds) > _MUCH * 3600.0 * TIER_HOURS[DEFAULT_TIER]


def describe_requests(foreseen: Estimate) -> str:
    """Return the requests for results of a run as a number, or as a range with its reason."""
    least = foreseen.requests if foreseen.least_requests is None else foreseen.least_requests
    most = foreseen.requests if foreseen.most_requests is None else foreseen.most_requests
    if least == most:
        return f"{most:,}"
    reasons = ["units that are near each other may share one"] if least < foreseen.requests else []
    reasons += [f"{' or '.join(sorted(foreseen.repeats))} takes two"] if foreseen.repeats else []
    return f"{least:,} to {most:,}: {'; '.join(reasons)}"


def describe_expected(foreseen: Estimate) -> str:
    """Return the range of the compute of a run, its share of the month, and where the figures come from."""
    assert foreseen.compute is not None
    low, high = foreseen.compute.ends
    hours = TIER_HOURS[DEFAULT_TIER]
    part = high / 3600.0 / hours
    share = f"at most {100 * part:.1f}%" if part >= 0.001 else "less than 0.1%"
    month = f"a month of the {DEFAULT_TIER} tier ({hours:,} EECU-hours; the default)"
    planning = "" if foreseen.planning is None or foreseen.planning.compute is not None else ", planning not included"
    return f"{describe_range(low, high)}, {share} of {month}; {foreseen.compute_source}{planning}"


def describe_bytes(foreseen: Estimate | Forecast) -> str:
    """Return the bytes of the files of a run as a text, with their range if there is one."""
    if foreseen.bytes is None:
        return "unknown"
    text, least, most = f"about {format_bytes(foreseen.bytes)}", foreseen.least_bytes, foreseen.most_bytes
    if least is None or most is None or least == most:
        return text
    confidence = "95%: " if isinstance(foreseen, Forecast) else ""
    return f"{text} ({confidence}{_ends(least, most, format_bytes)})"


def describe_start(foreseen: Estimate, *, is_local: bool) -> list[str]:
    """Return what a run will cost as lines.

    Args:
        is_local: whether the local Earth Engine serves it: time depends on the machine, and compute costs nothing.
    """
    requests, _, reason = describe_requests(foreseen).partition(": ")
    noun = "request" if requests == "1" else "requests"
    parts = [f"{requests} {noun} for {format_count(foreseen.units, 'unit')}{f' ({reason})' if reason else ''}"]
    if foreseen.planning is not None:
        parts.append(f"{foreseen.planning.requests:,} for planning")
    if foreseen.bytes:
        parts.append(describe_bytes(foreseen))
    if foreseen.seconds is not None and not is_local:
        parts.append(f"about {format_duration(max(1.0, foreseen.seconds))}")
    lines = [f"Expected: {', '.join(parts)}"]
    if foreseen.compute is not None and not is_local:
        lines.append(f"Expected compute: {describe_expected(foreseen)}")
    return lines


def describe_range(low: float, high: float) -> str:
    """Return a range of compute with the unit of its upper end."""
    return _ends(low, high, format_compute)


def _ends(low: float, high: float, text_of: Callable[[float], str]) -> str:
    """Return two quantities as a range, with their unit once if it is the same; only one if they read alike."""
    first, last = text_of(low), text_of(high)
    return last if first == last else f"{first.removesuffix(last[last.rindex(' ') :])} to {last}"


def describe_month(now: datetime) -> str:
    """Return the compute of a month, and when it is renewed from now (UTC) on, as a text."""
    renewed = f"renewed on {next_renewal('month', now):%Y-%m-%d %H:%M} UTC"
    tiers = ", ".join(f"{hours:,} ({name})" for name, hours in TIER_HOURS.items())
    return f"the service does not name the project's tier; EECU-hours a month: {tiers}; {renewed}"


def forecast_traffic(left: int, tried: Sequence[ArchiveTraffic], pixels: float = 1.0) -> ArchiveForecast | None:
    """Extrapolate what units take from open archives; None if those that were tried have taken nothing.

    Args:
        tried: what each of the tried units has taken.
        pixels: mean pixels of the remaining units, divided by that of the tried units.
    """
    requests, sizes = [traffic.requests for traffic in tried], [traffic.bytes for traffic in tried]
    if not sum(requests):  # all was kept on this machine, which tells nothing of the others
        return None
    factor = max(1.0, pixels)  # a smaller unit may need as many blocks
    means, mosts = [], []
    for numbers in (requests, sizes):
        mean = left * sum(numbers) / len(numbers)
        means.append(round(factor * mean))
        mosts.append(round(factor * (mean + ComputeSample.of(numbers).margin(left))))
    used = sum(traffic.used for traffic in tried)
    unused = max(0, sum(sizes) - used)  # of the blocks that are here already
    shared = min(means[1], max(0, round(pixels * left * used / len(tried)) - unused))
    most = ArchiveTraffic(*mosts) if len(tried) > 1 else None
    return ArchiveForecast(ArchiveTraffic(*means), most, shared)
