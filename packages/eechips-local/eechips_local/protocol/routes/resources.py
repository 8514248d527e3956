"""Describe and list stored assets as JSON: ``assets.get``, ``listAssets``, ``listImages``, ``listFeatures``,
``computeImages``; assets that are not found.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence, Sized
from dataclasses import asdict, replace
from itertools import islice
from typing import Any

from eechips_local.archives.archive_model import ArchiveFiles
from eechips_local.assets.asset_names import LEGACY, PUBLIC, asset_id, asset_name
from eechips_local.evaluation.asset_model import (
    Asset,
    ClassifierAsset,
    FolderAsset,
    ImageAsset,
    Query,
    Seekable,
    Versioned,
)
from eechips_local.evaluation.context import Context
from eechips_local.evaluation.value_requests import collection_of, elements
from eechips_local.geometry.geometry import geojson
from eechips_local.pixels.lazy_image import Image
from eechips_local.pixels.stored_image import stored_image
from eechips_local.protocol.field_checks import enum_of
from eechips_local.protocol.messages import ServiceRequest, ServiceResponse, encode_json
from eechips_local.protocol.pages import page, window
from eechips_local.protocol.proto_json import timestamp, without_defaults
from eechips_local.protocol.request_errors import InvalidError, LimitError, NotFoundError
from eechips_local.stores import ChainedStore
from eechips_local.values import list_filter
from eechips_local.values.calendar import to_datetime
from eechips_local.values.list_filter import ListFilter, Subject
from eechips_local.values.value_json import Encoder, band_json
from eechips_local.values.values import Feature, Geometry

# Greatest pages: https://developers.google.com/earth-engine/reference/rest/v1/EarthEngineAssetView.
_PAGES = {"FULL": 1000, "BASIC": 10_000}
_VIEW = enum_of("EarthEngineAssetView", "EARTH_ENGINE_ASSET_VIEW_UNSPECIFIED", *_PAGES)
_PROJECT = re.compile(r"(projects/[^/]+)(/assets)?/?")


def _find(name: str, context: Context) -> Asset:
    """Return an asset.

    Raises:
        NotFoundError: if there is none, in the words that openforis/sepal's eeFailures.test.js quotes.
    """
    identifier = asset_id(name)
    asset = context.store.get(identifier) if identifier else None
    if asset is None:
        of_cloud = f"Asset '{name}' does not exist or doesn't allow this operation."
        said = f'Asset "{name}" not found.' if name.startswith((LEGACY, PUBLIC)) else of_cloud
        raise NotFoundError(context.missing(identifier, said))
    return asset


def kind_of(asset: Asset) -> str:
    """Return the type of an asset, as the REST API names it."""
    if isinstance(asset, ImageAsset):
        return "IMAGE"
    if isinstance(asset, FolderAsset):
        return "FOLDER"
    if isinstance(asset, ClassifierAsset):
        return "CLASSIFIER"
    return "IMAGE_COLLECTION" if hasattr(asset, "images") else "TABLE"


def _basic(asset: Asset) -> dict[str, Any]:
    return {"type": kind_of(asset), "name": asset_name(asset.id), "id": asset.id}


def asset_json(asset: Asset, encoder: Encoder) -> dict[str, Any]:
    """Return an EarthEngineAsset: https://developers.google.com/earth-engine/reference/rest/v1/projects.assets.

    A recorded table has an ``updateTime`` and ``sizeBytes``, and without properties no ``properties``:
    https://github.com/Vizzuality/sql2gee, tests, ``test_metadata_table_query``. Bands are as recorded in
    ``test_retrieve_st_band_metadata`` there, without a ``pyramidingPolicy``, which is not known.
    """
    description = _basic(asset) | _facts(
        asset.properties, asset.version if isinstance(asset, Versioned) else 0, encoder
    )
    if description["type"] == "TABLE" and isinstance(asset, Sized):
        description["featureCount"] = str(len(asset))
    if isinstance(asset, ImageAsset):
        if not asset.is_composite:
            description["geometry"] = geojson(Geometry(asset.footprint, geodesic=True))
        description["bands"] = [_band(band_json(band)) for band in stored_image(asset).bands]
    return description


def _facts(properties: Mapping[str, Any], version: int, encoder: Encoder) -> dict[str, Any]:
    """Return the fields of an EarthEngineAsset that follow from its properties: properties, times, version and size."""
    facts: dict[str, Any] = {}
    if own := {k: v for k, v in properties.items() if not k.startswith("system:")}:
        facts["properties"] = encoder.encode(own)
    for name, key in (("startTime", "system:time_start"), ("endTime", "system:time_end")):
        if isinstance(properties.get(key), (int, float)):
            facts[name] = timestamp(to_datetime(properties[key]))
    if version:
        facts["updateTime"] = timestamp(to_datetime(version / 1000))
    if "system:asset_size" in properties:
        facts["sizeBytes"] = str(properties["system:asset_size"])
    return facts


def _computed_json(image: Image, encoder: Encoder) -> dict[str, Any]:
    """Return an EarthEngineAsset of a computed image."""
    properties = image.properties
    version, name = properties.get("system:version", image.version), properties.get("system:id", image.id)
    description: dict[str, Any] = {"type": "IMAGE"}
    if isinstance(name, str):
        description |= {"name": asset_name(name), "id": name}
    description |= _facts(properties, version if isinstance(version, int) else 0, encoder)
    if image.footprint is not None and not image.footprint.unbounded:
        description["geometry"] = geojson(image.footprint)
    return {**description, "bands": [_band(band_json(band)) for band in image.bands]}


def compute_images(request: ServiceRequest, context: Context) -> ServiceResponse:
    """``imageCollection:computeImages``: one page."""
    collection = collection_of(request.body, "Image", context)
    start, size = window(request.body, context.limits.elements)
    images, rest = page(elements(collection, context, start), start, size, is_begun=True)
    encoder = Encoder(context)
    return encode_json(without_defaults({"images": [_computed_json(image, encoder) for image in images], **rest}))


def _listed_json(asset: Asset, encoder: Encoder) -> dict[str, Any]:
    """Return an EarthEngineAsset in a listing: an image whose bands are unknown has none.

    Bands may come from a file that may not be read. A request for that image fails; a listing contains all images.
    """
    try:
        return asset_json(asset, encoder)
    except LimitError:
        raise
    except InvalidError:
        if not isinstance(asset, ImageAsset):
            raise
        return asset_json(replace(asset, bands=()), encoder)


def _band(band: dict[str, Any]) -> dict[str, Any]:
    """Return a band in the REST form of ImageBand."""
    kind = band["data_type"]
    terms = ("scaleX", "shearX", "translateX", "shearY", "scaleY", "translateY")
    transform = without_defaults(dict(zip(terms, band["crs_transform"], strict=True)))
    data_type: dict[str, Any] = {"precision": kind["precision"].upper()}
    limits = without_defaults({k: kind[k] for k in ("min", "max") if k in kind})
    if limits:
        data_type["range"] = limits
    crs = {"crsCode": band["crs"]} if "crs" in band else {"crsWkt": band["crs_wkt"]}
    grid = {**crs, "affineTransform": transform}
    if "dimensions" in band:
        grid["dimensions"] = dict(zip(("width", "height"), band["dimensions"], strict=True))
    return {"id": band["id"], "dataType": data_type, "grid": grid}


def described(name: str, context: Context) -> dict[str, Any]:
    """Return the EarthEngineAsset of a name.

    Raises:
        NotFoundError: if there is no asset of that name.
    """
    return asset_json(_find(name, context), Encoder(context))


def find_image(name: str, context: Context) -> Image:
    """Return the stored image of a name.

    Raises:
        NotFoundError: if there is no asset of that name.
        InvalidError: if it is not an image.
    """
    asset = _find(name, context)
    if not isinstance(asset, ImageAsset):
        raise InvalidError(f"Asset '{name}' is not an Image.")
    return stored_image(asset)


def list_assets(request: ServiceRequest, context: Context) -> ServiceResponse:
    """``assets.listAssets`` and ``projects.listAssets``: the children of a folder, collection or project.

    Those of a folder are described in the basic view, whatever the request says:
    https://developers.google.com/earth-engine/reference/rest/v1/projects.assets/listAssets.

    Raises:
        InvalidError: if the asset is of another type. Programs tell collections by it.
    """
    if not _PROJECT.fullmatch(request.name) and kind_of(_find(request.name, context)) not in (
        "FOLDER",
        "IMAGE_COLLECTION",
    ):
        raise InvalidError(f"Asset '{request.name}' is neither a Folder nor an ImageCollection.")
    is_collection = _is_collection(request.name, context)
    return _listed("assets", _images if is_collection else _folder, request, context, is_basic=not is_collection)


def list_images(request: ServiceRequest, context: Context) -> ServiceResponse:
    """``assets.listImages``: images of a collection, by time and region."""
    if not _is_collection(request.name, context):
        raise InvalidError(f"Asset '{request.name}' is not an ImageCollection.")
    return _listed("images", _images, request, context)


Children = Callable[[ServiceRequest, Context, int], Iterator[Asset]]
"""Assets below one, from a position on."""


def _listed(
    key: str, children: Children, request: ServiceRequest, context: Context, *, is_basic: bool = False
) -> ServiceResponse:
    view = request.query.get("view") or "FULL"
    _VIEW(view, "view")
    if view not in _PAGES:
        view = "FULL"
    if is_basic:
        view = "BASIC"
    start, size = window(request.query, _PAGES[view], _PAGES[view])
    assets, rest = page(children(request, context, start), start, size, is_begun=True)
    encoder = Encoder(context)
    shown = [_basic(a) if view == "BASIC" else _listed_json(a, encoder) for a in assets]
    return encode_json({key: shown, **rest} if shown else {})


def _is_collection(name: str, context: Context) -> bool:
    """Return whether an asset is an image collection.

    Raises:
        NotFoundError: if it is neither there nor a project.
    """
    return not _PROJECT.fullmatch(name) and hasattr(_find(name, context), "images")


def _folder(request: ServiceRequest, context: Context, start: int) -> Iterator[Asset]:
    return islice(_all_in_folder(request, context), start, None)


def _all_in_folder(request: ServiceRequest, context: Context) -> Iterator[Asset]:
    project = _PROJECT.fullmatch(request.name)
    if project is None:
        parent = asset_id(request.name)
    else:
        # Public and legacy ids begin without the name of their project.
        parent = {PUBLIC: "", LEGACY: "users"}.get(f"{project.group(1)}/assets/", f"{project.group(1)}/assets")
    for child in context.store.children(parent):
        context.check_time()
        asset = context.store.get(child)
        if asset is not None and (parent or not child.startswith(("projects", "users"))):
            yield asset


def _images(request: ServiceRequest, context: Context, start: int) -> Iterator[Asset]:
    wanted = _filter(request.query)
    asset: Any = _find(request.name, context)
    if wanted.passes is list_filter.everything and isinstance(asset, Seekable):
        return asset.images_from(start)
    return islice(_passing(asset, wanted, context), start, None)


def _passing(asset: Any, wanted: ListFilter, context: Context) -> Iterator[Asset]:
    for image in asset.images(wanted.query):
        context.check_time()
        if wanted.passes(Subject(image.properties, image.footprint, image.version)):
            yield image


def _filter(query: Mapping[str, str], *, of_features: bool = False) -> ListFilter:
    """Return the filter that the parameters of a listing request; listImages has others besides ``filter``."""
    listing_filter = list_filter.parse(query.get("filter") or "", of_features=of_features)
    if query.get("startTime"):
        listing_filter = list_filter.both(listing_filter, list_filter.since(list_filter.moment(query["startTime"])))
    if query.get("endTime"):
        listing_filter = list_filter.both(listing_filter, list_filter.before(list_filter.moment(query["endTime"])))
    if query.get("region"):
        listing_filter = list_filter.both(listing_filter, list_filter.within(list_filter.region(query["region"])))
    return listing_filter


def list_features(request: ServiceRequest, context: Context) -> ServiceResponse:
    """``assets.listFeatures``: a page of a stored table's features, by region and properties."""
    asset: Any = _find(request.name, context)
    if not hasattr(asset, "rows"):
        raise InvalidError(f"Asset '{request.name}' is not a table.")
    wanted = _filter(request.query, of_features=True)

    def passing() -> Iterator[Feature]:
        for row in asset.rows(Query(bounds=wanted.query.bounds)):
            context.check_time()
            if wanted.passes(Subject(row.properties, row.geometry)):
                yield Feature.of(row)

    features, rest = page(passing(), *window(request.query, _PAGES["FULL"], _PAGES["FULL"]))
    encoder = Encoder(context)
    encoded_features = [encoder.feature(feature) for feature in features]
    return encode_json(without_defaults({"type": "FeatureCollection", "features": encoded_features, **rest}))


