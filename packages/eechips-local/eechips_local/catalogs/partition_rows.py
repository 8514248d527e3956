"""Read rows of partitions: the columns that every query needs at once, the rest when it is used; notice partitions that
were replaced meanwhile; give items' properties.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import shapely

from eechips_local.assets.asset_errors import UnsafeHrefError
from eechips_local.assets.asset_names import resolve_href
from eechips_local.assets.date_parsing import to_milliseconds
from eechips_local.assets.stac import is_foreign_property
from eechips_local.assets.vectors.untrusted_parquet import BoundedParquet
from eechips_local.catalogs import row_filters
from eechips_local.catalogs.catalog_schema import SCHEMA, DamagedError, ReplacedError, Stamp
from eechips_local.catalogs.row_filters import END, INDEX, MEMBERS, START, is_property
from eechips_local.evaluation.asset_model import Query
from eechips_local.protocol.request_errors import ChangingError
from eechips_local.quota.read_counts import Reads

# What says where and when an image is, and how new: of every row that passes.
_NARROW = ("id", "geometry", "datetime", "start_datetime", "updated")
# What is not read with the rest: the geometry is known, and links are rarely looked at.
_APART = ("geometry", "bbox", "links")
# What has no column, or does not fit into its own, as JSON.
_REST = "properties"
# Fields of assets that are lists: STAC 1.1, and the extensions eo, raster and projection.
_LISTS = frozenset(("roles", "bands", "eo:bands", "raster:bands", "proj:shape", "proj:transform"))
# Columns of properties that are called as parts of a partition's path are, which engines take from there.
_COLUMNS = {name: f"property:{name}" for name in ("cell", "year", "month", "day")}
_NAMES = {column: name for name, column in _COLUMNS.items()}


class PartitionReader:
    """Opens the partitions of a catalogue.

    Args:
        root: the catalogue's folder.
        reads: counts what is read.
    """

    def __init__(self, root: Path, reads: Reads) -> None:
        self._root = root
        self.reads = reads

    @contextlib.contextmanager
    def open(self, path: str, stamp: Stamp | None = None) -> Iterator[tuple[BoundedParquet, Stamp]]:
        """Open a partition for the block; yield it and the stamp that tells it from a replacement.

        Args:
            stamp: what it must be; None for whatever is there.

        Raises:
            ReplacedError: if it is not there, or another one.
            DamagedError: if it cannot be read.
        """
        try:
            place = self._root / resolve_href(self._root, SCHEMA, path)
        except UnsafeHrefError as error:
            raise DamagedError(f"The catalogue lists a file that is not one of its partitions: {error}.") from error
        try:
            opened_stamp = _stamp_of(place)
            with BoundedParquet(place) as file:
                if _stamp_of(place) != opened_stamp or stamp not in (None, opened_stamp):
                    raise ReplacedError(path)
                self.reads.add(partitions=1)
                yield file, opened_stamp
        except FileNotFoundError:
            raise ReplacedError(path) from None
        except (pa.ArrowException, OSError) as error:
            raise DamagedError(f"The partition {place} cannot be read: {error}") from error

    def ids(self, path: str) -> pa.ChunkedArray:
        """Return the ids of a partition's items, in stored order."""
        with self.open(path) as (file, _):
            item_ids = file.read(columns=["id"], use_threads=False)["id"]
        self.reads.add(ids=len(item_ids))
        return item_ids

    def blocks(self, path: str, query: Query, *, flat: bool) -> Iterator[Block]:
        """Yield the rows of a partition that can pass a query, of each row group that has any.

        Args:
            query: what to find.
            flat: whether no box in it crosses the antimeridian.
        """
        with self.open(path) as (file, stamp):
            metadata = file.metadata
            leaves = _leaves(metadata) if metadata.num_row_groups > 1 or query.equals or query.ranges else {}
            for number in range(metadata.num_row_groups):
                if row_filters.can_pass(metadata.row_group(number), leaves, query, flat=flat):
                    block = self._block(file, RowGroup(path, stamp, number), query)
                    if block is not None:
                        yield block

    def rows(self, path: str, rows: npt.NDArray[np.int64], ids: Sequence[str]) -> list[PartitionRow]:
        """Return certain rows of a partition.

        Args:
            rows: their positions in it.
            ids: what they must be.

        Raises:
            ReplacedError: if they are not.
        """
        rows_by_position: dict[int, PartitionRow] = {}
        with self.open(path) as (file, stamp):
            sizes = [file.metadata.row_group(number).num_rows for number in range(file.metadata.num_row_groups)]
            starts = np.concatenate([[0], np.cumsum(sizes)])
            if rows.max() >= starts[-1]:
                raise ReplacedError(path)
            groups = np.searchsorted(starts, rows, side="right") - 1
            for number in np.unique(groups).tolist():
                members = np.flatnonzero(groups == number)
                block = self._block(file, RowGroup(path, stamp, number), Query(), rows[members] - starts[number])
                assert block is not None
                rows_by_position.update((int(m), PartitionRow(block, position)) for position, m in enumerate(members))
        ordered = [rows_by_position[position] for position in range(len(rows))]
        if [row.id for row in ordered] != list(ids):
            raise ReplacedError(path)
        return ordered

    def columns(self, file: BoundedParquet, group: int, names: Sequence[str]) -> pa.Table:
        """Return columns of a row group.

        Args:
            file: the partition.
            group: number of the row group.
            names: names of the columns, properties as items call them; these are the names of the table's columns, too.
        """
        table = file.read_row_group(group, columns=[_COLUMNS.get(name, name) for name in names], use_threads=False)
        self.reads.add(row_groups=1, rows=len(table))
        return table.rename_columns([_NAMES.get(column, column) for column in table.column_names])

    def _block(
        self, file: BoundedParquet, source: RowGroup, query: Query, rows: npt.NDArray[np.int64] | None = None
    ) -> Block | None:
        there = [_NAMES.get(column, column) for column in file.schema_arrow.names]
        asked = row_filters.columns_of(query)
        wanted = [*_NARROW, *asked, *(["bbox"] if query.bounds is not None else [])]
        table = self.columns(file, source.group, [name for name in dict.fromkeys(wanted) if name in there])
        starts = row_filters.starts_of(table)
        if rows is None:
            rows = np.flatnonzero(row_filters.passing(table, starts, query))
            if not len(rows):
                return None
        taken = table.take(pa.array(rows))
        known = {name: [_plain(value) for value in taken[name].to_pylist()] for name in asked if name in there}
        return Block(self, source, rows, taken, starts[rows], known, frozenset(there))


