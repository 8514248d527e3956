"""Faults carried out on the wire."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from eechips.emulator.errors import EarthEngineError, NotFoundError
from eechips.emulator.faults import Fault
from eechips.emulator.quota import REJECTION, RESTRICTED, TooManyRequestsError
from eechips.emulator.workers import error_answer

_TRANSPORT = "eechips.transport"
_HTML = b"<!DOCTYPE html><html><head><title>Error</title></head><body><h1>Something went wrong</h1></body></html>"


_MOST_HEAD = 1 << 20  # bytes of a request line and its headers


class Protocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol; it lets a handler get at the connection, to break it, and bounds headers.

    Attributes:
        head_seconds: that a request line and its headers may take, from the connection or the end of the last answer.
    """

    head_seconds: float = 60

    _head = 0
    _is_in_head = True
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Starts the time of the first request: uvicorn would wait for ever."""
        super().connection_made(transport)
        self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forgets the connection."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Refuses a request whose headers do not end: uvicorn would keep them all."""
        self._head += len(data) if self._is_in_head else 0
        if self._head > _MOST_HEAD:
            self.send_400_response("The headers of the request are too large.")
            return
        super().data_received(data)
        # Empty lines before a request end the time for which a connection is kept, and begin none.
        if self.cycle is None or self.cycle.response_complete:
            self._start_timer()

    def on_message_begin(self) -> None:
        """Counts the headers of the next request."""
        self._head, self._is_in_head = 0, True
        super().on_message_begin()
        self._start_timer()

    def on_headers_complete(self) -> None:
        """Puts the connection where the handler finds it."""
        self._is_in_head = False
        self._stop_timer()
        self.scope[_TRANSPORT] = self.transport  # type: ignore[literal-required]
        super().on_headers_complete()

    def _start_timer(self) -> None:
        if self._timer is None and not self.transport.is_closing():
            self._timer = self.loop.call_later(self.head_seconds, self._end_late)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _end_late(self) -> None:
        """Ends a connection whose request did not come in time (RFC 9110, section 15.5.9)."""
        self._timer = None
        if self.cycle is not None and not self.cycle.response_complete:
            self._start_timer()  # half a request behind one that is being answered
            return
        message = f"The headers of the request did not arrive within {self.head_seconds:g} seconds.".encode()
        self.transport.write(
            b"HTTP/1.1 408 Request Timeout\r\ncontent-type: text/plain; charset=utf-8\r\n"
            b"content-length: %d\r\nconnection: close\r\n\r\n%s" % (len(message), message)
        )
        self.transport.close()


async def disturbed(fault: Fault, handle: Callable[[], Awaitable[Response]]) -> Response:
    """Answers a request as a fault wants it."""
    if fault.type == "reject":
        return _error(TooManyRequestsError(REJECTION), 429, fault)
    if fault.type == "status":
        return _error(EarthEngineError("An internal error has occurred."), fault.status, fault)
    if fault.type == "expired":
        return _error(NotFoundError("Not found: the name does not exist or has expired."), 404, fault)
    if fault.type == "html":
        return Response(_HTML, media_type="text/html")
    if fault.type == "reset":
        return _Broken(b"", {}, reset=True)
    response = await handle()
    if fault.type == "stall":
        return _Stalled(response, fault.seconds)
    content, headers = bytes(response.body), dict(response.headers)
    half = content[: len(content) // 2]
    if fault.type == "reset-body":
        return _Broken(half, headers, reset=True)
    if fault.type == "truncate":
        return _Broken(half, headers, reset=False)
    if fault.type == "stall-body":
        return _Slow(content, headers, fault.seconds)
    if fault.type == "truncate-silently":
        return Response(half, response.status_code, media_type=response.media_type)
    if fault.type == "wrong-content":
        return Response(b"\x00" * len(content), response.status_code, media_type=response.media_type)
    if fault.type == "gzip":
        return Response(
            gzip.compress(content, 1, mtime=0), response.status_code, {"content-encoding": "gzip"}, response.media_type
        )
    return Response(content, response.status_code, RESTRICTED, response.media_type)


def _error(error: EarthEngineError, status: int, fault: Fault) -> Response:
    answer = error_answer(error)
    headers = {} if fault.retry_after is None else {"retry-after": f"{fault.retry_after:g}"}
    content = answer.content
    if status != answer.status:
        body = {
            "error": {"code": status, "message": str(error), "status": "UNAVAILABLE" if status == 503 else "INTERNAL"}
        }
        content = json.dumps(body).encode()
    return Response(content, status, headers, answer.media_type)


class _Broken(Response):
    """Sends some of what its headers promise, and ends the connection."""

    def __init__(self, content: bytes, headers: dict[str, str], *, reset: bool) -> None:
        super().__init__(b"", 200, headers)
        self._content, self._reset = content, reset

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._content:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            await send({"type": "http.response.body", "body": self._content, "more_body": True})
        transport: asyncio.Transport = scope[_TRANSPORT]
        if self._reset:
            connection: Any = transport.get_extra_info("socket")
            # Lingering for zero seconds makes the kernel reset the connection instead of closing it.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            transport.abort()
        else:
            transport.close()
        await _gone(receive)  # else uvicorn takes the answer for forgotten


class _Stalled(Response):
    """Keeps an answer back for a while."""

    def __init__(self, response: Response, seconds: float) -> None:
        super().__init__(b"", response.status_code, dict(response.headers))
        self._response, self._seconds = response, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if await _waited(self._seconds, receive):
            self._response.raw_headers = self.raw_headers
            await self._response(scope, receive, send)


class _Slow(Response):
    """Pauses in the middle of the body."""

    def __init__(self, content: bytes, headers: dict[str, str], seconds: float) -> None:
        super().__init__(b"", 200, headers)
        self._content, self._seconds = content, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        half = len(self._content) // 2
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self._content[:half], "more_body": True})
        if await _waited(self._seconds, receive):
            await send({"type": "http.response.body", "body": self._content[half:], "more_body": False})


async def _waited(seconds: float, receive: Receive) -> bool:
    """Waits, or until the client has gone; whether it is still there."""
    try:
        await asyncio.wait_for(_gone(receive), seconds)
    except asyncio.TimeoutError:  # an alias of TimeoutError only since Python 3.11
        return True
    return False


async def _gone(receive: Receive) -> None:
    """Waits until the connection has ended."""
    while (await receive())["type"] != "http.disconnect":
        pass
