"""Process a request in a worker: check its fields, run its operation (all are listed here), repeat it where a catalogue
changes, map exceptions to Earth Engine's errors.
"""

from __future__ import annotations

import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import shapely

from eechips_local.assets.asset_errors import InvalidStoreError
from eechips_local.evaluation import export_check, value_requests
from eechips_local.evaluation.context import Context
from eechips_local.evaluation.service_limits import ServiceLimits
from eechips_local.pixels.output import animations, pixel_requests
from eechips_local.protocol import messages
from eechips_local.protocol.messages import ServiceRequest, ServiceResponse, WorkerRequest, error_response
from eechips_local.protocol.request_errors import ChangingError, EarthEngineError, InvalidError, MemoryLimitError
from eechips_local.protocol.routes import access_policies, asset_methods, resources, stac_catalogue
from eechips_local.quota.compute_cost import COST, ComputeCost
from eechips_local.stores import StoreConfig, open_store

# While assets change, a request is retried for so many seconds, and at least so many times.
_RETRY_SECONDS = 10.0
_TRIES = 5


@dataclass(frozen=True, slots=True)
class ServiceOperation:
    """One operation of a worker.

    Attributes:
        call: runs it.
        message: kind of the request's body in ``messages``, None where it has none.
    """

    call: Callable[[ServiceRequest, Context], ServiceResponse]
    message: str | None = None


OPERATIONS: Mapping[str, ServiceOperation] = {
    "value:compute": ServiceOperation(value_requests.compute_value, "value:compute"),
    "image:computePixels": ServiceOperation(pixel_requests.compute_pixels, "image:computePixels"),
    "table:computeFeatures": ServiceOperation(value_requests.compute_features, "table:computeFeatures"),
    "imageCollection:computeImages": ServiceOperation(resources.compute_images, "imageCollection:computeImages"),
    "thumbnails:check": ServiceOperation(pixel_requests.check_thumbnail, "thumbnails"),
    "thumbnails:getPixels": ServiceOperation(pixel_requests.thumbnail_pixels, "thumbnails"),
    "filmstripThumbnails:getPixels": ServiceOperation(animations.filmstrip_pixels, "filmstripThumbnails"),
    "videoThumbnails:getPixels": ServiceOperation(animations.video_pixels, "videoThumbnails"),
    "maps:check": ServiceOperation(pixel_requests.check_map, "maps"),
    "maps.tiles:get": ServiceOperation(pixel_requests.map_tile, "maps"),
    "exports:check": ServiceOperation(export_check.check_export, "value:compute"),
    "tables:getFeatures": ServiceOperation(value_requests.table_features, "tables"),
    "assets:create": ServiceOperation(asset_methods.create, "assets:create"),
    "image:importExternal": ServiceOperation(asset_methods.import_external, "image:importExternal"),
    "assets:delete": ServiceOperation(asset_methods.delete),
    "assets:patch": ServiceOperation(asset_methods.patch, "assets:patch"),
    "assets:copy": ServiceOperation(asset_methods.copy, "assets:copy"),
    "assets:move": ServiceOperation(asset_methods.move, "assets:move"),
    "assets:getIamPolicy": ServiceOperation(access_policies.get_policy, "assets:getIamPolicy"),
    "assets:setIamPolicy": ServiceOperation(access_policies.set_policy, "assets:setIamPolicy"),
    "assets:testIamPermissions": ServiceOperation(access_policies.test_permissions, "assets:testIamPermissions"),
    "assets:search": ServiceOperation(asset_methods.search),
    "assets:get": ServiceOperation(asset_methods.get),
    "assets:getPixels": ServiceOperation(pixel_requests.compute_pixels, "assets:getPixels"),
    "assets:listAssets": ServiceOperation(resources.list_assets),
    "assets:listImages": ServiceOperation(resources.list_images),
    "assets:listFeatures": ServiceOperation(resources.list_features),
    "store:describe": ServiceOperation(resources.describe),
    "store:archives": ServiceOperation(resources.describe_archives),
    "store:files": ServiceOperation(resources.list_files, "store:files"),
    "store:list": ServiceOperation(resources.list_store),
    "store:catalogue": ServiceOperation(stac_catalogue.document),
}


class RequestProcessor:
    """Processes requests, one at a time. Assets and functions are loaded once."""

    def __init__(self, store: StoreConfig, limits: ServiceLimits) -> None:
        self._store = open_store(store, min(_RETRY_SECONDS, limits.seconds / 2.0))
        self._limits = limits
        self._config = store
        self._retries = 0

    def take_reads(self) -> Mapping[str, int]:
        """Return counts of reads of catalogues since the last call, and reset them."""
        retries, self._retries = self._retries, 0
        return self._store.take_reads() + Counter(remade=retries)

    def process(self, request: WorkerRequest) -> ServiceResponse:
        """Process one request. Errors become Earth Engine's.

        A request that fails costs what it has computed until then.
        """
        cost = ComputeCost()
        token = COST.set(cost)
        try:
            response, tag = self._process(request)
        finally:
            COST.reset(token)
        return replace(response, cost=cost, workload_tag=tag)

    def _process(self, request: WorkerRequest) -> tuple[ServiceResponse, str | None]:
        """Process one request; return its response and its workload tag.

        Where assets change meanwhile, the whole request is retried for a while: requests have no side effects, or do
        not raise such errors after them.
        """
        operation = OPERATIONS[request.operation]
        tag = request.query.get("workloadTag")
        begun, spent, tries = time.monotonic(), 0.0, 0
        while True:
            limits = replace(self._limits, seconds=self._limits.seconds - spent)
            context = Context(self._store, limits, self._config, hint=self._store.hint)
            self._store.begin()
            try:
                body = messages.check(operation.message, messages.decode(request.content)) if operation.message else {}
                tag = body.get("workloadTag", tag)
                return operation.call(ServiceRequest(body, request.name, request.query), context), tag
            except ChangingError as error:
                tries += 1
                spent = time.monotonic() - begun
                is_over = tries >= _TRIES and spent >= _RETRY_SECONDS
                if is_over or spent * (tries + 1) / tries > self._limits.seconds:
                    return error_response(error), tag
                self._retries += 1
            except Exception as error:  # noqa: BLE001 - a bug must reach the client as the service's own 500
                return error_response(service_error(error)), tag


def service_error(error: Exception) -> EarthEngineError:
    """Return Earth Engine's error for an exception. Bugs are logged."""
    if isinstance(error, EarthEngineError):
        return error
    # GEOS raises the same error for missing memory and for shapes that it cannot process.
    is_geos = isinstance(error, shapely.errors.GEOSException)
    if isinstance(error, (MemoryError, RecursionError)) or (is_geos and "bad_alloc" in str(error)):
        return MemoryLimitError()
    if is_geos:
        return InvalidError(f"Geometry: {error}")
    if isinstance(error, InvalidStoreError):  # a file of the user, which no repetition changes
        return InvalidError(str(error))
    traceback.print_exception(error, file=sys.stderr)
    return EarthEngineError("An internal error has occurred.")
