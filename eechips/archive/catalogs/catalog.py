"""Query a catalogue, local or in an object store, by box, time, collection, mission or ids: its partitions, and the
items in them.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from eechips.archive.catalogs.extents import Extent
from eechips.archive.catalogs.partitions import commit
from eechips.archive.catalogs.partitions.commit import SCHEMA_NAME
from eechips.archive.catalogs.partitions.layout import collection_folder, name_in_path, owner
from eechips.archive.catalogs.partitions.schema import Partition, Schema
from eechips.errors import RunLockedError, StorageError, UsageError
from eechips.manifest.folder_lock import is_held
from eechips.storage import LocalStore, ObjectStore, is_address
from eechips.text.formatting import format_bytes, format_count
from eechips.text.timestamps import parse_timestamp


@dataclass(frozen=True, slots=True)
class Catalog:
    """A catalogue in a local folder, or a copy in an object store (``home``)."""

    home: Path | ObjectStore
    schema: Schema

    @property
    def path(self) -> Path:
        """The folder.

        Raises:
            UsageError: if the catalogue is in an object store; :meth:`address` returns the URLs of its files.
        """
        if isinstance(self.home, ObjectStore):
            raise UsageError(f"{self.home.url} is not a folder: use catalog.address(partition) for its files")
        return self.home

    def address(self, partition: Partition) -> str:
        """Return the path or URL of a partition's file."""
        if isinstance(self.home, ObjectStore):
            return f"{self.home.url}/{partition.path}"
        return str(self.home / partition.path)

    def __len__(self) -> int:
        return sum(partition.items for partition in self.schema.partitions.values())

    def __repr__(self) -> str:
        return f"<eechips catalogue: {self.summary}>"

    @property
    def summary(self) -> str:
        """Size and location for people."""
        size = format_bytes(sum(partition.bytes for partition in self.schema.partitions.values()))
        count = len(self.schema.partitions)
        return f"{format_count(len(self), 'item')} in {format_count(count, 'partition')}, {size}, in {self._where}"

    @property
    def statistics(self) -> dict[str, Any]:
        """Items, partitions, cells, bytes, bbox, start and end, of all items and of each collection."""
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
        """Return the partitions that can hold items of a place and a time; all other partitions hold none.

        Args:
            bbox: west, south, east, north in degrees, west greater than east across the antimeridian; or a point:
                longitude, latitude. None for the whole Earth.
            start: ISO 8601 date, or date and time (UTC); excludes items that end earlier.
            end: the same; excludes items that begin then or later.
            collections: ids; none for all.
            missions: names; none for all.

        Raises:
            RegionError: if the box is malformed.
            UsageError: if a date is malformed, or the catalogue has no missions.
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
        """Yield the STAC items whose boxes meet a place and a time; arguments as of :meth:`partitions`.

        Raises:
            StorageError: if a partition cannot be read.
        """
        from eechips.archive.catalogs.partitions import columns
        from eechips.geo.untrusted_parquet import BoundedParquet

        extent = _extent(bbox)
        first, last = _moment(start), _moment(end)
        for partition in self.partitions(bbox=extent, start=start, end=end, collections=collections, missions=missions):
            try:
                with BoundedParquet(self._source(partition), 4096) as file:
                    columns.check_columns(file.schema_arrow)
                    for batch in file.iter_batches(batch_size=4096):
                        table = pa.Table.from_batches([batch])
                        columns.check_values(table)
                        keep = columns.meets(table, extent, first, last)
                        yield from columns.items_of(table.filter(pa.array(keep)))
            except (pa.ArrowException, OSError, ValueError, TypeError, KeyError) as error:  # unexpected values
                raise StorageError(f"{self.address(partition)} cannot be read: {error}") from error

    def contains(self, ids: Sequence[str] | pa.Array, *, collection: str | None = None) -> npt.NDArray[np.bool_]:
        """Return which ids the catalogue has, by the index beside its partitions.

        Partitions that are not in the index are read, which is logged. Ids are compared by 128 bits of their hashes:
        see :mod:`eechips.archive.catalogs.partitions.id_index`.

        Args:
            ids: texts, shape (n,).
            collection: in which they are unique; may be omitted if the catalogue has one only.

        Returns:
            Shape (n,).

        Raises:
            UsageError: if the catalogue has several collections, and none is chosen.
            StorageError: if a partition that is not in the index cannot be read.

        Example:
            >>> is_new = ~eechips.open_catalog("outputs/scenes").contains(ids)
        """
        from eechips.archive.catalogs.partitions.id_index import IdIndex
        from eechips.archive.catalogs.partitions.id_segments import keys_of

        folders = {owner(path) for path in self.schema.partitions}
        if collection is not None:
            folders &= {collection_folder(collection)}
        if len(folders) > 1:
            names = sorted({partition.collection or "none" for partition in self.schema.partitions.values()})
            raise UsageError(
                f"an id may be in several collections of {self._where}: choose a collection, one of {', '.join(names)}"
            )
        texts = ids if isinstance(ids, pa.Array) else pa.array(ids, pa.string())
        if not folders or not len(texts):
            return np.zeros(len(texts), bool)
        (folder,) = folders
        return IdIndex(self.home, self.schema, folders).contains(keys_of(texts, folder))

    @property
    def _where(self) -> str:
        return self.home.url if isinstance(self.home, ObjectStore) else str(self.home)

    def _source(self, partition: Partition) -> Any:
        """Return a path or file for the Parquet reader; objects are downloaded whole, as most of each is needed."""
        if isinstance(self.home, ObjectStore):
            return io.BytesIO(self.home.read(partition.path))
        return LocalStore(self.home).file(partition.path)


def open_catalog(path: str | Path) -> Catalog:
    """Open a catalogue for reading, which never changes it.

    Args:
        path: folder, or URL of a copy in an object store: ``s3://bucket/catalog``.

    Raises:
        UsageError: if it is not a catalogue.
        ConfigurationError: if the package of the store is missing.
        RunLockedError: if a command is committing files.
        TransientError, StorageError: if the schema file cannot be read, or a commit was interrupted:
            ``eechips catalog repair`` completes it.
    """
    if is_address(str(path)):
        store = ObjectStore(str(path))
        try:
            return Catalog(store, Schema.loads(store.read(SCHEMA_NAME), store.url))
        except FileNotFoundError:
            raise UsageError(f"{store.url} is not a catalogue: it has no {SCHEMA_NAME}") from None
    folder = Path(path)
    if commit.is_pending(folder):
        if is_held(folder):
            raise RunLockedError(f"a command is committing files in {folder}: try again in a moment")
        raise StorageError(
            f"{folder} is half changed: a command was killed during its commit; complete it with"
            f" `eechips catalog repair {folder}`, or run the same command again"
        )
    return Catalog(folder, Schema.load(folder))


def _texts(texts: Sequence[str] | str) -> list[str]:
    return [texts] if isinstance(texts, str) else list(texts)


def _extent(bbox: Extent | Sequence[float] | str | None) -> Extent | None:
    if bbox is None or isinstance(bbox, Extent):
        return bbox
    return Extent.parse(bbox if isinstance(bbox, str) else ",".join(str(float(number)) for number in bbox))


def _moment(text: str | None) -> datetime | None:
    if text is None:
        return None
    moment = parse_timestamp(text)
    if moment is None:
        raise UsageError(f"'{text}' is not a date such as 2020-06-01 or 2020-06-01T12:00:00Z")
    return moment.astimezone(timezone.utc)
