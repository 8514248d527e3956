"""Define executors, which execute the units of a run in workers.

An executor is a subclass of :class:`Executor` in a module of its own. eechips has four; a package adds another with an
entry point in the group ``eechips.executors``::

    [project.entry-points."eechips.executors"]
    pool = "my_package.pool:PoolExecutor"

and ``executor="pool"`` selects it. A subclass implements these methods: :meth:`Executor.create` takes what it needs
from the :class:`ExecutorContext`; :meth:`Executor.scale` starts workers, as a :class:`WorkerHandle` each; ``_capacity``
bounds the assignments of each; :meth:`Executor.submit` sends an assignment to the worker that ``_assign`` chooses;
:meth:`Executor.wait` returns what was finished or lost; :meth:`Executor.kill` ends everything. A worker executes an
assignment with :meth:`eechips.engine.worker.Worker.execute`.
"""

from __future__ import annotations

import abc
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from eechips.client.access.connection import Connection
from eechips.client.access.discovery import DiscoveryFile
from eechips.client.quota.throttle import Throttle
from eechips.engine.outcome import AssignmentProgress, Finished, Lost, Outcome
from eechips.engine.worker_spec import WorkerSpec
from eechips.manifest.manifest_columns import WorkUnit
from eechips.recipe import Recipe

if TYPE_CHECKING:
    from typing_extensions import Self


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutorContext:
    """The parts of a run that an executor may use.

    Attributes:
        spec: what workers do; without credentials.
        connection: connection of this process.
        discovery: API description that the client was initialised with, in ``scratch``.
        assignment_timeout: seconds after which an assignment is given up; infinite if the recipe enforces a limit of
            its own.
        processes: worker processes at most.
        scheduler: address of a Dask scheduler, if the user named one.
        pipeline_options: pipeline options of Beam.
        folder: folder of the ledger; for log files. Absolute.
        scratch: temporary folder of the run. Absolute.
        note_queue: records in the ledger that a Beam queue may hold outcomes, ``note_queue(token, True)``, or that it
            no longer does, so that the next run can recover them.
    """

    spec: WorkerSpec
    connection: Connection
    discovery: DiscoveryFile
    throttle: Throttle
    assignment_timeout: float
    processes: int
    scheduler: str | None
    pipeline_options: tuple[str, ...]
    folder: Path
    scratch: Path
    note_queue: Callable[[str, bool], None]


@dataclass(slots=True, eq=False)
class WorkerHandle:
    """A worker, as the parent sees it: a process, a worker of a cluster, or the threads of this process.

    Attributes:
        is_ready: it accepts assignments.
        is_alone: it executes a single assignment, and gets no other meanwhile.
        assignments: under way, by position, each with the time of its start.
    """

    is_ready: bool = field(default=False, kw_only=True)
    is_alone: bool = field(default=False, kw_only=True)
    assignments: dict[int, tuple[WorkUnit, float]] = field(default_factory=dict, kw_only=True)


CLIENT_INIT_NAME = "client_init.json"
"""File in the scratch folder that has what the client was initialised with, once the parent is connected."""

HandleT = TypeVar("HandleT", bound=WorkerHandle)


