"""New rows into a catalogue: newest wins by id, and nothing else is touched.

What a catalogue has of the items that come is found out first, wherever it lies: an item whose place or time has
changed leaves its old partition as it enters the new one. Then each partition that this concerns is merged by itself,
as a stream. Of every new item 40 bytes are in memory, twice that while they are sorted; of those that the catalogue
has, another 32.
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

_GROUP_BYTES = 64_000_000  # of a row group in memory: fewer rows, if they are wide
_BATCH = 4096  # rows of a partition that are read at a time, at most
_BATCH_BYTES = 16_000_000  # and what they may have in the file, about
_AT_ONCE = 32_000_000  # bytes of a partition that is not merged as a stream
_SCAN = 1_000_000  # items that are looked up at a time
_UNREADABLE = (pa.ArrowException, OSError)
_NONE: npt.NDArray[np.int64] = np.empty(0, dtype=np.int64)

Advance = Callable[[int], object]
"""Told of rows that are dealt with."""

_INTEGER, _FRACTION = str(pa.int64()), str(pa.float64())
_TYPES = {"number": pa.float64(), "boolean": pa.bool_(), "text": pa.string()}


@dataclass(frozen=True, slots=True)
class MergeResult:
    """What became of new rows.

    Attributes:
        new: that the catalogue did not have.
        replaced: in the place of an older version, or of the same.
        older: left out, since the catalogue has a newer version.
        moved: of those replaced, whose older version lay in another partition.
        blocked: not merged, since their partition cannot be read.
        written: partitions that have changed, by path.
        removed: partitions that have become empty.
        stopped: partitions that cannot be read, and why: they are as they were.
        lost: partitions that could not be read, and why, and were given up.
        mixed: values, by column and kind, that are of another kind than most of their column.
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
    """Merges shards into a catalogue, as far as the change's scratch folder: nothing happens before it is committed.

    Args:
        folder: of the catalogue.
        schema: of what is there.
        shards: of new rows.
        change: takes the new files.
        advance: told of rows that are merged.
        give_up: partitions that cannot be read are removed, with their items, and made anew of what comes.
        mixed: what becomes of values of another kind than most of their column, such as a text among numbers: they are
            kept in the column ``properties``, or are cast if they can be (else kept there), or are refused.

    Returns:
        The schema as it will be, and what became of the rows.

    Raises:
        UsageError: if columns are mixed, and that is to be refused.
        OSError: if new files cannot be written.
    """
    rows = find_latest(shards)
    stopped: dict[str, str] = {}
    lost: dict[str, str] = {}
    while True:  # a partition may turn out to be unreadable when all of it is read: what enters it stays where it was
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
    """What becomes of a partition.

    Attributes:
        staged: name of its new file in the scratch folder; None if it has none.
        partition: as it will be; None if nothing is left of it, or nothing changes.
        columns: names and types.
        is_changed: whether anything changes.
    """

    staged: str | None = None
    partition: Partition | None = None
    columns: dict[str, str] = field(default_factory=dict)
    is_changed: bool = True

    def to_json(self) -> dict[str, Any]:
        """As a JSON value, which :meth:`from_json` reads."""
        partition = None if self.partition is None else self.partition.to_json()
        return {
            "staged": self.staged, "partition": partition, "columns": self.columns, "is_changed": self.is_changed
        }  # fmt: skip

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> _Made:
        """What ``to_json`` wrote."""
        partition = None if value["partition"] is None else Partition.from_json(value["partition"])
        return cls(**{**value, "partition": partition})


