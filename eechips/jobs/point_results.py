"""Convert the response for a cell to columns, with a row for each pair of an image and a place."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import shapely
from shapely import affinity
from shapely.geometry.base import BaseGeometry

from eechips.formats.large_tables import TIMESTAMP
from eechips.jobs.unit_vectors import normalize

PLACE, IMAGE, IMAGE_DATE = "place", "image", "image_date"

_RADIUS = 6_371_008.8  # metres
_DEGREE = math.radians(1) * _RADIUS


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Convert the features of a cell to its table.

    Attributes:
        columns: names of the value columns.
        positions: index of each column in a feature's lists, without the place's number.
        counts: columns with numbers of pixels; a row with counts only has no value.
        integral: columns whose values are integers.
        vector: columns that are together a mean vector, which is divided by its length.
        is_named: whether rows have the id of their image.
        at: longitude and latitude of the places, (n, 2); None for polygons.
        geometries: the polygons, shape (n,); empty for points.
        moments: moments of the places, in milliseconds since 1970, (n,): of each place only the nearest image is kept.
            None to keep all images.
        keeps_empty: whether a pair without a value is kept even if the image's footprint does not contain the place.
    """

    columns: tuple[str, ...]
    positions: tuple[int, ...]
    counts: frozenset[str]
    integral: frozenset[str]
    is_named: bool
    vector: tuple[str, ...] = ()
    at: npt.NDArray[np.float64] | None = None
    geometries: Sequence[BaseGeometry] = ()
    moments: npt.NDArray[np.float64] | None = None
    keeps_empty: bool = True

    def columns_of(self, features: list[dict[str, Any]]) -> Mapping[str, Any]:
        """Return the table of a cell, sorted by place, then by time, then by the images' ids.

        Args:
            features: with ``values``, lists of a place's number and its values (None where masked); and where images
                are named, ``image``, ``time`` in milliseconds, and ``.geo``, the image's footprint as GeoJSON.

        Returns:
            Columns as Arrow arrays: ``place`` (int32), ``image`` (text), ``image_date`` (UTC), and the values: int64,
            or double.
        """
        held = _Footprints(self.at, self.geometries)
        places: list[npt.NDArray[np.int64]] = []
        values: list[npt.NDArray[np.float64]] = []
        sources: list[npt.NDArray[np.int64]] = []
        width = 1 + (max(self.positions) + 1 if self.positions else 0)
        for number, feature in enumerate(features):
            rows = feature.get("values") or []
            block = np.array(rows, dtype=np.float64).reshape(-1, width)
            numbers, pixel_values = block[:, 0].astype(np.int64), block[:, 1:][:, list(self.positions)]
            if not self.keeps_empty:
                some = np.flatnonzero(self._has_value(pixel_values) | held.inside(feature.get(".geo"))[numbers])
                numbers, pixel_values = numbers[some], pixel_values[some]
            places.append(numbers)
            values.append(pixel_values)
            sources.append(np.full(len(numbers), number))
            feature["values"] = None  # free memory: nested lists take many times the bytes of their numbers
        place = np.concatenate(places) if places else np.zeros(0, dtype=np.int64)
        value = np.concatenate(values) if values else np.zeros((0, len(self.columns)))
        source = np.concatenate(sources) if sources else np.zeros(0, dtype=np.int64)
        if self.vector:
            own = [self.columns.index(name) for name in self.vector]
            value[:, own] = normalize(value[:, own])
        times = np.array([np.nan if f.get("time") is None else f["time"] for f in features], dtype=np.float64)
        names = [str(feature.get("image") or "") for feature in features]
        rank = np.empty(len(names), dtype=np.int64)
        rank[sorted(range(len(names)), key=lambda i: (not np.isnan(times[i]), times[i], names[i]))] = range(len(names))
        if self.moments is not None:
            some = self._nearest(place, value, times[source], rank[source])
        else:
            some = np.lexsort((rank[source], place))
        return self._table(place[some], value[some], source[some], names, times)

    def _nearest(
        self,
        place: npt.NDArray[np.int64],
        value: npt.NDArray[np.float64],
        time: npt.NDArray[np.float64],
        rank: npt.NDArray[np.int64],
    ) -> npt.NDArray[np.int64]:
        """Return for each place the nearest pair in time with a value, or else the nearest; earlier first if equal."""
        assert self.moments is not None
        distance = np.abs(time - self.moments[place])
        order = np.lexsort((rank, distance, ~self._has_value(value), place))
        _, firsts = np.unique(place[order], return_index=True)
        return np.asarray(order[firsts], dtype=np.int64)

    def _has_value(self, value: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
        """Return which rows have a value that is not a count."""
        kept = [index for index, name in enumerate(self.columns) if name not in self.counts] or [0]
        return np.asarray((~np.isnan(value[:, kept])).any(axis=1), dtype=np.bool_)

    def _table(
        self,
        place: npt.NDArray[np.int64],
        value: npt.NDArray[np.float64],
        source: npt.NDArray[np.int64],
        names: list[str],
        times: npt.NDArray[np.float64],
    ) -> dict[str, Any]:
        columns: dict[str, Any] = {PLACE: pa.array(place.astype(np.int32))}
        if self.is_named:
            columns[IMAGE] = pa.array(names, pa.string()).take(pa.array(source))
            moments = pa.array(np.nan_to_num(times).astype(np.int64), mask=np.isnan(times)).cast(TIMESTAMP)
            columns[IMAGE_DATE] = moments.take(pa.array(source))
        for index, column in enumerate(self.columns):
            numbers = value[:, index]
            masked = np.isnan(numbers)
            if column in self.integral and (numbers[~masked] == np.round(numbers[~masked])).all():
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
        at: the places, if they are points.
        geometries: the places, if they are polygons.
    """

    def __init__(self, at: npt.NDArray[np.float64] | None, geometries: Sequence[BaseGeometry]) -> None:
        self._shapes = np.array(geometries, dtype=object) if at is None else shapely.points(at)
        self._known: dict[str, npt.NDArray[np.bool_]] = {}

    def inside(self, footprint: Any) -> npt.NDArray[np.bool_]:
        """Return for each place whether a GeoJSON footprint contains it; true for all without a footprint."""
        key = json.dumps(footprint)
        if key not in self._known:
            self._known[key] = self._held(footprint)
        return self._known[key]

    def _held(self, footprint: Any) -> npt.NDArray[np.bool_]:
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
        length = math.hypot((east - west) * shrunk, north - south) * _DEGREE
        around = shape.buffer(length**2 / (4 * _RADIUS) / _DEGREE / shrunk)
        shapely.prepare(around)
        held = shapely.intersects(around, self._shapes)
        if east > 180 or west < -180:  # footprints across the antimeridian extend beyond it
            for turn in (-360.0, 360.0):
                held |= shapely.intersects(affinity.translate(around, turn), self._shapes)
        return np.asarray(held, dtype=np.bool_)
