"""Write and read STAC documents of a store: items, folders, collections; decide which properties of foreign items are
Earth Engine's.

Earth Engine's own facts stand under ``eechips:`` names, so that no property of a user can collide with one of
STAC's. Items that others wrote are understood too, if they carry the projection extension and their bands:
their properties are then Earth Engine's, apart from those that STAC defines.
"""

from __future__ import annotations

import json
import math
import posixpath
import stat
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from shapely.errors import ShapelyError
from shapely.geometry.base import BaseGeometry

from eechips_local.asset_folder import ROOT_DOCUMENT
from eechips_local.assets.asset_errors import IngestError, InvalidStoreError
from eechips_local.assets.asset_names import folder_of, is_remote, join_id, resolve_href, resolve_source
from eechips_local.assets.date_parsing import to_milliseconds
from eechips_local.assets.ingestion.item_metadata import bands_of, declared_crs, six
from eechips_local.assets.ingestion.records import (
    AssetRecord,
    ClassifierRecord,
    ContainerKind,
    ImageRecord,
    RasterBand,
    RasterFile,
    TableRecord,
    milliseconds,
)

if TYPE_CHECKING:
    import pystac

_DOCUMENTS: dict[ContainerKind, str] = {"folder": "catalog.json", "collection": "collection.json"}
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_EXTENSIONS = {
    "image": [
        "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
        "https://stac-extensions.github.io/raster/v2.0.0/schema.json",
    ],
    "table": ["https://stac-extensions.github.io/table/v1.2.0/schema.json"],
    "classifier": [],
}
_STAC_PROPERTIES = frozenset(
    ("datetime", "start_datetime", "end_datetime", "created", "updated", "title", "description", "license",
     "providers", "keywords", "roles", "bands", "data_type", "nodata", "statistics", "unit")
)  # fmt: skip
_STAC_PREFIXES = ("proj:", "raster:", "eo:bands", "table:", "file:", "processing:", "storage:")
# What this store itself writes; others of the name space are properties like any: chips have eechips:eco_name.
_OWN_PROPERTIES = frozenset(("eechips:type", "eechips:version", "eechips:properties", "eechips:bands"))


def container_href(asset_id: str, kind: ContainerKind) -> str:
    """Return the path of a container's document, relative to the store."""
    return posixpath.join(folder_of(asset_id), _DOCUMENTS[kind])


def sibling_href(href: str, kind: ContainerKind) -> str:
    """Return the path of a container's document after it has changed its kind."""
    return posixpath.join(posixpath.dirname(href), _DOCUMENTS[kind])


def item_href(asset_id: str) -> str:
    """Return the path of an item's document, relative to the store."""
    return posixpath.join(folder_of(asset_id), "item.json")


LARGEST = 1 << 28
"""Bytes of a document, at most: that of a collection names all of its items."""


