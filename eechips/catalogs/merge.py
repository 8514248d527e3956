"""Merge new rows into a catalogue: the newest version of an id wins, and other partitions stay untouched.

First the items are looked up in the whole catalogue: an item whose place or time has changed leaves its old partition
when it enters the new one. Then each affected partition is merged separately, as a stream. Each new item needs 40 bytes
of memory, twice that while they are sorted; each of them that the catalogue has, another 32.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from eechips.catalogs.columns import (
    MEMBERS,
    REST,
    UNKNOWN,
    boxes_of,
    check_columns,
    check_values,
    conformed,
    count_kinds,
    ends_of,
    fractions_apart,
    is_mixed,
    kind_named,
    most_frequent,
    stamps_of,
    starts_of,
    unified,
)
from eechips.catalogs.commit import Change
from eechips.catalogs.extents import union
from eechips.catalogs.key_index import KeyIndex, found_in, keys_of
from eechips.catalogs.layout import fields, owner
from eechips.catalogs.options import Mixed
from eechips.catalogs.schema import Partition, Schema, iso
from eechips.catalogs.sorted_runs import (
    LatestItems,
    MergedRuns,
    SortedRun,
    SortedRunReader,
    at_once,
    find_latest,
    in_order,
    merged,
)
from eechips.errors import UsageError
from eechips.storage import LocalStore, hash_file, write_file

ROW_GROUP = 16_384
"""Rows of a row group: the least that engines read of a file."""

_GROUP_BYTES = 64_000_000  # of a row group in memory: wide rows make smaller groups
_BATCH = 4096  # maximum rows of a partition read at a time
_BATCH_BYTES = 16_000_000  # and their approximate bytes in the file
_AT_ONCE = 32_000_000  # bytes of a partition that is merged in memory, not as a stream
_SCAN = 1_000_000  # items looked up at a time
_UNREADABLE = (pa.ArrowException, OSError)
_NONE: npt.NDArray[np.int64] = np.empty(0, dtype=np.int64)

Advance = Callable[[int], object]
"""Called with numbers of processed rows."""

_INTEGER, _FRACTION = str(pa.int64()), str(pa.float64())
_TYPES = {"number": pa.float64(), "boolean": pa.bool_(), "text": pa.string()}


@dataclass(frozen=True, slots=True)
class MergeResult:
    """Result of a merge.

    Attributes:
        new: items that the catalogue did not have.
        replaced: items that replaced an older or equal version.
        older: items that were skipped, since the catalogue has a newer version.
        moved: replaced items whose older version was in another partition.
        blocked: items that were not merged, since their partition cannot be read.
        written: changed partitions, by path.
        removed: partitions that became empty.
        stopped: unreadable partitions with the reason; they are unchanged.
        lost: unreadable partitions with the reason that were given up.
        mixed: counts of values of another kind than most of their column, by column and kind.
    """

    new: int = 0
    replaced: int = 0
    older: int = 0
    moved: int = 0
    blocked: int = 0
    written: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    stopped: Mapping[str, str] = field(default_factory=dict)
    lost: Mapping[str, str] = field(default_factory=dict)
    mixed: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


def merge(
    folder: Path,
    schema: Schema,
    shards: Sequence[SortedRun],
    change: Change,
    advance: Advance,
    *,
    give_up: bool = False,
    mixed: Mixed = "keep",
) -> tuple[Schema, MergeResult]:
    """Merge sorted runs into the scratch folder of a change: nothing happens before the commit.

    Args:
        folder: of the catalogue.
        schema: of the catalogue.
        shards: sorted runs of new rows.
        change: receives the new files.
        advance: called with numbers of merged rows.
        give_up: remove unreadable partitions with their items, and create them anew from the new items.
        mixed: treatment of values of another kind than most of their column, such as text among numbers: ``keep`` them
            in the column ``properties``, ``cast`` them if possible and else keep them, or ``refuse`` them.

    Returns:
        The schema after the change, and the counts.

    Raises:
        UsageError: if columns are mixed, and ``mixed`` is ``refuse``.
        OSError: if new files cannot be written.
    """
    rows = find_latest(shards)
    stopped: dict[str, str] = {}
    lost: dict[str, str] = {}
    while True:  # some damage shows only when a whole partition is read; its items then stay where they are
        plan = _Plan(folder, schema, shards, rows, stopped, mixed)
        if not (give_up and stopped):
            staged = _stage(plan, change.scratch, advance)
            if staged is not None:
                break
        if give_up:
            lost |= stopped
            there = {path: partition for path, partition in schema.partitions.items() if path not in stopped}
            schema, stopped = replace(schema, partitions=there), {}
    for path in lost.keys() - staged.keys():
        change.remove(path)
    partitions, columns = dict(schema.partitions), {name: dict(types) for name, types in schema.columns.items()}
    for path, made in staged.items():
        if made.staged is None or made.partition is None:
            change.remove(path)
            del partitions[path]
        else:
            change.move(made.staged, path)
            partitions[path] = made.partition
            columns.setdefault(made.partition.collection or "", {}).update(made.columns)
    outcome = replace(
        plan.outcome,
        written=tuple(path for path, made in staged.items() if made.staged is not None),
        removed=tuple(path for path, made in staged.items() if made.staged is None),
        lost=lost,
        mixed=plan.mixed,
    )
    suspects = (schema.suspects - plan.cleared | stopped.keys()) & partitions.keys()
    return Schema(schema.layout, partitions, columns, suspects), outcome


@dataclass(frozen=True, slots=True)
class _Made:
    """The new state of a partition.

    Attributes:
        staged: name of its new file in the scratch folder; None if it has none.
        partition: metadata; None if it becomes empty, or does not change.
        columns: names and types.
        is_changed: whether it changes.
    """

    staged: str | None = None
    partition: Partition | None = None
    columns: dict[str, str] = field(default_factory=dict)
    is_changed: bool = True

    def to_json(self) -> dict[str, Any]:
        """Return a JSON value for :meth:`from_json`."""
        partition = None if self.partition is None else self.partition.to_json()
        return {
            "staged": self.staged, "partition": partition, "columns": self.columns, "is_changed": self.is_changed
        }  # fmt: skip

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> _Made:
        """Read the value that ``to_json`` returned."""
        partition = None if value["partition"] is None else Partition.from_json(value["partition"])
        return cls(**{**value, "partition": partition})


class _Plan:
    """The rows that enter and leave each partition."""

    def __init__(
        self,
        folder: Path,
        schema: Schema,
        shards: Sequence[SortedRun],
        rows: LatestItems,
        stopped: dict[str, str],
        mixed: Mixed,
    ) -> None:
        self.folder, self.schema, self.shards, self.stopped = folder, schema, shards, stopped
        paths = [*rows.paths, *sorted(set(schema.partitions) - set(rows.paths))]
        code = {path: number for number, path in enumerate(paths)}
        known = _known(folder, schema, rows, code, stopped)
        owners = {owner(path) for path in rows.paths}
        own = {path for path in schema.suspects & schema.partitions.keys() if owner(path) in owners}
        self.cleared = own - stopped.keys()
        is_blocked = np.isin(rows.codes, [code[path] for path in stopped])
        is_older, is_known = np.zeros((2, len(rows.keys)), dtype=bool)
        is_older[known.row[known.stamp > rows.stamps[known.row]]] = True
        is_known[known.row] = True
        enters = ~is_blocked & ~is_older
        goes = enters[known.row]
        moves = goes & (known.code != rows.codes[known.row])
        is_same = np.zeros(len(rows.keys), dtype=bool)
        is_same[known.row[~moves & (known.stamp == rows.stamps[known.row])]] = True
        changed = np.concatenate([rows.codes[enters & ~is_same], known.code[moves]])
        self._changed = {paths[number] for number in np.unique(changed)}
        self._gone = _groups(known.code[goes], known.at[goes], paths)
        for path, numbers in _doubled(folder, schema, sorted(self.cleared), stopped).items():
            self._gone[path] = np.concatenate([self._gone.get(path, _NONE), numbers])
            self._changed.add(path)
        self._entered = {paths[number] for number in np.unique(rows.codes[enters])}
        self._runs = MergedRuns(shards, code)
        masks = self._masks(rows.places[enters])
        self.is_cast = mixed == "cast"
        self._readers = [SortedRunReader(*pair, cast=self.is_cast) for pair in zip(shards, masks, strict=True)]
        self._schemas = [shard.schema for shard in shards]
        self.mixed: dict[str, dict[str, int]] = {}
        self.types = self._choose_types(masks)
        if mixed == "refuse" and self.mixed:
            raise UsageError(
                f"{describe_mixed(self.mixed)}: correct the items, or use mixed='keep' or mixed='cast'; nothing was"
                " changed"
            )
        self.outcome = MergeResult(
            new=int(np.count_nonzero(enters & ~is_known)),
            replaced=int(np.count_nonzero(enters & is_known)),
            older=int(np.count_nonzero(is_older & ~is_blocked)),
            moved=int(np.count_nonzero(moves)),
            blocked=int(np.count_nonzero(is_blocked)),
            stopped=dict(stopped),
        )

    @property
    def paths(self) -> list[str]:
        """Return the partitions that rows enter or leave."""
        return sorted({*self._entered, *self._gone, *self._changed})

    def changes(self, path: str) -> bool:
        """Return whether a partition certainly changes; others may receive only versions that they already have."""
        return path in self._changed

    def entering(self, path: str, schema: pa.Schema) -> list[Iterator[pa.Table]]:
        """Return the rows that enter a partition, as sorted streams."""
        if path not in self._entered:
            return []
        return [self._readers[number].rows(first, count, schema) for number, first, count in self._runs.of(path)]

    def is_small(self, path: str, count: int) -> bool:
        """Return whether a partition of so many rows, and the rows that enter it, fit into memory."""
        if path not in self._entered:
            return False
        runs = self._runs.of(path)
        widest = max(self.shards[number].width for number, _, _ in runs)
        return (count + sum(entering for _, _, entering in runs)) * widest <= _AT_ONCE

    def schemas(self, path: str) -> list[pa.Schema]:
        """Return the schemas of all runs of a partition's collection: its partitions have the same columns."""
        wanted = owner(path)
        return [
            schema
            for shard, schema in zip(self.shards, self._schemas, strict=True)
            if any(owner(own) == wanted for own in shard.paths[:1])
        ]

    def stays(self, path: str, count: int) -> npt.NDArray[np.bool_]:
        """Return which rows a partition keeps; the others are replaced there or in another partition.

        Args:
            path: of the partition.
            count: of its rows, in the order of the file.
        """
        found = np.ones(count, dtype=bool)
        found[self._gone.get(path, _NONE)] = False
        return found

    def _choose_types(self, masks: Sequence[npt.NDArray[np.bool_]]) -> dict[str, pa.DataType]:
        """Choose a type for each column that would differ between partitions.

        It depends only on the items of the merged catalogue. Partitions with other types are noted.
        """
        types: dict[str, set[str]] = defaultdict(set)
        for own in self.schema.columns.values():
            for name, spelt in own.items():
                types[name].add(spelt)
        for schema in self._schemas:
            for column in schema:
                types[column.name].add(str(column.type))
        kinds = {
            name: {kind for spelt in own if (kind := kind_named(spelt)) is not None}
            for name, own in types.items()
            if name not in MEMBERS
        }
        differing = {name for name, own in kinds.items() if is_mixed(own) or {_INTEGER, _FRACTION} <= types[name]}
        if not differing and REST not in types:
            return {}
        new = [(shard, pa.array(keep)) for shard, keep in zip(self.shards, masks, strict=True)]
        rests: dict[str, Mapping[str, Counter[str]]] = {}
        fractions: set[str] = set()
        for path in self._having({REST}):
            if (table := self._kept(path, {REST})) is not None:
                rests[path] = count_kinds(table, ())
                fractions |= fractions_apart(table)
        apart: list[Mapping[str, Counter[str]]] = []
        for shard, keep in new:
            table = shard.columns({REST}).filter(keep)
            apart.append(count_kinds(table, ()))
            fractions |= fractions_apart(table)
        differing |= {name for counts in (*apart, *rests.values()) for name in counts} & kinds.keys()
        counts: dict[str, Counter[str]] = defaultdict(Counter)
        for shard, keep in new:
            _add(counts, count_kinds(shard.columns({*differing, REST}).filter(keep), differing))
        there: dict[str, dict[str, str]] = {}
        for path in self._having(differing):
            if (table := self._kept(path, {*differing, REST})) is not None:
                there[path] = {column.name: str(column.type) for column in table.schema}
                _add(counts, count_kinds(table, differing))
        found: dict[str, pa.DataType] = {}
        for name in sorted(differing):
            values = counts[name]
            kind = most_frequent(dict.fromkeys(kinds[name], 0) | values)
            if kind not in _TYPES:
                continue
            # A cast value, or one that returns from ``properties``, may be a fraction.
            is_whole = _FRACTION not in types[name] and not self.is_cast and name not in fractions
            found[name] = pa.int64() if is_whole else _TYPES[kind]
            others = {other: count for other, count in sorted(values.items()) if other != kind and count}
            if others:
                self.mixed[name] = others
            for path, own in there.items():
                has_other = name in own and own[name] != str(found[name]) and not own[name].startswith("dictionary")
                if has_other or (name in own and rests.get(path, {}).get(name, Counter())[kind]):
                    self._changed.add(path)
        return found

    def _having(self, names: Set[str]) -> list[str]:
        """Return the partitions whose collection has one of the columns."""
        return [
            path
            for path, partition in sorted(self.schema.partitions.items())
            if path not in self.stopped and names & self.schema.columns.get(partition.collection or "", {}).keys()
        ]

    def _kept(self, path: str, names: Set[str]) -> pa.Table | None:
        """Read columns and ids of the rows that a partition keeps; None if it is unreadable, which is noted."""
        try:
            with pq.ParquetFile(LocalStore(self.folder).file(path)) as file:
                check_columns(file.schema_arrow)
                wanted = ["id", *sorted(names & set(file.schema_arrow.names))]
                table = file.read(columns=wanted, use_threads=False)
                check_values(table)
        except _UNREADABLE as error:
            self.stopped[path] = _reason(error)
            return None
        return table.filter(pa.array(self.stays(path, len(table))))

    def _masks(self, places: npt.NDArray[np.int64]) -> list[npt.NDArray[np.bool_]]:
        """Return for each run which of its rows enter a partition."""
        sizes = [shard.count for shard in self.shards]
        keep = np.zeros(sum(sizes), dtype=bool)
        keep[places] = True
        return np.split(keep, np.cumsum(sizes)[:-1])


