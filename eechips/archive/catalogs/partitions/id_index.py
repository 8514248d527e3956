"""Find ids in a catalogue by an index beside its partitions, which is checked against them, and updated with them.

The index is a folder of segments (:mod:`eechips.archive.catalogs.partitions.id_segments`). A segment covers versions of
partitions, by path, size and SHA-256. What it has of other versions does not count. So the index may be out of date,
incomplete or missing: partitions that no segment covers are read instead, and the next change of the catalogue adds
them to it.

Items are compared by keys of 128 bits (:func:`eechips.archive.catalogs.partitions.id_segments.keys_of`). A search for 2
million ids among 40 million takes one of them for another with a probability of 2e-25.
"""

from __future__ import annotations

import io
import logging
import os
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from eechips.archive.catalogs.partitions.columns import check_columns, check_values
from eechips.archive.catalogs.partitions.commit import Change
from eechips.archive.catalogs.partitions.id_segments import (
    DamagedSegmentError,
    IndexedPartition,
    KeyRows,
    Segment,
    keys_of,
    match_keys,
    sort_keys,
    write_segment,
)
from eechips.archive.catalogs.partitions.layout import owner
from eechips.archive.catalogs.partitions.partition_versions import UNREADABLE, describe_error
from eechips.archive.catalogs.partitions.schema import Partition, Schema
from eechips.errors import StorageError
from eechips.files.hashes import hash_file
from eechips.geo.untrusted_parquet import BoundedParquet
from eechips.storage import LocalStore, ObjectStore, is_inside
from eechips.storage.range_file import ReadRange

_log = logging.getLogger(__name__)
_STAGED = "index.staged"
_BATCH = 65_536  # rows of a partition read at a time
_UNKNOWN = -1  # instead of the number of a partition that the catalogue has in another version
_LEAST_LIVE = 0.5  # share of a segment's rows that are in the catalogue, below which the others are dropped
_GROWTH = 2  # a segment of up to so many times the new rows is merged with them: so there are few segments


FOLDER = "_ids"
"""Folder of the index, below the catalogue; engines that read folders ignore names with an underscore."""

SUFFIX = ".ids"


class IndexFiles:
    """The files of a catalogue, in a folder or a store."""

    def __init__(self, home: Path | ObjectStore, partitions: Mapping[str, Partition]) -> None:
        self._home, self.partitions = home, partitions
        self._store = home if isinstance(home, ObjectStore) else LocalStore(home)

    @property
    def where(self) -> str:
        """Location of the catalogue."""
        return self._home.url if isinstance(self._home, ObjectStore) else str(self._home)

    def address(self, path: str) -> str:
        """Return the path or URL of a file."""
        return f"{self._home.url}/{path}" if isinstance(self._home, ObjectStore) else str(self._home / path)

    def source(self, path: str) -> Any:
        """Return a path or file for the Parquet reader."""
        return io.BytesIO(self._store.read(path)) if isinstance(self._store, ObjectStore) else self._store.file(path)

    def segments(self) -> Iterator[tuple[str, int]]:
        """Yield path and size of each segment."""
        yield from sorted((file.name, file.size) for file in self._store.files([FOLDER]) if _is_segment(file.name))

    def reader(self, name: str) -> ReadRange:
        """Return the function that reads parts of a file.

        Raises:
            FileNotFoundError: if a local file does not exist.
        """
        return partial(self._store.read_range, name)

    def changed(self, name: str) -> int:
        """Return the moment of the last change of a local file or its name, in nanoseconds; 0 in a store.

        Raises:
            FileNotFoundError: if it does not exist.
        """
        return self._store.file(name).stat().st_ctime_ns if isinstance(self._store, LocalStore) else 0

    def is_current(self, known: IndexedPartition, moment: int) -> bool:
        """Return whether a partition is the one that a segment covers: by the schema, and by its file.

        Args:
            known: version that the segment covers.
            moment: moment of the last change of the segment. Local files changed later are compared by their SHA-256.
        """
        now = self.partitions.get(known.path)
        if now is None or (now.sha256, now.bytes, now.items) != (known.sha256, known.bytes, known.items):
            return False
        if isinstance(self._home, ObjectStore):
            return self._sizes.get(known.path) == known.bytes
        try:
            status = os.stat(f"{self._home}/{known.path}")  # noqa: PTH116 - paths cost time for each of many
        except OSError:
            return False
        if status.st_size != known.bytes:
            return False
        if status.st_ctime_ns <= moment:
            return True
        path = self._home / known.path
        return is_inside(path, self._home) and hash_file(path) == known.sha256

    @cached_property
    def _sizes(self) -> dict[str, int]:
        """Sizes of all objects of a store, by name."""
        folders = sorted({path.rpartition("/")[0] for path in self.partitions})
        return {file.name: file.size for file in self._store.files(folders)}


def _is_segment(name: str) -> bool:
    folder, _, file = name.rpartition("/")
    return folder == FOLDER and file.endswith(SUFFIX)


