"""Supervised worker processes: a few tasks at a time each, replaced when they die or hang."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import selectors
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection as Pipe
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import ModuleType

from eechips.client.throttle import Throttle
from eechips.engine import preload, worker
from eechips.engine.worker import Broken, Outcome, Ready, WorkerSetup
from eechips.errors import ConfigurationError
from eechips.manifest.record import Planned

_STOP_TIMEOUT = 5.0  # seconds that idle workers get to leave by themselves
_MAX_BROKEN_STARTS = 3
_STARTS_AT_ONCE = 3


@dataclass(frozen=True, slots=True)
class Finished:
    """A worker is through with a task."""

    task: Planned
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

    task: Planned
    reason: str
    blame: bool | None


@dataclass(slots=True, eq=False)
class _Worker:
    process: BaseProcess
    pipe: Pipe
    seat: int
    is_ready: bool = False
    is_alone: bool = False
    """Whether its one task is to have it for itself."""
    tasks: dict[int, tuple[Planned, float]] = field(default_factory=dict)
    """By position, with the time since when."""


def worker_context() -> BaseContext:
    """The way to start workers here: from a fork server, which shares memory; anew where there is none."""
    methods = multiprocessing.get_all_start_methods()
    return multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")


class Pool:
    """Workers that execute tasks. Use it in a ``with`` block: leaving it ends them.

    Attributes:
        depth: tasks at most that a worker has at once; may be changed at any time.
        held: workers, those with the least to do, that get no further tasks: they are wanted for a task alone.

    Args:
        context: of the processes; the one the throttle was made with.
        setup: what every worker is told.
        size: workers at most; they are started when there is work for them.
        task_timeout: seconds after which a worker that is still at the same task is replaced.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        context: BaseContext,
        setup: WorkerSetup,
        size: int,
        task_timeout: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._context, self._setup, self._timeout, self._clock = context, setup, task_timeout, clock
        self._free_seats = list(range(size, 0, -1))  # seat 0 is the parent's
        self._workers: list[_Worker] = []
        self._selector = selectors.DefaultSelector()
        self._broken_starts = 0
        self.depth = 1
        self.held = 0

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None or self.is_busy:
            self.kill()
        else:
            self._dismiss()
        self._selector.close()

    @property
    def throttle(self) -> Throttle:
        """The run's throttle."""
        return self._setup.throttle

    @property
    def is_busy(self) -> bool:
        """Whether a worker is at a task."""
        return any(w.tasks for w in self._workers)

    @property
    def has_room(self) -> bool:
        """Whether a worker can take a further task."""
        return self._roomy() is not None

    @property
    def has_idle(self) -> bool:
        """Whether a worker has nothing to do."""
        return self._idle() is not None

    def ensure(self, wanted: int) -> bool:
        """Starts a few workers, if fewer are there than wanted, or than there may be.

        Returns:
            Whether more are to be started: those that are there need not wait for them.
        """
        for _ in range(_STARTS_AT_ONCE):
            if not self._free_seats or len(self._workers) >= wanted:
                return False
            self._start(self._free_seats.pop())
        return True

    def submit(self, task: Planned, *, alone: bool = False) -> None:
        """Gives a task to the worker that has the least to do.

        Args:
            task: the task.
            alone: whether the worker gets no other before it is done with this one.

        Raises:
            ValueError: if no worker can take it; see ``has_room`` and ``has_idle``.
        """
        chosen = self._idle() if alone else self._roomy()
        if chosen is None:
            raise ValueError("no worker has room")
        chosen.tasks[task.position] = task, self._clock()
        chosen.is_alone = alone
        # A worker that died meanwhile is noticed by wait(), which reports the task as lost.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            chosen.pipe.send(task)

    def wait(self, timeout: float) -> list[Finished | Lost]:
        """Waits until something happens, or for so many seconds.

        Raises:
            ConfigurationError: if workers cannot start at all.
        """
        happened = {key.data.seat for key, _ in self._selector.select(timeout)}
        events: list[Finished | Lost] = []
        for each in list(self._workers):
            if each.seat in happened:
                events += self._receive(each)
        return events + self._overdue()

    def kill(self) -> None:
        """Ends every worker at once."""
        for each in self._workers:
            each.process.kill()
        for each in list(self._workers):
            self._bury(each)

    def _idle(self) -> _Worker | None:
        return next((w for w in self._workers if w.is_ready and not w.tasks), None)

    def _roomy(self) -> _Worker | None:
        able = sorted((w for w in self._workers if w.is_ready and not w.is_alone), key=lambda w: len(w.tasks))
        free = able[self.held :]
        return free[0] if free and len(free[0].tasks) < self.depth else None

    def _receive(self, each: _Worker) -> list[Finished | Lost]:
        events: list[Finished | Lost] = []
        try:
            while each.pipe.poll():
                message = each.pipe.recv()
                if isinstance(message, Ready):
                    each.is_ready, self._broken_starts = True, 0
                elif isinstance(message, Broken):
                    self._broken(message.reason)
                elif message.position in each.tasks:
                    task, _ = each.tasks.pop(message.position)
                    each.is_alone = False
                    events.append(Finished(task, message))
        except (EOFError, OSError):
            each.process.join(_STOP_TIMEOUT)
        if not each.process.is_alive():
            events += self._lose(each, f"its worker {_ending(each.process.exitcode)}", set())
        return events

    def _overdue(self) -> list[Finished | Lost]:
        now = self._clock()
        events: list[Finished | Lost] = []
        for each in list(self._workers):
            late = {position for position, (_, since) in each.tasks.items() if now - since > self._timeout}
            if late:
                each.process.kill()
                events += self._lose(each, f"it was not done after {self._timeout:g} s", late)
        return events

    def _lose(self, each: _Worker, reason: str, late: set[int]) -> list[Finished | Lost]:
        """Buries a worker; ``late`` are the positions of the tasks it was ended for."""
        tasks, was_ready = [task for task, _ in each.tasks.values()], each.is_ready
        self._bury(each)
        if not was_ready:
            self._broken(reason)
        unknown = True if len(tasks) == 1 else None
        return [Lost(task, reason, task.position in late if late else unknown) for task in tasks]

    def _broken(self, reason: str) -> None:
        self._broken_starts += 1
        if self._broken_starts >= _MAX_BROKEN_STARTS:
            raise ConfigurationError(f"worker processes do not start: {reason}")

    def _start(self, seat: int) -> None:
        ours, theirs = self._context.Pipe()
        with _without_main(self._setup.recipe):
            process = self._context.Process(  # type: ignore[attr-defined]
                target=worker.main, args=(self._setup, seat, theirs), daemon=True, name=f"eechips-worker-{seat}"
            )
            process.start()
        theirs.close()
        started = _Worker(process, ours, seat)
        self._workers.append(started)
        self._selector.register(ours, selectors.EVENT_READ, started)
        self._selector.register(process.sentinel, selectors.EVENT_READ, started)

    def _bury(self, each: _Worker) -> None:
        self._workers.remove(each)
        self._selector.unregister(each.pipe)
        self._selector.unregister(each.process.sentinel)
        each.process.join()
        each.pipe.close()
        each.process.close()
        self.throttle.reclaim(each.seat)
        self._free_seats.append(each.seat)

    def _dismiss(self) -> None:
        for each in self._workers:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                each.pipe.send(None)
        deadline = self._clock() + _STOP_TIMEOUT
        for each in self._workers:
            each.process.join(max(0.0, deadline - self._clock()))
        self.kill()