def _add(total: dict[str, Counter[str]], counts: Mapping[str, Counter[str]]) -> None:
    for name, own in counts.items():
        total[name].update(own)


def describe_mixed(mixed: Mapping[str, Mapping[str, int]]) -> str:
    """Describe columns with values of another kind than most."""
    return "; ".join(
        f"{name} has other values than most of its column ("
        + ", ".join(f"{count:,} of kind {kind}" for kind, count in kinds.items())
        + ")"
        for name, kinds in mixed.items()
    )


def _groups(
    codes: npt.NDArray[np.int64], values: npt.NDArray[np.int64], names: Sequence[str]
) -> dict[str, npt.NDArray[np.int64]]:
    """Group values by the names of their codes."""
    order = np.argsort(codes, kind="stable")
    found, starts = np.unique(codes[order], return_index=True)
    parts = np.split(values[order], starts[1:])
    return {names[code]: part for code, part in zip(found.tolist(), parts, strict=False)}


@dataclass(frozen=True, slots=True)
class _Known:
    """Versions of the new items in the catalogue; all of shape (n,).

    Attributes:
        row: indices of the new rows.
        code: of the partitions with other versions.
        stamp: update times of those.
        at: row numbers of those in their files.
    """

    row: npt.NDArray[np.int64]
    code: npt.NDArray[np.int64]
    stamp: npt.NDArray[np.int64]
    at: npt.NDArray[np.int64]


