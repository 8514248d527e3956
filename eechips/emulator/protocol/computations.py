"""``value:compute``, ``image:computePixels``, ``table:computeFeatures``, ``imageCollection:computeImages``."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from eechips.emulator.protocol.service import Service


async def value(service: Service, request: Request) -> Response:
    """Computes a value."""
    return await service.run("value:compute", await service.body(request))


async def pixels(service: Service, request: Request) -> Response:
    """Computes pixels."""
    return await service.run("image:computePixels", await service.body(request))


async def features(service: Service, request: Request) -> Response:
    """Computes a page of features."""
    return await service.run("table:computeFeatures", await service.body(request))


async def images(service: Service, request: Request) -> Response:
    """Computes a page of images."""
    return await service.run("imageCollection:computeImages", await service.body(request))


ROUTES = (
    ("POST", "projects/{project}/value:compute", "value:compute", value),
    ("POST", "projects/{project}/image:computePixels", "image:computePixels", pixels),
    ("POST", "projects/{project}/table:computeFeatures", "table:computeFeatures", features),
    ("POST", "projects/{project}/imageCollection:computeImages", "imageCollection:computeImages", images),
)
