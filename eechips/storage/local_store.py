"""Store results in a local folder: write files under a temporary name, then rename them, flush them at the end, and
refuse links that lead out.

After a power failure, resuming finds files of another size.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
from collections.abc import Iterable, Iterator
from io import FileIO
from pathlib import Path
from typing import Any

from eechips.errors import StorageError, UsageError
from eechips.files.abandoned_files import sweep_folder
from eechips.files.hashes import hash_file
from eechips.files.removal import TemporaryName, remove, replace
from eechips.files.temporary_names import Writer, new_writer, temporary_name
from eechips.storage.paths import is_inside, resolve_inside
from eechips.storage.result_names import check_name
from eechips.storage.store import StagedFile, StoredFile

_MISNAMED = (errno.EISDIR, errno.ENOTEMPTY, errno.ENAMETOOLONG, errno.EILSEQ)
"""Errors of a file's name, not of its folder or the disk: a folder has the name, or it is too long."""


class LocalStore:
    """A folder of results on a local disk."""

    is_overwritten = False

    def __init__(self, root: Path) -> None:
        self.root = root
        self._prefix = f"{root}/"  # text instead of Path, which is slower to join several times for every result
        self._inner: dict[str, tuple[int, int] | None] = {}  # folders that are inside the root, by device and inode

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.root,)

    def path(self, name: str) -> Path:
        """Return the path of a name, for writing or removing.

        Raises:
            UsageError: if the name is absolute, or leads out of the root, by itself or through a link.
        """
        return Path(self._inside(name))

    def file(self, name: str) -> Path:
        """Return the path of a file for reading, which need not exist.

        Raises:
            UsageError: if it is outside the root, or not a regular file (reading a pipe would not end).
        """
        return resolve_inside(self._inside(name), self.root)

    def read(self, name: str) -> bytes:
        """Return the content of a file.

        Raises:
            FileNotFoundError: if it does not exist.
            UsageError: as :meth:`file`.
        """
        return self.file(name).read_bytes()

    def read_range(self, name: str, start: int, end: int) -> bytes:
        """Return the bytes of a file from a position up to another; fewer if the file ends before.

        Raises:
            FileNotFoundError: if it does not exist.
            UsageError: as :meth:`file`.
        """
        with self.file(name).open("rb") as file:
            file.seek(start)
            return file.read(end - start)

    def size(self, name: str) -> int | None:
        """Return the size of a file in bytes; None if it does not exist."""
        path = self.path(name)
        return path.stat().st_size if path.is_file() else None

    def sha256(self, name: str) -> str:
        """Return the SHA-256 of a file, hexadecimal, read in blocks.

        Raises:
            FileNotFoundError: if it does not exist.
            UsageError: as :meth:`file`.
        """
        return hash_file(self.file(name))

    def _inside(self, name: str) -> str:
        folder = check_name(name).rpartition("/")[0]
        if folder:
            inode = _device_and_inode(self._prefix + folder)
            if inode is None or self._inner.get(folder) != inode:  # once, unless another takes the folder's place
                if not is_inside(self._prefix + folder, self.root):
                    raise UsageError(
                        f"'{name}' lies outside {self.root}: {folder} is a link that leads out of it. Link the whole"
                        " output folder instead"
                    )
                self._inner[folder] = inode
        return self._prefix + name

    def stage(self, name: str, data: bytes, token: str) -> StagedFile:
        """Write a file under a temporary name in its final folder.

        The file then survives the end of this process; :meth:`flush` writes it to the disk.

        Args:
            name: final path below the root.
            token: token of the writer; see :func:`eechips.files.temporary_names.temporary_name`.

        Raises:
            StorageError: if it cannot be written; no temporary file is left.
            UsageError: if the file system does not support the name, a folder has the name, or a file has the name of
                the folder.
        """
        temporary = temporary_name(name, token)
        path = self._inside(temporary)
        try:
            if os.path.isdir(self._prefix + name):  # noqa: PTH112 - for each of a million results
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            try:
                _write(path, data)
            except FileNotFoundError:
                Path(path).parent.mkdir(parents=True, exist_ok=True)
                _write(path, data)
        except OSError as error:
            with contextlib.suppress(OSError):  # the folder may be the cause
                remove(Path(path), TemporaryName())
            raise self._failed(self.root / name, error) from error
        return StagedFile(name=name, temporary=temporary, size=len(data), sha256=hashlib.sha256(data).hexdigest())

    def commit(self, staged: StagedFile) -> None:
        """Give a staged file its name atomically, and replace an existing file.

        Raises:
            StorageError: if the file system reports an error.
            UsageError: as :meth:`stage`.
        """
        if staged.data is not None:
            staged = self.stage(staged.name, staged.data, str(new_writer()))
        try:
            try:
                replace(self._inside(staged.temporary), self._inside(staged.name))
            except FileNotFoundError:  # staged on another machine
                self.path(staged.name).parent.mkdir(parents=True, exist_ok=True)
                replace(self._inside(staged.temporary), self._inside(staged.name))
        except OSError as error:
            raise self._failed(self.root / staged.name, error) from error

    def create(self, name: str, data: bytes) -> bool:
        """Write a file, complete at once, unless one with its name exists.

        Of several processes that create a file at the same time, also on machines that share the folder, one succeeds:
        link(2) does not replace files.

        Returns:
            Whether this call wrote it.

        Raises:
            StorageError: if it cannot be written, or the file system has no hard links.
            UsageError: as :meth:`stage`.
        """
        staged = self.stage(name, data, str(new_writer()))
        temporary = Path(self._inside(staged.temporary))
        try:
            os.link(temporary, self._inside(name))
        except FileExistsError:
            return temporary.stat().st_nlink == 2  # NFS may repeat a request that has succeeded (open(2), O_EXCL)
        except OSError as error:
            raise self._failed(self.root / name, error) from error
        finally:
            self.discard(staged)
        return True

    def flush(self) -> None:
        """Flush the file system once for all files; flushing each takes milliseconds."""
        os.sync()

    def discard(self, staged: StagedFile) -> None:
        """Remove a staged file that will not be committed."""
        if staged.data is None:
            remove(self.path(staged.temporary), TemporaryName())

    def files(self, folders: Iterable[str]) -> Iterator[StoredFile]:
        """Yield the files directly in folders, with one listing per folder.

        The time of a change is that of the inode (``st_ctime``), which a program cannot set as it can the time of the
        content. Files that other processes rename or remove meanwhile are omitted.
        """
        for folder in folders:
            directory = self.root if folder in ("", ".") else self.path(f"{folder}/_").parent
            if not directory.is_dir():
                continue
            prefix = f"{folder}/" if folder not in ("", ".") else ""
            with os.scandir(directory) as entries:
                for entry in entries:
                    try:
                        about = entry.stat() if entry.is_file() else None
                    except FileNotFoundError:
                        continue
                    if about is not None:
                        yield StoredFile(prefix + entry.name, about.st_size, about.st_ctime)

    def sweep(self, asking: Writer, *, own: bool = False) -> int:
        """Remove abandoned temporary files and scratch folders; see :mod:`eechips.files.abandoned_files`."""
        return sweep_folder(self.root, asking, own=own)

    def _file_above(self, path: Path) -> Path | None:
        """Return the file below the root that a path uses as a folder; None if there is none."""
        above = (folder for folder in path.parents if folder != self.root and folder.is_relative_to(self.root))
        return next((folder for folder in above if folder.is_file()), None)

    def _failed(self, path: Path, error: OSError) -> StorageError | UsageError:
        if error.errno in _MISNAMED:
            return UsageError(f"no file can have the name {path}: {error.strerror or error}; choose another one")
        if error.errno in (errno.ENOTDIR, errno.EEXIST) and (file := self._file_above(path)) is not None:
            return UsageError(
                f"no file can have the name {path}: {file} is a file. Choose another name, or move"
                " the file away and run eechips retry"
            )
        return StorageError.of_write(path, error)


def _device_and_inode(folder: str) -> tuple[int, int] | None:
    """Return device and inode of a folder, behind a link that it may be; None if it cannot be read."""
    try:
        about = os.stat(folder)  # noqa: PTH116 - for each of a million results
    except OSError:
        return None
    return about.st_dev, about.st_ino


def _write(path: str, data: bytes) -> None:
    """Write a new file; what has its temporary name, such as a link that leads elsewhere, is removed first."""
    try:
        file = FileIO(path, "xb")
    except FileExistsError:
        remove(Path(path), TemporaryName())
        file = FileIO(path, "xb")
    with file:
        left = memoryview(data)
        while left:  # an unbuffered write may be partial
            left = left[file.write(left) or 0 :]
