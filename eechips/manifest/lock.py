"""One process at a time in an output folder."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from eechips.errors import RunLockedError, StorageError
from eechips.staging import no_locks

LOCK_NAME = ".eechips.lock"


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds the folder for the duration of the block; the kernel lets go if the process dies.

    Raises:
        RunLockedError: if another process holds it.
        StorageError: if the folder cannot be written, or its file system has no locks.
    """
    path = folder / LOCK_NAME
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    except OSError as error:
        raise StorageError(f"cannot use {folder} as output folder: {error.strerror or error}") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 32).decode(errors="replace").strip()
            raise RunLockedError(
                f"process {holder or '?'} is running in {folder}: wait for it, or choose another folder with --out"
            ) from None
        except OSError as error:
            raise no_locks(folder, error) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def is_held(folder: Path) -> bool:
    """Whether a process runs in a folder."""
    try:
        with (folder / LOCK_NAME).open("rb") as file:
            # Nobody's lock is tried in vain: for the moment that takes, no run could begin.
            with contextlib.suppress(PermissionError):  # it is there, and another user's
                os.kill(int(file.read(32)), 0)
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except (FileNotFoundError, ProcessLookupError, ValueError):  # nobody ever was here, or is no more
        return False
    return False
