"""Serve the assets of a folder (``FolderStore``), and list them with their sizes, times and bands.

:mod:`eechips_local.assets.stored_images` makes images of its rasters, and :mod:`eechips_local.pixels.file_source` reads
them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from eechips_local.asset_folder import find_fault
from eechips_local.assets.asset_errors import InvalidStoreError, UnknownAssetError
from eechips_local.assets.asset_names import is_id
from eechips_local.assets.store_index import StoreIndex
from eechips_local.assets.stored_classifiers import load_classifier
from eechips_local.assets.stored_images import StoredCollection, StoreFiles, load_image
from eechips_local.assets.stored_tables import StoredTable, load_table
from eechips_local.evaluation.asset_model import Asset, ClassifierAsset, FolderAsset, ImageAsset, Query


@dataclass(frozen=True, slots=True)
class AssetSummary:
    """Entry of an asset in a listing.

    Attributes:
        id: the full Earth Engine id.
        type: as Earth Engine's REST API names it.
        size: images of a collection, rows of a table, bands of an image, children of a folder; 0 of a classifier.
        time_start: least ``system:time_start`` in milliseconds since 1970, or None.
        time_end: greatest ``system:time_start`` likewise.
        names: bands of the image, or of the collection's first one; columns of the table.
    """

    id: str
    type: Literal["FOLDER", "IMAGE_COLLECTION", "IMAGE", "TABLE", "CLASSIFIER"]
    size: int
    time_start: float | None = None
    time_end: float | None = None
    names: Sequence[str] = ()


class FolderStore:
    """An ``AssetStore`` over a folder of STAC documents, GeoTIFFs and GeoParquet files.

    Threads may share it; it pickles by its path; as a context manager it closes what it opened. Ids never
    become paths here: they are looked up in an index of what the STAC documents say.

    Args:
        path: the folder; ``ingest`` makes one.
        open_files: greatest number of rasters kept open.
        remote: whether files on web servers, which items may refer to, are read.

    Raises:
        InvalidStoreError: if the folder is missing or holds no assets.
    """

    def __init__(self, path: str | Path, *, open_files: int = 256, remote: bool = False) -> None:
        self._path = Path(path).absolute()
        self._open_files = open_files
        self._remote = remote
        if (fault := find_fault(Path(path))) is not None:
            raise InvalidStoreError(fault)
        self._index = StoreIndex(self._path)
        self._files = StoreFiles(self._path, open_files, remote)

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (str(self._path), self._open_files, self._remote)

    def __enter__(self) -> FolderStore:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def path(self) -> Path:
        """The folder."""
        return self._path

    def get(self, asset_id: str) -> Asset | None:
        """Return the asset of that id, or None if there is none (no id that leaves the folder names one)."""
        if asset_id and not is_id(asset_id):
            return None
        container = self._index.container(asset_id)
        if container is not None:
            if container.kind == "collection":
                return StoredCollection(container, self._index, self._files)
            return FolderAsset(asset_id, container.properties, container.version)
        row = self._index.asset(asset_id) if asset_id else None
        if row is None:
            return None
        if row.kind == "table":
            return load_table(row, self._path)
        if row.kind == "classifier":
            return load_classifier(row, self._path)
        return load_image(row, self._files)

    def stamp(self, asset_id: str) -> str:
        """Return a text that differs once the asset of an id was replaced or removed."""
        return self._index.stamp(asset_id) if is_id(asset_id) else ""

    def children(self, parent: str) -> Iterator[str]:
        """Return ids of the assets directly under a folder or collection, in order; "" is the root."""
        return self._index.children(parent)

    def describe(self) -> Mapping[str, Any]:
        """Return the kind and path of the store, and the number of its assets by type."""
        return {"type": "folder", "path": str(self._path), **self._index.totals()}

    def summaries(self, parent: str = "") -> Iterator[AssetSummary]:
        """Yield what a listing shows: everything under a folder except the images of collections below it.

        Args:
            parent: id of a folder or collection, or of a single asset; "" for all.

        Raises:
            UnknownAssetError: if there is no such asset.
        """
        asset = self.get(parent)
        if asset is None:
            raise UnknownAssetError(f"There is no asset {parent!r} in {self._path}.")
        if isinstance(asset, ImageAsset | StoredTable | ClassifierAsset):
            yield self._summary(asset)
        else:
            yield from self._below(parent, images=isinstance(asset, StoredCollection))

    def close(self) -> None:
        """Close what is open; the store can still be used."""
        self._index.close()
        self._files.close()

    def _below(self, parent: str, *, images: bool) -> Iterator[AssetSummary]:
        # Only a collection that is asked for by name, and the root, list their images one by one.
        for child in self._index.children(parent, images=images or not parent):
            asset = self.get(child)
            if asset is None:
                continue
            yield self._summary(asset)
            if isinstance(asset, StoredCollection | FolderAsset):
                yield from self._below(child, images=False)

    def _summary(self, asset: Asset) -> AssetSummary:
        if isinstance(asset, ImageAsset):
            start = asset.properties.get("system:time_start")
            return AssetSummary(asset.id, "IMAGE", len(asset.bands), start, start, [band.name for band in asset.bands])
        if isinstance(asset, StoredTable):
            return AssetSummary(asset.id, "TABLE", len(asset), names=list(asset.columns))
        if isinstance(asset, ClassifierAsset):
            return AssetSummary(asset.id, "CLASSIFIER", 0)
        if isinstance(asset, StoredCollection):
            size, start, end = self._index.count(asset.id)
            first = next(asset.images(Query()), None)
            names = [band.name for band in first.bands] if first else []
            return AssetSummary(asset.id, "IMAGE_COLLECTION", size, start, end, names)
        return AssetSummary(asset.id, "FOLDER", sum(1 for _ in self.children(asset.id)))


def _reopen(path: str, open_files: int, remote: bool) -> FolderStore:
    return FolderStore(path, open_files=open_files, remote=remote)
