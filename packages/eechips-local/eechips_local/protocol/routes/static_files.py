"""Serve the files of a page to browsers, with a Content-Security-Policy and other headers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
"""Only files and responses of the server itself; no inline script, no frame around the page, and no text that becomes
HTML: https://developer.mozilla.org/en-US/docs/Web/HTTP/Headers/Content-Security-Policy."""

HEADERS: Mapping[str, str] = MappingProxyType(
    {
        "content-security-policy": _POLICY,
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
        "referrer-policy": "no-referrer",
        "x-content-type-options": "nosniff",
        "cache-control": "no-cache",
    }
)
"""Headers of every file of a page."""


@dataclass(frozen=True, slots=True)
class StaticFile:
    """A file that the server sends to browsers.

    Attributes:
        media_type: media type of its content.
        load: returns its content; called in a thread, for each request.
    """

    media_type: str
    load: Callable[[], bytes]


def routes(files: Mapping[str, StaticFile]) -> list[Route]:
    """Return the routes of files by their paths, such as ``/``."""
    return [Route(path, _endpoint(file), methods=["GET"]) for path, file in files.items()]


def _endpoint(file: StaticFile) -> Callable[[Request], object]:
    async def send(request: Request) -> Response:
        content = await asyncio.to_thread(file.load)
        return Response(content, headers=HEADERS, media_type=file.media_type)

    return send