class _Plan:
    """Which rows enter which partition, and which leave it."""

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
        """The partitions that rows enter or leave."""
        return sorted({*self._entered, *self._gone, *self._changed})

    def changes(self, path: str) -> bool:
        """Whether a partition changes for certain: else nothing enters it but rows of versions that it has."""
        return path in self._changed

    def entering(self, path: str, schema: pa.Schema) -> list[Iterator[pa.Table]]:
        """The rows that enter a partition, as streams in order."""
        if path not in self._entered:
            return []
        return [self._readers[number].rows(first, count, schema) for number, first, count in self._runs.of(path)]

    def is_small(self, path: str, count: int) -> bool:
        """Whether a partition, which has so many rows, and all that enters it fit into memory, as wide as that is."""
        if path not in self._entered:
            return False
        runs = self._runs.of(path)
        widest = max(self.shards[number].width for number, _, _ in runs)
        return (count + sum(entering for _, _, entering in runs)) * widest <= _AT_ONCE

    def schemas(self, path: str) -> list[pa.Schema]:
        """Of all shards of a partition's collection, so that its partitions have the same columns."""
        wanted = owner(path)
        return [
            schema
            for shard, schema in zip(self.shards, self._schemas, strict=True)
            if any(owner(own) == wanted for own in shard.paths[:1])
        ]

    def stays(self, path: str, count: int) -> npt.NDArray[np.bool_]:
        """Which of a partition's rows it keeps; of others another version enters it, or is in another partition.

        Args:
            path: of the partition.
            count: of its rows, in the order of the file.
        """
        found = np.ones(count, dtype=bool)
        found[self._gone.get(path, _NONE)] = False
        return found

    def _choose_types(self, masks: Sequence[npt.NDArray[np.bool_]]) -> dict[str, pa.DataType]:
        """Choose a type for each column that would not have the same in the whole catalogue.

        It depends on nothing but the items that the catalogue will have. Notes partitions that have other types.
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
            # What is cast may be a fraction, and what returns from ``properties`` too.
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
        """The partitions whose collection has one of the columns."""
        return [
            path
            for path, partition in sorted(self.schema.partitions.items())
            if path not in self.stopped and names & self.schema.columns.get(partition.collection or "", {}).keys()
        ]

    def _kept(self, path: str, names: Set[str]) -> pa.Table | None:
        """Columns of the rows that a partition keeps, and ids; None if it cannot be read, which is noted."""
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
        """For each shard which of its rows enter a partition."""
        sizes = [shard.count for shard in self.shards]
        keep = np.zeros(sum(sizes), dtype=bool)
        keep[places] = True
        return np.split(keep, np.cumsum(sizes)[:-1])


def _add(total: dict[str, Counter[str]], counts: Mapping[str, Counter[str]]) -> None:
    for name, own in counts.items():
        total[name].update(own)


def describe_mixed(mixed: Mapping[str, Mapping[str, int]]) -> str:
    """Say which columns have values of another kind than most."""
    return "; ".join(
        f"{name} has other values than most of its column ("
        + ", ".join(f"{count:,} of kind {kind}" for kind, count in kinds.items())
        + ")"
        for name, kinds in mixed.items()
    )


def _groups(
    codes: npt.NDArray[np.int64], values: npt.NDArray[np.int64], names: Sequence[str]
) -> dict[str, npt.NDArray[np.int64]]:
    """Values by the names that their codes stand for."""
    order = np.argsort(codes, kind="stable")
    found, starts = np.unique(codes[order], return_index=True)
    parts = np.split(values[order], starts[1:])
    return {names[code]: part for code, part in zip(found.tolist(), parts, strict=False)}


@dataclass(frozen=True, slots=True)
class _Known:
    """What a catalogue has of the items that come; all of shape (n,).

    Attributes:
        row: numbers of the new rows.
        code: of the partitions that have other versions of them.
        stamp: how new those are.
        at: numbers of those in their partitions' files.
    """

    row: npt.NDArray[np.int64]
    code: npt.NDArray[np.int64]
    stamp: npt.NDArray[np.int64]
    at: npt.NDArray[np.int64]


def _known(folder: Path, schema: Schema, rows: LatestItems, code: Mapping[str, int], stopped: dict[str, str]) -> _Known:
    """Looks items up in all partitions of their collections. Notes those that cannot be read."""
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
    """Rows, by partition, of items of which another partition has a version that is as new: see ``Schema.suspects``.

    A partition that could not be read kept what has moved elsewhere meanwhile.
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
    """Of the rows of a partition."""
    with pq.ParquetFile(LocalStore(folder).file(path)) as file:
        check_columns(file.schema_arrow)
        names = [name for name in ("id", "updated") if name in file.schema_arrow.names]
        table = file.read(columns=names, use_threads=False)
        check_values(table)
    return KeyIndex(keys_of(table["id"], owner(path)), stamps_of(table))


