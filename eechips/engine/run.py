"""Run a recipe from beginning to end: plan, skip completed units, fetch, assemble, export."""

from __future__ import annotations

import contextlib
import json
import math
import os
import time
from collections.abc import Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

from eechips.client import learned_limits, retry
from eechips.client.discovery import ClientInit, DiscoveryFile
from eechips.client.throttle import Throttle
from eechips.engine.config import RunConfig
from eechips.engine.disk import left_bytes, refuse_small_disk
from eechips.engine.executors import find_executor
from eechips.engine.executors.dask_worker import LOG_NAME as DASK_LOG
from eechips.engine.executors.executor import CLIENT_INIT_NAME, Executor, ExecutorContext
from eechips.engine.executors.processes import release_semaphores
from eechips.engine.info import encode_info, info_of
from eechips.engine.interrupt import Interrupt
from eechips.engine.open_units import OpenUnits, RunParts, stop_message
from eechips.engine.plan import ANSWERS_NAME, Planner, name_template, read_inputs, units_of
from eechips.engine.progress import Progress
from eechips.engine.recovery import FILE_QUEUES, note_queue, recover
from eechips.engine.replacement import is_refilling, replacement_of
from eechips.engine.result_assembly import assemble, assembly_of, is_assembled
from eechips.engine.result_stores import store_of
from eechips.engine.run_context import RecipeContext, RunContext
from eechips.engine.run_identity import check_same, check_same_place, describe
from eechips.engine.run_log import LOG_NAME, RunLog
from eechips.engine.session import Session, connect
from eechips.engine.worker_spec import WorkerSpec
from eechips.errors import EechipsError, StorageError, TransientError, UsageError
from eechips.manifest.exclusions import EXCLUSIONS, REPLACED, remove_excluded_files, remove_uncommitted_files
from eechips.manifest.export import (
    COPIED,
    FAILURES_NAME,
    LAYERS_NAME,
    PARQUET_NAME,
    export_failures,
    export_layers,
    export_parquet,
)
from eechips.manifest.ledger import LEDGER_NAME, Ledger
from eechips.manifest.lock import lock_run, remove_lock
from eechips.manifest.received_run import check_new, check_paths, check_values
from eechips.manifest.reserved_names import CALLS_FOLDER, FOREIGN_FILES, GENERATED_FILES, list_foreign_files
from eechips.manifest.run import INFO_NAME, PLANS_GRADUALLY, Run
from eechips.manifest.run_signature import is_own
from eechips.manifest.unit_record import State, WorkUnit
from eechips.received_files import parse_json
from eechips.recipe import Recipe, SupportsInteractiveRun, SupportsLifespan, SupportsSize, traits_of
from eechips.redaction import collect_secrets, redact
from eechips.removal import LockedFolder, remove, remove_empty, scratch_folder
from eechips.staging import new_writer
from eechips.storage import LocalStore, ObjectStore, make_folder, write_file
from eechips.timestamps import utc_now

_SERVER_LOG_NAME = "local.log"
_REDRAWN = "redrawn"  # key in the ledger: all empty units were replaced as far as possible
_TELLING_REQUESTS = 200
"""Requests after which the limit of a run indicates the project's quota."""


def run(recipe: Recipe, config: RunConfig, *, units: Sequence[WorkUnit] | None = None) -> Run:
    """Run a recipe, or resume it where an earlier run in the same folder stopped.

    Args:
        recipe: what to fetch.
        config: where to, from whom, how.
        units: a part of the recipe's plan that was made elsewhere; None for the whole plan, made here. The results of
            a part are neither assembled nor exported.

    Returns:
        The run, with its units and failures; ``interrupted`` if the user stopped it.

    Raises:
        UsageError: if the folder holds another run or is in use, or an option is wrong.
        ConfigurationError: if credentials, project or endpoint do not work.
        RecipeError: if the recipe cannot plan, or its first units all fail alike.
        StorageError: if results cannot be written.
    """
    if config.on_empty == "redraw" and units is not None:
        raise UsageError("on_empty='redraw' needs the whole plan: take keep or skip for a part of it")
    if config.on_empty == "redraw":
        replacement_of(recipe)  # raises before anything is written
    has_rows = make_folder(config.out)
    with lock_run(config.out), Interrupt() as interrupt:
        is_new = has_rows and not (config.out / LEDGER_NAME).exists()  # another run may have started meanwhile
        is_planned = False
        if not (config.out / LEDGER_NAME).exists():
            check_new(config.out, GENERATED_FILES)
        try:
            with Ledger(config.out / LEDGER_NAME) as ledger:
                try:
                    return _Run(recipe, config, units, ledger, interrupt).execute()
                except KeyboardInterrupt:  # while planning or assembling, which the next run repeats
                    Progress(0, 0, None, quiet=config.quiet).say(stop_message(config))
                    return Run(config.out, interrupted=True, results=config.results)
                finally:
                    is_planned = ledger.has_plan
        except EechipsError:
            if is_new and not is_planned:
                _remove_unplanned(config.out)
            raise


