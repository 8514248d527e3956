"""Who sorts items: this process, others of this machine, or the workers of a Dask cluster.

Unless the caller says, it is chosen by size. What takes seconds is done here. What takes longer is done by the cluster
that Dask's own configuration names, as it would be by ``distributed.Client()``; if it names none, by processes of this
machine.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, CancelledError, Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import connection, get_context, parent_process
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

from eechips import library_log
from eechips.errors import ClusterLostError, ConfigurationError, UsageError

SMALL = 100_000_000
"""Bytes of lists that are not worth the start of processes."""

_PATIENCE = 30  # seconds in which a scheduler must answer
_MOST_PROCESSES = 4  # that one process can feed
_TRIES = 3  # of a call whose workers leave the cluster
_RETURN = 300  # seconds in which a worker must have come in their place
_GLANCE = 1.0  # seconds between two looks at a cluster that is waited for
_ADDRESS = "scheduler-address"  # Dask's name for it, in its files; DASK_SCHEDULER_ADDRESS in the environment


class PendingResult(Protocol):
    """Where a result will be."""

    def result(self) -> Any:
        """Waits for the result."""


class Workers:
    """Takes calls and returns their futures.

    Attributes:
        ahead: so many calls may wait for their results.

    Args:
        submit: has a function called with arguments, and promises its result.
        ahead: see above.
    """

    def __init__(self, submit: Callable[..., PendingResult], ahead: int) -> None:
        self._submit, self.ahead = submit, ahead

    def submit(self, function: Callable[..., Any], large: Any, *arguments: Any) -> PendingResult:
        """Has a function called.

        Args:
            function: which.
            large: its first argument, of any size.
            *arguments: the others.
        """
        return self._submit(function, large, *arguments)


@dataclass(frozen=True, slots=True)
class WorkerPool:
    """Who sorts.

    Attributes:
        processes: of this machine; 1 for this process.
        scheduler: address of a Dask cluster whose workers do it instead; None for this machine.
    """

    processes: int = 1
    scheduler: str | None = None

    def __post_init__(self) -> None:
        if self.processes < 1:
            raise UsageError(f"there is one process at least: --processes cannot be {self.processes}")

    @property
    def is_alone(self) -> bool:
        """Whether it is this process."""
        return self.scheduler is None and self.processes == 1

    def __str__(self) -> str:
        if self.scheduler is not None:
            return f"the Dask cluster {self.scheduler}"
        return "this process" if self.is_alone else f"{self.processes} processes"


def choose_worker_pool(size: int, processes: int | None, scheduler: str | None) -> WorkerPool:
    """Who sorts lists of a size.

    Args:
        size: bytes.
        processes: of this machine; None to choose by size.
        scheduler: address of a Dask cluster, which counts more than ``processes``; None to choose by size.

    Raises:
        UsageError: if the number of processes makes no sense.
    """
    if scheduler is not None or processes is not None:
        return WorkerPool(1 if processes is None else processes, scheduler)
    if size <= SMALL:
        return WorkerPool()
    return WorkerPool(min(_MOST_PROCESSES, os.cpu_count() or 1), _configured())


@contextmanager
def workers(worker_pool: WorkerPool, folder: Path) -> Iterator[Workers]:
    """Start the workers of a pool, and end them at the end of the block.

    Args:
        worker_pool: kind and number of the workers.
        folder: where they write their files; it must exist.

    Raises:
        UsageError: if Dask is missing.
        ConfigurationError: if the scheduler does not answer, its workers do not see the folder, or a process dies.
    """
    if worker_pool.scheduler is not None:
        with _dask(worker_pool.scheduler, folder) as found:
            yield found
    elif worker_pool.processes > 1:
        try:
            with ProcessPoolExecutor(worker_pool.processes, get_context("spawn"), initializer=_follow) as pool:

                def submit(*call: Any) -> PendingResult:
                    with _without_main():
                        return pool.submit(*call)

                yield Workers(submit, worker_pool.processes + 1)
        except BrokenExecutor as error:
            raise ConfigurationError(
                "a process that sorted items has died, perhaps for want of memory: run the same command to"
                " resume; with --processes 1 it needs less memory"
            ) from error
    else:
        yield Workers(_at_once, 0)


def _configured() -> str | None:
    """The cluster that Dask's configuration names, if Dask is there and it names one."""
    try:
        import dask.config
        import distributed  # noqa: F401 - what is configured is of no use without it
    except ImportError:
        return None
    found: str | None = dask.config.get(_ADDRESS, None)
    return found


def _follow() -> None:
    """End this process when the one that started it ends, however that ends."""
    parent = parent_process()
    assert parent is not None

    def watch() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="eechips-watch-parent").start()


