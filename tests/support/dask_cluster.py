"""A Dask cluster of real processes on loopback, each of which can be killed: scheduler, nannies, workers."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from local_tests.support.local_earth_engine import wait_until
from local_tests.support.process_tree import is_running, named

_PATIENCE = 120.0  # seconds for a process to start or to end


class DaskCluster:
    """Started by :func:`dask_cluster`. Works for tests and benchmarks alike.

    Attributes:
        address: address of the scheduler; it stays the same when the scheduler is started again.
        nannies: processes that each keep one worker, and start it again when it dies.

    Args:
        folder: for logs and what workers write.
        scheduler_options: further words of the command line of ``dask scheduler``.
        worker_options: worker options of ``dask worker``.
        environment: variables of all processes on top of ours.
    """

    def __init__(
        self,
        folder: Path,
        *,
        scheduler_options: Sequence[str] = (),
        worker_options: Sequence[str] = (),
        environment: dict[str, str] | None = None,
    ) -> None:
        self._folder, self._file = folder, folder / "scheduler.json"
        self._scheduler_options, self._worker_options = scheduler_options, worker_options
        self._environment = {**os.environ, **(environment or {})}
        self.nannies: list[subprocess.Popen[bytes]] = []
        self._scheduler: subprocess.Popen[bytes] | None = None
        self.address = ""
        self.start_scheduler()

    def start_scheduler(self) -> None:
        """Starts the scheduler; again at the same address, if there was one before."""
        self._file.unlink(missing_ok=True)
        port = self.address.rpartition(":")[2] or "0"
        words = ["--host", "127.0.0.1", "--port", port, "--no-dashboard", "--scheduler-file", str(self._file)]
        self._scheduler = self._start("dask_scheduler", [*words, *self._scheduler_options])
        wait_until(self._has_address)

    def add_worker(self, address: str | None = None) -> None:
        """Starts a nanny, which starts a worker.

        Args:
            address: address of the scheduler, such as that of a proxy before it; None for its own.
        """
        words = ["--host", "127.0.0.1", "--nthreads", "1", "--nworkers", "1", "--no-dashboard"]
        words += ["--local-directory", str(self._folder), *self._worker_options]
        self.nannies.append(self._start("dask_worker", [address or self.address, *words]))

    @property
    def scheduler_pid(self) -> int:
        """The process of the scheduler."""
        assert self._scheduler is not None
        return self._scheduler.pid

    @property
    def nanny_pids(self) -> list[int]:
        """The processes of the nannies that are running."""
        return [nanny.pid for nanny in self.nannies if nanny.poll() is None]

    @property
    def worker_pids(self) -> list[int]:
        """The processes of the workers that are running."""
        return [worker for nanny in self.nanny_pids for worker in named(nanny, "multiprocessing.spawn")]

    def kill(self, *pids: int) -> None:
        """Kills processes (SIGKILL); waits until those that are ours have ended."""
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):  # it has died by itself
                os.kill(pid, signal.SIGKILL)
        for process in (self._scheduler, *self.nannies):
            if process is not None and process.pid in pids:
                process.wait(_PATIENCE)

    def stop(self) -> None:
        """Ends all processes."""
        workers = self.worker_pids
        self.kill(*self.nanny_pids, self.scheduler_pid)
        wait_until(lambda: not any(map(is_running, workers)))  # a worker ends when its nanny is gone

    def _has_address(self) -> bool:
        assert self._scheduler is not None
        if self._scheduler.poll() is not None:
            raise RuntimeError((self._folder / "dask_scheduler.log").read_text())
        with contextlib.suppress(FileNotFoundError, ValueError):  # not there, or not whole
            self.address = json.loads(self._file.read_text())["address"]
            return True
        return False

    def _start(self, module: str, words: Sequence[str]) -> subprocess.Popen[bytes]:
        with (self._folder / f"{module}.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", f"distributed.cli.{module}", *words],
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment,
            )


@contextlib.contextmanager
def dask_cluster(
    folder: Path,
    workers: int = 2,
    *,
    scheduler_options: Sequence[str] = (),
    worker_options: Sequence[str] = (),
    environment: dict[str, str] | None = None,
) -> Iterator[DaskCluster]:
    """A scheduler and so many nannies with a worker each, for the duration of the block; see :class:`DaskCluster`."""
    folder.mkdir(parents=True, exist_ok=True)
    cluster = DaskCluster(
        folder, scheduler_options=scheduler_options, worker_options=worker_options, environment=environment
    )
    try:
        for _ in range(workers):
            cluster.add_worker()
        yield cluster
    finally:
        cluster.stop()
