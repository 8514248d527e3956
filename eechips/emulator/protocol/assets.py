"""``assets``: stored images, collections and tables."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response

from eechips.emulator.protocol.service import Service

Handler = Callable[[Service, Request], Awaitable[Response]]


def _name(request: Request) -> str:
    project, asset = request.path_params["project"], request.path_params.get("asset")
    return f"projects/{project}" if asset is None else f"projects/{project}/assets/{asset}"


def _read(operation: str) -> Handler:
    async def read(service: Service, request: Request) -> Response:
        return await service.run(operation, name=_name(request), query=dict(request.query_params))

    return read


async def get_pixels(service: Service, request: Request) -> Response:
    """Pixels of a stored image."""
    return await service.run("assets:getPixels", await service.body(request), name=_name(request))


ROUTES = (
    ("GET", "projects/{project}:listAssets", "assets:listAssets", _read("assets:listAssets")),
    ("GET", "projects/{project}/assets:listAssets", "assets:listAssets", _read("assets:listAssets")),
    ("GET", "projects/{project}/assets/{asset:path}:listAssets", "assets:listAssets", _read("assets:listAssets")),
    ("GET", "projects/{project}/assets/{asset:path}:listImages", "assets:listImages", _read("assets:listImages")),
    ("GET", "projects/{project}/assets/{asset:path}:listFeatures", "assets:listFeatures", _read("assets:listFeatures")),
    ("POST", "projects/{project}/assets/{asset:path}:getPixels", "assets:getPixels", get_pixels),
    ("GET", "projects/{project}/assets/{asset:path}", "assets:get", _read("assets:get")),
)
