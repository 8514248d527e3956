"""Make the bands of images of which each is made of several files."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

import shapely

from eechips_local.archives.archive_errors import ArchiveRefusedError
from eechips_local.archives.archive_model import CogReader, Item, ItemQuery, ItemSearch
from eechips_local.archives.archive_record import ArchiveRecord, BandRecord, TiledGrid
from eechips_local.archives.items.item_bands import ArchiveRaster, rasters_of
from eechips_local.archives.items.item_filters import found_items
from eechips_local.archives.items.item_images import image_index, image_properties, newest_of, outline_of, version_of
from eechips_local.archives.items.system_index import rule_of
from eechips_local.archives.tile_mosaic import ListedTiles, TileFinder, TileMosaic
from eechips_local.assets.ingestion.item_metadata import grid_of
from eechips_local.evaluation.asset_model import BandInfo, ImageAsset, PixelType
from eechips_local.evaluation.lazy_values import LazySequence

_LEVELS = (1, 2, 4, 8, 16, 32, 64, 128)  # of images that are cut into files
_TOGETHER = 1_000  # images whose parts are searched at a time


def mosaic_bands(record: ArchiveRecord, search: Any, reader: CogReader) -> tuple[BandInfo, ...]:
    """Return the bands of an image that is made of tiles. Nothing is searched or read.

    Args:
        record: record of the dataset.
        search: returns the items that meet bounds.
        reader: opens their files.
    """
    tiles = record.tiles
    if tiles is None:
        raise ValueError(f"the record of {record.dataset} has no grid of tiles")
    return _tiled_bands(record, tiles, TileFinder(search, tiles.cell), reader)


def images_of_parts(
    record: ArchiveRecord, indices: Iterable[str], search: ItemSearch, reader: CogReader
) -> list[ImageAsset]:
    """Return the images of which each is cut into several items: whole ones, whatever parts a search has found.

    Args:
        record: record of the dataset, of kind "parts".
        indices: ``system:index`` of the images.
        search: search of the archive's items.
        reader: opens their files; nothing is read.

    Raises:
        ArchiveError: if the archive does not answer.
        ArchiveRefusedError: if a part does not tell its image's grid.
    """
    ordered, images = sorted(indices), []
    for first in range(0, len(ordered), _TOGETHER):
        parts: dict[str, dict[str, Item]] = {index: {} for index in ordered[first : first + _TOGETHER]}
        known = [rule_of(record.index).search(index, "") for index in parts]
        ids = tuple(name for index_search in known if index_search is not None for name in index_search.ids or ())
        for item in found_items(search, record.collection, ItemQuery(equals=record.filters, ids=ids)):
            index = image_index(record, item)
            if index in parts:
                parts[index][str(item["id"])] = item
        images += [
            _image(record, index, list(image_parts.values()), reader)
            for index, image_parts in parts.items()
            if image_parts
        ]
    return images


def _image(record: ArchiveRecord, index: str, items: list[Item], reader: CogReader) -> ImageAsset:
    grid = grid_of({}, items[0]["properties"])
    if grid is None or any(grid_of({}, item["properties"]) != grid for item in items):
        raise ArchiveRefusedError(f"The files of {record.dataset}/{index} do not tell one grid. Leave the image out.")
    tiles = TiledGrid(grid, _LEVELS, cell=1.0)
    return ImageAsset(
        id=f"{record.dataset}/{index}",
        bands=LazySequence(partial(_tiled_bands, record, tiles, ListedTiles(tuple(items)), reader)),
        properties=image_properties(record, newest_of(items), index),
        footprint=shapely.union_all([outline_of(item) for item in items]),
        version=max(map(version_of, items)),
    )


def _tiled_bands(
    record: ArchiveRecord, tiles: TiledGrid, finder: TileFinder | ListedTiles, reader: CogReader
) -> tuple[BandInfo, ...]:
    groups: dict[tuple[str, object], list[BandRecord]] = {}
    for band in record.bands:
        groups.setdefault((band.asset, band.value), []).append(band)
    bands_by_name: dict[str, BandInfo] = {}
    for own in groups.values():
        opened = partial(_raster, own[0].name, record, reader)
        dtype = own[0].value.dtype
        source = TileMosaic(tiles, finder, opened, dtype)
        for position, band in enumerate(own):
            bands_by_name[band.name] = BandInfo(
                band.name, PixelType.of(dtype), tiles.grid, source, position, keeps_extent=False
            )
    return tuple(bands_by_name[band.name] for band in record.bands)


def _raster(band: str, record: ArchiveRecord, reader: CogReader, item: Item) -> ArchiveRaster | None:
    sources = rasters_of(item, record, reader)
    return sources[band][0] if band in sources else None
