"""List the fields that the message of each request may have, decode and check it, and carry requests and responses
between server and workers.

Fields follow https://developers.google.com/earth-engine/reference/rest/v1. Error messages are those of Google's JSON
transcoding.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from eechips_local.protocol.field_checks import (
    Check,
    array_of,
    camel_name,
    check_boolean,
    check_expression,
    check_integer,
    check_mask,
    check_number,
    check_object,
    check_string,
    check_tag,
    check_timestamp,
    check_wrapped,
    check_wrapped_integer,
    enum_of,
    map_of,
    message_of,
    snake_name,
)
from eechips_local.protocol.request_errors import EarthEngineError, InvalidError
from eechips_local.quota.compute_cost import ComputeCost

_IMAGE_FORMAT = enum_of(
    "ImageFileFormat",
    "IMAGE_FILE_FORMAT_UNSPECIFIED", "JPEG", "PNG", "AUTO_JPEG_PNG", "NPY", "GEO_TIFF", "TF_RECORD_IMAGE",
    "ZIPPED_GEO_TIFF", "ZIPPED_GEO_TIFF_PER_BAND", "MULTI_BAND_IMAGE_TILE",
)  # fmt: skip
_TABLE_FORMAT = enum_of(
    "TableFileFormat", "TABLE_FILE_FORMAT_UNSPECIFIED", "CSV", "GEO_JSON", "KML", "KMZ", "SHP", "TF_RECORD_TABLE"
)
_AFFINE = message_of(
    scaleX=check_number,
    shearX=check_number,
    translateX=check_number,
    shearY=check_number,
    scaleY=check_number,
    translateY=check_number,
)
_SIZE = message_of(width=check_integer, height=check_integer)
_GRID = message_of(crsCode=check_string, crsWkt=check_string, dimensions=_SIZE, affineTransform=_AFFINE)
_VISUALIZATION = message_of(
    ranges=array_of(message_of(min=check_number, max=check_number)),
    paletteColors=array_of(check_string),
    gamma=check_wrapped,
    opacity=check_wrapped,
)
_PYRAMIDING = enum_of(
    "PyramidingPolicy", "PYRAMIDING_POLICY_UNSPECIFIED", "MEAN", "SAMPLE", "MIN", "MAX", "MODE", "MEDIAN"
)
_PAGE: Mapping[str, Check] = {"pageSize": check_integer, "pageToken": check_string}
_COMPUTATION: Mapping[str, Check] = {"expression": check_expression, "workloadTag": check_tag}
# The workload tag of a result with a name is a parameter of the URL.
_NAMED: Mapping[str, Check] = {"expression": check_expression, "name": check_string}
_PICTURE: Mapping[str, Check] = {
    "fileFormat": _IMAGE_FORMAT,
    "bandIds": array_of(check_string),
    "visualizationOptions": _VISUALIZATION,
    "grid": _GRID,
}
_VIDEO_OPTIONS = message_of(
    framesPerSecond=check_number, maxFrames=check_integer, maxPixelsPerFrame=check_wrapped_integer
)
_EXPORT: Mapping[str, Check] = {
    **_COMPUTATION,
    "description": check_string,
    "requestId": check_string,
    "priority": check_wrapped_integer,
    "maxWorkers": check_wrapped_integer,
}
_FILE_DESTINATIONS: Mapping[str, Check] = {
    "driveDestination": message_of(folder=check_string, filenamePrefix=check_string),
    "cloudStorageDestination": message_of(
        bucket=check_string,
        filenamePrefix=check_string,
        permissions=enum_of(
            "CloudStorageDestination.TilePermissions", "TILE_PERMISSIONS_UNSPECIFIED", "PUBLIC", "DEFAULT_OBJECT_ACL"
        ),
        bucketCorsUris=array_of(check_string),
    ),
}
_EARTH_ENGINE = message_of(name=check_string, overwrite=check_boolean)
_IMAGE_FILES = message_of(
    fileFormat=_IMAGE_FORMAT,
    **_FILE_DESTINATIONS,
    geoTiffOptions=message_of(
        cloudOptimized=check_boolean,
        tileDimensions=_SIZE,
        skipEmptyFiles=check_boolean,
        tileSize=check_wrapped_integer,
        noData=message_of(floatValue=check_number, integerValue=check_wrapped_integer),
        metadataKeys=array_of(check_string),
    ),
    tfRecordOptions=message_of(
        tileDimensions=_SIZE,
        marginDimensions=_SIZE,
        compress=check_boolean,
        maxSizeBytes=check_wrapped_integer,
        defaultValue=check_number,
        tensorDepths=check_object,
        sequenceData=check_boolean,
        collapseBands=check_boolean,
        maxMaskedRatio=check_wrapped,
    ),
)
_ASSET_TYPE = enum_of(
    "EarthEngineAsset.Type",
    "TYPE_UNSPECIFIED", "IMAGE", "IMAGE_COLLECTION", "TABLE", "FOLDER", "CLASSIFIER", "FEATURE_VIEW",
)  # fmt: skip
_LOCATION = message_of(uris=array_of(check_string))
# https://developers.google.com/earth-engine/reference/rest/v1/projects.assets#EarthEngineAsset
_ASSET: Mapping[str, Check] = {
    "type": _ASSET_TYPE,
    **dict.fromkeys(("name", "id", "updateTime", "title", "description", "sizeBytes", "featureCount"), check_string),
    **dict.fromkeys(("properties", "geometry", "quota", "featureViewAssetLocation"), check_object),
    "startTime": check_timestamp,
    "endTime": check_timestamp,
    "bands": array_of(check_object),
    "tilesets": array_of(check_object),
    "cloudStorageLocation": _LOCATION,
    "gcsLocation": _LOCATION,
}

# https://developers.google.com/earth-engine/reference/rest/Shared.Types/Policy
_POLICY = message_of(
    version=check_integer,
    bindings=array_of(message_of(role=check_string, members=array_of(check_string), condition=check_object)),
    auditConfigs=array_of(check_object),
    etag=check_string,
)
_IMPORT: Mapping[str, Check] = {"description": check_string, "overwrite": check_boolean, "requestId": check_string}
_MISSING_DATA = message_of(values=array_of(check_number))
_MANIFEST: Mapping[str, Check] = {
    "name": check_string,
    "properties": check_object,
    "uriPrefix": check_string,
    "startTime": check_timestamp,
    "endTime": check_timestamp,
    "memo": check_string,
}
_DATA_TYPE = enum_of(
    "Tileset.DataType",
    "DATA_TYPE_UNSPECIFIED",
    "INT8",
    "UINT8",
    "INT16",
    "UINT16",
    "INT32",
    "UINT32",
    "FLOAT",
    "DOUBLE",
)
_MASK_BAND = message_of(tilesetId=check_string, bandIds=array_of(check_string))
# https://developers.google.com/earth-engine/reference/rest/v1/ImageManifest
_IMAGE_MANIFEST = message_of(
    **_MANIFEST,
    tilesets=array_of(
        message_of(
            id=check_string,
            dataType=_DATA_TYPE,
            crs=check_string,
            sources=array_of(message_of(uris=array_of(check_string), affineTransform=_AFFINE, dimensions=_SIZE)),
        )
    ),
    bands=array_of(
        message_of(
            id=check_string,
            tilesetId=check_string,
            tilesetBandIndex=check_integer,
            missingData=_MISSING_DATA,
            pyramidingPolicy=_PYRAMIDING,
        )
    ),
    # The client's own program sends one mask band alone.
    maskBands=lambda value, path: (_MASK_BAND if isinstance(value, Mapping) else array_of(_MASK_BAND))(value, path),
    footprint=check_object,
    missingData=_MISSING_DATA,
    pyramidingPolicy=_PYRAMIDING,
    skipMetadataRead=check_boolean,
)
# https://developers.google.com/earth-engine/reference/rest/v1/TableManifest
_TABLE_MANIFEST = message_of(
    **_MANIFEST,
    sources=array_of(
        message_of(
            uris=array_of(check_string),
            **dict.fromkeys(
                (
                    "charset",
                    "crs",
                    "primaryGeometryColumn",
                    "xColumn",
                    "yColumn",
                    "dateFormat",
                    "csvDelimiter",
                    "csvQualifier",
                ),
                check_string,
            ),
            maxErrorMeters=check_wrapped,
            maxVertices=check_wrapped_integer,
            geodesic=check_boolean,
        )
    ),
    csvColumnDataTypeOverrides=check_object,
    columnDataTypeOverrides=check_object,
)

_REQUESTS: Mapping[str, Check] = {
    "value:compute": message_of(**_COMPUTATION),
    "image:computePixels": message_of(**_COMPUTATION, **_PICTURE),
    "table:computeFeatures": message_of(**_COMPUTATION, **_PAGE),
    "imageCollection:computeImages": message_of(**_COMPUTATION, **_PAGE),
    "assets:getPixels": message_of(**_PICTURE, name=check_string, region=check_object, workloadTag=check_tag),
    "thumbnails": message_of(**_NAMED, **_PICTURE, filenamePrefix=check_string),
    "filmstripThumbnails": message_of(
        **_NAMED,
        orientation=enum_of("FilmstripThumbnail.Orientation", "ORIENTATION_UNSPECIFIED", "HORIZONTAL", "VERTICAL"),
        fileFormat=_IMAGE_FORMAT,
        grid=_GRID,
    ),
    "videoThumbnails": message_of(
        **_NAMED,
        videoOptions=_VIDEO_OPTIONS,
        fileFormat=enum_of("VideoThumbnail.VideoFileFormat", "VIDEO_FILE_FORMAT_UNSPECIFIED", "MP4", "GIF", "VP9"),
        grid=_GRID,
    ),
    "maps": message_of(
        **_NAMED, fileFormat=_IMAGE_FORMAT, bandIds=array_of(check_string), visualizationOptions=_VISUALIZATION
    ),
    "store:files": message_of(ids=array_of(check_string), bands=array_of(check_string)),
    "image:export": message_of(
        **_EXPORT,
        grid=_GRID,
        maxPixels=check_wrapped_integer,
        fileExportOptions=_IMAGE_FILES,
        assetExportOptions=message_of(
            earthEngineDestination=_EARTH_ENGINE,
            pyramidingPolicy=_PYRAMIDING,
            pyramidingPolicyOverrides=map_of(_PYRAMIDING),
            tileSize=check_wrapped_integer,
        ),
    ),
    "table:export": message_of(
        **_EXPORT,
        selectors=array_of(check_string),
        maxErrorMeters=check_wrapped,
        maxVertices=check_wrapped_integer,
        fileExportOptions=message_of(fileFormat=_TABLE_FORMAT, **_FILE_DESTINATIONS),
        assetExportOptions=message_of(earthEngineDestination=_EARTH_ENGINE),
        featureViewExportOptions=check_object,
        bigqueryExportOptions=check_object,
    ),
    "video:export": message_of(
        **_EXPORT,
        videoOptions=_VIDEO_OPTIONS,
        fileExportOptions=message_of(
            fileFormat=enum_of("VideoFileFormat", "VIDEO_FILE_FORMAT_UNSPECIFIED", "MP4", "GIF", "VP9"),
            **_FILE_DESTINATIONS,
        ),
    ),
    "map:export": message_of(
        **_EXPORT,
        tileOptions=message_of(
            startZoom=check_integer,
            endZoom=check_integer,
            scale=check_number,
            skipEmpty=check_boolean,
            mapsApiKey=check_string,
            dimensions=_SIZE,
            stride=check_integer,
            zoomSubset=message_of(start=check_number, end=check_number),
        ),
        tileExportOptions=_IMAGE_FILES,
    ),
    "classifier:export": message_of(**_EXPORT, assetExportOptions=message_of(earthEngineDestination=_EARTH_ENGINE)),
    "image:import": message_of(**_IMPORT, imageManifest=_IMAGE_MANIFEST),
    "image:importExternal": message_of(imageManifest=_IMAGE_MANIFEST, overwrite=check_boolean),
    "table:import": message_of(**_IMPORT, tableManifest=_TABLE_MANIFEST),
    "assets:create": message_of(**_ASSET),
    "assets:patch": message_of(asset=message_of(**_ASSET), updateMask=check_mask),
    "assets:copy": message_of(destinationName=check_string, overwrite=check_boolean, bandIds=array_of(check_string)),
    "assets:getIamPolicy": message_of(options=check_object),
    "assets:setIamPolicy": message_of(policy=_POLICY, updateMask=check_mask),
    "assets:testIamPermissions": message_of(permissions=array_of(check_string)),
    "assets:move": message_of(destinationName=check_string),
    "tables": message_of(**_NAMED, fileFormat=_TABLE_FORMAT, selectors=array_of(check_string), filename=check_string),
}

_OF_ASSETS = frozenset(
    {
        "store:files",
        "assets:getPixels",
        "assets:create",
        "assets:patch",
        "assets:copy",
        "assets:move",
        "image:import",
        "image:importExternal",
        "table:import",
        "assets:getIamPolicy",
        "assets:setIamPolicy",
        "assets:testIamPermissions",
    }
)
"""Requests without an expression."""
_MANIFESTS = {
    "image:import": "imageManifest", "image:importExternal": "imageManifest", "table:import": "tableManifest",
}  # fmt: skip
_FREE_FORM = (
    "expression", "region", "geometry", "properties", "csvColumnDataTypeOverrides", "columnDataTypeOverrides",
    "pyramidingPolicyOverrides", "tensorDepths",
)  # fmt: skip
"""Members whose own members have names that users choose, or are no messages of Google's."""