def _known(folder: Path, schema: Schema, rows: LatestItems, code: Mapping[str, int], stopped: dict[str, str]) -> _Known:
    """Look items up in all partitions of their collections. Unreadable partitions are noted."""
    found: list[_Known] = []
    owners = {owner(path) for path in rows.paths}
    block: list[tuple[int, KeyIndex]] = []
    size = 0
    for path in sorted(schema.partitions):
        if owner(path) not in owners or path in stopped:
            continue
        try:
            block.append((code[path], _identities(folder, path)))
        except _UNREADABLE as error:
            stopped[path] = _reason(error)
            continue
        size += len(block[-1][1])
        if size >= _SCAN:
            found.append(_matches(block, rows.keys))
            block, size = [], 0
    found.append(_matches(block, rows.keys))
    return _Known(*(np.concatenate([getattr(part, name) for part in found]) for name in _Known.__slots__))


def _doubled(
    folder: Path, schema: Schema, suspects: Sequence[str], stopped: Mapping[str, str]
) -> dict[str, npt.NDArray[np.int64]]:
    """Return rows, by partition, of items that have an equally new version in another one: see ``Schema.suspects``.

    An unreadable partition keeps items that have moved elsewhere meanwhile.
    """
    found: dict[str, list[npt.NDArray[np.int64]]] = defaultdict(list)
    for suspect in suspects:
        own = _identities(folder, suspect)
        order = np.argsort(own.keys, kind="stable")
        stamps = own.stamps[order]
        for path in sorted(schema.partitions):
            if owner(path) == owner(suspect) and path != suspect and path not in stopped:
                match = _matches([(0, _identities(folder, path))], own.keys[order])
                is_older = match.stamp < stamps[match.row]
                found[path].append(match.at[is_older])
                found[suspect].append(order[match.row[~is_older]])
    return {path: numbers for path, parts in found.items() if len(numbers := np.concatenate(parts))}


