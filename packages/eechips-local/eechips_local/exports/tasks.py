"""Define tasks: an export from its request to its end, and the operation that clients see of it.

See https://developers.google.com/earth-engine/guides/processing_environments#task_lifecycle and
https://developers.google.com/earth-engine/reference/rest/v1/projects.operations.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from enum import Enum
from typing import Any

from eechips_local.exports.destinations import AssetDestination, Destination
from eechips_local.protocol.proto_json import timestamp, without_defaults

TYPES = {
    "image:export": "EXPORT_IMAGE",
    "table:export": "EXPORT_FEATURES",
    "video:export": "EXPORT_VIDEO",
    "map:export": "EXPORT_TILES",
    "classifier:export": "EXPORT_CLASSIFIER",
    "image:import": "INGEST_IMAGE",
    "table:import": "INGEST_TABLE",
}
"""Types of tasks by the method that starts them, as the client names them."""

DEFAULT_PRIORITY = 100
GREATEST_PRIORITY = 9999
MOST_ATTEMPTS = 5
"""Of a task whose failures may be intermittent."""

_METADATA = "type.googleapis.com/google.earthengine.v1.OperationMetadata"
_EMPTY = "type.googleapis.com/google.protobuf.Empty"
_STAGES = (
    ("Create Local Files", "Computation and writing of temporary files."),
    ("Write Files to Destination", "Uploading of files to destination location."),
)
CANCELLED_CODE = 1
RESOURCE_CODE = 8
INTERNAL_CODE = 13
CODES = {
    "INVALID_ARGUMENT": 3,
    "DEADLINE_EXCEEDED": 4,
    "NOT_FOUND": 5,
    "RESOURCE_EXHAUSTED": RESOURCE_CODE,
    "FAILED_PRECONDITION": 9,
    "INTERNAL": INTERNAL_CODE,
    "UNAVAILABLE": 14,
}
"""Codes of google.rpc.Code by the status of errors: https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto."""


class TaskState(str, Enum):
    """State of an operation: https://developers.google.com/earth-engine/reference/rest/Shared.Types/State."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    CANCELLING = "CANCELLING"
    SUCCEEDED = "SUCCEEDED"
    CANCELLED = "CANCELLED"
    FAILED = "FAILED"


DONE = (TaskState.SUCCEEDED, TaskState.CANCELLED, TaskState.FAILED)


@dataclass(frozen=True, slots=True)
class TaskResult:
    """How an attempt at a task ended.

    Attributes:
        error: code of google.rpc.Code and message; None for success.
        is_intermittent: whether another attempt may succeed.
        eecu_seconds: EECU seconds of the attempt.
        workload_tag: workload tag of the request.
        stubs: ids of the datasets whose synthetic stubs the attempt has loaded.
    """

    error: tuple[int, str] | None = None
    is_intermittent: bool = False
    eecu_seconds: float = 0.0
    workload_tag: str | None = None
    stubs: frozenset[str] = frozenset()


@dataclass(slots=True)
class ExportTask:
    """An export.

    Attributes:
        project: project that it runs in.
        method: method that started it, a key of ``TYPES``.
        content: the request's body; empty after the end.
        request_id: which the client made up, or an empty text.
        digest: digest of the request's body.
        description: for people.
        destination: destination of its files, or its asset.
        priority: tasks with a higher one run first.
        created: seconds since 1970.
        updated: time of the last change of state.
        started: None before it runs.
        ended: None before its end.
        attempt: number of the present one; 0 before the first.
        created_share: from 0 to 1, of files that are computed.
        written_share: from 0 to 1, of files at their destination.
        eecu_seconds: EECU seconds of all attempts.
        error: code of google.rpc.Code and message, of a task that failed or was cancelled.
        workload_tag: workload tag of the request.
    """

    id: str
    project: str
    method: str
    content: bytes
    request_id: str
    digest: bytes
    description: str
    destination: Destination | AssetDestination
    priority: int
    created: float
    updated: float
    started: float | None = None
    ended: float | None = None
    state: TaskState = TaskState.PENDING
    attempt: int = 0
    created_share: float = 0.0
    written_share: float = 0.0
    eecu_seconds: float = 0.0
    error: tuple[int, str] | None = None
    workload_tag: str | None = None

    @property
    def is_done(self) -> bool:
        """Whether it has ended."""
        return self.state in DONE

    def operation(self) -> dict[str, Any]:
        """Return the Operation that clients see."""
        metadata: dict[str, Any] = {
            "@type": _METADATA,
            "state": self.state.value,
            "description": self.description,
            "createTime": _stamp(self.created),
            "updateTime": _stamp(self.updated),
            "startTime": _stamp(self.started or 0.0),  # tasks that have not started show 1970
            "type": TYPES[self.method],
        }
        if self.attempt:
            metadata["attempt"] = self.attempt
            shares = self.created_share, self.written_share
            metadata["progress"] = sum(shares) / 2.0
            metadata["stages"] = [_stage(*stage, share) for stage, share in zip(_STAGES, shares, strict=True)]
            metadata["batchEecuUsageSeconds"] = self.eecu_seconds
        if self.ended is not None:
            metadata["endTime"] = _stamp(self.ended)
        if self.state is TaskState.SUCCEEDED:
            metadata["destinationUris"] = [self.destination.uri]
        operation_fields: dict[str, Any] = {
            "name": f"projects/{self.project}/operations/{self.id}",
            "metadata": {**without_defaults(metadata), "priority": self.priority},
        }
        if self.is_done:
            operation_fields["done"] = True
            if self.error is None:
                operation_fields["response"] = {"@type": _EMPTY}
            else:
                operation_fields["error"] = {"code": self.error[0], "message": self.error[1]}
        return operation_fields


def _stage(name: str, description: str, share: float) -> dict[str, Any]:
    """Return an OperationStage. One that has not begun has no work units: see `without_defaults`."""
    units = {"completeWorkUnits": share, "totalWorkUnits": "1"} if share else {}
    return {"displayName": name, "description": description, **units}


def _stamp(seconds: float) -> str:
    return timestamp(datetime.fromtimestamp(seconds, timezone.utc))
