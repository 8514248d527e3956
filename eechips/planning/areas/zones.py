"""Read zones, the regions of a file or of a table on the server: the column of ids, features with the same id, warnings
of zones smaller than a pixel.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ee
import numpy as np
import shapely

from eechips.errors import RegionError, UsageError
from eechips.geo.crs import parse_crs
from eechips.geo.ellipsoid import Floats, Geometries
from eechips.geo.grid import METRES_PER_DEGREE, Grid, nominal_scale
from eechips.geo.polygons import wrap_at_antimeridian
from eechips.geo.vectors import Vectors, read_vectors
from eechips.planning import planning_requests
from eechips.planning.areas.regions import BoxRegion, check_size, fetch_fields, warn_of_wide
from eechips.text.formatting import format_count, some_of
from eechips.text.suggestion import describe_choices

if TYPE_CHECKING:
    import pandas as pd


_MARGIN = 100  # metres: error of boxes and areas from the server, which need not be exact

_IDS_PER_REQUEST = 1000

_CURE = "a table with simpler outlines, or the regions as a file (`regions`)"

_MOST_FIELDS = 12  # fields that a message names

_LEAST_COVERED = 1 / 256  # share of a pixel: developers.google.com/earth-engine/guides/reducers_weighting

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Zones:
    """Regions, in the order of the first appearance of their ids.

    Attributes:
        ids: JSON values, unique.
        geometries: polygons in longitude and latitude between -180 and 180, edges straight in that plane, shape (n,);
            None for regions of a table on the server.
        attributes: columns of the file, with a row for each region; None where its features differ. None without a
            file.
    """

    ids: list[Any]
    geometries: Geometries | None = None
    attributes: pd.DataFrame | None = None

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True, eq=False)
class ZoneShapes:
    """Positions and sizes of zones; approximate for tables on the server.

    Attributes:
        points: longitude and latitude of a point in each zone, in degrees, shape (n, 2); for tables on the server, the
            middle of the bounds.
        bounds: west, south, east, north in degrees, shape (n, 4).
        areas: square metres, shape (n,).
        vertices: number of vertices in a request, shape (n,).
    """

    points: Floats
    bounds: Floats
    areas: Floats
    vertices: Floats


def read_zones(path: Path, id_field: str | None, box: BoxRegion | None = None, *, crs: str | None = None) -> Zones:
    """Read the regions of a vector file. Features with the same id are one region, their union.

    Regions that extend beyond 180 degrees, or cross the antimeridian in their projection, are cut there.

    Args:
        id_field: column of the ids; None for the features' numbers in the file, from 1.
        box: selects regions that meet it; None for all.
        crs: CRS of a file that does not say it.

    Raises:
        RegionError: if the file or the column cannot be used, there is no region, or one has more vertices than a
            request takes.
    """
    read = read_vectors(path, crs=crs)
    if read.repaired:
        _log.warning("%s", read.repaired)
    fields = [str(column) for column in read.attributes.columns]
    parts: dict[Any, list[int]] = {}
    nameless: list[int] = []
    for index, region in enumerate(_region_ids(read, id_field, path)):
        if region is None or region != region:
            nameless.append(int(read.numbers[index]))
        else:
            parts.setdefault(region, []).append(index)
    _warn_of_nameless(path, id_field, len(nameless), f": number {some_of(nameless)}")
    _warn_of_joined(path, id_field, [region for region, indices in parts.items() if len(indices) > 1])
    geometries = [
        wrap_at_antimeridian(
            read.geometries[indices[0]] if len(indices) == 1 else shapely.union_all(read.geometries[indices])
        )
        for indices in parts.values()
    ]
    shapes = np.array(geometries, dtype=object)
    regions, attributes = list(parts), _common_attributes(read.attributes, list(parts.values()))
    if box is not None:
        keeps = shapely.intersects(shapes, box.polygon())
        regions, shapes = [region for region, keep in zip(regions, keeps, strict=True) if keep], shapes[keeps]
        attributes = attributes[keeps]
    _refuse_none(len(regions), path, box)
    for region, shape in zip(regions, shapes, strict=True):
        check_size(shape, f"{path}: region {region}")
    warn_of_wide(shapes, regions)
    _log.info("%s in %s", format_count(len(regions), "region"), path)
    if id_field is None:
        there = f": {', '.join(fields[:_MOST_FIELDS])}" if fields else ""
        _log.info("Regions are numbered from 1 in the file's order; `columns` id=NAME takes ids of a column%s", there)
    return Zones(regions, shapes, attributes)


def _region_ids(read: Vectors, id_field: str | None, path: Path) -> list[Any]:
    """Return the id of the region of each feature of a file; raise RegionError if it has no such column."""
    if id_field is None:
        numbers: list[Any] = read.numbers.tolist()
        return numbers
    fields = [str(column) for column in read.attributes.columns]
    if id_field not in fields:
        # The key of a GeoPackage is no column.
        advice = ". Without `columns` regions are numbered from 1" if id_field.lower() == "fid" else ""
        raise RegionError(f"{path} has no field {id_field!r}; {describe_choices(id_field, fields)}{advice}")
    return [_id(region) for region in _whole(read.attributes[id_field].tolist())]


def _common_attributes(table: pd.DataFrame, parts: Sequence[Sequence[int]]) -> pd.DataFrame:
    """Return the attributes of regions, each of some rows of a table; None where these differ."""
    if not len(table.columns):
        return table.reindex(range(len(parts)))
    common = table.iloc[[indices[0] for indices in parts]].astype(object).reset_index(drop=True)
    for number, indices in enumerate(parts):
        if len(indices) > 1:
            differ = table.iloc[list(indices)].astype(str).nunique() > 1
            common.loc[number, differ.to_numpy()] = None
    return common


def fetch_zones(asset: str, id_field: str | None, box: BoxRegion | None = None) -> Zones:
    """Fetch the ids of the regions of a table on the server. Features with the same id are one region.

    Args:
        box: selects regions with a feature that meets it; None for all.

    Raises:
        UsageError: if no column is named.
        RegionError: if the table or column does not exist, or there is no region.
    """
    fields = fetch_fields(asset)
    if id_field is None:
        raise UsageError(f"`columns` id=NAME must say which column of {asset} identifies a region: {', '.join(fields)}")
    if id_field not in fields:
        raise RegionError(f"{asset} has no field {id_field!r}; {describe_choices(id_field, fields)}")
    table = ee.FeatureCollection(asset)
    if box is not None:
        table = table.filterBounds(box.geometry())
    ids = table.aggregate_array(id_field).getInfo()
    counts = Counter(region for region in map(_id, ids) if region is not None)
    _warn_of_nameless(asset, id_field, len(ids) - counts.total())
    zones = Zones(list(counts))
    _refuse_none(len(zones), asset, box)
    _warn_of_joined(asset, id_field, [region for region, count in counts.items() if count > 1])
    _log.info("%s of %s", format_count(len(zones), "region"), asset)
    return zones


def measure_zones(zones: Zones) -> ZoneShapes:
    """Measure the zones of a file."""
    geometries = zones.geometries
    points = shapely.get_coordinates(shapely.point_on_surface(geometries))
    bounds = shapely.bounds(geometries)
    areas = shapely.area(geometries) * METRES_PER_DEGREE**2 * np.cos(np.radians(points[:, 1]))
    return ZoneShapes(points, bounds, areas, shapely.get_num_coordinates(geometries).astype(np.float64))


def fetch_zone_shapes(asset: str, id_field: str, zones: Zones, *, is_whole: bool) -> ZoneShapes:
    """Fetch positions and sizes of the zones of a table, page by page; zones with several features are merged.

    Args:
        asset: id of the table.
        id_field: column of the ids.
        is_whole: whether these are all zones of the table.
    """

    def describe(feature: Any) -> Any:
        geometry = ee.Feature(feature).geometry()
        corners = ee.List(geometry.bounds(_MARGIN).coordinates().get(0))
        return ee.Feature(None, {"id": feature.get(id_field), "ring": corners, "area": geometry.area(_MARGIN)})

    table = ee.FeatureCollection(asset)
    starts = () if is_whole else range(0, len(zones), _IDS_PER_REQUEST)
    tables = [table.filter(ee.Filter.inList(id_field, zones.ids[start : start + _IDS_PER_REQUEST])) for start in starts]
    index = {region: number for number, region in enumerate(zones.ids)}
    bounds = np.tile([np.inf, np.inf, -np.inf, -np.inf], (len(zones), 1))
    areas = np.zeros(len(zones))
    pages = (
        planning_requests.fetch_features(ee.FeatureCollection(part.map(describe)), noun="regions", cure=_CURE)
        for part in tables or [table]
    )
    for feature in chain.from_iterable(pages):
        properties = feature["properties"]
        number = index.get(properties.get("id"))
        if number is not None:
            corners = np.array(properties["ring"])
            bounds[number, :2] = np.minimum(bounds[number, :2], corners.min(axis=0))
            bounds[number, 2:] = np.maximum(bounds[number, 2:], corners.max(axis=0))
            areas[number] += properties["area"]
    return ZoneShapes((bounds[:, :2] + bounds[:, 2:]) / 2.0, bounds, areas, np.zeros(len(zones)))


def warn_of_small_zones(shapes: ZoneShapes, grid: Grid, scale: float | None) -> None:
    """Warn of zones for which Earth Engine may have no value, as hardly a pixel is covered.

    Args:
        scale: size of a pixel in metres; None for the scale of the grid.
    """
    scale = scale or nominal_scale(grid)
    is_geographic = parse_crs(grid.crs).is_geographic  # then pixels are narrower towards the poles
    narrowing = np.cos(np.radians(shapes.points[:, 1])) if is_geographic else 1.0
    count = int((shapes.areas < _LEAST_COVERED * scale**2 * narrowing).sum())
    if count:
        _log.warning(
            "%s smaller than 1/256 of a pixel of %s m, and may have no value: take centres with `eechips points`",
            f"{count:,} of {format_count(len(shapes.areas), 'region')} {'is' if count == 1 else 'are'}",
            f"{scale:,.0f}",
        )


def _whole(ids: Sequence[Any]) -> list[Any]:
    """Return ids as in the file: readers turn whole numbers into floats if some ids are missing."""
    present = [region for region in ids if region is not None and region == region]
    if present and all(isinstance(region, float) and region.is_integer() for region in present):
        return [int(region) if region is not None and region == region else None for region in ids]
    return list(ids)


def _id(value: Any) -> Any:
    """Return an id as JSON has it, such as a date as text; None and NaN for none, as in an empty cell of a CSV."""
    if isinstance(value, str) and not value.strip():
        return None
    if value is None or value != value or isinstance(value, (str, int, float)):
        return value
    return str(value)


def _warn_of_nameless(where: object, id_field: str | None, number: int, which: str = "") -> None:
    """Log a warning with the number of the features that have no id."""
    if number:
        verb = "is" if number == 1 else "are"
        _log.warning("%s: %s without %s %s left out%s", where, format_count(number, "feature"), id_field, verb, which)


def _warn_of_joined(where: object, id_field: str | None, regions: Sequence[Any]) -> None:
    """Log a warning that names the regions of several features, which have one result, not one for each feature."""
    if regions:
        verb = "joins" if len(regions) == 1 else "join"
        count, named = format_count(len(regions), "region"), some_of(regions)
        _log.warning("%s: %s %s several features with the same %s: %s", where, count, verb, id_field, named)


def _refuse_none(count: int, where: object, box: BoxRegion | None) -> None:
    if count:
        return
    if box is None:
        raise RegionError(f"there are no regions in {where}")
    raise RegionError(f"no region of {where} meets {box.west:g},{box.south:g},{box.east:g},{box.north:g}")
