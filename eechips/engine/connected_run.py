"""Connect a run, make, extend or complete its plan, ask the user to confirm its cost, and have its units fetched; keep
the learned limit for the next run.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import math
import time
from functools import partial
from importlib.metadata import version
from itertools import chain, islice
from typing import Any

from eechips.client.access.discovery import ClientInit
from eechips.client.quota import stored_limits
from eechips.engine.costs.cost_descriptions import describe_start
from eechips.engine.costs.estimate import estimate_planned, save_unit_compute
from eechips.engine.costs.planning_cost import PartialPlan, plan_some_units
from eechips.engine.executors.executor import CLIENT_INIT_NAME, Executor, ExecutorContext
from eechips.engine.executors.processes import release_semaphores
from eechips.engine.fetch_phases import FetchEnd, FetchPhases
from eechips.engine.plans.plan import name_template, read_inputs, units_of
from eechips.engine.plans.plan_extension import extend_plan
from eechips.engine.plans.planner import ANSWERS_NAME, Planner, kept_answers, remove_answers
from eechips.engine.progress import PlanningReport, say
from eechips.engine.queues.beam_queue import note_queue, recover
from eechips.engine.results.archive_provenance import ARCHIVES, note_source_files
from eechips.engine.results.result_stores import check_disk
from eechips.engine.results.run_records import RunRecords
from eechips.engine.run_components import RunComponents, Stage
from eechips.engine.run_context import RecipeContext, RunContext
from eechips.engine.run_features.compute_budget import SECONDS_AN_HOUR, ComputeMonitor
from eechips.engine.run_features.export_polling import ExportMonitor
from eechips.engine.service.local_server import LocalServer
from eechips.engine.service.session import STUBS, connect, stub_note, worker_spec_of
from eechips.engine.worker_spec import WorkerSpec
from eechips.errors import EechipsError, UsageError
from eechips.files.scratch_folders import scratch_folder
from eechips.manifest.data_source import TRAFFIC, ArchiveTraffic
from eechips.manifest.metadata_keys import PLANS_GRADUALLY
from eechips.manifest.reserved_names import FOREIGN_FILES, list_foreign_files
from eechips.manifest.sqlite.ledger_queries import sum_totals
from eechips.recipe import SupportsInteractiveRun, SupportsLifespan, SupportsPreview, traits_of
from eechips.storage import LocalStore
from eechips.text.timestamps import utc_now

SERVER_LOG_NAME = "local.log"
_log = logging.getLogger(__name__)
_BATCH = 500  # units per transaction
_TELLING_REQUESTS = 200
"""Requests after which the limit of a run indicates the project's quota."""


