"""Decide which assets of a STAC item are data, not thumbnails or overviews, and read their bands, names of bands,
grids, types and nodata.

https://github.com/radiantearth/stac-spec, versions 1.0 and 1.1; the extensions raster, eo and projection.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Any

import numpy as np
from affine import Affine
from pyproj.exceptions import CRSError

from eechips_local.assets.ingestion.raster_files import crs_name
from eechips_local.pixels.grids.pixel_grid import PixelGrid
from eechips_local.pixels.half_floats import held_dtype

_GEOTIFF_SUFFIXES = (".tif", ".tiff")
_JPEG2000_TYPES = ("image/jp2", "image/jpx")  # RFC 3745
_GEOTIFF_TYPES = (
    "image/tiff",
    "image/vnd.stac.geotiff",
    "image/geotiff",
    "image/x-geotiff",
    "image/x.geotiff",
    "application/geotiff",
)
_VAGUE_TYPES = ("application/octet-stream", "binary/octet-stream", "application/x-binary")
_RASTER_2 = {"scale": "raster:scale", "offset": "raster:offset"}
"""Fields of bands in version 2 of the raster extension, by their names in version 1
(https://github.com/stac-extensions/raster)."""
_PICTURES = frozenset(("thumbnail", "overview", "metadata"))
_DATA = frozenset(("data", "reflectance", "cloud", "saturation", "data-mask"))


@dataclass(frozen=True, slots=True)
class ItemMetadata:
    """A raster of an item, as far as the item tells.

    Attributes:
        key: key of the asset.
        href: where it is, as the item has it.
        names: names of its bands, in order; None for a band that has none. Empty if the item does not say how many
            there are.
        dtypes: numpy names of the bands' types, or None where one is missing.
        nodata: stored values of each of these bands, or one of all of them, that mean no data; None where none is
            declared.
        grid: grid of all its bands, or None where it is not declared.
    """

    key: str
    href: str
    names: tuple[str | None, ...]
    dtypes: tuple[str, ...] | None
    nodata: tuple[float | None, ...]
    grid: PixelGrid | None


def is_data(asset: Mapping[str, Any]) -> bool:
    """Return whether an asset is a raster that is data: no thumbnail, overview, picture or metadata."""
    stated = asset.get("roles")
    roles = {str(role) for role in (stated if isinstance(stated, (list, tuple)) else [stated]) if role}
    if roles & _PICTURES:
        return False
    return (_is_geotiff(asset) or is_jpeg2000(asset)) and (not roles or bool(roles & _DATA))


def data_of(assets: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return keys of the rasters that are data.

    Catalogues have the same bands as GeoTIFFs and, beside them, as the JPEG 2000 files that they were made of: those
    count where there is no GeoTIFF.
    """
    data_keys = [key for key, asset in assets.items() if is_data(asset)]
    return [key for key in data_keys if _is_geotiff(assets[key])] or data_keys


def _type_of(asset: Mapping[str, Any]) -> str:
    """Return the media type in lower case (RFC 6838, 4.2), without parameters; empty for one without meaning."""
    kind = str(asset.get("type") or "").partition(";")[0].strip().lower()
    return "" if kind in _VAGUE_TYPES else kind


def _is_geotiff(asset: Mapping[str, Any]) -> bool:
    kind = _type_of(asset)
    return kind.startswith(_GEOTIFF_TYPES) if kind else suffix_of(asset) in _GEOTIFF_SUFFIXES


def is_jpeg2000(asset: Mapping[str, Any]) -> bool:
    """Return whether an asset is a JPEG 2000 file."""
    kind = _type_of(asset)
    return kind.startswith(_JPEG2000_TYPES) if kind else suffix_of(asset) == ".jp2"


def suffix_of(asset: Mapping[str, Any]) -> str:
    """Return the suffix of an asset's file, in lower case, with the dot."""
    return PurePosixPath(re.split(r"[?#]", str(asset.get("href") or ""), maxsplit=1)[0]).suffix.lower()


def bands_of(asset: Mapping[str, Any], properties: Mapping[str, Any] = MappingProxyType({})) -> list[dict[str, Any]]:
    """Return the metadata of an asset's bands: STAC 1.1's ``bands``, or the extensions' lists side by side.

    What is no list counts as none, and what is no object in one as a band of which nothing is said; null states
    nothing. ``scale`` and ``offset``, of raster 1, are named as in raster 2.

    Args:
        properties: properties of the item.
    """
    values = [asset.get(name) for name in ("eo:bands", "raster:bands", "bands")]
    lists = [value if isinstance(value, (list, tuple)) else [] for value in values]
    count = max(map(len, lists))
    described = [shared_by_bands(asset, properties) for _ in range(count)]
    for listed in lists:
        for entry, more in zip(described, listed, strict=False):
            stated: Mapping[str, Any] = more if isinstance(more, Mapping) else {}
            entry.update({_RASTER_2.get(name, name): value for name, value in stated.items() if value is not None})
    return described


def shared_by_bands(asset: Mapping[str, Any], properties: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metadata that an asset, or else its item, has for all of its bands.

    STAC 1.1 moves equal values of bands to their asset
    (https://github.com/radiantearth/stac-spec/blob/v1.1.0/commons/common-metadata.md#bands). What an item states
    applies to its assets (https://github.com/radiantearth/stac-spec/blob/v1.1.0/commons/assets.md#additional-fields).
    """
    places = (properties, asset)  # null states nothing: tables of items have it where others have a value
    names = ("nodata", "raster:scale", "raster:offset")
    return {name: place[name] for place in places for name in names if place.get(name) is not None}


def rasters(document: Mapping[str, Any]) -> list[ItemMetadata]:
    """Return the rasters of an item that are data, in the order of its assets."""
    properties, assets = document.get("properties") or {}, document.get("assets") or {}
    return [_described(key, assets[key], properties) for key in data_of(assets)]


def band_names(rasters: Sequence[tuple[str, Sequence[str | None]]]) -> list[list[str]]:
    """Return names of the bands of an item's rasters, which differ.

    A band has the name that the item gives it; a single band without one that of its asset, several are numbered after
    it. Where several rasters have a band of one name, such as a composite beside its parts, theirs come from the
    assets: ``red`` and ``visual_red``. Names that repeat in one raster count as none.

    Args:
        rasters: key of the asset, and the declared names of its bands, of each raster.

    Raises:
        ValueError: if two would still have the same name.
    """
    rasters = [(key, names if len(set(names)) == len(names) else (None,) * len(names)) for key, names in rasters]
    raster_names = [_own(key, names) for key, names in rasters]
    times = Counter(name for names in raster_names for name in dict.fromkeys(names))
    for position, (key, declared) in enumerate(rasters):
        own = raster_names[position]
        if any(times[name] > 1 for name in own) or len(set(own)) < len(own):
            raster_names[position] = (
                [key] if len(own) == 1 else [f"{key}_{name or n}" for n, name in enumerate(declared, 1)]
            )
    every = [name for names in raster_names for name in names]
    twice = sorted({name for name in every if every.count(name) > 1})
    if twice:
        raise ValueError(f"several of its bands are called {', '.join(twice)}")
    return raster_names


def declared_crs(declared: Mapping[str, Any]) -> str | None:
    """Return the CRS that the projection extension tells, as ``PixelGrid.crs``; None if it tells none."""
    for name in ("eechips:crs", "proj:code", "proj:wkt2"):
        if declared.get(name):
            return str(declared[name])
    return f"EPSG:{int(declared['proj:epsg'])}" if declared.get("proj:epsg") else None


def six(transform: Sequence[float]) -> tuple[float, float, float, float, float, float]:
    """Return an affine transform without its last row, which the projection extension may have."""
    a, b, c, d, e, f = (float(number) for number in transform[:6])
    return a, b, c, d, e, f


def _own(key: str, names: Sequence[str | None]) -> list[str]:
    if len(names) == 1:
        return [names[0] or key]
    return [name or f"{key}_{number}" for number, name in enumerate(names, 1)]


def _described(key: str, asset: Mapping[str, Any], properties: Mapping[str, Any]) -> ItemMetadata:
    bands = bands_of(asset, properties)
    names = tuple(str(band["name"]) if band.get("name") else None for band in bands)
    common = asset.get("data_type") or properties.get("data_type")
    return ItemMetadata(
        key=key,
        href=str(asset.get("href") or ""),
        names=names,
        dtypes=_dtypes([band.get("data_type") or common for band in bands]),
        nodata=tuple(_number(band.get("nodata")) for band in bands or [shared_by_bands(asset, properties)]),
        grid=grid_of(asset, properties),
    )


def _number(value: Any) -> float | None:
    try:
        return None if value is None else float(value)  # "nan", "inf" and "-inf" are STAC's spelling
    except (TypeError, ValueError, OverflowError):
        return None


def _dtypes(declared: Sequence[Any]) -> tuple[str, ...] | None:
    """Return types of bands, if all of them are declared and numpy's; STAC also knows ``other`` and complex
    integers.
    """
    try:
        dtypes = tuple(held_dtype(np.dtype(kind).name) for kind in declared if isinstance(kind, str))
    except TypeError:
        return None
    return dtypes if dtypes and len(dtypes) == len(declared) else None


def grid_of(asset: Mapping[str, Any], properties: Mapping[str, Any]) -> PixelGrid | None:
    """Return the declared grid. Size and transform belong together: both of the asset, or both of the item."""
    own = "proj:shape" in asset or "proj:transform" in asset
    source = asset if own else properties
    shape, transform = source.get("proj:shape"), source.get("proj:transform")
    if not isinstance(shape, (list, tuple)) or not isinstance(transform, (list, tuple)):
        return None
    if len(shape) != 2 or len(transform) < 6:
        return None
    try:
        crs = declared_crs(asset) or declared_crs(properties)
        if crs is None:
            return None
        height, width = (int(number) for number in shape)
        affine = Affine(*six(transform))
        is_usable = all(map(math.isfinite, affine)) and 0.0 < abs(affine.determinant) < math.inf
        return PixelGrid(crs_name(crs), affine, width, height) if is_usable else None
    except (TypeError, ValueError, OverflowError, CRSError):
        return None  # invalid declaration: use the file's own grid
