"""Ask for the states of batch tasks: of many by pages of the project's list, of few by name."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from eechips.client.error_classification import classify_response, internal_error
from eechips.errors import EechipsError, PermanentError
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
        is_done: it has ended.
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
            statuses |= {operation["name"]: _status(operation) for operation in listed if operation["name"] in left}
            left -= statuses.keys()
        return statuses | {name: _status(_get(name)) for name in left}
    except Exception as error:
        raise internal_error(error) from error


def find_task(name: str) -> str | None:
    """Return the operation of the task with a description, which is unique; None if there is none."""
    import ee

    for page in _list_pages(ee.data._get_projects_path()):
        for operation in page:
            if operation.get("metadata", {}).get("description") == name:
                return str(operation["name"])
    return None


def _list_pages(project: str) -> Iterator[list[dict[str, Any]]]:
    """Return the pages of the operations of ``projects/…``, a request each. The client offers the whole only."""
    import ee

    operations = ee.data._get_cloud_projects().operations()

    def request(token: str | None) -> tuple[list[dict[str, Any]], str | None]:
        response = operations.list(name=project, pageSize=_PAGE, pageToken=token).execute(num_retries=0)
        return response.get("operations", []), response.get("nextPageToken")

    return follow_pages(request, f"the tasks of {project}")


def _get(name: str) -> dict[str, Any] | None:
    """Request an operation; None if there is none."""
    import ee

    try:
        operation: dict[str, Any] = ee.data.getOperation(name)
    except ee.EEException as error:
        classified = internal_error(error)
        if isinstance(classified, PermanentError) and classified.status == _GONE:
            return None
        raise
    return operation


def _status(operation: Mapping[str, Any] | None) -> TaskStatus:
    if operation is None:
        return TaskStatus(True, PermanentError("Earth Engine does not know the task any longer"), 0.0)
    metadata = operation.get("metadata", {})
    seconds = float(metadata.get("batchEecuUsageSeconds") or 0.0)
    is_done = bool(operation.get("done"))
    if not is_done:
        return TaskStatus(False, None, seconds)
    if "error" in operation or metadata.get("state") in _FAILED:
        error = operation.get("error") or {}
        message = str(error.get("message") or metadata.get("state") or "unknown")
        status = _STATUSES.get(int(error.get("code") or 0), _NO_STATUS)
        return TaskStatus(True, classify_response(status, message), seconds)
    return TaskStatus(True, None, seconds)
