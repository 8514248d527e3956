"""Plan a merge: choose the rows that enter and leave each partition, of an item the newest, and the types of columns;
refuse mixed types on request.
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from eechips.archive.catalogs.ingestion.sorted_runs import LatestItems, MergedRuns, SortedRun, SortedRunReader
from eechips.archive.catalogs.options import Mixed
from eechips.archive.catalogs.partitions.column_types import (
    MEMBERS,
    REST,
    count_kinds,
    fractions_apart,
    is_mixed,
    kind_named,
    most_frequent,
)
from eechips.archive.catalogs.partitions.columns import check_columns, check_values
from eechips.archive.catalogs.partitions.layout import owner
from eechips.archive.catalogs.partitions.partition_versions import (
    NO_ROWS,
    UNREADABLE,
    KnownVersions,
    describe_error,
    find_duplicates,
    find_versions,
)
from eechips.archive.catalogs.partitions.schema import Schema
from eechips.errors import UsageError
from eechips.geo.ellipsoid import Booleans, Indices
from eechips.storage import LocalStore

_AT_ONCE = 32_000_000  # bytes of a partition that is merged in memory, not as a stream
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


@dataclass(frozen=True, eq=False)
class _Comparison:
    """The newest new rows, beside the versions of them that the catalogue has.

    Attributes:
        is_blocked: which rows belong to partitions that cannot be read.
    """

    rows: LatestItems
    known: KnownVersions
    is_blocked: Booleans

    @cached_property
    def is_older(self) -> Booleans:
        """Which rows the catalogue has newer versions of."""
        return self._rows_of(self.known.stamp > self.rows.stamps[self.known.row])

    @cached_property
    def enters(self) -> Booleans:
        """Which rows enter a partition."""
        return ~self.is_blocked & ~self.is_older

    @cached_property
    def goes(self) -> Booleans:
        """Which known versions leave their partition."""
        return self.enters[self.known.row]

    @cached_property
    def moves(self) -> Booleans:
        """Which known versions are replaced by one in another partition."""
        moved: Booleans = self.goes & (self.known.code != self.rows.codes[self.known.row])
        return moved

    def _rows_of(self, some: Booleans) -> Booleans:
        """Return the rows that some of the known versions belong to."""
        flags = np.zeros(len(self.rows.keys), dtype=bool)
        flags[self.known.row[some]] = True
        return flags

    def changed_codes(self) -> Indices:
        """Return the codes of partitions that certainly change, with repeats."""
        is_same = self._rows_of(~self.moves & (self.known.stamp == self.rows.stamps[self.known.row]))
        return np.concatenate([self.rows.codes[self.enters & ~is_same], self.known.code[self.moves]])

    def result(self) -> MergeResult:
        """Return the counts of items."""
        is_known = self._rows_of(np.ones(len(self.known.row), dtype=bool))
        return MergeResult(
            new=int(np.count_nonzero(self.enters & ~is_known)),
            replaced=int(np.count_nonzero(self.enters & is_known)),
            older=int(np.count_nonzero(self.is_older & ~self.is_blocked)),
            moved=int(np.count_nonzero(self.moves)),
            blocked=int(np.count_nonzero(self.is_blocked)),
        )


class MergePlan:
    """The rows that enter and leave each partition.

    Args:
        shards: sorted runs of new rows.
        rows: the newest new rows.
        among: partitions that may have versions of them.
        stopped: unreadable partitions with the reason; receives further ones.
    """

    def __init__(
        self,
        folder: Path,
        schema: Schema,
        shards: Sequence[SortedRun],
        rows: LatestItems,
        among: Set[str],
        stopped: dict[str, str],
        mixed: Mixed,
    ) -> None:
        self.folder, self.schema, self.shards, self.stopped = folder, schema, shards, stopped
        paths = [*rows.paths, *sorted(set(schema.partitions) - set(rows.paths))]
        code = {path: number for number, path in enumerate(paths)}
        known = find_versions(folder, among & schema.partitions.keys(), rows, code, stopped)
        owners = {owner(path) for path in rows.paths}
        own = {path for path in schema.suspects & schema.partitions.keys() if owner(path) in owners}
        self.cleared = own - stopped.keys()
        compared = _Comparison(rows, known, np.isin(rows.codes, [code[path] for path in stopped]))
        self._changed = {paths[number] for number in np.unique(compared.changed_codes())}
        self._gone = _groups(known.code[compared.goes], known.at[compared.goes], paths)
        for path, numbers in find_duplicates(folder, schema, sorted(self.cleared), stopped).items():
            self._gone[path] = np.concatenate([self._gone.get(path, NO_ROWS), numbers])
            self._changed.add(path)
        self._entered = {paths[number] for number in np.unique(rows.codes[compared.enters])}
        self._runs = MergedRuns(shards, code)
        masks = self._masks(rows.places[compared.enters])
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
        self.outcome = replace(compared.result(), stopped=dict(stopped))

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

    def stays(self, path: str, count: int) -> Booleans:
        """Return which rows a partition keeps; the others are replaced there or in another partition."""
        is_kept = np.ones(count, dtype=bool)
        is_kept[self._gone.get(path, NO_ROWS)] = False
        return is_kept

    def _choose_types(self, masks: Sequence[Booleans]) -> dict[str, pa.DataType]:
        """Choose a type for each column that would differ between partitions.

        It depends only on the items of the merged catalogue. Partitions with other types are noted.
        """
        types = self._spelt_types()
        kinds = {
            name: {kind for spelt in own if (kind := kind_named(spelt)) is not None}
            for name, own in types.items()
            if name not in MEMBERS
        }
        differing = {name for name, own in kinds.items() if is_mixed(own) or {_INTEGER, _FRACTION} <= types[name]}
        if not differing and REST not in types:
            return {}
        new = [(shard, pa.array(keep)) for shard, keep in zip(self.shards, masks, strict=True)]
        rests, apart, fractions = self._count_apart(new)
        differing |= {name for own in (*apart, *rests.values()) for name in own} & kinds.keys()
        counts: dict[str, Counter[str]] = defaultdict(Counter)
        for shard, keep in new:
            _add(counts, count_kinds(shard.columns({"id", *differing, REST}).filter(keep), differing))
        there: dict[str, dict[str, str]] = {}
        for path in self._having(differing):
            if (table := self._kept(path, {*differing, REST})) is not None:
                there[path] = {column.name: str(column.type) for column in table.schema}
                _add(counts, count_kinds(table, differing))
        column_types: dict[str, pa.DataType] = {}
        for name in sorted(differing):
            values = counts[name]
            kind = most_frequent(dict.fromkeys(kinds[name], 0) | values)
            if kind not in _TYPES:
                continue
            # A cast value, or one that returns from ``properties``, may be a fraction.
            is_whole = _FRACTION not in types[name] and not self.is_cast and name not in fractions
            column_types[name] = pa.int64() if is_whole else _TYPES[kind]
            others = {other: count for other, count in sorted(values.items()) if other != kind and count}
            if others:
                self.mixed[name] = others
            for path, spelt in ((path, own[name]) for path, own in there.items() if name in own):
                has_other = spelt != str(column_types[name]) and not spelt.startswith("dictionary")
                if has_other or rests.get(path, {}).get(name, Counter())[kind]:
                    self._changed.add(path)
        return column_types

    def _spelt_types(self) -> dict[str, set[str]]:
        """Return the names of the types that each column has in the catalogue and in the sorted runs."""
        types: dict[str, set[str]] = defaultdict(set)
        for own in self.schema.columns.values():
            for name, spelt in own.items():
                types[name].add(spelt)
        for column in itertools.chain.from_iterable(self._schemas):
            types[column.name].add(str(column.type))
        return types

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
        except UNREADABLE as error:
            self.stopped[path] = describe_error(error)
            return None
        return table.filter(pa.array(self.stays(path, len(table))))

    def _count_apart(
        self, new: Sequence[tuple[SortedRun, pa.Array]]
    ) -> tuple[dict[str, Mapping[str, Counter[str]]], list[Mapping[str, Counter[str]]], set[str]]:
        """Count the kinds of values that stand apart from their columns, in ``properties``.

        Returns:
            The counts of each partition and of each run, and the columns with a fraction among these values.
        """
        rests: dict[str, Mapping[str, Counter[str]]] = {}
        fractions: set[str] = set()
        for path in self._having({REST}):
            if (table := self._kept(path, {REST})) is not None:
                rests[path] = count_kinds(table, ())
                fractions |= fractions_apart(table)
        apart: list[Mapping[str, Counter[str]]] = []
        for shard, keep in new:
            table = shard.columns({"id", REST}).filter(keep)
            apart.append(count_kinds(table, ()))
            fractions |= fractions_apart(table)
        return rests, apart, fractions

    def _masks(self, places: Indices) -> list[Booleans]:
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


def _groups(codes: Indices, values: Indices, names: Sequence[str]) -> dict[str, Indices]:
    """Group values by the names of their codes."""
    order = np.argsort(codes, kind="stable")
    unique_codes, starts = np.unique(codes[order], return_index=True)
    parts = np.split(values[order], starts[1:])
    return {names[code]: part for code, part in zip(unique_codes.tolist(), parts, strict=False)}
