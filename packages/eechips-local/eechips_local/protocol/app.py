"""Route requests to their handlers: Earth Engine's REST paths, methods that are not offered, discovery, and the
server's own controls.

See https://developers.google.com/earth-engine/reference/rest.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from types import MappingProxyType

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from eechips_local.exports.tasks import TYPES
from eechips_local.protocol import batch_requests
from eechips_local.protocol.http import http_response
from eechips_local.protocol.messages import error_response
from eechips_local.protocol.request_body import FoldedParameters
from eechips_local.protocol.request_errors import EarthEngineError, NotFoundError
from eechips_local.protocol.routes import (
    bucket_routes,
    catalogue_routes,
    control_routes,
    discovery_document,
    static_files,
    task_routes,
    token_routes,
)
from eechips_local.protocol.routes.static_files import StaticFile
from eechips_local.protocol.service import Handler, Service
from eechips_local.protocol.source_checks import LocalOnly


class UnavailableMethodError(EarthEngineError):
    """A method that the local Earth Engine does not offer (HTTP 400: the client would repeat a 501)."""

    code = 400
    status = "FAILED_PRECONDITION"


def create_app(service: Service, files: Mapping[str, StaticFile] = MappingProxyType({})) -> Starlette:
    """Create the application of a service. Clients ask for v1; the discovery document they carry says v1alpha.

    Args:
        service: processes the requests.
        files: files of the page for browsers, by their paths.
    """
    routes = [
        Route(f"/{version}/{path}", partial(service.handle, kind, handler), methods=[method])
        for version in ("v1", "v1beta", "v1alpha")  # matched in this order: most requests are for the first
        for method, path, kind, handler in (*discovery_document.ROUTES, *ROUTES)
    ]
    document = ("GET", "/$discovery/rest", discovery_document.document)
    for method, path, handler in (
        document,
        *control_routes.ROUTES,
        *bucket_routes.ROUTES,
        *token_routes.ROUTES,
        *batch_requests.ROUTES,
        *catalogue_routes.ROUTES,
    ):
        routes.append(Route(path, _without_quota(service, handler), methods=[method]))
    routes.extend(static_files.routes(files))
    return Starlette(
        routes=routes,
        exception_handlers={404: _not_found, 405: _not_found, Exception: _failed},
        middleware=[Middleware(LocalOnly), Middleware(FoldedParameters)],
    )


def _without_quota(service: Service, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    async def handle(request: Request) -> Response:
        try:
            return await handler(service, request)
        except EarthEngineError as error:
            return http_response(error_response(error))

    return handle


async def _not_found(request: Request, error: Exception) -> Response:
    message = f"Method not found: {request.method} {request.url.path[:200]}."
    return http_response(error_response(NotFoundError(message)))


async def _failed(request: Request, error: Exception) -> Response:
    """Return the service's error for a bug: clients read its message in JSON only. Starlette raises the bug again."""
    return http_response(error_response(EarthEngineError("An internal error has occurred.")))


def _evaluate(operation: str) -> Handler:
    """Return the handler of an operation on the request's body, or on the asset in its path."""

    async def evaluate(service: Service, request: Request) -> Response:
        return await service.evaluate(request, operation)

    return evaluate


# Names for results. A name works without credentials.


def _create(kind: str) -> Handler:

    async def create(service: Service, request: Request) -> Response:
        return await service.create_name(request, kind)

    return create


def _fetch(kind: str, operation: str) -> Handler:
    async def fetch(service: Service, request: Request) -> Response:
        name = f"projects/{request.path_params['project']}/{kind}/{request.path_params['id']}"
        content, tag = service.names.find(name)
        return await service.evaluate(request, operation, content, tag)

    return fetch


# What Earth Engine offers and the local one does not


def _reject(what: str) -> Handler:
    async def reject(service: Service, request: Request) -> Response:
        raise UnavailableMethodError(f"The local Earth Engine does not {what}.")

    return reject


