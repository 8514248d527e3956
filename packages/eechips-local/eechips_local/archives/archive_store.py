"""Serve open archives as stores of assets: take an asset from the first archive that has it, keep found images for ten
minutes, name an image's files.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from eechips_local.archives.archive_collection import ArchiveCollection, ArchiveMosaic, ArchiveSeries, single_image
from eechips_local.archives.archive_errors import ArchiveRefusedError
from eechips_local.archives.archive_model import ArchiveDescription, CogReader, CountsUse, ItemFile, ItemSearch
from eechips_local.archives.archive_record import ArchiveRecord, records_of
from eechips_local.archives.hosts.host_throttle import sum_counts
from eechips_local.archives.hosts.signed_addresses import hide_signature
from eechips_local.archives.items.item_bands import ArchiveRaster
from eechips_local.archives.record_matching import fitting_records
from eechips_local.evaluation.asset_model import Asset, FolderAsset, ImageAsset, Query, child_ids

ArchiveImages = ArchiveCollection | ArchiveSeries | ArchiveMosaic
"""A dataset of an archive that has images."""

ArchiveAsset = ArchiveImages | ImageAsset
"""A dataset of an archive."""

_REMEMBERED = 2048  # images
_FRESH = 600.0  # seconds for which an image is not searched again


class ArchiveStore:
    """An ``AssetStore`` over the datasets of an open archive. Threads may share it; it pickles if its parts do.

    The datasets of an archive that is not known are those that known archives have in collections of the same ids and
    assets; the archive is asked for them on first use.

    Args:
        reader: opens their files.
    """

    def __init__(self, description: ArchiveDescription, search: ItemSearch, reader: CogReader) -> None:
        self.description = description
        self._search = search
        self._reader = reader
        self._lock = threading.Lock()
        self._taken: Counter[str] = Counter()
        self._images: OrderedDict[str, tuple[float, ImageAsset]] = OrderedDict()
        self._found: tuple[dict[str, ArchiveRecord], dict[str, ArchiveAsset]] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return ArchiveStore, (self.description, self._search, self._reader)

    @property
    def records(self) -> Mapping[str, ArchiveRecord]:
        """Records of datasets by their Earth Engine ids; those that are refused, too.

        Raises:
            ArchiveError: if an archive that is not known does not answer.
        """
        return self._known()[0]

    def get(self, asset_id: str) -> Asset | None:
        """Return the asset of that id, or None if there is none. An image of a collection takes one search.

        Raises:
            ArchiveError: if the archive does not answer.
            ArchiveRefusedError: if the archive has only another product than the dataset.
        """
        records, assets = self._known()
        if asset_id in assets:
            return assets[asset_id]
        parent, _, index = asset_id.rpartition("/")
        record = records.get(asset_id) or records.get(parent)
        if record is not None and record.kind == "refused":
            raise ArchiveRefusedError(_refusal(record, self.description.title))
        collection = assets.get(parent)
        if collection is not None:
            return None if isinstance(collection, ImageAsset) else self._image(asset_id, collection, index)
        if any(dataset.startswith(f"{asset_id}/") for dataset in assets):
            return FolderAsset(asset_id)
        return None

    def files(self, asset_id: str, bands: tuple[str, ...] = ()) -> tuple[ItemFile, ...] | None:
        """Return the files from which an image is read; see ``ArchiveFiles``. Headers of its files are read."""
        asset = self.get(asset_id)
        if not isinstance(asset, ImageAsset):
            return None
        rasters: dict[str, tuple[ArchiveRaster, list[str]]] = {}
        for band in asset.bands:
            if isinstance(band.source, ArchiveRaster) and (not bands or band.name in bands):
                rasters.setdefault(band.source.href, (band.source, []))[1].append(band.name)
        return tuple(
            ItemFile(raster.item_id, hide_signature(href), tuple(names), raster.file.header.version)
            for href, (raster, names) in rasters.items()
        )

    def children(self, parent: str) -> Iterator[str]:
        """Yield ids of the assets directly under a folder or collection; "" is the root."""
        _, assets = self._known()
        asset = assets.get(parent)
        if asset is not None:
            if not isinstance(asset, ImageAsset):
                yield from (image.id for image in asset.images(Query()))
            return
        yield from sorted(child_ids(parent, assets))

    def describe(self) -> Mapping[str, Any]:
        """Return the archive's name and address, and its datasets as far as they are known without asking it."""
        records = self._listed() if self._found is None else self._found[0]
        return {
            "type": "archive",
            "name": self.description.name,
            "title": self.description.title,
            "address": self.description.api or self.description.file or self.description.index,
            "datasets": sorted(name for name, record in records.items() if record.kind != "refused"),
        }

    def take_reads(self) -> Counter[str]:
        """Return counts of requests to the archive, of the bytes received, and of those used, since the last call."""
        counts = sum_counts((self._search, self._reader))
        used = self._reader.used if isinstance(self._reader, CountsUse) else 0
        now = Counter(archive_requests=counts.requests, archive_bytes=counts.received, archive_used=used)
        with self._lock:
            before, self._taken = self._taken, now
        return Counter({kind: count - before[kind] for kind, count in now.items()})

    def _image(self, asset_id: str, collection: ArchiveImages, index: str) -> ImageAsset | None:
        """Return an image of a collection; one that was found lately is not searched again."""
        now = time.monotonic()
        with self._lock:
            known = self._images.get(asset_id)
        if known is not None and now - known[0] < _FRESH:
            return known[1]
        image = collection.image(index)
        if image is not None:
            with self._lock:
                self._images[asset_id] = now, image
                self._images.move_to_end(asset_id)
                while len(self._images) > _REMEMBERED:
                    self._images.popitem(last=False)
        return image

    def _known(self) -> tuple[dict[str, ArchiveRecord], dict[str, ArchiveAsset]]:
        with self._lock:
            if self._found is None:
                records = self._listed() or fitting_records(self._search, self.description.name)
                served = {name: record for name, record in records.items() if record.kind != "refused"}
                self._found = records, {name: self._open(record) for name, record in served.items()}
            return self._found

    def _listed(self) -> dict[str, ArchiveRecord]:
        return records_of(self.description.like or self.description.name)

    def _open(self, record: ArchiveRecord) -> ArchiveAsset:
        if record.kind == "series":
            return ArchiveSeries(record, self._search, self._reader)
        if record.kind == "single":
            image = single_image(record, self._search, self._reader)
            return ArchiveMosaic(record, image) if record.tiles is not None and record.tiles.index else image
        return ArchiveCollection(record, self._search, self._reader)


