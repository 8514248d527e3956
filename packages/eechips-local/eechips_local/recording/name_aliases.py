"""Names that stand for those that the service invents: of thumbnails, tables and maps, and of pages.

The service names each thumbnail anew, at random, and whoever knows the name can fetch it. A recording has names that
follow from the request which created them instead, so that a replay knows which GET belongs to which POST.
"""

from __future__ import annotations

import threading
from collections import OrderedDict

PAGE_PREFIX = "page-"
_MOST = 100_000


class NameAliases:
    """The service's names by those of the recording. Threads may share it."""

    def __init__(self) -> None:
        self._names: OrderedDict[str, str] = OrderedDict()
        self._lock = threading.Lock()

    def add(self, alias: str, name: str) -> None:
        """Have an alias stand for a name from now on; the oldest alias is forgotten where there are too many."""
        with self._lock:
            self._names[alias] = name
            self._names.move_to_end(alias)
            if len(self._names) > _MOST:
                self._names.popitem(last=False)

    def find(self, alias: str) -> str | None:
        """Return the name for which an alias stands; None for none."""
        with self._lock:
            return self._names.get(alias)
