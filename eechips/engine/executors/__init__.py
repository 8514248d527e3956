"""Parse the option ``executor`` and find the executor: processes (by default 25 workers), threads, a Dask cluster or a
Beam pipeline. :mod:`.executor` defines the interface.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from eechips.errors import ConfigurationError, UsageError
from eechips.registry import Registry

if TYPE_CHECKING:
    from eechips.engine.executors.executor import Executor

EXECUTORS: Registry[type[Executor[Any]]] = Registry(
    "executor",
    "eechips.executors",
    {
        "processes": "eechips.engine.executors.processes:ProcessExecutor",
        "threads": "eechips.engine.executors.threads:ThreadExecutor",
        "dask": "eechips.engine.executors.dask:DaskExecutor",
        "beam": "eechips.engine.executors.beam:BeamExecutor",
    },
)
"""All executors by name, those of other packages included."""

_WORKERS = 25
"""Worker processes of a run; each has several units at once."""
_MOST_WORKERS = 10_000
"""Each worker has a part of the memory that they share."""


@dataclass(frozen=True, slots=True)
class ExecutorChoice:
    """The executor of a run, as the option ``executor`` has it: ``NAME``, ``NAME:N`` or ``dask:ADDRESS``.

    Attributes:
        scheduler: address of a Dask scheduler; None without one.
    """

    name: str
    workers: int
    scheduler: str | None

    @classmethod
    def parse(cls, text: str) -> ExecutorChoice:
        """Parse the option; raise UsageError if there is no such executor, or the number of workers is out of range."""
        name, colon, rest = text.partition(":")
        is_number = rest.isdecimal()
        if name not in EXECUTORS or (colon and not (is_number if name != "dask" else rest)):
            names = (*EXECUTORS.names, "NAME:N", "dask:ADDRESS")
            raise UsageError(f"executor must be {', '.join(names[:-1])} or {names[-1]}, not {text!r}")
        if colon and name == "threads":
            raise UsageError(f"executor={text!r}: threads have no number; `in_flight` limits the requests")
        workers = int(rest) if is_number else _WORKERS
        if not 1 <= workers <= _MOST_WORKERS:
            raise UsageError(f"executor={text!r}: the number of workers must be 1 to {_MOST_WORKERS:,}")
        return cls(name, workers, None if is_number or not rest else rest)


def find_executor(name: str) -> type[Executor[Any]]:
    """Return the class of an executor.

    Raises:
        UsageError: if there is none of that name.
        ConfigurationError: if a package that it needs is not installed.
    """
    try:
        return EXECUTORS.get(name)
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"executor {name!r} needs the package {error.name}: pip install 'eechips[{name}]'"
        ) from None