@dataclass(frozen=True, slots=True)
class RowGroup:
    """A row group: the partition's path, what tells its file from others, the group's number."""

    path: str
    stamp: Stamp
    group: int


class Block:
    """Some rows of a row group.

    The remaining columns are read on first use: if another file has been put in the partition's place
    meanwhile, reading raises an error and the whole request is retried.

    Attributes:
        ids: ids of the items.
        starts: ``system:time_start`` in milliseconds since 1970, or None.
        versions: when the items were updated, in microseconds since 1970.
        footprints: outlines.

    Args:
        reader: reader of the catalogue.
        rows: positions in it.
        table: their columns ``id``, ``geometry`` and, if there is one, ``updated``.
        starts: see above, or not a number.
        known: values of properties that are known already, by name.
        names: names of all columns that the partition has.
    """

    def __init__(
        self,
        reader: PartitionReader,
        source: RowGroup,
        rows: npt.NDArray[np.int64],
        table: pa.Table,
        starts: npt.NDArray[np.float64],
        known: dict[str, list[Any]],
        names: frozenset[str],
    ) -> None:
        self._reader = reader
        self._source = source
        self._rows = rows
        self._known = known
        self._names = names
        self._rest: pa.Table | None = None
        self._links: list[Any] | None = None
        self.id_column = table["id"].cast(pa.string())
        self.ids: list[str] = table["id"].to_pylist()
        self.starts: list[int | None] = [None if np.isnan(start) else int(start) for start in starts]
        self.versions: list[int] = row_filters.stamps_of(table).tolist()
        self.footprints = shapely.from_wkb(table["geometry"].to_numpy(zero_copy_only=False))

    def property(self, position: int, name: str) -> Any:
        """Return one property of a row; None if it has none."""
        if name == INDEX:
            return self.ids[position]
        if name == START:
            return self.starts[position]
        if name not in self._known:
            column = "end_datetime" if name == END else name
            if column not in self._names or not (name == END or is_property(name)):
                return None
            if self._rest is not None:
                return _converted(self._rest[column][position].as_py(), column)
            self._known[name] = self._values(column)
        return self._known[name][position]

    def document(self, position: int) -> dict[str, Any]:
        """Return the item of a row as STAC has it, without geometry, box and links: ``properties`` and ``assets``."""
        row = self._row(position)
        rest = _parse_object(row.pop(_REST, None))
        own = {name: _structure(value, name) for name, value in row.items() if name not in MEMBERS}
        assets = _structure(row.get("assets"), "assets") or {}
        return {"properties": {**rest, **own}, "assets": {name: _asset(asset) for name, asset in assets.items()}}

    def links(self, position: int) -> list[Mapping[str, Any]]:
        """Return the links of a row."""
        if self._links is None:
            self._links = self._values("links") if "links" in self._names else [None] * len(self.ids)
        return self._links[position] or []

    def _row(self, position: int) -> dict[str, Any]:
        if self._rest is None:
            self._rest = self._read([name for name in self._names if name not in _APART])
        row_fields: dict[str, Any] = _plain(self._rest.slice(position, 1).to_pylist()[0])
        return row_fields

    def _values(self, column: str) -> list[Any]:
        return [_converted(value, column) for value in self._read([column])[column].to_pylist()]

    def _read(self, columns: Sequence[str]) -> pa.Table:
        source = self._source
        try:
            with self._reader.open(source.path, source.stamp) as (file, _):
                table = self._reader.columns(file, source.group, columns)
        except ReplacedError:
            raise ChangingError(
                "The catalogue was changed while a response was computed from it: retry the request."
            ) from None
        return table.take(pa.array(self._rows))


