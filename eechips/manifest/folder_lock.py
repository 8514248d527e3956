"""Lock an output folder, so that one process at a time writes to it."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from eechips.errors import RunLockedError, StorageError
from eechips.files.removal import LockedFolder, register_lock, remove
from eechips.files.temporary_names import Writer, is_running, new_writer
from eechips.storage import resolve_inside

LOCK_NAME = ".eechips.lock"
_LONGEST = 128  # bytes of the note of the holder
_descriptors: dict[Path, int] = {}  # of the lock files that this process holds, by folder


@contextlib.contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Lock the folder for the duration of the block; the kernel releases it if the process dies.

    Raises:
        RunLockedError: if another process holds it.
        StorageError: if the folder cannot be written, or its file system has no locks.
    """
    descriptor = _acquire(folder)
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()} {new_writer()}\n".encode(), 0)
        _descriptors[folder.absolute()] = descriptor
        with register_lock(folder):
            yield
    finally:
        _descriptors.pop(folder.absolute(), None)
        os.close(descriptor)


def check_lock(folder: Path) -> None:
    """Check whether a folder, absolute, is still the one that this process has locked, if it has.

    Raises:
        StorageError: if not: what is written there now would be in another folder than the ledger, or in that of
            another run.
    """
    descriptor = _descriptors.get(folder)
    if descriptor is not None and not _is_same(descriptor, folder / LOCK_NAME):
        raise StorageError(
            f"{folder}, or its {LOCK_NAME}, was moved, replaced or removed during the run, which ends so that it writes"
            " to no other folder. Repeat the command; if the folder was moved, with its new name as `out`"
        )


@contextlib.contextmanager
def lock_file(path: Path) -> Iterator[None]:
    """Lock a file for the duration of the block, which waits for other processes; make the file if there is none.

    Raises:
        StorageError: if the file cannot be made, or its file system has no locks.
    """
    descriptor = _open(path)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError as error:
            raise _no_locks(path.parent, error) from error
        yield
    finally:
        os.close(descriptor)


def remove_lock(folder: Path) -> None:
    """Remove the lock file of a folder that this process has locked, before the folder is removed."""
    remove(folder / LOCK_NAME, LockedFolder(folder))


def is_held(folder: Path) -> bool:
    """Return whether a process runs in a folder, on this machine or on another one that shares its file system."""
    try:
        with resolve_inside(folder / LOCK_NAME, folder).open("rb") as file:
            # Nobody's lock is tried in vain: for the moment that takes, no run could begin.
            holder = file.read(_LONGEST).decode(errors="replace").strip().partition(" ")[2]
            if is_running(Writer.parse(holder)) is False:
                return False
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except (FileNotFoundError, ValueError, OverflowError):  # the folder was never locked
        return False
    except OSError as error:
        raise _no_locks(folder, error) from error
    return False


def waiting_clause(folder: Path) -> str:
    """Return what comes before the next command in a message if a process runs in a folder; else an empty text."""
    return "wait for the command that is running there, then " if is_held(folder) else ""


def _open(path: Path) -> int:
    """Return the descriptor of a lock file, which is made if there is none."""
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
    except OSError as error:
        raise StorageError.of_output(path.parent, error) from error


def _acquire(folder: Path) -> int:
    """Return the descriptor of the lock file of a folder, locked."""
    path = folder / LOCK_NAME
    while True:
        descriptor = _open(path)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_same(descriptor, path):
                return descriptor
        except BlockingIOError:
            holder = os.read(descriptor, _LONGEST).decode(errors="replace").split()
            os.close(descriptor)
            raise RunLockedError(
                f"process {holder[0] if holder else '?'} is running in {folder}: wait for it, or choose another "
                "folder (`out`)"
            ) from None
        except OSError as error:
            os.close(descriptor)
            raise _no_locks(folder, error) from error
        os.close(descriptor)  # its holder has removed it meanwhile, so that it locks nothing


def _is_same(descriptor: int, path: Path) -> bool:
    """Return whether a path still leads to an open file."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except FileNotFoundError:
        return False


def _no_locks(folder: Path, error: OSError) -> StorageError:
    """Return the error of a folder whose file system has no locks."""
    return StorageError(
        f"{folder} cannot be locked ({error.strerror or error}): its file system has no working flock, so two commands "
        "could write there at once. Choose a folder on a local disk, or mount the file system with locks (Lustre: "
        "-o flock; NFS: start its lock service)"
    )
