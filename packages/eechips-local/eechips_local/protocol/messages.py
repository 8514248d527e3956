"""Check the messages that requests carry, and carry requests and responses between server and workers.

Fields follow https://developers.google.com/earth-engine/reference/rest/v1. Error messages are those of Google's JSON
transcoding.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from eechips_local.protocol.request_errors import EarthEngineError, InvalidError
from eechips_local.quota.compute_cost import ComputeCost

Check = Callable[[Any, str], None]
"""Checks a value at a path; raises InvalidError."""

_TAG = re.compile(r"[a-z0-9][-_a-z0-9]{0,62}")
_SHOWN = 100


def _snake(path: str) -> str:
    """Return a path as Google's errors spell it: ``file_format`` for ``fileFormat``."""
    return re.sub(r"(?<=[a-z])([A-Z])", lambda match: f"_{match.group(1).lower()}", path)


def _wrong(value: Any, path: str, kind: str) -> InvalidError:
    shown = json.dumps(value) if isinstance(value, (str, int, float, bool)) else type(value).__name__
    return InvalidError(f"Invalid value at '{_snake(path)}' ({kind}), {shown[:_SHOWN]}")


def _string(value: Any, path: str) -> None:
    if not isinstance(value, str):
        raise _wrong(value, path, "TYPE_STRING")


def _whole(value: Any) -> bool:
    if isinstance(value, str):
        return re.fullmatch(r"-?[0-9]{1,10}", value) is not None
    return isinstance(value, (int, float)) and not isinstance(value, bool) and float(value).is_integer()


def _integer(value: Any, path: str) -> None:
    if isinstance(value, int) and abs(value) >= 2**31:
        raise _wrong(value, path, "TYPE_INT32")
    if not _whole(value) or abs(int(value)) >= 2**31:
        raise _wrong(value, path, "TYPE_INT32")


def _number(value: Any, path: str) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise _wrong(value, path, "TYPE_DOUBLE")
    if (isinstance(value, float) and not math.isfinite(value)) or abs(value) > 1e300:
        raise _wrong(value, path, "TYPE_DOUBLE")


def _object(value: Any, path: str) -> None:
    if not isinstance(value, Mapping):
        raise _wrong(value, path, "type.googleapis.com/google.protobuf.Struct")


def _expression(value: Any, path: str) -> None:
    _message(result=_string, values=_object)(value, path)
    if value.get("result") is None or value.get("values") is None:
        raise InvalidError("Invalid expression: 'result' and 'values' are required.")


def _enum(name: str, *values: str) -> Check:
    def check(value: Any, path: str) -> None:
        if value not in values:
            raise _wrong(value, path, f"type.googleapis.com/google.earthengine.v1.{name}")

    return check


def _array(of: Check) -> Check:
    def check(value: Any, path: str) -> None:
        if not isinstance(value, list):
            raise _wrong(value, path, "array")
        for index, item in enumerate(value):
            of(item, f"{path}[{index}]")

    return check


def _message(**fields: Check) -> Check:
    def check(value: Any, path: str) -> None:
        if not isinstance(value, Mapping):
            raise _wrong(value, path, "object")
        for name, content in value.items():
            if name not in fields:
                where = f" at '{_snake(path)}'" if path else ""
                raise InvalidError(
                    f'Invalid JSON payload received. Unknown name "{str(name)[:_SHOWN]}"{where}: Cannot find field.'
                )
            if content is not None:
                fields[name](content, f"{path}.{name}" if path else name)

    return check


def _wrapped(value: Any, path: str) -> None:
    """Check a number that the reference writes as itself and the client as ``{"value": number}``."""
    (_number if not isinstance(value, Mapping) else _message(value=_number))(value, path)


def _wrapped_integer(value: Any, path: str) -> None:
    """Check a 64-bit integer, which JSON may hold as text or as ``{"value": integer}``."""
    if isinstance(value, Mapping):
        _message(value=_wrapped_integer)(value, path)
        return
    is_text = isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,19}", value)
    is_number = isinstance(value, int) if not isinstance(value, float) else value.is_integer()
    if isinstance(value, bool) or not (is_text or is_number) or not -(2**63) <= int(value) < 2**63:
        raise _wrong(value, path, "TYPE_INT64")


def unwrapped_integer(value: Any, default: int) -> int:
    """Return an integer of a checked message, which may be text or wrapped; the default where there is none."""
    inner = value.get("value") if isinstance(value, Mapping) else value
    return default if inner is None else int(inner)


