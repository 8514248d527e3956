"""Write run.log: the events of a run, one JSON object per line."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

from eechips.errors import StorageError
from eechips.storage import resolve_inside
from eechips.text.timestamps import utc_now
from eechips.web.redaction import redact

LOG_NAME = "run.log"


class RunLog:
    """Append to the log of an output folder. Use it in a ``with`` block.

    Args:
        folder: the output folder.

    Raises:
        StorageError: if the file cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self._writing = threading.Lock()
        try:
            self._file = resolve_inside(folder / LOG_NAME, folder).open(
                "a", encoding="utf-8", errors="backslashreplace", buffering=1
            )
        except OSError as error:
            raise StorageError(f"could not write {folder / LOG_NAME}: {error.strerror or error}") from error

    def __enter__(self) -> RunLog:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, event: str, **fields: Any) -> None:
        """Append a line, without secrets. Threads may share a log."""
        line = json.dumps({"time": utc_now(), "event": event, **fields}, ensure_ascii=False, default=str)
        with self._writing:
            self._file.write(redact(line) + "\n")
