"""Execute units in worker processes on this machine: start them as there is work, kill and replace those that hang,
replace those that die.

The unit of a lost worker is reported as :class:`~eechips.engine.outcome.Lost`;
:mod:`eechips.engine.unit_retry` decides whether it is fetched again.
"""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import os
import select
import selectors
import signal
import tempfile
import time
from dataclasses import dataclass, field
from multiprocessing import resource_tracker, util
from multiprocessing.connection import Connection as Pipe
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from pathlib import Path

from eechips.client.quota.throttle import Throttle
from eechips.engine.executors import worker_preload, worker_process
from eechips.engine.executors.executor import CLIENT_INIT_NAME, Executor, ExecutorContext, WorkerHandle, lost
from eechips.engine.executors.worker_process import Broken, Ready
from eechips.engine.interrupt import holding_signals
from eechips.engine.outcome import AssignmentProgress, Finished, Lost
from eechips.errors import ConfigurationError
from eechips.manifest.manifest_columns import WorkUnit
from eechips.processes.child_processes import changed_environment, hide_main, ignore_lost_tracker, safe_path
from eechips.recipe import Recipe

_STOP_TIMEOUT = 5.0  # seconds until idle workers must have ended
_MAX_BROKEN_STARTS = 3
"""Consecutive failed starts that end the run; workers that die while starting together count once."""
_STARTS_AT_ONCE = 3
_LONGEST_FOLDER = 70
"""Bytes of the path of a temporary folder: on macOS, a Unix socket has at most 103, and multiprocessing adds 32 for its
own sockets."""
_SHORT_FOLDER = "/tmp"
_UNKNOWN_STATUS = 255
"""Exit status that multiprocessing makes up for the processes of a fork server that has died."""
_ASSIGNMENTS_PER_WORKER = 8
"""Assignments that a worker has before a further one is started: each worker costs as much memory as many threads."""
_WORKERS_PER_CORE = 4
"""Workers for each core, beyond which more of them cost memory and bring nothing, as long as their threads wait."""


@dataclass(slots=True, eq=False)
class _ProcessHandle(WorkerHandle):
    process: BaseProcess
    pipe: Pipe
    number: int
    pid: int
    attempt: int
    """Consecutive failed starts before this one."""
    is_orphan: bool = False
    """The fork server, its parent, has died: only the end of its pipe shows when it ends."""

    readable: select.poll = field(init=False)
    """Its :meth:`poll` tells whether the pipe has a message, or has ended."""

    def __post_init__(self) -> None:
        # Connection.poll() makes a selector for each call, which takes ten times as long.
        self.readable = select.poll()
        self.readable.register(self.pipe.fileno(), select.POLLIN)


def worker_context() -> BaseContext:
    """Return the start method of workers: a fork server, which shares memory, or spawn where there is none."""
    methods = multiprocessing.get_all_start_methods()
    return multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")


