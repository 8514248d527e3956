"""Turn STAC items of other writers into images: choose files, names of bands, scale, offset and nodata; follow links of
catalogues; refuse remote files.

https://github.com/radiantearth/stac-spec, versions 1.0 and 1.1; the extensions raster, eo and projection.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit
from urllib.request import url2pathname

from eechips_local.assets import stac
from eechips_local.assets.asset_errors import IngestError, UnreadableFileError, UnsafeHrefError
from eechips_local.assets.asset_names import check_url, is_remote, join_id, shown_url
from eechips_local.assets.ingestion import item_metadata
from eechips_local.assets.ingestion.image_plans import ImagePlan
from eechips_local.assets.ingestion.raster_files import BandSource, RasterFiles, stored_nodata
from eechips_local.assets.ingestion.remote_rasters import gdal_name

_SUFFIXES = (".json", ".geojson")
_DEEPEST = 32


@dataclass(frozen=True, slots=True)
class Item:
    """A STAC item.

    Attributes:
        document: as JSON has it.
        path: the file that it stands in.
        alone: whether that file was named itself, and holds nothing else.
    """

    document: Mapping[str, Any]
    path: Path
    alone: bool = False

    @property
    def id(self) -> str:
        """Its own id.

        Raises:
            IngestError: if it has none, or one that would be several segments of an asset's.
        """
        own = self.document.get("id")
        if not isinstance(own, str) or not own or "/" in own:
            raise IngestError(f"{self.path} has the id {own!r}, which cannot be the name of an image.")
        return own


def is_document(path: Path) -> bool:
    """Return whether a file is a STAC document, or a list of items as searches give it."""
    if path.suffix.lower() not in _SUFFIXES or not path.is_file():
        return False
    try:
        with path.open("rb") as file:
            document = json.load(file)
    except (ValueError, RecursionError):
        return False
    if not isinstance(document, dict):
        return False
    features = document.get("features")
    inside = features[0] if isinstance(features, list) and features else None
    return "stac_version" in document or (isinstance(inside, dict) and "stac_version" in inside)


def read_items(path: Path) -> Iterator[Item]:
    """Yield the items of a document: itself, those of a list, or all that a catalogue or collection leads to.

    Raises:
        IngestError: if a link leads to a web server.
        InvalidStoreError: if a document cannot be read.
    """
    yield from _read(path, set(), 0)


def plan(
    item: Item,
    asset_id: str,
    rasters: RasterFiles,
    *,
    bands: Sequence[str] | None,
    properties: Mapping[str, Any],
    remote: bool,
    options: Mapping[str, Any],
) -> ImagePlan:
    """Return the image that an item is to be.

    Bands are named by the item's assets, or, where an asset has several, as that says; those of a composite beside its
    parts have the asset's name before theirs, as in served catalogues. Its properties are the item's, without those
    that describe files; ``system:time_start`` and ``system:time_end`` are its dates.

    Args:
        asset_id: id of the image.
        rasters: opens files.
        bands: names of bands, or of assets for all their bands, in order; None takes all rasters that are data.
        properties: further ones, which replace the item's.
        remote: whether files on web servers are read.
        options: ``resampling``, ``nodata`` and ``crs``; see ``RasterFiles.sources``.

    Raises:
        IngestError: if it has no such bands, or they cannot be read.
        UnsafeHrefError: if a file is on a web server and that is not allowed, or elsewhere.
    """
    try:
        assets = {key: dict(asset) for key, asset in item.document["assets"].items()}
        own = stac.foreign_properties(item.document.get("properties") or {})
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise IngestError(f"{item.path} is not a STAC item that can be understood: {error!r}") from error
    chosen = item_metadata.data_of(assets)
    if bands is not None:  # a band may also be that of an asset that is not data, like a mask, if it is named
        chosen += [key for key in bands if key in assets and key not in chosen]
    if not chosen:
        raise IngestError(
            f"{item.path} has no raster of data among its assets: name those to take with bands=… "
            f"({', '.join(assets) or 'there are none'})."
        )
    asset_sources: dict[str, list[BandSource]] = {}
    for key in chosen:
        if bands is None or key in bands or not _names(key, assets[key]).isdisjoint(bands):
            asset_sources[key] = _sources(item, key, assets[key], rasters, remote, options)
    renamed = (
        rasters.renamed(source, name, options["resampling"]) for source, name in _selected(asset_sources, bands, item)
    )
    return ImagePlan(asset_id, tuple(renamed), {**own, **properties})


def children(items: Sequence[Item], asset_id: str) -> dict[str, Item]:
    """Return items by the ids of the images that they become: children of ``asset_id``, named by their own ids.

    Raises:
        IngestError: if two have the same id.
    """
    named: dict[str, Item] = {}
    for item in items:
        child = join_id(asset_id, item.id)
        if child in named:
            raise IngestError(f"{named[child].path} and {item.path} both have the id {item.id}.")
        named[child] = item
    return named


def _read(path: Path, seen: set[Path], depth: int) -> Iterator[Item]:
    real = path.resolve()
    if real in seen or depth > _DEEPEST:
        return
    seen.add(real)
    document = stac.read_document(path)
    kind = document.get("type")
    if kind == "Feature":
        yield Item(document, path, depth == 0)
    elif kind == "FeatureCollection":
        yield from (Item(feature, path) for feature in document.get("features", ()) if isinstance(feature, dict))
    else:
        for href in [*stac.links(document, "child"), *stac.links(document, "item")]:
            if is_remote(href):
                raise IngestError(
                    f"{path} refers to {shown_url(href)}: items are read from files. Save them first, for example "
                    "with pystac's Catalog.save or pystac-client's ItemCollection.save_object."
                )
            yield from _read(_local(href, path), seen, depth + 1)


def _local(href: str, document: Path) -> Path:
    """Return a local path from a reference: relative to the document, absolute, or ``file://``."""
    if href.lower().startswith("file://"):
        return Path(url2pathname(urlsplit(href).path))
    path = document.parent / href
    return path if path.exists() else document.parent / unquote(href)


