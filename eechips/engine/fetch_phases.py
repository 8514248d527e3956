"""Settle the open units of a run in one phase, or in two: the units of an estimate, and if the user agrees the rest;
say how it was stopped.
"""

from __future__ import annotations

import dataclasses
import enum
import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from statistics import fmean

from eechips.engine.config import RunConfig
from eechips.engine.costs.cost_descriptions import Forecast
from eechips.engine.costs.forecast import JoiningEstimate, Machine, Meter, forecast_rest
from eechips.engine.costs.planning_cost import extrapolate_planning
from eechips.engine.costs.unit_costs import size_of
from eechips.engine.joining.unit_joining import RequestCosts, UnitJoining
from eechips.engine.plans.plan import draw_spread, name_template, seed_of
from eechips.engine.plans.planner import GradualPlanning, Planner, has_answers
from eechips.engine.progress import Progress, is_notebook
from eechips.engine.run_components import RunComponents
from eechips.engine.run_context import RUN_FEATURES, RunFeature
from eechips.engine.run_features.replacement import Replacements, is_refilling
from eechips.engine.run_features.run_limits import BudgetLimit
from eechips.engine.run_features.run_monitor import RunMonitor, SlowUnitReports, advice_for
from eechips.engine.run_features.streamed_units import BoundedUnits, ShuffledUnits
from eechips.engine.scheduler import Scheduler
from eechips.manifest.manifest_columns import WorkUnit
from eechips.manifest.sqlite.ledger_queries import bytes_of_units, open_positions, sample_units, sum_totals
from eechips.manifest.stream_epoch import forget_epoch
from eechips.recipe import RequestWindow, Unit, request_window_of, traits_of

_COMPARED = 10_000
"""Remaining units whose sizes are compared with the sizes of the tried units."""


def _pixels_of(units: Sequence[Unit]) -> list[int]:
    """Return the pixels of units; none if the size of any is unknown."""
    sizes = [size_of(unit) for unit in units if isinstance(unit, Mapping)]
    pixels = [width * height for width, height in (size for size in sizes if size is not None)]
    return pixels if len(pixels) == len(units) else []


class FetchEnd(enum.Enum):
    """How fetching the units of a run ended."""

    SETTLED = "all units are settled"
    STOPPED = "the user stopped the run, or a budget is spent"
    PAUSED = "the user has not confirmed the cost"
    UNCHANGED = "the run was complete, and its extension has nothing to add"