class Executor(abc.ABC, Generic[HandleT]):
    """Execute assignments. Use it in a ``with`` block: leaving it ends everything that is under way.

    All methods are called by one thread.

    Attributes:
        is_remote: class attribute: workers may be on other machines, where a pause of the service is not seen.
        reports_progress: class attribute: workers report the units that they finish of an assignment of several. Else
            the time limit of an assignment is that of all its units.
        is_detached: class attribute: the parent cannot send messages to workers once they have started. Their slots are
            fixed, and each result gets its name before its outcome is reported.
        held: number of handles, those with the fewest assignments, that get no further ones: they are kept free for an
            assignment that is executed alone.
        notice: why no assignment is executed at present, as a sentence for the user; None if all is well.

    Args:
        throttle: throttle of the run.
        assignment_timeout: seconds after which a unit of an assignment is given up, and its worker replaced.
        clock: seconds, monotonic.
    """

    is_remote: ClassVar[bool] = False
    is_detached: ClassVar[bool] = False
    reports_progress: ClassVar[bool] = False

    def __init__(
        self, throttle: Throttle, assignment_timeout: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.throttle, self._timeout, self._clock = throttle, assignment_timeout, RunningClock(clock)
        self._handles: list[HandleT] = []
        self.held = 0
        self.notice: str | None = None

    @classmethod
    def create(cls, context: ExecutorContext) -> Executor[Any]:
        """Make the executor of a run.

        Raises:
            ConfigurationError: if it cannot work here.
        """
        return cls(context.throttle, context.assignment_timeout)

    @classmethod
    def sharing_context(cls) -> BaseContext | None:
        """Return the context of the processes that share memory with the parent; None if there are none."""
        return None

    @classmethod
    def prepare(cls, recipe: Recipe, scratch: Path) -> None:
        """Start what takes long before the run connects.

        Args:
            scratch: temporary folder of the run; a file ``CLIENT_INIT_NAME`` appears in it after connecting.
        """

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.kill()

    @abc.abstractmethod
    def scale(self, slots: int, assignments: int, *, exclusive: bool) -> bool:
        """Adapt the number of workers, so that every slot can be used.

        Args:
            slots: assignments that should be under way.
            assignments: assignments that are left, including those under way.
            exclusive: an assignment occupies its worker alone, because the recipe fetches by itself.

        Returns:
            Whether more workers are being started, so that the caller should not block.
        """

    @abc.abstractmethod
    def submit(self, assignment: WorkUnit, *, alone: bool = False) -> None:
        """Send an assignment to the worker that :meth:`_assign` chooses. Errors of sending are events of :meth:`wait`.

        Args:
            assignment: units of a worker.
            alone: the worker gets no other assignment until this one is finished.

        Raises:
            ValueError: if no worker can take it; see ``has_room`` and ``has_idle``.
        """

    @abc.abstractmethod
    def wait(self, timeout: float) -> list[Finished | Lost]:
        """Wait for events, for ``timeout`` seconds at most.

        Raises:
            ConfigurationError: if no worker can start.
        """

    @abc.abstractmethod
    def kill(self) -> None:
        """End everything that is under way, at once."""

    @abc.abstractmethod
    def _capacity(self, handle: HandleT) -> int:
        """Return the number of assignments that a worker may have at once."""

    @property
    def is_busy(self) -> bool:
        """Return whether an assignment is under way."""
        return any(handle.assignments for handle in self._handles)

    @property
    def has_room(self) -> bool:
        """Return whether a worker can take a further assignment."""
        return self._roomy() is not None

    @property
    def has_idle(self) -> bool:
        """Return whether a worker has nothing to do."""
        return self._idle() is not None

    def _assign(self, assignment: WorkUnit, *, alone: bool) -> HandleT:
        """Note an assignment in the handle of the worker with the fewest, or of an idle one, and return the handle."""
        chosen = self._idle() if alone else self._roomy()
        if chosen is None:
            raise ValueError("no worker has room")
        chosen.assignments[assignment.position] = assignment, self._working_time
        chosen.is_alone = alone
        return chosen

    def _finish(self, handle: HandleT, outcome: Outcome) -> Finished | None:
        """Remove a finished assignment from the handle of its worker; return its event; None if it is gone."""
        started = handle.assignments.pop(outcome.position, None)
        if started is None:
            return None
        handle.is_alone = False
        return Finished(started[0], outcome)

    def _late(self, handle: HandleT) -> set[int]:
        """Return the positions of the assignments that take too long."""
        now = self._working_time
        return {
            position
            for position, (assignment, since) in handle.assignments.items()
            if now - since > self._timeout * (1 if self.reports_progress else len(assignment.units))
        }

    def _note_progress(self, handle: HandleT, progress: AssignmentProgress) -> None:
        """Begin the time limit of an assignment anew."""
        started = handle.assignments.get(progress.position)
        if started is not None:
            handle.assignments[progress.position] = started[0], self._working_time

    @property
    def _working_time(self) -> float:
        """Seconds without the pauses that the service has asked for, and without stops of this process."""
        return self._clock() - self.throttle.asked_so_far

    def _idle(self) -> HandleT | None:
        return next((d for d in self._handles if d.is_ready and not d.assignments and self._capacity(d) > 0), None)

    def _roomy(self) -> HandleT | None:
        able = sorted((d for d in self._handles if d.is_ready and not d.is_alone), key=lambda d: len(d.assignments))
        free = able[self.held :]
        return free[0] if free and len(free[0].assignments) < self._capacity(free[0]) else None


_LONGEST_GAP = 30.0
"""Seconds between two looks at the clock, of which a run has several a second, beyond which it was stopped."""


class RunningClock:
    """Seconds without those in which this process was stopped, by Ctrl-Z or because the machine was suspended.

    The workers beside it were stopped as well: they do not hang. A long write to a slow disk or store counts as a stop,
    too: a unit that hangs is given up later by as much.

    Args:
        clock: seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._looked, self._stopped = clock, clock(), 0.0

    def __call__(self) -> float:
        """Return the seconds; called often while there is work."""
        now = self._clock()
        self._stopped += now - self._looked if now - self._looked > _LONGEST_GAP else 0.0
        self._looked = now
        return now - self._stopped


def lost(handle: WorkerHandle, reason: str, late: set[int]) -> list[Lost]:
    """Return the events of the assignments of a worker that has ended, and remove them from its handle.

    Args:
        late: positions of the assignments for which it was killed, if it was.
    """
    unknown = True if len(handle.assignments) == 1 else None
    assignments = [assignment for assignment, _ in handle.assignments.values()]
    handle.assignments.clear()
    return [Lost(assignment, reason, assignment.position in late if late else unknown) for assignment in assignments]
