"""Allocate the memory and the semaphores that the processes of a run share, out of reach of other processes."""

from __future__ import annotations

import os
import tempfile
import threading
from multiprocessing.context import BaseContext
from typing import Any

from eechips.errors import ConfigurationError, StorageError


def allocate_anonymous_memory(name: str, size: int) -> int | None:
    """Allocate memory that only processes with its descriptor can reach (memfd_create(2)).

    Args:
        name: what the system shows of it in ``/proc``.
        size: bytes. They are zero, and allocated now: a hole would end the process when memory is short.

    Returns:
        The descriptor; None if the system has no such memory (macOS), or forbids it.

    Raises:
        OSError: if there is not enough memory.
    """
    try:
        descriptor = os.memfd_create(name)
    except (AttributeError, OSError):
        return None
    os.pwrite(descriptor, bytes(size), 0)
    return descriptor


def allocate_shared_memory(size: int) -> int:
    """Allocate memory, or an unlinked file of zeros if the system has none, and return its descriptor."""
    try:
        descriptor = allocate_anonymous_memory("eechips-throttle", size)
        if descriptor is None:
            with tempfile.TemporaryFile(prefix="eechips-throttle-") as file:
                descriptor = os.dup(file.fileno())
            os.pwrite(descriptor, bytes(size), 0)  # a hole would end the process once the disk is full
    except OSError as error:
        raise ConfigurationError(
            f"no shared memory for the quota of the run in {tempfile.gettempdir()}: {error.strerror or error}. Set"
            " TMPDIR to a folder that can be written"
        ) from error
    return descriptor


def make_semaphore(context: BaseContext | None) -> Any:
    """Return a semaphore of this process, or of all processes of a context.

    Raises:
        StorageError: if the system has no place for one; Linux keeps them in /dev/shm.
    """
    if context is None:
        return threading.Semaphore(0)
    try:
        return context.Semaphore(0)
    except OSError as error:
        raise StorageError(
            f"worker processes share memory in /dev/shm, which cannot be used ({error.strerror or error}): make it"
            " writable, or run with executor='threads'"
        ) from error
