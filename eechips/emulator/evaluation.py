"""What a worker process does with a request."""

from __future__ import annotations

import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import shapely

from eechips.emulator import messages, operations, rendering, resources
from eechips.emulator.context import Context, Limits
from eechips.emulator.errors import ChangingError, EarthEngineError, InvalidError, LimitError
from eechips.emulator.messages import Body, Request
from eechips.emulator.stores import StoreConfig, open_store
from eechips.emulator.workers import Answer, Job, error_answer

# An answer is made anew for so many seconds, and at least so many times, while what it is made of changes.
_PATIENCE = 10.0
_TRIES = 5


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
    "videoThumbnails:getPixels": Operation(rendering.video_pixels, "videoThumbnails"),
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
        self._store = open_store(store, min(_PATIENCE, limits.seconds / 2.0))
        self._limits = limits
        self._remote = store.remote
        self._remade = 0

    def reads(self) -> Mapping[str, int]:
        """What was read of catalogues since this was last asked for."""
        remade, self._remade = self._remade, 0
        return self._store.reads() + Counter(remade=remade)

    def answer(self, job: Job) -> Answer:
        """Answers one request, whatever it is: errors become Earth Engine's.

        Where assets change meanwhile, the answer is made anew, whole, for a while: it has no effects.
        """
        begun = time.monotonic()
        tries = 0
        while True:
            left = begun + self._limits.seconds - time.monotonic()
            limits = replace(self._limits, seconds=left)
            answer = self._answer(job, Context(self._store, limits, self._remote, hint=self._store.hint))
            if not isinstance(answer, ChangingError):
                return answer
            tries += 1
            taken = time.monotonic() - begun
            if (tries >= _TRIES and taken >= _PATIENCE) or taken * (tries + 1) / tries > self._limits.seconds:
                return error_answer(answer)
            self._remade += 1

    def _answer(self, job: Job, context: Context) -> Answer | ChangingError:
        self._store.begin()
        operation = OPERATIONS[job.operation]
        try:
            body = messages.check(operation.message, messages.decode(job.content)) if operation.message else {}
            found = operation.call(Request(body, job.name, job.query), context)
        except ChangingError as error:
            return error
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
