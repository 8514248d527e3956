"""Tables in the file formats that the service answers with."""

from __future__ import annotations

import csv as csv_module
import io
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from eechips.emulator.context import Context
from eechips.emulator.info import encode, feature_json, geometry_json
from eechips.emulator.values import Collection, Feature, Geometry

_GEO = ".geo"


def planar(feature: Feature) -> Feature:
    """A feature with its geometry in longitude and latitude with straight edges."""
    geometry = feature.geometry
    if geometry is None or (not geometry.geodesic and geometry.projection.crs == "EPSG:4326"):
        return feature
    return replace(feature, geometry=Geometry(geometry.lonlat))


def csv(collection: Collection, selectors: Sequence[str] | None, context: Context) -> bytes:
    """A CSV with the selected columns, else system:index, the first feature's properties and .geo."""
    features = []
    for count, feature in enumerate(collection):
        if count % 256 == 0:
            context.check_time()
        features.append(feature)
    columns = list(selectors) if selectors else _columns(features)
    buffer = io.StringIO()
    writer = csv_module.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    for feature in features:
        writer.writerow([_cell(feature, column, context) for column in columns])
    return buffer.getvalue().encode()


def _columns(features: Sequence[Feature]) -> list[str]:
    if not features:
        return ["system:index", _GEO]
    names = [name for name in sorted(features[0].properties) if name != "system:index"]
    return ["system:index", *names, _GEO]


def _cell(feature: Feature, column: str, context: Context) -> Any:
    if column == _GEO:
        geometry = planar(feature).geometry
        return "" if geometry is None else json.dumps(geometry_json(geometry), separators=(",", ":"))
    value = feature.properties.get(column)
    if value is None:
        return ""
    found = encode(value, context)
    return json.dumps(found) if isinstance(found, (dict, list)) else found


def geojson(collection: Collection, selectors: Sequence[str] | None, context: Context) -> bytes:
    """A GeoJSON FeatureCollection."""
    features = []
    for feature in collection:
        context.check_time()
        found = feature_json(planar(feature), context)
        if selectors:
            found["properties"] = {k: v for k, v in found["properties"].items() if k in selectors}
        features.append(found)
    return json.dumps({"type": "FeatureCollection", "features": features}).encode()
