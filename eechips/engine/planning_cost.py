"""Extrapolate what a plan costs from its first units."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from pathlib import Path

from eechips.client.permits import Stopped
from eechips.client.profile_requests import MOST_PROFILES, fetch_profiles
from eechips.engine.compute_sample import ComputeRange
from eechips.engine.costs import PlanningCost
from eechips.engine.planner import Planner, caching_answers
from eechips.engine.session import Session
from eechips.errors import RequestError
from eechips.recipe import PlanPreview, SupportsPreview, Unit

_FACTOR = 2.0
"""Factor by which the compute of the same requests may differ when they are sent again
(https://developers.google.com/earth-engine/guides/computation_overview#stability_and_predictability). Assumed."""


@dataclass(frozen=True, slots=True)
class SessionMark:
    """What a session had sent at a moment.

    Attributes:
        sent: requests.
        seconds: on the monotonic clock.
        profiles: ids of the profiles of the planner's requests; None if they are not profiled.
    """

    sent: int
    seconds: float
    profiles: tuple[str, ...] | None

    @classmethod
    def of(cls, session: Session) -> SessionMark:
        """Return the present state."""
        profiles = session.connection.transport.unmetered.profiles
        return cls(session.throttle.sent, time.monotonic(), None if profiles is None else tuple(profiles))

    @property
    def with_connection(self) -> SessionMark:
        """The mark as if no request had been sent before, so that those of the connection count."""
        return replace(self, sent=0)


@dataclass(frozen=True, slots=True)
class PartialPlan:
    """A plan of which only the first units are made, for an estimate.

    Attributes:
        unplanned: units that are not planned yet.
        cost: cost of the plan, by its first units; None if an earlier command has planned these.
        preview: size of the plan.
    """

    unplanned: int
    cost: PlanningCost | None
    preview: PlanPreview


PlanningMarks = tuple[SessionMark, SessionMark]
"""When the places of a plan were chosen, and when its first units were made."""


def plan_ahead(recipe: SupportsPreview, session: Session, count: int, folder: Path) -> tuple[list[Unit], PlanningMarks]:
    """Plan the first units of a run for a trial of their requests; :func:`plan_first_units` gets the same responses.

    Args:
        recipe: recipe of the run.
        session: in which it plans.
        count: number of these units.
        folder: folder of the run.

    Raises:
        EechipsError: if planning fails.
    """
    with caching_answers(folder):
        recipe.preview_units(0)
        chosen = SessionMark.of(session)
        return list(recipe.preview_units(count).units), (chosen, SessionMark.of(session))


def plan_first_units(
    planner: Planner, recipe: SupportsPreview, session: Session, count: int, ahead: PlanningMarks | None = None
) -> PartialPlan:
    """Have a planner make the first units of a plan only.

    Args:
        planner: not started.
        recipe: recipe of the run.
        session: in which it plans.
        count: number of these units.
        ahead: when as many were planned before; None if they were not.

    Raises:
        ConfigurationError, RequestError, RecipeError, UsageError, RunMismatchError: see :meth:`Planner.plan_first`.
    """
    marks: list[SessionMark] = []
    before = planner.stored
    preview = planner.plan_first(recipe, count, lambda: marks.append(SessionMark.of(session)))
    total, tried = len(preview.points), planner.stored - before
    cost = None
    if tried:
        chosen, end = (*marks, SessionMark.of(session)) if ahead is None or before else ahead
        ends = (chosen, chosen, end)
        cost = extrapolate_planning(session, ends, preview, tried=tried)
    return PartialPlan(max(0, total - planner.stored), cost, preview)


def extrapolate_planning(
    session: Session, marks: tuple[SessionMark, SessionMark, SessionMark], preview: PlanPreview | None, *, tried: int
) -> PlanningCost:
    """Return the cost of a plan of which the first units were made, or all.

    It lies between that of requests which cost the same whether they are for few units or for many, and that of
    requests which cost as much more as they have units. The compute of a plan that reads pixels is the latter.

    Args:
        session: in which it was made.
        marks: before planning, when the places were chosen, and when the first units were made.
        preview: size of the plan; None if all units were made.
        tried: number of the first units; at least one.
    """
    began, chosen, end = marks
    count = tried if preview is None else len(preview.points)
    least = 1 if preview is None else math.ceil(count / preview.batch)
    most = max(float(least), count / tried)
    fewest = most if preview is not None and preview.reads_pixels else least
    once, repeated = chosen.sent - began.sent, end.sent - chosen.sent
    once_seconds, repeated_seconds = chosen.seconds - began.seconds, end.seconds - chosen.seconds
    is_whole = tried >= count
    return PlanningCost(
        requests=once + repeated * least,
        sent=once + repeated,
        seconds=once_seconds + repeated_seconds * least,
        compute=_planning_compute(session, marks, fewest, most),
        most_requests=None if is_whole else once + math.ceil(repeated * most),
        most_seconds=None if is_whole else once_seconds + repeated_seconds * most,
        tried=0 if is_whole else tried,
    )


def _planning_compute(
    session: Session, marks: tuple[SessionMark, SessionMark, SessionMark], least: float, most: float
) -> ComputeRange | None:
    """Return the compute of the planner's requests; None if they were not profiled, or the service does not tell it.

    Args:
        session: in which they were sent.
        marks: see :func:`extrapolate_planning`.
        least: times that the requests after the second mark compute what they have computed, at least.
        most: likewise, at most.
    """
    began, chosen, end = (mark.profiles for mark in marks)
    if began is None or chosen is None or end is None:
        return None
    profiles, fixed = end[len(began) :], len(chosen) - len(began)
    transport = session.connection.transport
    seconds: list[float] = []
    try:
        for first in range(0, len(profiles), MOST_PROFILES):
            seconds += fetch_profiles(transport, profiles[first : first + MOST_PROFILES])
    except (RequestError, Stopped):
        return None  # an estimate does without, also where the budget is spent
    once, repeated = sum(seconds[:fixed]), sum(seconds[fixed:])
    low, high = once + repeated * least, once + repeated * most
    return ComputeRange((low + high) / 2.0, low / _FACTOR, high * _FACTOR)
