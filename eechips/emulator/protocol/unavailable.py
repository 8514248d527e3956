"""What Earth Engine does and the local one does not: it keeps no assets, tasks or films of its users."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response

from eechips.emulator.errors import EarthEngineError, NotFoundError
from eechips.emulator.protocol.service import Service, json_response

Handler = Callable[[Service, Request], Awaitable[Response]]


class RefusedError(EarthEngineError):
    """A method that the local Earth Engine does not offer (HTTP 400: the client would repeat a 501)."""

    code = 400
    status = "FAILED_PRECONDITION"


def _refuse(what: str) -> Handler:
    async def refuse(service: Service, request: Request) -> Response:
        raise RefusedError(f"The local Earth Engine does not {what}.")

    return refuse


async def no_operations(service: Service, request: Request) -> Response:
    """An empty page: nothing is ever exported, so there are no operations."""
    return json_response({})


async def no_operation(service: Service, request: Request) -> Response:
    """No operation has any name."""
    raise NotFoundError(f"Operation not found: {request.url.path.partition('/operations/')[2][:200]}.")


_EXPORT = _refuse("export: fetch the results by computePixels, computeFeatures or a download URL")
_IMPORT = _refuse("take assets from clients: use `eechips assets ingest`")
_CHANGE = _refuse("change assets on behalf of clients: use `eechips assets ingest`, or the files themselves")
_POLICY = _refuse("keep access policies: whoever reaches it may read everything")
_VIEW = _refuse("serve FeatureViews: use listFeatures, computeFeatures or a map of the drawn collection")
_PROJECT = _refuse("keep the configuration of projects")

ROUTES = (
    ("GET", "projects/{project}/operations", "operations:list", no_operations),
    ("GET", "projects/{project}/operations/{id}", "operations:get", no_operation),
    ("DELETE", "projects/{project}/operations/{id}", "operations:delete", no_operation),
    ("POST", "projects/{project}/operations/{id}:cancel", "operations:cancel", no_operation),
    ("POST", "projects/{project}/operations/{id}:wait", "operations:wait", no_operation),
    ("POST", "projects/{project}/featureView", "featureView:create", _VIEW),
    *(
        ("POST", f"projects/{{project}}/{kind}:export", f"{kind}:export", _EXPORT)
        for kind in ("image", "table", "video", "videoMap", "map", "classifier")
    ),
    *(("POST", f"projects/{{project}}/{kind}:import", f"{kind}:import", _IMPORT) for kind in ("image", "table")),
    ("POST", "projects/{project}/image:importExternal", "image:importExternal", _IMPORT),
    ("POST", "projects/{project}/assets", "assets:create", _CHANGE),
    *(
        ("POST", f"projects/{{project}}/assets/{{asset:path}}:{method}", f"assets:{method}", refuse)
        for method, refuse in (
            ("copy", _CHANGE),
            ("move", _CHANGE),
            ("linkAssets", _CHANGE),
            ("getIamPolicy", _POLICY),
            ("setIamPolicy", _POLICY),
            ("testIamPermissions", _POLICY),
        )
    ),
    ("PATCH", "projects/{project}/assets/{asset:path}", "assets:patch", _CHANGE),
    ("DELETE", "projects/{project}/assets/{asset:path}", "assets:delete", _CHANGE),
    ("GET", "projects/{project}/assets:search", "assets:search", _refuse("search: list folders and collections")),
    ("PATCH", "projects/{project}/config", "config:update", _PROJECT),
)