class ProcessExecutor(Executor[_ProcessHandle]):
    """Execute units in worker processes on this machine, which are started when there is work for them."""

    reports_progress = True

    def __init__(self, context: ExecutorContext) -> None:
        super().__init__(context.throttle, context.assignment_timeout)
        self._context, self._size = worker_context(), context.processes
        self._client_init = context.scratch / CLIENT_INIT_NAME
        self._spec, self._target, self._discovery = context.spec, context.connection.target, context.discovery
        self._free_numbers = list(range(self._size, 0, -1))  # number 0 is the parent
        self._selector = selectors.DefaultSelector()
        self._broken_starts = 0
        self._assignments_each = 1
        self._most = _WORKERS_PER_CORE * (os.cpu_count() or 1)

    @classmethod
    def create(cls, context: ExecutorContext) -> ProcessExecutor:
        """Make the executor of a run."""
        return cls(context)

    @classmethod
    def sharing_context(cls) -> BaseContext:
        """Return the context of the worker processes."""
        return worker_context()

    @classmethod
    def prepare(cls, recipe: Recipe, scratch: Path) -> None:
        """Start the fork server, which loads what workers share while this process connects and plans."""
        start_fork_server(worker_context(), recipe, scratch / CLIENT_INIT_NAME)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None or self.is_busy:
            self.kill()
        else:
            self._stop_workers()
        self._selector.close()

    def scale(self, slots: int, assignments: int, *, exclusive: bool) -> bool:
        """Start a few workers, if fewer run than are needed."""
        wanted = min(self._size, assignments)
        if exclusive:
            wanted, self._assignments_each = min(wanted, slots), 1
        else:
            wanted = min(wanted, math.ceil(slots / _ASSIGNMENTS_PER_WORKER), self._most)
            self._assignments_each = math.ceil(slots / max(1, wanted))
        for _ in range(_STARTS_AT_ONCE):
            if not self._free_numbers or len(self._handles) >= wanted:
                return False
            if not self._start():
                return False
        return True

    def submit(self, assignment: WorkUnit, *, alone: bool = False) -> None:
        """Send an assignment through the pipe of a worker; :meth:`wait` reports those of a dead worker as lost."""
        handle = self._assign(assignment, alone=alone)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            handle.pipe.send(assignment)

    def wait(self, timeout: float) -> list[Finished | Lost]:
        """Wait for events, for ``timeout`` seconds at most; raise ConfigurationError if workers cannot start."""
        ready = [key for key, _ in self._selector.select(timeout)]
        numbers = {key.data.number for key in ready}
        ended = {key.data.number for key in ready if key.fileobj is not key.data.pipe}
        events: list[Finished | Lost] = []
        for worker in [handle for handle in self._handles if handle.number in numbers]:
            has_ended = False
            try:
                while worker.readable.poll(0):
                    message = worker.pipe.recv()
                    if isinstance(message, Ready):
                        worker.is_ready, self._broken_starts = True, 0
                    elif isinstance(message, Broken):
                        self._note_broken_start(message.reason)
                    elif isinstance(message, AssignmentProgress):
                        self._note_progress(worker, message)
                    elif (finished := self._finish(worker, message)) is not None:
                        events.append(finished)
            except (EOFError, OSError):
                has_ended = True
                worker.process.join(_STOP_TIMEOUT)
            if has_ended or (worker.number in ended and self._has_died(worker)):
                events += self._lose(worker, f"its worker {_describe_exit(worker.process.exitcode)}", set())
        return events + self._replace_overdue()

    def kill(self) -> None:
        """Kill every worker."""
        for handle in self._handles:
            _kill(handle)
        for handle in list(self._handles):
            self._remove(handle)

    def _capacity(self, handle: _ProcessHandle) -> int:
        return self._assignments_each

    def _has_died(self, handle: _ProcessHandle) -> bool:
        """Return whether a worker has ended, as far as its process shows."""
        if not handle.is_orphan and handle.process.exitcode == _UNKNOWN_STATUS:
            # The fork server has died; the worker continues.
            handle.is_orphan = True
            self._selector.unregister(handle.process.sentinel)
        return not (handle.is_orphan or handle.process.is_alive())

    def _replace_overdue(self) -> list[Finished | Lost]:
        events: list[Finished | Lost] = []
        for handle in list(self._handles):
            if late := self._late(handle):
                _kill(handle)
                events += self._lose(handle, f"it was not done after {self._timeout:g} s", late)
        return events

    def _lose(self, handle: _ProcessHandle, reason: str, late: set[int]) -> list[Lost]:
        """Remove a worker; ``late`` are the positions of the assignments for which it was killed."""
        self._remove(handle)
        if not handle.is_ready and handle.attempt == self._broken_starts:
            self._note_broken_start(reason)
        return lost(handle, reason, late)

    def _note_broken_start(self, reason: str) -> None:
        self._broken_starts += 1
        if self._broken_starts >= _MAX_BROKEN_STARTS:
            raise ConfigurationError(f"worker processes do not start: {reason}")

    def _start(self) -> bool:
        """Start a worker; return False if the fork server died, or the system starts no process now."""
        number = self._free_numbers[-1]
        ours, theirs = self._context.Pipe()
        try:
            start_fork_server(self._context, self._spec.recipe, self._client_init)
            # A recipe of the caller's program can only be unpickled where that is imported.
            is_of_main = type(self._spec.recipe).__module__ == "__main__"
            # A process that is not known is not killed, and prints a traceback if the parent ends before it.
            with contextlib.nullcontext() if is_of_main else hide_main(), holding_signals():
                process = self._context.Process(  # type: ignore[attr-defined]
                    target=worker_process.main,
                    args=(self._spec, self._target, self._discovery, self.throttle, number, theirs, dict(os.environ)),
                    daemon=True,
                    name=f"eechips-worker-{number}",
                )
                process.start()
                self._add(process, ours, number)
        except (EOFError, OSError) as error:
            ours.close()
            self._note_broken_start(f"{type(error).__name__}: {error}")
            return False
        finally:
            theirs.close()
        return True

    def _add(self, process: BaseProcess, pipe: Pipe, number: int) -> None:
        """Note a started worker."""
        assert process.pid is not None
        self._free_numbers.pop()
        started = _ProcessHandle(process, pipe, number, process.pid, self._broken_starts)
        self._handles.append(started)
        self._selector.register(pipe, selectors.EVENT_READ, started)
        self._selector.register(process.sentinel, selectors.EVENT_READ, started)

    def _remove(self, handle: _ProcessHandle) -> None:
        self._handles.remove(handle)
        self._selector.unregister(handle.pipe)
        if handle.is_orphan:
            _await_end(handle.pipe)
        else:
            self._selector.unregister(handle.process.sentinel)
        handle.process.join()
        handle.pipe.close()
        handle.process.close()
        self.throttle.reclaim(handle.number)
        self._free_numbers.append(handle.number)

    def _stop_workers(self) -> None:
        for handle in self._handles:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                handle.pipe.send(None)
        deadline = time.monotonic() + _STOP_TIMEOUT
        for handle in self._handles:
            handle.process.join(max(0.0, deadline - time.monotonic()))
        self.kill()