def _ending(code: int | None) -> str:
    return f"was killed by signal {-code}" if code is not None and code < 0 else f"ended with status {code}"


def start_fork_server(context: BaseContext, recipe: object, briefing: Path) -> None:
    """Starts the fork server, which loads everything that workers share; one that runs already stays as it is.

    It takes about as long as connecting does: start it before.

    Args:
        context: of the processes.
        recipe: whose code the workers will import.
        briefing: file that will appear once the parent has connected, in a folder that is there until then.
    """
    if context.get_start_method() != "forkserver":
        return
    from multiprocessing import forkserver

    added = {
        preload.VARIABLE: preload.order(recipe, briefing),
        # Workers compute little; a pool of threads in each would cost more memory than all else.
        "OPENBLAS_NUM_THREADS": os.environ.get("OPENBLAS_NUM_THREADS", "1"),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
        # glibc would give every thread an arena of its own, which keeps a megabyte for bodies of answers.
        "MALLOC_ARENA_MAX": os.environ.get("MALLOC_ARENA_MAX", "1"),
    }
    before = {name: os.environ.get(name) for name in added}
    os.environ.update(added)
    try:
        context.set_forkserver_preload([preload.__name__])
        forkserver.ensure_running()
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _without_main(recipe: object) -> Iterator[None]:
    """Keeps multiprocessing from running the user's script again in every worker.

    It would do so to unpickle what is defined there; that is needed only for a recipe whose class is.
    """
    main = sys.modules["__main__"]
    if type(recipe).__module__ == "__main__":
        yield
        return
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
