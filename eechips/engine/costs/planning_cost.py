"""Extrapolate what a plan costs from some of its units."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from eechips.engine.costs.compute_sample import ComputeRange
from eechips.engine.costs.cost_descriptions import PlanningCost
from eechips.engine.costs.profile_fetcher import fetch_all_profiles
from eechips.engine.plans.planner import Planner
from eechips.engine.service.session import Session
from eechips.errors import RequestError, Stopped
from eechips.planning.planning_requests import DIVIDED_ITEMS, PARALLEL_REQUESTS, DividedItems
from eechips.processes.context_values import context_value
from eechips.recipe import PlanPreview, SupportsPreview

_FACTOR = 2.0
"""Factor by which the compute of the same requests may differ when they are sent again
(https://developers.google.com/earth-engine/guides/computation_overview#stability_and_predictability). Assumed."""


@dataclass(frozen=True, slots=True)
class Spent:
    """What a session has sent, or what it has sent between two moments.

    Attributes:
        requests: requests of the connection and the planner, without repeats; others may be sent meanwhile.
        seconds: on the monotonic clock.
        profiles: ids of the profiles of the planner's requests; None if they are not profiled.
    """

    requests: int = 0
    seconds: float = 0.0
    profiles: tuple[str, ...] | None = ()

    @classmethod
    def until_now(cls, session: Session) -> Spent:
        """Return what a session has sent so far."""
        usage = session.connection.transport.unmetered
        profiles = None if usage.profiles is None else tuple(usage.profiles)
        return cls(usage.requests - usage.repeats, time.monotonic(), profiles)

    def __sub__(self, earlier: Spent) -> Spent:
        profiles = None if self.profiles is None else self.profiles[len(earlier.profiles or ()) :]
        return Spent(self.requests - earlier.requests, self.seconds - earlier.seconds, profiles)


@dataclass(slots=True)
class PlanningSample:
    """What was sent to plan some units of a plan, or all.

    Attributes:
        once: to choose the places.
        repeated: to make the units.
        tried: number of these units; at least one.
        divided: how their requests were divided.
    """

    once: Spent = Spent()
    repeated: Spent = Spent()
    tried: int = 0
    divided: list[DividedItems] = field(default_factory=list)

    @property
    def sent(self) -> int:
        """Number of requests."""
        return self.once.requests + self.repeated.requests

    @property
    def is_sent(self) -> bool:
        """Whether all requests were sent: what an earlier command has asked is answered from the run's folder."""
        return self.sent >= sum(len(division.timings) for division in self.divided)


@dataclass(frozen=True, slots=True)
class PartialPlan:
    """A plan of which only some units are made, for an estimate.

    Attributes:
        sample: what planning these has taken; None if an earlier command has planned them.
    """

    unplanned: int
    sample: PlanningSample | None
    preview: PlanPreview


@contextlib.contextmanager
def sampling(session: Session, began: Spent | None = None) -> Iterator[tuple[PlanningSample, Callable[[], None]]]:
    """Measure planning in this block; yield the sample, and a function to call when the places are chosen.

    Args:
        began: what was sent before; None for all until now.
    """
    sample, before = PlanningSample(), began or Spent.until_now(session)

    def note_chosen() -> None:
        sample.once = Spent.until_now(session) - before
        sample.divided.clear()

    with context_value(DIVIDED_ITEMS, sample.divided):
        yield sample, note_chosen
    sample.repeated = Spent.until_now(session) - before - sample.once


def plan_some_units(planner: Planner, recipe: SupportsPreview, session: Session, count: int) -> PartialPlan:
    """Have a planner, which is not started, make some units of a plan only.

    Raises:
        ConfigurationError, RequestError, RecipeError, UsageError, RunMismatchError: see :meth:`Planner.plan_some`.
    """
    with sampling(session) as (sample, note_chosen):
        preview, sample.tried, known = planner.plan_some(recipe, count, note_chosen)
    sample.once = Spent()  # planning the other units chooses no places again
    unplanned = max(0, len(preview.points) - known - sample.tried)
    return PartialPlan(unplanned, sample if sample.tried else None, preview)


def cost_of_plan(session: Session, sample: PlanningSample) -> PlanningCost:
    """Return the cost of a plan all of whose units were made."""
    seconds, compute = sample.once.seconds + sample.repeated.seconds, _planning_compute(session, sample, 1, 1)
    return PlanningCost(sample.sent, sample.sent, seconds, compute, first_seconds=seconds)


def extrapolate_planning(session: Session, sample: PlanningSample, preview: PlanPreview) -> PlanningCost:
    """Return the cost of a plan of which some units were made, or all.

    It lies between that of requests which cost the same whether they are for few units or for many, and that of
    requests which cost as much more as they have units. The compute of a plan that reads pixels is the latter. How far
    the units have filled their requests says how many requests all units fill.

    Args:
        sample: the units that were made, and what was sent for them.
    """
    once, repeated, tried, count = sample.once, sample.repeated, sample.tried, len(preview.points)
    if tried >= count:
        return cost_of_plan(session, sample)
    least = math.ceil(count / preview.batch)
    most = max(float(least), count / tried)
    compute = _planning_compute(session, sample, most if preview.reads_pixels else least, most)
    own = 0.0 if compute is None or compute.high is None else compute.high / _FACTOR / count
    size, slots = min(count, preview.batch), min(PARALLEL_REQUESTS, max(1, session.throttle.expected_limit))
    filled = sum(len(division.timings) for division in sample.divided)
    full, seconds = _extrapolate_batch(sample, size, slots, own) if filled else (0, repeated.seconds)
    # Others are such as the second steps of a search.
    requests = (repeated.requests - filled) * least + full * count / size
    whole_seconds = once.seconds + seconds * count / size
    return PlanningCost(
        requests=once.requests + round(min(max(requests, repeated.requests * least), repeated.requests * most)),
        sent=sample.sent,
        seconds=whole_seconds,
        compute=compute,
        least_seconds=min(once.seconds + repeated.seconds * least, whole_seconds),
        most_seconds=max(once.seconds + repeated.seconds * most, whole_seconds),
        tried=tried,
        first_seconds=seconds,
    )


def _extrapolate_batch(sample: PlanningSample, size: int, slots: int, compute: float) -> tuple[int, float]:
    """Return requests, and seconds, of units that are planned together.

    A request that is full takes longer than one for a few items by as much as it has more of them, or computes more.
    What every request takes is at most what the shortest has taken.

    Args:
        size: number of units.
        slots: requests in flight.
        compute: EECU-seconds of each unit at most; 0 if they are unknown.
    """
    shortest = min((seconds for division in sample.divided for _, seconds in division.timings), default=0.0)
    requests, total, rounds, parallel = 0, 0.0, 0, 1
    for division in sample.divided:
        if not division.timings:
            continue
        filled = size / sample.tried * division.requests
        count = math.ceil(filled - 1e-9)
        items, seconds = (sum(column) / len(division.timings) for column in zip(*division.timings, strict=True))
        full = division.items / division.requests * min(1.0, filled)
        requests, rounds, parallel = requests + count, rounds + math.ceil(count / slots), max(parallel, count)
        total += math.ceil(count / slots) * (shortest + (seconds - shortest) * max(1.0, full / items))
    return requests, max(total, rounds * shortest + compute * size / min(slots, parallel))


def _planning_compute(session: Session, sample: PlanningSample, least: float, most: float) -> ComputeRange | None:
    """Return the compute of the planner's requests; None if they were not profiled, or the service does not tell it.

    Args:
        least: times that the requests for units compute what they have computed, at least.
        most: likewise, at most.
    """
    once, repeated = sample.once.profiles, sample.repeated.profiles
    if once is None or repeated is None:
        return None
    try:
        seconds = fetch_all_profiles(session.connection.transport, once + repeated)
    except (RequestError, Stopped):
        return None  # an estimate does without, also where the budget is spent
    fixed, varying = sum(seconds[: len(once)]), sum(seconds[len(once) :])
    low, high = fixed + varying * least, fixed + varying * most
    return ComputeRange((low + high) / 2.0, low / _FACTOR, high * _FACTOR)