class JoinedArchives:
    """Several archives as one ``AssetStore``: an asset is taken from the first that has it.

    One that an archive refuses may be another's; it is refused if no archive has it.

    Args:
        stores: stores of the archives, in the order in which they are asked.
    """

    def __init__(self, stores: Sequence[ArchiveStore]) -> None:
        self.stores = tuple(stores)

    def get(self, asset_id: str) -> Asset | None:
        """Return the asset of that id, or None if there is none.

        Raises:
            ArchiveError: if an archive does not answer.
            ArchiveRefusedError: if archives have only another product than the dataset; says what the first has.
        """
        return self._first(asset_id)[1]

    def files(self, asset_id: str, bands: tuple[str, ...] = ()) -> tuple[ItemFile, ...] | None:
        """Return the files from which an image is read; see ``ArchiveFiles``."""
        store, _ = self._first(asset_id)
        return None if store is None else store.files(asset_id, bands)

    def children(self, parent: str) -> Iterator[str]:
        """Yield ids of the assets directly under a folder or collection, of each archive that has it."""
        seen: set[str] = set()
        for store in self.stores:
            for name in store.children(parent):
                if name not in seen:
                    seen.add(name)
                    yield name

    def describe(self) -> Mapping[str, Any]:
        """Return the descriptions of the archives."""
        return {"type": "archives", "archives": [dict(store.describe()) for store in self.stores]}

    def take_reads(self) -> Counter[str]:
        """Return the counts of the archives since the last call; see ``ArchiveStore.take_reads``."""
        read_counts: Counter[str] = Counter()
        for store in self.stores:
            read_counts.update(store.take_reads())
        return read_counts

    def _first(self, asset_id: str) -> tuple[ArchiveStore | None, Asset | None]:
        refusal: ArchiveRefusedError | None = None
        for store in self.stores:
            try:
                asset = store.get(asset_id)
            except ArchiveRefusedError as error:
                refusal = refusal or error
                continue
            if asset is not None:
                return store, asset
        if refusal is not None:
            raise refusal
        return None, None


def _refusal(record: ArchiveRecord, title: str) -> str:
    hint = f" {title} has {record.instead}, which is served under that name." if record.instead else ""
    return f"{title} cannot serve '{record.dataset}': {record.reason}{hint}"
