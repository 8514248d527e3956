"""Export chips and tables to Cloud Storage by batch tasks of Earth Engine; ask for the states of tasks; say what cannot
be exported; check the exported files.

A batch task has days where a request has five minutes, and more memory
(https://developers.google.com/earth-engine/guides/processing_environments).

Tables are exported as CSV. Its cells have no types, and how Earth Engine writes lists into them is not documented. Each
row is therefore one cell with its properties as JSON
(https://developers.google.com/earth-engine/apidocs/ee-string-encodejson), which has numbers, texts, lists and
dictionaries.

Files have a mark, so that the file of another task is noticed: in the name of the mask band, or in the last row. It is
a part of the name of the task and of its file.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import math
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from types import NoneType
from typing import TYPE_CHECKING, Any

from eechips.client.chip_parameters import placement, rendered
from eechips.client.error_classification import classify_response, internal_error
from eechips.client.exports.export_place import ExportPlace
from eechips.client.http.http_messages import load_values
from eechips.client.http.marked_requests import MASK_BAND_TO_MARK, names_other
from eechips.errors import EechipsError, PermanentError, ValidationError
from eechips.formats import CHIP_FORMATS, MASK_BAND
from eechips.recipe import Chip, Table
from eechips.recipe.results import Series, SplittableTable
from eechips.web.list_pages import follow_pages

if TYPE_CHECKING:
    import ee


_PAGE = 500
"""Tasks of a page of the list, as many as the client asks for."""
_SPARED = 20
"""Requests for single tasks that each page of the list has to be able to spare: a page is as long as 500 of their
responses, and has the other tasks of the project as well. No filter of the list is documented
(https://developers.google.com/earth-engine/reference/rest/v1/projects.operations/list)."""
_GONE = 404
_FAILED = ("FAILED", "CANCELLED")
_STATUSES = {3: 400, 5: 404, 7: 403, 8: 429, 9: 400, 11: 400, 13: 500, 14: 503, 16: 401}
"""HTTP statuses of codes (https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto). For other codes,
such as that of a cancelled task, only the message counts."""
_NO_STATUS = 400


@dataclass(frozen=True, slots=True)
class TaskStatus:
    """The state of a task.

    Attributes:
        error: why it has not succeeded, classified; None if it has, or has not ended.
        eecu_seconds: compute of all attempts so far.
        is_known: whether the service says that it has the task.
    """

    is_done: bool
    error: EechipsError | None
    eecu_seconds: float
    is_known: bool = True


def fetch_statuses(operations: Collection[str]) -> Mapping[str, TaskStatus]:
    """Request the states of tasks: of many by pages of the project's list, up to the last that pays, of others by name.

    Args:
        operations: names.

    Raises:
        EechipsError: classified, if the service does not answer.
    """
    statuses: dict[str, TaskStatus] = {}
    left = set(operations)
    try:
        pages = _list_pages(next(iter(left)).partition("/operations/")[0]) if left else iter(())
        for number in itertools.count(1):
            listed = next(pages, None) if len(left) >= _SPARED * number else None
            if listed is None:
                break
            statuses |= {name: _status(name, listed[name]) for name in left & listed.keys()}
            left -= statuses.keys()
        return statuses | {name: _get_status(name) for name in left}
    except Exception as error:
        raise internal_error(error) from error


def find_task(name: str) -> str | None:
    """Return the operation of the task with a description, which is unique; None if there is none."""
    import ee

    for page in _list_pages(ee.data._get_projects_path()):
        for operation, described in page.items():
            metadata = described.get("metadata")
            if isinstance(metadata, dict) and metadata.get("description") == name:
                return operation
    return None


def _list_pages(project: str) -> Iterator[dict[str, dict[str, Any]]]:
    """Yield the pages of the operations of ``projects/…`` by name, a request each. The client offers only all."""
    import ee

    operations = ee.data._get_cloud_projects().operations()

    def request(token: str | None) -> tuple[dict[str, dict[str, Any]], str | None]:
        response = operations.list(name=project, pageSize=_PAGE, pageToken=token).execute(num_retries=0)
        listed = response.get("operations") if isinstance(response, dict) else ()
        if not isinstance(listed, (list, NoneType)):
            raise ValidationError(f"a response came back that is no list of the tasks of {project}")
        named = [task for task in listed or () if isinstance(task, dict) and isinstance(task.get("name"), str)]
        return {task["name"]: task for task in named}, response.get("nextPageToken")

    return follow_pages(request, f"the tasks of {project}")


def _get_status(name: str) -> TaskStatus:
    """Request the state of a task; one that the service does not know has ended."""
    import ee

    try:
        operation = ee.data.getOperation(name)
    except ee.EEException as error:
        classified = internal_error(error)
        if isinstance(classified, PermanentError) and classified.status == _GONE:
            return TaskStatus(
                True, PermanentError("Earth Engine does not know the task any longer"), 0.0, is_known=False
            )
        raise
    return _status(name, operation)


def _status(name: str, operation: Any) -> TaskStatus:
    """Return the state of a task from its description.

    Raises:
        ValidationError: if it is none, or that of another task.
    """
    is_described = isinstance(operation, dict) and operation.get("name") == name
    metadata: Any = operation.get("metadata", {}) if is_described else None
    seconds = _seconds(metadata)
    if seconds is None or not isinstance(operation.get("done", False), bool):
        raise ValidationError(f"a response came back that does not describe the task {name}")
    if not operation.get("done", False):
        return TaskStatus(False, None, seconds)
    if "error" in operation or metadata.get("state") in _FAILED:
        error = operation.get("error") or {}
        if not isinstance(error, dict):
            error = {"message": error}
        code = error.get("code")
        message = str(error.get("message") or metadata.get("state") or "unknown")
        status = _STATUSES.get(code, _NO_STATUS) if isinstance(code, int) else _NO_STATUS
        return TaskStatus(True, classify_response(status, message), seconds)
    return TaskStatus(True, None, seconds)


def _seconds(metadata: Any) -> float | None:
    """Return the compute of a task, EECU-seconds; None if its metadata are no object, or have no number."""
    if not isinstance(metadata, dict):
        return None
    try:
        seconds = float(metadata.get("batchEecuUsageSeconds") or 0.0)
    except (TypeError, ValueError):
        return None
    return seconds if math.isfinite(seconds) else None


_ROW, _GEO = "eechips_row", ".geo"
_END = MASK_BAND_TO_MARK
"""The last row, until it is marked: a table without rows can be exported, and a file that lacks rows at its end is
detected."""
_MOST_EXACT = 2**53


def table_obstacle(table: Table) -> str | None:
    """Return why an exported table would not be the same as a fetched one, a clause; None if it is the same."""
    if table.unpack is None and table.columns is None:
        return "the order of the columns is unknown; give the table `columns`"
    if _GEO in (table.columns or ()):
        return "exported geometries differ from fetched ones (.geo)"
    return None


def has_geometry(table: Table) -> bool:
    """Return whether the rows of a table are exported with their geometries."""
    return table.unpack is not None


def exported_rows(table: Table) -> ee.FeatureCollection:
    """Return the features of the file of a table without an obstacle: see :func:`table_obstacle`."""
    import ee

    source: Any = table.source.source if isinstance(table.source, SplittableTable) else table.source
    rows: Any = source.rows() if isinstance(source, Series) else source
    keeps_geometry = has_geometry(table)

    def packed(element: Any) -> Any:
        feature: Any = ee.Feature(element)
        text = ee.String.encodeJSON(feature.toDictionary(feature.propertyNames()))
        return feature.select([], None, keeps_geometry).set(_ROW, text)

    end = ee.FeatureCollection([ee.Feature(None, {_ROW: _END})])
    exported: ee.FeatureCollection = rows.map(packed).merge(end)
    return exported


def selected_columns(table: Table) -> list[str]:
    """Return the columns of the file of a table."""
    return [_ROW, _GEO] if has_geometry(table) else [_ROW]


def file_mark(url: str) -> str:
    """Return the mark of the file that a task writes, from its URL."""
    return f"{MASK_BAND}_{url.rpartition('-')[2].partition('.')[0]}"


def check_mark(data: bytes, url: str) -> None:
    """Raise ValidationError if the GeoTIFF of a task is that of another one."""
    if names_other(file_mark(url), data):
        raise ValidationError("it is the file of another task")


def read_rows(data: bytes, table: Table, url: str) -> list[dict[str, Any]]:
    """Read the file of a table; raise ValidationError if the file is not that of an exported table, or not whole.

    Args:
        url: URL of the file, which has its mark.

    Returns:
        The same as :meth:`eechips.client.fetcher.Fetcher.rows`. Numbers without a fraction are integers, as in
        responses. Of geometries the coordinates are the same.
    """
    import pyarrow as pa
    from pyarrow import csv

    names = selected_columns(table)
    try:
        cells = csv.read_csv(
            io.BytesIO(data),
            # A cell lies within one block.
            read_options=csv.ReadOptions(block_size=max(1, min(len(data), 2**31 - 1)), use_threads=False),
            convert_options=csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False
            ),
        )
    except pa.ArrowInvalid as error:
        raise ValidationError(f"it is no CSV: {error}") from error
    if cells.column_names != names:
        raise ValidationError(f"its columns are {', '.join(cells.column_names)}, not {', '.join(names)}")
    texts = cells.column(_ROW).to_pylist()
    if texts[-1:] != [file_mark(url)]:
        raise ValidationError("its last row is missing, or that of another task")
    geometries = cells.column(_GEO).to_pylist() if has_geometry(table) else [""] * len(texts)
    return [_row(text, geometry) for text, geometry in zip(texts[:-1], geometries, strict=False)]


