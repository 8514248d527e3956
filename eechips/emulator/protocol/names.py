"""Names for results, and what is behind them: ``thumbnails``, those of films and filmstrips, ``tables`` and ``maps``.

Whoever has a name needs no credentials.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response

from eechips.emulator.protocol.service import Service

Handler = Callable[[Service, Request], Awaitable[Response]]


def _create(kind: str) -> Handler:
    async def create(service: Service, request: Request) -> Response:
        return await service.created(request, kind)

    return create


def _fetch(kind: str, operation: str) -> Handler:
    async def fetch(service: Service, request: Request) -> Response:
        parameters = request.path_params
        name = f"projects/{parameters['project']}/{kind}/{parameters['id']}"
        return await service.run(operation, service.names.find(name), query=_tile(request))

    return fetch


def _tile(request: Request) -> dict[str, str]:
    return {key: str(request.path_params[key]) for key in ("zoom", "x", "y") if key in request.path_params}


ROUTES = (
    ("POST", "projects/{project}/thumbnails", "thumbnails:create", _create("thumbnails")),
    (
        "GET", "projects/{project}/thumbnails/{id}:getPixels", "thumbnails:getPixels",
        _fetch("thumbnails", "thumbnails:getPixels"),
    ),
    ("POST", "projects/{project}/filmstripThumbnails", "filmstripThumbnails:create", _create("filmstripThumbnails")),
    (
        "GET", "projects/{project}/filmstripThumbnails/{id}:getPixels", "filmstripThumbnails:getPixels",
        _fetch("filmstripThumbnails", "filmstripThumbnails:getPixels"),
    ),
    ("POST", "projects/{project}/videoThumbnails", "videoThumbnails:create", _create("videoThumbnails")),
    (
        "GET", "projects/{project}/videoThumbnails/{id}:getPixels", "videoThumbnails:getPixels",
        _fetch("videoThumbnails", "videoThumbnails:getPixels"),
    ),
    ("POST", "projects/{project}/tables", "tables:create", _create("tables")),
    ("GET", "projects/{project}/tables/{id}:getFeatures", "tables:getFeatures", _fetch("tables", "tables:getFeatures")),
    ("POST", "projects/{project}/maps", "maps:create", _create("maps")),
    (
        "GET", "projects/{project}/maps/{id}/tiles/{zoom}/{x}/{y}", "maps.tiles:get",
        _fetch("maps", "maps.tiles:get"),
    ),
)  # fmt: skip