def _camel_names(value: Any) -> Any:
    """Return a message with the names of fields that JSON has."""
    if isinstance(value, list):
        return [_camel_names(item) for item in value]
    if not isinstance(value, Mapping):
        return value
    named = {camel_name(name): item for name, item in value.items()}
    return {name: item if name in _FREE_FORM else _camel_names(item) for name, item in named.items()}


def check(kind: str, body: Any) -> Mapping[str, Any]:
    """Check a request's JSON; return it without the fields that are null.

    Args:
        kind: the method ("image:computePixels") or the resource that is to be created ("thumbnails").
        body: the decoded JSON.

    Raises:
        InvalidError: if it is no message of that kind.
    """
    _REQUESTS[kind](body, "")
    body = _camel_names(body)
    manifest = _MANIFESTS.get(kind)
    if manifest is not None and body.get(manifest) is None:
        raise InvalidError(f"Required field '{snake_name(manifest)}' is missing.")
    if kind not in _OF_ASSETS and body.get("expression") is None:
        raise InvalidError("Required field 'expression' is missing.")
    return {name: content for name, content in body.items() if content is not None}


_TEXT_OR_CONSTANT = re.compile(r'"(?:[^"\\]|\\.)*"|(NaN|-?Infinity)')


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def decode(content: bytes) -> Any:
    """Return the JSON of a request's body; nothing at all is an empty object.

    Raises:
        InvalidError: if it is no JSON.
    """
    try:
        return json.loads(content or b"{}", parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        text = content.decode(errors="replace")
        constants = (part.start(1) for part in _TEXT_OR_CONSTANT.finditer(text) if part[1])
        place = error.pos if isinstance(error, json.JSONDecodeError) else next(constants, 0)
        before, after = text[max(0, place - 20) : place], text[place : place + 20]
        shown = f"{before}{after}\n{' ' * len(before)}^"
        raise InvalidError(f"Invalid JSON payload received. Unexpected token.\n{shown}") from error


@dataclass(frozen=True, slots=True)
class WorkerRequest:
    """A request as the server passes it to a worker.

    Attributes:
        operation: key of ``evaluation.OPERATIONS``.
        content: the request's body as it arrived. The worker decodes it.
        name: the asset or project in the path ("projects/earthengine-public/assets/USGS/SRTMGL1_003").
        query: the parameters after the question mark, and those of the path.
    """

    operation: str
    content: bytes = b""
    name: str = ""
    query: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ServiceRequest:
    """A request as a worker processes it.

    Attributes:
        body: the checked JSON of the request's body, without the fields that are null.
        name: the asset or project in the path.
        query: the parameters after the question mark, and those of the path.
    """

    body: Mapping[str, Any] = field(default_factory=dict)
    name: str = ""
    query: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ServiceResponse:
    """A response as a worker returns it.

    Attributes:
        content: the body.
        media_type: media type of the body.
        filename: under which a browser saves the body, if any.
        status: HTTP status.
        pixels: pixels of the grid that it shows, if it has one.
        bands: bands of those pixels.
        cost: what the evaluation has computed.
        workload_tag: workload tag of the request; None for none.
    """

    content: bytes
    media_type: str = "application/json"
    filename: str | None = None
    status: int = 200
    pixels: int = 0
    bands: int = 0
    cost: ComputeCost = field(default_factory=ComputeCost)
    workload_tag: str | None = None


def encode_json(value: Any) -> ServiceResponse:
    """Return a value as a JSON response."""
    return ServiceResponse(json.dumps(value, separators=(",", ":"), allow_nan=False).encode())


def error_response(error: EarthEngineError) -> ServiceResponse:
    """Return the response for an error."""
    return ServiceResponse(json.dumps(error.body()).encode(), status=error.code)
