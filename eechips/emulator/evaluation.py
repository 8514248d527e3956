"""What a worker process does with a request."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Mapping
from typing import Any

from eechips.emulator import operations, resources
from eechips.emulator.context import Context, Limits
from eechips.emulator.errors import EarthEngineError, LimitError
from eechips.emulator.operations import Body
from eechips.emulator.stores import StoreConfig, open_store
from eechips.emulator.workers import Answer, Job, error_answer

Operation = Callable[[Mapping[str, Any], Context], Body]

OPERATIONS: Mapping[str, Operation] = {
    "value:compute": operations.compute_value,
    "thumbnails:check": operations.check_thumbnail,
    "thumbnails:getPixels": operations.thumbnail_pixels,
    "tables:getFeatures": operations.table_features,
    "image:computePixels": operations.compute_pixels,
    "table:computeFeatures": operations.compute_features,
    "imageCollection:computeImages": operations.compute_images,
    "assets:get": resources.get_asset,
    "assets:getPixels": resources.asset_pixels,
    "assets:listAssets": resources.list_assets,
    "assets:listImages": resources.list_images,
    "store:describe": resources.describe,
}


class Evaluation:
    """Answers requests, one at a time. Assets and functions are loaded once."""

    def __init__(self, store: StoreConfig, limits: Limits) -> None:
        self._store = open_store(store)
        self._limits = limits

    def answer(self, job: Job) -> Answer:
        """Answers one request, whatever it is: errors become Earth Engine's."""
        context = Context(self._store, self._limits)
        try:
            body = OPERATIONS[job.operation](job.request, context)
        except EarthEngineError as error:
            return error_answer(error)
        except (MemoryError, RecursionError):
            return error_answer(LimitError("User memory limit exceeded."))
        except Exception:  # noqa: BLE001 - a fault of ours must reach the client as the service's own 500, and the log
            traceback.print_exc(file=sys.stderr)
            return error_answer(EarthEngineError("An internal error has occurred."))
        return Answer(200, body.content, body.media_type)
