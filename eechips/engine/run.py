"""Run a recipe from beginning to end: refuse options that do not suit it, plan, skip completed units, fetch, assemble,
export.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

from eechips.engine.config import RunConfig
from eechips.engine.connected_run import SERVER_LOG_NAME, ConnectedRun
from eechips.engine.executors.dask_worker import LOG_NAME as DASK_LOG
from eechips.engine.fetch_phases import FetchEnd, stop_message
from eechips.engine.interrupt import Interrupt
from eechips.engine.plans.changed_options import continue_plan, describe
from eechips.engine.plans.plan import BudgetError
from eechips.engine.plans.plan_extension import continue_extended
from eechips.engine.plans.planner import has_answers, remove_answers
from eechips.engine.plans.resume import EarlierRun
from eechips.engine.progress import say
from eechips.engine.results.result_assembly import assemble
from eechips.engine.results.result_stores import store_of
from eechips.engine.results.run_records import RunRecords, command_of
from eechips.engine.run_components import RunComponents, Stage
from eechips.engine.run_features.export_polling import check_exports
from eechips.engine.run_features.replacement import replacement_of
from eechips.engine.run_log import RunLog
from eechips.errors import ConfigurationError, EechipsError, TransientError, UsageError, ValidationError
from eechips.files.removal import LockedFolder, remove, remove_empty
from eechips.files.temporary_names import new_writer
from eechips.manifest.folder_lock import check_lock, lock_folder, remove_lock
from eechips.manifest.manifest_columns import WorkUnit
from eechips.manifest.reserved_names import check_new
from eechips.manifest.run import INFO_NAME, Run
from eechips.manifest.run_status import LOG_NAME
from eechips.manifest.sqlite.database import has_content
from eechips.manifest.sqlite.ledger import LEDGER_NAME, Ledger
from eechips.manifest.sqlite.ledger_recovery import check_not_lost
from eechips.processes.child_processes import check_open_files
from eechips.recipe import Recipe
from eechips.storage import LocalStore, ObjectStore, make_folder
from eechips.text.timestamps import present

_PASSING = (BudgetError, ConfigurationError, TransientError)  # the same command may succeed later


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
    is_made = make_folder(config.out)
    with lock_folder(config.out), Interrupt() as interrupt:
        is_new = is_made and not (config.out / LEDGER_NAME).exists()  # another run may have started meanwhile
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
                    say(stop_message(config, is_planned=ledger.has_plan), quiet=config.quiet)
                    return Run(config.out, interrupted=True, results=config.results)
                finally:
                    is_planned = ledger.has_plan
        except EechipsError as error:
            check_lock(config.out.absolute())  # its place may be another run's by now
            if isinstance(error, ValidationError):
                remove_answers(config.out)  # one of them is not valid: the next command would receive it again
            is_kept = isinstance(error, _PASSING) and has_answers(config)
            if is_kept and isinstance(error, BudgetError):
                raise UsageError(f"{error}, or repeat the command: what the service has answered is kept") from None
            if is_new and not (is_planned or is_kept):
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
        self._earlier = EarlierRun(components, self._records)

    def execute(self) -> Run:
        """Take the steps that are not done yet."""
        components, config, ledger = self._components, self._config, self._ledger
        is_extended = config.extend and ledger.has_plan
        stage = self._earlier.find_stage(is_extended=is_extended)
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
                self._earlier.note_replaced()
                if not components.is_part and (is_extended or stage < Stage.ASSEMBLED):
                    self._assemble()
            self._records.export(finished=is_settled)
            self._earlier.files.note()
            log.write("finished" if is_settled else "interrupted", **{s.value: n for s, n in ledger.counts().items()})
        is_paused = end is FetchEnd.PAUSED
        return Run(config.out, interrupted=end is FetchEnd.STOPPED, paused=is_paused, results=config.results)

    def _assemble(self) -> None:
        """Assemble the results."""
        LocalStore(self._config.out).sweep(self._components.writer)  # files of an assembly that was killed
        try:
            assemble(self._recipe, self._ledger, self._config.out, self._components.store, quiet=self._config.quiet)
        except EechipsError:
            self._records.export(finished=False)
            raise
