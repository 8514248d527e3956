"""Tell whether an archive has answered since a server was started, in any of its processes."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path


class FirstResponses:
    """Whether there was an answer since a moment. Threads and processes may share it; it pickles.

    Args:
        place: file whose time is that of an answer; None, or one that cannot be written, to tell it of this process
            only.
        since: the moment, in seconds since 1970; now by default.

    Attributes:
        since: the moment.
    """

    def __init__(self, place: Path | None, since: float | None = None) -> None:
        self._place, self.since = place, time.time() if since is None else since
        self._is_noted = False

    def __reduce__(self) -> tuple[type[FirstResponses], tuple[Path | None, float]]:
        return FirstResponses, (self._place, self.since)

    def note(self) -> None:
        """Note an answer."""
        if self._is_noted:
            return
        self._is_noted = True
        if self._place is not None:
            with contextlib.suppress(OSError):
                self._place.parent.mkdir(parents=True, exist_ok=True)
                self._place.touch(0o600)
                moment = max(time.time(), self.since)  # the clock may have been set back
                os.utime(self._place, (moment, moment))  # that of the file system may be older

    def __bool__(self) -> bool:
        if self._is_noted or self._place is None:
            return self._is_noted
        try:
            return self._place.stat().st_mtime >= self.since
        except OSError:
            return False
