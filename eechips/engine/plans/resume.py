"""Find out what an earlier run in the same folder has done, so that a run continues where that stopped; refuse scripts'
folders of other users.

The ledger gives out the units that are open. Settled ones are opened again if their files are not the recorded ones
(:mod:`eechips.engine.plans.resumed_files`). The options must be the same
(:mod:`eechips.engine.plans.changed_options`).
"""

from __future__ import annotations

import shlex

from eechips.engine.plans.changed_options import check_same
from eechips.engine.plans.plan_extension import addable_parameters, check_growth
from eechips.engine.plans.resumed_files import ResumedFiles
from eechips.engine.queues.beam_queue import BEAM_QUEUES
from eechips.engine.results.result_assembly import is_assembled
from eechips.engine.results.run_records import RunRecords
from eechips.engine.run_components import RunComponents, Stage
from eechips.engine.run_features.replacement import is_refilling
from eechips.engine.service.local_server import local_earth_engine
from eechips.errors import UsageError
from eechips.manifest.exclusions import EXCLUSIONS, REPLACED, remove_excluded_files, remove_uncommitted_files
from eechips.manifest.reserved_names import CALLS_FOLDER
from eechips.manifest.run import Run
from eechips.manifest.run_signature import is_own
from eechips.manifest.run_status import OUTSIDE_FILES
from eechips.manifest.sqlite.ledger_queries import read_dropped, read_files
from eechips.manifest.untrusted_run import check_paths, check_values
from eechips.manifest.withheld_files import restore

_REDRAWN = "redrawn"  # key in the ledger: all empty units were replaced as far as possible


class EarlierRun:
    """What an earlier run in the same folder has done: a run continues where that stopped.

    Attributes:
        files: the recorded files.

    Args:
        run: the run that continues it.
    """

    def __init__(self, run: RunComponents, records: RunRecords) -> None:
        self._components, self._records = run, records
        self._recipe, self._config, self._ledger = run.recipe, run.config, run.ledger
        self.files = ResumedFiles(run.ledger, run.store, run.config.policy, quiet=run.config.quiet)

    def find_stage(self, *, is_extended: bool) -> Stage:
        """Check the folder, remove what an interrupted run has left there, and find out what is done already."""
        is_planned = self._check_folder(is_extended=is_extended)
        if self._ledger.has_plan:
            self._remove_interrupted()
        if not is_planned:
            return Stage.NEW
        if not self._is_settled():
            return Stage.PLANNED
        if not self._components.is_part and not is_assembled(self._recipe, self._ledger, self.files):
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
            if OUTSIDE_FILES not in self._ledger.meta():  # before its end, so its own removals are not recorded
                self.files.release_removed()
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
        if missing := self.files.find_foreign():  # or changed
            self._ledger.reopen(missing)
        is_open = self._ledger.count_open() > 0 or not self._is_redrawn or self._ledger.is_partial
        return not is_open and not self._components.is_interactive and not self._ledger.meta().get(BEAM_QUEUES)

    @property
    def _is_redrawn(self) -> bool:
        """Return whether every unit without a file has been replaced as far as possible, or is kept empty."""
        if is_refilling(self._recipe, self._ledger):
            return False
        if self._config.on_empty != "redraw" or self._ledger.meta().get(_REDRAWN):
            return True
        return next(read_dropped(self._ledger.database), None) is None

    def note_replaced(self) -> None:
        """Record that empty or dropped units have been replaced."""
        if self._config.on_empty == "redraw":
            self._ledger.note(_REDRAWN, True)
        if is_refilling(self._recipe, self._ledger):
            self._ledger.note(EXCLUSIONS, REPLACED)
