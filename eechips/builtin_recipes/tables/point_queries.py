"""Ask for the values of images at the places of a cell, choose the image nearest to the date of each, and read the
response.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import ee
import numpy as np
import pyarrow as pa
import shapely
from shapely import affinity

from eechips.builtin_recipes.tables.embedding_means import normalize
from eechips.builtin_recipes.tables.point_survey import day_of
from eechips.client.table_rows import refusing_other_values
from eechips.errors import ValidationError
from eechips.formats.large_tables import TIMESTAMP
from eechips.geo.ellipsoid import Booleans, Floats, Indices
from eechips.geo.grid import METRES_PER_DEGREE
from eechips.planning import asset_metadata
from eechips.planning.areas.region_reducers import Statistics
from eechips.planning.imagery.band_selection import BandSelection
from eechips.planning.imagery.image_filters import unit_tests
from eechips.planning.imagery.image_masking import CloudMask
from eechips.recipe import Unit
from eechips.recipe.results import Series, SplittableTable

_FOOTPRINT_SLACK = 10_000.0  # metres: a first filter; point_results tests footprints exactly
_DAY = 86_400_000.0  # milliseconds
_INTEGRAL = ("latest", "min", "max", "sum", "mode")  # composites of integers that are integers
_SELECTING = ("first", "min", "max", "mode")  # the same for reducers over polygons


@dataclass(frozen=True, kw_only=True)
class PointQuery:
    """The expressions for a cell.

    The result has one feature for each image, not for each value, since pages have a thousand features, and names take
    more bytes than numbers. A feature has ``values``, with a list for each place: the number of the place, and its
    values in the order of ``names``. Where images are named, it also has ``image``, ``time``, and the footprint as its
    geometry.

    Attributes:
        start: first day of the images, inclusive.
        end: last day, exclusive.
        composite: reducer of the values of all images; None for separate values.
        scale: edge of a pixel in metres; None for the images' own.
        statistics: reducers over polygons.
        reach: maximum time between an image and a place's moment, in milliseconds.
    """

    unit: Unit
    dataset: str
    selection: BandSelection
    start: str | None
    end: str | None
    composite: str
    mask: CloudMask | None
    scale: float | None
    statistics: Statistics
    reach: float = 0.0

    @property
    def is_points(self) -> bool:
        """Return whether the places are points."""
        return "at" in self.unit

    @property
    def is_named(self) -> bool:
        """Return whether features have the id of their image."""
        return self.unit["mode"] in ("each", "paired")

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns of values."""
        return value_columns(self.unit["bands"], self.statistics, is_points=self.is_points)

    @property
    def names(self) -> tuple[str, ...]:
        """Property of a place with the value of each column, in the order of :attr:`columns`."""
        bands = self.unit["bands"]
        return tuple(bands) if self.is_points else self.statistics.outputs(bands, of_collection=True)

    @property
    def properties(self) -> tuple[str, ...]:
        """Unique properties, in the order of a place's values."""
        return tuple(dict.fromkeys(self.names))

    @property
    def integral(self) -> frozenset[str]:
        """Columns whose values are integers, since the bands are."""
        unit = self.unit
        composite = self.composite if unit["mode"] == "composite" else None
        bands = {
            band
            for band, dtype in zip(unit["bands"], unit["dtypes"], strict=True)
            if composite == "count" or (not dtype.startswith("float") and composite in (None, *_INTEGRAL))
        }
        if self.is_points:
            return frozenset(bands)
        columns, names = self.statistics.columns(unit["bands"]), self.statistics.names
        # In the order of Statistics. A sum over a polygon is weighted, so it is not an integer.
        of = dict.fromkeys(unit["bands"], names[0]) if len(names) == 1 else {}
        of |= {f"{band}_{name}": name for band in unit["bands"] for name in names if len(names) > 1}
        integer_columns = {c for c in columns if of.get(c) in _SELECTING and c.removesuffix(f"_{of[c]}") in bands}
        return frozenset(integer_columns) | self.counts

    @property
    def counts(self) -> frozenset[str]:
        """Columns with numbers of pixels; a row with counts only has no value."""
        return frozenset() if self.is_points else self.statistics.counts(self.unit["bands"])

    def divisible(self) -> SplittableTable:
        """Return the table of all places, which splits into tables of half the places."""
        return self._part(0, len(self.unit["rows"]))

    def _part(self, first: int, last: int) -> SplittableTable:
        def halves() -> tuple[SplittableTable, SplittableTable]:
            middle = (first + last) // 2
            return self._part(first, middle), self._part(middle, last)

        return SplittableTable(self._features(first, last), last - first, halves)

    def _features(self, first: int, last: int) -> ee.FeatureCollection | Series:
        places, mode = self._places(first, last), self.unit["mode"]
        if mode == "image":
            image = ee.Image(self.dataset)
            return _collection([self._packed(image, self._reduced(image, self._values(image), places))])
        start, end = self.unit["start"] or self.start, self.unit["end"] or self.end
        if mode == "paired":
            moments = self.unit["moments"][first:last]
            start = max(start or asset_metadata.FIRST_DAY, day_of(min(moments) - self.reach))
            end = min(end or asset_metadata.LAST_DAY, day_of(max(moments) + self.reach + _DAY))
        images = asset_metadata.filter_images(self.dataset, "collection", start, end, unit_tests(self.unit))
        images = images.filterBounds(places.geometry())
        return self._composed(images, places) if mode == "composite" else Series(images, self._row(places))

    def _row(self, places: Any) -> Callable[[Any], Any]:
        """Return the server-side function that makes the feature of an image."""

        def row(element: Any) -> Any:
            image: Any = ee.Image(element)
            near = places
            if self.unit["mode"] == "paired":
                time = ee.Number(image.get("system:time_start"))
                near = near.filter(ee.Filter.gte("t", time.subtract(self.reach)))
                near = near.filter(ee.Filter.lte("t", time.add(self.reach)))
            footprint = image.geometry()
            if self.unit["is_tiled"]:
                near = near.filter(
                    ee.Filter.withinDistance(_FOOTPRINT_SLACK, leftField=".geo", rightValue=footprint, maxError=1000)
                )
            return self._packed(image, self._reduced(image, self._values(image), near), footprint)

        return row

    def _composed(self, images: Any, places: Any) -> ee.FeatureCollection:
        """Return the single feature of a composite; no feature without images.

        A composite has no pixel grid of its own. If all images share a grid, that is used. Otherwise (for instance with
        two UTM zones) each point is reduced on a grid with a pixel centred on the point, so that each image contributes
        the pixel that contains the point. Polygons are reduced on the grid of one of the images.
        """
        if self.composite == "latest":
            images = images.sort("system:time_start")
        stack = images.map(lambda element: self._values(ee.Image(element)))
        if self.composite == "latest":
            image = stack.mosaic()
        else:
            image = stack.reduce(getattr(ee.Reducer, self.composite)()).rename(self.unit["bands"])

        def on_pixels(first: Any) -> Any:
            return self._packed(first, self._reduced(ee.Image(first), image, places))

        def centred(first: Any) -> Any:
            return self._packed(first, places.map(lambda place: self._centred(image, ee.Feature(place))))

        has_pixels = self.unit["is_aligned"] or not self.is_points or self.scale is not None
        return _collection(images.limit(1).map(on_pixels if has_pixels else centred))

    def _reduced(self, image: Any, values: Any, places: Any) -> Any:
        """Return places with their values; each band is reduced on its own pixel grid."""
        reduced_places = places
        for group in self.unit["groups"]:
            reduced_places = values.select(group).reduceRegions(
                reduced_places,
                self._reducer(group),
                scale=self.scale,
                crs=image.select(self.selection.grid_band(group[0])).projection(),
            )
        return reduced_places

    def _reducer(self, group: list[str]) -> ee.Reducer:
        """Return the reducer for bands of one grid, with output names that differ from those of other bands."""
        if self.is_points:
            first: ee.Reducer = ee.Reducer.first()
            return first.setOutputs(group) if len(group) == 1 else first
        reducer = self.statistics.reducer()
        if len(group) > 1 or len(self.unit["bands"]) == 1:
            return reducer
        outputs = list(dict.fromkeys(self.statistics.outputs(group, of_collection=True)))
        return reducer.setOutputs(group if len(outputs) == 1 else [f"{group[0]}_{name}" for name in outputs])

    def _centred(self, image: Any, place: Any) -> Any:
        """Return a point with the values of the source pixels that contain it."""
        step = self.unit["pixel"] / METRES_PER_DEGREE / 4  # finer than any source: reads stored pixels
        xy = place.geometry().coordinates()
        x, y = ee.Number(xy.get(0)), ee.Number(xy.get(1))
        transform = ee.List([step, 0, x.subtract(step / 2), 0, -step, y.add(step / 2)])
        pixel_values = image.reduceRegion(
            reducer=ee.Reducer.first(), geometry=place.geometry(), crs="EPSG:4326", crsTransform=transform
        )
        return place.set(pixel_values)

    def _packed(self, image: Any, reduced_places: Any, footprint: Any = None) -> Any:
        names = self.properties
        lists = reduced_places.reduceColumns(ee.Reducer.toList(1 + len(names), len(names)), ["i", *names])
        properties = {"values": lists.get("list")}
        if self.is_named:
            properties |= {"image": image.get("system:index"), "time": image.get("system:time_start")}
        return ee.Feature(footprint, properties)

    def _values(self, image: Any) -> Any:
        """Return the bands with the cloud mask applied."""
        return self.selection.select(image, self.mask)

    def _places(self, first: int, last: int) -> ee.FeatureCollection:
        """Return the places from ``first`` to before ``last``, with their number ``i`` and their moment ``t``."""
        moments = self.unit.get("moments")
        if not self.is_points:
            shapes = enumerate(self.unit["geometries"][first:last], start=first)
            return _collection([ee.Feature(ee.Geometry(shape, None, False), {"i": i}) for i, shape in shapes])
        rows = [
            [x, y, i, *([] if moments is None else [moments[i]])]
            for i, (x, y) in enumerate(self.unit["at"][first:last], start=first)
        ]

        def feature(row: Any) -> Any:
            values = ee.List(row)
            numbers = {"i": values.get(2)} if moments is None else {"i": values.get(2), "t": values.get(3)}
            return ee.Feature(ee.Geometry.Point(values.slice(0, 2)), numbers)

        # Lists of numbers take a tenth of the bytes of features in the request.
        return _collection(ee.List(rows).map(feature))


