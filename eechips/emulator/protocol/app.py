"""The application: every route of the protocol."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from eechips.emulator.errors import EarthEngineError, NotFoundError
from eechips.emulator.protocol import assets, computations, control, discovery, fields, names, unavailable
from eechips.emulator.protocol.access import LocalOnly
from eechips.emulator.protocol.service import Service, as_response, json_response
from eechips.emulator.workers import error_answer

Handler = Callable[[Service, Request], Awaitable[Response]]


def create_app(service: Service) -> Starlette:
    """The application of a service. Clients ask for v1; the discovery document they carry says v1alpha."""
    routes = []
    for version in ("v1", "v1beta", "v1alpha"):  # tried in this order: most requests are for the first
        for module in (discovery, computations, names, unavailable, assets):
            for method, path, kind, handler in module.ROUTES:
                routes.append(Route(f"/{version}/{path}", _bound(service, kind, handler), methods=[method]))
    routes.append(Route("/$discovery/rest", _bound(service, None, discovery.document)))
    for method, path, handler in control.ROUTES:
        routes.append(Route(path, _bound(service, None, handler), methods=[method]))
    return Starlette(
        routes=routes,
        exception_handlers={404: _not_found, 405: _not_found},
        middleware=[Middleware(LocalOnly)],
    )


def _bound(service: Service, kind: str | None, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    async def handle(request: Request) -> Response:
        selected = request.query_params.get("fields")
        mask = fields.parse(selected) if selected else {}
        response = await handler(service, request)
        if mask and response.status_code == 200 and response.media_type == "application/json":
            return json_response(fields.select(json.loads(bytes(response.body)), mask))
        return response

    async def endpoint(request: Request) -> Response:
        if kind is None:
            try:
                return await handler(service, request)
            except EarthEngineError as error:
                return as_response(error_answer(error))
        return await service.admitted(kind, lambda: handle(request))

    return endpoint


async def _not_found(request: Request, error: Exception) -> Response:
    return as_response(error_answer(NotFoundError(f"Method not found: {request.method} {request.url.path[:200]}.")))
