"""Forecast the cost of the rest of a run from the units that were tried."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from eechips.engine.config import RunConfig
from eechips.engine.costs.compute_sample import ComputeSample
from eechips.engine.costs.cost_descriptions import Forecast, PlanningCost, forecast_traffic
from eechips.engine.costs.joining_estimate import UnitRequests
from eechips.engine.features.replacement import MOST_REPLACEMENTS
from eechips.engine.outcome import Finished, Lost
from eechips.engine.run_context import RunFeature
from eechips.engine.service.session import Session
from eechips.manifest.data_source import ArchiveTraffic
from eechips.manifest.sqlite.ledger_queries import Totals
from eechips.web.urls import is_loopback

_LAST = 0.5
"""Part of the time of a request for which the slots wait for the last ones of a run."""
_TELLING = 2
"""Units that tell the rate of a run, for each slot: fewer end at the same time."""


class Meter(RunFeature):
    """Measure the cost of units while they are fetched.

    Attributes:
        positions: their positions in the plan.
        requests: number of requests of each.
        request_seconds: total duration of their requests at the service.
        taken: what they have taken from open archives, by their ends; that of units that end together is the first's.
            A unit is here when it is known.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, traffic: Callable[[], ArchiveTraffic | None] = lambda: None
    ) -> None:
        self._clock, self._traffic = clock, traffic
        self._before = traffic()
        self.taken: list[ArchiveTraffic] = []
        self._ends: list[float] = []
        self.requests: list[int] = []
        self.positions: list[int] = []
        self.request_seconds = 0.0

    @property
    def units(self) -> int:
        """Number of units."""
        return len(self._ends)

    def note(self, events: Sequence[Finished | Lost]) -> None:
        """Count the units that are finished."""
        for outcome in (outcome for event in events if isinstance(event, Finished) for outcome in event.outcome.each):
            if outcome.record or outcome.failed_request or outcome.exports:
                self._ends.append(self._clock())
                self.positions.append(outcome.position)
                self.requests.append(len(outcome.request_logs))
                self.request_seconds += sum(exchange.seconds for exchange in outcome.request_logs)
        added = self.units - len(self.taken)
        if self._before is not None and added and (now := self._traffic()) is not None:
            self.taken += [now - self._before, *[ArchiveTraffic()] * (added - 1)]
            self._before = now

    def pace(self) -> float | None:
        """Return units per second, without the first and the last quarter, when not all slots are in use; None if
        unknown.
        """
        first, last = self.units // 4, 3 * self.units // 4
        if last == first:
            return None
        elapsed = self._ends[last] - self._ends[first]
        return (last - first) / elapsed if elapsed > 0 else None


@dataclass(frozen=True, slots=True)
class Machine:
    """What bounds the speed of a run besides the quota.

    Attributes:
        slots: requests in flight at once, as far as is known.
        cores: cores that compute all requests; None for a service elsewhere.
    """

    slots: int
    cores: int | None = None

    @classmethod
    def of(cls, config: RunConfig, session: Session) -> Machine:
        """Return the slots that a run may use, and the cores of this machine if the service is here."""
        slots = session.throttle.expected_limit if config.in_flight == "auto" else config.in_flight
        is_here = config.is_local or is_loopback(session.connection.target.endpoint)
        return cls(max(1, slots), os.cpu_count() if is_here else None)


def _requests_of(totals: Totals, left: int, meter: Meter) -> tuple[UnitRequests, float]:
    """Return the requests of units that share none, and the seconds of a request."""
    mean = totals.requests / totals.units
    margin = ComputeSample.of(meter.requests).margin(left) / max(1, left)
    fewest = min(1.0, mean)  # a unit without data needs none
    # A unit's own time, which the ledger has, includes waiting for a slot: it is more, but better than nothing.
    # Requests to archives, as for scenes, have no other.
    seconds = meter.request_seconds / meter.units if any(meter.requests) else totals.seconds / totals.units
    return UnitRequests(mean, max(fewest, mean - margin), mean + margin), seconds / (mean or 1.0)


