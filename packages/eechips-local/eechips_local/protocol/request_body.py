"""Receive the bodies of requests: whole, of bounded size, in bounded time. A POST with ``X-HTTP-Method-Override: GET``
becomes a GET.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from eechips_local.protocol.http import http_response
from eechips_local.protocol.messages import error_response
from eechips_local.protocol.request_errors import ClientGoneError, EarthEngineError, InvalidError

BODY_SECONDS = 60.0
"""Time for a body to arrive. Without a limit it would occupy memory."""
STALL_SECONDS = 10.0
"""Time without a further part of a body, from the headers or the last part on."""

# A body that is too large is read up to here: a client that is still sending would not see the response.
_MOST_DRAINED = 128 << 20


class BodyTimeoutError(EarthEngineError):
    """The body of a request does not arrive (HTTP 408)."""

    code = 408
    status = "DEADLINE_EXCEEDED"


@dataclass(slots=True)
class _Received:
    """What has arrived of a body.

    Attributes:
        content: the bytes, without those beyond the limit.
        size: their number, with those.
        time: time of the last part, by the clock of the loop.
    """

    time: float
    content: bytearray = field(default_factory=bytearray)
    size: int = 0


async def read_body(request: Request, most: int, seconds: float = BODY_SECONDS, stall: float = STALL_SECONDS) -> bytes:
    """Return a request's body.

    Args:
        request: request of a client.
        most: greatest size, in bytes.
        seconds: time for it to arrive.
        stall: time without a further part of it.

    Raises:
        InvalidError: if it is too large.
        BodyTimeoutError: if it takes too long to arrive, or makes no progress.
        ClientGoneError: if the client leaves before it has arrived.
    """
    loop = asyncio.get_running_loop()
    received = _Received(loop.time())
    end = received.time + seconds
    reading = loop.create_task(_read(request, most, received))
    try:
        while (left := min(end, received.time + stall) - loop.time()) > 0 and not reading.done():
            await asyncio.wait({reading}, timeout=left)
        if not reading.done():
            is_late = loop.time() >= end
            raise BodyTimeoutError(
                f"The body of the request did not arrive within {seconds:g} seconds."
                if is_late
                else f"The body of the request made no progress for {stall:g} seconds."
            )
        reading.result()
    except ClientDisconnect:
        raise ClientGoneError("The client closed the connection before the body of its request arrived.") from None
    finally:
        reading.cancel()
    if received.size > most:
        raise InvalidError(f"Request payload size exceeds the limit: {most} bytes.")
    return bytes(received.content)


async def _read(request: Request, most: int, received: _Received) -> None:
    loop = asyncio.get_running_loop()
    async for part in request.stream():
        received.time = loop.time()
        received.size += len(part)
        if received.size <= most:
            received.content += part
        elif received.size > _MOST_DRAINED:
            break


_MOST_PARAMETERS = 1 << 20


def is_folded(method: str, headers: Mapping[str, str]) -> bool:
    """Return whether a request is a GET whose parameters are the body of a POST.

    The client sends requests so whose URL would have more than 2,048 characters (``googleapiclient.http``).

    Args:
        method: HTTP method.
        headers: by their names in small letters.
    """
    return method == "POST" and headers.get("x-http-method-override") == "GET"


class FoldedParameters:
    """Middleware that answers a POST whose body has the parameters of a GET as this GET; see `is_folded`.

    Args:
        app: the application.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http" or not is_folded(scope["method"], Headers(scope=scope)):
            await self._app(scope, receive, send)
            return
        try:
            parameters = await read_body(Request(scope, receive), _MOST_PARAMETERS)
        except EarthEngineError as error:
            await http_response(error_response(error))(scope, receive, send)
            return

        bodies: list[Message] = [{"type": "http.request", "body": b"", "more_body": False}]

        async def receive_rest() -> Message:
            return bodies.pop() if bodies else await receive()  # which tells that the client has left

        await self._app({**scope, "method": "GET", "query_string": parameters}, receive_rest, send)
