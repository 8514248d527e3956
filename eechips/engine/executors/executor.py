"""What carries units out: a few at a time at every handle, whatever a handle is."""

from __future__ import annotations

import abc
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

from eechips.client.throttle import Throttle
from eechips.engine.outcome import Outcome
from eechips.manifest.record import WorkUnit

if TYPE_CHECKING:
    from typing_extensions import Self


@dataclass(frozen=True, slots=True)
class Finished:
    """A worker is through with a task."""

    task: WorkUnit
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Lost:
    """A worker died, or was ended because a task took too long.

    Attributes:
        task: what it was at.
        reason: how it ended.
        blame: whether this task did it; False for one that happened to be with the same worker, None if nobody
            knows which of them it was.
    """

    task: WorkUnit
    reason: str
    blame: bool | None


@dataclass(slots=True, eq=False)
class WorkerHandle:
    """Where tasks are worked at: a process here, a worker of a cluster, or the threads of this process.

    Attributes:
        is_ready: whether it takes tasks.
        is_alone: whether its one task is to have it for itself.
        tasks: those it is at, by position, with the time since when.
    """

    is_ready: bool = field(default=False, kw_only=True)
    is_alone: bool = field(default=False, kw_only=True)
    tasks: dict[int, tuple[WorkUnit, float]] = field(default_factory=dict, kw_only=True)


HandleT = TypeVar("HandleT", bound=WorkerHandle)


class Executor(abc.ABC, Generic[HandleT]):
    """Executes tasks. Use it in a ``with`` block: leaving it ends what is under way.

    All methods are called by one thread.

    Attributes:
        held: handles, those with the least to do, that get no further tasks: they are wanted for a task alone.
        notice: why no task is executed at present, as a sentence for the user; None if nothing is wrong.

    Args:
        throttle: of the run.
        task_timeout: seconds after which a task is given up, and what works at it replaced.
        clock: seconds, monotonic.
    """

    def __init__(self, throttle: Throttle, task_timeout: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.throttle, self._timeout, self._clock = throttle, task_timeout, clock
        self._handles: list[HandleT] = []
        self.held = 0
        self.notice: str | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.kill()

    @abc.abstractmethod
    def scale(self, slots: int, tasks: int, *, exclusive: bool) -> bool:
        """Sees to it that enough tasks can be under way to use every slot.

        Args:
            slots: tasks that should be under way.
            tasks: that are left, those under way included.
            exclusive: whether a task keeps what works at it from all others, because it fetches by itself.

        Returns:
            Whether more handles are being set up: those that are there need not wait for them.
        """

    @abc.abstractmethod
    def wait(self, timeout: float) -> list[Finished | Lost]:
        """Waits until something happens, or for so many seconds.

        Raises:
            ConfigurationError: if nothing can work here at all.
        """

    @abc.abstractmethod
    def kill(self) -> None:
        """Ends everything that is under way, at once."""

    @abc.abstractmethod
    def _dispatch(self, handle: HandleT, task: WorkUnit) -> None:
        """Gives a task to a handle. What goes wrong is told by :meth:`wait`."""

    @abc.abstractmethod
    def _capacity(self, handle: HandleT) -> int:
        """Tasks at most that a handle has at once."""

    @property
    def is_busy(self) -> bool:
        """Whether a task is under way."""
        return any(handle.tasks for handle in self._handles)

    @property
    def has_room(self) -> bool:
        """Whether a handle can take a further task."""
        return self._roomy() is not None

    @property
    def has_idle(self) -> bool:
        """Whether a handle has nothing to do."""
        return self._idle() is not None

    def submit(self, task: WorkUnit, *, alone: bool = False) -> None:
        """Gives a task to the handle that has the least to do.

        Args:
            task: the task.
            alone: whether the handle gets no other before it is done with this one.

        Raises:
            ValueError: if no handle can take it; see ``has_room`` and ``has_idle``.
        """
        chosen = self._idle() if alone else self._roomy()
        if chosen is None:
            raise ValueError("no handle has room")
        chosen.tasks[task.position] = task, self._working_time
        chosen.is_alone = alone
        self._dispatch(chosen, task)

    def _finish(self, handle: HandleT, outcome: Outcome) -> Finished | None:
        """Takes a task off a handle; None if it is not there any more."""
        found = handle.tasks.pop(outcome.position, None)
        if found is None:
            return None
        handle.is_alone = False
        return Finished(found[0], outcome)

    def _late(self, handle: HandleT) -> set[int]:
        """Positions of the tasks that take too long."""
        now = self._working_time
        return {position for position, (_, since) in handle.tasks.items() if now - since > self._timeout}

    @property
    def _working_time(self) -> float:
        """Seconds, without the pauses that the service has asked for: they are no task's fault."""
        return self._clock() - self.throttle.asked_so_far

    def _idle(self) -> HandleT | None:
        return next((d for d in self._handles if d.is_ready and not d.tasks and self._capacity(d) > 0), None)

    def _roomy(self) -> HandleT | None:
        able = sorted((d for d in self._handles if d.is_ready and not d.is_alone), key=lambda d: len(d.tasks))
        free = able[self.held :]
        return free[0] if free and len(free[0].tasks) < self._capacity(free[0]) else None


def lost(handle: WorkerHandle, reason: str, late: set[int]) -> list[Finished | Lost]:
    """Takes all tasks off a handle that has ended, and says what becomes of them: each task is lost once.

    Args:
        handle: the handle.
        reason: how it ended.
        late: positions of the tasks that it was ended for, if it was.
    """
    unknown = True if len(handle.tasks) == 1 else None
    tasks = [task for task, _ in handle.tasks.values()]
    handle.tasks.clear()
    return [Lost(task, reason, task.position in late if late else unknown) for task in tasks]