def _identities(folder: Path, path: str) -> KeyIndex:
    """Return the keys of the rows of a partition."""
    with pq.ParquetFile(LocalStore(folder).file(path)) as file:
        check_columns(file.schema_arrow)
        names = [name for name in ("id", "updated") if name in file.schema_arrow.names]
        table = file.read(columns=names, use_threads=False)
        check_values(table)
    return KeyIndex(keys_of(table["id"], owner(path)), stamps_of(table))


def _matches(block: Sequence[tuple[int, KeyIndex]], wanted: npt.NDArray[np.bytes_]) -> _Known:
    """Return the versions that partitions, by code, have of items with sorted keys."""
    if not block:
        return _Known(*(_NONE,) * 4)
    sizes = [len(identities) for _, identities in block]
    here, row = found_in(wanted, np.concatenate([identities.keys for _, identities in block]))
    code = np.repeat([code for code, _ in block], sizes)
    at = np.concatenate([np.arange(size) for size in sizes])
    return _Known(row, code[here], np.concatenate([identities.stamps for _, identities in block])[here], at[here])


def _stage(plan: _Plan, scratch: Path, advance: Advance) -> dict[str, _Made] | None:
    """Write the partitions that change, except those that an interrupted merge of the same rows has written.

    Returns:
        None if a partition proves unreadable, which is noted.
    """
    found: dict[str, _Made] = {}
    columns: dict[tuple[tuple[str, str], ...], dict[str, str]] = {}  # shared: many partitions have the same columns
    for path in plan.paths:
        name = hashlib.sha256(json.dumps([path, sorted(plan.stopped)]).encode()).hexdigest()[:32]
        note = scratch / f"{name}.made"
        if note.exists():
            made = _Made.from_json(json.loads(note.read_text()))
        else:
            try:
                made = _stage_one(plan, path, scratch, f"{name}.staged", advance)
            except _Unreadable as error:
                plan.stopped[path] = str(error)
                return None
            write_file(note, json.dumps(made.to_json()).encode())
        if made.is_changed:
            found[path] = replace(made, columns=columns.setdefault(tuple(made.columns.items()), made.columns))
    return found


