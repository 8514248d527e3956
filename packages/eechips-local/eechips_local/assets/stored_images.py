"""Read stored images and image collections, with their property ``system:asset_size``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import rasterio
import shapely
from affine import Affine

from eechips_local.assets.asset_names import is_remote
from eechips_local.assets.index_rows import IndexRow
from eechips_local.assets.ingestion.records import ContainerRecord
from eechips_local.assets.ingestion.remote_rasters import ALONE, RefusedFile, RemoteFile, gdal_name
from eechips_local.assets.store_files import size_of
from eechips_local.assets.store_index import StoreIndex
from eechips_local.evaluation.asset_model import BandInfo, ImageAsset, PixelType, Query, RasterSource
from eechips_local.pixels.file_source import DatasetPool, FileSource, OpenRaster, PoolKey, is_alpha_name
from eechips_local.pixels.grids.pixel_grid import PixelGrid

# Files on web servers that a process keeps open.
_OPEN_REMOTE = 64
SIZE = "system:asset_size"
"""Property with the bytes of an image or a table. Earth Engine prints it with images and tables of users
(https://github.com/Vizzuality/sql2gee, tests)."""
_Layout = tuple[
    tuple[tuple[str, PixelType, tuple[int, ...], bool, tuple[tuple[int, float], ...], frozenset[int]], ...],
    tuple[tuple[str, int, int], ...],
]


class StorePool(DatasetPool):
    """Opened rasters of a store: of each that file alone.

    GDAL would take overviews, masks and metadata from files beside it, and follow where links or metadata lead.
    """

    def _open(self, key: PoolKey) -> OpenRaster:
        with rasterio.Env(**ALONE):
            return super()._open(key)


class StoreFiles:
    """Source of the pixels of a store's images.

    Args:
        root: the store's folder.
        open_files: greatest number of its rasters kept open.
        remote: whether files on web servers are read, too.
    """

    def __init__(self, root: Path, open_files: int, remote: bool) -> None:
        self._root = root
        self._local = StorePool(open_files, str(root))
        self._remote = DatasetPool(_OPEN_REMOTE) if remote else None

    def source(
        self,
        asset_id: str,
        href: str,
        levels: tuple[int, ...],
        nodata: tuple[tuple[int, float], ...],
        data: frozenset[int],
        declared: tuple[PixelGrid, PixelType],
    ) -> RasterSource:
        """Return the raster of an image, which is not opened yet."""
        if not is_remote(href):
            return FileSource(f"{self._root}/{href}", levels, self._local, nodata, data, declared)
        if self._remote is None:
            return RefusedFile(asset_id, href, levels)
        return RemoteFile(href, FileSource(gdal_name(href), levels, self._remote, nodata, data, declared))

    def size(self, hrefs: Sequence[str]) -> int | None:
        """Return the bytes of files; None where some are on web servers, or none is there."""
        return None if any(map(is_remote, hrefs)) else size_of(self._root, hrefs) or None

    def close(self) -> None:
        """Close what is open; it can still be used."""
        self._local.clear()
        if self._remote is not None:
            self._remote.clear()


class StoredCollection:
    """An image collection in a folder. See ``CollectionAsset``.

    Args:
        container: what the index has of it.
        index: the store's index.
        files: the store's rasters.
    """

    def __init__(self, container: ContainerRecord, index: StoreIndex, files: StoreFiles) -> None:
        self._container = container
        self._index = index
        self._files = files

    @property
    def id(self) -> str:
        """The full Earth Engine id."""
        return self._container.id

    @property
    def properties(self) -> Mapping[str, Any]:
        """Properties of the collection itself."""
        return self._container.properties

    @property
    def version(self) -> int:
        """Microseconds since 1970, of the last change of its document."""
        return self._container.version

    def images(self, query: Query) -> Iterator[ImageAsset]:
        """Yield the images that may match, in the order of their ids."""
        for row in self._index.images(self.id, query):
            image = load_image(row, self._files)
            if all(image.properties.get(name) == value for name, value in query.equals.items()):
                yield image


def load_image(row: IndexRow, files: StoreFiles) -> ImageAsset:
    """Return the image that a row of the index describes; its files are not opened."""
    shared, bands = _layout(row.layout)
    version, properties, places = json.loads(row.record)
    located = []
    for (crs, pixel_type, levels, keeps_extent, nodata, data), (href, a, b, c, d, e, f, width, height) in zip(
        shared, places, strict=True
    ):
        grid = PixelGrid(crs, Affine(a, b, c, d, e, f), width, height)
        source = files.source(row.id, href, levels, nodata, data, (grid, pixel_type))
        located.append((pixel_type, grid, source, keeps_extent))
    properties["system:index"] = row.id.rpartition("/")[2]
    if (size := files.size([href for href, *_ in places])) is not None:
        properties[SIZE] = size
    return ImageAsset(
        id=row.id,
        bands=tuple(_band(name, *located[file], index) for name, file, index in bands),
        properties=properties,
        footprint=shapely.from_wkb(row.footprint),
        version=version,
    )


def _band(
    name: str, pixel_type: PixelType, grid: PixelGrid, source: RasterSource, keeps_extent: bool, index: int
) -> BandInfo:
    return BandInfo(name, pixel_type, grid, source, index, keeps_extent)


@lru_cache(maxsize=1024)
def _layout(text: str) -> _Layout:
    files, bands = json.loads(text)
    return (
        tuple(
            (
                crs,
                PixelType.of(dtype),
                tuple(levels),
                keeps_extent,
                tuple((index, nodata) for _, file, index, nodata in bands if file == position and nodata is not None),
                frozenset(index for name, file, index, _ in bands if file == position and not is_alpha_name(name)),
            )
            for position, (crs, dtype, levels, keeps_extent) in enumerate(files)
        ),
        tuple((name, file, index) for name, file, index, _ in bands),
    )
