"""Evaluate requests in worker processes: which worker takes a request, and which is killed and replaced: by its time,
its memory, or as its client has left.

The server reaches each worker through a pipe, and waits in a thread for its response. A request whose worker exceeds
its time gets Earth Engine's time-out error.
"""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import os
import queue
import resource
import signal
import sys
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from eechips_local.evaluation.light_requests import is_light
from eechips_local.evaluation.service_limits import ServiceLimits
from eechips_local.protocol.messages import ServiceResponse, WorkerRequest, error_response
from eechips_local.protocol.request_errors import LimitError, MemoryLimitError, UnavailableError
from eechips_local.quota.read_counts import KINDS
from eechips_local.stores import StoreConfig

# Seconds beyond its own limit after which a worker is considered hung.
_GRACE = 2.0
# Address space of a worker beyond the memory limit of an evaluation: code, libraries, caches of GDAL.
_BASE_MEMORY = 4 << 30
# Graphs are evaluated by recursion: allow for the deepest that the limits let through.
_STACK = 512 << 20
_RECURSION = 20_000
# Memory of all workers together, besides the tables that they hold. A worker that has more than its share after a
# request is replaced: allocators and caches would otherwise grow for hours.
_MOST_RESIDENT = 1280 << 20
_STARTS = 3  # attempts to start a process
_LAST_SECONDS = 2.0  # for a process to write what it keeps
_UNKNOWN_STATUS = 255  # that multiprocessing makes up for the processes of a fork server that has died
_LEAST_SHARE = 320 << 20  # a worker needs that much to begin with
_starting = threading.Lock()


# Settings of the processes that evaluate, which libraries read from the environment when they are loaded.
_ENVIRONMENT = {
    # Python would import modules of the working folder, which may be somebody else's, before its own (3.11 and later).
    "PYTHONSAFEPATH": "1",
    # Some libraries start threads for small matrices, which compete with other requests for the cores.
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    # glibc returns the memory of an array to the system at once, and each array of a chip then costs page faults: a
    # quarter of the processor time of a chip. https://man7.org/linux/man-pages/man3/mallopt.3.html
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),  # the most that glibc accepts
    "MALLOC_TRIM_THRESHOLD_": str(64 << 20),
}


def worker_context(store: StoreConfig) -> Any:
    """Return the multiprocessing context: workers are forked from a process with everything loaded, where possible."""
    methods = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
    if "forkserver" in methods:
        planet = ["eechips_local.demo.planet_preload"] if store.demo else []
        folders = ["eechips_local.assets.folder_store"] if store.folders else []
        catalogs = ["eechips_local.catalogs"] if store.catalogs else []
        archives = ["eechips_local.archives.archive_opening"] if store.archives else []
        context.set_forkserver_preload(["eechips_local.evaluation.preload", *planet, *folders, *catalogs, *archives])
    return context


@contextlib.contextmanager
def _unheard(number: signal.Signals) -> Iterator[None]:
    """Block a signal in processes that are started in the block: the server itself handles Ctrl-C.

    Workers ignore it, but a Python process that is starting up would show a traceback.
    """
    # It is restarted when it dies, without consequences here.
    warnings.filterwarnings("ignore", "resource_tracker: process died unexpectedly", UserWarning)
    resource_tracker.ensure_running()  # it unblocks the signal when it starts
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {number})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _environment() -> Iterator[None]:
    """Set what is not set of the environment of processes that are started in the block; other programs do without."""
    with _starting:
        added = _ENVIRONMENT.keys() - os.environ.keys()
        os.environ.update({name: _ENVIRONMENT[name] for name in added})
        try:
            yield
        finally:
            for name in added:
                del os.environ[name]


def start_process(context: Any, target: Callable[..., None], *arguments: Any) -> tuple[Connection, Any]:
    """Start a process that calls a function with one end of a pipe; return the other end, and the process.

    Args:
        context: see ``worker_context``.
        target: the function.
        arguments: arguments of the function, after the connection.

    Raises:
        OSError, EOFError: if the system does not start one.
    """
    for left in reversed(range(_STARTS)):
        connection, other = context.Pipe()
        process = context.Process(target=target, args=(other, *arguments), daemon=True)
        try:
            with _environment(), _unheard(signal.SIGINT):  # which starts a process, too
                process.start()
        except (EOFError, OSError):  # the fork server died meanwhile; the next start starts it again
            connection.close()
            if not left:
                raise
            continue
        finally:
            other.close()
        return connection, process
    raise AssertionError("a process is started, or an error raised")


