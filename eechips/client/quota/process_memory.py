"""Lay out the memory that the processes of a run share, out of reach of others: records of doubles.

A field is read and written in the memory itself. All times are on the monotonic clock, which processes of one machine
share; booleans are 0 and 1.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import tempfile
import threading
from multiprocessing.context import BaseContext
from typing import Any, TypeVar

from eechips.errors import ConfigurationError, StorageError


def allocate_shared_memory(size: int) -> int:
    """Allocate memory of zeros that only processes with its descriptor can reach, and return its descriptor.

    It belongs to no file (memfd_create(2)), or to an unlinked one if the system has no such memory (macOS) or forbids
    it. It is allocated now: a hole would end the process when memory is short, or the disk full.
    """
    try:
        try:
            descriptor = os.memfd_create("eechips-throttle")
        except (AttributeError, OSError):
            with tempfile.TemporaryFile(prefix="eechips-throttle-") as file:
                descriptor = os.dup(file.fileno())
        os.pwrite(descriptor, bytes(size), 0)
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


T = TypeVar("T", bound=ctypes.Structure)


def _doubles(record: type[T]) -> type[T]:
    """Make the annotations of a record its fields, in their order: doubles, and pairs of them."""
    kinds: dict[str, Any] = {"float": ctypes.c_double, "list[float]": ctypes.c_double * 2}
    record._fields_ = [(name, kinds[annotation]) for name, annotation in record.__annotations__.items()]
    return record


@_doubles
class CongestionCells(ctypes.Structure):
    """State of a :class:`~eechips.client.quota.congestion.CongestionController`."""

    limit: float
    ceiling: float
    share: float
    too_high_at: float
    lowered_at: float
    grown_at: float
    ramping: float
    restricted: float
    free: float
    window_at: float
    window_count: float
    pace: float
    wait: float
    raised: float
    signs: float
    bound: float
    ramped_at: float
    answers: float
    doubts: float


@_doubles
class RunCells(ctypes.Structure):
    """State of the throttle of a run, of all its processes together.

    Attributes:
        rate: requests a second; 0 for no limit.
        tokens: in the bucket; negative if requests wait for theirs.
        refilled: time of the last change of the tokens.
        closed_until: no request is sent before this time.
        offline: time at which the service became unreachable; 0 while it can be reached.
        woken: threads that are woken and have not tried yet: those that begin a unit, and those that continue one.
        learns: whether the throttle learns the limit itself.
        asked_until: end of a long pause that the service has requested.
        asked: seconds of such pauses.
        reserved: permits of other runs that share the quota.
        reserved_idle: permits among these that the other runs could not use.
        own_most: permits that this run may have at most.
        lease_end: time on the lease clock after which the run has few permits.
        peak: most permits that were held at once since the last measurement.
    """

    rate: float
    tokens: float
    refilled: float
    closed_until: float
    stopped: float
    offline: float
    most_requests: float
    most_bytes: float
    woken: list[float]
    learns: float
    asked_until: float
    asked: float
    reserved: float
    reserved_idle: float
    own_most: float
    lease_end: float
    peak: float


@_doubles
class ClientCells(ctypes.Structure):
    """State of one client of a throttle: a process.

    Attributes:
        held: permits that it holds.
        paced: requests among these that wait for their token.
        waiting: threads that wait for a permit to begin a unit, and to continue one.
        rejected: requests that the service rejected with 429.
        received: bytes received.
        share: permits that a process on another machine has.
        seen: time at which a thread began to wait for the last time.
    """

    held: float
    paced: float
    waiting: list[float]
    sent: float
    rejected: float
    received: float
    share: float
    seen: float


class SharedCells:
    """The records of a throttle in shared memory."""

    def __init__(self, descriptor: int, clients: int) -> None:
        memory = mmap.mmap(descriptor, self.size(clients))
        self.congestion = CongestionCells.from_buffer(memory)
        self.run = RunCells.from_buffer(memory, ctypes.sizeof(CongestionCells))
        first = ctypes.sizeof(CongestionCells) + ctypes.sizeof(RunCells)
        self.clients = list((ClientCells * clients).from_buffer(memory, first))

    @staticmethod
    def size(clients: int) -> int:
        """Return the bytes for so many clients."""
        return ctypes.sizeof(CongestionCells) + ctypes.sizeof(RunCells) + clients * ctypes.sizeof(ClientCells)