def _remove_unplanned(folder: Path) -> None:
    """Remove the folder of a run that failed before it had a plan, with the files that the run itself wrote there.

    The run has made the folder, and holds its lock.
    """
    logs = (LOG_NAME, _SERVER_LOG_NAME, DASK_LOG)
    answers = (ANSWERS_NAME, f"{ANSWERS_NAME}-journal")
    for name in (LEDGER_NAME, f"{LEDGER_NAME}-wal", f"{LEDGER_NAME}-shm", INFO_NAME, *answers, *logs):
        remove(folder / name, LockedFolder(folder))
    remove_lock(folder)
    remove_empty(folder)


class _Run:
    """The steps of :func:`run`, which share the ledger, the log and the store."""

    def __init__(
        self,
        recipe: Recipe,
        config: RunConfig,
        units: Sequence[WorkUnit] | None,
        ledger: Ledger,
        interrupt: Interrupt,
    ) -> None:
        self._recipe, self._config, self._ledger, self._interrupt = recipe, config, ledger, interrupt
        self._units = units
        # Scripts change the working directory.
        self._store = store_of(config)
        self._writer = new_writer(ledger.run_identity)
        self._described = describe(recipe, config)
        self._command = redact(config.command, collect_secrets(dict(recipe.parameters)))
        self._is_paused = False
        self._is_interactive = units is None and isinstance(recipe, SupportsInteractiveRun)
        self._traits = traits_of(recipe)

    def execute(self) -> Run:
        folder = self._config.out
        if isinstance(self._store, ObjectStore) and self._is_interactive:
            raise UsageError(f"{self._recipe.name} writes its files itself and needs a folder as out")
        self._check_received()
        is_planned = self._ledger.has_plan and check_same(self._ledger, self._described, folder)
        self._check_store(is_planned=is_planned)
        if self._ledger.has_plan:
            remove_excluded_files(self._ledger, self._store)
            remove_uncommitted_files(self._ledger, self._store)
        is_done = is_planned and not self._drop_done() and self._is_redrawn and not self._is_interactive
        is_done = is_done and not self._ledger.is_partial
        is_done = is_done and not self._ledger.meta().get(FILE_QUEUES)
        is_whole = is_done and (self._is_part or is_assembled(self._recipe, self._ledger, self._store))
        if is_whole and self._is_exported:
            return Run(folder, results=self._config.results)
        with RunLog(folder) as log:
            log.write("started", command=self._command, process=os.getpid())
            with contextlib.ExitStack() as stack:
                is_settled = is_done
                if is_settled:
                    self._sweep()  # files of an export that was killed
                else:
                    is_settled = self._fetch(stack, log, is_planned=is_planned)
            if is_settled and self._config.on_empty == "redraw":
                self._ledger.note(_REDRAWN, True)
            if is_settled and is_refilling(self._recipe, self._ledger):
                self._ledger.note(EXCLUSIONS, REPLACED)
            if is_settled and not is_whole and not self._is_part:
                self._assemble()
            self._export(finished=is_settled)
            log.write(
                "finished" if is_settled else "interrupted", **{s.value: n for s, n in self._ledger.counts().items()}
            )
        is_interrupted = not is_settled and not self._is_paused
        return Run(folder, is_interrupted, self._is_paused, self._config.results)

    def _check_received(self) -> None:
        """Check whether the content of the folder is safe to use, if another user may have written it.

        Raises:
            UsageError: if its ledger has paths that lead out of it; or if a script is resumed: what its calls have
                returned is unpickled, which may execute code.
            StorageError: if its ledger is damaged.
        """
        folder = self._config.out
        if self._ledger.has_plan:
            check_paths(self._ledger)
        if is_own(Run(folder).info):
            return
        if self._is_interactive and (folder / CALLS_FOLDER).exists():
            raise UsageError(
                f"{folder} was made by another user, and resuming a script there may execute their code: choose"
                f" another output folder, or trust it: eechips trust {folder}"
            )
        if self._ledger.has_plan:
            check_values(self._ledger)

    def _check_store(self, *, is_planned: bool) -> None:
        """Check whether an object store answers, unless its objects are listed anyway."""
        has_results = is_planned and next(self._ledger.files(), None) is not None
        if isinstance(self._store, ObjectStore) and not has_results:
            self._store.check()
            self._check_place()

    def _check_place(self) -> None:
        """Raise an error if another run has its manifest in the place of this one's.

        Raises:
            RunMismatchError: if one has.
            StorageError: if that cannot be found out.
        """
        if not self._is_copying:
            return
        store = cast(ObjectStore, self._store)
        try:
            stored = parse_json(retry.call(partial(store.read, INFO_NAME), self._config.policy))
        except FileNotFoundError:
            return
        except TransientError as error:
            raise StorageError(f"{error}. The same command tries it again") from error
        except ValueError:
            stored = {}
        check_same_place(stored if isinstance(stored, dict) else {}, self._described, store.url)

    def _assemble(self) -> None:
        """Assemble the results."""
        LocalStore(self._config.out).sweep(self._writer)  # files of an assembly that was killed
        try:
            assemble(self._recipe, self._ledger, self._config.out, self._store, quiet=self._config.quiet)
        except EechipsError:
            self._export(finished=False)
            raise

    @property
    def _is_redrawn(self) -> bool:
        """Whether every unit without a file has been replaced as far as possible, or need not be."""
        if is_refilling(self._recipe, self._ledger):
            return False
        if self._config.on_empty != "redraw" or self._ledger.meta().get(_REDRAWN):
            return True
        return next(self._ledger.dropped(), None) is None

    def _fetch(self, stack: contextlib.ExitStack, log: RunLog, *, is_planned: bool) -> bool:
        """Connect, plan if necessary, and settle the open units; return False if the run was stopped before."""
        config = self._config
        if not is_planned:
            read_inputs(self._recipe)
        # In the output folder, where the next run finds it if this one is killed.
        # Absolute: scripts change the working directory, and workers start later.
        scratch = stack.enter_context(scratch_folder(config.out.absolute(), self._writer))
        find_executor(config.executor).prepare(self._recipe, scratch)  # takes as long as connecting and planning
        session = stack.enter_context(connect(config, config.out / _SERVER_LOG_NAME, recipe=self._recipe))
        stack.callback(release_semaphores, session.throttle)
        target = session.connection.target
        discovery = session.connection.discovery.save(scratch / "discovery.json")
        ClientInit(target.endpoint, target.project, discovery).save(scratch / CLIENT_INIT_NAME)
        self._write_info(session)
        stack.callback(self._sweep, own=True)  # after the workers have ended: killed workers leave files behind
        spec = WorkerSpec(
            recipe=self._recipe,
            store=self._store,
            token=str(self._writer),
            policy=config.policy,
            timeouts=config.timeouts,
            method=config.pixel_method,
            endpoint=target.endpoint,
            project=target.project,
            key_file=None if config.credentials is None else config.credentials.absolute(),
            send_credentials=config.send_credentials,
            unit_timeout=config.unit_timeout,
            rate=config.requests_per_second,
            logs=config.verbose or config.estimate is not None,
            keeps_empty=config.on_empty == "keep",
        )
        if isinstance(self._recipe, SupportsLifespan):
            context = RunContext(
                session.connection.transport,
                config.timeouts,
                config.unit_timeout,
                self._store,
                log,
                config.quiet,
                str(self._writer),
            )
            stack.enter_context(self._recipe.lifespan(context))
        executor = stack.enter_context(self._executor(spec, session, discovery, scratch))
        planner = self._planner(stack, session.throttle, log, is_planned=is_planned)
        if is_planned:
            recover(self._ledger, self._store, session.throttle, log, self._interrupt)
        elif planner is not None:
            planner.begin()
        else:
            self._plan(log)
        if planner is None or planner.is_whole:
            self._check_disk()
        self._sweep()
        deadline = time.monotonic() + 60.0 * (math.inf if config.max_minutes is None else config.max_minutes)

        parts = RunParts(
            self._recipe, config, self._ledger, self._store, session, executor, log, self._interrupt, deadline
        )

        def settle(first: int, end: int | None) -> bool:
            open_units = OpenUnits(parts, first, end, planner)
            is_settled = open_units.settle()
            self._is_paused = open_units.is_paused
            self._remember(session)
            return is_settled

        if not self._is_interactive or not isinstance(self._recipe, SupportsInteractiveRun):
            return settle(0, None)
        try:
            return self._recipe.run_interactively(RecipeContext(config, self._ledger, log, settle))
        except EechipsError:
            self._export(finished=False)
            raise

    def _sweep(self, *, own: bool = False) -> None:
        """Remove temporary files that killed commands have left, and with ``own`` those of killed workers.

        A part of a plan does not sweep: other workers write to the same place, and listing it would take as long as for
        the whole plan. The command that joins the results sweeps.
        """
        if self._is_part:
            return
        self._store.sweep(self._writer, own=own)
        if not (isinstance(self._store, LocalStore) and self._store.root == self._config.out.absolute()):
            LocalStore(self._config.out).sweep(self._writer)

    def _executor(self, spec: WorkerSpec, session: Session, discovery: DiscoveryFile, scratch: Path) -> Executor[Any]:
        config = self._config
        enforces_timeout = isinstance(self._recipe, SupportsLifespan)
        return find_executor(config.executor).create(
            ExecutorContext(
                spec=spec,
                connection=session.connection,
                discovery=discovery,
                throttle=session.throttle,
                task_timeout=math.inf if enforces_timeout else config.unit_timeout,
                processes=config.processes,
                scheduler=config.scheduler,
                pipeline_options=tuple(config.pipeline_options),
                folder=config.out.absolute(),
                scratch=scratch,
                note_queue=partial(note_queue, self._ledger),
            )
        )

    def _remember(self, session: Session) -> None:
        """Save the learned limit for the project's next run, if this one was long enough to learn it."""
        throttle, target = session.throttle, session.connection.target
        is_learned = (
            self._traits.needs_service
            and self._config.in_flight == "auto"
            and not find_executor(self._config.executor).is_detached
        )
        if is_learned and throttle.rejected and throttle.sent >= _TELLING_REQUESTS:
            learned = learned_limits.LearnedLimit(throttle.limit, throttle.is_restricted, utc_now())
            learned_limits.save_learned_limit(target.endpoint, target.project, learned)

    def _planner(
        self, stack: contextlib.ExitStack, throttle: Throttle, log: RunLog, *, is_planned: bool
    ) -> Planner | None:
        """Return the planner that works while units are fetched; None if the plan is complete, or is made first."""
        is_gradual = self._traits.plans_gradually and not self._is_part
        if not is_gradual or (is_planned and not self._ledger.is_partial):
            return None
        template = name_template(self._recipe, self._config)
        meta = None if is_planned else self._meta

        def accept() -> None:
            log.write("planned", units=self._ledger.end)
            self._check_disk()

        def end() -> None:
            if not planner.is_done:
                throttle.stop()
            planner.close()

        planner = Planner(self._recipe, self._ledger, template, self._config.out, meta, accept)
        stack.callback(end)
        if self._config.estimate is not None:  # the forecast needs the whole plan
            planner.finish()
        return planner

    @property
    def _meta(self) -> dict[str, Any]:
        return {**self._described, "eechips": version("eechips"), "planned": utc_now()}

    def _plan(self, log: RunLog) -> None:
        meta = self._meta
        if self._is_interactive:
            self._ledger.store_plan({**meta, PLANS_GRADUALLY: True}, ())
            return
        if self._units is not None:
            self._ledger.store_plan(meta, self._units)
        else:
            self._ledger.store_plan(meta, units_of(self._recipe, name_template(self._recipe, self._config)))
        if isinstance(self._store, LocalStore) and not self._store.is_overwritten and not self._is_part:
            self._ledger.note(FOREIGN_FILES, list_foreign_files(self._store.root))
        total = sum(self._ledger.counts().values())
        log.write("planned", units=total)
        if total == 0:
            raise UsageError("the plan is empty: get_requests gave no units")

    def _check_disk(self) -> None:
        """Raise an error if the results are known not to fit on the disk."""
        recipe, store = self._recipe, self._store
        if self._is_part or not isinstance(store, LocalStore) or not isinstance(recipe, SupportsSize):
            return
        if self._config.estimate is not None:  # it measures real sizes, and asks the user
            return
        advice = (
            "choose another output folder, fewer results, or a coarser scale. To measure the real size of some results"
            " first: estimate=20"
        )
        refuse_small_disk(store.root, left_bytes(recipe, self._ledger), advice)

    def _drop_done(self) -> int:
        """Reopen units whose file is missing or has another size; return the number of open units."""
        recorded = {file.rpartition("/")[0] for _, file, _ in self._ledger.files()}
        present = dict(self._store.sizes(sorted(recorded)))
        gone = [position for position, file, size in self._ledger.files() if present.get(file) != size]
        if gone:
            self._ledger.reopen(gone)
        return self._ledger.count_open()

    def _export(self, *, finished: bool) -> None:
        folder = self._config.out
        export_failures(self._ledger, folder)
        if finished:
            self._store.flush()
        if finished and not self._is_part:  # a part needs no manifest, and may have little memory
            if self._is_copying:
                self._ledger.note(COPIED, False)
            export_parquet(self._ledger, folder)
            export_layers(self._ledger, folder)
            self._finish_info()
            self._copy_exports()

    @property
    def _is_copying(self) -> bool:
        """Whether the manifest is copied to the results: they are elsewhere, and complete."""
        return isinstance(self._store, ObjectStore) and not self._is_part

    @property
    def _is_part(self) -> bool:
        """Whether this run executes a part of a plan that was made elsewhere."""
        return self._units is not None

    @property
    def _is_exported(self) -> bool:
        """Whether all manifests have been written, and copied to the results if necessary."""
        is_written = (self._config.out / PARQUET_NAME).exists()
        return is_written and (not self._is_copying or bool(self._ledger.meta().get(COPIED)))

    def _copy_exports(self) -> None:
        if not self._is_copying:
            return
        self._check_place()  # another run may have written there meanwhile
        for name in (PARQUET_NAME, LAYERS_NAME, FAILURES_NAME, INFO_NAME):
            try:
                retry.call(partial(self._copy, name), self._config.policy)
            except TransientError as error:
                message = f"the manifest is not beside the results yet: {error}"
                raise StorageError(f"{message.rstrip('.')}. The same command tries it again") from error
        self._ledger.note(COPIED, True)

    def _copy(self, name: str) -> None:
        store, path = cast(ObjectStore, self._store), self._config.out / name
        if path.exists():
            store.upload(name, path)
        else:
            store.remove(name)  # such as failures of units that have succeeded since

    def _write_info(self, session: Session) -> None:
        target = session.connection.target
        info = info_of(self._recipe, self._config, self._described, target.endpoint, target.project, session.notes)
        self._save_info(info)

    def _finish_info(self) -> None:
        path = self._config.out / INFO_NAME
        info = json.loads(path.read_text()) if path.exists() else {}
        counts = self._ledger.counts()
        how = assembly_of(self._recipe)
        if how is not None:  # the assembly may be of another command than the results
            info |= {"command": self._command, "assembly": how}
        self._save_info({**info, "finished": utc_now(), "units": {s.value: counts[s] for s in State if s in counts}})

    def _save_info(self, info: dict[str, Any]) -> None:
        write_file(self._config.out / INFO_NAME, encode_info(info))
