"""``assets``: stored images, collections and tables."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from eechips.emulator.protocol.service import Service


def _named(request: Request) -> dict[str, object]:
    """The query parameters with the asset's name."""
    parameters = request.path_params
    name = f"projects/{parameters['project']}/assets/{parameters.get('asset', '')}"
    return {**request.query_params, "name": name}


async def get(service: Service, request: Request) -> Response:
    """One asset."""
    return await service.run("assets:get", _named(request))


async def list_assets(service: Service, request: Request) -> Response:
    """A page of the children of a folder or collection."""
    return await service.run("assets:listAssets", _named(request))


async def list_images(service: Service, request: Request) -> Response:
    """A page of the images of a collection."""
    return await service.run("assets:listImages", _named(request))


async def get_pixels(service: Service, request: Request) -> Response:
    """Pixels of a stored image."""
    return await service.run("assets:getPixels", {**await service.body(request), **_named(request)})


ROUTES = (
    ("GET", "projects/{project}/assets:listAssets", "assets:listAssets", list_assets),
    ("GET", "projects/{project}/assets/{asset:path}:listAssets", "assets:listAssets", list_assets),
    ("GET", "projects/{project}/assets/{asset:path}:listImages", "assets:listImages", list_images),
    ("POST", "projects/{project}/assets/{asset:path}:getPixels", "assets:getPixels", get_pixels),
    ("GET", "projects/{project}/assets/{asset:path}", "assets:get", get),
)
