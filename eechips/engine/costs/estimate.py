"""Estimate the cost of a run before it starts, as ``--dry-run`` does."""

from __future__ import annotations

import contextlib
import json
import math
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

from eechips.engine.config import RunConfig
from eechips.engine.costs.compute_sample import (
    ComputeRange,
    ComputeSample,
    RecordedCompute,
    load_recorded_compute,
    save_recorded_compute,
)
from eechips.engine.costs.cost_descriptions import Estimate, PlanningCost
from eechips.engine.costs.forecast import ChipBox, Machine, count_neighbours, place_boxes
from eechips.engine.costs.planning_cost import Spent, cost_of_plan, extrapolate_planning, sampling
from eechips.engine.costs.unit_costs import (
    Range,
    UnitCost,
    cost_of,
    count_pixels,
    describe_kind,
    describe_results,
    list_class_bands,
    sized_result,
)
from eechips.engine.joining.unit_joining import MOST_UNITS
from eechips.engine.plans.plan import draw_spread, name_template, planner_errors, read_inputs, seed_of, units_of
from eechips.engine.progress import PlanningReport
from eechips.engine.service.session import Session, connect
from eechips.errors import EechipsError, UsageError
from eechips.geo.grid import Grid
from eechips.manifest.sqlite.ledger import Ledger
from eechips.manifest.sqlite.ledger_queries import sample_units
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
        seconds: seconds that planning has taken so far.

    Returns:
        None for recipes of users, whose functions may send requests, and if no result can be described.
    """
    if not traits_of(recipe).is_builtin:
        return None
    planned = [json.loads(text) for text in sample_units(ledger.database, _LOOKED_AT)]
    some = list(enumerate(random.Random(seed_of(recipe)).sample(planned, min(_DESCRIBED, len(planned)))))
    count, sent = ledger.count_open(), session.throttle.sent
    planning = PlanningCost(sent, sent, seconds)
    preview = recipe.preview_plan() if isinstance(recipe, SupportsPreview) and ledger.is_partial else None
    if preview is not None:
        before, count = math.ceil(count / preview.batch), len(preview.points)
        batches = math.ceil(count / preview.batch)
        planning = PlanningCost(sent + max(0, batches - before), sent, seconds * batches / max(1, before))
    plan = PlanSummary(count, some, planning, _list_windows(recipe, config, planned), preview)
    try:
        return _combine(recipe, config, session, plan)
    except EechipsError:  # a unit without a result fails by itself
        return None


def save_unit_compute(recipe: Recipe, ledger: Ledger, session: Session, sample: ComputeSample) -> None:
    """Save the measured compute of a run's units, for estimates of later runs of the kind; nothing if there is none."""
    unit = next(ledger.rows(("position", "unit")), None)
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
    """Plan a recipe, or some units of it where these tell what the others cost."""
    began = replace(Spent.until_now(session), requests=0)  # so that requests of the connection count
    if isinstance(recipe, SupportsPreview):
        with planner_errors(), sampling(session, began) as (sample, note_chosen):
            preview = recipe.preview_plan()
            note_chosen()
            drawn = draw_spread(range(len(preview.points)), _SAMPLE, seed_of(recipe), adjoining=1)
            some = list(zip(drawn, recipe.plan_units(drawn), strict=True))
        sample.tried = len(some)
        windows = _list_windows(recipe, config, (unit for _, unit in some))
        planning = extrapolate_planning(session, sample, preview)
        return PlanSummary(len(preview.points), some, planning, windows, preview)
    most = _DESCRIBED if traits_of(recipe).is_builtin else _SAMPLE
    draw, count, some, windows = random.Random(seed_of(recipe)), 0, [], []
    with sampling(session, began) as (sample, _):
        for count, planned in enumerate(units_of(recipe, name_template(recipe, config)), start=1):
            unit = json.loads(planned.unit)
            place = count - 1 if count <= most else draw.randrange(count)  # a reservoir sample
            if place < most:
                some[place : place + 1] = [(count - 1, unit)]
            windows += _list_windows(recipe, config, [unit])
    return PlanSummary(count, some, cost_of_plan(session, sample), windows)


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
    return round(count_neighbours(boxes) * plan.units / len(boxes))


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
    recipe: Recipe, config: RunConfig, session: Session, plan: PlanSummary, results: Sequence[Any], assumed: Range
) -> tuple[ComputeRange | None, str]:
    """Return the compute of a run, and where the figures come from."""
    if config.is_local or not plan.units:
        return None, ""
    described = next((result for result in results if not isinstance(result, NoData)), NoData())
    recorded = load_recorded_compute(session.connection.target.endpoint, _kind(recipe, described))
    compute = None if recorded is None else recorded.estimate(plan.units, count_pixels(described))
    if recorded is None or compute is None:
        compute = ComputeRange(assumed.usual, assumed.low, assumed.high)
        source = "assumed, as no run of this kind was measured here: `estimate` measures some units"
    else:
        source = f"half to twice what {recorded.sample.units:,} like them took on {recorded.seen[:10]}"
    return compute if plan.planning.compute is None else compute + plan.planning.compute, source
