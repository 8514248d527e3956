"""A catalogue as seen from outside: its partitions, and the items in them."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from eechips.catalogs import commit
from eechips.catalogs.commit import SCHEMA_NAME
from eechips.catalogs.extents import Extent
from eechips.catalogs.layout import name_in_path
from eechips.catalogs.schema import Partition, Schema
from eechips.errors import RunLockedError, StorageError, UsageError
from eechips.manifest.lock import is_held
from eechips.objects import ObjectStore, is_address
from eechips.storage import LocalStore
from eechips.text import format_bytes


@dataclass(frozen=True, slots=True)
class Catalog:
    """A catalogue, in its folder or copied into an object store.

    Attributes:
        home: the folder, or the store.
        schema: what it holds.
    """

    home: Path | ObjectStore
    schema: Schema

    @property
    def path(self) -> Path:
        """The folder.

        Raises:
            UsageError: if it is in an object store: :meth:`address` says where its files are.
        """
        if isinstance(self.home, ObjectStore):
            raise UsageError(f"{self.home.url} is no folder: the address of a partition is catalog.address(partition)")
        return self.home

    def address(self, partition: Partition) -> str:
        """Where the file of a partition is: a path, or an address in an object store."""
        if isinstance(self.home, ObjectStore):
            return f"{self.home.url}/{partition.path}"
        return str(self.home / partition.path)

    def __len__(self) -> int:
        return sum(partition.items for partition in self.schema.partitions.values())

    def __repr__(self) -> str:
        return f"<eechips catalogue: {self.summary}>"

    @property
    def summary(self) -> str:
        """For people: how much there is, and where."""
        size = format_bytes(sum(partition.bytes for partition in self.schema.partitions.values()))
        count = len(self.schema.partitions)
        return f"{len(self):,} items in {count:,} partition{'' if count == 1 else 's'}, {size}, in {self._where}"

    @property
    def statistics(self) -> dict[str, Any]:
        """Of all items, and of each collection: items, partitions, cells, bytes, bbox, start, end."""
        return self.schema.statistics

    def partitions(
        self,
        *,
        bbox: Extent | Sequence[float] | str | None = None,
        start: str | None = None,
        end: str | None = None,
        collections: Sequence[str] | str = (),
        missions: Sequence[str] | str = (),
    ) -> list[Partition]:
        """The partitions that can hold items of a place and a time; no other does.

        Args:
            bbox: west, south, east, north in degrees, west beyond east across the antimeridian; or a point: longitude,
                latitude. None for the whole Earth.
            start: ISO 8601 date, or date and time (UTC): items that end before do not count.
            end: the same: items that begin then or later do not count.
            collections: ids; none for all.
            missions: names; none for all.

        Raises:
            RegionError: if the box is none.
            UsageError: if a date is none, or the catalogue knows nothing of missions.
        """
        extent = _extent(bbox)
        first, last = _moment(start), _moment(end)
        wanted, theirs = _texts(collections), [name_in_path(name) for name in _texts(missions)]
        if theirs and self.schema.layout.by != "mission":
            raise UsageError(f"the partitions of {self._where} are by collection, not by mission")
        return [
            partition
            for _, partition in sorted(self.schema.partitions.items())
            if (not wanted or partition.collection in wanted)
            and (not theirs or partition.mission in theirs)
            and (extent is None or partition.extent.meets(extent))
            and (first is None or partition.end is None or _moment(partition.end) >= first)  # type: ignore[operator]
            and (last is None or partition.start is None or _moment(partition.start) < last)  # type: ignore[operator]
        ]

    def items(
        self,
        *,
        bbox: Extent | Sequence[float] | str | None = None,
        start: str | None = None,
        end: str | None = None,
        collections: Sequence[str] | str = (),
        missions: Sequence[str] | str = (),
    ) -> Iterator[dict[str, Any]]:
        """The items whose boxes meet a place and a time, as STAC has them; options as of :meth:`partitions`.

        Raises:
            StorageError: if a partition cannot be read.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        from eechips.catalogs import columns

        extent = _extent(bbox)
        first, last = _moment(start), _moment(end)
        for partition in self.partitions(bbox=extent, start=start, end=end, collections=collections, missions=missions):
            try:
                with pq.ParquetFile(self._source(partition)) as file:
                    columns.check_columns(file.schema_arrow)
                    for batch in file.iter_batches(batch_size=4096):
                        table = pa.Table.from_batches([batch])
                        columns.check_values(table)
                        keep = columns.meets(table, extent, first, last)
                        yield from columns.items_of(table.filter(pa.array(keep)))
            except (pa.ArrowException, OSError, ValueError, TypeError, KeyError) as error:  # values that nobody expects
                raise StorageError(f"{self.address(partition)} cannot be read: {error}") from error

    @property
    def _where(self) -> str:
        return self.home.url if isinstance(self.home, ObjectStore) else str(self.home)

    def _source(self, partition: Partition) -> Any:
        """What Parquet's reader opens: objects are fetched as a whole, as most of it is wanted."""
        if isinstance(self.home, ObjectStore):
            return io.BytesIO(self.home.read(partition.path))
        return LocalStore(self.home).file(partition.path)


def open_catalog(path: str | Path) -> Catalog:
    """Open a catalogue for reading; nothing in it is ever changed by that.

    Args:
        path: its folder, or the address of a copy in an object store: ``s3://bucket/catalog``.

    Raises:
        UsageError: if that is no catalogue.
        ConfigurationError: if the store needs a package that is missing.
        RunLockedError: if a command is putting files in place.
        TransientError, StorageError: if its schema file cannot be read, or a command was killed while it put files in
            place: ``eechips catalog repair`` completes that.
    """
    if is_address(str(path)):
        store = ObjectStore(str(path))
        try:
            return Catalog(store, Schema.loads(store.read(SCHEMA_NAME), store.url))
        except FileNotFoundError:
            raise UsageError(f"{store.url} is no catalogue: there is no {SCHEMA_NAME}") from None
    folder = Path(path)
    if commit.is_pending(folder):
        if is_held(folder):
            raise RunLockedError(f"a command is putting files in place in {folder}: try again in a moment")
        raise StorageError(
            f"{folder} is half changed: a command was killed while it put files in place; complete it with"
            f" `eechips catalog repair {folder}`, or by the same command again"
        )
    return Catalog(folder, Schema.load(folder))


def _texts(given: Sequence[str] | str) -> list[str]:
    return [given] if isinstance(given, str) else list(given)


def _extent(bbox: Extent | Sequence[float] | str | None) -> Extent | None:
    if bbox is None or isinstance(bbox, Extent):
        return bbox
    return Extent.parse(bbox if isinstance(bbox, str) else ",".join(str(float(number)) for number in bbox))


def _moment(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        raise UsageError(f"'{text}' is no date such as 2020-06-01, nor 2020-06-01T12:00:00Z") from None
    return found.replace(tzinfo=timezone.utc) if found.tzinfo is None else found.astimezone(timezone.utc)
