"""Inject faults into HTTP responses."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import struct
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from eechips_local.protocol.fault_plan import Fault
from eechips_local.protocol.http import TRANSPORT_KEY
from eechips_local.protocol.messages import error_response
from eechips_local.protocol.request_errors import EarthEngineError, NotFoundError
from eechips_local.quota.compute_cost import PROFILE_RESPONSE_HEADER
from eechips_local.quota.quota import REJECTION, RESTRICTED, TooManyRequestsError

_HTML = b"<!DOCTYPE html><html><head><title>Error</title></head><body><h1>Something went wrong</h1></body></html>"

_STATUS_WORDS: Mapping[int, str] = {
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


def replace_response(fault: Fault) -> Response | None:
    """Return the response that replaces that of a request, or None where the request is processed."""
    if fault.type == "reject":
        return _error(TooManyRequestsError(REJECTION), 429, fault)
    if fault.type == "status":
        return _error(EarthEngineError(fault.message), fault.status, fault)
    if fault.type == "expired":
        return _error(NotFoundError("Not found: the name does not exist or has expired."), 404, fault)
    if fault.type == "html":
        return Response(_HTML, media_type="text/html")
    return _BrokenResponse(b"", {}, reset=True) if fault.type == "reset" else None


def alter_response(fault: Fault, response: Response) -> Response:
    """Return a response with the fault in it."""
    if fault.type == "stall":
        return _StalledResponse(response, fault.seconds)
    content, headers = bytes(response.body), dict(response.headers)
    profile = {name: value for name, value in headers.items() if name == PROFILE_RESPONSE_HEADER}
    half = content[: len(content) // 2]
    if fault.type == "reset-body":
        return _BrokenResponse(half, headers, reset=True)
    if fault.type == "truncate":
        return _BrokenResponse(half, headers, reset=False)
    if fault.type == "stall-body":
        return _SlowResponse(content, headers, fault.seconds)
    if fault.type == "truncate-silently":
        return Response(half, response.status_code, profile, response.media_type)
    if fault.type == "wrong-content":
        return Response(b"\x00" * len(content), response.status_code, profile, response.media_type)
    if fault.type == "gzip":
        packed = gzip.compress(content, 1, mtime=0)
        return Response(packed, response.status_code, {"content-encoding": "gzip", **profile}, response.media_type)
    return Response(content, response.status_code, {**RESTRICTED, **profile}, response.media_type)


def _error(error: EarthEngineError, status: int, fault: Fault) -> Response:
    response = error_response(error)
    headers = {} if fault.retry_after is None else {"retry-after": f"{fault.retry_after:g}"}
    content = response.content
    if status != response.status:
        content = json.dumps(
            {"error": {"code": status, "message": str(error), "status": _status_word(status)}}
        ).encode()
    return Response(content, status, headers, response.media_type)


def _status_word(status: int) -> str:
    """Return the status of an error by its HTTP code.

    https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto, read 2026-11.
    """
    return _STATUS_WORDS.get(status, "INTERNAL" if status >= 500 else "INVALID_ARGUMENT")


class _BrokenResponse(Response):
    """Send less than Content-Length says, and close or reset the connection."""

    def __init__(self, content: bytes, headers: dict[str, str], *, reset: bool) -> None:
        super().__init__(b"", 200, headers)
        self._content, self._reset = content, reset

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._content:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            await send({"type": "http.response.body", "body": self._content, "more_body": True})
        transport: asyncio.Transport = scope[TRANSPORT_KEY]
        if self._reset:
            connection: Any = transport.get_extra_info("socket")
            # Lingering for zero seconds makes the kernel reset the connection instead of closing it.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            transport.abort()
        else:
            transport.close()
        await _wait_for_disconnect(receive)  # else uvicorn reports that no response was sent


class _StalledResponse(Response):
    """Send a response after a pause."""

    def __init__(self, response: Response, seconds: float) -> None:
        super().__init__(b"", response.status_code, dict(response.headers))
        self._response, self._seconds = response, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if await _pause(self._seconds, receive):
            self._response.raw_headers = self.raw_headers
            await self._response(scope, receive, send)


class _SlowResponse(Response):
    """Pause in the middle of the body."""

    def __init__(self, content: bytes, headers: dict[str, str], seconds: float) -> None:
        super().__init__(b"", 200, headers)
        self._content, self._seconds = content, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        half = len(self._content) // 2
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self._content[:half], "more_body": True})
        if await _pause(self._seconds, receive):
            await send({"type": "http.response.body", "body": self._content[half:], "more_body": False})


async def _pause(seconds: float, receive: Receive) -> bool:
    """Wait, and return whether the client is still connected."""
    try:
        await asyncio.wait_for(_wait_for_disconnect(receive), seconds)
    except asyncio.TimeoutError:  # an alias of TimeoutError only since Python 3.11
        return True
    return False


async def _wait_for_disconnect(receive: Receive) -> None:
    """Wait until the client disconnects."""
    while (await receive())["type"] != "http.disconnect":
        pass
