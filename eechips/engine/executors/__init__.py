"""Executors: processes, threads, a Dask cluster or a Beam pipeline. :mod:`.executor` defines the interface."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from eechips.errors import ConfigurationError
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
