"""Run a recipe from beginning to end: plan, skip completed units, fetch, assemble, export."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

from eechips.engine.config import RunConfig
from eechips.engine.connected_run import SERVER_LOG_NAME, ConnectedRun
from eechips.engine.executors.dask_worker import LOG_NAME as DASK_LOG
from eechips.engine.features.export_monitor import check_exports
from eechips.engine.features.replacement import is_refilling, replacement_of
from eechips.engine.fetch_phases import FetchEnd, stop_message
from eechips.engine.interrupt import Interrupt
from eechips.engine.plans.changed_options import check_same, continue_plan, describe
from eechips.engine.plans.plan_extension import addable_parameters, check_growth, continue_extended
from eechips.engine.plans.planner import remove_answers
from eechips.engine.plans.resume import ResumedFiles
from eechips.engine.progress import Progress
from eechips.engine.queues.beam_queue import BEAM_QUEUES
from eechips.engine.results.result_assembly import assemble, is_assembled
from eechips.engine.results.result_stores import store_of
from eechips.engine.results.run_records import RunRecords, command_of
from eechips.engine.run_components import RunComponents, Stage
from eechips.engine.run_log import LOG_NAME, RunLog
from eechips.engine.service.local_server import local_earth_engine
from eechips.errors import EechipsError, UsageError
from eechips.files.removal import LockedFolder, remove, remove_empty
from eechips.files.temporary_names import new_writer
from eechips.manifest.exclusions import EXCLUSIONS, REPLACED, remove_excluded_files, remove_uncommitted_files
from eechips.manifest.folder_lock import check_lock, lock_run, remove_lock
from eechips.manifest.reserved_names import CALLS_FOLDER, check_new
from eechips.manifest.run import INFO_NAME, Run
from eechips.manifest.run_signature import is_own
from eechips.manifest.sqlite.database import has_content
from eechips.manifest.sqlite.ledger import LEDGER_NAME, Ledger
from eechips.manifest.sqlite.ledger_queries import read_dropped, read_files
from eechips.manifest.sqlite.ledger_recovery import check_not_lost
from eechips.manifest.sqlite.unit_record import WorkUnit
from eechips.manifest.untrusted_run import check_paths, check_values
from eechips.manifest.withheld_files import restore
from eechips.processes.child_processes import check_open_files
from eechips.recipe import Recipe
from eechips.storage import LocalStore, ObjectStore, make_folder
from eechips.text.timestamps import present

_REDRAWN = "redrawn"  # key in the ledger: all empty units were replaced as far as possible


def run(
    recipe: Recipe, config: RunConfig, *, units: Sequence[WorkUnit] | None = None, now: Callable[[], datetime] = present
) -> Run:
    """Run a recipe, or resume it where an earlier run in the same folder stopped.

    Args:
        recipe: what to fetch.
        config: where to, from whom, how.
        units: a part of the recipe's plan that was made elsewhere; None for the whole plan, made here. The results of
            a part are neither assembled nor exported.
        now: the present time, UTC: it decides in which month compute is used.

    Returns:
        The run, with its units and failures; ``interrupted`` if the user stopped it.

    Raises:
        UsageError: if the folder holds another run or is in use, or an option is wrong.
        ConfigurationError: if credentials, project or endpoint do not work.
        RecipeError: if the recipe cannot plan, or its first units all fail alike.
        StorageError: if results cannot be written.
    """
    _check_options(recipe, config, is_part=units is not None)
    has_rows = make_folder(config.out)
    with lock_run(config.out), Interrupt() as interrupt:
        is_new = has_rows and not (config.out / LEDGER_NAME).exists()  # another run may have started meanwhile
        is_planned = False
        if not has_content(config.out / LEDGER_NAME):
            check_new(config.out)
            check_not_lost(config.out)
        try:
            with Ledger(config.out / LEDGER_NAME) as ledger:
                try:
                    recipe = continue_extended(continue_plan(recipe, config, ledger), config, ledger)
                    components = RunComponents(
                        recipe=recipe,
                        config=config,
                        part=units,
                        ledger=ledger,
                        interrupt=interrupt,
                        store=store_of(config),
                        writer=new_writer(ledger.writer_name),
                        described=describe(recipe, config),
                        now=now,
                    )
                    return _Run(components).execute()
                except KeyboardInterrupt:  # while planning or assembling, which the next run repeats
                    Progress(0, 0, None, quiet=config.quiet).say(stop_message(config, is_planned=ledger.has_plan))
                    return Run(config.out, interrupted=True, results=config.results)
                finally:
                    is_planned = ledger.has_plan
        except EechipsError:
            check_lock(config.out.absolute())  # its place may be another run's by now
            if is_new and not is_planned:
                _remove_unplanned(config.out)
            raise


def _check_options(recipe: Recipe, config: RunConfig, *, is_part: bool) -> None:
    """Raise UsageError if an option does not suit the recipe, or this machine, before anything is written."""
    if config.extend and is_part:
        raise UsageError("`extend` needs the whole plan: leave it out for a part of it")
    if config.on_empty == "redraw" and is_part:
        raise UsageError("on_empty='redraw' needs the whole plan: take keep or skip for a part of it")
    if config.on_empty == "redraw":
        replacement_of(recipe)
    check_exports(recipe, config)
    check_open_files()


def _remove_unplanned(folder: Path) -> None:
    """Remove the folder that a run has made and locked, if it failed before it had a plan, with the run's files."""
    logs = (LOG_NAME, SERVER_LOG_NAME, DASK_LOG)
    for name in (LEDGER_NAME, f"{LEDGER_NAME}-wal", f"{LEDGER_NAME}-shm", INFO_NAME, *logs):
        remove(folder / name, LockedFolder(folder))
    remove_answers(folder)
    remove_lock(folder)
    remove_empty(folder)


