"""Provide a working folder for a script in the run, with links to its inputs, and list what it has written."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path, PurePath
from weakref import WeakSet

from eechips.errors import UsageError
from eechips.files.removal import LockedFolder, NamedPath, remove, remove_empty, remove_link, remove_tree
from eechips.manifest.reserved_names import OF_EVERY_RUN, result_name
from eechips.scripts.named_inputs import subfolders, with_siblings
from eechips.scripts.replacements.path_access import watch_paths
from eechips.storage.paths import is_device


class WorkingFolder:
    """The working folder of a script, or of one of its calls.

    Missing files that the script opens for reading, tests for or lists are linked from other folders, in their order.
    A folder of these that it enters is one of the same name in the working folder.

    Attributes:
        folder: the folder; made when it is entered.
        outside: files written by paths outside the folder since it was entered.
        appended: files opened for appending, by relative path.
        using: receives the relative path and mode of each file that is opened to be appended to, read or changed.
        tested: files of the sources whose existence was tested since it was entered, by relative path.
        names_cwd: whether the script has asked for its working directory, and may have made absolute paths from it.
        renamed: name under which each file is saved whose own name is reserved for a file of the run.
        peculiar: paths that :meth:`files` has omitted: pipes, sockets, links to other folders.
        has_database: whether a database that was opened since it was entered is a link to an input.

    Args:
        folder: absolute path.
        sources: folders to read from, absolute.
        inputs: files below the sources to link at once, since libraries may open them without Python.
        folders: folders below it to make at once.
        appends_apart: whether a file opened for appending begins empty, since additions are joined later.
        names_cwd: whether the script had asked for its working directory before.
        threads: threads of the script that run already.
        is_again: whether its folders are of an earlier run: code that creates one again does not fail.
    """

    def __init__(
        self,
        folder: Path,
        sources: Sequence[Path],
        inputs: Iterable[str] = (),
        folders: Iterable[str] = (),
        *,
        appends_apart: bool = False,
        names_cwd: bool = False,
        threads: WeakSet[threading.Thread] | None = None,
        is_again: bool = False,
    ) -> None:
        self._appends_apart, self.names_cwd, self.has_database = appends_apart, names_cwd, False
        self._threads: WeakSet[threading.Thread] = WeakSet() if threads is None else threads
        self.folder, self._sources = folder, sources
        self._inputs, self._folders = tuple(inputs), tuple(folders)
        self.outside: dict[str, None] = {}
        self.tested: dict[str, None] = {}
        self.appended: dict[str, None] = {}
        self.using: Callable[[str, str], None] = lambda *_: None
        self.renamed: dict[str, str] = {}
        self.peculiar: list[str] = []
        self._links, self._copies = dict[Path, tuple[int, int]](), dict[Path, tuple[int, int]]()
        self._shown: set[str] = set()
        self._made: list[Path] = []
        self._is_again, self._left = is_again, set[str]()
        self._suspensions = 0
        self._busy = threading.local()

    @contextlib.contextmanager
    def entered(self, at: str = ".") -> Iterator[None]:
        """Make the folder the working directory inside the block.

        Args:
            at: a folder below it to begin in, or another folder, absolute.
        """
        for name in ("", *self._folders):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        for name in self._inputs:
            self._link(name)
        self._left = set(subfolders(self.folder, self.folder)) if self._is_again else set()
        self.outside, self.appended, self.tested, self.has_database = {}, {}, {}, False
        before = Path.cwd()
        if not Path(at).is_absolute():
            (self.folder / at).mkdir(parents=True, exist_ok=True)
        os.chdir(self.folder / at)
        try:
            with watch_paths(self, self._threads) as self.written:
                yield
        finally:
            os.chdir(before)

    @contextlib.contextmanager
    def suspended(self) -> Iterator[None]:
        """Do not watch paths inside the block, in which the run works, not the script."""
        self._suspensions += 1
        try:
            yield
        finally:
            self._suspensions -= 1

    @property
    def cwd(self) -> str:
        """The working directory: below the folder, or absolute."""
        return self._relative(".") or str(Path.cwd())

    def files(self) -> list[str]:
        """List the written files below the folder, sorted.

        Links to inputs are omitted, unless the input was written through the link. Links that the script has made to
        its own files count as files.
        """
        written_files: list[str] = []
        self.peculiar = []
        root = self.folder.resolve()
        for directory, folders, names in os.walk(self.folder):
            links = [name for name in folders if Path(directory, name).is_symlink()]
            for path in (Path(directory, name) for name in (*names, *links)):
                name = path.relative_to(self.folder).as_posix()
                if self._is_own(path):
                    if self._is_changed(path):
                        written_files.append(name)
                elif path.is_file() and path.resolve().is_relative_to(root):
                    if _state(path) != self._copies.get(path):
                        written_files.append(name)
                else:
                    self.peculiar.append(name)
        return sorted(written_files)

    def show_results(self, texts: Iterable[str]) -> None:
        """Link the files of the first source that texts name: libraries may open them without Python.

        Files of the others, which a library could change through a link, are linked when the script looks for them.
        """
        source = self._sources[0]
        with self._watching():
            for name in filter(None, map(self._relative, texts)):
                for sibling in with_siblings(source / name, source) if (source / name).is_file() else ():
                    self._link(sibling)

    def remove_links(self) -> None:
        """Remove the links, and copies that are unchanged; files written through links are moved into place."""
        for path, state in self._copies.items():
            if path.is_file() and _state(path) == state:
                remove(path, LockedFolder(self.folder))
        for directory, folders, names in os.walk(self.folder):
            for path in filter(self._is_own, (Path(directory, name) for name in (*folders, *names))):
                self._copy(path) if self._is_changed(path) else remove_link(path)
        for folder in reversed(self._made):
            remove_empty(folder)
        self._forget()

    def clear(self) -> None:
        """Remove the folder with its content: a scratch folder of this process."""
        remove_tree(self.folder, NamedPath())
        self._forget()

    def _forget(self) -> None:
        self._links.clear()
        self._copies.clear()
        self._shown.clear()
        self._made.clear()

    def _link(self, name: str) -> None:
        path = self.folder / name
        if self._is_own(path) and path.exists():  # perhaps of a run that was killed
            self._links.setdefault(path, _state(path))
        if path.exists() or name in self._shown:  # it was shown, and the script has removed it
            return
        inputs = {source / name for source in self._sources}
        for source in self._sources:
            there = source / name
            if there.is_file() and not (there.is_symlink() and there.readlink() in inputs):  # the script's own link
                self._shown.add(name)
                self._make(path.parent)
                with contextlib.suppress(FileExistsError):  # a dangling link, or one of another thread
                    path.symlink_to(there)
                    self._links[path] = _state(path)
                for sibling in with_siblings(source / name, source):
                    self._link(sibling)
                return

    def _show_folder(self, name: str) -> None:
        """Make a folder that a source has. Its content is shown when it is listed."""
        self._shown.add(name)
        self._make(self.folder / name)

    def _make(self, folder: Path) -> None:
        """Make a folder, which is removed at the end if it is empty."""
        self._made += reversed([ancestor for ancestor in (folder, *folder.parents) if not ancestor.exists()])
        folder.mkdir(parents=True, exist_ok=True)

    def _sources_of(self, name: str) -> Iterator[Path]:
        """Yield the sources in which a file or folder may be shown: not the run's own, and no source within another."""
        for source in () if _is_of_run(name) else self._sources:
            below = [other for other in (self.folder, *self._sources) if other != source and source in other.parents]
            there = source / name
            if source != self.folder and not any(other == there or other in there.parents for other in below):
                yield source

    def _is_own(self, path: Path) -> bool:
        """Return whether a path is a link to an input."""
        if not path.is_symlink():
            return False
        name = path.relative_to(self.folder)
        return path.readlink() in {source / name for source in self._sources}

    def _is_changed(self, path: Path) -> bool:
        """Return whether the target of a link was written by a library that does not open files through Python."""
        is_written = path.is_file() and _state(path) != self._links.get(path, _state(path))
        return is_written and not _is_output(path) and str(path.readlink()) not in self.outside  # else by its own path

    def _copy(self, path: Path) -> None:
        """Replace the link to an input by a copy."""
        target = path.resolve()
        remove_link(path)
        shutil.copyfile(target, path)
        self._copies[path] = _state(path)

    # What a script does with a path (:class:`eechips.scripts.replacements.path_access.PathWatcher`).

    def opened(self, path: str, mode: str) -> str:
        """Link an input before it is read, keep inputs unchanged when their names are written, and note the path."""
        with self._watching() as is_watching:
            if not is_watching:
                return path
            is_written = isinstance(mode, str) and bool(set(mode) & set("wax+"))
            relative = self._relative(path)
            if relative is None and not is_written:
                return path if Path(path).exists() else self._beside(path)
            if relative is None:
                if not Path(path).parent.exists():
                    folder = Path(self._beside(str(Path(path).parent)))
                    path = str(folder / Path(path).name) if folder.is_dir() else path
                if not is_device(Path(path)):
                    self.outside[str(Path(path).absolute())] = None
            elif self._is_of_every_run(relative):
                return self._renamed(relative, path, is_written=is_written)
            elif not is_written:
                self._link(relative)
                self.using(relative, "r")
            else:
                parent = PurePath(relative).parent.as_posix()
                if not (self.folder / parent).exists() and any((s / parent).is_dir() for s in self._sources_of(parent)):
                    self._show_folder(parent)
                self._detach(relative, mode)
                self.appended.update({relative: None} if "a" in mode else {})
                self.using(relative, mode)
            return path

    def opened_by_library(self, path: str, mode: str) -> str:
        """Show an input that a library opens; the script's own process changes a copy of it."""
        if set(mode) & set("wax"):
            return path
        changes_copy = not mode and not self._appends_apart and self._relative(path) is not None
        there = self.opened(path, "r+" if changes_copy else mode or "r")
        self.has_database = self.has_database or (not mode and Path(there).is_symlink())
        return there

    def _renamed(self, relative: str, path: str, *, is_written: bool) -> str:
        """Return the path of a file of the script that is called as one of the run, which would replace it."""
        own = self.folder / f"script-{relative}"
        if is_written:
            self.renamed[relative] = own.name
        return str(own) if is_written or own.is_file() else path

    def moved(self, path: str) -> str:
        """Note a file that is moved out of the folder, and keep the files of the run."""
        with self._watching() as is_watching:
            relative = self._relative(path)
            if is_watching and relative is None:
                self.outside[str(Path(path).absolute())] = None
            elif is_watching and relative is not None and self._is_of_every_run(relative):
                return self._renamed(relative, path, is_written=True)
            return path

    def _is_of_every_run(self, relative: str) -> bool:
        return not self._appends_apart and relative.casefold() in OF_EVERY_RUN

    def sought(self, path: str) -> str:
        """Show a file or folder of the sources whose existence is tested."""
        with self._watching() as is_watching:
            relative = self._relative(path)
            if not is_watching or relative is None:
                return self._beside(path) if is_watching else path
            sources = list(self._sources_of(relative))
            if sources and relative not in self._shown and any((source / relative).is_dir() for source in sources):
                self._show_folder(relative)
            elif sources:
                self._link(relative)
                if relative in self._shown:
                    self.tested[relative] = None
            return path

    def listed(self, path: str) -> str:
        """Show all files and folders that a folder has in the sources."""
        with self._watching() as is_watching:
            relative = self._relative(path)
            if not is_watching or relative is None:
                return self._beside(path) if is_watching else path
            for source in self._sources_of(relative):
                if not (source / relative).is_dir():
                    continue
                with os.scandir(source / relative) as entries:
                    listing = sorted((Path(relative, entry.name).as_posix(), entry.is_dir()) for entry in entries)
                for below, is_folder in listing:
                    if below not in self._shown and source in self._sources_of(below):
                        (self._show_folder if is_folder else self._link)(below)
            return path

    def is_left(self, path: str) -> bool:
        """Return whether a folder is of an earlier run of the script, and this one has not made it yet."""
        name = self._relative(path)
        is_left = name in self._left
        self._left.discard(name or "")
        return is_left

    def is_hidden(self, path: str) -> bool:
        """Return whether a path is that of a file of the run itself."""
        with self._watching() as is_watching:
            relative = self._relative(path) if is_watching else None
            return relative is not None and _is_of_run(relative)

    def entered_folder(self, path: str) -> str:
        """Return the folder below this one that stands for a folder of a source: what is written there is a result."""
        with self._watching() as is_watching:
            relative = self._relative(path)
            if not is_watching:
                return path
            if relative is not None:
                if any((source / relative).is_dir() for source in self._sources_of(relative)):
                    self._show_folder(relative)
                return path
            meant = [Path(os.path.normpath(Path(candidate).absolute())) for candidate in (path, self._beside(path))]
            for source in self._sources:
                for folder in meant:
                    if folder.is_relative_to(source) and folder.is_dir():
                        below = folder.relative_to(source)
                        self._show_folder(below.as_posix())
                        return str(self.folder / below)
            return path

    def named_folder(self) -> None:
        """Note that the script has asked for its working directory."""
        with self._watching() as is_watching:
            self.names_cwd = self.names_cwd or is_watching

    def import_folders(self) -> list[str]:
        """Return folders of the sources that entries of ``sys.path`` mean: Python looks for them in this folder."""
        folders: list[str] = []
        with self._watching():
            for entry, source in itertools.product(filter(None, sys.path), self._sources):
                below = self._relative(entry)
                meant = _counterpart(entry, self.folder, source) if below is None else str(source / below)
                if meant is not None and Path(meant).is_dir():
                    folders.append(meant)
        return folders

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
        """Return a path relative to the folder, "." for itself; None if it is outside."""
        path = os.path.normpath(Path(name).absolute())
        for root in (str(self.folder), os.path.realpath(self.folder)):
            if path == root or path.startswith(root + os.sep):
                return path[len(root) + 1 :] or "."
        return None

    def _beside(self, name: str) -> str:
        """Return the path beside a source that a path out of the folder means; the path itself if none is.

        Such a path is relative, or a script has made it absolute from its working directory, here or where it opened
        the pool, as by ``os.path.dirname(os.getcwd())``. Other absolute paths mean themselves.
        """
        if not Path(name).is_absolute():
            here = self._relative(".")
            candidates = [] if here is None else [os.path.normpath(source / here / name) for source in self._sources]
        elif self.names_cwd and not os.path.lexists(name):
            pairs = itertools.combinations((self.folder, *self._sources), 2)
            candidates = [path for folder, source in pairs if (path := _counterpart(name, folder, source)) is not None]
        else:
            candidates = []
        return next(filter(os.path.lexists, candidates), name)

    @contextlib.contextmanager
    def _watching(self) -> Iterator[bool]:
        """Yield whether a path is the script's, and not one that this class uses meanwhile."""
        is_busy = getattr(self._busy, "is_set", False)
        self._busy.is_set = True
        try:
            yield not is_busy and not self._suspensions
        finally:
            self._busy.is_set = is_busy


def _counterpart(name: str, folder: Path, source: Path) -> str | None:
    """Return the path that is to a source as an absolute path is to the folder in its place.

    Returns:
        None if the path is outside of the folder's parents, or in a parent that they share: there it means itself.
    """
    shared = Path(os.path.commonpath((os.path.normpath(name), folder)))
    is_above_source = source.is_relative_to(shared)
    steps = len(folder.parts) - len(shared.parts)
    if is_above_source or steps > len(source.parts) - 2:  # the root of the file system is beside nothing
        return None
    return os.path.normpath(source / os.path.relpath(name, folder))


def _is_of_run(name: str) -> bool:
    """Return whether a relative path is that of a file of the run itself."""
    try:
        return name != "." and not result_name(name)
    except UsageError:
        return True


def _state(path: Path) -> tuple[int, int]:
    """Return the size and time that reveal whether a file was written."""
    there = path.stat()
    return there.st_mtime_ns, there.st_size


def _is_output(path: Path) -> bool:
    """Return whether the output of this process goes to a file, as that of ``eechips run script.py > log.txt``."""
    there = path.stat()
    for descriptor in (1, 2):
        with contextlib.suppress(OSError):  # it is closed
            if os.path.samestat(os.fstat(descriptor), there):
                return True
    return False