def _kill(worker: _ProcessHandle) -> None:
    """Kill a worker; ``Process.kill`` does nothing once the fork server has died."""
    worker.process.kill()
    if worker.process.exitcode == _UNKNOWN_STATUS:
        with contextlib.suppress(ProcessLookupError):
            os.kill(worker.pid, signal.SIGKILL)


def _await_end(pipe: Pipe) -> None:
    """Read a pipe to its end, for some seconds at most: the process at the other end has ended then."""
    with contextlib.suppress(EOFError, OSError):
        while pipe.poll(_STOP_TIMEOUT):
            pipe.recv()


def _describe_exit(code: int | None) -> str:
    if code == _UNKNOWN_STATUS:
        return "ended, and the fork server that knew its status as well"
    return f"was killed by signal {-code}" if code is not None and code < 0 else f"ended with status {code}"


def start_fork_server(context: BaseContext, recipe: Recipe, client_init: Path) -> None:
    """Start the fork server, which loads what workers share, unless it runs already.

    One that was killed, for example because of low memory, is started again.

    Starting takes about as long as connecting: call this before.

    Args:
        recipe: recipe of the run, whose code workers import.
        client_init: file that appears once the parent has connected, in a folder that exists until then.
    """
    if context.get_start_method() != "forkserver":
        return
    from multiprocessing import forkserver

    added = {
        worker_preload.VARIABLE: worker_preload.encode_instructions(recipe, client_init),
        # Workers compute little, and a pool of threads in each would cost most of their memory.
        "OPENBLAS_NUM_THREADS": os.environ.get("OPENBLAS_NUM_THREADS", "1"),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
        # Uploads wait for the network: more threads of obstore in each worker bring nothing but switches between them.
        "TOKIO_WORKER_THREADS": os.environ.get("TOKIO_WORKER_THREADS", "1"),
        # glibc would give every thread an arena, which retains a megabyte for response bodies.
        "MALLOC_ARENA_MAX": os.environ.get("MALLOC_ARENA_MAX", "1"),
    }
    os.environ.pop(worker_preload.VARIABLE, None)  # of a user: a server that is started again would read it
    _shorten_socket_paths()
    with changed_environment(added), safe_path():
        context.set_forkserver_preload(["eechips.engine.executors.fork_server"])
        ignore_lost_tracker()
        # This process handles Ctrl-C. A starting Python does not ignore it yet, and would print a traceback.
        resource_tracker.ensure_running()  # its start would unblock the signal
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            forkserver.ensure_running()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def release_semaphores(throttle: Throttle) -> None:
    """Register a throttle's semaphores again, and release them at once.

    A restarted resource tracker does not know them, and prints a traceback for each unknown name that is released.
    It may be killed at any time, so nothing happens between both.
    """
    ignore_lost_tracker()
    for name in throttle.semaphores:
        resource_tracker.register(name, "semaphore")
    throttle.close()


def _shorten_socket_paths() -> None:
    """Make multiprocessing create its sockets where their paths are short enough, once per process."""
    if len(os.fsencode(tempfile.gettempdir())) <= _LONGEST_FOLDER:
        return
    before, tempfile.tempdir = tempfile.tempdir, _SHORT_FOLDER
    try:
        util.get_temp_dir()
    finally:
        tempfile.tempdir = before
