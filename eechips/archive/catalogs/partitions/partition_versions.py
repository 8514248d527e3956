"""Find versions and duplicates of items in the partitions of a catalogue."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from eechips.archive.catalogs.ingestion.sorted_runs import LatestItems
from eechips.archive.catalogs.partitions.columns import check_columns, check_values, stamps_of
from eechips.archive.catalogs.partitions.id_segments import KeyIndex, found_in, keys_of
from eechips.archive.catalogs.partitions.layout import owner
from eechips.archive.catalogs.partitions.schema import Schema
from eechips.storage import LocalStore

_SCAN = 1_000_000  # items looked up at a time
UNREADABLE = (pa.ArrowException, OSError)
"""Errors of unreadable partitions."""
NO_ROWS: npt.NDArray[np.int64] = np.empty(0, dtype=np.int64)
"""Row numbers of no rows."""


@dataclass(frozen=True, slots=True)
class KnownVersions:
    """Versions of the new items in the catalogue; all of shape (n,).

    Attributes:
        row: indices of the new rows.
        code: code of the partitions with other versions.
        stamp: update times of those.
        at: row numbers of those in their files.
    """

    row: npt.NDArray[np.int64]
    code: npt.NDArray[np.int64]
    stamp: npt.NDArray[np.int64]
    at: npt.NDArray[np.int64]


def find_versions(
    folder: Path, among: Collection[str], rows: LatestItems, code: Mapping[str, int], stopped: dict[str, str]
) -> KnownVersions:
    """Look items up in those partitions that may have them. Unreadable partitions are noted."""
    matches: list[KnownVersions] = []
    block: list[tuple[int, KeyIndex]] = []
    size = 0
    for path in sorted(among):
        if path in stopped:
            continue
        try:
            block.append((code[path], _identities(folder, path)))
        except UNREADABLE as error:
            stopped[path] = describe_error(error)
            continue
        size += len(block[-1][1])
        if size >= _SCAN:
            matches.append(_matches(block, rows.keys))
            block, size = [], 0
    matches.append(_matches(block, rows.keys))
    return KnownVersions(
        *(np.concatenate([getattr(part, name) for part in matches]) for name in KnownVersions.__slots__)
    )


def find_duplicates(
    folder: Path, schema: Schema, suspects: Sequence[str], stopped: Mapping[str, str]
) -> dict[str, npt.NDArray[np.int64]]:
    """Return rows, by partition, of items that have an equally new version in another one: see ``Schema.suspects``.

    An unreadable partition keeps items that have moved elsewhere meanwhile.
    """
    rows_by_path: dict[str, list[npt.NDArray[np.int64]]] = defaultdict(list)
    for suspect in suspects:
        own = _identities(folder, suspect)
        order = np.argsort(own.keys, kind="stable")
        stamps = own.stamps[order]
        for path in sorted(schema.partitions):
            if owner(path) == owner(suspect) and path != suspect and path not in stopped:
                match = _matches([(0, _identities(folder, path))], own.keys[order])
                is_older = match.stamp < stamps[match.row]
                rows_by_path[path].append(match.at[is_older])
                rows_by_path[suspect].append(order[match.row[~is_older]])
    return {path: numbers for path, parts in rows_by_path.items() if len(numbers := np.concatenate(parts))}


def _identities(folder: Path, path: str) -> KeyIndex:
    """Return the keys of the rows of a partition."""
    with pq.ParquetFile(LocalStore(folder).file(path)) as file:
        check_columns(file.schema_arrow)
        names = [name for name in ("id", "updated") if name in file.schema_arrow.names]
        table = file.read(columns=names, use_threads=False)
        check_values(table)
    return KeyIndex(keys_of(table["id"], owner(path)), stamps_of(table))


def _matches(block: Sequence[tuple[int, KeyIndex]], wanted: npt.NDArray[np.bytes_]) -> KnownVersions:
    """Return the versions that partitions, by code, have of items with sorted keys."""
    if not block:
        return KnownVersions(*(NO_ROWS,) * 4)
    sizes = [len(identities) for _, identities in block]
    here, row = found_in(wanted, np.concatenate([identities.keys for _, identities in block]))
    code = np.repeat([code for code, _ in block], sizes)
    at = np.concatenate([np.arange(size) for size in sizes])
    return KnownVersions(
        row, code[here], np.concatenate([identities.stamps for _, identities in block])[here], at[here]
    )


def describe_error(error: BaseException) -> str:
    """Describe the error of an unreadable partition on one line."""
    return " ".join(str(error).split())[:200] or type(error).__name__
