"""Watch the paths that a script opens, lists, tests for and enters, and let them be found elsewhere."""

from __future__ import annotations

import builtins
import contextlib
import glob
import io
import os
import pathlib
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import PurePath
from types import ModuleType
from typing import Any, Protocol
from weakref import WeakKeyDictionary, WeakSet

from eechips.scripts.pooling.original_pools import is_of_script
from eechips.scripts.replacements.name_replacement import change_imported, present_function, replace_names, stand_in


class PathWatcher(Protocol):
    """Receive the paths that a script uses, and return those to use instead."""

    def opened(self, path: str, mode: str) -> str:
        """Receive a path before it is opened."""

    def opened_by_library(self, path: str, mode: str) -> str:
        """Receive a path before a library opens it without Python; without a mode, it may change the file."""

    def moved(self, path: str) -> str:
        """Receive the new name of a file before it is renamed."""

    def sought(self, path: str) -> str:
        """Receive a path that does not exist; one that exists is used instead."""

    def listed(self, path: str) -> str:
        """Receive a folder before it is listed."""

    def is_left(self, path: str) -> bool:
        """Return whether a folder was made by an earlier run of the script, and not by this one yet."""

    def is_hidden(self, path: str) -> bool:
        """Return whether a path is not the script's, and is left out when its folder is listed."""

    def entered_folder(self, path: str) -> str:
        """Receive a folder before it becomes the working directory."""

    def named_folder(self) -> None:
        """Note that the script itself has asked for its working directory."""


_CAPTURING = ((pathlib, "_NormalAccessor"), (glob, "_StringGlobber"), (glob, "_Globber"))
"""Classes of Python that keep functions of ``os`` as attributes: of 3.10, and of 3.13 and later."""


_MOVING = ("rename", "replace")
_SEEKING = ("stat", "lstat")
_LISTING = ("listdir", "scandir")
_ASKING = frozenset({__name__, stand_in.__module__, "posixpath", "pathlib"})
"""Modules between a script and ``os.getcwd``: from Python 3.13 on, pathlib is a package."""


_READING = ("list_layers", "open_arrow", "read_arrow", "read_bounds", "read_dataframe", "read_info")
_OPENING: Mapping[str, Mapping[str, int]] = {
    "fiona": {"open": 0},
    "geopandas": {"read_feather": 0, "read_parquet": 0},
    "pyogrio": {**dict.fromkeys(_READING, 0), "write_arrow": 1, "write_dataframe": 1},
    "rasterio": {"open": 0},
    "sqlite3": {"connect": 0},
}
"""Functions of libraries that open files without Python, and the position of the path among their arguments."""

_MODES = {"connect": "", "write_arrow": "r+", "write_dataframe": "r+"}
"""Modes of those that change a file (``""`` if they may read or change it); others have a mode, or read it."""


@contextlib.contextmanager
def watch_paths(watcher: PathWatcher, threads: WeakSet[threading.Thread]) -> Iterator[WeakKeyDictionary[Any, str]]:
    """Pass the paths of this thread, and of threads that it starts, to a watcher inside the block.

    Python's own functions and those built on them are covered: ``open``, ``os.stat``, ``os.path.exists``,
    ``os.listdir``, ``os.scandir``, ``os.walk``, ``glob``, ``pathlib``, ``shutil``. Of libraries in C that open files by
    themselves, some are.

    Args:
        threads: threads that earlier blocks have left running, as zarr and fsspec do: they are watched too. Those that
            this block leaves are added.

    Yields:
        Files that are opened to be written, with their absolute paths.
    """
    functions = _WatchedFunctions(watcher, threads)
    opens = stand_in(io, "open", functions.open)
    of_os = {
        name: stand_in(os, name, partial(method, name))
        for names, method in (
            (_MOVING, functions.move),
            (_SEEKING, functions.seek),
            (_LISTING, functions.list),
            (("access",), functions.access),
            (("mkdir",), functions.mkdir),
            (("chdir",), functions.chdir),
            (("getcwd",), functions.getcwd),
        )
        for name in names
    }
    by_original = {id(builtins.open): opens, **{id(getattr(os, name)): function for name, function in of_os.items()}}
    with contextlib.ExitStack() as stack:
        stack.enter_context(replace_names(builtins, open=opens))
        stack.enter_context(replace_names(io, open=opens))
        for module, name in _CAPTURING:
            kept = vars(getattr(module, name, object))
            replacements = {key: by_original.get(id(getattr(value, "__func__", value))) for key, value in kept.items()}
            there = {key: staticmethod(function) for key, function in replacements.items() if function is not None}
            if there:
                stack.enter_context(replace_names(getattr(module, name), **there))
        stack.enter_context(replace_names(os, **of_os))

        def change(module: ModuleType, positions: Mapping[str, int]) -> None:
            for name, position in positions.items():
                function = partial(functions.open_by_library, present_function(module, name), name, position)
                stack.enter_context(replace_names(module, **{name: stand_in(module, name, function)}))

        changes = {name: partial(change, positions=positions) for name, positions in _OPENING.items()}
        stack.enter_context(change_imported(changes))
        try:
            yield functions.written
        finally:
            threads.update({*threading.enumerate()} - functions.others - {threading.current_thread()})


