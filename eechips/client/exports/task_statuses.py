"""Ask for the states of batch tasks: of many by pages of the project's list, of few by name."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from types import NoneType
from typing import Any

from eechips.client.error_classification import classify_response, internal_error
from eechips.errors import EechipsError, PermanentError, ValidationError
from eechips.web.list_pages import follow_pages

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
    """

    is_done: bool
    error: EechipsError | None
    eecu_seconds: float


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
            return TaskStatus(True, PermanentError("Earth Engine does not know the task any longer"), 0.0)
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
