"""Serve datasets of open archives as image collections, series of global images and mosaics; refuse queries of too many
images without a region or time.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from itertools import takewhile
from typing import Any

import shapely

from eechips_local.archives.archive_errors import ArchiveRefusedError
from eechips_local.archives.archive_model import CogReader, Item, ItemQuery, ItemSearch
from eechips_local.archives.archive_record import ArchiveRecord, TiledGrid
from eechips_local.archives.items.item_filters import found_items, item_queries
from eechips_local.archives.items.item_images import image_index, image_of, image_properties, newest_of
from eechips_local.archives.items.system_index import rule_of
from eechips_local.archives.tiled_images import images_of_parts, mosaic_bands
from eechips_local.evaluation.asset_model import Bounds, ImageAsset, Query

_DAY = 86_400_000.0
_INDEX = "system:index"
# Items of a search without a region that are too many to be put in order: OpenSearch, behind LandsatLook and Earth
# Search, follows no pages beyond 10,000; fewer if nothing narrows the search, so that few pages are read in vain.
_MOST_DATED, _MOST_WHOLE = 10_000, 1_000
_TOGETHER = 64  # images that are searched at a time
_WORLD = shapely.box(-180.0, -90.0, 180.0, 90.0)


class _ItemImages:
    """A dataset whose images are made of an archive's items.

    Args:
        record: record of the dataset.
        search: search of the archive's items.
        reader: opens their files.
    """

    def __init__(self, record: ArchiveRecord, search: ItemSearch, reader: CogReader) -> None:
        self._record = record
        self._reader = reader
        self._search = search

    @property
    def id(self) -> str:
        """Earth Engine's id."""
        return self._record.dataset

    @property
    def properties(self) -> Mapping[str, Any]:
        """Properties of the collection itself."""
        return collection_properties(self._record)


class ArchiveCollection(_ItemImages):
    """An archive's collection as an image collection, an image for each item, or for several that are its parts.

    See ``CollectionAsset``.
    """

    def images(self, query: Query) -> Iterator[ImageAsset]:
        """Return the images that may match, in the order of their ids.

        Raises:
            ArchiveRefusedError: if neither a region nor names of images bound the query, and there are too many
                images to put them in order.
        """
        return iter(self._sorted(query))

    def image(self, index: str) -> ImageAsset | None:
        """Return the image of a ``system:index``, or None if there is none."""
        candidates = self._sorted(Query(indices=frozenset((index,))))
        return next((image for image in candidates if image.properties[_INDEX] == index), None)

    def _sorted(self, query: Query) -> list[ImageAsset]:
        chosen: dict[str, tuple[ArchiveRecord, Item]] = {}
        most = _find_most(query)
        for part in self._record.parts:
            own: dict[str, list[Item]] = {}
            for item in self._find_items(part, query, most):
                index = image_index(part, item)
                if index is not None and index not in chosen:
                    own.setdefault(index, []).append(item)
            preferred = self._find_preferred(part, query, frozenset(own)) if query.ranges else {}
            for index, items in own.items():
                chosen[index] = preferred.get(index) or (part, newest_of(items))
        if self._record.kind == "parts":
            return images_of_parts(self._record, chosen, self._search, self._reader)
        return [image_of(*chosen[index], index, self._reader) for index in sorted(chosen)]

    def _find_preferred(
        self, part: ArchiveRecord, query: Query, indices: frozenset[str]
    ) -> dict[str, tuple[ArchiveRecord, Item]]:
        """Return images of a part that an earlier part has, too, although their numbers are outside a query's ranges.

        Clouds of a scene differ between two ways to process it, and an image is the same whatever filter finds it.
        """
        preferred: dict[str, tuple[ArchiveRecord, Item]] = {}
        ordered = sorted(indices)  # by time, where they begin with it: no search becomes too large
        for first in range(0, len(ordered), _TOGETHER):
            known = Query(query.bounds, equals=query.equals, indices=frozenset(ordered[first : first + _TOGETHER]))
            for earlier in takewhile(lambda other: other is not part, self._record.parts):
                own: dict[str, list[Item]] = {}
                for item in self._find_items(earlier, known, None):
                    own.setdefault(image_index(earlier, item) or "", []).append(item)
                for index in own.keys() & indices - preferred.keys():
                    preferred[index] = earlier, newest_of(own[index])
        return preferred

    def _find_items(self, part: ArchiveRecord, query: Query, most: int | None) -> Iterator[Item]:
        """Yield the items of a part that may match, if they are fewer than a number."""
        count = 0
        for search in item_queries(part, query):
            for item in found_items(self._search, part.collection, replace(search, limit=most)):
                count += 1
                if most is not None and count >= most:
                    raise ArchiveRefusedError(
                        f"{self.id} has {most:,} images or more here, and all would have to be found, because images "
                        "come in the order of their ids: filter them by a region (filterBounds) or a shorter time "
                        "(filterDate) first."
                    )
                yield item