@contextmanager
def _without_main() -> Iterator[None]:
    """Keeps multiprocessing from running the caller's program again in every process that it starts."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _at_once(function: Callable[..., Any], *arguments: Any) -> PendingResult:
    done: Future[Any] = Future()
    done.set_result(function(*arguments))
    return done


@contextmanager
def _dask(scheduler: str, folder: Path) -> Iterator[Workers]:
    try:
        from distributed import Client
    except ImportError as error:
        raise UsageError("--scheduler needs Dask: pip install 'eechips[dask]'") from error
    try:
        client = Client(scheduler, timeout=_PATIENCE)  # type: ignore[no-untyped-call]
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"the Dask scheduler {scheduler} does not answer: {error}; --processes N sorts on this machine"
        ) from error
    with library_log.redirect_loggers(library_log.DASK, logging.NullHandler()), client:
        try:
            client.wait_for_workers(1, timeout=_PATIENCE)
        except asyncio.TimeoutError as error:
            raise ConfigurationError(f"the Dask cluster {scheduler} has no workers: start some") from error
        seen = client.run(folder.is_dir)
        blind = sorted(worker for worker, is_there in seen.items() if not is_there)
        if blind:
            raise ConfigurationError(
                f"workers of the Dask cluster do not see {folder} ({', '.join(blind)}): put the catalogue where they"
                " do, or sort on this machine (--processes N)"
            )
        threads = client.nthreads()  # type: ignore[no-untyped-call]
        cluster = _Cluster(client)
        yield Workers(lambda *call: _Call(cluster, *call), 2 * max(1, sum(threads.values())))


class _DisconnectedError(Exception):
    """The connection to the scheduler broke: what was under way is lost."""


class _Cluster:
    """A cluster that may go away.

    Args:
        client: of it.
    """

    def __init__(self, client: Any) -> None:
        self._client = client
        self._id = client.scheduler_info()["id"]

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Has a function called; the future of the result."""
        return self.wait(lambda: _submitted(self._client, function, arguments))

    def scatter(self, value: Any) -> Any:
        """Gives a value to a worker."""
        return self.wait(lambda: self._client.scatter(value, hash=False, timeout=_RETURN, asynchronous=True))

    def gather(self, future: Any) -> Any:
        """Waits for a result."""
        return self.wait(lambda: self._client.gather(future, asynchronous=True))

    def wait(self, begin: Callable[[], Any]) -> Any:
        """Waits for what a coroutine returns, for as long as the cluster is there.

        Raises:
            ClusterLostError: if the scheduler is gone, or all workers have been for long.
            _DisconnectedError: if the connection broke.
        """

        async def done() -> Any:
            return await begin()

        self._check()
        waiting = asyncio.run_coroutine_threadsafe(done(), self._client.loop.asyncio_loop)
        staffed = time.monotonic()
        while not concurrent.futures.wait([waiting], _GLANCE).done:
            if self._check():
                staffed = time.monotonic()
            elif time.monotonic() - staffed > _RETURN:
                raise _lost("has no workers any more")
        try:
            return waiting.result()
        except Exception:
            if self._client.status == "running":
                raise
            raise _DisconnectedError from None

    def _check(self) -> bool:
        """Waits for the end of a broken connection; returns whether there are workers.

        Raises:
            ClusterLostError: if the scheduler is gone, or another has taken its place.
        """
        while self._client.status == "connecting":
            time.sleep(_GLANCE / 10)
        if self._client.status != "running":
            raise _lost("has lost its scheduler")
        asking = asyncio.run_coroutine_threadsafe(
            self._client.scheduler.identity(n_workers=-1), self._client.loop.asyncio_loop
        )
        if not concurrent.futures.wait([asking], _PATIENCE).done:
            raise _lost(f"has not answered for {_PATIENCE} s")
        try:
            known = asking.result()
        except OSError:
            return False  # the connection has just broken
        if known["id"] != self._id:
            raise _lost("has another scheduler")
        return bool(known["workers"])


async def _submitted(client: Any, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    return client.submit(function, *arguments, pure=False)


def _lost(what: str) -> ClusterLostError:
    return ClusterLostError(f"the Dask cluster {what}: run the same command to resume")


class _Call:
    """A call that is made again where what it was given, or what came of it, is lost with a worker of the cluster.

    Args:
        cluster: that makes it.
        function: which.
        large: its first argument, which lies with one worker only.
        *arguments: the others.
    """

    def __init__(self, cluster: _Cluster, function: Callable[..., Any], large: Any, *arguments: Any) -> None:
        self._cluster, self._function, self._large, self._arguments = cluster, function, large, arguments
        self._begin()

    def _begin(self) -> None:
        try:
            there = self._cluster.scatter(self._large)
        except asyncio.TimeoutError:
            raise _lost("has no workers any more") from None
        self._future = self._cluster.submit(self._function, there, *self._arguments)

    def result(self) -> Any:
        """Waits for the result.

        Raises:
            ClusterLostError: if the scheduler is gone, or all workers have been for long.
            ConfigurationError: if workers leave the cluster again and again.
        """
        from distributed import KilledWorker

        for _ in range(_TRIES):
            try:
                return self._cluster.gather(self._future)
            except (CancelledError, asyncio.CancelledError, KilledWorker, _DisconnectedError):
                self._begin()
        raise ConfigurationError(
            "workers of the Dask cluster die while they sort items, perhaps for want of memory: run the same"
            " command to resume; with --processes N it sorts on this machine"
        )
