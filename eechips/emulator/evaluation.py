"""What a worker process does with a request."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import shapely

from eechips.emulator import messages, operations, rendering, resources
from eechips.emulator.context import Context, Limits
from eechips.emulator.errors import EarthEngineError, InvalidError, LimitError
from eechips.emulator.messages import Body, Request
from eechips.emulator.stores import StoreConfig, open_store
from eechips.emulator.workers import Answer, Job, error_answer


@dataclass(frozen=True, slots=True)
class Operation:
    """One thing that can be asked of a worker.

    Attributes:
        call: does it.
        message: kind of its body in ``messages``, None where it has none.
    """

    call: Callable[[Request, Context], Body]
    message: str | None = None


OPERATIONS: Mapping[str, Operation] = {
    "value:compute": Operation(operations.compute_value, "value:compute"),
    "image:computePixels": Operation(rendering.compute_pixels, "image:computePixels"),
    "table:computeFeatures": Operation(operations.compute_features, "table:computeFeatures"),
    "imageCollection:computeImages": Operation(operations.compute_images, "imageCollection:computeImages"),
    "thumbnails:check": Operation(rendering.check_thumbnail, "thumbnails"),
    "thumbnails:getPixels": Operation(rendering.thumbnail_pixels, "thumbnails"),
    "filmstripThumbnails:getPixels": Operation(rendering.filmstrip_pixels, "filmstripThumbnails"),
    "maps:check": Operation(rendering.check_map, "maps"),
    "maps.tiles:get": Operation(rendering.map_tile, "maps"),
    "tables:getFeatures": Operation(operations.table_features, "tables"),
    "assets:get": Operation(resources.get_asset),
    "assets:getPixels": Operation(resources.get_pixels, "assets:getPixels"),
    "assets:listAssets": Operation(resources.list_assets),
    "assets:listImages": Operation(resources.list_images),
    "assets:listFeatures": Operation(resources.list_features),
    "store:describe": Operation(resources.describe),
}


class Evaluation:
    """Answers requests, one at a time. Assets and functions are loaded once."""

    def __init__(self, store: StoreConfig, limits: Limits) -> None:
        self._store = open_store(store)
        self._limits = limits

    def reads(self) -> Mapping[str, int]:
        """What was read of catalogues since this was last asked for."""
        return self._store.reads()

    def answer(self, job: Job) -> Answer:
        """Answers one request, whatever it is: errors become Earth Engine's."""
        context = Context(self._store, self._limits)
        operation = OPERATIONS[job.operation]
        try:
            body = messages.check(operation.message, messages.decode(job.content)) if operation.message else {}
            found = operation.call(Request(body, job.name, job.query), context)
        except EarthEngineError as error:
            return error_answer(error)
        except (MemoryError, RecursionError):
            return error_answer(LimitError("User memory limit exceeded."))
        except shapely.errors.GEOSException as error:
            # GEOS tells of missing memory and of shapes that it cannot handle in the same way.
            short = "bad_alloc" in str(error)
            return error_answer(
                LimitError("User memory limit exceeded.") if short else InvalidError(f"Geometry: {error}")
            )
        except Exception:  # noqa: BLE001 - a fault of ours must reach the client as the service's own 500, and the log
            traceback.print_exc(file=sys.stderr)
            return error_answer(EarthEngineError("An internal error has occurred."))
        return Answer(200, found.content, found.media_type, found.filename)