def _find_most(query: Query) -> int | None:
    """Return the number of items of a search that is refused, or None for a query that is bounded by itself."""
    if query.bounds is not None or query.indices is not None or _INDEX in query.equals:
        return None
    is_narrow = query.start is not None or query.end is not None or query.equals or query.ranges
    return _MOST_DATED if is_narrow else _MOST_WHOLE


class ArchiveSeries(_ItemImages):
    """A series of global images, each made of an archive's tiles of one date. See ``CollectionAsset``.

    There is an image for each date of which there is a tile of the place that the record names.
    """

    def images(self, query: Query) -> Iterator[ImageAsset]:
        """Return the images that may match, in the order of their ids."""
        record = self._record
        place = None if record.tiles is None else record.tiles.listing
        matched_items: dict[str, Item] = {}
        for search in item_queries(record, Query(place, query.start, query.end, query.equals, {}, query.indices)):
            for item in found_items(self._search, record.collection, search):
                index = image_index(record, item)
                if index is not None:
                    matched_items.setdefault(index, item)
        return (self._image(index, matched_items[index]) for index in sorted(matched_items))

    def image(self, index: str) -> ImageAsset | None:
        """Return the image of a ``system:index``, or None if there is none."""
        candidates = self.images(Query(indices=frozenset((index,))))
        return next((image for image in candidates if image.properties[_INDEX] == index), None)

    def _image(self, index: str, item: Item) -> ImageAsset:
        record = self._record
        span = rule_of(record.index).search(index, "")
        properties = image_properties(record, item, index)
        if span is not None and span.start is not None:
            end = properties.get("system:time_end", span.start + _DAY)
            properties["system:time_start"] = span.start
            properties["system:time_end"] = math.ceil(end / _DAY) * _DAY
        search = partial(_dated_tiles, self._search, record, index, span.start if span else None)
        return ImageAsset(
            id=f"{record.dataset}/{index}",
            bands=mosaic_bands(record, search, self._reader),
            properties=properties,
            footprint=_WORLD,
        )


class ArchiveMosaic:
    """An image collection of one image, which is made of an archive's tiles. See ``CollectionAsset``.

    Args:
        record: record of the dataset.
        image: its only one.
    """

    def __init__(self, record: ArchiveRecord, image: ImageAsset) -> None:
        self._record = record
        self._image = image

    @property
    def id(self) -> str:
        """Earth Engine's id."""
        return self._record.dataset

    @property
    def properties(self) -> Mapping[str, Any]:
        """Properties of the collection itself."""
        return collection_properties(self._record)

    def images(self, query: Query) -> Iterator[ImageAsset]:
        """Return the image."""
        return iter((self._image,))

    def image(self, index: str) -> ImageAsset | None:
        """Return the image if its ``system:index`` is this."""
        return self._image if self._image.properties[_INDEX] == index else None


def single_image(record: ArchiveRecord, search: ItemSearch, reader: CogReader) -> ImageAsset:
    """Return the image of a dataset that is one image, made of an archive's tiles."""
    index = record.tiles.index if record.tiles is not None else ""
    return ImageAsset(
        id=f"{record.dataset}/{index}" if index else record.dataset,
        bands=mosaic_bands(record, partial(_tiles, search, record), reader),
        properties={_INDEX: index or record.dataset.rpartition("/")[2], **record.constants},
        footprint=_outline(record.tiles),
    )


def collection_properties(record: ArchiveRecord) -> dict[str, Any]:
    """Return the properties of a dataset: where its pixels are from, and under which licence."""
    return {"title": record.title, "archive": record.archive, "license": record.licence, "citation": record.citation}


def _tiles(search: ItemSearch, record: ArchiveRecord, bounds: Bounds) -> Iterable[Item]:
    tile_items = found_items(search, record.collection, ItemQuery(bounds=bounds, equals=record.filters))
    return (item for item in tile_items if record.serves(item["properties"], str(item["id"])))


def _dated_tiles(
    search: ItemSearch, record: ArchiveRecord, index: str, start: float | None, bounds: Bounds
) -> Iterable[Item]:
    end = None if start is None else start + _DAY
    query = ItemQuery(bounds=bounds, start=start, end=end, equals=record.filters)
    return (item for item in found_items(search, record.collection, query) if image_index(record, item) == index)


def _outline(tiles: TiledGrid | None) -> shapely.geometry.base.BaseGeometry:
    if tiles is None or tiles.grid.crs != "EPSG:4326":
        return _WORLD
    west, south, east, north = tiles.grid.bounds
    return shapely.box(max(west, -180.0), max(south, -90.0), min(east, 180.0), min(north, 90.0))
