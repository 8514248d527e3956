"""Write run.log: the events of a run, one JSON object per line."""

from __future__ import annotations

import contextlib
import json
import threading
from pathlib import Path
from typing import Any

from eechips.errors import StorageError
from eechips.manifest.run_status import LOG_NAME
from eechips.storage import resolve_inside
from eechips.text.timestamps import utc_now
from eechips.web.redaction import redact


class RunLog(contextlib.AbstractContextManager["RunLog"]):
    """Append to the log of an output folder. Use it in a ``with`` block.

    Raises:
        StorageError: if the file cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self._writing, self._path = threading.Lock(), folder / LOG_NAME
        try:  # without a buffer, whose rest would raise again when the file is closed
            self._file = resolve_inside(self._path, folder).open("ab", buffering=0)
        except OSError as error:
            raise StorageError.of_write(self._path, error) from error

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, event: str, **fields: Any) -> None:
        """Append a line, without secrets. Threads may share a log. Raise StorageError if the file cannot be written."""
        line = json.dumps({"time": utc_now(), "event": event, **fields}, ensure_ascii=False, default=_as_json)
        left = memoryview(f"{redact(line)}\n".encode(errors="backslashreplace"))
        with self._writing:
            try:
                while left:  # an unbuffered write may be partial
                    left = left[self._file.write(left) or 0 :]
            except OSError as error:
                raise StorageError.of_write(self._path, error) from error


def _as_json(value: object) -> Any:
    """Return a value that JSON lacks as one that it has: sets as lists, others as text."""
    return sorted(value) if isinstance(value, frozenset) else str(value)