@dataclass(frozen=True, slots=True)
class PartitionRow:
    """One row of a block."""

    block: Block
    position: int

    @property
    def id(self) -> str:
        """Of the item."""
        return self.block.ids[self.position]

    def property(self, name: str) -> Any:
        """See ``Block.property``."""
        return self.block.property(self.position, name)

    def document(self) -> dict[str, Any]:
        """See ``Block.document``."""
        return self.block.document(self.position)

    def links(self) -> list[Mapping[str, Any]]:
        """See ``Block.links``."""
        return self.block.links(self.position)


class ItemProperties(Mapping[str, Any]):
    """Earth Engine's properties of an item; further ones are read on first use."""

    __slots__ = ("_all", "_row")

    def __init__(self, row: PartitionRow) -> None:
        self._row = row
        self._all: dict[str, Any] | None = None

    def get(self, name: str, default: Any = None) -> Any:
        """Return a property, or the default if there is none."""
        property_value = self._row.property(name) if self._all is None else self._all.get(name)
        return default if property_value is None else property_value

    def __getitem__(self, name: str) -> Any:
        property_value = self.get(name)
        if property_value is None:
            raise KeyError(name)
        return property_value

    def __iter__(self) -> Iterator[str]:
        return iter(self._whole())

    def __len__(self) -> int:
        return len(self._whole())

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.get(name) is not None

    def __repr__(self) -> str:
        return repr(self._whole())

    def _whole(self) -> dict[str, Any]:
        if self._all is None:
            row = self._row.document()["properties"]
            own = {name: value for name in row if (value := _property(row, name)) is not None}
            system_properties = {INDEX: self._row.id, START: self._row.property(START), END: _property(row, END)}
            self._all = own | {name: value for name, value in system_properties.items() if value is not None}
        return self._all


def in_order(blocks: Sequence[Block]) -> Iterator[PartitionRow]:
    """Yield the rows of blocks in the order of their ids."""
    if not blocks:
        return
    ids = pa.chunked_array([chunk for block in blocks for chunk in block.id_column.chunks], pa.string())
    ends = np.cumsum([len(block.ids) for block in blocks])
    order = pc.sort_indices(ids).to_numpy()
    which = np.searchsorted(ends, order, side="right")
    for block, position in zip(which.tolist(), order.tolist(), strict=True):
        yield PartitionRow(blocks[block], position - (int(ends[block - 1]) if block else 0))


def _property(row: Mapping[str, Any], name: str) -> Any:
    """Return a property from the columns of a row; None if there is none."""
    if name == END:
        moment = row.get("end_datetime")
        return None if moment is None else to_milliseconds(moment)
    return row.get(name) if is_property(name) else None


def _stamp_of(path: Path) -> Stamp:
    status = path.stat()
    return status.st_ino, status.st_mtime_ns, status.st_size


def _converted(value: Any, column: str) -> Any:
    plain = _plain(value)
    return to_milliseconds(plain) if column == "end_datetime" and plain is not None else plain


def _plain(value: Any) -> Any:
    """Return a value as JSON has it: without nulls in objects, with times as texts; None for what it has no type
    for.
    """
    if isinstance(value, dict):
        parts = ((name, _plain(part)) for name, part in value.items())
        return {name: part for name, part in parts if part is not None}
    if isinstance(value, list):
        return [_plain(part) for part in value]
    if isinstance(value, datetime):
        moment = value.replace(tzinfo=timezone.utc) if value.tzinfo is None else value.astimezone(timezone.utc)
        return moment.isoformat().replace("+00:00", "Z")
    if isinstance(value, float):
        return None if math.isnan(value) else value
    return value if isinstance(value, (str, int)) else None


def _parse_object(text: Any) -> dict[str, Any]:
    """Parse the object that a text is; empty if it is none."""
    try:
        parsed = json.loads(text) if isinstance(text, str) else text
    except ValueError:
        return {}
    return parsed if isinstance(parsed, dict) else {}


def _structure(value: Any, name: str) -> Any:
    """Return descriptions of files that are stored as JSON in a text, as assets of very many names are."""
    if isinstance(value, str) and value[:1] in ("{", "[") and (name == "assets" or not is_foreign_property(name)):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def _asset(asset: Any) -> Any:
    """Return an asset with those lists that a column of mixed kinds holds as JSON: one item may have no list there."""
    if not isinstance(asset, Mapping):
        return asset
    return {name: _list(value) if name in _LISTS else value for name, value in asset.items()}


def _list(value: Any) -> Any:
    parsed = _structure(value, "assets")
    return [_structure(part, "assets") for part in parsed] if isinstance(parsed, list) else parsed


def _leaves(metadata: Any) -> dict[str, int]:
    """Return positions of a file's columns by their paths, properties as items call them."""
    group = metadata.row_group(0) if metadata.num_row_groups else None
    paths = [] if group is None else [group.column(n).path_in_schema for n in range(group.num_columns)]
    return {_NAMES.get(path, path): n for n, path in enumerate(paths)}
