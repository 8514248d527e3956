"""Fetch strata: the features of a table, such as ecoregions, clipped to a region.

The outlines of a table are its largest part: RESOLVE's 847 ecoregions have 14.5 million vertices (their shapefile has
232 MB, https://gist.github.com/kleintom/c4c851de52380b0d08b6950e198aa8ba, at 16 bytes each), "Rock and Ice" alone a
tenth of them. So a first request lists the features without outlines; then outlines are fetched, as many in a request
as fit into some 8 MB. What the service still refuses is asked for in smaller parts:

1. fewer features a request;
2. one feature in the quarters of its bounds, up to 16 cells, which are put together again. The points that are drawn
   are the same as in the whole outline;
3. one feature with a larger error margin, which is logged, since other points are drawn near its edges.

An outline with more edges than the service takes ends the plan at once: edges are counted before anything else, so
that neither cells nor margins help (https://github.com/sepal-contrib/se.plan/pull/270).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import ee
import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from eechips.client.table_rows import PAGE_SIZE, feature_pages
from eechips.errors import RegionError, RequestError
from eechips.geo.grid import METRES_PER_DEGREE
from eechips.geo.polygons import enlarge_bounds, list_polygons, mean_width, wrap_at_antimeridian
from eechips.planning import planning_requests
from eechips.planning.areas.regions import fetch_fields
from eechips.planning.sampling.samplers import Stratum, quarter, valid_polygons
from eechips.text.suggestion import describe_choices

Bounds = tuple[float, float, float, float]

# By default, Earth Engine compares geometries within 0.1 m (Filter.intersects, maxError): a stratum whose overlap
# with the region is narrower, on average, only touches it.
_LEAST_WIDTH = 0.1

# Error margins in metres of operations on outlines, the next one if the service refuses one. The service requests the
# inputs of an operation with the error margin of its output (https://developers.google.com/earth-engine/apidocs/
# ee-feature-simplify: "the default Earth Engine policy for propagating error margins").
_MARGINS = (1.0, 100.0, 1000.0)

# Metres of outlines in a request. RESOLVE has a vertex every 500 m (14.5 million on 66,288 degrees), and a vertex takes
# some 40 bytes of GeoJSON: 8 MB.
_LENGTH = 1e8

_DEPTH = 2  # how often the bounds of an outline are quartered
_OVERLAP = 1e-3  # degrees by which cells on the server are larger, so that their own edges can be cut off exactly
_SLACK = 2.0  # metres: more than the error of bounds from the server

_CURE = "a table with simpler outlines (`per_ecoregion`), or a smaller region (`roi`)"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Feature:
    """A feature of the table, without its outline.

    Attributes:
        index: its ``system:index``.
        bounds: west, south, east, north in degrees, within -180 to 180.
        length: length of its outline in metres.
        is_inside: whether it lies inside the region, so that it need not be clipped.
    """

    index: str
    id: int | float | str
    name: str
    bounds: Bounds
    length: float
    is_inside: bool


def fetch_strata(
    region: ee.Geometry, table: str, id_field: str, name_field: str, *, outline: BaseGeometry | None = None
) -> list[Stratum]:
    """Fetch the features of a table that meet a region, clipped to it, as strata.

    Features with the same id are one stratum. Strata that only touch the region (whose overlap is narrower than 0.1 m
    on average) are dropped and logged.

    Args:
        region: to draw points in.
        table: id of a table of polygons.
        id_field: column that identifies strata.
        name_field: column with their names; may be ``id_field``.
        outline: the region in longitude and latitude, so that features inside it are not clipped; None if unknown.

    Returns:
        Strata, sorted by id.

    Raises:
        RegionError: if the table or a field does not exist, no feature meets the region, or the service refuses an
            outline also in parts.
        TooLargeError: if the service refuses to list the features.
    """
    fields = fetch_fields(table)
    for field in (id_field, name_field):
        if field not in fields:
            raise RegionError(f"{table} has no field {field!r}; {describe_choices(field, fields)}")
    every = ee.FeatureCollection(table)
    features = _list_features(every.filterBounds(region), table, id_field, name_field, outline)
    parts: dict[int | float | str, list[BaseGeometry]] = {}
    names: dict[int | float | str, str] = {}
    outlines = _Outlines(every, region)
    for is_inside in (True, False):
        some = [feature for feature in features if feature.is_inside == is_inside]
        costs = [feature.length / _LENGTH for feature in some]
        shapes = planning_requests.request_each(
            some, outlines.fetch, size=PAGE_SIZE, costs=costs, noun="outlines", cure=_CURE
        )
        for feature, shape in zip(some, shapes, strict=True):
            names.setdefault(feature.id, feature.name)
            parts.setdefault(feature.id, []).append(shape)
    keys = sorted(parts, key=lambda key: (isinstance(key, str), key))  # numbers first, by value, then text
    strata = [Stratum(key, names[key], _joined(parts[key])) for key in keys]
    kept = [stratum for stratum in strata if mean_width(stratum.geometry) >= _LEAST_WIDTH]
    dropped = {stratum.id for stratum in strata} - {stratum.id for stratum in kept}
    for stratum in strata:
        if stratum.id in dropped:
            _log.warning("%s (%s) only touches the region: no points are drawn there", stratum.name, stratum.id)
    if not kept:
        raise RegionError(f"nothing of {table} lies in the region")
    return kept


def _list_features(
    collection: ee.FeatureCollection, table: str, id_field: str, name_field: str, region: BaseGeometry | None
) -> list[_Feature]:
    """List features with the bounds and the lengths of their outlines; those without an id are left out."""

    def describe(element: Any) -> Any:
        feature = ee.Feature(element)
        outline = feature.geometry()
        about = {"index": feature.get("system:index"), "id": feature.get(id_field), "name": feature.get(name_field)}
        ring = outline.bounds(_MARGINS[0]).coordinates().get(0)
        return ee.Feature(None, {**about, "ring": ring, "length": outline.perimeter(_MARGINS[0])})

    listed = planning_requests.fetch_features(
        ee.FeatureCollection(collection.map(describe)), noun=f"features of {table}", cure=_CURE
    )
    if region is not None:
        shapely.prepare(region)
    features = []
    for properties in (feature["properties"] for feature in listed):
        if properties.get("id") is None:
            continue
        key = _whole(properties["id"])
        corners = np.array(properties["ring"], dtype=np.float64)
        box: Bounds = (*corners.min(axis=0).tolist(), *corners.max(axis=0).tolist())
        is_inside = region is not None and bool(shapely.contains(region, _enlarged(box)))
        if box[0] < -180.0 or box[2] > 180.0:
            box = (-180.0, box[1], 180.0, box[3])
        name = str(properties.get("name", key))
        features.append(_Feature(properties["index"], key, name, box, float(properties["length"]), is_inside))
    return features


@dataclass(frozen=True)
class _Outlines:
    """Fetches outlines of features of a table, clipped to a region."""

    table: ee.FeatureCollection
    region: ee.Geometry

    def fetch(self, features: Sequence[_Feature]) -> list[BaseGeometry]:
        """Return the outlines of features, all inside the region or none; in parts if the service refuses a single one.

        Raises:
            RegionError: if it refuses the parts of a single one as well.
            ee.EEException, RequestError: if it refuses several outlines.
        """
        if len(features) > 1:
            return self._ask(features, _MARGINS[0])
        (feature,) = features
        reason = ""
        for margin in _MARGINS:
            try:
                outline = self._in_parts(feature, None) if margin == _MARGINS[0] else self._ask(features, margin)[0]
            except (ee.EEException, RequestError) as error:
                if not planning_requests.is_too_large(error):
                    raise
                reason = " ".join(str(error).split())
                if planning_requests.has_many_edges(error):
                    break
                continue
            if reason:
                text = "The outline of %s is exact to %.0f m only, as Earth Engine refused a finer one: %s"
                _log.warning(text, feature.name, margin, reason)
            return [outline]
        raise RegionError(f"Earth Engine refuses the outline of {feature.name}: {reason} What helps: {_CURE}.")

    def _in_parts(self, feature: _Feature, cell: Bounds | None, depth: int = 0) -> BaseGeometry:
        """Return an outline inside a cell; in quarters of the cell if the service refuses the whole."""
        try:
            return self._ask([feature], _MARGINS[0], cell)[0]
        except (ee.EEException, RequestError) as error:
            if depth == _DEPTH or not planning_requests.is_too_large(error) or planning_requests.has_many_edges(error):
                raise
        quarters = quarter(np.array([cell or feature.bounds])).tolist()
        return _joined([self._in_parts(feature, tuple(part), depth + 1) for part in quarters])

    def _ask(self, features: Sequence[_Feature], margin: float, cell: Bounds | None = None) -> list[BaseGeometry]:
        """Request outlines, clipped to the region and to a cell."""

        def cut(element: Any) -> Any:
            feature = ee.Feature(element)
            outline = feature.geometry()
            if margin > _MARGINS[0]:
                outline = outline.simplify(margin)
            if cell is not None:
                outline = outline.intersection(_rectangle(cell), margin)
            if not features[0].is_inside:
                outline = outline.intersection(self.region, margin)
            return ee.Feature(outline, {"index": feature.get("system:index")})

        chosen = self.table.filter(ee.Filter.inList("system:index", [feature.index for feature in features]))
        if not features[0].is_inside:  # the service finds features by place faster than by their index
            chosen = chosen.filterBounds(self.region)
        shapes: dict[str, BaseGeometry] = {}
        for page in feature_pages(ee.FeatureCollection(chosen.map(cut)), len(features)):
            for feature in page:
                geometry = feature.get("geometry")
                raw_outline = shapely.MultiPolygon() if geometry is None else shapely.geometry.shape(geometry)
                if not raw_outline.is_empty:
                    shape = valid_polygons(raw_outline)
                    if cell is not None:
                        shape = shapely.MultiPolygon(list_polygons(shapely.intersection(shape, shapely.box(*cell))))
                    shapes[feature["properties"]["index"]] = shape
        return [shapes.get(feature.index, shapely.MultiPolygon()) for feature in features]


def _enlarged(box: Bounds) -> BaseGeometry:
    """Return a box of degrees grown by the error of its bounds, within -180 to 180 and -90 to 90."""
    west, south, east, north = box
    south, north = max(south - _SLACK / METRES_PER_DEGREE, -90.0), min(north + _SLACK / METRES_PER_DEGREE, 90.0)
    widest = float(np.cos(np.radians(max(abs(south), abs(north)))))
    more = min(_SLACK / METRES_PER_DEGREE / widest, 360.0) if widest > 0.0 else 360.0
    if east - west + 2 * more >= 360.0:
        return shapely.box(-180.0, south, 180.0, north)
    west, east = west - more, east + more
    if box[0] >= -180.0 and box[2] <= 180.0:  # it may touch the antimeridian, which then is no reason to cross it
        west, east = max(west, -180.0), min(east, 180.0)
    return wrap_at_antimeridian(shapely.box(west, south, east, north))


def _rectangle(cell: Bounds) -> ee.Geometry:
    """Return a cell, a little enlarged, for the server."""
    rectangle: ee.Geometry = ee.Geometry.Rectangle(enlarge_bounds(cell, _OVERLAP).tolist(), None, False)
    return rectangle


def _joined(parts: Sequence[BaseGeometry]) -> BaseGeometry:
    return parts[0] if len(parts) == 1 else shapely.union_all(list(parts))


def _whole(value: float | str) -> int | float | str:
    """Return an id that is a whole number as an integer, also if the table stores it as a float."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
