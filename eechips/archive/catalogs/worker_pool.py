"""Sort items in this process, in other processes of this machine, or by the workers of a Dask cluster.

The default depends on the size. Small lists are sorted in this process. Large ones are sorted by the cluster of Dask's
own configuration, as ``distributed.Client()`` finds it, or else by processes of this machine.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, CancelledError, Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Protocol

from eechips.errors import ClusterLostError, ConfigurationError, UsageError
from eechips.processes.child_processes import end_with_parent, hide_main
from eechips.text import library_log

SMALL = 100_000_000
"""Bytes of lists that are sorted in this process."""

_PATIENCE = 30  # seconds within which a scheduler must respond
_MOST_PROCESSES = 4  # processes at most: one parent cannot keep more of them busy
_TRIES = 3  # attempts of a call whose workers leave the cluster
_RETURN = 300  # seconds to wait for new workers
_GLANCE = 1.0  # seconds between two checks of the cluster
_ADDRESS = "scheduler-address"  # in Dask's configuration files; DASK_SCHEDULER_ADDRESS in the environment


class PendingResult(Protocol):
    """A result that may still be pending."""

    def result(self) -> Any:
        """Wait for the result."""


class Workers:
    """Submit calls to workers.

    Args:
        submit: submits a call of a function with arguments, and returns its pending result.
        ahead: maximum number of pending calls.
    """

    def __init__(self, submit: Callable[..., PendingResult], ahead: int) -> None:
        self._submit, self.ahead = submit, ahead

    def submit(self, function: Callable[..., Any], large: Any, *arguments: Any) -> PendingResult:
        """Submit a call.

        Args:
            function: to call.
            large: first argument, of any size.
            *arguments: the others.
        """
        return self._submit(function, large, *arguments)


@dataclass(frozen=True, slots=True)
class WorkerPool:
    """Choice of workers.

    Attributes:
        processes: processes of this machine; 1 for this process.
        scheduler: address of a Dask cluster to use instead; None for this machine.
    """

    processes: int = 1
    scheduler: str | None = None

    def __post_init__(self) -> None:
        if self.processes < 1:
            raise UsageError(f"processes must be at least 1, not {self.processes}")

    @property
    def is_alone(self) -> bool:
        """Return whether this process does all work."""
        return self.scheduler is None and self.processes == 1

    def __str__(self) -> str:
        if self.scheduler is not None:
            return f"the Dask cluster {self.scheduler}"
        return "this process" if self.is_alone else f"{self.processes} processes"


def choose_worker_pool(size: int, processes: int | None, scheduler: str | None) -> WorkerPool:
    """Choose the workers for lists of a size.

    Args:
        size: bytes.
        processes: processes of this machine; None to choose by size.
        scheduler: address of a Dask cluster, which takes precedence over ``processes``; None to choose by size.

    Raises:
        UsageError: if the number of processes is not positive.
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
        ConfigurationError: if the scheduler does not respond, its workers do not see the folder, or a process dies.
    """
    if worker_pool.scheduler is not None:
        with _dask(worker_pool.scheduler, folder) as dask_workers:
            yield dask_workers
    elif worker_pool.processes > 1:
        try:
            with ProcessPoolExecutor(worker_pool.processes, get_context("spawn"), initializer=end_with_parent) as pool:

                def submit(*call: Any) -> PendingResult:
                    with hide_main():
                        return pool.submit(*call)

                yield Workers(submit, worker_pool.processes + 1)
        except BrokenExecutor as error:
            raise ConfigurationError(
                "a process that sorted items has died, perhaps for lack of memory: run the same command to"
                " resume; processes=1 needs less memory"
            ) from error
    else:
        yield Workers(_at_once, 0)


def _configured() -> str | None:
    """Return the cluster of Dask's configuration; None if there is none, or Dask is missing."""
    try:
        import dask.config
        import distributed  # noqa: F401 - the configuration is useless without it
    except ImportError:
        return None
    address: str | None = dask.config.get(_ADDRESS, None)
    return address


def _at_once(function: Callable[..., Any], *arguments: Any) -> PendingResult:
    done: Future[Any] = Future()
    done.set_result(function(*arguments))
    return done


