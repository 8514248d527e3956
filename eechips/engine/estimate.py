"""Estimate the cost of a run before it starts."""

from __future__ import annotations

import contextlib
import json
import math
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from eechips.engine.chip_neighbours import ChipBox, ChipNeighbours, place_boxes
from eechips.engine.compute_sample import (
    ComputeRange,
    ComputeSample,
    RecordedCompute,
    load_recorded_compute,
    save_recorded_compute,
)
from eechips.engine.config import RunConfig
from eechips.engine.costs import Estimate, PlanningCost
from eechips.engine.forecast import Machine
from eechips.engine.plan import name_template, planner_errors, read_inputs, units_of
from eechips.engine.planning_cost import PlanningSample, SessionMark, extrapolate_planning, noting_divisions
from eechips.engine.progress import PlanningReport
from eechips.engine.request_costs import MOST_UNITS
from eechips.engine.session import Session, connect
from eechips.engine.spread_units import draw_spread, seed_of
from eechips.engine.unit_costs import (
    Range,
    UnitCost,
    cost_of,
    count_pixels,
    describe_kind,
    describe_results,
    list_class_bands,
    sized_result,
)
from eechips.errors import EechipsError, UsageError
from eechips.geo.grid import Grid
from eechips.manifest.ledger import Ledger
from eechips.manifest.ledger_queries import read_first_unit, sample_units
from eechips.recipe import (
    NoData,
    PlanPreview,
    Recipe,
    SupportsEstimate,
    SupportsInteractiveRun,
    SupportsPreview,
    Unit,
    request_window_of,
    traits_of,
    unit_value,
)
from eechips.text.timestamps import utc_now

_SAMPLE = 3
"""Units that are planned for an estimate, or whose results a recipe of the user describes."""
_DESCRIBED = 1_000
"""Units of a whole plan whose results are described: sizes differ, and some have no data, as the winter months of
composites."""
_ROUNDING = 1e-6
"""More than the error of a sum of shares, which makes 40 requests 40.00000000000001."""
_LOOKED_AT = 10_000
"""Units of a plan in the ledger that are compared with each other."""


def estimate(recipe: Recipe, config: RunConfig) -> Estimate:
    """Plan a run and estimate its cost. Send the planner's requests only; write nothing.

    Raises:
        UsageError, ConfigurationError, RecipeError: as :func:`eechips.engine.run.run` does.
    """
    if isinstance(recipe, SupportsInteractiveRun):
        raise UsageError(
            f"{recipe.name} is a script, whose units are unknown before it runs: "
            "`check` makes three of its calls and estimates the rest"
        )
    read_inputs(recipe)
    with connect(config, recipe=recipe) as session:
        if isinstance(recipe, SupportsEstimate):
            units = (json.loads(planned.unit) for planned in units_of(recipe, name_template(recipe, config)))
            return cast("Estimate", recipe.estimate(units))
        if config.profile_every:
            session.connection.transport.unmetered.profiles = []
        with PlanningReport(session.throttle):
            plan = _survey(recipe, config, session)
        return _combine(recipe, config, session, plan)


def estimate_planned(
    recipe: Recipe, config: RunConfig, session: Session, ledger: Ledger, seconds: float
) -> Estimate | None:
    """Estimate the cost of the open units of a run, of which some, or all, are in the ledger. Send no request.

    Args:
        session: in which it was planned.
        seconds: seconds that planning has taken so far.

    Returns:
        None for recipes of users, whose functions may send requests, and if no result can be described.
    """
    if not traits_of(recipe).is_builtin:
        return None
    planned = [json.loads(text) for text in sample_units(ledger.database, _LOOKED_AT)]
    draw, sent = random.Random(seed_of(recipe)), session.throttle.sent
    some = list(enumerate(draw.sample(planned, min(_DESCRIBED, len(planned)))))
    plan = PlanSummary(
        sum(count for state, count in ledger.counts().items() if state.is_open),
        some,
        PlanningCost(sent, sent, seconds),
    )
    preview = recipe.preview_plan() if isinstance(recipe, SupportsPreview) and ledger.is_partial else None
    if preview is not None:
        batches = math.ceil(len(preview.points) / preview.batch)
        left = batches - math.ceil(plan.units / preview.batch)
        plan.units = len(preview.points)
        whole = seconds * batches / max(1, batches - left)
        plan.planning = PlanningCost(sent + max(0, left), sent, whole)
    plan.windows, plan.preview = _list_windows(recipe, config, planned), preview
    try:
        return _combine(recipe, config, session, plan)
    except EechipsError:  # a unit without a result fails by itself
        return None


def save_unit_compute(recipe: Recipe, ledger: Ledger, session: Session, sample: ComputeSample) -> None:
    """Save the measured compute of a run's units, for estimates of later runs of the kind; nothing if there is none."""
    unit = read_first_unit(ledger.database)
    if not sample.units or unit is None or not traits_of(recipe).is_builtin:
        return
    with contextlib.suppress(EechipsError):  # a unit without a result
        position, text = unit
        result = sized_result(recipe, position, json.loads(text))
        endpoint = session.connection.target.endpoint
        save_recorded_compute(endpoint, _kind(recipe, result), RecordedCompute(sample, count_pixels(result), utc_now()))


def _kind(recipe: Recipe, result: Any) -> str:
    """Return what the compute of a unit depends on, in words: command, datasets, and bands."""
    return f"{recipe.name} {' '.join(recipe.datasets)} {describe_kind(result)}"


@dataclass(slots=True)
class PlanSummary:
    """The metadata of a plan that an estimate needs.

    Attributes:
        units: number of units.
        some: units drawn from the plan, with their positions.
        windows: pixels of the drawn units, or of all, if they may share requests.
        preview: places of all units; None if all units were made.
    """

    units: int
    some: list[tuple[int, Unit]]
    planning: PlanningCost
    windows: list[Grid] = field(default_factory=list)
    preview: PlanPreview | None = None


