"""Parse regions: a box, a vector file, or features of a table on the server; check their degrees, and their size in a
request.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import ee
import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from eechips.errors import RegionError
from eechips.files.local_paths import is_url, local_path
from eechips.geo.ellipsoid import Geometries
from eechips.geo.grid import METRES_PER_DEGREE
from eechips.geo.polygons import list_polygons
from eechips.geo.vector_paths import describe_missing, hash_vectors, is_vector_file
from eechips.geo.vectors import read_vectors
from eechips.planning import planning_requests
from eechips.text.suggestion import describe_choices

_NUMBER = r"\s*[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?\s*"
_BOX = re.compile(rf"{_NUMBER},{_NUMBER},{_NUMBER},{_NUMBER}")
_SELECTION = re.compile(r"(?P<asset>[\w./-]+/[\w./-]+):(?P<field>[^=:]+)=(?P<value>.+)")

# A request may have 10,485,760 bytes (https://developers.google.com/earth-engine/guides/usage), of which this many are
# for a region; the rest is for the expression around it, such as 5,000 points. A vertex takes at most 30 bytes.
_MOST_BYTES = 10_000_000
_BYTES_PER_VERTEX = 30

# 1e-7 degrees are 11 mm, a tenth of the margin within which Earth Engine compares geometries (0.1 m).
_DIGITS = 7

_TOLERANCES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000)  # metres that a message proposes

_log = logging.getLogger(__name__)
_WIDE = 180.0  # degrees: wider regions may be meant to cross the antimeridian
_SWAPPED = 270.0  # degrees: a wider box that crosses it may have W and E swapped; the Pacific has 190

_FORMS = "a region is W,S,E,N in degrees, a vector file, or ASSET:FIELD=VALUE"


class ConstantValue(ee.Encodable):
    """A JSON value that is one constant of an expression.

    The client turns each vertex of a closed polygon into a value of its own, as the first and the last are equal: 61
    bytes a vertex and 14 s for 100,000 of them, where a constant takes 28 bytes and 0.3 s.

    Args:
        value: lists, texts and numbers.
    """

    def __init__(self, value: Any) -> None:
        self._value = value

    def encode(self, encoder: Any) -> Any:
        """Return the value, as in expressions before the Cloud API."""
        return self._value

    def encode_cloud_value(self, encoder: Any) -> dict[str, Any]:
        """Return the value as a constant."""
        return {"constantValue": self._value}


class Region(Protocol):
    """A part of the Earth's surface."""

    @property
    def parameters(self) -> dict[str, Any]:
        """JSON value that identifies the region: equal if and only if the regions are equal."""
        ...

    def geometry(self) -> ee.Geometry:
        """Return the region as a geometry of Earth Engine. ``ee`` must be initialised.

        Raises:
            RegionError: if the server does not have it.
        """
        ...


@dataclass(frozen=True)
class BoxRegion:
    """A box of longitudes and latitudes in degrees; west may exceed east across the antimeridian."""

    west: float
    south: float
    east: float
    north: float

    @property
    def parameters(self) -> dict[str, Any]:
        """``{"roi": "W,S,E,N"}``."""
        return {"roi": f"{self.west!r},{self.south!r},{self.east!r},{self.north!r}"}

    def polygon(self) -> BaseGeometry:
        """Return the box as a polygon, or as two on either side of the antimeridian."""
        if self.west < self.east:
            return shapely.box(self.west, self.south, self.east, self.north)
        left = shapely.box(self.west, self.south, 180.0, self.north)
        right = shapely.box(-180.0, self.south, self.east, self.north)
        return shapely.union_all([part for part in (left, right) if part.area > 0])

    def geometry(self) -> ee.Geometry:
        """Return the box with edges along meridians and parallels."""
        return planar_geometry(self.polygon())


@dataclass(frozen=True)
class FileRegion:
    """The union of the polygons of a vector file.

    Attributes:
        polygon: the union in EPSG:4326.
        sha256: SHA-256 digest of the file's bytes, so that an edited file is a different region.
        crs: CRS that the caller gave, because the file does not say it; None if it does.
    """

    path: Path
    polygon: BaseGeometry
    sha256: str
    crs: str | None = None

    @property
    def parameters(self) -> dict[str, Any]:
        """``{"roi": path, "roi_sha256": …}``."""
        crs = {"input_crs": self.crs} if self.crs is not None else {}
        return {"roi": str(self.path), "roi_sha256": self.sha256, **crs}

    def geometry(self) -> ee.Geometry:
        """Return the union, with edges straight in longitude and latitude."""
        return planar_geometry(self.polygon)