def _row(text: str, geometry: str) -> dict[str, Any]:
    try:
        row = load_values(text, parse_float=_number)
        shape = load_values(geometry) if geometry else None
    except (ValueError, OverflowError) as error:
        raise ValidationError(f"a row is no JSON: {error}") from error
    if not isinstance(row, dict):
        raise ValidationError("a row is no JSON object")
    # Rows without a geometry have {"type": "MultiPoint", "coordinates": []}.
    is_there = isinstance(shape, dict) and (shape.get("coordinates") or shape.get("geometries"))
    return {"system:index": None, **row, _GEO: shape if is_there else None}


def _number(text: str) -> float | int:
    """Return a number as it is in responses, where whole ones have no fraction."""
    number = float(text)
    return int(number) if number.is_integer() and abs(number) < _MOST_EXACT else number


_IMAGE_SUFFIX, _TABLE_SUFFIX = ".tif", ".csv"

_TILE = 256
"""Edge of the tiles of exported files; sizes of files are multiples of it."""
_EXISTS = 409
_USED_ID = "already started with the given request_id"
"""In the message about an id that another request had (code 52967904863), of which the HTTP status is not known."""
_MOST_IDS = 5
"""Ids of a task that are tried."""


@dataclass(frozen=True, slots=True)
class ExportTask:
    """A task that exports a chip or a table.

    Attributes:
        operation: its name, ``projects/…/operations/…``.
        url: URL of the file that it writes, ``gs://…``.
    """

    operation: str
    url: str