def _boolean(value: Any, path: str) -> None:
    if not isinstance(value, bool):
        raise _wrong(value, path, "TYPE_BOOL")


def _tag(value: Any, path: str) -> None:
    _string(value, path)
    check_workload_tag(value)


def check_workload_tag(tag: str) -> None:
    """Check a workload tag: https://developers.google.com/earth-engine/guides/computation_overview#workload_tags.

    Raises:
        InvalidError: if it is none.
    """
    if not _TAG.fullmatch(tag):
        raise InvalidError(
            f"Invalid workload tag '{tag[:_SHOWN]}': tags have 1 to 63 characters and match [a-z0-9][-_a-z0-9]*."
        )


def _timestamp(value: Any, path: str) -> None:
    """Check a time: RFC 3339, or seconds and nanoseconds since 1970 as the client's manifests have them."""
    (_string if not isinstance(value, Mapping) else _message(seconds=_wrapped_integer, nanos=_integer))(value, path)


def _mask(value: Any, path: str) -> None:
    """Check a field mask: text with commas, or the list that the client sends."""
    (_string if not isinstance(value, Mapping) else _message(paths=_array(_string)))(value, path)


_IMAGE_FORMAT = _enum(
    "ImageFileFormat",
    "IMAGE_FILE_FORMAT_UNSPECIFIED", "JPEG", "PNG", "AUTO_JPEG_PNG", "NPY", "GEO_TIFF", "TF_RECORD_IMAGE",
    "ZIPPED_GEO_TIFF", "ZIPPED_GEO_TIFF_PER_BAND",
)  # fmt: skip
_TABLE_FORMAT = _enum(
    "TableFileFormat", "TABLE_FILE_FORMAT_UNSPECIFIED", "CSV", "GEO_JSON", "KML", "KMZ", "SHP", "TF_RECORD_TABLE"
)
_AFFINE = _message(
    scaleX=_number, shearX=_number, translateX=_number, shearY=_number, scaleY=_number, translateY=_number
)
_GRID = _message(
    crsCode=_string,
    crsWkt=_string,
    dimensions=_message(width=_integer, height=_integer),
    affineTransform=_AFFINE,
)
_VISUALIZATION = _message(
    ranges=_array(_message(min=_number, max=_number)),
    paletteColors=_array(_string),
    gamma=_wrapped,
    opacity=_wrapped,
)
_PAGE: Mapping[str, Check] = {"pageSize": _integer, "pageToken": _string}
_COMPUTATION: Mapping[str, Check] = {"expression": _expression, "workloadTag": _tag}
_PICTURE: Mapping[str, Check] = {
    "fileFormat": _IMAGE_FORMAT, "bandIds": _array(_string), "visualizationOptions": _VISUALIZATION, "grid": _GRID,
}  # fmt: skip
_VIDEO_OPTIONS = _message(framesPerSecond=_number, maxFrames=_integer, maxPixelsPerFrame=_wrapped_integer)
_SIZE = _message(width=_integer, height=_integer)
_EXPORT: Mapping[str, Check] = {
    **_COMPUTATION,
    "description": _string,
    "requestId": _string,
    "priority": _wrapped_integer,
    "maxWorkers": _wrapped_integer,
}
_FILE_DESTINATIONS: Mapping[str, Check] = {
    "driveDestination": _message(folder=_string, filenamePrefix=_string),
    "cloudStorageDestination": _message(
        bucket=_string, filenamePrefix=_string, permissions=_string, bucketCorsUris=_array(_string)
    ),
}
_EARTH_ENGINE = _message(name=_string, overwrite=_boolean)
_IMAGE_FILES = _message(
    fileFormat=_IMAGE_FORMAT,
    **_FILE_DESTINATIONS,
    geoTiffOptions=_message(
        cloudOptimized=_boolean,
        tileDimensions=_SIZE,
        skipEmptyFiles=_boolean,
        tileSize=_wrapped_integer,
        noData=_message(floatValue=_number, integerValue=_wrapped_integer),
        metadataKeys=_array(_string),
    ),
    tfRecordOptions=_message(
        tileDimensions=_SIZE,
        marginDimensions=_SIZE,
        compress=_boolean,
        maxSizeBytes=_wrapped_integer,
        defaultValue=_number,
        tensorDepths=_object,
        sequenceData=_boolean,
        collapseBands=_boolean,
        maxMaskedRatio=_wrapped,
    ),
)
_ASSET_TYPE = _enum(
    "EarthEngineAsset.Type", "TYPE_UNSPECIFIED", "IMAGE", "IMAGE_COLLECTION", "TABLE", "FOLDER", "CLASSIFIER"
)
_LOCATION = _message(uris=_array(_string))
# https://developers.google.com/earth-engine/reference/rest/v1/projects.assets#EarthEngineAsset
_ASSET: Mapping[str, Check] = {
    "type": _ASSET_TYPE,
    **dict.fromkeys(("name", "id", "updateTime", "title", "description", "sizeBytes", "featureCount"), _string),
    "properties": _object,
    "startTime": _timestamp,
    "endTime": _timestamp,
    "geometry": _object,
    "bands": _array(_object),
    "quota": _object,
    "tilesets": _array(_object),
    "cloudStorageLocation": _LOCATION,
    "gcsLocation": _LOCATION,
}

