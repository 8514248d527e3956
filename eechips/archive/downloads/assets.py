"""Select assets of STAC items by key or by band (by default data and rasters, no thumbnails and no JPEG 2000 with the
pixels of a GeoTIFF) and turn them into units; prefer alternate URLs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from eechips.archive.downloads.expected_file import DRIVERS, ExpectedFile
from eechips.archive.downloads.integrity import VAGUE_TYPES, normal_type
from eechips.recipe import Unit
from eechips.web.urls import file_suffix, strip_signature

_PICTURES = frozenset({"thumbnail", "overview", "visual", "metadata"})
_MASKS = frozenset({"data-mask", "cloud", "cloud-shadow", "snow-ice", "land-water", "water-mask", "saturation"})
"""Roles of masks (https://github.com/radiantearth/stac-best-practices, asset roles)."""
_GEOTIFF = tuple(kind for kind, driver in DRIVERS.items() if driver == "GTiff")
_JPEG2000 = tuple(kind for kind, driver in DRIVERS.items() if driver == "JP2OpenJPEG")
_DOWNLOADABLE = ("", "file", "http", "https", "s3", "gs")  # schemes


def select_assets(item: Mapping[str, Any], names: Sequence[str] | None) -> Iterator[str]:
    """Yield the keys of the requested assets, selected by key or by the name of their only band.

    Of several assets of one band, the finest GeoTIFF of data counts: archives have a band also in coarser files, as the
    JPEG 2000 that it was made of, and as a picture. A common name may be that of several bands, such as ``rededge``.

    Args:
        names: None for the assets with the role data, or for all if none has it; without the JPEG 2000 of which there
            is the same as a GeoTIFF.
    """
    assets: Mapping[str, Mapping[str, Any]] = item["assets"]
    if names is None:
        copies = set(jpeg2000_copies(item))
        yield from (key for key in data_assets(assets) if key not in copies)
        return
    by_name = {} if all(name in assets for name in names) else _best_by_name(assets)
    seen = set()
    for name in names:
        bands = by_name.get(name, {})
        for key in [name] if name in assets else [bands[name]] if name in bands else bands.values():
            if key not in seen:
                seen.add(key)
                yield key


def jpeg2000_copies(item: Mapping[str, Any]) -> list[str]:
    """Return the keys of JPEG 2000 of data that the item also has as a GeoTIFF.

    Both declare the same size of pixels; or one declares none, and their URLs differ in the suffix only.
    """
    data = data_assets(item["assets"])
    jpegs = [key for key, asset in data.items() if _is_jpeg2000(asset)]
    if not jpegs:
        return []
    declared: set[Hashable] = set()
    beside: dict[Hashable, set[float]] = {}
    for asset in filter(_is_geotiff, data.values()):
        content, size, file = _content(asset), _pixel_size(asset), _file_name(asset)
        declared |= {(content, size)} if size < math.inf else set()
        beside.setdefault((content, file.parent, file.stem), set()).add(size)

    def is_copy(asset: Mapping[str, Any]) -> bool:
        content, size, file = _content(asset), _pixel_size(asset), _file_name(asset)
        sizes = beside.get((content, file.parent, file.stem), set())
        return (content, size) in declared or (bool(sizes) and math.inf in {size, *sizes})

    return [key for key in jpegs if is_copy(data[key])]


def data_assets(assets: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Mapping[str, Any]]:
    """Return the assets that are data, with rasters beside them whose media type has no meaning; all if none is."""
    if not any(map(_is_data, assets.values())):
        return assets
    return {key: asset for key, asset in assets.items() if _is_data(asset) or _is_untyped_raster(asset)}


def _best_by_name(assets: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, str]]:
    """Return the key of the best asset of each band, by the band's name and common name, then by its name."""
    best: dict[str, dict[str, str]] = {}
    ranks = {key: _rank(asset) for key, asset in assets.items()}
    for key, asset in assets.items():
        names = _bands(asset)
        for name in names:
            bands = best.setdefault(name, {})
            if ranks[key] < ranks[bands.setdefault(names[0], key)]:
                bands[names[0]] = key
    return best


def _rank(asset: Mapping[str, Any]) -> tuple[int, int, float]:
    """Return a key by which the assets of a band are sorted, the best first."""
    is_geotiff, is_jpeg2000, roles = _is_geotiff(asset), _is_jpeg2000(asset), _roles(asset)
    is_picture = bool(roles & _PICTURES)
    is_data = not is_picture and ("data" in roles or ((is_geotiff or is_jpeg2000) and not roles & _MASKS))
    return 0 if is_data else 2 if is_picture else 1, 0 if is_geotiff else 1 if is_jpeg2000 else 2, _pixel_size(asset)


def _content(asset: Mapping[str, Any]) -> Hashable:
    """Return what two files of the same pixels have in common: roles and the band, or else the file's name.

    Earth Search's ``AOT.tif`` and ``AOT.jp2`` name no band.
    """
    return tuple(_bands(asset)[:1]) or _file_name(asset).stem, _roles(asset)


