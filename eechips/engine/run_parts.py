"""Hold the parts of a run: from the beginning, once it is connected, and once its units can be fetched."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from eechips.client.discovery import DiscoveryFile
from eechips.engine.compute_monitor import ComputeMonitor
from eechips.engine.config import RunConfig
from eechips.engine.executors.executor import Executor
from eechips.engine.export_monitor import ExportMonitor
from eechips.engine.interrupt import Interrupt
from eechips.engine.planner import Planner
from eechips.engine.planning_cost import PartialPlan
from eechips.engine.request_trial import RequestPlan
from eechips.engine.run_log import RunLog
from eechips.engine.session import Session
from eechips.files.temporary_names import Writer
from eechips.manifest.ledger import Ledger
from eechips.manifest.unit_record import WorkUnit
from eechips.recipe import Recipe, SupportsInteractiveRun
from eechips.storage import LocalStore, ObjectStore, Store


def present() -> datetime:
    """Return the present time, UTC."""
    return datetime.now(timezone.utc)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunParts:
    """The parts that a run has from the beginning.

    Attributes:
        part: units of a plan that was made elsewhere; None for the whole plan, made here.
        writer: in the names of temporary files.
        described: identifies the run; see :func:`eechips.engine.resumed_options.describe`.
        now: the present time, UTC.
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

        A part of a plan does not sweep: other workers write to the same place, and listing it would take as long as for
        the whole plan. The command that joins the results sweeps.
        """
        if self.is_part:
            return
        self.store.sweep(self.writer, own=own)
        if not (isinstance(self.store, LocalStore) and self.store.root == self.config.out.absolute()):
            LocalStore(self.config.out).sweep(self.writer)

    @property
    def values(self) -> dict[str, Any]:
        """The parts by name, of which those of the next stage are made."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectedParts(RunParts):
    """The parts of a run that is connected.

    Attributes:
        scratch: folder of its temporary files.
        session: connected.
        discovery: file by which workers connect.
        requests: how chips are requested.
    """

    log: RunLog
    scratch: Path
    session: Session
    discovery: DiscoveryFile
    requests: RequestPlan


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenParts(ConnectedParts):
    """The parts of a run whose units can be fetched.

    Attributes:
        deadline: no unit starts after this time, on the monotonic clock.
        planner: makes the rest of the plan meanwhile; if it is not started, after the user has confirmed. None if the
            plan is whole.
        partial: the plan of an estimate, of which only some units are made; None if it is made at once.
        compute: keeps account of the compute; None if the recipe needs no service.
        exports: waits for batch tasks; None if no chip is exported.
    """

    executor: Executor[Any]
    deadline: float
    planner: Planner | None
    partial: PartialPlan | None
    compute: ComputeMonitor | None
    exports: ExportMonitor | None
