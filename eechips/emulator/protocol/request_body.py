"""Receive the bodies of requests: whole, of bounded size, in bounded time."""

from __future__ import annotations

import asyncio

from starlette.requests import ClientDisconnect, Request

from eechips.emulator.request_errors import EarthEngineError, InvalidError

BODY_SECONDS = 60.0
"""Time for a body to arrive. Without a limit it would occupy the quota."""

# A body that is too large is read up to here: a client that is still sending would not see the response.
_MOST_DRAINED = 128 << 20


class BodyTimeoutError(EarthEngineError):
    """The body of a request does not arrive (HTTP 408)."""

    code = 408
    status = "DEADLINE_EXCEEDED"


class ClientGoneError(EarthEngineError):
    """The client has disconnected before its response (counted as HTTP 499, as nginx does)."""

    code = 499
    status = "CANCELLED"


async def read_body(request: Request, most: int, seconds: float = BODY_SECONDS) -> bytes:
    """Return a request's body.

    Args:
        request: of a client.
        most: greatest size, in bytes.
        seconds: time for it to arrive.

    Raises:
        InvalidError: if it is too large.
        BodyTimeoutError: if it takes too long to arrive.
        ClientGoneError: if the client leaves before it has arrived.
    """
    try:
        return await asyncio.wait_for(_read(request, most), seconds)
    except asyncio.TimeoutError:  # an alias of TimeoutError only since Python 3.11
        message = f"The body of the request did not arrive within {seconds:g} seconds."
        raise BodyTimeoutError(message) from None
    except ClientDisconnect:
        raise ClientGoneError("The client closed the connection before the body of its request arrived.") from None


async def _read(request: Request, most: int) -> bytes:
    content, size = bytearray(), 0
    async for part in request.stream():
        size += len(part)
        if size <= most:
            content += part
        elif size > _MOST_DRAINED:
            break
    if size > most:
        raise InvalidError(f"Request payload size exceeds the limit: {most} bytes.")
    return bytes(content)