# https://developers.google.com/earth-engine/reference/rest/Shared.Types/Policy
_POLICY = _message(
    version=_integer,
    bindings=_array(_message(role=_string, members=_array(_string), condition=_object)),
    auditConfigs=_array(_object),
    etag=_string,
)
_IMPORT: Mapping[str, Check] = {
    "description": _string,
    "overwrite": _boolean,
    "requestId": _string,
    "priority": _wrapped_integer,
}
_MISSING_DATA = _message(values=_array(_number))
_MANIFEST: Mapping[str, Check] = {
    "name": _string,
    "properties": _object,
    "uriPrefix": _string,
    "startTime": _timestamp,
    "endTime": _timestamp,
    "memo": _string,
}
_MASK_BAND = _message(tilesetId=_string, bandIds=_array(_string))
# https://developers.google.com/earth-engine/reference/rest/v1/ImageManifest
_IMAGE_MANIFEST = _message(
    **_MANIFEST,
    tilesets=_array(
        _message(
            id=_string,
            dataType=_string,
            crs=_string,
            sources=_array(_message(uris=_array(_string), affineTransform=_AFFINE, dimensions=_SIZE)),
        )
    ),
    bands=_array(
        _message(
            id=_string,
            tilesetId=_string,
            tilesetBandIndex=_integer,
            missingData=_MISSING_DATA,
            pyramidingPolicy=_string,
        )
    ),
    # The client's own program sends one mask band alone.
    maskBands=lambda value, path: (_MASK_BAND if isinstance(value, Mapping) else _array(_MASK_BAND))(value, path),
    footprint=_object,
    missingData=_MISSING_DATA,
    pyramidingPolicy=_string,
    skipMetadataRead=_boolean,
)
# https://developers.google.com/earth-engine/reference/rest/v1/TableManifest
_TABLE_MANIFEST = _message(
    **_MANIFEST,
    sources=_array(
        _message(
            uris=_array(_string),
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
                _string,
            ),
            maxErrorMeters=_wrapped,
            maxVertices=_wrapped_integer,
            geodesic=_boolean,
        )
    ),
    csvColumnDataTypeOverrides=_object,
    columnDataTypeOverrides=_object,
)

