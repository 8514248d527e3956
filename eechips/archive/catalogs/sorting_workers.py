"""Sort items in this process, or in other processes of this machine, which large lists have by default."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any

from eechips.errors import ConfigurationError, UsageError
from eechips.processes.child_processes import end_with_parent, hide_main

SMALL = 100_000_000
"""Bytes of lists that are sorted in this process."""

_MOST_PROCESSES = 4  # processes at most: one parent cannot keep more of them busy


@dataclass(frozen=True, slots=True)
class Workers:
    """What calls are submitted to.

    Attributes:
        submit: submits a call of a function with arguments, and returns its pending result.
        ahead: maximum number of pending calls.
    """

    submit: Callable[..., Future[Any]]
    ahead: int


def choose_processes(size: int, processes: int | None) -> int:
    """Return the number of processes for lists of a size; 1 for this process.

    Args:
        size: bytes.
        processes: as the user names it; None to choose by size.

    Raises:
        UsageError: if the number of processes is not positive.
    """
    if processes is None:
        return 1 if size <= SMALL else min(_MOST_PROCESSES, os.cpu_count() or 1)
    if processes < 1:
        raise UsageError(f"processes must be at least 1, not {processes}")
    return processes


@contextmanager
def workers(processes: int) -> Iterator[Workers]:
    """Start so many processes, and end them at the end of the block; 1 for this process, which calls at once.

    Raises:
        ConfigurationError: if a process dies.
    """
    if processes == 1:
        yield Workers(_call, 0)
        return
    try:
        with ProcessPoolExecutor(processes, get_context("spawn"), initializer=end_with_parent) as pool:

            def submit(*call: Any) -> Future[Any]:
                with hide_main():
                    return pool.submit(*call)

            yield Workers(submit, processes + 1)
    except BrokenExecutor as error:
        raise ConfigurationError(
            "a process that sorted items has died, perhaps for lack of memory: run the same command to"
            " resume; processes=1 needs less memory"
        ) from error


def _call(function: Callable[..., Any], *arguments: Any) -> Future[Any]:
    done: Future[Any] = Future()
    done.set_result(function(*arguments))
    return done
