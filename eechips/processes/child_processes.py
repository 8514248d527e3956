"""Start child processes without the caller's program, and end them with their parent."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import warnings
from collections.abc import Iterator
from multiprocessing import connection, parent_process, resource_tracker, synchronize, util
from types import ModuleType


def end_with_parent() -> None:
    """End this process when its parent ends, however that ends. Without a parent nothing happens."""
    parent = parent_process()
    if parent is None:
        return

    def watch() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="eechips-watch-parent").start()


def register_semaphores() -> None:
    """Tell multiprocessing's resource tracker of all semaphores of this process, again if it knows them.

    A tracker that was killed is started again without this knowledge, and would print a traceback for each semaphore
    that is released.
    """
    warnings.filterwarnings("ignore", "resource_tracker: process died unexpectedly", UserWarning)
    for finalizer in tuple(util._finalizer_registry.values()):  # type: ignore[attr-defined]
        if finalizer._callback is synchronize.SemLock._cleanup:  # type: ignore[attr-defined]
            resource_tracker.register(finalizer._args[0], "semaphore")


@contextlib.contextmanager
def hide_main() -> Iterator[None]:
    """Keep multiprocessing from importing the caller's program in each process that it starts meanwhile."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
