"""Stored images and image collections."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import shapely
from affine import Affine

from eechips.emulator.assets.index import Index, Row
from eechips.emulator.model import BandInfo, ImageAsset, PixelType, Query
from eechips.emulator.pixels.grid import Grid
from eechips.emulator.pixels.raster import DatasetPool, GeoTiff

_Layout = tuple[tuple[tuple[str, PixelType, tuple[int, ...]], ...], tuple[tuple[str, int, int], ...]]


class StoredCollection:
    """An image collection in a folder. See ``CollectionAsset``.

    Args:
        asset_id: the full Earth Engine id.
        properties: of the collection itself.
        root: the store's folder.
        index: the store's index.
        pool: the store's opened files.
    """

    def __init__(
        self, asset_id: str, properties: Mapping[str, Any], root: Path, index: Index, pool: DatasetPool
    ) -> None:
        self._id = asset_id
        self._properties = properties
        self._root = root
        self._index = index
        self._pool = pool

    @property
    def id(self) -> str:
        """The full Earth Engine id."""
        return self._id

    @property
    def properties(self) -> Mapping[str, Any]:
        """Properties of the collection itself."""
        return self._properties

    def images(self, query: Query) -> Iterator[ImageAsset]:
        """The images that may match, in the order of their ids."""
        for row in self._index.images(self._id, query):
            image = load_image(row, self._root, self._pool)
            if all(image.properties.get(name) == value for name, value in query.equals.items()):
                yield image


def load_image(row: Row, root: Path, pool: DatasetPool) -> ImageAsset:
    """The image that a row of the index describes; its files are not opened."""
    files, bands = _layout(row.layout)
    version, properties, places = json.loads(row.record)
    located = []
    for (crs, pixel_type, levels), (href, a, b, c, d, e, f, width, height) in zip(files, places, strict=True):
        grid = Grid(crs, Affine(a, b, c, d, e, f), width, height)
        located.append((pixel_type, grid, GeoTiff(f"{root}/{href}", levels, pool)))
    properties["system:index"] = row.id.rpartition("/")[2]
    return ImageAsset(
        id=row.id,
        bands=tuple(BandInfo(name, *located[file], index) for name, file, index in bands),
        properties=properties,
        footprint=shapely.from_wkb(row.footprint),
        version=version,
    )


@lru_cache(maxsize=1024)
def _layout(text: str) -> _Layout:
    files, bands = json.loads(text)
    return (
        tuple((crs, PixelType.of(dtype), tuple(levels)) for crs, dtype, levels in files),
        tuple((name, file, index) for name, file, index in bands),
    )
