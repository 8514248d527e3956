"""Share one access token between the processes of a run: one process refreshes it for all.

The state is kept in anonymous memory (memfd_create(2)): it is never in a file on a disk, and only processes that
inherit its descriptor can read it. POSIX record locks guard it. The kernel drops the locks of a process that dies, so
that another process starts the refresh again. When the lease of a refresh that hangs expires, another process takes
over.

Where the system has no such memory (macOS), each process refreshes its own token.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from multiprocessing.context import assert_spawning
from multiprocessing.reduction import DupFd
from typing import Any

from eechips.client.shared_cells import allocate_anonymous_memory

_SIZE = 64 << 10
"""Bytes of the state at most. The longest tokens of Google have 12 KiB, those of its Security Token Service
(https://docs.cloud.google.com/docs/authentication/token-types)."""
_HEADER = 8  # bytes: length and CRC-32 of what follows
_STATE, _REFRESH = 0, 1
"""Bytes of the file whose locks guard the state, for a moment, and the refresh, for as long as it takes."""
_LEASE = 90.0
"""Seconds after which a refresh that has not ended is taken over, although its process lives: that may be stopped."""
FIRST_DELAY = 1.0
"""Seconds after which a refresh that failed is tried again; it doubles."""


@dataclass(frozen=True, slots=True)
class TokenState:
    """State of an access token. Times are on the monotonic clock, which the processes of a machine share.

    Attributes:
        generation: how many tokens have been obtained.
        token: the access token; empty if there is none.
        expiry: when it expires, as google.auth says it (UTC, ISO 8601 without a zone); None for never.
        stale_from: when it is to be replaced.
        expires_at: until when it can be used.
        failure: why the last refresh failed; empty if it did not.
        is_final: whether no repeat of that can help.
        not_before: when to refresh again, after a failure.
        delay: seconds from the next failure to the next refresh.
        lease_until: until when the refresh under way is not taken over.
    """

    generation: int = 0
    token: str = field(default="", repr=False)
    expiry: str | None = None
    stale_from: float = float("-inf")
    expires_at: float = float("-inf")
    failure: str = ""
    is_final: bool = False
    not_before: float = float("-inf")
    delay: float = FIRST_DELAY
    lease_until: float = 0.0


class SharedToken:
    """The state of a token, and the right to refresh it.

    It can be pickled only to start a process, which shares it then.

    Args:
        is_shared: whether other processes are to share it; else it belongs to this one.
        clock: seconds, monotonic, the same in all processes, by which leases expire.
    """

    def __init__(self, *, is_shared: bool = False, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._descriptor = allocate_anonymous_memory("eechips-token", _SIZE) if is_shared else None
        self._own = TokenState()
        self._threads = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        assert_spawning(self)
        descriptor = None if self._descriptor is None else DupFd(self._descriptor)
        return {"descriptor": descriptor, "clock": self._clock}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._clock = state["clock"]
        self._descriptor = None
        if state["descriptor"] is not None:
            self._descriptor = state["descriptor"].detach()
            os.set_inheritable(self._descriptor, False)  # not for programs that a recipe starts
        self._own = TokenState()
        self._threads = threading.Lock()

    def read(self) -> TokenState:
        """Return the state as it is now."""
        with self._locked():
            return self._load()

    def update(self, change: Callable[[TokenState], TokenState]) -> TokenState:
        """Change the state.

        Args:
            change: returns the new state; nothing else changes it meanwhile.

        Returns:
            The new state.
        """
        with self._locked():
            state = change(self._load())
            self._store(state)
            return state

    def acquire(self) -> bool:
        """Take the right to refresh, unless another process has it.

        Call :meth:`release` afterwards, and read the state again first: it may just have been refreshed.

        Returns:
            Whether it was taken.
        """
        with self._locked():
            state, now = self._load(), self._clock()
            if not self._try_lock() and now < state.lease_until:
                return False
            self._store(replace(state, lease_until=now + _LEASE))
            return True

    def release(self) -> None:
        """Give back the right to refresh."""
        with self._locked():
            self._store(replace(self._load(), lease_until=0.0))
            if self._descriptor is not None:
                fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 1, _REFRESH)

    def _try_lock(self) -> bool:
        if self._descriptor is None:
            return True
        try:
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _REFRESH)
        except (BlockingIOError, PermissionError):  # EAGAIN or EACCES, as the system likes: fcntl(2)
            return False
        return True

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with self._threads:  # record locks belong to processes: they do not keep threads apart
            if self._descriptor is None:
                yield
                return
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX, 1, _STATE)
            try:
                yield
            finally:
                fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 1, _STATE)

    def _load(self) -> TokenState:
        """Return the state; that of the beginning if its writer died halfway."""
        if self._descriptor is None:
            return self._own
        header = os.pread(self._descriptor, _HEADER, 0)
        length, checksum = int.from_bytes(header[:4], "big"), int.from_bytes(header[4:], "big")
        data = os.pread(self._descriptor, min(length, _SIZE), _HEADER)
        if not data or zlib.crc32(data) != checksum:
            return TokenState()
        return TokenState(**json.loads(data))

    def _store(self, state: TokenState) -> None:
        self._own = state
        if self._descriptor is None:
            return
        data = _encode(state)
        if len(data) > _SIZE - _HEADER:  # each process refreshes its own
            data = _encode(replace(state, token=""))
        header = len(data).to_bytes(4, "big") + zlib.crc32(data).to_bytes(4, "big")
        os.pwrite(self._descriptor, header + data, 0)


def _encode(state: TokenState) -> bytes:
    return json.dumps(asdict(state)).encode()