def _shared_seconds(seconds: float, joined: UnitRequests, meter: Meter, sample: ComputeSample | None) -> float:
    """Return the seconds of a request that several units share.

    Args:
        seconds: seconds of a request of one unit, where the meter has measured none.
    """
    sent = sum(meter.requests)
    if sent:
        seconds = meter.request_seconds / sent
    if sample is not None and sample.mean is not None:
        # A request for several units computes each of them, one after the other at most.
        seconds += max(0.0, joined.units - meter.units / max(1, sent)) * sample.mean
    return seconds


def forecast_rest(
    totals: Totals,
    left: int,
    meter: Meter,
    machine: Machine,
    config: RunConfig,
    sample: ComputeSample | None = None,
    *,
    unplanned: int = 0,
    planning: PlanningCost | None = None,
    joined: UnitRequests | None = None,
    pixels: float = 1.0,
    sizes: Sequence[int] = (),
) -> Forecast:
    """Extrapolate the cost of the units that are left.

    Args:
        totals: totals of the units that were tried, by this command or earlier ones; at least one.
        sample: the profiled units; None if there are none.
        unplanned: units that are left and not planned yet.
        planning: cost of planning; None if it is unknown, or if all units are planned.
        joined: requests of units that share some, with repeats; None if none does.
        pixels: mean pixels of the remaining units, divided by that of the tried units.
        sizes: bytes of the files of each tried unit; empty for no range of bytes.
    """
    if config.on_empty == "redraw":  # each draw is empty as often as those before
        kept_units = max(totals.units - totals.dropped, totals.units / (MOST_REPLACEMENTS + 1))
        left = round(left * totals.units / kept_units)
    expected, request_seconds = _requests_of(totals, left, meter)
    if joined is not None:
        expected, request_seconds = joined, _shared_seconds(request_seconds, joined, meter, sample)
    requests = left * expected.mean
    # Few units overlap more than many would: their rate counts only where it is lower than what the slots allow.
    pace = meter.pace() if meter.units >= _TELLING * machine.slots else None
    rate = config.requests_per_second
    fetching = max(
        (requests / machine.slots + _LAST) * request_seconds,
        left / pace if pace else 0.0,
        requests / rate if rate else 0.0,
    )
    compute = None if sample is None else sample.estimate(left)
    spread = pixels * ComputeSample.of(sizes).margin(left)
    size = left * pixels * totals.bytes / totals.units
    return Forecast(
        tried=totals.units,
        left=left,
        requests=round(requests),
        bytes=round(size) if totals.bytes else None,
        seconds=_overlap(fetching, planning, machine, 0.0 if compute is None else compute.seconds),
        request_seconds=requests * request_seconds,
        slots=machine.slots,
        compute=compute,
        unplanned=unplanned,
        planning=planning,
        least_requests=round(left * expected.low),
        most_requests=round(left * expected.high),
        shares_requests=joined is not None and (joined.units > 1.0 or joined.low < joined.mean),
        archives=forecast_traffic(left, meter.taken, pixels),
        least_bytes=round(max(0.0, size - spread)) if spread else None,
        most_bytes=round(size + spread) if spread else None,
    )


def _overlap(fetching: float, planning: PlanningCost | None, machine: Machine, compute: float) -> float:
    """Return the seconds until units are planned and fetched, the first of them while the others are planned.

    A service on this machine computes one after the other what its cores cannot compute at once.
    """
    seconds = fetching
    if planning is not None:
        rest = max(0.0, planning.seconds - planning.first_seconds)
        last = fetching * planning.first_seconds / max(planning.seconds, 1e-9)  # of the units that are planned last
        seconds = planning.first_seconds + max(fetching, rest + last)
        if planning.compute is not None:
            compute += planning.compute.seconds
    return max(seconds, compute / machine.cores if machine.cores else 0.0)