class _Run:
    """The steps of :func:`run`."""

    def __init__(self, components: RunComponents) -> None:
        self._components, self._records = components, RunRecords(components)
        self._recipe, self._config, self._ledger = components.recipe, components.config, components.ledger
        self._files = ResumedFiles(
            components.ledger, components.store, components.config.policy, quiet=components.config.quiet
        )

    def execute(self) -> Run:
        """Take the steps that are not done yet."""
        components, config, ledger = self._components, self._config, self._ledger
        is_extended = config.extend and ledger.has_plan
        stage = self._find_stage(is_extended=is_extended)
        if stage is Stage.COMPLETE and not is_extended:
            self._records.note_code_changes()
            if not components.is_part:
                # Files of an export, a report or a card that was killed.
                LocalStore(config.out).sweep(components.writer)
            return Run(config.out, results=config.results)
        is_fetched = stage >= Stage.SETTLED and not is_extended
        if not is_fetched and config.export_to is not None:
            ObjectStore(config.export_to).check()
        with RunLog(config.out) as log:
            components.log = log
            log.write("started", command=command_of(components), process=os.getpid())
            if is_fetched:
                components.sweep()  # files of an export that was killed
                end = FetchEnd.SETTLED
            else:
                end = ConnectedRun(components, self._records, stage).fetch()
            if end is FetchEnd.UNCHANGED:
                return Run(config.out, results=config.results)
            is_settled = end is FetchEnd.SETTLED
            if is_settled:
                self._note_replaced()
                if not components.is_part and (is_extended or stage < Stage.ASSEMBLED):
                    self._assemble()
            self._records.export(finished=is_settled)
            self._files.note()
            log.write("finished" if is_settled else "interrupted", **{s.value: n for s, n in ledger.counts().items()})
        return Run(config.out, end is FetchEnd.STOPPED, end is FetchEnd.PAUSED, config.results)

    def _find_stage(self, *, is_extended: bool) -> Stage:
        """Check the folder, remove what an interrupted run has left there, and find out what is done already."""
        is_planned = self._check_folder(is_extended=is_extended)
        if self._ledger.has_plan:
            self._remove_interrupted()
        if not is_planned:
            return Stage.NEW
        if not self._is_settled():
            return Stage.PLANNED
        if not self._components.is_part and not is_assembled(self._recipe, self._ledger, self._files):
            return Stage.SETTLED
        return Stage.COMPLETE if self._records.is_complete else Stage.ASSEMBLED

    def _check_folder(self, *, is_extended: bool) -> bool:
        """Check whether the recipe may write to the folder and the store; return whether its units are planned."""
        components, out, ledger = self._components, self._config.out, self._ledger
        if components.remote_store is not None and components.is_interactive:
            raise UsageError(
                f"{self._recipe.name} writes its files itself, to folders of this machine: name one as `out`, and copy"
                " its files to the object store afterwards"
            )
        self._check_received()
        archives = self._config.archives
        if archives and ledger.has_plan and ledger.meta().get("source") != self._config.source:
            with local_earth_engine(archive=archives, workers=1):  # a mistyped name makes another run, too
                pass
        if is_extended:
            check_growth(self._recipe, ledger, components.described, out)
        addable = addable_parameters(components.recipe, ledger)
        is_planned = is_extended or (ledger.has_plan and check_same(ledger, components.described, out, addable))
        self._check_store(is_planned=is_planned)
        return is_planned

    def _remove_interrupted(self) -> None:
        """Remove files that an interrupted run has left: excluded, or not recorded."""
        if self._components.is_interactive:
            restore(self._config.out, replaces=False)  # files of a script that was killed
        remove_excluded_files(self._ledger, self._components.store)
        remove_uncommitted_files(self._ledger, self._components.store)

    def _check_received(self) -> None:
        """Check whether the content of the folder is safe to use, if another user may have written it.

        The paths of its ledger must not lead out of it. What the calls of a script have returned is unpickled, which
        may execute code.
        """
        folder = self._config.out
        if self._ledger.has_plan:
            check_paths(self._ledger)
        if is_own(Run(folder).info, folder):
            return
        if self._components.is_interactive and (folder / CALLS_FOLDER).exists():
            raise UsageError(
                f"{folder} was made by another user, or moved, and resuming a script there may execute their code:"
                f" choose another output folder, or trust it: eechips trust {shlex.quote(str(folder))}"
            )
        if self._ledger.has_plan:
            check_values(self._ledger)

    def _check_store(self, *, is_planned: bool) -> None:
        """Check whether an object store answers, unless its objects are listed anyway."""
        has_results = is_planned and next(read_files(self._ledger.database), None) is not None
        if self._components.remote_store is not None and not has_results:
            self._components.remote_store.check()
            self._records.check_place()

    def _is_settled(self) -> bool:
        """Return whether nothing is left to fetch or to replace."""
        is_open = self._reopen_missing() > 0 or not self._is_redrawn or self._ledger.is_partial
        return not is_open and not self._components.is_interactive and not self._ledger.meta().get(BEAM_QUEUES)

    def _reopen_missing(self) -> int:
        """Reopen units one of whose files is missing, or is not the recorded one; return the number of open units."""
        foreign = self._files.find_foreign()
        if foreign:
            self._ledger.reopen(foreign)
        return self._ledger.count_open()

    @property
    def _is_redrawn(self) -> bool:
        """Return whether every unit without a file has been replaced as far as possible, or is kept empty."""
        if is_refilling(self._recipe, self._ledger):
            return False
        if self._config.on_empty != "redraw" or self._ledger.meta().get(_REDRAWN):
            return True
        return next(read_dropped(self._ledger.database), None) is None

    def _note_replaced(self) -> None:
        """Record that empty or dropped units have been replaced."""
        if self._config.on_empty == "redraw":
            self._ledger.note(_REDRAWN, True)
        if is_refilling(self._recipe, self._ledger):
            self._ledger.note(EXCLUSIONS, REPLACED)

    def _assemble(self) -> None:
        """Assemble the results."""
        LocalStore(self._config.out).sweep(self._components.writer)  # files of an assembly that was killed
        try:
            assemble(self._recipe, self._ledger, self._config.out, self._components.store, quiet=self._config.quiet)
        except EechipsError:
            self._records.export(finished=False)
            raise