def _survey(recipe: Recipe, config: RunConfig, session: Session) -> PlanSummary:
    began = SessionMark.of(session).with_connection
    if isinstance(recipe, SupportsPreview):
        with planner_errors():
            preview = recipe.preview_plan()
            chosen = SessionMark.of(session)
            with noting_divisions() as divided:
                drawn = draw_spread(range(len(preview.points)), _SAMPLE, seed_of(recipe), adjoining=1)
                some = list(zip(drawn, recipe.plan_units(drawn), strict=True))
        count, sample = len(preview.points), PlanningSample(began, chosen, SessionMark.of(session), len(some), divided)
        first = [unit for _, unit in some]
        planning = extrapolate_planning(session, sample, preview)
        return PlanSummary(count, some, planning, _list_windows(recipe, config, first), preview)
    plan = PlanSummary(0, [], PlanningCost(0, 0, 0.0))
    draw, most = random.Random(seed_of(recipe)), _DESCRIBED if traits_of(recipe).is_builtin else _SAMPLE
    for planned in units_of(recipe, name_template(recipe, config)):
        unit = json.loads(planned.unit)
        place = plan.units if plan.units < most else draw.randrange(plan.units + 1)  # a reservoir sample
        if place < most:
            plan.some[place : place + 1] = [(plan.units, unit)]
        plan.units += 1
        plan.windows += _list_windows(recipe, config, [unit])
    end = SessionMark.of(session)
    plan.planning = extrapolate_planning(session, PlanningSample(began, end, end, 1), None)
    return plan


def _list_windows(recipe: Recipe, config: RunConfig, units: Iterable[Unit]) -> list[Grid]:
    """Return the pixels of units that may share requests."""
    window_of = request_window_of(recipe)
    if window_of is None or not config.shares_requests or config.pixel_method == "url":
        return []
    windows = (window_of(unit_value(unit)) for unit in units)
    return [window[1] for window in windows if window is not None]


def _count_neighbours(plan: PlanSummary) -> int:
    """Count the units that may share requests: by the places of all, or by the pixels of some."""
    if not plan.windows:
        return 0
    places = () if plan.preview is None else place_boxes(plan.preview.points, plan.windows[0])
    boxes = list(places) or list(map(ChipBox.of, plan.windows))
    return round(len(ChipNeighbours(boxes).list_neighbours()) * plan.units / len(boxes))


def _combine(recipe: Recipe, config: RunConfig, session: Session, plan: PlanSummary) -> Estimate:
    """Return the estimate of a plan."""
    results, class_bands = describe_results(recipe, plan.some), list_class_bands(recipe)
    costs, count = [cost_of(result, config, class_bands) for result in results], plan.units
    total, times = sum(costs, UnitCost()), count / max(1, len(costs))
    low, usual, most = total.requests.times(times)
    requests = round(usual)
    # Chips of one unit may be bands of one request.
    least = times * sum(min(1, cost.requests.low) for cost in costs) if plan.windows else low
    slots = Machine.of(config, session).slots
    if count:  # neighbours share requests, up to a number in each, but each slot takes units of its own
        neighbours = _count_neighbours(plan)
        shared = least - least / count * (neighbours - math.ceil(neighbours / MOST_UNITS))
        least = max(shared, min(least, slots))
    sizes = [cost.bytes for cost in costs if cost.bytes is not None]
    size = [round(count * sum(ends) / len(sizes)) for ends in zip(*sizes, strict=True)] if sizes else [None] * 3
    rate = config.requests_per_second
    longest = max((cost.seconds for cost in costs), default=0.0)
    seconds = max(requests / rate if rate else 0.0, times * total.seconds / slots, longest)
    compute, source = _compute(recipe, config, session, plan, results, total.compute.times(times))
    return Estimate(
        units=count,
        requests=requests,
        bytes=size[1],
        seconds=plan.planning.seconds + seconds,
        least_requests=max(math.floor(least + _ROUNDING), min(1, requests)),
        most_requests=math.ceil(most - _ROUNDING),
        repeats=total.repeats,
        planning=plan.planning,
        compute=compute,
        compute_source=source,
        least_bytes=size[0],
        most_bytes=size[2],
    )


def _compute(
    recipe: Recipe,
    config: RunConfig,
    session: Session,
    plan: PlanSummary,
    results: Sequence[Any],
    assumed: Range,
) -> tuple[ComputeRange | None, str]:
    """Return the compute of a run, and where the figures come from."""
    if config.is_local or not plan.units:
        return None, ""
    described = next((result for result in results if not isinstance(result, NoData)), NoData())
    recorded = load_recorded_compute(session.connection.target.endpoint, _kind(recipe, described))
    if (
        recorded is not None
        and (range_of_compute := recorded.estimate(plan.units, count_pixels(described))) is not None
    ):
        source = f"half to twice what {recorded.sample.units:,} like them took on {recorded.seen[:10]}"
    else:
        range_of_compute = ComputeRange(assumed.usual, assumed.low, assumed.high)
        source = "assumed, as no run of this kind was measured here: `estimate` measures some units"
    if plan.planning.compute is None:
        return range_of_compute, source
    return _add(range_of_compute, plan.planning.compute), source


def _add(first: ComputeRange, second: ComputeRange) -> ComputeRange:
    low, high = (
        (one if one is not None else first.seconds) + (other if other is not None else second.seconds)
        for one, other in ((first.low, second.low), (first.high, second.high))
    )
    return ComputeRange(first.seconds + second.seconds, low, high)
