"""Create, change, copy, move, remove, get and search assets on behalf of clients: update masks, quotas of top folders,
what is refused.

See https://developers.google.com/earth-engine/reference/rest/v1/projects.assets. Messages are those that users report.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from eechips_local.assets.asset_names import asset_id
from eechips_local.assets.writable_assets import (
    TIMES,
    changes_of,
    changing,
    check_vacant,
    properties_of,
    writable_folder,
)
from eechips_local.evaluation.asset_model import Asset, FolderAsset
from eechips_local.evaluation.context import Context
from eechips_local.exports.destinations import AssetDestination
from eechips_local.protocol.messages import ServiceRequest, ServiceResponse, encode_json
from eechips_local.protocol.pages import page, window
from eechips_local.protocol.proto_json import without_defaults
from eechips_local.protocol.request_errors import InvalidError, NotFoundError
from eechips_local.protocol.routes.resources import asset_json, described, kind_of
from eechips_local.values.value_json import Encoder

_CONTAINERS: Mapping[str, Literal["folder", "collection"]] = {"FOLDER": "folder", "IMAGE_COLLECTION": "collection"}
_SEARCHED = ("id", "title", "description", "tags")
_MOST_FOUND = 1000
_PATH = re.compile(r'(?:[^,"]|"(?:\\.|[^"\\])*")+')
_QUOTED = re.compile(r'"((?:\\.|[^"\\])*)"')


def create(request: ServiceRequest, context: Context) -> ServiceResponse:
    """``assets.create``: a folder or an image collection."""
    folder = writable_folder(context)
    if not request.query.get("assetId"):
        raise InvalidError("Required parameter 'assetId' is missing.")
    target = asset_id(f"{request.name}/assets/{request.query['assetId']}")
    kind, location = (
        str(request.body.get("type") or "TYPE_UNSPECIFIED"),
        request.body.get("cloudStorageLocation") or request.body.get("gcsLocation"),
    )
    if kind == "IMAGE" and location:
        tilesets = [{"sources": [{"uris": [uri]} for uri in location.get("uris") or ()]}]
        manifest = {**request.body, "properties": properties_of(request.body), "tilesets": tilesets}
        return _import_external(manifest, target, overwrite=False, context=context)
    if kind not in _CONTAINERS:
        raise InvalidError(f"Assets of the type {kind} are not created but ingested or exported.")
    check_vacant(target, context)
    with changing():
        changes_of(folder).create(target, _CONTAINERS[kind], properties_of(request.body))
    return _described(target, context)


def import_external(request: ServiceRequest, context: Context) -> ServiceResponse:
    """``image.importExternal``: an image of cloud-optimised GeoTIFFs in Cloud Storage, which are not copied."""
    manifest = request.body["imageManifest"]
    target, overwrite = asset_id(str(manifest.get("name") or "")), bool(request.body.get("overwrite"))
    return _import_external(manifest, target, overwrite=overwrite, context=context)


def _import_external(manifest: Mapping[str, Any], id: str, *, overwrite: bool, context: Context) -> ServiceResponse:
    # Here, since a server without folders has no use for the libraries of assets.
    from eechips_local.exports.ingestions import import_external as ingest

    folder = writable_folder(context)
    ingest(manifest, AssetDestination(folder.path, id, overwrite, id), context)
    return _described(id, context)


def delete(request: ServiceRequest, context: Context) -> ServiceResponse:
    """``assets.delete``."""
    folder = writable_folder(context)
    with changing():
        changes_of(folder).remove(asset_id(request.name))
    return encode_json({})


def patch(request: ServiceRequest, context: Context) -> ServiceResponse:
    """``assets.patch``: properties, times, and names of bands.

    What the mask names is set, or removed where the asset of the request does not have it; without a mask all is. See
    https://developers.google.com/earth-engine/reference/rest/v1/projects.assets/patch and ``ee.data.updateAsset``.
    """
    folder, target = writable_folder(context), asset_id(request.name)
    asset, paths = request.body.get("asset") or {}, _mask_of(request)
    new = properties_of(asset)
    _check_mask(paths)

    def update(properties: Mapping[str, Any], bands: Sequence[str]) -> tuple[Mapping[str, Any], Sequence[str]]:
        new_properties = dict(properties)
        for path in paths:
            name = TIMES.get(path, path.partition(".")[2])
            if path == "properties":
                new_properties = {name: value for name, value in new_properties.items() if name in TIMES.values()}
                new_properties.update({name: value for name, value in new.items() if name not in TIMES.values()})
            elif path != "bands" and name in new:
                new_properties[name] = new[name]
            elif path != "bands":
                new_properties.pop(name, None)
        is_renamed = "bands" in paths and asset.get("bands") is not None
        return new_properties, [str(band.get("id")) for band in asset["bands"]] if is_renamed else bands

    with changing():
        changes_of(folder).update(target, update)
    return _described(target, context)


def copy(request: ServiceRequest, context: Context) -> ServiceResponse:
    """``assets.copy``: an image, a table or a classifier of a folder of assets."""
    folder, source = writable_folder(context), asset_id(request.name)
    target = _target(request)
    if request.body.get("bandIds"):
        raise InvalidError("The local Earth Engine copies all bands of an image: leave bandIds out.")
    overwrite = bool(request.body.get("overwrite"))
    if context.store.get(source) is None:
        raise NotFoundError(f"Asset '{source}' does not exist or doesn't allow this operation.")
    if not overwrite:
        check_vacant(target, context)
    home = _folder_of(source, context)
    if home is None:
        raise InvalidError(f"Asset '{source}' is in no folder of assets: export it instead of copying it.")
    with changing():
        changes_of(folder).copy(source, target, overwrite=overwrite, folder=home)
    return _described(target, context)


def move(request: ServiceRequest, context: Context) -> ServiceResponse:
    """``assets.move``: an asset with all that is below it."""
    folder, target = writable_folder(context), _target(request)
    check_vacant(target, context)
    with changing():
        changes_of(folder).move(asset_id(request.name), target)
    return _described(target, context)


def get(request: ServiceRequest, context: Context) -> ServiceResponse:
    """``assets.get``. The top folder of a project or user has its quota, whether something is in it or not."""
    target = asset_id(request.name)
    folder = context.writable
    if folder is None or not _is_top(target):
        return encode_json(described(request.name, context))
    with changing():
        used = changes_of(folder).usage(target)
    limits = {"maxSizeBytes": folder.most_bytes, "maxAssets": folder.most_assets}
    quota = {"sizeBytes": str(used.size), "assetCount": str(used.assets)}
    quota.update({name: str(limit) for name, limit in limits.items() if limit is not None})
    is_there = context.store.get(target) is not None
    description = described(target, context) if is_there else {"type": "FOLDER", "name": target, "id": target}
    return encode_json({**description, "quota": without_defaults(quota)})


def _is_top(target: str) -> bool:
    parts = target.split("/")
    return (len(parts) == 3 and (parts[0], parts[2]) == ("projects", "assets")) or (
        len(parts) == 2 and parts[0] == "users"
    )


def _mask_of(request: ServiceRequest) -> list[str]:
    """Return the paths of an update mask, with the names of properties as they are."""
    mask = request.body.get("updateMask") or request.query.get("updateMask") or ""
    paths = _PATH.findall(mask) if isinstance(mask, str) else list(mask.get("paths") or ())
    return [_plain(path.strip()) for path in paths] or ["properties", *TIMES, "bands"]


def _plain(path: str) -> str:
    head, _, name = path.partition(".")
    quoted = _QUOTED.fullmatch(name)
    if quoted:
        name = re.sub(r"\\(.)", r"\1", quoted.group(1))
    head = {"start_time": "startTime", "end_time": "endTime"}.get(head, head)
    if head in ("title", "description"):
        return f"properties.{head}"
    return f"{head}.{name}" if name else head


def _check_mask(paths: Sequence[str]) -> None:
    for path in paths:
        if path not in ("properties", "bands", *TIMES) and not path.startswith("properties."):
            raise InvalidError(f"Invalid update mask: the field '{path[:100]}' cannot be updated.")


def _target(request: ServiceRequest) -> str:
    name = request.body.get("destinationName")
    if not name:
        raise InvalidError("Required field 'destination_name' is missing.")
    return asset_id(name)


def _folder_of(id: str, context: Context) -> Path | None:
    """Return the folder of assets that serves an asset."""
    from eechips_local.assets import FolderStore

    for path in context.config.folders if context.config is not None else ():
        with FolderStore(path) as store:
            if store.get(id) is not None:
                return path.absolute()
    return None


def _described(id: str, context: Context) -> ServiceResponse:
    """Return an asset as it is now.

    Raises:
        NotFoundError: if another client has removed it meanwhile.
    """
    asset = context.store.get(id)
    if asset is None:
        raise NotFoundError(f"Asset '{id}' does not exist or doesn't allow this operation.")
    return encode_json(asset_json(asset, Encoder(context)))


def search(request: ServiceRequest, context: Context) -> ServiceResponse:
    """``assets.search``: assets of the server whose id, title, description or tags contain all words of a query.

    ``type:``, ``id:``, ``title:``, ``description:`` and ``tags:`` look into one field. Images of collections are left
    out. See https://developers.google.com/earth-engine/reference/rest/v1alpha/projects.assets/search.
    """
    words = [_word(word) for word in (request.query.get("query") or "").lower().split() if word != "and"]
    start, size = window(request.query, _MOST_FOUND, _MOST_FOUND)
    assets, rest = page((asset for asset in _tree("", context) if _matches(asset, words)), start, size)
    encoder = Encoder(context)
    shown = [asset_json(asset, encoder) for asset in assets]
    return encode_json({"assets": shown, **rest} if shown else {})


def _word(word: str) -> tuple[str, str]:
    """Return the field of a word of a query, empty for all, and the word itself."""
    field, colon, text = word.partition(":")
    return (field, text.strip('"')) if colon and field in (*_SEARCHED, "type") else ("", word.strip('"'))


def _tree(parent: str, context: Context) -> Iterator[Asset]:
    for child in context.store.children(parent):
        context.check_time()
        asset = context.store.get(child)
        if asset is None:
            continue
        yield asset
        if isinstance(asset, FolderAsset):
            yield from _tree(child, context)


def _matches(asset: Asset, words: Sequence[tuple[str, str]]) -> bool:
    texts = {name: str(asset.properties.get(name) or "").lower() for name in _SEARCHED}
    texts["id"] = asset.id.lower()
    kind = kind_of(asset).lower()
    return all(
        word == kind if field == "type" else any(word in text for name, text in texts.items() if field in ("", name))
        for field, word in words
    )