_NO_EXPORT = _reject("export tiled videos")
_LINK = _reject("link assets: copy them")
_VIEW = _reject("serve FeatureViews: use listFeatures, computeFeatures or a map of the drawn collection")
_PROJECT = _reject("keep the configuration of projects")

ROUTES: tuple[tuple[str, str, str, Handler], ...] = (
    *(
        ("POST", f"projects/{{project}}/{method}", method, _evaluate(method))
        for method in ("value:compute", "image:computePixels", "table:computeFeatures", "imageCollection:computeImages")
    ),
    *(
        ("POST", f"projects/{{project}}/{kind}", f"{kind}:create", _create(kind))
        for kind in ("thumbnails", "filmstripThumbnails", "videoThumbnails", "tables", "maps")
    ),
    *(
        ("GET", f"projects/{{project}}/{kind}/{{id}}:{method}", f"{kind}:{method}", _fetch(kind, f"{kind}:{method}"))
        for kind, method in (
            ("thumbnails", "getPixels"),
            ("filmstripThumbnails", "getPixels"),
            ("videoThumbnails", "getPixels"),
            ("tables", "getFeatures"),
        )
    ),
    ("GET", "projects/{project}/maps/{id}/tiles/{zoom}/{x}/{y}", "maps.tiles:get", _fetch("maps", "maps.tiles:get")),
    ("GET", "projects/{project}/operations", "operations:list", task_routes.list_operations),
    ("GET", "projects/{project}/operations/{id}", "operations:get", task_routes.get_operation),
    ("DELETE", "projects/{project}/operations/{id}", "operations:delete", task_routes.delete_operation),
    ("POST", "projects/{project}/operations/{id}:cancel", "operations:cancel", task_routes.cancel_operation),
    ("POST", "projects/{project}/operations/{id}:wait", "operations:wait", task_routes.wait_operation),
    *(("POST", f"projects/{{project}}/{name}", f"{name}:create", _VIEW) for name in ("featureView", "featureViews")),
    *(("POST", f"projects/{{project}}/{method}", method, task_routes.start(method)) for method in TYPES),
    ("POST", "projects/{project}/videoMap:export", "videoMap:export", _NO_EXPORT),
    ("POST", "projects/{project}/image:importExternal", "image:importExternal", _evaluate("image:importExternal")),
    ("POST", "projects/{project}/assets", "assets:create", _evaluate("assets:create")),
    *(
        ("POST", f"projects/{{project}}/assets/{{asset:path}}:{method}", f"assets:{method}", handler)
        for method, handler in (
            ("copy", _evaluate("assets:copy")),
            ("move", _evaluate("assets:move")),
            ("link", _LINK),
            ("getIamPolicy", _evaluate("assets:getIamPolicy")),
            ("setIamPolicy", _evaluate("assets:setIamPolicy")),
            ("testIamPermissions", _evaluate("assets:testIamPermissions")),
        )
    ),
    ("PATCH", "projects/{project}/assets/{asset:path}", "assets:patch", _evaluate("assets:patch")),
    ("DELETE", "projects/{project}/assets/{asset:path}", "assets:delete", _evaluate("assets:delete")),
    ("GET", "projects/{project}/assets:search", "assets:search", _evaluate("assets:search")),
    ("PATCH", "projects/{project}/config", "config:update", _PROJECT),
    ("GET", "projects/{project}:listAssets", "assets:listAssets", _evaluate("assets:listAssets")),
    ("GET", "projects/{project}/assets:listAssets", "assets:listAssets", _evaluate("assets:listAssets")),
    *(
        (
            "GET",
            f"projects/{{project}}/assets/{{asset:path}}:{method}",
            f"assets:{method}",
            _evaluate(f"assets:{method}"),
        )
        for method in ("listAssets", "listImages", "listFeatures")
    ),
    ("POST", "projects/{project}/assets/{asset:path}:getPixels", "assets:getPixels", _evaluate("assets:getPixels")),
    ("GET", "projects/{project}/assets/{asset:path}", "assets:get", _evaluate("assets:get")),
)
