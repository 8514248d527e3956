"""Start child processes without the caller's program, and end them with their parent."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator
from multiprocessing import connection, parent_process
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


@contextlib.contextmanager
def hide_main() -> Iterator[None]:
    """Keep multiprocessing from importing the caller's program in each process that it starts meanwhile."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
