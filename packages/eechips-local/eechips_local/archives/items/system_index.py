"""Make ``system:index`` of items as Earth Engine names its images, and find items by it.

Pairs of both names, by which the rules are tested, are in the tests with their sources.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from types import MappingProxyType
from typing import Any

from eechips_local.archives.archive_model import Item
from eechips_local.evaluation.asset_model import Bounds

_DAY = 86_400_000.0
_MOMENT = r"\d{8}T\d{6}"
_PRODUCT = re.compile(rf"S2[A-Z]_MSIL\d[A-Z]_({_MOMENT})_(?:N\d{{4}}_)?R\d{{3}}_T(\d{{2}}[A-Z]{{3}})_{_MOMENT}")
_STRIP = re.compile(rf"_S({_MOMENT})(?:_|$)")
_SENTINEL2 = re.compile(rf"({_MOMENT})_({_MOMENT})_T(\d{{2}}[A-Z]{{3}})")
_LANDSAT_ITEM = re.compile(r"(L[A-Z]\d{2})_[A-Z0-9]{4}_(\d{6})_(\d{8})_")
_LANDSAT = re.compile(r"L[A-Z]\d{2}_(\d{3})(\d{3})_(\d{8})")
# Quarter quads: state, kind of film, quad, quarter, zone, resolution, date, and in some years date of publication.
_NAIP_ITEM = re.compile(r"[A-Za-z]{2}_([a-z]_\d{7}_[ns][ew]_\d{1,2}_[a-z0-9]+_(\d{4})\d{4})(_\d{8})?$")
_NAIP = re.compile(r"[a-z]_(\d{2})(\d{3})(\d{2})_[ns][ew]_\d{1,2}_[a-z0-9]+_(\d{8})(?:_\d{8})?")
_NAIP_PUBLISHED = "2018"  # USDA/NAIP/DOQQ/m_4407137_nw_19_060_20181205_20190326 (code 27719576088)
_HLS_ITEM = re.compile(r"HLS\.[LS]30\.(T\d{2}[A-Z]{3})\.(\d{7})T(\d{6})\.v2\.0")
_HLS = re.compile(r"(T\d{2}[A-Z]{3})_(\d{8})T(\d{6})")
_DEM_ITEM = re.compile(r"Copernicus_DSM_COG_(\d+_[NS]\d{2}_00_[EW]\d{3}_00)_DEM")
_DEM = re.compile(r"Copernicus_DSM_(\d+_[NS]\d{2}_00_[EW]\d{3}_00)")
_MODIS_ITEM = re.compile(r"M[A-Z0-9]+\.A(\d{7})\.")
_MODIS = re.compile(r"(\d{4})_(\d{2})_(\d{2})")
_EMBEDDING_FILE = re.compile(r"([A-Za-z0-9]+)-\d{10}-\d{10}")
_EMBEDDING = re.compile(r"[A-Za-z0-9]{1,64}")
_OFFSETS = ("0000000000", "0000008192")  # of rows and columns of the four files of an image
_IMAGE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,199}")


@dataclass(frozen=True, slots=True)
class IndexSearch:
    """Conditions that the item of an image fulfils.

    Attributes:
        start: least time in milliseconds since 1970, or None.
        end: greatest, exclusive.
        equals: values of the image's properties, by their Earth Engine names.
        ids: ids of items, one of which it has, or None.
        bounds: bounds that it meets, or None.
    """

    start: float | None = None
    end: float | None = None
    equals: Mapping[str, Any] = field(default_factory=dict)
    ids: tuple[str, ...] | None = None
    bounds: Bounds | None = None


@dataclass(frozen=True, slots=True)
class IndexRule:
    """How a family of datasets names its images.

    Attributes:
        index: returns the index of an item; None for an item that is none of the family.
        search: returns conditions that the item of an index fulfils, given the prefix that the ids of the dataset's
            items have; None for an index that is none of the family.
    """

    index: Callable[[Item], str | None]
    search: Callable[[str, str], IndexSearch | None]


def rule_of(name: str) -> IndexRule:
    """Return the rule of a name.

    Raises:
        KeyError: if there is none.
    """
    return _RULES[name]


def _sentinel2_index(item: Item) -> str | None:
    """Return start of the datatake, start of the datastrip and tile."""
    properties = item["properties"]
    product = _PRODUCT.match(str(properties.get("s2:product_uri") or item["id"]))
    strip = _STRIP.search(str(properties.get("s2:datastrip_id") or properties.get("eopf:datastrip_id") or ""))
    return f"{product[1]}_{strip[1]}_T{product[2]}" if product and strip else None


def _sentinel2_search(index: str, prefix: str) -> IndexSearch | None:
    match = _SENTINEL2.fullmatch(index)
    moments = [_milliseconds(text, "%Y%m%dT%H%M%S") for text in match.group(1, 2)] if match else []
    known = [moment for moment in moments if moment is not None]
    if match is None or len(known) < 2:
        return None
    return IndexSearch(min(known), max(known) + 1000.0, {"MGRS_TILE": match[3]})


def _landsat_index(item: Item) -> str | None:
    """Return sensor, path and row, and day."""
    match = _LANDSAT_ITEM.match(str(item["id"]))
    return f"{match[1]}_{match[2]}_{match[3]}" if match else None


def _landsat_search(index: str, prefix: str) -> IndexSearch | None:
    match = _LANDSAT.fullmatch(index)
    day = _milliseconds(match[3], "%Y%m%d") if match else None
    if match is None or day is None:
        return None
    return IndexSearch(day, day + _DAY, {"WRS_PATH": int(match[1]), "WRS_ROW": int(match[2])})


def _naip_index(item: Item) -> str | None:
    """Return the file's name without the state and, in years before Earth Engine has it, the date of publication."""
    match = _NAIP_ITEM.match(str(item["id"]))
    if match is None:
        return None
    return match[1] + (match[3] or "" if match[2] >= _NAIP_PUBLISHED else "")


