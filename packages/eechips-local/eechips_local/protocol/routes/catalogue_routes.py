"""Answer requests for files of the catalogue of datasets, as Google's bucket of Earth Engine's catalogue does."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from eechips_local.protocol.service import Service


async def read_document(service: Service, request: Request) -> Response:
    """Return a file of the catalogue, whose links lead to this server."""
    request.path_params["base"] = f"{request.base_url}catalog"
    return await service.evaluate(request, "store:catalogue")


ROUTES = (("GET", "/catalog/{path:path}", read_document),)
