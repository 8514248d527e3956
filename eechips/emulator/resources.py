"""The REST resources of stored assets: get, list, read."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from itertools import islice
from typing import Any

import shapely
from shapely.geometry import shape as shape_of

from eechips.emulator.clock import to_datetime, to_milliseconds
from eechips.emulator.context import Context
from eechips.emulator.errors import InvalidError, NotFoundError
from eechips.emulator.info import band_json, encode, geometry_json
from eechips.emulator.model import Asset, FolderAsset, ImageAsset, Query
from eechips.emulator.operations import Body, Request, compute_pixels, json_body
from eechips.emulator.pixels.stored import stored_image
from eechips.emulator.stores import asset_id, asset_name
from eechips.emulator.values import Geometry

_LARGEST_PAGE = 1000


def _find(name: str, context: Context) -> Asset:
    asset = context.store.get(asset_id(name))
    if asset is None:
        raise NotFoundError(f"Asset '{name}' not found.")
    return asset


def _stamp(milliseconds: float) -> str:
    moment = to_datetime(milliseconds)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def _kind(asset: Asset) -> str:
    if isinstance(asset, ImageAsset):
        return "IMAGE"
    if isinstance(asset, FolderAsset):
        return "FOLDER"
    return "IMAGE_COLLECTION" if hasattr(asset, "images") else "TABLE"


def asset_json(asset: Asset, context: Context) -> dict[str, Any]:
    """An EarthEngineAsset: https://developers.google.com/earth-engine/reference/rest/v1/projects.assets."""
    found: dict[str, Any] = {"type": _kind(asset), "name": asset_name(asset.id), "id": asset.id}
    properties = {k: v for k, v in asset.properties.items() if not k.startswith("system:")}
    found["properties"] = encode(properties, context)
    for name, key in (("startTime", "system:time_start"), ("endTime", "system:time_end")):
        if isinstance(asset.properties.get(key), (int, float)):
            found[name] = _stamp(asset.properties[key])
    if isinstance(asset, ImageAsset):
        found["updateTime"] = _stamp(asset.version / 1000)
        found["geometry"] = geometry_json(Geometry(asset.footprint))
        found["bands"] = [_band(band_json(band)) for band in stored_image(asset).bands]
    return found


def _band(band: dict[str, Any]) -> dict[str, Any]:
    """A band in the REST form of ImageBand."""
    kind = band["data_type"]
    transform = dict(
        zip(("scaleX", "shearX", "translateX", "shearY", "scaleY", "translateY"), band["crs_transform"], strict=True)
    )
    data_type: dict[str, Any] = {"precision": kind["precision"].upper()}
    limits = {k: kind[k] for k in ("min", "max") if k in kind}
    if limits:
        data_type["range"] = limits
    width, height = band["dimensions"]
    crs = {"crsCode": band["crs"]} if "crs" in band else {"crsWkt": band["crs_wkt"]}
    grid = {**crs, "dimensions": {"width": width, "height": height}, "affineTransform": transform}
    return {"id": band["id"], "dataType": data_type, "grid": grid}


def get_asset(request: Request, context: Context) -> Body:
    """``assets.get``."""
    return json_body(asset_json(_find(request["name"], context), context))


def asset_pixels(request: Request, context: Context) -> Body:
    """``assets.getPixels``: pixels of a stored image."""
    asset = _find(request["name"], context)
    if not isinstance(asset, ImageAsset):
        raise InvalidError(f"Asset '{request['name']}' is not an Image.")
    load = {"functionInvocationValue": {"functionName": "Image.load", "arguments": {"id": {"constantValue": asset.id}}}}
    return compute_pixels({**request, "expression": {"result": "0", "values": {"0": load}}}, context)


def _window(request: Request) -> tuple[int, int]:
    size = int(request.get("pageSize") or _LARGEST_PAGE)
    token = str(request.get("pageToken") or "0")
    if size < 1 or not token.isdecimal():
        raise InvalidError("Invalid page size or token.")
    return int(token), min(size, _LARGEST_PAGE)


def _paged(key: str, found: Iterator[dict[str, Any]], request: Request) -> Body:
    offset, size = _window(request)
    page = list(islice(found, offset, offset + size + 1))
    body: dict[str, Any] = {key: page[:size]}
    if len(page) > size:
        body["nextPageToken"] = str(offset + size)
    return json_body(body)


def list_assets(request: Request, context: Context) -> Body:
    """``assets.listAssets``: the children of a folder or collection."""
    parent = request["name"]
    key = "" if re.fullmatch(r"projects/[^/]+/assets/?", parent) or parent.endswith("/assets") else asset_id(parent)
    if key:
        _find(parent, context)

    def found() -> Iterator[dict[str, Any]]:
        for child in context.store.children(key):
            asset = context.store.get(child)
            if asset is not None:
                yield _listed(asset, request, context)

    return _paged("assets", found(), request)


def _listed(asset: Asset, request: Request, context: Context) -> dict[str, Any]:
    if request.get("view") == "BASIC":
        return {"type": _kind(asset), "name": asset_name(asset.id), "id": asset.id}
    return asset_json(asset, context)


def list_images(request: Request, context: Context) -> Body:
    """``assets.listImages``: images of a collection, by time and region."""
    asset = _find(request["name"], context)
    images = getattr(asset, "images", None)
    if images is None:
        raise InvalidError(f"Asset '{request['name']}' is not an ImageCollection.")
    region = _region(request.get("region"))
    start, end = _moment(request.get("startTime")), _moment(request.get("endTime"))
    query = Query(bounds=None if region is None else region.bounds, start=start, end=end)

    def found() -> Iterator[dict[str, Any]]:
        for image in images(query):
            context.check_time()
            time = image.properties.get("system:time_start")
            if (start is not None and (time is None or time < start)) or (
                end is not None and (time is None or time >= end)
            ):
                continue
            if region is None or image.footprint.intersects(region):
                yield _listed(image, request, context)

    return _paged("images", found(), request)


def _region(text: str | Mapping[str, Any] | None) -> Any:
    if not text:
        return None
    try:
        found = shape_of(json.loads(text) if isinstance(text, str) else text)
    except (ValueError, KeyError, AttributeError, TypeError, shapely.errors.ShapelyError) as error:
        raise InvalidError(f"Invalid region: {error}.") from error
    return found


def _moment(text: str | None) -> int | None:
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError as error:
        raise InvalidError(f"Invalid time: {text}.") from error
    return to_milliseconds(moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc))


def describe(request: Request, context: Context) -> Body:
    """What the server answers for, to show a person."""
    return json_body(dict(context.store.describe()))
