"""Write tables as CSV, GeoJSON, KML or KMZ: their columns, cells and geometries."""

from __future__ import annotations

import csv as csv_module
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any
from xml.sax.saxutils import escape, quoteattr

import shapely
from shapely.geometry.base import BaseGeometry

from eechips_local.evaluation.context import Context
from eechips_local.geometry.geometry import geojson as geometry_json
from eechips_local.pixels.output.encode import zipped
from eechips_local.protocol.request_errors import LimitError
from eechips_local.values.number_format import java_text
from eechips_local.values.value_json import Encoder
from eechips_local.values.values import Feature, Geometry, Value

_GEO = ".geo"
_NO_GEOMETRY = '{"type":"MultiPoint","coordinates":[]}'
"""Of features without a geometry, as in published CSV files, such as those that scripts of users read."""


def planar(feature: Feature) -> Feature:
    """Return a feature with its geometry in longitude and latitude with straight edges."""
    geometry = feature.geometry
    if geometry is None or (not geometry.geodesic and geometry.projection.crs == "EPSG:4326"):
        return feature
    return replace(feature, geometry=Geometry(geometry.lonlat))


def csv(features: Iterable[Feature], selectors: Sequence[str] | None, context: Context) -> bytes:
    """Return a CSV with the selected columns, else system:index, the first feature's properties and .geo."""
    buffer = io.StringIO()
    writer = csv_module.writer(buffer, lineterminator="\n")
    columns = selectors
    for feature in features:
        if columns is None:
            columns = _columns(feature)
        if buffer.tell() == 0:
            writer.writerow(columns)
        encoder = Encoder(context)
        writer.writerow([_cell(feature, column, encoder) for column in columns])
        _check_size(buffer.tell(), context)
    if buffer.tell() == 0:
        writer.writerow(columns or ["system:index", _GEO])
    return _encoded(buffer.getvalue())


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "replace")  # lone surrogates, which JSON may hold, have no UTF-8


def _check_size(size: int, context: Context) -> None:
    if size > context.limits.response:
        raise LimitError(f"Response size exceeds limit of {context.limits.response} bytes.")


def _columns(feature: Feature) -> list[str]:
    names = [name for name in sorted(feature.properties) if name != "system:index"]
    return ["system:index", *names, _GEO]


def _cell(feature: Feature, column: str, encoder: Encoder) -> Any:
    if column == _GEO:
        geometry = planar(feature).geometry
        return _NO_GEOMETRY if geometry is None else json.dumps(geometry_json(geometry), separators=(",", ":"))
    value = feature.properties.get(column)
    if value is None:
        return ""
    encoded = encoder.encode(value)  # refuses what is too large
    if isinstance(value, (Mapping, list, bool, float)):
        return _java_text(value, encoder)
    return json.dumps(encoded) if isinstance(encoded, (dict, list)) else encoded


def _java_text(value: Value, encoder: Encoder) -> str:
    """Return a value as Java writes it, with the doubles that :class:`Encoder` makes integers.

    Users parse "{10=123, 20=456}" (codes 54655260251 and 60297481616), and in the list of a column ``groups``
    "gain=-1, histogram={bucketMin=0.0, bucketWidth=0.5, histogram=[" (code 3811943780). A table that the service
    exported has means of 0.0 and 9.128382136897204E-4 beside integers such as -1 (github.com/kaust-halo/geeet,
    examples/data/ee_landsat_fc_reducer_demo.csv).
    """
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}={_java_text(part, encoder)}" for key, part in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_java_text(part, encoder) for part in value) + "]"
    if isinstance(value, bool | None):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, (int, float)):
        return java_text(value)
    return value if isinstance(value, str) else _java_text(encoder.encode(value), encoder)


def geojson(features: Iterable[Feature], selectors: Sequence[str] | None, context: Context) -> bytes:
    """Return a GeoJSON FeatureCollection."""
    encoder = Encoder(context)
    encoded_features = []
    for feature in features:
        shown = planar(feature)
        if selectors:
            shown = shown.with_properties({k: v for k, v in shown.properties.items() if k in (*selectors, _INDEX)})
        encoded_features.append(encoder.feature(shown))
    return json.dumps({"type": "FeatureCollection", "features": encoded_features}).encode()


_INDEX = "system:index"
_KML = '<?xml version="1.0" encoding="UTF-8"?>\n<kml xmlns="http://www.opengis.net/kml/2.2"><Document>\n'


def kml(features: Iterable[Feature], selectors: Sequence[str] | None, context: Context) -> bytes:
    """Return a KML document (OGC 07-147r2): a placemark for each feature, its properties as ExtendedData."""
    parts = [_KML]
    size = 0
    for feature in features:
        parts.append(_placemark(planar(feature), selectors, Encoder(context)))
        size += len(parts[-1])
        _check_size(size, context)
    return _encoded("".join([*parts, "</Document></kml>\n"]))


def kmz(features: Iterable[Feature], selectors: Sequence[str] | None, context: Context) -> bytes:
    """Return a KML document in a ZIP archive."""
    return zipped([("doc.kml", kml(features, selectors, context))])


def _placemark(feature: Feature, selectors: Sequence[str] | None, encoder: Encoder) -> str:
    index = feature.properties.get(_INDEX)
    names = selectors or [name for name in sorted(feature.properties) if name != _INDEX]
    data = "".join(
        f"<Data name={quoteattr(_visible(name))}><value>{_xml(_cell(feature, name, encoder))}</value></Data>"
        for name in names
        if name != _GEO
    )
    name = "" if index is None else f"<name>{_xml(index)}</name>"
    shape = "" if feature.geometry is None else "".join(_kml_geometry(feature.geometry.lonlat))
    return f"<Placemark>{name}<ExtendedData>{data}</ExtendedData>{shape}</Placemark>\n"


def _xml(value: Any) -> str:
    return escape(_visible(str(value)))


def _visible(text: str) -> str:
    """Return the text without the control characters and surrogates that XML cannot hold."""
    return "".join(c for c in text if c in "\t\n\r" or (c >= " " and not "\ud800" <= c <= "\udfff" and c < "\ufffe"))


def _kml_geometry(shape: BaseGeometry) -> Iterator[str]:
    if hasattr(shape, "geoms"):
        yield "<MultiGeometry>"
        for part in shape.geoms:
            yield from _kml_geometry(part)
        yield "</MultiGeometry>"
    elif shape.is_empty:
        return
    elif shape.geom_type == "Polygon":
        yield f"<Polygon><outerBoundaryIs>{_kml_line(shape.exterior)}</outerBoundaryIs>"
        yield from (f"<innerBoundaryIs>{_kml_line(ring)}</innerBoundaryIs>" for ring in shape.interiors)
        yield "</Polygon>"
    else:
        yield _kml_line(shape)


def _kml_line(shape: BaseGeometry) -> str:
    points = " ".join(f"{float(x)!r},{float(y)!r}" for x, y in shapely.get_coordinates(shape))
    return f"<{shape.geom_type}><coordinates>{points}</coordinates></{shape.geom_type}>"
