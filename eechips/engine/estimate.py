"""Estimate the cost of a run before it starts, or from its first units."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from eechips.client.chip_parts import PIXEL_LIMITS, count_requests
from eechips.client.usage import RequestLog
from eechips.engine.compute_sample import ComputeSample
from eechips.engine.config import RunConfig
from eechips.engine.costs import Estimate, Forecast
from eechips.engine.plan import name_template, planner_errors, read_inputs, units_of
from eechips.engine.replacement import MOST_REPLACEMENTS
from eechips.engine.session import connect
from eechips.formats import CHIP_FORMATS
from eechips.manifest.ledger import Totals
from eechips.recipe import (
    Chip,
    FrameStack,
    NoData,
    Recipe,
    SupportsEstimate,
    SupportsPreview,
    SupportsSize,
    Table,
    Unit,
    unit_value,
)

_SAMPLE = 3


# Seconds that one request takes on the high-volume endpoint, by its kind; medians measured by users.
_SECONDS = {"url": (0.15, 0.9), "pixels": (0.9,), "table": (1.5,)}


USUAL_IN_FLIGHT = 40
"""Requests in flight that a project usually has (https://developers.google.com/earth-engine/guides/usage)."""


def estimate(recipe: Recipe, config: RunConfig) -> Estimate:
    """Plan a run and estimate its cost. Send the planner's requests only; write nothing.

    Raises:
        UsageError, ConfigurationError, RecipeError: as :func:`eechips.engine.run.run` does.
    """
    read_inputs(recipe)
    with connect(config, recipe=recipe):
        if isinstance(recipe, SupportsEstimate):
            units = (_unit(planned.unit) for planned in units_of(recipe, name_template(recipe, config)))
            return cast("Estimate", recipe.estimate(units))
        plan = _survey(recipe, config)
        results = [sized_result(recipe, position, unit) for position, unit in enumerate(plan.first)]
    costs = _costs(results, plan, config)
    count = plan.units
    requests = round(count * sum(len(cost.latencies) * share for cost, share in costs))
    seconds = count * sum(sum(cost.latencies) * share for cost, share in costs)
    sizes = [(cost.bytes, share) for cost, share in costs if cost.bytes is not None]
    known = sum(share for _, share in sizes)
    return Estimate(
        units=count,
        requests=requests,
        bytes=round(count * sum(size * share for size, share in sizes) / known) if known else None,
        seconds=_seconds(requests, seconds, config),
    )


def sized_result(recipe: Recipe, position: int, unit: Unit) -> Any:
    """Return the result of a unit, with the type of its pixels if the recipe knows it; see :class:`SupportsSize`."""
    if isinstance(recipe, SupportsSize):
        return recipe.sized_result(position, unit_value(unit))
    return recipe.get_result(position, unit_value(unit))


@dataclass(slots=True)
class _PlanSummary:
    """The metadata of a plan that an estimate needs.

    Attributes:
        units: number of units.
        first: the first units.
        sizes: width and height of the units' grids, and how many have these; of a preview, of the first units.
    """

    units: int
    first: list[Unit]
    sizes: Counter[tuple[int, int] | None]


def _survey(recipe: Recipe, config: RunConfig) -> _PlanSummary:
    if isinstance(recipe, SupportsPreview):
        with planner_errors():
            count, previewed = recipe.preview_units(_SAMPLE)
        return _PlanSummary(count, list(previewed), Counter(map(size_of, previewed)))
    plan = _PlanSummary(0, [], Counter())
    for planned in units_of(recipe, name_template(recipe, config)):
        unit = _unit(planned.unit)
        plan.units += 1
        plan.sizes[size_of(unit)] += 1
        if len(plan.first) < _SAMPLE:
            plan.first.append(unit)
    return plan


def size_of(unit: Unit) -> tuple[int, int] | None:
    """Return width and height of a unit's grid in pixels; None if it has none."""
    grid = unit.get("grid")
    return (grid["width"], grid["height"]) if isinstance(grid, Mapping) and {"width", "height"} <= grid.keys() else None


def resized(result: Any, size: tuple[int, int]) -> Any:
    """Return a result of which every chip with a grid has another size."""
    if isinstance(result, Mapping):
        return {name: resized(each, size) for name, each in result.items()}
    if isinstance(result, FrameStack):
        return FrameStack(tuple(resized(chip, size) for chip in result.chips))
    if isinstance(result, Chip) and result.grid is not None:
        return replace(result, grid=replace(result.grid, width=size[0], height=size[1]))
    return result


def _costs(results: Sequence[Any], plan: _PlanSummary, config: RunConfig) -> list[tuple[_Cost, float]]:
    """Return the cost of units, each with the share of all units that it holds for."""
    if None in plan.sizes or len(plan.sizes) == 1:
        return [(_cost(result, config), 1 / len(results)) for result in results]
    found = next((result for result in results if not isinstance(result, NoData)), NoData())
    total = sum(plan.sizes.values())
    return [
        (_cost(resized(found, size), config), count / total) for size, count in plan.sizes.items() if size is not None
    ]


class Meter:
    """Measure the cost of units while they are fetched.

    Attributes:
        request_seconds: total duration of their requests at the service.

    Args:
        clock: seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._ends: list[float] = []
        self.request_seconds = 0.0

    @property
    def units(self) -> int:
        """Number of units."""
        return len(self._ends)

    def note(self, request_logs: Iterable[RequestLog]) -> None:
        """Count a unit that is finished."""
        self._ends.append(self._clock())
        self.request_seconds += sum(exchange.seconds for exchange in request_logs)

    def pace(self) -> float | None:
        """Return units per second, without the first and the last quarter, when not all slots are in use; None if
        unknown.
        """
        first, last = self.units // 4, 3 * self.units // 4
        if last == first:
            return None
        elapsed = self._ends[last] - self._ends[first]
        return (last - first) / elapsed if elapsed > 0 else None


def forecast_rest(
    totals: Totals, left: int, meter: Meter, slots: int, config: RunConfig, sample: ComputeSample | None = None
) -> Forecast:
    """Extrapolate the cost of the units that are left.

    Args:
        totals: of the units that were tried, by this command or earlier ones; at least one.
        left: units that are left.
        meter: of the units that this command has tried.
        slots: concurrent requests, as learned so far.
        config: of the run.
        sample: the profiled units; None if there are none.
    """
    if config.on_empty == "redraw":  # each draw is empty as often as those before
        found = max(totals.units - totals.dropped, totals.units / (MOST_REPLACEMENTS + 1))
        left = round(left * totals.units / found)
    requests = left * totals.requests / totals.units
    # A unit's own time, which the ledger has, includes waiting for a slot: it is more, but better than nothing.
    each = meter.request_seconds / meter.units if meter.units else totals.seconds / totals.units
    # Few units overlap more than many would: their rate counts only where it is lower than what the slots allow.
    pace, rate = meter.pace(), config.requests_per_second
    return Forecast(
        tried=totals.units,
        left=left,
        requests=round(requests),
        bytes=round(left * totals.bytes / totals.units),
        seconds=max(left * each / slots, left / pace if pace else 0.0, requests / rate if rate else 0.0),
        request_seconds=left * each,
        slots=slots,
        compute=None if sample is None else sample.estimate(left),
    )


@dataclass(frozen=True, slots=True)
class _Cost:
    """The cost of a unit: seconds of each of its requests, and bytes of its file."""

    latencies: tuple[float, ...]
    bytes: float | None


def _cost(result: Any, config: RunConfig) -> _Cost:
    if isinstance(result, Chip):
        parts = count_requests(result, PIXEL_LIMITS[config.pixel_method])
        return _Cost(_SECONDS[config.pixel_method] * parts, chip_bytes(result))
    if isinstance(result, FrameStack):
        return _cost(dict(enumerate(result.chips)), config)
    if isinstance(result, Table):
        return _Cost(_SECONDS["table"], None)
    if isinstance(result, Mapping):
        costs = [_cost(each, config) for each in result.values()]
        sizes = [cost.bytes for cost in costs if cost.bytes is not None]
        return _Cost(
            tuple(s for cost in costs for s in cost.latencies), sum(sizes) if len(sizes) == len(costs) else None
        )
    if result is None or isinstance(result, NoData):
        return _Cost((), None if result is None else 0.0)
    return _Cost((), float(getattr(result, "nbytes", len(result))))


def chip_bytes(chip: Chip, dtype: str = "float32") -> float | None:
    """Estimate the bytes of a chip's file; None if its size is unknown.

    Args:
        chip: to estimate.
        dtype: of its pixels, if the chip has none.
    """
    import numpy as np

    if chip.size is None:
        return None
    width, height = chip.size
    bands = len(chip.bands) if chip.bands is not None else 3
    item = 1 if chip.is_picture else np.dtype(chip.dtype or dtype).itemsize
    return width * height * bands * item * CHIP_FORMATS.get(chip.format).compression


def _seconds(requests: int, in_requests: float, config: RunConfig) -> float:
    """Return the seconds of a run, which the rate or the number of slots bounds."""
    rate = config.requests_per_second
    by_rate = requests / rate if rate else 0.0
    in_flight = USUAL_IN_FLIGHT if config.in_flight == "auto" else config.in_flight
    return max(by_rate, in_requests / in_flight)


def _unit(text: str) -> dict[str, Any]:
    unit: dict[str, Any] = json.loads(text)
    return unit
