"""``thumbnails``: names for pictures and downloads, and what is behind them."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from eechips.emulator.protocol.service import Service, json_response


async def create(service: Service, request: Request) -> Response:
    """Makes a name for a request, after checking what can be checked without reading pixels."""
    body = await service.body(request)
    if body.get("fileFormat", "AUTO_JPEG_PNG") not in ("AUTO_JPEG_PNG", "PNG", "JPEG"):
        checked = await service.run("thumbnails:check", body)
        if checked.status_code != 200:
            return checked
    parent = f"projects/{request.path_params['project']}"
    return json_response({"name": service.names.create(parent, "thumbnails", body)})


async def get_pixels(service: Service, request: Request) -> Response:
    """The bytes behind a name; whoever has the name needs no credentials."""
    parameters = request.path_params
    name = f"projects/{parameters['project']}/thumbnails/{parameters['thumbnail']}"
    return await service.run("thumbnails:getPixels", service.names.find(name))


ROUTES = (
    ("POST", "projects/{project}/thumbnails", "thumbnails:create", create),
    ("GET", "projects/{project}/thumbnails/{thumbnail}:getPixels", "thumbnails:getPixels", get_pixels),
)
