"""Make images of items by the rules of a dataset record."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import numpy as np
import shapely
from shapely.errors import ShapelyError
from shapely.geometry.base import BaseGeometry

from eechips_local.archives.archive_errors import ArchiveError
from eechips_local.archives.archive_model import CogReader, Item
from eechips_local.archives.archive_rasters import bands_of
from eechips_local.archives.archive_record import ArchiveRecord
from eechips_local.archives.item_properties import milliseconds, times_of
from eechips_local.archives.system_index import rule_of
from eechips_local.evaluation.model import ImageAsset, LazySequence
from eechips_local.geometry.overlay import on_globe

_DAY = 86_400_000.0
# The newest of several items of one image counts: by the first of these that they have.
_MADE = ("s2:generation_time", "updated", "created", "datetime")


def image_index(record: ArchiveRecord, item: Item) -> str | None:
    """Return ``system:index`` of the image of an item; None for an item that is none of the dataset."""
    if not record.serves(item["properties"], str(item["id"])):
        return None
    return rule_of(record.index).index(item)


def image_of(record: ArchiveRecord, item: Item, index: str, reader: CogReader) -> ImageAsset:
    """Return the image of an item. Nothing is read before its bands are looked at.

    Args:
        record: record of the dataset.
        item: as JSON.
        reader: opens its files.

    Raises:
        ArchiveError: if the item has no outline.
    """
    return ImageAsset(
        id=f"{record.dataset}/{index}",
        bands=LazySequence(partial(bands_of, item, record, reader)),
        properties=image_properties(record, item, index),
        footprint=outline_of(item),
        version=version_of(item),
    )


def image_properties(record: ArchiveRecord, item: Item, index: str) -> dict[str, Any]:
    """Return the properties of the image of an item, by their Earth Engine names."""
    declared: Mapping[str, Any] = item["properties"]
    properties: dict[str, Any] = {"system:index": index}
    for name, rule in record.properties.items():
        value = rule.value(declared)
        if value is not None:
            properties[name] = value
    start, end = times_of(declared)
    if start is not None and record.time != "constant":
        properties["system:time_start"] = start if record.time == "item" else start // _DAY * _DAY
    if end is not None and "start_datetime" in declared and record.time == "item":
        properties["system:time_end"] = end
    return {**properties, **record.constants}


def outline_of(item: Item) -> BaseGeometry:
    """Return the outline of an item in degrees, within -180 to 180.

    Raises:
        ArchiveError: if it has none, or one that cannot be understood.
    """
    geometry = item.get("geometry")
    try:
        if geometry:
            outline: BaseGeometry = shapely.force_2d(shapely.geometry.shape(geometry))
            if not np.isfinite(shapely.get_coordinates(outline)).all():
                raise ValueError("a coordinate is not a finite number")
            if not outline.is_empty:
                return cut_outline(outline)
        box = item["bbox"]
        west, south, east, north = box if len(box) == 4 else (box[0], box[1], box[3], box[4])
        # Across the antimeridian, west is greater: RFC 7946, 5.2.
        return on_globe(shapely.box(west, south, east + 360.0 if west > east else east, north))
    except (LookupError, ArithmeticError, TypeError, ValueError, AttributeError, ShapelyError) as error:
        raise ArchiveError(f"Item {item.get('id')} has no outline that can be understood.") from error


def cut_outline(outline: BaseGeometry) -> BaseGeometry:
    """Return an outline in degrees, valid and cut at 180 degrees; see RFC 7946, 3.1.9."""
    parts = [_continued(part) for part in shapely.get_parts(outline)]
    return on_globe(outline if parts == [outline] else shapely.union_all(parts))


def _continued(part: BaseGeometry) -> BaseGeometry:
    """Return a valid part of an outline. Where it leaps from -180 to 180 degrees, its longitudes go on instead.

    Items of Landsat and of CMR have one part where the RFC wants two. Holes of such a part are filled.
    """
    if isinstance(part, shapely.Polygon):
        longitudes, latitudes = shapely.get_coordinates(part.exterior).T
        turned = np.unwrap(longitudes, period=360.0)
        if np.ptp(longitudes) > 180.0 > np.ptp(turned) > 0.0 and turned[0] == turned[-1]:
            part = shapely.Polygon(np.column_stack([turned, latitudes]))
    return part if part.is_valid else shapely.make_valid(part)


def version_of(item: Item) -> int:
    """Return when an item was made or changed, in microseconds since 1970; 0 if it does not say."""
    for name in _MADE:
        value = item["properties"].get(name)
        moment = milliseconds(str(value)) if value else None
        if moment is not None:
            return int(moment * 1000.0)
    return 0


def newest_of(items: Iterable[Item]) -> Item:
    """Return the item of several of one image that was made last."""
    return max(items, key=lambda item: (version_of(item), str(item["id"])))