class _Unreadable(Exception):  # noqa: N818 - internal
    """A partition that cannot be read."""


def _stage_one(plan: _Plan, path: str, scratch: Path, name: str, advance: Advance) -> _Made:
    """Write the new state of a partition, if its rows change."""
    with contextlib.ExitStack() as stack:
        there = None
        if path in plan.schema.partitions:
            with _translating_errors():
                there = stack.enter_context(pq.ParquetFile(LocalStore(plan.folder).file(path)))
                check_columns(there.schema_arrow)
        schema = unified([*([] if there is None else [there.schema_arrow]), *plan.schemas(path)], plan.types)
        if there is not None and not plan.changes(path) and not any(_differences(plan, path, there, schema)):
            return _Made(is_changed=False)
        tally = _Tally(advance)
        rows = _rebatched(tally.counted(after for _, after in _steps(plan, path, there, schema)))
        first = next(rows, None)
        if first is None:
            return _Made()
        _write(scratch / name, schema, chain([first], rows))
    columns = {column.name: sys.intern(str(column.type)) for column in schema}
    return _Made(name, tally.partition(path, scratch / name), columns)


def _differences(plan: _Plan, path: str, there: pq.ParquetFile, schema: pa.Schema) -> Iterator[bool]:
    """Yield whether rows change, stretch by stretch."""
    for before, after in _steps(plan, path, there, schema):
        yield before is None or not before.equals(after)