def export_kind(url: str) -> str:
    """Return the kind of the request that starts the task of a file, as in the manifest's column ``method``."""
    return "table:export" if url.endswith(_TABLE_SUFFIX) else "image:export"


def export_obstacle(result: Chip | Table) -> str | None:
    """Return why an exported file would not be the same as a fetched one, a clause; None if it is the same."""
    if isinstance(result, Table):
        return table_obstacle(result)
    is_picture = CHIP_FORMATS.get(result.format).request_format not in ("tif", "npy")
    return "Earth Engine exports no pictures" if is_picture else None


def start_export(result: Chip | Table, place: ExportPlace, unit: str, key: str) -> ExportTask:
    """Start the task that exports the pixels of a chip as a GeoTIFF, or the rows of a table as a CSV.

    The task is that of an earlier call with the same arguments, if there was one: the request's id depends on them,
    and the service starts one task for each id
    (https://developers.google.com/earth-engine/reference/rest/v1/projects.image/export).

    Args:
        result: without an obstacle, see :func:`export_obstacle`.
        unit: id of the unit, hexadecimal, with which the name of the file begins.
        key: differs between runs and between attempts, so that each has a request id of its own.

    Raises:
        EechipsError: classified, if the service does not start it.
    """
    import ee

    content, options, suffix = _table_request(result) if isinstance(result, Table) else _image_request(result)
    digest = hashlib.sha256(json.dumps([key, content], sort_keys=True).encode()).hexdigest()
    name = f"eechips-{unit[:16]}-{digest[:24]}"
    prefix = f"{place.prefix}/{name}" if place.prefix else name
    url = f"gs://{place.bucket}/{prefix}{suffix}"
    content = json.loads(json.dumps(content).replace(MASK_BAND_TO_MARK, file_mark(url)))
    options["cloudStorageDestination"] = {"bucket": place.bucket, "filenamePrefix": prefix}
    start = ee.data.exportTable if isinstance(result, Table) else ee.data.exportImage
    operation = _start_once(start, name, {**content, "description": name, "fileExportOptions": options})
    return ExportTask(operation, url)


