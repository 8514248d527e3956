"""Serve a catalogue as a store of assets: its collections with their properties and counts, and the images in them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from eechips_local.assets.asset_names import join_id
from eechips_local.catalogs import catalog_schema as schemas
from eechips_local.catalogs.allowed_files import AllowedFiles
from eechips_local.catalogs.catalog_schema import CatalogPartitions
from eechips_local.catalogs.item_rasters import ItemRasters
from eechips_local.catalogs.partition_rows import ItemProperties, PartitionRow
from eechips_local.catalogs.served_catalog import PATIENCE, ServedCatalog
from eechips_local.evaluation.asset_model import Asset, FolderAsset, ImageAsset, Query, child_ids
from eechips_local.evaluation.lazy_values import LazySequence
from eechips_local.quota.read_counts import Reads

_DESCRIBED = ("title", "description", "license", "keywords")


class CatalogCollection:
    """A STAC collection as an image collection. See ``CollectionAsset``.

    Args:
        collection: its id.
        properties: properties of the collection itself.
        catalog: has its items.
        rasters: open their files.
    """

    def __init__(
        self, collection: str, properties: Mapping[str, Any], catalog: ServedCatalog, rasters: ItemRasters
    ) -> None:
        self._id = collection
        self._properties = properties
        self._catalog = catalog
        self._rasters = rasters

    @property
    def id(self) -> str:
        """The full Earth Engine id: the collection's."""
        return self._id

    @property
    def properties(self) -> Mapping[str, Any]:
        """Properties of the collection itself."""
        return self._properties

    def images(self, query: Query) -> Iterator[ImageAsset]:
        """Return the images that may match, in the order of their ids."""
        return (self._image(row) for row in self._catalog.rows(self._id, query))

    def images_from(self, start: int) -> Iterator[ImageAsset]:
        """Return all images in the order of their ids, from a position on; those before it are not read."""
        return (self._image(row) for row in self._catalog.walk(self._id, start))

    def count(self, query: Query) -> int | None:
        """See ``Counted.count``. No partition is opened."""
        if query != Query():
            return None
        partitions = self._catalog.schema().collections.get(self._id)
        return 0 if partitions is None else len(partitions)

    def image(self, item: str) -> ImageAsset | None:
        """Return the image of an item's id, or None."""
        row = self._catalog.row(self._id, item)
        return None if row is None else self._image(row)

    def ids(self) -> Iterator[str]:
        """Return ids of all images, in order."""
        return (join_id(self._id, row.id) for row in self._catalog.walk(self._id, 0))

    def _image(self, row: PartitionRow) -> ImageAsset:
        asset_id = join_id(self._id, row.id)
        return ImageAsset(
            id=asset_id,
            bands=LazySequence(lambda: self._rasters.bands(asset_id, row.document(), row.links)),
            properties=ItemProperties(row),
            footprint=row.block.footprints[row.position],
            version=row.block.versions[row.position],
        )


class CatalogStore:
    """An ``AssetStore`` over a catalogue of STAC items in GeoParquet.

    Threads may share it; it pickles by its path; as a context manager it closes what it opened.

    Args:
        path: the catalogue's folder.
        folders: those whose files may be read, besides the one that the catalogue's folder is in.
        remote: whether files on web servers and in object stores are read.
        patience: seconds to wait for files that are being put in place.

    Raises:
        InvalidStoreError: if the folder is no catalogue.
    """

    def __init__(
        self, path: str | Path, *, folders: Sequence[Path] = (), remote: bool = False, patience: float = PATIENCE
    ) -> None:
        self._path = Path(path).absolute()
        schemas.stamp_of(self._path)
        self._arguments = (str(self._path), tuple(folders), remote, patience)
        self.reads = Reads()
        self._catalog = ServedCatalog(self._path, self.reads, patience)
        self._rasters = ItemRasters(AllowedFiles(self._path, folders, remote), self.reads)

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, self._arguments

    def __enter__(self) -> CatalogStore:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def path(self) -> Path:
        """The folder."""
        return self._path

    def begin(self) -> None:
        """Begin a request: until the next call all results describe the state of the first."""
        self._catalog.begin()

    def get(self, asset_id: str) -> Asset | None:
        """Return the asset of that id, or None if there is none."""
        collections = self._catalog.schema().collections
        if asset_id in collections:
            return self._collection(asset_id, collections[asset_id])
        if any(name.startswith(f"{asset_id}/") for name in collections):
            return FolderAsset(asset_id)
        for name in sorted(collections, key=len, reverse=True):  # ids of collections and items may have slashes
            if asset_id.startswith(f"{name}/"):
                asset = self._collection(name, collections[name]).image(asset_id.removeprefix(f"{name}/"))
                if asset is not None:
                    return asset
        return None

    def children(self, parent: str) -> Iterator[str]:
        """Yield ids of the assets directly under a folder or collection, in order; "" is the root."""
        collections = self._catalog.schema().collections
        if parent in collections:
            yield from self._collection(parent, collections[parent]).ids()
            return
        yield from sorted(child_ids(parent, collections))

    def describe(self) -> Mapping[str, Any]:
        """Return the kind and path of the store, and the number of items of each collection."""
        collections = self._catalog.schema().collections
        return {
            "type": "catalog",
            "path": str(self._path),
            "partitions": sum(len(partitions.paths) for partitions in collections.values()),
            "collections": {name: len(partitions) for name, partitions in collections.items()},
        }

    def close(self) -> None:
        """Close what is open; the store can still be used."""
        self._rasters.close()

    def _collection(self, name: str, partitions: CatalogPartitions) -> CatalogCollection:
        return CatalogCollection(name, _properties(self._path, partitions), self._catalog, self._rasters)


def _properties(root: Path, partitions: CatalogPartitions) -> dict[str, Any]:
    """Return a collection's title, description and span of time as properties."""
    path = root / partitions.folder / schemas.COLLECTION
    described = json.loads(path.read_bytes()) if path.is_file() else {}
    properties = {name: described[name] for name in _DESCRIBED if described.get(name)}
    span = partitions.span
    return properties if span is None else {**properties, "date_range": list(span)}


def _reopen(path: str, folders: tuple[Path, ...], remote: bool, patience: float) -> CatalogStore:
    return CatalogStore(path, folders=folders, remote=remote, patience=patience)