def read_document(path: Path) -> dict[str, Any]:
    """Return a JSON object.

    Raises:
        InvalidStoreError: if it is missing or not one, or the file is a pipe, a device or too large.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise InvalidStoreError(f"{path} is no regular file: it is not read")
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
        if len(data) > LARGEST:
            raise InvalidStoreError(f"{path} is too large for a STAC document")
        document = json.loads(data)
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidStoreError(f"{path} cannot be read as a STAC document: {error}") from error
    if not isinstance(document, dict):
        raise InvalidStoreError(f"{path} is not a STAC document: it holds no JSON object")
    return document


def links(document: Mapping[str, Any], relation: str) -> list[str]:
    """Return the references of one kind, in order."""
    declared_links = document.get("links")
    if not isinstance(declared_links, list):
        return []
    return [
        str(link["href"])
        for link in declared_links
        if isinstance(link, dict) and link.get("rel") == relation and "href" in link
    ]


def item(record: AssetRecord, parent_href: str) -> dict[str, Any]:
    """Return the item of an image, a table or a classifier.

    Args:
        parent_href: document of its container, relative to the store.
    """
    import pystac

    href = item_href(record.id)
    start = record.time_start
    end = milliseconds(record.properties.get("system:time_end"))
    extra: dict[str, Any] = {
        "eechips:type": record.kind,
        "eechips:version": record.version,
        "eechips:properties": dict(record.properties),
    }
    stac_item = pystac.Item(
        id=record.id,
        geometry=None if record.footprint.is_empty else shapely.geometry.mapping(record.footprint),
        bbox=None if record.footprint.is_empty else list(record.footprint.bounds),
        # STAC wants a time of every item: where none is known, that of its making.
        datetime=_moment(record.version / 1000 if start is None else start),
        properties=extra,
        stac_extensions=_EXTENSIONS[record.kind],
    )
    if start is not None and end is not None:
        stac_item.common_metadata.start_datetime = _moment(start)
        stac_item.common_metadata.end_datetime = _moment(end)
    _add_data(stac_item, record, href)
    document: dict[str, Any] = stac_item.to_dict(include_self_link=False, transform_hrefs=False)
    document["links"] = [_link("root", _relative(ROOT_DOCUMENT, href)), _link("parent", _relative(parent_href, href))]
    if parent_href.endswith(_DOCUMENTS["collection"]):
        document["collection"] = record.id.rpartition("/")[0]
        document["links"].append(_link("collection", _relative(parent_href, href)))
    return document


def _add_data(stac_item: pystac.Item, record: AssetRecord, href: str) -> None:
    """Add the files of an asset to its item, and what is in them."""
    import pystac

    if isinstance(record, ImageRecord):
        stac_item.properties["eechips:bands"] = [band.name for band in record.bands]
        for position, file in enumerate(record.files):
            bands = sorted((band for band in record.bands if band.file == position), key=lambda band: band.index)
            key = "data" if len(record.files) == 1 else f"data-{position}"
            stac_item.assets[key] = _raster_asset(file, bands, href)
        return
    media_type: str = pystac.MediaType.JSON
    if not isinstance(record, ClassifierRecord):
        media_type = "application/vnd.apache.parquet"
        stac_item.properties["table:row_count"] = record.rows
        stac_item.properties["table:columns"] = [{"name": name, "type": kind} for name, kind in record.columns.items()]
    stac_item.assets["data"] = pystac.Asset(_relative(record.href, href), media_type=media_type, roles=["data"])


def container(
    asset_id: str, kind: ContainerKind, href: str, parent_href: str | None, previous: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Return the document of a folder or collection, with the links and properties of the one that it replaces."""
    import pystac

    name = asset_id or "root"
    description = f"Earth Engine assets of {name}"
    catalog: pystac.Catalog
    if kind == "collection":
        extent = pystac.Extent(pystac.SpatialExtent([-180.0, -90.0, 180.0, 90.0]), pystac.TemporalExtent([None, None]))
        catalog = pystac.Collection(id=name, description=description, extent=extent, license="other")
    else:
        catalog = pystac.Catalog(id=name, description=description)
    document: dict[str, Any] = catalog.to_dict(include_self_link=False, transform_hrefs=False)
    if previous is not None:
        kept = {key: value for key, value in previous.items() if key not in ("type", "stac_version", "links")}
        document.update(kept)
        document["links"] = [
            link for link in previous.get("links", ()) if link.get("rel") not in ("root", "parent", "self")
        ]
    else:
        document["links"] = []
    document["links"].insert(0, _link("root", _relative(ROOT_DOCUMENT, href)))
    if parent_href is not None:
        document["links"].insert(1, _link("parent", _relative(parent_href, href)))
    return document


def add_links(document: dict[str, Any], href: str, relation: str, targets: Sequence[str]) -> None:
    """Add the links that are not there yet; all paths are relative to the store."""
    present = set(links(document, relation))
    for target in targets:
        relative = _relative(target, href)
        if relative not in present:
            present.add(relative)
            document["links"].append(_link(relation, relative))


def drop_link(document: dict[str, Any], href: str, target: str) -> None:
    """Remove the links to a target."""
    relative = _relative(target, href)
    document["links"] = [link for link in document["links"] if link.get("href") != relative]


def widen(document: dict[str, Any], records: Sequence[AssetRecord]) -> None:
    """Make a collection's extent hold those of its images; the first images replace the whole world."""
    extent = document.setdefault("extent", {})
    boxes = [record.footprint.bounds for record in records]
    times = [record.time_start for record in records if record.time_start is not None]
    if document.get("eechips:extent"):
        boxes += [tuple(box) for box in extent["spatial"]["bbox"][:1]]
        times += [_parse(moment) for moment in extent["temporal"]["interval"][0] if moment]
    document["eechips:extent"] = True
    west, south, east, north = zip(*boxes, strict=True)
    extent["spatial"] = {"bbox": [[min(west), min(south), max(east), max(north)]]}
    interval = [time_text(min(times)), time_text(max(times))] if times else [None, None]
    extent["temporal"] = {"interval": [interval]}


