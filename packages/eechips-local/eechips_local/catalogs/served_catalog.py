"""Find the items of a catalogue by query, in order, or by id, while the catalogue may change."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from eechips_local.assets.asset_errors import InvalidStoreError
from eechips_local.catalogs import catalog_schema as schemas
from eechips_local.catalogs.catalog_schema import CatalogPartitions, CatalogSchema, DamagedError, ReplacedError, Stamp
from eechips_local.catalogs.item_index import Directory, ItemIndex
from eechips_local.catalogs.partition_rows import Block, PartitionReader, PartitionRow, in_order
from eechips_local.catalogs.row_filters import INDEX
from eechips_local.evaluation.asset_model import Query
from eechips_local.protocol.request_errors import ChangingError, UnavailableError
from eechips_local.quota.read_counts import Reads

_TRIES = 5
# Items that are read at a time while all are walked through: few at first, since often the first is all that is wanted;
# then many, since ids are not in the order of partitions, and each time most of those have to be opened again.
_FIRST, _MOST, _GROWTH = 1, 65_536, 4
# Seconds between two looks at whether files are still being put in place.
_LEAST_PAUSE, _MOST_PAUSE = 0.01, 0.25

PATIENCE = 10.0
"""Seconds that a change may take to put its files in place. Past them requests fail and can be retried."""


class ServedCatalog:
    """The items in a folder. Threads may share it.

    Every result describes one state of the catalogue: if it changed while it was read, it is read again, or, where
    part of the results has been returned already, the request has to be retried.

    Args:
        reads: counts what is read.
        patience: seconds to wait for files that are being put in place.
    """

    def __init__(self, root: Path, reads: Reads, patience: float = PATIENCE) -> None:
        self._root = root
        self._reads = reads
        self._reader = PartitionReader(root, reads)
        self._directory = Directory(root, self._reader)
        self._lock = threading.Lock()
        self._patience = patience
        self._schema: CatalogSchema | None = None
        self._stuck: Stamp | None = None
        self._is_bound = False
        self._moment: Stamp | None = None

    def begin(self) -> None:
        """Begin a request: until the next call all results describe the state of the first."""
        self._is_bound, self._moment = True, None

    def schema(self) -> CatalogSchema:
        """Return the present contents of the catalogue. Waits for files that are being put in place.

        Raises:
            UnavailableError: if that takes too long.
            ChangingError: if the catalogue has changed since the request began.
            DamagedError: if the catalogue is gone or cannot be read.
        """
        with self._lock:
            for _ in range(_TRIES):
                self._wait()
                try:
                    if self._schema is not None and self._schema.stamp == schemas.stamp_of(self._root):
                        return self._of_the_moment(self._schema)
                    self._schema = schemas.load(self._root)
                except InvalidStoreError as error:
                    raise DamagedError(str(error)) from error
                self._reads.add(schemas=1)
        raise self._restless()

    def _wait(self) -> None:
        """Wait until no files are being put in place. A change that outlasted one wait is not waited for again."""
        end, pause = time.monotonic() + self._patience, _LEAST_PAUSE
        while (pending := schemas.pending(self._root)) is not None:
            if pending == self._stuck or time.monotonic() >= end:
                self._stuck = pending
                raise UnavailableError(
                    f"The catalogue {self._root} is being changed: retry the request. If nothing works on it any more, "
                    f"`eechips catalog repair {self._root}` completes the change."
                )
            time.sleep(pause)
            pause = min(2.0 * pause, _MOST_PAUSE)

    def _of_the_moment(self, schema: CatalogSchema) -> CatalogSchema:
        if self._is_bound:
            if self._moment is None:
                self._moment = schema.stamp
            elif self._moment != schema.stamp:
                raise self._restless()
        return schema

    def rows(self, collection: str, query: Query) -> Iterator[PartitionRow]:
        """Return the items of a collection that can match, in the order of their ids.

        Raises:
            UnavailableError: if the catalogue is being changed.
            DamagedError: if a partition cannot be read.
        """
        if INDEX in query.equals:
            row = self.row(collection, str(query.equals[INDEX]))
            return iter(() if row is None else (row,))
        if query == Query():
            return self.walk(collection, 0)
        return in_order(self._scanned(collection, query))

    def row(self, collection: str, item: str) -> PartitionRow | None:
        """Return an item by its id, or None."""
        for _ in range(_TRIES):
            schema = self.schema()
            partitions = schema.collections.get(collection)
            if partitions is None:
                return None
            try:
                identities = self._directory.identities(collection, partitions)
                position = identities.position(item)
                item_rows = self._part(partitions, identities, position, position + 1)
                return item_rows[0] if item_rows and item_rows[0].id == item else None
            except ReplacedError as error:
                self._check(schema, error)
        raise self._restless()

    def walk(self, collection: str, start: int) -> Iterator[PartitionRow]:
        """Yield all items of a collection in the order of their ids, from a position on; none before it is read.

        Raises:
            ChangingError: if the catalogue changes meanwhile.
        """
        schema = self.schema()
        partitions = schema.collections.get(collection)
        size = _FIRST
        while partitions is not None:
            try:
                identities = self._directory.identities(collection, partitions)
                item_rows = self._part(partitions, identities, start, start + size)
            except ReplacedError as error:
                self._check(schema, error)
                raise self._restless() from error
            if not self._is_current(schema):
                raise self._restless()
            if not item_rows:
                return
            yield from item_rows
            start, size = start + len(item_rows), min(size * _GROWTH, _MOST)

    def _scanned(self, collection: str, query: Query) -> list[Block]:
        for _ in range(_TRIES):
            schema = self.schema()
            partitions = schema.collections.get(collection)
            if partitions is None:
                return []
            try:
                blocks = [
                    block
                    for number in partitions.select(query)
                    for block in self._reader.blocks(partitions.paths[number], query, flat=partitions.is_flat(number))
                ]
            except ReplacedError as error:
                self._check(schema, error)
                continue
            if self._is_current(schema):
                return blocks
        raise self._restless()

    def _part(self, partitions: CatalogPartitions, identities: ItemIndex, start: int, stop: int) -> list[PartitionRow]:
        """Return items from one position among all ids to another."""
        ids, numbers, rows = identities.part(start, stop)
        rows_by_position: dict[int, PartitionRow] = {}
        for number in np.unique(numbers).tolist():
            members = np.flatnonzero(numbers == number)
            wanted = [ids[member] for member in members]
            there = self._reader.rows(partitions.paths[number], rows[members], wanted)
            rows_by_position.update(zip(members.tolist(), there, strict=True))
        return [rows_by_position[position] for position in range(len(ids))]

    def _is_current(self, schema: CatalogSchema) -> bool:
        return schemas.pending(self._root) is None and schema.stamp == schemas.stamp_of(self._root)

    def _check(self, schema: CatalogSchema, error: ReplacedError) -> None:
        """Raise DamagedError if a file is not what the schema says although nothing has changed."""
        if self._is_current(schema):
            raise DamagedError(f"The partition {self._root / str(error)} is not the one that the catalogue lists.")

    def _restless(self) -> ChangingError:
        return ChangingError(f"The catalogue {self._root} was changed while it was read: retry the request.")