def describe(request: ServiceRequest, context: Context) -> ServiceResponse:
    """Return a description of the served assets, for people."""
    return encode_json(dict(context.store.describe()))


def describe_archives(request: ServiceRequest, context: Context) -> ServiceResponse:
    """Return the open archives that are served, with their datasets."""
    archives = context.store.archives() if isinstance(context.store, ChainedStore) else []
    return encode_json({"archives": archives})


_MOST_IMAGES = 500


def list_files(request: ServiceRequest, context: Context) -> ServiceResponse:
    """Return the files from which images of open archives are read, by the ids of the images; others are left out.

    Raises:
        InvalidError: if more than 500 images are named.
        ArchiveError: if an archive does not answer.
    """
    ids = request.body.get("ids") or ()
    if len(ids) > _MOST_IMAGES:
        raise InvalidError(f"The files of at most {_MOST_IMAGES} images are listed at a time, not of {len(ids)}.")
    store, bands = context.store, tuple(request.body.get("bands") or ())
    files_by_image: dict[str, Any] = {}
    if isinstance(store, ArchiveFiles):
        for name in ids:
            context.check_time()
            files = store.files(name, bands)
            files_by_image |= {} if files is None else {name: [asdict(file) for file in files]}
    return encode_json({"files": files_by_image})


