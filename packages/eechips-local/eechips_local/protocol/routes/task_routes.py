"""Start exports and ingestions; list, cancel, delete and wait for their tasks as long-running operations.

See https://developers.google.com/earth-engine/reference/rest/v1/projects.operations.
"""

from __future__ import annotations

import asyncio
import re

from starlette.requests import Request
from starlette.responses import Response

from eechips_local.protocol.http import json_response
from eechips_local.protocol.messages import check, decode, encode_json
from eechips_local.protocol.pages import page, window
from eechips_local.protocol.request_errors import InvalidError
from eechips_local.protocol.service import Handler, Service

_PAGE = 500
_USUAL_WAIT = 30.0
_LONGEST_WAIT = 300.0
_POLL = 0.05
_DURATION = re.compile(r"(\d{1,6}(\.\d{1,9})?)s")


def start(method: str) -> Handler:
    """Return the handler of a method that starts an export or an ingestion."""

    async def submit(service: Service, request: Request) -> Response:
        content = await service.body(request)
        body = check(method, decode(content))
        service.account.check(service.quota.config.eecu_hours)
        if method == "image:export":  # of other exports no answer of the service is known
            expression = encode_json({"expression": body["expression"]}).content
            assets = await service.evaluate(request, "exports:check", expression)
            if assets.status_code != 200:
                return assets
        return json_response(service.tasks.submit(request.path_params["project"], method, body, content))

    return submit


async def list_operations(service: Service, request: Request) -> Response:
    """Return a page of the operations of a project, newest first."""
    start, size = window(request.query_params, _PAGE, _PAGE)
    operations, rest = page(iter(service.tasks.operations(request.path_params["project"])), start, size)
    return json_response({"operations": operations, **rest} if operations else {})


async def get_operation(service: Service, request: Request) -> Response:
    """Return an operation."""
    return json_response(service.tasks.operation(request.path_params["project"], request.path_params["id"]))


async def cancel_operation(service: Service, request: Request) -> Response:
    """Cancel a task."""
    operation_key = request.path_params["project"], request.path_params["id"]
    await asyncio.to_thread(service.tasks.cancel, *operation_key)  # waits until the process has ended
    return json_response({})


async def delete_operation(service: Service, request: Request) -> Response:
    """Forget a task that has ended."""
    service.tasks.delete(request.path_params["project"], request.path_params["id"])
    return json_response({})


async def wait_operation(service: Service, request: Request) -> Response:
    """Return an operation when it is done, or when the time of the request is over."""
    body = decode(await service.body(request))
    text = body.get("timeout", f"{_USUAL_WAIT}s") if isinstance(body, dict) else None
    match = _DURATION.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise InvalidError("Invalid value at 'timeout' (type.googleapis.com/google.protobuf.Duration)")
    loop = asyncio.get_running_loop()
    end = loop.time() + min(float(match.group(1)), _LONGEST_WAIT)
    while True:
        operation = service.tasks.operation(request.path_params["project"], request.path_params["id"])
        if operation.get("done") or loop.time() >= end:
            return json_response(operation)
        await asyncio.sleep(_POLL)
