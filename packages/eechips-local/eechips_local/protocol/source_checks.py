"""Reject requests by their headers Host, Origin and Content-Type (403, 415), and close connections after a response."""

from __future__ import annotations

import asyncio
import contextlib
import re

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from eechips_local.protocol.http import http_response
from eechips_local.protocol.messages import error_response
from eechips_local.protocol.request_errors import EarthEngineError

# Names of the address that the server binds, which is loopback's (see server.HOST).
_HOST = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:\d{1,5})?", re.IGNORECASE)
_ORIGIN = re.compile(rf"https?://{_HOST.pattern}", re.IGNORECASE)
# Sent by eechips' own client, from which nothing is imported here.
_KEEP_ALIVE = "x-eechips-keep-alive"
_DRAIN_SECONDS = 10.0
_MOST_SILENCES = 12  # as long all parts may take
_MOST_DRAINED = 128 << 20  # bytes


class ForbiddenError(EarthEngineError):
    """The request may come from a web page of another site (HTTP 403)."""

    code = 403
    status = "PERMISSION_DENIED"


class MediaTypeError(EarthEngineError):
    """The body is not declared as JSON (HTTP 415)."""

    code = 415
    status = "INVALID_ARGUMENT"


class LocalOnly:
    """Middleware that rejects requests from web pages of other sites.

    A page whose name is made to resolve to 127.0.0.1 (DNS rebinding) sends its own name as ``Host``. A page of another
    site that posts to the server sends its ``Origin``, which is ``null`` for a sandboxed frame.
    https://developer.mozilla.org/en-US/docs/Web/HTTP/Headers/Origin

    Args:
        app: the application.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Process a request, or reject it."""
        if scope["type"] == "http":
            headers = Headers(scope=scope)
            try:
                check_source(headers)
                if scope["method"] not in ("GET", "HEAD"):
                    check_page_of_another_port(headers)
            except (ForbiddenError, MediaTypeError) as error:
                await http_response(error_response(error))(scope, receive, send)
                return
        await self._app(scope, receive, send)


class ShortConnections:
    """Middleware that closes a connection after its response, except for clients that ask to keep it open.

    Processes that are forked from one with an open connection share that connection. Over TLS they get errors; over
    plain HTTP they read each other's responses without any error. Only eechips' own client asks for connections to be
    kept open: it opens new ones after a fork.

    The rest of the request is read before the connection is closed. Otherwise the client gets a reset instead of the
    response (RFC 9112, section 9.6). A request without an end is not waited for.

    Args:
        app: the application.
        drain_seconds: time for the next part of a request that has been answered.
    """

    def __init__(self, app: ASGIApp, drain_seconds: float = _DRAIN_SECONDS) -> None:
        self._app = app
        self._drain_seconds = drain_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http" or _KEEP_ALIVE in Headers(scope=scope):
            await self._app(scope, receive, send)
            return
        received = False

        async def receive_noting_the_end() -> Message:
            nonlocal received
            message = await receive()
            received = _is_last(message)
            return message

        async def send_and_close(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), (b"connection", b"close")]}
            elif not message.get("more_body", False) and not received:
                await send({**message, "more_body": True})
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(_drain(receive, self._drain_seconds), _MOST_SILENCES * self._drain_seconds)
                message = {"type": "http.response.body", "body": b""}
            await send(message)

        await self._app(scope, receive_noting_the_end, send_and_close)


async def _drain(receive: Receive, silence: float) -> None:
    """Read the rest of a request, up to a limit of its size, and of the seconds between its parts."""
    size = 0
    while size <= _MOST_DRAINED and not _is_last(message := await asyncio.wait_for(receive(), silence)):
        size += len(message.get("body", b""))


def _is_last(message: Message) -> bool:
    return message["type"] == "http.disconnect" or not message.get("more_body", False)


def check_source(headers: Headers) -> None:
    """Check that a request names this machine, and comes from a program or a page of this machine.

    Raises:
        ForbiddenError: if not.
    """
    hosts = headers.getlist("host")
    if not hosts:
        raise ForbiddenError("The local Earth Engine answers no request without the header Host.")
    for host in hosts:
        if not _HOST.fullmatch(host):
            raise ForbiddenError(
                f"The local Earth Engine answers to 127.0.0.1 and localhost only, not to the host {host[:100]!r}."
            )
    for origin in headers.getlist("origin"):
        if not _ORIGIN.fullmatch(origin):
            raise ForbiddenError(f"The local Earth Engine does not answer pages of {origin[:100]!r}.")


def check_page_of_another_port(headers: Headers) -> None:
    """Check that a page of another server of this machine, such as another user's, sends its request as JSON.

    The browser sends a CORS preflight request before JSON, which this server does not allow: a page that is only
    looked at starts no computation, export or change of assets. https://developer.mozilla.org/en-US/docs/Web/HTTP/CORS#simple_requests

    Raises:
        MediaTypeError: if not.
    """
    if any(origin.partition("://")[2].lower() != headers["host"].lower() for origin in headers.getlist("origin")):
        check_json(headers)


def check_own_page(headers: Headers) -> None:
    """Check that a request does not come from a page of another origin, as far as its browser says.

    A page of another origin cannot read a response, but it can send a request without the header Origin, as for an
    image or a script. Browsers say where it comes from, and other programs send no such header.
    https://developer.mozilla.org/en-US/docs/Web/HTTP/Headers/Sec-Fetch-Site

    Raises:
        ForbiddenError: if it does.
    """
    if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        raise ForbiddenError("The local Earth Engine answers this request of its own page only.")


def check_json(headers: Headers) -> None:
    """Check that a request declares its body as JSON, which a page cannot send to another site without its consent.

    Raises:
        MediaTypeError: if not.
    """
    declared = headers.get("content-type", "").partition(";")[0].strip().lower()
    if declared != "application/json":
        raise MediaTypeError("The content type of this request must be application/json.")
