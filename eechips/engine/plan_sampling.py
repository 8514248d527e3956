"""Plan a sample of a plan that is not complete, for an estimate, while the units are fetched that it tries."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace

from eechips.engine.costs import PlanningCost
from eechips.engine.joined_requests import JoinedRequests, Neighbourhoods, RequestJoining
from eechips.engine.planning_cost import (
    PartialPlan,
    PlanningSample,
    extrapolate_planning,
    first_batch_seconds,
    most_telling,
    plan_sample,
)
from eechips.engine.run_parts import RunParts
from eechips.manifest.ledger_queries import read_first_unit
from eechips.recipe import SupportsPreview, Unit


@dataclass(frozen=True, slots=True)
class RestCost:
    """What the rest of a run takes besides the figures of the tried units.

    Attributes:
        joined: requests of units that share some; None if none does.
        counted: requests of the tried units, without repeats, where some are shared.
        planning: cost of planning; None if it is unknown, or if all units are planned.
        pixels: mean pixels of the remaining units, divided by that of the tried units.
        compute: likewise of their compute.
    """

    joined: JoinedRequests | None = None
    counted: int = 0
    planning: PlanningCost | None = None
    pixels: float = 1.0
    compute: float = 1.0


class PlanSampling:
    """Estimates what planning costs, and the requests that units share, by some neighbourhoods that are planned.

    A separate thread plans the first neighbourhoods, while the main thread fetches the tried units.

    Args:
        partial: the plan of which some units are made.
        joining: joins units as the run does; None if they share no requests.
    """

    def __init__(self, run: RunParts, partial: PartialPlan, joining: RequestJoining | None) -> None:
        assert isinstance(run.recipe, SupportsPreview)  # else all units were planned
        self._run, self._recipe, self._partial, self._joining = run, run.recipe, partial, joining
        self._samples: list[PlanningSample] = [] if partial.sample is None else [partial.sample]
        self._drawn: Neighbourhoods | None = None
        self._planning: PlanningCost | None = None
        self._failure: BaseException | None = None
        first = read_first_unit(run.ledger.database)
        if joining is not None and first is not None:
            places = joining.compare_places(partial.preview, json.loads(first[1]))
            by_batch = False
            if partial.sample is not None and places.grid is not None:
                seconds = first_batch_seconds(run.session, partial.sample, partial.preview)
                by_batch = seconds > joining.expect_seconds(partial.preview.batch * places.alone, places.grid)
            self._drawn = Neighbourhoods(places, self._plan, by_batch=by_batch)
        self._thread = threading.Thread(target=self._begin, daemon=True, name="eechips-plan-sample")
        self._thread.start()

    def finish(self) -> RestCost:
        """Wait for the sample, and estimate from it with what is known of requests by now.

        Raises:
            EechipsError: if planning has failed.
        """
        self._thread.join()
        if self._failure is not None:
            raise self._failure
        joined = None
        if self._joining is not None and self._drawn is not None:
            joined = self._joining.of_neighbourhoods(self._drawn)
        return RestCost(joined=joined, planning=self._planning)

    def _begin(self) -> None:
        try:
            if self._drawn is not None:
                self._drawn.plan_more()
            self._planning = self._extrapolate()
        except BaseException as error:  # noqa: BLE001 - the main thread receives it
            self._failure = error

    def _plan(self, positions: Sequence[int]) -> list[Unit]:
        sample, units = plan_sample(self._recipe, self._run.session, positions, self._run.config.out)
        self._samples.append(sample)
        return units

    def _extrapolate(self) -> PlanningCost | None:
        """Return the cost of the whole plan by the most telling sample of it; None if there is none."""
        sample = most_telling(self._samples)
        if sample is None:
            return None
        cost = extrapolate_planning(self._run.session, sample, self._partial.preview)
        return replace(cost, sent=sum(sample.sent for sample in self._samples))
