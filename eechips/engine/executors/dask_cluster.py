"""Connect to a Dask cluster, or start one on this machine; its connections, requests and logs."""

from __future__ import annotations

import concurrent.futures
import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import dask.config
import distributed

from eechips.processes.child_processes import register_semaphores
from eechips.text import library_log
from eechips.text.library_log import LineFormatter
from eechips.web.urls import is_loopback

CONNECT_SECONDS = 10.0  # seconds to reach a scheduler, or until it has a worker
REPLY_SECONDS = 30.0  # seconds, or a unit's time-out if that is shorter, that the scheduler may take to answer
_ENCRYPTED = ("tls", "wss", "inproc")
_LOG_FORMAT = "%(asctime)s %(name)s %(levelname)s %(message)s"
_ENVIRONMENT = "distributed.nanny.pre-spawn-environ"
_LOCAL_WORKERS = 4


class ClosedClientError(Exception):
    """The client was closed: its scheduler is gone."""


async def request_scheduler(client: Any, operation: str, arguments: dict[str, Any]) -> Any:
    """Ask a client's scheduler, in the client's own thread."""
    if client.status != "running":
        raise (OSError if client.status == "connecting" else ClosedClientError)
    return await getattr(client.scheduler, operation)(**arguments)


def was_disconnected(future: Any) -> bool:
    """Return whether a future was cancelled because the client lost its connection."""
    if future.status != "cancelled":
        return False
    try:
        future.result(timeout=REPLY_SECONDS)
    except concurrent.futures.CancelledError as error:
        return getattr(error, "reason", None) == "scheduler-connection-lost"
    return False


def is_private(address: str) -> bool:
    """Return whether a connection to an address of Dask is encrypted or local."""
    return urlsplit(address).scheme in _ENCRYPTED or is_loopback(address)


def open_log(path: Path) -> logging.Handler:
    """Return a handler that writes to a file, which is created with the first message."""
    handler = logging.FileHandler(path, delay=True, encoding="utf-8")
    handler.setFormatter(LineFormatter(_LOG_FORMAT))
    return handler


@contextlib.contextmanager
def connect_cluster(scheduler: str | None, size: int, log: Path) -> Iterator[distributed.Client]:
    """Yield a client of a scheduler, or of a cluster that is started for the duration of the block."""
    address: Any = scheduler
    with contextlib.ExitStack() as stack:
        if scheduler is None:
            # Worker processes share standard error with this one.
            logging_of_workers = {"DASK_LOGGING": repr(_logging_config(log))}
            stack.enter_context(
                dask.config.set({_ENVIRONMENT: {**dask.config.get(_ENVIRONMENT), **logging_of_workers}})
            )
            # Tasks leave Dask's pool of threads, so its size does not matter. Processes decode and write in parallel.
            address = distributed.LocalCluster(
                n_workers=min(size, _LOCAL_WORKERS),
                threads_per_worker=1,
                dashboard_address="127.0.0.1:0",  # None would listen on all interfaces
                worker_dashboard_address="127.0.0.1:0",
                host="127.0.0.1",
                silence_logs=logging.ERROR,
            )
            stack.enter_context(address)
            stack.callback(register_semaphores)  # before the cluster releases those of its workers
        yield stack.enter_context(distributed.Client(address, timeout=CONNECT_SECONDS, set_as_default=False))


def _logging_config(log: Path) -> dict[str, Any]:
    """Return the configuration of logging for other processes, so that they write to the same file."""
    handler = {"class": "logging.FileHandler", "filename": str(log), "delay": True, "formatter": "plain"}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "plain": {"class": f"{LineFormatter.__module__}.{LineFormatter.__name__}", "format": _LOG_FORMAT}
        },
        "handlers": {"file": {**handler, "encoding": "utf-8"}},
        "loggers": {name: {"level": "ERROR", "handlers": ["file"], "propagate": False} for name in library_log.DASK},
    }
