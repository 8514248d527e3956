"""Supervised worker processes on this machine, replaced when they die or hang."""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import os
import selectors
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing import resource_tracker, util
from multiprocessing.connection import Connection as Pipe
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import ModuleType

from eechips.client.throttle import Throttle
from eechips.engine import child, preload
from eechips.engine.child import Broken, Ready
from eechips.engine.executors.executor import Desk, Executor, Finished, Lost, lost
from eechips.engine.worker import WorkerSetup
from eechips.errors import ConfigurationError
from eechips.manifest.record import Planned

_STOP_TIMEOUT = 5.0  # seconds that idle workers get to leave by themselves
_MAX_BROKEN_STARTS = 3
_STARTS_AT_ONCE = 3
_LONGEST_FOLDER = 70
"""Bytes of a temporary folder in which multiprocessing's sockets have paths that Unix takes: 103 on macOS, of which it
adds 32 itself."""
_SHORT_FOLDER = "/tmp"
_TASKS_PER_WORKER = 8
"""Tasks that a worker has before a further one is started: each worker costs as much memory as many threads."""
_WORKERS_PER_CORE = 4
"""Workers for each core, beyond which more of them cost memory and bring nothing, as long as their threads wait."""


@dataclass(slots=True, eq=False)
class _Worker(Desk):
    process: BaseProcess
    pipe: Pipe
    seat: int


def worker_context() -> BaseContext:
    """The way to start workers here: from a fork server, which shares memory; anew where there is none."""
    methods = multiprocessing.get_all_start_methods()
    return multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")


class Processes(Executor[_Worker]):
    """Worker processes on this machine.

    Args:
        context: of the processes; the one the throttle was made with.
        setup: what every worker is told.
        throttle: of the run.
        size: workers at most; they are started when there is work for them.
        task_timeout: seconds after which a worker that is still at the same task is replaced.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        context: BaseContext,
        setup: WorkerSetup,
        throttle: Throttle,
        size: int,
        task_timeout: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(throttle, task_timeout, clock)
        self._context, self._setup, self._size = context, setup, size
        self._free_seats = list(range(size, 0, -1))  # seat 0 is the parent's
        self._selector = selectors.DefaultSelector()
        self._broken_starts = 0
        self._tasks_each = 1

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None or self.is_busy:
            self.kill()
        else:
            self._dismiss()
        self._selector.close()

    def staff(self, slots: int, tasks: int, *, exclusive: bool) -> bool:
        """Starts a few workers, if fewer are there than are needed."""
        wanted = min(self._size, tasks)
        if exclusive:
            wanted, self._tasks_each = min(wanted, slots), 1
        else:
            wanted = min(wanted, math.ceil(slots / _TASKS_PER_WORKER), _WORKERS_PER_CORE * (os.cpu_count() or 1))
            self._tasks_each = math.ceil(slots / max(1, wanted))
        for _ in range(_STARTS_AT_ONCE):
            if not self._free_seats or len(self._desks) >= wanted:
                return False
            self._start(self._free_seats.pop())
        return True

    def wait(self, timeout: float) -> list[Finished | Lost]:
        """Waits until something happens, or for so many seconds.

        Raises:
            ConfigurationError: if workers cannot start at all.
        """
        happened = {key.data.seat for key, _ in self._selector.select(timeout)}
        events: list[Finished | Lost] = []
        for each in list(self._desks):
            if each.seat in happened:
                events += self._receive(each)
        return events + self._overdue()

    def kill(self) -> None:
        """Ends every worker at once."""
        for each in self._desks:
            each.process.kill()
        for each in list(self._desks):
            self._bury(each)

    def _send(self, desk: _Worker, task: Planned) -> None:
        # A worker that died meanwhile is noticed by wait(), which reports the task as lost.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            desk.pipe.send(task)

    def _depth(self, desk: _Worker) -> int:
        return self._tasks_each

    def _receive(self, each: _Worker) -> list[Finished | Lost]:
        events: list[Finished | Lost] = []
        try:
            while each.pipe.poll():
                message = each.pipe.recv()
                if isinstance(message, Ready):
                    each.is_ready, self._broken_starts = True, 0
                elif isinstance(message, Broken):
                    self._broken(message.reason)
                elif (finished := self._finish(each, message)) is not None:
                    events.append(finished)
        except (EOFError, OSError):
            each.process.join(_STOP_TIMEOUT)
        if not each.process.is_alive():
            events += self._lose(each, f"its worker {_ending(each.process.exitcode)}", set())
        return events

    def _overdue(self) -> list[Finished | Lost]:
        events: list[Finished | Lost] = []
        for each in list(self._desks):
            late = self._late(each)
            if late:
                each.process.kill()
                events += self._lose(each, f"it was not done after {self._timeout:g} s", late)
        return events

    def _lose(self, each: _Worker, reason: str, late: set[int]) -> list[Finished | Lost]:
        """Buries a worker; ``late`` are the positions of the tasks it was ended for."""
        self._bury(each)
        if not each.is_ready:
            self._broken(reason)
        return lost(each, reason, late)

    def _broken(self, reason: str) -> None:
        self._broken_starts += 1
        if self._broken_starts >= _MAX_BROKEN_STARTS:
            raise ConfigurationError(f"worker processes do not start: {reason}")

    def _start(self, seat: int) -> None:
        ours, theirs = self._context.Pipe()
        with _without_main(self._setup.duty.recipe):
            process = self._context.Process(  # type: ignore[attr-defined]
                target=child.main,
                args=(self._setup, self.throttle, seat, theirs, dict(os.environ)),
                daemon=True,
                name=f"eechips-worker-{seat}",
            )
            process.start()
        theirs.close()
        started = _Worker(process, ours, seat)
        self._desks.append(started)
        self._selector.register(ours, selectors.EVENT_READ, started)
        self._selector.register(process.sentinel, selectors.EVENT_READ, started)

    def _bury(self, each: _Worker) -> None:
        self._desks.remove(each)
        self._selector.unregister(each.pipe)
        self._selector.unregister(each.process.sentinel)
        each.process.join()
        each.pipe.close()
        each.process.close()
        self.throttle.reclaim(each.seat)
        self._free_seats.append(each.seat)

    def _dismiss(self) -> None:
        for each in self._desks:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                each.pipe.send(None)
        deadline = self._clock() + _STOP_TIMEOUT
        for each in self._desks:
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
    _settle_sockets()
    try:
        context.set_forkserver_preload([preload.__name__])
        # Ctrl-C is our business. A Python that is just starting cannot know that yet, and would show a traceback.
        resource_tracker.ensure_running()  # it would let the signal through again once it has started
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            forkserver.ensure_running()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _settle_sockets() -> None:
    """Has multiprocessing put its sockets where their paths are short enough, once for the process."""
    if len(os.fsencode(tempfile.gettempdir())) <= _LONGEST_FOLDER:
        return
    before, tempfile.tempdir = tempfile.tempdir, _SHORT_FOLDER
    try:
        util.get_temp_dir()
    finally:
        tempfile.tempdir = before


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