@dataclass(frozen=True)
class AssetRegion:
    """The features of a table on the server whose field has a value.

    Attributes:
        asset: id of the table.
        value: required value, as text.
    """

    asset: str
    field: str
    value: str

    @property
    def parameters(self) -> dict[str, Any]:
        """``{"roi": "ASSET:FIELD=VALUE"}``."""
        return {"roi": f"{self.asset}:{self.field}={self.value}"}

    def geometry(self) -> ee.Geometry:
        """Return the geometry of the features, after a check that there are any.

        Raises:
            RegionError: if the field or the value does not exist; the message lists fields, or similar values.
        """
        table = ee.FeatureCollection(self.asset)
        try:
            fields = fetch_fields(self.asset)
        except RegionError as error:  # the table may be the default region of a dataset, which the user has not named
            raise RegionError(
                f"{str(error).rstrip('.')}; `roi` names another region: a box W,S,E,N or a file"
            ) from error
        if self.field not in fields:
            raise RegionError(f"{self.asset} has no field {self.field!r}; {describe_choices(self.field, fields)}")
        values = list(dict.fromkeys(table.aggregate_array(self.field).getInfo()))
        wanted = next((value for value in values if value_text(value) == self.value), None)
        if wanted is None:
            choices = describe_choices(self.value, sorted(map(value_text, values)))
            raise RegionError(f"{self.asset} has no feature whose {self.field} is {self.value!r}; {choices}")
        geometry: ee.Geometry = table.filter(ee.Filter.eq(self.field, wanted)).geometry()
        return geometry


def parse_region(text: str | Path, *, crs: str | None = None) -> Region:
    """Parse a region. Invalid polygons of a file are repaired, with a warning.

    Args:
        text: ``W,S,E,N`` in degrees, the path of a vector file, or ``ASSET:FIELD=VALUE``.
        crs: CRS of a file that does not say it.

    Raises:
        RegionError: if the text is not a region, or the file cannot be used, or has more vertices than a request takes.
        UsageError: if it is a path of Windows.
    """
    if isinstance(text, str):
        if _BOX.fullmatch(text):
            return parse_box(text)
        selection = _SELECTION.fullmatch(text)
        if selection and not Path(text).exists():
            return AssetRegion(selection["asset"], selection["field"].strip(), selection["value"].strip())
    path = Path(text)
    if not is_vector_file(path):
        if text and (is_url(text) or os.path.exists(path)):  # noqa: PTH110 - pathlib raises for a text that is too long
            raise RegionError(describe_missing(text))
        if text:
            local_path(text)  # says what is wrong with a path of another system
        numbers = str(text).split(",")
        if len(numbers) > 1 and all(re.fullmatch(_NUMBER, number) for number in numbers):
            raise RegionError(f"{str(text)!r} has {len(numbers)} numbers, and W,S,E,N are four, in degrees")
        raise RegionError(f"{str(text)!r} is not a file, and {_FORMS}")
    vectors = read_vectors(path, crs=crs)
    if vectors.repaired:
        _log.warning("%s", vectors.repaired)
    warn_of_wide(vectors.geometries, vectors.numbers.tolist())
    union = shapely.union_all(vectors.geometries)
    check_size(union, str(path))
    return FileRegion(path, union, hash_vectors(path), crs=crs)


def warn_of_wide(geometries: Geometries | None, names: Sequence[object]) -> None:
    """Log regions wider than 180 degrees, which may be meant to cross the antimeridian.

    Args:
        geometries: polygons, shape (n,); None if the service has them.
    """
    if geometries is None:
        return
    parts, which = shapely.get_parts(geometries, return_index=True)
    bounds = shapely.bounds(parts)
    widths = bounds[:, 2] - bounds[:, 0]
    for index in np.flatnonzero((widths > _WIDE) & (widths < 360.0))[:3]:
        _log.warning(
            "region %s is %.0f degrees wide: if it is meant to cross the antimeridian, cut it there, or write its "
            "longitudes beyond 180",
            names[which[index]],
            widths[index],
        )