def _steps(
    plan: _Plan, path: str, there: pq.ParquetFile | None, schema: pa.Schema
) -> Iterator[tuple[pa.Table | None, pa.Table]]:
    """Yield the rows of a partition before and after the merge, stretch by stretch."""
    known = 0 if there is None else there.metadata.num_rows
    stays = plan.stays(path, known)
    sources = [iter(()) if there is None else _rows(there, schema, plan.is_cast), *plan.entering(path, schema)]
    for before, *new in [at_once(sources)] if plan.is_small(path, known) else merged(sources):
        count = 0 if before is None else len(before)
        own, stays = stays[:count], stays[count:]
        kept = before if before is None or own.all() else before.filter(pa.array(own))
        parts = [part for part in (kept, *new) if part is not None]
        yield before, in_order(pa.concat_tables(parts)) if len(parts) > 1 else parts[0]


def _rows(file: pq.ParquetFile, schema: pa.Schema, cast: bool) -> Iterator[pa.Table]:
    with _translating_errors():
        groups = [file.metadata.row_group(number) for number in range(file.metadata.num_row_groups)]
        widest = max((group.total_byte_size / max(1, group.num_rows) for group in groups), default=1.0)
        rows = max(1, min(_BATCH, int(_BATCH_BYTES / max(1.0, widest))))
        for batch in file.iter_batches(batch_size=rows, use_threads=False):
            table = pa.Table.from_batches([batch])
            check_values(table)
            yield conformed(table, schema, cast=cast)


@contextlib.contextmanager
def _translating_errors() -> Iterator[None]:
    try:
        yield
    except _UNREADABLE as error:
        raise _Unreadable(_reason(error)) from error


def _rebatched(tables: Iterator[pa.Table]) -> Iterator[pa.RecordBatch]:
    """Yield rows in batches of one row group each."""
    waiting: list[pa.Table] = []
    size = 0
    for table in tables:
        waiting.append(table)
        size += table.nbytes
        while sum(map(len, waiting)) >= ROW_GROUP:
            whole = pa.concat_tables(waiting)
            yield _batch(whole.slice(0, ROW_GROUP))
            waiting = [whole.slice(ROW_GROUP)]
            size = waiting[0].nbytes
        if size >= _GROUP_BYTES:
            yield _batch(pa.concat_tables(waiting))
            waiting, size = [], 0
    rest = [table for table in waiting if len(table)]
    if rest:
        yield _batch(pa.concat_tables(rest))


def _batch(table: pa.Table) -> pa.RecordBatch:
    return table.combine_chunks().to_batches()[0]


def _write(path: Path, schema: pa.Schema, batches: Iterator[pa.RecordBatch]) -> None:
    from stac_geoparquet.arrow import to_parquet

    to_parquet(pa.RecordBatchReader.from_batches(schema, batches), path, compression="zstd")


class _Tally:
    """Statistics of the rows of a partition, counted while they are written."""

    def __init__(self, advance: Advance) -> None:
        self._advance = advance
        self._items = 0
        self._boxes: list[npt.NDArray[np.float64]] = []
        self._starts: list[np.datetime64] = []
        self._ends: list[np.datetime64] = []
        self._stamp = UNKNOWN
        self._collection: str | None = None

    def counted(self, tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
        """Yield the tables unchanged."""
        for table in tables:
            if len(table):
                self._count(table)
            yield table

    def _count(self, table: pa.Table) -> None:
        if not self._items:
            self._collection = table["collection"][0].as_py()  # its name in a path may be shortened
        self._items += len(table)
        self._boxes.append(np.array([union(boxes_of(table)).bbox]))
        starts, ends = starts_of(table), ends_of(table)
        self._starts += [starts[~np.isnat(starts)].min()] if not np.isnat(starts).all() else []
        self._ends += [ends[~np.isnat(ends)].max()] if not np.isnat(ends).all() else []
        self._stamp = max(self._stamp, int(stamps_of(table).max()))
        self._advance(len(table))

    def partition(self, path: str, file: Path) -> Partition:
        """Return the metadata of a partition with these rows."""
        return Partition(
            path=path,
            collection=self._collection,
            cell=str(fields(path)["cell"]),
            items=self._items,
            bytes=file.stat().st_size,
            sha256=hash_file(file),
            extent=union(np.concatenate(self._boxes)),
            start=iso(int(min(self._starts).astype(np.int64))) if self._starts else None,
            end=iso(int(max(self._ends).astype(np.int64))) if self._ends else None,
            updated=None if self._stamp == UNKNOWN else iso(self._stamp),
        )


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
