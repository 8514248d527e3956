"""Describe a run before it is connected."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from eechips.engine.config import RunConfig
from eechips.engine.interrupt import Interrupt
from eechips.manifest.ledger import Ledger
from eechips.manifest.unit_record import WorkUnit
from eechips.recipe import Recipe, SupportsInteractiveRun
from eechips.storage import LocalStore, ObjectStore, Store
from eechips.temporary_names import Writer


def present() -> datetime:
    """Return the present time, UTC."""
    return datetime.now(timezone.utc)


@dataclass(frozen=True, slots=True)
class RunSetup:
    """The parts of a run that need no connection.

    Attributes:
        recipe: of the run.
        config: of the run.
        part: units of a plan that was made elsewhere; None for the whole plan, made here.
        ledger: of the run.
        interrupt: requests a stop.
        store: of the results.
        writer: in the names of temporary files.
        described: identifies the run; see :func:`eechips.engine.run_identity.describe`.
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