_REQUESTS: Mapping[str, Check] = {
    "value:compute": _message(**_COMPUTATION),
    "image:computePixels": _message(**_COMPUTATION, **_PICTURE),
    "table:computeFeatures": _message(**_COMPUTATION, **_PAGE),
    "imageCollection:computeImages": _message(**_COMPUTATION, **_PAGE),
    "assets:getPixels": _message(**_PICTURE, name=_string, region=_object, workloadTag=_tag),
    "thumbnails": _message(**_COMPUTATION, **_PICTURE, name=_string, filenamePrefix=_string),
    "filmstripThumbnails": _message(
        **_COMPUTATION,
        name=_string,
        orientation=_enum("FilmstripThumbnail.Orientation", "ORIENTATION_UNSPECIFIED", "HORIZONTAL", "VERTICAL"),
        fileFormat=_IMAGE_FORMAT,
        grid=_GRID,
    ),
    "videoThumbnails": _message(
        **_COMPUTATION,
        name=_string,
        videoOptions=_message(framesPerSecond=_number, maxFrames=_integer, maxPixelsPerFrame=_integer),
        fileFormat=_enum("VideoThumbnail.VideoFileFormat", "VIDEO_FILE_FORMAT_UNSPECIFIED", "MP4", "GIF", "VP9"),
        grid=_GRID,
    ),
    "maps": _message(
        **_COMPUTATION,
        name=_string,
        fileFormat=_IMAGE_FORMAT,
        bandIds=_array(_string),
        visualizationOptions=_VISUALIZATION,
    ),
    "store:files": _message(ids=_array(_string), bands=_array(_string)),
    "image:export": _message(
        **_EXPORT,
        grid=_GRID,
        maxPixels=_wrapped_integer,
        fileExportOptions=_IMAGE_FILES,
        assetExportOptions=_message(
            earthEngineDestination=_EARTH_ENGINE,
            pyramidingPolicy=_string,
            pyramidingPolicyOverrides=_object,
            tileSize=_wrapped_integer,
        ),
    ),
    "table:export": _message(
        **_EXPORT,
        selectors=_array(_string),
        maxErrorMeters=_wrapped,
        maxVertices=_wrapped_integer,
        fileExportOptions=_message(fileFormat=_TABLE_FORMAT, **_FILE_DESTINATIONS),
        assetExportOptions=_message(earthEngineDestination=_EARTH_ENGINE),
        featureViewExportOptions=_object,
        bigqueryExportOptions=_object,
    ),
    "video:export": _message(
        **_EXPORT,
        videoOptions=_VIDEO_OPTIONS,
        fileExportOptions=_message(
            fileFormat=_enum("VideoFileFormat", "VIDEO_FILE_FORMAT_UNSPECIFIED", "MP4", "GIF", "VP9"),
            **_FILE_DESTINATIONS,
        ),
    ),
    "map:export": _message(
        **_EXPORT,
        tileOptions=_message(
            startZoom=_integer, endZoom=_integer, scale=_number, skipEmpty=_boolean, mapsApiKey=_string
        ),
        tileExportOptions=_IMAGE_FILES,
    ),
    "classifier:export": _message(**_EXPORT, assetExportOptions=_message(earthEngineDestination=_EARTH_ENGINE)),
    "image:import": _message(**_IMPORT, imageManifest=_IMAGE_MANIFEST),
    "image:importExternal": _message(imageManifest=_IMAGE_MANIFEST, overwrite=_boolean),
    "table:import": _message(**_IMPORT, tableManifest=_TABLE_MANIFEST),
    "assets:create": _message(**_ASSET),
    "assets:patch": _message(asset=_message(**_ASSET), updateMask=_mask),
    "assets:copy": _message(destinationName=_string, overwrite=_boolean, bandIds=_array(_string)),
    "assets:getIamPolicy": _message(options=_object),
    "assets:setIamPolicy": _message(policy=_POLICY, updateMask=_mask),
    "assets:testIamPermissions": _message(permissions=_array(_string)),
    "assets:move": _message(destinationName=_string),
    "tables": _message(
        **_COMPUTATION, name=_string, fileFormat=_TABLE_FORMAT, selectors=_array(_string), filename=_string
    ),
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
    "properties",
    "csvColumnDataTypeOverrides",
    "columnDataTypeOverrides",
)  # members whose names are users' own


def _camel_names(value: Any) -> Any:
    """Return a message with the names of fields that JSON has: the client also sends ``start_time``.

    Google's JSON parser accepts both: https://protobuf.dev/programming-guides/json/.
    """
    if isinstance(value, list):
        return [_camel_names(item) for item in value]
    if not isinstance(value, Mapping):
        return value
    named = {re.sub(r"_([a-z])", lambda match: match.group(1).upper(), name): item for name, item in value.items()}
    return {name: item if name in _FREE_FORM else _camel_names(item) for name, item in named.items()}


def check(kind: str, body: Any) -> Mapping[str, Any]:
    """Check a request's JSON; return it without the fields that are null.

    Args:
        kind: the method ("image:computePixels") or the resource that is to be created ("thumbnails").
        body: the decoded JSON.

    Raises:
        InvalidError: if it is no message of that kind.
    """
    if not isinstance(body, Mapping):
        raise InvalidError("Invalid JSON payload received. Unexpected token: an object is expected.")
    is_asset = kind in _OF_ASSETS
    if is_asset:
        body = _camel_names(body)
    _REQUESTS[kind](body, "")
    manifest = _MANIFESTS.get(kind)
    if manifest is not None and body.get(manifest) is None:
        raise InvalidError(f"Required field '{_snake(manifest)}' is missing.")
    if not is_asset and body.get("expression") is None:
        raise InvalidError("Required field 'expression' is missing.")
    return {name: content for name, content in body.items() if content is not None}


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
        raise InvalidError("Invalid JSON payload received. Unexpected token.") from error


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