def _naip_search(index: str, prefix: str) -> IndexSearch | None:
    match = _NAIP.fullmatch(index)
    day = _milliseconds(match[4], "%Y%m%d") if match else None
    if match is None or day is None:
        return None
    bounds = _quad_bounds(*(int(number) for number in match.group(1, 2, 3)))
    return None if bounds is None else IndexSearch(day, day + _DAY, bounds=bounds)


def _quad_bounds(latitude: int, longitude: int, number: int) -> Bounds | None:
    """Return bounds of a quadrangle of the USGS: of the 64 of a degree, counted from the north-west along rows."""
    if not 1 <= number <= 64:
        return None
    row, column = divmod(number - 1, 8)
    west, north = -(longitude + 1) + column / 8.0, latitude + 1 - row / 8.0
    return (west, north - 0.125, west + 0.125, north)


def _hls_index(item: Item) -> str | None:
    """Return tile, date and time; items have the day of the year."""
    match = _HLS_ITEM.match(str(item["id"]))
    day = _milliseconds(match[2], "%Y%j") if match else None
    return f"{match[1]}_{_text(day, '%Y%m%d')}T{match[3]}" if match and day is not None else None


def _hls_search(index: str, prefix: str) -> IndexSearch | None:
    match = _HLS.fullmatch(index)
    day = _milliseconds(match[2], "%Y%m%d") if match else None
    if match is None or day is None:
        return None
    return IndexSearch(ids=(f"{prefix}{match[1]}.{_text(day, '%Y%j')}T{match[3]}.v2.0",))


def _dem_index(item: Item) -> str | None:
    match = _DEM_ITEM.fullmatch(str(item["id"]))
    return f"Copernicus_DSM_{match[1]}" if match else None


def _dem_search(index: str, prefix: str) -> IndexSearch | None:
    match = _DEM.fullmatch(index)
    return IndexSearch(ids=(f"Copernicus_DSM_COG_{match[1]}_DEM",)) if match else None


def _modis_index(item: Item) -> str | None:
    """Return the first day; items have the day of the year."""
    match = _MODIS_ITEM.match(str(item["id"]))
    day = _milliseconds(match[1], "%Y%j") if match else None
    return None if day is None else _text(day, "%Y_%m_%d")


def _modis_search(index: str, prefix: str) -> IndexSearch | None:
    match = _MODIS.fullmatch(index)
    day = _milliseconds("".join(match.groups()), "%Y%m%d") if match else None
    return None if day is None else IndexSearch(day, day + _DAY)


def _embedding_index(item: Item) -> str | None:
    """Return the image that a file is cut from."""
    match = _EMBEDDING_FILE.fullmatch(str(item["id"]))
    return match[1] if match else None


def _embedding_search(index: str, prefix: str) -> IndexSearch | None:
    if not _EMBEDDING.fullmatch(index):
        return None
    return IndexSearch(ids=tuple(f"{index}-{rows}-{columns}" for rows in _OFFSETS for columns in _OFFSETS))


def _item_index(item: Item) -> str | None:
    name = str(item["id"])
    return name if _IMAGE_NAME.fullmatch(name) else None


def _item_search(index: str, prefix: str) -> IndexSearch | None:
    return IndexSearch(ids=(index,)) if _IMAGE_NAME.fullmatch(index) else None


def _milliseconds(text: str, form: str) -> float | None:
    """Return a date and time (UTC) in milliseconds since 1970; None for one that does not exist."""
    try:
        moment = datetime.strptime(text, form).replace(tzinfo=timezone.utc)
    except ValueError:
        return None
    return moment.timestamp() * 1000.0


def _text(milliseconds: float, form: str) -> str:
    return (datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(milliseconds=milliseconds)).strftime(form)


_RULES: Mapping[str, IndexRule] = MappingProxyType(
    {
        "sentinel-2": IndexRule(_sentinel2_index, _sentinel2_search),
        "landsat": IndexRule(_landsat_index, _landsat_search),
        "naip": IndexRule(_naip_index, _naip_search),
        "hls": IndexRule(_hls_index, _hls_search),
        "copernicus-dem": IndexRule(_dem_index, _dem_search),
        "modis": IndexRule(_modis_index, _modis_search),
        "satellite-embedding": IndexRule(_embedding_index, _embedding_search),
        "item-id": IndexRule(_item_index, _item_search),
    }
)
