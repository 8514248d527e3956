"""Make images of items: properties, times, the newest of several items, and outlines, mended where they are invalid or
cross 180 degrees uncut.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely
from pyproj.exceptions import ProjError
from shapely.errors import ShapelyError
from shapely.geometry.base import BaseGeometry

from eechips_local.archives.archive_errors import ArchiveRefusedError
from eechips_local.archives.archive_model import CogReader, Item
from eechips_local.archives.archive_record import ArchiveRecord
from eechips_local.archives.items.item_bands import bands_of
from eechips_local.archives.items.item_conditions import is_decisive, item_box
from eechips_local.archives.items.item_properties import milliseconds, times_of
from eechips_local.archives.items.system_index import rule_of
from eechips_local.assets.footprint import outline as outline_of_grid
from eechips_local.assets.ingestion.item_metadata import grid_of
from eechips_local.evaluation.asset_model import ImageAsset
from eechips_local.evaluation.lazy_values import LazySequence
from eechips_local.geometry.overlay import on_globe
from eechips_local.geometry.shapes import unwrapped
from eechips_local.pixels.grids.pixel_grid import PixelGrid

_DAY = 86_400_000.0
_SIDE = 1024  # pixels of a grid over a box
_MOST_SCENE, _MOST_RATIO = 30.0, 20.0  # degrees of the equator; height by width
_MOST_INVALID = 5000  # corners; time and memory that mending takes grow with their square
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
        ArchiveRefusedError: if the item has no outline.
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
    """Return the outline of an item in degrees, within -180 to 180: its box where it cannot be mended, else its grid.

    Raises:
        ArchiveRefusedError: if it has none, or one that cannot be understood.
    """
    geometry = item.get("geometry")
    try:
        if geometry:
            outline: BaseGeometry = shapely.force_2d(shapely.geometry.shape(geometry))
            coordinates = shapely.get_coordinates(outline)
            if not np.isfinite(coordinates).all():
                raise ValueError("a coordinate is not a finite number")
            if not outline.is_empty and all(map(_can_be_mended, shapely.get_parts(outline))):
                parts = [_on_its_side(part, item) for part in shapely.get_parts(outline)]
                return on_globe(outline if parts == [outline] else shapely.union_all(parts))
        box = item_box(item)
        place = _declared_place(item) if box is None else on_globe(shapely.box(*box))
        if place is None:
            raise ValueError("it has no box, and declares no grid")
        return place
    except (LookupError, ArithmeticError, TypeError, ValueError, AttributeError, ShapelyError, ProjError) as error:
        raise ArchiveRefusedError(f"Item {item.get('id')} has no outline that can be understood.") from error


def _can_be_mended(part: BaseGeometry) -> bool:
    """Return whether a part of an outline is valid, or has so few corners that it can be made so."""
    return bool(shapely.get_num_coordinates(part) <= _MOST_INVALID or part.is_valid)


def _on_its_side(part: BaseGeometry, item: Item) -> BaseGeometry:
    """Return a valid part of an item's outline; of one that crosses 180 degrees uncut, the longitudes go on there.

    Items of Landsat and of CMR have one part where RFC 7946 (3.1.9) wants two. Such a part leaps by more than 180
    degrees, but so does that of a grid that covers more than half of the Earth; what else the item says decides.
    Holes of a part that crosses are filled.
    """
    valid = part if part.is_valid else shapely.make_valid(part)
    if not isinstance(part, shapely.Polygon):
        return valid
    corners = shapely.get_coordinates(part.exterior)
    turned = unwrapped(corners)
    if not (np.ptp(corners[:, 0]) > 180.0 > np.ptp(turned[:, 0]) > 0.0 and turned[0, 0] == turned[-1, 0]):
        return valid
    ring = shapely.Polygon(turned)
    across = ring if ring.is_valid else shapely.make_valid(ring)
    place = _declared_place(item)
    if place is None:
        return across if _may_be_scene(turned) else valid
    return min((valid, across), key=lambda shape: shapely.symmetric_difference(on_globe(shape), place).area)


def _declared_place(item: Item) -> BaseGeometry | None:
    """Return where an item lies by its box, or else by its grid; None if neither tells."""
    box = item_box(item)
    if box is not None and is_decisive(box):
        return on_globe(shapely.box(*box))
    properties: Mapping[str, Any] = item.get("properties") or {}
    grids = (grid_of(asset, properties) for asset in ({}, *(item.get("assets") or {}).values()))
    grid = next((grid for grid in grids if grid is not None), None) or _grid_of_box(properties)
    return None if grid is None else shapely.make_valid(outline_of_grid(grid))


def _grid_of_box(properties: Mapping[str, Any]) -> PixelGrid | None:
    """Return a grid over the box that an item declares in its CRS; None if it declares none."""
    box = properties.get("proj:bbox")
    if not isinstance(box, (list, tuple)) or len(box) not in (4, 6):
        return None
    west, south, east, north = box[0], box[1], box[len(box) // 2], box[len(box) // 2 + 1]
    transform = [(east - west) / _SIDE, 0.0, west, 0.0, (south - north) / _SIDE, north]
    return grid_of({"proj:shape": [_SIDE, _SIDE], "proj:transform": transform}, properties)


def _may_be_scene(corners: npt.NDArray[np.float64]) -> bool:
    """Return whether an outline has the size of a scene if it crosses 180 degrees: else it would be a sliver or a half.

    Swaths of MODIS are 2,330 km wide, some 21 degrees.
    """
    width, height = np.ptp(corners, axis=0).tolist()
    width *= math.cos(math.radians(float(corners[:, 1].mean())))
    return bool(height / _MOST_RATIO <= width <= _MOST_SCENE >= height)


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