def container_kind(document: Mapping[str, Any]) -> ContainerKind:
    """Return the container that a document describes."""
    return "collection" if document.get("type") == "Collection" else "folder"


def container_properties(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return Earth Engine's properties of a folder or collection."""
    return dict(document.get("eechips:properties", {}))


def container_id(document: Mapping[str, Any], parent: str | None) -> str:
    """Return the Earth Engine id of a container; relative ids of foreign documents are put under their parent's."""
    return "" if parent is None else _full_id(document, parent)


def asset_hrefs(document: Mapping[str, Any], root: Path, href: str) -> list[str]:
    """Return the files of an item, relative to the store, and the URLs of those that are elsewhere."""
    return [resolve_source(root, href, asset["href"]) for asset in document.get("assets", {}).values()]


def read_item(document: Mapping[str, Any], parent: str, root: Path, href: str) -> AssetRecord:
    """Return the asset that an item describes.

    Args:
        parent: id of its container.
        root: the store's folder.
        href: the item's path, relative to it.

    Raises:
        InvalidStoreError: if what is needed to serve it is missing.
        UnsafeHrefError: if a file of it is outside the store, and not a raster on a web server.
    """
    asset_id = _full_id(document, parent)
    stac = document.get("properties") or {}
    try:
        if stac.get("eechips:type") == "table":
            return TableRecord(
                id=asset_id,
                version=int(stac["eechips:version"]),
                properties=stac["eechips:properties"],
                footprint=_footprint(document),
                href=resolve_href(root, href, document["assets"]["data"]["href"]),
                columns={column["name"]: column["type"] for column in stac["table:columns"]},
                rows=int(stac["table:row_count"]),
            )
        if stac.get("eechips:type") == "classifier":
            return ClassifierRecord(
                id=asset_id,
                version=int(stac["eechips:version"]),
                properties=stac["eechips:properties"],
                href=resolve_href(root, href, document["assets"]["data"]["href"]),
            )
        files, bands = _read_rasters(document, root, href)
        return ImageRecord(
            id=asset_id,
            version=int(stac.get("eechips:version", 0)),
            properties=_read_properties(stac),
            footprint=_footprint(document),
            files=tuple(files),
            bands=tuple(bands),
        )
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError, ShapelyError) as error:
        raise InvalidStoreError(f"{root / href} does not describe an asset that can be served: {error!r}") from error


def _read_rasters(document: Mapping[str, Any], root: Path, href: str) -> tuple[list[RasterFile], list[RasterBand]]:
    stac = document["properties"]
    files: list[RasterFile] = []
    bands: list[RasterBand] = []
    for asset in document["assets"].values():
        if not (asset.get("bands") or asset.get("raster:bands")) or "data" not in asset.get("roles", ("data",)):
            continue
        merged = {**stac, **asset}
        if len({len(asset[name]) for name in ("bands", "eo:bands", "raster:bands") if asset.get(name)}) > 1:
            raise ValueError("its lists of bands differ in length")
        described = bands_of(asset, stac)
        height, width = merged["proj:shape"]
        file = RasterFile(
            href=resolve_source(root, href, asset["href"]),
            crs=_read_crs(merged),
            transform=six(merged["proj:transform"]),
            width=int(width),
            height=int(height),
            dtype=np.dtype(described[0].get("data_type") or merged["data_type"]).name,
            levels=tuple(int(level) for level in asset.get("eechips:levels", (1,))),
            keeps_extent=bool(asset.get("eechips:levels_keep_extent", False)),
        )
        for index, band in enumerate(described):
            bands.append(
                RasterBand(
                    name=band.get("name", f"b{len(bands) + 1}"),
                    file=len(files),
                    index=int(band.get("eechips:index", index)),
                    nodata=_read_nodata(band.get("nodata")),
                    scale=float(band.get("raster:scale", 1.0)),
                    offset=float(band.get("raster:offset", 0.0)),
                )
            )
        files.append(file)
    if not bands:
        raise ValueError("no asset has bands")
    order = {name: position for position, name in enumerate(stac.get("eechips:bands", ()))}
    return files, sorted(bands, key=lambda band: order.get(band.name, len(order)))


