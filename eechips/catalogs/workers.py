"""Who sorts items: this process, others of this machine, or those of a Dask cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Any, Protocol

from eechips.errors import ConfigurationError, UsageError

_PATIENCE = 30  # seconds in which a scheduler must answer


class Promise(Protocol):
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

    def __init__(self, submit: Callable[..., Promise], ahead: int) -> None:
        self._submit, self.ahead = submit, ahead

    def submit(self, function: Callable[..., Any], large: Any, *arguments: Any) -> Promise:
        """Has a function called.

        Args:
            function: which.
            large: its first argument, of any size.
            *arguments: the others.
        """
        return self._submit(function, large, *arguments)


@contextmanager
def workers(processes: int, scheduler: str | None) -> Iterator[Workers]:
    """The workers that a caller wants.

    Args:
        processes: of this machine; 1 for this process.
        scheduler: address of a Dask cluster; None for this machine.

    Raises:
        UsageError: if the number of processes makes no sense, or Dask is missing.
        ConfigurationError: if the scheduler does not answer, or a process dies.
    """
    if processes < 1:
        raise UsageError(f"there is one process at least: --processes cannot be {processes}")
    if scheduler is not None:
        with _dask(scheduler) as found:
            yield found
    elif processes > 1:
        try:
            with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
                yield Workers(pool.submit, processes + 1)
        except BrokenExecutor as error:
            raise ConfigurationError(
                "a process that sorted items has died, perhaps for want of memory: the same command goes on where it"
                " stopped, and with --processes 1 needs less"
            ) from error
    else:
        yield Workers(_at_once, 0)


def _at_once(function: Callable[..., Any], *arguments: Any) -> Promise:
    done: Future[Any] = Future()
    done.set_result(function(*arguments))
    return done


@contextmanager
def _dask(scheduler: str) -> Iterator[Workers]:
    try:
        from distributed import Client
    except ImportError as error:
        raise UsageError("--scheduler needs Dask: pip install 'eechips[dask]'") from error
    try:
        client = Client(scheduler, timeout=_PATIENCE)  # type: ignore[no-untyped-call]
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"the Dask scheduler {scheduler} does not answer: {error}") from error
    with client:
        threads = client.nthreads()  # type: ignore[no-untyped-call]

        def submit(function: Callable[..., Any], large: Any, *arguments: Any) -> Promise:
            there = client.scatter(large, hash=False)  # type: ignore[no-untyped-call]
            made: Promise = client.submit(function, there, *arguments, pure=False)
            return made

        yield Workers(submit, 2 * max(1, sum(threads.values())))
