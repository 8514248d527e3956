"""Count what is read of catalogues, to show that queries read little."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping

KINDS = ("schemas", "partitions", "row_groups", "rows", "ids", "headers", "remade")
"""Schema files; partitions that were opened, row groups and rows of them that were looked through; ids that were read
to find images by; headers of GeoTIFFs; requests that were retried because a catalogue had changed."""


class Reads:
    """Counts. Threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()

    def add(self, **counts: int) -> None:
        """Count some of ``KINDS``."""
        with self._lock:
            self._counts.update(counts)

    def take(self) -> Mapping[str, int]:
        """Return the counts since the last call, and reset them."""
        with self._lock:
            counts, self._counts = dict(self._counts), Counter()
        return counts
