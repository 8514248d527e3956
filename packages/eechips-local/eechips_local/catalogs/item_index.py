"""Find items by id in a sorted file that is memory-mapped, so that all workers share it.

Rows lie by place in a catalogue, so that an id may be anywhere. The file is made when an id is first looked for, or all
images are listed, and again when partitions have changed: only theirs are read again. It lies in the user's cache
folder, or, if that cannot be written to, in a temporary one: reading never changes a catalogue, and believes no file of
ids that came with it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import threading
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from eechips_local.assets.asset_errors import AssetWriteError
from eechips_local.assets.store_files import commit, locked, make_private, private_folder, workspace
from eechips_local.assets.user_cache import cache_folder
from eechips_local.catalogs.catalog_schema import CatalogPartitions, DamagedError
from eechips_local.catalogs.partition_rows import PartitionReader

_FOLDER = "ids"
_DIGEST, _PARTITIONS = b"eechips:digest", b"eechips:partitions"


class ItemIndex:
    """The ids of a collection's items in order, and where each is.

    Args:
        table: the columns ``id``, ``partition`` (its position among the collection's) and ``row``.
    """

    def __init__(self, table: pa.Table) -> None:
        self._ids = table["id"].chunk(0) if len(table) else pa.array([], pa.large_string())
        self._partitions = table["partition"].to_numpy()
        self._rows = table["row"].to_numpy()

    def __len__(self) -> int:
        return len(self._ids)

    def position(self, item: str) -> int:
        """Return the number of ids before one, which need not be there."""
        low, high = 0, len(self._ids)
        while low < high:
            middle = (low + high) // 2
            if self._ids[middle].as_py() < item:
                low = middle + 1
            else:
                high = middle
        return low

    def part(self, start: int, stop: int) -> tuple[list[str], npt.NDArray[np.int32], npt.NDArray[np.int64]]:
        """Return ids from a position to another, with their partitions and rows."""
        return self._ids[start:stop].to_pylist(), self._partitions[start:stop], self._rows[start:stop]


class Directory:
    """The files of a catalogue's collections. Threads and processes may share it.

    Args:
        root: the catalogue's folder.
    """

    def __init__(self, root: Path, reader: PartitionReader) -> None:
        self._root = root
        self._reader = reader
        self._private: Path | None = None
        self._making = threading.Lock()
        self._known: dict[str, tuple[str, ItemIndex]] = {}

    def identities(self, collection: str, partitions: CatalogPartitions) -> ItemIndex:
        """Return the ids of a collection with these partitions.

        Raises:
            ReplacedError: if a partition is not there.
            DamagedError: if one cannot be read, or the file cannot be written.
        """
        known = self._known.get(collection)
        if known is not None and known[0] == partitions.digest:
            return known[1]
        with self._making:
            path = self._folder() / f"{hashlib.sha256(collection.encode()).hexdigest()[:32]}.arrow"
            table = _opened(path, partitions.digest)
            if table is None:
                with locked(path.parent):
                    table = _opened(path, partitions.digest)  # another process may have made it meanwhile
                    if table is None:
                        try:
                            self._make(path, partitions)
                        except AssetWriteError as error:
                            raise DamagedError(
                                f"The ids of {collection} cannot be sorted into a file: {error}"
                            ) from error
                        table = _opened(path, partitions.digest)
            assert table is not None
            item_index = ItemIndex(table)
            self._known[collection] = (partitions.digest, item_index)
        return item_index

    def _folder(self) -> Path:
        """Return the folder of the files: in the user's cache, or one of this process alone."""
        if self._private is not None:
            return self._private
        cache = cache_folder()
        if cache is not None:
            place = hashlib.sha256(os.path.realpath(self._root).encode(errors="surrogateescape")).hexdigest()[:32]
            folder = cache / _FOLDER / place
            with contextlib.suppress(OSError):
                make_private(folder)
            if os.access(folder, os.W_OK):
                return folder
        self._private = private_folder(self)
        return self._private

    def _make(self, path: Path, partitions: CatalogPartitions) -> None:
        parts, numbers, rows = _kept(path, partitions)
        there = set(np.unique(numbers).tolist())
        new_numbers, new_rows = [numbers], [rows]
        for number, name in enumerate(partitions.paths):
            if number not in there:
                ids = self._reader.ids(name).cast(pa.large_string())
                parts.extend(ids.chunks)
                new_numbers.append(np.full(len(ids), number, dtype=np.int32))
                new_rows.append(np.arange(len(ids), dtype=np.int64))
        ids = pa.chunked_array(parts, pa.large_string())
        order = pc.sort_indices(ids)
        places = order.to_numpy()
        table = pa.table(
            {
                "id": ids.take(order).combine_chunks(),
                "partition": np.concatenate(new_numbers)[places],
                "row": np.concatenate(new_rows)[places],
            }
        )
        pairs = list(zip(partitions.paths, partitions.digests, strict=True))
        table = table.replace_schema_metadata({_DIGEST: partitions.digest.encode(), _PARTITIONS: json.dumps(pairs)})
        with workspace(path.parent) as place:
            with pa.OSFile(str(place / path.name), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
                writer.write_table(table.combine_chunks())
            commit(place / path.name, path)


def _opened(path: Path, digest: str) -> pa.Table | None:
    """Return the table of a file, if it is that of some partitions."""
    table = _stored(path)
    return table if table is not None and table.schema.metadata[_DIGEST] == digest.encode() else None


def _stored(path: Path) -> pa.Table | None:
    """Return the table of a file, mapped into memory; None if there is none, or one that cannot be understood."""
    if not path.exists():
        return None
    try:
        table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    except (pa.ArrowException, OSError):
        return None  # it is made again
    return table if {_DIGEST, _PARTITIONS} <= (table.schema.metadata or {}).keys() else None


def _kept(
    path: Path, partitions: CatalogPartitions
) -> tuple[list[pa.Array], npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    """Return the entries of an older file for partitions that are still the same: ids, numbers of partitions, rows."""
    table = _stored(path)
    if table is None:
        return [], np.empty(0, np.int32), np.empty(0, np.int64)
    now = {pair: number for number, pair in enumerate(zip(partitions.paths, partitions.digests, strict=True))}
    before = json.loads(table.schema.metadata[_PARTITIONS])
    renumbered = np.array([now.get((name, digest), -1) for name, digest in before], dtype=np.int32)
    numbers = renumbered[table["partition"].to_numpy()]
    is_kept = numbers >= 0
    return list(table["id"].filter(pa.array(is_kept)).chunks), numbers[is_kept], table["row"].to_numpy()[is_kept]