def value_columns(bands: list[str] | tuple[str, ...], statistics: Statistics, *, is_points: bool) -> tuple[str, ...]:
    """Return the names of the columns of values; for points, those of the bands."""
    return tuple(bands) if is_points else statistics.columns(bands)


def _collection(features: Any) -> ee.FeatureCollection:
    collection: ee.FeatureCollection = ee.FeatureCollection(features)
    return collection


PLACE, IMAGE, IMAGE_DATE = "place", "image", "image_date"


@dataclass(frozen=True)
class Pairs:
    """Convert the features of a cell to its table.

    Attributes:
        vector: columns that are together a mean vector, which is divided by its length.
    """

    query: PointQuery
    vector: tuple[str, ...] = ()

    @refusing_other_values()
    def columns_of(self, features: list[dict[str, Any]]) -> Mapping[str, Any]:
        """Return the table of a cell, sorted by place, then by time, then by the images' ids.

        Args:
            features: with ``values``, lists of a place's number and its values (None where masked); and where images
                are named, ``image``, ``time`` in milliseconds, and ``.geo``, the image's footprint as GeoJSON.

        Returns:
            Columns as Arrow arrays: ``place`` (int32), ``image`` (text), ``image_date`` (UTC), and the values: int64,
            or double.
        """
        query = self.query
        place, value, source = self._pairs(features)
        if self.vector:
            own = [query.columns.index(name) for name in self.vector]
            value[:, own] = normalize(value[:, own])
        times = np.array([np.nan if f.get("time") is None else f["time"] for f in features], dtype=np.float64)
        names = [feature["image"] if query.is_named else "" for feature in features]
        if not all(isinstance(name, str) for name in names):
            raise ValidationError("the response has values of an image without its id")
        image = (
            np.unique(np.array(names, dtype=object), return_inverse=True)[1].reshape(-1) if names else np.zeros(0, int)
        )
        if len(np.unique(place * (len(names) + 1) + image[source])) < len(place):
            raise ValidationError("the response has a place twice for one image")
        rank = np.empty(len(names), dtype=np.int64)
        rank[sorted(range(len(names)), key=lambda i: (not np.isnan(times[i]), times[i], names[i]))] = range(len(names))
        if "moments" in query.unit:
            chosen = self._nearest(place, value, times[source], rank[source])
        else:
            chosen = np.lexsort((rank[source], place))
        return self._table(place[chosen], value[chosen], source[chosen], names, times)

    def _pairs(self, features: list[dict[str, Any]]) -> tuple[Indices, Floats, Indices]:
        """Return the pairs of a place and a feature: numbers of places, rows of values, and numbers of features."""
        query = self.query
        footprints = _Footprints(query.unit)
        positions = [query.properties.index(name) for name in query.names]
        width = 1 + max(positions, default=-1) + 1
        places, sources = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.int64)]
        values = [np.zeros((0, len(query.columns)))]
        for number, feature in enumerate(features):
            block = np.array(feature["values"], dtype=np.float64).reshape(-1, width)
            numbers, pixel_values = block[:, 0].astype(np.int64), block[:, 1:][:, positions]
            if len(numbers) and not 0 <= numbers.min() <= numbers.max() < footprints.count:
                raise ValidationError(
                    f"the response has other places than the {footprints.count:,} that were asked for"
                )
            if query.unit["mode"] == "each":  # others keep pairs without a value whose footprint lacks the place
                kept = np.flatnonzero(self._has_value(pixel_values) | footprints.contain(feature.get(".geo"))[numbers])
                numbers, pixel_values = numbers[kept], pixel_values[kept]
            places.append(numbers)
            values.append(pixel_values)
            sources.append(np.full(len(numbers), number))
            feature["values"] = None  # free memory: nested lists take many times the bytes of their numbers
        return np.concatenate(places), np.concatenate(values), np.concatenate(sources)

    def _nearest(self, place: Indices, value: Floats, time: Floats, rank: Indices) -> Indices:
        """Return for each place with values the pair with a value that is nearest in time; of two the earlier."""
        distance = np.abs(time - np.array(self.query.unit["moments"], dtype=np.float64)[place])
        order = np.lexsort((rank, distance, place))
        order = order[self._has_value(value[order])]
        _, firsts = np.unique(place[order], return_index=True)
        return np.asarray(order[firsts], dtype=np.int64)

    def _has_value(self, value: Floats) -> Booleans:
        """Return which rows have a value that is not a count."""
        return np.asarray((~np.isnan(value[:, self._uncounted])).any(axis=1), dtype=np.bool_)

    @cached_property
    def _uncounted(self) -> list[int]:
        """Positions of the columns that are not counts."""
        counts = self.query.counts
        return [index for index, name in enumerate(self.query.columns) if name not in counts] or [0]

    def _table(self, place: Indices, value: Floats, source: Indices, names: list[str], times: Floats) -> dict[str, Any]:
        columns: dict[str, Any] = {PLACE: pa.array(place.astype(np.int32))}
        if self.query.is_named:
            columns[IMAGE] = pa.array(names, pa.string()).take(pa.array(source))
            moments = pa.array(np.nan_to_num(times).astype(np.int64), mask=np.isnan(times)).cast(TIMESTAMP)
            columns[IMAGE_DATE] = moments.take(pa.array(source))
        integral = self.query.integral
        for index, column in enumerate(self.query.columns):
            numbers = value[:, index]
            masked = np.isnan(numbers)
            if column in integral and (numbers[~masked] == np.round(numbers[~masked])).all():
                columns[column] = pa.array(np.where(masked, 0, numbers).astype(np.int64), mask=masked)
            else:
                columns[column] = pa.array(numbers, mask=masked)
        return columns


