"""Build the data of a report's scripts: the units as packed columns, pictures, borders, and the country or state of
each unit.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cache
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely

from eechips.geo.ellipsoid import Floats, Geometries
from eechips.geo.polygons import wrap_longitudes
from eechips.manifest.pictures.display_styles import class_names
from eechips.reports.region_outlines import Ring
from eechips.reports.section_markup import read_file
from eechips.reports.thumbnails import Thumbnail, Thumbnails
from eechips.reports.unit_columns import UnitColumn, UnitColumns
from eechips.text.formatting import replace_control_characters


@cache
def load_basemap() -> dict[str, Any]:
    """Load the borders.

    Returns:
        ``source``; ``step``, the resolution of the coordinates in degrees; ``shapes``, each with a ``name`` and
        ``rings`` of integers: the first vertex, then the difference of each vertex from the previous one.
    """
    borders: dict[str, Any] = json.loads(read_file("basemap.json"))
    return borders


def names_of(places: Floats) -> list[str | None]:
    """Return the country or state that contains each place (n, 2), approximately; None for NaN."""
    names, tree = _tree()
    known = np.flatnonzero(np.isfinite(places).all(axis=1))
    lonlat = places[known].copy()
    lonlat[:, 0] = wrap_longitudes(lonlat[:, 0])
    place_names: list[str | None] = [None] * len(places)
    for number, shape in sorted(tree.query(shapely.points(lonlat), predicate="intersects").T.tolist()):
        place_names[known[number]] = names[shape]  # the smallest shape: Lesotho, not South Africa around it
    return place_names


@cache
def _tree() -> tuple[list[str], Any]:
    named_polygons = []
    for shape in load_basemap()["shapes"]:
        for ring in shape["rings"]:
            coordinates = np.cumsum(np.reshape(ring, (-1, 2)), axis=0) * load_basemap()["step"]
            named_polygons.append((shapely.make_valid(shapely.Polygon(coordinates)), shape["name"]))
    named_polygons.sort(key=lambda named_polygon: -named_polygon[0].area)
    return [name for _, name in named_polygons], shapely.STRtree([polygon for polygon, _ in named_polygons])


_MICRO = 1e6  # coordinates are integers in millionths of a degree: 0.1 m
_PRECISION = 1e-3  # precision of corners as a share of a typical outline's size
_TYPES = {"u1": "Uint8", "u2": "Uint16", "u4": "Uint32", "i2": "Int16", "i4": "Int32", "f4": "Float32"}
_UNIT_ID = "\0"
_PLACE = "state or country"


def page_data(
    units: UnitColumns,
    pictures: Thumbnails,
    *,
    roi: Sequence[Ring] = (),
    info: Mapping[str, Any] = MappingProxyType({}),
) -> dict[str, Any]:
    """Build the JSON value that the scripts of the page read.

    Args:
        roi: rings of the requested region.
        info: run.json.
    """
    centres = _joined(units.centres)
    return {
        "total": units.total,
        "count": len(units),
        "ids": "".join(f"{identifier:<16.16}" for identifier in units.ids),
        "files": _files(units),
        "states": _coded(units.states),
        "errors": _coded(units.errors),
        "bytes": _packed(units.bytes, "u4"),
        "valid": _packed(units.valid, "f4"),
        "columns": [_column(column) for column in with_place(units)],
        "classes": {str(code): name for code, name in class_names(info).items()},
        "stratum": units.stratum.name if units.stratum is not None else None,
        "pictures": {
            str(number): [encode_picture(picture, units.ids[number]) for picture in pictures.of[number]]
            for number in sorted(pictures.of)
        },
        "painted": {
            layer: [{"text": band_colours.text, "classes": band_colours.classes} for band_colours in some]
            for layer, some in pictures.painted.items()
        },
        "places": _coded(names_of(centres)),
        "map": _map(units, centres, roi) if units.has_places else None,
    }


def encode_picture(picture: Thumbnail, identifier: str) -> dict[str, Any]:
    """Return the JSON value of a picture of a unit for the scripts."""
    encoded: dict[str, Any] = {
        "layer": picture.layer,
        "source": picture.address,
        "means": [None if np.isnan(mean) else round(mean, 4) for mean in picture.means],
    }
    if picture.layer:
        encoded["file"] = picture.file.replace(identifier, _UNIT_ID) if identifier else picture.file
    if picture.frame is not None:
        encoded["frame"] = asdict(picture.frame)
    return encoded


def with_place(units: UnitColumns) -> list[UnitColumn]:
    """Return the columns, with the state or country of each unit if there are several."""
    names = names_of(units.centres)
    if len(set(names) - {None}) < 2:
        return list(units.columns)
    return [*units.columns, UnitColumn(_PLACE, "category", names)]


def as_script(value: Any) -> str:
    """Return JSON that is safe in a script element: it contains no end of the element and no start of a comment.

    Unsafe characters of texts are replaced; see :func:`eechips.text.formatting.replace_control_characters`.
    """
    text = json.dumps(_cleaned(value), separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return _UNIT_ID.join(map(replace_control_characters, value.split(_UNIT_ID)))
    if isinstance(value, Mapping):
        return {_cleaned(name): _cleaned(member) for name, member in value.items()}
    return [_cleaned(member) for member in value] if isinstance(value, (list, tuple)) else value


def _map(units: UnitColumns, centres: Floats, roi: Sequence[Ring]) -> dict[str, Any]:
    whole = np.logical_and.reduce(np.isfinite(centres), axis=1)
    places = np.where(whole[:, None], centres, 0.0)
    return {
        "places": _packed(np.round(places.ravel() * _MICRO), "i4"),
        "known": _packed(whole, "u1"),
        "shapes": _shapes(units.outlines, centres),
        "outlines": load_basemap(),
        "roi": list(roi),
    }


def _joined(centres: Floats) -> Floats:
    """Shift longitudes so that the widest gap without units is at the edge of the map."""
    shifted = centres.copy()
    longitudes = np.sort(centres[np.isfinite(centres[:, 0]), 0] % 360.0)
    if not longitudes.size:
        return shifted
    gaps = np.diff(np.append(longitudes, longitudes[0] + 360.0))
    west = longitudes[(int(np.argmax(gaps)) + 1) % len(longitudes)]
    shifted[:, 0] = (shifted[:, 0] - west) % 360.0 + west
    if np.nanmean(shifted[:, 0]) > 180.0:
        shifted[:, 0] -= 360.0
    return shifted


def _shapes(shapes: Geometries, centres: Floats) -> dict[str, Any]:
    """Return the corners of outlines relative to their centres, as integers in units of ``scale`` degrees.

    ``ends`` has the end of each outline in the list; ``gap`` separates the rings of an outline.
    """
    parts, part_owners = shapely.get_parts(shapes, return_index=True)  # a multipolygon has no rings of its own
    rings, part_of = shapely.get_rings(parts, return_index=True)
    # Scripts fill what rings wind around: rings of holes have to wind the other way, whatever a file has.
    is_outer = np.append(True, np.diff(part_of) != 0)[: len(rings)]
    is_turned = shapely.is_ccw(rings) != is_outer
    rings[is_turned] = shapely.reverse(rings[is_turned])
    corners, ring_of = shapely.get_coordinates(rings, return_index=True)
    if not len(corners):
        nothing = _packed(np.zeros(len(shapes)), "u4")
        return {"scale": 1.0, "gap": 0, "corners": _packed(np.empty(0), "i2"), "ends": nothing}
    owner_of = part_owners[part_of][ring_of]
    offsets = corners - centres[owner_of]
    offsets[:, 0] = wrap_longitudes(offsets[:, 0])
    is_last = np.append(np.diff(ring_of) != 0, True)
    kept = ~is_last  # the last corner of a ring equals its first
    furthest = np.abs(offsets).max(axis=1)
    scale = max(float(furthest.max()), 1e-6) / np.iinfo(np.int16).max
    kind = "i2"
    if scale > _PRECISION * float(np.median(furthest)):  # small shapes among large ones
        scale, kind = 1e-7, "i4"
    gap = int(np.iinfo(f"<{kind}").min)
    numbers = np.round(offsets / scale).astype(f"<{kind}")
    # A gap separates two rings of an outline, in place of the omitted corner.
    breaks = is_last & np.append(owner_of[1:] == owner_of[:-1], False)
    numbers[breaks] = gap
    kept |= breaks
    counts = np.bincount(owner_of[kept], minlength=len(shapes))
    packed = _packed(numbers[kept].ravel(), kind)
    return {"scale": scale, "gap": gap, "corners": packed, "ends": _packed(np.cumsum(counts), "u4")}


def _files(units: UnitColumns) -> dict[str, Any]:
    """Encode paths; the unit's id is replaced by a character that no path has, so that most paths are equal."""
    patterns = [
        None if file is None else file.replace(identifier, _UNIT_ID) if identifier else file
        for file, identifier in zip(units.files, units.ids, strict=True)
    ]
    return _coded(patterns)


def _column(column: UnitColumn) -> dict[str, Any]:
    if column.kind == "number":
        return {"name": column.name, "kind": column.kind, "numbers": _packed(np.asarray(column.values, float), "f4")}
    return {"name": column.name, "kind": column.kind, **_coded(column.values, column.categories())}


def _coded(values: Sequence[Any], known: Sequence[Any] | None = None) -> dict[str, Any]:
    """Encode values as indices in a list of values; 0 for none."""
    names = list(dict.fromkeys(value for value in values if value is not None)) if known is None else list(known)
    codes: Mapping[Any, int] = {name: number for number, name in enumerate(names, start=1)}
    kind = "u1" if len(names) < 256 else "u2" if len(names) < 65536 else "u4"
    return {"values": names, "codes": _packed([codes.get(value, 0) for value in values], kind)}


def _packed(values: npt.ArrayLike, kind: str) -> dict[str, str]:
    """Encode numbers as base64 of their little-endian bytes."""
    data = np.asarray(values).astype(f"<{kind}").tobytes()
    return {"type": _TYPES[kind], "data": base64.b64encode(data).decode()}
