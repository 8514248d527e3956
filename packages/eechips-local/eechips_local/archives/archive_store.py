"""Serve an open archive as a store of assets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from eechips_local.archives.archive_collection import ArchiveCollection, ArchiveMosaic, ArchiveSeries, single_image
from eechips_local.archives.archive_errors import ArchiveRefusedError
from eechips_local.archives.archive_model import ArchiveDescription, CogReader, ItemFile, ItemSearch
from eechips_local.archives.archive_rasters import ArchiveRaster
from eechips_local.archives.archive_record import ArchiveRecord, records_of
from eechips_local.evaluation.model import Asset, FolderAsset, ImageAsset, Query

ArchiveAsset = ArchiveCollection | ArchiveSeries | ArchiveMosaic | ImageAsset
"""A dataset of an archive."""


class ArchiveStore:
    """An ``AssetStore`` over the datasets of an open archive. Threads may share it; it pickles if its parts do.

    Args:
        description: of the archive.
        search: of its items.
        reader: opens their files.
        records: of datasets by their Earth Engine ids; those that are known of the archive by default.
    """

    def __init__(
        self,
        description: ArchiveDescription,
        search: ItemSearch,
        reader: CogReader,
        records: Mapping[str, ArchiveRecord] | None = None,
    ) -> None:
        self.description = description
        self._search = search
        self._reader = reader
        self._records = records_of(description.like or description.name) if records is None else dict(records)
        self._assets = {
            dataset: self._open(record) for dataset, record in self._records.items() if record.kind != "refused"
        }

    def __reduce__(self) -> tuple[Any, ...]:
        return ArchiveStore, (self.description, self._search, self._reader, self._records)

    @property
    def records(self) -> Mapping[str, ArchiveRecord]:
        """Records of datasets by their Earth Engine ids; those that are refused, too."""
        return self._records

    def get(self, asset_id: str) -> Asset | None:
        """Return the asset of that id, or None if there is none. An image of a collection takes one search.

        Raises:
            ArchiveError: if the archive does not answer.
            ArchiveRefusedError: if the archive has only another product than the dataset.
        """
        if asset_id in self._assets:
            return self._assets[asset_id]
        parent, _, index = asset_id.rpartition("/")
        record = self._records.get(asset_id) or self._records.get(parent)
        if record is not None and record.kind == "refused":
            raise ArchiveRefusedError(_refusal(record, self.description.title))
        collection = self._assets.get(parent)
        if collection is not None:
            return None if isinstance(collection, ImageAsset) else collection.image(index)
        if any(dataset.startswith(f"{asset_id}/") for dataset in self._assets):
            return FolderAsset(asset_id)
        return None

    def files(self, asset_id: str, bands: tuple[str, ...] = ()) -> tuple[ItemFile, ...] | None:
        """Return the files from which an image is read; see ``ArchiveFiles``. Headers of its files are read."""
        asset = self.get(asset_id)
        if not isinstance(asset, ImageAsset):
            return None
        found: dict[str, tuple[ArchiveRaster, list[str]]] = {}
        for band in asset.bands:
            if isinstance(band.source, ArchiveRaster) and (not bands or band.name in bands):
                found.setdefault(band.source.href, (band.source, []))[1].append(band.name)
        return tuple(
            ItemFile(raster.item_id, href, tuple(names), raster.file.header.version)
            for href, (raster, names) in found.items()
        )

    def children(self, parent: str) -> Iterator[str]:
        """Yield ids of the assets directly under a folder or collection; "" is the root."""
        asset = self._assets.get(parent)
        if asset is not None:
            if not isinstance(asset, ImageAsset):
                yield from (image.id for image in asset.images(Query()))
            return
        prefix = f"{parent}/" if parent else ""
        names = (name.removeprefix(prefix).partition("/")[0] for name in self._assets if name.startswith(prefix))
        yield from sorted({f"{prefix}{name}" for name in names})

    def describe(self) -> Mapping[str, Any]:
        """Return the archive's name and address, and its datasets."""
        return {
            "type": "archive",
            "name": self.description.name,
            "title": self.description.title,
            "address": self.description.api or self.description.file,
            "datasets": sorted(self._assets),
        }

    def _open(self, record: ArchiveRecord) -> ArchiveAsset:
        if record.kind == "series":
            return ArchiveSeries(record, self._search, self._reader)
        if record.kind == "single":
            image = single_image(record, self._search, self._reader)
            return ArchiveMosaic(record, image) if record.tiles is not None and record.tiles.index else image
        return ArchiveCollection(record, self._search, self._reader)


def _refusal(record: ArchiveRecord, title: str) -> str:
    hint = f" {title} has {record.instead}, which is served under that name." if record.instead else ""
    return f"{title} cannot serve '{record.dataset}': {record.reason}{hint}"
