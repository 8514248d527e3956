"""Hold the components of a run in one object, which is filled while the run connects, plans and opens its units."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from eechips.client.access.discovery import DiscoveryFile
from eechips.engine.config import RunConfig
from eechips.engine.costs.planning_cost import PartialPlan
from eechips.engine.executors.executor import Executor
from eechips.engine.interrupt import Interrupt
from eechips.engine.plans.planner import Planner
from eechips.engine.run_features.compute_budget import ComputeMonitor
from eechips.engine.run_features.export_polling import ExportMonitor
from eechips.engine.run_log import RunLog
from eechips.engine.service.session import Session
from eechips.files.temporary_names import Writer
from eechips.manifest.manifest_columns import WorkUnit
from eechips.manifest.sqlite.ledger import Ledger
from eechips.recipe import Recipe, SupportsInteractiveRun
from eechips.storage import LocalStore, ObjectStore, Store
from eechips.text.timestamps import present


class Stage(enum.IntEnum):
    """What of a run is done already."""

    NEW = 0
    PLANNED = 1
    """Its ledger has the plan, or the beginning of it."""
    SETTLED = 2
    """All its units are settled."""
    ASSEMBLED = 3
    """Its results are assembled. A part of a plan has nothing to assemble, and skips the stage before."""
    COMPLETE = 4
    """Its manifest and ``run.json`` are written."""


@dataclass(slots=True, kw_only=True)
class RunComponents:
    """The components of a run. Those without an argument are set once it is connected, or its units can be fetched.

    Attributes:
        part: units of a plan that was made elsewhere; None for the whole plan, made here.
        writer: in the names of temporary files.
        described: identifies the run; see :func:`eechips.engine.plans.changed_options.describe`.
        now: the present time, UTC.
        log: log of the run, if something is to be fetched.
        scratch: folder of temporary files, once the run is connected.
        discovery: file by which workers connect.
        compute: keeps account of the compute; None if the recipe needs no service.
        executor: set before planning.
        planner: makes the rest of the plan while units are fetched. It starts after the user has confirmed. None if the
            plan is whole.
        partial: the plan of an estimate, of which only some units are made; None if it is made at once.
        deadline: no unit starts after this time, on the monotonic clock.
        exports: waits for batch tasks; None if no chip is exported.
    """

    recipe: Recipe
    config: RunConfig
    part: Sequence[WorkUnit] | None
    ledger: Ledger
    interrupt: Interrupt
    store: Store
    writer: Writer
    described: Mapping[str, Any]
    now: Callable[[], datetime] = present
    log: RunLog = field(init=False)
    scratch: Path = field(init=False)
    session: Session = field(init=False)
    discovery: DiscoveryFile = field(init=False)
    compute: ComputeMonitor | None = field(init=False)
    executor: Executor[Any] = field(init=False)
    planner: Planner | None = field(init=False)
    partial: PartialPlan | None = field(init=False)
    deadline: float = field(init=False)
    exports: ExportMonitor | None = field(init=False)

    @property
    def is_part(self) -> bool:
        """Return whether this run executes a part of a plan that was made elsewhere."""
        return self.part is not None

    @property
    def is_interactive(self) -> bool:
        """Return whether the recipe adds units to the plan while it runs."""
        return self.part is None and isinstance(self.recipe, SupportsInteractiveRun)

    @property
    def remote_store(self) -> ObjectStore | None:
        """The object store of the results; None if they are in a folder."""
        return self.store if isinstance(self.store, ObjectStore) else None

    def sweep(self, *, own: bool = False) -> None:
        """Remove temporary files that killed commands have left, and with ``own`` those of killed workers.

        A part of a plan does not sweep its results: other workers write to the same place, and listing it would take as
        long as for the whole plan. The command that joins the results sweeps.
        """
        if not self.is_part:
            self.store.sweep(self.writer, own=own)
        if not (isinstance(self.store, LocalStore) and self.store.root == self.config.out.absolute()):
            LocalStore(self.config.out).sweep(self.writer)
