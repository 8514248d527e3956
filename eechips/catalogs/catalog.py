"""A catalogue as seen from outside: its partitions, and the items in them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from eechips.catalogs import commit
from eechips.catalogs.extents import Extent
from eechips.catalogs.schema import Partition, Schema
from eechips.errors import StorageError, UsageError
from eechips.human import human_bytes
from eechips.manifest.lock import locked


@dataclass(frozen=True, slots=True)
class Catalog:
    """A catalogue in its folder.

    Attributes:
        path: the folder.
        schema: what it holds.
    """

    path: Path
    schema: Schema

    def __len__(self) -> int:
        return sum(partition.items for partition in self.schema.partitions.values())

    def __repr__(self) -> str:
        return f"<eechips catalogue: {self.summary}>"

    @property
    def summary(self) -> str:
        """For people: how much there is, and where."""
        size = human_bytes(sum(partition.bytes for partition in self.schema.partitions.values()))
        count = len(self.schema.partitions)
        return f"{len(self):,} items in {count:,} partition{'' if count == 1 else 's'}, {size}, in {self.path}"

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
    ) -> list[Partition]:
        """The partitions that can hold items of a place and a time; no other does.

        Args:
            bbox: west, south, east, north in degrees, west beyond east across the antimeridian; or a point: longitude,
                latitude. None for the whole Earth.
            start: ISO 8601 date, or date and time (UTC): items that end before do not count.
            end: the same: items that begin then or later do not count.
            collections: ids; none for all.

        Raises:
            RegionError: if the box is none.
            UsageError: if a date is none.
        """
        extent = _extent(bbox)
        first, last = _moment(start), _moment(end)
        wanted = [collections] if isinstance(collections, str) else list(collections)
        return [
            partition
            for _, partition in sorted(self.schema.partitions.items())
            if (not wanted or partition.collection in wanted)
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
        for partition in self.partitions(bbox=extent, start=start, end=end, collections=collections):
            path = self.path / partition.path
            try:
                with pq.ParquetFile(path) as file:
                    for batch in file.iter_batches(batch_size=4096):
                        table = pa.Table.from_batches([batch])
                        keep = columns.meets(table, extent, first, last)
                        yield from columns.items_of(table.filter(pa.array(keep)))
            except (pa.ArrowException, OSError) as error:
                raise StorageError(f"{path} cannot be read: {error}") from error


def open_catalog(path: str | Path) -> Catalog:
    """Opens a catalogue.

    If a command was killed while it put files in place, that is finished first.

    Raises:
        UsageError: if the folder is no catalogue.
        RunLockedError: if a command is putting files in place.
        StorageError: if its schema file cannot be read.
    """
    folder = Path(path)
    if commit.is_pending(folder):
        with locked(folder):
            commit.finish(folder)
    return Catalog(folder, Schema.load(folder))


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