class FoundKeys(NamedTuple):
    """Keys that the index has.

    Attributes:
        row: indices of the keys, shape (m,); a key in two partitions comes twice.
        code: numbers of the partitions in ``IdIndex.paths``, shape (m,).
    """

    row: npt.NDArray[np.int64]
    code: npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class _CheckedSegment:
    """A segment, and the number of each of its partitions; ``_UNKNOWN`` for other versions than the catalogue's."""

    segment: Segment
    codes: npt.NDArray[np.int64]

    @property
    def live(self) -> int:
        """Number of rows of partitions that the catalogue has."""
        pairs = zip(self.segment.partitions, self.codes.tolist(), strict=True)
        return sum(partition.items for partition, code in pairs if code != _UNKNOWN)

    def recoded(self, codes: npt.NDArray[np.int64]) -> _CheckedSegment:
        """Return the segment with other numbers of partitions: ``codes`` has the new one for each of them."""
        new_codes = np.where(self.codes == _UNKNOWN, _UNKNOWN, np.append(codes, _UNKNOWN)[self.codes])
        return _CheckedSegment(self.segment, new_codes)

    def rows(self) -> Iterator[KeyRows]:
        """Yield the rows of valid partitions."""
        for keys, codes in self.segment.rows():
            partition_codes = self.codes[codes]
            is_live = partition_codes != _UNKNOWN
            yield KeyRows(keys[is_live], partition_codes[is_live].astype(np.uint32))