def _read_properties(stac: Mapping[str, Any]) -> dict[str, Any]:
    return dict(stac["eechips:properties"]) if "eechips:properties" in stac else foreign_properties(stac)


def is_foreign_property(name: str) -> bool:
    """Return whether a property of an item that others wrote is one of the image, and does not describe its files."""
    return name not in _STAC_PROPERTIES and name not in _OWN_PROPERTIES and not name.startswith(_STAC_PREFIXES)


def foreign_properties(stac: Mapping[str, Any]) -> dict[str, Any]:
    """Return Earth Engine's properties from those of an item that others wrote: all but what describes its files.

    Raises:
        ValueError: if its dates are none.
    """
    properties = {name: _without_nan(value) for name, value in stac.items() if is_foreign_property(name)}
    start = stac.get("start_datetime") or stac.get("datetime")
    if start:
        properties.setdefault("system:time_start", _parse(start))
    if stac.get("end_datetime"):
        properties.setdefault("system:time_end", _parse(stac["end_datetime"]))
    return properties


def _without_nan(value: Any) -> Any:
    """Return a value with null for NaN and infinity, which Python writes into documents, although JSON lacks them."""
    if isinstance(value, dict):
        return {name: _without_nan(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_without_nan(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _read_crs(asset: Mapping[str, Any]) -> str:
    crs = declared_crs(asset)
    if crs is None:
        raise ValueError("it does not declare a coordinate reference system")
    return crs


def _read_nodata(value: object) -> float | None:
    if value is None:
        return None
    return float(value)  # type: ignore[arg-type]  # "nan", "inf" and "-inf" are STAC's spelling


def _raster_asset(file: RasterFile, bands: Sequence[RasterBand], item_path: str) -> pystac.Asset:
    import pystac

    described = []
    for position, band in enumerate(bands):
        entry: dict[str, Any] = {"name": band.name, "data_type": file.dtype}
        if band.index != position:  # of a file whose other bands are not used
            entry["eechips:index"] = band.index
        if band.nodata is not None:
            entry["nodata"] = band.nodata if np.isfinite(band.nodata) else str(band.nodata)
        if band.scale != 1.0:
            entry["raster:scale"] = band.scale
        if band.offset != 0.0:
            entry["raster:offset"] = band.offset
        described.append(entry)
    code = file.crs.partition(":")[0] in ("EPSG", "SR-ORG")
    return pystac.Asset(
        file.href if is_remote(file.href) else _relative(file.href, item_path),
        media_type=pystac.MediaType.COG,
        roles=["data"],
        extra_fields={
            "proj:code": file.crs if code else None,
            **({} if code else {"eechips:crs": file.crs}),
            "proj:shape": [file.height, file.width],
            "proj:transform": list(file.transform),
            "bands": described,
            "eechips:levels": list(file.levels),
            **({"eechips:levels_keep_extent": True} if file.keeps_extent else {}),
        },
    )


def _footprint(document: Mapping[str, Any]) -> BaseGeometry:
    geometry = document.get("geometry")
    if geometry is None:
        return shapely.box(*document["bbox"]) if document.get("bbox") else shapely.Polygon()
    return shapely.geometry.shape(geometry)


def _full_id(document: Mapping[str, Any], parent: str) -> str:
    own = document.get("id")
    if not isinstance(own, str) or not own:
        raise InvalidStoreError(f"a STAC document below {parent or 'the root'} has no id")
    return own if not parent or own.startswith(f"{parent}/") else join_id(parent, own)


def _relative(target: str, document: str) -> str:
    relative = posixpath.relpath(target, posixpath.dirname(document) or ".")
    return relative if relative.startswith(".") else f"./{relative}"


def _link(relation: str, href: str) -> dict[str, str]:
    kind = "application/geo+json" if relation == "item" else "application/json"
    return {"rel": relation, "href": href, "type": kind}


def _moment(milliseconds_: float) -> datetime:
    return _EPOCH + timedelta(milliseconds=milliseconds_)


def time_text(milliseconds_: float) -> str:
    """Return milliseconds since 1970 as RFC 3339 text."""
    return _moment(milliseconds_).isoformat().replace("+00:00", "Z")


def _parse(text: Any) -> int:
    if not isinstance(text, str):  # a number may be of seconds or of milliseconds
        raise ValueError(f"{str(text)[:40]} is no date")
    try:
        return to_milliseconds(text)
    except IngestError as error:
        raise ValueError(str(error)) from error