class _Footprints:
    """Find the places inside footprints of images.

    Edges of footprints are straight in longitude and latitude, or geodesic, but edges of images are straight in their
    projection. Within 63 degrees of the equator, an edge of length L deviates by up to L²/4R; footprints are enlarged
    by as much.

    Args:
        unit: has the places.
    """

    def __init__(self, unit: Unit) -> None:
        shapes = list(map(shapely.geometry.shape, unit.get("geometries", ())))
        self._shapes = shapely.points(unit["at"]) if "at" in unit else np.array(shapes, dtype=object)
        self.count = len(self._shapes)
        self._known: dict[str, Booleans] = {}

    def contain(self, footprint: Any) -> Booleans:
        """Return for each place whether a GeoJSON footprint contains it; true for all without a footprint."""
        key = json.dumps(footprint)
        if key not in self._known:
            self._known[key] = self._find_inside(footprint)
        return self._known[key]

    def _find_inside(self, footprint: Any) -> Booleans:
        everywhere = np.ones(len(self._shapes), dtype=bool)
        if not footprint or not footprint.get("coordinates"):
            return everywhere
        shape = shapely.geometry.shape(footprint)
        if shape.geom_type in ("LinearRing", "LineString"):
            shape = shapely.Polygon(shape.coords)
        west, south, east, north = shape.bounds
        if not np.isfinite(shape.bounds).all() or east - west > 180:
            return everywhere
        shrunk = math.cos(math.radians(min(89.0, max(abs(south), abs(north)))))
        length = math.hypot((east - west) * shrunk, north - south)
        around = shape.buffer(math.radians(length**2) / 4 / shrunk)  # L²/4R, all in degrees
        shapely.prepare(around)
        is_inside = shapely.intersects(around, self._shapes)
        if east > 180 or west < -180:  # footprints across the antimeridian extend beyond it
            for turn in (-360.0, 360.0):
                is_inside |= shapely.intersects(affinity.translate(around, turn), self._shapes)
        return np.asarray(is_inside, dtype=np.bool_)