def parse_box(text: str) -> BoxRegion:
    """Parse a box ``W,S,E,N`` in degrees.

    Raises:
        RegionError: if the text is not four numbers, or the box is out of range or empty.
    """
    if not _BOX.fullmatch(text):
        raise RegionError(f"{text!r} is not W,S,E,N in degrees")
    words = "".join(text.split()).split(",")
    west, south, east, north = map(float, words)
    if not (-180.0 <= west <= 180.0 and -180.0 <= east <= 180.0):
        raise RegionError(f"longitudes of {text!r} must be within -180 and 180 (W may exceed E across 180)")
    if max(abs(south), abs(north)) > 90.0 >= max(abs(west), abs(east)):
        swapped = "{1},{0},{3},{2}".format(*words)
        raise RegionError(f"latitudes of {text!r} are beyond 90: is it S,W,N,E? Longitudes come first: {swapped}")
    if not -90.0 <= south < north <= 90.0:
        raise RegionError(f"latitudes of {text!r} must be within -90 and 90, and S below N")
    if west == east or (west, east) == (180.0, -180.0):
        raise RegionError(f"{text!r} has no width")
    if west > east and (width := east - west + 360.0) > _SWAPPED:
        _log.warning(
            "region %s crosses the antimeridian and is %.0f degrees wide: if W and E are swapped, write %s",
            *(text, width, "{2},{1},{0},{3}".format(*words)),
        )
    return BoxRegion(west, south, east, north)


def planar_geometry(polygon: BaseGeometry) -> ee.Geometry:
    """Return a polygon as a geometry of Earth Engine whose edges are straight in longitude and latitude, not geodesic.

    Coordinates are rounded to 1e-7 degrees, 11 mm.

    Raises:
        RegionError: if it has more bytes than fit into a request; see :func:`check_size`.
    """
    check_size(polygon)
    shape = _rounded(polygon)
    constructor = ee.ApiFunction.lookup(f"GeometryConstructors.{shape.geom_type}")
    coordinates = ConstantValue(shapely.geometry.mapping(shape)["coordinates"])
    geometry: ee.Geometry = ee.Geometry(ee.ComputedObject(constructor, {"coordinates": coordinates, "geodesic": False}))
    return geometry


def check_size(polygon: BaseGeometry, name: str = "the region") -> None:
    """Check that a polygon fits into a request.

    Args:
        polygon: in longitude and latitude.

    Raises:
        RegionError: if it does not; the message has the tolerance within which it can be simplified.
    """
    vertices = int(shapely.get_num_coordinates(polygon))
    if vertices * _BYTES_PER_VERTEX <= _MOST_BYTES or (size := _count_bytes(polygon)) <= _MOST_BYTES:
        return
    cure = "divide it into several regions"
    for tolerance in _TOLERANCES:
        simpler = shapely.simplify(polygon, tolerance / METRES_PER_DEGREE)
        if _count_bytes(simpler) <= _MOST_BYTES:
            left = int(shapely.get_num_coordinates(simpler))
            cure = f"simplify it within {tolerance:,} m, which leaves {left:,} vertices, or {cure}"
            break
    raise RegionError(
        f"{name} has {vertices:,} vertices, {size / 1e6:.1f} MB in a request, and a request takes"
        f" {_MOST_BYTES / 1e6:.0f} MB: {cure}"
    )


def _count_bytes(polygon: BaseGeometry) -> int:
    """Return the bytes of a polygon in the body of a request."""
    return len(json.dumps(shapely.geometry.mapping(_rounded(polygon))["coordinates"]))


def _rounded(polygon: BaseGeometry) -> BaseGeometry:
    """Return a polygon with rounded coordinates; unchanged if it is too small for that."""
    rounded = shapely.transform(polygon, lambda points: np.round(points, _DIGITS))
    if rounded.is_valid:
        rounded = shapely.remove_repeated_points(rounded)
    else:  # parts of it touch after rounding
        rounded = shapely.set_precision(polygon, 10.0**-_DIGITS)
    parts = list_polygons(polygon if rounded.is_empty else rounded)
    return parts[0] if len(parts) == 1 else shapely.MultiPolygon(parts)


def fetch_fields(asset: str) -> list[str]:
    """Return the names of the columns of a table on the server, from its first feature.

    Raises:
        RegionError: if there is no such table.
    """
    try:
        names = ee.FeatureCollection(asset).first().propertyNames().getInfo()
    except ee.EEException as error:
        if planning_requests.is_not_found(error):
            reason = planning_requests.missing_table_reason(error)
            raise RegionError(f"there is no table {asset!r} to take regions from: {reason}") from error
        raise
    return sorted(name for name in names if not name.startswith("system:"))


def value_text(value: object) -> str:
    """Format a property's value as users write it: whole numbers without a decimal point."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
