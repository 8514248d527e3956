"""Put pools of a run in the place of the originals, for the script only: libraries keep these."""

from __future__ import annotations

import concurrent.futures
import functools
import inspect
import multiprocessing.pool
import sys
import sysconfig
import types
from collections.abc import Sequence
from contextvars import ContextVar
from importlib.metadata import distributions
from pathlib import Path
from typing import Any, Protocol

from eechips.errors import EechipsError
from eechips.scripts.pooling.call_folder import CallResult, Program
from eechips.scripts.pooling.call_variables import Call

ORIGINALS: dict[str, Any] = {
    "Pool": multiprocessing.pool.Pool,
    "ThreadPool": multiprocessing.pool.ThreadPool,
    "ProcessPoolExecutor": concurrent.futures.ProcessPoolExecutor,
    "ThreadPoolExecutor": concurrent.futures.ThreadPoolExecutor,
}
_IN_THREADS = {"Pool": "ThreadPool", "ProcessPoolExecutor": "ThreadPoolExecutor"}
"""Pools of threads in the place of pools of processes."""

_OWN = frozenset({__name__, f"{__package__}.pools", f"{__package__}.pathos_pools"})
_BY_PROXY = frozenset({"tqdm.contrib.concurrent", "pqdm._base", "multiprocessing.context", *_OWN})
"""Modules that open pools for the script."""
_PACKAGES = frozenset({"site-packages", "dist-packages"})
"""Folders of packages, also of other environments than this process's own."""
_INSTALLED = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")})


class ScriptStopped(BaseException):
    """Stop the script: the run has stopped, by an error or the user, and a requested result is not available."""

    def __init__(self, error: EechipsError | None = None) -> None:
        super().__init__()
        self.error = error


class PoolHost(Protocol):
    """Make the calls of pools."""

    def execute(self, calls: Sequence[Call], program: Program) -> list[CallResult]:
        """Make calls; results of failed calls have an error.

        Args:
            calls: in the order of the plan.
            program: settings of the pool.

        Raises:
            ScriptStopped: if the run stops before all calls are made.
        """

    def note_unsent(self, function: str, obstacle: str) -> None:
        """Note a call that a thread of the script makes, since it cannot be sent to another process."""


HOST: ContextVar[PoolHost | None] = ContextVar("host", default=None)
"""Makes the calls of pools."""


def is_hosted(frame: Any) -> bool:
    """Return whether a pool that a frame opens belongs to a run."""
    return HOST.get() is not None and is_of_script(frame)


class _Replacement(type):
    """The type of classes in the place of originals, for what libraries do with these by their names.

    A class that a library derives has the original as its base, also if the library is imported while that is replaced.
    The original pool takes its own functions from the class that has its name.
    """

    def __new__(cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **options: Any) -> Any:
        is_own = namespace.get("__module__") in _OWN or is_of_script(sys._getframe(1))
        if is_own:
            return super().__new__(cls, name, bases, namespace, **options)
        originals = tuple(ORIGINALS[base._original] if isinstance(base, _Replacement) else base for base in bases)
        return types.new_class(name, originals, options, lambda body: body.update(namespace))

    def __getattr__(cls, name: str) -> Any:
        if name == "_original":
            raise AttributeError(name)
        return getattr(ORIGINALS[cls._original], name)


class Hosted(metaclass=_Replacement):
    """Open an original pool without a host, or if a library opens the pool."""

    _original: str

    def __new__(cls, *args: Any, **options: Any) -> Any:
        """Return a pool of the run, or an original."""
        return super().__new__(cls) if is_hosted(sys._getframe(1)) else _open_original(cls._original, args, options)


def _open_original(name: str, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """Open an original pool; in a process that may not have children, as workers, one of threads in its place."""
    if name not in _IN_THREADS or not multiprocessing.current_process().daemon:
        return ORIGINALS[name](*args, **options)
    of_threads = ("processes", "max_workers", "initializer", "initargs")
    named = {**dict(zip(inspect.signature(ORIGINALS[name]).parameters, args, strict=False)), **options}
    return ORIGINALS[_IN_THREADS[name]](**{option: value for option, value in named.items() if option in of_threads})


def is_of_script(frame: Any) -> bool:
    """Return whether a frame belongs to the script, not to an installed package, to eechips or to Python."""
    name = str(frame.f_globals.get("__name__"))
    if name == "__main__" or name in _BY_PROXY:
        return True
    if name.partition(".")[0] == "eechips":  # which may be installed from a clone
        return False
    return not is_installed(Path(frame.f_code.co_filename).absolute())


@functools.cache
def is_installed(path: Path) -> bool:
    """Return whether a file is of Python or of an installed package, also where ``pip install --target`` puts these."""
    if _PACKAGES & set(path.parts) or any(path.is_relative_to(folder) for folder in _INSTALLED):
        return True
    searched = {str(folder) for folder in path.parents} & set(sys.path)
    return any(path.relative_to(folder).parts[0] in _recorded_names(folder) for folder in searched)


@functools.cache
def _recorded_names(folder: str) -> frozenset[str]:
    """Return the files and folders in a folder that installers of packages have recorded.

    The records: https://packaging.python.org/en/latest/specifications/recording-installed-packages/
    """
    records = (distribution.read_text("RECORD") or "" for distribution in distributions(path=[folder]))
    return frozenset(line.split(",")[0].split("/")[0] for record in records for line in record.splitlines())
