"""What a client asks for when it starts: the discovery document, the signatures, the project's configuration."""

from __future__ import annotations

import json

from starlette.requests import Request
from starlette.responses import Response

from eechips.emulator.protocol.service import Service, json_response
from eechips.emulator.signatures import client_file


async def document(service: Service, request: Request) -> Response:
    """The discovery document, naming this server as the place of the service."""
    found = json.loads(client_file("cloud_api_discovery_document.json"))
    base = str(request.base_url)
    found.update({"rootUrl": base, "baseUrl": base, "servicePath": "", "mtlsRootUrl": base})
    return json_response(found)


async def algorithms(service: Service, request: Request) -> Response:
    """The signatures of all functions, as the client carries them."""
    return Response(client_file("algorithms.json"), media_type="application/json")


async def config(service: Service, request: Request) -> Response:
    """A project's configuration."""
    return json_response({"registrationState": "REGISTERED_NOT_COMMERCIALLY", "maxConcurrentExports": 2})


ROUTES = (
    ("GET", "projects/{project}/algorithms", "algorithms", algorithms),
    ("GET", "projects/{project}/config", "config", config),
)
