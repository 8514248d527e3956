"""The order of rows in a partition: by place, then by time. Streams in that order are merged without holding them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from eechips.catalogs.columns import boxes_of, starts_of
from eechips.catalogs.extents import centres

_BITS = 16  # of a longitude or latitude: 0.0055 degrees


def keys(table: pa.Table) -> npt.NDArray[np.uint64]:
    """What rows are sorted by, shape (n,).

    The upper half is the place of a box's middle on a Morton curve, so that rows of neighbouring places lie near each
    other and groups of rows cover little; the lower half the second at which the item begins.
    """
    longitudes, latitudes = centres(boxes_of(table))
    top = (1 << _BITS) - 1
    x = _spread(np.clip((longitudes + 180.0) / 360.0 * top, 0, top))
    y = _spread(np.clip((latitudes + 90.0) / 180.0 * top, 0, top))
    seconds = starts_of(table).astype("datetime64[s]").astype(np.int64) & 0xFFFFFFFF
    return ((x | (y << np.uint64(1))) << np.uint64(32)) | seconds.astype(np.uint64)


def in_order(table: pa.Table) -> pa.Table:
    """The same rows in order; those of one place and time by their ids."""
    order = pc.sort_indices(
        pa.table({"key": keys(table), "id": table["id"]}), sort_keys=[("key", "ascending"), ("id", "ascending")]
    )
    return table.take(order)


def merged(sources: Sequence[Iterator[pa.Table]]) -> Iterator[list[pa.Table | None]]:
    """Rows of several streams, each in order, side by side.

    Args:
        sources: tables, each stream in the order of :func:`keys`.

    Yields:
        For each stream the rows that it has of the next stretch of the order, or None. All rows of one key come
        together; no more is held than that and a table of each stream.
    """
    heads = [_Head(source) for source in sources]
    while sum(head.load() for head in heads):
        # Rows before the last key that is known of each stream cannot be preceded by what is still to come.
        bounds = [head.last for head in heads if head.has_more]
        if not bounds:
            yield [head.take(None) for head in heads]
            return
        parts = [head.take(min(bounds)) for head in heads]
        if all(part is None for part in parts):
            for head in heads:  # a whole table of one key: the next is needed to know where it ends
                if head.has_more and head.last == min(bounds):
                    head.extend()
        else:
            yield parts


def at_once(sources: Sequence[Iterator[pa.Table]]) -> list[pa.Table | None]:
    """Of each stream all rows, or None: a single stretch of :func:`merged`, for streams that fit into memory."""
    found = [[table for table in source if len(table)] for source in sources]
    return [pa.concat_tables(tables) if tables else None for tables in found]


class _Head:
    """The beginning of what is left of a stream."""

    def __init__(self, source: Iterator[pa.Table]) -> None:
        self._source = source
        self._table: pa.Table | None = None
        self._keys: npt.NDArray[np.uint64] = np.empty(0, np.uint64)
        self._next = self._read()

    @property
    def has_more(self) -> bool:
        """Whether rows come after those that are loaded."""
        return self._next is not None

    @property
    def last(self) -> int:
        """The last key that is loaded."""
        return int(self._keys[-1])

    def load(self) -> bool:
        """Sees to it that rows are loaded; returns whether there are any."""
        if not len(self._keys) and self._next is not None:
            self.extend()
        return len(self._keys) > 0

    def extend(self) -> None:
        """Loads a further table."""
        assert self._next is not None
        self._table = self._next if not len(self._keys) else pa.concat_tables([self._table, self._next])
        self._keys = keys(self._table)
        self._next = self._read()

    def take(self, bound: int | None) -> pa.Table | None:
        """Removes the rows before a key, or all."""
        count = len(self._keys) if bound is None else int(np.searchsorted(self._keys, np.uint64(bound)))
        if not count or self._table is None:
            return None
        taken = self._table.slice(0, count)
        self._table, self._keys = self._table.slice(count), self._keys[count:]
        return taken

    def _read(self) -> pa.Table | None:
        return next((table for table in self._source if len(table)), None)


def _spread(values: npt.NDArray[np.float64]) -> npt.NDArray[np.uint64]:
    """The bits of 16-bit numbers with a zero before each."""
    found = values.astype(np.uint64)
    for shift, mask in ((8, 0x00FF00FF), (4, 0x0F0F0F0F), (2, 0x33333333), (1, 0x55555555)):
        found = (found | (found << np.uint64(shift))) & np.uint64(mask)
    return found
