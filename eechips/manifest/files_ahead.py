"""Read the files of units that have several, in step with the units."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


class FilesAhead:
    """The files of units that have several, read in step with the units.

    Args:
        rows: rows of :func:`~eechips.manifest.ledger_queries.read_unit_files`, in the order of the plan.
    """

    def __init__(self, rows: Iterator[tuple[Any, ...]]) -> None:
        self._rows = rows
        self._next: tuple[Any, ...] | None = next(rows, None)

    def of(self, position: int) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of the unit at a position; positions ascend."""
        while self._next is not None and self._next[0] == position:
            yield self._next
            self._next = next(self._rows, None)