@contextmanager
def _dask(scheduler: str, folder: Path) -> Iterator[Workers]:
    try:
        from distributed import Client
    except ImportError as error:
        raise UsageError("scheduler needs Dask: pip install 'eechips[dask]'") from error
    try:
        client = Client(scheduler, timeout=_PATIENCE)  # type: ignore[no-untyped-call]
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"the Dask scheduler {scheduler} does not respond: {error}; set `processes` to sort on this machine"
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
                " do, or set `processes` to sort on this machine"
            )
        threads = client.nthreads()  # type: ignore[no-untyped-call]
        cluster = _Cluster(client)
        yield Workers(lambda *call: _Call(cluster, *call), 2 * max(1, sum(threads.values())))


class _DisconnectedError(Exception):
    """The connection to the scheduler broke, and pending results are lost."""


class _Cluster:
    """A cluster that may disconnect.

    Args:
        client: client of the cluster.
    """

    def __init__(self, client: Any) -> None:
        self._client = client
        self._id = client.scheduler_info()["id"]

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Submit a call; return the future of its result."""
        return self.wait(lambda: _submitted(self._client, function, arguments))

    def scatter(self, value: Any) -> Any:
        """Send a value to a worker."""
        return self.wait(lambda: self._client.scatter(value, hash=False, timeout=_RETURN, asynchronous=True))

    def gather(self, future: Any) -> Any:
        """Wait for a result."""
        return self.wait(lambda: self._client.gather(future, asynchronous=True))

    def wait(self, begin: Callable[[], Any]) -> Any:
        """Wait for a coroutine as long as the cluster exists.

        Raises:
            ClusterLostError: if the scheduler is gone, or all workers have been gone for long.
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
                raise _lost("has no workers left")
        try:
            return waiting.result()
        except Exception:
            if self._client.status == "running":
                raise
            raise _DisconnectedError from None

    def _check(self) -> bool:
        """Wait for the end of a disconnection; return whether there are workers.

        Raises:
            ClusterLostError: if the scheduler is gone or was replaced.
        """
        while self._client.status == "connecting":
            time.sleep(_GLANCE / 10)
        if self._client.status != "running":
            raise _lost("has lost its scheduler")
        asking = asyncio.run_coroutine_threadsafe(
            self._client.scheduler.identity(n_workers=-1), self._client.loop.asyncio_loop
        )
        if not concurrent.futures.wait([asking], _PATIENCE).done:
            raise _lost(f"has not responded for {_PATIENCE} s")
        try:
            known = asking.result()
        except OSError:
            return False  # the connection broke just now
        if known["id"] != self._id:
            raise _lost("has another scheduler")
        return bool(known["workers"])


async def _submitted(client: Any, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    return client.submit(function, *arguments, pure=False)


def _lost(what: str) -> ClusterLostError:
    return ClusterLostError(f"the Dask cluster {what}: run the same command to resume")


class _Call:
    """A call that is repeated if its argument or result is lost with a worker.

    Args:
        cluster: to call on.
        function: to call.
        large: first argument, which one worker holds.
        *arguments: the others.
    """

    def __init__(self, cluster: _Cluster, function: Callable[..., Any], large: Any, *arguments: Any) -> None:
        self._cluster, self._function, self._large, self._arguments = cluster, function, large, arguments
        self._begin()

    def _begin(self) -> None:
        try:
            there = self._cluster.scatter(self._large)
        except asyncio.TimeoutError:
            raise _lost("has no workers left") from None
        self._future = self._cluster.submit(self._function, there, *self._arguments)

    def result(self) -> Any:
        """Wait for the result.

        Raises:
            ClusterLostError: if the scheduler is gone, or all workers have been gone for long.
            ConfigurationError: if workers keep leaving the cluster.
        """
        from distributed import KilledWorker

        for _ in range(_TRIES):
            try:
                return self._cluster.gather(self._future)
            except (CancelledError, asyncio.CancelledError, KilledWorker, _DisconnectedError):
                self._begin()
        raise ConfigurationError(
            "workers of the Dask cluster die while they sort items, perhaps for lack of memory: run the same"
            " command to resume, or set `processes` to sort on this machine"
        )
