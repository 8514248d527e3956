"""``value:compute``, ``image:computePixels``, ``table:computeFeatures``, ``imageCollection:computeImages``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response

from eechips.emulator.protocol.service import Service

_METHODS = ("value:compute", "image:computePixels", "table:computeFeatures", "imageCollection:computeImages")


def _compute(method: str) -> Callable[[Service, Request], Awaitable[Response]]:
    async def compute(service: Service, request: Request) -> Response:
        return await service.run(method, await service.body(request))

    return compute


ROUTES = tuple(("POST", f"projects/{{project}}/{method}", method, _compute(method)) for method in _METHODS)
