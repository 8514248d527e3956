"""Watch the paths that a script opens, lists, tests for and enters, and let them be found elsewhere."""

from __future__ import annotations

import builtins
import contextlib
import glob
import io
import os
import pathlib
import threading
from collections.abc import Callable, Iterator
from pathlib import PurePath
from typing import Any, Protocol

from eechips.scripts.replaced_names import present_function, replace_names, stand_in


class PathWatcher(Protocol):
    """Receive the paths that a script uses, and return those to use instead."""

    def opened(self, path: str, mode: str) -> str:
        """Receive a path before it is opened."""

    def moved(self, path: str) -> None:
        """Receive the new name of a file, after it was renamed."""

    def sought(self, path: str) -> str:
        """Receive a path that does not exist; one that exists is used instead."""

    def listed(self, path: str) -> str:
        """Receive a folder before it is listed."""

    def is_hidden(self, path: str) -> bool:
        """Return whether a path is not the script's, and is left out when its folder is listed."""

    def entered_folder(self, path: str) -> str:
        """Receive a folder before it becomes the working directory."""


_CAPTURING = ((pathlib, "_NormalAccessor"), (glob, "_StringGlobber"), (glob, "_Globber"))
"""Classes of Python that keep functions of ``os`` as attributes: of 3.10, and of 3.13 and later."""


@contextlib.contextmanager
def watch_paths(watcher: PathWatcher) -> Iterator[None]:
    """Pass the paths of this thread, and of threads that it starts, to a watcher inside the block.

    Python's own functions and those built on them are covered: ``open``, ``os.stat``, ``os.path.exists``,
    ``os.listdir``, ``os.scandir``, ``os.walk``, ``glob``, ``pathlib``, ``shutil``. Libraries in C that open files by
    themselves are not.
    """
    others = {thread.ident for thread in threading.enumerate()} - {threading.get_ident()}

    def is_watched(path: Any) -> bool:
        return isinstance(path, (str, PurePath)) and threading.get_ident() not in others

    def as_given(path: Any, there: str) -> Any:
        return path if there == str(path) else there

    original_open = present_function(builtins, "open")
    originals = {
        name: present_function(os, name) for name in ("rename", "replace", "chdir", "listdir", "scandir", "access")
    }

    def opening(file: Any, mode: str = "r", *args: Any, **options: Any) -> Any:
        there = as_given(file, watcher.opened(str(file), mode)) if is_watched(file) else file
        return original_open(there, mode, *args, **options)

    def moving(name: str) -> Callable[..., None]:
        def moved(source: Any, target: Any, *args: Any, **options: Any) -> None:
            originals[name](source, target, *args, **options)
            if is_watched(target):
                watcher.moved(str(target))

        return stand_in(os, name, moved)

    def seeking(name: str) -> Callable[..., Any]:
        original = present_function(os, name)

        def sought(path: Any, *args: Any, **options: Any) -> Any:
            try:
                return original(path, *args, **options)
            except FileNotFoundError:
                if not is_watched(path) or options.get("dir_fd") is not None:
                    raise
                with contextlib.suppress(FileNotFoundError):
                    return original(watcher.sought(str(path)), *args, **options)
                raise

        return stand_in(os, name, sought)

    def access(path: Any, *args: Any, **options: Any) -> bool:
        if originals["access"](path, *args, **options):
            return True
        return is_watched(path) and bool(originals["access"](watcher.sought(str(path)), *args, **options))

    def listing(name: str) -> Callable[..., Any]:
        def listed(path: Any = ".") -> Any:
            folder = "." if path is None else path
            if not is_watched(folder):
                return originals[name](folder)
            raw_entries = originals[name](as_given(folder, watcher.listed(str(folder))))
            if name == "scandir":
                return _Entries(raw_entries, watcher)
            return [
                entry_name for entry_name in raw_entries if not watcher.is_hidden(str(PurePath(folder, entry_name)))
            ]

        return stand_in(os, name, listed)

    def chdir(path: Any) -> None:
        originals["chdir"](watcher.entered_folder(str(path)) if is_watched(path) else path)

    of_os = {
        **{name: moving(name) for name in ("rename", "replace")},
        **{name: seeking(name) for name in ("stat", "lstat")},
        **{name: listing(name) for name in ("listdir", "scandir")},
        "access": stand_in(os, "access", access),
        "chdir": stand_in(os, "chdir", chdir),
    }
    by_original = {id(getattr(os, name)): function for name, function in of_os.items()}
    by_original[id(builtins.open)] = opens = stand_in(io, "open", opening)
    with contextlib.ExitStack() as stack:
        stack.enter_context(replace_names(builtins, open=opens))
        stack.enter_context(replace_names(io, open=opens))
        for module, name in _CAPTURING:
            kept = vars(getattr(module, name, object))
            raw_entries = {key: by_original.get(id(getattr(value, "__func__", value))) for key, value in kept.items()}
            there = {key: staticmethod(function) for key, function in raw_entries.items() if function is not None}
            if there:
                stack.enter_context(replace_names(getattr(module, name), **there))
        stack.enter_context(replace_names(os, **of_os))
        yield


class _Entries:
    """An iterator like that of ``os.scandir``, without hidden files."""

    def __init__(self, entries: Any, watcher: PathWatcher) -> None:
        self._entries, self._watcher = entries, watcher
        self.close = entries.close

    def __iter__(self) -> _Entries:
        return self

    def __next__(self) -> Any:
        return next(entry for entry in self._entries if not self._watcher.is_hidden(entry.path))

    def __enter__(self) -> _Entries:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
