"""Provide a working folder for a script in the run, with links to its inputs."""

from __future__ import annotations

import builtins
import contextlib
import glob
import io
import os
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path, PurePath
from typing import Any

from eechips.removal import NamedPath, remove_link, remove_tree

_MOST_FOLDERS = 1000
"""Maximum folders made in advance below folders that the script names."""


class Sandbox:
    """The working folder of a script, or of one of its calls.

    Missing files that the script opens for reading are linked from other folders, in their order.

    Attributes:
        folder: the folder; made when it is entered.
        outside: files written by paths outside the folder since it was entered.
        appended: files opened for appending, by relative path.
        peculiar: paths that :meth:`files` has omitted, since they are not regular files: pipes, sockets, links to
            other folders.

    Args:
        folder: absolute path.
        sources: folders to read from, absolute.
        inputs: files below the sources to link at once, since libraries may open them without Python.
        folders: folders below it to make at once.
        appends_apart: whether a file opened for appending begins empty, since additions are joined later.
    """

    def __init__(
        self,
        folder: Path,
        sources: Sequence[Path],
        inputs: Iterable[str] = (),
        folders: Iterable[str] = (),
        *,
        appends_apart: bool = False,
    ) -> None:
        self._appends_apart = appends_apart
        self.folder, self._sources = folder, sources
        self._inputs, self._folders = tuple(inputs), tuple(folders)
        self.outside: dict[str, None] = {}
        self.appended: dict[str, None] = {}
        self.peculiar: list[str] = []
        self._links: dict[Path, tuple[int, int]] = {}

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Make the folder the working directory inside the block."""
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
        """List the written files below the folder, sorted.

        Links to inputs are omitted, unless the input was written through the link. Links that the script has made to
        its own files count as files.
        """
        found: list[str] = []
        self.peculiar = []
        root = self.folder.resolve()
        for directory, folders, names in os.walk(self.folder):
            links = [name for name in folders if Path(directory, name).is_symlink()]
            for path in (Path(directory, name) for name in (*names, *links)):
                name = path.relative_to(self.folder).as_posix()
                if self._is_own(path):
                    if self._is_changed(path):
                        found.append(name)
                elif path.is_file() and path.resolve().is_relative_to(root):
                    found.append(name)
                else:
                    self.peculiar.append(name)
        return sorted(found)

    def remove_links(self) -> None:
        """Remove the links; files written through links are moved into place."""
        for directory, folders, names in os.walk(self.folder):
            for path in (Path(directory, name) for name in (*folders, *names)):
                if self._is_own(path):
                    if self._is_changed(path):
                        self._copy(path)
                    else:
                        remove_link(path)
        self._links.clear()

    def clear(self) -> None:
        """Remove the folder with its content: a scratch folder of this process."""
        remove_tree(self.folder, NamedPath())
        self._links.clear()

    def _prepare(self) -> None:
        for name in ("", *self._folders):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        for name in self._inputs:
            self._link(name)

    def _link(self, name: str) -> None:
        path = self.folder / name
        if self._is_own(path) and path.exists():  # perhaps of a run that was killed
            self._links.setdefault(path, _state(path))
        if path.exists():
            return
        for source in self._sources:
            if (source / name).is_file():
                path.parent.mkdir(parents=True, exist_ok=True)
                with contextlib.suppress(FileExistsError):  # a dangling link, or one of another thread
                    path.symlink_to(source / name)
                    self._links[path] = _state(path)
                return

    def _is_own(self, path: Path) -> bool:
        """Return whether a path is a link to an input."""
        if not path.is_symlink():
            return False
        name = path.relative_to(self.folder)
        return path.readlink() in {source / name for source in self._sources}

    def _is_changed(self, path: Path) -> bool:
        """Return whether the target of a link was written by a library that does not open files through Python."""
        return path.is_file() and _state(path) != self._links.get(path, _state(path))

    def _copy(self, path: Path) -> None:
        """Replace the link to an input by a copy."""
        target = path.resolve()
        remove_link(path)
        shutil.copyfile(target, path)

    @contextlib.contextmanager
    def _opening(self) -> Iterator[None]:
        """Track the files that ``open`` opens inside the block, in this thread and threads that it starts."""
        original = builtins.open
        others = {thread.ident for thread in threading.enumerate()} - {threading.get_ident()}

        def opening(file: Any, mode: str = "r", *args: Any, **options: Any) -> Any:
            if isinstance(file, (str, PurePath)) and threading.get_ident() not in others:
                self._note(str(file), mode)
            return original(file, mode, *args, **options)

        def moving(move: Callable[..., None]) -> Callable[..., None]:
            def moved(source: Any, target: Any, *args: Any, **options: Any) -> None:
                move(source, target, *args, **options)
                if isinstance(target, (str, PurePath)) and threading.get_ident() not in others:
                    self._note_moved(str(target))

            return moved

        moves = os.rename, os.replace
        builtins.open = io.open = opening
        os.rename, os.replace = moving(os.rename), moving(os.replace)
        try:
            yield
        finally:
            builtins.open = io.open = original
            os.rename, os.replace = moves

    def _note(self, name: str, mode: str) -> None:
        is_written = isinstance(mode, str) and bool(set(mode) & set("wax+"))
        relative = self._relative(name)
        if relative is None:
            if is_written and not Path(name).is_relative_to("/dev"):
                self.outside[str(Path(name).absolute())] = None
        elif not is_written:
            self._link(relative)
        else:
            self._detach(relative, mode)
            if "a" in mode:
                self.appended[relative] = None

    def _note_moved(self, name: str) -> None:
        if self._relative(name) is None:
            self.outside[str(Path(name).absolute())] = None

    def _detach(self, name: str, mode: str) -> None:
        """Remove or copy the link to an input before a file of its name is written, so that inputs stay unchanged."""
        path = self.folder / name
        if "+" in mode and not set(mode) & set("wax"):
            self._link(name)
        if self._is_own(path):
            if "r" in mode or ("a" in mode and not self._appends_apart):
                self._copy(path)
            else:
                remove_link(path)

    def _relative(self, name: str) -> str | None:
        """Return a path relative to the folder; None if it is outside."""
        path = os.path.normpath(Path(name).absolute())
        for root in (str(self.folder), os.path.realpath(self.folder)):
            if path.startswith(root + os.sep):
                return path[len(root) + 1 :]
        return None


def _state(path: Path) -> tuple[int, int]:
    """Return the size and time that reveal whether a file was written."""
    there = path.stat()
    return there.st_mtime_ns, there.st_size


def named_inputs(texts: Iterable[str], source: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Find the texts that name files or folders below a folder by a relative path.

    A file may be named in parts, as by ``os.path.join("data", "fields.geojson")``: a folder, and a file in or below it.

    Args:
        texts: of the script, or its arguments.
        source: the folder.

    Returns:
        Files, with all files of a shapefile; and folders, with their subfolders.
    """
    files: dict[str, None] = {}
    folders: dict[str, None] = {}
    names: set[str] = set()
    for text in texts:
        path = PurePath(text)
        if path.is_absolute() or ".." in path.parts or not path.parts or "\0" in text:
            continue
        found = source / path
        if found.is_file():
            files.update(dict.fromkeys(_with_siblings(found, source)))
        elif found.is_dir():
            folders.update(dict.fromkeys(subfolders(found, source)))
        elif len(path.parts) == 1:
            names.add(text)
    for folder in folders:
        with os.scandir(source / folder) as entries:
            named = sorted(entry.name for entry in entries if entry.name in names and entry.is_file())
        for name in named:
            files.update(dict.fromkeys(_with_siblings(source / folder / name, source)))
    return tuple(files), tuple(folders)


def _with_siblings(file: Path, source: Path) -> list[str]:
    """Return a file, and all files of a shapefile, relative to a folder."""
    siblings = file.parent.glob(f"{glob.escape(file.stem)}.*") if file.suffix.lower() == ".shp" else (file,)
    return [sibling.relative_to(source).as_posix() for sibling in siblings]


def subfolders(top: Path, root: Path) -> list[str]:
    """Return a folder and its subfolders, except hidden ones, relative to another folder; at most a thousand."""
    found: list[str] = []
    for directory, names, _ in os.walk(top):
        names[:] = sorted(name for name in names if not name.startswith("."))
        found.append(Path(directory).relative_to(root).as_posix())
        if len(found) >= _MOST_FOLDERS:
            break
    return found