def _file_name(asset: Mapping[str, Any]) -> PurePosixPath:
    return PurePosixPath(str(asset.get("href")).partition("?")[0])


def _is_geotiff(asset: Mapping[str, Any]) -> bool:
    return _is_of_type(asset, _GEOTIFF, (".tif", ".tiff"))


def _is_jpeg2000(asset: Mapping[str, Any]) -> bool:
    return _is_of_type(asset, _JPEG2000, (".jp2",))


def _is_of_type(asset: Mapping[str, Any], types: tuple[str, ...], suffixes: tuple[str, ...]) -> bool:
    kind = normal_type(asset.get("type"))
    return kind.startswith(types) if kind not in VAGUE_TYPES else _file_name(asset).suffix.lower() in suffixes


def _pixel_size(asset: Mapping[str, Any]) -> float:
    """Return the declared size of an asset's pixels; infinity if it declares none.

    Fields of bands take precedence over those of the asset (STAC 1.1, common metadata).
    """
    transform = asset.get("proj:transform")
    places = [*(_first_band(asset, name) for name in ("raster:bands", "bands", "eo:bands")), asset]
    names = ("spatial_resolution", "raster:spatial_resolution", "gsd")
    sizes: tuple[Any, ...] = (
        transform[0] if isinstance(transform, list) and transform else None,
        *(place.get(name) for name in names for place in places),
    )
    return next((abs(size) for size in sizes if type(size) in (int, float) and 0 < abs(size) < math.inf), math.inf)


def _first_band(asset: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    bands = asset.get(name)
    return bands[0] if isinstance(bands, list) and bands and isinstance(bands[0], dict) else {}


def _roles(asset: Mapping[str, Any]) -> frozenset[str]:
    listed = asset.get("roles")
    return frozenset(map(str, listed)) if isinstance(listed, list) else frozenset()


def _is_data(asset: Mapping[str, Any]) -> bool:
    roles = _roles(asset)
    return "data" in roles or (
        not roles & _PICTURES and normal_type(asset.get("type")).startswith(_GEOTIFF + _JPEG2000)
    )


def _is_untyped_raster(asset: Mapping[str, Any]) -> bool:
    is_untyped = not _roles(asset) and normal_type(asset.get("type")) in VAGUE_TYPES
    return is_untyped and (_is_geotiff(asset) or _is_jpeg2000(asset))


def _bands(asset: Mapping[str, Any]) -> list[str]:
    """Return the name of an asset's only band in a list; empty otherwise."""
    for name in ("bands", "eo:bands"):
        listed = asset.get(name)
        if isinstance(listed, list) and len(listed) == 1 and isinstance(listed[0], dict):
            names = (listed[0].get("name"), listed[0].get("eo:common_name"), listed[0].get("common_name"))
            return [str(band_name) for band_name in names if band_name]
    return []


def make_unit(
    item: Mapping[str, Any], key: str, prefers: Callable[[str], bool] = lambda href: False, kept: Collection[str] = ()
) -> Unit:
    """Return the unit of an asset.

    It has the keys ``kind`` ("scene"), ``collection``, ``item``, ``asset``, ``href``, ``datetime`` and ``expected``.
    """
    asset, properties = select_alternative(item["assets"][key], prefers), item.get("properties") or {}
    href = strip_signature(asset["href"], kept)
    moment = properties.get("datetime") or properties.get("start_datetime")
    return {
        "kind": "scene",
        "collection": item.get("collection"),
        "item": item["id"],
        "asset": key,
        "href": href,
        **({"datetime": moment} if moment and isinstance(moment, str) else {}),
        "expected": ExpectedFile.of(asset, properties, file_suffix(href)).to_json(),
    }


def select_alternative(asset: Mapping[str, Any], prefers: Callable[[str], bool]) -> Mapping[str, Any]:
    """Return an asset at its first preferred URL (https://github.com/stac-extensions/alternate-assets).

    If none is preferred, the first counts whose scheme can be downloaded, beginning with the asset's own.
    """
    listed = asset.get("alternate")
    others = listed.values() if isinstance(listed, dict) else ()
    choices = [asset, *({**asset, **other} for other in others if _is_alternative(other))]
    return next(
        (choice for is_good in (prefers, _is_downloadable) for choice in choices if is_good(choice["href"])), asset
    )


def _is_alternative(other: Any) -> bool:
    href = other.get("href") if isinstance(other, dict) else None
    return isinstance(href, str) and is_absolute(href)


def _is_downloadable(href: str) -> bool:
    return urlsplit(href).scheme in _DOWNLOADABLE


def is_absolute(href: str) -> bool:
    """Return whether an href is an absolute URL."""
    try:
        return bool(urlsplit(href).netloc)
    except ValueError:
        return False