class FetchPhases:
    """Phases in which the open units of a part of the plan are settled: one, or two with a confirmation between them.

    Args:
        first: position in the plan of the first unit to settle.
        end: position after the last; None for all.
    """

    def __init__(self, run: RunComponents, first: int = 0, end: int | None = None) -> None:
        self._run, self._first, self._end = run, first, end
        self._config, self._ledger, self._recipe, self._planner = run.config, run.ledger, run.recipe, run.planner
        self._left = self._count(is_open=True)
        self._units: Iterator[WorkUnit | None] = run.ledger.open_units(first, end)
        self._tried: frozenset[int] = frozenset()  # positions of the units of an estimate
        self._replacements: Replacements | None = None
        self._costs = RequestCosts()
        self._notes = () if first else run.session.notes  # not shown yet
        if self._unplanned == 0:
            self._begin()

    @property
    def _unplanned(self) -> int:
        """Units that are planned only if the user confirms."""
        is_waiting = self._planner is not None and not self._planner.is_started
        return self._run.partial.unplanned if self._run.partial is not None and is_waiting else 0

    def _begin(self) -> None:
        """Begin with the rest of the plan, and with replacements, which come after it."""
        config, ledger, recipe = self._config, self._ledger, self._recipe
        if self._planner is not None:
            self._planner.start()
            self._units = (
                unit for unit in self._planner.open_units() if unit is None or unit.position not in self._tried
            )
        of_empty = config.on_empty == "redraw"
        if of_empty or is_refilling(recipe, ledger):
            self._replacements = Replacements(recipe, ledger, name_template(recipe, config), of_empty=of_empty)

    def settle(self) -> FetchEnd:
        """Settle the units."""
        if self._config.estimate is not None:
            end = self._try_first(self._config.estimate)
            if end is not FetchEnd.SETTLED:
                return end
        if self._unplanned:
            self._begin()
        is_planned = self._planner is None or self._planner.is_whole
        if not self._left and is_planned and (self._replacements is None or not self._replacements.waiting):
            return FetchEnd.SETTLED
        return self._schedule(self._left, None)

    def _try_first(self, wanted: int) -> FetchEnd:
        """Settle the units of the estimate, and ask whether to settle the others."""
        served, config = self._run.session.served, self._config
        meter = Meter() if served is None else Meter(traffic=served.traffic)
        count = min(wanted - self._count(is_open=False), self._left)
        compute = self._run.compute
        if compute is not None and compute.every:
            compute.every = 1  # of few units, all
        end = self._schedule(count, meter, self._spread(count)) if count > 0 else FetchEnd.SETTLED
        if compute is not None:
            compute.every = config.profile_every
        left = self._left + self._unplanned
        if end is not FetchEnd.SETTLED or not left:
            return end
        forecast = self._forecast(meter, left)
        self._run.log.write("estimated", **dataclasses.asdict(forecast))
        is_confirmed = config.confirm is not None and config.confirm(forecast)
        return FetchEnd.SETTLED if is_confirmed else FetchEnd.PAUSED

    def _forecast(self, meter: Meter, left: int) -> Forecast:
        """Forecast the cost of the units that are left from those that were tried."""
        run, config, database = self._run, self._config, self._ledger.database
        units = [json.loads(self._ledger.unit(position).unit) for position in meter.positions]
        machine = Machine.of(config, run.session)
        joining, joined, planning, pixels = None, None, None, 1.0
        if (window := self._request_window) is not None:
            joining = JoiningEstimate(self._recipe, config, window, self._costs, machine.slots)
        if self._unplanned and run.partial is not None:
            sample, preview, first = run.partial.sample, run.partial.preview, next(self._ledger.rows(("unit",)), None)
            if joining is not None and first is not None:
                joined = joining.of_places(preview.points, json.loads(first[0]))
            if sample is not None and sample.is_sent:
                planning = extrapolate_planning(run.session, sample, preview)
        else:
            joined = None if joining is None else joining.of_ledger(self._ledger, self._left)
            tried = _pixels_of(units)
            others = _pixels_of([json.loads(text) for text in sample_units(database, _COMPARED)])
            pixels = fmean(others) / fmean(tried) if tried and others else 1.0
        if joining is not None and joined is not None and (counted := joining.count(units)) and sum(meter.requests):
            joined = joined.times(sum(meter.requests) / counted)  # with repeats, as of the tried units
        return forecast_rest(
            sum_totals(database),
            left,
            meter,
            machine,
            config,
            None if run.compute is None else run.compute.account.sample,
            unplanned=self._unplanned,
            planning=planning,
            joined=joined,
            pixels=pixels,
            sizes=bytes_of_units(database),
        )

    def _spread(self, count: int) -> Iterator[WorkUnit | None]:
        """Return some units that are like the others.

        The rows of a mosaic differ, and the months of a composite: neighbours in the plan are drawn in each part of it.
        Of a plan that is not whole, the planner has drawn them.
        """
        config, ledger = self._config, self._ledger
        is_whole = self._planner is None or self._planner.is_whole
        if config.fetch_seed is not None or config.max_disk is not None:
            some = list(islice(self._units, count))
            self._tried = frozenset(unit.position for unit in some if unit is not None)
            return iter(some)
        chosen = open_positions(ledger.database, self._first, ledger.end if self._end is None else self._end)
        chosen = draw_spread(chosen, count, seed_of(self._recipe)) if is_whole else chosen[:count]
        self._tried = tried = frozenset(chosen)
        rest = ledger.open_units(self._first, self._end)
        self._units = (unit for unit in rest if unit.position not in tried)
        return map(ledger.unit, chosen)

    def _schedule(self, count: int, meter: Meter | None, units: Iterator[WorkUnit | None] | None = None) -> FetchEnd:
        """Settle the next units.

        Args:
            meter: measures them; None for the rest of a run.
            units: the units of an estimate; None for the rest of a run.
        """
        config, throttle, replacements = self._config, self._run.session.throttle, self._replacements
        planner = None if self._planner is None or self._unplanned or self._planner.is_whole else self._planner
        units = self._units if planner is not None else islice(self._units if units is None else units, count)
        with Progress(self._total, self._total - self._left, throttle.limit, quiet=config.quiet) as progress:
            for note in self._notes:
                progress.say(note)
            self._notes = ()
            scheduler = Scheduler(
                units,
                count,
                ledger=self._ledger,
                store=self._run.store,
                executor=self._run.executor,
                progress=progress,
                log=self._run.log,
                interrupt=self._run.interrupt,
                features=tuple(self._features(planner, meter)),
                check=self._run.session.check,
            )
            is_settled = scheduler.run()
            self._left -= count
            if not is_settled:
                progress.say(stop_message(config))
            elif not self._left and replacements is not None and replacements.unfilled:
                what = "stay empty" if config.on_empty == "redraw" else "were dropped"
                progress.say(
                    f"Units that {what}, as none with data was found in their place: {replacements.unfilled:,}"
                )
        return FetchEnd.SETTLED if is_settled else FetchEnd.STOPPED

    def _features(self, planner: Planner | None, meter: Meter | None) -> Iterator[RunFeature]:
        """Yield what takes part in the run, in the order of the scheduler's calls."""
        run, config = self._run, self._config
        yield BudgetLimit(run.deadline)
        if planner is not None:
            yield GradualPlanning(planner)
        if self._replacements is not None:
            self._replacements.planner = planner
            yield self._replacements
        if run.compute is not None:
            yield run.compute
            if run.exports is not None:
                yield run.exports
        if config.max_disk is not None:
            yield BoundedUnits(run.ledger, run.store, config.out, config.fetch_seed, config.max_disk)
        else:
            forget_epoch(run.ledger)
            if config.fetch_seed is not None:
                yield ShuffledUnits(run.ledger, config.fetch_seed)
        if (window := self._request_window) is not None:
            yield UnitJoining(window, self._costs)
        if meter is not None:
            yield meter
        if traits_of(self._recipe).needs_service:
            yield SlowUnitReports(lambda: advice_for(self._recipe, config.archives))
        yield RunMonitor(run.executor, run.session.sharing, verbose=config.verbose)
        for name in RUN_FEATURES.names:
            if (feature := RUN_FEATURES.get(name)(config)) is not None:
                yield feature

    @property
    def _request_window(self) -> RequestWindow | None:
        """The pixels of units, if these may share requests, and the executor can send several of them to a worker."""
        if not self._run.config.shares_requests or self._run.executor.is_detached:
            return None
        return request_window_of(self._recipe)

    @property
    def _total(self) -> int:
        return sum(self._ledger.counts(self._first, self._end).values())

    def _count(self, *, is_open: bool) -> int:
        return sum(
            count for state, count in self._ledger.counts(self._first, self._end).items() if state.is_open is is_open
        )


def stop_message(config: RunConfig, *, is_planned: bool = True) -> str:
    """Return the message for a run that was stopped; one that is planned may have results."""
    kept = "Stopped; completed results are kept"
    if not is_planned:
        kept = "Stopped while planning; there are no results yet"
        if has_answers(config):
            kept += ", and what the service has answered is kept"
    repeated = config.command or ("run the cell again" if is_notebook() else "the same command")
    return f"{kept}. To resume: {repeated}"
