"""Where a script's relative paths lead: into a folder of the run, with what the script reads linked into it."""

from __future__ import annotations

import builtins
import contextlib
import io
import os
import shutil
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePath
from typing import Any

_MOST_FOLDERS = 1000
"""Folders at most that are made in advance because the script names the one above them."""


class Stage:
    """A folder in which a script, or one call of it, runs.

    What the script opens for reading and is not there is linked from other folders, in their order.

    Attributes:
        folder: the folder; made when it is entered.
        outside: files that were written by absolute path since it was entered.
        appended: files that were opened to add to what is there, by relative path.

    Args:
        folder: absolute.
        sources: folders to read from, absolute.
        inputs: files below the sources to link at once: not everything is opened by Python.
        folders: folders below it to make at once.
    """

    def __init__(
        self, folder: Path, sources: Sequence[Path], inputs: Iterable[str] = (), folders: Iterable[str] = ()
    ) -> None:
        self.folder, self._sources = folder, sources
        self._inputs, self._folders = tuple(inputs), tuple(folders)
        self.outside: dict[str, None] = {}
        self.appended: dict[str, None] = {}

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Makes the folder the working directory inside the block."""
        self._prepare()
        self.outside, self.appended = {}, {}
        before = Path.cwd()
        os.chdir(self.folder)
        try:
            with self._opening():
                yield
        finally:
            os.chdir(before)

    def files(self) -> list[str]:
        """Files that were written, below the folder, in order."""
        found = []
        for directory, _, names in os.walk(self.folder):
            paths = (Path(directory, name) for name in names)
            found += [path.relative_to(self.folder).as_posix() for path in paths if not path.is_symlink()]
        return sorted(found)

    def unlink(self) -> None:
        """Removes the links."""
        for directory, _, names in os.walk(self.folder):
            for path in (Path(directory, name) for name in names):
                if path.is_symlink():
                    path.unlink()

    def clear(self) -> None:
        """Removes the folder and all that is in it."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _prepare(self) -> None:
        for name in ("", *self._folders):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        for name in self._inputs:
            self._link(name)

    def _link(self, name: str) -> None:
        path = self.folder / name
        if path.exists():
            return
        for source in self._sources:
            if (source / name).is_file():
                path.parent.mkdir(parents=True, exist_ok=True)
                with contextlib.suppress(FileExistsError):  # a link to what is no longer there, or another thread's
                    path.symlink_to(source / name)
                return

    @contextlib.contextmanager
    def _opening(self) -> Iterator[None]:
        """Inside the block ``open`` tells the stage which files it opens, in this thread and those that are started."""
        original = builtins.open
        others = {thread.ident for thread in threading.enumerate()} - {threading.get_ident()}

        def opening(file: Any, mode: str = "r", *args: Any, **options: Any) -> Any:
            if isinstance(file, (str, PurePath)) and threading.get_ident() not in others:
                self._note(str(file), mode)
            return original(file, mode, *args, **options)

        builtins.open = io.open = opening
        try:
            yield
        finally:
            builtins.open = io.open = original

    def _note(self, name: str, mode: str) -> None:
        is_written = isinstance(mode, str) and bool(set(mode) & set("wax+"))
        if Path(name).is_absolute():
            if is_written and not Path(name).is_relative_to("/dev"):
                self.outside[name] = None
        elif not is_written:
            self._link(os.path.normpath(name))
        elif "a" in mode:
            self.appended[os.path.normpath(name)] = None


def named_inputs(texts: Iterable[str], source: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Which of some texts name something in a folder, by relative path.

    Args:
        texts: of the script, or its arguments.
        source: the folder.

    Returns:
        Files, with those that belong to a shapefile; and folders, with those below them.
    """
    files: dict[str, None] = {}
    folders: dict[str, None] = {}
    for text in texts:
        path = PurePath(text)
        if path.is_absolute() or ".." in path.parts or not path.parts or "\0" in text:
            continue
        found = source / path
        if found.is_file():
            siblings = found.parent.glob(f"{found.stem}.*") if found.suffix.lower() == ".shp" else (found,)
            files.update(dict.fromkeys(sibling.relative_to(source).as_posix() for sibling in siblings))
        elif found.is_dir():
            folders.update(dict.fromkeys(subfolders(found, source)))
    return tuple(files), tuple(folders)


def subfolders(top: Path, root: Path) -> list[str]:
    """A folder and those below it, but for hidden ones, relative to another; a thousand at most."""
    found: list[str] = []
    for directory, names, _ in os.walk(top):
        names[:] = sorted(name for name in names if not name.startswith("."))
        found.append(Path(directory).relative_to(root).as_posix())
        if len(found) >= _MOST_FOLDERS:
            break
    return found
