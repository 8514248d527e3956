"""Describe the served datasets as STAC, in the form in which Google publishes Earth Engine's catalogue.

Root, a catalogue for each provider, and a collection for each dataset:
https://developers.google.com/earth-engine/datasets/catalog and https://github.com/google/earthengine-catalog. Clients
read it at https://earthengine-stac.storage.googleapis.com/catalog/catalog.json.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

from eechips_local.evaluation.asset_model import Asset, FolderAsset, ImageAsset, Query
from eechips_local.evaluation.context import Context
from eechips_local.protocol.messages import ServiceRequest, ServiceResponse, encode_json
from eechips_local.protocol.request_errors import NotFoundError
from eechips_local.protocol.routes.resources import drawable_assets
from eechips_local.stubs.dataset_description import BandDescription, Column, DatasetDescription
from eechips_local.stubs.stub_store import open_sources
from eechips_local.values.calendar import to_datetime

_PAGE = "https://developers.google.com/earth-engine/datasets/catalog/"
_VERSION = "1.0.0"
_TEXTS = ("title", "description")
_CATALOGUE = re.compile(r"(?:([^/]+)/)?catalog\.json")
_COLLECTION = re.compile(r"([^/]+)/([^/]+)\.json")


def document(request: ServiceRequest, context: Context) -> ServiceResponse:
    """Return one file of the catalogue: that of the path in the query, with links below ``base``.

    Raises:
        NotFoundError: if the catalogue has no such file.
    """
    content = _content(request.query["path"], request.query["base"], context)
    return replace(encode_json(content), media_type="text/plain")  # as the bucket does; geedim accepts no other


def _content(path: str, base: str, context: Context) -> dict[str, Any]:
    if (listed := _CATALOGUE.fullmatch(path)) is not None:
        return _root(base, context) if listed[1] is None else _provider(listed[1], base, context)
    if (collected := _COLLECTION.fullmatch(path)) is not None:
        for dataset in _datasets(collected[1], context):
            if _file_name(dataset) == collected[2]:
                return _collection(dataset, base, context)
    raise NotFoundError(f"The catalogue has no file {path[:200]}.")


def _root(base: str, context: Context) -> dict[str, Any]:
    top = context.store.children("")
    folders = (folder for folder in top if isinstance(context.store.get(folder), FolderAsset))
    links = [_child(f"{base}/{provider}/catalog.json", provider) for provider in folders]
    return _listing("GEE_catalog", "catalog.json", links, base)


def _provider(provider: str, base: str, context: Context) -> dict[str, Any]:
    names = [_file_name(dataset) for dataset in _datasets(provider, context)]
    if not names:
        raise NotFoundError(f"The catalogue has no datasets of {provider[:200]}.")
    links = [_child(f"{base}/{provider}/{name}.json", name) for name in names]
    return _listing(provider, f"{provider}/catalog.json", links, base)


def _listing(id: str, path: str, children: list[dict[str, str]], base: str) -> dict[str, Any]:
    links = [_link("root", f"{base}/catalog.json"), _link("self", f"{base}/{path}"), *children]
    description = "Datasets of a local Earth Engine."
    return {"type": "Catalog", "id": id, "stac_version": _VERSION, "description": description, "links": links}


def _link(relation: str, address: str) -> dict[str, str]:
    return {"rel": relation, "href": address}


def _child(address: str, title: str) -> dict[str, str]:
    return {**_link("child", address), "title": title}


def _datasets(folder: str, context: Context) -> Iterator[str]:
    return (asset.id for asset in drawable_assets(folder, context))


def _file_name(id: str) -> str:
    return id.replace("/", "_")


def _collection(id: str, base: str, context: Context) -> dict[str, Any]:
    """Return the STAC collection of a dataset: what is known of it, and what its asset shows."""
    asset = context.store.get(id)
    assert asset is not None
    known = _described(id, context)
    provider = id.partition("/")[0]
    path = f"{provider}/{_file_name(id)}.json"
    image = _first_image(asset)
    bands = _bands(image, known)
    sizes = {band["gsd"] for band in bands if "gsd" in band}
    summaries: dict[str, Any] = {"gee:schema": _schema(asset, image, known)}
    if bands:
        summaries["eo:bands"] = bands
    if len(sizes) == 1:
        summaries["gsd"] = sorted(sizes)
    title = str(asset.properties.get("title") or (id if known is None else known.title))
    return {
        "type": "Collection",
        "stac_version": _VERSION,
        "id": id,
        "title": title,
        "gee:type": _kind(asset),
        "description": title,
        "license": "proprietary",
        "keywords": [],
        "providers": [{"name": provider, "roles": ["producer"]}],
        "extent": {
            "spatial": {"bbox": [list((-180.0, -90.0, 180.0, 90.0) if known is None else known.bounds)]},
            "temporal": {"interval": [_span(asset, known)]},
        },
        "summaries": summaries,
        "links": [
            _link("self", f"{base}/{path}"),
            _link("root", f"{base}/catalog.json"),
            _link("parent", f"{base}/{provider}/catalog.json"),
            _link("license", f"{_PAGE}{_file_name(id)}#terms-of-use"),
        ],
    }


def _described(id: str, context: Context) -> DatasetDescription | None:
    folder = None if context.config is None else context.config.demo_datasets
    sources = open_sources(folder if isinstance(folder, Path) else None)
    return next((description for source in sources if (description := source.find(id)) is not None), None)


def _kind(asset: Asset) -> str:
    if isinstance(asset, ImageAsset):
        return "image"
    return "image_collection" if hasattr(asset, "images") else "table"


def _first_image(asset: Asset) -> ImageAsset | None:
    if isinstance(asset, ImageAsset):
        return asset
    images = getattr(asset, "images", None)
    return None if images is None else next(iter(islice(images(Query()), 1)), None)


def _bands(image: ImageAsset | None, known: DatasetDescription | None) -> list[dict[str, Any]]:
    """Return the known bands, and those of the first image that are not known."""
    described = {} if known is None else {band.name: band for band in known.bands}
    stored = {} if image is None else {band.name: band.grid.nominal_scale for band in image.bands}
    return [
        _band(described.get(name, BandDescription(name)), stored.get(name))
        for name in dict.fromkeys((*described, *stored))
    ]


def _band(band: BandDescription, size: float | None) -> dict[str, Any]:
    size = band.pixel_size if size is None else round(size, 3)
    stated: dict[str, Any] = {"name": band.name, "description": band.description or band.name}
    optional = {
        "gsd": size,
        "gee:units": band.units or None,
        "gee:scale": None if band.scale == 1.0 else band.scale,
        "gee:offset": band.offset or None,
        "center_wavelength": band.wavelength,
    }
    stated.update({name: value for name, value in optional.items() if value is not None})
    if band.classes:
        stated["gee:classes"] = [
            {"value": entry.value, "description": entry.name, "color": entry.colour} for entry in band.classes
        ]
    return stated


def _schema(asset: Asset, image: ImageAsset | None, known: DatasetDescription | None) -> list[dict[str, str]]:
    """Return the columns of a table, or the properties of images but those that Earth Engine gives to all."""
    columns: Iterable[Column] = ()
    if image is not None:
        columns = (
            Column(name, _type_of(value))
            for name, value in image.properties.items()
            if isinstance(value, str | int | float) and ":" not in name and name not in _TEXTS
        )
    else:
        columns = (Column(name, str(type_)) for name, type_ in getattr(asset, "columns", {}).items())
    types = {column.name: column.type for column in (*columns, *(() if known is None else known.columns))}
    return [{"name": name, "type": type_, "description": _words(name)} for name, type_ in types.items()]


def _type_of(value: Any) -> str:
    if isinstance(value, str):
        return "STRING"
    return "INT" if isinstance(value, int) else "DOUBLE"


def _words(name: str) -> str:
    """Return the name of a property in words, as no text of it is known."""
    return name.replace("_", " ").strip().capitalize() or name


def _span(asset: Asset, known: DatasetDescription | None) -> list[str | None]:
    """Return the first and the last moment; a catalogue may leave the last open, not the first."""
    dates = asset.properties.get("date_range")
    start, end = (None, None) if known is None else (known.start, known.end)
    if start is None and isinstance(dates, (list, tuple)) and len(dates) == 2:
        start = to_datetime(float(dates[0]))
    return [_stamp(start) or "1970-01-01T00:00:00Z", _stamp(end)]


def _stamp(moment: datetime | None) -> str | None:
    return None if moment is None else moment.strftime("%Y-%m-%dT%H:%M:%SZ")