def _matches(block: Sequence[tuple[int, KeyIndex]], wanted: npt.NDArray[np.bytes_]) -> _Known:
    """What partitions, by their codes, have of items, whose keys are sorted."""
    if not block:
        return _Known(*(_NONE,) * 4)
    sizes = [len(identities) for _, identities in block]
    here, row = found_in(wanted, np.concatenate([identities.keys for _, identities in block]))
    code = np.repeat([code for code, _ in block], sizes)
    at = np.concatenate([np.arange(size) for size in sizes])
    return _Known(row, code[here], np.concatenate([identities.stamps for _, identities in block])[here], at[here])


def _stage(plan: _Plan, scratch: Path, advance: Advance) -> dict[str, _Made] | None:
    """Writes the partitions that change, but for those that an interrupted merge of the same rows has written.

    Returns:
        None if a partition turned out to be unreadable, which is noted.
    """
    found: dict[str, _Made] = {}
    columns: dict[tuple[tuple[str, str], ...], dict[str, str]] = {}  # of few kinds, in many partitions
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


class _Unreadable(Exception):  # noqa: N818 - not one that anybody else sees
    """A partition that cannot be read."""


def _stage_one(plan: _Plan, path: str, scratch: Path, name: str, advance: Advance) -> _Made:
    """Writes a partition as it will be, if its rows are not those that it has."""
    with contextlib.ExitStack() as stack:
        there = None
        if path in plan.schema.partitions:
            with _told():
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
    """Whether rows change, stretch by stretch."""
    for before, after in _steps(plan, path, there, schema):
        yield before is None or not before.equals(after)


def _steps(
    plan: _Plan, path: str, there: pq.ParquetFile | None, schema: pa.Schema
) -> Iterator[tuple[pa.Table | None, pa.Table]]:
    """Stretch by stretch the rows of a partition as they are, and as they will be."""
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
    with _told():
        groups = [file.metadata.row_group(number) for number in range(file.metadata.num_row_groups)]
        widest = max((group.total_byte_size / max(1, group.num_rows) for group in groups), default=1.0)
        rows = max(1, min(_BATCH, int(_BATCH_BYTES / max(1.0, widest))))
        for batch in file.iter_batches(batch_size=rows, use_threads=False):
            table = pa.Table.from_batches([batch])
            check_values(table)
            yield conformed(table, schema, cast=cast)


@contextlib.contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except _UNREADABLE as error:
        raise _Unreadable(_reason(error)) from error


def _rebatched(tables: Iterator[pa.Table]) -> Iterator[pa.RecordBatch]:
    """Rows in batches of a row group each."""
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
    """What is in the rows of a partition, counted as they pass."""

    def __init__(self, advance: Advance) -> None:
        self._advance = advance
        self._items = 0
        self._boxes: list[npt.NDArray[np.float64]] = []
        self._starts: list[np.datetime64] = []
        self._ends: list[np.datetime64] = []
        self._stamp = UNKNOWN
        self._collection: str | None = None

    def counted(self, tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
        """The same tables."""
        for table in tables:
            if len(table):
                self._count(table)
            yield table

    def _count(self, table: pa.Table) -> None:
        if not self._items:
            self._collection = table["collection"][0].as_py()  # in a path it may be cut short
        self._items += len(table)
        self._boxes.append(np.array([union(boxes_of(table)).bbox]))
        starts, ends = starts_of(table), ends_of(table)
        self._starts += [starts[~np.isnat(starts)].min()] if not np.isnat(starts).all() else []
        self._ends += [ends[~np.isnat(ends)].max()] if not np.isnat(ends).all() else []
        self._stamp = max(self._stamp, int(stamps_of(table).max()))
        self._advance(len(table))

    def partition(self, path: str, file: Path) -> Partition:
        """The partition that a file of these rows is."""
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
