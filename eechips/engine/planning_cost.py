"""Extrapolate what a plan costs from some of its units."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from eechips.client.permits import Stopped
from eechips.client.profile_requests import fetch_all_profiles
from eechips.engine.compute_sample import ComputeRange
from eechips.engine.costs import PlanningCost
from eechips.engine.plan import planner_errors
from eechips.engine.planner import Planner, caching_answers
from eechips.engine.session import Session
from eechips.errors import RequestError
from eechips.planning.planning_requests import DIVIDED_ITEMS, PARALLEL_REQUESTS, DividedItems
from eechips.recipe import PlanPreview, SupportsPreview, Unit

_FACTOR = 2.0
"""Factor by which the compute of the same requests may differ when they are sent again
(https://developers.google.com/earth-engine/guides/computation_overview#stability_and_predictability). Assumed."""


@dataclass(frozen=True, slots=True)
class SessionMark:
    """What a session had sent at a moment.

    Attributes:
        sent: requests of the connection and the planner, without repeats; others may be sent meanwhile.
        seconds: on the monotonic clock.
        profiles: ids of the profiles of the planner's requests; None if they are not profiled.
    """

    sent: int
    seconds: float
    profiles: tuple[str, ...] | None

    @classmethod
    def of(cls, session: Session) -> SessionMark:
        """Return the present state."""
        usage = session.connection.transport.unmetered
        profiles = None if usage.profiles is None else tuple(usage.profiles)
        return cls(usage.requests - usage.repeats, time.monotonic(), profiles)

    @property
    def with_connection(self) -> SessionMark:
        """The mark as if no request had been sent before, so that those of the connection count."""
        return replace(self, sent=0)


@dataclass(frozen=True, slots=True)
class PartialPlan:
    """A plan of which only some units are made, for an estimate.

    Attributes:
        unplanned: units that are not planned yet.
        sample: what planning these has taken; None if an earlier command has planned them.
    """

    unplanned: int
    sample: PlanningSample | None
    preview: PlanPreview


@dataclass(frozen=True, slots=True)
class PlanningSample:
    """What was sent to plan some units of a plan, or all.

    Attributes:
        began: before planning.
        chosen: when the places were chosen.
        end: when the units were made.
        tried: number of these units; at least one.
        divided: how their requests were divided.
    """

    began: SessionMark
    chosen: SessionMark
    end: SessionMark
    tried: int
    divided: Sequence[DividedItems] = ()

    @property
    def sent(self) -> int:
        """Number of requests."""
        return self.end.sent - self.began.sent

    @property
    def is_sent(self) -> bool:
        """Whether all requests were sent: what an earlier command has asked is answered from the run's folder."""
        return self.sent >= sum(len(division.timings) for division in self.divided)


def most_telling(samples: Sequence[PlanningSample]) -> PlanningSample | None:
    """Return the largest sample whose requests were sent; None if there is none."""
    return max((sample for sample in samples if sample.is_sent), key=lambda sample: sample.tried, default=None)


@contextlib.contextmanager
def noting_divisions() -> Iterator[list[DividedItems]]:
    """Note how planning requests in this block are divided."""
    divided: list[DividedItems] = []
    token = DIVIDED_ITEMS.set(divided)
    try:
        yield divided
    finally:
        DIVIDED_ITEMS.reset(token)


def plan_some_units(planner: Planner, recipe: SupportsPreview, session: Session, count: int) -> PartialPlan:
    """Have a planner, which is not started, make some units of a plan only.

    Raises:
        ConfigurationError, RequestError, RecipeError, UsageError, RunMismatchError: see :meth:`Planner.plan_some`.
    """
    marks: list[SessionMark] = []
    with noting_divisions() as divided:

        def note_chosen() -> None:
            marks.append(SessionMark.of(session))
            divided.clear()

        preview, tried, known = planner.plan_some(recipe, count, note_chosen)
    sample = PlanningSample(marks[0], marks[0], SessionMark.of(session), tried, divided) if tried else None
    return PartialPlan(max(0, len(preview.points) - known - tried), sample, preview)


def plan_sample(
    recipe: SupportsPreview, session: Session, positions: Sequence[int], folder: Path
) -> tuple[PlanningSample, list[Unit]]:
    """Plan some units of a plan for an estimate; return what that has taken, and the units.

    Args:
        positions: positions of the units; at least one.
        folder: folder of the run, which keeps the responses.

    Raises:
        EechipsError: if planning fails.
    """
    mark = SessionMark.of(session)
    with planner_errors(), caching_answers(folder), noting_divisions() as divided:
        units = list(recipe.plan_units(positions))
    return PlanningSample(mark, mark, SessionMark.of(session), len(units), divided), units


def extrapolate_planning(session: Session, sample: PlanningSample, preview: PlanPreview | None) -> PlanningCost:
    """Return the cost of a plan of which some units were made, or all.

    It lies between that of requests which cost the same whether they are for few units or for many, and that of
    requests which cost as much more as they have units. The compute of a plan that reads pixels is the latter. How far
    the units have filled their requests says how many requests all units fill.

    Args:
        sample: the units that were made, and what was sent for them.
        preview: size of the plan; None if all units were made.
    """
    began, chosen, end, tried = sample.began, sample.chosen, sample.end, sample.tried
    count = tried if preview is None else len(preview.points)
    least = 1 if preview is None else math.ceil(count / preview.batch)
    most = max(float(least), count / tried)
    fewest = most if preview is not None and preview.reads_pixels else least
    once, repeated = chosen.sent - began.sent, end.sent - chosen.sent
    once_seconds, repeated_seconds = chosen.seconds - began.seconds, end.seconds - chosen.seconds
    if preview is None or tried >= count:
        whole_seconds = once_seconds + repeated_seconds
        compute = _planning_compute(session, sample, 1, 1)
        return PlanningCost(once + repeated, once + repeated, whole_seconds, compute, first_seconds=whole_seconds)
    compute = _planning_compute(session, sample, fewest, most)
    own = 0.0 if compute is None or compute.high is None else compute.high / _FACTOR / count
    size, slots = min(count, preview.batch), min(PARALLEL_REQUESTS, max(1, session.throttle.expected_limit))
    filled = sum(len(division.timings) for division in sample.divided)
    full, seconds = _extrapolate_batch(sample, size, slots, own) if filled else (0, repeated_seconds)
    # Others are such as the second steps of a search.
    requests = (repeated - filled) * least + full * count / size
    whole_seconds = once_seconds + seconds * count / size
    return PlanningCost(
        requests=once + round(min(max(requests, repeated * least), repeated * most)),
        sent=once + repeated,
        seconds=whole_seconds,
        compute=compute,
        least_seconds=min(once_seconds + repeated_seconds * least, whole_seconds),
        most_seconds=max(once_seconds + repeated_seconds * most, whole_seconds),
        tried=tried,
        first_seconds=seconds,
    )


def _extrapolate_batch(sample: PlanningSample, size: int, slots: int, compute: float) -> tuple[int, float]:
    """Return requests, and seconds, of units that are planned together.

    A request that is full takes longer than one for a few items by as much as it has more of them, or computes more.
    What every request takes is at most what the shortest has taken.

    Args:
        sample: units that were planned.
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
        sample: what was sent.
        least: times that the requests after the second mark compute what they have computed, at least.
        most: likewise, at most.
    """
    began, chosen, end = (mark.profiles for mark in (sample.began, sample.chosen, sample.end))
    if began is None or chosen is None or end is None:
        return None
    profiles, fixed = end[len(began) :], len(chosen) - len(began)
    try:
        seconds = fetch_all_profiles(session.connection.transport, profiles)
    except (RequestError, Stopped):
        return None  # an estimate does without, also where the budget is spent
    once, repeated = sum(seconds[:fixed]), sum(seconds[fixed:])
    low, high = once + repeated * least, once + repeated * most
    return ComputeRange((low + high) / 2.0, low / _FACTOR, high * _FACTOR)