class _UnreadablePartitionError(Exception):
    """A partition that cannot be read, or is not the one that the schema has."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(reason)
        self.path = path


class IdIndex:
    """The index of a catalogue, as far as it is valid.

    Args:
        owners: folders of the collections to search; None for all.

    Attributes:
        paths: partitions of these collections.
        damaged: segments that cannot be used, with the reason.
    """

    def __init__(self, home: Path | ObjectStore, schema: Schema, owners: Collection[str] | None = None) -> None:
        self.paths = [path for path in sorted(schema.partitions) if owners is None or owner(path) in owners]
        self.damaged: dict[str, str] = {}
        self._files = IndexFiles(home, {path: schema.partitions[path] for path in self.paths})
        self._segments: list[_CheckedSegment] = []
        number = {path: code for code, path in enumerate(self.paths)}
        for name, size in self._files.segments():
            try:
                segment = Segment(name, size, self._files.reader(name))
                moment = self._files.changed(name)
            except (DamagedSegmentError, FileNotFoundError) as error:
                self.damaged[name] = str(error)
                continue
            codes = [
                number[partition.path] if self._files.is_current(partition, moment) else _UNKNOWN
                for partition in segment.partitions
            ]
            self._segments.append(_CheckedSegment(segment, np.array(codes, np.int64)))

    @property
    def uncovered(self) -> list[str]:
        """Partitions whose ids are not in the index."""
        covered = {code for checked in self._segments for code in checked.codes.tolist()}
        return [path for code, path in enumerate(self.paths) if code not in covered]

    def find(self, keys: npt.NDArray[np.bytes_]) -> FoundKeys:
        """Find keys; segments that prove damaged are left out, and their partitions become uncovered."""
        ordered, order = sort_keys(keys)
        rows, codes = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        for checked in list(self._segments):
            try:
                for row, code in checked.segment.find(ordered):
                    there = checked.codes[code]
                    rows.append(order[row[there != _UNKNOWN]])
                    codes.append(there[there != _UNKNOWN])
            except (DamagedSegmentError, FileNotFoundError) as error:
                self._drop(checked, error)
        return FoundKeys(np.concatenate(rows), np.concatenate(codes))

    def contains(self, keys: npt.NDArray[np.bytes_]) -> npt.NDArray[np.bool_]:
        """Return which keys the partitions have, shape (n,); partitions that are not in the index are read.

        Raises:
            StorageError: if such a partition cannot be read.
        """
        is_known = np.zeros(len(keys), bool)
        is_known[self.find(keys).row] = True
        if missing := self.uncovered:
            self._warn(len(missing))
            wanted = sort_keys(keys)
            for path in missing:
                try:
                    for there in keys_in(self._files.source(path), path):
                        is_known[match_keys(wanted, there)[1]] = True
                except UNREADABLE as error:
                    raise StorageError(f"{self._files.address(path)} cannot be read: {error}") from error
        return is_known

    def may_have(self, keys: npt.NDArray[np.bytes_]) -> set[str]:
        """Return the partitions that have one of the keys, and those that are not in the index."""
        codes = np.unique(self.find(keys).code).tolist()
        return {self.paths[code] for code in codes} | set(self.uncovered)

    def check(self) -> None:
        """Read the whole index; segments that prove damaged are left out."""
        for checked in list(self._segments):
            try:
                Counter(len(rows.keys) for rows in checked.segment.rows())
            except (DamagedSegmentError, FileNotFoundError) as error:
                self._drop(checked, error)

    def stage_update(self, change: Change, schema: Schema) -> bool:
        """Add the partitions that the index lacks, as a part of a change; drop what has become invalid.

        Returns:
            Whether the index changes.

        Raises:
            OSError: if a file cannot be written.
        """
        unreadable: set[str] = set()
        while True:
            paths = sorted(schema.partitions)
            kept = self._recoded(schema, paths)
            covered = {code for checked in kept for code in checked.codes.tolist()}
            missing = [code for code, path in enumerate(paths) if code not in covered and path not in unreadable]
            count = sum(schema.partitions[paths[code]].items for code in missing)
            merged = []
            for checked in sorted(kept, key=lambda checked: (checked.live, checked.segment.name)):
                if checked.live < _LEAST_LIVE * len(checked.segment) or checked.live <= _GROWTH * count:
                    merged.append(checked)
                    count += checked.live
            try:
                if count:
                    parts = [schema.partitions[path] for path in paths]
                    self._stage_segment(change, parts, missing, [checked for checked in merged if checked.live])
            except _UnreadablePartitionError as error:
                unreadable.add(error.path)
                continue
            except DamagedSegmentError:
                continue  # its partitions are missing now
            for name in (*self.damaged, *(checked.segment.name for checked in merged)):
                if not change.is_staged(name):  # the new segment has the content, and name, of a damaged one
                    change.remove(name)
            return bool(count or merged or self.damaged)

    def _recoded(self, schema: Schema, paths: Sequence[str]) -> list[_CheckedSegment]:
        """Return the segments with the numbers of partitions in another schema."""
        number = {path: code for code, path in enumerate(paths)}
        before = self._files.partitions
        codes = [
            number[path]
            if path in number and schema.partitions[path].sha256 == before[path].sha256
            else _UNKNOWN
            for path in self.paths
        ]  # fmt: skip
        return [checked.recoded(np.array(codes, np.int64)) for checked in self._segments]

    def _stage_segment(
        self, change: Change, partitions: Sequence[Partition], missing: Sequence[int], merged: Sequence[_CheckedSegment]
    ) -> None:
        """Write a segment of missing partitions and of the valid rows of others."""
        codes = sorted({*missing, *(code for source in merged for code in source.codes.tolist() if code != _UNKNOWN)})
        own = np.full(len(partitions), _UNKNOWN)
        own[codes] = np.arange(len(codes))

        def rows() -> Iterator[KeyRows]:
            for source in merged:
                try:
                    yield from source.recoded(own).rows()
                except DamagedSegmentError as error:
                    self._drop(next(own for own in self._segments if own.segment.name == source.segment.name), error)
                    raise
            for code in missing:
                yield from _rows_of(partitions[code], change, int(own[code]))

        covered = [
            IndexedPartition(source.path, source.bytes, source.sha256, source.items)
            for source in (partitions[code] for code in codes)
        ]
        name = write_segment(change.scratch / _STAGED, covered, rows())
        change.move(_STAGED, f"{FOLDER}/{name}{SUFFIX}")

    def _drop(self, segment: _CheckedSegment, error: Exception) -> None:
        self._segments.remove(segment)
        self.damaged[segment.segment.name] = str(error)

    def _warn(self, missing: int) -> None:
        reasons = "".join(f" ({reason})" for reason in self.damaged.values())
        _log.warning(
            "%s of %s partitions of %s are not in its index of ids%s, and are read instead: `eechips catalog repair`"
            " completes the index of a local catalogue",
            f"{missing:,}",
            f"{len(self.paths):,}",
            self._files.where,
            reasons,
        )


def keys_in(source: Path | IO[bytes], path: str) -> Iterator[npt.NDArray[np.bytes_]]:
    """Yield the keys of the items in a partition.

    Raises:
        pa.ArrowException, OSError: if it cannot be read.
    """
    with BoundedParquet(source) as file:
        check_columns(file.schema_arrow)
        for batch in file.iter_batches(batch_size=_BATCH, columns=["id"], use_threads=False):
            check_values(pa.Table.from_batches([batch]))
            yield keys_of(batch["id"], owner(path))


def _rows_of(partition: Partition, change: Change, code: int) -> Iterator[KeyRows]:
    """Yield the keys of a partition, which must be the one that the schema has."""
    file, count = change.file(partition.path), 0
    try:
        if not change.is_staged(partition.path):
            if not is_inside(file, change.folder):
                raise _UnreadablePartitionError(partition.path, "it is a link that leads out of the catalogue")
            if hash_file(file) != partition.sha256:
                raise _UnreadablePartitionError(partition.path, "it was changed")
        for keys in keys_in(file, partition.path):
            count += len(keys)
            yield KeyRows(keys, np.full(len(keys), code, np.uint32))
    except UNREADABLE as error:
        raise _UnreadablePartitionError(partition.path, describe_error(error)) from error
    if count != partition.items:
        raise _UnreadablePartitionError(partition.path, f"it has {count:,} rows instead of {partition.items:,}")