class ConnectedRun:
    """The steps of a run that need a connection and workers.

    Args:
        stage: what is done already; a complete run is extended.
    """

    def __init__(self, components: RunComponents, records: RunRecords, stage: Stage) -> None:
        self._components, self._records, self._log = components, records, components.log
        self._config, self._recipe, self._ledger = components.config, components.recipe, components.ledger
        self._traits = traits_of(components.recipe)
        noted = components.ledger.meta().get(TRAFFIC) if components.ledger.has_plan else None
        self._earlier_traffic = ArchiveTraffic.from_json(noted)
        self._is_planned, self._is_complete = stage >= Stage.PLANNED, stage is Stage.COMPLETE
        self._is_extended = self._is_planned and components.config.extend
        self._added = 0

    def fetch(self) -> FetchEnd:
        """Connect, start the executor, plan if necessary, and settle the open units.

        Raises:
            EechipsError: see :func:`eechips.engine.run`.
        """
        config, recipe = self._config, self._recipe
        if not self._is_planned:
            read_inputs(recipe)
        if (not self._is_planned or self._ledger.is_partial) and (config.out / ANSWERS_NAME).exists():
            _log.info("Planning continues: requests whose responses are stored are not sent again")
        with contextlib.ExitStack() as stack:
            run = self._components
            self._connect(stack)
            stack.callback(run.sweep, own=True)  # after the workers have ended: killed workers leave files behind
            if isinstance(recipe, SupportsLifespan):
                transport = run.session.connection.transport
                context = RunContext(transport, config, run.store, run.log, str(run.writer))
                stack.enter_context(recipe.lifespan(context))
            run.executor = stack.enter_context(_make_executor(run))  # workers start while units are planned
            run.compute = self._monitor_compute(stack)
            began = time.monotonic()
            plans = not self._is_planned or self._is_extended or self._ledger.is_partial
            if not plans:  # of a run that was killed as soon as its plan was complete
                remove_answers(config.out)
            with PlanningReport(run.session.throttle) if plans else contextlib.nullcontext():
                self._make_plan(stack)
            if self._is_unchanged:
                return FetchEnd.UNCHANGED
            if self._is_planned:
                recover(self._ledger, run.store, self._log)
            self._check_disk()  # counts the units planned so far; a gradual plan is checked again when it is complete
            if not self._confirm_start(planner_seconds=time.monotonic() - began):
                return FetchEnd.PAUSED
            run.sweep()
            run.exports = self._monitor_exports(stack)
            minutes = config.limits.minutes
            run.deadline = time.monotonic() + 60.0 * (math.inf if minutes is None else minutes)
            return self._settle_all()

    @property
    def _is_unchanged(self) -> bool:
        """Whether the run was complete, and its extension has nothing to add."""
        return self._is_complete and not self._added

    def _make_plan(self, stack: contextlib.ExitStack) -> None:
        """Plan, extend or complete the plan; a planner that works while units are fetched begins here."""
        run = self._components
        run.planner, run.partial = self._make_planner(stack)
        if self._is_extended:
            self._extend()
        if self._is_unchanged:
            return
        if self._is_planned and run.planner is None and self._ledger.is_partial and not run.is_interactive:
            self._complete_plan()
        elif not self._is_planned and run.planner is None:
            self._plan()
        elif not self._is_planned and run.planner is not None and run.partial is None:
            run.planner.begin()

    def _connect(self, stack: contextlib.ExitStack) -> None:
        """Connect, and describe the run."""
        components, config, recipe = self._components, self._config, self._recipe
        # In the output folder, where the next run finds it if this one is killed.
        # Absolute: scripts change the working directory, and workers start later.
        scratch = components.scratch = stack.enter_context(scratch_folder(config.out.absolute(), components.writer))
        config.executor_class.prepare(recipe, scratch)  # takes as long as connecting and planning
        session = stack.enter_context(connect(config, config.out / SERVER_LOG_NAME, recipe=recipe))
        stack.callback(release_semaphores, session.throttle)
        target = session.connection.target
        components.discovery = session.connection.discovery.save(scratch / "discovery.json")
        ClientInit(target.endpoint, target.project, components.discovery).save(scratch / CLIENT_INIT_NAME)
        if not self._is_extended:  # else once the extension is planned: it may be refused
            self._records.describe(session)
        components.session = session

    def _settle_all(self) -> FetchEnd:
        """Settle the open units, or those that the recipe adds while it runs."""
        run, recipe = self._components, self._recipe
        if not run.is_interactive or not isinstance(recipe, SupportsInteractiveRun):
            return self._settle()
        last = FetchEnd.STOPPED

        def settle(first: int, end: int) -> bool:
            nonlocal last
            last = self._settle(first, end)
            return last is FetchEnd.SETTLED

        try:
            context = RecipeContext(self._config, self._ledger, self._log, settle, run.session.connection, run.deadline)
            has_finished = recipe.run_interactively(context)
            self._note_served()
        except EechipsError:
            self._records.export(finished=False)
            raise
        if has_finished:
            return FetchEnd.SETTLED
        return FetchEnd.PAUSED if last is FetchEnd.PAUSED else FetchEnd.STOPPED

    def _settle(self, first: int = 0, end: int | None = None) -> FetchEnd:
        """Settle the open units between two positions of the plan."""
        run = self._components
        how_ended = FetchPhases(run, first, end).settle()
        self._note_served()
        self._save_limit()
        if run.compute is not None and not self._config.is_local:
            save_unit_compute(self._recipe, self._ledger, run.session, run.compute.account.sample)
        return how_ended

    def _note_served(self) -> None:
        """Note what the local Earth Engine has served: files of open archives, stubs of datasets."""
        session = self._components.session
        if session.served is not None:
            self._ledger.note(ARCHIVES, list(session.archives))
            is_masked = self._recipe.parameters.get("mask") not in (None, "", "none")
            note_source_files(self._ledger, session.served, self._recipe, self._config.out, all_bands=is_masked)
            if (taken := session.served.traffic()) is not None:
                self._ledger.note(TRAFFIC, dataclasses.asdict(self._earlier_traffic + taken))
        elif session.server is not None:
            self._note_stubs(session.server)

    def _note_stubs(self, server: LocalServer) -> None:
        """Note which datasets the local Earth Engine has served stubs of, and name those that are new."""
        known = self._ledger.meta().get(STUBS, [])
        added = [dataset for dataset in server.stubs() if dataset not in known]
        if added:
            self._ledger.note(STUBS, sorted([*known, *added]))
            say(stub_note(added), quiet=self._config.quiet)

    def _confirm_start(self, planner_seconds: float) -> bool:
        """Show what a new run, or new units of an extended one, will cost; return whether the user confirms it."""
        components, config = self._components, self._config
        has_begun = sum_totals(self._ledger.database).units > 0 and not self._added
        if has_begun or config.estimate is not None or components.is_part or components.is_interactive:
            return True
        if not self._traits.needs_service:
            return True
        foreseen = estimate_planned(self._recipe, config, components.session, self._ledger, planner_seconds)
        if foreseen is None:
            return True
        self._log.write("expected", **dataclasses.asdict(foreseen))
        for line in describe_start(foreseen, is_local=config.is_local):
            _log.info("%s", line)
        return config.confirm_start is None or config.confirm_start(foreseen)

    def _monitor_compute(self, stack: contextlib.ExitStack) -> ComputeMonitor | None:
        """Begin to keep account of the compute, of planning as well."""
        config = self._config
        if not self._traits.needs_service:
            return None
        hours = config.limits.eecu_hours
        monitor = ComputeMonitor(
            self._ledger,
            self._components.session.connection.transport,
            self._log,
            every=config.profile_every,
            budget=None if hours is None else hours * SECONDS_AN_HOUR,
            is_adaptive=not config.executor_class.is_detached,
            now=self._components.now,
        )
        stack.callback(monitor.close)
        return monitor

    def _monitor_exports(self, stack: contextlib.ExitStack) -> ExportMonitor | None:
        """Begin to wait for the batch tasks of units; None if none is exported."""
        compute = self._components.compute
        if self._config.export_to is None or compute is None:
            return None
        monitor = ExportMonitor(self._ledger, self._log, compute.note_exports)
        return stack.enter_context(contextlib.closing(monitor))

    def _make_planner(self, stack: contextlib.ExitStack) -> tuple[Planner | None, PartialPlan | None]:
        """Return the planner that works while units are fetched; None if the plan is complete, or is made first.

        For an estimate it has made some units only, and starts when the user has confirmed the rest.
        """
        is_gradual = self._traits.plans_gradually and not self._components.is_part
        if not is_gradual or (self._is_planned and not self._ledger.is_partial):
            return None, None
        session, recipe, estimated = self._components.session, self._recipe, self._config.estimate
        template = name_template(recipe, self._config)
        meta = None if self._is_planned else self._meta

        def accept() -> None:
            self._log.write("planned", units=self._ledger.end)
            self._check_disk()

        def end() -> None:
            if not planner.is_done:
                session.throttle.stop()
            planner.close()

        planner = Planner(recipe, self._ledger, template, self._config, meta, accept)
        stack.callback(end)
        if estimated is not None and isinstance(recipe, SupportsPreview) and planner.has_previews_only:
            return planner, plan_some_units(planner, recipe, session, estimated)
        planner.start()
        if estimated is not None:  # the forecast needs the whole plan
            planner.finish()
        return planner, None

    @property
    def _meta(self) -> dict[str, Any]:
        return {**self._components.described, "eechips": version("eechips"), "planned": utc_now()}

    def _extend(self) -> None:
        """Add the units that the plan lacks, and describe the run by the new options; leave a complete one as it is."""
        with kept_answers(self._config):
            self._added = extend_plan(
                self._recipe, self._config, self._ledger, self._components.described, is_complete=self._is_complete
            )
        self._log.write("extended", units=self._added)
        if not self._is_unchanged:
            self._records.describe(self._components.session)

    def _plan(self) -> None:
        """Make and store the whole plan."""
        components, ledger, meta = self._components, self._ledger, self._meta
        if components.is_interactive:
            ledger.store_plan({**meta, PLANS_GRADUALLY: True}, ())
            return
        part, template = components.part, name_template(self._recipe, self._config)
        units = iter(units_of(self._recipe, template) if part is None else part)
        is_kept = part is None and self._traits.is_builtin  # a recipe of the user may wait for an answer to change
        with kept_answers(self._config) if is_kept else contextlib.nullcontext():
            if (first := next(units, None)) is not None:
                ledger.store_plan(meta, chain((first,), units))
        if first is None:
            raise UsageError("the plan is empty: get_requests gave no units")
        if isinstance(components.store, LocalStore) and not components.store.is_overwritten and not components.is_part:
            ledger.note(FOREIGN_FILES, list_foreign_files(components.store.root))
        self._log.write("planned", units=sum(ledger.counts().values()))

    def _complete_plan(self) -> None:
        """Add the units of the plan that a ledger lacks that was damaged."""
        read_inputs(self._recipe)
        template = name_template(self._recipe, self._config)
        units = iter(units_of(self._recipe, template) if self._components.part is None else self._components.part)
        while batch := list(islice(units, _BATCH)):
            self._ledger.add(self._ledger.unplanned(batch))
        self._ledger.complete_plan()

    def _check_disk(self) -> None:
        # An estimate measures real sizes, and asks the user.
        if not self._components.is_part and self._config.estimate is None:
            check_disk(self._recipe, self._ledger, self._components.store, self._config)

    def _save_limit(self) -> None:
        """Save the learned limit for the project's next run, if this one was long enough to learn it."""
        session = self._components.session
        throttle, target = session.throttle, session.connection.target
        is_learned = (
            self._traits.needs_service
            and self._config.in_flight == "auto"
            and not self._config.executor_class.is_detached
            and (session.sharing is None or session.sharing.learns)
        )
        if is_learned and throttle.rejected and throttle.sent >= _TELLING_REQUESTS:
            learned = stored_limits.LearnedLimit(throttle.total_limit, throttle.is_restricted, utc_now())
            stored_limits.save_learned_limit(target.endpoint, target.project, learned)


def _make_executor(run: RunComponents) -> Executor[Any]:
    config = run.config
    enforces_timeout = isinstance(run.recipe, SupportsLifespan)
    return config.executor_class.create(
        ExecutorContext(
            spec=_make_spec(run),
            connection=run.session.connection,
            discovery=run.discovery,
            throttle=run.session.throttle,
            assignment_timeout=math.inf if enforces_timeout else config.unit_timeout,
            processes=config.chosen_executor.workers,
            scheduler=config.chosen_executor.scheduler,
            pipeline_options=tuple(config.pipeline_options),
            folder=config.out.absolute(),
            scratch=run.scratch,
            note_queue=partial(note_queue, run.ledger),
        )
    )


def _make_spec(run: RunComponents) -> WorkerSpec:
    config = run.config
    return worker_spec_of(
        run.recipe,
        config,
        run.store,
        str(run.writer),
        dataclasses.replace(run.session.connection.target, credentials=None),
        key_file=None if config.credentials is None else config.credentials.absolute(),
        shares_requests=config.shares_requests,
    )