_ExportRequest = tuple[dict[str, Any], dict[str, Any], str]
"""The body of a request that starts a task, options of its file, and the suffix of the file."""


def _image_request(chip: Chip) -> _ExportRequest:
    import ee

    # The values of masked pixels in exported files are not documented. The mask is a band, as in other requests.
    # It has the type of the other bands, as a GeoTIFF needs it.
    image = rendered(replace(chip, format="tif", asset=None), MASK_BAND_TO_MARK).unmask(0, False)
    content: dict[str, Any] = {}
    options: dict[str, Any] = {"fileFormat": "GEO_TIFF"}
    if chip.grid is None:
        image, _ = image.prepare_for_export(placement(chip))
    else:
        content["grid"] = chip.grid.to_pixel_grid()
    if chip.size is not None:
        width, height = chip.size
        content["maxPixels"] = {"value": str(width * height)}
        # The size of a file that holds all pixels.
        tile = {"width": -(-width // _TILE) * _TILE, "height": -(-height // _TILE) * _TILE}
        options["geoTiffOptions"] = {"tileDimensions": tile}
    content["expression"] = ee.serializer.encode(image, for_cloud_api=True)
    return content, options, _IMAGE_SUFFIX


def _table_request(table: Table) -> _ExportRequest:
    import ee

    content = {
        "expression": ee.serializer.encode(exported_rows(table), for_cloud_api=True),
        "selectors": selected_columns(table),
    }
    return content, {"fileFormat": "CSV"}, _TABLE_SUFFIX


def _start_once(start: Callable[[str, dict[str, Any]], Any], name: str, request: dict[str, Any]) -> str:
    """Start a task unless it was, and return its operation.

    An id may be used up although no task was started: by a request whose answer was lost, or which was refused since
    too many tasks waited in an earlier run (within one, the transport takes another id). Then another id is taken.

    Raises:
        EechipsError: classified, if the service does not start it; the last refusal, if all ids are used up.
    """
    for number in range(1, _MOST_IDS + 1):
        try:
            return str(start(name if number == 1 else f"{name}-{number}", request)["name"])
        except Exception as error:
            refusal = internal_error(error)
            if getattr(refusal, "status", None) != _EXISTS and _USED_ID not in str(refusal):
                raise refusal from error
        known = find_task(name)
        if known is not None:
            return known
    raise refusal