_MOST_LISTED = 20_000


def list_store(request: ServiceRequest, context: Context) -> ServiceResponse:
    """Return what can be drawn, but the images of collections: id, name, type, title, dates, and whether they are
    synthetic. Of a store with more than 20,000, the first ones.
    """
    assets = list(islice(drawable_assets("", context), _MOST_LISTED + 1))
    shown = [_summary(asset) for asset in assets[:_MOST_LISTED]]
    return encode_json({"assets": shown, "is_complete": len(assets) <= _MOST_LISTED})


def drawable_assets(parent: str, context: Context) -> Iterator[Asset]:
    """Yield the images, collections and tables in a folder, and in those below it."""
    for child in context.store.children(parent):
        context.check_time()
        asset = context.store.get(child)
        if isinstance(asset, FolderAsset):
            yield from drawable_assets(child, context)
        elif asset is not None and not isinstance(asset, ClassifierAsset):
            yield asset


def _summary(asset: Asset) -> dict[str, Any]:
    properties = asset.properties
    span = properties.get("date_range")
    if not isinstance(span, Sequence) or len(span) != 2:
        span = (properties.get("system:time_start"), properties.get("system:time_end"))
    start, end = (moment if isinstance(moment, (int, float)) else None for moment in span)
    return {
        **_basic(asset),
        "title": str(properties.get("title") or ""),
        "start": start,
        "end": end,
        "is_synthetic": bool(properties.get("eechips:synthetic")),
    }
