"""Start child processes without the caller's program and its working folder, end them with their parent, and refuse a
limit of open files that is too low (``ulimit -n``).

multiprocessing starts processes by ``python -c``. That and ``python -m`` search the working folder for modules before
Python's own library: in another user's run folder, they would execute a ``multiprocessing.py`` of that user.
"""

from __future__ import annotations

import contextlib
import os
import resource
import sys
import threading
import warnings
from collections.abc import Iterator, Mapping
from multiprocessing import connection, parent_process, resource_tracker, synchronize, util
from types import ModuleType

from eechips.errors import ConfigurationError

_FLAGS = "_args_from_interpreter_flags"  # what multiprocessing calls for the options of each Python that it starts
_PROGRAM = (
    "import sys; sys.path[:] = filter(None, sys.path); import runpy;"
    " runpy.run_module(sys.argv.pop(1), run_name='__main__', alter_sys=True)"
)
_FEWEST_FILES = 64
"""Files that a process of a run may open at least. With 28, the fork server of two workers ends."""
_starting = threading.RLock()


def check_open_files() -> None:
    """Raise ConfigurationError if a process may open too few files for connections, pipes and results at once."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if 0 <= most < _FEWEST_FILES:
        raise ConfigurationError(
            f"a process may open {most} files here, too few for a run: allow more with `ulimit -n 1024`, and repeat the"
            " command"
        )


def end_with_parent() -> None:
    """End this process when its parent ends, however that ends. Without a parent nothing happens."""
    parent = parent_process()
    if parent is None:
        return

    def watch() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="eechips-watch-parent").start()


def ignore_lost_tracker() -> None:
    """Hide the warning that multiprocessing's resource tracker was restarted, which has no consequence here."""
    warnings.filterwarnings("ignore", "resource_tracker: process died unexpectedly", UserWarning)


def register_semaphores() -> None:
    """Tell multiprocessing's resource tracker of all semaphores of this process, again if it knows them.

    A tracker that was killed is started again without this knowledge, and would print a traceback for each semaphore
    that is released.
    """
    ignore_lost_tracker()
    for finalizer in tuple(util._finalizer_registry.values()):  # type: ignore[attr-defined]
        if finalizer._callback is synchronize.SemLock._cleanup:  # type: ignore[attr-defined]
            resource_tracker.register(finalizer._args[0], "semaphore")


@contextlib.contextmanager
def hide_main() -> Iterator[None]:
    """Keep multiprocessing from importing the caller's program in each process that it starts meanwhile."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        with safe_path():
            yield
    finally:
        sys.modules["__main__"] = main


@contextlib.contextmanager
def safe_path() -> Iterator[None]:
    """Have processes that multiprocessing starts in the block import no module of their working folder.

    This needs Python 3.11. The environment stays as it is: programs of other threads and of recipes would inherit it.
    """
    if sys.version_info < (3, 11):
        yield
        return
    with _starting:
        flags = getattr(util, _FLAGS)
        setattr(util, _FLAGS, lambda: [*flags(), "-P"])
        try:
            yield
        finally:
            setattr(util, _FLAGS, flags)


@contextlib.contextmanager
def changed_environment(added: Mapping[str, str]) -> Iterator[None]:
    """Set variables of the environment of processes that are started in the block."""
    with _starting:
        before = {name: os.environ.get(name) for name in added}
        os.environ.update(added)
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


def module_command(name: str) -> list[str]:
    """Return the command that executes a module, as ``python -m`` does, but never one of the working folder."""
    return [sys.executable, "-c", _PROGRAM, name]
