"""Pause requests to hosts that are not reached, or that ask for a pause (Retry-After), in all processes together."""

from __future__ import annotations

import fcntl
import hashlib
import os
import random
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from eechips_local.archives.archive_clock import CLOCK, Clock
from eechips_local.archives.archive_errors import ArchiveError, away
from eechips_local.archives.files.range_cache import RangeCache
from eechips_local.archives.hosts.first_responses import FirstResponses

_FAILURES = 3  # one after the other, after which a host is away
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 8.0  # seconds between requests to a host that is away
_LONGEST_DEMAND = 600.0  # seconds; a host cannot stop a server for longer
_LOOK = 0.25  # seconds
_BYTES = 1 << 20  # of what is kept


@dataclass(frozen=True, slots=True)
class HostPause:
    """A host that is left alone.

    Attributes:
        until: seconds since 1970.
        failures: requests without a response, one after the other; 0 where the host has demanded the pause.
    """

    until: float
    failures: int


class HostPauses:
    """Hosts that are left alone. A host that is away is asked by one request at a time, less and less often.

    Threads and processes may share it; it pickles. Where files cannot be written, each process has pauses of its own.

    Args:
        folder: folder of the files; it is created.
        since: see ``FirstResponses``.

    Attributes:
        responses: whether a host has responded.
        clock: their clock.
    """

    def __init__(self, folder: Path, since: float | None = None, clock: Clock = CLOCK) -> None:
        self.folder, self.clock = folder, clock
        self.responses = FirstResponses(folder / "answered", since)
        self._kept = RangeCache(folder, _BYTES)
        self._lock = threading.Lock()
        self._failures: Counter[str] = Counter()
        self._own: dict[str, HostPause] = {}

    def __reduce__(self) -> tuple[type[HostPauses], tuple[Path, float, Clock]]:
        return HostPauses, (self.folder, self.responses.since, self.clock)

    @contextmanager
    def wait(self, host: str, patience: float) -> Iterator[None]:
        """Wait until a host may be asked; while it is away, until this is the request that asks it.

        Args:
            host: name and port.
            patience: seconds to wait at most.

        Raises:
            ArchiveAwayError: if the host is away for longer.
            ArchiveError: if it wants no requests for longer.
        """
        end = self.clock.monotonic() + patience
        with ExitStack() as stack:
            while host and (pause := self._read(host)) is not None:  # files of this machine have no host
                left = pause.until - self.clock.time()
                if left <= 0 and self._is_turn(host, stack):
                    break
                if self.clock.monotonic() + (0 if pause.failures else left) >= end:
                    raise away(host) if pause.failures else ArchiveError(f"{host} wants no requests for {left:.0f} s.")
                self.clock.sleep(min(max(left, 0.05), _LOOK))
            yield

    def is_away(self, host: str) -> bool:
        """Return whether the last requests to a host had no response."""
        pause = self._read(host)
        return pause is not None and pause.failures > 0

    def note_response(self, host: str) -> None:
        """Note that a host has answered."""
        self.responses.note()
        with self._lock:
            self._failures.pop(host, None)
        pause = self._read(host)
        if pause is not None and (pause.failures or pause.until <= self.clock.time()):
            self._remove(host)

    def note_failure(self, host: str) -> None:
        """Note that a host has not answered."""
        with self._lock:
            self._failures[host] += 1
            failures = self._failures[host]
        pause = self._read(host)
        failures = max(failures, pause.failures + 1 if pause is not None and pause.failures else 0)
        if failures >= _FAILURES:
            longest = min(_FIRST_PAUSE * 2.0 ** min(failures - _FAILURES, 10), _LONGEST_PAUSE)
            self._write(host, HostPause(self.clock.time() + longest * random.uniform(0.75, 1.0), failures))

    def demand(self, host: str, seconds: float) -> None:
        """Note that a host wants no request for some seconds."""
        if seconds > 0:
            self._write(host, HostPause(self.clock.time() + min(seconds, _LONGEST_DEMAND), 0))

    def _is_turn(self, host: str, stack: ExitStack) -> bool:
        """Return whether this may ask a host, and no other until the end of the stack."""
        with ExitStack() as own:
            try:
                name = f"turn-{hashlib.sha256(host.encode()).hexdigest()[:16]}"
                handle = os.open(self.folder / name, os.O_RDWR | os.O_CREAT, 0o600)
                own.callback(os.close, handle)
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            except OSError:  # a folder that cannot be written to
                return True
            pause = self._read(host)
            if pause is not None and pause.until > self.clock.time():  # another has asked meanwhile
                return False
            stack.enter_context(own.pop_all())
            return True

    def _read(self, host: str) -> HostPause | None:
        """Return the pause of a host; one that is longer than any, as the clock was set back, ends now."""
        kept = self._kept.get(host)
        pause = self._own.get(host)
        if kept is not None:
            until, failures = kept.split()
            pause = HostPause(float(until), int(failures))
        if pause is None:
            return None
        now = self.clock.time()
        longest = _LONGEST_PAUSE if pause.failures else _LONGEST_DEMAND
        return pause if pause.until - now <= longest else HostPause(now, pause.failures)

    def _write(self, host: str, pause: HostPause) -> None:
        self._kept.put(host, f"{pause.until!r} {pause.failures}".encode())
        if self._kept.get(host) is None:  # a folder that cannot be written to
            self._own[host] = pause

    def _remove(self, host: str) -> None:
        self._own.pop(host, None)
        self._kept.remove(host)
