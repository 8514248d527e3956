"""Try equivalent requests on some units of a run, and choose those that cost least."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import chain, islice, product
from statistics import fmean
from typing import Any

from eechips.client.chip_groups import share_chips
from eechips.client.fetcher import Fetcher
from eechips.client.http.transport import Transport
from eechips.client.profile_requests import fetch_all_profiles
from eechips.client.quota.permits import Stopped
from eechips.client.quota.usage import Usage
from eechips.engine.config import RunConfig
from eechips.engine.fetch_result import chips_of, fetch_result, fetch_shared
from eechips.engine.service.session import Session
from eechips.errors import EechipsError, RequestError
from eechips.processes.parallel_map import parallel_map
from eechips.recipe import Chip, Recipe, Unit, request_window_of, unit_value

REQUEST_TRIAL = "request_trial"
"""In meta and in run.json: the costs of the plans that were tried."""

TRIED_UNITS = 4
"""Units on which each plan is tried, twice; fewer if they have many chips."""
_CHIPS = 16
"""Chips after which no further unit is tried: a unit may have a chip for each month."""
_AT_ONCE = 26
"""Requests in flight: two units with a chip for each month take 24 single requests, and a shared one each. A project
usually has a quota of 40 (https://developers.google.com/earth-engine/guides/usage)."""
_LEAST_GAIN = 0.95
"""Cost of another plan, as a share of that of the first, below which it is chosen: seconds vary by chance."""


@dataclass(frozen=True, slots=True)
class RequestPlan:
    """Equivalent requests for the chips of a run: all plans give the same files.

    Attributes:
        reads_assets: read chips of stored images by getPixels where that gives the same file.
        shares_requests: fetch several chips in one request.
    """

    reads_assets: bool
    shares_requests: bool

    def __str__(self) -> str:
        method = "getPixels where the files are the same" if self.reads_assets else "computePixels"
        return f"{method}, {'shared' if self.shares_requests else 'single'} requests"


@dataclass(frozen=True, slots=True)
class PlanCost:
    """The cost of a plan for a chip.

    Attributes:
        requests: HTTP requests.
        seconds: seconds of slots.
        bytes: number of bytes of responses.
        eecu_seconds: EECU seconds of compute; None if the service does not report it.
    """

    plan: RequestPlan
    requests: float
    seconds: float
    bytes: float
    eecu_seconds: float | None

    def ratio(self, other: PlanCost) -> float:
        """Return the geometric mean of the ratios of seconds, bytes and compute to those of another plan."""
        pairs = [(self.seconds, other.seconds), (self.bytes, other.bytes)]
        if self.eecu_seconds is not None and other.eecu_seconds is not None:
            pairs.append((self.eecu_seconds, other.eecu_seconds))
        ratios = [own / its for own, its in pairs if own > 0 and its > 0]
        return math.exp(fmean(map(math.log, ratios))) if ratios else 1.0


@dataclass(frozen=True, slots=True)
class RequestTrial:
    """The plans that were tried, that of the configuration first, and the chosen one."""

    costs: tuple[PlanCost, ...]

    @property
    def chosen(self) -> PlanCost:
        """The cost of the plan that costs least, or of the configured one if no other costs clearly less."""
        first = self.costs[0]
        best = min(self.costs, key=lambda cost: cost.ratio(first))
        return best if best.ratio(first) < _LEAST_GAIN else first

    @property
    def text(self) -> str:
        """The choice in words."""
        cost_texts = [f"{cost.plan}: {_words(cost)}" for cost in self.costs]
        return f"Chosen: {self.chosen.plan}. Cost of a chip: {'; '.join(cost_texts)}"

    def to_json(self) -> dict[str, Any]:
        """Return a JSON value for run.json."""
        return {"chosen": asdict(self.chosen.plan), "costs": [asdict(cost) for cost in self.costs]}


def configured_plan(config: RunConfig, chosen: Mapping[str, Any] | None) -> RequestPlan:
    """Return the plan of a run: the options', or that of its trial, in an earlier command as well.

    Args:
        chosen: the JSON value of the trial; None if there was none.
    """
    plan = RequestPlan(config.reads_assets, config.shares_requests)
    if chosen is None:
        return plan
    chosen_plan = RequestPlan(**chosen["chosen"])
    return RequestPlan(
        chosen_plan.reads_assets and plan.reads_assets, chosen_plan.shares_requests and plan.shares_requests
    )


def try_plans(
    recipe: Recipe, config: RunConfig, session: Session, units: Sequence[tuple[int, Unit]]
) -> RequestTrial | None:
    """Fetch the chips of some units by each plan, twice, and keep none of them.

    The requests of all plans are one stream, so that few rounds of them follow each other.

    Args:
        recipe: one of eechips.
        units: the units, with their positions.

    Returns:
        The trial; None if there is one plan only, or a request fails.
    """
    try:
        chips = list(_chips(recipe, units))
        plans = list(_plans(recipe, config, chips))
        if len(plans) < 2:
            return None
        order = [*plans, *reversed(plans)]  # a service that becomes faster meanwhile favours none
        costs = _measure(order, chips, config, session)
    except (EechipsError, Stopped):  # the units themselves report it
        return None
    return RequestTrial(tuple(_mean([cost for cost in costs if cost.plan == plan], len(chips)) for plan in plans))


def _plans(recipe: Recipe, config: RunConfig, chips: Sequence[Chip]) -> Iterator[RequestPlan]:
    """Yield the plans that differ for some chips, the configured one first."""
    reads = config.reads_assets and any(chip.asset is not None for chip in chips)
    shares = config.shares_requests and request_window_of(recipe) is not None and bool(share_chips(chips))
    for choice in product((True, False) if reads else (False,), (True, False) if shares else (False,)):
        yield RequestPlan(*choice)


def _chips(recipe: Recipe, units: Sequence[tuple[int, Unit]]) -> Iterator[Chip]:
    """Yield the chips of some units."""
    count = 0
    for position, unit in units:
        if count >= _CHIPS:
            return
        chips = list(chips_of(recipe.get_result(position, unit_value(unit))))
        count += len(chips)
        yield from chips


def _measure(
    order: Sequence[RequestPlan], chips: Sequence[Chip], config: RunConfig, session: Session
) -> list[PlanCost]:
    """Fetch chips by plans in their order, several requests at once; return the cost of all chips by each plan."""
    transport = session.connection.transport
    fetches = [list(_fetches(plan, chips, config, session)) for plan in order]
    usages = parallel_map(partial(_metered, transport), chain.from_iterable(fetches), _AT_ONCE)
    by_plan = [list(islice(usages, len(own))) for own in fetches]
    profiles = [[profile for usage in own for profile in usage.profiles or ()] for own in by_plan]
    eecu = _fetch_eecu(transport, profiles)
    return [
        PlanCost(
            plan,
            requests=sum(usage.requests for usage in own),
            seconds=sum(log.seconds for usage in own for log in usage.request_logs or ()),
            bytes=sum(usage.received for usage in own),
            eecu_seconds=eecu_seconds,
        )
        for plan, own, eecu_seconds in zip(order, by_plan, eecu, strict=True)
    ]


def _fetches(
    plan: RequestPlan, chips: Sequence[Chip], config: RunConfig, session: Session
) -> Iterator[Callable[[], object]]:
    """Yield functions that fetch chips by a plan, each in one request or several."""
    fetcher = Fetcher(session.connection, config.pixel_method, reads_assets=plan.reads_assets)
    groups = share_chips(chips) if plan.shares_requests else []
    shared = {member.index for group in groups for member in group.members}
    for group in groups:
        yield partial(fetch_shared, fetcher, group, chips)
    for index, chip in enumerate(chips):
        if index not in shared:
            yield partial(fetch_result, fetcher, chip)


def _metered(transport: Transport, fetch: Callable[[], object]) -> Usage:
    """Fetch something in this thread; return what it used."""
    with transport.metered(logs=True, profiles=True) as usage:
        fetch()
    return usage


def _fetch_eecu(transport: Transport, profiles: Sequence[Sequence[str]]) -> list[float | None]:
    """Return the EECU-seconds of each list of profiles; None if the service does not report them."""
    every = list(chain.from_iterable(profiles))
    try:
        seconds = dict(zip(every, fetch_all_profiles(transport, every), strict=True))
    except RequestError:
        return [None] * len(profiles)
    return [sum(seconds[profile] for profile in own) if own else None for own in profiles]


def _mean(costs: Sequence[PlanCost], units: int) -> PlanCost:
    """Return the cost of a chip by a plan that was tried several times."""
    eecu = [cost.eecu_seconds for cost in costs if cost.eecu_seconds is not None]
    return PlanCost(
        costs[0].plan,
        requests=fmean(cost.requests for cost in costs) / units,
        seconds=round(fmean(cost.seconds for cost in costs) / units, 4),
        bytes=round(fmean(cost.bytes for cost in costs) / units),
        eecu_seconds=round(fmean(eecu) / units, 6) if len(eecu) == len(costs) else None,
    )


def _words(cost: PlanCost) -> str:
    compute = "" if cost.eecu_seconds is None else f", {cost.eecu_seconds:.3g} EECU-seconds"
    return f"{cost.seconds:.2f} s, {cost.bytes:,.0f} bytes{compute}"