class _WatchedFunctions:
    """Replacements of Python's functions: they pass paths to a watcher, then call the original functions.

    Threads that already run are not watched, unless calls have started them.
    """

    def __init__(self, watcher: PathWatcher, threads: WeakSet[threading.Thread]) -> None:
        self._watcher = watcher
        self.written: WeakKeyDictionary[Any, str] = WeakKeyDictionary()
        # Threads themselves: the identifier of one that has ended is another's.
        self.others = {*threading.enumerate()} - {threading.current_thread(), *threads}
        self._open = present_function(builtins, "open")
        names = (*_MOVING, *_SEEKING, *_LISTING, "access", "mkdir", "chdir", "getcwd")
        self._originals = {name: present_function(os, name) for name in names}

    def _is_watched(self, path: Any) -> bool:
        return isinstance(path, (str, PurePath)) and threading.current_thread() not in self.others

    def open(self, file: Any, mode: str = "r", *args: Any, **options: Any) -> Any:
        """Open a file as ``open`` does."""
        there = _as_given(file, self._watcher.opened(str(file), mode)) if self._is_watched(file) else file
        opened = self._open(there, mode, *args, **options)
        if self._is_watched(file) and set(mode) & set("wax+"):
            self.written[opened] = str(PurePath(self._originals["getcwd"](), there))
        return opened

    def open_by_library(
        self, function: Callable[..., Any], name: str, position: int, *args: Any, **options: Any
    ) -> Any:
        """Call a function of a library with the path that the watcher returns."""
        arguments = list(args)
        if position < len(args) and self._is_watched(path := args[position]):
            mode = _MODES.get(name, "r")
            if name == "open":
                mode = options.get("mode", args[1] if len(args) > 1 else "r")
            arguments[position] = _as_given(path, self._watcher.opened_by_library(str(path), mode))
            there = pathlib.Path(arguments[position])
            if name == "connect" and there.is_symlink():  # else it writes what others write, too, and the run copies
                arguments[position] = f"{there.absolute().as_uri()}?mode=ro"
                options["uri"] = True
        return function(*arguments, **options)

    def move(self, name: str, source: Any, target: Any, *args: Any, **options: Any) -> None:
        """Rename a file to the name that the watcher returns."""
        there = _as_given(target, self._watcher.moved(str(target))) if self._is_watched(target) else target
        self._originals[name](source, there, *args, **options)

    def seek(self, name: str, path: Any, *args: Any, **options: Any) -> Any:
        """Return the status of a file, or of what the watcher has in its place if it does not exist."""
        original = self._originals[name]
        try:
            return original(path, *args, **options)
        except FileNotFoundError:
            if not self._is_watched(path) or options.get("dir_fd") is not None:
                raise
            with contextlib.suppress(FileNotFoundError):
                return original(self._watcher.sought(str(path)), *args, **options)
            raise

    def access(self, name: str, path: Any, *args: Any, **options: Any) -> bool:
        """Return whether a file, or what the watcher has in its place, may be accessed."""
        original = self._originals[name]
        if original(path, *args, **options):
            return True
        return self._is_watched(path) and bool(original(self._watcher.sought(str(path)), *args, **options))

    def mkdir(self, name: str, path: Any, *args: Any, **options: Any) -> None:
        """Make a folder, also in one that the watcher has."""
        make = self._originals[name]
        try:
            make(path, *args, **options)
        except FileNotFoundError:
            if not self._is_watched(path):
                raise
            self._watcher.sought(str(PurePath(path).parent))
            make(path, *args, **options)
        except FileExistsError:
            if not (self._is_watched(path) and self._watcher.is_left(str(path))):
                raise

    def list(self, name: str, path: Any = ".") -> Any:
        """List a folder without hidden files."""
        folder = "." if path is None else path
        if not self._is_watched(folder):
            return self._originals[name](folder)
        entries = self._originals[name](_as_given(folder, self._watcher.listed(str(folder))))
        if name == "scandir":
            return _Entries(entries, self._watcher)
        return [entry for entry in entries if not self._watcher.is_hidden(str(PurePath(folder, entry)))]

    def chdir(self, name: str, path: Any) -> None:
        """Change the working directory to the one that the watcher returns."""
        self._originals[name](self._watcher.entered_folder(str(path)) if self._is_watched(path) else path)

    def getcwd(self, name: str) -> str:
        """Return the working directory, and tell the watcher if the script has asked for it, also by ``abspath``."""
        frame = sys._getframe(1)
        while frame.f_back is not None and frame.f_globals.get("__name__", "").partition("._")[0] in _ASKING:
            frame = frame.f_back
        if threading.current_thread() not in self.others and is_of_script(frame):
            self._watcher.named_folder()
        return str(self._originals[name]())


def _as_given(path: Any, there: str) -> Any:
    """Return a path in the type in which it was given, unless the watcher changed it."""
    return path if there == str(path) else there


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
