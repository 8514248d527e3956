"""``tables``: names for downloads of tables, and what is behind them."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from eechips.emulator.protocol.service import Service, json_response


async def create(service: Service, request: Request) -> Response:
    """Makes a name for a request."""
    body = await service.body(request)
    parent = f"projects/{request.path_params['project']}"
    return json_response({"name": service.names.create(parent, "tables", body)})


async def get_features(service: Service, request: Request) -> Response:
    """The bytes behind a name; whoever has the name needs no credentials."""
    parameters = request.path_params
    name = f"projects/{parameters['project']}/tables/{parameters['table']}"
    return await service.run("tables:getFeatures", service.names.find(name))


ROUTES = (
    ("POST", "projects/{project}/tables", "tables:create", create),
    ("GET", "projects/{project}/tables/{table}:getFeatures", "tables:getFeatures", get_features),
)