def run_in_worker(limits: ServiceLimits, function: Callable[..., None], *arguments: Any) -> None:
    """Prepare a worker process, and call a function in a thread that has room for deep expressions."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    gc.freeze()  # exempt preloaded objects from collection, which would copy their pages
    gc.enable()
    resource.setrlimit(resource.RLIMIT_AS, (limits.memory + _BASE_MEMORY, resource.RLIM_INFINITY))
    sys.setrecursionlimit(_RECURSION)
    threading.stack_size(_STACK)
    thread = threading.Thread(target=function, args=arguments)
    thread.start()
    thread.join()


def _main(connection: Connection, store: StoreConfig, limits: ServiceLimits) -> None:
    """Run a worker: process requests until the pipe closes."""
    run_in_worker(limits, _loop, connection, store, limits)


def _loop(connection: Connection, store: StoreConfig, limits: ServiceLimits) -> None:
    from eechips_local.assets.table_cache import held_bytes
    from eechips_local.evaluation.request_processor import RequestProcessor

    processor = RequestProcessor(store, limits)
    while True:
        try:
            request = connection.recv()
        except (EOFError, ConnectionResetError):
            return
        with contextlib.suppress(BrokenPipeError):  # the server was killed: the next recv ends
            response = processor.process(request)
            connection.send((response, _resident() - held_bytes(), processor.take_reads()))


def _resident() -> int:
    """Return the bytes of memory that this process holds; 0 where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return 0
    return pages * resource.getpagesize()


class PendingEvaluation:
    """A request that waits for a worker, or is evaluated by one, unless its client leaves."""

    def __init__(self, request: WorkerRequest) -> None:
        self.request = request
        self.is_abandoned = False
        self._lock = threading.Lock()
        self._worker: _WorkerProcess | None = None

    def abandon(self) -> None:
        """Stop the evaluation: no worker begins it, and one that has is killed. Blocks while that worker starts."""
        with self._lock:
            self.is_abandoned = True
            if self._worker is not None:
                self._worker.interrupt()

    @contextlib.contextmanager
    def evaluated_by(self, worker: _WorkerProcess) -> Iterator[None]:
        """Let :meth:`abandon` kill the process of a worker for the duration of the block; it is replaced afterwards."""
        with self._lock:
            self._worker = worker
        try:
            yield
        finally:
            with self._lock:
                self._worker = None
            if self.is_abandoned:
                worker.end()


class _WorkerProcess:
    """The server's handle of one worker process."""

    def __init__(self, context: Any, store: StoreConfig, limits: ServiceLimits, most_resident: int) -> None:
        self._most_resident = most_resident
        self._arguments = (context, store, limits)
        self._keeps_parts = bool(store.archives)
        self._seconds = limits.seconds + _GRACE
        self._lock = threading.Lock()
        self._closed = self._is_answering = False
        self.reads: Counter[str] = Counter()
        self._process: Any = None
        self._connection: Connection

    def start(self) -> None:
        """Start a process if there is none. The first start takes a second or two, to load what all workers share.

        Raises:
            OSError, EOFError: if the system does not start one, or the worker was stopped.
        """
        with self._lock:
            if self._closed:
                raise ConnectionError("the workers were stopped")
            if self._process is not None:
                return
            context, store, limits = self._arguments
            self._connection, self._process = start_process(context, _main, store, limits)

    def answer(self, pending: PendingEvaluation) -> ServiceResponse:
        """Have the process run a request. It is replaced if it dies, hangs or has grown too large.

        A process may die for reasons unrelated to the request, so the request is retried once.
        """
        for _ in range(2):
            if pending.is_abandoned:
                return error_response(UnavailableError("The client has left."))
            try:
                self.start()
            except (EOFError, OSError) as error:
                if self._closed:
                    return error_response(UnavailableError("The server is stopping."))
                message = f"The server cannot start a process that evaluates: {error}. Start it again."
                return error_response(UnavailableError(message))
            try:
                self._is_answering = True
                self._connection.send(pending.request)
                if not self._connection.poll(self._seconds):
                    self.end()
                    return error_response(LimitError("Computation timed out."))
                received: tuple[ServiceResponse, int, Mapping[str, int]] = self._connection.recv()
            except (EOFError, OSError):
                self.end()
                if self._closed:
                    return error_response(UnavailableError("The server is stopping."))
                continue
            finally:
                self._is_answering = False
            response, resident, reads = received
            self.reads.update(reads)
            if resident > self._most_resident:
                self.end()
            return response
        # The system killed both processes, most likely for their memory.
        return error_response(MemoryLimitError())

    def end(self) -> None:
        """End the process, if there is one; the next request starts another."""
        with self._lock:
            if self._process is not None:
                kill_process(self._process)
                self._connection.close()
                self._process = None

    def interrupt(self) -> None:
        """Kill the process, if there is one; the thread that waits for its response notices."""
        with self._lock:
            if self._process is not None:
                kill_process(self._process)

    def close(self) -> None:
        """Let the process end, if no request is under way and it may be writing what it keeps of open archives."""
        with self._lock:
            self._closed = True
            if self._process is not None and self._keeps_parts and not self._is_answering:
                self._connection.close()

    def stop(self) -> None:
        """End the process for good; its request gets an error. :meth:`close` comes first."""
        with self._lock:
            if self._process is not None:
                if self._connection.closed:
                    self._process.join(_LAST_SECONDS)
                kill_process(self._process)