def _names(key: str, asset: Mapping[str, Any]) -> set[str]:
    """Return the names by which the bands of an asset can be chosen: ``B04``, or with the asset's key ``visual_B04``.

    Bands without a name have their number instead.
    """
    bands = item_metadata.bands_of(asset)
    own = [str(band.get("name") or number) for number, band in enumerate(bands, start=1)]
    return {*own, *(f"{key}_{name}" for name in own)}


def _sources(
    item: Item, key: str, asset: Mapping[str, Any], rasters: RasterFiles, remote: bool, options: Mapping[str, Any]
) -> list[BandSource]:
    path = _place(item, str(asset.get("href") or ""), remote)
    properties = item.document.get("properties") or {}
    shared, declared = item_metadata.shared_by_bands(asset, properties), item_metadata.bands_of(asset, properties)
    names = [str(band.get("name")) for band in declared]
    are_names = len(set(names)) == len(names) > 1 and all(band.get("name") for band in declared)
    is_whole = are_names and rasters.open(path).count == len(names)  # an alpha band included
    sources = rasters.sources(path, names=names if is_whole else None, **options)
    if len(sources) == 1:
        sources = [replace(sources[0], name=key)]
    elif are_names and len(sources) == len(names):
        sources = [replace(source, name=name) for source, name in zip(sources, names, strict=True)]
    else:
        sources = [replace(source, name=f"{key}_{source.number}") for source in sources]
    declared = declared or [shared] * len(sources)
    if len(declared) != len(sources):
        return sources
    return [_with_declared(source, band, item) for source, band in zip(sources, declared, strict=True)]


def _with_declared(source: BandSource, band: Mapping[str, Any], item: Item) -> BandSource:
    """Return a band with the scale, offset and nodata that the item tells where the file does not."""
    try:
        scale = float(band.get("raster:scale", source.scale))
        offset = float(band.get("raster:offset", source.offset))
        nodata = source.nodata
        if nodata is None and not source.masked and band.get("nodata") is not None:
            nodata = stored_nodata(float(band["nodata"]), source.dtype)
        if not (math.isfinite(scale) and math.isfinite(offset)):
            raise ValueError(f"scale {scale}, offset {offset}")
    except (TypeError, ValueError, OverflowError) as error:
        raise IngestError(f"{item.path} says of the band {source.name} what is no number: {error}") from error
    return replace(source, scale=scale, offset=offset, nodata=nodata)


def _place(item: Item, href: str, remote: bool) -> str:
    """Return GDAL's name of an asset's file.

    Raises:
        UnsafeHrefError: if it is on a web server and that is not allowed, or neither there nor a file.
        UnreadableFileError: if there is no such file.
    """
    if not is_remote(href):
        scheme = urlsplit(href).scheme
        if not href or (len(scheme) > 1 and scheme != "file") or href.startswith("/vsi") or "\0" in href:
            raise UnsafeHrefError(f"{item.path} refers to {href!r}: only files and http(s) URLs are read.")
        try:
            path = _local(href, item.path)
            if path.exists():
                return str(path.resolve())
        except (OSError, ValueError) as error:
            raise UnreadableFileError(f"{item.path} refers to {href[:80]!r}, which is no file: {error}") from error
        # A saved item's relative references are meant from where it was.
        selves = [link for link in stac.links(item.document, "self") if is_remote(link)]
        if not selves or Path(href).is_absolute() or scheme:
            raise UnreadableFileError(f"{item.path} refers to {href!r}, but there is no file {path}.")
        href = urljoin(selves[0], href)
    check_url(href)
    if not remote:
        raise UnsafeHrefError(
            f"{item.path} refers to {shown_url(href)}: files on web servers are only read where --allow-remote "
            "(in Python remote=True) allows it."
        )
    return gdal_name(href)


def _selected(
    asset_sources: Mapping[str, Sequence[BandSource]], bands: Sequence[str] | None, item: Item
) -> list[tuple[BandSource, str]]:
    """Return the bands of an image, and their names."""
    every = [source for sources in asset_sources.values() for source in sources]
    if bands is not None:
        chosen: list[BandSource] = []
        for name in bands:
            matching = asset_sources.get(name) or [
                replace(source, name=name)
                for key, sources in asset_sources.items()
                for source in sources
                if name in (source.name, f"{key}_{source.name}")
            ]
            if not matching:
                there = ", ".join(dict.fromkeys([*item.document["assets"], *(source.name for source in every)]))
                raise IngestError(f"{item.path} has no band {name!r}; there are {there}.")
            chosen += matching
        every = chosen
    names = [source.name for source in every]
    if bands is None:
        try:
            own = item_metadata.band_names(
                [(key, [source.name for source in asset_sources[key]]) for key in asset_sources]
            )
        except ValueError as error:
            raise IngestError(f"{item.path}: {error}: choose assets with bands=….") from error
        names = [name for part in own for name in part]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise IngestError(f"{item.path} has several bands {', '.join(twice)}: choose assets with bands=….")
    return list(zip(every, names, strict=True))
