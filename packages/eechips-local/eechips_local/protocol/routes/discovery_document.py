"""Serve what a client requests when it starts: discovery document, signatures, project configuration."""

from __future__ import annotations

import json
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from eechips_local.evaluation.signatures import client_file
from eechips_local.protocol.http import json_response
from eechips_local.protocol.service import Service


async def document(service: Service, request: Request) -> Response:
    """Return the discovery document, naming this server as the place of the service."""
    return json_response(described(str(request.base_url)))


def described(base: str) -> dict[str, Any]:
    """Return the client's discovery document, brought up to version 1 of the service, for a server at an address."""
    discovery: dict[str, Any] = json.loads(client_file("cloud_api_discovery_document.json"))
    discovery.update({"rootUrl": base, "baseUrl": base, "servicePath": "", "mtlsRootUrl": base})
    projects = discovery["resources"]["projects"]
    assets = projects["resources"]["assets"]
    for methods in (projects["methods"], assets["methods"]):
        methods["listAssets"]["parameters"].update(_query("filter", "view"))
    for kind in ("thumbnails", "filmstripThumbnails", "videoThumbnails", "maps"):
        projects["resources"][kind]["methods"]["create"]["parameters"].update(_query("workloadTag"))
    assets["methods"]["get"]["parameters"]["name"]["pattern"] = _ASSET  # also "projects/p/assets/", a project's root
    projects["methods"]["getConfig"] = _method("projects.getConfig", "GET", "{+name}", name=_CONFIG)
    projects["methods"]["updateConfig"] = _method("projects.updateConfig", "PATCH", "{+name}", name=_CONFIG)
    projects["methods"]["updateConfig"]["parameters"].update(_query("updateMask"))
    assets["methods"]["listFeatures"] = _method(
        "projects.assets.listFeatures", "GET", "{+asset}:listFeatures", asset=_ASSET
    )
    assets["methods"]["listFeatures"]["parameters"].update(_query("region", "filter", "pageToken", "pageSize"))
    projects["resources"]["image"]["methods"]["importExternal"] = _method(
        "projects.image.importExternal", "POST", "{+project}/image:importExternal", project=_PROJECT
    )
    projects["resources"]["classifier"] = {"methods": {
        "export": _method("projects.classifier.export", "POST", "{+project}/classifier:export", project=_PROJECT),
    }}  # fmt: skip
    projects["resources"]["tables"] = {"methods": {
        "create": _method("projects.tables.create", "POST", "{+parent}/tables", parent=_PROJECT),
        "getFeatures": _method("projects.tables.getFeatures", "GET", "{+name}:getFeatures", name=_TABLE),
    }}  # fmt: skip
    projects["resources"]["tables"]["methods"]["create"]["parameters"].update(_query("workloadTag"))
    return discovery


# The document that the client carries for its own tests is older than the client: what version 1 has beyond it.
# https://developers.google.com/earth-engine/reference/rest/v1
_PROJECT = r"^projects/[^/]+$"
_CONFIG = r"^projects/[^/]+/config$"
_ASSET = r"^projects/[^/]+/assets/.*$"
_TABLE = r"^projects/[^/]+/tables/[^/]+$"


def _query(*names: str) -> dict[str, Any]:
    return {
        name: {"type": "integer", "format": "int32", "location": "query"}
        if name == "pageSize"
        else {"type": "string", "location": "query"}
        for name in names
    }


def _method(id: str, verb: str, path: str, **parameters: str) -> dict[str, Any]:
    method: dict[str, Any] = {"id": f"earthengine.{id}", "httpMethod": verb, "path": f"v1/{path}"}
    method["parameterOrder"] = list(parameters)
    method["parameters"] = {
        name: {"type": "string", "location": "path", "required": True, "pattern": pattern}
        for name, pattern in parameters.items()
    }
    if verb != "GET":
        method["request"] = {"type": "any"}
    return {**method, "response": {"type": "any"}}


async def algorithms(service: Service, request: Request) -> Response:
    """Return the signatures of all functions, as the client carries them."""
    return Response(client_file("algorithms.json"), media_type="application/json")


async def config(service: Service, request: Request) -> Response:
    """Return a project's configuration."""
    name = f"projects/{request.path_params['project']}/config"
    running = service.tasks.config.running
    return json_response(
        {"name": name, "registrationState": "REGISTERED_NOT_COMMERCIALLY", "maxConcurrentExports": running}
    )


ROUTES = (
    ("GET", "projects/{project}/algorithms", "algorithms", algorithms),
    ("GET", "projects/{project}/config", "config", config),
)