def kill_process(process: Any) -> None:
    """Kill a process; ``Process.kill`` does nothing once the fork server, its parent, has died."""
    process.kill()
    if process.exitcode == _UNKNOWN_STATUS:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
    process.join()


class EvaluationPool:
    """A fixed number of workers, and as many threads that wait for them.

    Light requests do not wait for heavy ones: while all workers are taken, a spare one evaluates them. It is started
    by the first of them.
    """

    def __init__(self, count: int, store: StoreConfig, limits: ServiceLimits) -> None:
        context = worker_context(store)
        share = max(_LEAST_SHARE, _MOST_RESIDENT // count)
        self._threads = ThreadPoolExecutor(count)
        self._spare_thread = ThreadPoolExecutor(1)
        self._workers = [_WorkerProcess(context, store, limits, share) for _ in range(count)]
        self._spare = _WorkerProcess(context, store, limits, share)
        self._idle: queue.SimpleQueue[_WorkerProcess] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._taken = 0  # requests that have a worker or wait for one
        for worker in self._workers:
            self._threads.submit(self._start, worker)

    def _start(self, worker: _WorkerProcess) -> None:
        """Start a worker with the server. If that fails, the worker's first request fails with the same error."""
        try:
            with contextlib.suppress(OSError, EOFError):
                worker.start()
        finally:
            self._idle.put(worker)

    def submit(self, pending: PendingEvaluation) -> Future[ServiceResponse]:
        """Have a worker evaluate a request as soon as one is idle. Requests wait in their order."""
        with self._lock:
            if is_light(pending.request) and self._taken >= len(self._workers):
                return self._spare_thread.submit(_evaluate, pending, self._spare)
            self._taken += 1
        future = self._threads.submit(self._run, pending)
        future.add_done_callback(self._leave)
        return future

    def _run(self, pending: PendingEvaluation) -> ServiceResponse:
        """Run a request in the next idle worker."""
        worker = self._idle.get()
        try:
            return _evaluate(pending, worker)
        finally:
            self._idle.put(worker)

    def _leave(self, _: Future[ServiceResponse]) -> None:
        with self._lock:
            self._taken -= 1

    def reads(self) -> dict[str, int]:
        """Return counts of reads of catalogues by all workers so far, by kind."""
        return {kind: self._count_reads(kind) for kind in KINDS}

    def archive_traffic(self) -> dict[str, int]:
        """Return the requests of all workers to open archives, the bytes received, and the bytes of used pixels."""
        return {name: self._count_reads(f"archive_{name}") for name in ("requests", "bytes", "used")}

    def _count_reads(self, kind: str) -> int:
        return sum(worker.reads[kind] for worker in (*self._workers, self._spare))

    def stop(self) -> None:
        """End all workers. Requests that wait get an error."""
        for worker in (*self._workers, self._spare):
            worker.close()
        for worker in (*self._workers, self._spare):
            worker.stop()
        self._threads.shutdown()
        self._spare_thread.shutdown()


def _evaluate(pending: PendingEvaluation, worker: _WorkerProcess) -> ServiceResponse:
    with pending.evaluated_by(worker):
        return worker.answer(pending)
