"""Bound the size and time of a request's headers (400, 408), make HTTP responses, and abandon an evaluation when its
client leaves.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from eechips_local.evaluation.evaluation_pool import PendingEvaluation
from eechips_local.protocol.messages import ServiceResponse
from eechips_local.protocol.request_errors import ClientGoneError

TRANSPORT_KEY = "eechips.transport"
"""Key of the connection's transport in the ASGI scope."""

_MOST_HEAD = 1 << 20  # bytes of a request line and its headers, and of what is no body after them


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol with limits on the size and time of headers. Handlers find the connection in the scope.

    Attributes:
        head_seconds: time for a request line and its headers, from the connection or the end of the last response.
    """

    head_seconds: float = 60

    _head = 0
    _is_in_head = True
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the timer of the first request. uvicorn has none."""
        super().connection_made(transport)
        self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timer."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Reject a request whose headers, trailers or extensions of chunks are too large. uvicorn has no limit."""
        self._head += len(data)
        if self._head > _MOST_HEAD:
            self._refuse_head()
            return
        super().data_received(data)
        # Empty lines before a request stop uvicorn's keep-alive timer without starting a request.
        if self.cycle is None or self.cycle.response_complete:
            self._start_timer()

    def on_message_begin(self) -> None:
        """Count the headers of the next request."""
        self._head, self._is_in_head = 0, True
        super().on_message_begin()
        self._start_timer()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header. Ignore a trailer, which uvicorn would keep."""
        if self._is_in_head:
            super().on_header(name, value)

    def on_body(self, body: bytes) -> None:
        """Take a part of the body, whose size the application limits."""
        self._head = 0
        super().on_body(body)

    def on_headers_complete(self) -> None:
        """Put the connection into the scope."""
        self._is_in_head = False
        self._stop_timer()
        self.scope[TRANSPORT_KEY] = self.transport  # type: ignore[literal-required]
        super().on_headers_complete()

    def _refuse_head(self) -> None:
        """Close the connection, with an answer unless one has begun."""
        if self._is_in_head or self.cycle is None or not self.cycle.response_started:
            self.send_400_response("The headers of the request are too large.")
        else:
            self.transport.close()

    def _start_timer(self) -> None:
        if self._timer is None and not self.transport.is_closing():
            self._timer = self.loop.call_later(self.head_seconds, self._time_out)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _time_out(self) -> None:
        """Close a connection whose request did not arrive in time (RFC 9110, section 15.5.9)."""
        self._timer = None
        if self.cycle is not None and not self.cycle.response_complete:
            self._start_timer()  # an incomplete request behind one that is being answered
            return
        message = f"The headers of the request did not arrive within {self.head_seconds:g} seconds.".encode()
        self.transport.write(
            b"HTTP/1.1 408 Request Timeout\r\ncontent-type: text/plain; charset=utf-8\r\n"
            b"content-length: %d\r\nconnection: close\r\n\r\n%s" % (len(message), message)
        )
        self.transport.close()


def http_response(response: ServiceResponse, added: Mapping[str, str] = MappingProxyType({})) -> Response:
    """Return a worker's response as an HTTP response.

    Args:
        response: response of a worker.
        added: further headers.
    """
    headers = dict(added)
    if response.filename is not None:
        safe = re.sub(r"[^A-Za-z0-9_.-]", "_", response.filename)[:200]
        headers["content-disposition"] = f"attachment; filename={safe}"
    return Response(response.content, response.status, headers, response.media_type)


def json_response(value: Any) -> Response:
    """Return a value as a JSON response."""
    return Response(json.dumps(value), media_type="application/json")


async def wait_unless_left(
    request: Request, evaluating: asyncio.Future[ServiceResponse], pending: PendingEvaluation
) -> None:
    """Wait for the end of an evaluation, and abandon it if the client leaves.

    Raises:
        ClientGoneError: if the client leaves.
    """
    leaving = asyncio.ensure_future(_wait_for_leaving(request))
    ends: set[asyncio.Future[Any]] = {evaluating, leaving}
    try:
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    finally:
        leaving.cancel()
    if not evaluating.done():
        evaluating.cancel()  # one that still waits for a thread is never begun
        await asyncio.to_thread(pending.abandon)
        raise ClientGoneError("The client closed the connection before the response to its request.")


async def _wait_for_leaving(request: Request) -> None:
    """Wait until the client of a request, whose body has been read, closes the connection; else for ever."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
